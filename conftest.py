"""The suite is strict by default: float64, no silent broadcasting or promotion of dtypes.

One file, test_float32.py, repeats the essentials in float32.
"""

import signal

import jax

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # In the background of a script Ctrl-C is ignored, also by the processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # for the tests of meshes
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
