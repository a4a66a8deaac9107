"""Placing new rows on a fitted map: beside their nearest reference rows, against the map's frozen field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tsne_ooc._options import keep, number, pick, whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Float64, Int32, Int64, Matrix, UInt32
from tsne_ooc.affinity import Affinity, Perplexity, conditional
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import Field
from tsne_ooc.schedule import check_exaggeration
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.state import Saved, State

ROWS = 2048
SUMMED_ROWS = 128
LEAST_EXAGGERATION = 1.5


@stored
@dataclass(frozen=True)
class Placement:
    """How new rows are placed.

    Parameters
    ----------
    perplexity : float, default 5
        Perplexity of the new row's neighbours among the reference rows, > 0.
    k : int or None
        How many neighbours; None is three times the perplexity.
    exaggeration : float, sequence of float or None
        Factor on the attraction; several are applied one after the other. None is that of the fit's end, but at least
        1.5: a new row meets the field of all rows alone, and at 1 rows between two groups are pushed off the map (of
        45,000 digits 60 ended more than 5 units from any fitted row, 19 at 1.5; label accuracy .947, .948).
    initialization : {"median", "mean"}, default "median"
        Where a row starts: the median of its neighbours' places, or their mean weighted by the affinities.
    affinity : Affinity or None
        Used instead of the Gaussian one of `perplexity`.
    tolerance : float, default 1e-3
        A row has arrived when the gradient of its energy, per map unit, is no longer than this.
    max_iter : int, default 100
        Most steps of a row at each exaggeration.
    """

    perplexity: float = 5.0
    k: int | None = None
    exaggeration: float | Sequence[float] | None = None
    initialization: str = "median"
    affinity: Affinity | None = None
    tolerance: float = 1e-3
    max_iter: int = 100

    def __post_init__(self) -> None:
        keep(
            self,
            perplexity=number("placement perplexity", self.perplexity, above=0),
            k=None if self.k is None else whole("placement k", self.k, least=1),
            tolerance=number("placement tolerance", self.tolerance, above=0),
            max_iter=whole("placement max_iter", self.max_iter, least=0),
        )
        if self.exaggeration is not None:
            values = tuple(check_exaggeration(value, "placement exaggeration") for value in self.exaggerations(1.0))
            if not values:
                raise ValueError("placement exaggeration=() names none; leave it out, or give at least one number")
            keep(self, exaggeration=values if isinstance(self.exaggeration, Sequence) else values[0])
        pick("placement initialization", self.initialization, {"median": 0, "mean": 0})
        if self.affinity is not None and not (hasattr(self.affinity, "k") and hasattr(self.affinity, "conditional")):
            raise TypeError(f"placement affinity={self.affinity!r} is not an object such as tsne_ooc.Uniform()")

    def exaggerations(self, fitted: float) -> list[float]:
        """The exaggerations that a row goes through on a map whose fit ended at `fitted`."""
        if self.exaggeration is None:
            return [max(LEAST_EXAGGERATION, fitted)]
        if isinstance(self.exaggeration, Sequence) and not isinstance(self.exaggeration, str | bytes):
            return list(self.exaggeration)
        return [self.exaggeration]  # type: ignore[list-item]

    def neighbors(self, n: int) -> int:
        """How many of `n` reference rows are asked for."""
        if self.k is not None:
            return min(n, self.k)
        if self.affinity is not None:
            return self.affinity.k(n + 1)
        return max(1, min(n, math.ceil(min(n, 3 * self.perplexity))))


class Placed(NamedTuple):
    """Rows that were placed.

    Parameters
    ----------
    embedding : ndarray of float32, shape (m, d)
    iterations : ndarray of int32, shape (m,)
        Steps that each row tried; 0 for a row that takes a reference row's seat.
    novelty : ndarray of float32, shape (m,), or None
        How far each row is from the reference, see `tsne_ooc.novelty`; None where the model does not measure it.
    """

    embedding: Float32
    iterations: Int32
    novelty: Float32 | None = None

    def state(self) -> State:
        """JSON and arrays for `restore`."""
        return {}, {name: array for name, array in self._asdict().items() if array is not None}

    @classmethod
    def restore(cls, saved: Saved, shape: tuple[int, int]) -> Placed:
        """The rows of a `state`, placed on a map of this shape.

        Raises
        ------
        StateError
            For a state that is not valid.
        """
        return cls(
            saved.array("embedding", np.float32, shape),
            saved.array("iterations", np.int32, shape[:1]),
            saved.array("novelty", np.float32, shape[:1]) if "novelty" in saved.own_arrays() else None,
        )

    @classmethod
    def joined(cls, pieces: Sequence[Placed]) -> Placed:
        """Pieces of one model's rows, one after the other."""
        novelty = [piece.novelty for piece in pieces if piece.novelty is not None]
        return cls(
            np.concatenate([piece.embedding for piece in pieces]),
            np.concatenate([piece.iterations for piece in pieces]),
            np.concatenate(novelty) if novelty else None,
        )


def place_rows(
    model: Model, rows: Matrix, placement: Placement, threads: Threads, start: Float32 | None = None
) -> Placed:
    """Place each row of `rows`, clean float32 of shape (m, p), where its own energy is least.

    The energy of a place y is ``-rho sum_j p_j log w(y, y_j) + log S(y)``, with p the affinities to the nearest
    reference rows and S the reference's frozen field. Rows do not interact, so each ends at the same place to the bit,
    whatever rows come with it. A row that is equal to a reference row, or at distance zero from one, takes the seat of
    that row, of the first where there are several.
    """
    rows = as_reference(model, rows)
    indices, distances = nearest_rows(model, rows, placement)
    novelty = None if model.reference is None else model.reference.score(indices, distances)
    k = placement.neighbors(model.n)
    if k < indices.shape[1]:
        indices, distances = np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(distances[:, :k])
    equal = None if model.seats is None else model.seats.find(rows, threads)
    return place_beside(model, indices, distances, placement, threads, equal, start)._replace(novelty=novelty)


