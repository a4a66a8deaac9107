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

    Most need only `loss`; one that remembers more than the weights returns that in `state`.

    Attributes
    ----------
    exaggeration : float
        Factor on the attraction in what is minimised; held-out rows judge the weights with it, too.
    """

    exaggeration: float = 1.0

    @property
    def burst(self) -> bool:
        """Whether the map has grown so large that going on makes no sense."""
        return False

    def begin(self, encoder: Network) -> None:
        """Prepare for the training; this is called once, when the stage begins."""

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        """A scalar tensor whose gradient the weights follow down."""
        raise NotImplementedError

    def judge(self, encoder: Network) -> float | None:
        """How bad the encoder is on all rows, where none are held out; None where the objective cannot say."""
        return None

    def state(self) -> Arrays:
        """What a resumed training needs to go on in the same way."""
        return {}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a `state`, instead of `begin`."""


@runtime_checkable
class Objective(Protocol):
    """Options of an objective: a frozen dataclass.

    Attributes
    ----------
    needs : str
        "targets" or "graph": the part of the problem that it looks at.
    """

    needs: ClassVar[str]

    def of(self, problem: Problem) -> Loss:
        """The loss for a problem."""


class Stage(NamedTuple):
    """Some of the steps for one objective.

    Parameters
    ----------
    objective : Objective
    share : float
        Share of all steps, relative to the shares of the other stages.
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
    """Pairs each row of a batch with a partner, drawn as P says among the rows that are learnt from.

    Attributes
    ----------
    n : int
        Number of rows that are learnt from.
    entropy : float
        Sum of p log p over their pairs.
    """

    def __init__(self, problem: Problem) -> None:
        self.graph, self.problem, self.n = graph_of(problem), problem, problem.learnt
        share, self.entropy = self.graph.without(problem.held)
        # Pairs with rows that are held out do not count. The gain makes the others weigh 1 on average: without it, a
        # tenth held out made the attraction a tenth weaker against a repulsion that does not know these rows.
        self._gain = np.float32(self.n / (problem.n * share) if share > 0 else 0.0)

    def __call__(self, encoder: Network, batch: Batch) -> tuple[Tensor, Tensor, Tensor, np.random.Generator]:
        """Places of the rows and of their partners, the weights of the pairs, and a generator for the step."""
        rng = generator(self.problem.seed, f"pairs, step {batch.step}")
        partners, weights = self.graph.partners(batch.rows, rng)
        # A held-out row leaves no trace: the pair becomes that of a row with itself, of weight 0.
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
