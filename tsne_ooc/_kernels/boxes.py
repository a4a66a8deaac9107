"""Boxes that cover space: a number drawn for each row, and one for each box."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel, piece

u64 = np.uint64


@piece
def _mix(state):
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection that leaves no pattern."""
    state = (state ^ (state >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> u64(27))) * u64(0x94D049BB133111EB)
    return state ^ (state >> u64(31))


@kernel
def draw_priorities(rows, seed, priorities):
    """A 64-bit number for each row from its row number alone, no two alike."""
    for i in range(u64(rows.shape[0])):
        priorities[i] = _mix(_mix(u64(rows[i])) ^ u64(seed))


@kernel
def hash_boxes(coordinates, shifts, seed, hashes):
    """A 64-bit hash of each row's box, whose sides are ``2 ** shifts`` steps."""
    for i in range(u64(coordinates.shape[0])):
        state = u64(seed)
        for j in range(u64(coordinates.shape[1])):
            state = _mix(state ^ u64(coordinates[i, j] >> shifts[j])) + u64(0x9E3779B97F4A7C15)
        hashes[i] = state
