"""`place`: a saved map and a table of new rows in, a folder with their places out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Never

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._options import whole
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._typing import Float32, Progress, StrPath
from tsne_ooc.io import Source
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline.beginning import begun, check_executor, check_made, job_of, made_by, own_stages, room_of, told_of
from tsne_ooc.pipeline.fitted import write_array
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import digest_of, folder_of, opened_model
from tsne_ooc.pipeline.placer import EncoderPlacer, Mapped, MapPlacer
from tsne_ooc.pipeline.request import check_known
from tsne_ooc.pipeline.rows import rows_of
from tsne_ooc.pipeline.run import Run, open_run
from tsne_ooc.pipeline.sealing import Seal, finished
from tsne_ooc.pipeline.table import opened
from tsne_ooc.pipeline.workers import PlacesRows, ReadsAndPlaces, parts_of
from tsne_ooc.stages import Facts, Remote, RowStage, RunStage, Work, drive
from tsne_ooc.streaming import Compute
from tsne_ooc.workers import SavedModel, SharedTable

log = logging.getLogger(__name__)

DROPPED = "dropped_rows.npy"
_PIECE = 1 << 20


def place(
    model: str | os.PathLike[str],
    source: Any,
    *,
    out: str | os.PathLike[str],
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    rows: Any = None,
    novelty: bool | None = None,
    n_jobs: int | None = None,
    then: RunStage | Sequence[RunStage] = (),
    executor: Executor | None = None,
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **unknown: Never,
) -> Run:
    """Place every row of a table on a saved map.

    Parameters
    ----------
    model : path
        The folder that `TSNE.save` wrote, or that of a finished run, whose model is then taken, or that of an encoder,
        which places each row by a forward pass.
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features), with rows of the kind that the map was made from. The preparation of
        those is in the model, and is applied to these.
    out : path
        Folder to write, as for `embed`.
    dataset, columns, allow_missing_chunks
        What to read of the file, as for `tsne_ooc.io.open_source`.
    rows : str, tuple, range or slice, optional
        Place only this range of rows: ``(1000, 2000)`` or ``"1000:2000"`` is rows 1,000 to 1,999. `merge` joins parts
        of a table that several jobs placed.
    novelty : bool, optional
        Write novelty, too. By default it is written for a map, whose search for neighbours gives it, and not for an
        encoder, which needs a search among its teacher's rows for it: many times as long as the forward pass.
    n_jobs : int or None
        Threads; with an executor, threads of each of its workers, by default one.
    then : RunStage or sequence of RunStage
        Stages of your own that follow, such as one that writes another number of each row.
    executor : concurrent.futures.Executor, optional
        It places blocks on its workers, which open the model, and a table that was given as a path, by their paths; the
        result is the same. By default rows are placed in this process.
    block_rows : int, optional
        Rows that are read, placed and marked as done in one piece; the result does not depend on it.
    resume : bool
        Go on with a run in `out` that did not end.
    progress : callable, optional
        Called as ``progress("place", rows done, rows)``.

    Returns
    -------
    Run

    Raises
    ------
    OSError
        Where `out` is in use or holds something else, or reading or writing fails. What is done is kept.
    ValueError, TypeError
        For bad tables, damaged models, and where a run cannot go on because something else is asked for now.
    """
    check_known(place, unknown, fits="tsne_ooc.embed(..., tsne=TSNE({}))")
    resolve_n_jobs(n_jobs)
    check_executor(executor)
    if block_rows is not None:
        block_rows = whole("block_rows", block_rows, least=1)
    folder, placer, knows = placer_of(model, n_jobs, novelty)
    then = own_stages(then)
    if rows is not None and then:
        raise ValueError("rows= places some rows only, and stages of your own need all of them; merge the parts first")
    with opened(source, dataset, columns, allow_missing_chunks, placer.names) as table, ExitStack() as held:
        part = None if rows is None else rows_of(rows, table.shape[0], repr(table))
        stages = [Place(novelty=knows, n_jobs=n_jobs, rows=part), *then]
        check_made(then, stages)
        home = held.enter_context(Folder(Path(out), resume=resume, makes=made_by(stages)))
        placer.check_table(table)
        start, stop = part or (0, table.shape[0])
        home.check_room((stop - start) * 4 * (placer.embedding.shape[1] + knows) + room_of(stages, table))
        request: dict[str, Any] = {"model": digest_of(folder), "novelty": knows, **told_of(then)}
        if part is not None:
            request["rows"] = list(part)
        job = job_of("place", table, home, request)
        if home.finished:
            return finished(home, job)
        work = begun(job, table, home, resume=resume, progress=progress, block_rows=block_rows, executor=executor)
        home.keep = True
        work.put(Mapped(placer, None, folder))
        drive([*stages, Seal(home, job, lambda work: {"model": str(folder), **work.facts["place"]}, then)], work)
    return open_run(home.path)


def placer_of(model: StrPath, n_jobs: int | None, novelty: bool | None) -> tuple[Path, MapPlacer | EncoderPlacer, bool]:
    """The folder of a saved model, what places rows by it, and whether novelty is to be told."""
    folder = folder_of(model)
    placer = opened_model(folder, n_jobs)
    knows = placer.threshold is not None
    if novelty and not knows:
        raise ValueError(
            f"the map in {folder} was saved without what novelty needs; fit it again, or leave novelty out"
        )
    return folder, placer, knows and (placer.novelty_is_free if novelty is None else novelty)


class _Known(NamedTuple):
    """Rows of a block that have a seat: their numbers within the block, and what is known of them."""

    rows: NDArray[np.int64]
    columns: dict[str, Float32]

    def put(self, found: dict[str, Float32]) -> dict[str, Float32]:
        """Put what is known of these rows in the place of what was computed for them."""
        for name, values in self.columns.items():
            if len(self.rows):
                # An array that comes from another process may be read-only.
                found[name] = found[name] if found[name].flags.writeable else found[name].copy()
                found[name][self.rows] = values
        return found


class Place(RowStage):
    """Places all rows; those that have a seat keep it.

    Parameters
    ----------
    novelty : bool, optional
        Whether novelty is written; by default it is where the map knows it.
    into : str
        The name of the file of the places, without ``.npy``.
    n_jobs : int or None
        Threads of each worker, where there are any; by default as many as the executor says, or one.
    rows : (int, int), optional
        The first row that is placed, and the one behind the last; by default all are placed.
    """

    name = "place"
    makes: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        novelty: bool | None = None,
        into: str = "embedding",
        n_jobs: int | None = None,
        rows: tuple[int, int] | None = None,
    ) -> None:
        self.novelty, self.into, self.n_jobs, self.rows = novelty, into, n_jobs, rows
        self.makes = (f"{into}.npy", "novelty.npy", DROPPED)

    def knows(self, work: Work) -> bool:
        """Whether novelty is written."""
        known = work.get(Mapped).placer.threshold is not None
        return known if self.novelty is None else known and self.novelty

    def shapes(self, work: Work) -> dict[str, tuple[int, ...]]:
        start, stop = self.rows or (0, work.table.shape[0])
        n, d = stop - start, work.get(Mapped).placer.embedding.shape[1]
        shapes: dict[str, tuple[int, ...]] = {self.into: (n, d)}
        return {**shapes, "novelty": (n,)} if self.knows(work) else shapes

    def first(self, work: Work) -> int:
        return 0 if self.rows is None else self.rows[0]

    def table(self, work: Work) -> Source:
        return work.get(Mapped).placer.table_of(work.table)

    def compute(self, work: Work) -> Compute:
        placer, knows = work.get(Mapped).placer, self.knows(work)
        seated = self._seated(work)
        if told := placer.told():
            log.info("%s", told)

        def places(start: int, block: Float32) -> dict[str, Float32]:
            known = seated(start, len(block))
            if len(known.rows) == len(block) and len(known.columns) == 1 + knows:
                return self._named(known.columns)
            return self._named(known.put(placer.place(block, novelty=knows)))

        return places

    def remote(self, work: Work) -> Remote | None:
        placer, _, folder = work.get(Mapped)
        if folder is None or work.kept is None:
            return None
        if told := placer.told():
            log.info("%s", told)
        threads = getattr(work.executor, "threads", 1) if self.n_jobs is None else self.n_jobs
        places = PlacesRows(SavedModel.of(folder, opened_model, parts_of(placer)), self.knows(work), threads)
        table = SharedTable.of(work.table, work.kept.origin, work.folder.resolve())
        seated = self._seated(work)
        return Remote(
            places,
            None if table is None else ReadsAndPlaces(table, places),
            lambda start, found: self._named(seated(start, len(found["embedding"])).put(dict(found))),
        )

    def _named(self, columns: dict[str, Float32]) -> dict[str, Float32]:
        """Columns by the names of their files."""
        return {self.into if name == "embedding" else name: values for name, values in columns.items()}

    def _seated(self, work: Work) -> Callable[[int, int], _Known]:
        """A function of the first of some rows and of their number, which gives those that have a seat."""
        seats, knows = work.get(Mapped).seats, self.knows(work)

        def seated(start: int, size: int) -> _Known:
            if seats is None:
                return _Known(np.empty(0, np.int64), {})
            first, last = np.searchsorted(seats.rows, [start, start + size])
            known = {"embedding": seats.embedding[first:last]}
            if knows and seats.novelty is not None:
                known["novelty"] = seats.novelty[first:last]
            return _Known(seats.rows[first:last] - start, known)

        return seated

    def summary(self, work: Work) -> Facts:
        (n, p), placer = work.table.shape, work.get(Mapped).placer
        if self.rows is not None:
            n = self.rows[1] - self.rows[0]
        found: dict[str, Any] = {"n_samples": n, "n_features": p, "n_components": placer.embedding.shape[1]}
        if self.knows(work):
            assert placer.threshold is not None
            found["novelty"] = distribution(self.where(work) / "novelty.npy", placer.threshold)
        if placer.drops:
            rows = unplaced(self.where(work) / f"{self.into}.npy") + (0 if self.rows is None else self.rows[0])
            write_array(work.folder / DROPPED, rows)
            found["dropped"] = len(rows)
        return found


def distribution(path: Path, threshold: float) -> dict[str, Any]:
    """How the novelty in a file is distributed."""
    # The file is read, since a run that was resumed has two streams.
    histogram = NoveltyHistogram(threshold)
    for part in pieces(path):
        histogram.add(part)
    return histogram.summary()


def unplaced(path: Path) -> NDArray[np.int64]:
    """The numbers of the rows without a place, ascending."""
    places = np.load(path, mmap_mode="r", allow_pickle=False)
    found = [a + np.flatnonzero(np.isnan(places[a : a + _PIECE, 0])) for a in range(0, len(places), _PIECE)]
    return np.concatenate([*found, np.empty(0, np.int64)])


def pieces(path: Path) -> Iterator[NDArray[np.float32]]:
    """The values in a file of one column, some at a time; it is not mapped, since mapped pages count as memory."""
    (n,) = np.load(path, mmap_mode="r", allow_pickle=False).shape
    with open(path, "rb") as file:
        file.seek(path.stat().st_size - 4 * n)
        while len(part := np.fromfile(file, "<f4", _PIECE)):
            yield part
