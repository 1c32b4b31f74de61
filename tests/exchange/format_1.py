"""How format_1.npz was made, once and for all: what any later version must read.

JAX_ENABLE_X64=1 python tests/exchange/format_1.py
"""

from pathlib import Path

import jax

import gemjax as gj

if __name__ == "__main__":
    points = gj.sample(jax.random.key(0), gj.truth.ring(3, 2, separation=6.0), 60)
    found = gj.select(
        gj.empirical(points), jax.random.key(1), families=("EII", "VVV"), num_starts=1
    )
    gj.save(Path(__file__).with_suffix(".npz"), found, names=["length [cm]", "Höhe"])
