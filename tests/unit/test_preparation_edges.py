"""Steps of a preparation at their edges: rare cells, what memory they take, which rows they see, and who is blamed."""

from __future__ import annotations

import datetime
import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.io import as_source
from tsne_ooc.io.lacking import Lacking
from tsne_ooc.preprocess import (
    PCA,
    Log1p,
    Missing,
    Normalize,
    OneHot,
    Preparation,
    PreparedSource,
    Standardize,
    Transformer,
    preparation_from_options,
)
from tsne_ooc.preprocess import medians as medians_module
from tsne_ooc.preprocess import onehot as onehot_module
from tsne_ooc.preprocess import rows as rows_module
from tsne_ooc.preprocess.categories import as_column, category_of, numbers_of
from tsne_ooc.preprocess.medians import Medians
from tsne_ooc.preprocess.missing import FittedMissing, Totals
from tsne_ooc.preprocess.onehot import EncodedSource, columns_of
from tsne_ooc.preprocess.pca import _fitted
from tsne_ooc.preprocess.preparation import _needs
from tsne_ooc.preprocess.rows import Passes
from tsne_ooc.preprocess.shift import Shift, look_at
from tsne_ooc.preprocess.sketch import leading
from tsne_ooc.preprocess.statistics import MomentsWithGaps, Statistics
from tsne_ooc.preprocess.transformer import FittedTransformer, height_of

nan = np.nan


def rows(n=40, p=4, seed=0):
    return np.random.default_rng(seed).gamma(2, 3, (n, p))


def silent():
    return lambda *told: None


# --------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("dtype", ["M8[ns]", "M8[D]", "M8[Y]", "m8[ns]", "m8[h]", "c16", "S3", "U3", "V4"])
def test_columns_of_whatever_stands_for_numbers_in_memory_are_none(dtype):
    """Dates and durations are whole numbers there, of a unit that nobody asked for."""
    column = np.zeros(3, dtype)
    with pytest.raises(ValueError) as told:
        numbers_of(column, "a", 0)
    assert str(told.value) == f"column 'a' holds no numbers (type {column.dtype}); name it in onehot, or leave it out"


def test_a_missing_number_is_refused_where_nobody_says_otherwise():
    for column in (np.array([1, nan]), np.array([1, None], object), np.ma.array([1, 2], mask=[False, True])):
        with pytest.raises(ValueError, match=r"^column 'a' holds nan in row 8; "):
            numbers_of(column, "a", 7)
        assert np.isnan(numbers_of(column, "a", 7, True)[1])


def test_a_day_or_a_time_is_written_as_the_standard_has_it_whoever_made_it():
    class Day(datetime.date):
        def __str__(self):
            return "the first"

    class Hour(datetime.time):
        def __str__(self):
            return "noon"

    assert category_of(Day(2020, 3, 1)) == "2020-03-01" and category_of(Hour(12, 30)) == "12:30:00"


@pytest.mark.parametrize(
    ("categories", "kind"),
    [
        (["a", "bc"], "U"), ([1, 2], "i"), ([1.5, 2.0], "f"), ([False, True], "b"), ([1, 2**70], "O"), ([2**63], "u"),
        ([1, 2.5], "O"), (["a", "a\0"], "O"),
    ],
)  # fmt: skip
def test_categories_lie_as_close_as_they_can_be_told_apart(categories, kind):
    """In words, numbers or truths of one width; as objects only where these would be others."""
    found = as_column(categories)
    if kind != "O" or categories == [1, 2**70]:
        assert found.dtype.kind == kind
    assert found.tolist() == categories and found.shape == (len(categories),)


# ------------------------------------------------------------------------------------------------------------- medians


