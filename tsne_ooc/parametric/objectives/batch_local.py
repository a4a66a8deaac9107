"""Batch-local t-SNE: attraction along edges drawn from P, repulsion between the rows of a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tsne_ooc._options import keep, number
from tsne_ooc._typing import Arrays, Network, Tensor
from tsne_ooc.parametric.objectives.base import Loss, Pairs, shown_as, similarity
from tsne_ooc.parametric.problem import Batch, Problem


@dataclass(frozen=True)
class BatchLocal:
    """t-SNE's divergence, estimated from one batch: from edges drawn in proportion to p_ij, and all pairs of its rows.

    The mean similarity of the batch's pairs estimates the normalisation Z without bias, but not its logarithm; so the
    gradient of log Z is divided by a moving average of Z.

    Parameters
    ----------
    memory : float, default 0.98
        Memory of the moving average, at least 0 and less than 1.
    """

    needs: ClassVar[str] = "graph"

    memory: float = 0.98

    def __post_init__(self) -> None:
        keep(self, memory=number("memory", self.memory, least=0))
        if self.memory >= 1:
            raise ValueError(f"memory={self.memory!r} must be less than 1")

    def of(self, problem: Problem) -> Loss:
        return _Local(self, problem)


class _Local(Loss):
    def __init__(self, options: BatchLocal, problem: Problem) -> None:
        self.memory, self.dof, self.pairs = options.memory, problem.dof, Pairs(problem)
        self.average: float | None = None

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        a, b, weights, _ = self.pairs(encoder, batch)
        m, n = len(a), self.pairs.n
        attraction = -(weights * similarity((a - b).square().sum(dim=1), self.dof).log()).mean()
        # Squares are added axis by axis, because a sum over a last dimension of two numbers is slow.
        squares = sum((axis[:, None] - axis).square() for axis in a.unbind(dim=1))
        # Each row's similarity to itself is 1.
        mean = (similarity(squares, self.dof).sum() - m) / max(1, m * (m - 1))
        if m > 1:
            now = float(mean.detach())
            self.average = now if self.average is None else self.memory * self.average + (1 - self.memory) * now
        # A batch of one row has no pairs, and says nothing of the mean; it may be the first.
        average = 1.0 if self.average is None else self.average
        value = float(attraction.detach()) + math.log(average * n * (n - 1)) + self.pairs.entropy
        return shown_as(attraction + mean / average, value)

    def state(self) -> Arrays:
        return {"average": np.array([math.nan if self.average is None else self.average])}

    def restore(self, arrays: Arrays) -> None:
        average = float(arrays["average"][0])
        self.average = None if math.isnan(average) else average
