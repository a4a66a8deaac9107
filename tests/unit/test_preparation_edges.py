"""Steps of a preparation at their edges: rare cells, medians, which rows they see, and who is blamed."""

from __future__ import annotations

import datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from edges_of_preparations import Wide, nan, rows, silent

from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.io import as_source
from tsne_ooc.io.lacking import Lacking
from tsne_ooc.preprocess import PCA, Log1p, Missing, Normalize, OneHot, Preparation, Standardize, Transformer
from tsne_ooc.preprocess import medians as medians_module
from tsne_ooc.preprocess import rows as rows_module
from tsne_ooc.preprocess.categories import as_column, category_of, numbers_of
from tsne_ooc.preprocess.medians import Medians
from tsne_ooc.preprocess.missing import FittedMissing, Totals
from tsne_ooc.preprocess.rows import Passes
from tsne_ooc.preprocess.sketch import leading
from tsne_ooc.preprocess.statistics import MomentsWithGaps
from tsne_ooc.preprocess.transformer import FittedTransformer

# ---------------------------------------------------------------------------------------------------------------- cells


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


# -------------------------------------------------------------------------------------------------------------- medians


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


# ----------------------------------------------------------------------------------------------------------------- rows


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


# ---------------------------------------------------------------------------------------------------------------- blame


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
