"""Each outcome from a mixture made by hand, with the numbers that say so."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj
from gemjax import Outcome

LINE = ([-6.0, 0.0, 6.0], [1.0, 1.0, 1.0])
NUMBERS = ("most_served", "most_sharing", "num_missed", "surplus_mass", "idle_mass")

# (means, weights), truth, outcome, NUMBERS
CASES = {
    "recovered, though two share": (
        ([-6.5, -5.5, 0.0, 6.0], [1.0, 1.0, 2.0, 2.0]),
        LINE, Outcome.RECOVERED, (1, 2, 0, 0, 0),
    ),
    "one between two, two on one": (
        ([-3.0, 5.9, 6.1], [6.0, 2.0, 2.0]),
        LINE, Outcome.ONE_FITS_MANY, (2, 2, 1, 0.4 - 1 / 3, 0),
    ),
    "two in one place between two": (
        ([-3.2, -2.8, 6.0], [1.0, 1.0, 1.0]),
        LINE, Outcome.ONE_FITS_MANY, (2, 1, 0, 0, 0),
    ),
    "one for three, on the middle one": (
        ([0.0, 30.0], [3.0, 1.0]),
        ([-6.0, 0.0, 6.0, 30.0], [1.0, 1.0, 1.0, 1.0]), Outcome.ONE_FITS_MANY, (3, 1, 2, 0, 0),
    ),
    "one between two that overlap": (
        ([0.75, 10.0], [2.0, 1.0]),
        ([0.0, 1.5, 10.0], [1.0, 1.0, 1.0]), Outcome.ONE_FITS_MANY, (2, 1, 1, 0, 0),
    ),
    "one on a cluster serves the next": (
        ([-6.0, 0.5], [1.0, 2.0]),
        LINE, Outcome.MISSED_CLUSTER, (2, 1, 1, 0, 0),
    ),
    "one on a heavy cluster serves two light ones": (
        ([0.0, 30.0], [9.0, 1.0]),
        ([0.0, 6.0, -6.0, 30.0], [8.0, 0.5, 0.5, 1.0]), Outcome.MISSED_CLUSTER, (3, 1, 2, 0, 0),
    ),
    "two of four equal weights on one": (
        ([-6.0, 0.0, 5.5, 6.5], [1.0, 1.0, 1.0, 1.0]),
        LINE, Outcome.MANY_FIT_ONE, (1, 2, 0, 1 / 6, 0),
    ),
    "a leftover between clusters": (
        ([-6.0, 0.0, 6.0, 3.2], [1.0, 1.0, 1.0, 0.6]),
        LINE, Outcome.NOT_PRUNED, (1, 1, 0, 0, 1 / 6),
    ),
    "another that helps a cluster": (
        ([-6.0, 0.0, 6.0, 4.5], [1.0, 1.0, 1.0, 0.45]),
        LINE, Outcome.STAGNATED, (1, 2, 0, 1.45 / 3.45 - 1 / 3, 0),
    ),
    "all a little off": (
        ([-5.7, 0.3, 6.3], [1.0, 1.0, 1.0]),
        LINE, Outcome.STAGNATED, (1, 1, 0, 0, 0),
    ),
    "one on its way, still nearer to another": (
        ([0.0, 2.5, 12.0], [90.0, 5.0, 5.0]),
        ([0.0, 6.0, 12.0], [90.0, 5.0, 5.0]), Outcome.STAGNATED, (1, 1, 0, 0, 0),
    ),
    "a light cluster beside a heavy one": (
        ([0.0, 1.8], [9.0, 1.0]),
        ([0.0, 1.5], [9.0, 1.0]), Outcome.STAGNATED, (1, 1, 0, 0, 0),
    ),
    "all in one place": (
        ([0.0, 0.1, 40.0], [1.0, 1.0, 0.0]),
        LINE, Outcome.COLLAPSED, (3, 2, 2, 2 / 3, 0),
    ),
    "one cluster cannot collapse": (
        ([3.0], [1.0]),
        ([0.0], [1.0]), Outcome.STAGNATED, (1, 1, 0, 0, 0),
    ),
}  # fmt: skip

judge = jax.jit(gj.diagnose)


def pad(line):
    """Five components: more of weight zero must not matter."""
    means, weights = line
    more = 5 - len(means)
    return [*means, *[100.0] * more], [*weights, *[0.0] * more]


def padded(line):
    return gj.make_mixture(*pad(line))


def numbers(found):
    return [float(getattr(found, name)) for name in NUMBERS]


@pytest.mark.parametrize("case", CASES)
def test_outcome_and_numbers(case):
    fit, truth, outcome, expected = CASES[case]
    found = judge(padded(fit), gj.make_mixture(*truth))
    assert Outcome(int(found.outcome)) is outcome
    np.testing.assert_allclose(numbers(found), expected, atol=1e-12)


def test_every_outcome_has_a_case_and_a_message():
    assert {outcome for _, _, outcome, _ in CASES.values()} | {Outcome.DIVERGED} == set(Outcome)
    for outcome in Outcome:
        assert outcome.message
        assert "\n" not in outcome.message


def test_diverged():
    truth = gj.make_mixture(*LINE)
    assert judge(truth, truth).outcome == Outcome.RECOVERED
    assert judge(truth, truth, gj.Status.DIVERGED).outcome == Outcome.DIVERGED
    broken = gj.Mixture(truth.means.at[0, 0].set(jnp.nan), truth.log_weights)
    assert judge(broken, truth).outcome == Outcome.DIVERGED
    broken = gj.Mixture(truth.means, truth.log_weights.at[0].set(jnp.nan))
    assert judge(broken, truth).outcome == Outcome.DIVERGED


def test_order_and_the_frame_do_not_matter():
    """Permuted, then turned and moved in five dimensions, in float64 and float32."""
    rng = np.random.default_rng(0)
    axis = rng.normal(size=5)
    axis /= np.linalg.norm(axis)
    for fit, truth, outcome, expected in CASES.values():
        for dtype, offset, digits in ((np.float64, 1e4, 1e-8), (np.float32, 100.0, 1e-4)):

            def place(line, dtype=dtype, offset=offset):
                means, weights = line
                order = rng.permutation(len(means))
                means = offset + np.array(means)[order, None] * axis[None]
                return gj.make_mixture(means.astype(dtype), np.array(weights, dtype)[order])

            found = judge(place(pad(fit)), place(truth))
            assert found.outcome == outcome
            assert found.spread.dtype == found.idle_mass.dtype == dtype
            np.testing.assert_allclose(numbers(found), expected, atol=digits)


def test_spread_against_numpy():
    rng = np.random.default_rng(1)
    fit = gj.make_mixture(rng.normal(size=(5, 2)), rng.dirichlet(np.ones(5)))
    truth = gj.make_mixture(rng.normal(size=(3, 2)), rng.dirichlet(np.ones(3)))

    def spread(mixture):
        return np.sqrt(np.trace(np.cov(mixture.means.T, aweights=mixture.weights, ddof=0)))

    assert float(judge(fit, truth).spread) == pytest.approx(spread(fit) / spread(truth))


def test_vmap_and_one_compilation():
    truth = gj.make_mixture(*LINE)
    cases = [case for case in CASES.values() if case[1] is LINE]
    fits = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[padded(fit) for fit, *_ in cases])
    status = jnp.zeros(len(cases), jnp.int32).at[0].set(gj.Status.DIVERGED)
    traces = []

    @jax.jit
    def over_seeds(fits, status, tolerance):
        traces.append(None)
        one = lambda fit, status: gj.diagnose(fit, truth, status, tolerance=tolerance)  # noqa: E731
        return jax.vmap(one)(fits, status)

    found = over_seeds(fits, status, 0.1)
    assert found.outcome.tolist() == [
        Outcome.DIVERGED,
        *[outcome for _, _, outcome, _ in cases[1:]],
    ]
    for field in dataclasses.fields(found):
        assert getattr(found, field.name).shape == (len(cases),)
    assert found.outcome.dtype == found.most_served.dtype == found.num_missed.dtype == jnp.int32
    lenient = over_seeds(fits, status * 0, 0.45)
    assert len(traces) == 1
    assert lenient.outcome[[c is CASES["all a little off"] for c in cases].index(True)] == 0


def test_the_known_trap():
    """Jin et al. 2016: with equal weights held, one mean between two clusters, two on the third."""
    truth = gj.make_mixture([[-3.0], [3.0], [12.0]])
    start = gj.make_mixture([[0.0], [11.6], [12.4]])
    solver = gj.GradientEM(weight_rule="fixed")
    fit = gj.fit(solver, gj.population(truth), start, num_iterations=300, record_every=300)
    found = judge(fit.mixture, truth, fit.status)
    assert found.outcome == Outcome.ONE_FITS_MANY
    assert (int(found.most_served), int(found.most_sharing)) == (2, 2)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"status": jnp.zeros(2, jnp.int32)}, ValueError, r"status .* shape \(2,\); jax.vmap"),
        ({"status": 0.5}, ValueError, "status must be one integer"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be non-negative"),
        ({"stray_radius": 0.0}, ValueError, "stray_radius must be positive"),
        ({"truth": [[0.0]]}, TypeError, "truth must be a Mixture"),
        ({"truth": gj.make_mixture([[0.0, 0.0]])}, ValueError, "must agree"),
    ],
)
def test_bad_input(change, kind, message):
    mixture = gj.make_mixture(*LINE)
    with pytest.raises(kind, match=message):
        gj.diagnose(mixture, **({"truth": mixture} | change))
