"""Gradient EM on over-parameterized Gaussian mixtures, in JAX."""

from gemjax import initialize, truth
from gemjax.blocks import Blocking
from gemjax.certificate import Certificate, certificate
from gemjax.diagnosis import Diagnosis, Outcome, diagnose
from gemjax.escape import Escape, insert
from gemjax.fit import fit
from gemjax.mixture import log_density, make_mixture, responsibilities, sample
from gemjax.optimum import solve_weights
from gemjax.recovery import Recovery, recovery
from gemjax.solver import ClassicalEM, GradientEM, Solver, classical_em, loss
from gemjax.stream import Stream, stream
from gemjax.sweep import sweep
from gemjax.target import empirical, population
from gemjax.types import (
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

__version__ = "0.1.0"

__all__ = [
    "Blocking",
    "Certificate",
    "ClassicalEM",
    "Diagnosis",
    "DivergedError",
    "Escape",
    "Fit",
    "GradientEM",
    "Info",
    "Mixture",
    "Outcome",
    "Recovery",
    "Solver",
    "State",
    "Status",
    "Stream",
    "Target",
    "WeightSolution",
    "certificate",
    "classical_em",
    "diagnose",
    "empirical",
    "fit",
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
    "stream",
    "sweep",
    "truth",
]
