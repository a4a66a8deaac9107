"""Rows moved in the data: by how much, along which directions, and what is then near them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Float64, UInt32
from tsne_ooc.fit.model import Model
from tsne_ooc.neighbors.base import GAPS
from tsne_ooc.placement import ROWS, ask

# The default length is taken from so many rows and so many neighbours of each: a median moves little with more.
LENGTH_ROWS, LENGTH_NEIGHBORS = 1000, 15
# Which share of the usual distance rows are moved by: area under the curve of the perturbation for digits in a wrong
# island .78 at .35, .83 at half, .86 at .7, .83 at the whole, .78 at 1.4 (202 of 6,000 digits of MNIST; of 1,797 of
# scikit-learn, where 17 are, .80, .81, .86, .85, .83).
SHARE = 0.7
# Fitted rows that are projected at a time, in double precision.
PIECE = 1 << 16


@dataclass(frozen=True, eq=False)
class Moves:
    """How rows are moved.

    Parameters
    ----------
    ways : ndarray of float32, shape (r, p)
        Rows are moved by each of these to, and by each of them fro.
    there : ndarray of float64, shape (n, r), or None
        Inner products of the fitted rows with these; None where they do not tell a distance.
    """

    ways: Float32
    there: Float64 | None

    @classmethod
    def of(cls, model: Model, length: float | None, directions: int, n_jobs: int | None) -> Moves | None:
        """Along the leading principal directions of the fitted rows; None where rows cannot be moved."""
        from tsne_ooc.preprocess import Preparation
        from tsne_ooc.preprocess.pca import PCA, FittedPCA

        try:
            # Nobody knows in which direction a row that lacks values would be moved.
            rows = None if model.index.sparse or model.index.metric == GAPS else model.index.rows
        except NotImplementedError:
            rows = None
        if rows is None:
            return None
        if length is None:
            length = SHARE * _usual(model, rows)
        (step,) = Preparation([PCA(min(directions, *rows.shape))]).fit(rows, random_state=0, n_jobs=n_jobs).fitted
        assert isinstance(step, FittedPCA)
        ways = (length * step.axes.T).astype(np.float32)
        euclidean = model.index.metric in ("euclidean", "l2")
        return cls(ways, _along(rows, ways) if euclidean else None)

    @property
    def vectors(self) -> Float32:
        """All moves, shape (2 r, p)."""
        return np.concatenate([self.ways, -self.ways])

    @property
    def length(self) -> float:
        """How far they take a row."""
        return float(np.linalg.norm(self.ways[0].astype(np.float64)))

    @property
    def measured(self) -> bool:
        """Whether distances after a move follow from those before it."""
        return self.there is not None

    def around(
        self, rows: Float32, near: UInt32, far: Float32, seen: int, k: int, unit: float, threads: Threads
    ) -> Iterator[tuple[UInt32, Float32]]:
        """The nearest `k` of each row's first `seen` neighbours after each move, ascending, with their distances.

        Of ``|x + m - z|² = |x - z|² + 2 m (x - z) + |m|²`` the first term is known, and the second is of two inner
        products, so no row is searched again. A row that is near after the move alone is not among those looked at.
        """
        from tsne_ooc._kernels import trust as kernels

        assert self.there is not None
        here, squares = _along(rows, self.ways), np.square(self.ways.astype(np.float64)).sum(axis=1)
        for sign, at in product((1.0, -1.0), range(len(self.ways))):
            found, distances = np.empty((len(near), k), np.uint32), np.empty((len(near), k), np.float32)
            move = partial(
                kernels.moved,
                near,
                far,
                seen,
                here[:, at],
                self.there[:, at],
                sign,
                squares[at],
                unit,
                found,
                distances,
            )
            threads.map(move, ranges(len(near), ROWS))
            yield found, distances


def _along(rows: Float32, ways: Float32) -> Float64:
    """Inner products of rows and moves, those of a move beside each other in memory; each row by itself."""
    from tsne_ooc._kernels.project import project

    axes = np.ascontiguousarray(ways.T, np.float64)
    out = np.empty((len(rows), len(ways)))
    for a in range(0, len(rows), PIECE):
        project(rows[a : a + PIECE].astype(np.float64), np.zeros(len(axes)), axes, out[a : a + PIECE])
    return np.asfortranarray(out)


def _usual(model: Model, rows: Float32) -> float:
    """The median of rows' mean distances to their nearest others, by the data's own columns in any metric."""
    some = np.unique(np.linspace(0, model.n - 1, min(model.n, LENGTH_ROWS)).astype(np.int64))
    near, _ = ask(model, rows[some], min(LENGTH_NEIGHBORS + 1, model.n))
    # One by one: all together they would be 15,000 rows in double precision, of any width.
    gaps = np.empty(len(some))
    for at, row in enumerate(some):
        others = near[at][near[at] != row][: near.shape[1] - 1]
        gaps[at] = np.linalg.norm(rows[others].astype(np.float64) - rows[row], axis=1).mean()
    apart = gaps[gaps > 0]
    if not len(apart):
        raise ValueError("the fitted rows are copies of each other, so there is no usual distance; give length")
    return float(np.median(apart))
