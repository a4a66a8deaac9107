"""A saved map and a table of new rows in, a folder with their places out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._options import whole
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._typing import Float32, Progress
from tsne_ooc.io import Source
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline.beginning import begun, check_made, job_of, made_by, own_stages, room_of, told_of
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import digest_of, folder_of, opened_model
from tsne_ooc.pipeline.placer import Mapped
from tsne_ooc.pipeline.request import check_known
from tsne_ooc.pipeline.run import Run, open_run
from tsne_ooc.pipeline.sealing import Seal, finished
from tsne_ooc.pipeline.table import opened
from tsne_ooc.stages import Facts, RowStage, RunStage, Work, drive
from tsne_ooc.streaming import Compute

log = logging.getLogger(__name__)

_PIECE = 1 << 20


def place(
    model: str | os.PathLike[str],
    source: Any,
    *,
    out: str | os.PathLike[str],
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    novelty: bool | None = None,
    n_jobs: int | None = None,
    then: RunStage | Sequence[RunStage] = (),
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **unknown: Never,
) -> Run:
    """Place every row of a table on a saved map.

    Parameters
    ----------
    model : path
        What `TSNE.save` wrote, or the folder of a finished run, whose model is then taken; or an encoder, which places
        rows by a forward pass each.
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features), of the kind of rows that the map was made from: what prepared those
        is in the model, and prepares these.
    out : path
        Folder to write, as `embed` does.
    dataset, columns, allow_missing_chunks
        What to read of the file, as for `tsne_ooc.io.open_source`.
    novelty : bool, optional
        Write novelty too. By default a map does, whose search for neighbours tells it, and an encoder does not: for it
        the search among its teacher's rows comes on top, and takes many times as long as the forward pass.
    n_jobs : int or None
        Threads.
    then : RunStage or sequence of RunStage
        Stages of your own that follow, such as one that writes another number of each row.
    block_rows : int, optional
        Rows that are read, placed and marked as done in one piece; what comes out does not depend on it.
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
        Where `out` is in use or holds something else, or reading or writing fails. What is done is kept then.
    ValueError, TypeError
        For bad tables, damaged models, and where a run cannot go on because something else is asked for now.
    """
    check_known(place, unknown, fits="tsne_ooc.embed(..., tsne=TSNE({}))")
    resolve_n_jobs(n_jobs)
    if block_rows is not None:
        block_rows = whole("block_rows", block_rows, least=1)
    folder = folder_of(model)
    placer = opened_model(folder, n_jobs)
    knows = placer.threshold is not None
    if novelty and not knows:
        raise ValueError(
            f"the map in {folder} was saved without what novelty needs; fit it again, or leave novelty out"
        )
    knows = knows and (placer.novelty_is_free if novelty is None else novelty)
    then = own_stages(then)
    stages = [Place(novelty=knows), *then]
    check_made(then, stages)
    with (
        opened(source, dataset, columns, allow_missing_chunks, placer.names) as table,
        Folder(Path(out), resume=resume, makes=made_by(stages)) as home,
    ):
        placer.check_table(table)
        home.check_room(table.shape[0] * 4 * (placer.embedding.shape[1] + knows) + room_of(stages, table))
        request = {"model": digest_of(folder), "novelty": knows, **told_of(then)}
        job = job_of("place", table, home, request)
        if home.finished:
            return finished(home, job)
        work = begun(job, table, home, resume=resume, progress=progress, block_rows=block_rows)
        home.keep = True
        work.put(Mapped(placer, None))
        drive([*stages, Seal(home, job, lambda work: {"model": str(folder), **work.facts["place"]}, then)], work)
    return open_run(home.path)


class Place(RowStage):
    """Places all rows; those that have a seat keep it.

    Parameters
    ----------
    novelty : bool, optional
        Whether it is written; by default it is where the map knows it.
    into : str
        The file of the places, without ``.npy``.
    """

    name = "place"
    makes: tuple[str, ...] = ()

    def __init__(self, *, novelty: bool | None = None, into: str = "embedding") -> None:
        self.novelty, self.into = novelty, into
        self.makes = (f"{into}.npy", "novelty.npy")

    def knows(self, work: Work) -> bool:
        """Whether novelty is written."""
        known = work.get(Mapped).placer.threshold is not None
        return known if self.novelty is None else known and self.novelty

    def shapes(self, work: Work) -> dict[str, tuple[int, ...]]:
        n, d = work.table.shape[0], work.get(Mapped).placer.embedding.shape[1]
        shapes: dict[str, tuple[int, ...]] = {self.into: (n, d)}
        return {**shapes, "novelty": (n,)} if self.knows(work) else shapes

    def table(self, work: Work) -> Source:
        return work.get(Mapped).placer.table_of(work.table)

    def compute(self, work: Work) -> Compute:
        (placer, seats), knows = work.get(Mapped), self.knows(work)
        if told := placer.told():
            log.info("%s", told)

        def columns(start: int, block: Float32) -> dict[str, Float32]:
            found = places(start, block)
            return {self.into: found.pop("embedding"), **found}

        def places(start: int, block: Float32) -> dict[str, Float32]:
            if seats is None:
                return placer.place(block, novelty=knows)
            rows, seated, novelty = seats
            first, last = np.searchsorted(rows, [start, start + len(block)])
            known = {"embedding": seated[first:last]}
            if knows and novelty is not None:
                known["novelty"] = novelty[first:last]
            if last - first == len(block) and len(known) == 1 + knows:
                return known
            found = placer.place(block, novelty=knows)
            for name, values in known.items():
                found[name][rows[first:last] - start] = values
            return found

        return columns

    def summary(self, work: Work) -> Facts:
        (n, p), placer = work.table.shape, work.get(Mapped).placer
        found: dict[str, Any] = {"n_samples": n, "n_features": p, "n_components": placer.embedding.shape[1]}
        if self.knows(work):
            assert placer.threshold is not None
            found["novelty"] = distribution(self.where(work) / "novelty.npy", placer.threshold)
        return found


def distribution(path: Path, threshold: float) -> dict[str, Any]:
    """How the novelty in a file is distributed."""
    # Of the file, not of the stream: a run in two parts has two streams.
    histogram = NoveltyHistogram(threshold)
    for part in pieces(path):
        histogram.add(part)
    return histogram.summary()


def pieces(path: Path) -> Iterator[NDArray[np.float32]]:
    """The numbers of a file of one column, some at a time, and not mapped: mapped pages count as memory."""
    (n,) = np.load(path, mmap_mode="r", allow_pickle=False).shape
    with open(path, "rb") as file:
        file.seek(path.stat().st_size - 4 * n)
        while len(part := np.fromfile(file, "<f4", _PIECE)):
            yield part
