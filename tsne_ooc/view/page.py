"""A map as one page of HTML, which has within it all that it needs."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._options import counted, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Float32, Int64, Json, StrPath
from tsne_ooc.pipeline import Run
from tsne_ooc.plot.colors import PALETTE
from tsne_ooc.plot.column import ALONE, column_of
from tsne_ooc.plot.coordinates import map_behind, map_of
from tsne_ooc.plot.density import count, depth_of
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.rows import MapRows, Together
from tsne_ooc.plot.saving import check_target
from tsne_ooc.plot.scatter import below_of
from tsne_ooc.plot.text import densest
from tsne_ooc.storage.atomic import whole_file
from tsne_ooc.view.payload import column_for, gaps, json_in_html, packed, places, plain, png, short
from tsne_ooc.view.stratified import stratified

#: The most rows that a page shows one by one: a browser draws and searches so many without delay.
MOST = 1_000_000
# The most names that are written on the map.
_NAMED = 40
# Cells across the map, of which the densest decides where a name is written.
_CELLS = 100
# Nine colours of matplotlib's viridis (public domain), between which colours are mixed.
_SCALE = ("#440154", "#472D7B", "#3B528B", "#2C728E", "#21918C", "#28AE80", "#5EC962", "#ADDC30", "#FDE725")
# Of a map of up to so many rows behind others, a row is so many cells wide.
_WIDTHS = ((3_000, 7), (30_000, 5), (300_000, 3))
_SCRIPTS = ("regl.js", "pub-sub-es.js", "regl-scatterplot.js")


def view(
    source: Run | StrPath | ArrayLike,
    color: str | ArrayLike | None = None,
    *,
    out: StrPath,
    columns: Sequence[str] = (),
    behind: Run | StrPath | ArrayLike | None = None,
    data: StrPath | None = None,
    axes: Sequence[int] | None = None,
    title: str | None = None,
    most: int = MOST,
    overwrite: bool = False,
    n_jobs: int | None = None,
) -> Path:
    """Write a map as one page of HTML, which any browser opens from the disk, without a network.

    One can zoom and pan, see what the row under the mouse is, filter by labels and numbers, search, select with a
    lasso, and save the selected rows as CSV. Of more than a million rows the page shows a million one by one, drawn
    evenly over the map and its labels, on a picture of how many rows there are in each place, and says so.

    Parameters
    ----------
    source : Run, path or array_like
        A run, its folder, that of a saved model, a ``.npy`` file of coordinates, or coordinates. Rows that were placed
        on a map are shown over a grey picture of it.
    color : str or array_like, optional
        The column to colour by at first, as in `tsne_ooc.plot.draw`.
    out : path
        The page, ``.html``.
    columns : sequence of str
        Further columns, found like `color`, which are shown for the row under the mouse, and can be coloured by.
    behind : Run, path or array_like, optional
        The map of the grey picture, as in `tsne_ooc.plot.draw`.
    data : path, optional
        The file that has the columns; by default the table that the map was made from.
    axes : two ints, optional
        The two axes of a map of three that are shown, counted from 1.
    title : str, optional
        The title of the page, by default the name of the folder.
    most : int
        The most rows that are shown one by one.
    overwrite : bool
        Replace a page that is there.
    n_jobs : int, optional
        Threads that count; all cores by default.

    Returns
    -------
    Path
        The path of the page.

    Raises
    ------
    OSError
        Where a folder or a file does not exist, is not what it should be, or cannot be written.
    ValueError
        For columns that do not exist or have another length, and for maps that cannot be shown.

    Notes
    -----
    The page is built on regl-scatterplot, regl and pub-sub-es, whose licences are in it. Places are rounded to 16 bits:
    a million rows and their labels take some 7 MB.

    Examples
    --------
    >>> view("map", "cell_type", out="map.html")  # doctest: +SKIP
    """
    check_target(out, overwrite=overwrite, formats=(".html",))
    most = whole("most", most, least=1)
    found = map_of(source, axes)
    rows, threads = MapRows(found.Y), Threads(n_jobs)
    frame = Frame.around(rows, threads)
    there, below = rows.n - frame.lost, map_behind(found, behind, axes)
    under = None if below is None else below_of(below.Y, rows)
    if under is not None:
        frame = Frame.around(Together(under, rows), threads)
    labels = _labels(color, columns, rows.n, found.run, data)
    shown = _shown(rows, frame, labels, most if there > most else None)
    told, parts = [], {}
    for at, (name, values) in enumerate(labels.items()):
        what, cells = column_for(name, values, shown)
        told.append(what)
        parts[f"column{at}"] = packed(cells)
    Y = rows.of(shown)
    if told and told[0]["kind"] == "kinds":
        codes = np.frombuffer(_unpacked(parts["column0"]), np.uint8 if told[0]["bytes"] == 1 else "<u2")
        told[0]["anchors"] = anchors(Y, codes, np.array(told[0]["counts"]), frame)
    parts["places"] = plain(places(Y, frame))
    all_shown = len(shown) == rows.n
    if not all_shown:
        parts["rows"] = packed(gaps(shown))
    grey = [one for one in (rows if len(shown) < there else None, under) if one is not None]
    if grey:
        wide = 1 if under is None else next((wide for most, wide in _WIDTHS if under.n <= most), 1)
        parts["density"] = plain(png(_density(Together(*grey), frame, wide, threads)))
    told_behind = "" if below is None else f"the {len(below.Y):,} rows of {below.name}"
    meta: Json = {
        "title": short(title or found.name), "caption": found.caption, "n": rows.n, "shown": len(shown),
        "all": all_shown, "density": bool(grey), "columns": told,
        "note": _note(rows.n, there, len(shown), frame, told_behind), "palette": PALETTE, "scale": _SCALE,
    }  # fmt: skip
    _write(Path(out), meta, parts)
    return Path(out)


def anchors(Y: Float32, codes: Array, counts: Int64, frame: Frame) -> list[list[int]]:
    """Where names are written: the number of each label, and of a row that is shown where most of its rows are."""
    low, high = frame.square()
    cells = np.clip((Y - low) * (_CELLS / (high - low)), 0, _CELLS - 1).astype(np.int64)
    found = []
    for label in np.argsort(-counts, kind="stable")[:_NAMED].tolist():
        members = np.flatnonzero(codes == label)
        if len(members) == 0:
            continue
        flat = cells[members, 1] * _CELLS + cells[members, 0]
        table = np.bincount(flat, minlength=_CELLS * _CELLS).reshape(_CELLS, _CELLS)
        up, across = densest(table)[0]
        middle = low + (np.array([across, up]) + 0.5) / _CELLS * (high - low)
        nearest = np.square(Y[members] - middle).sum(axis=1).argmin()
        found.append([label, int(members[nearest])])
    return found


def _labels(
    color: str | ArrayLike | None, columns: Sequence[str], n: int, run: Run | None, data: StrPath | None
) -> dict[str, Any]:
    """The columns by their names; the first is the one to colour by."""
    found: dict[str, Any] = {}
    if color is not None:
        if isinstance(color, str):
            found[_called(color)] = column_of(color, n, run, data)
        else:
            given = len(np.asarray(color))
            if given != n:
                raise ValueError(f"color has {counted(given, 'rows')}, and the map {n:,}")
            found["label"] = color
    for name in columns:
        if _called(name) not in found:
            found[_called(name)] = column_of(name, n, run, data)
    return found


def _called(name: str) -> str:
    """The name of a column; a column that is a file of its own has the name of the file."""
    return Path(name).stem if Path(name).suffix.lower() in ALONE else name


def _shown(rows: MapRows, frame: Frame, labels: dict[str, Any], most: int | None) -> Int64:
    """The numbers of the rows that are shown one by one: all that have a place, or so many."""
    if most is None:
        return np.concatenate(
            [start + np.flatnonzero(np.isfinite(block).all(axis=1)) for start, _, block in rows.blocks()]
        )
    codes: Array | None = None
    first = next(iter(labels.values()), None)
    if first is not None:
        told, cells = column_for("", first, np.arange(rows.n))
        if told["kind"] == "kinds":
            codes = np.frombuffer(cells, np.uint8 if told["bytes"] == 1 else "<u2")
    return stratified(rows, frame, codes, most)


def _density(rows: Together, frame: Frame, wide: int, threads: Threads) -> Array:
    """A picture of how many rows each place has, in one colour that can be seen on a light and on a dark ground.

    A cell is about one dot of the page; a row is `wide` cells wide, so that a few thousand can be seen, too.
    """
    counts = count(rows, None, np.zeros((1, 3)), frame.square(), threads)
    depth = 0.8 * depth_of(counts.rows, "equalized")
    if wide > 1:
        from scipy.ndimage import maximum_filter

        # Two rows in a cell are hardly more than one: what matters is where there are any.
        across = np.arange(wide) - wide // 2
        depth = 0.6 * maximum_filter(depth**0.4, footprint=np.add.outer(across**2, across**2) <= wide**2 / 4)
    # Colours are multiplied by their opacity, since the page's shader adds them up.
    return np.stack([0.55 * depth, 0.55 * depth, 0.55 * depth, depth], axis=-1)


def _note(n: int, there: int, shown: int, frame: Frame, behind: str) -> str:
    """What a reader of the page has to know; `behind` are the rows of another map, in words."""
    told = []
    if shown < there:
        told.append(f"{shown:,} of {n:,} rows are shown one by one, drawn evenly over the map and its labels")
    if grey := " and ".join((["all rows"] if shown < there else []) + ([behind] if behind else [])):
        told.append(f"the grey picture behind them is of {grey}")
    if frame.note():
        told.append(frame.note())
    return "; ".join(told)


def _unpacked(text: str) -> bytes:
    import base64
    import gzip

    return gzip.decompress(base64.b64decode(text))


def _write(out: Path, meta: Json, parts: dict[str, str]) -> None:
    """Put the page together, and write it in one step."""
    web = resources.files("tsne_ooc.view") / "web"
    vendor = web / "vendor"
    versions = json.loads((vendor / "versions.json").read_text(encoding="utf-8"))
    built_on = ", ".join(f"{one['name']} {one['version']} ({one['licence']})" for one in versions)
    scripts = [(vendor / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    fills = {
        "TITLE": html.escape(meta["title"]),
        "STYLE": (web / "page.css").read_text(encoding="utf-8"),
        "BUILT_ON": html.escape(built_on),
        "LICENSES": html.escape((vendor / "LICENSES.txt").read_text(encoding="utf-8")),
        "META": json_in_html(meta),
        "PARTS": "\n".join(
            f'<script type="text/plain" id="part-{name}">{text}</script>' for name, text in sorted(parts.items())
        ),
        "SCRIPTS": "\n".join(f"<script>{script}</script>" for script in scripts),
        "PAGE": (web / "page.js").read_text(encoding="utf-8"),
    }
    template = (web / "page.html").read_text(encoding="utf-8")
    # The template is cut at its marks only once, so that a mark within the data is never taken for one.
    first, *others = template.split("{{")
    with whole_file(out.resolve()) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(first)
        for other in others:
            name, _, rest = other.partition("}}")
            file.write(fills[name])
            file.write(rest)
