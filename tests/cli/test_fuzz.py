"""Mutated configs and data: whatever comes, one line and an exit code, or results that are finite.

Each case has its own seed; `-m slow` runs many more. Sizes are tiny, so that what is right costs
little: nearly all cases have the same shapes, which compile once.
"""

import csv
import gzip
import json
import math
import random
import warnings

import jax
import numpy as np
import pytest

from gemjax import cli

TABLES = {
    "truth": {"kind": "ring", "num_components": 3, "dim": 2, "separation": 4.0},
    "target": {"kind": "samples", "num_samples": 12, "seed": 0, "dtype": "float32"},
    "model": {"num_components": 3, "init": "from_target"},
    "solver": {
        "step_size": 0.5, "weight_steps": 1, "weight_rule": "mirror", "mean_rule": "em",
        "weight_tolerance": 0.0, "num_iterations": 2, "record_every": 1,
    },
    "sweep": {"num_seeds": 2, "seed": 0},
    "report": {},
}  # fmt: skip
MORE = [
    "truth.weights", "truth.means", "target.num_nodes", "target.path", "target.columns",
    "target.scale", "target.on_disk", "model.rank", "solver.method", "solver.monotone",
    "solver.tolerance", "solver.active_weight", "escape.every", "escape.stall", "sweep.batch_size",
    "report.reach", "report.follow", "report.path", "report.moments", "report.starts",
    "report.sensitivity", "report.tolerance", "model.means", "model.jitter", "model.weights",
    "grid.zip", "study.claim", "figure.kind", "finding.where", "case.name", "fast.sweep",
    "solver.nonsense", "nonsense.key",
]  # fmt: skip
# Texts of values that no config should hold, in TOML; most are refused before anything is fitted.
VALUES = [
    "0", "-1", "1e39", "1e-46", "1e308", "-1e308", "1e-320", "inf", "nan", "-0.0", "true", "[]",
    "[[]]", "{}", '""', '"x"', '"²"', '"a\\u0000b"', '"\\n"', '"[red]$_$"', "1979-05-27",
    "[1, 'a']", str(2**31), str(2**32 - 1), str(2**63), str(10**30), "1" * 400, "1" * 5000,
    "0x" + "f" * 5000, '"' + "a" * 5000 + '"', "[" * 50 + "1" + "]" * 50, "[" * 2000, "0.5.5", "=",
    "[0.2, 0.3, 0.5]", '"stream"', "[2, 3]", '[["truth.separation", "sweep.seed"]]',
    "[[0.0, 1.0], [5.0, 5.0]]", "[1e30, 1.0, 1.0]", '"population"', '"file"',
    '"gone.csv"', '"float64x"', "1", "2", "3", "0.25", "1.0", "17.0",
]  # fmt: skip


def mutated(rng):
    """A good config with one to three changes, as bytes."""
    tables = {name: {k: json.dumps(v) for k, v in t.items()} for name, t in TABLES.items()}
    for _ in range(rng.randint(1, 3)):
        known = [f"{name}.{key}" for name, table in tables.items() for key in table]
        table, _, key = rng.choice(known + MORE).partition(".")
        tables.setdefault(table, {})[key] = rng.choice(VALUES)
    text = [f"[{n}]\n" + "".join(f"{k} = {v}\n" for k, v in t.items()) for n, t in tables.items()]
    content = "".join(text).encode()
    if rng.random() < 0.1:  # and the bytes of it
        content = flipped(rng, content)
    return content


