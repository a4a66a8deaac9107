"""The part of the plane that a picture shows: a square around the map, which a few far rows do not make larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._kernels.cells import extent
from tsne_ooc._options import counted
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Float64
from tsne_ooc.plot.rows import MapRows, Together

# The most rows that tell where the map is; quantiles of a million are exact to a thousandth of the width.
_LOOKED_AT = 1 << 20
# Among fewer rows than this none is called far.
_FEWEST = 20


@dataclass(frozen=True)
class Frame:
    """The bounds of a map without its far rows, and how many rows are not within them.

    Attributes
    ----------
    low, high : float64 (2,)
    far : int
        The number of rows beyond the bounds, which are drawn at the rim.
    lost : int
        The number of rows without a place, whose coordinates are NaN or infinite.
    """

    low: Float64
    high: Float64
    far: int
    lost: int

    @classmethod
    def around(cls, rows: MapRows | Together, threads: Threads) -> Frame:
        """The frame of a map.

        Raises
        ------
        ValueError
            Where no row has a place.
        """
        box = _box(rows.some(_LOOKED_AT), rows.n)
        low, inner_low = np.full((2, 2), np.inf)
        high, inner_high = np.full((2, 2), -np.inf)
        lost = beyond = 0
        for _, _, block in rows.blocks():

            def look(start: int, stop: int, block: Float32 = block) -> tuple[int, int, Array]:
                bounds = np.repeat([[np.inf], [-np.inf], [np.inf], [-np.inf]], 2, axis=1)
                found = extent(block[start:stop], box, *bounds)
                return (*found, bounds)

            for one_lost, one_beyond, bounds in threads.map(look, ranges(len(block), -(-len(block) // threads.n))):
                lost, beyond = lost + one_lost, beyond + one_beyond
                low, inner_low = np.minimum(low, bounds[0]), np.minimum(inner_low, bounds[2])
                high, inner_high = np.maximum(high, bounds[1]), np.maximum(inner_high, bounds[3])
        if lost == rows.n:
            raise ValueError("Y has no row with a place: all coordinates are NaN or infinite")
        # Rows beyond are far only if they are few; more of them are a part of the map.
        if 0 < beyond <= max(1, rows.n // 500):
            return cls(inner_low, inner_high, beyond, lost)
        return cls(low, high, 0, lost)

    def square(self) -> tuple[Float64, Float64]:
        """The corners of the square around the map, with some room."""
        middle = (self.low + self.high) / 2
        half = max(float((self.high - self.low).max()) * 0.52, 1e-3)
        return middle - half, middle + half

    def note(self) -> str:
        """What a reader of the picture has to know; empty where each row is drawn at its place."""
        told = []
        if self.far:
            told.append(f"{counted(self.far, 'rows')} far away, drawn at the rim")
        if self.lost:
            told.append(f"{counted(self.lost, 'rows')} without coordinates")
        return "; ".join(told)


def _box(some: Float32, n: int) -> Float64:
    """The corners of a box that is three times as wide as all rows but the outermost 4 %."""
    everything = np.array([-np.inf, -np.inf, np.inf, np.inf])
    some = some[np.isfinite(some).all(axis=1)]
    if n < _FEWEST or len(some) < _FEWEST:
        return everything
    out = max(1, len(some) // 50)
    ordered = np.sort(some.astype(np.float64), axis=0)
    low, high = ordered[out], ordered[-1 - out]
    width = high - low
    if not width.any():
        return everything
    # A line has no width across itself, so that its length is taken for that, too.
    width = np.where(width > 0, width, width.max())
    return np.concatenate([low - width, high + width])


def fit_axes(ax: Any, frame: Frame) -> None:
    """Let axes show the frame, and what is drawn on them already; without ticks, since the axes have no unit."""
    low, high = frame.square()
    if ax.has_data():
        (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
        low, high = np.minimum(low, (left, bottom)), np.maximum(high, (right, top))
    ax.set_aspect("equal", adjustable="box")
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])


def at_the_rim(rows: Float32, ax: Any) -> tuple[Float64, Array]:
    """Places within the axes, where rows beyond the rim are put a hundredth within it; and which rows those are."""
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    inset = 0.01 * (right - left)
    low, high = np.array([left, bottom]) + inset, np.array([right, top]) - inset
    beyond = np.asarray(np.logical_or(rows < (left, bottom), rows > (right, top)).any(axis=1))
    return np.where(beyond[:, None], np.clip(rows, low, high), rows).astype(np.float64), beyond
