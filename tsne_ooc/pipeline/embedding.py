"""A table of any length in, a folder with its map out."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc import __version__
from tsne_ooc._options import whole
from tsne_ooc._random import generator
from tsne_ooc.io import Source, identity
from tsne_ooc.pipeline.clock import Clock
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.placing import Seats, digest_of, finished, seal, stream
from tsne_ooc.pipeline.request import differences, parameters_of, plain
from tsne_ooc.pipeline.run import LEDGER, Run
from tsne_ooc.pipeline.table import opened
from tsne_ooc.preprocess import Preparation, PreparedSource
from tsne_ooc.sampling import resolve_sample
from tsne_ooc.streaming import Progress, begin, silent

log = logging.getLogger(__name__)

SAMPLE = 25_000
_ROWS = "sample_rows.npy"


def embed(
    source: Any,
    *,
    out: str | os.PathLike[str],
    sample: Any = SAMPLE,
    tsne: Any = None,
    prepare: Preparation | None = None,
    rounds: int = 1,
    dataset: str | None = None,
    columns: list[str] | None = None,
    random_state: int = 0,
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Map a table of any length: fit a sample of its rows, then stream and place all others.

    What is done is on the disk and marked as done, block by block. A run that was killed goes on with ``resume=True``
    and ends with the same bytes as one that was not.

    Parameters
    ----------
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features).
    out : path
        Folder to write; it must not exist yet, or be empty. Its ``manifest.json`` is written last, so a folder that
        has one is whole.
    sample : int or object of `tsne_ooc.sampling`, default 25,000
        Rows to fit; a number draws so many uniformly. If there are no more, all are fitted.
    tsne : TSNE, optional
        How to fit and place; a copy of it is fitted. By default ``TSNE()``.
    prepare : Preparation, optional
        What is done to the rows first; it is fitted on the whole table, in passes of its own, and saved in the model.
    rounds : int, default 1
        With 2 all rows are looked at once before they are placed, and those that the sample did not know are added to
        it; with more, again.
    dataset, columns
        What to read of a file, as for `tsne_ooc.io.open_source`.
    random_state : int
        Seed of the sample. (The fit has its own, in `tsne`.)
    block_rows : int, optional
        Rows that are read, placed and marked as done in one piece; what comes out does not depend on it.
    resume : bool
        Go on with a run in `out` that did not end.
    progress : callable, optional
        Called as ``progress(phase, done, total)`` in rows, with the phases "prepare", "sample", "fit", "look" and
        "place".

    Returns
    -------
    Run

    Raises
    ------
    OSError
        Where `out` is in use or holds something else, or reading or writing fails. Once the sample is fitted, what is
        done is kept.
    ValueError, TypeError
        For bad tables and parameters, and where a run cannot go on because something else is asked for now.

    Examples
    --------
    >>> run = embed("cells.h5", dataset="X", out="map", tsne=TSNE(exaggeration=4))  # doctest: +SKIP
    >>> run.embedding.shape  # doctest: +SKIP
    (1300000, 2)
    """
    chosen = resolve_sample(sample)
    model = _fresh(tsne)
    if hasattr(model, "check_options"):
        # Before the file is opened: drawing a sample of a large one takes its time.
        model.check_options()
    seed = whole("random_state", random_state, least=0)
    whole("rounds", rounds, least=1)
    if block_rows is not None:
        whole("block_rows", block_rows, least=1)
    with opened(source, dataset, columns) as table, Folder(Path(out), resume=resume) as home:
        request = {
            "parameters": parameters_of(model),
            "sample": plain(chosen),
            "prepare": plain(prepare.steps) if prepare is not None else None,
            "rounds": rounds,
            "random_state": seed,
        }
        job = {"task": "embed", "source": identity.identity_of(table), "request": request, "tsne_ooc": __version__}
        if home.finished:
            return finished(home, job)
        ledger = begin(home.path / LEDGER, job, resume=resume, differ=differences)
        seconds: dict[str, float] = dict(ledger.job.get("seconds", {}))
        if ledger.rows:
            seconds["place"] = ledger.seconds
        tell = progress or silent
        if "model" not in ledger.job:
            fitted, seats, sums = _fit(table, model, chosen, prepare, seed, home.path, seconds, tell)
            ledger = replace(ledger, job={**ledger.job, **sums, "seconds": seconds}).mark(0, {})
        else:
            fitted, seats = _fitted(home.path, ledger.job)
            # It was saved with those of the attempt that fitted it.
            fitted.set_params(n_jobs=model.get_params().get("n_jobs"))
        home.keep = ledger.job["model"] is not None
        with Clock(seconds, "place"):
            summary = stream(fitted, table, home, ledger, seats, block_rows, tell)
        parameters = model.get_params(deep=False)
        content = {
            "task": "embed",
            "source": repr(table),
            **summary,
            "sample": len(seats[0]),
            "random_state": seed,
            "parameters": {name: plain(value) for name, value in sorted(parameters.items())},
            "kl_divergence": plain(getattr(fitted, "kl_divergence_", None)),
            "n_iter": plain(getattr(fitted, "n_iter_", None)),
            "seconds": seconds,
            "job": job,
        }
        return seal(home, content, ["embedding", "novelty", "sample_rows"])


