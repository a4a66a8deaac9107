"""Kernels of the blocked neighbour search: score blocks by matrix product, keep candidates, settle them
exactly.

A score is ``q . x - |x|^2 / 2`` of centred rows, so the larger the nearer, taken by BLAS from rows that carry
a last column (1 for queries, about -|x|^2/2 for reference rows). A score computed in single precision is off
by at most ``slack * (|q|^2 / 2 + |x|^2)``, with ``slack`` about (columns + 16) units in the last place
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). The last column is raised by
``slack * |x|^2``, so a computed score is never below the true one by more than ``slack * |q|^2 / 2``, and a
row is dropped only when k others are certainly nearer. Whatever remains is measured again pair by pair, in
double precision and one order of additions. Blocks and batches therefore decide how long a search takes,
never what it finds.
"""

from __future__ import annotations

import numpy as np

# The BLAS behind np.dot in kernels. It is loaded here: a limit on BLAS threads that was set earlier would miss it.
import scipy.linalg.cython_blas  # noqa: F401

# Sums are not reordered here, unlike in the other kernels: a distance must not depend on where its code was inlined.
from tsne_ooc._kernels._jit import ordered as kernel
from tsne_ooc._kernels.chains import four_sums

# Scores looked at together, four AVX2 registers; 8 and 16 took the same time, and so did 64 and 128.
CHUNK = 32
LARGEST = 3.4028234e38
NO_KEY = 0xFFFFFFFFFFFFFFFF
OUTERMOST = 2.0**40


@kernel
def euclidean_from(x, y, start):
    """Distance of x from as many numbers of the vector y from `start` on, in double precision and in an order of
    additions that depends on their number alone."""
    n = np.uint64(x.shape[0])
    # Four sums are four chains of additions in flight: 3x the speed of one.
    s0, s1, s2, s3 = four_sums(x, y, start)
    i = n - n % np.uint64(4)
    while i < n:
        a = np.float64(x[i]) - np.float64(y[start + i])
        s0 += a * a
        i += np.uint64(1)
    return np.sqrt((s0 + s1) + (s2 + s3))


@kernel
def euclidean_pair(x, y):
    """Distance of two rows, as `euclidean_from` has it."""
    return euclidean_from(x, y, np.uint64(0))


@kernel
def length(x):
    """Euclidean norm of a row in double precision."""
    total = 0.0
    for i in range(np.uint64(x.shape[0])):
        total += np.float64(x[i]) * np.float64(x[i])
    return np.sqrt(total)


@kernel
def cosine_pair(x, y):
    """One minus the cosine of two rows in double precision; 1 where a row is all zeros.

    Half the squared distance of the unit vectors: unlike ``1 - x . y`` it loses no digits where the angle is
    small.
    """
    a = length(x)
    b = length(y)
    if a == 0.0 or b == 0.0:
        return 1.0
    even = odd = 0.0
    n = np.uint64(x.shape[0])
    whole = n - n % np.uint64(2)
    i = np.uint64(0)
    while i < whole:
        s = np.float64(x[i]) / a - np.float64(y[i]) / b
        t = np.float64(x[i + np.uint64(1)]) / a - np.float64(y[i + np.uint64(1)]) / b
        even += s * s
        odd += t * t
        i += np.uint64(2)
    if i < n:
        s = np.float64(x[i]) / a - np.float64(y[i]) / b
        even += s * s
    return 0.5 * (even + odd)


@kernel
def pair(x, y, cosine):
    """Distance of two rows in one of the two metrics."""
    if cosine:
        return cosine_pair(x, y)
    return euclidean_pair(x, y)


@kernel
def lift(rows, numbers, centre, scale, cosine, slack, is_query, lifted, norms):
    """Write rows ``rows[numbers]`` centred and scaled (or, for cosine, of unit length) with their last
    column."""
    columns = np.uint64(centre.shape[0])
    for i in range(np.uint64(numbers.shape[0])):
        row = rows[numbers[i]]
        norm = 0.0
        if cosine:
            size = length(row)
            factor = 1.0 / size if size > 0.0 else 0.0
            for j in range(columns):
                lifted[i, j] = row[j] * factor
            # Score q . x - 1/2 for all rows, the zero ones too: they are at distance 1 from everything.
            norm = 1.0
        else:
            for j in range(columns):
                value = (np.float64(row[j]) - centre[j]) * scale
                # No reference row is beyond 1. Queries beyond this bound are equally far from all rows in single
                # precision; without it their products would be infinite, and no row would be a candidate.
                value = min(max(value, -OUTERMOST), OUTERMOST)
                lifted[i, j] = value
                norm += value * value
        norms[i] = norm
        lifted[i, columns] = 1.0 if is_query else -0.5 * norm * (1.0 - 2.0 * slack)


