"""Calls outside of `jit` compile themselves: a few programs each, not one per operation."""

import re

import jax
import numpy as np
import pytest

import gemjax as gj

KEY = jax.random.key(0)
POINTS = np.random.default_rng(0).normal(size=(37, 3))  # a shape that no other test has
MIXTURE, TARGET = gj.make_mixture(POINTS[:5]), gj.empirical(POINTS)
TRUTH = gj.truth.simplex(3, 3, 6.0)
PRIOR = gj.Prior(2.0, np.zeros(3), 1.0)
CALLS = {
    "empirical": lambda: gj.empirical(POINTS[:36], np.ones(36)),
    "make_mixture": lambda: gj.make_mixture(POINTS[:7], np.ones(7)),
    "from_target": lambda: gj.initialize.from_target(KEY, TARGET, 6),
    "plus_plus": lambda: gj.initialize.plus_plus(KEY, TARGET, 6),
    "spectral": lambda: gj.initialize.spectral(KEY, TARGET, 6, 2),
    "tensor": lambda: gj.initialize.tensor(KEY, TARGET, 6, 2),
    "fit": lambda: gj.fit(gj.GradientEM(), TARGET, MIXTURE, num_iterations=2),
    "map_em": lambda: gj.fit(gj.classical_em(prior=PRIOR), TARGET, MIXTURE, num_iterations=2),
    "log_prior": lambda: PRIOR.log_density(MIXTURE),
    "sweep": lambda: gj.sweep(
        KEY, gj.GradientEM(), TARGET, num_seeds=2, num_components=4, num_iterations=2
    ),
    "loss": lambda: gj.loss(MIXTURE, TARGET),
    "log_density": lambda: gj.log_density(MIXTURE, POINTS),
    "responsibilities": lambda: gj.responsibilities(MIXTURE, POINTS),
    "sample": lambda: gj.sample(KEY, MIXTURE, 11),
    "certificate": lambda: gj.certificate(MIXTURE, TARGET, KEY, num_starts=4, num_steps=2),
    "hermite": lambda: gj.hermite.residuals(MIXTURE, TRUTH),
    "moments": lambda: gj.hermite.expectation(3, TARGET),
    "recovery": lambda: gj.recovery(MIXTURE, TRUTH),
    "diagnose": lambda: gj.diagnose(MIXTURE, TRUTH),
    "insert": lambda: gj.insert(MIXTURE, POINTS[0]),
    "polish": lambda: gj.polish(MIXTURE, TARGET),
    "prune": lambda: gj.prune(MIXTURE, least_weight=0.1, num_components=4),
    "merge": lambda: gj.merge(MIXTURE),
    "merge_path": lambda: gj.merge_path(MIXTURE, TARGET, num_iterations=2),
    "select": lambda: gj.select(TARGET, KEY, num_starts=1),
    "solve_weights": lambda: gj.solve_weights(np.zeros((35, 2))),
}


# `select` is stages and a certificate, and looks between them at what was found: a program each,
# and some that fill up and cut up points, and change the number of slots.
MOST = {"select": 30}
# The same again with other values, which are all traced.
OTHER = gj.make_mixture(POINTS[2:7] + 0.1)
AGAIN = {
    "prune": lambda: gj.prune(OTHER, least_weight=0.2, num_components=4),
    "merge": lambda: gj.merge(OTHER),
    "merge_path": lambda: gj.merge_path(OTHER, gj.empirical(POINTS + 0.1), num_iterations=2),
    "select": lambda: gj.select(gj.empirical(1.1 * POINTS), KEY, num_starts=1),
}


def programs(call, caplog):
    """Of a call, the names of those that were compiled."""
    caplog.clear()
    with jax.log_compiles():
        call()
    messages = (record.getMessage() for record in caplog.records)
    return [m for m in messages if re.match(r"Finished XLA compilation of", m)]


@pytest.mark.parametrize("name", CALLS)
def test_few_programs(name, caplog):
    compiled = programs(CALLS[name], caplog)
    assert len(compiled) <= MOST.get(name, 5), compiled
    assert compiled or name != "fit"  # that they are told of
    if name in AGAIN:
        assert compiled
        assert not programs(AGAIN[name], caplog)
