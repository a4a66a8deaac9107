"""Whether a table is sorted: its blocks are then unlike each other, which needs no labels to be seen."""

from __future__ import annotations

import numpy as np

from tsne_ooc._typing import Array, Int64

# A table counts as uneven from this share of its variance between blocks. Batches of 2,048 rows have means that vary
# by 0.0005 of it when they come from anywhere, so they vary by 20 times as much when each is of one such block.
UNEVEN = 0.01


def between(rows: Int64, X: Array, edges: Int64) -> float:
    """The share of the variance of rows that lies between blocks, beyond what it would be in random order.

    Parameters
    ----------
    rows : ndarray of shape (m,), int64
        Numbers of some rows of a table, drawn uniformly, ascending.
    X : ndarray of shape (m, p)
        These rows.
    edges : ndarray of shape (k, 2), int64
        First row of each block of the table, and the row after its last.

    Returns
    -------
    float
        About 0 for a table in random order, 1 where all rows of a block are alike.
    """
    cuts = np.searchsorted(rows, np.append(edges[:, 0], edges[-1, 1]))
    center = X.mean(axis=0, dtype=np.float64)
    total = apart = 0.0
    count = 0
    for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if a == b:
            continue
        away = X[a:b] - center
        total += float(np.square(away).sum())
        apart += (b - a) * float(np.square(away.mean(axis=0)).sum())
        count += 1
    if not total > 0 or count < 2:
        return 0.0
    # Means of blocks of random rows differ, too.
    chance = (count - 1) / (len(rows) - 1)
    return max(0.0, (apart / total - chance) / (1 - chance)) if chance < 1 else 0.0
