"""Where new rows belong on a map, by the law as it stands in the documentation: all pairs, float64, no grid."""

from __future__ import annotations

import numpy as np
import reference


def forces(D, places, Y, *, dof=1.0, exaggeration=1.5, perplexity=5, k=15):
    """Length of the gradient of each row's own energy where it was placed.

    Parameters
    ----------
    D : ndarray, shape (m, n)
        Distances of the rows to those of the map.
    places : ndarray, shape (n, d)
        Of the map.
    Y : ndarray, shape (m, d)
        Where the rows were placed.
    """
    places, found = np.asarray(places, float), []
    for distances, y in zip(D, np.asarray(Y, float), strict=True):
        near = np.argsort(distances, kind="stable")[:k]
        p = reference.conditional(distances[near], perplexity)
        delta = y - places[near]
        pull = 2 * exaggeration * (p[:, None] * delta / (1 + (delta**2).sum(axis=1) / dof)[:, None]).sum(axis=0)
        S, slope = reference.field(y[None], places, dof)
        found.append(np.linalg.norm(pull + slope[0] / S[0]))
    return np.array(found)


def seats(X, Q):
    """Which row of X each row of Q is equal to, the first of several; -1 where there is none."""
    same = (np.asarray(Q)[:, None] == np.asarray(X)).all(axis=2)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)
