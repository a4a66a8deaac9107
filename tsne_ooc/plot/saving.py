"""Pictures are written to files that are whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsne_ooc._options import unknown
from tsne_ooc._typing import StrPath
from tsne_ooc.storage.atomic import whole_file

#: Endings of file names, which choose the format.
FORMATS = (".png", ".svg", ".pdf")


def check_target(out: StrPath, *, overwrite: bool = False, formats: tuple[str, ...] = FORMATS) -> None:
    """Raise where a picture could not be written; this is called before it is drawn.

    Raises
    ------
    ValueError
        For an ending that is not known.
    OSError
        Where there is no folder for it, or the file exists already (without `overwrite`).
    """
    path = Path(out)
    if path.suffix.lower() not in formats:
        raise unknown("out", path.name, (f"*{ending}" for ending in formats))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.resolve().parent} to write {path.name} in")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; pass overwrite=True (--overwrite) to replace it")


def save(figure: Any, out: StrPath, *, overwrite: bool = False) -> None:
    """Write a figure to a file, which is whole or absent; the same picture gives the same bytes.

    Raises
    ------
    ValueError, OSError
        As `check_target` raises them.
    """
    check_target(out, overwrite=overwrite)
    path = Path(out).resolve()
    kind = path.suffix.lower().removeprefix(".")
    # Without a date, and without random names in SVG, the bytes are always the same.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    import matplotlib

    from tsne_ooc.plot.figure import lay_out

    engine = figure.get_layout_engine()
    with matplotlib.rc_context({"svg.hashsalt": "tsne_ooc", "pdf.fonttype": 42}), whole_file(path) as part:
        if engine is not None and kind == "png":
            # Saving would do the same with all images, a tenth of the time of a million rows. In vector graphics words
            # have other sizes, so that it has to be done there.
            lay_out(figure)
            figure.set_layout_engine("none")
        try:
            figure.savefig(part, format=kind, metadata=metadata)
        finally:
            figure.set_layout_engine(engine)
