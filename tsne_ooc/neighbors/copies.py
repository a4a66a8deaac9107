"""Rows with more copies of themselves than they may have neighbours."""

from __future__ import annotations

import numpy as np

from tsne_ooc._typing import Float32, UInt32


def spread_copies(indices: UInt32, distances: Float32, rng: np.random.Generator) -> None:
    """Give rows whose neighbours are all copies of them other copies of the same row, in place.

    Ties are ordered by row number, so all copies of a row name the same few as their neighbours. These become the hub
    of a star, and everybody else, pulled to the same places, ends on one point: of 13,000 connections of the KDD Cup
    data, 2,500 places. Here copy r of m names the copies r + o_1, ..., r + o_k (mod m) for random offsets o instead:
    as true a set of neighbours, and a graph without hubs.

    Parameters
    ----------
    indices : ndarray of uint32, shape (n, k)
        Neighbours of the rows among themselves.
    distances : ndarray of float32, shape (n, k)
    rng : numpy.random.Generator
    """
    k = indices.shape[1]
    rows = np.flatnonzero(distances[:, -1] == 0)
    # All copies but the first name the first one first; the first is its own group.
    first = np.minimum(rows, indices[rows, 0])
    order = np.argsort(first, kind="stable")
    _, starts, sizes = np.unique(first[order], return_index=True, return_counts=True)
    for start, size in zip(starts, sizes, strict=True):
        if size <= k + 1:
            continue
        copies = rows[order[start : start + size]]
        offsets = 1 + rng.choice(size - 1, k, replace=False)
        for offset_number, offset in enumerate(offsets):
            indices[copies, offset_number] = np.roll(copies, -offset)
        indices[copies] = np.sort(indices[copies], axis=1)
