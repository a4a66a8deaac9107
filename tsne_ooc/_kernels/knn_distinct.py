"""Equal rows: spreading the neighbours of one over all."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import ordered

u64 = np.uint64


@ordered
def spread(found, distances, own, starts, members, k, keys):
    """Sort keys of the k nearest rows from the nearest distinct rows `found` and a query's own group.

    Distinct row d stands for the rows ``members[starts[d]:starts[d + 1]]``, ascending. Groups at one distance
    are merged by row number; of each the first k rows suffice. A missing key is the largest.
    """
    bits = distances.view(np.uint32)
    width = found.shape[1]
    pool = np.empty((width + 1) * k, np.uint64)
    for i in range(found.shape[0]):
        count = 0
        for j in range(width):
            if count >= k and bits[i, j] != bits[i, j - 1]:
                break
            first = starts[found[i, j]]
            for e in range(first, min(first + k, starts[found[i, j] + 1])):
                pool[count] = (u64(bits[i, j]) << u64(32)) | u64(members[e])
                count += 1
        # Only rows of zeros, under cosine, are not at 0 from themselves.
        if own[i, 0] >= 0:
            first = starts[own[i, 0]]
            for e in range(first, min(first + k, starts[own[i, 0] + 1])):
                pool[count] = (u64(own[i, 1]) << u64(32)) | u64(members[e])
                count += 1
        ranked = np.sort(pool[:count])
        for j in range(k):
            keys[i, j] = ranked[j] if j < count else u64(0xFFFFFFFFFFFFFFFF)
