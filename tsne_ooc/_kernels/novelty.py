"""How far rows are from their neighbours, compared with how far these are from theirs."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel

u64 = np.uint64
LARGEST = np.finfo(np.float32).max


@kernel
def mean_distances(distances, k, means):
    """The mean of the first k distances of each row."""
    for i in range(u64(distances.shape[0])):
        total = 0.0
        for j in range(u64(k)):
            total += np.float64(distances[i, j])
        means[i] = np.float32(total / k)


@kernel
def novelty(indices, distances, own, k, out):
    """The sum of the first k distances of each row over the sum of the neighbours' `own`, which are > 0."""
    for i in range(u64(indices.shape[0])):
        away, usual = 0.0, 0.0
        for j in range(u64(k)):
            away += np.float64(distances[i, j])
            usual += np.float64(own[indices[i, j]])
        out[i] = np.float32(min(away / usual, np.float64(LARGEST)))
