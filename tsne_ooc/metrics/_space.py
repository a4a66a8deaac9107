"""Rows and the metric in which they are compared: nearest rows, ranks and distances, exact, streamed from any table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._kernels.ranks import count_below
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Float64, Int64, Named
from tsne_ooc.io import iterate
from tsne_ooc.metrics._common import GROUP, nearer_in_data, nearest_by
from tsne_ooc.neighbors import Exact
from tsne_ooc.neighbors.base import BLOCKED
from tsne_ooc.neighbors.pairwise import Pairwise
from tsne_ooc.sampling import take

#: Rows whose distances to a group of queries are held at a time: 1 MB.
TILE = 2048
# Of the rounding of a number in double precision, for each column of a product.
_SLACK = 4e-16


@dataclass(frozen=True, eq=False)
class Space:
    """A table of dense rows, as a map was given it, or a map itself.

    Parameters
    ----------
    table : Source or array
    threads : Threads
    metric : str
        As `TSNE` takes it.
    params : mapping, optional
        Its parameters, also those that it would take from the rows.
    """

    table: Any
    threads: Threads
    metric: str = "euclidean"
    params: Named | None = None

    def nearest(self, rows: Int64, k: int) -> tuple[Int64, Float64]:
        """Numbers and distances of the k others nearest to each of these rows."""

        def search(block: Float32, queries: Float32, most: int) -> tuple[Array, Array]:
            made = Exact().build(block, metric=self.metric, metric_params=self.params, threads=self.threads)
            return made.query(queries, most)

        return nearest_by(self.table, rows, k, search)

    def nearer(self, rows: Int64, targets: Int64) -> Int64:
        """How many others are nearer to each of these rows than each of its `targets`, of shape (rows, t).

        Rows that are as far as a target, to the last digits, are not.
        """
        if self._blocked is None:
            return nearer_in_data(self.table, rows, targets, self._pairwise(rows).block, self.threads)
        lift = _Lift.of(take(self.table, rows), cosine=self._blocked == "cosine")
        near, where = np.unique(targets, return_inverse=True)
        reach = lift.reach(take(self.table, near), where.reshape(targets.shape))
        counts = np.zeros(targets.shape, np.int64)
        with self.threads.one_blas_thread():
            for start, stop, block in iterate(self.table):
                for first, last in ranges(stop - start, TILE):
                    lifted = lift.rows(block[first:last])

                    def count(a: int, b: int, lifted: Float64 = lifted, begin: int = start + first) -> None:
                        scores = lift.queries[a:b] @ lifted.T
                        own = rows[a:b] - begin
                        here = np.flatnonzero((own >= 0) & (own < len(lifted)))
                        scores[here, own[here]] = np.inf
                        count_below(scores, reach[a:b], counts[a:b])

                    self.threads.map(count, ranges(len(rows), GROUP))
        return counts

    def between(self, left: Array, right: Array) -> Float64:
        """All distances of some rows to others."""
        return Pairwise(self.metric, self.params, left).block(left, right)

    @property
    def _blocked(self) -> str | None:
        return None if self.params else BLOCKED.get(self.metric)

    def _pairwise(self, rows: Int64) -> Pairwise:
        return Pairwise(self.metric, self.params, take(self.table, rows[:2]))


@dataclass(frozen=True, eq=False)
class _Lift:
    """Rows with columns behind them that make one product their squared distances, or for cosine their distances.

    Parameters
    ----------
    centre : ndarray of float64, shape (p,)
    queries : ndarray of float64, shape (q, p + 2)
    cosine : bool
    """

    centre: Float64
    queries: Float64
    cosine: bool

    @classmethod
    def of(cls, queries: Float32, *, cosine: bool) -> _Lift:
        centre = np.zeros(queries.shape[1]) if cosine else queries.mean(axis=0, dtype=np.float64)
        plain, norms = _plain(queries, centre, cosine=cosine)
        first = np.ones(len(plain)) if cosine else norms
        factor = -1.0 if cosine else -2.0
        return cls(centre, np.column_stack([factor * plain, first, np.ones(len(plain))]), cosine)

    def rows(self, block: Float32) -> Float64:
        """Rows of a table, of shape (m, p + 2)."""
        plain, norms = _plain(block, self.centre, cosine=self.cosine)
        return np.column_stack([plain, np.ones(len(plain)), np.zeros(len(plain)) if self.cosine else norms])

    def reach(self, rows: Float32, numbers: Int64) -> Float64:
        """What a product of query i must be below, to be nearer than ``rows[numbers[i, j]]`` for sure."""
        own = self.queries[:, :-2] / (-1.0 if self.cosine else -2.0)
        others, _ = _plain(rows, self.centre, cosine=self.cosine)
        found = np.empty(numbers.shape)
        for i, near in enumerate(numbers):
            # Half the squared distance of unit vectors is one minus their cosine; a row of zeros is at 1 from all.
            found[i] = np.square(others[near] - own[i]).sum(axis=1)
            if self.cosine:
                found[i] = np.where(own[i].any() & others[near].any(axis=1), found[i] / 2, 1.0)
        largest = np.ones(1) if self.cosine else 3 * self.queries[:, -2:-1] + 2 * found
        found -= _SLACK * self.queries.shape[1] * largest
        return found


def _plain(rows: Float32, centre: Float64, *, cosine: bool) -> tuple[Float64, Float64]:
    """Rows about the centre, or of unit length, and their squared lengths."""
    plain = rows - centre
    norms = np.einsum("ij,ij->i", plain, plain)
    if not cosine:
        return plain, norms
    length = np.sqrt(norms)
    return plain / np.where(length > 0, length, 1.0)[:, None], norms
