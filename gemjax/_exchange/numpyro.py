"""To and from numpyro's `MixtureSameFamily` of Gaussians."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._exchange.forms import diag_or_full
from gemjax._exchange.packages import imported, of_class
from gemjax._families.diagonal import Diagonal
from gemjax._families.full import Full
from gemjax._model.mixture import make_mixture


def to_numpyro(mixture: Mixture) -> Any:
    """A `numpyro.distributions.MixtureSameFamily` of the same density, also under `jit`.

    Args:
      mixture: a `Mixture` of any family; along the axes its components become
        `Normal(...).to_event(1)`, else `MultivariateNormal`.

    Raises:
      ImportError: numpyro is not there.
      TypeError, ValueError: no valid `Mixture`.

    >>> import gemjax as gj
    >>> model = gj.convert.to_numpyro(gj.make_mixture([[0.0, 0.0], [4.0, 0.0]]))
    >>> model.event_shape, model.mixture_size
    ((2,), 2)
    """
    dist = imported("numpyro.distributions", "numpyro")
    kind, covariances = diag_or_full(mixture)
    if kind == "diag":
        components = dist.Normal(mixture.means, jnp.sqrt(covariances)).to_event(1)
    else:
        factors = jnp.linalg.cholesky(covariances)
        components = dist.MultivariateNormal(mixture.means, scale_tril=factors)
    return dist.MixtureSameFamily(dist.Categorical(logits=mixture.log_weights), components)


def from_numpyro(model: Any) -> Mixture:
    """The mixture that a numpyro `MixtureSameFamily` of Gaussians is, also under `jit`.

    Args:
      model: one `MixtureSameFamily`, no batch, of `Normal` (d = 1), `Normal(...).to_event(1)`, or
        `MultivariateNormal`.

    Returns:
      a `Mixture`, its covariance `Diagonal` or, from a `MultivariateNormal`, `Full`.

    Raises:
      ImportError: numpyro is not there.
      TypeError, ValueError: another object, other components, a batch.

    >>> import gemjax as gj
    >>> model = gj.convert.to_numpyro(gj.make_mixture([[0.0], [4.0]]))
    >>> gj.convert.from_numpyro(model).means.tolist()
    [[0.0], [4.0]]
    """
    dist = imported("numpyro.distributions", "numpyro")
    of_class("model", model, dist.MixtureSameFamily, "numpyro")
    if model.batch_shape or len(model.event_shape) > 1:
        raise ValueError(
            "model must be one mixture of vectors, got batch_shape "
            f"{model.batch_shape} and event_shape {model.event_shape}"
        )
    components = inner = model.component_distribution
    while hasattr(inner, "base_dist"):  # of Independent and of what is expanded
        inner = inner.base_dist
    n, d = model.mixture_size, (*model.event_shape, 1)[0]
    covariance: Diagonal | Full
    if isinstance(inner, dist.Normal):
        covariance = Diagonal(components.variance.reshape(n, d))
    else:
        of_class("model.component_distribution", inner, dist.MultivariateNormal, "numpyro")
        covariance = Full(jnp.broadcast_to(inner.covariance_matrix, (n, d, d)))
    logits = model.mixing_distribution.logits
    return make_mixture(components.mean.reshape(n, d), logits=logits, covariance=covariance)
