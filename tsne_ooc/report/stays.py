"""The section on several maps: what stays, what changes, and what is chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsne_ooc._labels import column
from tsne_ooc._options import counted
from tsne_ooc._parallel import Threads
from tsne_ooc.plot.picture import labels_for
from tsne_ooc.report import pictures
from tsne_ooc.report.classes import classes_of
from tsne_ooc.report.several import Agreement, Pair
from tsne_ooc.report.subject import Subject
from tsne_ooc.report.writing import estimated, listed, paragraph, picture, rounded, table, text

# Labels of which it is told how much of them stays.
_LABELS = 20


def stays(found: Agreement, subjects: Sequence[Subject], labels: Any, threads: Threads) -> str:
    """What several maps have in common."""
    names = _names(subjects)
    # What a map keeps on another one is what the other keeps on it, but for rows that many rows have near.
    rows = [
        (
            f"{text(names[one.first])} and {text(names[one.second])}",
            estimated(one.kept),
            f"{one.moved:.3f}",
            _differ(one),
        )
        for one in found.pairs
    ]
    rows.append(("two maps at random", rounded(found.chance), "", "the number of neighbours over that of other rows"))
    rows.append(("the same run once more", "1.000", "", "the same seed gives the same bits"))
    head = ("maps", "neighbours kept", "moved", "what was asked for otherwise")
    parts = [
        paragraph(
            f"Of {counted(len(found.rows), 'rows')} the {found.k} nearest on each map are compared. One map is laid on "
            "the other, turned, mirrored and scaled as well as that can be done; what the median row then lies from "
            "where it was is told in widths of the map."
        ),
        table(head, rows, numbers=(1, 2)),
        paragraph(
            "What is kept between maps of other seeds is what the data decide; what is not kept was chance. To "
            "compare: of 1,797 digits, maps of other seeds keep 0.84, and maps fitted to other halves of them 0.48. "
            "Islands that lie elsewhere need not mean anything, as long as the same rows are in them."
        ),
    ]
    parts.append("<h3>Which rows change</h3>")
    words = None if labels is None else column(labels, "color")
    listed_rows = [
        (f"{found.rows[at]:,}", *([text(words[found.rows[at]])] if words is not None else []),
         f"{found.kept[at]:.2f}", f"{found.moved[at]:.3f}")
        for at in found.changed().tolist()
    ]  # fmt: skip
    columns = ("row", *(["label"] if labels is not None else []), "neighbours kept", "moved")
    caption = f"Of the {counted(len(found.rows), 'rows')} that were looked at, those that keep the fewest neighbours."
    parts.append('<div class="pair">')
    parts.append(table(columns, listed_rows, caption=caption, numbers=(len(columns) - 2, len(columns) - 1)))
    if labels is not None:
        parts.append(_by_label(found, labels))
    parts.append("</div>")
    if pictures.has_matplotlib() and all(one.Y.shape[1] == 2 for one in subjects):
        few = None if labels is None else labels_for(labels, len(subjects[0].Y), None, None)
        for at, other in enumerate(subjects[1:], start=1):
            png = pictures.of_two(subjects[0].Y, other.Y, few, (names[0], names[at]), threads)
            told = f"{names[0]}, laid on {names[at]}, beside it, and how far each row moved"
            parts.append(picture(png, told, told))
    else:
        parts.append(paragraph("Maps of two axes would be drawn side by side here, with matplotlib."))
    return "".join(parts)


def _names(subjects: Sequence[Subject]) -> list[str]:
    """Names of the maps; with numbers where two have the same."""
    names = [one.name for one in subjects]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({at})" for at, name in enumerate(names, start=1)]


def _differ(pair: Pair) -> str:
    return listed(map(text, pair.differ)) or "nothing that is known"


def _by_label(found: Agreement, labels: Any) -> str:
    classes, _ = classes_of(labels, "color")
    if classes is None or not len(classes.names):
        return ""
    codes = classes.codes[found.rows]
    known = codes >= 0
    counts = np.bincount(codes[known], minlength=len(classes.names))
    sums = np.bincount(codes[known], weights=found.kept[known], minlength=len(classes.names))
    there = np.flatnonzero(counts)
    shares = sums[there] / counts[there]
    order = np.argsort(shares, kind="stable")[:_LABELS]
    rows = [(text(classes.names[there[at]]), f"{shares[at]:.3f}", f"{counts[there[at]]:,}") for at in order.tolist()]
    return table(
        ("label", "neighbours kept", "rows looked at"), rows, caption="By label, those that keep the fewest first.",
        numbers=(1, 2),
    )  # fmt: skip