@pytest.mark.parametrize(("p", "kept"), [(1, 100_000), (41, 100_000), (50, 83_886), (16_384, 256), (10**6, 256)])
def test_medians_keep_as_many_values_as_fit_into_their_memory(p, kept, monkeypatch):
    """Exact up to some 80,000 rows of 50 columns; a quarter more of them wait to be sifted, or a million."""
    medians = Medians(p, 0)
    assert medians.k == kept and 2**22 / p - 1 < max(kept, 2**22 / p)
    assert medians._most == kept * p + max(kept * p // 4, 2**20)


def test_a_value_that_is_kept_takes_twenty_bytes():
    X = rows(500, 3)
    gaps = np.random.default_rng(0).random(X.shape) < 0.3
    medians = Medians(3, 0)
    medians.add(X, gaps)
    parts = medians._column, medians._number, medians._value
    assert sum(array.nbytes for part in parts for array in part) == 20 * (~gaps).sum() == 20 * medians._held


@pytest.mark.parametrize(("values", "error"), [(16, 0), (17, 0.5 / 4)])
def test_what_is_missing_makes_no_median_less_exact(values, error, monkeypatch):
    monkeypatch.setattr(medians_module, "_NUMBERS", 1)
    monkeypatch.setattr(medians_module, "_LEAST", 16)
    X = np.full((60, 2), nan)
    X[:3, 0], X[20 : 20 + values, 1] = 5, np.arange(values)
    medians = Medians(2, 0)
    for tile in np.split(X, 3):
        medians.add(tile, np.isnan(tile))
    found, told = medians.finish()
    assert medians._count.tolist() == [3, values] and told == error and found[0] == 5


def test_values_beyond_the_least_are_not_even_held(monkeypatch):
    """Once a column has more values than are kept of it, only numbers below the last of these are waited for."""
    monkeypatch.setattr(medians_module, "_NUMBERS", 1)
    monkeypatch.setattr(medians_module, "_LEAST", 16)
    X = rows(60, 3)
    gaps = np.zeros(X.shape, bool)
    gaps[15:, 1] = gaps[16:, 2] = True
    medians = Medians(3, 5)
    medians.add(X, gaps)
    number = generator(5, "medians").random(60)
    medians._sift()
    assert medians._limit.tolist() == [np.sort(number)[15], 1, np.sort(number[:16])[15]]
    assert medians._held == 16 + 15 + 16
    # What is held is sifted once there is more of it than may wait, and not at every block.
    medians._most = 50
    medians._rng = SimpleNamespace(random=np.zeros)
    for held in (48, 49, 50, 47, 48):
        medians.add(X[:1], np.array([[False, True, True]]))
        assert medians._held == held


@pytest.mark.parametrize("kind", [Totals, MomentsWithGaps])
def test_sums_that_overflow_to_both_sides_are_told_by_their_column_and_by_nothing_else(kind, recwarn):
    sums = kind(2)
    for value in (1.7e308, -1.7e308):
        tile = np.array([[1.0, 0], [2, value], [3, value], [nan, value]])
        given = (tile, np.isnan(tile)) if kind is Totals else (tile,)
        sums.add(*given)
    with pytest.raises(ValueError, match=r"^column 1 of the table has squares beyond the range of float64"):
        sums.means() if kind is Totals else sums.finish()
    assert not recwarn.list


@pytest.mark.parametrize("covariance", [False, True])
def test_tables_of_numbers_as_large_as_there_are_are_refused_and_nothing_else_is_said(covariance, monkeypatch, recwarn):
    """In tiles that are as far from each other as numbers can be."""
    monkeypatch.setattr(rows_module, "_TILE", 1 << 6)
    X = np.random.default_rng(0).normal(size=(64, 4))
    for far in (np.where(np.arange(64) % 2, 1.7e308, -1.7e308), np.repeat([0, 1.7e308, -1.7e308, 0], 16)):
        X[:, 2] = far
        with pytest.raises(ValueError, match=r"^column 2 of the table has squares beyond the range of float64"):
            Preparation([PCA(2)] if covariance else [Standardize()]).fit(X)
        with pytest.raises(ValueError, match=r"^column 2 of the table has squares beyond the range of float64"):
            leading(Passes(as_source(X), (), 0, Threads(1), silent), 2)
    assert not recwarn.list


def test_near_is_measured_in_deviations_of_the_values_that_the_kept_rows_have():
    """Of columns of one value, of none and of one only, and far from 0 as exactly as near it."""
    donors = np.random.default_rng(0).normal(size=(30, 6))
    donors[1:, 1] = donors[:, 2] = donors[2:, 3] = nan
    donors[:, 4] = 7
    donors[:, 5] = 1e9 + np.arange(30) / 8
    donors[::4, 0] = nan
    values = np.array([0.5, donors[0, 1] + 3, 2, -4, 7, 1e9 + 2])
    step = FittedMissing(Missing("neighbors"), values, np.zeros(6, np.int64), None, donors)
    wanted = [np.std([value for value in column if not np.isnan(value)] or [0]) for column in donors.T]
    wanted[5] = np.std(np.arange(30) / 8)
    np.testing.assert_allclose(step._scale, np.where(np.array(wanted) > 0, wanted, 1), rtol=1e-12)
    assert (step.rank_error, step.n_fitted) == (0, 0)


# ---------------------------------------------------------------------------------------------------------------- rows


class Wide:
    """A transformer that gives more columns, or fewer."""

    def __init__(self, columns):
        self.columns = columns

    def transform(self, X):
        return np.resize(X, (len(X), self.columns))


def test_tiles_are_as_high_as_the_wider_of_what_goes_in_and_comes_out_allows(monkeypatch):
    """A tile is made of a block as wide as the table, and holds rows as wide as they are prepared."""
    monkeypatch.setattr(rows_module, "_TILE", 1 << 9)
    source = as_source(rows(300, 8))
    for columns, height in ((2, 64), (8, 64), (16, 32), (20, 25), (1000, 16)):
        step = FittedTransformer(Transformer(Wide(columns)), Wide(columns), "", 8, columns)
        tiles = [(first, len(tile)) for first, tile in Passes(source, (step,), 0, Threads(1), silent).tiles()]
        assert [first for first, _ in tiles] == list(range(0, 300, height))
        assert [m for _, m in tiles] == [height] * (300 // height) + [300 % height] * (300 % height > 0)
    monkeypatch.setattr(rows_module, "_MOST_ROWS", 40)
    assert [len(tile) for _, tile in Passes(source, (), 0, Threads(1), silent).tiles()] == [40] * 7 + [20]


def test_a_pass_counts_rows_of_the_table_that_are_dropped_too(monkeypatch):
    """Progress is told by blocks that are read; numbers of tiles count what is kept."""
    monkeypatch.setattr(rows_module, "_TILE", 1 << 6)
    monkeypatch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 30 * 32)
    X = rows(100)
    X[::4, 1] = nan
    told = []
    preparation = Preparation([Missing("drop"), Standardize()])
    preparation.fit(X, lambda *given: told.append(given))
    assert {phase for phase, _, _ in told} == {"prepare"} and {total for _, _, total in told} == {100}
    # Two passes, each of them up to the end.
    done = [rows for _, rows, _ in told]
    assert done.count(100) == 2 and done[-1] == 100 and preparation.passes == 2
    first = done[: done.index(100) + 1]
    assert first == sorted(set(first)) == done[len(first) :]
    passes = Passes(as_source(np.nan_to_num(X)), (), 3, Threads(1), silent)
    assert [first for first, _ in passes.tiles()] == list(range(0, 100, 16))
    behind = passes.then(Normalize().fit(passes, None))
    assert (behind.seed, behind.n, behind.width, behind.source, behind.threads) == (
        3, 100, 4, passes.source, passes.threads,
    )  # fmt: skip
    assert passes.steps == () and len(behind.steps) == 1


def test_a_row_that_is_dropped_takes_part_in_nothing_that_is_looked_at():
    """Neither in a sample nor among the first rows, which are numbered anew."""
    X = rows(60)
    X[[0, 5, 59], 2] = nan
    dropped = Missing("drop").fit(Passes(as_source(np.nan_to_num(X, nan=1)), (), 0, Threads(1), silent), None)
    assert dropped.dropped.tolist() == []

    class Gaps:
        dtype, chunks, shape = X.dtype, None, X.shape

        def read(self, start, stop):
            return X[start:stop].copy()

    passes = Passes(Lacking(as_source(X)), (), 0, Threads(1), silent)
    behind = passes.then(Missing("drop").fit(passes, None))
    kept = X[~np.isnan(X).any(axis=1)]
    assert behind.n == 57
    np.testing.assert_array_equal(behind.sample(), kept)
    np.testing.assert_array_equal(behind.first(7), kept[:7])
    np.testing.assert_array_equal(behind.first(60), np.concatenate([kept, kept[:3]]))
    np.testing.assert_allclose(behind.statistics(frozenset({"moments"})).mean, kept.mean(axis=0))
    found = behind.statistics(frozenset({"moments", "covariance", "sample"}))
    np.testing.assert_allclose(np.tril(found.covariance), np.tril(np.cov(kept.T, bias=True)))
    np.testing.assert_array_equal(found.sample, kept)
    assert behind.statistics(frozenset({"moments"})).covariance is None


# ------------------------------------------------------------------------------------------------------------ blame


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("where", ["within tiles", "between tiles"])
def test_the_column_beyond_the_range_is_named_whatever_its_sign(sign, where, monkeypatch):
    """Also where it is the same within each tile, and only the tiles are far from each other."""
    monkeypatch.setattr(rows_module, "_TILE", 1 << 6)
    X = np.random.default_rng(0).normal(size=(64, 4))
    X[:, 1] *= 100
    if where == "within tiles":
        X[:, 2] = 0
        X[5, 2] = sign * 1e200
    else:
        X[:, 2] = np.repeat([0, 0, sign * 1e200, 0], 16)
    with pytest.raises(ValueError, match=r"^column 2 of the table has squares beyond the range of float64"):
        leading(Passes(as_source(X), (), 0, Threads(1), silent), 2)


def test_axes_of_equal_rows_are_none_and_their_variance_is_nothing():
    """Of a table too wide for its covariance."""
    X = np.tile(rows(1, 5), (30, 1))
    mean, total, values, axes = leading(Passes(as_source(X), (), 0, Threads(1), silent), 2)
    np.testing.assert_allclose(mean, X[0], rtol=1e-14)
    assert total == 0 and values.tolist() == [0, 0] and axes.shape == (5, 2)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)


