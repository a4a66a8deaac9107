"""The window through which points meet the grid: the cardinal cubic B-spline, four nodes an axis.

A point at ``u`` grid cells stands between nodes; with ``t = u - floor(u)`` the weights of nodes ``floor(u)`` to
``floor(u) + 3`` follow (the grid's first node lies one cell before u = 0). The spline is twice continuously
differentiable, so the field that it interpolates has an analytic gradient and Hessian.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import piece

f32 = np.float32
ONE, TWO, SIXTH, HALF = f32(1), f32(2), f32(1 / 6), f32(0.5)


@piece
def weights(t):
    s = ONE - t
    first = s * s * s * SIXTH
    last = t * t * t * SIXTH
    second = f32(2 / 3) - t * t * (ONE - HALF * t)
    return first, second, ONE - first - second - last, last


@piece
def slopes(t):
    s = ONE - t
    first = -HALF * s * s
    last = HALF * t * t
    second = t * (f32(1.5) * t - TWO)
    return first, second, -first - second - last, last


@piece
def curvatures(t):
    return ONE - t, f32(3) * t - TWO, ONE - f32(3) * t, t
