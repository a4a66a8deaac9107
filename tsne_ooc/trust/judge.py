"""Rows looked at as if they had been left out: what is near them, how firmly they are held, how far they move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from tsne_ooc._options import number, whole
from tsne_ooc._parallel import Threads, fewer, ranges
from tsne_ooc._typing import Array, Float32, Float64, Int64, Matrix, UInt32
from tsne_ooc._validate import counted_from
from tsne_ooc.estimator.fitted import PlacingEstimator
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import Field
from tsne_ooc.io.lacking import for_kept
from tsne_ooc.placement import ROWS, Placement, affinities, as_reference, ask, descend, hessians, seats_of
from tsne_ooc.trust.moves import Moves

# Rows looked at together: their neighbours take some 12 MB.
BLOCK = 16_384
# So many times as many neighbours as place a row, or all that hold it, are looked at for those that place it after a
# move.
SEEN = 3
#: The columns of the scores.
NAMES = ("recall", "novelty", "singularity", "perturbation")


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores rows of a map, prepared and checked ones.

    Parameters
    ----------
    model : Model
    threads : Threads
    placement, mover : Placement
        Whose energy holds a row at its place, and whose decides where it goes when it is moved.
    k : int
        Neighbours that the recall is about.
    moves : Moves or None
        How rows are moved; None where they cannot be.
    drops : bool
        Whether rows may lack values, and then have no scores.
    """

    model: Model
    threads: Threads
    placement: Placement
    mover: Placement
    k: int
    moves: Moves | None
    drops: bool = False

    @classmethod
    def of(
        cls,
        estimator: PlacingEstimator,
        k: int = 10,
        *,
        length: float | None = None,
        directions: int = 3,
        placement: Placement | None = None,
    ) -> Judge:
        """That of a fitted map; the options are those of `tsne_ooc.trust.scores`.

        Raises
        ------
        ValueError, TypeError
            For unusable ones.
        """
        if placement is not None and not isinstance(placement, Placement):
            raise TypeError(f"placement={placement!r} is not a tsne_ooc.Placement")
        model, threads = estimator.map_.model, estimator.map_.threads
        k = whole("k", k, least=1)
        if k > model.n - 1:
            raise ValueError(f"k={k} is more than the {model.n - 1} others of the {model.n} fitted rows")
        directions = whole("directions", directions, least=1)
        length = None if length is None else number("length", length, above=0)
        moves = Moves.of(model, length, directions, estimator.n_jobs)
        held, mover = (placement, placement) if placement else (_of_the_fit(estimator), _of_moves(estimator))
        return cls(model, threads, held, mover, k, moves, estimator.features_.drops)

    @cached_property
    def tree(self) -> Any:
        """Finds the nearest fitted rows on the map."""
        from scipy.spatial import cKDTree

        return cKDTree(self.model.embedding.astype(np.float64))

    @property
    def field(self) -> Field | Crowd:
        """Where Hessians are taken of; see `Model.curved_field`."""
        return self.model.curved_field

    def of_rows(self, rows: Matrix, places: Float32 | None = None) -> dict[str, Float32]:
        """The scores of rows, by name: NaN where a row was dropped. `places` is where they lie."""
        if not self.drops:
            return self._scores(rows, places)

        def found(rows: Array, places: Any) -> list[Array | None]:
            return list(self._scores(rows, places).values())

        return dict(zip(NAMES, for_kept(rows, found, places), strict=True))

    def _scores(self, rows: Matrix, places: Float32 | None) -> dict[str, Float32]:
        out = {name: np.empty(rows.shape[0], np.float32) for name in NAMES}
        for a in range(0, rows.shape[0], BLOCK):
            with counted_from(a):
                some = as_reference(self.model, rows[a : a + BLOCK])
                found = self._block(some, None if places is None else places[a : a + BLOCK])
            for name, column in out.items():
                column[a : a + BLOCK] = found[name]
        return out

    def _block(self, rows: Matrix, known: Float32 | None) -> dict[str, Array]:
        model, reference = self.model, self.model.reference
        k = max(self.k, self._neighbors(self.placement), self._seen, 0 if reference is None else reference.k - 1)
        indices, distances = ask(model, rows, min(model.n, k + 1))
        equal = None if model.seats is None else model.seats.find(rows, self.threads)
        own = seats_of(indices, distances, equal)
        near, far = self._others(indices, distances, own)
        novelty = np.full(rows.shape[0], np.nan, np.float32)
        if reference is not None:
            novelty = np.where(own >= 0, reference.novelty[own], reference.score(indices, distances))
        held, p = self._weighed(self.placement, near, far)
        places = self._settled(held, p, own, known)
        seats = known
        if seats is None:
            seats = np.where((own >= 0)[:, None], model.embedding[own], places)
        return {
            "recall": self._kept(near[:, : self.k], seats, own),
            "novelty": novelty,
            "singularity": self._singularity(held, p, own, places),
            "perturbation": self._moved(rows, near, far, own, places),
        }

    def _neighbors(self, placement: Placement) -> int:
        """Neighbours that place a row: no more than there are others."""
        return min(placement.neighbors(self.model.n), self.model.n - 1)

    @property
    def _seen(self) -> int:
        """Neighbours among which a row that is moved finds those that then place it."""
        if self.moves is None or not self.moves.measured:
            return 0
        return min(max(SEEN * self._neighbors(self.mover), self._neighbors(self.placement)), self.model.n - 1)

    def _others(self, indices: UInt32, values: Array, own: Int64) -> tuple[UInt32, Float32]:
        """Neighbours but for the row itself, or but for the last where that is not among them."""
        from tsne_ooc._kernels import trust as kernels

        shape = len(indices), indices.shape[1] - 1
        near, kept = np.empty(shape, np.uint32), np.empty(shape, np.float32)
        self.threads.map(partial(kernels.others, indices, values, own, near, kept), ranges(shape[0], ROWS))
        return near, kept

    def _weighed(self, placement: Placement, near: UInt32, far: Float32) -> tuple[UInt32, Float32]:
        """The neighbours that place a row, and how strongly it belongs to each."""
        k = self._neighbors(placement)
        p = affinities(self.model, np.ascontiguousarray(far[:, :k]), placement, self.threads)
        return np.ascontiguousarray(near[:, :k]), p

    def _settled(self, near: UInt32, p: Float32, own: Int64, known: Float32 | None) -> Float32:
        """Where rows lie without themselves: in the hollow of their place or seat, or where they are placed."""
        places = np.empty((len(near), self.model.embedding.shape[1]), np.float32)
        for some, start in self._starts(own, known):
            # Most blocks are of one kind, and need no copies.
            held, weights, names = (near, p, own) if len(some) == len(own) else (near[some], p[some], own[some])
            places[some] = descend(self.model, held, weights, self.placement, self.threads, start=start, own=names)[0]
        return places

    def _starts(self, own: Int64, known: Float32 | None) -> Iterator[tuple[Int64, Float32 | None]]:
        """Rows of one kind, and where they begin; None in the middle of their neighbours."""
        if known is not None:
            yield np.arange(len(own)), known
            return
        fitted, new = np.flatnonzero(own >= 0), np.flatnonzero(own < 0)
        if len(fitted):
            yield fitted, self.model.embedding[own[fitted]]
        if len(new):
            yield new, None

    def _singularity(self, near: UInt32, p: Float32, own: Int64, places: Float32) -> Float64:
        curved = hessians(self.model, near, p, self.placement, self.threads, places, own, self.field)
        smallest = _smallest(curved)
        # Beyond the field's reach, and where steps have run out, a place need not be the bottom of a hollow.
        return np.where(smallest > 0, 1 / np.where(smallest > 0, smallest, 1), np.inf)

    def _moved(self, rows: Matrix, near: UInt32, far: Float32, own: Int64, places: Float32) -> Float64:
        """How far the farthest of the places lies that a row has when it is moved."""
        farthest = np.full(rows.shape[0], np.nan)
        if self.moves is None:
            return farthest
        farthest[:] = 0
        for around, distances in self._around(rows, near, far, own):
            held, p = self._weighed(self.mover, around, distances)
            put = descend(self.model, held, p, self.mover, self.threads, own=own)[0]
            farthest = np.maximum(farthest, np.linalg.norm(put.astype(np.float64) - places, axis=1))
        return farthest

    def _around(self, rows: Matrix, near: UInt32, far: Float32, own: Int64) -> Iterator[tuple[UInt32, Float32]]:
        """Neighbours of rows after each move, and their distances, of which the fitted row itself is not one."""
        assert self.moves is not None
        model, k = self.model, self._neighbors(self.mover)
        if self.moves.measured:
            yield from self.moves.around(rows, near, far, self._seen, k, model.index.unit, self.threads)
            return
        for vector in self.moves.vectors:
            moved = np.asarray(rows + vector, np.float32)
            yield self._others(*ask(model, moved, k + 1), own)

    def _kept(self, near: UInt32, seats: Float32, own: Int64) -> Float64:
        """Which share of the neighbours `near` in the data is as near on the map."""
        from tsne_ooc._kernels import trust as kernels

        depth = list(range(1, self.k + 2))
        points = seats.astype(np.float64)
        found = fewer(lambda workers: self.tree.query(points, k=depth, workers=workers)[1], self.threads.n)
        hits = np.empty(len(near), np.int64)
        kernels.shared(np.ascontiguousarray(near), found, own, hits)
        return hits / self.k


