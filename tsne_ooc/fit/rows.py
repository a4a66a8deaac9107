"""From rows in memory to a fitted map: neighbours, affinities, a start, and the optimisation."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tsne_ooc import affinity as affinities
from tsne_ooc import neighbors as searches
from tsne_ooc._context import warn
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Array, Float32, Float64, Int64, Matrix, UInt32
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.fit import initialization as starts
from tsne_ooc.fit.copies import spread_copies
from tsne_ooc.fit.model import Model
from tsne_ooc.fit.optimize import Result, minimise
from tsne_ooc.fit.out_of_core import joint_on_disk, reference_of
from tsne_ooc.fit.snapshot import Motion, Snapshot
from tsne_ooc.fit.watch import Watch
from tsne_ooc.joint import Joint, JointRows, symmetrize
from tsne_ooc.neighbors.base import BLOCKED, GAPS, Metric
from tsne_ooc.novelty import Reference
from tsne_ooc.schedule import Schedule
from tsne_ooc.scratch import JointOnDisk, NeighborsOnDisk, Room

if TYPE_CHECKING:
    from scipy.sparse import csr_array

log = logging.getLogger(__name__)

BLOCK = 32_768
# Maps of searches that find .95 cannot be told from those of exact searches.
ENOUGH = 0.9


class Recipe(NamedTuple):
    """All options of a fit, resolved.

    Parameters
    ----------
    d : int
        Axes of the map.
    dof : float
    neighbors, metric, metric_params
        The search, as `tsne_ooc.neighbors.resolve` takes it.
    affinity : Affinity
    initialization : str or array
    schedule : Schedule
    """

    d: int
    dof: float
    neighbors: Any
    metric: Metric
    metric_params: dict[str, Any] | None
    affinity: affinities.AnyAffinity
    initialization: Any
    schedule: Schedule


class Pause(NamedTuple):
    """What a fit needs to go on.

    Parameters
    ----------
    motion : Motion
        The state of the optimiser, in the order of P.
    equal : ndarray of int64 or None
        One number for all rows that are equal, in the order of P; None where no two are.
    centre : ndarray of float64, shape (d,), or None
        Centre of a map that was given.
    """

    motion: Motion
    equal: Int64 | None
    centre: Float64 | None


class Fit(NamedTuple):
    """The result of a fit.

    Parameters
    ----------
    model : Model
    result : Result
        The result of the optimisation; its embedding is in the order of the rows.
    k : int
        Number of neighbours of each row from which the affinities were made.
    pause : Pause
    """

    model: Model
    result: Result
    k: int
    pause: Pause


class _Frame(NamedTuple):
    """Converts between maps of the rows as they came and maps as the optimiser has them: in the order of P, about 0.

    Parameters
    ----------
    order : ndarray of uint32 or None
        Row r of P is row ``order[r]``; None where rows are as they came.
    centre : ndarray of float64, shape (d,), or None
        Where the map lies; None where the optimiser decides. A map that was given stays where it is.
    """

    order: UInt32 | None
    centre: Float64 | None

    def ordered(self, values: Array) -> Array:
        return values if self.order is None else values[self.order]

    def inside(self, Y: Float32) -> Float32:
        return self.ordered(Y if self.centre is None else (Y - self.centre).astype(np.float32))

    def outside(self, Y: Float32) -> Float32:
        out = np.empty_like(Y)
        out[slice(None) if self.order is None else self.order] = Y
        return out if self.centre is None else (out + self.centre).astype(np.float32)


def fit_rows(
    rows: Matrix, recipe: Recipe, *, seed: int, threads: Threads, watch: Watch, room: Room | None = None
) -> Fit:
    """Embed rows, clean float32 of shape (n, p), dense or sparse; distances (n, n) where the metric is "precomputed".

    With `room`, neighbours and affinities are kept on disk where it leaves them no memory; the bits are the same.

    Raises
    ------
    ValueError, TypeError
        Where options and rows do not fit each other.
    FloatingPointError
        If the learning rate drives the map to infinity.
    """
    index = index_of(rows, recipe, seed=seed, threads=threads)
    n = rows.shape[0]
    P: Joint | JointOnDisk
    if room is None:
        P, order, k, reference = joint_of(recipe.affinity, index, n, seed, threads)
    else:
        P, order, k, reference = joint_within(room, recipe.affinity, index, n, recipe.d, seed, threads)
    if k:
        tell_recall(index, k)
    tell_affinities(recipe.affinity, k, P)
    features = None if recipe.metric == "precomputed" else rows
    if recipe.metric == GAPS and isinstance(recipe.initialization, str) and recipe.initialization == "pca":
        features = starts.filled(rows)
    rng = generator(seed, "initialization")
    start = starts.start(recipe.initialization, features, P, recipe.d, rng, threads, order)
    given = not isinstance(recipe.initialization, str)
    if given:
        starts.warn_wide(start, recipe.schedule)
    seats = EqualRows.of(rows, threads)
    result, pause = descend(
        P, order, start, recipe, given=given, equal=equal_rows(rows, seats, threads), threads=threads, watch=watch
    )
    if isinstance(P, JointOnDisk):
        P.close()
    model = Model(result.embedding.copy(), index, recipe.dof, result.motion.exaggeration, reference, seats)
    return Fit(model, result, k, pause)


def index_of(rows: Matrix, recipe: Recipe, *, seed: int, threads: Threads) -> searches.Index:
    """The search among these rows."""
    n, p = rows.shape
    search = searches.resolve(
        recipe.neighbors, metric=recipe.metric, n=n, p=p, sparse=hasattr(rows, "tocsr"),
        metric_params=recipe.metric_params,
    )  # fmt: skip
    searches.tell_unlikely(rows, recipe.metric)
    why = f", chosen for {n:,} rows and the {recipe.metric} metric" if recipe.neighbors == "auto" else ""
    log.info("neighbours of %s rows of %s columns by %r%s", f"{n:,}", f"{p:,}", search, why)
    return searches.build(
        search,
        rows,
        metric=recipe.metric,
        metric_params=recipe.metric_params,
        rng=generator(seed, "neighbors"),
        threads=threads,
    )


def at_once(recipe: Recipe, n: int) -> bool:
    """Whether the search among `n` rows finds the neighbours of all of them at once, and not some rows at a time."""
    known, metric = recipe.neighbors, recipe.metric
    if not isinstance(metric, str) or metric not in (*BLOCKED, GAPS):
        return True
    search = searches.resolve(known, metric=metric, n=n, p=1, metric_params=recipe.metric_params)
    return not isinstance(search, searches.IVF | searches.Graph)


def equal_rows(rows: Matrix, seats: EqualRows, threads: Threads) -> Int64 | None:
    """One number for all rows that are equal, that of the first; None where no two are."""
    return None if len(seats.rows) == rows.shape[0] else seats.find(rows, threads)


def descend(
    P: JointRows,
    order: UInt32 | None,
    start: Float32,
    recipe: Recipe,
    *,
    given: bool,
    equal: Int64 | None,
    threads: Threads,
    watch: Watch,
    snapshot: Snapshot | None = None,
) -> tuple[Result, Pause]:
    """Optimise a map of rows that have affinities, and what can be gone on from.

    Parameters
    ----------
    P : Joint
    order : ndarray of uint32 or None
        Row r of P is row ``order[r]``; None: as they came. Everything else here is in the order of the rows, but for
        the arrays of a snapshot.
    start : ndarray of float32, shape (n, d)
    recipe : Recipe
    given : bool
        Whether the start is a map, which stays where it lies.
    equal : ndarray of int64, shape (n,), or None
        As `equal_rows` gives it.
    threads, watch, snapshot
        As for `minimise`.
    """
    log.info("schedule: %s", "; ".join(map(str, recipe.schedule)))
    frame = _Frame(order, start.mean(axis=0, dtype=np.float64) if given else None)
    equal = None if equal is None else frame.ordered(equal)
    result = minimise(
        P, frame.inside(start), recipe.schedule, dof=recipe.dof, threads=threads, watch=watch.through(frame.outside),
        equal=equal, snapshot=snapshot,
    )  # fmt: skip
    # Where there was no step, not one bit of a given map changes.
    unmoved = given and not result.iterations
    result = result._replace(embedding=start if unmoved else frame.outside(result.embedding))
    _tell(result)
    return result, Pause(result.motion, equal, frame.centre)


def continue_rows(
    model: Model,
    affinity: affinities.AnyAffinity,
    schedule: Schedule,
    pause: Pause,
    *,
    seed: int,
    threads: Threads,
    watch: Watch,
) -> Fit:
    """Go on with a fit; `model` stays as it is, and P is made again from its index."""
    P, order, k, _ = joint_within(Room(), affinity, model.index, model.n, model.embedding.shape[1], seed, threads)
    frame = _Frame(order, pause.centre)
    result = minimise(
        P, pause.motion.places, schedule, dof=model.dof, threads=threads, watch=watch.through(frame.outside),
        equal=pause.equal, motion=pause.motion,
    )  # fmt: skip
    result = result._replace(embedding=frame.outside(result.embedding) if result.iterations else model.embedding)
    _tell(result)
    motion = result.motion
    if not result.iterations:
        motion = motion._replace(phase=pause.motion.phase, exaggeration=model.exaggeration)
    moved = replace(model, embedding=result.embedding.copy(), exaggeration=motion.exaggeration)
    return Fit(moved, result, k, Pause(motion, pause.equal, pause.centre))


def affinities_of(model: Model, affinity: affinities.AnyAffinity, *, seed: int, threads: Threads) -> csr_array:
    """The joint probabilities of the model's fit, made again, as CSR in the order of the rows."""
    P, order, *_ = joint_of(affinity, model.index, model.n, seed, threads)
    matrix = P.tocsr()
    if order is None:
        return matrix
    place_of = np.empty(model.n, np.int64)
    place_of[order] = np.arange(model.n)
    return matrix[place_of][:, place_of]


