"""The weight rules that have names: those of their classes."""

from gemjax._weights.euclidean import Euclidean
from gemjax._weights.newton import Newton
from gemjax._weights.rules import Fixed, Mirror, Multiplicative, WeightRule

__all__ = ["WEIGHT_RULES", "Euclidean", "Fixed", "Mirror", "Multiplicative", "Newton", "WeightRule"]

_RULES: tuple[type[WeightRule], ...] = (Mirror, Euclidean, Multiplicative, Newton, Fixed)
WEIGHT_RULES = {rule.__name__.lower(): rule for rule in _RULES}
