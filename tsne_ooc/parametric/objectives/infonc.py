"""InfoNC: an edge must be found among random pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tsne_ooc._options import keep, whole
from tsne_ooc._typing import Network, Tensor
from tsne_ooc.parametric.objectives.base import Loss, Pairs
from tsne_ooc.parametric.objectives.negative import MOST_NEGATIVES, pairs_and_negatives
from tsne_ooc.parametric.problem import Batch, Problem


@dataclass(frozen=True)
class InfoNC:
    """InfoNC-t-SNE: an edge should be more similar than random pairs (Damrich et al., ICLR 2023).

    Parameters
    ----------
    negatives : int, default 50
        Random pairs for each edge, drawn within the batch.
    """

    needs: ClassVar[str] = "graph"

    negatives: int = 50

    def __post_init__(self) -> None:
        keep(self, negatives=whole("negatives", self.negatives, least=1, most=MOST_NEGATIVES))

    def of(self, problem: Problem) -> Loss:
        return _Contrast(self, problem)


class _Contrast(Loss):
    def __init__(self, options: InfoNC, problem: Problem) -> None:
        self.negatives, self.dof, self.pairs = options.negatives, problem.dof, Pairs(problem)

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        close, far, weights = pairs_and_negatives(self.pairs, self.dof, batch, encoder, self.negatives)
        return -(weights * (close / (close + far.sum(dim=1))).log()).mean()
