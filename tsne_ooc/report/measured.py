"""What was measured of a map, in a table; and the report in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tsne_ooc._options import counted
from tsne_ooc.report import figures
from tsne_ooc.report.estimates import Estimate
from tsne_ooc.report.faithfulness import Faithfulness, Measure
from tsne_ooc.report.scores import Score
from tsne_ooc.report.several import Agreement
from tsne_ooc.report.subject import Subject
from tsne_ooc.report.writing import estimated, listed, paragraph, rounded, table, text

# Correlations below these are told of in words.
_LARGE, _SMALL, _DENSE = 0.7, 0.4, 0.5


def measured(found: Faithfulness | None, told: Sequence[str]) -> str:
    """The section: a table, and what to know of its numbers."""
    notes = listed(map(text, told))
    if found is None or not found.measures:
        return paragraph("This could not be measured:") + notes
    rows = []
    for one in found.measures:
        other = None if one.components is None else one.components.value
        words = f"{one.name}: {estimated(one.map)} on the map"
        bar = figures.share(one.map.value, one.map.error, other, one.chance, words)
        name = f"{text(_sentence(one.name))}<small>{text(one.tells)}</small>"
        rows.append((name, estimated(one.map) + bar, estimated(one.components), rounded(one.chance)))
    drawn = (
        f"All {counted(found.rows, 'rows')} were looked at."
        if found.drawn >= found.rows
        else f"{counted(found.drawn, 'rows')} were drawn and compared with all {found.rows:,}; behind ± is the "
        "standard error, by which another draw would differ: by less than two of them 19 times in 20."
    )
    if found.others < found.rows:
        drawn += f" For 1 % of the rows, {found.others:,} rows that were drawn stand for all."
    key = (
        f'<p class="key faint">On each bar: <i style="background:{figures.MAP}"></i>this map'
        f'<i style="background:{figures.COMPONENTS}"></i>principal components'
        f'<i style="background:{figures.CHANCE}"></i>places at random</p>'
    )
    head = ("measure", "this map", "principal components", "at random")
    return (
        paragraph(drawn)
        + table(head, rows, numbers=(1, 2, 3))
        + key
        + (f"<h3>What to know of these numbers</h3>{notes}" if told else "")
    )


def summary(
    subject: Subject, found: Faithfulness | None, scores: Sequence[Score], compared: Agreement | None
) -> list[str]:
    """The report in a few sentences, which are HTML."""
    lines = []
    recall = None if found is None else found.find("neighbour recall")
    if found is None or recall is None:
        lines.append("How faithful the map is could not be measured; below is why.")
    else:
        lines.append(_of_recall(recall))
        if (large := found.find("rank correlation")) is not None and math.isfinite(large.map.value):
            lines.append(_of_distances(large))
        if (dense := found.find("density")) is not None and not dense.map.value >= _DENSE:
            lines.append("How dense a place looks says little of how dense the data are there.")
    lines += [_of_rows(score, subject) for score in scores if score.name == "novelty"]
    n, fitted = len(subject.Y), subject.content.get("sample")
    if isinstance(fitted, int) and fitted < n and "refined" not in subject.content:
        lines.append(
            f"{n - fitted:,} of {n:,} rows were placed one by one beside the {fitted:,} that were fitted; with "
            "--refine all move together."
        )
    if compared is not None:
        kept = sum(pair.kept.value for pair in compared.pairs) / len(compared.pairs)
        lines.append(
            f"Two of the maps share {kept:.0%} of each row's {compared.k} neighbours; two maps at random would share "
            f"{_percent(compared.chance)}."
        )
    return [text(line) for line in lines]


def _of_recall(one: Measure) -> str:
    k = one.name.rpartition(" ")[2]
    told = f"Of the {k} rows nearest to a row in the data, {_share(one.map)} are among its {k} nearest on the map"
    beside = [f"places at random would keep {_percent(one.chance)}"]
    if one.components is not None:
        beside.insert(0, f"principal components keep {_percent(one.components.value)}")
    return f"{told}; {', '.join(beside)}."


def _of_distances(one: Measure) -> str:
    value = one.map.value
    how = "keeps the large picture" if value >= _LARGE else "keeps the large picture in part"
    if value < _SMALL:
        how = "hardly keeps the large picture"
    beside = ""
    if one.components is not None and math.isfinite(one.components.value):
        beside = f"; on principal components, {one.components.value:.2f}"
    more = "" if value >= _LARGE else " Do not read distances between islands off it."
    return f"The map {how}: the rank correlation of its distances with those of the data is {value:.2f}{beside}.{more}"


def _of_rows(score: Score, subject: Subject) -> str:
    told = subject.content.get("novelty", {})
    if "beyond" not in told:
        return f"The novelty of rows is {score.quantiles[2]:.2f} in the middle."
    share = told["beyond"] / max(1, told["rows"])
    return (
        f"{counted(told['beyond'], 'rows')} ({share:.2%}) lie beyond what the sample knows (novelty above "
        f"{told['threshold']:.2f}): their places say little."
    )


def _share(one: Estimate) -> str:
    error = f" ± {one.error:.1%}" if one.error else ""
    return f"{one.value:.1%}{error}"


def _percent(value: float) -> str:
    return f"{value:.1%}" if value >= 0.001 else f"{100 * value:.2g}%"


def _sentence(name: str) -> str:
    return name[:1].upper() + name[1:]
