"""The mean rules that have names, those of their classes; and how a rule is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gemjax._base.settings import named
from gemjax._em.mean_rules import EM, Gradient, MeanRule, Overrelaxed
from gemjax._em.optax_rule import OptaxRule, is_transformation
from gemjax._em.polyak import Polyak

if TYPE_CHECKING:
    import optax

__all__ = ["EM", "MEAN_RULES", "Gradient", "MeanRule", "Overrelaxed", "Polyak"]

_RULES: tuple[type[MeanRule], ...] = (Gradient, EM, Overrelaxed, Polyak)
MEAN_RULES = {rule.__name__.lower(): rule for rule in _RULES}

AnyMeanRule: TypeAlias = "str | MeanRule | optax.GradientTransformation"


def mean_rule(value: AnyMeanRule, **settings: Any) -> MeanRule:
    """The rule that is meant; one with a name takes its settings from those given."""
    if is_transformation(value):
        return OptaxRule(value)
    return named("mean_rule", MEAN_RULES, value, **settings)
