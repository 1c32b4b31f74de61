"""The suite is strict by default: float64, no silent broadcasting or promotion of dtypes.

One file, test_float32.py, repeats the essentials in float32.
"""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # for the tests of meshes
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
