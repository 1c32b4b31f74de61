"""To and from gmmx's `GaussianMixtureModelJax`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._exchange.forms import diag_or_full, from_arrays
from gemjax._exchange.packages import imported, of_class


def to_gmmx(mixture: Mixture) -> Any:
    """A `gmmx.GaussianMixtureModelJax` of the same density, in float32, which is all that gmmx has.

    Args:
      mixture: a `Mixture` of any family; along the axes it becomes gmmx's "diag", else "full".

    Raises:
      ImportError: gmmx is not there.
      TypeError, ValueError: no valid `Mixture`.

    >>> import gemjax as gj
    >>> model = gj.convert.to_gmmx(gj.make_mixture([[0.0, 0.0], [4.0, 0.0]]))
    >>> model.n_components, model.covariances.type.value
    (2, 'diag')
    """
    gmmx = imported("gmmx", "gmmx")
    kind, covariances = diag_or_full(mixture)
    arrays = (jnp.asarray(a, jnp.float32) for a in (mixture.means, covariances, mixture.weights))
    return gmmx.GaussianMixtureModelJax.from_squeezed(*arrays, covariance_type=kind)


def from_gmmx(model: Any) -> Mixture:
    """The mixture that a `gmmx.GaussianMixtureModelJax` is, float32, `Diagonal` or `Full`.

    Args:
      model: the `GaussianMixtureModelJax`.

    Raises:
      ImportError: gmmx is not there.
      TypeError: another object.

    >>> import gemjax as gj
    >>> model = gj.convert.to_gmmx(gj.make_mixture([[0.0], [4.0]]))
    >>> gj.convert.from_gmmx(model).means.tolist()
    [[0.0], [4.0]]
    """
    gmmx = imported("gmmx", "gmmx")
    of_class("model", model, gmmx.GaussianMixtureModelJax, "gmmx")
    own = model.covariances
    return from_arrays(model.weights_numpy, model.means_numpy, own.values_numpy, own.type.value)
