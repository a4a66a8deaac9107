"""The field at a point: value, analytic gradient and, for placement, Hessian of the interpolated potential.

A volume is four planes, a plane four rows, a row four nodes; each level weighs what the level below returns. All
derivatives are per grid cell. Axes that a map does not have come back as zeros, so that callers need not know how many
there are.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import choice, kernel, piece
from tsne_ooc._kernels.bspline import curvatures, slopes, weights
from tsne_ooc._kernels.selfterm import cosine, self_slope, self_value

f32, u64 = np.float32, np.uint64
ONE, TWO, THREE = u64(1), u64(2), u64(3)
ZERO = f32(0)


@piece
def _line(phi, at, w):
    return w[0] * phi[at] + w[1] * phi[at + ONE] + w[2] * phi[at + TWO] + w[3] * phi[at + THREE]


@piece
def slope1(phi, stride, far_stride, u, v, w):
    """Value and gradient at the point u of a line."""
    a = u64(u)
    t = u - f32(a)
    return _line(phi, a, weights(t)), _line(phi, a, slopes(t)), ZERO, ZERO


@piece
def _plane_slope(phi, at, stride, wu, du, wv, dv):
    value, along_u, along_v = ZERO, ZERO, ZERO
    for row in range(4):
        here = at + u64(row) * u64(stride)
        flat = _line(phi, here, wv)
        value += wu[row] * flat
        along_u += du[row] * flat
        along_v += wu[row] * _line(phi, here, dv)
    return value, along_u, along_v


@piece
def slope2(phi, stride, far_stride, u, v, w):
    """Value and gradient at the point (u, v) of a plane."""
    a, b = u64(u), u64(v)
    s, t = u - f32(a), v - f32(b)
    value, along_u, along_v = _plane_slope(
        phi, a * u64(stride) + b, stride, weights(s), slopes(s), weights(t), slopes(t)
    )
    return value, along_u, along_v, ZERO


@piece
def slope3(phi, stride, far_stride, u, v, w):
    """Value and gradient at the point (u, v, w) of a volume."""
    a, b, c = u64(u), u64(v), u64(w)
    r, s, t = u - f32(a), v - f32(b), w - f32(c)
    deep, ddeep = weights(r), slopes(r)
    ws, ds, wt, dt = weights(s), slopes(s), weights(t), slopes(t)
    at = a * u64(far_stride) + b * u64(stride) + c
    value, along_u, along_v, along_w = ZERO, ZERO, ZERO, ZERO
    for plane in range(4):
        flat, flat_v, flat_w = _plane_slope(phi, at + u64(plane) * u64(far_stride), stride, ws, ds, wt, dt)
        value += deep[plane] * flat
        along_u += ddeep[plane] * flat
        along_v += deep[plane] * flat_v
        along_w += deep[plane] * flat_w
    return value, along_u, along_v, along_w


@piece
def bend1(phi, stride, far_stride, u, v, w):
    """Value, gradient (3) and Hessian (uu, vv, ww, uv, uw, vw) at the point u of a line."""
    a = u64(u)
    t = u - f32(a)
    gradient = (_line(phi, a, slopes(t)), ZERO, ZERO)
    return _line(phi, a, weights(t)), gradient, (_line(phi, a, curvatures(t)), ZERO, ZERO, ZERO, ZERO, ZERO)


@piece
def _plane_bend(phi, at, stride, s, t):
    wu, du, cu = weights(s), slopes(s), curvatures(s)
    wv, dv, cv = weights(t), slopes(t), curvatures(t)
    value, gu, gv, huu, hvv, huv = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for row in range(4):
        here = at + u64(row) * u64(stride)
        flat, tilt = _line(phi, here, wv), _line(phi, here, dv)
        value += wu[row] * flat
        gu += du[row] * flat
        gv += wu[row] * tilt
        huu += cu[row] * flat
        hvv += wu[row] * _line(phi, here, cv)
        huv += du[row] * tilt
    return value, gu, gv, huu, hvv, huv


@piece
def bend2(phi, stride, far_stride, u, v, w):
    """Do as `bend1` does, at the point (u, v) of a plane."""
    a, b = u64(u), u64(v)
    value, gu, gv, huu, hvv, huv = _plane_bend(phi, a * u64(stride) + b, stride, u - f32(a), v - f32(b))
    return value, (gu, gv, ZERO), (huu, hvv, ZERO, huv, ZERO, ZERO)


@piece
def bend3(phi, stride, far_stride, u, v, w):
    """Do as `bend1` does, at the point (u, v, w) of a volume."""
    a, b, c = u64(u), u64(v), u64(w)
    r = u - f32(a)
    deep, slope, curve = weights(r), slopes(r), curvatures(r)
    at = a * u64(far_stride) + b * u64(stride) + c
    value, gu, gv, gw = ZERO, ZERO, ZERO, ZERO
    huu, hvv, hww, huv, huw, hvw = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for plane in range(4):
        flat, pv, pw, pvv, pww, pvw = _plane_bend(
            phi, at + u64(plane) * u64(far_stride), stride, v - f32(b), w - f32(c)
        )
        value += deep[plane] * flat
        gu += slope[plane] * flat
        gv += deep[plane] * pv
        gw += deep[plane] * pw
        huu += curve[plane] * flat
        hvv += deep[plane] * pvv
        hww += deep[plane] * pww
        huv += slope[plane] * pv
        huw += slope[plane] * pw
        hvw += deep[plane] * pvw
    return value, (gu, gv, gw), (huu, hvv, hww, huv, huw, hvw)


@choice
def slope(phi, stride, far_stride, u, v, w, d):
    """Value and gradient at a point of a map of `d` axes, a constant where this is called."""
    if d == 1:
        return slope1(phi, stride, far_stride, u, v, w)
    if d == 2:
        return slope2(phi, stride, far_stride, u, v, w)
    return slope3(phi, stride, far_stride, u, v, w)


@choice
def bend(phi, stride, far_stride, u, v, w, d):
    """Value, gradient and Hessian at a point of a map of `d` axes."""
    if d == 1:
        return bend1(phi, stride, far_stride, u, v, w)
    if d == 2:
        return bend2(phi, stride, far_stride, u, v, w)
    return bend3(phi, stride, far_stride, u, v, w)


@piece
def cells(Y, i, origin, per_cell, d):
    """Row i in grid cells, axes that the map does not have as zeros."""
    u = (Y[i, 0] - origin[0]) * per_cell
    v = (Y[i, 1] - origin[1]) * per_cell if d > 1 else ZERO
    w = (Y[i, 2] - origin[2]) * per_cell if d > 2 else ZERO
    return u, v, w


def gather_for(d):
    """The kernels of a map of `d` axes: the field at any targets, and at the sources themselves."""

    @kernel
    def at_targets(phi, stride, far_stride, origin, per_cell, Y, start, stop, value, gradient):
        for i in range(u64(start), u64(stop)):
            u, v, w = cells(Y, i, origin, per_cell, d)
            value[i], gu, gv, gw = slope(phi, stride, far_stride, u, v, w, d)
            gradient[i, 0] = gu * per_cell
            if d > 1:
                gradient[i, 1] = gv * per_cell
            if d > 2:
                gradient[i, 2] = gw * per_cell

    @kernel
    def at_sources(phi, stride, far_stride, origin, per_cell, own, Y, start, stop, gradient):
        total = 0.0
        for i in range(u64(start), u64(stop)):
            u, v, w = cells(Y, i, origin, per_cell, d)
            S, gu, gv, gw = slope(phi, stride, far_stride, u, v, w, d)
            r = u - f32(u64(u))
            s = v - f32(u64(v))
            t = w - f32(u64(w))
            cr = cosine(r)
            cs = cosine(s) if d > 1 else ZERO
            ct = cosine(t) if d > 2 else ZERO
            total += float(S - self_value(r, s, t, d, own))
            gradient[i, 0] = (gu - self_slope(r, cs + ct, own)) * per_cell
            if d > 1:
                gradient[i, 1] = (gv - self_slope(s, cr + ct, own)) * per_cell
            if d > 2:
                gradient[i, 2] = (gw - self_slope(t, cr + cs, own)) * per_cell
        return total

    return at_targets, at_sources


GATHER = {d: gather_for(d) for d in (1, 2, 3)}
