"""Cells as categories and as numbers: every kind of cell by itself, and every kind of column against its cells."""

from __future__ import annotations

import datetime as dt
import math
import re
import time
import uuid
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from tsne_ooc.preprocess import Missing, OneHot, Preparation
from tsne_ooc.preprocess.categories import as_column, category_of, coded, in_order, numbers_of
from tsne_ooc.preprocess.onehot import EncodedSource, Encoding, columns_of

EAST = dt.timezone(dt.timedelta(hours=2))


def shown(value):
    """A value in the name of a test, without a place in memory: processes that share tests know them by their names."""
    return re.sub(r" object at 0x\w+", "", repr(value))


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


class Changing(Named):
    """A text that may change, so that nothing can be looked up by it."""

    __hash__ = None


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
    ids=shown,
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
        (Changing(), "a Changing"),
        (np.zeros(2), "a ndarray"),
    ],
    ids=shown,
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
    "one f8": np.array([2.5, 2.5, np.nan]),
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
        [0.5, 10**400],
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


# ------------------------------------------------------------------------------------------------------ columns of ones


class Columns:
    """A source of columns with names."""

    dtype = np.dtype(object)

    def __init__(self, columns, chunks=None):
        self.columns = {name: np.asarray(column) for name, column in columns.items()}
        self.column_names, self.chunks, self.reads = list(columns), chunks, []
        self.shape = (len(next(iter(self.columns.values()))), len(columns))

    def read_columns(self, start, stop):
        self.reads.append((start, stop))
        return {name: column[start:stop] for name, column in self.columns.items()}

    def read(self, start, stop):
        raise AssertionError("text is no table")

    def reopen(self):
        return Columns(self.columns, self.chunks)


TABLE = {
    "size": [1.5, 2.5, 3.5, 4.5],
    "kind": np.array(["b", "a", None, "c"], object),
    "port": [20, 10, 20, 20],
}


def encoding_of(columns=("kind", "port"), table=TABLE, progress=lambda *at: None):
    return OneHot(columns).fit(Columns(table), progress)


def test_columns_of_ones_stand_where_their_column_stood():
    told = []
    found = encoding_of(progress=lambda *at: told.append(at))
    assert told[-1] == ("prepare", 4, 4)
    assert (found.width_in, found.width_out) == (3, 6) and found.names == ("size", "kind", "port")
    assert found.feature_names == ["size", "kind=a", "kind=b", "kind=c", "port=10", "port=20"]
    unseen = []
    block = found.encode(Columns(TABLE).read_columns(0, 4), 0, lambda *at: unseen.append(at))
    assert block.dtype == np.float64 and unseen == []
    assert block.tolist() == [
        [1.5, 0, 1, 0, 0, 1], [2.5, 1, 0, 0, 1, 0], [3.5, 0, 0, 0, 0, 1], [4.5, 0, 0, 1, 0, 1],
    ]  # fmt: skip
    other = {"port": np.array([30, 20, 30]), "kind": np.array(["z", "a", None], object), "size": np.zeros(3)}
    block = found.encode(other, 0, lambda *at: unseen.append(at))
    assert block[:, 1:].tolist() == [[0] * 5, [1, 0, 0, 0, 1], [0] * 5] and unseen == [("kind", 1), ("port", 2)]
    again = Encoding.from_state(found.state())
    assert again.state() == found.state() and again.feature_names == found.feature_names
    assert encoding_of("kind").step.columns == ("kind",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": None}, "X lacks the column 'kind', which the preparation was fitted with"),
        ({"kind": np.zeros((4, 1))}, "column 'kind' has shape (4, 1); a cell for each row is needed"),
        ({"port": np.zeros(3)}, "column 'port' has 3 rows, and column 'size' has 4"),
        ({"size": np.array([1, 2, np.nan, 4])}, "column 'size' holds nan in row 102; fill in"),
        ({"port": np.array([1, 2, 3, np.inf])}, "column 'port' holds infinity in row 103, which is not a category"),
    ],
)
def test_rows_of_other_columns(change, message):
    block = {name: np.asarray(column) for name, column in (TABLE | change).items() if column is not None}
    with pytest.raises(ValueError) as told:
        encoding_of().encode(block, 100, lambda *at: None)
    assert str(told.value).startswith(message)


