"""Mixtures to and from other packages and plain arrays: `gj.convert.to_sklearn(mixture)`, others.

The packages are imported once they are needed, and none is required.
"""

from gemjax._exchange.forms import from_arrays, to_arrays
from gemjax._exchange.gmmx import from_gmmx, to_gmmx
from gemjax._exchange.numpyro import from_numpyro, to_numpyro
from gemjax._exchange.ott import from_ott, to_ott
from gemjax._exchange.scikit_learn import from_sklearn, to_sklearn
from gemjax._exchange.tfp import from_tfp, to_tfp

__all__ = [
    "from_arrays",
    "from_gmmx",
    "from_numpyro",
    "from_ott",
    "from_sklearn",
    "from_tfp",
    "to_arrays",
    "to_gmmx",
    "to_numpyro",
    "to_ott",
    "to_sklearn",
    "to_tfp",
]
