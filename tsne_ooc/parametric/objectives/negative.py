"""Negative sampling: edges are told from random pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tsne_ooc._options import keep, number, whole
from tsne_ooc._typing import Network, Tensor
from tsne_ooc.parametric.objectives.base import Loss, Pairs, similarity
from tsne_ooc.parametric.problem import Batch, Problem

# Distances of so many, for all rows of a batch at once, take 0.3 GB at 2,048 rows.
MOST_NEGATIVES = 1 << 14


@dataclass(frozen=True)
class NegativeSampling:
    """NEG-t-SNE: a logistic model tells edges from random pairs (Damrich et al., ICLR 2023).

    Parameters
    ----------
    negatives : int, default 5
        Random pairs for each edge, drawn within the batch.
    normalization : float or None
        The fixed Z of the paper: larger values attract like UMAP, whose value is ``n^2 / negatives``; None is 100 n,
        about that of t-SNE maps.
    """

    needs: ClassVar[str] = "graph"

    negatives: int = 5
    normalization: float | None = None

    def __post_init__(self) -> None:
        keep(self, negatives=whole("negatives", self.negatives, least=1, most=MOST_NEGATIVES))
        if self.normalization is not None:
            keep(self, normalization=number("normalization", self.normalization, above=0, most=1e30))

    def of(self, problem: Problem) -> Loss:
        return _Negative(self, problem)


class _Negative(Loss):
    def __init__(self, options: NegativeSampling, problem: Problem) -> None:
        self.negatives, self.dof, self.pairs = options.negatives, problem.dof, Pairs(problem)
        n = self.pairs.n
        self.odds = options.negatives * (options.normalization or 100.0 * n) / (n * max(1.0, n - 1.0))

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        close, far, weights = pairs_and_negatives(self.pairs, self.dof, batch, encoder, self.negatives)
        edges = -(weights * (close / (close + self.odds)).log()).mean()
        noise = -(self.odds / (far + self.odds)).log().sum(dim=1).mean()
        return edges + noise


def pairs_and_negatives(
    pairs: Pairs, dof: float, batch: Batch, encoder: Network, negatives: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarities of edges (m,) and of each row to random others (m, negatives), and the weights of the edges."""
    a, b, weights, rng = pairs(encoder, batch)
    m = len(a)
    # Each is another row of the batch, never the row itself.
    drawn = (rng.integers(1, max(2, m), size=(m, negatives)) + torch.arange(m).numpy()[:, None]) % m
    others = a[torch.from_numpy(drawn).to(a.device)]
    close = similarity((a - b).square().sum(dim=1), dof)
    return close, similarity((a[:, None] - others).square().sum(dim=2), dof), weights
