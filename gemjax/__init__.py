"""Gradient EM on over-parameterized Gaussian mixtures, in JAX."""

from gemjax import initialize, truth
from gemjax.blocks import Blocking
from gemjax.certificate import Certificate, certificate
from gemjax.fit import fit
from gemjax.mixture import log_density, make_mixture, responsibilities, sample
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
    raise_for_status,
)

__version__ = "0.1.0"

__all__ = [
    "Blocking",
    "Certificate",
    "ClassicalEM",
    "DivergedError",
    "Fit",
    "GradientEM",
    "Info",
    "Mixture",
    "Recovery",
    "Solver",
    "State",
    "Status",
    "Stream",
    "Target",
    "certificate",
    "classical_em",
    "empirical",
    "fit",
    "initialize",
    "log_density",
    "loss",
    "make_mixture",
    "population",
    "raise_for_status",
    "recovery",
    "responsibilities",
    "sample",
    "stream",
    "sweep",
    "truth",
]
