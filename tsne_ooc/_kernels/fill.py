"""Missing values filled in from the nearest of some rows that are kept."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import ordered

u64 = np.uint64


@ordered
def fill_from_nearest(rows, donors, scale, k, means):
    """Fill NaN in `rows` with the mean of that column among the k nearest donors that have it.

    The distance is that of the columns which both rows have, each divided by its `scale`, as a share of these: the
    squares are summed, and divided by the number of columns. Of donors at one distance the first counts as nearer. A
    column that no donor at any distance has becomes its mean.
    """
    m, p = donors.shape
    distance = np.empty(m)
    for i in range(u64(rows.shape[0])):
        lacking = 0
        for j in range(u64(p)):
            if np.isnan(rows[i, j]):
                lacking += 1
        if lacking == 0:
            continue
        row = rows[i].copy()
        for d in range(u64(m)):
            total, shared = 0.0, 0
            for j in range(u64(p)):
                apart = (row[j] - donors[d, j]) / scale[j]
                if not np.isnan(apart):
                    total += apart * apart
                    shared += 1
            distance[d] = total / shared if shared else np.inf
        order = np.argsort(distance, kind="mergesort")
        for j in range(u64(p)):
            if not np.isnan(row[j]):
                continue
            total, found = 0.0, 0
            for d in order:
                if found == k or distance[d] == np.inf:
                    break
                if not np.isnan(donors[d, j]):
                    total += donors[d, j]
                    found += 1
            rows[i, j] = total / found if found else means[j]
