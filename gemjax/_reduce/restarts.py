"""More starts for a known number of components: mergings of many pieces end in few optima."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gemjax._base.records import Mixture
from gemjax._families.kind import Kind
from gemjax._numerics.finite import safe_log
from gemjax._points.blocks import Blocks, Chunks
from gemjax._points.target import Target
from gemjax._reduce.criteria import Settings
from gemjax._reduce.descent import Level
from gemjax._reduce.stages import Compared, Pieces, fitted, pieces


@functools.partial(jax.jit, static_argnums=6)
def restarted(
    best: Compared,
    keys: jax.Array,
    seen: Target,
    found: Pieces,
    blocks: Blocks | Chunks,
    settings: Settings,
    criterion: str,
    unseen: Blocks | Chunks | None,
) -> Compared:
    """Of every family its best level, or what EM comes to from as many pieces as it has
    components, by one of the keys (k,), where the criterion is lower for that."""

    def of_family(known: tuple[Level, jax.Array]) -> tuple[Level, jax.Array]:
        level = known[0]
        family, (m, _) = level.mixture.covariance, level.mixture.means.shape
        assert isinstance(family, Kind)

        def start(known: tuple[Level, jax.Array], key: jax.Array) -> tuple:
            cut = pieces(key, seen.points, seen.weights, m, family.spread.ndim == 2, m)
            spread = jnp.broadcast_to(cut.within[None], (m, *cut.within.shape))
            mixture = Mixture(cut.means, safe_log(cut.mass), family.held(spread, cut.mass))
            other = level._replace(mixture=mixture)
            new = fitted(other, found, blocks, settings, criterion, unseen, known[1])
            lower = new[1] < known[1]
            return jax.tree.map(lambda a, b: jnp.where(lower, a, b), new, known), None

        return jax.lax.scan(start, known, keys)[0]

    levels, criteria = jax.lax.map(of_family, (best.best, best.best_criterion))
    return best._replace(best=levels, best_criterion=criteria)