def _fit(
    table: Source,
    model: Any,
    sample: Any,
    prepare: Preparation | None,
    seed: int,
    folder: Path,
    seconds: dict[str, float],
    progress: Progress,
) -> tuple[Any, Seats, dict[str, str | None]]:
    """Prepare, draw and fit; the fitted estimator is left in ``model`` of the folder, the rows beside it."""
    log.info("source: %r; sample: %r", table, sample)
    prepared: Any = table
    if prepare is not None:
        with Clock(seconds, "prepare"):
            prepare.fit(table, progress, random_state=seed, n_jobs=model.get_params().get("n_jobs"))
            log.info("%r took %d pass(es): %d columns", prepare, prepare.passes, prepare.n_features_out)
        prepared = PreparedSource(table, prepare, n_jobs=model.get_params().get("n_jobs"))
    with Clock(seconds, "sample"):
        rows, X = sample.draw(prepared, generator(seed, "sample"), progress=progress)
    with Clock(seconds, "fit"):
        progress("fit", 0, len(rows))
        _fit_all(model, X)
        progress("fit", len(rows), len(rows))
    model.preparation_ = prepare
    if prepare is not None:
        # Rows to place come as they are in the table.
        model.n_features_in_ = table.shape[1]
    return _keep(model, rows, folder)


def _fit_all(model: Any, X: NDArray[np.float32]) -> None:
    # An interrupted fit warns and keeps its map, for people at a prompt; here hours of placing would follow.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="interrupted after", category=RuntimeWarning)
        try:
            model.fit(X)
        except RuntimeWarning as warning:
            if str(warning).startswith("interrupted after"):
                raise KeyboardInterrupt(str(warning)) from None
            raise


def _keep(model: Any, rows: NDArray[np.int64], folder: Path) -> tuple[Any, Seats, dict[str, str | None]]:
    """Save what was fitted, and go on with what was saved, as a run that resumes will; with sums for the ledger."""
    # What an attempt left that was killed after this point and before the ledger knew.
    for path in (folder / "model", *folder.glob(".model.*.part")):
        shutil.rmtree(path, ignore_errors=True)
    path = folder / _ROWS
    try:
        with open(path, "wb") as file:
            np.lib.format.write_array(file, rows, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise type(error)(f"{path} could not be written: {error.strerror or error}") from error
    sums = {"model": None, "sample_rows": _sum(path)}
    if not hasattr(model, "save"):
        return model, _seats(model, rows), sums
    try:
        model.save(folder / "model")
    except ValueError as error:
        log.warning("this run cannot be resumed, since its model cannot be saved: %s", error)
        return model, _seats(model, rows), sums
    sums["model"] = digest_of(folder / "model")
    return *_fitted(folder, sums), sums


def _fitted(folder: Path, sums: Mapping[str, Any]) -> tuple[Any, Seats]:
    """What an earlier attempt, or an earlier phase of this one, fitted: checked against what the ledger says of it."""
    from tsne_ooc.loading import load

    path = folder / "model"
    if sums["model"] is None:
        raise ValueError(f"the run in {folder} has no saved model to go on with; remove the folder to begin again")
    model = load(path)
    if digest_of(path) != sums["model"]:
        raise ValueError(f"the model in {path} is not the one that this run began with; remove {folder} to begin again")
    path = folder / _ROWS
    if _sum(path) != sums["sample_rows"]:
        raise ValueError(f"{path} is damaged: its sum is not the one that the ledger names; remove {folder}")
    return model, _seats(model, np.load(path, allow_pickle=False))


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seats(model: Any, rows: NDArray[np.int64]) -> Seats:
    return rows, np.asarray(model.embedding_, dtype=np.float32), getattr(model, "novelty_", None)


def _fresh(tsne: Any) -> Any:
    if tsne is None:
        from tsne_ooc.estimator import TSNE

        return TSNE()
    if isinstance(tsne, type) or not (hasattr(tsne, "fit") and hasattr(tsne, "transform")):
        raise TypeError(f"tsne={tsne!r} is no TSNE object")
    from sklearn.base import clone

    return clone(tsne)