def nearest_rows(model: Model, rows: Matrix, placement: Placement) -> tuple[UInt32, Float32]:
    """The reference rows nearest to each row: as many as placing and novelty ask for, whichever are more."""
    k = placement.neighbors(model.n)
    return ask(model, rows, k if model.reference is None else max(k, model.reference.k))


def ask(model: Model, rows: Matrix, k: int) -> tuple[UInt32, Float32]:
    """The `k` reference rows nearest to each row, and their distances."""
    return tuple(model.index.query(as_reference(model, rows), k))


def as_reference(model: Model, rows: Matrix) -> Matrix:
    """Rows stored as those of the reference are, dense or sparse.

    The same counts may be sparse on one day and dense on another; the search compares like with like. Precomputed
    distances are left as they are: one that a graph does not store is not 0.
    """
    if model.index.metric == "precomputed" or hasattr(rows, "tocsr") == model.index.sparse:
        return rows
    from scipy.sparse import csr_array

    return csr_array(rows) if isinstance(rows, np.ndarray) else rows.toarray()


def place_beside(
    model: Model,
    indices: UInt32,
    distances: Float32,
    placement: Placement,
    threads: Threads,
    equal: Int64 | None = None,
    start: Float32 | None = None,
) -> Placed:
    """Do as `place_rows` does, given the neighbours: indices and ascending distances, shape (m, k).

    `equal` names the reference row that each row is equal to, -1 where there is none; `start` is where rows begin,
    instead of what the placement says.
    """
    m, d = len(indices), model.embedding.shape[1]
    out = np.empty((m, d), np.float32)
    iterations = np.zeros(m, np.int32)
    seats = seats_of(indices, distances, equal)
    away = seats < 0
    out[~away] = model.embedding[seats[~away]]
    # Rows that take a seat are done, and only the others go on. None of these depends on which others there are.
    near, far = (indices, distances) if away.all() else (indices[away], distances[away])
    if not len(near):
        return Placed(out, iterations)
    out[away], iterations[away] = descend(
        model, near, affinities(model, far, placement, threads), placement, threads,
        start=None if start is None else start[away],
    )  # fmt: skip
    return Placed(out, iterations)


def seats_of(indices: UInt32, distances: Float32, equal: Int64 | None) -> Int64:
    """The reference row whose seat each row takes, -1 where it takes none."""
    seats = np.where(distances[:, 0] == 0, indices[:, 0].astype(np.int64), -1)
    return seats if equal is None else np.where(equal >= 0, equal, seats)


def affinities(model: Model, distances: Float32, placement: Placement, threads: Threads) -> Float32:
    """How strongly rows belong to their neighbours at these distances, shape (m, k)."""
    affinity = placement.affinity or Perplexity(placement.perplexity)
    p = conditional(affinity, distances, getattr(model.index, "unit", 1.0), threads)
    return np.broadcast_to(np.float32(1 / distances.shape[1]), distances.shape) if p is None else p


def descend(
    model: Model,
    near: UInt32,
    p: Float32,
    placement: Placement,
    threads: Threads,
    *,
    start: Float32 | None = None,
    own: Int64 | None = None,
) -> tuple[Float32, Int32]:
    """Where rows end and the steps that each tried, from their neighbours and affinities; none takes a seat.

    `own` names the reference row that the field of each row is without, -1 where it is the whole field.
    """
    from tsne_ooc._kernels import placement as kernels

    Y, field = model.embedding, model.field
    places = np.empty((len(near), Y.shape[1]), np.float32)
    steps = np.zeros(len(near), np.int32)
    factors = np.array(placement.exaggerations(model.exaggeration), np.float64)
    nodes, kernel = field.nodes, kernels.PLACE[Y.shape[1], field.summed, own is not None]
    apart = np.empty(0, np.int64) if own is None else own

    if start is not None:
        # Kernels check no bounds, and rows may go no farther than the field reaches.
        np.clip(start, field.low, field.high, out=places)

    def run(first: int, last: int) -> None:
        if start is None and placement.initialization == "median":
            kernels.median_start(Y, near, first, last, places)
        elif start is None:
            kernels.mean_start(Y, near, p, first, last, places)
        kernel(
            Y, near, p, factors, float(model.dof), *nodes, field.low, field.high, placement.tolerance,
            placement.max_iter, apart, first, last, places, steps,
        )  # fmt: skip

    threads.map(run, ranges(len(near), ROWS))
    return places, steps


def hessians(
    model: Model,
    near: UInt32,
    p: Float32,
    placement: Placement,
    threads: Threads,
    places: Float32,
    own: Int64,
    field: Field | Crowd,
) -> Float64:
    """The Hessian of each row's energy at its place, shape (m, d, d), at the last exaggeration.

    `own` is as above, and `field` that of the map's rows: in their `Crowd` it is exact.
    """
    from tsne_ooc._kernels import placement as kernels

    Y = model.embedding
    d = Y.shape[1]
    last = float(placement.exaggerations(model.exaggeration)[-1])
    six = np.empty((len(near), 6))
    nodes, kernel = field.nodes, kernels.HESSIAN[d, field.summed]
    # The field is read within its bounds.
    inside = np.clip(places, field.low, field.high)

    def run(first: int, stop: int) -> None:
        kernel(Y, near, p, last, float(model.dof), *nodes, own, inside, first, stop, six)

    threads.map(run, ranges(len(near), SUMMED_ROWS if field.summed else ROWS))
    found: Float64 = six[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]][:, :d, :d]
    return found
