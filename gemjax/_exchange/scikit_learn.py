"""To and from scikit-learn's `GaussianMixture`, fitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from gemjax._base.records import Mixture
from gemjax._exchange.forms import from_arrays, to_arrays
from gemjax._exchange.packages import imported, of_class


def to_sklearn(mixture: Mixture, **settings: Any) -> Any:
    """A fitted `sklearn.mixture.GaussianMixture` of the same density, ready to predict and sample.

    Its arrays are float64. Components of weight zero stay, though scikit-learn warns of their
    logarithms; `gj.prune` drops them.

    Args:
      mixture: a `Mixture` of n components, of any family; `covariance_type` is the narrowest that
        holds it, as `to_arrays` tells.
      **settings: of the `GaussianMixture`, such as `random_state`; with `warm_start=True` its `fit`
        goes on from the mixture.

    Raises:
      ImportError: scikit-learn is not there.
      TypeError, ValueError: no valid `Mixture`, a setting that scikit-learn does not have.

    >>> import gemjax as gj
    >>> model = gj.convert.to_sklearn(gj.make_mixture([[0.0, 0.0], [4.0, 0.0]]), random_state=0)
    >>> model.predict([[3.0, 1.0]]).tolist(), model.sample(5)[0].shape
    ([1], (5, 2))
    """
    learn = imported("sklearn.mixture", "scikit-learn")
    plain = to_arrays(mixture)
    kind = plain.pop("covariance_type")
    weights, means, covariances = (plain[name].astype(np.float64) for name in plain)
    n, d = means.shape
    model = learn.GaussianMixture(n, **{"covariance_type": kind, **settings})
    if model.covariance_type != kind:
        raise ValueError(f"covariance_type must be {kind!r}, the mixture's, or be left out")
    model.weights_ = weights / weights.sum()  # to the last bit of float64, to be drawn from
    model.means_, model.covariances_ = means, covariances
    if kind in ("spherical", "diag"):
        model.precisions_cholesky_ = 1 / np.sqrt(covariances)
        model.precisions_ = 1 / covariances
    else:
        factor = np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(-1, -2)
        model.precisions_cholesky_ = np.triu(factor)
        model.precisions_ = factor @ factor.swapaxes(-1, -2)
    model.n_features_in_, model.n_iter_, model.converged_ = d, 0, True
    model.lower_bound_, model.lower_bounds_ = -np.inf, []
    return model


def from_sklearn(model: Any) -> Mixture:
    """The mixture that a fitted `sklearn.mixture.GaussianMixture` is, in the family of its type.

    Args:
      model: a `GaussianMixture`, fitted. No `BayesianGaussianMixture`: its density is another one.

    Returns:
      a `Mixture`: `Spherical`, `Diagonal`, `Tied` or `Full`; float32 if its means are, or where
      JAX's `jax_enable_x64` is off.

    Raises:
      ImportError: scikit-learn is not there.
      TypeError: another object.
      ValueError: it is not fitted.

    >>> from sklearn.mixture import GaussianMixture
    >>> import gemjax as gj
    >>> model = GaussianMixture(2, covariance_type="diag").fit([[0.0], [1.0], [8.0], [9.0]])
    >>> gj.convert.from_sklearn(model).means.sort(axis=0).round(3).tolist()
    [[0.5], [8.5]]
    """
    learn = imported("sklearn.mixture", "scikit-learn")
    of_class("model", model, learn.GaussianMixture, "scikit-learn")
    if not hasattr(model, "covariances_"):
        raise ValueError("model must be fitted: call its fit first")
    return from_arrays(model.weights_, model.means_, model.covariances_, model.covariance_type)
