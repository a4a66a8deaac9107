"""Distances between sparse rows, pair by pair."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import ordered

u64 = np.uint64

SQUARES, SIZES, LARGEST, COUNT = range(4)


@ordered
def add(kind, total, gap):
    """A total with one more difference."""
    if kind == SQUARES:
        return total + gap * gap
    if kind == SIZES:
        return total + abs(gap)
    if kind == LARGEST:
        return max(total, abs(gap))
    return total + (1.0 if gap != 0.0 else 0.0)


@ordered
def sparse_distances(
    q_data, q_indices, q_starts, q_factors, data, indices, starts, factors, columns, kind, edges, numbers, result
):
    """Differences between each query i and the rows ``numbers[edges[i]:edges[i + 1]]``, CSR without repeated entries:
    the sum of their squares or of their sizes, the largest, or how many there are.

    Rows are multiplied by their factors first. Each query lies spread out in a dense row; entries of it that
    the other row does not store are found by a mark, so nothing is subtracted from a total and equal rows are
    at 0.
    """
    dense = np.zeros(columns)
    met = np.zeros(columns, np.int64)
    pair = 0
    for i in range(u64(len(q_starts) - 1)):
        begin, end = u64(q_starts[i]), u64(q_starts[i + u64(1)])
        for e in range(begin, end):
            dense[q_indices[e]] = q_data[e] * q_factors[i]
        for place in range(u64(edges[i]), u64(edges[i + u64(1)])):
            j = u64(numbers[place])
            pair += 1
            total = 0.0
            for e in range(u64(starts[j]), u64(starts[j + u64(1)])):
                column = indices[e]
                met[column] = pair
                gap = dense[column] - data[e] * factors[j]
                total = add(kind, total, gap)
            for e in range(begin, end):
                column = q_indices[e]
                if met[column] != pair:
                    gap = dense[column]
                    total = add(kind, total, gap)
            result[place] = total
        for e in range(begin, end):
            dense[q_indices[e]] = 0.0
