"""What every step of a preparation promises by itself: its widths, what it does to statistics, and its way back."""

from __future__ import annotations

import datetime
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer

from tsne_ooc.preprocess import (
    PCA,
    Log1p,
    Missing,
    Normalize,
    OneHot,
    Preparation,
    Standardize,
    Transformer,
    preparation_from_options,
)
from tsne_ooc.preprocess.categories import as_column, category_of
from tsne_ooc.preprocess.medians import Medians
from tsne_ooc.preprocess.shift import Shift
from tsne_ooc.preprocess.statistics import Statistics

N, P = 200, 5
OFFSET = np.array([0.0, 1e5, 0.0, -3.0, 0.25])


def counts():
    rng = np.random.default_rng(0)
    return rng.poisson(rng.gamma(0.5, 4, P) * rng.gamma(2, 1, (N, 1))).astype(np.float64)


def gaps(X):
    X = X.copy()
    X[::7, 1] = X[3, 2] = np.nan
    return X


STEPS = {
    "normalize": [Normalize(100)],
    "log1p": [Log1p()],
    "shift": [Shift(OFFSET)],
    "standardize": [Standardize()],
    "robust": [Standardize(robust=True)],
    "pca": [PCA(3)],
    "mean": [Missing("mean")],
    "indicator": [Missing("indicator")],
    "transformer": [Transformer(FunctionTransformer(np.sqrt))],
    "all": [Missing("indicator"), Normalize(100), Log1p(), Standardize(), PCA(3)],
}


def fitted(kind):
    X = counts()
    return Preparation(STEPS[kind]).fit(gaps(X) if isinstance(STEPS[kind][0], Missing) else X), X


@pytest.mark.parametrize("kind", STEPS)
def test_each_takes_the_columns_that_the_one_before_gives(kind):
    preparation, X = fitted(kind)
    width = P
    for step in preparation.fitted:
        assert step.width_in == width
        width = step.width_out
        assert step.apply(np.ones((3, step.width_in)), 0).shape == (3, width)
    assert width == preparation.n_features_out == preparation.transform(X).shape[1]


@pytest.mark.parametrize("kind", STEPS)
def test_statistics_behind_a_step_are_those_of_its_rows_or_take_a_pass(kind):
    """Those of sums and multiples follow from those of the rows before; all others have to be counted."""
    preparation, X = fitted(kind)
    for step in preparation.fitted:
        rows = step.apply(X.copy(), 0)
        centred = X - X.mean(axis=0)
        before = Statistics(N, X.mean(axis=0), X.var(axis=0), X.var(axis=0) == 0, centred.T @ centred / N, None)
        found = step.forward(before)
        if found is None:
            assert not step.step.affine
        else:
            assert step.step.affine
            np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=1e-9)
            np.testing.assert_allclose(found.variance, rows.var(axis=0), rtol=1e-9, atol=1e-9)
        X = rows


def test_columns_that_are_shifted_first_are_those_of_the_table_less_a_number():
    X = counts() + OFFSET
    shifted = Preparation([Shift(OFFSET), Standardize(), PCA(2)]).fit(X)
    wanted = Preparation([Standardize(), PCA(2)]).fit(X - OFFSET)
    # One pass finds the statistics of all three.
    assert shifted.passes == wanted.passes == 1
    np.testing.assert_allclose(shifted.transform(X), wanted.transform(X - OFFSET), atol=1e-5)
    np.testing.assert_allclose(shifted.undo(shifted.transform(X)), wanted.undo(wanted.transform(X - OFFSET)) + OFFSET,
                               rtol=1e-6, atol=1e-5)  # fmt: skip
    alone = Preparation([Shift(OFFSET)]).fit(X)
    np.testing.assert_allclose(alone.undo(alone.transform(X)), X, rtol=1e-6)


@pytest.mark.parametrize("how", ["mean", "median", "neighbors", "indicator"])
def test_back_from_filled_rows_come_the_columns_of_the_table(how):
    """What was filled in stays, and columns that only told of it go."""
    X = gaps(counts())
    preparation = Preparation([Missing(how)]).fit(X)
    back = preparation.undo(preparation.transform(X))
    assert back.shape == X.shape and np.isfinite(back).all()
    np.testing.assert_array_equal(back[~np.isnan(X)], X[~np.isnan(X)].astype(np.float32))
    if how in ("mean", "indicator"):
        np.testing.assert_allclose(back[0, 1], np.nanmean(X[:, 1]), rtol=1e-6)


