"""Derivatives of fits beside central differences, for the tests of derivatives.

A cell is a solver, a problem and a number of iterations. Everything real that goes in is moved
along one random direction each; what comes out is a vector of everything real that comes out.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle

import gemjax as gj

WEIGHT_RULES = ("mirror", "euclidean", "multiplicative", "newton", "fixed")
OPTAX = {"sgd": optax.sgd(0.3, momentum=0.5), "adam": optax.adam(0.1)}
MEAN_RULES = ("gradient", "em", "overrelaxed", "polyak", *OPTAX)
PROBLEMS = ("overlapping", "separated", "zero weight")
WIDTHS = (2e-5, 1e-5)


def problem(kind, N=40, n=4, d=2):
    """Start means and weights, points and their weights."""
    means, weights, points, point_weights = oracle.problem(5, N=N, n=n, d=d)
    if kind == "separated":
        rng = np.random.default_rng(6)
        centres = 5.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
        points = centres[np.arange(N) % 4] + rng.normal(size=(N, d))
        means = centres + rng.normal(size=(n, d))
    if kind == "zero weight":
        weights = np.where(np.arange(n) == 1, 0.0, weights)
        weights = weights / weights.sum()
    return means, weights, points, point_weights


def inputs(kind, optimal_loss=0.9):
    """name -> value of everything real that goes into a fit."""
    means, weights, points, point_weights = problem(kind)
    return {
        "means": jnp.asarray(means),
        "weights": jnp.asarray(weights),
        "points": jnp.asarray(points),
        "point_weights": jnp.asarray(point_weights),
        "step_size": jnp.asarray(0.7),
        "weight_step_size": jnp.asarray(0.4),
        "weight_tolerance": jnp.asarray(1e-9),
        "optimal_loss": jnp.asarray(optimal_loss),
    }


def fit(x, weight_rule, mean_rule, *, num_iterations, weight_steps=4, **settings):
    solver = gj.GradientEM(
        x["step_size"],
        x["weight_step_size"],
        x["weight_tolerance"],
        optimal_loss=x["optimal_loss"],
        weight_rule=weight_rule,
        weight_steps=weight_steps,
        mean_rule=OPTAX.get(mean_rule, mean_rule),
        **settings,
    )
    target = gj.empirical(x["points"], x["point_weights"])
    start = gj.make_mixture(x["means"], x["weights"])
    # Adam adds integers to floats.
    with jax.numpy_dtype_promotion("standard"):
        return gj.fit(solver, target, start, num_iterations=num_iterations)


def outputs(found):
    """All of a fit as one vector, each number in a sum with fixed coefficients."""
    mixture, history = found.mixture, found.history
    n, d = mixture.means.shape
    slopes = jnp.asarray(np.random.default_rng(1).normal(size=(n, d)))
    return jnp.stack(
        [
            jnp.sum(history.loss),
            jnp.sum(history.weight_gap),
            jnp.sum(history.gradient_norm),
            jnp.sum(slopes * mixture.means),
            jnp.sum(slopes[:, 0] * mixture.weights),
        ]
    )


def directions(x, seed=2):
    """One random direction for each entry, as a batch: all other entries stay."""
    rng = np.random.default_rng(seed)
    # Weights of zero can only grow: their direction is up, and central differences are not for them.
    moves = {k: jnp.asarray(rng.uniform(0.5, 1.5, np.shape(v))) * jnp.sign(
        rng.normal(size=np.shape(v))) for k, v in x.items()}  # fmt: skip
    moves["weights"] = jnp.where(x["weights"] == 0, 0, moves["weights"])
    moves["point_weights"] = 0.02 * moves["point_weights"]
    moves["weights"] = 0.1 * moves["weights"]
    moves["weight_tolerance"] = 1e-3 * x["weight_tolerance"]
    names = list(x)
    return {
        k: jnp.stack([moves[k] if k == name else jnp.zeros_like(moves[k]) for name in names])
        for k in names
    }


def compare(function, x, moves):
    """Forward and reverse derivatives, central differences of two widths, one-sided ones: (k, 5).

    Reverse mode along fixed coefficients only: a matrix of one column each.
    """
    cotangent = jnp.asarray([1.0, -0.7, 0.5, 0.3, 0.9])

    @jax.jit
    def run(x, moves):
        def along(move):
            _, forward = jax.jvp(function, (x,), (move,))
            at = lambda h: function(jax.tree.map(lambda a, b: a + h * b, x, move))  # noqa: E731
            ups = jnp.stack([at(h) for h in WIDTHS])
            downs = jnp.stack([at(-h) for h in WIDTHS])
            return forward, ups, downs

        value, pull = jax.vjp(function, x)
        (gradient,) = pull(cotangent)
        reverse = sum(
            jnp.tensordot(moves[k], gradient[k], axes=gradient[k].ndim) for k in x
        )
        return value, jax.lax.map(along, moves), reverse, gradient

    value, (forward, ups, downs), reverse, gradient = jax.tree.map(np.asarray, run(x, moves))
    h = np.array(WIDTHS)[None, :, None]
    central = (ups - downs) / (2 * h)
    return {
        "value": value,
        "forward": forward,
        "reverse": reverse,
        "expected_reverse": forward @ np.asarray(cotangent),
        "central": central,
        "exact": (4 * central[:, 1] - central[:, 0]) / 3,
        "up": (ups - value) / h,
        "down": (value - downs) / h,
        "gradient": gradient,
    }
