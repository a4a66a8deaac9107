"""Cells as categories and as numbers: every kind of cell by itself, and every kind of column against its cells."""

from __future__ import annotations

import datetime as dt
import math
import time
import uuid
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from tsne_ooc.preprocess.categories import as_column, category_of, coded, in_order, numbers_of

EAST = dt.timezone(dt.timedelta(hours=2))


class Named:
    """An object with a text of its own."""

    def __str__(self):
        return "a name"


class Heir(Named):
    pass


class Shown:
    def __repr__(self):
        return "shown"


class Bare:
    """What has no text but that of any object."""


@pytest.mark.parametrize(
    ("cell", "category"),
    [
        ("word", "word"),
        (np.str_("word"), "word"),
        (None, None),
        (math.nan, None),
        (np.float32("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        (Decimal("NaN"), None),
        (True, True),
        (np.False_, False),
        (3, 3),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (10**30, 10**30),
        (2.5, 2.5),
        (np.float32(0.1), float(np.float32(0.1))),
        (Decimal("2"), 2),
        (Decimal("2.5"), 2.5),
        (Fraction(4, 2), 2),
        (Fraction(1, 2), 0.5),
        (b"caf\xc3\xa9", "café"),
        (b"a\xff", "a\\xff"),
        (np.datetime64("2020-01-31"), "2020-01-31"),
        (np.datetime64("2020-01"), "2020-01"),
        (np.datetime64("2020-01-31T12"), "2020-01-31T12:00:00"),
        (np.datetime64("2020-01-31T12:30"), "2020-01-31T12:30:00"),
        (np.datetime64("2020-01-31T00:00:00.000"), "2020-01-31"),
        (np.datetime64("2020-01-31T00:00:01.500"), "2020-01-31T00:00:01.5"),
        (dt.datetime(2020, 1, 31), "2020-01-31"),
        (dt.datetime(2020, 1, 31, 12, 30), "2020-01-31T12:30:00"),
        (dt.datetime(2020, 1, 31, 12, 30, 0, 500_000), "2020-01-31T12:30:00.5"),
        (dt.datetime(2020, 1, 31, 1, 30, tzinfo=EAST), "2020-01-30T23:30:00"),
        (dt.datetime(2020, 1, 31, 2, tzinfo=EAST), "2020-01-31"),
        (dt.date(2020, 1, 31), "2020-01-31"),
        (dt.time(0, 0), "00:00:00"),
        (dt.time(1, 2, 3), "01:02:03"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (Named(), "a name"),
        (Heir(), "a name"),
        (Shown(), "shown"),
    ],
    ids=repr,
)
def test_a_cell_is_a_word_or_a_number_of_python_or_missing(cell, category):
    found = category_of(cell)
    assert found == category and type(found) is type(category)


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (math.inf, "infinity"),
        (np.float32("-inf"), "infinity"),
        (Decimal("Infinity"), "infinity"),
        (dt.timedelta(1), "a duration"),
        (np.timedelta64(1, "s"), "a duration"),
        (1j, "a complex"),
        ([1], "a list"),
        ((1,), "a tuple"),
        ({}, "a dict"),
        (Bare(), "a Bare"),
        (np.zeros(2), "a ndarray"),
    ],
    ids=str,
)
def test_what_is_no_category_is_told_by_its_row_and_kind(cell, what):
    column = np.empty(5, object)
    column[:] = ["x", None, "y", cell, cell]
    with pytest.raises(ValueError) as told:
        coded(column, "kind", 100)
    assert str(told.value) == (
        f"column 'kind' holds {what} in row 103, which is not a category; leave the column out, or make it text or "
        "numbers"
    )


def several(cells, n=40):
    """A column of objects that has each of these cells several times, and missing ones in between."""
    column = np.empty(n, object)
    column[:] = [cells[i % len(cells)] for i in np.random.default_rng(0).integers(0, 1000, n)]
    column[::5] = None
    return column


DAYS = np.array(["2020-01-31", "NaT", "2019-05-01", "2020-01-31"])
COLUMNS = {
    "words": several(["b", "a", "c"]),
    "kinds": several([1, 1.0, True, "1", Decimal("1.5"), Fraction(3, 2)]),
    "dates": several([dt.date(2020, 1, 31), dt.datetime(2020, 1, 31), np.datetime64("2020-01-31"), dt.time(3)]),
    "bool": np.array([True, False, True]),
    "i1": np.array([3, -1, 3, 0], np.int8),
    "u8": np.array([2**64 - 1, 0, 2**64 - 1], np.uint64),
    "f4": np.array([0.5, np.nan, -2, 0.5, np.nan], np.float32),
    "U": np.array(["b", "a", "b"]),
    "S": np.array([b"b", b"a", b"\xff"]),
    "empty": np.empty(0),
    "no dates": np.array(["NaT", "NaT"], "M8[s]"),
    "no objects": np.array([None, None], object),
    **{f"M8[{unit}]": DAYS.astype("M8[D]").astype(f"M8[{unit}]") for unit in ("D", "h", "m", "s", "ms", "us", "ns")},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_is_its_cells(kind, masked):
    """Of each type the fast way says what the cells say one by one; what is masked is missing, whatever it holds."""
    column = COLUMNS[kind]
    before = column.copy()
    hidden = np.zeros(len(column), bool)
    if masked:
        hidden[1::3] = True
    # A cell of a column of dates keeps its unit; as an object it would lose it.
    cells = list(column) if column.dtype.kind in "MS" else column.tolist()
    wanted = [None if lost else category_of(cell) for cell, lost in zip(cells, hidden, strict=True)]
    found = coded(np.ma.MaskedArray(column, hidden) if masked else column, kind, 0)
    assert [None if code < 0 else found.categories[code] for code in found.codes] == wanted
    assert (found.codes[[one is None for one in wanted]] == -1).all()
    assert len(set(found.categories)) == len(found.categories)
    assert {*found.categories} == {one for one in wanted if one is not None}
    assert column.tolist() == before.tolist() or column.dtype.kind in "Mf"


def test_the_same_days_in_any_unit_are_the_same_categories():
    found = {unit: coded(DAYS.astype("M8[D]").astype(f"M8[{unit}]"), "day", 0) for unit in ("D", "h", "m", "s", "ns")}
    for categories, codes in found.values():
        assert categories == ["2019-05-01", "2020-01-31"] and codes.tolist() == [1, -1, 0, 1]


def test_infinity_in_a_column_of_numbers_is_told_by_its_row():
    for value in (np.inf, -np.inf):
        with pytest.raises(ValueError) as told:
            coded(np.array([np.nan, 1.0, value, value]), "size", 50)
        assert str(told.value) == "column 'size' holds infinity in row 52, which is not a category; correct such rows"


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (np.array([1, 2], np.int8), [1, 2]),
        (np.array([True, False]), [1, 0]),
        (np.array([2**53, 7], np.uint64), [2**53, 7]),
        (several([1, Decimal("2.5"), True, Fraction(1, 2)])[1:4], None),
        (np.ma.MaskedArray([1, 2, 3], [False, False, False]), [1, 2, 3]),
    ],
)
def test_other_columns_are_numbers(column, numbers):
    found = numbers_of(column, "x", 0)
    assert found.dtype == np.float64
    assert found.tolist() == ([float(cell) for cell in column] if numbers is None else numbers)


