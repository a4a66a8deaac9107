"""Each step of a preparation by itself, exactly at its limits, and what a state of each may not be."""

from __future__ import annotations

import itertools
import json
import threading
import warnings

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.io import as_source
from tsne_ooc.preprocess import PCA, Log1p, Normalize, OneHot, Preparation, Standardize, Transformer
from tsne_ooc.preprocess import missing as missing_module
from tsne_ooc.preprocess import rows as rows_module
from tsne_ooc.preprocess.medians import Medians
from tsne_ooc.preprocess.missing import Missing, Totals
from tsne_ooc.preprocess.options import preparation_from_options
from tsne_ooc.preprocess.rows import Passes, working_type
from tsne_ooc.preprocess.shift import Shift, look_at
from tsne_ooc.preprocess.sketch import leading
from tsne_ooc.preprocess.source import PreparedSource
from tsne_ooc.preprocess.statistics import Moments, MomentsWithGaps
from tsne_ooc.preprocess.transformer import height_of

nan = np.nan


def rows(n=40, p=4, seed=0):
    return np.random.default_rng(seed).gamma(2, 3, (n, p)).astype(np.float32)


# -------------------------------------------------------------------------------------------------- numbers of columns


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f2", "f4", "u4", "i4", "i8", "f8", "g", "O", "U3", "M8[s]"])
def test_rows_are_worked_on_in_a_type_that_holds_their_numbers(dtype):
    single = np.dtype(dtype).kind in "?buif" and np.can_cast(dtype, np.float32)
    assert working_type(np.dtype(dtype)) == (np.float32 if single else np.float64)


