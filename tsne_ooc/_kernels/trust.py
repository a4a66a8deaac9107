"""What is near rows that are looked at as if they had been left out, and near them after a move."""

from __future__ import annotations

import math

import numpy as np

from tsne_ooc._kernels._jit import kernel

u64 = np.uint64


@kernel
def others(indices, values, own, near, kept, start, stop):
    """The columns of a range of rows without the one that names `own`, or without the last where none does."""
    k = near.shape[1]
    for i in range(u64(start), u64(stop)):
        after = u64(0)
        for e in range(u64(k)):
            if after == u64(0) and indices[i, e] == own[i]:
                after = u64(1)
            near[i, e] = indices[i, e + after]
            kept[i, e] = values[i, e + after]


@kernel
def moved(near, far, seen, here, there, sign, square, unit, out, distances, start, stop):
    """The nearest of each row's first `seen` neighbours after a move: as many as `out` has columns, ascending.

    `here` and `there` are inner products of the move with the rows and with the fitted rows, which `sign` turns round,
    `square` is the square of its length, and `far` holds distances before it, in units of `unit`. Of equal distances
    the first stays first.
    """
    k = u64(out.shape[1])
    for i in range(u64(start), u64(stop)):
        filled = u64(0)
        worst = 0.0
        for e in range(u64(seen)):
            j = near[i, e]
            before = float(far[i, e]) * unit
            after = before * before + 2.0 * sign * (here[i] - there[j]) + square
            if filled == k and after >= worst:
                continue
            distance = np.float32(math.sqrt(max(after, 0.0)) / unit)
            # The bound is of a rounded distance: rounded up, it let in others that are as far away.
            if filled == k and distance >= distances[i, k - u64(1)]:
                continue
            at = min(filled, k - u64(1))
            filled = min(filled + u64(1), k)
            while at > u64(0) and distances[i, at - u64(1)] > distance:
                distances[i, at] = distances[i, at - u64(1)]
                out[i, at] = out[i, at - u64(1)]
                at -= u64(1)
            distances[i, at] = distance
            out[i, at] = j
            last = float(distances[i, filled - u64(1)]) * unit
            worst = last * last


@kernel
def shared(near, found, own, hits):
    """How many of each row's neighbours are among the first others that were `found` on the map."""
    k = u64(near.shape[1])
    for i in range(u64(near.shape[0])):
        count = 0
        for e in range(k):
            passed = u64(0)
            for f in range(k + u64(1)):
                # The row itself is passed over, or else the last one is not looked at.
                if found[i, f] == own[i]:
                    passed = u64(1)
                elif f - passed < k and found[i, f] == near[i, e]:
                    count += 1
                    break
        hits[i] = count
