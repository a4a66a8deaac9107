"""Search by what two rows both have: `metric="nan_euclidean"`, whose rows may lack values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Float64, UInt64
from tsne_ooc._validate import RowsError
from tsne_ooc.io.lacking import rows_with_values
from tsne_ooc.neighbors._blocks import NOBODY, PIECE, WIDTH, Probes, answers, largest_of, read_only, unpack
from tsne_ooc.neighbors.base import GAPS, Answer, Index, Indices, by_state, check_k, check_width
from tsne_ooc.neighbors.saved import saved_rows
from tsne_ooc.storage.mapped import empty
from tsne_ooc.storage.state import Saved, State

# Queries searched together.
GROUP = 512
# Candidates of a query that are measured together, besides k.
SPARE = 128


@dataclass(frozen=True)
class GapFrame:
    """Where and how large rows are that may lack values, as `Frame` has it for rows that lack none."""

    centre: Float64
    scale: float

    @property
    def slack(self) -> float:
        """Bounds the error of a product, see `_kernels.knn_gaps`."""
        return 2 * (3 * len(self.centre) + 24) * 2.0**-24

    @property
    def unit(self) -> float:
        """What turns a distance into the root of a square for each column in common, in this frame."""
        return float(self.scale / len(self.centre) ** 0.5)

    @classmethod
    def of(cls, X: Float32, threads: Threads) -> GapFrame:
        def total(a: int, b: int) -> tuple[Float64, Array]:
            there = ~np.isnan(X[a:b])
            return np.where(there, X[a:b], 0).sum(axis=0, dtype=np.float64), there.sum(axis=0)

        sums, counts = (sum(parts) for parts in zip(*threads.map(total, ranges(len(X), PIECE)), strict=True))
        return cls.around(X, sums / np.maximum(counts, 1), threads)

    @classmethod
    def around(cls, X: Float32, centre: Float64, threads: Threads) -> GapFrame:
        """The frame of rows around their centre."""
        reach = max(
            threads.map(
                lambda a, b: float(np.fmax.reduce(np.abs(X[a:b] - centre), axis=None, initial=0)), ranges(len(X), PIECE)
            )
        )
        return cls(centre, 2.0 ** -float(np.frexp(reach * len(centre) ** 0.5)[1]))

    @classmethod
    def restore(cls, X: Float32, saved: Saved, threads: Threads) -> GapFrame:
        """The frame of rows X whose state holds its "centre"."""
        centre = np.array(saved.array("centre", np.float64, (X.shape[1],)))
        if float(np.abs(centre).max(initial=0.0)) > largest_of(X) * (1 + 1e-9):
            raise saved.fail("lies outside the rows", "centre")
        return cls.around(X, centre, threads)

    def points(self, rows: Float32, numbers: Array) -> Float32:
        """Rows ``rows[numbers]`` in this frame, of shape (m, p)."""
        return ((rows[numbers] - self.centre) * self.scale).astype(np.float32)

    def lift(self, rows: Float32, numbers: Array) -> tuple[Float32, Float32, UInt64]:
        """Rows ``rows[numbers]`` in this frame, 0 in their gaps; their squared norms, and which columns they have."""
        from tsne_ooc._kernels import knn_gaps

        m, p = len(numbers), len(self.centre)
        lifted, norms = np.empty((m, p), np.float32), np.empty(m, np.float32)
        bits = np.empty((m, -(-p // 64)), np.uint64)
        numbers = read_only(numbers.astype(np.uint32, copy=False))
        knn_gaps.lift(read_only(rows), numbers, self.centre, self.scale, lifted, norms, bits)
        return lifted, norms, bits

    def blocks(self, X: Float32, threads: Threads, order: Indices | None = None, edges: Any = None) -> GapBlocks:
        """All rows of X in the given order and lists, or in one list, ready to be searched."""
        n, p = X.shape
        places = np.arange(n, dtype=np.uint32) if order is None else order
        lifted, norms = empty((n, p), np.float32), empty((n,), np.float32)
        # Those of one word of all rows stand together, for they are counted together.
        bits = empty((-(-p // 64), n), np.uint64)

        def fill(a: int, b: int) -> None:
            lifted[a:b], norms[a:b], columns = self.lift(X, places[a:b])
            bits[:, a:b] = columns.T

        threads.map(fill, ranges(n, PIECE))
        return GapBlocks(read_only(X), self, lifted, norms, bits, places, np.array([0, n]) if edges is None else edges)


def gap_blocks(rows: Float32, threads: Threads) -> GapBlocks:
    """Rows in a frame of their own, ready to be searched."""
    return GapFrame.of(rows, threads).blocks(rows, threads)


@dataclass(frozen=True)
class GapBlocks:
    """Reference rows in lists, as `Blocks` has them; `bits`, of shape (words, n), tell which columns each has."""

    rows: Float32
    frame: GapFrame
    lifted: Float32
    norms: Float32
    bits: UInt64
    order: Indices
    edges: Any

    def search(
        self,
        Q: Float32,
        numbers: Array,
        k: int,
        probes: Probes | None = None,
        itself: Indices | None = None,
    ) -> Answer:
        """The exact k nearest rows to each of ``Q[numbers]`` in the lists it probes (all lists where None).

        Where fewer have a column in common with a query, the last row numbers are `NOBODY`, and their distances NaN.
        """
        from tsne_ooc._kernels import knn_gaps

        g = len(numbers)
        edges = self.edges
        if probes is None:
            probes, edges = Probes(np.zeros(1, np.int64), np.array([0, g]), np.arange(g)), edges[[0, -1]]
        if itself is None:
            itself = np.full(g, NOBODY, np.uint32)
        lifted, norms, bits = self.frame.lift(Q, numbers)
        capacity = k + SPARE
        keys = np.empty((g, k), np.uint64)
        knn_gaps.search(
            lifted, Q[numbers], norms, bits, itself, probes.lists, probes.starts, probes.members, edges, self.lifted,
            self.norms, self.bits, self.rows, self.order, k, WIDTH, self.frame.slack, self.frame.unit,
            np.empty((g, capacity), np.float32), np.empty((g, capacity), np.uint32), np.empty(g, np.uint32),
            np.empty(g, np.float32), keys,
        )  # fmt: skip
        return unpack(keys)


class GapIndex(Index, kind="gaps"):
    """Exact neighbours among rows that may lack values."""

    metric = GAPS

    def __init__(self, X: Float32, threads: Threads) -> None:
        check_values(X)
        self.n = len(X)
        self._threads = threads
        self._blocks = gap_blocks(X, threads)

    def state(self) -> State:
        return {"metric": self.metric}, {"rows": self._blocks.rows}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> GapIndex:
        return cls(rows_with_gaps(saved), threads)

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        return self._blocks.rows

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._blocks.rows.shape[1])
        k = check_k(k, self.n, itself=False)
        check_values(Q)
        return all_found(self.rows_of(Q, np.arange(len(Q)), k, None), self.n, itself=False)

    def query_self(self, k: int) -> Answer:
        numbers = np.arange(self.n, dtype=np.uint32)
        answer = self.rows_of(self._blocks.rows, numbers, check_k(k, self.n, itself=True), numbers)
        return all_found(answer, self.n, itself=True)

    def rows_of(self, Q: Float32, numbers: Any, k: int, itself: Indices | None) -> Answer:
        """Answers for ``Q[numbers]`` only, each without the row `itself` names."""
        return answers(self._blocks, Q, numbers, k, itself, self._threads, GROUP)


def check_values(rows: Float32) -> None:
    """Raise `RowsError` for a row without any value, which has no distance to any other."""
    there = rows_with_values(rows)
    if not there.all():
        raise RowsError("row {row} has no value in any column, and no distance to any other row", int(there.argmin()))


def all_found(answer: Answer, n: int, *, itself: bool, numbers: Any = None) -> Answer:
    """The answer, or the error that names a query with too few rows that have a column in common with it.

    `numbers` are those of the queries, where they are not counted from 0.
    """
    lacking = answer[0][:, -1] == NOBODY
    if not lacking.any():
        return answer
    at = int(lacking.argmax())
    found, k = int((answer[0][at] != NOBODY).sum()), answer[0].shape[1]
    others = "other rows" if itself else "rows"
    raise RowsError(
        f"row {{row}} has a column in common with {found} of {n:,} {others}, and {k} neighbours are wanted: by "
        f"metric={GAPS!r} two rows that share none have no distance; leave such rows out, or fill values in "
        "(--missing median)",
        at if numbers is None else int(numbers[at]),
    )


def rows_with_gaps(saved: Saved) -> Float32:
    """The rows of a state, NaN where they lack a value."""
    X = saved_rows(saved, finite=False)
    if not np.isfinite(largest_of(X)):
        raise saved.fail("holds infinity", "rows")
    return X
