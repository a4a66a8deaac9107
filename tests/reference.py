"""Slow, obvious twins of the kernels: float64, no grid, no threads, the formula as it stands in a paper."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq


def kernel(r2, dof=1.0):
    return (1 + r2 / dof) ** -dof


def differences(Y, sources=None):
    Y = np.asarray(Y, np.float64)
    return Y[:, None, :] - (Y if sources is None else np.asarray(sources, np.float64))[None, :, :]


def field(targets, sources, dof=1.0):
    """S(y) = sum_j w(|y - y_j|) and its gradient, at any targets."""
    # Axis by axis: sums over the two or three of a pair take four times as long.
    axes = [
        differences(y[:, None], z[:, None])[..., 0]
        for y, z in zip(np.transpose(targets), np.transpose(sources), strict=True)
    ]
    r2 = sum(delta**2 for delta in axes)
    slope = -2 * (1 + r2 / dof) ** (-dof - 1)
    return kernel(r2, dof).sum(1), np.stack([(slope * delta).sum(1) for delta in axes], axis=1)


def others_field(Y, dof=1.0):
    """The field of all other rows at each row."""
    S, gradient = field(Y, Y, dof)
    return S - 1, gradient


def similarities(Y, dof=1.0):
    w = kernel((differences(Y) ** 2).sum(-1), dof)
    np.fill_diagonal(w, 0)
    return w / w.sum()


def kl(P, Y, dof=1.0, exaggeration=1.0):
    """sum p log p - exaggeration * sum p log w + log Z; at exaggeration 1, KL(P || Q)."""
    P = np.asarray(P, np.float64)
    w = kernel((differences(Y) ** 2).sum(-1), dof)
    np.fill_diagonal(w, 0)
    kept = P > 0
    return (P[kept] * np.log(P[kept])).sum() - exaggeration * (P[kept] * np.log(w[kept])).sum() + np.log(w.sum())


def numerical_gradient(function, Y, step=1e-5):
    Y = np.asarray(Y, np.float64)
    gradient = np.zeros_like(Y)
    for index in np.ndindex(*Y.shape):
        plus, minus = Y.copy(), Y.copy()
        plus[index] += step
        minus[index] -= step
        gradient[index] = (function(plus) - function(minus)) / (2 * step)
    return gradient


def conditional(distances, perplexity):
    """Gaussian probabilities of one row, at the precision whose entropy is log(perplexity), by bisection."""
    squares = np.asarray(distances, np.float64) ** 2
    squares = squares - squares.min()
    squares = squares / squares.mean()

    def probabilities(log_beta):
        p = np.exp(-np.exp(log_beta) * squares)
        return p / p.sum()

    def surplus(log_beta):
        p = probabilities(log_beta)
        p = p[p > 0]
        return -(p * np.log(p)).sum() - np.log(perplexity)

    return probabilities(brentq(surplus, -30, 30, xtol=1e-12))


def mixture(distances, perplexities):
    """Probabilities of one row under a sum of Gaussian densities, each of a perplexity."""
    squares = np.asarray(distances, np.float64) ** 2
    total = np.zeros(len(squares))
    for perplexity in perplexities:
        p = conditional(distances, perplexity)
        # Its precision, from any two of its probabilities.
        beta = np.log(p[0] / p[9]) / (squares[9] - squares[0])
        total += np.sqrt(beta) * np.exp(-beta * squares)
    return total / total.sum()


def joint(neighbors, p):
    """(P + P^T) / 2n as a dense matrix."""
    n = len(neighbors)
    dense = np.zeros((n, n))
    for i, (row, values) in enumerate(zip(neighbors, p, strict=True)):
        dense[i, row] = values
    return (dense + dense.T) / (2 * n)


def placement_energy(y, Y, neighbors, p, exaggeration=1.0, dof=1.0):
    """The energy of one placed row at y: -rho sum_j p_j log w(y, y_j) + log S(y)."""
    r2 = ((np.asarray(y)[None] - np.asarray(Y, np.float64)) ** 2).sum(-1)
    w = kernel(r2, dof)
    return -exaggeration * (p * np.log(w[neighbors])).sum() + np.log(w.sum())


def nearer(distances, reach, itself):
    """How many of these distances are below a reach, but for that of the row itself."""
    return sum(1 for at, one in enumerate(distances) if at != itself and one < reach)


def relative(found, wanted):
    """Relative RMS error; 1 for an answer of zeros."""
    wanted = np.asarray(wanted, np.float64)
    return float(np.linalg.norm(np.asarray(found, np.float64) - wanted) / np.linalg.norm(wanted))
