"""Rows of a map counted in the cells of a picture.

Everything is a whole number, so that the order of the rows, and the threads that share them, change no bit.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel

u64 = np.uint64
f64 = np.float64


@kernel
def extent(Y, box, low, high, inner_low, inner_high):
    """Bounds of all rows, and of those within `box` (low x, low y, high x, high y); how many have no place, are beyond.

    A row has no place where a coordinate is NaN or infinite.
    """
    lost, beyond = 0, 0
    for i in range(u64(Y.shape[0])):
        x, y = f64(Y[i, u64(0)]), f64(Y[i, u64(1)])
        if not (abs(x) < np.inf and abs(y) < np.inf):
            lost += 1
            continue
        low[0], low[1] = min(low[0], x), min(low[1], y)
        high[0], high[1] = max(high[0], x), max(high[1], y)
        if x < box[0] or y < box[1] or x > box[2] or y > box[3]:
            beyond += 1
            continue
        inner_low[0], inner_low[1] = min(inner_low[0], x), min(inner_low[1], y)
        inner_high[0], inner_high[1] = max(inner_high[0], x), max(inner_high[1], y)
    return lost, beyond


@kernel
def count_kinds(Y, codes, colors, frame, cells, coarse, picture, kinds):
    """Add each row to its cell: one, and the light of its colour; and to the coarse cell of its kind.

    frame: left, bottom, and cells per unit across and up. picture: (cells * cells, 4), kinds: (colours, coarse,
    coarse). Rows beyond the frame are in the cells at its rim.
    """
    last, part = cells - 1, f64(coarse) / f64(cells)
    for i in range(u64(Y.shape[0])):
        x, y = f64(Y[i, u64(0)]), f64(Y[i, u64(1)])
        if not (abs(x) < np.inf and abs(y) < np.inf):
            continue
        across = min(max((x - frame[0]) * frame[2], 0.0), f64(last))
        up = min(max((y - frame[1]) * frame[3], 0.0), f64(last))
        cell, code = u64(up) * u64(cells) + u64(across), u64(codes[i])
        picture[cell, u64(0)] += u64(1)
        picture[cell, u64(1)] += u64(colors[code, 0])
        picture[cell, u64(2)] += u64(colors[code, 1])
        picture[cell, u64(3)] += u64(colors[code, 2])
        kinds[code, u64(up * part), u64(across * part)] += np.uint32(1)


@kernel
def count_values(Y, values, start, width, steps, frame, cells, picture):
    """Add each row to its cell: one, one where it has a value, and the value in `steps` from `start` over `width`."""
    last = cells - 1
    for i in range(u64(Y.shape[0])):
        x, y = f64(Y[i, u64(0)]), f64(Y[i, u64(1)])
        if not (abs(x) < np.inf and abs(y) < np.inf):
            continue
        across = min(max((x - frame[0]) * frame[2], 0.0), f64(last))
        up = min(max((y - frame[1]) * frame[3], 0.0), f64(last))
        cell = u64(up) * u64(cells) + u64(across)
        picture[cell, u64(0)] += u64(1)
        value = f64(values[i])
        if abs(value) < np.inf:
            picture[cell, u64(1)] += u64(1)
            share = min(max((value - start) / width, 0.0), 1.0)
            picture[cell, u64(2)] += u64(share * steps + 0.5)
