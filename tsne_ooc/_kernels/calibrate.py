"""From neighbour distances to conditional probabilities of a given perplexity."""

from __future__ import annotations

import math

import numpy as np

from tsne_ooc._kernels._jit import kernel, piece

f32, u64 = np.float32, np.uint64
# Both are multiples of the excess at the perplexity's rank. Where the mean excess is more than `STRAYED` times that,
# the few rows that make it so weigh nothing, and the unit is the mean of those within `NEAR`. (In units of a mean 1e24
# times as large the search ran out of steps: with one distance of 1e20 among 80 the perplexity was 78, not 26.)
STRAYED, NEAR = 1e20, 1e10


@piece
def _excess(distances, i, e, nearest):
    """The squared distance of an entry less that of the nearest, without its rounding."""
    gap = float(distances[i, e]) - nearest
    return gap * (gap + 2.0 * nearest)


@piece
def _precision(distances, i, log_perplexity):
    """The precision of row i at this log-perplexity, in units of its excess, and that unit; both are 0 without a unit.

    Newton's method on the logarithm of the precision, kept between the tightest bounds seen: five or six
    evaluations a row where bisection takes twenty. The smallest squared distance is subtracted first, so rows far
    from everything do not underflow. Rows whose neighbours are all at one distance have no unit.
    """
    k = distances.shape[1]
    nearest = float(distances[i, 0])
    scale = 0.0
    for e in range(u64(k)):
        scale += _excess(distances, i, e, nearest)
    if scale <= 0.0:
        return 0.0, 0.0
    # In units of the mean excess, so that the start is near 1 whatever the data's scale.
    unit = k / scale
    # Distances ascend; at the precision that is sought, the neighbour at this rank must have some weight.
    ranked = _excess(distances, i, u64(math.ceil(min(math.exp(log_perplexity) - 1e-9, float(k)) - 1.0)), nearest)
    if ranked > 0.0 and scale > STRAYED * ranked * k:
        near, scale = k, 0.0
        while _excess(distances, i, u64(near - 1), nearest) > NEAR * ranked:
            near -= 1
        for e in range(u64(near)):
            scale += _excess(distances, i, e, nearest)
        k, unit = near, near / scale
    low, high, position = -math.inf, math.inf, 0.0
    beta = 1.0
    for _ in range(64):
        total, first, second = 0.0, 0.0, 0.0
        for e in range(u64(k)):
            excess = _excess(distances, i, e, nearest) * unit
            weight = math.exp(-beta * excess)
            total += weight
            first += weight * excess
            second += weight * excess * excess
        mean = first / total
        surplus = math.log(total) + beta * mean - log_perplexity
        if abs(surplus) < 1e-5:
            break
        if surplus > 0.0:
            low = position
        else:
            high = position
        bend = beta * beta * (second / total - mean * mean)
        move = surplus / bend if bend > 1e-12 else math.copysign(1.0, surplus)
        position += min(max(move, -2.0), 2.0)
        if not low < position < high:
            # A step leads away from the bound that was just set, so beyond the other one, and both are known.
            position = 0.5 * (low + high)
        if position > 60.0:
            # More rows are at the nearest distance than the perplexity asks for: no precision is sharp enough.
            break
        beta = math.exp(position)
    return beta, unit


@kernel
def calibrate(distances, log_perplexity, share, start, stop, out):
    """Add to `out` `share` times the Gaussian probabilities of each row, at the bandwidth of this log-perplexity.

    Rows whose neighbours are all at one distance get uniform probabilities.
    """
    k = distances.shape[1]
    for i in range(u64(start), u64(stop)):
        beta, unit = _precision(distances, i, log_perplexity)
        if unit == 0.0:
            for e in range(u64(k)):
                out[i, e] += share / f32(k)
            continue
        nearest = float(distances[i, 0])
        total = 0.0
        for e in range(u64(k)):
            total += math.exp(-beta * _excess(distances, i, e, nearest) * unit)
        for e in range(u64(k)):
            out[i, e] += share * f32(math.exp(-beta * _excess(distances, i, e, nearest) * unit) / total)


@kernel
def mix(distances, log_perplexities, start, stop, out):
    """The probabilities of each row under a sum of Gaussian densities, one for each log-perplexity."""
    k, scales = distances.shape[1], len(log_perplexities)
    heights, precisions = np.empty(scales), np.empty(scales)
    for i in range(u64(start), u64(stop)):
        nearest = float(distances[i, 0])
        highest = -math.inf
        for h in range(u64(scales)):
            beta, unit = _precision(distances, i, log_perplexities[h])
            precisions[h] = beta * unit
            # The logarithm of the density at the nearest row, the highest of all.
            heights[h] = 0.5 * math.log(beta * unit) - beta * unit * nearest * nearest if unit > 0.0 else 0.0
            highest = max(highest, heights[h])
        total = 0.0
        for e in range(u64(k)):
            excess = _excess(distances, i, e, nearest)
            weight = 0.0
            for h in range(u64(scales)):
                weight += math.exp(heights[h] - highest - precisions[h] * excess)
            total += weight
            out[i, e] = f32(weight)
        for e in range(u64(k)):
            out[i, e] = f32(float(out[i, e]) / total)
