"""Rows onto the columns of a matrix, each row by itself.

BLAS picks its kernel by the shape of the whole block: of 300 rows of 1,000 columns, half of all shorter blocks
gave other last bits. Here the additions of a row stand in the source, and the compiler may not reorder them (no
fastmath), so they are the same in any block. 15 GFLOP/s on one core, where BLAS has 24.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import ordered

u64 = np.uint64


@ordered
def project(rows, mean, axes, out):
    """``(rows - mean) @ axes`` in float64, four columns of `rows` at a time: out of shape (m, k), axes (p, k)."""
    m, p = rows.shape
    k = u64(axes.shape[1])
    whole = u64(p // 4 * 4)
    for i in range(u64(m)):
        y = out[i]
        for c in range(k):
            y[c] = 0.0
        for j in range(u64(0), whole, u64(4)):
            z0 = rows[i, j] - mean[j]
            z1 = rows[i, j + u64(1)] - mean[j + u64(1)]
            z2 = rows[i, j + u64(2)] - mean[j + u64(2)]
            z3 = rows[i, j + u64(3)] - mean[j + u64(3)]
            for c in range(k):
                y[c] += (z0 * axes[j, c] + z1 * axes[j + u64(1), c]) + (
                    z2 * axes[j + u64(2), c] + z3 * axes[j + u64(3), c]
                )
        for j in range(whole, u64(p)):
            z = rows[i, j] - mean[j]
            for c in range(k):
                y[c] += z * axes[j, c]
