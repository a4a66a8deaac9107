"""What moving all rows together is going to take, from some of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tsne_ooc.cli import trials

if TYPE_CHECKING:
    from tsne_ooc._typing import Float32
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.fit.rows import Recipe
    from tsne_ooc.io import Source
    from tsne_ooc.pipeline.refining import Course

# Bytes that are hashed to know how fast that is: half of what it takes to put something on the disk, and all of it to
# look whether it is as it was.
_HASHED = 1 << 24
# Rows that are moved, and half of them. Few rows are pushed apart pair by pair: from 2,500 rows, an iteration of 30,000
# was foretold to take three times as long as it did.
_ROWS = 20_000


class Moved(NamedTuple):
    """Seconds of each stage, and bytes.

    Parameters
    ----------
    search, weigh, refine, keep : float
    memory, disk : int
    """

    search: float
    weigh: float
    refine: float
    keep: float
    memory: int
    disk: int


def moved(course: Course, model: TSNE, n: int, table: Source, out: Path) -> Moved:
    """What it takes to move `n` rows, of which `model` was fitted to some.

    Raises
    ------
    MemoryError
        Where there is too little for it, as the run would raise it.
    """
    from tsne_ooc import neighbors
    from tsne_ooc.pipeline.beginning import room_of

    rows = model.map_.model.index.rows
    recipe, k, width = course.recipe, course.neighbors(n), rows.shape[1]
    known = isinstance(recipe.neighbors, neighbors.Graph)
    if known:
        recipe.neighbors.check_fit(n, k)
        recipe = recipe._replace(neighbors=recipe.neighbors.search)
    many, places = _many(rows, model.embedding_, min(n, _ROWS), course.seed)
    half = trials.half_of(many)
    tried = [_tried(course, recipe, few, places[: len(few)]) for few in (half, many)]
    weigh, step = (trials.line_through(small, len(half), large, len(many)) for small, large in zip(*tried, strict=True))
    searcher = course.estimator.set_params(neighbors=recipe.neighbors)
    kept = course.kept(n)
    written = _seconds_a_byte() * 2
    search = 0.0 if known else n * sum(trials.seconds_to_search(searcher, rows, n, k, course.seed))
    keep = written * kept * (4 * width + 40)
    if kept < n:
        keep += kept * sum(trials.seconds_to_search(searcher, rows, kept, min(15, kept), course.seed))
    plan = course.plan(out, n, width)
    return Moved(
        search + written * n * (8 * k + 4 * width), weigh(n), step(n) * course.schedule(n).iterations, keep,
        plan.memory, room_of(course.stages(), table),
    )  # fmt: skip


def _many(rows: Float32, places: Float32, n: int, seed: int) -> tuple[Float32, Float32]:
    """So many rows like these, and places like theirs, in an order without meaning."""
    import numpy as np

    rng = np.random.default_rng(seed)
    if n <= len(rows):
        drawn = rng.permutation(len(rows))[:n]
        return rows[drawn], places[drawn]
    drawn = rng.integers(0, len(rows), n)
    moved = rows[drawn] + 0.3 * np.nanstd(rows, axis=0) * rng.normal(size=(n, rows.shape[1]))
    return moved.astype(np.float32), places[drawn]


def _tried(course: Course, recipe: Recipe, rows: Float32, places: Float32) -> tuple[float, float]:
    """Seconds to make affinities of these rows, and of one iteration."""
    from tsne_ooc._random import generator
    from tsne_ooc.fit.rows import descend
    from tsne_ooc.fit.searched import Searched
    from tsne_ooc.refinement import begin_at
    from tsne_ooc.scratch import Room

    searched = Searched.among(rows, course.neighbors(len(rows)), recipe, seed=course.seed, threads=course.threads)
    began = trials.clock()
    P = searched.joint(course.affinity, recipe.d, Room(), seed=course.seed, threads=course.threads)
    weighed = trials.clock() - began
    # All of them: a map that has grown takes longer than one that begins.
    phases = course.schedule(len(rows))
    start = begin_at(places, course.refinement.deviation, generator(course.seed, "refine"))
    watch = course.estimator.watch(phases)
    began = trials.clock()
    descend(
        P, searched.index.order, start, recipe._replace(schedule=phases), given=True, equal=searched.equal,
        threads=course.threads, watch=watch,
    )  # fmt: skip
    return weighed, (trials.clock() - began) / max(1, phases.iterations)


def _seconds_a_byte() -> float:
    data = bytes(_HASHED)
    began = trials.clock()
    hashlib.sha256(data)
    return (trials.clock() - began) / _HASHED
