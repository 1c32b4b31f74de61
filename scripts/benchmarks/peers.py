"""Classical EM for a fixed number of iterations against other packages, from the same start.

Time per iteration is the difference between a long and a short run, divided by the iterations
between them: what a package does once (checks, set-up, the start) cancels. gemjax fits identity
covariances only; others estimate variances, which costs them one more pass, so every row says what
it fits. tgmm and pomegranate can also hold their covariances at the identity. All contenders get
float32 points, the same means, equal weights and, but for torchgmm, which estimates them from the
means, unit covariances. Rows of one family must end at the same means. (torchgmm runs two passes
over the points per iteration where they fit in one batch, as they do here.)
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

import gemjax as gj
from benchmarks import measure, problems

TITLE = "Classical EM against other packages"
SHORT, LONG = 2, 12
# Starts differ by what a package adds to its variances, and float32 sums by what it blocks.
TOLERANCE = 1e-2
# Packages are compared on so many points, since each of them is slow.
CHECKED = 2_000
ROUNDS = 3

# A contender takes points (N, d), means (n, d) and a number of iterations, and returns means.
Contender = Callable[[np.ndarray, np.ndarray, int], Any]


def gemjax_identity(points: np.ndarray, means: np.ndarray, iterations: int) -> Any:
    target, start = gj.empirical(jnp.asarray(points)), gj.make_mixture(jnp.asarray(means))
    return gj.fit(gj.classical_em(), target, start, num_iterations=iterations).mixture.means


def sklearn(family: str) -> Contender:
    def fit(points: np.ndarray, means: np.ndarray, iterations: int) -> Any:
        from sklearn.mixture import GaussianMixture

        n, d = means.shape
        model = GaussianMixture(
            n,
            covariance_type=family,
            tol=0,
            max_iter=iterations,
            weights_init=np.full(n, 1 / n, np.float32),
            means_init=means,
            precisions_init=np.ones((n, d) if family == "diag" else n, np.float32),
        )
        return model.fit(points).means_

    return fit


def gmmx_diag(points: np.ndarray, means: np.ndarray, iterations: int) -> Any:
    from gmmx import EMFitter, GaussianMixtureModelJax

    n = means.shape[0]
    model = GaussianMixtureModelJax.from_squeezed(
        means=jnp.asarray(means),
        covariances=jnp.ones_like(means),
        weights=jnp.full(n, 1 / n, jnp.float32),
        covariance_type="diag",
    )
    # With tol = 0 its loop ends at max_iter only.
    fitted = EMFitter(tol=0.0, max_iter=iterations).fit(x=jnp.asarray(points), gmm=model)
    return fitted.gmm.means[0, :, :, 0]


def pomegranate(family: str) -> Contender:
    def fit(points: np.ndarray, means: np.ndarray, iterations: int) -> Any:
        import torch
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel

        ones = np.ones(means.shape[1], np.float32)
        components = [Normal(mean, ones, covariance_type="diag") for mean in means]
        for component in components:
            component.covs.frozen = family == "identity"
        model = GeneralMixtureModel(components, max_iter=iterations, tol=-np.inf)
        model.fit(torch.from_numpy(points))
        return torch.stack([component.means for component in model.distributions])

    return fit


def tgmm(family: str) -> Contender:
    def fit(points: np.ndarray, means: np.ndarray, iterations: int) -> Any:
        import torch
        from tgmm import GaussianMixture

        n, d = means.shape
        model = GaussianMixture(
            n_components=n,
            n_features=d,
            covariance_type="diag",
            max_iter=iterations,
            tol=1e-30,
            init_means=torch.from_numpy(means.copy()),
            init_covariances=torch.ones(n, d),
            frozen_covariances=range(n) if family == "identity" else (),
            device="cpu",
        )
        return model.fit(torch.from_numpy(points)).means_

    return fit


def torchgmm_diag(points: np.ndarray, means: np.ndarray, iterations: int) -> Any:
    import torch
    from torchgmm.bayes import GaussianMixture

    model = GaussianMixture(
        means.shape[0],
        covariance_type="diag",
        init_means=torch.from_numpy(means.copy()),
        convergence_tolerance=0,
        trainer_params={
            "max_epochs": iterations,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    )
    return model.fit(torch.from_numpy(points)).model_.means


# (package, family, contender); the first row of a family is the one that others must agree with.
CONTENDERS: tuple[tuple[str, str, Contender], ...] = (
    ("gemjax", "identity", gemjax_identity),
    ("tgmm", "identity", tgmm("identity")),
    ("pomegranate", "identity", pomegranate("identity")),
    ("scikit-learn", "spherical", sklearn("spherical")),
    ("scikit-learn", "diag", sklearn("diag")),
    ("gmmx", "diag", gmmx_diag),
    ("tgmm", "diag", tgmm("diag")),
    ("pomegranate", "diag", pomegranate("diag")),
    ("torchgmm", "diag, own start", torchgmm_diag),
)
_MODULES = {"scikit-learn": "sklearn"}


def run(quick: bool) -> dict[str, Any]:
    shapes = problems.QUICK_SHAPES if quick else problems.SHAPES
    with _quiet():
        missing = [name for name in dict.fromkeys(c[0] for c in CONTENDERS) if not _found(name)]
        return {
            "rows": [_one_shape(*shape, missing) for shape in shapes],
            "not_installed": missing,
            "versions": {name: measure.version(name) for name, _, _ in CONTENDERS},
        }


def _found(package: str) -> bool:
    try:
        importlib.import_module(_MODULES.get(package, package))
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that a run was stopped before it converged, and Lightning's chatter."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def _one_shape(N: int, d: int, n: int, missing: list[str]) -> dict[str, Any]:
    target = problems.sample(N, d)
    points = np.array(target.points)
    means = np.array(problems.start(target, n).means)
    present = [c for c in CONTENDERS if c[0] not in missing]
    names, contenders, differences, references, failed = [], {}, {}, {}, {}
    for package, family, fit in present:
        name = f"{package}, {family}"
        try:
            found = np.asarray(fit(points[:CHECKED], means, LONG))
        except (ValueError, RuntimeError) as error:  # some give up on a cluster without spread
            failed[name] = str(error).splitlines()[0]
            continue
        difference = float(np.max(np.abs(found - references.setdefault(family, found))))
        if not difference <= TOLERANCE:
            failed[name] = f"means off by {difference:.0e}"
            continue
        names.append(name)
        differences[name] = difference
        for iterations in (SHORT, LONG):
            contenders[f"{name}: {iterations}"] = lambda fit=fit, T=iterations: fit(
                points, means, T
            )
    seconds = measure.interleave(contenders, ROUNDS if N * n > 10**6 else 3 * ROUNDS, least=0.0)
    iterations = {
        name: measure.per_iteration(seconds, f"{name}: {SHORT}", f"{name}: {LONG}", LONG - SHORT)
        for name in names
    }
    return {
        "shape": [N, d, n],
        "nanoseconds": {
            name: measure.spread([1e9 * x / (N * n) for x in values])
            for name, values in iterations.items()
        },
        "ratios": {name: measure.ratio(iterations, name, names[0]) for name in names},
        "mean_differences": differences,
        "failed": failed,
    }


def markdown(result: dict[str, Any]) -> str:
    rows = []
    names = dict.fromkeys(
        n for row in result["rows"] for n in (*row["nanoseconds"], *row["failed"])
    )
    for name in names:
        package, _, family = name.partition(", ")
        cells = [f"{package} {result['versions'][package]}", family]
        for row in result["rows"]:
            if name in row["failed"]:
                cells.append(f"stopped: {row['failed'][name]}")
                continue
            times = measure.cell(row["nanoseconds"][name], digits=1)
            cells.append(f"{times}; {row['ratios'][name]['median']:.1f}×")
        seen = [row["mean_differences"].get(name, 0.0) for row in result["rows"]]
        cells.append(f"{max(seen):.0e}")
        rows.append(cells)
    rows += [[name, "not installed", *[""] * (len(result["rows"]) + 1)]
             for name in result["not_installed"]]  # fmt: skip
    shapes = [problems.label(*row["shape"]) for row in result["rows"]]
    header = ["ns per point, component and iteration; times gemjax", "covariances", *shapes,
              "largest difference of a mean"]  # fmt: skip
    return measure.table(header, rows)
