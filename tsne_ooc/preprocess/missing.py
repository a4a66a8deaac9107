"""What becomes of missing values: rows without them alone, or values in their place that are fitted while streaming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tsne_ooc._options import counted, unknown
from tsne_ooc._random import generator
from tsne_ooc._typing import Array, Bool, Float64, Int64, Json
from tsne_ooc.io.lacking import rows_with_values, whole_rows
from tsne_ooc.preprocess.base import checked_array
from tsne_ooc.preprocess.medians import Medians
from tsne_ooc.preprocess.statistics import beyond_range
from tsne_ooc.sampling import draw
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes
    from tsne_ooc.preprocess.statistics import Statistics

HOW = ("drop", "keep", "mean", "median", "neighbors", "indicator")
# Which rows these leave, of all that they are asked about.
DROPPING = {"drop": whole_rows, "keep": rows_with_values}
# Rows that "neighbors" keeps, and how many of them a value is the mean of, as in scikit-learn's KNNImputer. Of 1,797
# digits with a fifth of 48 pixels taken away, what is filled in is off by so much (a column's mean by 1.00): 300 rows
# 0.68, 1,000 rows 0.59, all 0.56. A row that lacks something then takes .15 ms, and the model holds 400 kB.
DONORS, NEIGHBORS = 1000, 5


@dataclass(frozen=True)
class Missing:
    """Say what becomes of missing values: NaN, nulls, masked cells. Without this step they are an error.

    It is the first step, or the first one behind `OneHot`. What it fills in is fitted on the table in one pass, saved
    with the map, and the same for every later row.

    Parameters
    ----------
    how : {"drop", "keep", "mean", "median", "neighbors", "indicator"}
        "drop": rows that lack a value are neither fitted nor placed; they keep their numbers, and their places are NaN.
        "keep": what is missing stays so, for ``metric="nan_euclidean"``, which does this without being told. Rows that
        lack every value are left out as "drop" has it. Behind it, columns can be scaled and logarithms taken.
        "mean", "median": that of the column's values. The median is exact for tables of up to some 80,000 rows of 50
        columns; for larger ones it is that of a uniform sample of the column's values (`FittedMissing.rank_error`).
        "neighbors": the mean of the column among the 5 nearest of 1,000 rows that are kept, by the columns that both
        have, each divided by its standard deviation.
        "indicator": the mean, and at the end a column of zeros and ones for each column that lacks values in the fit.

    Raises
    ------
    ValueError
        For another word; while it is fitted, for a column that has no value at all.
    """

    how: str
    kind: ClassVar[str] = "missing"
    affine: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise unknown("missing", self.how, HOW)

    def needs(self, width: int) -> frozenset[str]:
        return frozenset()

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedMissing:
        n, p = rows.n, rows.width
        total, values, lacking = Totals(p), np.zeros(p), np.zeros(p, np.int64)
        medians = Medians(p, rows.seed) if self.how == "median" else None
        numbers = draw(n, DONORS, generator(rows.seed, "donors")) if self.how == "neighbors" else None
        donors = np.empty((0 if numbers is None else len(numbers), p))
        dropped: list[Int64] = []
        for first, tile in rows.tiles():
            gaps = np.isnan(tile)
            lacking += gaps.sum(axis=0)
            if self.how in DROPPING:
                dropped.append(first + np.flatnonzero(~DROPPING[self.how](tile)))
                continue
            if numbers is not None:
                a, b = np.searchsorted(numbers, [first, first + len(tile)])
                donors[a:b] = tile[numbers[a:b] - first]
            if medians is None:
                total.add(tile, gaps)
            else:
                medians.add(tile, gaps)
        if self.how in DROPPING:
            without = np.concatenate([*dropped, np.empty(0, np.int64)])
            if len(without) == n:
                raise ValueError(
                    f"all {counted(n, 'rows')} lack a value, so missing='drop' leaves none; leave out columns that "
                    f"lack many (column {int(lacking.argmax())} lacks {lacking.max():,}), or fill values in"
                    if self.how == "drop" else f"none of {counted(n, 'rows')} has a value in any column"
                )  # fmt: skip
            if self.how == "keep":
                _check_columns(lacking, n)
            return FittedMissing(self, values, lacking, without, n_fitted=n)
        _check_columns(lacking, n)
        if medians is None:
            values, error = total.means(), 0.0
        else:
            values, error = medians.finish()
        return FittedMissing(self, values, lacking, donors=donors, rank_error=error, n_fitted=n)


def _check_columns(lacking: Int64, n: int) -> None:
    if (lacking == n).any():
        raise ValueError(
            f"column {int((lacking == n).argmax())} has no value in any of {counted(n, 'rows')}; leave it out"
        )


class Totals:
    """Means of columns by the values that they have, by one pass."""

    def __init__(self, p: int) -> None:
        # Sums are of distances from each column's first value: columns far from 0 would lose what their values differ
        # by.
        self.origin, self.total, self.count = np.full(p, np.nan), np.zeros(p), np.zeros(p, np.int64)

    def add(self, tile: Float64, gaps: Bool) -> None:
        unknown_yet = np.isnan(self.origin) & ~gaps.all(axis=0)
        if unknown_yet.any():
            first = (~gaps).argmax(axis=0)
            self.origin[unknown_yet] = tile[first, np.arange(len(first))][unknown_yet]
        with np.errstate(over="ignore", invalid="ignore"):
            self.total += np.where(gaps, 0.0, tile - self.origin).sum(axis=0)
        self.count += len(tile) - gaps.sum(axis=0)

    def means(self) -> Float64:
        found = self.origin + self.total / self.count
        if not np.isfinite(found).all():
            raise beyond_range(int(np.isfinite(found).argmin()))
        return np.asarray(found)


@dataclass(frozen=True)
class FittedMissing:
    """What is filled in.

    Attributes
    ----------
    step : Missing
    values : ndarray of float64, shape (p,)
        What stands for a missing value of each column (of "neighbors": where no row that is kept has one).
    lacking : ndarray of int64, shape (p,)
        How many rows of the fit lack each column.
    dropped : ndarray of int64 or None
        Of "drop" and "keep": numbers of the rows of the fit that are left out, ascending. They are not saved.
    donors : ndarray of float64, shape (m, p)
        Of "neighbors": the rows that are kept, with NaN where they lack a value themselves.
    rank_error : float
        Of "median": one standard deviation of the share of values below it, about a half; 0 where it is exact.
    n_fitted : int
        Rows of the fit.
    """

    step: Missing
    values: Float64
    lacking: Int64
    dropped: Int64 | None = None
    donors: Float64 | None = None
    rank_error: float = 0.0
    n_fitted: int = 0

    @property
    def width_in(self) -> int:
        return len(self.values)

    @property
    def width_out(self) -> int:
        return len(self.values) + (len(self._told) if self.step.how == "indicator" else 0)

    @property
    def drops(self) -> bool:
        """Whether rows that lack a value, or every value, are left out."""
        return self.step.how in DROPPING

    @property
    def leaves_gaps(self) -> bool:
        """Whether rows that are kept may still lack values."""
        return self.step.how == "keep"

    def kept(self, rows: Array) -> Bool:
        """Which rows are not left out, where some are."""
        return DROPPING[self.step.how](rows)

    @property
    def _told(self) -> Int64:
        """Columns that have one of zeros and ones beside them."""
        return np.flatnonzero(self.lacking)

    def apply(self, rows: Float64, first_row: int) -> Float64:
        # Rows that are dropped do not come here.
        gaps = np.isnan(rows)
        if self.leaves_gaps:
            # There are millions of NaN; rows that lack the same are to have the same bits.
            rows[gaps] = np.nan
            return rows
        if self.step.how == "indicator":
            rows, given = np.empty((len(rows), self.width_out)), rows
            rows[:, : self.width_in] = given
            rows[:, self.width_in :] = gaps[:, self._told]
        at = np.nonzero(gaps)
        if not len(at[0]):
            return rows
        if self.step.how == "neighbors":
            from tsne_ooc._kernels.fill import fill_from_nearest

            fill_from_nearest(rows, self.donors, self._scale, NEIGHBORS, self.values)
            return rows
        rows[at] = self.values[at[1]]
        return rows

    @property
    def _scale(self) -> Float64:
        assert self.donors is not None
        gaps = np.isnan(self.donors)
        count = np.maximum(1, (~gaps).sum(axis=0))
        away = np.where(gaps, 0.0, self.donors - self.values)
        away -= away.sum(axis=0) / count
        scale = np.sqrt(np.where(gaps, 0.0, away * away).sum(axis=0) / count)
        return np.where(scale > 0, scale, 1.0)

    def undo(self, rows: Float64) -> Float64:
        return rows[:, : self.width_in]

    def forward(self, statistics: Statistics) -> Statistics | None:
        return None

    def state(self) -> State:
        arrays: dict[str, Array] = {"values": self.values, "lacking": self.lacking}
        if self.step.how == "neighbors":
            assert self.donors is not None
            gaps = np.isnan(self.donors)
            arrays |= {"donors": np.where(gaps, 0.0, self.donors), "gaps": gaps}
        return {"how": self.step.how, "rank_error": self.rank_error, "n_fitted": self.n_fitted}, arrays

    @classmethod
    def from_state(cls, json: Json, arrays: Json, width: int) -> FittedMissing:
        step = Missing(json["how"])
        values = checked_array(arrays, "values", (width,))
        lacking = checked_array(arrays, "lacking", (width,), np.int64)
        donors = None
        if step.how == "neighbors":
            m = len(arrays.get("donors", ()))
            donors = checked_array(arrays, "donors", (m, width))
            gaps = checked_array(arrays, "gaps", donors.shape, np.bool_)
            donors = np.where(gaps, np.nan, donors)
        return cls(step, values, lacking, None, donors, float(json["rank_error"]), int(json["n_fitted"]))