def test_missing_numbers_stay_missing_where_a_later_step_takes_them():
    table = TABLE | {"size": [1.5, np.nan, 3.5, 4.5]}
    with pytest.raises(ValueError, match="column 'size' holds nan in row 1"):
        encoding_of(table=table)
    found = OneHot("kind").fit(Columns(table), lambda *at: None, missing=True)
    source = EncodedSource(Columns(table), found, lambda *at: None, lacks_values=True)
    assert np.isnan(source.read(0, 4)[1, 0]) and source.lacks_values and source.reopen().lacks_values
    plain = EncodedSource(Columns(TABLE, chunks=(2, 3)), encoding_of(), lambda *at: None)
    assert (plain.shape, plain.chunks, plain.dtype, plain.lacks_values) == ((4, 6), (2, 6), np.float64, False)
    np.testing.assert_array_equal(plain.reopen().read(1, 3), plain.read(0, 4)[1:3])
    prepared = Preparation([OneHot("kind"), Missing("mean")]).fit(Columns(table))
    assert prepared.transform(table)[1, 0] == np.float32(9.5 / 3)


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ((), TypeError, "onehot=() must name at least one column"),
        ([3], TypeError, "onehot=[3] must name at least one column"),
        (["a", "b", "a"], ValueError, "onehot names a column twice: a, b, a"),
        (["kinds"], ValueError, "onehot='kinds' is not known; did you mean 'kind'?"),
    ],
)
def test_columns_that_cannot_be_named(columns, kind, message):
    with pytest.raises(kind) as told:
        encoding_of(columns)
    assert str(told.value).startswith(message)


def test_blocks_of_columns_are_mappings_and_frames_with_each_name_once():
    block = {"a": [1, 2], 3: np.ma.masked_array([1.0, 2], [True, False])}
    found = columns_of(block)
    assert list(found) == ["a", "3"] and np.ma.is_masked(found["3"])
    assert list(columns_of(pd.DataFrame({"a": [1], "b": ["x"]}))) == ["a", "b"]
    with pytest.raises(ValueError, match=r"^X has several columns '3'; rename them$"):
        columns_of({3: [1], "3": [2]})
    for wrong in (np.zeros((2, 2)), [[1, 2]], 3):
        with pytest.raises(TypeError) as told:
            columns_of(wrong)
        assert str(told.value) == (
            f"onehot needs columns with names: a data frame or a mapping, not a {type(wrong).__name__}"
        )
    with pytest.raises(
        TypeError, match=r"^onehot needs columns with names, as Parquet and compound HDF5 have; .* none$"
    ):
        Preparation([OneHot("a")]).fit(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ("ab", "that are not words or numbers"),
        ([["a"]], "that are not words or numbers"),
        ([None], "that are not words or numbers"),
        ([0.5, math.nan], "NaN or infinity among the categories"),
        ([0.5, math.inf], "NaN or infinity among the categories"),
        (["b", "a"], "that are not in order"),
        (["a", "a"], "that are not in order"),
        ([1, True], "that are not in order"),
        ([1, "a"], "holds both text and numbers"),
    ],
    ids=repr,
)
def test_states_of_categories_that_cannot_be(categories, message):
    state = {"columns": ["kind"], "names": ["size", "kind"], "categories": {"kind": categories}}
    with pytest.raises(ValueError, match=message):
        Encoding.from_state(state)


def test_states_name_the_same_columns_everywhere():
    good = {"columns": ["kind"], "names": ["size", "kind"], "categories": {"kind": ["a", "b"]}}
    assert Encoding.from_state(good).width_out == 3
    assert Encoding.from_state(good | {"categories": {"kind": []}}).width_out == 1
    assert Encoding.from_state(good | {"names": ["kind"]}).width_out == 2
    for change in ({"columns": ["size"]}, {"names": ["size"]}, {"categories": {"kind": ["a"], "size": [1]}}):
        with pytest.raises(ValueError, match=r"names other columns in 'columns' than in 'categories'$"):
            Encoding.from_state(good | change)
