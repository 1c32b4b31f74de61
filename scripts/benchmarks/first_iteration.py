"""The process that the start-up suite times: imports nothing but the clock at the top."""

import json
import sys
import time

N, D, COMPONENTS = 20_000, 10, 20


def main() -> None:
    start = json.loads(sys.argv[1])["start"]
    clocks = [time.time()]

    import jax

    clocks.append(time.time())

    import gemjax as gj

    clocks.append(time.time())

    import numpy as np

    points = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    target, mixture = gj.empirical(points), gj.make_mixture(points[:COMPONENTS])
    jax.block_until_ready(gj.fit(gj.GradientEM(), target, mixture, num_iterations=1))
    seconds = {
        "import jax": clocks[1] - clocks[0],
        "import gemjax": clocks[2] - clocks[1],
        "first iteration": time.time() - start,
    }

    def fit(target: gj.Target, mixture: gj.Mixture) -> gj.Fit:
        return gj.fit(gj.GradientEM(), target, mixture, num_iterations=100)

    def sweep(target: gj.Target, key: jax.Array) -> gj.Fit:
        return gj.sweep(
            key, gj.GradientEM(), target,
            num_seeds=32, num_components=COMPONENTS, num_iterations=100,
        )  # fmt: skip

    for name, function, argument in (("fit", fit, mixture), ("sweep", sweep, jax.random.key(0))):
        clock = time.perf_counter()
        lowered = jax.jit(function).lower(target, argument)
        seconds[f"trace {name}"] = time.perf_counter() - clock
        clock = time.perf_counter()
        lowered.compile()
        seconds[f"compile {name}"] = time.perf_counter() - clock
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
