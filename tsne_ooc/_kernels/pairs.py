"""The exact sum over all pairs: the field without a grid, for few rows and to check the grid against."""

from __future__ import annotations

import math

import numpy as np

from tsne_ooc._kernels._jit import kernel

f32, u64 = np.float32, np.uint64


def pairs_for(d):
    """The kernel of a map of `d` axes."""

    @kernel
    def all_pairs(targets, sources, dof, skip_self, start, stop, value, gradient):
        """Value and gradient of the field of `sources` at a range of `targets`; row i not at itself if `skip_self`."""
        # The axes lie apart, so that the compiler takes eight sources at a time: in two axes 0.4 ns a pair instead of
        # 1.8, in three 0.6 instead of 3.1 (dof = 1; with other dof half of the 10 and 13 that it took).
        n = u64(sources.shape[0])
        xs = np.empty(n, np.float32)
        ys = np.empty(n if d > 1 else u64(0), np.float32)
        zs = np.empty(n if d > 2 else u64(0), np.float32)
        for j in range(n):
            xs[j] = sources[j, 0]
            if d > 1:
                ys[j] = sources[j, 1]
            if d > 2:
                zs[j] = sources[j, 2]
        per_dof = f32(1.0 / dof)
        power = f32(dof)
        for i in range(u64(start), u64(stop)):
            x = targets[i, 0]
            y = targets[i, 1] if d > 1 else f32(0)
            z = targets[i, 2] if d > 2 else f32(0)
            S, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
            for j in range(n):
                dx = x - xs[j]
                dy = y - ys[j] if d > 1 else f32(0)
                dz = z - zs[j] if d > 2 else f32(0)
                base = f32(1) / (f32(1) + (dx * dx + dy * dy + dz * dz) * per_dof)
                w = base if dof == 1.0 else f32(math.exp(math.log(base) * power))
                force = w * base
                S += w
                gx += force * dx
                gy += force * dy
                gz += force * dz
            value[i] = S - 1.0 if skip_self else S
            gradient[i, 0] = -2 * gx
            if d > 1:
                gradient[i, 1] = -2 * gy
            if d > 2:
                gradient[i, 2] = -2 * gz

    return all_pairs


PAIRS = {d: pairs_for(d) for d in (1, 2, 3)}
