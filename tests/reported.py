"""What maps report, computed again in obvious ways, for tests of manifests and attributes."""

from __future__ import annotations

import numpy as np
import reference
from scipy.spatial.distance import cdist


def leaves(value, name=""):
    """All that a manifest holds, by names with points between; empty parts are leaves."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def own_of(X, k=15):
    """Distances of rows to each other, and the mean one of each to its nearest, as the reference of novelty has it."""
    D = cdist(X, X)
    np.fill_diagonal(D, np.inf)
    own = np.sort(D, axis=1)[:, :k].mean(axis=1)
    return D, np.maximum(own, 0.3 * np.median(own))


def novelty_of(D, own, k=15):
    """Of rows with these distances to those of the reference."""
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(D, near, axis=1).mean(axis=1) / own[near].mean(axis=1)


def divergence(X, Y, perplexity):
    """The Kullback-Leibler divergence of a map of these rows, by the book."""
    D, _ = own_of(X)
    near = np.argsort(D, axis=1, kind="stable")[:, : int(np.ceil(3 * perplexity))]
    p = [reference.conditional(D[i, near[i]], perplexity) for i in range(len(X))]
    return reference.kl(reference.joint(near, p), Y)
