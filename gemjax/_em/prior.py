"""Conjugate priors of a mixture's parameters: Dirichlet, normal and inverse Wishart."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, multigammaln
from jax.typing import ArrayLike

from gemjax._base import arrays, checks
from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance, log_normaliser
from gemjax._families.parameters import check_matrices
from gemjax._families.spectrum import factor, identity_like, inverse_factor, log_determinant, times
from gemjax._numerics.pytree import record

_PAIRS = (("mean", "mean_strength"), ("scatter", "dof"))


@record
@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """A conjugate prior, for `classical_em(prior=…)`; every part may be left out.

    Weights π ~ Dirichlet(α); means μ_i | Σ_i ~ N(m_i, Σ_i/κ_i); covariances Σ_i ~ inverse
    Wishart(Ψ_i, ν_i), of density ∝ |Σ|^{−(ν + d + 1)/2} exp(−tr(Ψ Σ⁻¹)/2), for "full" and "tied".
    Variances v have inverse gamma densities ∝ v^{−(ν + 2)/2} exp(−ψ/(2v)), ψ a number per variance:
    one per coordinate for diagonal families, one in all for round ones (Fraley and Raftery 2007,
    "Bayesian regularization for normal mixture estimation and model-based clustering"). A family
    whose covariance is shared has one Σ in the place of all.

    The mode of these is, before any point: weights in proportion to α_i − 1, means m_i, and with
    both other parts, for "full", Σ_i = Ψ_i/(ν_i + d + 2).

    All are arrays, traced: `jax.vmap` and `jax.grad` go over them. Checks are made where the prior
    meets a mixture.

    Attributes:
      concentration: (n,) or () α, at least 1, so that there is a mode; 1 is flat.
      mean: (d,) or (n, d) m.
      mean_strength: () or (n,) κ, non-negative, in points; given with `mean`. Zero is no prior of
        the mean. That is a jump: however small κ > 0, the normal density has its factor |Σ|^{−1/2}.
      scatter: Ψ, in the form of the family's covariance: (d, d) or (n, d, d), symmetric and
        positive definite, for "full", ψ (d,) or (n, d) for "diag", () or (n,) for "spherical",
        without n where it is shared; a positive () stands for as much in every direction.
      dof: () or (n,) ν, given with `scatter`; more than d − 1 for "full" and "tied", else than 0.

    >>> import gemjax as gj
    >>> prior = gj.Prior(concentration=2.0, mean=[0.0], mean_strength=1.0, scatter=3.0, dof=1.0)
    >>> start = gj.make_mixture([[-1.0], [1.0]], covariance=gj.covariance.Spherical([1.0, 1.0]))
    >>> round(float(prior.log_density(start)), 4)
    -6.1717
    """

    concentration: ArrayLike | None = None
    mean: ArrayLike | None = None
    mean_strength: ArrayLike | None = None
    scatter: ArrayLike | None = None
    dof: ArrayLike | None = None

    def log_density(self, mixture: Mixture) -> jax.Array:
        """() log p(π, μ, Σ) of a mixture's parameters, in nats: of all, not per point.

        Normalised, so that it can be compared and differentiated in the prior's arrays, too: a
        density of π on the simplex (n − 1 coordinates), of the means, and of the free parameters of
        the covariances (variances, entries a <= b). A part that is left out counts as 1.
        What MAP-EM lowers is `gj.loss(mixture, target) − prior.log_density(mixture) / num_points`.

        Args:
          mixture: a `Mixture` of n components in d dimensions.

        Raises:
          ValueError, TypeError: an array of the prior that does not suit the mixture.

        >>> import gemjax as gj
        >>> float(gj.Prior(concentration=3.0).log_density(gj.make_mixture([[0.0], [1.0]])))  # 15/8
        0.62860...
        """
        mixture = checks.mixture("mixture", mixture)
        return _log_density(self.checked("prior", mixture), mixture)

    def checked(self, name: str, mixture: Mixture) -> Prior:
        """The same, once it suits a mixture, of which only shapes count: arrays of its dtype,
        (n,), (n, d), (n,), and of the covariances that there are, Ψ and (n,) or (1,)."""
        (n, d), dtype = mixture.means.shape, mixture.means.dtype
        for pair in _PAIRS:
            missing = [part for part in pair if getattr(self, part) is None]
            if len(missing) == 1:
                (other,) = {*pair} - {*missing}
                raise ValueError(f"{name}.{missing[0]} must be given with {name}.{other}, got None")
        _check_family(name, self, mixture.covariance)
        parts = _parts(mixture.covariance, n, d)
        given = {part: getattr(self, part) for part in parts if getattr(self, part) is not None}
        made = {part: _array(f"{name}.{part}", x, parts[part]) for part, x in given.items()}
        return _formed(Prior(**made), tuple(parts.items()), np.dtype(dtype))


@dataclasses.dataclass(frozen=True)
class _Part:
    """What one array of a prior has to be: its shape, of which the first axis may be left out, and
    bounds of its entries."""

    shape: tuple[int, ...]
    least: float = -math.inf
    above: float = -math.inf

    def good(self, values: Any) -> Any:
        return (values >= self.least) & (values > self.above)

    @property
    def words(self) -> str:
        return f"at least {self.least:g}" if self.least > self.above else f"above {self.above:g}"


def _parts(covariance: Covariance, n: int, d: int) -> dict[str, _Part]:
    ndim, k = covariance.covariance_ndim or 0, n if covariance.per_component else 1
    return {
        "concentration": _Part((n,), least=1),
        "mean": _Part((n, d)),
        "mean_strength": _Part((n,), least=0),
        "scatter": _Part((k, *(d,) * ndim), above=0),
        "dof": _Part((k,), above=d - 1 if ndim == 2 else 0),
    }


def exponents(prior: Prior, ndim: int | None, d: int) -> jax.Array:
    """(k,) e in the density's factor |Σ|^{−e/2}, of a prior that is `checked`."""
    dof = jnp.asarray(prior.dof)
    return (dof + 2) / d if ndim == 0 else dof + (2 if ndim == 1 else d + 1)


