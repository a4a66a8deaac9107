"""Placing rows beside their neighbours: each row a minimisation of its own, in two or three unknowns."""

from __future__ import annotations

import math

import numpy as np

from tsne_ooc._kernels._jit import choice, kernel, piece
from tsne_ooc._kernels.interpolate import bend

f32, u64 = np.float32, np.uint64
ZERO = f32(0)


@piece
def _solve(h, g, damping, d):
    """The step -(H + damping I)^-1 g of `d` unknowns, and whether that matrix is positive definite.

    This is an L D L^T decomposition written out; axes that are not there take a pivot of one and a gradient of zero.
    """
    uu = h[0] + damping
    vv = h[1] + damping if d > 1 else 1.0
    ww = h[2] + damping if d > 2 else 1.0
    uv, uw, vw = h[3], h[4], h[5]
    least = 1e-12
    ok = uu > least
    p = uu if ok else 1.0
    l1, l2 = uv / p, uw / p
    q = vv - l1 * uv
    ok = ok and q > least
    q = q if ok else 1.0
    l3 = (vw - l2 * uv) / q
    r = ww - l2 * uw - l3 * l3 * q
    ok = ok and r > least
    r = r if ok else 1.0
    a = -g[0]
    b = -g[1] - l1 * a
    c = -g[2] - l2 * a - l3 * b
    z = c / r
    y = b / q - l3 * z
    x = a / p - l1 * y - l2 * z
    return ok, x, y, z


@piece
def _sum(x, y, z, phi, n, dof, d):
    """Value, gradient and Hessian (uu, vv, ww, uv, uw, vw) of the field at (x, y, z), summed over all `n` rows.

    `phi` holds their places axis by axis. Sums are float64: where no row is near, at a large dof, single precision
    would have nothing left. One core, three axes: 1.4 ns a pair at dof = 1, 13 at others.
    """
    S, gu, gv, gw = 0.0, 0.0, 0.0, 0.0
    huu, hvv, hww, huv, huw, hvw = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    per_dof = 1.0 / dof
    bend_by = 4.0 * (dof + 1.0) * per_dof
    for j in range(u64(n)):
        dx = x - float(phi[j])
        dy = y - float(phi[u64(n) + j]) if d > 1 else 0.0
        dz = z - float(phi[u64(2) * u64(n) + j]) if d > 2 else 0.0
        base = 1.0 / (1.0 + (dx * dx + dy * dy + dz * dz) * per_dof)
        w = base if dof == 1.0 else math.exp(dof * math.log(base))
        force = w * base
        bent = bend_by * force * base
        S += w
        gu -= 2.0 * force * dx
        gv -= 2.0 * force * dy
        gw -= 2.0 * force * dz
        huu += bent * dx * dx - 2.0 * force
        hvv += bent * dy * dy - 2.0 * force
        hww += bent * dz * dz - 2.0 * force
        huv += bent * dx * dy
        huw += bent * dx * dz
        hvw += bent * dy * dz
    # Beyond the reach of double precision there is no direction left, and the neighbours alone say where to go.
    return max(S, 1e-300), (gu, gv, gw), (huu, hvv, hww, huv, huw, hvw)


@piece
def _read(x, y, z, phi, stride, far_stride, origin, per_cell, offset, d):
    """The same as `_sum`, from the potential `phi` at the nodes of a grid; derivatives are per cell."""
    u = f32((x - origin[0]) * per_cell)
    v = f32((y - origin[1]) * per_cell) if d > 1 else ZERO
    w = f32((z - origin[2]) * per_cell) if d > 2 else ZERO
    S, slope, curve = bend(phi, stride, far_stride, u, v, w, d)
    # Far outside, where nothing is, rounding may leave the field at or below zero.
    return max(float(S) + offset, 1e-6), slope, curve


