"""How far to trust the place of each row: are its neighbours kept, and is the place forced or chosen?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._options import number, whole
from tsne_ooc._parallel import fewer
from tsne_ooc._typing import Array, Float32, Float64, Int64, Matrix, TableLike, UInt32
from tsne_ooc._validate import counted_from
from tsne_ooc.estimator.fitted import PlacingEstimator
from tsne_ooc.fit.model import Model
from tsne_ooc.io.lacking import for_kept
from tsne_ooc.neighbors.base import GAPS
from tsne_ooc.placement import Placement, affinities, as_reference, ask, descend, hessians, seats_of

# Rows looked at together: their neighbours and those of one moved copy take some 10 MB.
BLOCK = 16_384
# The default length is taken from so many rows and so many neighbours of each: a median moves little with more.
LENGTH_ROWS, LENGTH_NEIGHBORS = 1000, 15
# Among digits, AUC of the perturbation for rows in the wrong island: .70 at the whole distance, .82 at half of it, and
# .73 at a quarter.
HALF = 0.5


class Scores(NamedTuple):
    """What is known of the places of rows. All are float32 of shape (m,), NaN where they cannot be known.

    Parameters
    ----------
    recall : ndarray
        Share of the k nearest fitted rows in the data that are among the k nearest on the map.
    novelty : ndarray
        As `TSNE.score_samples` gives it; of a fitted row that of `novelty_`, seen from the others.
    singularity : ndarray
        One over the smallest eigenvalue of the Hessian of the row's energy at its place: high where the place is hardly
        held, infinite where it is not.
    perturbation : ndarray
        How far the place moves, in map units, when the row is moved in the data.
    """

    recall: Float32
    novelty: Float32
    singularity: Float32
    perturbation: Float32


def scores(
    model: PlacingEstimator,
    X: TableLike,
    k: int = 10,
    *,
    length: float | None = None,
    directions: int = 3,
    placement: Placement | None = None,
) -> Scores:
    """Four scores of each row's place, with the two of Liu, Ma and Zhong (Nature Communications, 2025).

    A row that the map was fitted to is looked at as if it had been left out: neither its neighbours nor the field
    has it. Each row is scored by itself: the result is the same to the bit for any chunking and number of threads.

    Parameters
    ----------
    model : TSNE
        Fitted. A map on disk is one after `tsne_ooc.load`.
    X : as for `TSNE.transform`
    k : int
        Neighbours that the recall is about.
    length : float, optional
        How far rows are moved, in the units of the embedded columns. By default half the median, over a thousand
        fitted rows, of the mean distance to the 15 nearest others.
    directions : int
        Rows are moved to and fro along so many leading principal directions of the fitted rows, fewer where the data
        have fewer.
    placement : Placement, optional
        Whose energy is asked. By default it has the affinities and the last exaggeration of the fit, which judges the
        map; ``model.placement or Placement()`` judges what `TSNE.transform` does. Of a map whose folder does not say
        how its affinities were made it is that of the model.

    Returns
    -------
    Scores
        Without a perturbation for maps of sparse rows, of rows that may lack values, or of given distances, whose rows
        cannot be moved.

    Raises
    ------
    ValueError, TypeError
        For unusable options and data, naming row and column.
    sklearn.exceptions.NotFittedError
        Before `fit`.
    """
    if not isinstance(model, PlacingEstimator):
        raise TypeError(f"model={type(model).__name__} is not a fitted TSNE; tsne_ooc.load reads one from its folder")
    n_rows, blocks = model.blocks(X)
    placement = _of_the_fit(model) if placement is None else placement
    if not isinstance(placement, Placement):
        raise TypeError(f"placement={placement!r} is not a tsne_ooc.Placement")
    judge = _Judge.of(model, k, length, directions, placement)
    out = Scores(*(np.empty(n_rows, np.float32) for _ in Scores._fields))
    drops = model.features_.drops
    for first, last, block in blocks:
        with counted_from(first):
            found: Sequence[Any] = (
                judge.scores(block) if not drops else for_kept(block, lambda rows, _: judge.scores(rows))
            )
        for column, part in zip(out, found, strict=True):
            column[first:last] = part
    return out


def _of_the_fit(model: PlacingEstimator) -> Placement | None:
    """Those of the fit: among digits its AUC of singularity for rows in the wrong island is .83, of placing .57."""
    fitted = model.map_
    if fitted.n_neighbors and hasattr(fitted.affinity, "conditional"):
        return Placement(k=fitted.n_neighbors, affinity=fitted.affinity, exaggeration=fitted.model.exaggeration)
    return model.placement or Placement()


@dataclass(frozen=True, eq=False)
class _Judge:
    """Scores rows of a map, prepared and checked ones. `moves` holds how rows are moved, of shape (r, p)."""

    model: Model
    placement: Placement
    threads: Any
    k: int
    moves: Float32 | None
    tree: Any

    @classmethod
    def of(
        cls, estimator: PlacingEstimator, k: int, length: float | None, directions: int, placement: Placement
    ) -> _Judge:
        from scipy.spatial import cKDTree

        model, threads = estimator.map_.model, estimator.map_.threads
        k = whole("k", k, least=1)
        if k > model.n - 1:
            raise ValueError(f"k={k} is more than the {model.n - 1} others of the {model.n} fitted rows")
        directions = whole("directions", directions, least=1)
        length = None if length is None else number("length", length, above=0)
        moves = _moves(model, length, directions, estimator.n_jobs)
        return cls(model, placement, threads, k, moves, cKDTree(model.embedding.astype(np.float64)))

    def scores(self, rows: Matrix) -> Sequence[Array]:
        """The columns of `Scores`."""
        parts = [np.empty((len(Scores._fields), 0), np.float32)]
        for a in range(0, rows.shape[0], BLOCK):
            with counted_from(a):
                parts.append(self._block(as_reference(self.model, rows[a : a + BLOCK])))
        return list(np.concatenate(parts, axis=1))

    def _block(self, rows: Matrix) -> Float32:
        model, reference = self.model, self.model.reference
        k = max(self.k, self._neighbors, 0 if reference is None else reference.k - 1)
        indices, distances = ask(model, rows, min(model.n, k + 1))
        equal = None if model.seats is None else model.seats.find(rows, self.threads)
        own = seats_of(indices, distances, equal)
        fitted = own >= 0
        near, far = _others(indices, distances, own)
        novelty = np.full(rows.shape[0], np.nan, np.float32)
        if reference is not None:
            novelty = np.where(fitted, reference.novelty[own], reference.score(indices, distances))
        places, singularity = self._settled(near, far, own)
        seats = np.where(fitted[:, None], model.embedding[own], places)
        perturbation = np.full(rows.shape[0], np.nan)
        if self.moves is not None:
            farthest = np.zeros(rows.shape[0])
            for move in [*self.moves, *-self.moves]:
                moved = self._put(np.asarray(rows + move, np.float32), own)
                farthest = np.maximum(farthest, np.linalg.norm(moved.astype(np.float64) - places, axis=1))
            perturbation = farthest
        kept = self._kept(near[:, : self.k], seats, own)
        return np.stack([kept, novelty, singularity, perturbation]).astype(np.float32)

    @property
    def _neighbors(self) -> int:
        """Neighbours that place a row: no more than there are others."""
        return min(self.placement.neighbors(self.model.n), self.model.n - 1)

    def _settled(self, near: UInt32, far: Float32, own: Int64) -> tuple[Float32, Float64]:
        """Where rows lie without themselves, those of the fit in the hollow of their seats; and how badly held."""
        model, placement, threads = self.model, self.placement, self.threads
        near = np.ascontiguousarray(near[:, : self._neighbors])
        p = affinities(model, np.ascontiguousarray(far[:, : self._neighbors]), placement, threads)
        places = np.empty((len(near), model.embedding.shape[1]), np.float32)
        for some in (own >= 0, own < 0):
            if some.any():
                start = model.embedding[own[some]] if own[some][0] >= 0 else None
                places[some] = descend(model, near[some], p[some], placement, threads, start=start, own=own[some])[0]
        smallest = np.linalg.eigvalsh(hessians(model, near, p, placement, threads, places, own))[:, 0]
        # Beyond the field's reach, and where steps have run out, a place need not be the bottom of a hollow.
        return places, np.where(smallest > 0, 1 / np.where(smallest > 0, smallest, 1), np.inf)

    def _put(self, rows: Float32, own: Int64) -> Float32:
        """Where rows go that are placed anew; `own` names the fitted rows that they are made of."""
        model, k = self.model, self._neighbors
        near, far = _others(*ask(model, rows, k + 1), own)
        p = affinities(model, far, self.placement, self.threads)
        return descend(model, near, p, self.placement, self.threads, own=own)[0]

    def _kept(self, near: UInt32, seats: Float32, own: Int64) -> Float64:
        """Which share of the neighbours `near` in the data is as near on the map."""
        depth = list(range(1, self.k + 2))
        points = seats.astype(np.float64)
        found = fewer(lambda workers: self.tree.query(points, k=depth, workers=workers)[1], self.threads.n)
        there, _ = _others(found, found, own)
        hits = np.zeros(len(near), np.int64)
        for column in near.T:
            hits += (there == column[:, None]).any(axis=1)
        return hits / self.k


def _others(indices: Any, values: Any, own: Int64) -> tuple[Any, Any]:
    """Neighbours and what is known of them, but for a row's own number, or the last where that is not among them."""
    kept = indices != own[:, None]
    kept[kept.all(axis=1), -1] = False
    shape = len(indices), indices.shape[1] - 1
    return indices[kept].reshape(shape), values[kept].reshape(shape)


