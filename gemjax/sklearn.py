"""An estimator as scikit-learn has them: `GaussianMixture` finds its number and form itself."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np

try:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
except ImportError as error:
    raise ImportError("gemjax.sklearn needs scikit-learn: pip install 'gemjax[sklearn]'") from error

from gemjax._sklearn import running
from gemjax._sklearn.density import Density
from gemjax._sklearn.doors import (
    REG_COVAR,
    check_settings,
    checked_points,
    checked_sample_weight,
    warn_of_units,
)
from gemjax._sklearn.engine import run_em
from gemjax._sklearn.forms import FORMS, Parameters, form_of, precision_factors, precisions_of
from gemjax._sklearn.starts import begin, one_component

__all__ = ["GaussianMixture"]


class GaussianMixture(Density):
    """A Gaussian mixture with the interface of `sklearn.mixture.GaussianMixture`.

    Without settings it finds how many components there are, of which form, and which of them make
    a cluster together (`gj.select`). With an integer `n_components` it is scikit-learn's estimator
    but for where EM begins: instead of k-means, many small components are merged down to so many.

    Labels are those of *clusters*. With an integer `n_components` each component is a cluster, as
    in scikit-learn. With "auto" a cluster is one component or several between which the density
    has no valley: `cluster_` says which. `predict`, `predict_proba`, `fit_predict` and `sample`
    speak of clusters, heaviest first; `responsibilities`, and all other attributes, of components.

    Computed in the dtype of X, float32 or float64, on JAX's default device, whatever JAX's
    configuration; a fitted estimator holds NumPy arrays alone. The first fit of a kind and size
    compiles, which takes up to a minute; sizes are rounded up, by at most an eighth, so that the
    next ones rarely do. With JAX_COMPILATION_CACHE_DIR set this is once for all processes.

    Args:
      n_components: "auto", or how many.
      covariance_type: "full", "tied", "diag", "spherical" as scikit-learn's; "identity", known to
        be one; "auto", chosen of mclust's EII, VII, EEI, VVI, EEE, VVV, above 32 columns of the
        first four. None, the default, is "full" with an integer n_components and "auto" with
        "auto".
      tol: EM ends when the mean log-likelihood changes by less, in nats per point.
      reg_covar: no variance in any direction falls below it, in squared units of the data.
        scikit-learn adds it to all variances instead.
      max_iter: iterations of EM at most, after the search; 0 returns where EM would begin.
      n_init: searches, of which the best counts; "auto" is more for fewer points, 24 up to 500,
        6 up to 2,000, then 1 ("identity": 1). With an integer n_components the starts of fewer
        are among those of more.
      weights_init, means_init, precisions_init: where EM begins, as scikit-learn's, for an integer
        n_components and a named covariance_type. With means there is no search; what else is not
        given is that of the points nearest to each.
      random_state: None, an integer or a RandomState, of the search and of `sample`.
      warm_start: `fit` goes on from the last fit, if that had as many components and columns, and
        the same form.
      verbose: 1 prints what was found, 2 also every `verbose_interval`-th log-likelihood.
      verbose_interval: see verbose.

    Attributes:
      n_components_, n_clusters_: numbers of components and of clusters.
      cluster_: (n_components_,) the cluster of each component; −1 of a background under several
        clusters, whose points go to the likeliest of these.
      weights_: (n_components_,), heaviest first unless given.
      means_: (n_components_, d).
      covariances_, precisions_, precisions_cholesky_: in scikit-learn's shapes for
        `covariance_type_`.
      covariance_type_: one of scikit-learn's four. Equal round or diagonal covariances are repeated
        in the shape of "spherical" or "diag".
      family_: the form fitted, by mclust's name, or "identity".
      converged_, n_iter_, lower_bound_, lower_bounds_: of EM after the search, as scikit-learn's.
      certificate_: the `gj.Certificate` of the search: what one component more could gain; None
        where nothing was searched: one component of a given form, means_init, warm_start.
      path_: what the search chose from, a `gj.Selection` ("identity": `gj.Path`); None likewise.
      n_features_in_, feature_names_in_: as scikit-learn's.
      n_samples_seen_: sum of the weights of all rows seen by `fit` and `partial_fit` since.

    Raises (from `fit`):
      ValueError, TypeError: settings or data that cannot be; components that collapse, with
        reg_covar too small.

    >>> import numpy as np
    >>> from gemjax.sklearn import GaussianMixture
    >>> noise = np.random.default_rng(0).normal(size=(96, 2))
    >>> X = noise + 9 * np.repeat(np.arange(3), [48, 32, 16])[:, None]
    >>> model = GaussianMixture(3, n_init=1, random_state=0).fit(X)
    >>> model.weights_.round(2).tolist(), model.predict([[0, 0], [9, 9]]).tolist()
    ([0.5, 0.33, 0.17], [0, 1])
    """

    lower_bound_: float
    lower_bounds_: np.ndarray

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        covariance_type: str | None = None,
        tol: float = 1e-3,
        reg_covar: float = REG_COVAR,
        max_iter: int = 100,
        n_init: int | str = "auto",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fits the mixture to the rows of X.

        Args:
          X: (N, d) array-like or frame of numbers, N at least 2; float32 stays float32, all else
            is float64. No missing values, not sparse.
          y: ignored.
          sample_weight: (N,) non-negative; a row of weight 2 counts as two, one of weight 0 not at
            all. Where weights are not whole numbers, or add up to more than ten times the rows,
            the effective number of rows, (Σw)²/Σw², decides how many components they can tell.
        """
        check_settings(self)
        points = checked_points(self, X, reset=True)
        weights = checked_sample_weight(sample_weight, points)
        if not (some := weights > 0).all():
            points, weights = points[some], weights[some]
        number = self._number()
        if number is not None and len(points) < number:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {number}, "
                f"n_samples = {len(points)}"
            )
        warn_of_units(points, float(self.reg_covar))
        again = self.warm_start and hasattr(self, "converged_") and self._suits(points)
        last_bound = self.lower_bound_ if again else -np.inf
        if not again:
            self._begin(points, weights)
        self._improve(points, weights, last_bound)
        self.n_samples_seen_ = float(weights.sum(dtype=float))
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """(N,) `fit`, and the cluster of each row of X."""
        return self.fit(X, y, sample_weight).predict(X)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """One step of stepwise EM on a batch of rows (Cappé and Moulines 2009).

        The sufficient statistics s (mass, first and second moments of each component) become
        (1 − γ) s + γ s(batch), with γ = (the batch's share in all rows seen)^0.6: for batches of
        one size that is t^−0.6, so that what was seen long ago, with parameters as they were then,
        is forgotten. The first call is `fit`, and chooses number and form; after a `fit` it goes
        on from there. Each batch is seen once, none is kept.

        Args:
          X, y, sample_weight: as `fit`, X (N, d) with any N from 1 after the first call.
        """
        if not hasattr(self, "n_samples_seen_"):
            return self.fit(X, y, sample_weight)
        check_settings(self)
        points = checked_points(self, X, reset=False)
        weights = checked_sample_weight(sample_weight, points)
        before = Parameters(self.weights_, self.means_, self.covariances_)
        model = self._model()
        scores, resp = model.score_samples(points), model.predict_proba(points)
        args = (points, weights, resp, self.n_samples_seen_, self.reg_covar)
        self._set(running.step(FORMS[self.family_], before, *args))
        self.lower_bound_ = float(np.average(scores, weights=weights))
        self.lower_bounds_ = np.append(self.lower_bounds_, self.lower_bound_)
        self.n_iter_ += 1
        self.n_samples_seen_ += float(weights.sum(dtype=float))
        return self

    def _suits(self, points: np.ndarray) -> bool:
        """Whether a fit can go on from the one before."""
        n, d = self.means_.shape
        kind = self._covariance_type()
        form = self.family_ if kind == "auto" else form_of(kind).name
        return (self.n_components in ("auto", n), d, form) == (True, points.shape[1], self.family_)

    def _number(self) -> int | None:
        return None if self.n_components == "auto" else int(self.n_components)

    def _covariance_type(self) -> str:
        if self.covariance_type is None:
            return "auto" if self.n_components == "auto" else "full"
        return self.covariance_type

    def _begin(self, points: np.ndarray, weights: np.ndarray) -> None:
        """Where EM begins: found, or given."""
        number = self._number()
        inits = (self.weights_init, self.means_init, self.precisions_init)
        starts = None if self.n_init == "auto" else int(self.n_init)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        args = (inits, starts, float(self.reg_covar), seed)
        found = begin(points, weights, number, self._covariance_type(), *args)
        self.family_, self.covariance_type_ = found.form.name, found.form.covariance_type
        self.certificate_, self.path_ = found.certificate, found.path
        # With a number that was asked for, each component is a cluster.
        n = len(found.start.weights)
        self.cluster_ = np.asarray(found.cluster if number is None else np.arange(n))
        self.n_components_, self.n_clusters_ = n, int(self.cluster_.max()) + 1
        self._set(found.start)
        if self.verbose:
            print(f"start: {n} components of form {self.family_}, {self.n_clusters_} clusters")

    def _improve(self, points: np.ndarray, weights: np.ndarray, last_bound: float) -> None:
        """EM from where it begins, or from the last fit, whose log-likelihood is known."""
        form, floor, tol = FORMS[self.family_], float(self.reg_covar), float(self.tol)
        self.converged_, self.n_iter_ = False, 0
        self.lower_bound_, self.lower_bounds_ = -np.inf, np.empty(0)
        if self.max_iter == 0:
            return
        if self.n_components_ == 1:  # the optimum is known
            self._set(one_component(points, weights, form, floor))
            bounds = np.atleast_1d(np.average(self._model().score_samples(points), weights=weights))
            self.converged_ = True
        else:
            start = Parameters(self.weights_, self.means_, self.covariances_)
            rest = (form, start, floor, tol, int(self.max_iter))
            end, bounds, converged = run_em(points, weights, *rest)
            self._set(end)
            self.converged_ = converged or bool(abs(bounds[0] - last_bound) < tol)
        self.n_iter_, self.lower_bounds_ = len(bounds), bounds
        self.lower_bound_ = float(bounds[-1])
        if self.verbose:
            for i in range(self.verbose_interval - 1, len(bounds), self.verbose_interval):
                if self.verbose > 1:
                    print(f"iteration {i + 1}: log-likelihood {bounds[i]:.6f}")
            print(f"end: {self.n_iter_} iterations, log-likelihood {self.lower_bound_:.6f}")
        if not self.converged_:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _set(self, parameters: Parameters) -> None:
        """scikit-learn's attributes; no weight is zero, so that its logarithm is finite."""
        weights, self.means_, self.covariances_ = parameters
        form = FORMS[self.family_]
        self.weights_ = np.maximum(weights, np.finfo(weights.dtype).tiny)
        self.precisions_cholesky_ = precision_factors(form, self.covariances_)
        self.precisions_ = precisions_of(form, self.precisions_cholesky_)
