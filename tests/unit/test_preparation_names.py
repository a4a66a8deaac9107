"""A preparation on its own takes columns by name, through every door and once it was saved, or refuses them."""

import json
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc.io import open_source
from tsne_ooc.preprocess import PCA, Log1p, OneHot, Preparation, PreparedSource, Standardize
from tsne_ooc.storage.manifest import canonical

N = 50
NAMES = ["d", "a", "c", "b", "ä\n"]


def table(seed=0):
    return pd.DataFrame(np.random.default_rng(seed).gamma(2.0, np.arange(1, 6), (N, 5)), columns=NAMES)


def as_frame(frame, folder):
    return frame


def as_parquet(frame, folder):
    pytest.importorskip("pyarrow")
    frame.to_parquet(folder / "x.parquet")
    return open_source(folder / "x.parquet")


def as_records(frame, folder):
    with h5py.File(folder / "x.h5", "w") as file:
        rows = np.empty(N, [(name, "f8") for name in frame.columns])
        for name in frame.columns:
            rows[name] = frame[name]
        file["rows"] = rows
    return open_source(folder / "x.h5")


def as_cells(frame, folder):
    anndata = pytest.importorskip("anndata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.AnnData(frame).write_h5ad(folder / "x.h5ad")
    return open_source(folder / "x.h5ad")


DOORS = {"frame": as_frame, "parquet": as_parquet, "records": as_records, "cells": as_cells}


def prepared(preparation, X):
    """Rows, through `transform` where it takes X, and through a source."""
    source = PreparedSource(X, preparation)
    rows = source.read(0, N)
    np.testing.assert_array_equal(source.reopen().read(5, 9), rows[5:9])
    if isinstance(X, pd.DataFrame):
        np.testing.assert_array_equal(preparation.transform(X), rows)
    return rows


@pytest.fixture(params=["fitted", "saved"])
def preparation(request):
    found = Preparation([Log1p(), Standardize(), PCA(3)]).fit(table())
    if request.param == "saved":
        numbers, arrays = found.state()
        found = Preparation.from_state(json.loads(canonical(numbers)), arrays)
    assert found.names == NAMES
    return found


@pytest.mark.parametrize("door", DOORS)
def test_the_order_of_columns_is_no_matter(preparation, door, tmp_path):
    X = table(1)
    wanted = preparation.transform(X.to_numpy())
    shuffled = X[sorted(NAMES)]
    assert list(shuffled.columns) != NAMES
    np.testing.assert_array_equal(prepared(preparation, DOORS[door](shuffled, tmp_path)), wanted)


@pytest.mark.parametrize("door", DOORS)
def test_surplus_columns_are_told(preparation, door, tmp_path):
    X = table(1)
    wanted = preparation.transform(X.to_numpy())
    X.insert(2, "extra", np.nan if door == "frame" else 1.0)
    with pytest.warns(UserWarning, match="left out: 'extra'"):
        rows = prepared(preparation, DOORS[door](X, tmp_path))
    np.testing.assert_array_equal(rows, wanted)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["missing", "renamed"])
def test_missing_columns_are_named(preparation, kind, door, tmp_path):
    X = table(1).drop(columns="c") if kind == "missing" else table(1).rename(columns={"c": "cc"})
    source = DOORS[door](X, tmp_path)
    with pytest.raises(ValueError, match=r"lacks 1 of the 5 feature names of the fit: 'c'") as caught:
        PreparedSource(source, preparation)
    assert "\n" not in str(caught.value)
    if door == "frame":
        with pytest.raises(ValueError, match="'c'"):
            preparation.transform(X)


def test_tables_without_names_are_taken_in_their_order(preparation):
    X = table(1)
    np.testing.assert_array_equal(prepared(preparation, X.to_numpy()), prepared(preparation, X))
    nameless = Preparation([Standardize()]).fit(X.to_numpy())
    assert nameless.names is None
    np.testing.assert_array_equal(prepared(nameless, X[sorted(NAMES)]), prepared(nameless, X[sorted(NAMES)].to_numpy()))


def test_names_of_categories_are_kept_with_them():
    X = pd.DataFrame({"x": np.arange(6.0), "k": ["a", "b"] * 3})
    fitted = Preparation([OneHot(["k"])]).fit(X)
    again = Preparation.from_state(*fitted.state())
    assert fitted.names == again.names == ["x", "k"]
    np.testing.assert_array_equal(again.transform(X[["k", "x"]]), fitted.transform(X))


@pytest.mark.parametrize("forged", [b"", b"[1, 2, 3, 4, 5]", b'["a"]', b"{", b"\xff", b"[" * 100_000])
def test_forged_names_are_refused(forged):
    numbers, arrays = Preparation([Standardize()]).fit(table()).state()
    arrays["names"] = np.frombuffer(forged, np.uint8)
    with pytest.raises(ValueError, match="has no 5 names of columns"):
        Preparation.from_state(numbers, arrays)
