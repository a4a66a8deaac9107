"""What is filled in for missing values is what scikit-learn's imputers fill in, whatever the table is stored as."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import KNNImputer, SimpleImputer

from tsne_ooc.io import open_source
from tsne_ooc.preprocess import Log1p, Missing, OneHot, Preparation, PreparedSource, Standardize
from tsne_ooc.preprocess import medians as sketch
from tsne_ooc.preprocess import missing as steps

FILLING = ("mean", "median", "neighbors", "indicator")


def table(n=400, p=6, seed=0, share=0.15):
    rng = np.random.default_rng(seed)
    kinds = rng.normal(0, 3, (5, p))[rng.integers(0, 5, n)]
    X = (kinds + rng.normal(size=(n, p))) * np.geomspace(0.01, 100, p) + np.arange(p) * 1e4
    X[rng.random(X.shape) < share] = np.nan
    X[:, 0] = np.nan_to_num(X[:, 0], nan=1.0)
    return X


def filled_by_sklearn(X, Q, how):
    if how == "neighbors":
        scale = np.nanstd(X, axis=0)
        return KNNImputer(n_neighbors=5).fit(X / scale).transform(Q / scale) * scale
    known = SimpleImputer(strategy="median" if how == "median" else "mean", add_indicator=how == "indicator")
    return known.fit(X).transform(Q)


@pytest.mark.parametrize("how", FILLING)
def test_as_scikit_learn_does(how):
    X, Q = table(), table(90, seed=1)
    found = Preparation([Missing(how)]).fit(X)
    for rows in (X, Q):
        np.testing.assert_allclose(found.transform(rows), filled_by_sklearn(X, rows, how), rtol=1e-6)
    assert found.n_features_out == (11 if how == "indicator" else 6)


@pytest.mark.parametrize("how", FILLING)
def test_a_row_is_the_same_bits_in_any_block(how, monkeypatch):
    X = table(300)
    steps_ = [Missing(how), Standardize()]
    whole = Preparation(steps_).fit(X, n_jobs=1)
    wanted = whole.transform(X, n_jobs=1)
    assert np.isfinite(wanted).all()
    monkeypatch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 1000)
    monkeypatch.setattr("tsne_ooc.preprocess.rows._PIECE", 7)
    cut = Preparation(steps_).fit(X, n_jobs=3)
    for name in ("values", "lacking"):
        np.testing.assert_array_equal(getattr(cut.fitted[0], name), getattr(whole.fitted[0], name))
    np.testing.assert_array_equal(np.concatenate([cut.transform(X[i : i + 1]) for i in range(len(X))]), wanted)
    source = PreparedSource(X, cut, n_jobs=2)
    np.testing.assert_array_equal(np.concatenate([source.read(0, 13), source.read(13, 300)]), wanted)


@pytest.mark.parametrize("how", (*FILLING, "drop"))
def test_it_is_saved(how):
    X = table()
    found = Preparation([Missing(how), Standardize()]).fit(X)
    again = Preparation.from_state(*found.state())
    np.testing.assert_array_equal(again.transform(X), found.transform(X))


def test_medians_of_long_columns_are_off_by_no_more_than_is_said(monkeypatch):
    """Each column's own values count: one that is nearly empty is exact, wherever its few values stand."""
    monkeypatch.setattr(sketch, "_NUMBERS", 400 * 3)
    monkeypatch.setattr(sketch, "_LEAST", 100)
    n = 40_000
    rng = np.random.default_rng(0)
    X = np.sort(rng.lognormal(size=(n, 3)), axis=0)
    X[: n - 99, 2] = np.nan
    errors = []
    for seed in range(10):
        # Tiles of 65,536 rows: the race between them is run with smaller ones.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tsne_ooc.preprocess.rows._MOST_ROWS", 1000)
            step = Preparation([Missing("median")]).fit(X, random_state=seed).fitted[0]
        assert step.rank_error == 0.5 / np.sqrt(400)
        assert step.values[2] == np.nanmedian(X[:, 2])
        errors += [(np.searchsorted(X[:, j], step.values[j]) / n - 0.5) / step.rank_error for j in (0, 1)]
    # Some twenty draws of one distribution: its deviation is one, within what twenty can tell.
    assert np.abs(errors).max() < 3.5 and 0.5 < np.std(errors) < 1.6
    assert Preparation([Missing("median")]).fit(X[:400, :2]).fitted[0].rank_error == 0


