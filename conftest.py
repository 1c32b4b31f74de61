"""The suite is strict by default: float64, no silent broadcasting or promotion of dtypes.

One file, test_float32.py, repeats the essentials in float32.
"""

import atexit
import gc
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # What one worker or child process has compiled, the others read.
    folder = tempfile.mkdtemp(prefix="gemjax-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

if "XLA_FLAGS" not in os.environ:
    # Most of the time goes into compiling. This way, and with few optimizations, takes a third of
    # that, for code several times as slow, and what is tested does not depend on it: both ways pass
    # (XLA_FLAGS= for the other).
    # XLA ends a process that has a flag it does not know, so that another one has to ask.
    ways = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    flags = {**os.environ, "XLA_FLAGS": ways}
    asked = [sys.executable, "-c", "import jax; jax.devices()"]
    known = subprocess.run(asked, env=flags, capture_output=True, check=False).returncode == 0
    os.environ["XLA_FLAGS"] = flags["XLA_FLAGS"] if known else ""
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # In the background of a script Ctrl-C is ignored, also by the processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tracing makes millions of small objects, which are kept.
gc.set_threshold(100_000, 50, 100)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # for the tests of meshes
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


# Packages that a conversion is for, whose examples run where they are.
OTHERS = {"gmmx": "gmmx", "numpyro": "numpyro", "ott": "ott", "tfp": "tensorflow_probability"}
collect_ignore = [
    f"gemjax/_exchange/{file}.py"
    for file, package in OTHERS.items()
    if importlib.util.find_spec(package) is None
]


@pytest.fixture(autouse=True, scope="module")
def _forget_what_was_compiled():
    """A process may hold only so many compiled programs: each has memory maps of its own."""
    yield
    jax.clear_caches()
