"""Gradient EM on over-parameterized Gaussian mixtures, in JAX."""

from gemjax import initialize, truth
from gemjax._assess.certificate import Certificate, certificate
from gemjax._assess.diagnosis import Diagnosis, Outcome, diagnose
from gemjax._assess.recovery import Recovery, recovery
from gemjax._base.records import (
    DivergedError,
    Fit,
    Info,
    Mixture,
    State,
    Status,
    Target,
    WeightSolution,
    raise_for_status,
)
from gemjax._em.insertion import Escape, insert
from gemjax._em.loop import fit
from gemjax._em.seeds import sweep
from gemjax._em.solver import ClassicalEM, GradientEM, Solver, classical_em, loss
from gemjax._model.mixture import log_density, make_mixture, responsibilities, sample
from gemjax._model.quadrature import empirical, population
from gemjax._points.blocks import Blocking
from gemjax._points.file_target import FileTarget, from_npy
from gemjax._weights.solve_weights import solve_weights

__version__ = "0.1.0"

__all__ = [
    "Blocking",
    "Certificate",
    "ClassicalEM",
    "Diagnosis",
    "DivergedError",
    "Escape",
    "FileTarget",
    "Fit",
    "GradientEM",
    "Info",
    "Mixture",
    "Outcome",
    "Recovery",
    "Solver",
    "State",
    "Status",
    "Target",
    "WeightSolution",
    "certificate",
    "classical_em",
    "diagnose",
    "empirical",
    "fit",
    "from_npy",
    "initialize",
    "insert",
    "log_density",
    "loss",
    "make_mixture",
    "population",
    "raise_for_status",
    "recovery",
    "responsibilities",
    "sample",
    "solve_weights",
    "sweep",
    "truth",
]
