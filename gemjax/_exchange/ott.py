"""To and from OTT's `GaussianMixture`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gemjax._base import arrays
from gemjax._base.records import Mixture
from gemjax._exchange.forms import diag_or_full
from gemjax._exchange.packages import imported, of_class
from gemjax._families.full import Full
from gemjax._model.mixture import make_mixture

_FOLDER = "ott.tools.gaussian_mixture"


def to_ott(mixture: Mixture) -> Any:
    """An OTT `GaussianMixture` of the same density, also under `jit`.

    Args:
      mixture: a `Mixture` of any family, no weight zero: OTT divides by the last one.

    Raises:
      ImportError: ott-jax is not there.
      TypeError, ValueError: no valid `Mixture`, a weight of zero.

    >>> import gemjax as gj
    >>> model = gj.convert.to_ott(gj.make_mixture([[0.0, 0.0], [4.0, 0.0]]))
    >>> model.n_components, model.covariance.shape
    (2, (2, 2, 2))
    """
    folder = {
        name: imported(f"{_FOLDER}.{name}", "ott-jax")
        for name in ("gaussian_mixture", "scale_tril", "probabilities")
    }
    kind, covariances = diag_or_full(mixture)
    logs = mixture.log_weights
    if arrays.is_concrete(logs) and jnp.isneginf(logs).any():
        raise ValueError("mixture must have no weights of zero, as OTT: gj.prune drops them")
    if kind == "diag":
        covariances = jax.vmap(jnp.diag)(covariances)
    parameters = jax.vmap(lambda S: folder["scale_tril"].ScaleTriL.from_covariance(S).params)
    weights = folder["probabilities"].Probabilities(logs[:-1] - logs[-1])
    return folder["gaussian_mixture"].GaussianMixture(
        mixture.means, parameters(covariances), weights
    )


def from_ott(model: Any) -> Mixture:
    """The mixture that an OTT `GaussianMixture` is, its covariance `Full`, also under `jit`.

    Args:
      model: an `ott.tools.gaussian_mixture.gaussian_mixture.GaussianMixture`.

    Raises:
      ImportError: ott-jax is not there.
      TypeError: another object.

    >>> import gemjax as gj
    >>> model = gj.convert.to_ott(gj.make_mixture([[0.0], [4.0]]))
    >>> gj.convert.from_ott(model).means.tolist()
    [[0.0], [4.0]]
    """
    module = imported(f"{_FOLDER}.gaussian_mixture", "ott-jax")
    of_class("model", model, module.GaussianMixture, "ott-jax")
    logits = model.log_component_weights().astype(model.loc.dtype)
    return make_mixture(model.loc, logits=logits, covariance=Full(model.covariance))
