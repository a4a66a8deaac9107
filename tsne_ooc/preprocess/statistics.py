"""Mean, variance, covariance and a sample of rows, in one pass and float64."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Bool, Float64

# Columns of one product: 128 are nearly as fast as all at once, and a covariance of 256 columns has three products to
# share among threads.
_SIDE = 128
# Numbers that one piece of a tile holds, for sums.
_PIECE = 1 << 18


@dataclass(frozen=True)
class Statistics:
    """The statistics from which steps are fitted, for rows of p columns.

    Attributes
    ----------
    n : int
        Rows.
    mean, variance : float64 (p,)
        The variance divides by n.
    constant : bool (p,)
        Whether all rows have one value there.
    covariance : float64 (p, p) or None
        Divided by n; the lower triangle alone is complete.
    sample : float64 (m, p) or None
        Rows drawn uniformly.
    """

    n: int
    mean: Float64
    variance: Float64
    constant: Bool
    covariance: Float64 | None = None
    sample: Float64 | None = None

    def affine(self, centre: Float64, scale: Float64) -> Statistics:
        """The statistics of ``(rows - centre) / scale``."""
        covariance = None
        if self.covariance is not None:
            covariance = self.covariance / scale
            covariance /= scale[:, None]
        return Statistics(
            self.n, (self.mean - centre) / scale, self.variance / scale / scale, self.constant, covariance,
            None if self.sample is None else (self.sample - centre) / scale,
        )  # fmt: skip


class Moments:
    """Sums over tiles of rows: each tile about its own mean, and then combined (Chan, Golub and LeVeque, 1979).

    Sums of squares about zero, or about any one value, lose the variance of columns far from it. Means are kept as
    distances from the first row: otherwise columns far from zero would lose the differences between tiles. A column
    without variation then has squares of exactly 0. The result is the same bits for the same tiles, for any number of
    threads.
    """

    def __init__(self, width: int, *, covariance: bool, threads: Threads) -> None:
        self.n = 0
        self.origin: Float64 | None = None
        self.mean = np.zeros(width)
        # Sums of squared deviations, or of products of deviations for all pairs of columns.
        self.squares = np.zeros((width, width) if covariance else width)
        self._threads = threads

    def add(self, tile: Float64) -> None:
        """Count the rows of a tile, which is overwritten by their deviations from its mean."""
        m, p = tile.shape
        pieces = ranges(m, max(1, _PIECE // p))
        origin = self.origin = tile[0].copy() if self.origin is None else self.origin

        # What is beyond the range of numbers is told at the end, by its column. (Each thread has an `errstate` of its
        # own.)
        def shift(a: int, b: int) -> Float64:
            with np.errstate(over="ignore", invalid="ignore"):
                tile[a:b] -= origin
                return np.asarray(tile[a:b].sum(axis=0))

        def centre(a: int, b: int) -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                tile[a:b] -= mean

        def square(a: int, b: int) -> Float64:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.asarray(np.einsum("ij,ij->j", tile[a:b], tile[a:b]))

        def multiply(a: int, b: int, c: int, d: int) -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                block = tile[:, a:b].T @ tile[:, c:d]
                block += np.multiply.outer(weight * step[a:b], step[c:d])
                self.squares[a:b, c:d] += block

        with np.errstate(over="ignore", invalid="ignore"):
            mean = _total(self._threads.map(shift, pieces)) / m
            step = mean - self.mean
            weight = self.n * m / (self.n + m)
            self._threads.map(centre, pieces)
            if self.squares.ndim == 1:
                self.squares += _total(self._threads.map(square, pieces)) + weight * step * step
            else:
                self._threads.map(multiply, _lower(p))
            self.n += m
            self.mean += step * (m / self.n)

    def finish(self, sample: Float64 | None = None) -> Statistics:
        """The statistics of all rows, with `sample`; nothing can be added afterwards."""
        squares = self.squares
        squares /= self.n
        if not np.isfinite(squares).all():
            raise beyond_range(int(np.argwhere(~np.isfinite(squares))[0, -1]))
        variance, covariance = squares, None
        if squares.ndim == 2:
            variance, covariance = squares.diagonal().copy(), squares
        origin = np.zeros_like(self.mean) if self.origin is None else self.origin
        return Statistics(self.n, origin + self.mean, variance, variance == 0, covariance, sample)


class MomentsWithGaps:
    """`Moments` of tables that lack values: each column's are those of the values that it has, without covariances."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.count = np.zeros(width, np.int64)
        self.origin, self.mean, self.squares = np.full(width, np.nan), np.zeros(width), np.zeros(width)

    def add(self, tile: Float64) -> None:
        """Count the rows of a tile."""
        there = ~np.isnan(tile)
        first = np.isnan(self.origin) & there.any(axis=0)
        self.origin[first] = tile[there.argmax(axis=0), np.arange(tile.shape[1])][first]
        m = there.sum(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            away = np.where(there, tile - self.origin, 0.0)
            mean = away.sum(axis=0) / np.maximum(m, 1)
            step = np.where(m > 0, mean - self.mean, 0.0)
            together = np.maximum(self.count + m, 1)
            away = np.where(there, away - mean, 0.0)
            self.squares += np.einsum("ij,ij->j", away, away) + self.count * (m / together) * step * step
            self.mean += step * (m / together)
        self.n += len(tile)
        self.count += m

    def finish(self, sample: Float64 | None = None) -> Statistics:
        """The statistics of all rows, with `sample`."""
        variance = self.squares / np.maximum(self.count, 1)
        if not np.isfinite(variance).all():
            raise beyond_range(int(np.isfinite(variance).argmin()))
        return Statistics(self.n, np.nan_to_num(self.origin) + self.mean, variance, variance == 0, None, sample)


def beyond_range(column: int) -> ValueError:
    """The error for a column whose numbers are too large for their squares."""
    return ValueError(f"column {column} of the table has squares beyond the range of float64; scale it first")


def _total(parts: Iterable[Float64]) -> Float64:
    """The sum of the parts, in their order."""
    return functools.reduce(np.add, parts)


def _lower(p: int) -> list[tuple[int, int, int, int]]:
    """Blocks (rows a to b, columns c to d) that cover the lower triangle of a (p, p) matrix."""
    sides = ranges(p, _SIDE)
    return [(*row, *column) for i, row in enumerate(sides) for column in sides[: i + 1]]
