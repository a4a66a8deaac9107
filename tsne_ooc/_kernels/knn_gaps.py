"""Kernels of the search by what two rows both have: products propose, distances of pairs decide, as in `knn`.

With a = 0 where a row lacks a value and m = 1 where it has one, the squares of the differences over the columns that
rows a and b both have add up to ``a^2 . m_b + m_a . b^2 - 2 a . b``: one product of rows of 3 p numbers. Bits tell how
many columns these are. In single precision the sum is off by at most ``slack * (|a|^2 + |b|^2)``, with `slack` about
twice 3 p units in the last place; so the least that a pair can be apart is known, and a row is dropped only when k
others are certainly nearer. What remains is measured pair by pair, in double precision and one order of additions.
"""

from __future__ import annotations

import numpy as np

# The BLAS behind np.dot in kernels, as in `knn`.
import scipy.linalg.cython_blas  # noqa: F401

# Sums are not reordered, and 0 columns in common are told before they divide.
from tsne_ooc._kernels._jit import divides as kernel
from tsne_ooc._kernels.bits import ones
from tsne_ooc._kernels.knn import CHUNK, LARGEST, NO_KEY, OUTERMOST, without

i32, u32, u64, f32, f64 = np.int32, np.uint32, np.uint64, np.float32, np.float64


@kernel
def pair(x, y):
    """Distance of two rows by the columns that both have, scaled by their share; infinity where there is none.

    Of rows that lack nothing it is `knn.euclidean_pair`, to the bit: the additions are the same, in the same order.
    """
    n = u64(x.shape[0])
    s0 = s1 = s2 = s3 = 0.0
    shared = u64(0)
    whole = n - n % u64(4)
    i = u64(0)
    while i < whole:
        a = f64(x[i]) - f64(y[i])
        b = f64(x[i + u64(1)]) - f64(y[i + u64(1)])
        c = f64(x[i + u64(2)]) - f64(y[i + u64(2)])
        d = f64(x[i + u64(3)]) - f64(y[i + u64(3)])
        # Only what is missing differs from itself.
        s0 += a * a if a == a else 0.0
        s1 += b * b if b == b else 0.0
        s2 += c * c if c == c else 0.0
        s3 += d * d if d == d else 0.0
        shared += u64(a == a) + u64(b == b) + u64(c == c) + u64(d == d)
        i += u64(4)
    while i < n:
        a = f64(x[i]) - f64(y[i])
        s0 += a * a if a == a else 0.0
        shared += u64(a == a)
        i += u64(1)
    if shared == u64(0):
        return np.inf
    return np.sqrt(((s0 + s1) + (s2 + s3)) * (f64(n) / f64(shared)))


@kernel
def lift(rows, numbers, centre, scale, lifted, norms, bits):
    """Write rows ``rows[numbers]``, centred and scaled, 0 where they lack a value.

    Parameters
    ----------
    lifted : float32 (m, p)
    norms : float32 (m,)
        |a|^2.
    bits : uint64 (m, w)
        Which columns a row has.
    """
    columns = u64(centre.shape[0])
    for i in range(u64(numbers.shape[0])):
        row = rows[numbers[i]]
        norm = 0.0
        for w in range(u64(bits.shape[1])):
            bits[i, w] = u64(0)
        for j in range(columns):
            value = (f64(row[j]) - centre[j]) * scale
            there = value == value
            # No reference row is beyond 1, and a query beyond this bound is at least as far from it as it seems.
            value = min(max(value, -OUTERMOST), OUTERMOST) if there else 0.0
            bits[i, j >> u64(6)] |= u64(there) << (j & u64(63))
            norm += value * value
            lifted[i, j] = value
        norms[i] = norm


@kernel
def as_query(values, bits, spread):
    """Write a lifted query as products take it: a^2, m and -2 a."""
    columns = u64(values.shape[0])
    for j in range(columns):
        value = values[j]
        spread[j] = value * value
        spread[columns + j] = f32((bits[j >> u64(6)] >> (j & u64(63))) & u64(1))
        spread[u64(2) * columns + j] = f32(-2.0) * value


@kernel
def as_reference(values, bits, first, count, spread):
    """Write lifted reference rows from `first` on as products take them: m, a^2 and a.

    Kept so they would take three times the memory; to write them anew for each group of queries is nothing beside the
    product.
    """
    columns = u64(values.shape[1])
    for i in range(u64(count)):
        for j in range(columns):
            value = values[first + i, j]
            spread[i, j] = f32((bits[j >> u64(6), first + i] >> (j & u64(63))) & u64(1))
            spread[i, columns + j] = value * value
            spread[i, u64(2) * columns + j] = value


