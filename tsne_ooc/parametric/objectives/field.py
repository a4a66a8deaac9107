"""Field tuning: the gradient of the map itself, sent through the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from tsne_ooc._options import number, whole
from tsne_ooc._parallel import ranges
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.gradients.grid import Shape
from tsne_ooc.gradients.repulsion import EXACT_BELOW, ExactRepulsion, repulsion_for
from tsne_ooc.parametric.objectives.base import Arrays, Loss, graph_of, shown_as
from tsne_ooc.parametric.problem import Batch, Problem
from tsne_ooc.parametric.tiles import encode

Float32 = NDArray[np.float32]

# Map units around the table in which the field can be read before it is planned anew.
MARGIN = 10.0
ROWS = 256
# Affinities for each plan between two looks at the divergence, which only people look at: MNIST's eight millions take
# 78 ms, the rest of a plan 17.
ENTRIES = 500_000
# A map this many times as wide as it was, or as its teacher's, has burst: MNIST's grew by half; that of 1,797 digits,
# at rates too high for so few rows, twelve times, and the grid of the field by the square of it.
MOST_GROWTH = 3.0
# What a map is wide, in standard deviations of its wider axis.
WIDTHS = 4.0


@dataclass(frozen=True)
class FieldTuning:
    """The gradient of t-SNE's divergence, of all rows, through the network.

    A table holds the place that each row was last given. For the rows of a batch the attraction of all their
    neighbours in the table and the repulsion of the table's field are what they are in a fit; this gradient, with
    respect to places, goes back through the network to the weights. No negative samples are drawn and no
    normalisation is guessed.

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
        whole("every", self.every, least=1)
        if self.exaggeration is not None:
            number("exaggeration", self.exaggeration, above=0)

    def of(self, problem: Problem) -> FieldLoss:
        return FieldLoss(self, problem)


