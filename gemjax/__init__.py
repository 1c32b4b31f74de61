"""Gradient EM on over-parameterized Gaussian mixtures, in JAX."""

from gemjax import convert, covariance, hermite, initialize, rules, truth
from gemjax._assess.certificate import Certificate, certificate
from gemjax._assess.diagnosis import Diagnosis, Outcome, diagnose
from gemjax._assess.distinct import num_distinct
from gemjax._assess.recovery import Recovery, covers, recovery
from gemjax._base.records import (
    DivergedError,
    Fit,
    Info,
    Mixture,
    Monitor,
    State,
    Status,
    WeightSolution,
    raise_for_status,
)
from gemjax._em.classical_em import ClassicalEM, classical_em
from gemjax._em.fit import fit
from gemjax._em.gradient_em import GradientEM
from gemjax._em.insertion import Escape, insert
from gemjax._em.prior import Prior
from gemjax._em.seeds import best, default_batch_size, sweep
from gemjax._em.solver import Solver
from gemjax._exchange.file import load, save
from gemjax._model.mixture import log_density, make_mixture, responsibilities, sample
from gemjax._model.quadrature import population
from gemjax._model.statistics import loss
from gemjax._model.stream import Stream, stream
from gemjax._points.blocks import Blocking
from gemjax._points.file_target import FileTarget, from_npy
from gemjax._points.target import Target, empirical
from gemjax._points.units import Units
from gemjax._reduce.merge import Merged, merge, prune
from gemjax._reduce.path import Path, merge_path
from gemjax._reduce.polish import Polished, polish
from gemjax._reduce.select import Selection, select
from gemjax._weights.solve import solve_weights

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
    "Merged",
    "Mixture",
    "Monitor",
    "Outcome",
    "Path",
    "Polished",
    "Prior",
    "Recovery",
    "Selection",
    "Solver",
    "State",
    "Status",
    "Stream",
    "Target",
    "Units",
    "WeightSolution",
    "best",
    "certificate",
    "classical_em",
    "convert",
    "covariance",
    "covers",
    "default_batch_size",
    "diagnose",
    "empirical",
    "fit",
    "from_npy",
    "hermite",
    "initialize",
    "insert",
    "load",
    "log_density",
    "loss",
    "make_mixture",
    "merge",
    "merge_path",
    "num_distinct",
    "polish",
    "population",
    "prune",
    "raise_for_status",
    "recovery",
    "responsibilities",
    "rules",
    "sample",
    "save",
    "select",
    "solve_weights",
    "stream",
    "sweep",
    "truth",
]
