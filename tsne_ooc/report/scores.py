"""What is known of each row of a run: columns beside its map, which numbers they are, and what they warn of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsne_ooc._typing import Array, Float64, Int64
from tsne_ooc.novelty import strangest
from tsne_ooc.pipeline import Run

#: Rows that are named.
NAMED = 10
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
# Quantiles are taken of so many rows, from all over the table: a million give them to a thousandth.
_LOOKED_AT = 1 << 20


class Kind(NamedTuple):
    """A score: what it is, what it warns of, and whether high or low numbers do."""

    what: str
    warns: str
    high: bool = True


#: All scores that a page shows, where a run has a column of their name.
KINDS = {
    "novelty": Kind("how far a row is from the sample; 1 is usual", "the sample has nothing like it"),
    "recall": Kind(
        "share of its nearest fitted rows that are near on the map", "its neighbours on the map are others", high=False
    ),
    "singularity": Kind("one over how firmly its place is held", "its place could as well be another one"),
    "perturbation": Kind("how far its place moves when the row is moved a little", "it lies between groups"),
}


class Score(NamedTuple):
    """One score of all rows.

    Parameters
    ----------
    name : str
    kind : Kind
    values : array
        Of rows all over the table, without those that have none.
    quantiles : array
        At `QUANTILES`.
    worst : ndarray of int64
        Numbers of the rows to look at first.
    column : array
        Of all rows.
    """

    name: str
    kind: Kind
    values: Float64
    quantiles: Float64
    worst: Int64
    column: Array


def scores_of(run: Run | None) -> list[Score]:
    """The scores that a run has."""
    if run is None:
        return []
    columns = {**run.arrays, **(run.trust or {})}
    found = []
    for name, kind in KINDS.items():
        column = columns.get(name)
        if column is None or column.ndim != 1:
            continue
        values = np.asarray(column[:: max(1, -(-len(column) // _LOOKED_AT))], np.float64)
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        worst = strangest(column if kind.high else -column, NAMED)
        quantiles = np.quantile(values, QUANTILES, method="inverted_cdf")
        found.append(Score(name, kind, values, quantiles, worst, column))
    return found