class FieldLoss(Loss):
    """See `FieldTuning`. The table is in the order of P."""

    table: Float32

    def __init__(self, options: FieldTuning, problem: Problem) -> None:
        self.graph = graph_of(problem)
        self.dof, self.threads, self.n = problem.dof, problem.threads, problem.n
        self.every, self.held = options.every, problem.held
        self.exaggeration = problem.exaggeration if options.exaggeration is None else options.exaggeration
        self._planner = FieldPlanner(self.dof, self.threads, margin=MARGIN)
        self._exact = self.n < EXACT_BELOW
        self.width, self.limit = problem.width, math.inf

    def begin(self, encoder: Any) -> None:
        table = encode(encoder, self.graph.X, None, self.threads)
        lost = np.flatnonzero(~np.isfinite(table).all(axis=1))
        if len(lost):
            raise FloatingPointError(
                f"the network puts {len(lost)} rows at places that are not finite, the first of them row {lost[0]}; "
                "look at these rows, or use a smaller learning_rate"
            )
        self.limit = MOST_GROWTH * max(WIDTHS * self.width, float(np.ptp(table, axis=0).max()))
        self.put(table[self.graph.rows])

    def judge(self, encoder: Any) -> float:
        """What is minimised, of the map of all rows: the divergence, its attraction exaggerated."""
        Y = np.ascontiguousarray(encode(encoder, self.graph.X, None, self.threads)[self.graph.rows])
        if not np.isfinite(Y).all():
            return math.inf
        Z = repulsion_for(self.n, self.dof, self.threads)(Y, np.empty_like(Y))
        if not Z > 0:
            return math.inf
        divergence = self._attraction.divergence(Y, Z)
        return divergence + (self.exaggeration - 1) * (divergence - self.graph.entropy - math.log(Z))

    def put(self, table: Float32) -> None:
        """Take this table, in the order of P, and plan its field."""
        self.table = np.ascontiguousarray(table)
        self._attraction = Attraction(self.graph.P, self.table.shape[1], self.dof, self.threads)
        self._plan()
        self.divergence = self._attraction.divergence(self.planned, self.Z)

    def _plan(self, at: NDArray[np.int64] | slice = slice(0), places: Float32 | None = None) -> None:
        """Plan the field of the table, with the rows `at` where they have to be reached: at these places."""
        self.planned = self.table.copy()
        if places is not None:
            self.planned[at] = places
        self.burst = float(np.ptp(self.planned, axis=0).max()) > self.limit
        self._slope = np.empty_like(self.planned)
        if self._exact:
            self.Z = ExactRepulsion(self.dof, self.threads)(self.planned, self._slope)
        else:
            self._field = self._planner.plan(self.planned)
            self.Z = self._field.at_sources(self.planned, self._slope, self.threads)

    def loss(self, encoder: Any, batch: Batch) -> Any:
        if batch.step % self.every == 0:
            if len(self.held):
                # No batch renews them, and rows that stay where they were hold back all their neighbours.
                found = encode(encoder, self.graph.X[self.held], None, self.threads)
                self.table[self.graph.places[self.held]] = found
            self._plan()
            if batch.step % (self.every * max(1, len(self.graph.P.indices) // ENTRIES)) == 0:
                self.divergence = self._attraction.divergence(self.planned, self.Z)
        Y = encoder(batch.X)
        places = Y.detach().cpu().numpy()
        if not np.isfinite(places).all():
            # Whoever trains sees that the loss is not finite; the table stays as it was.
            return Y.sum()
        at = self.graph.places[batch.rows]
        # Where a row that was moved would lie is no place of a row.
        self.table[at[batch.moved :]] = places[batch.moved :]
        gradient = torch.from_numpy(self.gradient(at, places)).to(Y.device)
        # Of the mean over rows: the divergence's own gradient is 1 / n of a row's.
        return shown_as(self.n / len(at) * (Y * gradient).sum(), self.divergence)

    def gradient(self, at: NDArray[np.int64], Y: Float32) -> Float32:
        """The gradient of the divergence with respect to the places Y of the table's rows `at`, shape (m, d)."""
        from tsne_ooc._kernels.attraction_rows import FORCES_OF

        P, Y = self.graph.P, np.ascontiguousarray(Y)
        pulls, per_dof = np.empty_like(Y), np.float32(1 / self.dof)
        kernel = FORCES_OF[Y.shape[1]]
        self.threads.map(
            lambda a, b: kernel(P.indptr, P.indices, P.values, self.table, per_dof, at[a:b], Y[a:b], pulls[a:b]),
            ranges(len(at), ROWS),
        )
        slope = self._slope_at(Y, at)
        return np.asarray(4 * self.exaggeration * pulls + (2 / self.Z) * slope, np.float32)

    def _slope_at(self, Y: Float32, at: NDArray[np.int64]) -> Float32:
        """The gradient of the field of all other rows."""
        if self._exact:
            from tsne_ooc._kernels.pairs import PAIRS

            slope = np.empty_like(Y)
            PAIRS[Y.shape[1]](Y, self.planned, float(self.dof), False, 0, len(Y), np.empty(len(Y)), slope)
        else:
            outside = ((self._field.low > Y) | (self._field.high < Y)).any(axis=1)
            if outside.any():
                self._plan(at[outside], Y[outside])
            _, slope = self._field.at(Y, self.threads)
        # A row that has moved since the field was planned would be pushed by its own former self.
        moved = Y - self.planned[at]
        base = 1 + np.square(moved).sum(axis=1, keepdims=True) / self.dof
        return np.asarray(slope + 2 * moved * base ** np.float32(-self.dof - 1), np.float32)

    def state(self) -> Arrays:
        numbers = np.array([self.divergence, self.limit])
        found = {"table": self.table.copy(), "planned": self.planned.copy(), "numbers": numbers}
        if (shape := self._planner.shape) is not None:
            found["grid"] = np.array([shape.spacing, *shape.lengths])
        return found

    def restore(self, arrays: Arrays) -> None:
        divergence, self.limit = arrays["numbers"].tolist()
        if "grid" in arrays:
            spacing, *lengths = arrays["grid"].tolist()
            self._planner.go_on(Shape(spacing, tuple(int(length) for length in lengths)))
        self.put(np.array(arrays["planned"]))
        self.table, self.divergence = np.array(arrays["table"]), divergence
