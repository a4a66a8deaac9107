"""Attraction along the stored entries of P, and the step that follows from it, in one pass over the rows."""

from __future__ import annotations

import math

import numpy as np

from ._jit import kernel, piece

f32, u64 = np.float32, np.uint64
ZERO, ONE = f32(0), f32(1)


@piece
def pull(indptr, indices, values, Y, i, per_dof, d):
    """The attraction on one row of a map of `d` axes: sum_j p_ij (y_i - y_j) / (1 + d_ij^2 / dof)."""
    ax, ay, az = ZERO, ZERO, ZERO
    dy, dz = ZERO, ZERO
    x = Y[i, 0]
    y = Y[i, 1] if d > 1 else ZERO
    z = Y[i, 2] if d > 2 else ZERO
    for entry in range(indptr[i], indptr[i + u64(1)]):
        j = indices[entry]
        dx = x - Y[j, 0]
        square = dx * dx
        if d > 1:
            dy = y - Y[j, 1]
            square += dy * dy
        if d > 2:
            dz = z - Y[j, 2]
            square += dz * dz
        force = values[entry] / (ONE + square * per_dof)
        ax += force * dx
        if d > 1:
            ay += force * dy
        if d > 2:
            az += force * dz
    return ax, ay, az


@piece
def _advance(gradient, velocity, gain, rate, momentum):
    """Jacobs' gains and momentum for one coordinate (van der Maaten and Hinton, JMLR 9, 2008, sec. 3.4)."""
    gain = gain + f32(0.2) if (velocity > ZERO) != (gradient > ZERO) else max(gain * f32(0.8), f32(0.01))
    return momentum * velocity - rate * gain * gradient, gain


def kernels_for(d):
    """The forces alone, the energy, and the fused step of a map of `d` axes."""

    @kernel
    def forces(indptr, indices, values, Y, per_dof, start, stop, out):
        for i in range(u64(start), u64(stop)):
            ax, ay, az = pull(indptr, indices, values, Y, i, per_dof, d)
            out[i, 0] = ax
            if d > 1:
                out[i, 1] = ay
            if d > 2:
                out[i, 2] = az

    @kernel
    def energy(indptr, indices, values, Y, dof, start, stop):
        """Sum over the range of -p_ij log w_ij, in float64."""
        total = 0.0
        per_dof = f32(1.0 / dof)
        for i in range(u64(start), u64(stop)):
            row = ZERO
            for entry in range(indptr[i], indptr[i + u64(1)]):
                j = indices[entry]
                square = ZERO
                for axis in range(d):
                    difference = Y[i, axis] - Y[j, axis]
                    square += difference * difference
                row += values[entry] * f32(math.log1p(square * per_dof))
            total += float(row)
        return total * dof

    @kernel
    def step(indptr, indices, values, Y, per_dof, exaggeration, slope, per_z, rate, momentum, longest, shift,
             velocity, gains, start, stop, out):  # fmt: skip
        """Move the rows of a range; the sums of their new coordinates (3), and of the squared gradient.

        The gradient is 4 (exaggeration * pull + slope / (2 Z)), with slope the field's gradient. `shift` re-centres
        the map by the mean that the last step found, so that no pass of its own is needed. Steps longer than
        `longest` are cut: a row with gains that have grown may otherwise leave the map.
        """
        sx, sy, sz, norm = 0.0, 0.0, 0.0, 0.0
        attract = f32(4) * exaggeration
        repel = f32(2) * per_z
        for i in range(u64(start), u64(stop)):
            ax, ay, az = pull(indptr, indices, values, Y, i, per_dof, d)
            gx = attract * ax + repel * slope[i, 0]
            vx, gains[i, 0] = _advance(gx, velocity[i, 0], gains[i, 0], rate, momentum)
            square, slope_square = vx * vx, gx * gx
            if d > 1:
                gy = attract * ay + repel * slope[i, 1]
                vy, gains[i, 1] = _advance(gy, velocity[i, 1], gains[i, 1], rate, momentum)
                square += vy * vy
                slope_square += gy * gy
            if d > 2:
                gz = attract * az + repel * slope[i, 2]
                vz, gains[i, 2] = _advance(gz, velocity[i, 2], gains[i, 2], rate, momentum)
                square += vz * vz
                slope_square += gz * gz
            cut = longest / math.sqrt(square) if square > longest * longest else ONE
            velocity[i, 0] = cut * vx
            out[i, 0] = Y[i, 0] - shift[0] + cut * vx
            sx += float(out[i, 0])
            if d > 1:
                velocity[i, 1] = cut * vy
                out[i, 1] = Y[i, 1] - shift[1] + cut * vy
                sy += float(out[i, 1])
            if d > 2:
                velocity[i, 2] = cut * vz
                out[i, 2] = Y[i, 2] - shift[2] + cut * vz
                sz += float(out[i, 2])
            norm += float(slope_square)
        return sx, sy, sz, norm

    return forces, energy, step


KERNELS = {d: kernels_for(d) for d in (1, 2, 3)}
