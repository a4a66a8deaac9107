"""The picture of a finished run, whose colours are columns that are found by their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import categories_of
from tsne_ooc._options import counted, whole
from tsne_ooc._typing import Array, Float32, Named, StrPath
from tsne_ooc.pipeline import Run, open_run
from tsne_ooc.plot.beside import beside as draw_beside
from tsne_ooc.plot.column import column_of
from tsne_ooc.plot.labels import MOST_WORDS, most_frequent
from tsne_ooc.plot.panels import panels
from tsne_ooc.plot.scatter import scatter

log = logging.getLogger(__name__)

#: How many labels keep their own colour where a column has more words than colours can tell apart.
KEPT = 40


class MapToDraw(NamedTuple):
    """Coordinates, the run that they are from, their name, and a caption."""

    Y: Array
    run: Run | None
    name: str
    caption: str


def draw(
    source: Run | StrPath | ArrayLike,
    color: str | ArrayLike | None = None,
    *,
    by: str | ArrayLike | None = None,
    other: Run | StrPath | ArrayLike | None = None,
    data: StrPath | None = None,
    axes: Sequence[int] | None = None,
    highlight: ArrayLike | None = None,
    colors: Sequence[Any] | Mapping[Any, Any] | str | None = None,
    title: str | None = None,
    legend: bool = True,
    text: bool = True,
    shading: str = "equalized",
    dark: bool = False,
    dpi: int = 200,
    n_jobs: int | None = None,
) -> Any:
    """Draw a finished run, coloured by a column that is found by its name.

    Parameters
    ----------
    source : Run, path or array_like
        A run, its folder, a ``.npy`` file of coordinates, or coordinates.
    color : str or array_like, optional
        What to colour by: ``"novelty"`` or ``"sampled"``; ``"recall"``, ``"singularity"`` or ``"perturbation"`` of a
        run whose rows are scored; a column of the table that the map was made from (of ``obs``, a dataset, a gene), or
        of `data`; a file with one column; or the labels themselves. Of more than 100 words the 40 most frequent have a
        colour each, and all others have one together.
    by : str or array_like, optional
        Groups of rows, found in the same way; each gets a small picture of its own.
    other : Run, path or array_like, optional
        Another map of the same rows, which is drawn beside the first, with how far rows moved.
    data : path, optional
        The file that has the columns.
    axes : two ints, optional
        The two axes of a map of three that are drawn, counted from 1.
    highlight : array_like of int or bool, optional
        Rows that are drawn large, while the others are grey.
    colors, legend, text, shading, dark, title, dpi, n_jobs
        As in `scatter`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    OSError
        Where a folder or a file does not exist or is not what it should be.
    ValueError
        For columns that do not exist or have another length, and for maps that cannot be drawn.

    Examples
    --------
    >>> draw("map", "cell_type").savefig("map.png")  # doctest: +SKIP
    """
    found = map_of(source, axes)
    n = len(found.Y)
    labels = None if color is None else labels_for(color, n, found.run, data)
    common: dict[str, Any] = {
        "colors": colors, "legend": legend, "shading": shading, "dark": dark, "dpi": dpi, "n_jobs": n_jobs,
        "caption": found.caption,
    }  # fmt: skip
    if by is not None and other is not None:
        raise ValueError("by and other are two pictures; ask for one of them")
    if highlight is not None and (by is not None or other is not None):
        raise ValueError("highlight is for a picture of one map; leave out by and other")
    if by is not None:
        groups = column_of(by, n, found.run, data) if isinstance(by, str) else by
        return panels(found.Y, groups, labels, **common)
    if other is not None:
        second = map_of(other, axes)
        return draw_beside(found.Y, second.Y, labels, titles=(found.name, second.name), **common)
    ax = scatter(found.Y, labels, title=title, text=text, highlight=highlight, **common)
    return ax.figure


def labels_for(color: str | ArrayLike, n: int, run: Run | None, data: StrPath | None) -> Any:
    """Labels that are named or given; of too many words only the most frequent ones are kept."""
    labels: Any = column_of(color, n, run, data) if isinstance(color, str) else color
    words = np.asarray(labels).dtype.kind in "OUS" or categories_of(labels) is not None
    if words:
        few = most_frequent(labels, MOST_WORDS)
        others = [one for one in categories_of(few) or () if str(one).endswith(" others")]
        if others:
            few = most_frequent(labels, KEPT)
            told = counted(KEPT, "labels")
            log.info("more words than colours can tell apart: the %s of most rows keep their own", told)
        labels = few
    return labels


def map_of(source: Run | StrPath | ArrayLike, axes: Sequence[int] | None = None) -> MapToDraw:
    """The coordinates of a run, its folder, a file or an array: their two `axes`, which are counted from 1.

    Raises
    ------
    OSError
        Where there is no such folder or file, or it is not that of a run.
    ValueError
        For axes that the map does not have, and a map of more than two where none are named.
    """
    found, what = coordinates_of(source)
    return found._replace(Y=_axes(found.Y, axes, what))


def coordinates_of(source: Run | StrPath | ArrayLike) -> tuple[MapToDraw, str]:
    """The same with all its axes, and what messages call it."""
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


def caption_of(manifest: Named) -> str:
    """A line that says how a map was made."""
    told = [counted(int(manifest["n_samples"]), "rows")]
    sample = manifest.get("sample")
    if isinstance(sample, int) and sample < manifest["n_samples"]:
        told.append(f"{sample:,} fitted")
    parameters = manifest.get("parameters") or {}
    if parameters.get("affinity") in ("perplexity", "multiscale", "mixture") and "perplexity" in parameters:
        told.append(f"perplexity {parameters['perplexity']}")
    if "exaggeration" in parameters:
        exaggeration = parameters["exaggeration"]
        told.append(f"exaggeration {1 if exaggeration is None else exaggeration}")
    return " · ".join(told)


def _coordinates(path: Path) -> Float32:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        found: Float32 = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}") from None
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
