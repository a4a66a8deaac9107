"""Pieces of storage that are larger than blocks are unpacked once where rows are read in order."""

import time
import warnings

import h5py
import numpy as np
import pytest

from tsne_ooc.io import bands, hdf5, iterate, open_source
from tsne_ooc.io.bands import BandedRows

N, P = 400, 10


def numbers():
    return np.random.default_rng(0).normal(size=(N, P)).astype("f4")


@pytest.fixture
def small(monkeypatch):
    """As if little memory were to be used: no chunk fits a cache, none is kept but for being a chunk."""
    monkeypatch.setattr(bands, "LARGEST", 100)
    monkeypatch.setattr(hdf5, "_default_cache", lambda item: 100)


def in_blocks(source):
    blocks = [block for _, _, block in iterate(source, rows=30)]
    np.testing.assert_array_equal(np.concatenate(blocks), numbers())
    # And in no order.
    for start, stop in [(390, 400), (0, 3), (95, 205), (199, 200), (50, 50), (0, N)]:
        np.testing.assert_array_equal(source.read(start, stop), numbers()[start:stop])


@pytest.mark.parametrize("chunks, once", [((100, P), True), ((100, P // 2), True), ((100, 1), False), ((N, P), True)])
def test_hdf5(tmp_path, monkeypatch, small, chunks, once):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", data=numbers(), chunks=chunks, compression="gzip")
    read = []
    original = hdf5.Hdf5Source._read
    monkeypatch.setattr(hdf5.Hdf5Source, "_read", lambda self, *at: read.append(at) or original(self, *at))
    with open_source(tmp_path / "x.h5") as source:
        list(iterate(source, rows=30))
        whole = [(start, start + chunks[0]) for start in range(0, N, chunks[0])]
        # Where a row of chunks is much more than a chunk, keeping it would take memory that reading it does not.
        assert (read == whole) is once
        in_blocks(source)
        with source.reopen() as again:
            in_blocks(again)
    with h5py.File(tmp_path / "x.h5") as file:
        read.clear()
        list(iterate(open_source(file["X"]), rows=30))
        assert (read == whole) is once


@pytest.mark.parametrize("chunks, once", [((100, P), True), ((100, 1), False)])
def test_zarr(tmp_path, monkeypatch, small, chunks, once):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", data=numbers(), chunks=chunks)
    read = []
    original = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda self, at: read.append(at) or original(self, at))
    with open_source(tmp_path / "x.zarr") as source:
        list(iterate(source, rows=30))
        assert (len(read) == N // 100) is once
        in_blocks(source)


def test_dask(small):
    da = pytest.importorskip("dask.array")
    read = []

    def made(block_info=None):
        start, stop = block_info[None]["array-location"][0]
        read.append(start)
        return numbers()[start:stop]

    X = da.map_blocks(made, chunks=((100,) * 4, (P,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    source = open_source(X)
    list(iterate(source, rows=30))
    assert read == [0, 100, 200, 300]
    in_blocks(source)


def test_edges_are_looked_up_and_not_walked_along():
    # 200 reads among five million edges took 4 s.
    edges = np.arange(5_000_001, dtype=np.int64)
    rows = BandedRows(edges, lambda start, stop: np.zeros((stop - start, 1), "f4"), 4)
    began = time.process_time()
    for start in range(0, 200_000, 1000):
        assert rows.read(start, start + 10).shape == (10, 1)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "make, repeats",
    [
        (lambda da, X: X, False),
        (lambda da, X: X - X.mean(axis=0), True),
        (lambda da, X: X - X.mean(axis=0).compute(), False),
        (lambda da, X: (X * 2).rechunk((37, 10)), False),
        (lambda da, X: da.cumsum(X, axis=0), True),
        (lambda da, X: (X - X.mean(axis=0)).persist(), False),
        (lambda da, X: X.rechunk((200, 10)) - X.mean(axis=0), False),
    ],
)
def test_parts_that_blocks_of_dask_share_are_told(make, repeats):
    da = pytest.importorskip("dask.array")
    X = make(da, da.from_array(numbers(), chunks=(10, P)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        source = open_source(X)
        source.reopen()
    assert [str(warning.message)[:15] for warning in told] == ["each of the 40 "] * repeats
    assert all("compute those first" in str(warning.message) for warning in told)
    np.testing.assert_allclose(source.read(5, 25), X[5:25].compute(), rtol=1e-6)
