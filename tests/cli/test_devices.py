"""Several devices, and several processes, give the numbers of one."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from marks import mostly_slow

import gemjax as gj

pytestmark = pytest.mark.skipif(len(jax.devices()) < 2, reason="one device, not a CPU's two")

ROOT = Path(__file__).resolve().parents[2]
KEY = jax.random.key(7)
TRUTH = gj.truth.ring(3, 2, separation=5.0)
TARGET = gj.empirical(gj.sample(jax.random.key(0), TRUTH, 403))  # odd: shares are unequal
SETTINGS = {"num_seeds": 5, "num_components": 4, "num_iterations": 12}


def mesh(seed, data):
    return Mesh(np.array(jax.devices()[: seed * data]).reshape(seed, data), ("seed", "data"))


def assert_same(a, b):
    np.testing.assert_allclose(a.mixture.means, b.mixture.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(a.history.loss, b.history.loss, rtol=1e-12)
    np.testing.assert_allclose(a.history.duality_gap, b.history.duality_gap, atol=1e-10)
    np.testing.assert_array_equal(a.status, b.status)


@pytest.mark.parametrize("rule", ["gradient", "em"])
def test_points_spread_over_devices(rule):
    solver = gj.GradientEM(mean_rule=rule)
    alone = gj.sweep(KEY, solver, TARGET, **SETTINGS)
    assert_same(gj.sweep(KEY, solver, TARGET, mesh=mesh(1, 2), **SETTINGS), alone)
    chunked = gj.GradientEM(
        mean_rule=rule, blocking=gj.Blocking(block_size=16, copied_bytes=2000, stored_bytes=0)
    )
    assert_same(gj.sweep(KEY, chunked, TARGET, mesh=mesh(1, 2), **SETTINGS), alone)


def test_classical_em_and_weighted_points_over_devices():
    weights = np.arange(1.0, 404.0)
    target = gj.empirical(TARGET.points, weights)
    alone = gj.sweep(KEY, gj.classical_em(), target, **SETTINGS)
    assert_same(gj.sweep(KEY, gj.classical_em(), target, mesh=mesh(1, 2), **SETTINGS), alone)


def test_a_truth_with_weights_over_devices():
    """Its arrays must be on no device in particular, or no mesh takes what is made of them."""
    truth = gj.truth.ring(3, 2, 4.0, jnp.array([0.2, 0.3, 0.5]))
    target = gj.population(truth, num_nodes=16)
    alone = gj.sweep(KEY, gj.GradientEM(), target, **SETTINGS)
    assert_same(gj.sweep(KEY, gj.GradientEM(), target, mesh=mesh(2, 1), **SETTINGS), alone)


def test_points_far_from_the_origin_over_devices():
    """The shares are made equal with points of weight zero: these must not lie at the origin."""
    target = gj.empirical(jnp.float32(TARGET.points + 1e4))
    alone = gj.sweep(KEY, gj.GradientEM(), target, **SETTINGS)
    spread = gj.sweep(KEY, gj.GradientEM(), target, mesh=mesh(1, 2), **SETTINGS)
    np.testing.assert_allclose(spread.history.loss, alone.history.loss, rtol=1e-5)


def test_settings_are_checked_before_points_are_spread():
    with pytest.raises(ValueError, match="step_size must be positive"):
        gj.sweep(KEY, gj.GradientEM(-1.0), TARGET, mesh=mesh(1, 2), **SETTINGS)


def test_other_axes_are_refused():
    bad = Mesh(np.array(jax.devices()[:2]).reshape(2, 1), ("seed", "model"))
    with pytest.raises(ValueError, match='may have an axis "data", got axes'):
        gj.sweep(KEY, gj.GradientEM(), TARGET, mesh=bad, **SETTINGS)


def test_the_example_in_the_documentation_runs():
    text = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["fits"].mixture.means.shape == (8, 7, 2)


PROCESS = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
address, index, shape, out = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
jax.distributed.initialize(address, 2, index)
import numpy as np
import gemjax as gj
from jax.sharding import Mesh
truth = gj.truth.ring(3, 2, separation=5.0)
target = gj.empirical(gj.sample(jax.random.key(0), truth, 403))
devices = np.array(jax.devices())
assert len(devices) == 2 and len(jax.local_devices()) == 1
mesh = Mesh(devices.reshape((2, 1) if shape == "seed" else (1, 2)), ("seed", "data"))
fits = gj.sweep(jax.random.key(7), gj.GradientEM(), target, mesh=mesh,
                num_seeds=5, num_components=4, num_iterations=12)
np.savez(out, means=fits.mixture.means, loss=fits.history.loss, status=fits.status)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("axis", mostly_slow(["seed", "data"], 1))
def test_two_processes(axis, tmp_path):
    address = f"localhost:{free_port()}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(i), axis, str(tmp_path / f"{i}.npz")],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    alone = gj.sweep(KEY, gj.GradientEM(), TARGET, **SETTINGS)
    for i in range(2):
        with np.load(tmp_path / f"{i}.npz") as found:
            np.testing.assert_allclose(found["means"], alone.mixture.means, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(found["loss"], alone.history.loss, rtol=1e-12)
            assert found["status"].tolist() == [0] * 5