@kernel
def settle(row, k, unit, query, rows, order, places, counts, bars, keys):
    """Measure the candidates of a row, keep the k nearest with those of before, and raise its bar to the k-th."""
    count = np.int64(counts[row])
    counts[row] = 0
    if count == 0:
        return
    pool = np.empty(k + count, np.uint64)
    pool[:k] = keys[row]
    distances = np.empty(1, np.float32)
    bits = distances.view(np.uint32)
    wide = query.astype(np.float64)
    for i in range(count):
        number = order[places[row, i]]
        distances[0] = min(pair(wide, rows[number]), LARGEST)
        pool[k + i] = (u64(bits[0]) << u64(32)) | u64(number)
    pool.sort()
    keys[row] = pool[:k]
    if pool[k - 1] != u64(NO_KEY):
        bits[0] = u32(pool[k - 1] >> u64(32))
        # A distance is rounded to single precision, and so is the bar; products below its range are lost.
        farthest = f64(distances[0]) * unit
        bars[row] = f32(farthest * farthest * (1.0 + 1e-6) + 1e-36)


@kernel
def collect(
    block, members, first, k, slack, unit, queries, query_norms, query_bits, rows, order, norms, bits, itself, shared,
    lows, places, counts, bars, keys,
):  # fmt: skip
    """Take those of one block (members x consecutive reference rows from `first`) that may be below their row's bar."""
    width = u64(block.shape[1])
    capacity = u64(places.shape[1])
    for a in range(u64(block.shape[0])):
        row = np.int64(members[a])
        line = block[a]
        values, labels = lows[row], places[row]
        for j in range(width):
            shared[j] = i32(0)
        for w in range(u64(bits.shape[0])):
            mine, theirs = query_bits[row, w], bits[w]
            for j in range(width):
                shared[j] += i32(ones(mine & theirs[first + j]))
        off = f32(slack) * query_norms[row]
        for j in range(width):
            least = (line[j] - (off + f32(slack) * norms[first + j])) / f32(shared[j])
            # Nothing in common is not below any bar.
            line[j] = least if shared[j] > i32(0) else f32(np.nan)
        # Where it is among these rows, which it mostly is not.
        me = u64(itself[row]) - first
        bar = bars[row]
        count = u64(counts[row])
        start = u64(0)
        while start < width:
            stop = min(start + u64(CHUNK), width)
            hits = u32(0)
            for j in range(start, stop):
                hits += u32(line[j] <= bar)
            if hits > u32(0):
                if count + u64(CHUNK) > capacity:
                    counts[row] = count
                    settle(row, k, unit, queries[row], rows, order, places, counts, bars, keys)
                    bar = bars[row]
                    count = u64(0)
                for j in range(start, stop):
                    values[count] = line[j]
                    labels[count] = u32(first + j)
                    count += u64(line[j] <= bar)
                if me - start < stop - start and line[me] <= bar:
                    count = without(u32(first + me), values, labels, count)
            start = stop
        counts[row] = count


@kernel
def search(
    lifted, queries, query_norms, query_bits, itself, lists, starts, members, edges, reference, norms, bits, rows,
    order, k, width, slack, unit, lows, places, counts, bars, keys,
):  # fmt: skip
    """The k nearest rows to each of a group of queries among the lists that it probes, as sort keys, ascending.

    Parameters
    ----------
    lifted, query_norms, query_bits : float32 (g, p), float32 (g,), uint64 (g, w)
        Of the queries, as `lift` makes them.
    queries, itself, lists, starts, members, edges, rows, order
        As for `knn.search`.
    reference, norms, bits : float32 (n, p), float32 (n,), uint64 (w, n)
        Of the reference rows, list by list.
    slack, unit : float
        See the module's head; and what turns a distance into the root of a square for each column in common.
    lows, places, counts, bars
        Scratch (g, capacity) and (g,).
    keys : uint64 (g, k)
        The largest key where there is no row.
    """
    group = np.int64(lifted.shape[0])
    columns = 3 * np.int64(lifted.shape[1])
    asking = np.empty((group, columns), np.float32)
    for row in range(group):
        as_query(lifted[row], query_bits[row], asking[row])
    gathered = np.empty((group, columns), np.float32)
    answering = np.empty((width, columns), np.float32)
    buffer = np.empty(group * width, np.float32)
    shared = np.empty(width, np.int32)
    counts[:group] = 0
    bars[:group] = np.inf
    keys[:] = u64(NO_KEY)
    for i in range(len(lists)):
        chosen = members[starts[i] : starts[i + 1]]
        m = len(chosen)
        if m == group:
            batch = asking
        else:
            for a in range(m):
                gathered[a] = asking[chosen[a]]
            batch = gathered[:m]
        begin, end = edges[lists[i]], edges[lists[i] + 1]
        for first in range(begin, end, width):
            size = min(width, end - first)
            block = buffer[: m * size].reshape(m, size)
            as_reference(reference, bits, u64(first), size, answering)
            np.dot(batch, answering[:size].T, block)
            collect(
                block, chosen, u64(first), k, slack, unit, queries, query_norms, query_bits, rows, order, norms, bits,
                itself, shared, lows, places, counts, bars, keys,
            )  # fmt: skip
    for row in range(group):
        settle(row, k, unit, queries[row], rows, order, places, counts, bars, keys)
