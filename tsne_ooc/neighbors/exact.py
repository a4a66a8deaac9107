"""Exact neighbours: every query meets every row."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Matrix, Named
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors._blocks import NOBODY, Blocks, Frame, answers, pack, unpack
from tsne_ooc.neighbors._sparse import Counts, Proposals, pair_distances
from tsne_ooc.neighbors.base import (
    BLOCKED,
    GAPS,
    Answer,
    Distances,
    Index,
    Indices,
    Metric,
    Neighbors,
    by_state,
    check_k,
    check_width,
    of_zero_rows,
)
from tsne_ooc.neighbors.bits import BitsIndex
from tsne_ooc.neighbors.gaps import GapIndex
from tsne_ooc.neighbors.metrics import BOOLEAN, DENSE, PACKED, check_names
from tsne_ooc.neighbors.pairwise import Pairwise, canonical
from tsne_ooc.neighbors.saved import blocked_metric, restore_rows, rows_state, saved_rows
from tsne_ooc.neighbors.wrapped import searched
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.state import Saved, State

GROUP = 512
# Distances held at once by one thread in the other metrics, some three times over: 48 MB.
ENTRIES = 1 << 21


@stored
@dataclass(frozen=True)
class Exact(Neighbors):
    """Exact neighbours in any metric; the reference of all the other searches.

    Euclidean and cosine searches of dense rows score blocks by matrix products, keep what the products'
    rounding errors leave possible, and decide by distances in double precision: the answer is that of the
    plain loop over pairs. So it is for "nan_euclidean", whose rows may lack values. Rows of yes and no (jaccard,
    dice and their like: what is not 0 counts as yes) are
    compared as bits, 64 columns at a time. The other metrics are SciPy's (`cdist`), in double precision; a
    callable takes two rows and returns a number. docs/neighbors.md lists metrics, their parameters, and what
    they take rows of zeros for.
    """

    def check(self, metric: Metric, params: Named | None, *, sparse: bool) -> None:
        check_names(metric, params, sparse=sparse)

    def build(
        self,
        X: Matrix,
        *,
        metric: Metric = "euclidean",
        metric_params: Named | None = None,
        rng: np.random.Generator | None = None,
        threads: Threads,
    ) -> Index:
        if isinstance(X, np.ndarray) and isinstance(metric, str) and metric in BLOCKED and not metric_params:
            name = BLOCKED[metric]
            return searched(X, name, lambda rows: BlockedIndex(rows, name, threads), threads)
        return exact_index(canonical(X), metric, metric_params, threads)


def exact_index(X: Matrix, metric: Metric, params: Named | None, threads: Threads) -> Exactly:
    """The exact index of rows without thousands of copies, or in another metric."""
    if isinstance(X, np.ndarray) and isinstance(metric, str) and not params:
        if metric in BLOCKED:
            return BlockedIndex(X, BLOCKED[metric], threads)
        if metric == GAPS:
            return GapIndex(X, threads)
        if DENSE.get(metric) in (*BOOLEAN, *PACKED):
            return BitsIndex.of(X, metric, threads)
    return PairwiseIndex(X, metric, params, threads)


class BlockedIndex(Index, kind="blocked"):
    """Euclidean and cosine neighbours of dense rows."""

    def __init__(self, X: Float32, metric: str, threads: Threads) -> None:
        self.n = len(X)
        self.metric = metric
        self._threads = threads
        self._blocks = Blocks.of(X, Frame.of(X, cosine=metric == "cosine", threads=threads), threads)

    def state(self) -> State:
        return {"metric": self.metric}, {"rows": self._blocks.rows}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> BlockedIndex:
        return cls(saved_rows(saved), blocked_metric(saved), threads)

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        return self._blocks.rows

    def from_themselves(self) -> Distances | None:
        return of_zero_rows(self._blocks.rows, self.metric)

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._blocks.rows.shape[1])
        return self.rows_of(Q, np.arange(len(Q)), check_k(k, self.n, itself=False), None)

    def query_self(self, k: int) -> Answer:
        numbers = np.arange(self.n, dtype=np.uint32)
        return self.rows_of(self._blocks.rows, numbers, check_k(k, self.n, itself=True), numbers)

    def rows_of(self, Q: Float32, numbers: Any, k: int, itself: Indices | None) -> Answer:
        """Answers for ``Q[numbers]`` only, each without the row `itself` names."""
        return answers(self._blocks, Q, numbers, k, itself, self._threads, GROUP)


class PairwiseIndex(Index, kind="pairwise"):
    """Neighbours in any metric, from all distances."""

    def __init__(self, X: Matrix, metric: Metric, params: Named | None, threads: Threads) -> None:
        self.n = X.shape[0]
        self.metric = metric
        self.pairwise = Pairwise(metric, params, X)
        self._X = X
        self._threads = threads
        self.sparse = bool(self.pairwise.sparse)
        name = str(self.pairwise.name)
        self._proposals = Proposals(X, name) if self.sparse and name in BLOCKED else None
        self._counts = Counts(X, name) if self.sparse and name in BOOLEAN else None

    def state(self) -> State:
        content, arrays = self.pairwise.state()
        return content, {**arrays, **rows_state(self._X)}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> PairwiseIndex:
        X = restore_rows(saved)
        pairwise = Pairwise.restore(saved, X)
        return cls(X, pairwise.metric, pairwise.params, threads)

    @property
    def rows(self) -> Float32:
        if not isinstance(self._X, np.ndarray):
            raise NotImplementedError
        return self._X

    def query(self, Q: Matrix, k: int) -> Answer:
        check_width(Q, self._X.shape[1])
        return self.rows_of(canonical(Q), np.arange(Q.shape[0]), check_k(k, self.n, itself=False), None)

    def query_self(self, k: int) -> Answer:
        numbers = np.arange(self.n, dtype=np.uint32)
        return self.rows_of(self._X, numbers, check_k(k, self.n, itself=True), numbers)

    def rows_of(self, Q: Matrix, numbers: Any, k: int, itself: Indices | None) -> Answer:
        """Answers for ``Q[numbers]`` only, each without the row `itself` names."""

        def search(a: int, b: int) -> Answer:
            me = None if itself is None else itself[a:b]
            rows = Q[numbers[a:b]]
            if self._proposals is not None:
                return self._decide(self._proposals, rows, k, me)
            if self._counts is not None:
                return nearest(self._counts.distances(rows), k, me)
            try:
                return nearest(self.pairwise.block(rows, self._X), k, me)
            except RowsError as error:
                raise RowsError(error.message, int(numbers[a + error.row])) from None

        # A callable holds the interpreter's lock, so threads would only take turns.
        run = Threads(1) if callable(self.metric) else self._threads
        return stack(run.map(search, ranges(len(numbers), max(1, ENTRIES // self.n))), k)

    def _decide(self, proposals: Proposals, Q: Matrix, k: int, itself: Indices | None) -> Answer:
        """The k nearest of those rows that sparse products leave possible."""
        starts, numbers = proposals.near(Q, k, itself)
        keys = pack(pair_distances(Q, self._X, str(self.pairwise.name), starts, numbers, proposals.factors), numbers)
        best = [np.sort(keys[a:b])[:k] for a, b in pairwise(starts.tolist())]
        return unpack(np.array(best).reshape(len(best), k))


Exactly: TypeAlias = BlockedIndex | GapIndex | PairwiseIndex | BitsIndex


def nearest(distances: Any, k: int, itself: Indices | None = None) -> Answer:
    """The k smallest of each row of a block of distances, without the column `itself` names."""
    keys = pack(distances, np.arange(distances.shape[1]))
    if itself is not None:
        keys[np.arange(len(keys)), itself] = np.iinfo(np.uint64).max
    if k < keys.shape[1]:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    return unpack(np.sort(keys, axis=1))


def stack(answers: list[Answer], k: int) -> Answer:
    """Answers of consecutive groups of queries as one."""
    if not answers:
        return np.empty((0, k), np.uint32), np.empty((0, k), np.float32)
    return np.concatenate([a[0] for a in answers]), np.concatenate([a[1] for a in answers])


def nobody(q: int) -> Indices:
    """No row to leave out, for q queries."""
    return np.full(q, NOBODY, np.uint32)
