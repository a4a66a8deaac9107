"""Cells of a column as categories: text, numbers, booleans and dates, the same from any reader."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._labels import is_missing
from tsne_ooc._typing import Array, Bool, Float64

#: A category is a value that JSON can hold, and that compares by its value (``1 == 1.0 == True``).
Category = str | int | float | bool


class Coded(NamedTuple):
    """The categories that a column holds, each once, and for each cell the place of its own; -1 where it is missing."""

    categories: list[Category]
    codes: NDArray[np.intp]


def coded(column: Any, name: str, first_row: int) -> Coded:
    """Categories of one column; cells that are missing (masked, None, NaN, NaT, NA) have none.

    Dates are text: days where all that is left is midnight, and UTC where they have a time zone. So a column has the
    same categories whether it holds dates or time stamps, of any unit. Bytes are UTF-8.

    Parameters
    ----------
    column : ndarray of shape (m,)
    name : str
        Name of the column, for messages.
    first_row : int
        Number of the first cell, for messages.

    Raises
    ------
    ValueError
        For cells that are not categories (durations, lists, infinity), naming column and row.
    """
    values = np.ma.getdata(column)
    hidden = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else None
    codes = np.full(len(values), -1, np.intp)
    at = np.flatnonzero(_present(values, hidden))
    present = values if len(at) == len(values) else values[at]
    kind = values.dtype.kind
    if kind in "biuf" or (kind == "M" and len(present)):
        found = np.unique(present)
        categories: list[Category] = _dates(found) if kind == "M" else found.tolist()
        if kind == "f" and len(found) and not np.isfinite(found[[0, -1]]).all():
            row = first_row + int(at[np.flatnonzero(np.isinf(present))[0]])
            raise ValueError(f"column {name!r} holds infinity in row {row}, which is not a category; correct such rows")
        codes[at] = np.searchsorted(found, present)
        return Coded(categories, codes)
    # (`tolist` would turn durations into whole numbers.)
    cells = [np.timedelta64(cell) for cell in present] if kind == "m" else present.tolist()
    numbers = _Numbers()
    try:
        codes[at] = np.fromiter(map(numbers.__getitem__, cells), np.intp, len(present))
    except (TypeError, ValueError):
        _raise_first(cells, at + first_row, name)
        raise
    return Coded(numbers.categories, codes)


def _present(values: Array, hidden: Bool | None) -> Bool:
    there = np.ones(len(values), bool) if hidden is None else ~hidden
    if values.dtype.kind == "f":
        there &= ~np.isnan(values)
    elif values.dtype.kind == "M":
        there &= ~np.isnat(values)
    return there


class _Numbers(dict[Any, int]):
    """A number for each cell that is met; cells of one category share it.

    An array would be as wide as the longest word: one of 2,000 letters among 100,000 rows took 2.4 GB.
    """

    def __init__(self) -> None:
        super().__init__()
        self.categories: list[Category] = []
        self._places: dict[Category, int] = {}

    def __missing__(self, cell: Any) -> int:
        category = category_of(cell)
        if category is None:
            place = -1
        else:
            place = self._places.setdefault(category, len(self.categories))
            if place == len(self.categories):
                self.categories.append(category)
        self[cell] = place
        return place


def category_of(cell: Any) -> Category | None:
    """The category that a cell of any type means; None where it is missing.

    Raises
    ------
    ValueError, TypeError
        For what is not a category.
    """
    if isinstance(cell, str):
        return str(cell)
    if is_missing(cell):
        return None
    # (NumPy's durations are whole numbers, too.)
    if isinstance(cell, datetime.timedelta | np.timedelta64):
        raise ValueError("a duration")
    if isinstance(cell, bool | np.bool_):
        return bool(cell)
    if isinstance(cell, int | np.integer):
        return int(cell)
    if isinstance(cell, float | np.floating | Decimal | Fraction):
        if math.isinf(cell):
            raise ValueError("infinity")
        # Equal numbers are one category, of whatever type, and large ones stay exact.
        return int(cell) if isinstance(cell, Decimal | Fraction) and cell == int(cell) else float(cell)
    if isinstance(cell, bytes):
        # Two words that are not UTF-8 stay two.
        return cell.decode("utf-8", "backslashreplace")
    if isinstance(cell, np.datetime64):
        return _dates(np.array([cell]))[0]
    if isinstance(cell, datetime.datetime):
        if cell.utcoffset() is not None:
            cell = cell.astimezone(datetime.UTC).replace(tzinfo=None)
        return _short(cell.isoformat())
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    # The text of other objects says where they lie in memory.
    has_text = any("__str__" in kind.__dict__ or "__repr__" in kind.__dict__ for kind in type(cell).__mro__[:-1])
    if isinstance(cell, complex) or hasattr(cell, "__iter__") or not has_text:
        raise ValueError(f"a {type(cell).__name__}")
    # It may be an interval or a period of pandas, or a UUID.
    return str(cell)


def _dates(values: Array) -> list[Category]:
    if np.datetime_data(values.dtype)[0] in ("h", "m"):
        values = values.astype("M8[s]")
    return [_short(word) for word in np.datetime_as_string(values).tolist()]


def _short(word: str) -> str:
    """A time stamp without fractions of a second that are 0, and without midnight."""
    if "." in word:
        word = word.rstrip("0").rstrip(".")
    return word.removesuffix("T00:00:00")


def _raise_first(cells: list[Any], rows: NDArray[np.intp], name: str) -> None:
    for cell, row in zip(cells, rows.tolist(), strict=True):
        try:
            hash(cell)
            category_of(cell)
        except (TypeError, ValueError) as error:
            what = str(error) if isinstance(error, ValueError) else f"a {type(cell).__name__}"
            raise ValueError(
                f"column {name!r} holds {what} in row {row}, which is not a category; leave the column out, or make it "
                "text or numbers"
            ) from None


def numbers_of(column: Any, name: str, first_row: int, missing: bool = False) -> Float64:
    """A column of numbers in float64; those that are `missing` may be NaN.

    Raises
    ------
    ValueError
        For what is not a number, is missing or infinite, naming column and row.
    """
    values = np.ma.getdata(column)
    try:
        if values.dtype.kind == "O":
            numbers = np.array([_number(cell) for cell in values.tolist()], np.float64)
        elif values.dtype.kind in "biuf":
            numbers = values.astype(np.float64)
        else:
            raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"column {name!r} holds no numbers (type {values.dtype}); name it in onehot, or leave it out"
        ) from None
    if np.ma.isMaskedArray(column):
        numbers = np.where(np.ma.getmaskarray(column), np.nan, numbers)
    bad = np.flatnonzero(np.isinf(numbers) if missing else ~np.isfinite(numbers))
    if len(bad):
        raise ValueError(
            f"column {name!r} holds {numbers[bad[0]]} in row {first_row + int(bad[0])}; fill in or leave out such rows"
            + (", or put Missing('median') (--missing median) behind OneHot" if np.isnan(numbers[bad[0]]) else "")
        )
    return numbers


def _number(cell: Any) -> float:
    if is_missing(cell):
        return math.nan
    # Digits in text are text, as in a table without categories; dates as numbers would have an arbitrary unit.
    if isinstance(cell, str | bytes | np.datetime64 | np.timedelta64):
        raise TypeError
    return float(cell)


def in_order(categories: Sequence[Category] | set[Category], name: str) -> list[Category]:
    """Categories in the order of their columns of zeros and ones; raises ValueError for text among numbers."""
    if len({isinstance(category, str) for category in categories}) > 1:
        raise ValueError(f"column {name!r} holds both text and numbers; make it one of them")
    return sorted(categories)


def as_column(categories: Sequence[Category]) -> Array:
    """An array of categories, of objects where no other type holds each exactly."""
    try:
        found = np.array(categories)
    except OverflowError:
        found = np.array(None)
    if found.ndim != 1 or found.tolist() != list(categories):
        found = np.empty(len(categories), object)
        found[:] = categories
    return found
