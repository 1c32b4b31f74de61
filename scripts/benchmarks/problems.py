"""The problems that several suites share: float32 samples and starting points."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import gemjax as gj

# (N, d, n): small, wide in components, and large.
SHAPES = ((20_000, 10, 20), (100_000, 2, 100), (200_000, 16, 64))
QUICK_SHAPES = ((1000, 2, 40),)


def sample(N: int, d: int, separation: float = 6.0) -> gj.Target:
    """N points from three Gaussians in d >= 2 dimensions."""
    truth = gj.truth.simplex(3, d, separation=separation)
    return gj.empirical(gj.sample(jax.random.key(0), truth, N).astype(jnp.float32))


def start(target: gj.Target, n: int) -> gj.Mixture:
    """n of the points, as in the sweeps."""
    return gj.initialize.from_target(jax.random.key(1), target, n)


def label(N: int, d: int, n: int) -> str:
    """How a shape is written in tables."""
    return f"N = {N:,}, d = {d}, n = {n}"
