"""The report of a map: one page of HTML that says how it was made, and how far to trust it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._options import counted, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import StrPath
from tsne_ooc.pipeline import Run
from tsne_ooc.plot.column import column_of
from tsne_ooc.plot.coordinates import caption_of
from tsne_ooc.plot.picture import labels_for
from tsne_ooc.plot.saving import check_target
from tsne_ooc.report import pictures
from tsne_ooc.report.classes import classes_of
from tsne_ooc.report.faithfulness import Faithfulness, faithfulness
from tsne_ooc.report.made import made
from tsne_ooc.report.measured import measured, summary
from tsne_ooc.report.rows import of_rows
from tsne_ooc.report.scores import scores_of
from tsne_ooc.report.several import agreement
from tsne_ooc.report.stays import stays
from tsne_ooc.report.subject import Subject, evidence, subject_of
from tsne_ooc.report.writing import listed, paragraph, picture, text, write


def report(
    source: Run | StrPath | ArrayLike,
    color: str | ArrayLike | None = None,
    *,
    out: StrPath,
    others: Sequence[Run | StrPath | ArrayLike] = (),
    table: StrPath | None = None,
    data: StrPath | None = None,
    axes: Sequence[int] | None = None,
    title: str | None = None,
    sample: int | None = None,
    random_state: int = 0,
    overwrite: bool = False,
    n_jobs: int | None = None,
) -> Path:
    """Write a page that says how a map was made, and how far to trust it.

    It opens in any browser, with no network and no scripts, and can be printed.

    Parameters
    ----------
    source : Run, path or array_like
        A run, its folder, the folder of a saved model, a ``.npy`` file of coordinates, or coordinates.
    color : str or array_like, optional
        Labels, as in `tsne_ooc.plot.draw`: they colour the map, and the means of their classes are compared.
    out : path
        The page, ``.html``.
    others : sequence of runs, paths or arrays
        Other maps of the same rows, such as of other seeds or samples: which neighbours stay, and which rows change.
    table : path, optional
        Where the rows are now that the map was made from; by default where they were.
    data : path, optional
        The file that has the labels; by default the table that the map was made from.
    axes : two ints, optional
        Which two axes of a map of more are drawn, counted from 1; by default all pairs of them.
    title : str, optional
        By default the name of the folder.
    sample : int, optional
        Rows that are drawn and compared with all others; by default 100 to 1000, the fewer the larger the table is.
    random_state : int
        Seed of what is drawn.
    overwrite : bool
        Replace a page that is there.
    n_jobs : int, optional
        Threads; all cores by default. No number on the page depends on it.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    OSError
        Where a folder or a file does not exist, is not what it should be, or cannot be written.
    ValueError
        For labels that do not exist or are of another length, and for maps that cannot be compared.

    Notes
    -----
    Where the table is not there any more, or has changed, the page says so. It then measures the fitted rows that the
    model of the run holds.

    Examples
    --------
    >>> report("map", "cell_type", out="report.html")  # doctest: +SKIP
    """
    check_target(out, overwrite=overwrite, formats=(".html",))
    sample = None if sample is None else whole("sample", sample, least=2)
    seed = whole("random_state", random_state, least=0)
    threads = Threads(n_jobs)
    several = [others] if isinstance(others, str | os.PathLike | Run) else others
    subjects = [subject_of(one, n_jobs) for one in (source, *several)]
    first = subjects[0]
    labels = _labels(color, first, data)
    # Before the work: maps of other rows are told at once.
    compared = agreement(subjects, threads, seed) if len(subjects) > 1 else None
    drawn = _drawn(first, labels, axes, threads)
    found, told = _faithfulness(first, labels, color, table, sample, seed, threads)
    scores = scores_of(first.run)
    name = title or first.name
    sections = [
        ("map", "The map", drawn),
        ("faithful", "How faithful it is", measured(found, told)),
        ("rows", "Row by row", of_rows(scores, labels)),
        ("several", "Beside other maps", "" if compared is None else stays(compared, subjects, labels, threads)),
        ("made", "How it was made", made(first)),
    ]
    there = [one for one in sections if one[2]]
    contents = "".join(f'<li><a href="#{anchor}">{text(words)}</a></li>' for anchor, words, _ in there)
    body = [
        f'<header><h1>{text(name)}</h1><p class="faint">{text(_about(first))}</p>',
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav></header>',
        f'<section class="short" aria-label="In short">{listed(summary(first, found, scores, compared))}</section>',
        *(f'<section id="{anchor}"><h2>{text(words)}</h2>{inside}</section>' for anchor, words, inside in there),
        f"<footer>Written by tsne_ooc {text(_version())}. Drawn with seed {seed}.</footer>",
    ]
    write(Path(out), f"{name}: how far to trust the map", "\n".join(body))
    return Path(out)


def _version() -> str:
    from tsne_ooc import __version__

    return __version__


def _about(subject: Subject) -> str:
    n, d = subject.Y.shape
    told = caption_of(subject.content) if subject.content else counted(n, "rows")
    return f"A map of {told} · {counted(d, 'axes') if d != 1 else '1 axis'}"


def _labels(color: str | ArrayLike | None, subject: Subject, data: StrPath | None) -> Any:
    if color is None:
        return None
    n = len(subject.Y)
    found: Any = column_of(color, n, subject.run, data) if isinstance(color, str) else color
    if len(found) != n:
        raise ValueError(f"color has {counted(len(found), 'labels')}, and the map {n:,} rows")
    return found


def _drawn(subject: Subject, labels: Any, axes: Sequence[int] | None, threads: Threads) -> str:
    """The pictures of the map."""
    if not subject.there.any():
        return paragraph("No row has a place: all coordinates are NaN or infinite.")
    few = labels_for(labels, len(subject.Y), subject.run, None) if labels is not None else None
    caption = caption_of(subject.content) if subject.content else ""
    parts = []
    for plane in pictures.planes(subject.Y.shape[1], axes):
        which = f", axes {' and '.join(map(str, plane))}" if subject.Y.shape[1] > 2 else ""
        words = f"The map{which}: each row at its place" + (", coloured by its label" if few is not None else "")
        png = pictures.of_map(subject.Y, few, caption, plane, threads)
        parts.append(picture(png, words, "" if not which else words))
    if not pictures.has_matplotlib():
        parts.append(paragraph("How many rows lie where. With matplotlib the map has its labels and their colours."))
    parts.append(paragraph(
        "Its axes have no unit and no meaning of their own. How far islands are from each other, and how large they "
        "are, says little; who is near whom says more, as far as the next section goes."
    ))  # fmt: skip
    return "".join(parts)


def _faithfulness(
    subject: Subject, labels: Any, color: Any, table: StrPath | None, sample: int | None, seed: int, threads: Threads
) -> tuple[Faithfulness | None, list[str]]:
    with evidence(subject, table, threads) as found:
        told = [*subject.told, *found.told]
        if found.space is None:
            return None, [*told, "so its neighbours cannot be compared with those of the data"]
        classes = None
        if labels is not None:
            classes, why = classes_of(labels, color if isinstance(color, str) else "color")
            told += [why] if why else []
        if classes is not None and found.rows is not None:
            classes = classes._replace(codes=classes.codes[found.rows])
        measured = faithfulness(found.space, np.asarray(found.Y), classes, sample=sample, seed=seed)
    return measured, [*told, *measured.notes]