@pytest.mark.parametrize(("how", "first"), [("in range", 0), ("in range", 500)])
def test_numbers_that_grow_beyond_single_precision_are_named_by_their_row_in_the_file(how, first):
    preparation = Preparation([Standardize()]).fit(rows(30, 3))
    X = rows(30, 3)
    X[7, 2] = 1e200
    with pytest.raises(ValueError, match=rf"^the prepared table contains infinity .*row {first + 7}, column 2"):
        preparation.transform(X, first_row=first)
    frame = {"a": np.array(["x", "y", "x"], object), "b": np.array([1.0, 2, 3])}
    words = Preparation([OneHot("a")]).fit(pd.DataFrame(frame))
    frame["b"][1] = np.inf
    with pytest.raises(ValueError, match=rf"^column 'b' holds inf in row {first + 1}; "):
        words.transform(frame, first_row=first)


def test_the_first_row_of_a_table_in_memory_has_number_0():
    preparation = Preparation([Log1p()]).fit(rows(30, 3))
    X = rows(30, 3)
    X[4, 1] = -1
    with pytest.raises(ValueError, match=r"row 4, column 1 is -1$"):
        preparation.transform(X)
    X[4, 1] = nan
    with pytest.raises(ValueError, match=r"NaN at row 4, column 1"):
        preparation.transform(X)
    for given in (X, X.tolist(), pd.DataFrame(X), X.astype(np.float32)):
        with pytest.raises(ValueError, match=r"row 1004, column 1"):
            preparation.transform(given, first_row=1000)


# ------------------------------------------------------------------------------------------------------- transformers


class Parts:
    """A pipeline of one's own: it names what is within it in another order each time, and only where it is asked to."""

    def __init__(self, turned, plain=False):
        self.turned, self.plain = turned, plain
        self.seeds = {
            "b__random_state": None,
            "a__random_state": None,
            "c__random_state": 4,
            "a__b__random_state": None,
        }

    def get_params(self, deep=False):
        names = sorted(self.seeds, reverse=self.turned)
        own = {"turned": self.turned, "not_random_state": None, "random_state_of": None}
        return own | ({name: self.seeds[name] for name in names} if deep else {})

    def set_params(self, **parameters):
        self.seeds.update(parameters)
        return self

    def __sklearn_clone__(self):
        return Parts(self.turned)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "seen")

    def __sklearn_tags__(self):
        from sklearn.base import BaseEstimator

        return BaseEstimator().__sklearn_tags__()

    def fit(self, X):
        self.seen = len(X)
        return self

    def transform(self, X):
        return X


def test_seeds_within_a_transformer_do_not_depend_on_the_order_in_which_it_names_them():
    X = rows(30, 3)

    def seeds(turned, seed):
        (step,) = Preparation([Transformer(Parts(turned))]).fit(X, random_state=seed).fitted
        assert step.transformer.seen == 30
        return step.transformer.seeds

    one = seeds(False, 1)
    assert one == seeds(True, 1) and one != seeds(True, 2)
    assert one.pop("c__random_state") == 4 and set(one) == {"a__random_state", "b__random_state", "a__b__random_state"}
    assert len(set(one.values())) == 3 and all(type(value) is int and 0 <= value < 2**31 for value in one.values())


def test_a_sample_is_told_by_its_rows_and_those_of_the_table(monkeypatch):
    monkeypatch.setattr(rows_module, "_SAMPLE_ROWS", 1000)
    monkeypatch.setattr(rows_module, "_SAMPLE", 1)
    X = rows(1200, 3)
    (step,) = Preparation([Transformer(Parts(False))]).fit(X).fitted
    assert step.how == "on 1000 of 1200 rows" and step.transformer.seen == 1000


# ----------------------------------------------------------------------------------------------------------- the whole