def flipped(rng, content):
    """Bytes, some of them changed, or cut, or doubled."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3:
        at = rng.randrange(len(out))
        out = out[:at] if rng.random() < 0.5 else out[at:] + out
    return bytes(out)


def check(arguments, names, capsys):
    """The exit code; fails on anything but a quiet success or one line that names the file."""
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code = cli.main([str(a) for a in arguments])
    errors = capsys.readouterr().err
    assert code in (0, 1, 2)
    if code:
        assert errors.startswith("gemjax: "), errors
        assert errors.count("\n") == 1, errors
        assert len(errors) <= 330, errors
        assert any(name in errors for name in names), errors
        assert errors.rstrip("\n").isprintable()
    else:
        assert not errors
    return code


def finite(content):
    """Every number of a JSON file; the parser refuses NaN."""
    json.loads(content, parse_constant=lambda name: pytest.fail(name))


def config_case(seed, folder, capsys):
    path, out = folder / f"study{seed}.toml", folder / f"out{seed}"
    path.write_bytes(mutated(random.Random(seed)))
    code = check(
        ["run", path, "--out", out, "--no-figures", "--devices", "1"], (path.name,), capsys
    )
    if code == 0:
        finite((out / "summary.json").read_text())
        with open(out / "results.csv", newline="") as file:
            for row in csv.DictReader(file):
                assert row["status"] == "DIVERGED" or math.isfinite(float(row["loss"]))


CELLS = [
    "", "nan", "inf", "-inf", "1e39", "1e300", "1e307", "1e400", "-1e-320", "1_000", "١٢", "１２",
    "0,5", '"', '"1', "x", "²", "1;2", "1 2", "[/red]", "$_$", "\x00", "\ufeff1", "--1", "0x1p3",
    "1e18", "True", "=1+1", "a" * 5000, "1" * 5000, "\n", "\t", "infinity", "NA", "a\r\nb",
]  # fmt: skip
OPTIONS = [
    ["--columns", "²"], ["--columns", "1" * 5000], ["--columns", "x,x"], ["--weights", "y"],
    ["--weights", "[/]"], ["--scale", "1e-46"], ["--scale", "1e300"], ["--scale", "1e-36"],
    ["--scale", "nan"], ["--step-size", "1e39"], ["--seed", str(2**63)], ["--on-disk"],
    ["--precision", "float64"], ["--init", "spectral", "--rank", "9"], ["--init", "plus_plus"],
]  # fmt: skip


def written(rng, path):
    """A data file of some kind with some damage."""
    table = np.random.default_rng(rng.randrange(2**32)).normal(size=(12, 2))
    kind = rng.choice([".csv", ".csv", ".csv.gz", ".npy", ".npz"])
    path = path.with_suffix("").with_name(path.stem + kind)
    if "csv" in kind:
        rows = [["x", "y"], *([f"{v:.4f}" for v in row] for row in table)]
        for _ in range(rng.randint(0, 3)):
            row = rng.choice(rows)
            row[rng.randrange(2)] = rng.choice(CELLS)
        if rng.random() < 0.1:
            rng.choice(rows).append("3")
        text = "\n".join(rng.choice([",", ",", ";", "\t"]).join(row) for row in rows)
        if rng.random() < 0.7:
            text = "\n".join(",".join(row) for row in rows)
        content = text.encode()
        path.write_bytes(content)
        if kind == ".csv.gz":
            path.write_bytes(gzip.compress(content, mtime=0))
    else:
        odd = [lambda t: t, lambda t: t.astype(object), lambda t: t[None], lambda t: t.astype(str)]
        odd += [lambda t: t[:0], lambda t: t * 1e300, lambda t: t + 1j, lambda t: t * np.inf]
        array = rng.choice(odd)(table)
        np.save(path, array) if kind == ".npy" else np.savez(path, array)
    if rng.random() < 0.5:
        path.write_bytes(flipped(rng, path.read_bytes()))
    return path


def data_case(seed, folder, capsys):
    rng, out = random.Random(seed), folder / f"out{seed}"
    path = written(rng, folder / f"data{seed}")
    more = rng.choice(OPTIONS) if rng.random() < 0.4 else []
    fixed = [
        "--components",
        "3",
        "--scale",
        "1",
        "--iterations",
        "2",
        "--no-figures",
        "--no-certificate",
    ]
    # An option that cannot be is told before the file is looked at, and is named.
    named = more[0] if more else path.name
    code = check(["fit", path, *fixed, "--out", out, *more], (path.name, named), capsys)
    if code == 0:
        finite((out / "summary.json").read_text())
        with np.load(out / "components.npz") as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
            assert arrays["weights"].sum() == pytest.approx(1)


@pytest.fixture(autouse=True)
def quick_to_compile():
    """Nearly all the time of a case that is right goes into compiling what then runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("case", [config_case, data_case])
def test_mutated(case, tmp_path, capsys):
    for seed in range(200):
        case(seed, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("case", [config_case, data_case])
def test_many_mutated(case, part, tmp_path, capsys):
    for seed in range(1000 + 250 * part, 1000 + 250 * (part + 1)):
        case(seed, tmp_path, capsys)
