"""Muon in float32: momentum whose matrices are made orthogonal before the step.

`torch.optim.Muon` orthogonalises in bfloat16, which most processors have no unit for, and which has eight bits of
mantissa.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tsne_ooc._typing import Tensor

# Each round takes x to a x + b x^3 + c x^5, which brings the values of the round before nearest to 1 in the worst case
# (Amsel et al., The Polar Express, 2025), for singular values from 0.001 to 1. They end within 0.55 of 1, which costs
# less than small values that stay small: MNIST, 256 x 4, ends at a divergence of 3.142 after 1,200 batches; with values
# from 0.003, which end between 0.80 and 1.20, at 3.152; and with values from 0.01 in three rounds, worse by another
# 0.03.
ROUNDS = (
    (8.4703, -25.1081, 18.6293),
    (4.1828, -3.1087, 0.5806),
    (3.9619, -2.9541, 0.5630),
    (3.2866, -2.4647, 0.5074),
)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices, shape (..., a, b), with the same singular vectors and singular values near 1, by polynomials."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    X = matrices.mT if tall else matrices
    X = X / torch.linalg.matrix_norm(X, keepdim=True).clamp(min=1e-12)
    X = X.reshape(-1, *X.shape[-2:])
    gram = torch.bmm(X, X.mT)
    # The largest singular value is at most the root of the norm of the Gram matrix. That bound is four times closer
    # than the norm of the matrix itself where 256 singular values are alike.
    bound = torch.linalg.matrix_norm(gram, keepdim=True).clamp(min=1e-24).sqrt()
    X, gram = X / bound, gram / bound.square()
    for number, (a, b, c) in enumerate(ROUNDS):
        if number:
            gram = torch.bmm(X, X.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        X = torch.baddbmm(X, polynomial, X, beta=a)
    X = X.reshape(*matrices.shape[:-2], *X.shape[-2:])
    return X.mT if tall else X


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.

    Parameters
    ----------
    params : iterable of matrices
    lr : float
        Length of a step, relative to an orthogonal matrix.
    momentum : float, default 0.95
        Nesterov momentum.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"])
                alike.setdefault(weight.shape, []).append((weight, update))
            for (rows, columns), some in alike.items():
                # They go into one product: four matrices of 256 x 256 take 12 ms, and 21 ms one after the other.
                updates = orthogonalised(torch.stack([update for _, update in some]))
                for (weight, _), update in zip(some, updates, strict=True):
                    weight.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
