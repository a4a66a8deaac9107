"""Attraction on any rows, for maps that move some rows at a time."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel
from tsne_ooc._kernels.attraction import place_of, pull, rows_of

u64 = np.uint64


def forces_for(d):
    """The kernel of a map of `d` axes."""

    @kernel
    def forces_of(indptr, indices, values, Y, per_dof, rows, places, out):
        """The forces of `attraction` on the rows numbered in `rows`, as if they lay at `places` of shape (m, d)."""
        flat, pairs = rows_of(Y, d)
        own, own_pairs = rows_of(places, d)
        for r in range(u64(len(rows))):
            x, y, z = place_of(own, own_pairs, r, d)
            ax, ay, az = pull(indptr, u64(0), indices, values, flat, pairs, u64(rows[r]), x, y, z, per_dof, d)
            out[r, 0] = ax
            if d > 1:
                out[r, 1] = ay
            if d > 2:
                out[r, 2] = az

    return forces_of


FORCES_OF = {d: forces_for(d) for d in (1, 2, 3)}
