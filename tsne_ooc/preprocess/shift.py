"""Columns far from 0, whose values single precision would merge: they are found, and shifted in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._typing import Array, Bool, Float64, Json, TableLike
from tsne_ooc.io import as_source
from tsne_ooc.preprocess.base import checked_array
from tsne_ooc.preprocess.rows import working_type
from tsne_ooc.sampling import take
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes
    from tsne_ooc.preprocess.statistics import Statistics

# Rows looked at, evenly over the table: a column loses a tenth of so many values where rounding errors reach half a
# hundredth of its standard deviation, as those of 1e5 + normal do. In a file they touch at most as many chunks.
LOOKED_AT = 128
# Values of a column that differ by less than this part of its largest count as one value, computed in two ways.
NOISE = 2.0**-44
# So large a share of the values looked at has to be lost before anything is done; ordinary tables keep their bits.
MERGED = 0.1


class Precision(NamedTuple):
    """What single precision does to the columns of a table.

    Parameters
    ----------
    known, kept, saved : ndarray of int, shape (p,)
        How many different values there are among the rows looked at, how many are left in float32, and how many after
        the shift.
    centre : ndarray of float64, shape (p,)
        What to subtract.
    """

    known: NDArray[np.intp]
    kept: NDArray[np.intp]
    saved: NDArray[np.intp]
    centre: Float64

    @property
    def helped(self) -> Bool:
        """Columns that the shift saves."""
        return _merges(self.known, self.kept) & (self.saved > self.kept + MERGED * self.known)

    def lost(self, shifted: bool) -> NDArray[np.intp]:
        """Columns that lose more than half of their values, after the shift or without it."""
        kept = np.where(self.helped, self.saved, self.kept) if shifted else self.kept
        return np.flatnonzero(2 * kept < self.known)


def look_at(source: TableLike) -> Precision | None:
    """A look at a table; None where single precision holds its numbers exactly.

    Raises
    ------
    ValueError, TypeError, OSError
        For rows that are not finite numbers or cannot be read, naming row and column.
    """
    table = as_source(source)
    n = table.shape[0]
    if working_type(table.dtype) == np.float32 or not n:
        return None
    rows = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(np.int64))
    # Whole numbers of 8 bytes, such as identifiers, are merged by float64, too. (Some systems have no longer type.)
    long = np.dtype(table.dtype).kind in "iu" and np.dtype(table.dtype).itemsize == 8
    exact: Array = take(table, rows, dtype=np.longdouble if long else np.float64)
    values: Float64 = exact.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32).astype(np.float64)
    p = values.shape[1]
    known, kept, centre = np.ones(p, np.intp), np.ones(p, np.intp), np.zeros(p)
    # A value beyond the range of float32 raises its own error later on.
    # What is missing, where it may be, is no value: it differs from nothing.
    gaps = np.isnan(values)
    at = np.flatnonzero(((single != exact) & ~gaps).any(axis=0) & (np.isfinite(single) | gaps).all(axis=0))
    if not len(at):
        return None
    looked = exact[:, at]
    whole = ((looked == np.rint(looked)) | gaps[:, at]).all(axis=0)
    known[at] = _different(looked, np.where(whole, 0.0, NOISE * np.fmax.reduce(np.abs(looked), axis=0)))
    kept[at] = _different(single[:, at], 0.0)
    saved = kept.copy()
    if len(far := np.flatnonzero(_merges(known, kept))):
        # It is a number that float32 holds, so that tables that differ in a few rows are shifted alike.
        centre[far] = np.nanmedian(values[:, far], axis=0).astype(np.float32)
        saved[far] = _different((values[:, far] - centre[far]).astype(np.float32), 0.0)
    return Precision(known, kept, saved, centre)


def _merges(known: NDArray[np.intp], kept: NDArray[np.intp]) -> Bool:
    return np.asarray(kept < (1 - MERGED) * known)


def _different(values: Any, apart: Any) -> NDArray[np.intp]:
    """How many values of each column differ by more than `apart`."""
    # Columns are sorted as rows: for 30,000 columns that takes half the time.
    ordered = np.ascontiguousarray(values.T)
    ordered.sort(axis=1)
    return np.asarray((np.diff(ordered, axis=1) > np.reshape(apart, (-1, 1))).sum(axis=1) + 1)


@dataclass(frozen=True, eq=False)
class Shift:
    """Subtract a number from each column, before anything is rounded to float32.

    Parameters
    ----------
    offset : ndarray of float64, shape (p,)
    """

    offset: Float64 = field(repr=False)
    kind: ClassVar[str] = "shift"
    affine: ClassVar[bool] = True

    def needs(self, width: int) -> frozenset[str]:
        return frozenset()

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedShift:
        return FittedShift(self, self.offset)


@dataclass(frozen=True)
class FittedShift:
    """A shift whose `offset` of shape (p,) is subtracted."""

    step: Shift
    offset: Float64

    @property
    def width_in(self) -> int:
        return len(self.offset)

    @property
    def width_out(self) -> int:
        return len(self.offset)

    def apply(self, rows: Float64, first_row: int) -> Float64:
        rows -= self.offset
        return rows

    def undo(self, rows: Float64) -> Float64:
        return rows + self.offset

    def forward(self, statistics: Statistics) -> Statistics | None:
        return statistics.affine(self.offset, np.ones_like(self.offset))

    def state(self) -> State:
        return {"columns": int((self.offset != 0).sum())}, {"offset": self.offset}

    @classmethod
    def from_state(cls, json: Json, arrays: Json, width: int) -> FittedShift:
        offset = checked_array(arrays, "offset", (width,))
        return cls(Shift(offset), offset)
