"""A mixture as plain arrays, its covariances in one of scikit-learn's four forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.diagonal import Diagonal, SharedDiagonal
from gemjax._families.full import Full
from gemjax._families.identity import Identity
from gemjax._families.spherical import SharedSpherical, Spherical
from gemjax._families.tied import Tied
from gemjax._model.mixture import make_mixture

_FORMS: dict[type, tuple[str, Callable[[Any, jax.Array], jax.Array]]] = {
    Identity: ("spherical", lambda own, means: jnp.ones_like(means[:, 0])),
    SharedSpherical: (
        "spherical",
        lambda own, means: jnp.broadcast_to(own.variance, means.shape[:1]),
    ),
    Spherical: ("spherical", lambda own, means: own.variances),
    SharedDiagonal: ("diag", lambda own, means: jnp.broadcast_to(own.variances, means.shape)),
    Diagonal: ("diag", lambda own, means: own.variances),
    Tied: ("tied", lambda own, means: own.covariance),
    Full: ("full", lambda own, means: own.covariances),
}
_FAMILIES: dict[str, Any] = {"spherical": Spherical, "diag": Diagonal, "tied": Tied, "full": Full}


def to_arrays(mixture: Mixture) -> dict[str, Any]:
    """The mixture as NumPy arrays, by scikit-learn's names and in its forms.

    Args:
      mixture: a `Mixture` with n components in d dimensions, of any family.

    Returns:
      a dict of "weights" (n,), "means" (n, d), "covariances" and "covariance_type": "spherical"
      with (n,) variances, "diag" (n, d), "tied" (d, d) or "full" (n, d, d), the narrowest that
      holds the family: one variance for all is "spherical", and a family of your own "full".

    Raises:
      TypeError, ValueError: no valid `Mixture`.

    >>> import gemjax as gj
    >>> plain = gj.convert.to_arrays(gj.make_mixture([[0.0, 0.0], [4.0, 0.0]]))
    >>> plain["covariance_type"], plain["covariances"].tolist()
    ('spherical', [1.0, 1.0])
    """
    kind, covariances = form(mixture)
    return {
        "weights": np.asarray(mixture.weights),
        "means": np.asarray(mixture.means),
        "covariances": np.asarray(covariances),
        "covariance_type": kind,
    }


def from_arrays(
    weights: Any, means: Any, covariances: Any, covariance_type: str = "full"
) -> Mixture:
    """The mixture of plain arrays; `from_arrays(**to_arrays(mixture))` is the mixture.

    Args:
      weights: (n,) non-negative, normalised to sum to one.
      means: (n, d), float32 or float64, which is the mixture's dtype.
      covariances: of the shape that goes with the type.
      covariance_type: "full" (n, d, d), "tied" (d, d), "diag" (n, d) or "spherical" (n,).

    Returns:
      a `Mixture` of the family of that name.

    Raises:
      ValueError, TypeError: an unknown type, shapes that disagree, covariances that are none.

    >>> import gemjax as gj
    >>> mixture = gj.convert.from_arrays([0.5, 0.5], [[0.0], [4.0]], [1.0, 2.0], "spherical")
    >>> mixture.covariance.variances.tolist()
    [1.0, 2.0]
    """
    checks.one_of("covariance_type", covariance_type, _FAMILIES)
    means = arrays.points("means", means)
    covariances = arrays.floating("covariances", covariances).astype(means.dtype)
    return make_mixture(means, weights, covariance=_FAMILIES[covariance_type](covariances))


def form(mixture: Mixture) -> tuple[str, jax.Array]:
    """The name of the narrowest form, and the covariances in it."""
    mixture = checks.mixture("mixture", mixture)
    own, means = mixture.covariance, mixture.means
    if type(own) not in _FORMS:  # who derives from one of them may mean something else
        return "full", own.matrices(*means.shape)
    kind, in_form = _FORMS[type(own)]
    return kind, in_form(own, means)


def diag_or_full(mixture: Mixture) -> tuple[str, jax.Array]:
    """The same for who has only these two: variances (n, d) or matrices (n, d, d)."""
    kind, covariances = form(mixture)
    n, d = mixture.means.shape
    if kind == "spherical":
        return "diag", jnp.broadcast_to(covariances[:, None], (n, d))
    if kind == "tied":
        return "full", jnp.broadcast_to(covariances, (n, d, d))
    return kind, covariances
