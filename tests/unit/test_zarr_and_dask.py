"""Zarr, Dask and AnnData beyond the contract: errors, what is read when, packages that are not there."""

import importlib
import pickle

import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.io import as_source, iterate, open_source
from tsne_ooc.io import dask as dask_source
from tsne_ooc.io.bands import BandedRows, LastBand
from tsne_ooc.io.prepared import NAME, how_prepared


def numbers(n=60, p=5):
    return np.random.default_rng(0).normal(size=(n, p)).astype(np.float32)


# What is kept between reads


def test_bands_are_fetched_once_and_whole_ones_together():
    fetched = []
    X = numbers(50)

    def fetch(start, stop):
        fetched.append((start, stop))
        return X[start:stop]

    rows = BandedRows(np.array([0, 10, 20, 30, 40, 50]), fetch, 20)
    for start, stop in [(0, 4), (4, 8), (8, 35), (35, 50)]:
        np.testing.assert_array_equal(rows.read(start, stop), X[start:stop])
    assert fetched == [(0, 10), (10, 30), (30, 40), (40, 50)]


def test_bands_too_large_to_keep_are_not_kept():
    fetched = []
    rows = BandedRows(np.array([0, 1000]), lambda *at: fetched.append(at) or np.zeros((at[1] - at[0], 1)), 1 << 20)
    rows.read(0, 10)
    rows.read(10, 20)
    assert fetched == [(0, 10), (10, 20)]


def test_the_last_band_goes_before_the_next_one_comes():
    held = []
    bands = LastBand(np.array([0, 2, 4]), lambda number: held.append(bands._held) or number)
    assert (bands[0], bands[0], bands[1]) == (0, 0, 1)
    assert held == [None, None]


# Zarr


@pytest.fixture
def zoo(tmp_path):
    zarr = pytest.importorskip("zarr")
    root = zarr.create_group(tmp_path / "zoo.zarr")
    for name, shape in (("counts", (60, 5)), ("obsm/X_pca", (60, 2)), ("y", (60,))):
        root.create_array(name, shape=shape, dtype="f4")
    root.create_array("waves", shape=(2, 2), dtype="c8")
    return tmp_path / "zoo.zarr"


@pytest.mark.parametrize(
    "dataset, message",
    [
        (None, r"zoo\.zarr has 2 tables, name the one to read: counts \(60, 5\), obsm/X_pca \(60, 2\)"),
        ("count", r"has no dataset 'count'; did you mean 'counts'\? it has counts \(60, 5\), obsm/X_pca"),
        ("obsm", r"'obsm' of .* is a group, not a dataset; it holds obsm/X_pca \(60, 2\)"),
        ("y", r"array 'y' of .* is 1-D, shape \(60,\)"),
        ("waves", "Complex data not supported"),
    ],
)
def test_what_is_no_table_in_zarr(zoo, dataset, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_source(zoo, dataset=dataset)
    assert "\n" not in str(caught.value)


def test_damaged_zarr(tmp_path, zoo):
    (zoo / "zarr.json").write_text("{")
    with pytest.raises(OSError, match=r"zoo\.zarr is not a whole Zarr table: "):
        open_source(zoo)
    (tmp_path / "void.zarr").mkdir()
    with pytest.raises(OSError, match=r"void\.zarr is not a whole Zarr table: "):
        open_source(tmp_path / "void.zarr")


def test_choices_that_do_not_fit(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(tmp_path / "X.zarr", data=numbers())
    for data in (tmp_path / "X.zarr", array):
        with pytest.raises(ValueError, match="holds a single array, so dataset='X' cannot choose one"):
            open_source(data, dataset="X")
    with pytest.raises(ValueError, match="has no names for its columns"):
        open_source(tmp_path / "X.zarr", columns="a")


# Dask


def test_unknown_chunks_are_refused_with_a_way_out():
    da = pytest.importorskip("dask.array")
    X = da.from_array(numbers(), chunks=(20, 5))
    selected = X[X[:, 0] > 0]
    for use in (open_source, TSNE(n_iter=0).fit):
        with pytest.raises(ValueError, match=r"chunks are not known; call X\.compute_chunk_sizes\(\) first"):
            use(selected)
    assert open_source(selected.compute_chunk_sizes()).shape[0] == (numbers()[:, 0] > 0).sum()


def test_each_chunk_is_computed_once_in_this_process():
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    computed = []

    def work(block, block_info=None):
        computed.append(block_info[0]["chunk-location"])
        return block + 1

    X = da.from_array(numbers(), chunks=((7, 30, 3, 20), (2, 3)))
    X = X.map_blocks(work, dtype=X.dtype, meta=np.empty((0, 0), X.dtype))
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("another scheduler was used")):
        blocks = [block for _, _, block in iterate(open_source(X), rows=9)]
    np.testing.assert_array_equal(np.concatenate(blocks), numbers() + 1)
    assert sorted(computed) == [(i, j) for i in range(4) for j in range(2)]


def test_dask_data_frames_are_refused_with_a_way_out():
    class Frame:
        shape, iloc = (60, 5), None

        def to_numpy(self): ...

        def to_dask_array(self): ...

        def compute(self): ...

    with pytest.raises(TypeError, match=r"pass X\.to_dask_array\(lengths=True\)"):
        open_source(Frame())


# AnnData


def test_parts_of_anndata():
    anndata = pytest.importorskip("anndata")
    X = anndata.AnnData(numbers())
    X.layers["counts"] = numbers() + 1
    X.obsm["X_pca"] = numbers()[:, :2]
    np.testing.assert_array_equal(open_source(X, dataset="layers/counts").read(0, 60), numbers() + 1)
    np.testing.assert_array_equal(open_source(X, dataset="obsm/X_pca").read(0, 60), numbers()[:, :2])
    for wrong in ("obsm", "obsm/X_umap", "obs", "raw/X", "layers"):
        with pytest.raises(ValueError, match=f"no table '{wrong}'; it has X, layers/counts, obsm/X_pca"):
            open_source(X, dataset=wrong)


@pytest.mark.parametrize("backed", [False, True])
def test_fit_and_transform_take_anndata(tmp_path, backed):
    anndata = pytest.importorskip("anndata")
    import scipy.sparse as sp

    X = anndata.AnnData(sp.csr_matrix(numbers()))
    if backed:
        X.write_h5ad(tmp_path / "cells.h5ad")
        X = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    options = {"perplexity": 10, "n_iter": 5, "early_exaggeration_iter": 5, "random_state": 0}
    model = TSNE(**options).fit(X)
    np.testing.assert_array_equal(model.embedding_, TSNE(**options).fit(numbers()).embedding_)
    np.testing.assert_array_equal(model.transform(X), model.embedding_)


# Packages that are not there


@pytest.mark.parametrize(
    "module, name, extra", [("zarr", "X.zarr", "zarr"), ("pyarrow.parquet", "X.parquet", "parquet")]
)
def test_packages_that_are_missing_are_named(tmp_path, monkeypatch, module, name, extra):
    package = module.split(".")[0]

    def without(wanted, *more):
        if wanted.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)
        return original(wanted, *more)

    original = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", without)
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.parquet").touch()
    (tmp_path / name / "zarr.json").touch() if extra == "zarr" else None
    with pytest.raises(ModuleNotFoundError, match=rf"needs {package}, .*: pip install '{package}>="):
        open_source(tmp_path / name)


