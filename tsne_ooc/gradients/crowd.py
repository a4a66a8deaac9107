"""The repulsive field of few rows, summed over all of them wherever it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._kernels.pairs import PAIRS
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32

ROWS = 64


@dataclass(frozen=True)
class Crowd:
    """A field as `Field` is, but without a grid. It is immutable.

    Parameters
    ----------
    Y : ndarray of float32, shape (n, d)
        The rows that make the field.
    dof : float
    low, high : ndarray of float32, shape (d,)
        Lowest and highest coordinates at which it is read.
    """

    Y: Float32
    dof: float
    low: Float32
    high: Float32

    #: It says which kernels read the field.
    summed = True

    @classmethod
    def around(cls, Y: Float32, dof: float, margin: float) -> Crowd:
        """The field of the rows `Y`, read up to `margin` map units around them."""
        low, high = Y.min(axis=0).astype(np.float64) - margin, Y.max(axis=0).astype(np.float64) + margin
        return cls(Y, float(dof), low.astype(np.float32), high.astype(np.float32))

    def __str__(self) -> str:
        return f"is summed over its {len(self.Y):,} rows"

    @property
    def nodes(self) -> tuple[Any, ...]:
        """What kernels read: the places axis by axis, their number, and values without effect for the rest."""
        return np.ascontiguousarray(self.Y.T).reshape(-1), len(self.Y), 0, self.low, 1.0, 0.0

    def at(self, Y: Float32, threads: Threads) -> tuple[Float32, Float32]:
        """Value (m,) and gradient (m, d) of the field at any places."""
        value, gradient = np.empty(len(Y), np.float64), np.empty(Y.shape, np.float32)
        kernel = PAIRS[Y.shape[1]]
        threads.map(
            lambda start, stop: kernel(Y, self.Y, self.dof, False, start, stop, value, gradient), ranges(len(Y), ROWS)
        )
        return value.astype(np.float32), gradient
