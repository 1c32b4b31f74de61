"""Benchmarks: each suite measures its contenders side by side in one process, on one machine.

    python scripts/benchmark.py --suite estep,sweep --cores 1 --json estep.json
    python scripts/benchmark.py --suite all --cores 1 --write docs/performance.md

Suites, each described in its file in scripts/benchmarks/:

    estep        the E-step against its floor, NumPy and the textbook form
    sweep        a sweep over seeds against NumPy and plain `vmap`
    weights      weights solved to optimality against first-order rules and a conic solver
    derivatives  forward and reverse mode through a fit against the fit alone
    peers        classical EM against scikit-learn, gmmx, pomegranate, torchgmm and tgmm
    selection    covariance families and `select` against scikit-learn
    estimator    the estimator with a number of components against scikit-learn's
    growth       time and peak memory as N, n, d and S grow
    start        from process start to the first iteration, and a whole `gemjax fit`, with and
                 without compiled programs from before
    devices      seeds over two CPU devices (needs two cores)
    cores        one fit on one core and on two (needs two cores)
    gpu          forms of the E-step and sweeps on a GPU (needs one)

The peers come with `pip install '.[bench]'`; those that are missing are reported as not installed.
`--write` replaces the blocks between `<!-- benchmark:SUITE -->` and `<!-- /benchmark:SUITE -->`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pages
from benchmarks import affinity

SUITES = (
    "estep", "sweep", "weights", "derivatives", "peers", "selection", "estimator", "growth",
    "start", "devices", "cores", "gpu",
)  # fmt: skip


def main() -> None:
    arguments = _parse()
    if arguments.cores is not None:
        affinity.pin(arguments.cores)
    # Only now: numpy and jax look at the cores when they are imported.
    from benchmarks import measure

    document = arguments.write.read_text() if arguments.write else ""
    for suite in arguments.suite if arguments.write else ():
        pages.replace(document, f"benchmark:{suite}", "")
    report: dict[str, Any] = {"provenance": measure.provenance(), "suites": {}}
    for suite in arguments.suite:
        module = importlib.import_module(f"benchmarks.{suite}")
        print(f"{suite} ...", file=sys.stderr, flush=True)
        before = _clocks()
        result = module.run(arguments.quick)
        wall, busy = (b - a for a, b in zip(before, _clocks(), strict=True))
        # Well below the cores in use: something else was running.
        report["suites"][suite] = {**result, "wall_seconds": wall, "busy_cores": busy / wall}
        text = f"{module.markdown(result)}\n\n{_footnote(report['provenance'], busy / wall)}"
        print(f"## {module.TITLE}\n\n{text}\n", flush=True)
        if arguments.write:
            document = pages.replace(document, f"benchmark:{suite}", text)
        # After every suite, so that a later one that stops takes nothing with it.
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
        if arguments.write:
            arguments.write.write_text(document)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--suite", type=_suites, default="all", help="names joined by commas, or all (not gpu)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--cores", type=int, help="confine the run to so many CPU cores")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--write", type=Path, help="replace the tables in this Markdown file")
    return parser.parse_args()


def _suites(text: str) -> list[str]:
    names = [x for x in SUITES if x != "gpu"] if text == "all" else text.split(",")
    for name in names:
        if name not in SUITES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SUITES)}, all")
    return names


def _clocks() -> tuple[float, float]:
    """Wall time, and CPU time of this process and its children that ended."""
    times = os.times()
    return time.perf_counter(), sum(times[:4])


def _footnote(provenance: dict[str, Any], busy: float) -> str:
    used = ("gemjax", "jax", "jaxlib", "numpy")
    versions = ", ".join(f"{name} {provenance['versions'].get(name)}" for name in used)
    return (
        f"*{provenance['date'][:10]}, commit {provenance['commit']}, {versions}; "
        f"{provenance['cpu']}, {provenance['cores']} core(s), of which {busy:.2f} were busy with "
        f"this; {provenance['device']}.*"
    )


if __name__ == "__main__":
    main()