def _moves(model: Model, length: float | None, directions: int, n_jobs: int | None) -> Float32 | None:
    """By how much rows are moved, a vector for each direction; None where they cannot be."""
    from tsne_ooc.preprocess import Preparation
    from tsne_ooc.preprocess.pca import PCA, FittedPCA

    try:
        # Nobody knows in which direction a row that lacks values would be moved.
        rows = None if model.index.sparse or model.index.metric == GAPS else model.index.rows
    except NotImplementedError:
        rows = None
    if rows is None:
        return None
    if length is None:
        length = HALF * _usual(model, rows)
    (step,) = Preparation([PCA(min(directions, *rows.shape))]).fit(rows, random_state=0, n_jobs=n_jobs).fitted
    assert isinstance(step, FittedPCA)
    moves: Float32 = (length * step.axes.T).astype(np.float32)
    return moves


def _usual(model: Model, rows: Float32) -> float:
    """The median of rows' mean distances to their nearest others, by the data's own columns in any metric."""
    some = np.unique(np.linspace(0, model.n - 1, min(model.n, LENGTH_ROWS)).astype(np.int64))
    near, _ = ask(model, rows[some], min(LENGTH_NEIGHBORS + 1, model.n))
    near, _ = _others(near, near, some)
    # One by one: all together they would be 15,000 rows in double precision, of any width.
    gaps = np.empty(len(some))
    for at, row in enumerate(some):
        gaps[at] = np.linalg.norm(rows[near[at]].astype(np.float64) - rows[row], axis=1).mean()
    apart = gaps[gaps > 0]
    if not len(apart):
        raise ValueError("the fitted rows are copies of each other, so there is no usual distance; give length")
    return float(np.median(apart))
