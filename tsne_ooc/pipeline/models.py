"""Saved models, which are maps and encoders, by the folder that they are in."""

from __future__ import annotations

from pathlib import Path

from tsne_ooc import storage
from tsne_ooc._typing import Float32, Json, StrPath
from tsne_ooc.estimator.saving import KIND as MODEL
from tsne_ooc.pipeline.placer import EncoderPlacer, MapPlacer
from tsne_ooc.pipeline.run import Run
from tsne_ooc.storage import digest_of as digest_of

ENCODER = "encoder"
# The places of the fitted rows in a saved map; an encoder's map is its teacher's.
_PLACES = {MODEL: "model.embedding", ENCODER: "teacher.model.embedding"}
#: Bytes for what has no known size beforehand: manifests, parameters, what a search keeps besides the rows.
SLACK = 1 << 17


def folder_of(path: StrPath) -> Path:
    """The folder of the model that `path` is, or of the one within a finished run."""
    folder = Path(path)
    return folder / "model" if (folder / "model" / storage.MANIFEST).is_file() else folder


def model_under(run: Run) -> Path:
    """The folder of the model that the rows of a run lie on: its own, or the one that it was placed on.

    Raises
    ------
    FileNotFoundError
        Where it is not there any more.
    ValueError
        Where another one is in its place.
    """
    folder, wanted = run.folder / "model", digest_under(run)
    if "model" in run.manifest:
        folder = Path(run.manifest["model"])
        if not folder.is_dir() and not folder.is_absolute():
            # As it was typed where the rows were placed: most often beside the run.
            folder = run.folder.parent / folder
    if not (folder / storage.MANIFEST).exists():
        raise FileNotFoundError(f"there is no model in {folder}, on which the rows of {run.folder} lie; put it back")
    if digest_of(folder) != wanted:
        raise ValueError(f"the model in {folder} is not the one that the rows of {run.folder} were placed on")
    return folder


def digest_under(run: Run) -> str | None:
    """What tells the model that the rows of a run lie on from another one; None where it did not save a model."""
    if "model" in run.manifest:
        return str(run.manifest["job"]["request"]["model"])
    own = run.folder / "model"
    return digest_of(own) if (own / storage.MANIFEST).exists() else None


def is_model(folder: Path) -> bool:
    """Whether a folder is a saved map or an encoder."""
    return (folder / storage.MANIFEST).is_file() and storage.kind_of(folder) in _PLACES


def saved_places(folder: Path) -> tuple[Float32, Json]:
    """The places of the rows of a saved map or of an encoder's teacher, memory-mapped, and what is told of it.

    Raises
    ------
    OSError, ValueError
        Where it is damaged.
    """
    kind = storage.kind_of(folder)
    found = storage.read_folder(folder, kind, verify=False)
    return found.arrays[_PLACES[kind]], found.content


def bytes_fitted(rows: int, columns: int, axes: int) -> int:
    """Bytes of the folder of a fitted map without its manifest: rows, numbers, places, and 28 to recognise each row."""
    return rows * (4 * columns + 8 + 4 * axes + 28)


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
