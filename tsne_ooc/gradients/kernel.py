"""The kernel w(r) = (1 + r^2 / dof)^-dof on the grid: its transform, and what a point does to itself on the grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._parallel import Threads, fewer
from tsne_ooc._typing import Array, Float32, Float64
from tsne_ooc.gradients.grid import Shape

# Below this reach w stays near 1, and float32 would lose the differences that make the force; w - 1 has the same
# gradient and keeps them to 5e-5. Beyond this reach it is w - 1 that is nearly constant.
SHIFTED_REACH = 40.0


@dataclass(frozen=True)
class Kernel:
    """The kernel's real, even transform for one shape of grid.

    Parameters
    ----------
    shape : Shape
    shifted : bool
        Whether w - 1 is transformed instead of w.
    spectrum : ndarray of float32, lengths // 2 + 1 along each axis
        The influence function (see `influence`), non-negative frequencies only.
    own : ndarray of float32, shape (5,)
        Coefficients of a point's self-term (see `tsne_ooc._kernels.selfterm`).
    """

    shape: Shape
    shifted: bool
    spectrum: Float32
    own: Float32


def influence(length: int) -> Float64:
    """The factor of one axis of the window on the kernel's transform, for the frequencies 0 to length // 2.

    This is the influence function of least squared error (Hockney and Eastwood, Computer Simulation Using Particles,
    1988, ch. 8), ``psi^2 / (sum over aliases of psi^2)^2`` with psi the window's transform. For the cubic B-spline the
    sum over aliases is a polynomial in sin^2.
    """
    k = np.arange(length // 2 + 1) / length
    s = np.sin(np.pi * k) ** 2
    aliases = 1 - 4 / 3 * s + 2 / 5 * s**2 - 4 / 315 * s**3
    return np.asarray(np.sinc(k) ** 8 / aliases**2)


def _kernel_values(shape: Shape, dof: float, shifted: bool, dtype: type) -> NDArray[np.floating]:
    square: NDArray[np.floating] = np.zeros((), dtype)
    for axis, length in enumerate(shape.lengths):
        distance: NDArray[np.floating] = (np.arange(length // 2 + 1) * shape.spacing).astype(dtype)
        around = [1] * len(shape.lengths)
        around[axis] = -1
        square = square + (distance**2).reshape(around)
    if dof == 1:
        return -square / (1 + square) if shifted else 1 / (1 + square)
    decay = -dof * np.log1p(square / dof)
    return np.asarray(np.expm1(decay) if shifted else np.exp(decay))


def _cosine_series(spectrum: NDArray[np.floating], lengths: tuple[int, ...]) -> Float32:
    """The self-term's coefficients, from the mesh kernel near zero and the window's overlap with itself."""
    lags = np.arange(4)
    near: Float64 = spectrum.astype(np.float64)
    for axis, length in enumerate(lengths):
        k = np.arange(length // 2 + 1)
        both_signs = np.where((k == 0) | (k == length // 2), 1.0, 2.0) / length
        turns = both_signs * np.cos(2 * np.pi * np.outer(lags, k) / length)
        near = np.moveaxis(np.tensordot(turns, near, (1, axis)), 0, axis)
    t = np.arange(16) / 16
    w = np.stack([(1 - t) ** 3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2, t**3 / 6])
    overlap = np.stack([(w[: 4 - lag] * w[lag:]).sum(0) * (1 if lag == 0 else 2) for lag in lags])
    value = near
    for _ in lengths:
        value = np.tensordot(value, overlap, (0, 0))
    d = len(lengths)
    modes = np.fft.fftn(value).real / value.size

    def coefficient(*which: int) -> float:
        index = (*which, *[0] * (d - len(which)))
        return float(modes[index]) * 2.0 ** sum(m > 0 for m in which)

    mixed = coefficient(1, 1) if d > 1 else 0.0
    return np.array([*(coefficient(m) for m in range(4)), mixed], np.float32)


def kernel_for(shape: Shape, dof: float, threads: Threads) -> Kernel:
    """Transform the kernel for one shape of grid."""
    shifted = shape.reach < SHIFTED_REACH
    # The kernels of small grids need the digits; those of large grids are transformed in float32, in half the time.
    dtype = np.float64 if shifted else np.float32
    values: Array = _kernel_values(shape, dof, shifted, dtype)
    for axis, length in enumerate(shape.lengths):
        values = _transformed(values, axis, threads)
        around = [1] * values.ndim
        around[axis] = -1
        values *= influence(length).astype(dtype).reshape(around)
    with threads.one_blas_thread():
        series = _cosine_series(values, shape.lengths)
    return Kernel(shape, shifted, values.astype(np.float32), series)


def _transformed(values: Array, axis: int, threads: Threads) -> Array:
    from scipy.fft import dct

    # SciPy starts threads of its own before it overwrites anything.
    return fewer(lambda workers: dct(values, type=1, axis=axis, overwrite_x=True, workers=workers), threads.n)


def orthants(lengths: tuple[int, ...]) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Where the frequencies of each sign of each leading axis lie in the full axis, and in the half that is kept."""
    choices = []
    for length in lengths:
        half = length // 2
        choices.append([(slice(0, half + 1), slice(0, half + 1)), (slice(half + 1, length), slice(half - 1, 0, -1))])
    return [(tuple(a for a, _ in signs), tuple(b for _, b in signs)) for signs in product(*choices)]
