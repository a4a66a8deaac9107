"""The coordinates that are drawn, wherever they are, and those of the map that they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc import storage
from tsne_ooc._context import warn
from tsne_ooc._options import counted, whole
from tsne_ooc._typing import Array, Float32, Named, StrPath
from tsne_ooc.pipeline import Run, open_run
from tsne_ooc.pipeline.models import (
    ENCODER,
    digest_of,
    digest_under,
    folder_of,
    is_model,
    model_under,
    saved_places,
)
from tsne_ooc.plot.npy import reading_npy


class MapToDraw(NamedTuple):
    """Coordinates, the run that they are from, their name, and a caption."""

    Y: Array
    run: Run | None
    name: str
    caption: str


def map_of(source: Run | StrPath | ArrayLike, axes: Sequence[int] | None = None) -> MapToDraw:
    """The coordinates of a run, of a saved model, of a file or an array: their two `axes`, which are counted from 1.

    Raises
    ------
    OSError
        Where there is no such folder or file, or it is not that of a map.
    ValueError
        For axes that the map does not have, and a map of more than two where none are named.
    """
    if isinstance(source, str | Path) and is_model(Path(source)):
        found, what = _of_model(Path(source)), str(source)
    else:
        found, what = coordinates_of(source)
    return found._replace(Y=_axes(found.Y, axes, what))


def coordinates_of(source: Run | StrPath | ArrayLike) -> tuple[MapToDraw, str]:
    """The coordinates of a run, its folder, a file or an array with all axes, and what messages call them."""
    run: Run | None = None
    if isinstance(source, Run):
        run = source
    elif isinstance(source, str | Path):
        path = Path(source)
        if path.suffix.lower() == ".npy" and not path.is_dir():
            return MapToDraw(_coordinates(path), None, path.stem, ""), str(path)
        if path.is_dir() and (path / "embedding.npy").exists() and not (path / "manifest.json").exists():
            raise FileNotFoundError(
                f"{path} holds no manifest.json, so its run did not end, or lost it; its coordinates alone can be "
                f"drawn: {path / 'embedding.npy'}"
            )
        if not path.exists():
            raise FileNotFoundError(f"there is no folder or file {path}")
        if path.is_file():
            raise ValueError(f"{path} is neither the folder of a run nor a .npy file of coordinates")
        run = open_run(path)
    else:
        return MapToDraw(np.asarray(source), None, "map", ""), "the map"
    return MapToDraw(run.embedding, run, run.folder.name, caption_of(run.manifest)), str(run.folder)


def map_behind(
    found: MapToDraw, given: Run | StrPath | ArrayLike | None, axes: Sequence[int] | None
) -> MapToDraw | None:
    """The map that some rows lie on: the one that is given, or else the one that a run placed its rows on.

    Raises
    ------
    OSError, ValueError
        As `map_of` raises them, for a map that is given; also where it is another map than that of the rows.
    """
    if given is not None:
        behind = map_of(given, axes)
        if found.run is not None and _is_another(found.run, given):
            raise ValueError(f"the rows of {found.name} do not lie on {behind.name}, but on another map")
        return behind
    if found.run is None or "model" not in found.run.manifest:
        return None
    try:
        folder = model_under(found.run)
        # The map that was published is all that a run made, and not only what it fitted.
        return map_of(folder.parent if _is_of_a_run(folder) else folder, axes)
    except (OSError, ValueError) as error:
        warn(
            f"the map behind the rows of {found.name} is not drawn: {error}; "
            "or say where it is with behind= (--behind)",
        )
        return None


def caption_of(manifest: Named) -> str:
    """A line that says how a map was made."""
    told = [counted(int(manifest["n_samples"]), "rows")]
    sample = manifest.get("sample")
    if isinstance(sample, int) and sample < manifest["n_samples"]:
        told.append(f"{sample:,} fitted")
    if manifest.get("refined"):
        told.append("all refined")
    parameters = manifest.get("parameters") or {}
    if parameters.get("affinity") in ("perplexity", "multiscale", "mixture") and "perplexity" in parameters:
        told.append(f"perplexity {parameters['perplexity']}")
    if "exaggeration" in parameters:
        exaggeration = parameters["exaggeration"]
        told.append(f"exaggeration {1 if exaggeration is None else exaggeration}")
    return " · ".join(told)


def _of_model(folder: Path) -> MapToDraw:
    Y, content = saved_places(folder)
    return MapToDraw(Y, None, folder.name, caption_of({**content, "n_samples": len(Y)}))


def _is_of_a_run(model: Path) -> bool:
    return model.name == "model" and (model.parent / storage.MANIFEST).is_file()


def _is_another(run: Run, given: Run | StrPath | ArrayLike) -> bool:
    """Whether the rows of a run are known to lie on another map than the one that is given."""
    wanted, there = digest_under(run), _digest(given)
    if wanted is None or there is None or wanted == there:
        return False
    try:
        # An encoder puts rows on the map of its teacher, which it does not name.
        return storage.kind_of(model_under(run)) != ENCODER
    except (OSError, ValueError):
        return True


def _digest(source: Run | StrPath | ArrayLike) -> str | None:
    """What tells the model of a map from another one; None where it is not known."""
    if isinstance(source, Run):
        return digest_under(source)
    if not isinstance(source, str | Path) or not (Path(source) / storage.MANIFEST).is_file():
        return None
    folder = folder_of(source)
    return digest_of(folder) if is_model(folder) else digest_under(open_run(source))


def _coordinates(path: Path) -> Float32:
    with reading_npy(path):
        found: Float32 = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _axes(Y: Array, axes: Sequence[int] | None, what: str) -> Array:
    if Y.ndim != 2:
        raise ValueError(f"{what} has shape {Y.shape}; a map has a row for each row and a column for each axis")
    if axes is None:
        if Y.shape[1] > 2:
            raise ValueError(f"{what} has {Y.shape[1]} axes; say which two to draw, such as axes=(1, 2) (--axes 1,2)")
        return Y
    numbers = [whole("axes", one, least=1, most=Y.shape[1]) for one in axes]
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise ValueError(f"axes={tuple(axes)} must be two different axes, such as axes=(1, 2) (--axes 1,2)")
    return Y[:, [numbers[0] - 1, numbers[1] - 1]] if numbers != [1, 2] else Y[:, :2]
