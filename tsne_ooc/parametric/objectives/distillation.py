"""Distillation: the encoder learns where a map has its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tsne_ooc._options import keep, number
from tsne_ooc._typing import Network, Tensor
from tsne_ooc.parametric.objectives.base import Loss, targets_of
from tsne_ooc.parametric.problem import Batch, Problem


@dataclass(frozen=True)
class Distillation:
    """Regression onto the places that rows have on a fitted map, or were given beside it.

    The loss is Huber's, with distances relative to the map's width: it is their square up to `delta`, and linear
    beyond, so that rows that lie among unlike ones do not decide.

    Parameters
    ----------
    delta : float, default 0.1
        Where the loss becomes linear, in widths of the map, > 0; infinity is the mean square.
    """

    needs: ClassVar[str] = "targets"

    delta: float = 0.1

    def __post_init__(self) -> None:
        if self.delta != float("inf"):
            keep(self, delta=number("delta", self.delta, above=0, most=1e6))

    def of(self, problem: Problem) -> Loss:
        return _Distilled(self, problem)


class _Distilled(Loss):
    def __init__(self, options: Distillation, problem: Problem) -> None:
        self.delta = options.delta
        self.targets, self.width = targets_of(problem), problem.width

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        wanted = torch.from_numpy(self.targets[batch.rows]).to(batch.X.device)
        away = (encoder(batch.X) - wanted) / self.width
        square = away.square().sum(dim=1)
        if self.delta == float("inf"):
            return square.mean()
        # The root has no slope at zero, where the square counts instead.
        length = square.clamp(min=self.delta**2).sqrt()
        return torch.where(square <= self.delta**2, square, self.delta * (2 * length - self.delta)).mean()