@piece
def _without(field, x, y, z, Y, j, per_cell, dof, d):
    """What is left of a field without row j, one of those that make it; all of it where j < 0."""
    S, slope, curve = field
    su, sv, sw = float(slope[0]), float(slope[1]), float(slope[2])
    cuu, cvv, cww = float(curve[0]), float(curve[1]), float(curve[2])
    cuv, cuw, cvw = float(curve[3]), float(curve[4]), float(curve[5])
    if j >= 0:
        dx = x - float(Y[j, 0])
        dy = y - float(Y[j, 1]) if d > 1 else 0.0
        dz = z - float(Y[j, 2]) if d > 2 else 0.0
        base = 1.0 / (1.0 + (dx * dx + dy * dy + dz * dz) / dof)
        w = base if dof == 1.0 else math.exp(dof * math.log(base))
        per = 2.0 * w * base / per_cell
        bent = 2.0 * (dof + 1.0) / dof * base * per / per_cell
        flat = per / per_cell
        # A grid holds the row not quite as it is, and where there is no other, less than nothing may be left.
        S = max(S - w, 1e-6)
        su += per * dx
        sv += per * dy
        sw += per * dz
        cuu -= bent * dx * dx - flat
        cvv -= bent * dy * dy - flat
        cww -= bent * dz * dz - flat
        cuv -= bent * dx * dy
        cuw -= bent * dx * dz
        cvw -= bent * dy * dz
    return S, (su, sv, sw), (cuu, cvv, cww, cuv, cuw, cvw)


@choice
def _field(x, y, z, phi, stride, far_stride, origin, per_cell, offset, dof, d, summed):
    if summed:
        return _sum(x, y, z, phi, stride, dof, d)
    return _read(x, y, z, phi, stride, far_stride, origin, per_cell, offset, d)


@choice
def _others(x, y, z, Y, j, phi, stride, far_stride, origin, per_cell, offset, dof, d, summed, apart):
    if apart:
        field = _field(x, y, z, phi, stride, far_stride, origin, per_cell, offset, dof, d, summed)
        return _without(field, x, y, z, Y, j, per_cell, dof, d)
    return _field(x, y, z, phi, stride, far_stride, origin, per_cell, offset, dof, d, summed)


@piece
def evaluate(x, y, z, Y, neighbors, p, i, exaggeration, dof, field, slope, curve, per_cell, d):
    """Energy, gradient and Hessian of row i at (x, y, z), in float64; `slope` and `curve` are the field's, per cell."""
    energy, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
    huu, hvv, hww, huv, huw, hvw = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for e in range(u64(neighbors.shape[1])):
        j = u64(neighbors[i, e])
        weight = float(p[i, e])
        dx = x - Y[j, 0]
        dy = y - Y[j, 1] if d > 1 else 0.0
        dz = z - Y[j, 2] if d > 2 else 0.0
        base = 1.0 + (dx * dx + dy * dy + dz * dz) / dof
        near = weight / base
        bent = 2.0 * near / (base * dof)
        energy += weight * math.log(base)
        gx += near * dx
        gy += near * dy
        gz += near * dz
        huu += near - bent * dx * dx
        hvv += near - bent * dy * dy
        hww += near - bent * dz * dz
        huv -= bent * dx * dy
        huw -= bent * dx * dz
        hvw -= bent * dy * dz
    per = per_cell / field
    su, sv, sw = slope[0] * per, slope[1] * per, slope[2] * per
    square = per * per_cell
    pull = 2.0 * exaggeration
    gradient = (pull * gx + su, pull * gy + sv, pull * gz + sw)
    hessian = (
        pull * huu + curve[0] * square - su * su,
        pull * hvv + curve[1] * square - sv * sv,
        pull * hww + curve[2] * square - sw * sw,
        pull * huv + curve[3] * square - su * sv,
        pull * huw + curve[4] * square - su * sw,
        pull * hvw + curve[5] * square - sv * sw,
    )
    return exaggeration * dof * energy + math.log(field), gradient, hessian


@piece
def within(x, low, high):
    """`x` within bounds; NaN becomes the lower one."""
    return min(x, float(high)) if x >= low else float(low)


