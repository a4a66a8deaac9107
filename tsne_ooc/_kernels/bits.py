"""Distances between rows of bits: they follow from how many columns are set in both, and how many in each."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from tsne_ooc._kernels._jit import divides

u64 = np.uint64

# Metrics by number, because a kernel takes numbers alone.
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
    """Distance of two rows with `left` and `right` columns set, `both` in both, as SciPy defines it; 0 where that is 0
    / 0, as between two empty rows."""
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
    """The fewest shared columns with which rows of these counts are not farther apart than `limit`, in single
    precision; one more than they can share where they always are."""
    short = np.empty(1, np.float32)
    # Two rows with many columns set must share some. No metric here grows with what they share.
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
def offer(kind, both, left, right, columns, number, itself, heap, short):
    """Put a row among the nearest, if it is one of them; `short` is room in which to round to float32."""
    short[0] = distance(kind, np.float64(both), np.float64(left), np.float64(right), columns)
    key = (u64(short.view(np.uint32)[0]) << u64(32)) | u64(number)
    if key < heap[0] and number != itself:
        sift(heap, key)


@divides
def search(kind, queries, query_counts, itself, words, numbers, edges, counts, first, columns, keys):
    """The nearest rows to each of a few queries, as sort keys in no order.

    Rows stand in blocks of one count of bits each, in the order of these. Blocks are met from `first` on, downwards and
    upwards in turn; a query leaves out those whose count alone puts them beyond its worst neighbour so far. Of the
    others only rows that share enough bits are looked at more closely.

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
    limits = keys.view(np.float32)
    keys[:] = u64(NO_KEY)
    # Queries that look at the block, and how many shared columns each asks for. They are filled up to a multiple of
    # four with queries that ask for more columns than there are.
    size = len(queries)
    mine, enough = np.zeros(size + 3, np.int64), np.empty(size + 3, u64)
    for step in range(2 * blocks):
        # first, first + 1, first - 1, first + 2, ...
        at = first + (step + 1) // 2 if step % 2 == 1 else first - step // 2
        if at < 0 or at >= blocks:
            continue
        there = counts[at]
        looking = 0
        for i in range(size):
            fewest = np.int64(0)
            if keys[i, 0] != u64(NO_KEY):
                # The upper half of a key is the distance.
                fewest = least(kind, query_counts[i], there, columns, limits[i, 1])
                if fewest > min(query_counts[i], there):
                    continue
            mine[looking] = i
            enough[looking] = u64(fewest)
            looking += 1
        enough[looking : looking + 3] = u64(NO_KEY)
        mine[looking : looking + 3] = 0
        for s in range(0, looking, 4):
            # Four at a time: each word of a row is loaded once for all, and the sums of one query wait for nobody. A
            # pair of 1,024 columns takes 1.7 ns by itself, and 4.1 one query at a time; of 2,048 columns 3.0 and 3.6.
            i1, i2, i3, i4 = mine[s], mine[s + 1], mine[s + 2], mine[s + 3]
            e1, e2, e3, e4 = enough[s], enough[s + 1], enough[s + 2], enough[s + 3]
            q1, q2, q3, q4 = queries[i1], queries[i2], queries[i3], queries[i4]
            for j in range(u64(edges[at]), u64(edges[at + 1])):
                row = words[j]
                b1, b2, b3, b4 = u64(0), u64(0), u64(0), u64(0)
                for w in range(width):
                    b1 += ones(q1[w] & row[w])
                    b2 += ones(q2[w] & row[w])
                    b3 += ones(q3[w] & row[w])
                    b4 += ones(q4[w] & row[w])
                if b1 >= e1:
                    offer(kind, b1, query_counts[i1], there, columns, numbers[j], itself[i1], keys[i1], short)
                if b2 >= e2:
                    offer(kind, b2, query_counts[i2], there, columns, numbers[j], itself[i2], keys[i2], short)
                if b3 >= e3:
                    offer(kind, b3, query_counts[i3], there, columns, numbers[j], itself[i3], keys[i3], short)
                if b4 >= e4:
                    offer(kind, b4, query_counts[i4], there, columns, numbers[j], itself[i4], keys[i4], short)