def test_small_pickles_of_what_lies_in_files(tmp_path):
    zarr = pytest.importorskip("zarr")
    with open_source(zarr.create_array(tmp_path / "X.zarr", data=numbers())) as source:
        assert len(pickle.dumps(source)) < 300


@pytest.mark.parametrize("axis", [0, 1])
def test_chunks_of_unknown_size_are_refused_by_what_to_do(axis):
    """On either axis."""
    da = pytest.importorskip("dask.array")
    table = da.from_array(np.arange(12.0).reshape(4, 3), chunks=(2, 3))
    unknown = table[table[:, 0] > 1] if axis == 0 else table[:, table[0] > 1]
    with pytest.raises(ValueError, match=r"^the sizes of this Dask array's chunks are not known; call X.compute_chunk"):
        open_source(unknown)
    np.testing.assert_array_equal(open_source(unknown.compute_chunk_sizes()).read(0, 1), unknown.compute()[:1])


@pytest.mark.parametrize("told", ['{"a": 1}', "[1]", "null", "1", "no JSON", '"text"'])
def test_how_a_table_was_made_is_an_object_or_nothing(tmp_path, told):
    import h5py

    zarr = pytest.importorskip("zarr")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"], file[NAME] = np.ones((3, 2)), told
    group = zarr.create_group(tmp_path / "x.zarr")
    group.create_array("X", data=np.ones((3, 2)))
    group.attrs[NAME] = told
    for path in (tmp_path / "x.h5", tmp_path / "x.zarr"):
        for given in (path, [path]):
            with open_source(given, dataset="X") as source:
                assert how_prepared(source) == ({"a": 1} if told == '{"a": 1}' else None)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("chunks", [(10, 4), (3, 2)])
def test_parts_of_dask_are_kept_by_their_bytes(monkeypatch, dtype, chunks):
    """A row of all columns, and a chunk, which may be narrower than the table."""
    da = pytest.importorskip("dask.array")
    asked = []
    plain = dask_source.BandedRows
    monkeypatch.setattr(dask_source, "BandedRows", lambda *given: asked.append(given[2:]) or plain(*given))
    X = np.random.default_rng(0).normal(size=(30, 4)).astype(dtype)
    np.testing.assert_array_equal(as_source(da.from_array(X, chunks=chunks)).read(2, 29), X[2:29])
    assert asked == [(X[0].nbytes, X[: chunks[0], : chunks[1]].nbytes)]