def test_a_transformer_does_not_guess_the_way_back():
    (step,) = fitted("transformer")[0].fitted
    with pytest.raises(NotImplementedError, match=r"^FunctionTransformer\(.*sqrt.*\) cannot be undone$"):
        step.undo(np.ones((3, P)))


@pytest.mark.parametrize("steps", [[Missing("mean")], [Missing("keep"), Standardize()]], ids=["mean", "gaps"])
def test_columns_beyond_the_range_are_named_where_values_are_missing(steps):
    X = gaps(counts())
    X[:, 3] = np.where(np.arange(N) % 2, -1.7e308, 1.7e308)
    with pytest.raises(ValueError) as caught:
        Preparation(steps).fit(X)
    assert str(caught.value) == "column 3 of the table has squares beyond the range of float64; scale it first"


def test_a_median_of_many_tiles_is_that_of_the_same_rows_at_once(monkeypatch):
    """A sample that is thinned as it grows keeps the rows that it would keep at the end, and stays small."""
    X = np.random.default_rng(0).normal(size=(3000, 3))
    missing = np.random.default_rng(1).random(X.shape) < 0.3
    monkeypatch.setattr("tsne_ooc.preprocess.medians._MOST", 200)
    found = []
    for most in (700, 10**9):
        medians = Medians(3, 0)
        medians._most = most
        for start in range(0, 3000, 100):
            medians.add(X[start : start + 100], missing[start : start + 100])
            assert medians._held <= most and medians._held == sum(map(len, medians._value))
        found.append(medians.finish())
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1] == 0.5 / np.sqrt(200)


# Transformers of others


