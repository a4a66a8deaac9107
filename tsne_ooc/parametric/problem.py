"""What an objective learns from: the rows, where they lie on a map, and which belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Float32, Float64, Int64, Tensor
from tsne_ooc.joint import Joint


@dataclass(frozen=True, eq=False)
class Graph:
    """Affinities of rows that are in memory.

    Parameters
    ----------
    X : ndarray of float32, shape (n, p)
        The rows, in the order of the table.
    P : Joint
        Affinities between them, in an order of its own.
    rows : ndarray of int64, shape (n,)
        The number in the table of each row of P.
    """

    X: Float32
    P: Joint
    rows: Int64

    @cached_property
    def places(self) -> Int64:
        """Where each row of the table is in P."""
        places = np.empty(len(self.rows), np.int64)
        places[self.rows] = np.arange(len(self.rows))
        return places

    @cached_property
    def _sums(self) -> Float64:
        sums = np.zeros(len(self.P.indices) + 1)
        np.cumsum(self.P.values, out=sums[1:])
        return sums

    def partners(self, rows: Int64, rng: np.random.Generator) -> tuple[Int64, Float32]:
        """Another row for each, drawn in proportion to its affinity, and the weight of each pair, 1 on average.

        Pairs of uniformly drawn rows and these partners, with these weights, are distributed as P.
        """
        at = self.places[rows]
        low, high = self._sums[self.P.indptr[at]], self._sums[self.P.indptr[at + 1]]
        entries = np.searchsorted(self._sums, low + rng.random(len(at)) * (high - low), side="right") - 1
        entries = np.clip(entries, self.P.indptr[at].astype(np.int64), self.P.indptr[at + 1].astype(np.int64) - 1)
        return self.rows[self.P.indices[entries]], ((high - low) * self.P.n).astype(np.float32)

    @cached_property
    def entropy(self) -> float:
        """Sum of p log p."""
        return _entropy(self.P.values)

    def without(self, held: Int64) -> tuple[float, float]:
        """Two sums over the pairs without these rows: that of p, and that of p log p with p divided by the first sum.

        The first is the weight that is left of all pairs where some rows are held out.
        """
        if not len(held):
            return 1.0, self.entropy
        out = np.zeros(self.P.n, np.bool_)
        out[self.places[held]] = True
        lengths = (self.P.indptr[1:] - self.P.indptr[:-1]).astype(np.int64)
        values = self.P.values[~(out[self.P.indices] | np.repeat(out, lengths))]
        share = float(values.sum(dtype=np.float64))
        return share, _entropy(values) / share - math.log(share) if share > 0 else 0.0


def _entropy(values: Array) -> float:
    p = values[values > 0].astype(np.float64)
    return float((p * np.log(p)).sum())


@dataclass(frozen=True, eq=False)
class Problem:
    """What is known of the rows.

    Parameters
    ----------
    n : int
        Rows of the table.
    width : float
        Width of the map in map units: the standard deviation of its wider axis.
    dof, exaggeration : float
        Those of the map's kernel, and of the attraction at the end of its fit.
    targets : ndarray of float32, shape (n, d), or None
        Places of the rows on the map that is imitated.
    graph : Graph or None
        Affinities, where all rows are in memory.
    seed : int
    threads : Threads
    device : torch.device
    held : ndarray of int64
        Rows that are in no batch.
    """

    n: int
    width: float
    dof: float
    exaggeration: float
    targets: Float32 | None
    graph: Graph | None
    seed: int
    threads: Threads
    device: torch.device
    held: Int64 = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def learnt(self) -> int:
        """Number of rows that are in batches."""
        return self.n - len(self.held)


class Batch(NamedTuple):
    """The rows of one step.

    Parameters
    ----------
    step : int
        Its number, from the beginning of the training.
    rows : ndarray of int64, shape (m,)
        Numbers of the rows in the table.
    X : torch.Tensor of float32, shape (m, p)
    moved : int, default 0
        So many of the first rows are not as the table has them, see `tsne_ooc.parametric.augmentation`.
    """

    step: int
    rows: Int64
    X: Tensor
    moved: int = 0
