"""Derivatives of fits beside central differences: what the tests of derivatives share."""

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
WIDTHS = np.array([2e-5, 1e-5, 5e-6])


def inputs(kind="overlapping", *, N=40, n=4, d=2, optimal_loss=0.9):
    """name -> value of everything real that goes into a fit."""
    means, weights, points, point_weights = oracle.problem(5, N=N, n=n, d=d)
    if kind == "separated":
        rng = np.random.default_rng(6)
        centres = 5.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
        points = centres[np.arange(N) % 4] + rng.normal(size=(N, d))
        means = centres + rng.normal(size=(n, d))
    if kind == "zero weight":
        weights = np.where(np.arange(n) == 1, 0.0, weights)
    return {
        "means": jnp.asarray(means),
        "weights": jnp.asarray(weights / weights.sum()),
        "points": jnp.asarray(points),
        "point_weights": jnp.asarray(point_weights),
        "step_size": jnp.asarray(0.7),
        "weight_step_size": jnp.asarray(0.4),
        "weight_tolerance": jnp.asarray(1e-9),
        "optimal_loss": jnp.asarray(optimal_loss),
    }


def fit(x, weight_rule, mean_rule, *, num_iterations, weight_steps=4, monotone=False, **settings):
    solver = gj.GradientEM(
        x["step_size"],
        x["weight_step_size"],
        x["weight_tolerance"],
        optimal_loss=x["optimal_loss"],
        weight_rule=weight_rule,
        weight_steps=weight_steps,
        mean_rule=OPTAX.get(mean_rule, mean_rule),
        monotone=monotone,
    )
    target = gj.empirical(x["points"], x["point_weights"])
    start = gj.make_mixture(x["means"], x["weights"])
    # optax's Adam adds integers to floats.
    with jax.numpy_dtype_promotion("standard"):
        return gj.fit(solver, target, start, num_iterations=num_iterations, **settings)


def outputs(found):
    """(5,) all that comes out of a fit, each kind summed with fixed coefficients."""
    mixture, history = found.mixture, found.history
    slopes = jnp.asarray(np.random.default_rng(1).normal(size=mixture.means.shape))
    return jnp.stack(
        [
            jnp.sum(history.loss),
            jnp.sum(history.duality_gap),
            jnp.sum(history.gradient_norm),
            jnp.sum(slopes * mixture.means),
            jnp.sum(slopes[:, 0] * mixture.weights),
        ]
    )


def directions(x):
    """One random direction for each entry, as a batch in the order of the names.

    Weights move in proportion, so those of zero stay: central differences are not for them.
    """
    rng = np.random.default_rng(2)
    sizes = {"weights": np.asarray(x["weights"]), "point_weights": 0.02, "weight_tolerance": 1e-12}
    moves = {}
    for name, value in x.items():
        signs = rng.choice([-1.0, 1.0], np.shape(value))
        moves[name] = sizes.get(name, 1.0) * signs * rng.uniform(0.5, 1.5, np.shape(value))
    eye = np.eye(len(x))
    return {
        name: jnp.asarray(eye[i].reshape(-1, *(1,) * np.ndim(moves[name])) * moves[name])
        for i, name in enumerate(x)
    }


def assert_derivatives(function, x, *, rounding=1e-9):
    """Forward and reverse mode of a vector function agree with central differences.

    Those of three widths make two extrapolations to none. What these disagree by is their own
    error, which must be small; where it is not, a choice switches between them, and nearer
    differences decide. `rounding` is that of a difference at the first width.
    """
    moves = directions(x)

    @jax.jit
    def run(x, widths):
        def along(move):
            _, forward = jax.jvp(function, (x,), (move,))
            at = lambda h: function(jax.tree.map(lambda a, b: a + h * b, x, move))  # noqa: E731
            return forward, jax.lax.map(at, jnp.concatenate([widths, -widths]))

        value, pull = jax.vjp(function, x)
        coefficients = jnp.asarray(np.random.default_rng(3).normal(size=value.shape))
        return value, coefficients, pull(coefficients)[0], jax.lax.map(along, moves)

    wrong = True
    for widths in (WIDTHS, WIDTHS / 10, WIDTHS / 100):
        found = jax.tree.map(np.asarray, run(x, jnp.asarray(widths)))
        value, coefficients, gradient, (forward, values) = found
        up, down = np.split(values, 2, axis=1)
        central = (up - down) / (2 * widths[:, None])
        coarse, exact = np.moveaxis((4 * central[:, 1:] - central[:, :-1]) / 3, 1, 0)
        noise = np.abs(exact - coarse)
        small = rounding * (1 + np.abs(value)) * WIDTHS[0] / widths[0]
        unclear = noise > 1e-4 * np.abs(exact) + 1e3 * small
        wrong &= unclear | (np.abs(forward - exact) > 1e-6 * np.abs(exact) + 3 * noise + small)
        if not wrong.any():
            break
    names = list(x)
    assert not wrong.any(), [
        (names[i], j, forward[i, j], exact[i, j]) for i, j in np.argwhere(wrong)
    ]
    assert all(np.isfinite(leaf).all() for leaf in gradient.values())
    reverse = sum(np.tensordot(moves[k], gradient[k], axes=gradient[k].ndim) for k in x)
    scale = np.abs(forward).max(axis=1) + 1e-6
    np.testing.assert_array_less(np.abs(reverse - forward @ coefficients), rounding * scale)
    return dict(zip(names, forward, strict=True))


def second_derivatives(function):
    """The second derivative at 0 of a function of () in all four orders, and by differences."""
    forward = lambda f: lambda t: jax.jvp(f, (t,), (1.0,))[1]  # noqa: E731
    orders = [(a, b) for a in (forward, jax.grad) for b in (forward, jax.grad)]
    slope = jax.jit(jax.grad(function))
    h = 1e-4
    difference = (8 * (slope(h) - slope(-h)) - (slope(2 * h) - slope(-2 * h))) / (12 * h)
    return [float(jax.jit(outer(inner(function)))(0.0)) for outer, inner in orders], float(
        difference
    )
