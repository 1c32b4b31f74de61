"""Weight rules and mean rules as objects, and what a rule of your own derives from."""

from gemjax._em.mean_rules import EM, Gradient, MeanRule, Overrelaxed
from gemjax._em.polyak import Polyak
from gemjax._em.registry import MEAN_RULES
from gemjax._weights.euclidean import Euclidean
from gemjax._weights.newton import Newton
from gemjax._weights.registry import WEIGHT_RULES
from gemjax._weights.rules import Fixed, Mirror, Multiplicative, WeightRule

__all__ = [
    "EM",
    "MEAN_RULES",
    "WEIGHT_RULES",
    "Euclidean",
    "Fixed",
    "Gradient",
    "MeanRule",
    "Mirror",
    "Multiplicative",
    "Newton",
    "Overrelaxed",
    "Polyak",
    "WeightRule",
]