def _tell(result: Result) -> None:
    width = " x ".join(f"{size:.0f}" for size in np.ptp(result.embedding, axis=0))
    log.info("%d iterations: KL %.4f, a map of %s units", result.iterations, result.kl_divergence, width)


def tell_affinities(affinity: affinities.AnyAffinity, k: int, P: JointRows) -> None:
    """Log what the affinities are made from, and how many there are."""
    log.info("affinities: %r, from %d neighbours of each row; %s pairs", affinity, k, f"{P.entries:,}")


def tell_recall(index: searches.Index, k: int) -> None:
    """Log which share of the k nearest rows a search finds, and warn where it is too small."""
    found = index.recall(k)
    log.info("%s of the %d nearest rows are found", "all" if found == 1 else f"{found:.3f}", k)
    if found < ENOUGH:
        warn(
            f"the neighbour search finds {found:.2f} of the {k} nearest rows, and the map shows the rest as apart; use "
            "neighbors='exact', or in Python ask more of it (probes=, ef=, trees=, recall= of tsne_ooc.neighbors)",
        )


def joint_of(
    affinity: affinities.AnyAffinity,
    index: searches.Index,
    n: int,
    seed: int,
    threads: Threads,
) -> tuple[Joint, UInt32 | None, int, Reference]:
    """P, the order of its rows (None: as they came), the number of neighbours behind it, and the rows' novelty."""
    if isinstance(affinity, affinities.GivenAffinities):
        affinities.check_matrix(affinity, n)
        return affinity.joint(), None, 0, Reference.of(index)
    if n < 2:
        return alone(), None, 0, Reference.of(index)
    k = affinity.k(n)
    neighbors, distances = index.query_self(k)
    reference = Reference.of_neighbors(neighbors, distances)
    p = probabilities(affinity, neighbors, distances, index.unit, seed, threads)
    del distances
    order = index.order
    if order is not None:
        neighbors = in_order(neighbors, order)
        p = None if p is None else p[order]
    return symmetrize(neighbors, p, threads), order, k, reference