def _smallest(matrices: Float64) -> Float64:
    """The smallest eigenvalue of each symmetric matrix, of one row to three."""
    if matrices.shape[1] == 3:
        return np.asarray(np.linalg.eigvalsh(matrices)[:, 0], np.float64)
    first, last, beside = matrices[:, 0, 0], matrices[:, -1, -1], matrices[:, 0, -1]
    if matrices.shape[1] == 1:
        return first
    return (first + last) / 2 - np.hypot((first - last) / 2, beside)


def _of_the_fit(estimator: PlacingEstimator) -> Placement:
    """That of the fit: among digits its AUC of singularity for rows in the wrong island is .83, of placing .57.

    Of a map whose folder does not say how its affinities were made it is that of the model.
    """
    fitted = estimator.map_
    if fitted.n_neighbors and hasattr(fitted.affinity, "conditional"):
        # New rows begin nearer to where they end than at the median, which takes as long as two steps to find.
        return Placement(
            k=fitted.n_neighbors,
            affinity=fitted.affinity,
            exaggeration=fitted.model.exaggeration,
            initialization="mean",
        )
    return estimator.placement or Placement()


def _of_moves(estimator: PlacingEstimator) -> Placement:
    """That by which rows are placed, from the mean of their neighbours, which a move shifts more than the median.

    From there the area under the curve for digits in a wrong island is .86, from the median .83; with the energy of the
    fit, whose neighbours are six times as many, it is .85 and .79 (6,000 digits of MNIST).
    """
    placement = estimator.placement or Placement()
    # A hundredth of a map unit is nothing beside the distances that are measured.
    return replace(placement, initialization="mean", tolerance=max(placement.tolerance, 1e-2))