def _check_family(name: str, prior: Prior, covariance: Covariance) -> None:
    if covariance.covariance_ndim is not None:
        return
    kind = type(covariance)
    if prior.scatter is not None:
        raise ValueError(
            f"{name}.scatter must be None for {kind.__name__} covariances, which are known or have "
            f"no covariance_ndim; got {prior.scatter!r}"
        )
    if prior.mean is not None and kind.maximise is not Covariance.maximise:
        raise ValueError(
            f"{name}.mean must be None for {kind.__name__} covariances, which are fitted but have "
            f"no covariance_ndim; got {prior.mean!r}"
        )


def _array(name: str, value: Any, part: _Part) -> jax.Array:
    """An array as it is given, checked; a scatter may be a number, too."""
    array, shapes = arrays.floating(name, value), [part.shape[1:], part.shape]
    if name.endswith("scatter") and len(part.shape) > 1:
        shapes.insert(0, ())
    if array.shape not in shapes:
        raise ValueError(
            f"{name} must have shape {' or '.join(map(str, shapes))}, got {array.shape}"
        )
    arrays.finite_rows(name, array)
    if array.ndim > 1 and len(part.shape) == 3:
        check_matrices(name, array, array.shape)
    elif arrays.is_concrete(array):
        values = np.asarray(array)
        bad = np.argwhere(~part.good(values))
        if len(bad):
            index = tuple(int(i) for i in bad[0])
            where = f" at index {index}" if index else ""
            raise ValueError(f"{name} must be {part.words}, got {values[index]}{where}")
    return array


@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _formed(prior: Prior, parts: tuple[tuple[str, _Part], ...], dtype: Any) -> Prior:
    """All arrays in full. What is not allowed, and could not be seen, becomes a NaN of which a
    status tells."""
    made = {}
    for name, part in parts:
        value = getattr(prior, name)
        if value is None:
            continue
        array = value.astype(dtype)
        if len(part.shape) == 3 and array.ndim > 1:
            array = 0.5 * (array + array.swapaxes(-1, -2))
            bad = jnp.any(jnp.isnan(factor(array)), axis=(-2, -1), keepdims=True)
            array = jnp.broadcast_to(jnp.where(bad, jnp.nan, array), part.shape)
        else:
            array = jnp.broadcast_to(jnp.where(part.good(array), array, jnp.nan), part.shape)
            array = array * identity_like(array) if len(part.shape) == 3 else array
        made[name] = array
    if "dof" in made:
        # A mass that is NaN would leave a covariance as it is; a scatter does not.
        bad, scatter = jnp.isnan(made["dof"]), made["scatter"]
        made["dof"] = jnp.where(bad, scatter.shape[-1], made["dof"])
        bad = bad.reshape(len(bad), *(1,) * (scatter.ndim - 1))
        made["scatter"] = jnp.where(bad, jnp.nan, scatter)
    return Prior(**made)


@functools.partial(jax.jit, inline=True)
def _log_density(prior: Prior, mixture: Mixture) -> jax.Array:
    """Of a prior that is `checked`."""
    (n, d), dtype = mixture.means.shape, mixture.means.dtype
    inverse = inverse_factor(mixture.covariance.matrices(n, d).astype(dtype))
    total = jnp.zeros((), dtype)
    if prior.concentration is not None:
        alpha = jnp.asarray(prior.concentration)
        # A weight of zero is as good as any where α is 1.
        none = (alpha == 1) & jnp.isneginf(mixture.log_weights)
        logs = (alpha - 1) * jnp.where(none, 0, mixture.log_weights)
        total += jnp.sum(logs - gammaln(alpha)) + gammaln(jnp.sum(alpha))
    if prior.mean is not None:
        kappa = jnp.asarray(prior.mean_strength)
        white = times(inverse, (mixture.means - prior.mean)[:, :, None])[:, :, 0]
        some = kappa > 0
        logs = d * jnp.log(jnp.where(some, kappa, 1)) + log_determinant(inverse)
        logs = 0.5 * (logs - kappa * jnp.sum(white * white, axis=1)) - log_normaliser(d)
        total += jnp.sum(jnp.where(some, logs, 0))
    if prior.scatter is not None:
        total += jnp.sum(_log_density_of_covariances(prior, inverse, mixture.covariance))
    return total


def _log_density_of_covariances(
    prior: Prior, inverse: jax.Array, covariance: Covariance
) -> jax.Array:
    """(k,) from the inverses of Cholesky factors (n, d, d), of which the first k count."""
    psi, half = jnp.asarray(prior.scatter), 0.5 * jnp.asarray(prior.dof)
    ndim, (k, d, _) = covariance.covariance_ndim, (len(psi), *inverse.shape[1:])
    inverse = inverse[:k]
    if ndim == 2:
        matrices, logs = psi, log_determinant(factor(psi)) - d * math.log(2)
        normaliser = half * logs - multigammaln(half, d)
    else:
        each = psi if ndim == 1 else psi[:, None] / d
        matrices, logs = each[:, :, None] * identity_like(inverse), jnp.log(0.5 * psi)
        normaliser = jnp.sum(half[:, None] * logs.reshape(k, -1) - gammaln(half)[:, None], axis=1)
    trace = jnp.sum(times(inverse, matrices) * inverse, axis=(1, 2))
    return normaliser + 0.5 * (exponents(prior, ndim, d) * log_determinant(inverse) - trace)