def joint_within(
    room: Room,
    affinity: affinities.AnyAffinity,
    index: searches.Index,
    n: int,
    d: int,
    seed: int,
    threads: Threads,
) -> tuple[Joint | JointOnDisk, UInt32 | None, int, Reference]:
    """The same, of a map of `d` axes, on disk where memory is to have room for other things."""
    if isinstance(affinity, affinities.GivenAffinities) or n < 2:
        return joint_of(affinity, index, n, seed, threads)
    # Whether the search finds all at once has been judged before the work.
    plan = room.plan(n, affinity, d, begun=True)
    log.info("%s", plan)
    if not plan.on_disk:
        return joint_of(affinity, index, n, seed, threads)
    k, folder = affinity.k(n), room.folder()
    graph = NeighborsOnDisk.among(index, k, folder)
    reference = reference_of(graph)
    P = joint_on_disk(affinity, graph, index.unit, index.order, seed=seed, threads=threads, folder=folder)
    graph.close()
    P.hold(plan.held)
    return P, index.order, k, reference


def alone() -> Joint:
    """P of a single row, which belongs to nobody."""
    return Joint(np.zeros(2, np.uint64), np.empty(0, np.uint32), np.empty(0, np.float32))


def probabilities(
    affinity: affinities.Affinity, neighbors: UInt32, distances: Float32, unit: float, seed: int, threads: Threads
) -> Float32 | None:
    """What `affinity` makes of the neighbours of all rows; copies among them are others afterwards, in place."""
    spread_copies(neighbors, distances, generator(seed, "copies"))
    return affinities.conditional(affinity, distances, unit, threads)


def in_order(neighbors: UInt32, order: UInt32) -> UInt32:
    """The neighbours of rows that are put into this order, by their places in it.

    Rows near each other in space are then near each other in memory: for 1.3 million rows an iteration takes a third of
    the time.
    """
    n = len(neighbors)
    place_of = np.empty(n, np.uint32)
    place_of[order] = np.arange(n, dtype=np.uint32)
    neighbors = neighbors[order]
    for start in range(0, n, BLOCK):
        neighbors[start : start + BLOCK] = place_of[neighbors[start : start + BLOCK]]
    return neighbors
