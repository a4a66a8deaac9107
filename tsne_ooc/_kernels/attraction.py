"""Attraction along the stored entries of P, and the step that follows from it."""

from __future__ import annotations

import math
import sys

import numpy as np

from tsne_ooc._kernels._jit import choice, kernel, piece

f32, u32, u64 = np.float32, np.uint32, np.uint64
ZERO, ONE = f32(0), f32(1)


# A row of two axes is read as one number of 64 bits, of which x is the half that comes first in memory.
FIRST, SECOND = (u64(0), u64(32)) if sys.byteorder == "little" else (u64(32), u64(0))


@piece
def rows_of(Y, d):
    """A map as a vector, and, for two axes, as a vector of rows."""
    flat = Y.reshape(-1)
    return flat, (flat if d == 2 else flat[:0]).view(np.uint64)


@choice
def place_of(flat, pairs, row, d):
    """The coordinates of a row, axes that the map does not have as zeros.

    To fetch them is what an entry takes its time for. As one number of 64 bits a row is fetched once: 1.3 million rows
    and 175 million entries in the order of the search took 2.4 ns an entry with two fetches and 1.9 with one, in the
    order of the file 4.5 and 3.4.
    """
    if d == 2:
        both = pairs[row]
        return u32(both >> FIRST).view(np.float32), u32(both >> SECOND).view(np.float32), ZERO
    at = row * u64(d)
    return flat[at], (flat[at + u64(1)] if d > 1 else ZERO), (flat[at + u64(2)] if d > 2 else ZERO)


@piece
def pull(indptr, first, indices, values, flat, pairs, i, x, y, z, per_dof, d):
    """The attraction on row i of a map of `d` axes, as if it lay at (x, y, z): sum_j p_ij (y_i - y_j) / (1 + d_ij^2 /
    dof).

    `first` is the number of the entry that `indices` and `values` begin with: they may be a part of all entries.
    """
    ax, ay, az = ZERO, ZERO, ZERO
    for entry in range(indptr[i] - u64(first), indptr[i + u64(1)] - u64(first)):
        ox, oy, oz = place_of(flat, pairs, u64(indices[entry]), d)
        dx, dy, dz = x - ox, y - oy, z - oz
        force = values[entry] / (ONE + (dx * dx + dy * dy + dz * dz) * per_dof)
        ax += force * dx
        ay += force * dy
        az += force * dz
    return ax, ay, az


@piece
def _advance(gradient, velocity, gain, rate, momentum):
    """Jacobs' gains and momentum for one coordinate (van der Maaten and Hinton, JMLR 9, 2008, sec. 3.4)."""
    more, less = gain + f32(0.2), max(gain * f32(0.8), f32(0.01))
    # 0 counts as a sign of its own: at the first step of a phase, from rest, all gains grow, on both sides of the map.
    like = ((velocity > ZERO) == (gradient > ZERO)) and ((velocity < ZERO) == (gradient < ZERO))
    gain = less if like else more
    return momentum * velocity - rate * gain * gradient, gain


def kernels_for(d):
    """The forces, the energy, and the step of a map of `d` axes."""

    @kernel
    def forces(indptr, first, indices, values, Y, per_dof, start, stop, out):
        flat, pairs = rows_of(Y, d)
        for i in range(u64(start), u64(stop)):
            x, y, z = place_of(flat, pairs, i, d)
            ax, ay, az = pull(indptr, first, indices, values, flat, pairs, i, x, y, z, per_dof, d)
            out[i, 0] = ax
            if d > 1:
                out[i, 1] = ay
            if d > 2:
                out[i, 2] = az

    @kernel
    def energy(indptr, first, indices, values, Y, dof, start, stop):
        """Sum over the range of -p_ij log w_ij, in float64."""
        total = 0.0
        per_dof = f32(1.0 / dof)
        for i in range(u64(start), u64(stop)):
            row = ZERO
            for entry in range(indptr[i] - u64(first), indptr[i + u64(1)] - u64(first)):
                j = indices[entry]
                square = ZERO
                for axis in range(d):
                    difference = Y[i, axis] - Y[j, axis]
                    square += difference * difference
                row += values[entry] * f32(math.log1p(square * per_dof))
            total += float(row)
        return total * dof

    @kernel
    def advance(
        Y, exaggeration, slope, per_z, rate, bearable, slack, momentum, longest, shift, velocity, gains, start, stop,
        out,
    ):  # fmt: skip
        """Move the rows of a range, whose attraction is in `out`; return the sums of their new coordinates (3) and of
        the squared gradient.

        The gradient is 4 (exaggeration * pull + slope / (2 Z)), with slope the field's gradient. `shift` re-centres the
        map by the mean that the last step found, which saves a pass over the rows. The rate of a row is at most
        `bearable` times its slack. Steps longer than `longest` are cut: a row whose gains have grown may otherwise
        leave the map.
        """
        sx, sy, sz, norm = 0.0, 0.0, 0.0, 0.0
        attract = f32(4) * exaggeration
        repel = f32(2) * per_z
        old, new, push = Y.reshape(-1), out.reshape(-1), slope.reshape(-1)
        speed, gain = velocity.reshape(-1), gains.reshape(-1)
        cx, cy, cz = shift[0], shift[1 if d > 1 else 0], shift[2 if d > 2 else 0]
        # This loop has no branch, so eight rows are moved at a time (MNIST, one core: 0.4 ms instead of 1.9).
        for i in range(u64(start), u64(stop)):
            at = i * u64(d)
            own = min(rate, bearable * slack[i])
            gx = attract * new[at] + repel * push[at]
            vx, grown = _advance(gx, speed[at], gain[at], own, momentum)
            gain[at] = grown
            square, slope_square = vx * vx, gx * gx
            if d > 1:
                gy = attract * new[at + u64(1)] + repel * push[at + u64(1)]
                vy, grown = _advance(gy, speed[at + u64(1)], gain[at + u64(1)], own, momentum)
                gain[at + u64(1)] = grown
                square += vy * vy
                slope_square += gy * gy
            if d > 2:
                gz = attract * new[at + u64(2)] + repel * push[at + u64(2)]
                vz, grown = _advance(gz, speed[at + u64(2)], gain[at + u64(2)], own, momentum)
                gain[at + u64(2)] = grown
                square += vz * vz
                slope_square += gz * gz
            cut = longest / max(longest, f32(math.sqrt(square)))
            speed[at] = cut * vx
            x = old[at] - cx + cut * vx
            new[at] = x
            sx += float(x)
            if d > 1:
                speed[at + u64(1)] = cut * vy
                y = old[at + u64(1)] - cy + cut * vy
                new[at + u64(1)] = y
                sy += float(y)
            if d > 2:
                speed[at + u64(2)] = cut * vz
                z = old[at + u64(2)] - cz + cut * vz
                new[at + u64(2)] = z
                sz += float(z)
            norm += float(slope_square)
        return sx, sy, sz, norm

    return forces, energy, advance


KERNELS = {d: kernels_for(d) for d in (1, 2, 3)}
