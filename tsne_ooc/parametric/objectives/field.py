"""Field tuning: the gradient of the map itself goes back through the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tsne_ooc._options import keep, whole
from tsne_ooc._parallel import ranges
from tsne_ooc._typing import Arrays, Float32, Int64, Network, Tensor
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.repulsion import repulsion_for
from tsne_ooc.parametric.objectives.base import Loss, graph_of, shown_as
from tsne_ooc.parametric.objectives.places import Places
from tsne_ooc.parametric.problem import Batch, Problem
from tsne_ooc.parametric.tiles import encode
from tsne_ooc.schedule import check_exaggeration

ROWS = 256
# One plan for so many affinities lies between two looks at the divergence, which only people read: MNIST's eight
# millions take 78 ms, and the rest of a plan 17.
ENTRIES = 500_000
# A map this many times as wide as it was, or as its teacher's, has burst: MNIST's grew by half. That of 1,797 digits,
# at rates too high for so few rows, grew twelve times, and the grid of the field by the square of that.
MOST_GROWTH = 3.0
# The width of a map, in standard deviations of its wider axis.
WIDTHS = 4.0


@dataclass(frozen=True)
class FieldTuning:
    """The gradient of t-SNE's divergence over all rows, sent through the network.

    A table holds the latest place of each row. The attraction of all neighbours in the table and the repulsion of the
    table's field on the rows of a batch are those of a fit. This gradient, with respect to places, goes back through
    the network to the weights. Negative samples are not drawn, and the normalisation is not estimated.

    Parameters
    ----------
    every : int, default 16
        Steps between two plans of the field.
    exaggeration : float or None
        Factor on the attraction; None is that of the end of the teacher's fit.
    """

    needs: ClassVar[str] = "graph"

    every: int = 16
    exaggeration: float | None = None

    def __post_init__(self) -> None:
        keep(self, every=whole("every", self.every, least=1))
        if self.exaggeration is not None:
            keep(self, exaggeration=check_exaggeration(self.exaggeration))

    def of(self, problem: Problem) -> FieldLoss:
        return FieldLoss(self, problem)


class FieldLoss(Loss):
    """The loss of `FieldTuning`. The table of places is in the order of P."""

    def __init__(self, options: FieldTuning, problem: Problem) -> None:
        self.graph = graph_of(problem)
        self.dof, self.threads, self.n = problem.dof, problem.threads, problem.n
        self.every, self.held = options.every, problem.held
        self.exaggeration = problem.exaggeration if options.exaggeration is None else options.exaggeration
        self.places = Places(self.n, self.dof, self.threads)
        self.width, self.limit = problem.width, math.inf

    def begin(self, encoder: Network) -> None:
        places = encode(encoder, self.graph.X, None, self.threads)
        lost = np.flatnonzero(~np.isfinite(places).all(axis=1))
        if len(lost):
            raise FloatingPointError(
                f"the network puts {len(lost)} rows at places that are not finite, the first of them row {lost[0]}; "
                "look at these rows, or use a smaller learning_rate"
            )
        self.limit = MOST_GROWTH * max(WIDTHS * self.width, float(np.ptp(places, axis=0).max()))
        self.put(places[self.graph.rows])

    @property
    def burst(self) -> bool:
        return self.places.extent > self.limit

    def judge(self, encoder: Network) -> float:
        """What is minimised, for the map of all rows: the divergence with its attraction exaggerated."""
        Y = np.ascontiguousarray(encode(encoder, self.graph.X, None, self.threads)[self.graph.rows])
        if not np.isfinite(Y).all():
            return math.inf
        Z = repulsion_for(self.n, Y.shape[1], self.dof, self.threads)(Y, np.empty_like(Y))
        if not Z > 0:
            return math.inf
        divergence = self._attraction.divergence(Y, Z)
        return divergence + (self.exaggeration - 1) * (divergence - self.graph.entropy - math.log(Z))

    def put(self, places: Float32) -> None:
        """Take this table of places, in the order of P."""
        self.places.put(places)
        self._attraction = Attraction(self.graph.P, places.shape[1], self.dof, self.threads)
        self._look()

    def _look(self) -> None:
        self.divergence = self._attraction.divergence(self.places.planned, self.places.Z)

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        if batch.step % self.every == 0:
            if len(self.held):
                # No batch renews their places, and rows that stay where they were hold back all their neighbours.
                found = encode(encoder, self.graph.X[self.held], None, self.threads)
                self.places.latest[self.graph.places[self.held]] = found
            self.places.plan()
            if batch.step % (self.every * max(1, len(self.graph.P.indices) // ENTRIES)) == 0:
                self._look()
        Y = encoder(batch.X)
        there = Y.detach().cpu().numpy()
        if not np.isfinite(there).all():
            # The training loop sees that the loss is not finite; the table stays as it was.
            return Y.sum()
        at = self.graph.places[batch.rows]
        # The place of a row that augmentation moved is not the place of the table's row.
        self.places.latest[at[batch.moved :]] = there[batch.moved :]
        gradient = torch.from_numpy(self.gradient(at, there)).to(Y.device)
        # The loss is a mean over rows, so the gradient is taken n times: the divergence's own has a factor of 1 / n.
        return shown_as(self.n / len(at) * (Y * gradient).sum(), self.divergence)

    def gradient(self, at: Int64, Y: Float32) -> Float32:
        """The gradient of the divergence with respect to the places Y of the table's rows `at`, shape (m, d)."""
        from tsne_ooc._kernels.attraction_rows import FORCES_OF

        P, Y, latest = self.graph.P, np.ascontiguousarray(Y), self.places.latest
        pulls, per_dof = np.empty_like(Y), np.float32(1 / self.dof)
        kernel = FORCES_OF[Y.shape[1]]
        self.threads.map(
            lambda a, b: kernel(P.indptr, P.indices, P.values, latest, per_dof, at[a:b], Y[a:b], pulls[a:b]),
            ranges(len(at), ROWS),
        )
        slope = self.places.slope(at, Y)
        return np.asarray(4 * self.exaggeration * pulls + (2 / self.places.Z) * slope, np.float32)

    def state(self) -> Arrays:
        return {**self.places.state(), "numbers": np.array([self.divergence, self.limit])}

    def restore(self, arrays: Arrays) -> None:
        self.places.restore(arrays)
        self._attraction = Attraction(self.graph.P, self.places.latest.shape[1], self.dof, self.threads)
        self.divergence, self.limit = arrays["numbers"].tolist()
