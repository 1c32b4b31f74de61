"""What a fitted mixture answers: densities by scikit-learn's own code, clusters as unions."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted

from gemjax._sklearn.doors import checked_points
from gemjax._sklearn.forms import FORMS

if TYPE_CHECKING:
    import sklearn.mixture


class Density(DensityMixin, BaseEstimator):
    """Methods of a mixture whose parameters are in scikit-learn's attributes.

    >>> import numpy as np
    >>> from gemjax.sklearn import GaussianMixture
    >>> points = np.random.default_rng(0).normal(size=(50, 2))
    >>> GaussianMixture(1).fit(points).responsibilities(points).shape
    (50, 1)
    """

    def _model(self, which: Any = slice(None)) -> sklearn.mixture.GaussianMixture:
        """scikit-learn's, of some components, for what it computes in NumPy."""
        import sklearn.mixture  # a quarter of the time that it takes to import this module

        weights, tied = self.weights_[which], self.covariance_type_ == "tied"
        model = sklearn.mixture.GaussianMixture(
            len(weights), covariance_type=self.covariance_type_, random_state=self.random_state
        )
        model.weights_ = weights / weights.sum()
        model.means_ = self.means_[which]
        model.covariances_ = self.covariances_ if tied else self.covariances_[which]
        factors = self.precisions_cholesky_
        model.precisions_cholesky_ = factors if tied else factors[which]
        return model

    def _points(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return checked_points(self, X, reset=False)

    def _centred(self, X: Any, which: Any = slice(None)) -> tuple[Any, np.ndarray]:
        """scikit-learn's mixture and the points, about the middle of the means: its formulas
        subtract squares, of which nothing is left far from the origin."""
        points, middle = self._points(X), self.weights_ @ self.means_
        model = self._model(which)
        model.means_ = model.means_ - middle
        return model, points - middle

    def responsibilities(self, X: Any) -> np.ndarray:
        """(N, n_components_) probabilities of the components given each row of X (N, d)."""
        model, points = self._centred(X)
        return model.predict_proba(points)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, n_clusters_) probabilities of the clusters given each row of X (N, d).

        Each is the sum over the cluster's components; a background (cluster −1) is left out.
        """
        check_is_fitted(self)
        alone = self.cluster_ >= 0
        model, points = self._centred(X, alone)
        proba = model.predict_proba(points)
        if self.n_clusters_ == self.n_components_:
            return proba
        member = np.eye(self.n_clusters_, dtype=proba.dtype)[self.cluster_[alone]]
        return proba @ member

    def predict(self, X: Any) -> np.ndarray:
        """(N,) the most probable cluster of each row of X (N, d), from 0."""
        return self.predict_proba(X).argmax(axis=1)

    def score_samples(self, X: Any) -> np.ndarray:
        """(N,) log p(x) of each row of X (N, d), in nats."""
        model, points = self._centred(X)
        return model.score_samples(points)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of log p(x) over the rows of X (N, d), in nats per point."""
        return self.score_samples(X).mean()

    def _n_parameters(self) -> int:
        return FORMS[self.family_].num_parameters(*self.means_.shape)

    def bic(self, X: Any) -> float:
        """Bayesian information criterion on X (N, d); smaller is better."""
        scores = self.score_samples(X)
        return -2 * scores.sum(dtype=float) + self._n_parameters() * np.log(len(scores))

    def aic(self, X: Any) -> float:
        """Akaike information criterion on X (N, d); smaller is better."""
        return -2 * self.score_samples(X).sum(dtype=float) + 2 * self._n_parameters()

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draws (n_samples, d) from the mixture, component by component, and the cluster of each;
        −1 for a background."""
        check_is_fitted(self)
        if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples!r}; it must be a whole number above 0"
            )
        points, component = self._model().sample(n_samples)
        return points, self.cluster_[component.astype(int)]
