"""What a point does to itself through the grid, which is taken away again.

Spread to the grid, convolved and read back where it stands, a point meets its own kernel: not exactly w(0), and with
a small false force, both periodic in the point's place between the nodes (Ballenegger, Cerda, Lenz and Holm, J. Chem.
Phys. 134, 034109, 2011, remove the same from particle-mesh Ewald sums). A short cosine series holds it: value

    c0 + sum_a (c1 cos 2 pi t_a + c2 cos 4 pi t_a + c3 cos 6 pi t_a) + c11 sum_{a<b} cos 2 pi t_a cos 2 pi t_b.

On a sparse map, 4,000 rows in 300 x 300 units, it was nearly all of the error: without it that of the force fell from
5e-2 to 9e-3, that of Z from 2e-4 to 5e-6.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import piece

f32 = np.float32
PI = f32(np.pi)
# In powers of x^2, x = t - 1/2: least squares on Chebyshev points. The library's sine and cosine cost 10-15 ns each,
# as much as the rest of the interpolation; these leave 4e-5 of a term that is itself some 1e-2 of the force.
COS = (0.9999590208, -19.7309423669, 64.6714417762, -82.3908063118, 45.6210511029)
SIN = (6.2830540879, -41.3311229486, 81.3654985656, -74.4709775487, 32.7689024222)


@piece
def cosine(t):
    """cos 2 pi t for t in [0, 1], within 4e-5 of it."""
    s = (t - f32(0.5)) * (t - f32(0.5))
    return -(f32(COS[0]) + s * (f32(COS[1]) + s * (f32(COS[2]) + s * (f32(COS[3]) + s * f32(COS[4])))))


@piece
def sine(t):
    """sin 2 pi t for t in [0, 1], within 6e-6 of it."""
    x = t - f32(0.5)
    s = x * x
    return -x * (f32(SIN[0]) + s * (f32(SIN[1]) + s * (f32(SIN[2]) + s * (f32(SIN[3]) + s * f32(SIN[4])))))


@piece
def _harmonics(x, c):
    """The cosines of one axis, by Chebyshev's polynomials of the first of them."""
    return x * (c[1] + f32(2) * c[2] * x + c[3] * (f32(4) * x * x - f32(3))) - c[2]


@piece
def self_value(r, s, t, d, c):
    """The series at the place (r, s, t) between nodes, of which the first `d` count."""
    x = cosine(r)
    y = cosine(s) if d > 1 else f32(0)
    z = cosine(t) if d > 2 else f32(0)
    mixed = x * y + y * z + z * x
    total = c[0] + c[4] * mixed + _harmonics(x, c)
    if d > 1:
        total += _harmonics(y, c)
    if d > 2:
        total += _harmonics(z, c)
    return total


@piece
def self_slope(t, others, c):
    """The false gradient along one axis, per cell; `others` is the sum of the other axes' cosines.

    It is half the derivative of the series: moving the reader alone, not the source with it, makes half the change.
    """
    x = cosine(t)
    return -PI * sine(t) * (c[1] + f32(4) * c[2] * x + f32(3) * c[3] * (f32(4) * x * x - f32(1)) + c[4] * others)
