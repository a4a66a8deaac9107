"""A table that is opened again says what it said, and keeps what was asked for; its columns are those of its rows."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from containers import ADAPTERS

from tsne_ooc.io import names_of, open_source

N, P = 23, 7
X = np.random.default_rng(0).integers(0, 5, (N, P)) + 0.0
X[0] = 3
FACTS = (
    "shape", "dtype", "chunks", "column_names", "left_out", "unread", "remarks", "name", "kind", "path", "stored",
    "row_bytes",
)  # fmt: skip


def told(source):
    return {name: getattr(source, name, None) for name in FACTS}


def made(name, folder):
    adapter = ADAPTERS[name]
    if adapter.needs is not None:
        pytest.importorskip(adapter.needs)
    return adapter.make(X.astype(adapter.dtype), folder)


def again(source, pickled):
    """The table opened again, and after a pickle, which is what another process has."""
    yield source.reopen()
    if pickled:
        yield pickle.loads(pickle.dumps(source))


@pytest.mark.parametrize("name", ADAPTERS)
def test_it_says_of_itself_what_it_said(name, tmp_path):
    given = made(name, tmp_path)
    with open_source(given, dataset=ADAPTERS[name].dataset) as source:
        # Whoever opened a file decides whether others may open it anew.
        here = isinstance(given, Path)
        assert bool(getattr(source, "opened_here", False)) == here
        for one in again(source, here):
            assert told(one) == told(source) and repr(one) == repr(source)
            assert not here or one.opened_here
            np.testing.assert_array_equal(np.asarray(one.read(3, 20)), X[3:20])
            if here and hasattr(one, "close"):
                one.close()


@pytest.mark.parametrize("name", ADAPTERS)
def test_columns_that_were_chosen_stay_chosen(name, tmp_path):
    """Also where they come one by one, and can be asked for once."""
    given = made(name, tmp_path)
    with open_source(given, dataset=ADAPTERS[name].dataset) as source:
        names = names_of(source)
    if names is None:
        with pytest.raises((TypeError, ValueError), match=r"cannot choose|have none"):
            open_source(given, dataset=ADAPTERS[name].dataset, columns=["c4", "c1"])
        return
    wanted = [names[4], names[1]]
    with open_source(given, dataset=ADAPTERS[name].dataset, columns=iter(wanted)) as source:
        for one in (source, *again(source, isinstance(given, Path))):
            assert told(one) == told(source) and one.column_names == wanted
            np.testing.assert_array_equal(np.asarray(one.read(3, 20)), X[3:20, [4, 1]])
            if one is not source and isinstance(given, Path):
                one.close()


# Chunks and pieces of the others need a row.
WITH_COLUMNS = [
    *((name, N) for name in ("compound", "pandas_table", "h5ad_frame", "zarr_frame", "arrow")),
    *((name, rows) for name in ("frame", "parquet", "parquet_groups", "parquet_folder", "polars") for rows in (N, 0)),
]


@pytest.mark.parametrize("name, rows", WITH_COLUMNS)
def test_columns_by_name_are_those_of_the_rows(name, rows, tmp_path):
    """In any range, also of no rows, where each column still has its type."""
    adapter = ADAPTERS[name]
    if adapter.needs is not None:
        pytest.importorskip(adapter.needs)
    with open_source(adapter.make(X[:rows].astype(adapter.dtype), tmp_path), dataset=adapter.dataset) as source:
        whole = source.read_columns(0, rows)
        for start, stop in {(0, rows), (rows // 3, rows // 2), (rows // 2, rows // 2), (0, 0), (rows, rows)}:
            found = source.read_columns(start, stop)
            assert list(found) == source.column_names == list(whole)
            for j, (column, all_) in enumerate(zip(found.values(), whole.values(), strict=True)):
                assert column.shape == (stop - start,) and column.dtype == all_.dtype
                np.testing.assert_array_equal(column, X[start:stop, j])


def hdf5_array(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", (40, 3), "f4", chunks=(10, 3))[:20] = 1


def hdf5_records(path):
    with h5py.File(path, "w") as file:
        kind = [(name, "f4") for name in "abc"]
        file.create_dataset("X", (40,), kind, chunks=(10,))[:20] = np.ones(20, kind)


def frame_in(root, create):
    frame = root.create_group("X")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": list("abc")})
    getattr(frame, create)("i", data=np.arange(1, 41))
    for name in "abc":
        getattr(frame, create)(name, shape=(40,), dtype="f4", chunks=(10,))[:20] = 1


def hdf5_frame(path):
    with h5py.File(path, "w") as file:
        frame_in(file, "create_dataset")


def zarr_array(path):
    import zarr

    zarr.create_group(path).create_array("X", shape=(40, 3), dtype="f4", chunks=(10, 3))[:20] = 1


def zarr_frame(path):
    import zarr

    frame_in(zarr.create_group(path), "create_array")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("make", [hdf5_array, hdf5_records, hdf5_frame, zarr_array, zarr_frame])
def test_chunks_that_may_be_missing_may_be_missing_later(make, many, tmp_path):
    pytest.importorskip("zarr")
    path = tmp_path / "x"
    make(path)
    given = [path] if many else path
    with pytest.raises(OSError, match="of 4 chunks"):
        open_source(given, dataset="X")
    for more in ({}, {"columns": ["c", "a"]} if make not in (hdf5_array, zarr_array) else {}):
        with open_source(given, dataset="X", allow_missing_chunks=True, **more) as source:
            wanted = np.repeat([1.0, 0.0], 20)[:, None] * np.ones(source.shape[1])
            for one in (source, *again(source, True)):
                np.testing.assert_array_equal(one.read(0, 40), wanted)
                if one is not source:
                    one.close()


def test_parts_of_a_backed_object_take_the_same_options(tmp_path):
    """An array of an AnnData object that is on the disk is that of its file."""
    anndata = pytest.importorskip("anndata")
    for name in ("anndata_backed", "anndata_backed_csr"):
        folder = tmp_path / name
        folder.mkdir()
        given = made(name, folder)
        names = [str(one) for one in given.var_names]
        with open_source(given.X, columns=[names[4], names[1]]) as source:
            np.testing.assert_array_equal(source.read(3, 20), X[3:20, [4, 1]])
        given.file.close()
    path = tmp_path / "anndata_backed" / "cells.h5ad"
    with h5py.File(path, "a") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", (N, P), "f4", chunks=(10, P))[:10] = 1
        file["X"].attrs.update(attributes)
    given = anndata.read_h5ad(path, backed="r")
    for table in (given, given.X):
        with pytest.raises(OSError, match="2 of 3 chunks"):
            open_source(table)
        with open_source(table, allow_missing_chunks=True) as source:
            assert source.read(0, N).sum() == 10 * P
    given.file.close()


@pytest.mark.parametrize("name", ["npy", "fortran_npy", "hdf5", "h5ad_csr", "pandas_table", "zarr_group", "zarr_zip",
                                  "parquet", "parquet_groups", "parquet_folder"])  # fmt: skip
def test_a_table_is_where_it_was_whatever_folder_the_program_goes_to(name, tmp_path, monkeypatch):
    given = made(name, tmp_path)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_source(given.relative_to(tmp_path), dataset=ADAPTERS[name].dataset) as source:
        monkeypatch.chdir(tmp_path / "else")
        assert source.path == given.resolve()
        for one in (source, *again(source, True)):
            np.testing.assert_array_equal(np.asarray(one.read(3, 20)), X[3:20])
            if one is not source:
                one.close()
