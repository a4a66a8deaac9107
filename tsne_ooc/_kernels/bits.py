"""Distances of rows of yes and no: they follow from how many columns both have, and how many each."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from ._jit import divides

u64 = np.uint64

# Metrics by number, for a kernel takes numbers alone.
KINDS = {
    "jaccard": 0, "dice": 1, "hamming": 2, "rogerstanimoto": 3, "sokalsneath": 4, "russellrao": 5, "yule": 6,
}  # fmt: skip
NO_KEY = 0xFFFFFFFFFFFFFFFF


@intrinsic
def ones(typing, word):
    """How many bits of a 64-bit word are set: one instruction, where sums of shifted words take twelve."""

    def code(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


@divides
def distance(kind, both, left, right, columns):
    """Distance of two rows with `left` and `right` columns set, `both` in both, as SciPy defines it; 0 where that is
    0 / 0, between two rows of nothing."""
    apart = left + right - 2.0 * both
    if kind == 0:
        return apart / (apart + both) if apart > 0.0 else 0.0
    if kind == 1:
        return apart / (left + right) if apart > 0.0 else 0.0
    if kind == 2:
        return apart / columns
    if kind == 3:
        return 2.0 * apart / (columns + apart)
    if kind == 4:
        return 2.0 * apart / (2.0 * apart + both) if apart > 0.0 else 0.0
    if kind == 5:
        return (columns - both) / columns
    crossed = (left - both) * (right - both)
    neither = columns - left - right + both
    return 2.0 * crossed / (both * neither + crossed) if crossed > 0.0 else 0.0


@divides
def of_counts(kind, both, left, right, columns, result):
    """`distance` of all pairs: `both` of shape (q, n) and the counts of either side."""
    for i in range(u64(both.shape[0])):
        for j in range(u64(both.shape[1])):
            result[i, j] = distance(kind, both[i, j], left[i], right[j], columns)


@divides
def count(words, counts):
    """Bits that are set in each row."""
    for i in range(u64(words.shape[0])):
        total = u64(0)
        for w in range(u64(words.shape[1])):
            total += ones(words[i, w])
        counts[i] = np.int64(total)


@divides
def sift(heap, key):
    """Put a key in the place of the largest of a heap."""
    size = u64(heap.shape[0])
    at = u64(0)
    while True:
        child = u64(2) * at + u64(1)
        if child >= size:
            break
        if child + u64(1) < size and heap[child + u64(1)] > heap[child]:
            child += u64(1)
        if heap[child] <= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@divides
def least(kind, left, right, columns, limit):
    """The fewest columns in both with which rows of these counts are no farther than `limit`, in single precision;
    one more than they can have where they are always farther."""
    short = np.empty(1, np.float32)
    # Rows of many columns cannot but share some. No metric here grows with what they share.
    low, high = max(np.int64(0), left + right - np.int64(columns)), min(left, right) + 1
    while low < high:
        middle = (low + high) // 2
        short[0] = distance(kind, np.float64(middle), np.float64(left), np.float64(right), columns)
        if short[0] <= limit:
            high = middle
        else:
            low = middle + 1
    return low


@divides
def search(kind, queries, query_counts, itself, words, numbers, edges, counts, first, columns, keys):
    """The nearest rows to each of a few queries, as sort keys in no order.

    Rows stand in blocks of one count of bits each, in the order of these. Blocks are met from `first` on, downwards and
    upwards in turn; a query leaves out those whose count alone puts them beyond its worst neighbour so far. Of the
    others only rows with enough bits in both are looked at closer.

    Parameters
    ----------
    queries, query_counts, itself : uint64 (g, w), int64 (g,), uint32 (g,)
        The number of the row that a query is, or one that no row has.
    words, numbers : uint64 (n, w), uint32 (n,)
    edges, counts : int64 (b + 1,), int64 (b,)
        Where blocks begin, and the count of their rows.
    first : int
        The block to begin with.
    columns : float
    keys : uint64 (g, k)
    """
    width = u64(words.shape[1])
    blocks = len(counts)
    short = np.empty(1, np.float32)
    bits = short.view(np.uint32)
    limits = keys.view(np.float32)
    keys[:] = u64(NO_KEY)
    for step in range(2 * blocks):
        # first, first + 1, first - 1, first + 2, ...
        at = first + (step + 1) // 2 if step % 2 == 1 else first - step // 2
        if at < 0 or at >= blocks:
            continue
        for i in range(u64(queries.shape[0])):
            heap = keys[i]
            worst = heap[0]
            mine = query_counts[i]
            enough = u64(0)
            if worst != u64(NO_KEY):
                # The upper half of a key is the distance.
                fewest = least(kind, mine, counts[at], columns, limits[i, 1])
                if fewest > min(mine, counts[at]):
                    continue
                enough = u64(fewest)
            query = queries[i]
            for j in range(u64(edges[at]), u64(edges[at + 1])):
                row = words[j]
                both = u64(0)
                for w in range(width):
                    both += ones(query[w] & row[w])
                if both >= enough:
                    short[0] = distance(kind, np.float64(both), np.float64(mine), np.float64(counts[at]), columns)
                    key = (u64(bits[0]) << u64(32)) | u64(numbers[j])
                    if key < worst and numbers[j] != itself[i]:
                        sift(heap, key)
                        worst = heap[0]
