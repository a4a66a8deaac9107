"""Readers that are odd in their shape or their place: NumPy's numbers, files in memory, rows that are dear to make."""

import io
import pickle

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc.io import as_source, identity_of, iterate, open_source
from tsne_ooc.io.cuts import block_rows
from tsne_ooc.io.reading import check_memory
from tsne_ooc.preprocess import PCA, Preparation, PreparedSource
from tsne_ooc.sampling import draw, take, uniform
from tsne_ooc.streaming import rows_at_once

N, P = 300, 4


def numbers():
    return np.random.default_rng(0).normal(size=(N, P)).astype("f4")


# Shapes of NumPy's numbers, as readers of C libraries give them


class Mine:
    dtype, chunks, path = np.dtype("f4"), None, None

    def __init__(self, shape, kind):
        self.shape = tuple(kind(size) for size in shape)
        self.column_names = list("abcd")

    def read(self, start, stop):
        return numbers()[start:stop]

    def reopen(self):
        return Mine(self.shape, type(self.shape[0]))

    def identity(self):
        return {"version": 3}


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32, np.int64])
def test_numbers_of_numpy_in_a_shape(kind):
    source = as_source(Mine((N, P), kind))
    assert [type(size) for size in source.shape] == [int, int] and as_source(source) is source
    assert source.column_names == list("abcd")
    for again in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
        np.testing.assert_array_equal(np.concatenate([block for _, _, block in iterate(again, rows=7)]), numbers())
    plain = identity_of(Mine((N, P), int))
    assert identity_of(source) == plain and plain["kind"] == "Mine" and plain["own"] == {"version": 3}


def test_products_of_a_shape_do_not_wrap_round():
    source = as_source(Mine((200_000_000, 3000), np.int32))
    with pytest.raises(MemoryError, match=r"all 200,000,000 rows of 3,000 columns"):
        check_memory(source)
    plain = Mine((200_000_000, 3000), int)
    assert block_rows(source) == block_rows(plain) and rows_at_once(source) == rows_at_once(plain)


def test_a_source_with_python_numbers_is_itself():
    mine = Mine((N, P), int)
    assert as_source(mine) is mine


# Files of HDF5 that are not on the disk


def in_bytes(folder):
    return h5py.File(io.BytesIO(), "w")


def in_core(folder):
    return h5py.File("nowhere.h5", "w", driver="core", backing_store=False)


def in_core_beside_a_file(folder):
    # Of the same name, with other rows.
    with h5py.File(folder / "there.h5", "w") as file:
        file["X"] = -numbers()
    return h5py.File(folder / "there.h5", "r+", driver="core", backing_store=False)


@pytest.mark.parametrize("make", [in_bytes, in_core, in_core_beside_a_file])
def test_a_file_in_memory_is_a_table_like_any(tmp_path, make):
    with make(tmp_path) as file:
        file.pop("X", None)
        file["X"] = numbers()
        source = open_source(file["X"])
        assert identity_of(source)["path"] is None
        np.testing.assert_array_equal(source.reopen().read(0, N), numbers())
        with pytest.raises(TypeError, match="is not on the disk, and another process cannot open it"):
            pickle.dumps(source)
        tsne = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
        run = embed(file["X"], out=tmp_path / "map", sample=100, tsne=tsne)
        again = embed(numbers(), out=tmp_path / "again", sample=100, tsne=tsne)
        np.testing.assert_array_equal(run.embedding, again.embedding)


# A sample of rows that are dear to make


class Counting:
    dtype, chunks = np.dtype("f4"), None

    def __init__(self, X):
        self._X, self.shape, self.rows = X, X.shape, 0

    def read(self, start, stop):
        self.rows += stop - start
        return self._X[start:stop]

    def reopen(self):
        return self


def test_a_sample_behind_a_preparation_reads_no_more_than_one_of_the_table():
    X = np.random.default_rng(0).normal(size=(20_000, 500)).astype("f4")
    table = Counting(X)
    preparation = Preparation([PCA(3)]).fit(X[:1000])
    rows = draw(len(X), 60, np.random.default_rng(1))
    table.rows = 0
    take(table, rows)
    alone, table.rows = table.rows, 0
    prepared = take(PreparedSource(table, preparation), rows)
    assert table.rows == alone < 3000
    np.testing.assert_array_equal(prepared, preparation.transform(X[rows]))
    again, _ = uniform(PreparedSource(table, preparation), 60, np.random.default_rng(1))
    assert len(again) == 60


@pytest.mark.parametrize("width", [P - 1, P + 1])
def test_rows_of_another_width_than_was_said_are_refused(width):
    mine = Mine((N, P), int)
    mine.read = lambda start, stop: np.zeros((stop - start, width), np.float32)
    with pytest.raises(ValueError, match=rf"{width} .*{P}"):
        list(iterate(as_source(mine), rows=7))
