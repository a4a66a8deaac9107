"""Points onto the grid, with a fixed order of additions.

Points are first sorted into bands of grid rows (stably: by range, then by row number). A band then belongs to one
thread. Its window reaches three rows into the next band, so even bands are spread first and odd ones after them:
every grid node receives its additions in one order, whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel, piece
from tsne_ooc._kernels.bspline import weights

f32, u64 = np.float32, np.uint64
ONE = u64(1)


@kernel
def bounds(Y, start, stop):
    """Lowest and highest coordinate of each axis; NaN if any row of the range holds one."""
    d = Y.shape[1]
    low = np.full(d, np.inf, np.float32)
    high = np.full(d, -np.inf, np.float32)
    for i in range(u64(start), u64(stop)):
        for axis in range(d):
            y = Y[i, axis]
            if not abs(y) < np.inf:
                low[axis] = high[axis] = np.nan
                return low, high
            low[axis] = min(low[axis], y)
            high[axis] = max(high[axis], y)
    return low, high


@kernel
def count_bands(Y, start, stop, origin, per_cell, rows, counts):
    """How many points of a range fall into each band of `rows` grid rows."""
    for i in range(u64(start), u64(stop)):
        counts[u64((Y[i, 0] - origin[0]) * per_cell) // u64(rows)] += 1


@kernel
def sort_into_bands(Y, start, stop, origin, per_cell, rows, cursor, U):
    """Write the range's points, in grid cells, behind the cursors of their bands."""
    for i in range(u64(start), u64(stop)):
        band = u64((Y[i, 0] - origin[0]) * per_cell) // u64(rows)
        slot = u64(cursor[band])
        cursor[band] += 1
        for axis in range(Y.shape[1]):
            U[slot, axis] = (Y[i, axis] - origin[axis]) * per_cell


@piece
def _line(grid, at, w, scale):
    grid[at] += scale * w[0]
    grid[at + ONE] += scale * w[1]
    grid[at + u64(2)] += scale * w[2]
    grid[at + u64(3)] += scale * w[3]


@kernel
def spread1(U, start, stop, stride, far_stride, grid):
    """Add the points of one band to a grid of one axis."""
    for i in range(u64(start), u64(stop)):
        a = u64(U[i, 0])
        t = U[i, 0] - f32(a)
        _line(grid, a, weights(t), f32(1))


@kernel
def spread2(U, start, stop, stride, far_stride, grid):
    """Do as `spread1` does, on a plane whose rows are `stride` apart."""
    for i in range(u64(start), u64(stop)):
        a, b = u64(U[i, 0]), u64(U[i, 1])
        s, t = U[i, 0] - f32(a), U[i, 1] - f32(b)
        across, along = weights(s), weights(t)
        at = a * u64(stride) + b
        for row in range(4):
            _line(grid, at + u64(row) * u64(stride), along, across[row])


@kernel
def spread3(U, start, stop, stride, far_stride, grid):
    """Do as `spread1` does, in a volume whose planes are `far_stride` apart and whose rows are `stride` apart."""
    for i in range(u64(start), u64(stop)):
        a, b, c = u64(U[i, 0]), u64(U[i, 1]), u64(U[i, 2])
        r, s, t = U[i, 0] - f32(a), U[i, 1] - f32(b), U[i, 2] - f32(c)
        deep, across, along = weights(r), weights(s), weights(t)
        at = a * u64(far_stride) + b * u64(stride) + c
        for plane in range(4):
            for row in range(4):
                start_of_row = at + u64(plane) * u64(far_stride) + u64(row) * u64(stride)
                _line(grid, start_of_row, along, deep[plane] * across[row])


SPREAD = {1: spread1, 2: spread2, 3: spread3}