@pytest.mark.parametrize("cuts", [[], [1], [13, 14, 30], list(range(1, 40))])
@pytest.mark.parametrize("covariance", [False, True])
def test_moments_of_tiles_of_any_height_are_those_of_the_table(cuts, covariance):
    X = rows(40, 5).astype(np.float64) + 1e6
    X[:, 3] = 7
    moments = Moments(5, covariance=covariance, threads=Threads(2))
    for tile in np.split(X, cuts):
        moments.add(tile.copy())
    found = moments.finish()
    assert found.n == 40 and found.sample is None
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.variance, X.var(axis=0), rtol=1e-9, atol=1e-12)
    assert found.constant.tolist() == [False, False, False, True, False]
    if covariance:
        np.testing.assert_allclose(
            np.tril(found.covariance), np.tril(np.cov(X, rowvar=False, bias=True)), rtol=1e-7, atol=1e-9
        )
    else:
        assert found.covariance is None
    shifted = found.affine(found.mean, 2 * np.ones(5))
    np.testing.assert_allclose(shifted.mean, 0, atol=1e-9)
    np.testing.assert_allclose(shifted.variance, X.var(axis=0) / 4, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cuts", [[], [1], [13, 14, 30], list(range(1, 40))])
def test_moments_with_gaps_are_those_of_the_values_that_are_there(cuts):
    X = rows(40, 5).astype(np.float64) + 1e6
    X[np.random.default_rng(1).random(X.shape) < 0.4] = nan
    X[:14, 1] = nan
    X[:, 2] = np.where(np.isnan(X[:, 2]), nan, 5)
    X[:, 4] = np.r_[3, np.full(39, nan)]
    moments, totals = MomentsWithGaps(5), Totals(5)
    for tile in np.split(X, cuts):
        kept = tile.copy()
        moments.add(tile)
        totals.add(tile, np.isnan(tile))
        np.testing.assert_array_equal(tile, kept)
    found = moments.finish()
    assert found.n == 40
    np.testing.assert_allclose(found.mean, np.nanmean(X, axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.variance, np.nanvar(X, axis=0), rtol=1e-9, atol=1e-12)
    assert found.constant.tolist() == [False, False, True, False, True]
    np.testing.assert_allclose(totals.means(), np.nanmean(X, axis=0), rtol=1e-14)


@pytest.mark.parametrize("p", [1, 3])
def test_medians_of_columns_with_gaps_are_exact_where_all_values_are_held(p):
    X = rows(301, p).astype(np.float64)
    X[np.random.default_rng(1).random(X.shape) < 0.3] = nan
    medians = Medians(p, 0)
    for tile in np.array_split(X, 7):
        medians.add(tile, np.isnan(tile))
    found, error = medians.finish()
    np.testing.assert_allclose(found, np.nanmedian(X, axis=0))
    assert error == 0


def test_medians_that_are_not_exact_say_so_from_the_first_value_that_is_not_held(monkeypatch):
    monkeypatch.setattr("tsne_ooc.preprocess.medians._LEAST", 16)
    monkeypatch.setattr("tsne_ooc.preprocess.medians._NUMBERS", 1)
    for n, error in ((16, 0), (17, 0.5 / 4)):
        medians = Medians(1, 0)
        X = np.arange(n, dtype=np.float64)[:, None]
        medians.add(X, np.isnan(X))
        found, told = medians.finish()
        assert told == error and medians.k == 16
        assert error or found[0] == np.median(X)


@pytest.mark.parametrize("held", [0, 40, 10**9])
def test_medians_are_of_the_values_of_the_rows_with_the_lowest_numbers(held, monkeypatch):
    """However often what is held is sifted."""
    monkeypatch.setattr("tsne_ooc.preprocess.medians._LEAST", 16)
    monkeypatch.setattr("tsne_ooc.preprocess.medians._NUMBERS", 1)
    X = rows(300, 3).astype(np.float64)
    X[np.random.default_rng(1).random(X.shape) < 0.3] = nan
    X[:250, 2] = nan
    X[10:, 1] = nan
    medians = Medians(3, 5)
    medians._most = held
    for tile in np.array_split(X, 9):
        medians.add(tile, np.isnan(tile))
        assert medians._held <= max(held, 3 * 16) + (len(tile) * 3 if held else 0)
    found, error = medians.finish()
    rng = generator(5, "medians")
    numbers = np.concatenate([rng.random(len(tile)) for tile in np.array_split(X, 9)])
    wanted = []
    for column in X.T:
        there = np.flatnonzero(~np.isnan(column))
        wanted.append(np.median(column[there[np.argsort(numbers[there])][:16]]))
    assert found.tolist() == wanted and error == 0.5 / 4


def test_means_beyond_the_range_are_told_by_their_column():
    X = np.array([[1, 1.7e308], [2, -1.7e308], [3, nan]])
    with pytest.raises(ValueError) as told:
        Preparation([Missing("mean")]).fit(X)
    assert str(told.value) == "column 1 of the table has squares beyond the range of float64; scale it first"


# ------------------------------------------------------------------------------------------------------- missing values


@pytest.mark.parametrize("tile", [1 << 6, 1 << 20])
@pytest.mark.parametrize("how", ["mean", "median", "neighbors", "indicator", "drop", "keep"])
def test_missing_values_by_a_slow_twin(how, tile, monkeypatch):
    """In tiles of sixteen rows, the first of which has no value of one column, and all at once."""
    monkeypatch.setattr(rows_module, "_TILE", tile)
    X = rows(60, 4).astype(np.float64)
    X[np.random.default_rng(1).random(X.shape) < 0.2] = nan
    X[:17, 3] = nan
    X[:, 2] = np.abs(np.nan_to_num(X[:, 2])) + 1
    preparation = Preparation([Missing(how)]).fit(X)
    given = X.copy()
    found = preparation.transform(X)
    np.testing.assert_array_equal(X, given)
    gaps = np.isnan(X)
    filled = np.where(gaps, np.nanmedian(X, axis=0) if how == "median" else np.nanmean(X, axis=0), X)
    if how in ("mean", "median"):
        np.testing.assert_allclose(found, filled, rtol=1e-6)
    elif how == "indicator":
        np.testing.assert_allclose(found[:, :4], filled, rtol=1e-6)
        np.testing.assert_array_equal(found[:, 4:], gaps[:, [0, 1, 3]])
        assert preparation.n_features_out == 7
    elif how == "keep":
        np.testing.assert_array_equal(found, X.astype(np.float32))
    elif how == "drop":
        np.testing.assert_array_equal(found[~gaps.any(axis=1)], X[~gaps.any(axis=1)].astype(np.float32))
        assert np.isnan(found[gaps.any(axis=1)]).all()
        np.testing.assert_array_equal(preparation.dropped, np.flatnonzero(gaps.any(axis=1)))
    else:
        np.testing.assert_allclose(found[~gaps], X[~gaps], rtol=1e-6)
        assert np.isfinite(found).all()
    fitted = preparation.fitted[0]
    assert fitted.n_fitted == 60 and fitted.rank_error == 0
    np.testing.assert_array_equal(fitted.lacking, gaps.sum(axis=0))
    if how == "neighbors":
        # Of so few rows all are donors.
        np.testing.assert_array_equal(fitted.donors, X)
    told = None if how in ("drop", "keep") else {"how": how, "cells": int(gaps.sum()), "columns": 3}
    assert preparation.filled == told
    assert (preparation.takes_missing, preparation.to_drop) == (True, how == "drop")
    assert (preparation.drops, preparation.leaves_gaps) == (how in ("drop", "keep"), how == "keep")
    if how != "indicator":
        return
    back = preparation.undo(found)
    np.testing.assert_allclose(back, filled, rtol=1e-6)


@pytest.mark.parametrize(
    ("how", "X", "message"),
    [
        (
            "drop",
            [[nan, 1], [2, nan], [3, nan]],
            "all 3 rows lack a value, so missing='drop' leaves none; leave out columns that lack many (column 1 lacks "
            "2), or fill values in",
        ),
        ("keep", [[nan, nan], [nan, nan]], "none of 2 rows has a value in any column"),
        ("keep", [[1, nan], [2, nan]], "column 1 has no value in any of 2 rows; leave it out"),
        ("mean", [[1, nan], [2, nan]], "column 1 has no value in any of 2 rows; leave it out"),
        ("median", [[nan, 1]], "column 0 has no value in any of 1 row; leave it out"),
        ("neighbors", [[nan, 1], [nan, 2]], "column 0 has no value in any of 2 rows; leave it out"),
    ],
)
def test_tables_of_which_nothing_would_be_left(how, X, message):
    with pytest.raises(ValueError) as told:
        Preparation([Missing(how)]).fit(np.array(X, np.float64))
    assert str(told.value) == message


def test_one_row_with_all_values_is_enough():
    X = np.array([[nan, 1], [2, 3], [nan, nan]])
    assert Preparation([Missing("drop")]).fit(X).dropped.tolist() == [0, 2]
    assert Preparation([Missing("keep")]).fit(X).dropped.tolist() == [2]
    assert Preparation([Missing("mean")]).fit(X).dropped.tolist() == []


def test_donors_are_drawn_by_the_seed_and_as_many_as_documented(monkeypatch):
    monkeypatch.setattr(missing_module, "DONORS", 12)
    X = rows(50, 3).astype(np.float64)
    X[::3, 1] = nan
    one, same, other = (Preparation([Missing("neighbors")]).fit(X, random_state=seed).fitted[0] for seed in (1, 1, 2))
    assert one.donors.shape == (12, 3)
    np.testing.assert_array_equal(one.donors, same.donors)
    assert (np.nan_to_num(one.donors) != np.nan_to_num(other.donors)).any()
    known = {tuple(row) for row in np.nan_to_num(X)}
    assert all(tuple(row) in known for row in np.nan_to_num(one.donors))


def test_steps_that_need_all_values_are_refused_behind_gaps_that_are_kept():
    for step in (Log1p(), Standardize(), Shift(np.zeros(2))):
        Preparation([Missing("keep"), step])
        Preparation([OneHot("a"), Missing("keep"), step])
    for step in (Normalize(), PCA(2), Transformer(Scales())):
        Preparation([Missing("mean"), step])
        with pytest.raises(ValueError) as told:
            Preparation([Missing("keep"), step])
        assert str(told.value).startswith(f"{step!r} needs all values, and what is missing is kept (missing='keep', ")
    with pytest.raises(ValueError, match=r"^missing must be the first step, or the first behind onehot: others need"):
        Preparation([Log1p(), Missing("mean")])
    with pytest.raises(ValueError, match=r"^missing must be the first step"):
        Preparation([Missing("mean"), Missing("mean")])
    with pytest.raises(ValueError, match=r"^missing='men' is not known; did you mean 'mean'\?"):
        Missing("men")


def test_gaps_are_kept_in_front_of_what_there_is():
    assert Preparation([Log1p()]).keeping_gaps().steps == (Missing("keep"), Log1p())
    assert Preparation([OneHot("a"), Log1p()]).keeping_gaps().steps == (OneHot("a"), Missing("keep"), Log1p())
    assert Preparation([]).keeping_gaps().steps == (Missing("keep"),)
    own = Preparation([Missing("mean"), PCA(2)])
    assert own.keeping_gaps().steps == own.steps and own.keeping_gaps() is not own
    with pytest.raises(ValueError, match=r"PCA.* needs all values"):
        Preparation([PCA(2)]).keeping_gaps()


# ---------------------------------------------------------------------------------------------------------- other steps


def test_totals_at_their_limits_and_rows_of_zeros():
    assert (Normalize(1e-30).total, Normalize(1e30).total, Normalize().total) == (1e-30, 1e30, 10_000.0)
    for total in (0.9e-30, 1.1e30):
        with pytest.raises(ValueError, match=r"must be a finite number from 1e-30 to 1e\+30"):
            Normalize(total)
    X = np.array([[0, 0], [1, 3], [-0.0, 2]], np.float32)
    found = Preparation([Normalize(8)]).fit(X).transform(X)
    assert found.tolist() == [[0, 0], [2, 6], [0, 8]]
    assert Preparation([Log1p()]).fit(X).transform(X).tolist() == np.log1p(X.astype(float)).astype("f4").tolist()


@pytest.mark.parametrize(("step", "what"), [(Log1p(), "log1p"), (Normalize(), "normalize")])
def test_the_first_negative_value_is_named(step, what):
    X = rows(20, 3)
    X[7, 2], X[7, 1], X[11, 0] = -4, -0.5, -9
    with pytest.raises(ValueError) as told:
        Preparation([step]).fit(np.abs(X)).transform(X, first_row=100)
    assert str(told.value) == f"{what} takes counts and other values of at least 0; row 107, column 1 is -0.5"


def test_as_many_components_as_there_are():
    for shape in ((5, 3), (3, 5), (1, 4)):
        X = rows(*shape)
        most = min(shape)
        fitted = Preparation([PCA(most)]).fit(X).fitted[0]
        assert fitted.width_out == most and (fitted.explained_variance >= 0).all()
        with pytest.raises(ValueError) as told:
            Preparation([PCA(most + 1)]).fit(X)
        assert str(told.value) == (f"pca={most + 1} is more than a table of {shape[0]} rows and {shape[1]} columns has")
    # Among equal rows there is no variance, and no share of it.
    flat = Preparation([PCA(2)]).fit(np.ones((6, 3))).fitted[0]
    assert flat.explained_variance.tolist() == flat.explained_variance_ratio.tolist() == [0, 0]


@pytest.mark.parametrize("scale", [1e200, 1e306])
def test_one_column_beyond_the_range_is_named_without_another_word(scale):
    """Where components come from a sketch: all other columns have products that are numbers."""
    X = np.random.default_rng(0).normal(size=(30, 6))
    X[:, 3] *= scale
    table = Passes(as_source(X), (), 0, Threads(1), lambda: lambda *told: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as told:
            leading(table, 2)
    assert str(told.value) == "column 3 of the table has squares beyond the range of float64; scale it first"


def test_components_are_exact_up_to_4096_columns():
    """A covariance of all columns is asked for, and of wider tables none."""
    assert PCA(2).needs(4096) == {"moments", "covariance"} and not PCA(2).needs(4097)


@pytest.mark.parametrize("robust", [False, True])
def test_columns_are_brought_to_the_scale_of_a_normal_distribution(robust):
    X = np.random.default_rng(0).normal(3, 5, (4001, 2))
    X[:, 1] = np.where(np.arange(4001) < 3500, 2, X[:, 1])
    X = np.c_[X, np.full(4001, 9)]
    preparation = Preparation([Standardize(robust)]).fit(X)
    fitted = preparation.fitted[0]
    low, middle, high = np.quantile(X, [0.25, 0.5, 0.75], axis=0)
    centre, scale = (middle, (high - low) / 1.3489795) if robust else (X.mean(axis=0), X.std(axis=0))
    scale = np.where(high > low, scale, X.std(axis=0)) if robust else scale
    np.testing.assert_allclose(fitted.centre, centre, rtol=1e-6)
    np.testing.assert_allclose(fitted.scale, np.where([False, False, True], 1, scale), rtol=1e-6)
    assert fitted.constant.tolist() == [False, False, True] and fitted.n_constant == 1
    assert fitted.state()[0] == {"robust": robust, "n_constant": 1}
    np.testing.assert_allclose(preparation.undo(preparation.transform(X)), X, rtol=1e-5, atol=1e-5)


class Scales:
    """A transformer that needs no fit."""

    def __init__(self, factor=2.0, wide=0):
        self.factor, self.wide = factor, wide

    def transform(self, X):
        return np.repeat(X * self.factor, 1 + self.wide, axis=1)


@pytest.mark.parametrize("width", [1, 100, 128, 129, 256, 2048, 2049, 10**6])
def test_calls_of_a_transformer_have_a_power_of_two_rows_from_64_to_1024(width):
    height = height_of(width)
    assert 64 <= height <= 1024 and height & (height - 1) == 0
    # As many as 2^17 numbers allow within these bounds.
    assert height == 64 or height * width <= 1 << 17
    assert height == 1024 or 2 * height * width > 1 << 17


@pytest.mark.parametrize("n", [1, 63, 1024, 1025, 3000])
def test_a_transformer_gets_calls_of_one_height_and_each_row_comes_back(n):
    X = rows(n, 2)
    found = Preparation([Transformer(Scales(3.0, wide=1))]).fit(X).transform(X)
    np.testing.assert_array_equal(found, np.repeat(3 * X, 2, axis=1))


def test_what_a_transformer_may_be():
    from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

    X = rows(50, 3)
    for given in (MinMaxScaler, "scaler", object()):
        with pytest.raises(TypeError) as told:
            Transformer(given)
        assert str(told.value) == f"{given!r} is not a transformer: an object with `transform` is needed"
    fitted = MinMaxScaler().fit(2 * X)
    preparation = Preparation([Transformer(fitted)]).fit(X)
    assert preparation.fitted[0].how == "as it was given"
    # What is fitted is a copy: what becomes of the given one does not change it.
    before = preparation.transform(X)
    fitted.fit(X)
    np.testing.assert_array_equal(preparation.transform(X), before)
    infinite = Preparation([Transformer(FunctionTransformer(lambda X: np.where(X == 7, np.inf, X)))]).fit(X)
    X[33, 1] = 7
    with pytest.raises(ValueError, match=r"^FunctionTransformer.* gives NaN or infinity for row 133$"):
        infinite.transform(X, first_row=100)
    with pytest.raises(TypeError, match=r"cannot be saved: that would take pickle, which runs whatever code a file"):
        preparation.state()
    with pytest.raises(ValueError, match=r"cannot be undone; ask for prepared rows \(prepared=True\)"):
        preparation.undo(X)


def test_seeds_of_transformers_are_set_where_none_is_given():
    from sklearn.decomposition import TruncatedSVD
    from sklearn.pipeline import make_pipeline

    X = rows(60, 8)

    def seed(given, random_state):
        pipe = make_pipeline(TruncatedSVD(2, random_state=given))
        fitted = Preparation([Transformer(pipe)]).fit(X, random_state=random_state).fitted[0].transformer
        assert pipe.steps[0][1].random_state is given
        return fitted.steps[0][1].random_state

    assert seed(None, 1) == seed(None, 1) != seed(None, 2)
    assert seed(5, 1) == 5


# ----------------------------------------------------------------------------------------------------------- the whole


def test_words_of_the_command_line_are_steps_in_their_order():
    """Each alone, and all together in the order in which they make sense, whatever order they are given in."""
    steps = {
        "onehot": (["a"], OneHot(["a"])),
        "missing": ("mean", Missing("mean")),
        "normalize": (5.0, Normalize(5)),
        "log1p": (True, Log1p()),
        "standardize": ("robust", Standardize(robust=True)),
        "pca": (3, PCA(3)),
    }
    for count in range(1, 7):
        for names in itertools.combinations(steps, count):
            found = preparation_from_options(**{name: steps[name][0] for name in reversed(names)})
            assert found.steps == tuple(steps[name][1] for name in names)
    assert preparation_from_options(standardize="standard").steps == (Standardize(),)
    for nothing in ({}, {"missing": "error"}, {"missing": None, "onehot": (), "log1p": False}):
        assert preparation_from_options(**nothing) is None
    for options, message in (
        ({"missing": "middle"}, "missing='middle' is not known"),
        ({"standardize": "strong"}, "standardize='strong' is not known"),
        ({"normalize": 0}, "total=0 must be"),
    ):
        with pytest.raises(ValueError, match=message):
            preparation_from_options(**options)


def test_what_a_preparation_tells_of_its_fit():
    X = rows(30, 4)
    preparation = Preparation([Standardize(), PCA(2)])
    assert (preparation.n_features_in, preparation.n_features_out, preparation.n_samples, preparation.passes) == (
        0,
    ) * 4
    for use in (preparation.check_undo, lambda: preparation.contents, lambda: preparation.transform(X)):
        with pytest.raises(ValueError, match=r"^Preparation\(\[.*\]\) is not fitted; call its `fit` first$"):
            use()
    preparation.fit(X, random_state=2**40)
    assert (preparation.n_features_in, preparation.n_features_out, preparation.n_samples, preparation.passes) == (
        4, 2, 30, 1,
    )  # fmt: skip
    assert preparation.state()[0]["random_state"] == 2**40
    assert repr(preparation) == "Preparation([Standardize(robust=False), PCA(n=2)])"
    for wrong in (-1, 1.5):
        with pytest.raises((ValueError, TypeError), match="random_state="):
            preparation.fit(X, random_state=wrong)
    with pytest.raises(ValueError, match=r"^X has 3 columns, and Preparation\(.*\) was fitted with 4$"):
        preparation.transform(X[:, :3])
    with pytest.raises(ValueError, match=r"^X has 3 columns, and Preparation\(.*\) gives 2$"):
        preparation.undo(X[:, :3])


def test_the_first_rows_of_a_pass_are_repeated_where_there_are_too_few():
    X = rows(5, 2).astype(np.float64)

    passes = Passes(as_source(X), (), 0, Threads(1), lambda: lambda *at: None)
    np.testing.assert_array_equal(passes.first(3), X[:3])
    np.testing.assert_array_equal(passes.first(12), np.concatenate([X, X, X[:2]]))
    np.testing.assert_array_equal(passes.sample(), X)
    assert passes.n == 5 and passes.width == 2


@pytest.mark.parametrize(
    "steps",
    [[Missing("drop")], [Missing("keep"), Standardize()], [Missing("median"), Standardize(True), PCA(2)], [Log1p()]],
    ids=repr,
)
def test_a_state_is_json_and_arrays_and_comes_back(steps):
    X = rows(50, 4)
    if steps != [Log1p()]:
        X[::7, 1] = nan
    fitted = Preparation(steps).fit(X, random_state=3)
    numbers, arrays = fitted.state()
    again = Preparation.from_state(json.loads(json.dumps(numbers, allow_nan=False)), dict(arrays))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    assert again.state()[0] == numbers and again.steps == fitted.steps
    assert {name: array.tobytes() for name, array in again.state()[1].items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    for name in ("n_samples", "n_features_in", "n_features_out", "passes", "filled"):
        assert getattr(again, name) == getattr(fitted, name)


def fitted_state(*steps, gaps=False):
    X = rows(30, 3)
    X[::5, 1] = nan if gaps else 1
    return Preparation(steps).fit(X).state()


@pytest.mark.parametrize(
    ("steps", "array"),
    [
        ([Standardize()], "0.centre"),
        ([Standardize()], "0.scale"),
        ([Standardize()], "0.constant"),
        ([PCA(2)], "0.mean"),
        ([PCA(2)], "0.axes"),
        ([PCA(2)], "0.explained_variance"),
        ([PCA(2)], "0.explained_variance_ratio"),
        ([Shift(np.ones(3))], "0.offset"),
        ([Missing("mean")], "0.values"),
        ([Missing("mean")], "0.lacking"),
        ([Missing("neighbors")], "0.donors"),
        ([Missing("neighbors")], "0.gaps"),
        ([Log1p(), Standardize()], "1.scale"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_array_of_a_state_is_looked_at(steps, array):
    numbers, arrays = fitted_state(*steps, gaps=isinstance(steps[0], Missing))
    # The shape of donors is compared with that of their gaps.
    good, name = arrays[array], "(donors|gaps)" if array == "0.donors" else array.partition(".")[2]
    damages = {
        "lacks": None, "shape": np.concatenate([good, good[:1]]), "type": good.astype("f2"), "shape, too": good[None],
    }  # fmt: skip
    if good.dtype.kind == "f":
        for value in (np.inf, nan):
            damages[f"one {value}"] = good.copy()
            damages[f"one {value}"].flat[-1] = value
    for damaged in damages.values():
        forged = {key: value for key, value in arrays.items() if key != array}
        forged |= {} if damaged is None else {array: damaged}
        with pytest.raises(ValueError, match=rf"^the state of a preparation (lacks|has) .*'{name}'"):
            Preparation.from_state(numbers, forged)
    # An array that is turned round is the same numbers in another order of memory.
    turned = Preparation.from_state(numbers, arrays | {array: np.asfortranarray(good)})
    assert all(value.flags.c_contiguous for value in turned.state()[1].values())


def test_states_that_contradict_themselves():
    numbers, arrays = fitted_state(Standardize())
    for change, message in (
        ({"format_version": 2}, "the preparation has format 2; this version reads up to 1, upgrade tsne_ooc"),
        ({"n_features_in": 0}, "n_features_in=0 must be at least 1"),
        ({"n_features_out": 2}, "the state of a preparation ends in 3 columns, not 2"),
        ({"steps": [{"kind": "scale"}]}, "step of a preparation='scale' is not known"),
        ({"steps": [{}]}, "the state of a preparation is damaged: KeyError 'kind'"),
        ({"steps": [3]}, "the state of a preparation is damaged: TypeError"),
    ):
        with pytest.raises(ValueError) as told:
            Preparation.from_state(numbers | change, arrays)
        assert str(told.value).startswith(message)
    wrong = arrays | {"0.scale": np.array([1.0, 0, 1])}
    with pytest.raises(ValueError, match=r"^the state of a preparation has a scale that is not positive$"):
        Preparation.from_state(numbers, wrong)


def test_unseen_categories_are_counted_over_blocks_and_told_once():
    fitted = Preparation([OneHot("a")]).fit(Words(["x", "y"]))
    with pytest.warns(UserWarning, match=r"^column 'a' has categories that the preparation was not fitted with; they"):
        fitted.transform({"a": np.array(["x", "new"], object)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.transform({"a": np.array(["newer", "new", "y"], object)})
    assert fitted.unseen == {"a": 3}
    fitted.fit(Words(["x"]))
    assert fitted.unseen == {}


class Words:
    """A source of one column of words."""

    chunks, dtype = None, np.dtype(object)

    def __init__(self, words):
        self.column_names, self.shape = ["a"], (len(words), 1)
        self.words = np.array(words, object)

    def read_columns(self, start, stop):
        return {"a": self.words[start:stop]}

    def read(self, start, stop):
        return self.words[start:stop, None]

    def reopen(self):
        return self


def test_a_thousand_categories_are_taken_and_one_more_is_not():
    words = [f"{i:04}" for i in range(1001)]
    assert Preparation([OneHot("a")]).fit(Words(words[:1000])).n_features_out == 1000
    with pytest.raises(ValueError, match=r"^column 'a' has more than 1000 categories in its first 1001 rows; leave it"):
        Preparation([OneHot("a")]).fit(Words(words))


def test_prepared_rows_are_read_on_any_thread_and_know_what_they_are_of():
    X = rows(40, 4)
    preparation = Preparation([Standardize()]).fit(X)
    source = PreparedSource(X, preparation)
    assert (source.shape, source.dtype, source.row_bytes, source.lacks_values) == ((40, 4), np.float32, 16, False)
    assert source.path is None and source.opened_here is False and source.chunks is None
    assert repr(source) == f"{source.source!r} behind {preparation!r}"
    found = []
    threads = [threading.Thread(target=lambda: found.append(source.read(3, 30))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part in found:
        np.testing.assert_array_equal(part, preparation.transform(X)[3:30])


def test_whole_numbers_that_single_precision_merges_are_seen_wherever_float64_merges_them_too():
    wide = (2**62 + np.arange(50))[:, None]
    look = look_at(np.hstack([wide, np.arange(50)[:, None]]))
    assert look.known.tolist() == [50, 1] or look.known[0] == 50
    assert look.kept[0] < 50 and look.lost(False).tolist() == [0]
    assert look_at(np.empty((0, 3))) is None and look_at(np.arange(6.0)[:, None]) is None
    far = 1e9 + np.arange(40.0)[:, None] / 8
    look = look_at(far)
    assert look.helped.tolist() == [True] and look.saved.tolist() == look.known.tolist() == [40]
    assert look.lost(True).tolist() == [] and look.lost(False).tolist() == [0]
    assert look.centre[0] == np.float32(look.centre[0]) and abs(look.centre[0] - 1e9) < 64
