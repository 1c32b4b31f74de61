"""The mean rules that have names, those of their classes; and how a rule is given."""

from __future__ import annotations

from typing import Any, TypeAlias

import optax

from gemjax._base.settings import named
from gemjax._em.mean_rules import EM, Gradient, MeanRule, Overrelaxed
from gemjax._em.optax_rule import OptaxRule
from gemjax._em.polyak import Polyak

__all__ = ["EM", "MEAN_RULES", "Gradient", "MeanRule", "Overrelaxed", "Polyak"]

_RULES: tuple[type[MeanRule], ...] = (Gradient, EM, Overrelaxed, Polyak)
MEAN_RULES = {rule.__name__.lower(): rule for rule in _RULES}

AnyMeanRule: TypeAlias = "str | MeanRule | optax.GradientTransformation"


def mean_rule(value: AnyMeanRule, **settings: Any) -> MeanRule:
    """The rule that is meant; one with a name takes its settings from those given."""
    if isinstance(value, optax.GradientTransformation):
        return OptaxRule(value)
    return named("mean_rule", MEAN_RULES, value, **settings)