class Own:
    """A transformer without `fit`, as it was given."""

    def __init__(self, change):
        self.change = change

    def __repr__(self):
        return "my own"

    def transform(self, X):
        return self.change(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_of_which_a_transformer_makes_no_number_is_named(value):
    X = counts()
    preparation = Preparation([Transformer(Own(lambda X: np.where(X == 77.5, value, X)))]).fit(X)
    X[150, 2] = X[160, 0] = 77.5
    for first, rows in ((0, X), (100, X[100:]), (150, X[150:151])):
        with pytest.raises(ValueError) as caught:
            preparation.transform(rows, first_row=first)
        assert str(caught.value) == "my own gives NaN or infinity for row 150"


def test_an_object_that_cannot_be_copied_is_used_itself():
    own = Own(np.abs)
    own.lock = threading.Lock()
    (step,) = Preparation([Transformer(own)]).fit(counts()).fitted
    assert step.transformer is own
    # Others are copied, so that what becomes of them later changes nothing.
    own = Own(np.abs)
    (step,) = Preparation([Transformer(own)]).fit(counts()).fitted
    assert step.transformer is not own and step.transformer.change is np.abs


class Scaled:
    """A class of one's own, which inherits nothing, and is fitted as those of scikit-learn are."""

    def fit(self, X):
        self.scale_ = np.abs(X).max(axis=0)
        return self

    def transform(self, X):
        return X / self.scale_


def test_a_fitted_object_need_not_inherit_from_scikit_learn():
    X = counts()
    given = Scaled().fit(X)
    found = Preparation([Transformer(given)]).fit(X[:50])
    np.testing.assert_allclose(found.transform(X), X / X.max(axis=0), rtol=1e-6)
    assert found.fitted[0].how == "as it was given"
    # One that is not fitted would have to be cloned, which asks for its parameters.
    with pytest.raises(TypeError, match="get_params"):
        Preparation([Transformer(Scaled())]).fit(X)


def test_an_object_without_parameters_needs_no_seed():
    """It says itself how it is copied, and has nothing that could be seeded."""

    class Centred:
        def __sklearn_clone__(self):
            return Centred()

        def __sklearn_tags__(self):
            return BaseEstimator().__sklearn_tags__()

        def __sklearn_is_fitted__(self):
            return hasattr(self, "mean")

        def fit(self, X):
            self.mean = X.mean(axis=0)
            return self

        def transform(self, X):
            return X - self.mean

    X, given = counts(), Centred()
    found = Preparation([Transformer(given)]).fit(X).transform(X)
    np.testing.assert_allclose(found, X - X.mean(axis=0), rtol=1e-5, atol=1e-5)
    assert not hasattr(given, "mean")


# Categories and names


def test_one_moment_is_one_category_in_whatever_unit_it_is_written():
    noon = {category_of(np.datetime64("2020-03-01T12", unit)) for unit in ("h", "m", "s", "ms", "us", "ns")}
    assert noon == {category_of(datetime.datetime(2020, 3, 1, 12))} == {"2020-03-01T12:00:00"}
    day = {category_of(np.datetime64("2020-03-01", unit)) for unit in ("D", "h", "m", "s", "ns")}
    assert day == {category_of(datetime.date(2020, 3, 1))} == {"2020-03-01"}
    assert category_of(np.datetime64("2020-03-01T12:30", "m")) == "2020-03-01T12:30:00"


@pytest.mark.parametrize("unit", ["h", "m", "s", "ns"])
def test_columns_of_times_have_the_categories_of_their_cells(unit):
    times = np.array(["2020-03-01T12", "2020-03-02", "2020-03-01T12"], f"M8[{unit}]")
    cells = np.empty(3, object)
    cells[:] = list(times)
    wanted = ["when=2020-03-01T12:00:00", "when=2020-03-02"]
    for column in (times, cells):
        frame = pd.DataFrame({"when": pd.Series(column, dtype=object if column is cells else None)})
        preparation = Preparation([OneHot(["when"])]).fit(frame)
        assert preparation.encoding.feature_names == wanted
        np.testing.assert_array_equal(preparation.transform(frame), [[1, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize("categories", [[1.5, 10**400], [1, 2**70], ["a", "bc"], [True, False], [0.5, 2.0], []])
def test_categories_stay_as_they_are_in_a_column(categories):
    found = as_column(categories)
    assert found.shape == (len(categories),) and found.tolist() == categories
    assert [type(one) for one in found.tolist()] == [type(one) for one in categories]


def encoding(change):
    preparation = Preparation([OneHot(["word"])]).fit(pd.DataFrame({"a": [1.0, 2], "word": ["x", "y"]}))
    numbers, arrays = preparation.state()
    change(numbers, numbers["steps"][0])
    return numbers, arrays


@pytest.mark.parametrize("change, says", [
    (lambda all, one: one.update(columns=["a"]), "names other columns in 'columns' than in 'categories'"),
    (lambda all, one: one.update(columns=["word", "a"]), "names other columns in 'columns' than in 'categories'"),
    (lambda all, one: one.update(names=["a", "b"]), "names other columns in 'columns' than in 'categories'"),
    (lambda all, one: one["categories"].update(a=[1, 2]), "names other columns in 'columns' than in 'categories'"),
    (lambda all, one: all.update(n_features_in=3), "names 2 columns, not 3"),
    (lambda all, one: one.update(names=["a", "word", "b"]), "names 3 columns, not 2"),
])  # fmt: skip
def test_a_damaged_state_of_categories_is_found(change, says):
    with pytest.raises(ValueError, match=f"^the state of a preparation {says}$"):
        Preparation.from_state(*encoding(change))
    Preparation.from_state(*encoding(lambda all, one: None))


def test_an_unknown_way_with_missing_values_is_named():
    with pytest.raises(ValueError, match=r"^missing='means' is not known; did you mean 'mean'\?"):
        preparation_from_options(missing="means")
    for known in (None, "error"):
        assert preparation_from_options(missing=known, log1p=True).steps == (Log1p(),)


@pytest.mark.parametrize("lacks", [False, True])
def test_rows_of_arrow_are_prepared_as_those_of_an_array(lacks):
    pa = pytest.importorskip("pyarrow")
    X = gaps(counts()) if lacks else counts()
    frame = pa.table({name: pa.array(X[:, j], from_pandas=True) for j, name in enumerate("abcde")})
    steps = [Missing("mean"), Standardize()] if lacks else [Standardize()]
    preparation = Preparation(steps).fit(pd.DataFrame(X, columns=list("abcde")))
    np.testing.assert_array_equal(preparation.transform(frame), preparation.transform(X))
    if lacks:
        with pytest.raises(ValueError, match=r"^column 'b' has no value \(null\) in row 0; "):
            Preparation([Standardize()]).fit(counts()).transform(frame)
