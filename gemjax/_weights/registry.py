"""The weight rules that have names."""

from gemjax._weights.euclidean import Euclidean
from gemjax._weights.newton import Newton
from gemjax._weights.rules import Fixed, Mirror, Multiplicative, WeightRule

WEIGHT_RULES: dict[str, type[WeightRule]] = {
    "mirror": Mirror,
    "euclidean": Euclidean,
    "multiplicative": Multiplicative,
    "newton": Newton,
    "fixed": Fixed,
}