@pytest.mark.parametrize("kind", ["array", "masked", "masked integers", "frame", "nullable", "hdf5", "npy", "parquet"])
def test_every_kind_of_table(kind, tmp_path):
    whole_numbers = kind in ("masked integers", "nullable", "parquet")
    X = np.rint(table() / [0.01, 1, 1, 1, 1, 1]) if whole_numbers else table()
    names = list("abcdef")
    gaps = np.isnan(X)
    ints = np.where(gaps, -7, X).astype(np.int32)
    frame = pd.DataFrame(X, columns=names)
    if kind == "array":
        given = X
    elif kind == "masked":
        given = np.ma.array(np.where(gaps, 1e30, X), mask=gaps)
    elif kind == "masked integers":
        given = np.ma.array(ints, mask=gaps)
    elif kind == "frame":
        given = frame
    elif kind == "nullable":
        given = frame.astype("Int64")
    elif kind == "hdf5":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["X"] = X
        given = open_source(tmp_path / "x.h5")
    elif kind == "npy":
        np.save(tmp_path / "x.npy", X)
        given = open_source(tmp_path / "x.npy")
    else:
        frame.astype("Int32").to_parquet(tmp_path / "x.parquet", row_group_size=70)
        given = open_source(tmp_path / "x.parquet")
    found = Preparation([Missing("mean")]).fit(given)
    wanted = SimpleImputer().fit_transform(X)
    np.testing.assert_allclose(PreparedSource(given, found).read(0, len(X)), wanted, rtol=1e-6)
    if not hasattr(given, "read"):
        np.testing.assert_allclose(found.transform(given), wanted, rtol=1e-6)


def test_behind_categories():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": rng.choice(["a", "b", None], 50), "size": rng.normal(size=50)})
    frame.loc[3, "size"] = np.nan
    with pytest.raises(ValueError, match=r"column 'size' holds nan in row 3; .* \(--missing median\)"):
        Preparation([OneHot(["kind"])]).fit(frame)
    found = Preparation([OneHot(["kind"]), Missing("median")]).fit(frame).transform(frame)
    np.testing.assert_array_equal(found[:, 0], frame["kind"] == "a")
    assert found[3, 2] == np.float32(frame["size"].median())


def test_a_column_that_no_donor_has_is_filled_with_its_mean(monkeypatch):
    monkeypatch.setattr(steps, "DONORS", 3)
    X = np.arange(80.0).reshape(20, 4)
    kept = Preparation([Missing("neighbors")]).fit(X).fitted[0].donors[:, 0]
    other = next(row for row in range(20) if X[row, 0] not in kept)
    X[np.arange(20) != other, 3] = np.nan
    found = Preparation([Missing("neighbors")]).fit(X)
    assert np.isnan(found.fitted[0].donors[:, 3]).all()
    assert (found.transform(X)[:, 3] == X[other, 3]).all()


def test_what_cannot_be_done_is_said():
    X = table()
    with pytest.raises(ValueError, match="missing='mena' is not known; did you mean 'mean'"):
        Missing("mena")
    with pytest.raises(ValueError, match="missing must be the first step"):
        Preparation([Standardize(), Missing("mean")])
    with pytest.raises(ValueError, match=r"contains NaN at row 1, column 3; .* \(--missing median\)"):
        Preparation([Standardize()]).fit(X)
    X[:, 2] = np.nan
    for how in FILLING:
        with pytest.raises(ValueError, match="column 2 has no value in any of 400 rows; leave it out"):
            Preparation([Missing(how)]).fit(X)
    with pytest.raises(ValueError, match=r"all 400 rows lack a value.*column 2 lacks 400"):
        Preparation([Missing("drop")]).fit(X)
    X = table()
    X[17, 0] = np.inf
    for how in (*FILLING, "drop"):
        with pytest.raises(ValueError, match=r"infinity .* at row 17, column 0"):
            Preparation([Missing(how)]).fit(X)


def test_rows_behind_dropped_ones_keep_their_numbers():
    X = np.abs(table())
    X[17] = 1.0
    X[17, 3] = -4.0
    assert np.isnan(X[:17]).any()
    preparation = Preparation([Missing("drop"), Log1p()])
    with pytest.raises(ValueError, match="row 17, column 3 is -4"):
        preparation.fit(np.array(X)).transform(X)
    good = np.abs(X)
    with pytest.raises(ValueError, match="row 1017, column 3 is -4"):
        preparation.fit(good).transform(X, first_row=1000)


def test_what_is_fitted_behind_dropped_rows_is_fitted_on_the_others(monkeypatch):
    X = table()
    whole = ~np.isnan(X).any(axis=1)
    for robust in (False, True):
        wanted = Preparation([Standardize(robust)]).fit(X[whole]).transform(X[whole])
        monkeypatch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 700)
        found = Preparation([Missing("drop"), Standardize(robust)]).fit(X)
        monkeypatch.undo()
        np.testing.assert_array_equal(found.dropped, np.flatnonzero(~whole))
        prepared = found.transform(X)
        np.testing.assert_array_equal(prepared[whole], wanted)
        assert np.isnan(prepared[~whole]).all()