@kernel
def largest_norm(low, query_norm, slack):
    """At least |x|^2 of every reference row whose computed score for a query is `low` or more.

    But for rounding, such a row is within the root of ``|q|^2 - 2 low`` of the query, so |x| is at most that and |q|
    together. The rounding is bounded by |x|^2 itself, which is at most 1; the bound that follows bounds it again.

    The norms of the candidates themselves lie anywhere in memory. By the largest norm of all rows, one row a thousand
    times as far out as the others would keep all of these as candidates.
    """
    largest = 1.0
    for _ in range(2):
        squared = query_norm * (1.0 + slack) - 2.0 * np.float64(low) + 4.0 * slack * largest
        reach = np.sqrt(query_norm) + np.sqrt(max(squared, 0.0))
        largest = min(largest, reach * reach * (1.0 + 1e-6))
    return largest


@kernel
def tighten(row, k, spare, slack, query_norm, scores, places, counts, bars):
    """Raise the bar of a row to what its best candidates prove, and drop the candidates below it.

    A candidate's true score is at least its computed one less ``2 slack |x|^2 + slack |q|^2 / 2``; the least
    of these over k candidates bounds the k-th best true score from below, and a computed score ``slack |q|^2
    / 2`` below that bound cannot belong to one of the k nearest. The k candidates (up to `spare` more) are
    those above a value found by bisection: its counts are vector compares, and 5x faster than Hoare's
    selection on 300 candidates.
    """
    count = np.uint64(counts[row])
    if count < np.uint64(k):
        return
    values = scores[row, :count]
    labels = places[row, :count]
    low = bars[row]
    if low == -np.inf:
        for i in range(count):
            low = values[i] if i == np.uint64(0) else min(low, values[i])
    # No score exceeds that of the query itself.
    high = np.float32(0.5 * query_norm * (1.0 + 1e-6))
    wanted = np.uint32(k)
    enough = np.uint32(k + spare)
    for _ in range(24):
        middle = np.float32(0.5) * (low + high)
        above = np.uint32(0)
        for i in range(count):
            above += np.uint32(values[i] >= middle)
        if above >= wanted:
            low = middle
            if above <= enough:
                break
        else:
            high = middle
    proved = np.float64(low) - slack * (2.0 * largest_norm(low, query_norm, slack) + query_norm)
    # The bar itself is kept in single precision, and products below its range are lost.
    bar = np.float32(proved - abs(proved) * 2e-7 - 1e-36)
    bar = max(bar, bars[row])
    bars[row] = bar
    kept = np.uint64(0)
    for i in range(count):
        value = values[i]
        label = labels[i]
        values[kept] = value
        labels[kept] = label
        kept += np.uint64(value >= bar)
    counts[row] = kept


@kernel
def settle(row, k, query, rows, order, cosine, scores, places, counts):
    """Keep the k candidates that are nearest by exact distance, then by row number: ties have filled the
    buffer."""
    count = np.int64(counts[row])
    keys = np.empty(count, np.uint64)
    exact_keys(query, rows, order, cosine, places[row], count, keys)
    by_key = np.argsort(keys)[:k]
    values = scores[row][:count][by_key]
    labels = places[row][:count][by_key]
    for i in range(k):
        scores[row, i] = values[i]
        places[row, i] = labels[i]
    counts[row] = k


@kernel
def exact_keys(query, rows, order, cosine, labels, count, keys):
    """Sort keys of a row's candidates: the bits of the distance (single precision) above the row number."""
    distances = np.empty(1, np.float32)
    bits = distances.view(np.uint32)
    # Once, and not for each pair: as double precision it has the same values.
    wide = query.astype(np.float64)
    # Of one long vector: a view of each row would count its users, which takes a fifth of the time of all this.
    flat, columns = rows.reshape(-1), np.uint64(rows.shape[1])
    for i in range(np.uint64(count)):
        number = np.uint64(order[labels[i]])
        if cosine:
            distance = cosine_pair(wide, rows[number])
        else:
            distance = euclidean_from(wide, flat, number * columns)
        distances[0] = min(distance, LARGEST)
        keys[i] = (np.uint64(bits[0]) << np.uint64(32)) | number


@kernel
def without(label, values, labels, count):
    """Take the candidate `label` out of the last ones, and return how many are left."""
    last = count - np.uint64(1)
    i = last
    while labels[i] != label:
        i -= np.uint64(1)
    while i < last:
        values[i] = values[i + np.uint64(1)]
        labels[i] = labels[i + np.uint64(1)]
        i += np.uint64(1)
    return last


