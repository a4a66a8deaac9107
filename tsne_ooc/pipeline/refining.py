"""All rows together: the stages of a run that search, weigh and move all rows, and keep the map that comes of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc import storage
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Float32, Int64
from tsne_ooc.affinity import Affinity, GivenAffinities
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.fit.history import from_json, to_json
from tsne_ooc.fit.model import Model
from tsne_ooc.fit.optimize import Result
from tsne_ooc.fit.rows import Recipe, at_once, descend, index_of, tell_affinities, tell_recall
from tsne_ooc.fit.searched import Searched
from tsne_ooc.fit.snapshot import Snapshot
from tsne_ooc.io import Source
from tsne_ooc.io.reading import in_memory
from tsne_ooc.joint import JointRows
from tsne_ooc.neighbors import Graph
from tsne_ooc.novelty import Reference
from tsne_ooc.pipeline.fitted import check_sum, put_model, reopened_model, seats_of, sum_of, write_array
from tsne_ooc.pipeline.fitting import ROWS, as_asked
from tsne_ooc.pipeline.folder import SAVING
from tsne_ooc.pipeline.models import bytes_fitted, digest_of
from tsne_ooc.pipeline.placer import Mapped, MapPlacer, Seats
from tsne_ooc.placement import Placed
from tsne_ooc.refinement import REFERENCE, Refinement, begin_at
from tsne_ooc.sampling import take
from tsne_ooc.schedule import Schedule
from tsne_ooc.scratch import JointOnDisk, MemoryPlan, Room
from tsne_ooc.stages import Facts, RunStage, Work
from tsne_ooc.storage.mapped import on_disk
from tsne_ooc.storage.state import Saved, StateError

log = logging.getLogger(__name__)

#: The arrays of where the rows are before they move, and after.
PLACED, EMBEDDING = "placed", "embedding"
#: The folder, within that of the run, of what only an unfinished run needs.
SCRATCH = "refine.part"
# The folders within that one, and their kinds.
_GRAPH, _SNAPSHOT = "graph", "snapshot"
# Bytes of a row beside its neighbours and itself: its hash, its twin, its place in the search, and what novelty needs.
_BESIDE = 40


class Course(NamedTuple):
    """The options that all of these stages share.

    Parameters
    ----------
    refinement : Refinement
    estimator : TSNE
        An estimator that is not fitted; its parameters are those of the refined map.
    recipe : Recipe
        The recipe of that map, without a start.
    prepared : bool
        Whether rows are prepared, so that their width is not known beforehand.
    """

    refinement: Refinement
    estimator: TSNE
    recipe: Recipe
    prepared: bool

    @classmethod
    def of(cls, refinement: Refinement, sample: TSNE, *, prepared: bool) -> Course:
        """The course of a run whose sample is fitted as `sample` says.

        Raises
        ------
        ValueError, TypeError
            For options that a refinement cannot have.
        """
        estimator, recipe = sample.for_all_rows(**refinement.options)
        if isinstance(recipe.affinity, GivenAffinities):
            raise TypeError("affinity= is a matrix, and refine makes affinities from neighbours; use one of its words")
        return cls(refinement, estimator, recipe, prepared)

    @property
    def affinity(self) -> Affinity:
        affinity = self.recipe.affinity
        assert not isinstance(affinity, GivenAffinities)
        return affinity

    @property
    def seed(self) -> int:
        return int(self.estimator.random_state)

    @property
    def threads(self) -> Threads:
        return Threads(self.estimator.n_jobs)

    def space(self, folder: Path) -> Room:
        """What a refinement may take of memory, and where the rest goes: by default to the folder of the run."""
        return Room(self.refinement.memory, folder if self.refinement.scratch is None else self.refinement.scratch)

    def plan(self, folder: Path, n: int, columns: int, *, begun: bool = False) -> MemoryPlan:
        """What a refinement of `n` rows of `columns` keeps in memory, and what on the disk; see `Room.plan`."""
        return self.space(folder).plan(
            n, self.affinity, self.recipe.d, columns=columns, at_once=at_once(self.recipe, n), begun=begun
        )

    @contextmanager
    def spared(self, work: Work) -> Iterator[None]:
        """Let rows, and what is made of them, lie on the disk where memory is to have room for other things."""
        n, columns = work.get(Mapped).placer.table_of(work.table).shape
        plan = self.plan(work.folder, n, columns, begun=True)
        with on_disk(self.space(work.folder).folder() if plan.on_disk else None, plan.limit):
            yield

    def neighbors(self, n: int) -> int:
        """How many neighbours are searched for each of `n` rows."""
        return self.affinity.k(n) if n > 1 else 0

    def schedule(self, n: int) -> Schedule:
        """The phases of `n` rows."""
        return self.estimator.schedule_of_all(n, **self.refinement.options)

    def kept(self, n: int) -> int:
        """How many of `n` rows are kept for new ones to be placed beside."""
        return min(n, self.refinement.reference or REFERENCE)

    def width(self, table: Source) -> int:
        """Columns of the rows that are embedded; 0 where they are not known before a pass over the table."""
        return 0 if self.prepared else table.shape[1]

    def stages(self) -> list[RunStage]:
        """All of them, in their order."""
        return [Search(self), Weigh(self), Move(self), Keep(self)]


class Search(RunStage):
    """Searches the nearest neighbours of all rows."""

    name = "search"
    makes = (SCRATCH,)

    def __init__(self, course: Course) -> None:
        self.course = course

    def room(self, table: Source) -> int:
        n = table.shape[0]
        return n * (8 * self.course.neighbors(n) + 4 * self.course.width(table) + _BESIDE)

    def check(self, work: Work) -> None:
        n, course = work.table.shape[0], self.course
        if isinstance(course.recipe.neighbors, Graph):
            course.recipe.neighbors.check_fit(n, course.neighbors(n))
        plan = course.plan(work.folder, n, course.width(work.table))
        if course.refinement.scratch is not None:
            course.space(work.folder).check_scratch(plan)

    def run(self, work: Work) -> Facts:
        scratch, n, course = work.folder / SCRATCH, work.table.shape[0], self.course
        # An attempt that was killed before the ledger knew may have left this.
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        work.progress(self.phase, 0, n)
        with course.spared(work):
            rows = in_memory(work.get(Mapped).placer.table_of(work.table), neighbors=0)
            searched = Searched.among(
                rows, course.neighbors(n), course.recipe, seed=course.seed, threads=course.threads
            )  # fmt: skip
        if searched.k:
            tell_recall(searched.index, searched.k)
        storage.write_folder(scratch / _GRAPH, _GRAPH, *searched.state())
        facts = {
            "neighbors": searched.k, "recall": float(searched.index.recall(searched.k)) if searched.k else 1.0,
            "graph": digest_of(scratch / _GRAPH),
        }  # fmt: skip
        # What follows works with what was kept, as a run that resumes will do.
        del rows, searched
        self.reopen(work, facts)
        work.progress(self.phase, n, n)
        return facts

    def reopen(self, work: Work, facts: Facts) -> None:
        path = work.folder / SCRATCH / _GRAPH
        with self.course.spared(work), _read(path, _GRAPH) as saved:
            searched = Searched.restore(saved, self.course.threads)
        if digest_of(path) != facts["graph"]:
            raise ValueError(f"{path} is not what this run began with; remove {work.folder} to begin again")
        work.put(searched)


class Weighed(NamedTuple):
    """The affinities of all rows, in memory or on disk."""

    P: JointRows


class Weigh(RunStage):
    """Makes affinities of the neighbours; they do not outlast the process, since they are quickly made again."""

    name = "weigh"

    def __init__(self, course: Course) -> None:
        self.course = course

    def room(self, table: Source) -> int:
        n, course = table.shape[0], self.course
        if course.refinement.scratch is not None:
            # That may be another disk, which the search stage looks at.
            return 0
        with suppress(MemoryError):
            plan = course.plan(Path(), n, course.width(table))
            # By the time of the affinities the neighbours are a file of the search stage.
            return max(plan.stages[0].scratch, plan.stages[1].scratch - 8 * n * course.neighbors(n) * plan.on_disk)
        # The search stage refuses what does not fit at all.
        return 0

    def run(self, work: Work) -> None:
        searched, course = work.get(Searched), self.course
        work.progress(self.phase, 0, searched.n)
        P = searched.joint(
            course.affinity, course.recipe.d, course.space(work.folder), seed=course.seed, threads=course.threads
        )
        tell_affinities(course.affinity, searched.k, P)
        work.put(Weighed(P))
        work.progress(self.phase, searched.n, searched.n)


class Move(RunStage):
    """Moves all rows from where they were placed, and writes snapshots on the way."""

    name = "refine"
    makes = (f"{EMBEDDING}.npy",)

    def __init__(self, course: Course) -> None:
        self.course = course

    def room(self, table: Source) -> int:
        # There are two snapshots, since one is written before the last one goes; both go before the map is kept.
        places = table.shape[0] * self.course.recipe.d * 4
        return places + max(0, 2 * 3 * places - Keep(self.course).room(table))

    def run(self, work: Work) -> Facts:
        # The search is needed again only at the end, and is let go: beside P it is a fifth of the memory.
        course, P, searched = self.course, work.take(Weighed).P, work.take(Searched)
        order, equal = searched.index.order, searched.equal
        del searched
        placed = np.asarray(np.load(work.folder / f"{PLACED}.npy", mmap_mode="r", allow_pickle=False))
        start = begin_at(placed, course.refinement.deviation, generator(course.seed, "refine"))
        del placed
        path = work.folder / SCRATCH / _SNAPSHOT
        snapshot = None
        if (path / storage.MANIFEST).exists():
            with _read(path, _SNAPSHOT) as saved:
                snapshot = Snapshot.restore(saved, *start.shape)
        recipe = course.recipe._replace(schedule=course.schedule(len(start)))
        watch = course.estimator.watch(recipe.schedule)
        watch.keep_every = course.refinement.snapshot_every
        watch.keep = lambda snapshot: storage.write_folder(path, _SNAPSHOT, *snapshot.state(), overwrite=True)
        watch.progress = lambda done, total: work.progress(self.phase, done, total)
        work.progress(self.phase, 0 if snapshot is None else snapshot.done, recipe.schedule.iterations)
        result, _ = descend(
            P, order, start, recipe, given=True, equal=equal, threads=course.threads, watch=watch,
            snapshot=snapshot,
        )  # fmt: skip
        if isinstance(P, JointOnDisk):
            P.close()
        target = work.folder / f"{EMBEDDING}.npy"
        write_array(target, result.embedding)
        if result.stopped == "interrupted":
            raise _interrupted(result, recipe.schedule, target)
        return {
            "kl_divergence": float(result.kl_divergence), "n_iter": result.iterations,
            "exaggeration": float(result.motion.exaggeration), "pairs": P.entries, "embedding": sum_of(target),
            "history": to_json(result.history),
        }  # fmt: skip

    def reopen(self, work: Work, facts: Facts) -> None:
        check_sum(work.folder / f"{EMBEDDING}.npy", facts["embedding"], work.folder)


class Keep(RunStage):
    """Keeps the refined map as the model of the run, with all rows or some, for new ones to be placed beside."""

    name = "keep"
    makes = ("model", SAVING, ROWS)

    def __init__(self, course: Course) -> None:
        self.course = course

    def room(self, table: Source) -> int:
        m, d = self.course.kept(table.shape[0]), self.course.recipe.d
        return bytes_fitted(m, self.course.width(table), d) + m * (4 * d + 8)

    def run(self, work: Work) -> Facts:
        sample, seats, _ = work.get(Mapped)
        assert isinstance(sample, MapPlacer) and seats is not None
        facts, n = work.facts[Move.name], work.table.shape[0]
        work.progress(self.phase, 0, n)
        shutil.rmtree(work.folder / SCRATCH / _SNAPSHOT, ignore_errors=True)
        write_array(work.folder / ROWS, seats.rows)
        with self.course.spared(work):
            return self._kept(work, sample, seats, n, facts)

    def _kept(self, work: Work, sample: MapPlacer, seats: Seats, n: int, facts: Facts) -> Facts:
        numbers, model, placed = self._model(work, sample, facts)
        some = len(numbers) < n
        features = sample.estimator.features_
        map = FittedMap(
            model, features, self.course.threads, facts["kl_divergence"], facts["n_iter"],
            work.facts[Search.name]["neighbors"],
            # The affinities of all rows cannot be made again from some of them, so no seed is kept then.
            seed=None if some else self.course.seed, sample_rows=numbers if some else None,
            affinity=self.course.affinity, placed=placed, history=from_json(facts.get("history")),
        )  # fmt: skip
        made = MapPlacer(TSNE.of_map(map, **self.course.estimator.get_params(deep=False)))
        kept = {
            "model": put_model(made, work.folder), "sample_rows": sum_of(work.folder / ROWS), "rows": len(numbers),
            "sample": {"rows": len(seats.rows), **sample.facts},
        }  # fmt: skip
        self._put(work, made if kept["model"] is None else self._reopened(work, kept))
        work.progress(self.phase, n, n)
        return kept

    def _model(self, work: Work, sample: MapPlacer, facts: Facts) -> tuple[Int64, Model, Placed]:
        """The numbers of the rows that are kept, their map, and where they were placed before they moved."""
        if work.find(Searched) is None:
            Search(self.course).reopen(work, work.facts[Search.name])
        searched, course = work.take(Searched), self.course
        embedding, before, novelty = (self._column(work, name) for name in (EMBEDDING, PLACED, "novelty"))
        assert embedding is not None and before is not None
        numbers: Int64 = np.arange(searched.n)
        if (m := course.kept(searched.n)) < searched.n:
            drawn = generator(course.seed, "reference").choice(searched.n, m, replace=False, shuffle=False)
            numbers = np.sort(drawn)
            rows = take(sample.table_of(work.table), numbers)
            # A graph is of all rows; these few are searched in the way that it has for new rows.
            known = course.recipe.neighbors
            recipe = course.recipe._replace(neighbors=known.search) if isinstance(known, Graph) else course.recipe
            index = index_of(rows, recipe, seed=course.seed, threads=course.threads)
            seats = EqualRows.of(rows, course.threads)
            places = np.ascontiguousarray(embedding[numbers])
            model = Model(places, index, course.recipe.dof, facts["exaggeration"], Reference.of(index), seats)
        else:
            model = searched.model(np.array(embedding), course.recipe.dof, facts["exaggeration"])
        placed = Placed(
            np.array(before[numbers]), np.zeros(m, np.int32), None if novelty is None else np.array(novelty[numbers])
        )
        return numbers, model, placed

    def _column(self, work: Work, name: str) -> Float32 | None:
        path = work.folder / f"{name}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None

    def _reopened(self, work: Work, facts: Facts) -> MapPlacer:
        return reopened_model(work.folder, facts["model"], work.folder)

    def _put(self, work: Work, placer: MapPlacer) -> None:
        as_asked(placer, self.course.estimator)
        numbers = placer.estimator.sample_rows_
        rows = np.arange(len(placer.embedding)) if numbers is None else numbers
        work.put(Mapped(placer, seats_of(placer, rows)))

    def reopen(self, work: Work, facts: Facts) -> None:
        check_sum(work.folder / ROWS, facts["sample_rows"], work.folder)
        self._put(work, self._reopened(work, facts))

    def worth_keeping(self, facts: Facts) -> bool:
        return facts["model"] is not None


def _interrupted(result: Result, schedule: Schedule, path: Path) -> KeyboardInterrupt:
    """The interrupt that is raised where the map was left on its way."""
    interrupt = KeyboardInterrupt()
    iterations = f"{result.iterations} of {schedule.iterations} iterations"
    interrupt.add_note(f"after {iterations} of all rows together; {path} is the map as it then was")
    return interrupt


@contextmanager
def _read(path: Path, kind: str) -> Iterator[Saved]:
    """Read what was kept in a folder; an impossible state raises one line that names the file."""
    folder = storage.read_folder(path, kind)
    try:
        yield Saved(folder.content, folder.arrays)
    except StateError as error:
        where = folder.files.get(error.array or "", path / storage.MANIFEST)
        raise ValueError(f"{where}: {error}; remove {path.parent.parent} to begin again") from None


def told(work: Work) -> dict[str, Any]:
    """The entries of the manifest that are about the refinement."""
    search, move, keep = (work.facts[stage.name] for stage in (Search, Move, Keep))
    names = ("kl_divergence", "n_iter", "pairs", "history")
    return {
        "neighbors": search["neighbors"], "recall": search["recall"],
        **{name: move[name] for name in names if name in move},
        "reference": keep["rows"],
    }  # fmt: skip
