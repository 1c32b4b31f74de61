"""Forms of covariances in NumPy, in the shapes that scikit-learn has, and as families of ours."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from gemjax._base.records import Mixture
from gemjax._families.covariance import Covariance
from gemjax._families.registry import FAMILIES, NAMES
from gemjax._model.mixture import make_mixture

COLLAPSED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)


class Form(NamedTuple):
    """A family by mclust's name, scikit-learn's covariance_type that has room for its covariances,
    and whether all components have the same."""

    name: str
    covariance_type: str
    is_shared: bool

    @property
    def family(self) -> type[Any]:
        return NAMES[self.name]

    @property
    def is_matrix(self) -> bool:
        return self.covariance_type in ("full", "tied")

    def num_parameters(self, n: int, d: int) -> int:
        """Free parameters of n components: weights, means, covariances."""
        count: int = self.family.num_parameters(None, n, d)
        return count + n * (d + 1) - 1


_FORMS = [
    Form("EII", "spherical", True),
    Form("VII", "spherical", False),
    Form("EEI", "diag", True),
    Form("VVI", "diag", False),
    Form("EEE", "tied", True),
    Form("VVV", "full", False),
    Form("identity", "spherical", True),
]
FORMS = {form.name: form for form in _FORMS}
_BY_CLASS: dict[type[Covariance], str] = {cls: name for name, cls in FAMILIES.items()}


def form_of(covariance_type: str) -> Form:
    """By scikit-learn's name, or "identity"."""
    return FORMS[_BY_CLASS.get(NAMES[covariance_type], covariance_type)]


class Parameters(NamedTuple):
    """Weights (n,), means (n, d) and covariances in scikit-learn's shape for the form."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def own(form: Form, parameters: Parameters) -> np.ndarray:
    """Each component's covariance, (n, d, d), or its variances along the axes, (n, d)."""
    (n, d), covariances = parameters.means.shape, parameters.covariances
    if form.is_matrix:
        return np.broadcast_to(covariances, (n, d, d))
    return np.broadcast_to(covariances.reshape(n, -1), (n, d))


def fitted(form: Form, weights: np.ndarray, spread: np.ndarray, floor: float) -> np.ndarray:
    """Covariances in scikit-learn's shape that fit best to each component's `own`, (n, d, d) or
    (n, d), none narrower than the floor."""
    if form.name == "identity":
        return np.ones_like(weights)
    if form.is_shared:
        spread = np.tensordot(weights, spread, axes=1)[None]
    if form.covariance_type == "spherical":
        spread = spread.mean(axis=1)
    if form.is_matrix:
        values, vectors = np.linalg.eigh(spread)
        low = values[:, 0] < floor
        raised = (vectors * np.maximum(values, floor)[:, None]) @ vectors.swapaxes(1, 2)
        spread = np.where(low[:, None, None], raised, spread)
        return spread[0] if form.is_shared else spread
    spread = np.maximum(spread, floor)
    return np.broadcast_to(spread, (len(weights), *spread.shape[1:])).copy()


def moments(
    form: Form, points: np.ndarray, weights: np.ndarray, resp: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass (n,), means (n, d) and own covariances of points (N, d) with weights (N,), which belong
    to components with probabilities (N, n). A component without mass has NaNs."""
    resp = resp * weights[:, None]
    mass = resp.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (resp.T @ points) / mass[:, None]
        spread = []
        for k, mean in enumerate(means):
            apart = points - mean
            weighted = resp[:, k, None] * apart
            total = weighted.T @ apart if form.is_matrix else np.sum(weighted * apart, axis=0)
            spread.append(total / mass[k])
    return mass, means, np.stack(spread)


def to_mixture(form: Form, parameters: Parameters, floor: float) -> Mixture:
    """As the library has it, of the means' dtype."""
    weights, means, covariances = parameters
    if form.name == "identity":
        return make_mixture(means, weights)
    if form.is_shared and form.covariance_type != "tied":
        covariances = covariances[0]
    floor_ = np.asarray(floor, means.dtype)
    try:
        return make_mixture(means, weights, covariance=form.family(covariances, floor_))
    except ValueError as error:  # an eigenvalue that is negative by rounding has a Cholesky factor
        raise ValueError(COLLAPSED) from error


def from_mixture(form: Form, mixture: Mixture) -> Parameters:
    """From a mixture of NumPy arrays."""
    means, weights = np.asarray(mixture.means), np.asarray(mixture.weights)
    n = len(means)
    if form.name == "identity":
        return Parameters(weights, means, np.ones_like(weights))
    covariance: Any = mixture.covariance
    value = np.asarray(getattr(covariance, dataclasses.fields(covariance)[0].name))
    if form.is_shared and form.covariance_type != "tied":
        value = np.broadcast_to(value, (n, *value.shape)).copy()
    return Parameters(weights, means, value)


def precision_factors(form: Form, covariances: np.ndarray) -> np.ndarray:
    """scikit-learn's precisions_cholesky_: of matrices the upper triangular U with U Uᵀ = Σ⁻¹, else
    inverse deviations."""
    if not form.is_matrix:
        if not (covariances > 0).all():
            raise ValueError(COLLAPSED)
        return 1 / np.sqrt(covariances)
    matrices = covariances.reshape(-1, *covariances.shape[-2:])
    try:
        lower = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        raise ValueError(COLLAPSED) from None
    unit = np.eye(matrices.shape[-1], dtype=matrices.dtype)
    factors = np.stack([solve_triangular(one, unit, lower=True).T for one in lower])
    return factors.reshape(covariances.shape)


def precisions_of(form: Form, factors: np.ndarray) -> np.ndarray:
    """scikit-learn's precisions_, from the factors."""
    return factors @ factors.swapaxes(-1, -2) if form.is_matrix else factors**2


def inverted(form: Form, precisions: np.ndarray) -> np.ndarray:
    """Covariances from precisions."""
    return np.linalg.inv(precisions) if form.is_matrix else 1 / precisions
