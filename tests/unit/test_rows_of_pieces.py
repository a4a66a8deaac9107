"""Rows out of pieces: bands that are kept, rows that are left out, entries of sparse rows, against the whole table."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from tsne_ooc.io import NpySink, bands, open_source
from tsne_ooc.io.bands import BandedRows, BandedVector, LastBand
from tsne_ooc.io.cuts import edges
from tsne_ooc.io.lacking import KeptRows, Lacking
from tsne_ooc.io.sparse import CsrTable, with_gaps

# Bands


def banded(edges, **how):
    """A table of three columns in bands, and a list of the rows that were fetched."""
    X, fetched = np.arange(3 * edges[-1]).reshape(-1, 3), []

    def fetch(start, stop):
        fetched.append((start, stop))
        return X[start:stop].copy()

    return X, fetched, BandedRows(np.array(edges, np.int64), fetch, 24, **how)


@pytest.mark.parametrize("edges", [[0, 4, 8, 10], [0, 1, 2, 3], [0, 10], [0, 3, 3, 3, 9], [0]])
@pytest.mark.parametrize("keeps", [True, False])
def test_any_rows_of_bands_are_those_of_the_table(edges, keeps, monkeypatch):
    """What comes out is the caller's own: changing it changes nothing that is kept."""
    monkeypatch.setattr(bands, "LARGEST", 1 << 20 if keeps else 0)
    n = edges[-1]
    X, _, rows = banded(edges)
    for start in range(n + 1):
        for stop in range(start, n + 1):
            found = rows.read(start, stop)
            np.testing.assert_array_equal(found, X[start:stop])
            assert found.shape == (stop - start, 3)
            found[:] = -1


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7, 100])
def test_a_band_is_fetched_once_where_two_blocks_share_it(step):
    _, fetched, rows = banded([0, 4, 8, 12, 15])
    for start in range(0, 15, step):
        rows.read(start, min(start + step, 15))
    seen = [row for start, stop in fetched for row in range(start, stop)]
    assert sorted(seen) == list(range(15))
    # Bands that lie within a block are fetched in one go.
    assert len(fetched) <= 4


@pytest.mark.parametrize("largest, piece, kept", [(96, 0, True), (95, 0, False), (0, 48, True), (0, 47, False)])
def test_a_band_is_kept_where_it_is_not_too_large(largest, piece, kept, monkeypatch):
    """Or where a single piece of storage is half as large: unpacking that one takes as much all the same."""
    monkeypatch.setattr(bands, "LARGEST", largest)
    _, fetched, rows = banded([0, 4, 8, 10], piece_bytes=piece)
    rows.read(0, 2)
    rows.read(2, 4)
    assert fetched == ([(0, 4)] if kept else [(0, 2), (2, 4)])


def test_one_band_is_held_and_no_other():
    loaded = []
    held = LastBand(np.array([0, 3, 3, 7]), lambda number: loaded.append(number) or number)
    assert [held[number] for number in (0, 0, 2, 2, 0)] == [0, 0, 2, 2, 0] and loaded == [0, 2, 0]
    assert list(held.pieces(0, 7)) == [(0, 0, 3), (2, 0, 4)]
    assert list(held.pieces(1, 2)) == [(0, 1, 2)] and list(held.pieces(2, 4)) == [(0, 2, 3), (2, 0, 1)]
    assert list(held.pieces(3, 3)) == [] == list(held.pieces(7, 7))


