"""Data of the estimator's tests."""

import numpy as np

TYPES = ("full", "tied", "diag", "spherical")
MEANS = np.array([[0.0, 0.0], [9.0, 1.0], [2.0, 10.0]])
RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [48, 32, 16])
X = MEANS[LABELS] + RNG.normal(size=(96, 2)) @ [[1.0, 0.4], [0.0, 0.8]] * (1 + LABELS[:, None])
INIT = {"means_init": MEANS + 1, "weights_init": [0.4, 0.3, 0.3]}
MATRICES = np.stack([np.eye(2) + 0.1 * k for k in range(3)])
PRECISIONS = {
    "full": MATRICES,
    "tied": MATRICES[1],
    "diag": np.diagonal(MATRICES, axis1=1, axis2=2),
    "spherical": np.array([1.0, 0.5, 2.0]),
}
