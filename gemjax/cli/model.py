"""What was found as a file keeps it, in the data's units, and what it says about rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gemjax as gj
from gemjax.cli.files.boundary import InputError, asking, reading
from gemjax.cli.scaling import Scaling

_ROWS = 16_384  # looked at together
_DRAWN = 20_000  # points of the model itself, for ranks of densities
_covariance = gj.covariance
_STRETCHED: dict[type, type] = {  # what a sphere is, once its axes have units of their own
    _covariance.SharedSpherical: _covariance.SharedDiagonal,
    _covariance.Spherical: _covariance.Diagonal,
}


class Model(NamedTuple):
    """What model.npz holds: the thing found, and the names of the columns."""

    found: gj.Selection | gj.Mixture
    names: list[str]

    @property
    def mixture(self) -> gj.Mixture:
        return self.found.mixture if isinstance(self.found, gj.Selection) else self.found


class Assigned(NamedTuple):
    """Per row its cluster, that one's probability, and log p in nats; (N,) each."""

    label: np.ndarray
    probability: np.ndarray
    log_density: np.ndarray


def save(path: Path, model: Model) -> None:
    """In full precision, as all of this."""
    gj.save(path, model.found, names=model.names)


def load(path: Path) -> Model:
    """What `save` wrote, in full precision: from here on this process computes in float64."""
    jax.config.update("jax_enable_x64", True)
    with reading(path), asking(str(path)):
        found = gj.load(path)
        if not isinstance(found, gj.Selection | gj.Mixture):
            raise InputError(f"{path}: holds a {type(found).__name__} and no mixture or selection")
        with np.load(path, allow_pickle=False) as file:
            if "names" not in file.files:
                raise InputError(f"{path}: was saved without the names of its columns")
            names = [str(name) for name in file["names"]]
    return Model(found, names)


def in_data_units(found: gj.Selection, scaling: Scaling) -> gj.Selection:
    """A selection among scaled points as one of the data, float64; criteria stay those compared."""
    found = jax.tree.map(_wide, found)
    shift = float(np.sum(np.log(scaling.scale)))
    certificate = dataclasses.replace(
        found.certificate,
        loss=found.certificate.loss + shift,
        npmle_at=jnp.asarray(scaling.to_data(np.asarray(found.certificate.npmle_at))),
        birth_at=jnp.asarray(scaling.to_data(np.asarray(found.certificate.birth_at))),
        birth_covariance=rescaled(found.certificate.birth_covariance, 1, scaling.scale),
    )
    return dataclasses.replace(
        found, loss=found.loss + shift, certificate=certificate,
        mixture=moved(found.mixture, scaling.offset, scaling.scale),
    )  # fmt: skip


def _wide(leaf: Any) -> Any:
    is_real = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(leaf, jnp.float64) if is_real else jnp.asarray(leaf)


def moved(mixture: gj.Mixture, offset: Any, scale: np.ndarray) -> gj.Mixture:
    """The mixture of x · scale + offset, column by column, where x is of `mixture`."""
    means = np.asarray(mixture.means, float) * scale + offset
    covariance = rescaled(mixture.covariance, len(means), scale)
    return gj.Mixture(jnp.asarray(means), _wide(mixture.log_weights), covariance)


def rescaled(covariance: Any, n: int, scale: np.ndarray) -> Any:
    """The covariances of so many components where columns are multiplied by `scale` (d,)."""
    own = type(covariance)
    own_matrices = np.asarray(covariance.matrices(n, len(scale)), float) * np.outer(scale, scale)
    matrices = jnp.asarray(0.5 * (own_matrices + own_matrices.swapaxes(1, 2)))
    if own is _covariance.Identity:
        own = _covariance.SharedSpherical
    if len(set(scale.tolist())) > 1:
        own = _STRETCHED.get(own, own)
    variances = jnp.einsum("nii->ni", matrices)
    if own is _covariance.SharedSpherical:
        return own(variances[0, 0])
    if own is _covariance.Spherical:
        return own(variances[:, 0])
    if own is _covariance.SharedDiagonal:
        return own(variances[0])
    if own is _covariance.Diagonal:
        return own(variances)
    return own(matrices[0]) if own is _covariance.Tied else own(matrices)


def spreads(mixture: gj.Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) of a mixture's columns."""
    n, d = mixture.means.shape
    weights = np.asarray(mixture.weights, float)
    means = np.asarray(mixture.means, float)
    centre = weights @ means / weights.sum()
    variances = np.einsum("nii->ni", np.asarray(mixture.covariance.matrices(n, d), float))
    return centre, np.sqrt(weights @ (variances + (means - centre) ** 2) / weights.sum())


def assign(model: Model, points: np.ndarray) -> Assigned:
    """Whose the points (N, d) are, in the data's units.

    Computed about the mixture's centre and in its spreads, so that neither offsets nor units cost
    digits.
    """
    centre, scale = spreads(model.mixture)
    inside = moved(model.mixture, -centre / scale, 1 / scale)
    found: Any = inside
    if isinstance(model.found, gj.Selection):
        found = dataclasses.replace(model.found, mixture=inside)
    shift = float(np.sum(np.log(scale)))
    parts: list[Assigned] = []
    whole = min(len(points), _ROWS)
    for first in range(0, len(points), _ROWS):
        rows = (points[first : first + _ROWS] - centre) / scale
        # Filled up, so that nothing is compiled for the last rows.
        block = jnp.asarray(np.pad(rows, ((0, whole - len(rows)), (0, 0)), mode="edge"))
        label, best, log = (np.asarray(values)[: len(rows)] for values in _assigned(found, block))
        parts.append(Assigned(label, best, log - shift))
    return Assigned(*map(np.concatenate, zip(*parts, strict=True)))


@jax.jit
def _assigned(
    found: gj.Selection | gj.Mixture, points: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One program: each of its own would take its time to compile."""
    if isinstance(found, gj.Selection):
        mixture, shares = found.mixture, found.probabilities(points)
    else:
        mixture, shares = found, gj.responsibilities(found, points)
    return jnp.argmax(shares, axis=1), jnp.max(shares, axis=1), gj.log_density(mixture, points)


def ranks(model: Model, log_density: np.ndarray) -> np.ndarray:
    """(N,) the share of the model's own points where it is less dense: near 0 for what is unusual.

    By a sample of the model that is always the same.
    """
    centre, scale = spreads(model.mixture)
    inside = moved(model.mixture, -centre / scale, 1 / scale)
    drawn = gj.sample(jax.random.key(0), inside, _DRAWN)
    own = np.sort(np.asarray(gj.log_density(inside, drawn)) - float(np.sum(np.log(scale))))
    return np.asarray(np.searchsorted(own, log_density) / _DRAWN)


def matched(model: Model, names: Sequence[str], where: str) -> list[int]:
    """The places among a table's columns of those of the model; refuses a table without them."""
    missing = [name for name in model.names if name not in names]
    if missing:
        raise InputError(
            f"{where}: has no column {missing[0]!r}, which the model needs "
            f"({len(missing)} of {len(model.names)} are missing)"
        )
    return [list(names).index(name) for name in model.names]