def placement_for(d, summed, apart):
    """The kernel of a map of `d` axes, whose field is read from a grid or `summed` over its rows.

    Rows of the map itself are placed `apart` from it: `own` names the row that the field of each is without, -1 where
    it is all of it. Others do not look at `own`.
    """

    @kernel
    def place(Y, neighbors, p, exaggerations, dof, phi, stride, far_stride, origin, per_cell, offset,
              low, high, tolerance, most, own, start, stop, out, iterations):  # fmt: skip
        """Move the rows of a range from where `out` has them to their minima, at one exaggeration after the other.

        Newton's method, damped until the energy falls (Levenberg, Quarterly of Applied Mathematics 2, 1944): some 6
        evaluations a row at k = 15, where descent with momentum took 47 to 84.
        """
        for i in range(u64(start), u64(stop)):
            # A user's own affinities may start a row anywhere, even at NaN: the field is read within its bounds.
            x = within(float(out[i, 0]), low[0], high[0])
            y = within(float(out[i, 1]), low[1], high[1]) if d > 1 else 0.0
            z = within(float(out[i, 2]), low[2], high[2]) if d > 2 else 0.0
            j = own[i] if apart else -1
            spent = 0
            for exaggeration in exaggerations:
                S, slope, curve = _others(
                    x, y, z, Y, j, phi, stride, far_stride, origin, per_cell, offset, dof, d, summed, apart
                )
                energy, g, h = evaluate(x, y, z, Y, neighbors, p, i, exaggeration, dof, S, slope, curve, per_cell, d)
                damping = 0.0
                for _ in range(most):
                    if g[0] * g[0] + g[1] * g[1] + g[2] * g[2] <= tolerance * tolerance:
                        break
                    ok, sx, sy, sz = _solve(h, g, damping, d)
                    if not ok:
                        damping = max(2.0 * damping, 0.02 * exaggeration)
                        if damping > 1e9:
                            break
                        continue
                    # Newton's method may leap across the map where the energy is almost straight.
                    length = math.sqrt(sx * sx + sy * sy + sz * sz)
                    # The step is not finite, as at an exaggeration of 1e300: there is nowhere to go.
                    if not length < math.inf:
                        break
                    cut = min(1.0, 2.0 / length)
                    nx = min(max(x + cut * sx, float(low[0])), float(high[0]))
                    ny = min(max(y + cut * sy, float(low[1])), float(high[1])) if d > 1 else 0.0
                    nz = min(max(z + cut * sz, float(low[2])), float(high[2])) if d > 2 else 0.0
                    if nx == x and ny == y and nz == z:
                        break
                    spent += 1
                    S, slope, curve = _others(
                        nx, ny, nz, Y, j, phi, stride, far_stride, origin, per_cell, offset, dof, d, summed, apart
                    )
                    there, ng, nh = evaluate(
                        nx, ny, nz, Y, neighbors, p, i, exaggeration, dof, S, slope, curve, per_cell, d
                    )
                    if there <= energy:
                        x, y, z, energy, g, h = nx, ny, nz, there, ng, nh
                        damping = 0.25 * damping if damping > 1e-3 * exaggeration else 0.0
                    else:
                        # Down to the last digits of the energy, no step can lower it further.
                        if length < 1e-5:
                            break
                        damping = max(4.0 * damping, 0.05 * exaggeration)
            iterations[i] = spent
            out[i, 0] = x
            if d > 1:
                out[i, 1] = y
            if d > 2:
                out[i, 2] = z

    return place


def hessian_for(d, summed):
    """The kernel that gives the Hessian of each row's energy at `places`: uu, vv, ww, uv, uw, vw.

    The field is without the row that `own` names.
    """

    @kernel
    def hessian(Y, neighbors, p, exaggeration, dof, phi, stride, far_stride, origin, per_cell, offset,
                own, places, start, stop, out):  # fmt: skip
        for i in range(u64(start), u64(stop)):
            x = float(places[i, 0])
            y = float(places[i, 1]) if d > 1 else 0.0
            z = float(places[i, 2]) if d > 2 else 0.0
            S, slope, curve = _others(
                x, y, z, Y, own[i], phi, stride, far_stride, origin, per_cell, offset, dof, d, summed, True
            )
            _, _, h = evaluate(x, y, z, Y, neighbors, p, i, exaggeration, dof, S, slope, curve, per_cell, d)
            for e in range(6):
                out[i, e] = h[e]

    return hessian


_FIELDS = [(d, summed) for d in (1, 2, 3) for summed in (False, True)]
PLACE = {(*field, apart): placement_for(*field, apart) for field in _FIELDS for apart in (False, True)}
HESSIAN = {field: hessian_for(*field) for field in _FIELDS}


@kernel
def median_start(Y, neighbors, start, stop, out):
    """The median of the neighbours' places, axis by axis."""
    for i in range(u64(start), u64(stop)):
        for axis in range(Y.shape[1]):
            along = np.empty(neighbors.shape[1], np.float32)
            for e in range(neighbors.shape[1]):
                along[e] = Y[neighbors[i, e], axis]
            out[i, axis] = np.median(along)


@kernel
def mean_start(Y, neighbors, p, start, stop, out):
    """The mean of the neighbours' places, weighted by their probabilities."""
    for i in range(u64(start), u64(stop)):
        for axis in range(Y.shape[1]):
            total = 0.0
            for e in range(neighbors.shape[1]):
                total += float(p[i, e]) * float(Y[neighbors[i, e], axis])
            out[i, axis] = total
