"""What training asks of objectives."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from tsne_ooc._random import generator
from tsne_ooc._typing import Arrays, Float32, Network, Tensor
from tsne_ooc.parametric.problem import Batch, Graph, Problem


class Loss:
    """An objective of one problem.

    `loss` is all that most need; one that remembers more than the weights says what in `state`.

    Attributes
    ----------
    exaggeration : float
        Factor on the attraction in what is minimised, which judges the weights too.
    """

    exaggeration: float = 1.0

    @property
    def burst(self) -> bool:
        """Whether the map has grown beyond all bounds, so that going on is of no use."""
        return False

    def begin(self, encoder: Network) -> None:
        """Called once, when its stage begins."""

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        """A scalar tensor whose gradient the weights follow down."""
        raise NotImplementedError

    def judge(self, encoder: Network) -> float | None:
        """How bad the encoder is on all rows, where no rows are held out to say it; None where nothing is known."""
        return None

    def state(self) -> Arrays:
        """What a training that is resumed needs to go on alike."""
        return {}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a `state`, instead of `begin`."""


@runtime_checkable
class Objective(Protocol):
    """Options of an objective: a frozen dataclass.

    Attributes
    ----------
    needs : str
        "targets" or "graph": what of the problem it looks at.
    """

    needs: ClassVar[str]

    def of(self, problem: Problem) -> Loss:
        """The loss on a problem."""


class Stage(NamedTuple):
    """Some of the steps for one objective.

    Parameters
    ----------
    objective : Objective
    share : float
        Of all steps, relative to the shares of the other stages.
    rate : float
        Factor on the learning rate.
    """

    objective: Objective
    share: float = 1.0
    rate: float = 1.0


def targets_of(problem: Problem) -> Float32:
    """The map to imitate."""
    if problem.targets is None:
        raise ValueError("this objective needs a map to imitate, and the teacher has none")
    return problem.targets


def graph_of(problem: Problem) -> Graph:
    """The affinities of all rows."""
    if problem.graph is None:
        raise ValueError(
            "this objective needs the affinities of all rows; use objective='distillation', or a teacher that is "
            "fitted on all rows of the table (sample=None)"
        )
    return problem.graph


class Pairs:
    """Rows of a batch and a partner of each, drawn as P says among the rows that are learnt from.

    Attributes
    ----------
    n : int
        Rows that are learnt from.
    entropy : float
        Sum of p log p, over their pairs.
    """

    def __init__(self, problem: Problem) -> None:
        self.graph, self.problem, self.n = graph_of(problem), problem, problem.learnt
        share, self.entropy = self.graph.without(problem.held)
        # Pairs with rows that are held out do not count. The others weigh 1 on average all the same: without this,
        # a tenth held out made the attraction a tenth weaker against a repulsion that never knew of these rows.
        self._gain = np.float32(self.n / (problem.n * share) if share > 0 else 0.0)

    def __call__(self, encoder: Network, batch: Batch) -> tuple[Tensor, Tensor, Tensor, np.random.Generator]:
        """Places of the rows and of their partners, the weights of the pairs, and a generator of the step's."""
        rng = generator(self.problem.seed, f"pairs, step {batch.step}")
        partners, weights = self.graph.partners(batch.rows, rng)
        # A row that is held out leaves no trace: the pair is one of a row with itself.
        out = np.isin(partners, self.problem.held)
        partners, weights = np.where(out, batch.rows, partners), np.where(out, np.float32(0), self._gain * weights)
        other = torch.from_numpy(self.graph.X[partners]).to(batch.X.device)
        Y = encoder(torch.cat([batch.X, other]))
        m = len(batch.rows)
        return Y[:m], Y[m:], torch.from_numpy(weights).to(batch.X.device), rng


def similarity(square: Tensor, dof: float) -> Tensor:
    """The kernel ``(1 + r^2 / dof)^-dof`` of squared distances."""
    base = 1 / (1 + square / dof)
    return base if dof == 1 else base**dof


def shown_as(loss: Tensor, value: float) -> Tensor:
    """A tensor with the gradient of `loss` and the value `value`."""
    return loss - loss.detach() + value
