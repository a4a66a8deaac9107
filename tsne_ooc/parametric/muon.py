"""Muon in float32: momentum whose matrices are made orthogonal before they are applied.

`torch.optim.Muon` orthogonalises in bfloat16, which has no unit on most processors and eight bits of mantissa.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

# Coefficients of Keller Jordan: the slope at zero is large, so small singular values grow quickly; five rounds leave
# them between some 0.7 and 1.2, and the training does not tell these from 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


def orthogonalised(matrix: Any, rounds: int = ROUNDS) -> Any:
    """A matrix with the singular vectors of `matrix` and singular values near 1, by Newton and Schulz's iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    X = matrix.mT if tall else matrix
    X = X / X.norm().clamp(min=1e-12)
    for _ in range(rounds):
        gram = X @ X.mT
        X = _A * X + (_B * gram + _C * gram @ gram) @ X
    return X.mT if tall else X


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.

    Parameters
    ----------
    params : iterable of matrices
    lr : float
        Length of a step, relative to an orthogonal matrix.
    momentum : float, default 0.95
        Nesterov's.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalised(weight.grad.lerp(average, group["momentum"]))
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)