def test_steps_that_fill_nothing_in_tell_of_nothing_that_was_missing():
    X = rows(30, 3)
    for steps in ([], [Log1p()], [Standardize(), PCA(2)]):
        preparation = Preparation(steps)
        for _ in range(2):
            assert preparation.filled is None and preparation.dropped.tolist() == []
            assert preparation.dropped.dtype == np.int64
            assert not (
                preparation.drops or preparation.to_drop or preparation.leaves_gaps or preparation.takes_missing
            )
            preparation.fit(X)
    np.testing.assert_array_equal(Preparation([]).fit(X).transform(X), X.astype(np.float32))
    for how in ("mean", "indicator"):
        preparation = Preparation([Missing(how)])
        assert preparation.filled is None and preparation.takes_missing
        # Nothing is missing, and nothing was filled in.
        assert preparation.fit(X).filled == {"how": how, "cells": 0, "columns": 0}
        assert preparation.n_features_out == 3
        # Only a search by the nearest keeps rows.
        assert preparation.fitted[0].donors.shape == (0, 3) and preparation.fitted[0].dropped is None
    assert Preparation([Missing("drop")]).fit(X).fitted[0].donors is None


def test_all_that_decides_how_a_row_is_prepared_is_in_the_contents():
    X = pd.DataFrame({"a": ["x", "y", "x"], "b": [1.0, 2, 4]})
    preparation = Preparation([OneHot("a"), Standardize()])
    with pytest.raises(ValueError, match="is not fitted"):
        preparation.contents  # noqa: B018
    preparation.fit(X)
    assert preparation.contents == (preparation.encoding, preparation.fitted, 2)
    assert preparation.n_features_in == 2 and preparation.n_features_out == 3 and preparation.n_samples == 3
    with pytest.raises(ValueError, match=r"^OneHot\(columns=\('a',\)\) cannot be undone; ask for prepared rows"):
        preparation.check_undo()
    other = Preparation([Standardize()]).fit(rows())
    other.check_undo()
    assert other.contents == (None, other.fitted, 4)


def test_names_of_a_table_with_categories_are_in_its_state_once():
    X = pd.DataFrame({"a": ["x", "y", "x"], "b": [1.0, 2, 4]})
    numbers, arrays = Preparation([OneHot("a"), Standardize()]).fit(X).state()
    assert set(arrays) == {"1.centre", "1.scale", "1.constant"}
    assert [step["kind"] for step in numbers["steps"]] == ["onehot", "standardize"]
    numbers, arrays = Preparation([Standardize()]).fit(X[["b"]]).state()
    assert set(arrays) == {"0.centre", "0.scale", "0.constant", "names"}
    assert Preparation.from_state(numbers, arrays).names == ["b"]


def test_a_state_of_more_than_ten_steps_keeps_apart_what_belongs_to_each():
    """Arrays of the eleventh are not those of the second."""
    X = rows(30, 3)
    offsets = [np.arange(3.0) + i for i in range(12)]
    preparation = Preparation([Shift(offset) for offset in offsets]).fit(X)
    again = Preparation.from_state(*preparation.state())
    assert [step.offset.tolist() for step in again.fitted] == [offset.tolist() for offset in offsets]


def test_threads_that_are_asked_for_are_those_that_prepare(monkeypatch):
    """In a fit, for rows in memory, and for rows that are read."""
    from tsne_ooc.preprocess import preparation as preparation_module

    asked = []

    class Noted(Threads):
        def __init__(self, n_jobs=None):
            asked.append(n_jobs)
            super().__init__(n_jobs)

    monkeypatch.setattr(preparation_module, "Threads", Noted)
    X = rows(30, 3)
    preparation = Preparation([Standardize()]).fit(X, n_jobs=3)
    preparation.transform(X, n_jobs=2)
    source = PreparedSource(X, preparation, n_jobs=1)
    source.read(0, 30)
    source.reopen().read(0, 30)
    preparation.transform(X)
    assert asked == [3, 2, 1, 1, None]


def test_rows_of_categories_are_read_as_wide_as_they_come_out():
    table = pd.DataFrame({"a": ["x", "y", "z"] * 5, "b": np.arange(15.0)})
    preparation = Preparation([OneHot("a")]).fit(table)
    source = PreparedSource(table, preparation)
    assert source.shape == (15, 4) and source.row_bytes == 4 * 8 and source.dtype == np.float32

    class Chunked:
        shape, chunks, dtype, column_names = (15, 2), (4, 1), np.dtype(object), ["a", "b"]

        def read_columns(self, start, stop):
            return {name: table[name].to_numpy()[start:stop] for name in ("a", "b")}

        def read(self, start, stop):
            return table.to_numpy()[start:stop]

        def reopen(self):
            return self

        def __repr__(self):
            return "a table in chunks"

    source = PreparedSource(Chunked(), preparation)
    assert source.chunks == (4, 4) and source.reopen().chunks == (4, 4)
    assert repr(preparation.numbers(Chunked())) == "a table in chunks"
    np.testing.assert_array_equal(source.read(2, 9), preparation.transform(table)[2:9])
    assert SimpleNamespace(**vars(source)).lacks_values is False


# ---------------------------------------------------------------------------------------------------------- categories


class Blocks:
    """A table of named columns, which is read in blocks, and may fail to be."""

    chunks, dtype = None, np.dtype(np.float64)

    def __init__(self, columns, fails=None):
        self.columns, self.fails, self.reads = columns, fails, []
        self.column_names = list(columns)
        self.shape = (len(next(iter(columns.values()))), len(columns))

    def read_columns(self, start, stop):
        self.reads.append((start, stop))
        if self.fails is not None and stop > self.fails:
            raise OSError("torn")
        return {name: np.asarray(values)[start:stop] for name, values in self.columns.items()}

    def read(self, start, stop):
        raise AssertionError("not by name")

    def reopen(self):
        return self

    def __repr__(self):
        return "a table in blocks"


