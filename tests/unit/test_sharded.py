"""Zarr 3 in shards, as anndata 0.13 writes it: the rows are right, and what is packed together is unpacked once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from tsne_ooc import TSNE, embed
from tsne_ooc.io import iterate, open_source
from tsne_ooc.io.bands import BandedVector
from tsne_ooc.sampling.take import take

ad = pytest.importorskip("anndata")
zarr = pytest.importorskip("zarr")

N, P = 2000, 40


def counts():
    return np.random.default_rng(0).poisson(0.4, (N, P)).astype(np.float32)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """AnnData with a dense and a sparse table, in shards as anndata 0.13 chooses them by default, but small."""
    folder = tmp_path_factory.mktemp("sharded")
    settings = {"zarr_write_format": 3, "auto_shard_zarr_v3": True}
    sizes = {"array.target_shard_size_bytes": 40_000, "array.write_empty_chunks": True}
    for name, X in (("dense", counts()), ("sparse", sp.csr_matrix(counts()))):
        with warnings.catch_warnings(), ad.settings.override(**settings), zarr.config.set(sizes):
            # Until then it says that this will come.
            warnings.simplefilter("ignore")
            made = ad.AnnData(X)
            made.obsm["X_pca"] = counts()[:, :7] + 1
            made.write_zarr(folder / f"{name}.zarr")
    return folder


def test_the_tables_are_in_shards(stored):
    """Those of a dense table may be narrower than its rows."""
    assert zarr.open(stored / "dense.zarr")["X"].shards is not None
    assert zarr.open(stored / "sparse.zarr")["X/data"].shards is not None


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_all_rows_and_some(stored, name):
    with open_source(stored / f"{name}.zarr") as source:
        found = np.concatenate([rows for _, _, rows in iterate(source, rows=170)])
        np.testing.assert_array_equal(found, counts())
        rows = np.arange(3, N, 7)
        np.testing.assert_array_equal(take(source, rows), counts()[rows])
        np.testing.assert_array_equal(source.read(11, 12), counts()[11:12])
    with open_source(stored / f"{name}.zarr", dataset="obsm/X_pca") as source:
        np.testing.assert_array_equal(source.read(5, 1900), counts()[5:1900, :7] + 1)


def test_a_run_is_that_of_the_rows_in_memory(stored, tmp_path):
    how = {"sample": 300, "tsne": TSNE(perplexity=5, early_exaggeration_iter=5, n_iter=5, random_state=0)}
    wanted = embed(counts(), out=tmp_path / "wanted", **how).embedding
    for name in ("dense", "sparse"):
        found = embed(stored / f"{name}.zarr", out=tmp_path / name, block_rows=130, **how).embedding
        np.testing.assert_array_equal(found, wanted)


@pytest.fixture
def small(tmp_path):
    """A sparse table of many chunks, with several rows in each."""
    X = sp.csr_matrix(counts())
    group = zarr.open_group(tmp_path / "X.zarr", mode="w", zarr_format=3)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(X.shape)})
    for name in ("data", "indices", "indptr"):
        group.create_array(name, data=getattr(X, name), chunks=(500,), shards=(5000,))
    return tmp_path / "X.zarr"


@pytest.fixture
def unpacked(monkeypatch):
    """How often each chunk of each array is unpacked."""
    times: dict[tuple[str, int], int] = {}
    given = zarr.Array.__getitem__

    def spy(array, where):
        if isinstance(where, slice) and array.ndim == 1:
            start, stop, _ = where.indices(array.shape[0])
            for chunk in range(start // array.chunks[0], -(-stop // array.chunks[0]) if stop > start else 0):
                key = array.basename, chunk
                times[key] = times.get(key, 0) + 1
        return given(array, where)

    monkeypatch.setattr(zarr.Array, "__getitem__", spy)
    return times


def test_rows_of_a_sample_share_what_is_unpacked(small, unpacked):
    """Rows apart as in a sample, none of which is in the read of another: their chunk was unpacked for each."""
    with open_source(small) as source:
        unpacked.clear()
        rows = np.arange(0, N, 3)
        found = np.concatenate([source.read(row, row + 1) for row in rows.tolist()])
    np.testing.assert_array_equal(found, counts()[rows])
    assert max(unpacked.values()) == 1 and {name for name, _ in unpacked} == {"data", "indices", "indptr"}


def test_blocks_that_meet_in_a_chunk_unpack_it_once(small, unpacked):
    with open_source(small) as source:
        unpacked.clear()
        for start in range(0, N, 90):
            source.read(start, min(N, start + 90))
    # The last row pointer of a block is the first of the next.
    assert max(times for (name, _), times in unpacked.items() if name != "indptr") == 1


def test_a_vector_reads_what_it_is_asked_for():
    numbers = np.arange(103)

    class Stored:
        shape, dtype, chunks = numbers.shape, numbers.dtype, (10,)

        def __getitem__(self, where):
            return numbers[where]

    vector = BandedVector(Stored())
    for start, stop in [(0, 0), (0, 3), (3, 10), (9, 31), (31, 103), (102, 103), (103, 103), (50, 20)]:
        np.testing.assert_array_equal(vector[start:stop], numbers[start:stop])
    assert vector.shape == (103,) and vector.dtype == numbers.dtype
    found = vector[0:5]
    found[:] = 0
    assert vector[0:5].tolist() == [0, 1, 2, 3, 4]
