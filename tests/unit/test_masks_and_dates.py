"""What lies beneath a mask, and the number behind a date, never becomes a number of the table, whatever brings it."""

import re

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc._validate import as_rows, unmasked
from tsne_ooc.io import as_source, iterate, open_source
from tsne_ooc.preprocess import OneHot, Preparation, PreparedSource, Standardize
from tsne_ooc.sampling import take, uniform

N, P = 120, 4
AT = (77, 2)


def masked(at=AT):
    X = np.ma.array(np.random.default_rng(0).normal(size=(N, P)))
    if at is not None:
        X[at] = np.ma.masked
    return X


class Reader:
    """As netCDF4's variables do, it gives masked arrays."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, rows):
        return self.data[rows]


def reader(X):
    return Reader(X)


def read_only_in_chunks(X):
    made = Reader(X)
    made.chunks = (7, P)
    return made


def dask(rows):
    def make(X):
        da = pytest.importorskip("dask.array")
        return da.from_array(X, chunks=(rows, P), asarray=False)

    return make


CONTAINERS = {
    "array": lambda X: X,
    "reader": reader,
    "chunks": read_only_in_chunks,
    "dask": dask(50),
    "dask_small": dask(7),
    "dask_whole": dask(N),
}


@pytest.fixture(params=CONTAINERS)
def container(request):
    return CONTAINERS[request.param]


def fitted():
    return TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0).fit(masked(None).data)


DOORS = {
    "iterate": lambda X, folder: list(iterate(as_source(X), rows=9)),
    "take": lambda X, folder: take(as_source(X), np.array([3, 70, 77, 100])),
    "uniform": lambda X, folder: uniform(as_source(X), N, np.random.default_rng(0)),
    "fit": lambda X, folder: TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5).fit(X),
    "fit a sample": lambda X, folder: TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, sample=N).fit(X),
    # What Dask gives in is answered lazily.
    "transform": lambda X, folder: np.asarray(fitted().transform(X)),
    "transform_to": lambda X, folder: fitted().transform_to(X, folder / "Y.npy"),
    "prepare": lambda X, folder: Preparation([Standardize()]).fit(X),
    "prepared": lambda X, folder: PreparedSource(X, Preparation([Standardize()]).fit(masked(None).data)).read(60, 90),
    "embed": lambda X, folder: embed(X, out=folder / "map", sample=50, tsne=TSNE(perplexity=5, n_iter=5)),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_masked_cell_is_refused_at_every_door(container, door, tmp_path):
    said = r"masked cells .*, the first at row \d+, column 2; fill in or leave"
    with pytest.raises(ValueError, match=said) as caught:
        DOORS[door](container(masked()), tmp_path)
    told = str(caught.value)
    # Blocks of Dask tell where they begin.
    row, first = re.search(r"at row (\d+)", told), re.search(r"counted from row (\d+) of the Dask array", told)
    assert int(row[1]) + (int(first[1]) if first else 0) == 77 and "\n" not in told
    assert first is None or door == "transform"


def test_a_mask_that_hides_nothing_changes_nothing(container):
    X = masked(None)
    X.mask = np.zeros(X.shape, bool)
    for start, stop, block in iterate(as_source(container(X)), rows=9):
        assert type(block) is np.ndarray
        np.testing.assert_array_equal(block, X.data[start:stop].astype("f4"))


def test_rows_without_masked_cells_can_be_read(container):
    source = as_source(container(masked()))
    np.testing.assert_array_equal(take(source, np.array([3, 76, 78])), masked(None).data[[3, 76, 78]].astype("f4"))


@pytest.mark.parametrize("at", [(0, 0), (119, 3), (slice(40, 60), 1), (slice(None), slice(None))])
def test_the_first_masked_cell_is_named(container, at):
    X = masked(at)
    row, column = np.argwhere(np.ma.getmaskarray(X))[0]
    with pytest.raises(ValueError, match=rf"the first at row {row}, column {column};"):
        list(iterate(as_source(container(X)), rows=200))


def test_an_encoder_has_the_same_gate(tmp_path, container):
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    encoder = ParametricTSNE(network=(16, 1), n_iter=2, random_state=0).fit(masked(None).data)
    for work in (encoder.transform, encoder.score_samples, ParametricTSNE(network=(16, 1), n_iter=2).fit):
        with pytest.raises(ValueError, match="masked cells"):
            # What Dask gives in is answered lazily.
            np.asarray(work(container(masked())))


# Dates


def dated(kind, more):
    days = pd.date_range("2020", periods=N)
    made = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 2)), columns=["a", "b"])
    made["when"] = {
        "datetime": days,
        "with a time zone": days.tz_localize("UTC"),
        "duration": days - days[0],
        "arrow": days,
        "day": days.values.astype("M8[s]"),
    }[kind]
    if kind == "arrow":
        pytest.importorskip("pyarrow")
        made["when"] = made["when"].astype("timestamp[ns][pyarrow]")
    if more is not None:
        made["c"] = pd.array([1] * N, dtype=more)
    return made


@pytest.mark.parametrize("more", [None, "Int64", "Float64", "boolean", "float32"])
@pytest.mark.parametrize("kind", ["datetime", "with a time zone", "duration", "arrow", "day"])
def test_dates_are_not_numbers(kind, more):
    made = dated(kind, more)
    for read in (as_rows, lambda X: list(iterate(as_source(X), rows=50)), TSNE(perplexity=5).fit):
        with pytest.raises(TypeError, match="a column 'when' of dates or durations"):
            read(made)
    assert as_rows(made.drop(columns="when")).shape[0] == N


def test_dates_beside_categories_are_not_numbers(tmp_path):
    made = dated("datetime", None)
    made["kind"] = ["x", "y"] * (N // 2)
    # Named as what it is by the encoder, which reads columns one by one.
    with pytest.raises(ValueError, match="column 'when' holds no numbers"):
        list(iterate(PreparedSource(made, Preparation([OneHot(["kind"])]).fit(made))))


# Columns by name


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i4", "u8", "f2", "f4", "f8"])
def test_masked_cells_become_nan_in_a_type_that_has_it(kind):
    numbers = np.array([[1, 0], [0, 1], [1, 1]]).astype(kind)
    X = np.ma.MaskedArray(numbers, mask=[[0, 0], [0, 1], [0, 0]])
    found = unmasked(X)
    assert found.dtype == (kind if kind[0] == "f" else "f8") and type(found) is np.ndarray
    np.testing.assert_array_equal(found, [[1, 0], [0, np.nan], [1, 1]])
    np.testing.assert_array_equal(X.data, numbers)
    assert unmasked(numbers) is numbers


def test_masked_columns_beside_categories():
    block = {"x": np.ma.array(np.arange(6.0)), "k": np.array(["a", "b"] * 3, object)}
    preparation = Preparation([OneHot(["k"])]).fit(pd.DataFrame(block))
    np.testing.assert_array_equal(preparation.transform(block)[:, 0], np.arange(6))
    block["x"][4] = np.ma.masked
    with pytest.raises(ValueError, match="column 'x' holds nan in row 4; fill in or leave out such rows"):
        preparation.transform(block)


def test_a_masked_category_is_none_of_them():
    block = {"x": np.arange(6.0), "k": np.ma.array([1, 2, 1, 2, 1, 2])}
    preparation = Preparation([OneHot(["k"])]).fit(pd.DataFrame(block))
    block["k"][3] = np.ma.masked
    codes = preparation.transform(block)[:, 1:]
    np.testing.assert_array_equal(codes.sum(axis=1), [1, 1, 1, 0, 1, 1])


def test_missing_cells_of_a_stored_frame_beside_categories(tmp_path):
    anndata = pytest.importorskip("anndata")
    made = anndata.AnnData(np.zeros((6, 1), "f4"))
    made.obs["x"] = pd.array([0, 1, 2, None, 4, 5], dtype="Int64")
    made.obs["k"] = pd.Categorical(["a", "b"] * 3)
    made.write_h5ad(tmp_path / "cells.h5ad")
    with open_source(tmp_path / "cells.h5ad", dataset="obs", columns=["x", "k"]) as source:
        preparation = Preparation([OneHot(["k"])]).fit(pd.DataFrame({"x": np.arange(6.0), "k": ["a", "b"] * 3}))
        prepared = PreparedSource(source, preparation)
        np.testing.assert_array_equal(prepared.read(0, 3), [[0, 1, 0], [1, 0, 1], [2, 1, 0]])
        with pytest.raises(ValueError, match="column 'x' holds nan in row 3"):
            prepared.read(0, 6)