@pytest.mark.parametrize("n, chunk", [(10, 4), (10, 10), (10, 20), (1, 1), (0, 3)])
def test_a_vector_is_read_chunk_by_chunk(n, chunk):
    class Stored:
        shape, chunks, dtype, read = (n,), (chunk,), np.dtype("i2"), []

        def __getitem__(self, rows):
            self.read.append((rows.start, rows.stop))
            return np.arange(n, dtype="i2")[rows]

    stored = Stored()
    stored.read = []
    vector = BandedVector(stored)
    assert vector.shape == (n,) and vector.dtype == np.int16
    for at in range(n):
        assert vector[at : at + 1].tolist() == [at]
    assert len(stored.read) <= -(-n // chunk)
    for start in range(n + 1):
        for stop in range(n + 3):
            assert vector[start:stop].tolist() == list(range(start, min(stop, n)))
    assert vector[:].tolist() == list(range(n))


# Rows that are left out


class Counted:
    """A table that says which rows were asked for at a time."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.chunks, self.spans = X, X.shape, X.dtype, None, []

    def read(self, start, stop):
        self.spans.append(stop - start)
        return self.X[start:stop]

    def reopen(self):
        return self


@pytest.mark.parametrize(
    "dropped", [[], [0], [9], [0, 1, 2], [7, 8, 9], [1, 3, 5, 7], [4, 5], list(range(9)), list(range(10))]
)
def test_rows_that_are_left_out_are_numbered_away(dropped):
    X = np.arange(20, dtype=np.float32).reshape(10, 2)
    kept = np.setdiff1d(np.arange(10), dropped)
    table = Counted(X)
    rows = KeptRows(table, np.array(dropped, np.int64), True)
    assert rows.shape == (len(kept), 2) and rows.lacks_values and rows.row_bytes == 8 and rows.dtype == np.float32
    for start in range(len(kept) + 1):
        for stop in range(start, len(kept) + 1):
            table.spans.clear()
            np.testing.assert_array_equal(rows.read(start, stop), X[kept[start:stop]])
            # Never more rows at a time than were asked for, however many lie between two of them.
            assert all(span <= stop - start for span in table.spans)
    np.testing.assert_array_equal(rows.numbers(np.arange(len(kept))), kept)
    np.testing.assert_array_equal(rows.reopen().read(0, len(kept)), X[kept])
    assert not KeptRows(table, np.array([], np.int64), False).lacks_values


@pytest.mark.parametrize(
    "kind, wide", [("u1", "f4"), ("i2", "f4"), ("i4", "f8"), ("f4", "f4"), ("f8", "f8"), ("?", "f4")]
)
def test_a_table_that_lacks_values_has_a_type_that_has_nan(kind, wide):
    X = np.ma.array([[1, 0], [1, 1]], kind, mask=[[False, True], [False, False]])

    class Masked:
        shape, dtype = (2, 2), X.dtype

        def __getitem__(self, rows):
            return X[rows]

    for table in (Lacking(Masked()), Lacking(Masked()).reopen()):
        assert table.dtype == np.dtype(wide) and table.shape == (2, 2) and table.lacks_values
        assert np.isnan(table.read(0, 2).astype(float)).tolist() == [[False, True], [False, False]]
        assert repr(table) == "Masked of shape (2, 2)"


# Entries of sparse rows


def entries(kind, seed=0, n=12, p=5):
    """Entries in any order, several for some cells, some rows without any; and their sums, in Python's own numbers."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 7, n) * (rng.random(n) < 0.8)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, p, indptr[-1])
    if kind == "?":
        data = np.ones(indptr[-1], bool)
    elif np.dtype(kind).kind == "f":
        data = rng.integers(-8, 8, indptr[-1]).astype(kind)
    else:
        top = np.iinfo(kind).max
        data = np.where(rng.random(indptr[-1]) < 0.5, top if np.dtype(kind).itemsize < 8 else 5, 3).astype(kind)
    sums = [[0] * p for _ in range(n)]
    for row in range(n):
        for at in range(indptr[row], indptr[row + 1]):
            sums[row][indices[at]] += data[at].item()
    return data, indices, indptr, (n, p), sums


@pytest.mark.parametrize("kind", ["f4", "f8", ">f4", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", ">i2"])
@pytest.mark.parametrize("seed", range(4))
def test_entries_of_a_cell_are_added_up(kind, seed):
    data, indices, indptr, shape, sums = entries(kind, seed)
    table = CsrTable(data, indices.astype("i4" if seed % 2 else "i8"), indptr, shape, "X")
    assert table.shape == shape and table.dtype == np.dtype("f4" if kind == "f2" else kind).newbyteorder("=")
    whole = np.array(sums, float)
    for start in range(0, shape[0], 3):
        for stop in (start, start + 1, start + 4, shape[0], shape[0] + 5):
            stop = max(start, min(stop, shape[0] + 5))
            found = table[start:stop]
            np.testing.assert_array_equal(found, whole[start:stop])
            assert type(found) is np.ndarray and found.shape == (min(stop, shape[0]) - start, shape[1])
            stop = min(stop, shape[0])
            np.testing.assert_array_equal(table.some(start, stop, np.array([4, 0, 4])), whole[start:stop][:, [4, 0, 4]])
    assert table[:0].shape == (0, 5) and table[20:].shape == (0, 5)
    # What fits its type keeps it.
    ones = CsrTable(np.ones_like(data), np.arange(len(data)) % 5, indptr, shape, "X")
    if max(np.diff(indptr)) <= 5:
        assert ones[:].dtype == table.dtype


@pytest.mark.parametrize(
    "change, words",
    [
        ({"indptr": np.array([0, 2, 3])}, "X is a damaged CSR matrix: (3,) row pointers for 3 rows"),
        ({"indptr": np.array([[0, 2, 2, 3]])}, "X is a damaged CSR matrix: (1, 4) row pointers for 3 rows"),
        ({"indices": np.array([0, 1])}, "X is a damaged CSR matrix: (3,) values in (2,) columns"),
        (
            {"data": np.ones((3, 1)), "indices": np.zeros((3, 1), int)},
            "X is a damaged CSR matrix: (3, 1) values in (3, 1)",
        ),
        ({"data": np.ones(3, complex)}, "X has type complex128, which does not hold plain numbers"),
        ({"indices": np.zeros(3)}, "X is a damaged CSR matrix: its columns are of type float64"),
        ({"indptr": np.array([0.0, 2, 2, 3])}, "X is a damaged CSR matrix: its row pointers are of type float64"),
        (
            {"indptr": np.array([0, 2, 2, 4])},
            "X is a damaged CSR matrix: its row pointers go from 0 to 4, and there are 3",
        ),
        (
            {"indptr": np.array([1, 2, 2, 3])},
            "X is a damaged CSR matrix: its row pointers go from 1 to 3, and there are 3",
        ),
        ({"indptr": np.array([0, 3, 2, 3])}, "the CSR matrix is damaged: its row pointers fall"),
        ({"indptr": np.array([0, -1, 2, 3])}, "the CSR matrix is damaged: its row pointers fall"),
        ({"indices": np.array([0, 2, 0])}, "the CSR matrix is damaged: "),
        ({"indices": np.array([0, -1, 0])}, "the CSR matrix is damaged: "),
    ],
)
def test_a_damaged_sparse_matrix_is_told_in_one_line(change, words):
    parts = {"data": np.ones(3), "indices": np.array([0, 1, 0]), "indptr": np.array([0, 2, 2, 3])}
    whole = CsrTable(*parts.values(), (3, 2), "X")
    np.testing.assert_array_equal(whole[:], [[1, 1], [0, 0], [1, 0]])
    with pytest.raises(ValueError) as caught:
        CsrTable(*(parts | change).values(), (3, 2), "X")[:]
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


def test_room_behind_the_last_entry_is_no_entry():
    matrix = sp.csr_array(np.diag([1.0, 2.0, 3.0]))
    matrix.data, matrix.indices = np.append(matrix.data, [9.0, 9.0]), np.append(matrix.indices, [0, 0])
    source = open_source(matrix)
    np.testing.assert_array_equal(source.read(0, 3), np.diag([1.0, 2.0, 3.0]))
    assert source.reopen() is source and repr(source) == "csr_array of shape (3, 3)" and source.chunks is None
    assert with_gaps(source) and not with_gaps(open_source(np.eye(3)))
    np.testing.assert_array_equal(source.read_some(1, 3, np.array([2, 1])), [[0, 2], [3, 0]])


# Rows that are written in pieces


@pytest.mark.parametrize("kind", ["f4", "f8", "u1", ">i2"])
@pytest.mark.parametrize("shape", [(0, 2), (1, 3), (7,), (7, 0), (7, 2)])
def test_rows_in_any_order_make_the_file_that_numpy_writes(tmp_path, kind, shape):
    X = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    order = np.random.default_rng(0).permutation(shape[0])
    with NpySink(tmp_path / "x.npy", shape, dtype=kind) as sink:
        for at in order:
            sink.write(X[at : at + 1], at=int(at))
        assert sink.written == shape[0] and len(sink.done) == (1 if shape[0] else 0)
    np.save(tmp_path / "y.npy", X.astype(np.dtype(kind).newbyteorder("<")))
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "y.npy"]


# Where a table is cut


@pytest.mark.parametrize("chunk", [None, 1, 3, 4, 7, 12, 30])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 12, 40])
def test_blocks_are_cut_where_chunks_begin(chunk, rows):
    """Smaller ones anew in every chunk, larger ones at multiples of their own size; in any part of the table."""

    class Table:
        shape, dtype, chunks = (25, 2), np.dtype("f4"), chunk and (chunk, 2)

    period = chunk if chunk is not None and rows < chunk else rows
    begins = [at for at in range(25) if at % period % rows == 0]
    for start in range(26):
        for stop in range(start, 26):
            cuts = sorted({start, stop} | {at for at in begins if start < at < stop}) if start < stop else []
            assert edges(Table, rows, start, stop) == list(pairwise(cuts))


def test_numbers_of_rows_may_come_in_a_list():
    rows = KeptRows(Counted(np.zeros((6, 2), np.float32)), np.array([1, 2]), False)
    for given in ([0, 1, 3], (0, 1, 3), np.array([0, 1, 3], np.uint32)):
        found = rows.numbers(given)
        assert found.tolist() == [0, 3, 5] and found.dtype == np.int64
    assert int(rows.numbers(3)) == 5
