"""On a GPU: forms of the E-step, and whole iterations of a sweep, relative to what the card can do.

Copy bandwidth and matrix-product rates are measured in the same run. Work that touches N·n numbers
is then also given in *passes*: its time in units of reading or writing those numbers once at the
measured bandwidth. A fused E-step would need none, and an iteration with K weight steps on stored
densities needs K + 2. E-steps are chained, each starting from the last one's result, so that one
launch from Python starts many. Every form is paired with the error in its responsibilities at
separation 20, where the default precision of products (TF32 on NVIDIA) shows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

import gemjax as gj
from benchmarks import forms, measure, problems

TITLE = "On a GPU"
PRECISIONS = {"default": Precision.DEFAULT, "highest": Precision.HIGHEST}
WEIGHT_STEPS = 10
SHORT, LONG = 4, 24
# Entries n·C of a block: small where blocks are a batch axis, 16 MiB where they take turns.
BATCHED_ENTRIES, SCANNED_ENTRIES = 2**15, 2**22

# A form takes means (n, d), log-weights (n,), points and their weights in its layout, and a
# precision; returns responsibilities times weights in its layout, or their sum and moments.


def rows(means: Any, log_weights: Any, x: Any, weights: Any, precision: Any) -> tuple[Any, Any]:
    """Points (N, d), responsibilities (N, n)."""
    log_joint = jnp.matmul(x, means.T, precision=precision) + _offsets(means, log_weights)[None]
    psi = jax.nn.softmax(log_joint, axis=1)
    return psi, jnp.matmul((psi * weights[:, None]).T, x, precision=precision)


def columns(means: Any, log_weights: Any, x: Any, weights: Any, precision: Any) -> tuple[Any, Any]:
    """Points (d, N), responsibilities (n, N)."""
    log_joint = jnp.matmul(means, x, precision=precision) + _offsets(means, log_weights)[:, None]
    psi = jax.nn.softmax(log_joint, axis=0)
    return psi, jnp.matmul(psi * weights[None], x.T, precision=precision)


def batched(means: Any, log_weights: Any, x: Any, weights: Any, precision: Any) -> tuple[Any, Any]:
    """Points (B, d, C), responsibilities (B, n, C), blocks as a batch axis."""
    log_joint = jnp.einsum("nd,bdc->bnc", means, x, precision=precision)
    psi = jax.nn.softmax(log_joint + _offsets(means, log_weights)[None, :, None], axis=1)
    moments = jnp.einsum("bnc,bdc->bnd", psi * weights[:, None], x, precision=precision)
    return psi, jnp.sum(moments, axis=0)


def scanned(means: Any, log_weights: Any, x: Any, weights: Any, precision: Any) -> tuple[Any, Any]:
    """Points (B, d, C), responsibilities (B, n, C), one block after another."""

    def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        psi, moments = columns(means, log_weights, *block, precision)
        return total + moments, psi

    moments, psi = jax.lax.scan(add, jnp.zeros_like(means), (x, weights))
    return psi, moments


def _offsets(means: jax.Array, log_weights: jax.Array) -> jax.Array:
    return log_weights - 0.5 * jnp.sum(means * means, axis=1)


# name: (form, entries of a block or None, responsibilities in its layout as (N, n))
FORMS: dict[str, tuple[Callable[..., Any], int | None, Callable[[Any], Any]]] = {
    "[N, n]": (rows, None, lambda psi: psi),
    "[n, N]": (columns, None, lambda psi: psi.T),
    "[B, n, C], batch axis": (
        batched, BATCHED_ENTRIES, lambda psi: psi.transpose(0, 2, 1).reshape(-1, psi.shape[1])
    ),
    "[n, C], scan over blocks": (
        scanned, SCANNED_ENTRIES, lambda psi: psi.transpose(0, 2, 1).reshape(-1, psi.shape[1])
    ),
}  # fmt: skip


def run(quick: bool) -> dict[str, Any]:
    if jax.default_backend() != "gpu":
        raise SystemExit(f"the gpu suite needs a GPU, and jax runs on {jax.default_backend()} here")
    if quick:
        return measure_all()
    return measure_all(
        shapes=(*problems.SHAPES, (1_000_000, 32, 64)),
        error_shape=(20_000, 10, 20),
        sweep={"N": 20_000, "d": 10, "n": 20, "S": 1024},
        batch_sizes=(32, 128, 256, 1024),
        copy_numbers=2**28,
        matrix=8192,
        rounds=9,
        chained=50,
        least=0.05,
    )


def measure_all(
    *,
    shapes: tuple[tuple[int, int, int], ...] = problems.QUICK_SHAPES,
    error_shape: tuple[int, int, int] = (500, 3, 5),
    sweep: dict[str, int] | None = None,
    batch_sizes: tuple[int, ...] = (2,),
    copy_numbers: int = 2**12,
    matrix: int = 64,
    rounds: int = 2,
    chained: int = 2,
    least: float = 0.0,
) -> dict[str, Any]:
    """The suite at any size, by default tiny, on whatever device jax has."""
    sweep = sweep or {"N": 300, "d": 3, "n": 4, "S": 3}
    machine = _machine(copy_numbers, matrix, rounds, least)
    bandwidth = machine["bytes_per_second"]["median"]
    return {
        "machine": machine,
        "e_steps": [_e_steps(*shape, rounds, chained, least, bandwidth) for shape in shapes],
        "errors": _errors(*error_shape),
        "sweep": _sweep(sweep, batch_sizes, rounds, bandwidth),
    }


def _machine(copy_numbers: int, matrix: int, rounds: int, least: float) -> dict[str, Any]:
    x = jnp.ones(copy_numbers, jnp.float32)
    square = jnp.ones((matrix, matrix), jnp.float32)
    # A negation reads and writes every number once, as a copy does, and cannot be elided.
    negate = jax.jit(jnp.negative)
    contenders = {"copy": lambda: negate(x)}
    for name, precision in PRECISIONS.items():
        multiply = jax.jit(lambda a, p=precision: jnp.matmul(a, a, precision=p))
        contenders[name] = lambda multiply=multiply: multiply(square)
    seconds = measure.interleave(contenders, rounds, least)
    return {
        "bytes_per_second": measure.spread([8 * copy_numbers / s for s in seconds["copy"]]),
        "flops_per_second": {
            name: measure.spread([2 * matrix**3 / s for s in seconds[name]]) for name in PRECISIONS
        },
    }


def _layout(target: gj.Target, n: int, name: str) -> tuple[jax.Array, jax.Array]:
    """Points and weights as a form wants them."""
    _, entries, _ = FORMS[name]
    x, weights = target.points, target.weights
    if entries is None:
        return (x if name == "[N, n]" else x.T), weights
    N, d = x.shape
    C = min(N, max(128, entries // n // 128 * 128))
    B = -(-N // C)
    pad = B * C - N
    x = jnp.pad(x, ((0, pad), (0, 0))).reshape(B, C, d).transpose(0, 2, 1)
    return x, jnp.pad(weights, (0, pad)).reshape(B, C)


def _chain(step: Callable[..., jax.Array], chained: int) -> Callable[..., jax.Array]:
    """`step(means, *data)` so often, each a little dependent on the one before."""

    def run(means: jax.Array, *data: Any) -> jax.Array:
        def body(means: jax.Array, _: None) -> tuple[jax.Array, None]:
            return means + 1e-20 * step(means, *data), None

        return jax.lax.scan(body, means, length=chained)[0]

    return jax.jit(run)


def _e_steps(
    N: int, d: int, n: int, rounds: int, chained: int, least: float, bandwidth: float
) -> dict[str, Any]:
    target = problems.sample(N, d)
    mixture = problems.start(target, n)
    blocks = forms.blocks_of(target, n)

    def gemjax(means: jax.Array, blocks: Any) -> jax.Array:
        return forms.gemjax_e_step(gj.Mixture(means, mixture.log_weights), blocks)[2]

    contenders = {"gemjax": functools.partial(_chain(gemjax, chained), mixture.means, blocks)}
    found = {}
    for name, (form, *_) in FORMS.items():
        data = _layout(target, n, name)
        for label, precision in PRECISIONS.items():

            def step(means: jax.Array, x: Any, w: Any, form=form, p=precision) -> jax.Array:
                return form(means, mixture.log_weights, x, w, p)[1]

            contenders[f"{name}, {label}"] = functools.partial(
                _chain(step, chained), mixture.means, *data
            )
            found[f"{name}, {label}"] = step(mixture.means, *data)
    for name in FORMS:
        difference = measure.disagreement([found[f"{name}, highest"]], [found["[N, n], highest"]])
        measure.require_agreement(name, difference, 1e-4)
    seconds = measure.interleave(contenders, rounds, least)
    once = 4 * N * n / bandwidth
    return {
        "shape": [N, d, n],
        "seconds": {k: measure.spread([x / chained for x in v]) for k, v in seconds.items()},
        "passes": {k: measure.spread([x / chained / once for x in v]) for k, v in seconds.items()},
    }


def _errors(N: int, d: int, n: int) -> dict[str, float]:
    """Largest error of a responsibility at separation 20, against float64 in NumPy."""
    target = problems.sample(N, d, separation=20.0)
    mixture = problems.start(target, n)
    x, means = (np.asarray(a, np.float64) for a in (target.points, mixture.means))
    log_joint = x @ means.T - 0.5 * np.sum(means**2, axis=1) + np.asarray(mixture.log_weights)
    exact = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    psi = {"gemjax": gj.responsibilities(mixture, target.points)}
    for name, (form, _, as_rows) in FORMS.items():
        data = _layout(target, n, name)
        for label, precision in PRECISIONS.items():
            compiled = jax.jit(functools.partial(form, precision=precision))
            found = compiled(mixture.means, mixture.log_weights, *data)[0]
            psi[f"{name}, {label}"] = as_rows(found)[:N]
    return {name: float(np.max(np.abs(np.asarray(p) - exact))) for name, p in psi.items()}


def _sweep(
    sizes: dict[str, int], batch_sizes: tuple[int, ...], rounds: int, bandwidth: float
) -> dict[str, Any]:
    target = problems.sample(sizes["N"], sizes["d"])
    solver = gj.GradientEM(weight_tolerance=0.0, weight_steps=WEIGHT_STEPS)
    numbers = sizes["S"] * sizes["N"] * sizes["n"]

    def contender(batch_size: int, iterations: int) -> Callable[[], gj.Fit]:
        return lambda: gj.sweep(
            jax.random.key(3), solver, target, num_seeds=sizes["S"], num_components=sizes["n"],
            num_iterations=iterations, batch_size=batch_size,
        )  # fmt: skip

    seconds = measure.interleave(
        {f"{b}: {T}": contender(b, T) for b in batch_sizes for T in (SHORT, LONG)}, rounds, 0.0
    )
    found = []
    for b in batch_sizes:
        each = measure.per_iteration(seconds, f"{b}: {SHORT}", f"{b}: {LONG}", LONG - SHORT)
        # One pass to write the densities, K to step the weights, one for the statistics.
        rates = [4 * numbers * (WEIGHT_STEPS + 2) / x for x in each]
        found.append(
            {
                "batch_size": b,
                "seconds_per_iteration": measure.spread(each),
                "nanoseconds": measure.spread([1e9 * x / numbers for x in each]),
                "of_copy_bandwidth": measure.spread([x / bandwidth for x in rates]),
            }
        )
    return {"sizes": sizes, "rows": found}


def markdown(result: dict[str, Any]) -> str:
    machine, sweep = result["machine"], result["sweep"]
    rates = machine["flops_per_second"]
    shapes = [problems.label(*row["shape"]) for row in result["e_steps"]]
    sizes = sweep["sizes"]
    e_steps = []
    for name, error in result["errors"].items():
        cells = [
            f"{measure.cell(row['seconds'][name], 1e6, 1)}; {row['passes'][name]['median']:.1f}"
            for row in result["e_steps"]
        ]
        e_steps.append([name, *cells, f"{error:.0e}"])
    sweeps = [
        [
            row["batch_size"],
            measure.cell(row["seconds_per_iteration"], 1e3),
            measure.cell(row["nanoseconds"], 1, 4),
            measure.cell(row["of_copy_bandwidth"]),
        ]
        for row in sweep["rows"]
    ]
    return "\n\n".join(
        [
            f"A copy moves {measure.cell(machine['bytes_per_second'], 1e-9, 0)} GB/s, reading and "
            f"writing; products run at {measure.cell(rates['default'], 1e-12, 1)} Tflop/s at the "
            f"default precision and {measure.cell(rates['highest'], 1e-12, 1)} at the highest.",
            measure.table(
                ["E-step, µs; passes", *shapes, "error of responsibilities at separation 20"],
                e_steps,
            ),
            measure.table(
                [
                    f"batch_size; S = {sizes['S']:,}, "
                    + problems.label(sizes["N"], sizes["d"], sizes["n"]),
                    f"ms per iteration, K = {WEIGHT_STEPS}",
                    "ns per point and component",
                    f"K + 2 = {WEIGHT_STEPS + 2} passes per iteration, of copy bandwidth",
                ],
                sweeps,
            ),
        ]
    )
