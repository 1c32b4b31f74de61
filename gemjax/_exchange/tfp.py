"""To and from TensorFlow Probability's `MixtureSameFamily` of Gaussians, on JAX."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._exchange.forms import diag_or_full
from gemjax._exchange.packages import imported, of_class
from gemjax._families.diagonal import Diagonal
from gemjax._families.full import Full
from gemjax._model.mixture import make_mixture

_MODULE = "tensorflow_probability.substrates.jax.distributions"
_PACKAGE = "tensorflow-probability, or tfp-nightly for a newer JAX"


def to_tfp(mixture: Mixture) -> Any:
    """A `MixtureSameFamily` of `tensorflow_probability.substrates.jax` of the same density, also
    under `jit`.

    Args:
      mixture: a `Mixture` of any family; along the axes its components become
        `MultivariateNormalDiag`, else `MultivariateNormalTriL`.

    Raises:
      ImportError: TensorFlow Probability is not there.
      TypeError, ValueError: no valid `Mixture`.

    >>> import gemjax as gj
    >>> model = gj.convert.to_tfp(gj.make_mixture([[0.0, 0.0], [4.0, 0.0]]))
    >>> model.event_shape.rank, model.components_distribution.batch_shape[-1]
    (1, 2)
    """
    tfd = imported(_MODULE, _PACKAGE)
    kind, covariances = diag_or_full(mixture)
    if kind == "diag":
        components = tfd.MultivariateNormalDiag(mixture.means, jnp.sqrt(covariances))
    else:
        factors = jnp.linalg.cholesky(covariances)
        components = tfd.MultivariateNormalTriL(mixture.means, factors)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=mixture.log_weights), components)


def from_tfp(model: Any) -> Mixture:
    """The mixture that a `MixtureSameFamily` of Gaussians is, also under `jit`.

    Args:
      model: one `MixtureSameFamily` of `tensorflow_probability.substrates.jax`, no batch, of
        `Normal` (d = 1), `Independent` of it, or any `MultivariateNormal…`.

    Returns:
      a `Mixture`, its covariance `Full`, or `Diagonal` where the components' class says so.

    Raises:
      ImportError: TensorFlow Probability is not there.
      TypeError, ValueError: another object, other components, a batch.

    >>> import gemjax as gj
    >>> model = gj.convert.to_tfp(gj.make_mixture([[0.0], [4.0]]))
    >>> gj.convert.from_tfp(model).means.tolist()
    [[0.0], [4.0]]
    """
    tfd = imported(_MODULE, _PACKAGE)
    of_class("model", model, tfd.MixtureSameFamily, "TensorFlow Probability")
    components, event = model.components_distribution, tuple(model.event_shape)
    if tuple(model.batch_shape) or len(event) > 1:
        raise ValueError(
            "model must be one mixture of vectors, got batch_shape "
            f"{tuple(model.batch_shape)} and event_shape {event}"
        )
    n, d = components.batch_shape[-1], (*event, 1)[0]
    inner = components.distribution if isinstance(components, tfd.Independent) else components
    covariance: Diagonal | Full
    if isinstance(inner, tfd.Normal | tfd.MultivariateNormalDiag):
        covariance = Diagonal(jnp.broadcast_to(components.variance().reshape(-1, d), (n, d)))
    else:
        gaussian = tfd.MultivariateNormalLinearOperator
        of_class("model.components_distribution", inner, gaussian, "TensorFlow Probability")
        covariance = Full(jnp.broadcast_to(components.covariance(), (n, d, d)))
    logits = model.mixture_distribution.logits_parameter()
    means = jnp.broadcast_to(components.mean().reshape(-1, d), (n, d))
    return make_mixture(means, logits=logits.reshape(n), covariance=covariance)
