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

from tsne_ooc import __version__, store
from tsne_ooc._options import whole
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc.io import Source, identity
from tsne_ooc.io.told import account_of
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline.clock import Clock
from tsne_ooc.pipeline.fitting import seen_by
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import folder_of, opened_model
from tsne_ooc.pipeline.request import differences
from tsne_ooc.pipeline.run import KIND, LEDGER, Run, open_run
from tsne_ooc.pipeline.table import opened
from tsne_ooc.streaming import Progress, Stream, begin, check_unchanged, silent

log = logging.getLogger(__name__)

_PIECE = 1 << 20

Seats = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32] | None]


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
    fitted, encoder = opened_model(folder, n_jobs)
    knows = hasattr(fitted, "novelty_threshold_")
    if novelty and not knows:
        raise ValueError(
            f"the map in {folder} was saved without what novelty needs; fit it again, or leave novelty out"
        )
    knows = knows and (not encoder if novelty is None else novelty)
    with (
        opened(source, dataset, columns, allow_missing_chunks) as table,
        Folder(Path(out), resume=resume, makes=["embedding.npy", "novelty.npy"]) as home,
    ):
        fitted.check_table(table)
        home.check_room(table.shape[0] * 4 * (fitted.embedding_.shape[1] + knows))
        request = {"model": digest_of(folder), "novelty": knows}
        origin = identity.identity_of(table, without=home.path)
        job = {"task": "place", "source": origin, "request": request, "tsne_ooc": __version__, "makes": home.makes}
        if home.finished:
            return finished(home, job)
        ledger = begin(home.path / LEDGER, job, resume=resume, differ=differences)
        home.keep = True
        seconds = {"place": ledger.seconds}
        with Clock(seconds, "place"):
            summary = stream(
                fitted, table, home, home.path, ledger, None, block_rows, progress or silent, knows=knows,
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
    model: Any,
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
    model : fitted estimator
    table : Source
        As it was given; the model prepares its rows.
    home : Folder
        Of the run.
    where : Path
        Where in it ``embedding.npy`` and ``novelty.npy`` go.
    ledger : Ledger
    seats : tuple of (rows, embedding, novelty), or None
        Rows of the table that have a place already, ascending. A row of the sample takes the seat of its own, even
        where it has a twin in the sample, whose seat `transform` would give it.
    block_rows : int or None
    progress : callable
    knows : bool, optional
        Whether novelty is written; by default it is where the model tells it.
    phase : str
        What `progress` is told.
    source : dict, optional
        The identity of the table when the run began, which it must keep.
    """
    n, d = table.shape[0], model.embedding_.shape[1]
    knows = hasattr(model, "novelty_threshold_") if knows is None else knows
    files: dict[str, tuple[Path, tuple[int, ...]]] = {"embedding": (where / "embedding.npy", (n, d))}
    if knows:
        files["novelty"] = (where / "novelty.npy", (n,))
    prepared = seen_by(model, table)

    def compute(start: int, block: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        if seats is None:
            return _placed(model, block, knows)
        rows, places, novelty = seats
        first, last = np.searchsorted(rows, [start, start + len(block)])
        known = {"embedding": places[first:last]}
        if knows and novelty is not None:
            known["novelty"] = novelty[first:last]
        if last - first == len(block) and len(known) == len(files):
            return known
        found = _placed(model, block, knows)
        for name, values in known.items():
            found[name][rows[first:last] - start] = values
        return found

    if hasattr(model, "place_prepared") and not hasattr(model, "encode_prepared"):
        log.info("each row has %d neighbours; the field of the map %s", _neighbors(model), model._model.field)
    try:
        work = Stream(files, ledger)
    except OSError as error:
        # The disk may be mended; files that are damaged or gone let nothing go on.
        home.resumable = home.keep and not isinstance(error, FileNotFoundError)
        raise
    with work:
        home.resumable = home.keep
        check = None if source is None else partial(check_unchanged, table, source, home.path)
        work.run(prepared, compute, rows=block_rows, progress=progress, phase=phase, check=check)
    summary: dict[str, Any] = {"n_samples": n, "n_features": table.shape[1], "n_components": d}
    if knows:
        summary["novelty"] = distribution(where / "novelty.npy", model.novelty_threshold_)
    return summary


def _neighbors(model: Any) -> int:
    from tsne_ooc.placement import Placement

    return (model.placement or Placement()).neighbors(len(model.embedding_))


def _placed(model: Any, block: NDArray[np.float32], knows: bool) -> dict[str, NDArray[np.float32]]:
    if not hasattr(model, "place_prepared"):
        return {"embedding": np.array(model.transform(block), dtype=np.float32)}
    if hasattr(model, "encode_prepared") and not knows:
        return {"embedding": model.encode_prepared(block)}
    placed = model.place_prepared(block)
    return {"embedding": placed.embedding, "novelty": placed.novelty} if knows else {"embedding": placed.embedding}


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


def digest_of(folder: Path) -> str:
    """What tells a saved folder from another: the checksum of its manifest, which holds those of its files."""
    return str(json.loads((folder / store.MANIFEST).read_text(encoding="utf-8"))["sha256"])


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
        store.seal(home.path, KIND, content, files)
    except OSError as error:
        raise type(error)(f"{home.path} could not be written: {error.strerror or error}") from error
    home.tidy()
    return open_run(home.path)
