"""Bad input gets a message that names the argument, its value and what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj

TARGET = gj.empirical([[0.0, 1.0], [2.0, 3.0]])
START = gj.make_mixture([[0.0, 0.0]])


def fit(solver=None, target=TARGET, start=START, T=1, **settings):
    return gj.fit(solver or gj.GradientEM(), target, start, num_iterations=T, **settings)


BAD = [
    (lambda: gj.empirical([1.0, np.nan]), ValueError, r"points must be finite, got nan"),
    (lambda: gj.empirical([1.0, np.inf]), ValueError, r"points must be finite, got inf"),
    (lambda: gj.empirical([]), ValueError, "points must not be empty"),
    (lambda: gj.empirical(["a"]), TypeError, "points must be an array of numbers"),
    (lambda: gj.empirical(np.zeros((2, 2, 2))), ValueError, r"shape \(N, d\)"),
    (lambda: gj.empirical([1.0, 2.0], [1.0, -1.0]), ValueError, "weights .* non-negative, got -1"),
    (lambda: gj.empirical([1.0, 2.0], [0.0, 0.0]), ValueError, "weights must not all be zero"),
    (lambda: gj.empirical([1.0, 2.0], [1.0]), ValueError, r"weights must have shape \(2,\)"),
    (lambda: gj.make_mixture([[np.nan]]), ValueError, "means must be finite"),
    (lambda: fit(start=gj.make_mixture([0.0])), ValueError, "target has dimension 2"),
    (lambda: fit(T=0), ValueError, "num_iterations must be at least 1, got 0"),
    (lambda: fit(T=10**400), ValueError, "num_iterations must be at most 2147483647"),
    (lambda: fit(T=2.5), TypeError, "num_iterations must be an integer, got 2.5"),
    (lambda: fit(gj.GradientEM(0.0)), ValueError, "step_size must be positive and finite, got 0"),
    (lambda: fit(gj.GradientEM(0.5, -1.0)), ValueError, "weight_step_size must be positive"),
    (lambda: fit(gj.GradientEM(weight_steps=-1)), ValueError, "weight_steps must be at least 0"),
    (lambda: fit(gj.GradientEM(weight_rule="no")), ValueError, "weight_rule must be one of mirror"),
    (lambda: fit(gj.GradientEM(mean_rule="no")), ValueError, "mean_rule must be one of gradient"),
    (lambda: fit(target=np.zeros((3, 2))), TypeError, "target must be a Target"),
    (lambda: fit(start=[0.0]), TypeError, "mixture must be a Mixture"),
    (lambda: fit(start=gj.Mixture(jnp.zeros((2, 2)), jnp.zeros(2))), ValueError, "sum to 2"),
    (lambda: gj.log_density(START, [[np.nan, 0.0]]), ValueError, "x must be finite"),
    (lambda: gj.log_density(START, np.zeros((1, 2), np.float32)), TypeError, "float64 .* float32"),
    (lambda: gj.initialize.from_target(jax.random.key(0), TARGET, 0), ValueError, "n must be a"),
    (lambda: gj.initialize.from_target(jax.random.key(0), TARGET, 1.0), TypeError, "n must be an"),
    (lambda: gj.initialize.spectral(jax.random.key(0), TARGET, 1, 3), ValueError, "rank must"),
    (lambda: gj.initialize.tensor(jax.random.key(0), TARGET, 5, 4), ValueError, "rank must"),
    (lambda: gj.truth.simplex(4, 2, 1.0), ValueError, r"at most d \+ 1 = 3"),
    (lambda: gj.truth.ring(4, 1, 1.0), ValueError, "d must be at least 2"),
    (lambda: gj.truth.grid(4, 1, -1.0), ValueError, "separation must be positive"),
    (lambda: gj.population(START, num_nodes=1), ValueError, "num_nodes must be at least 2"),
    (lambda: gj.population(START, num_nodes=10**5), ValueError, "counts nodes per axis"),
    (lambda: gj.recovery(START, START, tolerance=-1), ValueError, "tolerance must be non-negative"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_traced_values_are_not_looked_at():
    result = jax.jit(lambda x: fit(target=gj.Target(x, TARGET.weights)))(TARGET.points * np.nan)
    assert result.status == gj.Status.DIVERGED


def test_import_needs_no_extra():
    import subprocess
    import sys

    code = (
        "import sys, gemjax\n"
        "bad = {'typer', 'rich', 'matplotlib', 'tomli_w', 'scipy.stats'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
