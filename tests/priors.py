"""A small problem with priors of every family, MAP-EM's step by a loop, and SciPy's densities."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import gemjax as gj

NAMES = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
N, D, K = 60, 2, 3
RNG = np.random.default_rng(0)
POINTS = np.concatenate([RNG.normal(size=(20, D)) * [1.0, 0.5] + [3 * k, -k] for k in range(K)])
WEIGHTS, MEANS = np.array([0.2, 0.3, 0.5]), POINTS[[0, 25, 50]] + 0.3
COVARIANCES = np.stack([v * (np.eye(D) + 0.2) for v in (1.0, 1.5, 2.0)])
TARGET = gj.empirical(POINTS)


def start(name, floor=0.0, dtype=np.float64):
    if name == "identity":
        return gj.make_mixture(MEANS.astype(dtype), WEIGHTS)
    matrices, weights = jnp.asarray(COVARIANCES, dtype), jnp.asarray(WEIGHTS, dtype)
    covariance = gj.covariance.family(name).nearest(matrices, weights, dtype(floor))
    return gj.make_mixture(MEANS.astype(dtype), WEIGHTS.astype(dtype), covariance=covariance)


def scatter_for(name):
    """A scatter in the form of the family's covariance."""
    if name == "identity":
        return {}
    full = np.array([[2.0, 0.4], [0.4, 1.0]])
    psi = {"I": np.diag(full), "E": full, "V": full}[name[2]] if name[1:] != "II" else 1.7
    dof = 4.5
    if name[0] == "V":
        psi, dof = np.stack([psi, 1.5 * psi, 0.5 * psi]), np.array([4.5, 3.0, 6.0])
    return {"scatter": jnp.asarray(psi), "dof": jnp.asarray(dof)}


def offset(name):
    """What is added to the degrees of freedom in the exponent of a density of covariances."""
    return D + 1 if name in ("EEE", "VVV") else 2


def prior_for(name):
    means = jnp.asarray(MEANS + 0.5)
    strengths, alpha = jnp.array([0.0, 2.0, 7.0]), jnp.array([1.0, 2.5, 4.0])
    return gj.Prior(alpha, means, strengths, **scatter_for(name))


def step(prior, mixture, num_points=float(N), points=POINTS):
    """The mixture after one iteration, and the loss and the log prior before it."""
    return compiled_step(prior, mixture, num_points, points)


@jax.jit
def compiled_step(prior, mixture, num_points, points):
    solver = gj.classical_em(prior=prior, num_points=num_points)
    state, info = solver.step(solver.init(mixture), gj.empirical(points))
    return state.mixture, info.loss, prior.log_density(mixture)


def parts_of(weights, means, covariances):
    triples = zip(weights, means, covariances, strict=True)
    return np.stack([p * scipy.stats.multivariate_normal(m, s).pdf(POINTS) for p, m, s in triples])


def responsibilities(name):
    joint = parts_of(WEIGHTS, MEANS, start(name).covariance.matrices(K, D))
    return joint / joint.sum(0)


def map_step(name, prior):
    """Fraley and Raftery's M-step after one E-step, a component at a time."""
    psi = responsibilities(name)
    counts, eye = psi.sum(1), np.eye(D)
    alpha, kappa, m = (
        np.asarray(x) for x in (prior.concentration, prior.mean_strength, prior.mean)
    )
    weights = (counts + alpha - 1) / (N + alpha.sum() - K)
    bars = psi @ POINTS / counts[:, None]
    means = (counts[:, None] * bars + kappa[:, None] * m) / (counts + kappa)[:, None]
    scatters = []
    for i in range(K):
        apart, off = POINTS - bars[i], bars[i] - m[i]
        share = counts[i] * kappa[i] / (counts[i] + kappa[i])
        scatters.append((psi[i] * apart.T) @ apart + share * np.outer(off, off))
    known = (kappa > 0).astype(float)
    if name == "identity":
        return weights, means, np.stack([eye] * K)
    own, nu, S = np.asarray(prior.scatter), np.asarray(prior.dof), np.stack(scatters)
    if name == "VVV":
        return weights, means, (S + own) / (counts + known + nu + D + 1)[:, None, None]
    if name == "EEE":
        return weights, means, np.stack([(S.sum(0) + own) / (N + known.sum() + nu + D + 1)] * K)
    axes = np.diagonal(S, axis1=1, axis2=2)
    if name == "VVI":
        variances = (axes + own) / (counts + known + nu + 2)[:, None]
    elif name == "EEI":
        variances = np.stack([(axes.sum(0) + own) / (N + known.sum() + nu + 2)] * K)
    elif name == "VII":
        variances = (axes.sum(1) + own) / ((counts + known) * D + nu + 2)
        variances = variances[:, None] * np.ones(D)
    else:
        variances = np.full((K, D), (axes.sum() + own) / ((N + known.sum()) * D + nu + 2))
    return weights, means, variances[:, :, None] * eye


def log_prior(name, prior, weights, means, covariances):
    """By SciPy's densities, which are normalised."""
    total = scipy.stats.dirichlet(np.asarray(prior.concentration)).logpdf(weights)
    for i in range(K):
        if prior.mean_strength[i] > 0:
            normal = scipy.stats.multivariate_normal(
                prior.mean[i], covariances[i] / prior.mean_strength[i]
            )
            total += normal.logpdf(means[i])
    if name == "identity":
        return total
    k = K if name[0] == "V" else 1
    psi = np.broadcast_to(prior.scatter, (k, *prior.scatter.shape[name[0] == "V" :]))
    nu = np.broadcast_to(prior.dof, (k,))
    for i in range(k):
        if name[1:] in ("EE", "VV"):
            total += scipy.stats.invwishart(nu[i], psi[i]).logpdf(covariances[i])
        else:
            variances = np.diag(covariances[i]) if name[1:] != "II" else covariances[i, 0, 0]
            gamma = scipy.stats.invgamma(nu[i] / 2, scale=psi[i] / 2)
            total += gamma.logpdf(variances).sum()
    return total