def mixed(n=60):
    """Numbers and categories, one after the other, of all lengths."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=n), "y": rng.normal(size=n), "word": np.array(list("cab") * (n // 3), object),
        "z": np.arange(n), "whole": np.arange(n) % 2, "last": rng.normal(size=n),
    }  # fmt: skip


def test_each_column_stands_where_it_stood_and_a_category_has_its_own():
    columns = mixed()
    encoding = OneHot(["whole", "word"]).fit(Blocks(columns), silent())
    assert encoding.names == tuple(columns) and encoding.width_in == 6 and encoding.width_out == 9
    assert encoding.feature_names == ["x", "y", "word=a", "word=b", "word=c", "z", "whole=0", "whole=1", "last"]
    given = {name: values.copy() for name, values in columns.items()}
    given["word"][[3, 7, 8]], given["whole"] = ["new", "newer", None], np.where(np.arange(60) == 9, 5, columns["whole"])
    unseen = []
    found = encoding.encode(given, 0, lambda *told: unseen.append(told))
    wanted = np.column_stack([
        given["x"], given["y"], *(given["word"] == letter for letter in "abc"), given["z"],
        *(given["whole"] == number for number in (0, 1)), given["last"],
    ]).astype(float)  # fmt: skip
    np.testing.assert_array_equal(found, wanted)
    assert unseen == [("word", 2), ("whole", 1)]


def test_categories_are_read_in_blocks_of_a_share_of_their_memory_and_all_of_them(monkeypatch):
    """Text takes a multiple of what its pointers take, so fewer rows are read at a time."""
    monkeypatch.setattr(onehot_module, "BLOCK_BYTES", 10 * 6 * 8 * onehot_module._TEXT)
    table, told = Blocks(mixed()), []
    table.columns["word"] = np.array([f"{i:02}" for i in range(60)], object)
    encoding = OneHot("word").fit(table, lambda *given: told.append(given))
    assert table.reads == [(start, start + 10) for start in range(0, 60, 10)]
    assert told == [("prepare", stop, 60) for stop in range(10, 61, 10)]
    assert encoding.categories["word"].tolist() == [f"{i:02}" for i in range(60)]
    for fails, rows in ((9, "rows 0 to 9"), (35, "rows 30 to 39"), (59, "rows 50 to 59")):
        with pytest.raises(OSError) as caught:
            OneHot("word").fit(Blocks(mixed(), fails), silent())
        assert str(caught.value) == f"{rows} of a table in blocks could not be read: torn"


def test_what_is_asked_for_alone_takes_no_missing_number():
    """Where nobody says that a later step fills them in."""
    columns = mixed()
    columns["last"][3] = nan
    for use in (
        lambda: OneHot("word").fit(Blocks(columns), silent()),
        lambda: OneHot("word").fit(Blocks(mixed()), silent()).encode(columns, 0, None),
        lambda: EncodedSource(Blocks(columns), OneHot("word").fit(Blocks(mixed()), silent()), None).read(0, 60),
    ):
        with pytest.raises(ValueError, match=r"^column 'last' holds nan in row 3; "):
            use()
    assert np.isnan(OneHot("word").fit(Blocks(columns), silent(), True).encode(columns, 0, None, True)[3, -1])


def test_columns_are_asked_for_by_their_names_alone():
    for wrong in (["a", 3], [3], [], (), [None, "a"]):
        with pytest.raises(TypeError) as told:
            OneHot(wrong)
        assert str(told.value) == f"onehot={wrong!r} must name at least one column"
    assert OneHot("word").columns == OneHot(["word"]).columns == ("word",) != OneHot(list("word")).columns
    with pytest.raises(ValueError, match=r"^onehot names a column twice: b, a, b$"):
        OneHot(["b", "a", "b"])
    twice = Blocks(mixed())
    twice.column_names = ["x", "word", "z", "word", "z", "word"]
    with pytest.raises(ValueError, match=r"^a table in blocks has several columns 'word'; rename them$"):
        OneHot("word").fit(twice, silent())
    # Whatever has names is read by them, numbers alone as well.
    for frame in (pd.DataFrame(mixed()), pd.DataFrame({"word": [1.0, 2, 1], "b": [3.0, 4, 5]})):
        assert OneHot("word").fit(as_source(frame), silent()).names == tuple(frame.columns)
    with pytest.raises(TypeError, match=r"^onehot needs columns with names, as Parquet and compound HDF5 have; "):
        OneHot("word").fit(as_source(rows()), silent())


@pytest.mark.parametrize("kind", ["mapping", "frame", "nullable", "arrow", "source", "blocks"])
def test_rows_to_encode_come_from_anything_that_names_its_columns(kind):
    columns = mixed()
    frame = pd.DataFrame(columns)
    given = frame
    if kind == "mapping":
        given = columns
    elif kind == "nullable":
        given = frame.astype({"whole": "Int64", "word": "category"})
    elif kind == "arrow":
        given = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    elif kind == "source":
        given = as_source(frame)
    elif kind == "blocks":
        given = Blocks(columns)
    # Also where all of them are numbers, which a source need not give by name.
    numbers = as_source(pd.DataFrame({"word": [1.0, 2, 1], "b": [3.0, 4, 5]}))
    assert {name: values.tolist() for name, values in columns_of(numbers).items()} == {
        "word": [1, 2, 1],
        "b": [3, 4, 5],
    }
    encoding = OneHot(["whole", "word"]).fit(Blocks(columns), silent())
    found = columns_of(given)
    assert list(found) == list(columns)
    np.testing.assert_array_equal(encoding.encode(found, 0, None), encoding.encode(columns, 0, None))


# ------------------------------------------------------------------------------------------------------------- options


def test_numbers_of_components_are_whole_numbers_of_python():
    for n in (3, np.int64(3), np.uint8(3)):
        step = PCA(n)
        assert step == PCA(3) and type(step.n) is int
    for wrong in (0, -1, 1.5, "3", None, True):
        with pytest.raises((ValueError, TypeError), match=r"^pca="):
            PCA(wrong)
    assert type(Normalize(np.float32(4)).total) is float and type(Normalize(7).total) is float
    for wrong in (1, 0, "yes", None, np.array([True])):
        with pytest.raises(TypeError, match=r"^robust=.* is neither True nor False$"):
            Standardize(wrong)


def test_what_rounding_leaves_of_no_variance_is_none():
    """And the largest entry of each axis is positive, whichever it is."""
    axes = np.array([[0.6, 0.0], [-0.8, 0.0], [0.0, 1.0]])
    found = _fitted(PCA(2), 11, np.zeros(3), 4.0, np.array([4.0, -1e-16]), axes)
    assert found.explained_variance.tolist() == [4.4, 0] and found.explained_variance_ratio.tolist() == [1, 0]
    assert found.axes.tolist() == [[-0.6, 0], [0.8, 0], [0, 1]] and (found.width_in, found.width_out) == (3, 2)


def test_missing_is_an_error_unless_something_else_is_said():
    """The word for it is among those that are meant, and a wrong one is told before all else."""
    with pytest.raises(ValueError, match=r"^missing='eror' is not known; did you mean 'error'\?"):
        preparation_from_options(missing="eror", normalize=-1, pca=0)
    with pytest.raises(ValueError, match=r"^standardize='robus' is not known; did you mean 'robust'\?"):
        preparation_from_options(standardize="robus", missing="eror", normalize=-1)
    assert preparation_from_options() is None
    assert preparation_from_options(onehot="word").steps == (OneHot("word"),)


# ------------------------------------------------------------------------------------------------------------ refusals


class Scaling:
    """An object with `transform`, which is no step."""

    def transform(self, X):
        return X

    def __repr__(self):
        return "Scaling()"


@pytest.mark.parametrize(
    ("steps", "kind", "message"),
    [
        ([3], TypeError, "3 is not a step of a preparation"),
        (["pca"], TypeError, "'pca' is not a step of a preparation"),
        ([Log1p(), None], TypeError, "None is not a step of a preparation"),
        ([Scaling()], TypeError, "Scaling() is not a step of a preparation; wrap it in Transformer"),
        (
            [Log1p(), OneHot("a")],
            ValueError,
            "onehot must be the first step: those behind it see columns without names",
        ),
        (
            [OneHot("a"), OneHot("b")],
            ValueError,
            "onehot must be the first step: those behind it see columns without names",
        ),
        (
            [Log1p(), Missing("mean")],
            ValueError,
            "missing must be the first step, or the first behind onehot: others need all values",
        ),
        (
            [OneHot("a"), Log1p(), Missing("mean")],
            ValueError,
            "missing must be the first step, or the first behind onehot: others need all values",
        ),
        (
            [OneHot("a"), Missing("keep"), PCA(2)],
            ValueError,
            "PCA(n=2) needs all values, and what is missing is kept (missing='keep', which metric='nan_euclidean' "
            "implies); fill values in by Missing('median') (--missing median), or leave this step out",
        ),
    ],
)
def test_steps_that_do_not_make_a_preparation(steps, kind, message):
    with pytest.raises(kind) as told:
        Preparation(steps)
    assert str(told.value) == message


def test_every_step_may_be_the_first_and_most_may_follow():
    """Those that do not need all values also behind gaps that are kept; before a fit nothing is known."""
    steps = [
        OneHot("a"), Missing("mean"), Log1p(), Normalize(), Standardize(), PCA(2), Transformer(Scaling()),
        Shift(np.zeros(2)),
    ]  # fmt: skip
    for first in steps:
        for second in steps:
            if isinstance(second, OneHot) or (isinstance(second, Missing) and not isinstance(first, OneHot)):
                continue
            made = Preparation([first, second])
            assert made.steps == (first, second) and made.fitted == () and made.encoding is made.names is None
            assert (made.n_features_in, made.n_features_out, made.n_samples, made.passes) == (0, 0, 0, 0)
            assert made.unseen == {} and made.takes_missing == any(isinstance(step, Missing) for step in made.steps)
    assert Preparation(iter([Log1p(), PCA(2)])).steps == (Log1p(), PCA(2)) and Preparation([]).steps == ()


@pytest.mark.parametrize("first", [[], [OneHot("a")]], ids=["numbers", "categories"])
@pytest.mark.parametrize("last", [[], [Standardize()]], ids=["alone", "and more"])
@pytest.mark.parametrize("how", [None, "drop", "keep", "mean", "indicator"])
def test_what_becomes_of_missing_values_is_said_by_one_step_among_others(first, last, how):
    preparation = Preparation([*first, *([] if how is None else [Missing(how)]), *last])
    table = pd.DataFrame({"a": [1.0, 2, 1, 2], "b": [1.0, nan, 4, 8], "c": [1.0, 2, 4, 9]})
    if how is None:
        table = table.fillna(3)
    for _ in range(2):
        assert preparation.takes_missing == (how is not None)
        assert preparation.to_drop == (how == "drop") and preparation.leaves_gaps == (how == "keep")
        # Which rows are left out is known once it is fitted.
        assert preparation.drops == (bool(preparation.fitted) and how in ("drop", "keep"))
        preparation.fit(table)
    assert preparation.dropped.tolist() == ([1] if how == "drop" else [])
    filled = None if how in (None, "drop", "keep") else {"how": how, "cells": 1, "columns": 1}
    assert preparation.filled == filled
    assert preparation.n_features_in == 3 and preparation.n_features_out == 3 + len(first) + (how == "indicator")


def test_the_seed_of_a_fit_is_0_unless_it_is_given():
    """Robust scales of long tables and what is drawn depend on it; it may be any whole number from 0 on."""
    X = rows(30, 3)
    X[::5, 1] = nan
    steps = [Missing("neighbors")]
    usual = Preparation(steps).fit(X)
    assert usual.state()[0]["random_state"] == 0 and Preparation(steps)._seed == 0
    for seed in (0, 1, 2**31, 2**70):
        assert Preparation(steps).fit(X, random_state=seed).state()[0]["random_state"] == seed
    for wrong in (-1, 0.5, "0", None, True):
        with pytest.raises((ValueError, TypeError), match=r"^random_state="):
            Preparation(steps).fit(X, random_state=wrong)


def test_a_copy_of_a_preparation_counts_for_itself():
    """Its lock does not go with it, and all else does."""
    import copy
    import pickle

    table = pd.DataFrame({"a": ["x", "y", "x"], "b": [1.0, 2, 4]})
    preparation = Preparation([OneHot("a")]).fit(table)
    for again in (copy.deepcopy(preparation), pickle.loads(pickle.dumps(preparation))):
        assert again._lock is not preparation._lock and again.state()[0] == preparation.state()[0]
        with pytest.warns(UserWarning, match="^column 'a' has categories that the preparation was not fitted with"):
            again.transform({"a": ["x", "new"], "b": [1.0, 2]})
        assert again.unseen == {"a": 1} and preparation.unseen == {}
    assert "_lock" not in preparation.__getstate__() and hasattr(preparation, "_lock")


def test_steps_that_are_not_fitted_anew_stay_as_they_were_where_a_fit_fails():
    X = rows(30, 3)
    preparation = Preparation([Standardize(), PCA(2)]).fit(X, random_state=4)
    before = preparation.state()
    for wrong, message in (
        (X[:1], r"pca=2 is more than a table of 1 rows and 3 columns has"),
        (X[:0], "nothing to fit"),
    ):
        with pytest.raises(ValueError, match=message):
            preparation.fit(wrong, random_state=5)
    assert preparation.state()[0] == before[0] and (preparation.n_samples, preparation.passes) == (30, 1)
    np.testing.assert_array_equal(preparation.state()[1]["1.axes"], before[1]["1.axes"])


@pytest.mark.parametrize("kind", ["array", "list", "frame", "arrow", "source"])
@pytest.mark.parametrize("gaps", [False, True])
def test_rows_of_any_kind_are_prepared_alike(kind, gaps):
    X = np.rint(rows(40, 3) * 8) / 8
    if gaps:
        X[::6, 1] = nan
    names = list("abc")
    frame = pd.DataFrame(X, columns=names)
    steps = [Missing("mean"), Standardize()] if gaps else [Standardize()]
    preparation = Preparation(steps).fit(frame)
    wanted = preparation.transform(X)
    given = {"array": X, "list": X.tolist(), "frame": frame, "source": as_source(frame)}.get(kind)
    if kind == "arrow":
        given = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    np.testing.assert_array_equal(preparation.transform(given), wanted)
    if kind in ("frame", "arrow", "source"):
        turned = given[["c", "a", "b"]] if kind == "frame" else given
        if kind == "arrow":
            turned = given.select(["c", "a", "b"])
        elif kind == "source":
            turned = as_source(frame[["c", "a", "b"]])
        np.testing.assert_array_equal(preparation.transform(turned), wanted)
    # What is missing where nothing is said of it is an error of the table, and not of what became of it.
    if kind in ("array", "frame") and not gaps:
        wrong = X.copy()
        wrong[7, 1] = nan
        wrong = wrong if kind == "array" else pd.DataFrame(wrong, columns=names)
        for use in (preparation.transform, lambda X: PreparedSource(X, preparation).read(0, 40), preparation.fit):
            with pytest.raises(ValueError, match=r"row 7, column 1") as told:
                use(wrong)
            assert "prepared" not in str(told.value)
    # Before it is fitted, it is asked for nothing.
    with pytest.raises(ValueError, match=r"is not fitted; call its `fit` first$"):
        Preparation(steps).transform(given)
    with pytest.raises(ValueError, match=r"is not fitted; call its `fit` first$"):
        PreparedSource(as_source(frame), Preparation(steps))


# ------------------------------------------------------------------------------------------------------------- threads


class Watched(Threads):
    """Threads that write down which pieces they are given, and whether BLAS has one thread now."""

    def __init__(self, n_jobs=1):
        super().__init__(n_jobs)
        self.pieces, self.entered, self.within = [], 0, False

    def map(self, function, pieces):
        self.pieces.append(list(pieces))
        return super().map(function, pieces)

    @contextmanager
    def one_blas_thread(self):
        self.entered, self.within = self.entered + 1, True
        with super().one_blas_thread():
            yield
        self.within = False


def transformed(width, columns):
    return FittedTransformer(Transformer(Wide(columns)), Wide(columns), "", width, columns)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 16, 1 << 20])
@pytest.mark.parametrize("width", [1, 100, 3000])
def test_pieces_are_whole_calls_and_no_larger_than_they_have_to_be(piece, width, monkeypatch):
    """A call of a transformer is filled up, so that none should be cut; rows of other steps come by 64 at least."""
    monkeypatch.setattr(rows_module, "_PIECE", piece)
    narrow, wide = transformed(width, 2), transformed(2, 2 * width)
    scale = Standardize().fit(None, Statistics(9, np.zeros(width), np.ones(width), np.zeros(width, bool)))
    for steps, calls in (((), []), ((scale,), []), ((narrow,), [width]), ((scale, narrow, wide), [width, 2])):
        threads = Watched()
        X = np.zeros((5000 if width < 3000 else 300, width))
        widest = max(width, *(step.width_out for step in steps)) if steps else width
        out = np.empty((len(X), steps[-1].width_out if steps else width), np.float32)
        rows_module.apply(steps, X, 0, threads, out)
        (pieces,) = threads.pieces
        assert [a for a, _ in pieces] + [len(X)] == [0] + [b for _, b in pieces]
        call = max([64, *map(height_of, calls)])
        height = pieces[0][1] if len(pieces) > 1 else call
        assert height % call == 0 and (height == call or height * widest <= piece)
        if len(pieces) > 1:
            assert (height + call) * widest > piece and {b - a for a, b in pieces[:-1]} == {height}
        else:
            assert len(X) <= max(call, piece // widest // call * call)
        # Looking for BLAS takes longer than a scaler, which needs none.
        assert threads.entered == bool(calls)


def test_blas_has_one_thread_while_others_work():
    """A product of several is another one in its last bits."""
    seen = []

    class Noting:
        def fit(self, X):
            seen.append(("fit", threads.within))
            self.fitted_ = True
            return self

        def transform(self, X):
            seen.append(("transform", threads.within))
            return X

        def get_params(self, deep=True):
            return {}

        def __sklearn_clone__(self):
            return Noting()

    threads = Watched()
    passes = Passes(as_source(rows()), (), 0, threads, silent)
    fitted = Transformer(Noting()).fit(passes, None)
    assert seen == [("fit", True), ("transform", True)] and not threads.within
    passes.then(fitted).first(3)
    assert seen[-1] == ("transform", True) and threads.entered == 2
    for call in (
        lambda: passes.statistics(frozenset({"moments"})),
        lambda: PCA(2).fit(passes, passes.statistics(frozenset({"moments", "covariance"}))),
        lambda: PCA(2).fit(passes, None),
    ):
        before = threads.entered
        call()
        assert threads.entered > before and not threads.within


def test_prepared_rows_tell_whether_they_may_lack_values():
    X = rows(30, 3)
    X[4, 1] = nan
    for how, lacks in (("drop", True), ("keep", True), ("mean", False), ("neighbors", False)):
        source = PreparedSource(X, Preparation([Missing(how)]).fit(X))
        assert source.lacks_values is lacks is source.reopen().lacks_values
        assert np.isnan(source.read(0, 30)).any() == lacks
        assert source.preparation.numbers(X).shape == (30, 3)
    assert PreparedSource(rows(), Preparation([Log1p()]).fit(rows())).lacks_values is False


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u4", "f8"])
def test_whole_numbers_are_looked_at_as_they_are_stored(dtype):
    """Of eight bytes they are more than double precision tells apart; each is counted once."""
    top = {"i8": 2**62, "u8": 2**63, "i4": 2**30, "u4": 2**31, "f8": 2**40}[dtype]
    X = (np.uint64(top) + np.arange(100, dtype=np.uint64)[:, None]).astype(dtype)
    look = look_at(X)
    exact = 100 if np.finfo(np.longdouble).nmant > 60 or dtype not in ("i8", "u8") else look.known[0]
    assert look.known.tolist() == [exact]
    assert look.kept.tolist() == [len(np.unique(X.astype(np.float32)))]
    centred = (X.astype(np.float64) - look.centre).astype(np.float32)
    assert look.saved.tolist() == [len(np.unique(centred))]


def test_a_look_stops_at_what_single_precision_cannot_hold():
    """Such a column is told later; those beside it are looked at as ever."""
    k = np.arange(50.0)
    X = np.column_stack([1e9 + k / 8, 1e300 * (k + 1), 1e9 + k / 8, np.where(k == 7, 1e39, 1e9 + k / 8)])
    look = look_at(X)
    assert look.known.tolist() == [50, 1, 50, 1] and look.kept.tolist()[1::2] == look.saved.tolist()[1::2] == [1, 1]
    assert look.helped.tolist() == [True, False, True, False] and look.centre.tolist()[1::2] == [0, 0]


@pytest.mark.parametrize(
    ("steps", "needs"),
    [
        ([Standardize()], {"moments"}),
        ([Standardize(True)], {"moments", "sample"}),
        ([PCA(2)], {"moments", "covariance"}),
        ([Log1p()], set()),
        ([Log1p(), PCA(2)], set()),
        ([Standardize(), PCA(2)], {"moments", "covariance"}),
        ([Standardize(), Standardize(True)], {"moments", "sample"}),
        ([Standardize(), Shift(np.zeros(5)), PCA(2)], {"moments", "covariance"}),
        # What lies behind a step that is no sum and no multiple is seen in a pass of its own.
        ([Standardize(), Log1p(), PCA(2)], {"moments"}),
        ([Standardize(), Log1p(), Standardize(True), PCA(2)], {"moments"}),
        ([PCA(2), Standardize(True)], {"moments", "covariance"}),
        ([Standardize(), Log1p(), Standardize(True), Standardize(True)], {"moments"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else " ".join(type(step).__name__ for step in value),
)
def test_a_pass_gathers_what_steps_need_as_far_as_it_reaches(steps, needs):
    assert _needs(steps, 5) == needs


@pytest.mark.parametrize("names", [["a", 2, "c"], ["a", "b"], ["a", "b", None], {"a": 1, "b": 2, "c": 3}, "abc"])
def test_names_of_a_state_are_words_one_for_each_column(names):
    numbers, arrays = Preparation([Log1p()]).fit(pd.DataFrame(rows(9, 3), columns=list("abc"))).state()
    Preparation.from_state(numbers, arrays)
    arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    with pytest.raises(ValueError, match=r"^the state of a preparation has no 3 names of columns in 'names'$"):
        Preparation.from_state(numbers, arrays)


@pytest.mark.parametrize("p", [1, 63, 1000])
def test_a_tile_takes_32_mib_or_so_many_rows(p):
    """Numbers of eight bytes; of narrow tables 65,536 rows."""

    class Zeros:
        dtype, chunks, shape = np.dtype(np.float32), None, (10**6, p)

        def read(self, start, stop):
            return np.zeros((stop - start, p), np.float32)

        def reopen(self):
            return self

    first, tile = next(Passes(as_source(Zeros()), (), 0, Threads(1), silent).tiles())
    assert first == 0 and len(tile) == min(65_536, (32 << 20) // (8 * p))


@pytest.mark.parametrize("how", [None, "drop", "keep"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_row_in_any_piece_is_where_it_was_and_has_its_number(how, jobs, monkeypatch):
    """In pieces of 64 rows, also where some rows are left out."""
    monkeypatch.setattr(rows_module, "_PIECE", 1)
    X = rows(500, 3)
    if how is not None:
        X[::9] = nan
    steps = [*([] if how is None else [Missing(how)]), Log1p(), Standardize()]
    preparation = Preparation(steps).fit(X, n_jobs=jobs)
    Z = np.log1p(X)
    wanted = (Z - np.nanmean(Z, axis=0)) / np.nanstd(Z, axis=0)
    np.testing.assert_allclose(preparation.transform(X, n_jobs=jobs), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(PreparedSource(X, preparation, n_jobs=jobs).read(100, 400), wanted[100:400], rtol=1e-5,
                               atol=1e-6)  # fmt: skip
    for row in (1, 65, 400):
        X[row, 1] = -1
        with pytest.raises(ValueError, match=rf"row {row}, column 1 is -1$"):
            preparation.transform(X, n_jobs=jobs)
        with pytest.raises(ValueError, match=rf"row {1000 + row}, column 1 is -1$"):
            preparation.transform(X, first_row=1000, n_jobs=jobs)
        with pytest.raises(ValueError, match=rf"row {row}, column 1 is -1$"):
            PreparedSource(X, preparation).read(0, 500)
        with pytest.raises(ValueError, match=rf"row {row}, column 1 is -1$"):
            Preparation(steps).fit(X, n_jobs=jobs)
        X[row, 1] = 1
