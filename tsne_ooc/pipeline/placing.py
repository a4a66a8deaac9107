"""A saved map and a table of new rows in, a folder with their places out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc import __version__, storage
from tsne_ooc._options import whole
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._typing import Progress
from tsne_ooc.io import Source, identity
from tsne_ooc.io.told import account_of
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline.clock import Clock
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import digest_of, folder_of, opened_model
from tsne_ooc.pipeline.placer import Placer, Seats
from tsne_ooc.pipeline.request import differences
from tsne_ooc.pipeline.run import KIND, LEDGER, Run, open_run
from tsne_ooc.pipeline.table import opened
from tsne_ooc.streaming import Stream, begin, check_unchanged, silent

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
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
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
    with (
        opened(source, dataset, columns, allow_missing_chunks, placer.names) as table,
        Folder(Path(out), resume=resume, makes=["embedding.npy", "novelty.npy"]) as home,
    ):
        placer.check_table(table)
        home.check_room(table.shape[0] * 4 * (placer.embedding.shape[1] + knows))
        request = {"model": digest_of(folder), "novelty": knows}
        origin = identity.identity_of(table, without=home.path)
        job = {"task": "place", "source": origin, "request": request, "tsne_ooc": __version__, "makes": home.makes}
        if home.finished:
            return finished(home, job)
        ledger = begin(home.path / LEDGER, job, resume=resume, differ=differences)
        home.keep = True
        seconds = {"place": ledger.entry("place").seconds}
        with Clock(seconds, "place"):
            summary = stream(
                placer, table, home, home.path, ledger, None, block_rows, progress or silent, knows=knows,
                source=origin,
            )  # fmt: skip
        content = {
            "task": "place",
            "source": repr(table),
            "read": account_of(table),
            "model": str(folder),
            **summary,
            "seconds": seconds,
            "job": job,
        }
        return seal(home, content, ["embedding", "novelty"])


def stream(
    placer: Placer,
    table: Source,
    home: Folder,
    where: Path,
    ledger: Any,
    seats: Seats | None,
    block_rows: int | None,
    progress: Progress,
    *,
    knows: bool | None = None,
    phase: str = "place",
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Place the rows of a table that are not yet done; a manifest's entries on what came out.

    Parameters
    ----------
    placer : Placer
    table : Source
        As it was given; the placer prepares its rows.
    home : Folder
        Of the run.
    where : Path
        Where in it ``embedding.npy`` and ``novelty.npy`` go.
    ledger : Ledger
    seats : Seats or None
        Rows of the table that have a place already. A row of the sample takes the seat of its own, even
        where it has a twin in the sample, whose seat `transform` would give it.
    block_rows : int or None
    progress : callable
    knows : bool, optional
        Whether novelty is written; by default it is where the placer knows it.
    phase : str
        What `progress` is told.
    source : dict, optional
        The identity of the table when the run began, which it must keep.
    """
    n, d = table.shape[0], placer.embedding.shape[1]
    threshold = placer.threshold if knows is None or knows else None
    knows = threshold is not None
    files: dict[str, tuple[Path, tuple[int, ...]]] = {"embedding": (where / "embedding.npy", (n, d))}
    if knows:
        files["novelty"] = (where / "novelty.npy", (n,))
    prepared = placer.table_of(table)

    def compute(start: int, block: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        if seats is None:
            return placer.place(block, novelty=knows)
        rows, places, novelty = seats
        first, last = np.searchsorted(rows, [start, start + len(block)])
        known = {"embedding": places[first:last]}
        if knows and novelty is not None:
            known["novelty"] = novelty[first:last]
        if last - first == len(block) and len(known) == len(files):
            return known
        found = placer.place(block, novelty=knows)
        for name, values in known.items():
            found[name][rows[first:last] - start] = values
        return found

    if told := placer.told():
        log.info("%s", told)
    try:
        work = Stream(files, ledger, phase)
    except OSError as error:
        # The disk may be mended; files that are damaged or gone let nothing go on.
        home.resumable = home.keep and not isinstance(error, FileNotFoundError)
        raise
    with work:
        home.resumable = home.keep
        check = None if source is None else partial(check_unchanged, table, source, home.path)
        work.run(prepared, compute, rows=block_rows, progress=progress, phase=phase, check=check)
    summary: dict[str, Any] = {"n_samples": n, "n_features": table.shape[1], "n_components": d}
    if threshold is not None:
        summary["novelty"] = distribution(where / "novelty.npy", threshold)
    return summary


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


def finished(home: Folder, job: dict[str, Any]) -> Run:
    """The run that is in the folder already, if it is the one that is asked for."""
    run = open_run(home.path)
    found = differences(run.manifest.get("job", {}), json.loads(json.dumps(job)))
    if found:
        raise ValueError(f"{home.path} holds the result of another run: {'; '.join(found)}; name a new folder")
    # It may have been killed between its manifest and this.
    home.tidy()
    return run


def seal(home: Folder, content: dict[str, Any], arrays: list[str]) -> Run:
    """Write the manifest, which makes the folder a whole one, and remove what only an unfinished one needs."""
    files = {name: f"{name}.npy" for name in arrays if (home.path / f"{name}.npy").exists()}
    try:
        storage.seal(home.path, KIND, content, files)
    except OSError as error:
        raise type(error)(f"{home.path} could not be written: {error.strerror or error}") from error
    home.tidy()
    return open_run(home.path)