@pytest.mark.parametrize(
    "column",
    [
        np.array([1.5, np.nan]),
        np.array([1.5, None], object),
        np.array([1.5, pd.NA], object),
        np.ma.MaskedArray([1.5, 7], [False, True]),
        np.ma.MaskedArray(np.array([1.5, 7], object), [False, True]),
        np.array([1.5, np.nan], np.float16),
    ],
    ids=repr,
)
def test_missing_numbers_are_refused_unless_they_may_be_missing(column):
    found = numbers_of(column, "x", 0, missing=True)
    assert found[0] == 1.5 and np.isnan(found[1])
    with pytest.raises(ValueError) as told:
        numbers_of(column, "x", 30)
    assert str(told.value) == (
        "column 'x' holds nan in row 31; fill in or leave out such rows, or put Missing('median') (--missing median) "
        "behind OneHot"
    )


@pytest.mark.parametrize("missing", [True, False])
def test_infinite_numbers_are_refused_in_any_case(missing):
    column = np.array([0, 1, -np.inf, np.inf])
    with pytest.raises(ValueError) as told:
        numbers_of(column, "x", 7, missing=missing)
    assert str(told.value) == "column 'x' holds -inf in row 9; fill in or leave out such rows"


@pytest.mark.parametrize(
    "column",
    [
        np.array(["1", "2"]),
        np.array(["1", 2], object),
        np.array([b"1"], object),
        np.array([1j]),
        np.array([1], "M8[s]"),
        np.array([np.datetime64(1, "s"), 2.0], object),
        np.array([np.timedelta64(1, "s")], object),
        np.array([[1]], object)[:1],
        np.array([10**400], object),
    ],
    ids=repr,
)
def test_columns_of_other_things_than_numbers_are_told_by_their_type(column):
    with pytest.raises(ValueError) as told:
        numbers_of(column, "x", 0)
    assert str(told.value) == (f"column 'x' holds no numbers (type {column.dtype}); name it in onehot, or leave it out")


def test_categories_are_sorted_and_of_one_kind():
    assert in_order({"b", "a"}, "x") == ["a", "b"] and in_order([2, True, 0.5], "x") == [0.5, True, 2]
    assert in_order(set(), "x") == []
    with pytest.raises(ValueError, match=r"^column 'x' holds both text and numbers; make it one of them$"):
        in_order({"1", 1}, "x")


@pytest.mark.parametrize(
    "categories",
    [
        ["a", "b"],
        [1, 2],
        [0.5, 2],
        [True, 2],
        [False, True],
        [2**70, 2**80],
        [2**63, -1],
        [2**53 + 1, 0.5],
        [],
        ["a\0"],
    ],
    ids=repr,
)
def test_a_column_of_categories_holds_exactly_these(categories):
    found = as_column(categories)
    assert found.shape == (len(categories),) and found.tolist() == categories


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_durations_of_any_unit_are_no_categories(unit):
    """As Python's objects those of nanoseconds would be whole numbers."""
    with pytest.raises(ValueError, match=r"^column 'x' holds a duration in row 8, which is not a category"):
        coded(np.array([1, 1], f"m8[{unit}]"), "x", 8)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system has no zone of its own for a process")
def test_dates_without_a_zone_do_not_depend_on_that_of_the_machine(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert category_of(dt.datetime(2020, 1, 31, 12, 30)) == "2020-01-31T12:30:00"
        assert category_of(dt.datetime(2020, 1, 31, 12, 30, tzinfo=EAST)) == "2020-01-31T10:30:00"
    finally:
        monkeypatch.undo()
        time.tzset()
