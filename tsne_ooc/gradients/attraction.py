"""Attraction along the entries of P."""

from __future__ import annotations

import itertools

import numpy as np

from tsne_ooc._kernels.attraction import KERNELS
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Float64
from tsne_ooc.joint import JointRows

ENTRIES = 1 << 18
#: Rows from which a divergence is estimated, in runs of so many. Of 20,000 rows all of them take as long as two
#: iterations, and these a fifth of one.
ESTIMATED, RUN = 2048, 64


def ranges_of(P: JointRows) -> list[tuple[int, int]]:
    """Ranges of about equally many entries, not rows: hubs have hundreds of times as many as others."""
    pieces = max(1, -(-P.entries // ENTRIES))
    edges = np.searchsorted(P.indptr, np.linspace(0, P.entries, pieces + 1)[1:-1].astype(np.uint64))
    return list(itertools.pairwise(np.unique(np.concatenate([[0], edges, [P.n]])).tolist()))


class Attraction:
    """The attractive half of the gradient, of the energy, and of a step.

    Parameters
    ----------
    P : Joint, or what gives its rows
    d : int
        Axes of the map, 1 to 3.
    dof : float
    threads : Threads
    """

    def __init__(self, P: JointRows, d: int, dof: float, threads: Threads) -> None:
        self.P, self.dof, self.threads = P, dof, threads
        self._forces, self._energy, self._advance = KERNELS[d]
        self.ranges = ranges_of(P)
        # One over the largest affinity of each row.
        self._slack = np.full(P.n, np.finfo(np.float32).max)
        self._entropy = float(sum(threads.map(self._look, self.ranges)))
        self._weight: float | None = None

    def _look(self, start: int, stop: int) -> float:
        """Sum of p log p over a range of rows, and their slack; for all at once it takes twice the memory of P."""
        first, _, values = self.P.part(start, stop)
        edges = self.P.indptr[start : stop + 1].astype(np.int64)
        p = values[edges[0] - first : edges[-1] - first]
        held = np.flatnonzero(np.diff(edges))
        if len(held):
            largest = np.maximum.reduceat(p, edges[held] - edges[0])
            self._slack[start + held] = 1 / np.maximum(largest, np.finfo(np.float32).tiny)
        p = p[p > 0].astype(np.float64)
        return float((p * np.log(p)).sum())

    def forces(self, Y: Float32) -> Float32:
        """``sum_j p_ij (y_i - y_j) / (1 + d_ij^2 / dof)`` of every row, shape (n, d)."""
        out = np.empty_like(Y)
        P, per_dof = self.P, np.float32(1 / self.dof)
        self.threads.map(
            lambda start, stop: self._forces(P.indptr, *P.part(start, stop), Y, per_dof, start, stop, out), self.ranges
        )
        return out

    def divergence(self, Y: Float32, Z: float) -> float:
        """KL(P || Q) of the map, given the normalisation Z of its similarities."""
        return sum(self.halves(Y, Z))

    def halves(self, Y: Float32, Z: float) -> tuple[float, float]:
        """The two parts of the divergence: ``sum p log(p / w)``, which attraction lowers, and log Z."""
        P = self.P
        if not Z > 0:
            return 0.0, 0.0
        pulls = self.threads.map(
            lambda start, stop: self._energy(P.indptr, *P.part(start, stop), Y, self.dof, start, stop), self.ranges
        )
        return self._entropy + float(sum(pulls)), float(np.log(Z))

    def estimate(self, Y: Float32, Z: float) -> float:
        """The divergence, as far as runs of rows from all over P tell it: in the order of P near rows are near."""
        P = self.P
        if P.n <= ESTIMATED:
            return self.divergence(Y, Z)
        if not Z > 0:
            return 0.0
        runs = [(at, at + RUN) for at in np.linspace(0, P.n - RUN, ESTIMATED // RUN).astype(np.int64).tolist()]
        if self._weight is None:
            self._weight = sum(self.threads.map(self._held, runs))
        pulls = self.threads.map(
            lambda start, stop: self._energy(P.indptr, *P.part(start, stop), Y, self.dof, start, stop), runs
        )
        return self._entropy + float(sum(pulls)) / max(self._weight, np.finfo(np.float64).tiny) + float(np.log(Z))

    def _held(self, start: int, stop: int) -> float:
        """The sum of P over a range of rows; over all of them it is 1."""
        first, _, values = self.P.part(start, stop)
        begin, end = (int(self.P.indptr[row]) - first for row in (start, stop))
        return float(values[begin:end].sum(dtype=np.float64))

    def step(
        self, Y: Float32, slope: Float32, Z: float, exaggeration: float, rate: float, bearable: float,
        momentum: float, longest: float, shift: Float32, velocity: Float32, gains: Float32, out: Float32,
    ) -> tuple[Float64, float]:  # fmt: skip
        """Write the rows after one step to `out`; their mean, and the norm of the gradient.

        The rate of a row is at most `bearable` over its largest affinity.
        """
        P = self.P
        per_dof, per_z = np.float32(1 / self.dof), np.float32(1 / Z if Z > 0 else 0)
        factors = (
            np.float32(exaggeration), slope, per_z, np.float32(rate), np.float32(bearable), self._slack,
            np.float32(momentum), np.float32(longest),
        )  # fmt: skip

        def move(start: int, stop: int) -> tuple[float, float, float, float]:
            # Range by range, while what the first writes is in the cache for the second.
            self._forces(P.indptr, *P.part(start, stop), Y, per_dof, start, stop, out)
            return self._advance(Y, *factors, shift, velocity, gains, start, stop, out)  # type: ignore[no-any-return]

        # Added range by range: the sum is the same for any number of threads.
        sums = np.sum(self.threads.map(move, self.ranges), axis=0)
        return sums[: Y.shape[1]] / len(Y), float(np.sqrt(sums[3]))
