"""Gradient EM in float32 NumPy, as fast as we could make it: what gemjax has to beat.

Points lie [d, C] in blocks; a row of ones under them carries −|μ|²/2 and the mass through the two
matrix products, so that neither costs a pass. All large arrays are allocated once. Densities are
kept for the weight steps of an iteration, each of which is two matrix-vector products.

Tried on one core at N = 20,000, d = 10, n = 20, and left out: whole arrays (OpenBLAS's product for
small matrices is two to three times as fast, and stops at about 10^6 multiplications: that sets the
size of a block); shorter blocks (Python's overhead shows below 2,000 points); [N, n] layouts (the
maximum over components takes longer than all the rest of a fill); several seeds in one product (no
gain); `matmul` instead of `dot` in the weight steps; moments from a transposed copy of the points.
"""

from __future__ import annotations

import math

import numpy as np

_MULTIPLICATIONS = 900_000
_NEGLIGIBLE = -60.0


class NumpyEM:
    """Points (N, d) of equal weight, laid out for mixtures of n components."""

    def __init__(self, points: np.ndarray, n: int) -> None:
        N, d = points.shape
        most = int(np.clip(_MULTIPLICATIONS // (n * (d + 1)), 256, 8192))
        count = -(-N // most)
        self.centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = points - self.centre
        rows = np.concatenate([centred.T, np.ones((1, N), np.float32)])
        self.points = [np.ascontiguousarray(x) for x in np.array_split(rows, count, axis=1)]
        self.N, self.d, self.n = N, d, n
        self.mean_half_square = 0.5 * float(np.mean(np.sum(centred * centred, axis=1)))
        sizes = [x.shape[1] for x in self.points]
        self.densities = [np.empty((n, C), np.float32) for C in sizes]
        self.shifts = [np.empty(C, np.float32) for C in sizes]
        # Used within a block only, so that they stay in cache; array_split makes one or two sizes.
        self.density = {C: np.empty((n, C), np.float32) for C in sizes}
        self.total = {C: np.empty(C, np.float32) for C in sizes}
        self.product = {C: np.empty((d + 1, C), np.float32) for C in sizes}

    def e_step(self, means: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """(loss, mass (n,), ∂L/∂μ (n, d)), without keeping densities."""
        means = means - self.centre
        weights = np.exp(log_weights)
        factors = self._factors(means)
        moments, loss = np.zeros((self.n, self.d + 1), np.float32), 0.0
        for block, x in enumerate(self.points):
            density = self.density[x.shape[1]]
            self._fill(block, density, factors, log_weights)
            loss += self._add_moments(block, density, weights, moments)
        return self._statistics(means, weights, moments, loss)

    def fit(
        self,
        means: np.ndarray,
        log_weights: np.ndarray,
        *,
        num_iterations: int,
        step_size: float,
        weight_steps: int,
        weight_tolerance: float,
    ) -> float:
        """The loss before the last mean step."""
        means = means - self.centre
        for _ in range(num_iterations):
            factors = self._factors(means)
            for block, density in enumerate(self.densities):
                self._fill(block, density, factors, log_weights)
            for _ in range(weight_steps):
                r = self._ratios(np.exp(log_weights))
                most = r.max()
                if most - 1 < weight_tolerance:
                    break
                log_weights = log_weights + min(np.float32(1), 1 / most) * r
                log_weights -= np.log(np.exp(log_weights).sum())
            weights = np.exp(log_weights)
            moments, loss = np.zeros((self.n, self.d + 1), np.float32), 0.0
            for block, density in enumerate(self.densities):
                loss += self._add_moments(block, density, weights, moments)
            loss, _, gradient = self._statistics(means, weights, moments, loss)
            means = means - np.float32(step_size) * gradient
        return float(loss)

    def _factors(self, means: np.ndarray) -> np.ndarray:
        half_squares = 0.5 * np.sum(means * means, axis=1, keepdims=True)
        return np.concatenate([means, -half_squares], axis=1)

    def _fill(
        self, block: int, density: np.ndarray, factors: np.ndarray, log_weights: np.ndarray
    ) -> None:
        """φ_i(x_j) e^{−shift_j} of a block, in place."""
        shift = self.shifts[block]
        np.dot(factors, self.points[block], out=density)
        if log_weights.min() > _NEGLIGIBLE:
            np.maximum.reduce(density, axis=0, out=shift)
            np.subtract(density, shift, out=density)
        else:
            # A component without weight must not set the shift, and may exceed it.
            np.maximum.reduce(density + log_weights[:, None], axis=0, out=shift)
            np.subtract(density, shift, out=density)
            np.minimum(density, np.float32(80), out=density)
        np.exp(density, out=density)

    def _ratios(self, weights: np.ndarray) -> np.ndarray:
        r = np.zeros(self.n, np.float32)
        for density in self.densities:
            total = self.total[density.shape[1]]
            np.dot(weights, density, out=total)
            np.reciprocal(total, out=total)
            r += np.dot(density, total)
        return r / np.float32(self.N)

    def _add_moments(
        self, block: int, density: np.ndarray, weights: np.ndarray, moments: np.ndarray
    ) -> float:
        """Adds Σ_j φ_i/p (x_j, 1) of a block; returns −Σ_j log p without |x|²/2 and log 2π."""
        C = density.shape[1]
        total, product = self.total[C], self.product[C]
        np.dot(weights, density, out=total)
        log_density = float(np.log(total).sum(dtype=np.float64) + self.shifts[block].sum())
        np.reciprocal(total, out=total)
        np.multiply(self.points[block], total, out=product)
        moments += np.dot(density, product.T)
        return -log_density

    def _statistics(
        self, means: np.ndarray, weights: np.ndarray, moments: np.ndarray, loss: float
    ) -> tuple[np.ndarray, ...]:
        moments = moments * (weights / np.float32(self.N))[:, None]
        mass = moments[:, self.d]
        gradient = mass[:, None] * means - moments[:, : self.d]
        constant = 0.5 * self.d * math.log(2 * math.pi) + self.mean_half_square
        return np.float32(loss / self.N + constant), mass, gradient


def plain_fit(
    points: np.ndarray,
    means: np.ndarray,
    log_weights: np.ndarray,
    *,
    num_iterations: int,
    step_size: float,
    weight_steps: int,
    weight_tolerance: float,
) -> float:
    """The same from whole (N, n) float32 arrays, as one writes it down; densities are kept too."""
    N, d = points.shape
    half_squares = 0.5 * np.sum(points * points, axis=1, keepdims=True)
    step_size = np.float32(step_size)
    loss = np.float32(0)
    for _ in range(num_iterations):
        log_phi = points @ means.T - 0.5 * np.sum(means * means, axis=1) - half_squares
        shift = np.max(log_phi + log_weights, axis=1, keepdims=True)
        phi = np.exp(log_phi - shift)
        for _ in range(weight_steps):
            r = phi.T @ (1 / (phi @ np.exp(log_weights))) / np.float32(N)
            if r.max() - 1 < weight_tolerance:
                break
            log_weights = log_weights + min(np.float32(1), 1 / r.max()) * r
            log_weights -= np.log(np.exp(log_weights).sum())
        joint = phi * np.exp(log_weights)
        density = joint.sum(axis=1, keepdims=True)
        psi = joint / density
        loss = 0.5 * d * math.log(2 * math.pi) - np.mean(np.log(density) + shift)
        gradient = psi.sum(axis=0)[:, None] * means - psi.T @ points
        means = means - step_size / np.float32(N) * gradient
    return float(loss)
