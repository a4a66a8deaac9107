"""Equal rows: where they exceed the neighbours these are spread, and copies that ended apart are reunited."""

from __future__ import annotations

import math

import numpy as np

from tsne_ooc._typing import Float32, Int64, UInt32
from tsne_ooc.joint import JointRows

# How far copies may be from each other: in widths of the map, and in widths of the room that each row would have if all
# had the same. Where affinities are wide, copies in small tables are rightly up to one such width apart: when the ten
# pairs of 70 rows at a perplexity of 10 were each put on one place, the divergence rose from .33 to .45.
BESIDE, ROOMS = 0.05, 1.0
# The same in radii of the clump that half of them form. The edge of a disc is 1.4 such radii from its centre.
CLUMP = 5.0
CANDIDATES = 16


class Spread:
    """Which other copies of the same row those rows name whose neighbours are all copies of them.

    Ties are ordered by row number, so all copies of a row name the same few as their neighbours. These become the hub
    of a star, and all others, pulled to the same places, end on few points: 13,000 connections of the KDD Cup data
    ended on 2,500. Here copy r of m names the copies r + o_1, ..., r + o_k (mod m) for random offsets o instead: an
    equally true set of neighbours, and a graph without hubs.

    Parameters
    ----------
    rows : ndarray of int64, shape (m,)
        Those whose `k` neighbours are all at a distance of 0, ascending.
    nearest : ndarray of shape (m,)
        The first neighbour of each.
    k : int
    rng : numpy.random.Generator
    """

    def __init__(self, rows: Int64, nearest: Int64 | UInt32, k: int, rng: np.random.Generator) -> None:
        # All copies but the first name the first one first; the first is its own group.
        first = np.minimum(rows, nearest)
        order = np.argsort(first, kind="stable")
        _, starts, sizes = np.unique(first[order], return_index=True, return_counts=True)
        self._groups = [
            (rows[order[start : start + size]], 1 + rng.choice(size - 1, k, replace=False))
            for start, size in zip(starts, sizes, strict=True)
            if size > k + 1
        ]

    def put(self, indices: UInt32, rows: Int64 | UInt32) -> None:
        """Write them to the neighbours of these rows, in place."""
        order = np.argsort(rows)
        ordered = rows[order]
        for copies, offsets in self._groups:
            # Of either, those that are in both.
            places = np.searchsorted(ordered, copies)
            at = np.flatnonzero(ordered[np.minimum(places, len(ordered) - 1)] == copies)
            mine = order[places[at]]
            for number, offset in enumerate(offsets if len(at) else ()):
                indices[mine, number] = copies[(at + offset) % len(copies)]
            indices[mine] = np.sort(indices[mine], axis=1)


def spread_copies(indices: UInt32, distances: Float32, rng: np.random.Generator) -> None:
    """Give rows whose neighbours are all copies of them other copies of the same row, in place; see `Spread`.

    Parameters
    ----------
    indices : ndarray of uint32, shape (n, k)
        Neighbours of the rows among themselves.
    distances : ndarray of float32, shape (n, k)
    rng : numpy.random.Generator
    """
    rows = np.flatnonzero(distances[:, -1] == 0)
    Spread(rows, indices[rows, 0], indices.shape[1], rng).put(indices, np.arange(len(indices)))


def reunite(Y: Float32, P: JointRows, equal: Int64, dof: float) -> int:
    """Give copies that lie far from their twins the seat of a twin, in place.

    Equal rows are exchangeable: the best place of one is the best place of all. But a row that a large step has thrown
    among other rows does not find back, because a wall of repulsion lies between it and its twin.

    Parameters
    ----------
    Y : ndarray of float32, shape (n, d)
        The map, which is changed.
    P : Joint, or what gives its rows
    equal : ndarray of int64, shape (n,)
        One number for all rows that are equal.
    dof : float

    Returns
    -------
    int
        Rows that were moved.
    """
    order = np.argsort(equal, kind="stable")
    starts = np.flatnonzero(np.diff(equal[order], prepend=equal[order[:1]] - 1))
    sizes = np.diff(starts, append=len(order))
    near = max(BESIDE, ROOMS / math.sqrt(len(Y))) * float(np.ptp(Y, axis=0).max(initial=0.0))
    first = np.repeat(order[starts], sizes)
    spread = np.maximum.reduceat(np.linalg.norm(Y[order] - Y[first], axis=1), starts)
    moved = 0
    # Where all are within half of `near` from one of them, no two are more than `near` apart.
    for group in np.flatnonzero((sizes > 1) & (spread > near / 2)):
        members = order[starts[group] : starts[group] + sizes[group]]
        seat = _best(Y, P, members, dof)
        away = np.linalg.norm(Y[members] - Y[seat], axis=1)
        half = np.partition(away, (len(away) - 1) // 2)[(len(away) - 1) // 2]
        lost = members[away > max(near, CLUMP * half)]
        Y[lost] = Y[seat]
        moved += len(lost)
    return moved


def _best(Y: Float32, P: JointRows, members: Int64, dof: float) -> int:
    """The copy that its neighbours pull least, among those nearest to the middle of all copies."""
    middle = np.linalg.norm(Y[members] - np.median(Y[members], axis=0), axis=1)
    candidates = members[np.argsort(middle, kind="stable")[:CANDIDATES]]

    def pull(row: int) -> float:
        first, indices, values = P.part(row, row + 1)
        entries = slice(int(P.indptr[row]) - first, int(P.indptr[row + 1]) - first)
        squares = np.square(Y[indices[entries]] - Y[row], dtype=np.float64).sum(axis=1)
        return float(values[entries].astype(np.float64) @ np.log1p(squares / dof))

    return int(candidates[np.argmin([pull(int(row)) for row in candidates])])
