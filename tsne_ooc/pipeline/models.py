"""Saved models by the folder they are in: maps and encoders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tsne_ooc import store

ENCODER = "encoder"
#: For what has no length beforehand: manifests, parameters, what a search keeps besides the rows.
SLACK = 1 << 17


def folder_of(path: str | os.PathLike[str]) -> Path:
    """The folder of the model: itself, or within that of a finished run."""
    folder = Path(path)
    return folder / "model" if (folder / "model" / store.MANIFEST).is_file() else folder


def bytes_fitted(rows: int, columns: int, axes: int) -> int:
    """What the folder of a fitted map takes, but for its manifest: rows, places, and 28 bytes to know a row again."""
    return rows * (4 * columns + 4 * axes + 28)


def opened_model(folder: Path, n_jobs: int | None) -> tuple[Any, bool]:
    """The fitted estimator in a folder, with so many threads, and whether it is an encoder.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is none, or it is damaged.
    ModuleNotFoundError
        For an encoder, without PyTorch.
    """
    if store.kind_of(folder) == ENCODER:
        from tsne_ooc.parametric import load as load_encoder

        return load_encoder(folder, n_jobs=n_jobs), True
    from tsne_ooc.loading import load

    return load(folder, n_jobs=n_jobs), False
