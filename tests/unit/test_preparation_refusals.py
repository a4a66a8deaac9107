"""What steps of a preparation refuse, in words, and the options they take."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from edges_of_preparations import nan, rows

from tsne_ooc.io import as_source
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
from tsne_ooc.preprocess.pca import _fitted
from tsne_ooc.preprocess.shift import Shift

# -------------------------------------------------------------------------------------------------------------- options


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


# ------------------------------------------------------------------------------------------------------------- refusals


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
