"""The section on single rows: how their scores are spread, and which rows to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tsne_ooc._labels import column
from tsne_ooc.report import figures
from tsne_ooc.report.scores import KINDS, QUANTILES, Score
from tsne_ooc.report.writing import paragraph, table, text


def of_rows(scores: Sequence[Score], labels: Any) -> str:
    """What is known of rows; empty where nothing is."""
    if not scores:
        return ""
    parts = []
    head = ("score", "what it is", *(f"{q:.0%}" for q in QUANTILES))
    spread = [
        (text(one.name), f"{text(one.kind.what)}<small>{'high' if one.kind.high else 'low'}: "
         f"{text(one.kind.warns)}</small>", *(figures.number(float(value)) for value in one.quantiles))
        for one in scores
    ]  # fmt: skip
    numbers = range(2, 2 + len(QUANTILES))
    parts.append(table(head, spread, caption="How the scores of rows are spread: quantiles.", numbers=numbers))
    for one in scores:
        words = (
            f"Histogram of {one.name}: the middle of the rows has {figures.number(float(one.quantiles[2]))}, and 1 % "
            f"have more than {figures.number(float(one.quantiles[-1]))}."
        )
        parts.append(
            figures.histogram(
                f"{one.name} of the rows; the last bar has all that is beyond.", words, one.values, x=one.name
            )
        )
    parts.append("<h3>Rows to look at first</h3>")
    head = ("score", "row (its score" + (")" if labels is None else ", and its label)"))
    parts.append(table(head, [(text(one.name), _named(one, labels)) for one in scores]))
    if lacking := [name for name in KINDS if name not in {one.name for one in scores}]:
        more = "" if lacking == ["novelty"] else "; tsne-ooc trust tells them"
        parts.append(paragraph(f"This run has no {', '.join(lacking)} of its rows{more}."))
    return "".join(parts)


def _named(score: Score, labels: Any) -> str:
    found = []
    words = None if labels is None else column(labels, "color")
    for row in score.worst.tolist():
        label = "" if words is None else f"; {words[row]}"
        found.append(f"{row} ({figures.number(float(score.column[row]))}{label})")
    return text("; ".join(found))