@kernel
def collect(
    block,
    members,
    first,
    k,
    slack,
    queries,
    query_norms,
    rows,
    order,
    itself,
    cosine,
    scores,
    places,
    counts,
    bars,
):
    """Take the scores of one block (members x consecutive reference rows from `first`) that pass their row's
    bar."""
    width = np.uint64(block.shape[1])
    capacity = np.uint64(scores.shape[1])
    # So many are left that a buffer of them would be full again at once.
    most = np.uint64((scores.shape[1] + k) >> 1)
    for a in range(np.uint64(block.shape[0])):
        # No views of rows here: each would count its users, which takes as long as 50 scores.
        row = np.uint64(members[a])
        bar = bars[row]
        # Where it is among these rows, which it mostly is not.
        me = np.uint64(itself[row]) - first
        count = np.uint64(counts[row])
        start = np.uint64(0)
        while start < width:
            # Not a constant number of steps: of 32 of them LLVM makes 32 scalar compares, which take three times as
            # long as vector ones.
            stop = min(start + np.uint64(CHUNK), width)
            hits = np.uint32(0)
            for j in range(start, stop):
                hits += np.uint32(block[a, j] >= bar)
            if hits > np.uint32(0):
                if count + np.uint64(CHUNK) > capacity:
                    counts[row] = count
                    tighten(row, k, k >> 3, slack, query_norms[row], scores, places, counts, bars)
                    if np.uint64(counts[row]) > most:
                        settle(row, k, queries[row], rows, order, cosine, scores, places, counts)
                    bar = bars[row]
                    count = np.uint64(counts[row])
                # Without a branch: which of them pass, no processor can guess, and each wrong guess costs as much as
                # ten scores.
                for j in range(start, stop):
                    value = block[a, j]
                    scores[row, count] = value
                    places[row, count] = np.uint32(first + j)
                    count += np.uint64(value >= bar)
                if me - start < stop - start and block[a, me] >= bar:
                    count = without(np.uint32(first + me), scores[row], places[row], count)
            start = stop
        counts[row] = count


@kernel
def search(
    lifted, queries, query_norms, itself, lists, starts, members, edges, reference, rows, order, k,
    width, slack, cosine, scores, places, counts, bars,
):  # fmt: skip
    """Candidates of a group of queries among the lists each of them probes, as sort keys.

    Parameters
    ----------
    lifted : float32 (g, p + 1)
        Centred queries and a column of ones.
    queries, query_norms, itself : float32 (g, p), float64 (g,), uint32 (g,)
        The queries as given; squared norms of the centred ones; the place in `reference` that is the query
        itself.
    lists, starts, members : uint32 (l,), int64 (l + 1,), uint32
        Queries ``members[starts[i]:starts[i + 1]]`` probe list ``lists[i]``.
    edges : int64
        List i holds the places ``edges[i]`` to ``edges[i + 1]``.
    reference : float32 (n, p + 1)
        Centred rows list by list with the last column of the module's head; none is farther than 1 from the centre.
    rows, order : float32 (n, p), uint32 (n,)
        The rows as given, and the number of the row at each place.
    scores, places, counts, bars
        Scratch (g, capacity) and (g,).

    Returns
    -------
    keys : uint64 (g, most candidates of a query)
        The largest key where a query has no more candidates.
    """
    group = np.int64(lifted.shape[0])
    columns = np.int64(lifted.shape[1])
    gathered = np.empty((group, columns), np.float32)
    buffer = np.empty(group * width, np.float32)
    counts[:group] = 0
    bars[:group] = -np.inf
    for i in range(len(lists)):
        chosen = members[starts[i] : starts[i + 1]]
        m = len(chosen)
        if m == group:
            batch = lifted
        else:
            for a in range(np.uint64(m)):
                row = np.uint64(chosen[a])
                for j in range(np.uint64(columns)):
                    gathered[a, j] = lifted[row, j]
            batch = gathered[:m]
        begin, end = edges[lists[i]], edges[lists[i] + 1]
        for first in range(begin, end, width):
            size = min(width, end - first)
            block = buffer[: m * size].reshape(m, size)
            np.dot(batch, reference[first : first + size].T, block)
            collect(
                block, chosen, np.uint64(first), k, slack, queries, query_norms, rows, order, itself, cosine, scores,
                places, counts, bars,
            )  # fmt: skip
    longest = np.int64(0)
    for row in range(group):
        tighten(row, k, k >> 5, slack, query_norms[row], scores, places, counts, bars)
        longest = max(longest, np.int64(counts[row]))
    keys = np.full((group, longest), np.uint64(NO_KEY))
    for row in range(group):
        exact_keys(queries[row], rows, order, cosine, places[row], np.int64(counts[row]), keys[row])
    return keys


@kernel
def rerank(queries, rows, found, itself, cosine, keys):
    """Sort keys of the rows `found` (-1: none) for each query by another search, the row `itself` left
    out."""
    distance = np.empty(1, np.float32)
    bits = distance.view(np.uint32)
    for i in range(np.uint64(found.shape[0])):
        for j in range(np.uint64(found.shape[1])):
            number = np.int64(found[i, j])
            keys[i, j] = np.uint64(NO_KEY)
            if number >= 0 and number != np.int64(itself[i]):
                distance[0] = min(pair(queries[i], rows[number], cosine), LARGEST)
                keys[i, j] = (np.uint64(bits[0]) << np.uint64(32)) | np.uint64(number)
