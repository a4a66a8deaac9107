"""Saved models, which are maps and encoders, by the folder that they are in."""

from __future__ import annotations

from pathlib import Path

from tsne_ooc import storage
from tsne_ooc._typing import StrPath
from tsne_ooc.pipeline.placer import EncoderPlacer, MapPlacer
from tsne_ooc.storage import digest_of as digest_of

ENCODER = "encoder"
#: Bytes for what has no known size beforehand: manifests, parameters, what a search keeps besides the rows.
SLACK = 1 << 17


def folder_of(path: StrPath) -> Path:
    """The folder of the model that `path` is, or of the one within a finished run."""
    folder = Path(path)
    return folder / "model" if (folder / "model" / storage.MANIFEST).is_file() else folder


def bytes_fitted(rows: int, columns: int, axes: int) -> int:
    """Bytes of the folder of a fitted map without its manifest: rows, places, and 28 bytes to recognise each row."""
    return rows * (4 * columns + 4 * axes + 28)


def opened_model(folder: Path, n_jobs: int | None) -> MapPlacer | EncoderPlacer:
    """Open the model that is saved in a folder, with so many threads.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is none, or it is damaged.
    ModuleNotFoundError
        For an encoder, where PyTorch is not installed.
    """
    if storage.kind_of(folder) == ENCODER:
        from tsne_ooc.parametric import load as load_encoder

        return EncoderPlacer(load_encoder(folder, n_jobs=n_jobs))
    from tsne_ooc.estimator.loading import load

    return MapPlacer(load(folder, n_jobs=n_jobs))
