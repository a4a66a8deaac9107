"""A fitted sample in the folder of a run: it is saved, and opened again by an attempt that goes on."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path

import numpy as np

from tsne_ooc._typing import Array, Int64, Named
from tsne_ooc.pipeline.folder import SAVING
from tsne_ooc.pipeline.models import digest_of
from tsne_ooc.pipeline.placer import MapPlacer, Placer, Seats, StrangerPlacer
from tsne_ooc.storage.atomic import whole_file
from tsne_ooc.storage.disk import sync_folder

log = logging.getLogger(__name__)

_ROWS = "sample_rows.npy"

Fitted = MapPlacer | StrangerPlacer


def keep(
    placer: Fitted, rows: Int64, folder: Path, home: Path, *, saved: bool
) -> tuple[Fitted, Seats, dict[str, str | None]]:
    """Save what was fitted, open it again, as a run that resumes will, and give it with the sums for the ledger.

    Where it is not to be `saved`, or cannot be, it is given as it is. `home` is the folder of the run, and `folder`
    that of the fit.
    """
    path = folder / _ROWS
    write_array(path, rows)
    sums = {"model": put_model(placer, folder) if saved else None, "sample_rows": sum_of(path)}
    if sums["model"] is None:
        return placer, seats_of(placer, rows), sums
    return *reopen(folder, sums, home), sums


def put_model(placer: Fitted, folder: Path) -> str | None:
    """Save what was fitted as the model of a folder, and give its digest; warn, and give None, where that fails."""
    # An attempt that was killed after this point, and before the ledger knew, may have left these.
    for path in (folder / "model", folder / SAVING):
        shutil.rmtree(path, ignore_errors=True)
    work = folder / SAVING
    work.mkdir()
    try:
        # A placer writes under names that are not known beforehand, so it does that in a folder that is ours.
        placer.save(work / "model")
        _put(work / "model", folder / "model")
    except ValueError as error:
        log.warning("this run cannot be resumed, since its model cannot be saved: %s", error)
        return None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return digest_of(folder / "model")


def write_array(path: Path, array: Array) -> None:
    """Write an array to a file, whole or not at all."""
    try:
        with whole_file(path, part=path.with_name(f"{path.name}.part")) as part, part.open("wb") as file:
            np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    except OSError as error:
        raise type(error)(f"{path} could not be written: {error.strerror or error}") from error


def _put(made: Path, path: Path) -> None:
    try:
        os.replace(made, path)
        sync_folder(path.parent)
    except OSError as error:
        raise type(error)(f"{path} could not be written: {error.strerror or error}") from error


def reopen(folder: Path, sums: Named, home: Path) -> tuple[MapPlacer, Seats]:
    """Open what an earlier attempt, or an earlier phase of this one, fitted, and compare it with the ledger's sums."""
    placer = reopened_model(folder, sums["model"], home)
    path = folder / _ROWS
    check_sum(path, sums["sample_rows"], home)
    return placer, seats_of(placer, np.load(path, allow_pickle=False))


def reopened_model(folder: Path, digest: str | None, home: Path) -> MapPlacer:
    """Open the model of a folder, if it is the one with this digest."""
    from tsne_ooc.estimator.loading import load

    path = folder / "model"
    if digest is None:
        raise ValueError(f"the run in {home} has no saved model to go on with; remove the folder to begin again")
    placer = MapPlacer(load(path))
    if digest_of(path) != digest:
        raise ValueError(f"the model in {path} is not the one that this run began with; remove {home} to begin again")
    return placer


def check_sum(path: Path, found: str, home: Path) -> None:
    """Raise ValueError where a file is not as it was when the ledger was written."""
    if sum_of(path) != found:
        raise ValueError(f"{path} is damaged: its sum is not the one that the ledger names; remove {home}")


def sum_of(path: Path) -> str:
    """The SHA-256 sum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seats_of(placer: Placer, rows: Int64) -> Seats:
    """The rows of a fit, their places and their novelty."""
    return Seats(rows, placer.embedding, placer.novelty)
