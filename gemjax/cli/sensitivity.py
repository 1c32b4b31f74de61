"""Derivatives of where fits end, with respect to what they depend on."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gemjax as gj
from gemjax.cli.case import Case
from gemjax.cli.paths import smallest_separation


class Knobs(NamedTuple):
    """What a fit depends on; of the starting means, derivatives are told by their norm.

    The truth scales with `separation`: its sample or its quadrature with it, the start does not.
    """

    step_size: jax.Array
    weight_step_size: jax.Array
    separation: jax.Array
    start: jax.Array


class Sensitivity(NamedTuple):
    """Per seed, the derivatives of the final loss and of the final `rms_distance`."""

    loss: Knobs
    error: Knobs


def of_seeds(case: Case, starts: gj.Mixture) -> Sensitivity:
    """The derivatives at starts with a leading axis of seeds: one compiled `vmap` of gradients."""
    assert case.truth is not None  # both checked with the config
    assert isinstance(case.solver, gj.GradientEM)
    dtype = case.target.dtype
    separation = jnp.asarray(smallest_separation(case.truth) or 1.0, dtype)
    static = (case.point.solver.num_iterations, case.point.target.kind == "samples",
              case.point.target.num_samples, case.point.target.num_nodes)  # fmt: skip
    key = jax.random.key(case.point.target.seed)
    found = _gradients(case.solver.as_arrays(dtype), case.truth, separation, key, starts, static)
    norm = lambda knobs: knobs._replace(start=jnp.linalg.norm(knobs.start, axis=(1, 2)))  # noqa: E731
    return Sensitivity(*map(norm, found))


@functools.partial(jax.jit, static_argnames="static")
def _gradients(
    solver: gj.GradientEM, truth: gj.Mixture, separation: jax.Array, key: jax.Array,
    starts: gj.Mixture, static: tuple[Any, ...],
) -> tuple[Knobs, Knobs]:  # fmt: skip
    def both(start: gj.Mixture) -> tuple[Knobs, Knobs]:
        given: Any = (solver.step_size, solver.weight_step_size, separation, start.means)
        knobs = Knobs(*given)
        value = lambda knobs: ends(solver, truth, separation, key, start, static, knobs)  # noqa: E731
        return jax.jacrev(value)(knobs)  # the gradients of both from one run forward

    return jax.vmap(both)(starts)


def ends(
    solver: gj.GradientEM, truth: gj.Mixture, separation: jax.Array, key: jax.Array,
    start: gj.Mixture, static: tuple[Any, ...], knobs: Knobs,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Final loss and `rms_distance` of one fit, as a function of its knobs."""
    num_iterations, sampled, num_samples, num_nodes = static
    scaled = dataclasses.replace(truth, means=truth.means * (knobs.separation / separation))
    if sampled:
        target = gj.empirical(gj.sample(key, scaled, num_samples))
    else:
        target = gj.population(scaled, num_nodes=num_nodes)
    solver = dataclasses.replace(
        solver, step_size=knobs.step_size, weight_step_size=knobs.weight_step_size
    )
    start = dataclasses.replace(start, means=knobs.start)
    fit = gj.fit(solver, target, start, num_iterations=num_iterations)
    return gj.loss(fit.mixture, target), gj.recovery(fit.mixture, scaled).rms_distance
