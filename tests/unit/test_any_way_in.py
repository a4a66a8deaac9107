"""Each way to a table: from any folder, with and without a `with`, and what a shape or a type that is none is told."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tsne_ooc import look
from tsne_ooc.io import differences, identity_of, iterate, names_of, open_source
from tsne_ooc.io.named_columns import NamedColumns
from tsne_ooc.io.reading import bytes_of_fit, check_fits, in_memory, streamed

X = np.arange(60.0, dtype="f4").reshape(20, 3)
NAMES = ["a", "b", "c"]


def hdf5(path, X=X):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(min(6, len(X)), 3) if len(X) else None)


def records(path, X=X):
    with h5py.File(path, "w") as file:
        file["X"] = np.rec.fromarrays(X.T, names=NAMES)


def frame_hdf5(path, X=X):
    with h5py.File(path, "w") as file:
        frame = file.create_group("X")
        frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": NAMES})
        frame["i"] = np.arange(1, len(X) + 1)
        for name, column in zip(NAMES, X.T, strict=True):
            frame[name] = column


def zarr_array(path, X=X):
    pytest.importorskip("zarr").create_array(path, data=X, chunks=(6, 2))


def zarr_frame(path, X=X):
    frame = pytest.importorskip("zarr").create_group(path).create_group("X")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": NAMES})
    frame.create_array("i", data=np.arange(1, len(X) + 1))
    for name, column in zip(NAMES, X.T, strict=True):
        frame.create_array(name, data=column)


def parquet(path, X=X):
    pytest.importorskip("pyarrow")
    pd.DataFrame(X, columns=NAMES).to_parquet(path, row_group_size=7)


def parquets(path, X=X):
    path.mkdir()
    parquet(path / "0.parquet", X)


# The file, how it is made, the table to read, and whether its columns have names.
WAYS = {
    "hdf5": ("x.h5", hdf5, None, False),
    "records": ("x.h5", records, "X", True),
    "frame in hdf5": ("x.h5", frame_hdf5, "X", True),
    "npy": ("x.npy", lambda path, X=X: np.save(path, X), None, False),
    "npy by columns": ("x.npy", lambda path, X=X: np.save(path, np.asfortranarray(X)), None, False),
    "zarr": ("x.zarr", zarr_array, None, False),
    "frame in zarr": ("x.zarr", zarr_frame, "X", True),
    "parquet": ("x.parquet", parquet, None, True),
    "folder of parquet": ("x", parquets, None, True),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("listed", [False, True], ids=["alone", "in a list"])
@pytest.mark.parametrize("way", WAYS)
def test_a_table_is_found_again_from_any_folder(home, monkeypatch, way, listed):
    """Its path is that of the disk: the program may go to another folder, and workers begin in others."""
    name, make, dataset, named = WAYS[way]
    make(home / name)
    with open_source([name] if listed else name, dataset=dataset) as source:
        # A file in a list stands for its folder.
        assert source.path == (home if listed else home / name) and source.opened_here
        facts = identity_of(source)
        assert facts["path"] == str(source.path) and facts["shape"] == [20, 3] and facts["dtype"] == "<f4"
        assert names_of(source) == (NAMES if named else None)
        monkeypatch.chdir(home.parent / "elsewhere")
        told = pickle.dumps(source)
        for again in (source.reopen(), pickle.loads(told)):
            assert again is not source and again.opened_here and again.path == source.path
            assert identity_of(again) == facts and again.chunks == source.chunks
            for start in range(0, 21, 4):
                for stop in range(start, 21, 3):
                    np.testing.assert_array_equal(again.read(start, stop), X[start:stop])
            if named:
                columns = again.read_columns(3, 9)
                assert list(columns) == NAMES
                np.testing.assert_array_equal(np.column_stack(list(columns.values())), X[3:9])
            again.close()
        # The first one is as open as before.
        np.testing.assert_array_equal(source.read(0, 20), X)
        # What is pickled is the way to the table, and not its rows.
        assert len(told) < 2000


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_were_read_are_the_callers_own(home, way):
    """Whoever changes them changes nothing that is read later, and nothing in the file."""
    name, make, dataset, _ = WAYS[way]
    make(home / name)
    with open_source(name, dataset=dataset) as source:
        for start, stop in ((0, 5), (3, 9), (0, 20), (19, 20)):
            found = source.read(start, stop)
            np.testing.assert_array_equal(found, X[start:stop])
            found[:] = -1
        blocks = [block for _, _, block in iterate(source, rows=7)]
        np.testing.assert_array_equal(np.concatenate(blocks), X)
        assert [len(block) for block in blocks] == [7, 7, 6] and all(block.flags.c_contiguous for block in blocks)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_tables_of_few_rows_or_none(home, way, n):
    """They are tables as others are."""
    name, make, dataset, named = WAYS[way]
    # Zarr does not write a chunk of zeros.
    X = np.arange(1.0, 3 * n + 1, dtype="f4").reshape(n, 3)
    make(home / name, X)
    for given in (name, [name, f"2{name}"]):
        if isinstance(given, list):
            make(home / given[1], X)
        rows = np.concatenate([X] * (1 if isinstance(given, str) else 2))
        with open_source(given, dataset=dataset) as source:
            assert source.shape == rows.shape and source.dtype == np.float32
            np.testing.assert_array_equal(source.read(0, len(rows)), rows)
            assert source.read(len(rows), len(rows)).shape == (0, 3) == source.read(0, 0).shape
            assert sum(len(block) for _, _, block in iterate(source)) == len(rows)
            facts = identity_of(source)
            assert facts["shape"] == [*rows.shape] and differences(facts, identity_of(source)) == []
            if named:
                assert {key: len(column) for key, column in source.read_columns(0, len(rows)).items()} == dict.fromkeys(
                    NAMES, len(rows)
                )
        if isinstance(given, str):
            found = look(given, dataset=dataset)
            assert found.shape == rows.shape and found.problem is None and found.rows_looked_at == len(rows)
            assert "would be read: " in str(found)


@pytest.mark.parametrize("kind", ["?", "u1", "i2", "u4", "i8", "f4", "f8", ">f4", ">i2"])
@pytest.mark.parametrize("way", WAYS)
def test_numbers_of_any_type_come_as_they_are_stored(home, way, kind):
    name, make, dataset, _ = WAYS[way]
    numbers = (X % 7 if kind != "?" else X % 2).astype(kind)
    if kind.startswith(">") and ("parquet" in way or way == "frame in zarr"):
        pytest.skip("these formats have one order of bytes")
    make(home / name, numbers)
    with open_source(name, dataset=dataset) as source:
        found = source.read(3, 11)
        assert source.dtype.newbyteorder("=") == np.dtype(kind).newbyteorder("=") and found.dtype == source.dtype
        np.testing.assert_array_equal(found, numbers[3:11])
        blocks = [block for _, _, block in iterate(source, rows=6)]
        np.testing.assert_array_equal(np.concatenate(blocks), numbers.astype(np.float32))
        assert all(block.dtype == np.float32 for block in blocks)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are listed by Linux")
@pytest.mark.parametrize("way", WAYS)
def test_no_file_stays_open(home, way):
    """After `with`, after an error, and for a table that is opened twice."""

    def opened():
        gc.collect()
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return sorted(os.readlink(link) for link in links if os.path.islink(link) and str(home) in os.readlink(link))

    name, make, dataset, _ = WAYS[way]
    make(home / name)
    assert opened() == []
    with open_source(name, dataset=dataset) as source:
        source.read(0, 3)
        with source.reopen() as again:
            again.read(17, 20)
    assert opened() == []
    for wrong in ({"dataset": "none"}, {"columns": ["none"]}):
        with pytest.raises((ValueError, TypeError)):
            open_source(name, **({"dataset": dataset} | wrong))
    assert opened() == []


@pytest.mark.parametrize("shape, words", [
    ((), "a scalar"), ((3,), "1D array"), ((2, 3, 4), "3D array"), ((1, 1, 1, 1), "4D array"),
])  # fmt: skip
def test_a_shape_that_is_no_table_is_told(shape, words):
    with pytest.raises(ValueError) as caught:
        open_source(np.zeros(shape))
    assert str(caught.value) == (
        f"Expected 2D array, got {words} instead: X has shape {shape}. Reshape your data to (n_samples, n_features)"
    )


@pytest.mark.parametrize(
    "value, words",
    [
        (np.float32(1), "is a scalar, shape (); a table of (n_samples, n_features) is needed"),
        (np.zeros(3), "is 1-D, shape (3,); a table of (n_samples, n_features) is needed"),
        (np.zeros((2, 2, 2)), "is 3-D, shape (2, 2, 2); a table of (n_samples, n_features) is needed"),
        (np.array([[b"a"]]), "holds strings or objects, not numbers"),
        (np.zeros((2, 2), "V3"), "has type |V3, which does not hold plain numbers"),
        (h5py.Empty("f4"), "is empty"),
    ],
)
def test_a_dataset_that_is_no_table_is_told(tmp_path, value, words):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = value
    with pytest.raises(ValueError) as caught:
        open_source(tmp_path / "x.h5", dataset="X")
    assert str(caught.value) == f"dataset '/X' of {tmp_path / 'x.h5'} {words}"


TYPES = {
    "i": (np.dtype("i2"), "int16"), "f": (np.dtype("f4"), "float32"), "w": (None, "text"),
    "index": (np.dtype("i8"), "int64"), "label": (None, "text"),
}  # fmt: skip


def fetch(names, start, stop):
    columns = {
        "i": np.arange(9, dtype="i2"), "f": np.ma.masked_equal(np.arange(9, dtype="f4"), 5),
        "index": np.arange(9) + 100, "w": np.array([*"abcdefghi"], object), "label": np.array([*"ABCDEFGHI"], object),
    }  # fmt: skip
    return {name: columns[name][start:stop] for name in names}


@pytest.mark.parametrize(
    "columns, names, unread, left_out, dtype",
    [
        (None, ["i", "f"], ["w", "index", "label"], ["w", "index", "label"], "f4"),
        (["f", "i"], ["f", "i"], ["index", "label"], [], "f4"),
        ("i", ["i"], ["index", "label"], [], "i2"),
        ("*", ["i", "f", "w"], ["index", "label"], [], "O"),
        (["index", "i"], ["index", "i"], ["label"], [], "i8"),
        (["i", "label"], ["i", "label"], ["index"], [], "O"),
    ],
)
def test_columns_are_chosen_and_told_why_not(columns, names, unread, left_out, dtype):
    """An index is read where it is named in full; why others are not is told where nobody chose."""
    found = NamedColumns(TYPES, fetch, columns, "this table", {"index", "label"})
    assert found.names == names and found.dtype == np.dtype(dtype) and found.left_out == left_out
    assert found.unread == {name: "an index" if name in ("index", "label") else "of type text" for name in unread}
    assert list(found.columns(2, 5)) == names
    if dtype == "O":
        with pytest.raises(TypeError) as caught:
            found.rows(2, 5)
        other = next(name for name in names if TYPES[name][0] is None)
        assert str(caught.value) == (
            f"column {other!r} does not hold numbers; make columns of its words with OneHot (--onehot), or choose "
            "others"
        )
        return
    for start, stop in ((0, 9), (3, 6), (4, 4)):
        rows = found.rows(start, stop)
        wanted = {"i": range(start, stop), "index": range(start + 100, stop + 100)}
        wanted["f"] = [np.nan if at == 5 else at for at in range(start, stop)]
        np.testing.assert_array_equal(rows, np.column_stack([list(wanted[name]) for name in names]))
        assert rows.dtype == np.dtype(dtype) and rows.shape == (stop - start, len(names))


@pytest.mark.parametrize("word", ["column", "field"])
def test_a_table_without_columns_of_numbers_lists_them(word):
    types = {"w": (None, "text"), "index": (np.dtype("i8"), "int64")}
    with pytest.raises(ValueError) as caught:
        NamedColumns(types, fetch, None, "this table", {"index"}, *([word] if word != "column" else []))
    assert str(caught.value) == f"this table has no {word} of numbers; it has w, index"


# What users pass as X


def test_what_is_read_by_slicing_and_what_is_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = X
        for table in (np.load(tmp_path / "x.npy", mmap_mode="r"), file["X"], open_source(X), open_source(file["X"])):
            assert streamed(table)
        closed = file["X"]
    for table in (X, X.tolist(), pd.DataFrame(X), sp.csr_array(X), sp.dok_array(X), sp.coo_array(X), None, 3):
        assert not streamed(table)
    with pytest.raises(ValueError) as caught:
        streamed(closed)
    assert str(caught.value) == ("X is a dataset of a file that has been closed; keep the file open while it is read")


@pytest.mark.parametrize(
    "given, words",
    [
        ("x.npy", "X is the path 'x.npy'; open the file and pass the table: tsne_ooc.io.open_source(path)"),
        ({}, "X is a dict of nothing; pass one table"),
        ({"train": 1, "test": 2}, "X is a dict of 'train', 'test'; pass one table"),
        (dict.fromkeys(range(9)), "X is a dict of 0, 1, 2, 3, 4; pass one table"),
    ],
)
def test_what_is_no_table_is_told_with_what_to_pass(given, words):
    for call in (streamed, in_memory):
        with pytest.raises(TypeError) as caught:
            call(given)
        assert str(caught.value) == words
    if isinstance(given, str):
        with pytest.raises(TypeError, match=r"^X is the path 'x\.npy'; open"):
            streamed(Path(given))


@pytest.mark.parametrize("neighbors", [0, 15, 90])
def test_a_fit_that_does_not_fit_is_refused_before_it_begins(neighbors, monkeypatch):
    """At one byte less than it takes; rows alone take their numbers."""
    n, p = 100_000, 50
    needed = bytes_of_fit(n, p, neighbors)
    assert bytes_of_fit(n, p, 0) == 4 * n * p and bytes_of_fit(n, p, 90) > bytes_of_fit(n, p, 15) > 4 * n * p
    for free in (needed, needed + 1, None):
        monkeypatch.setattr("tsne_ooc.io.reading.available_bytes", lambda free=free: free)
        check_fits(n, p, neighbors)
    monkeypatch.setattr("tsne_ooc.io.reading.available_bytes", lambda: needed - 1)
    with pytest.raises(MemoryError) as caught:
        check_fits(n, p, neighbors, "do something else")
    with_them = f" with {neighbors} neighbours each" if neighbors else ""
    assert str(caught.value) == (
        f"to {'fit' if neighbors else 'hold'} all 100,000 rows of 50 columns takes about {needed / 1e9:.1f} GB of "
        f"memory{with_them}, and {(needed - 1) / 1e9:.1f} GB are free; do something else"
    )


def test_rows_in_memory_are_checked_and_ones_own(tmp_path):
    wide = X.astype("f8")
    for table in (X, wide, wide.tolist(), pd.DataFrame(X), open_source(wide)):
        rows = in_memory(table, own=True)
        assert rows.dtype == np.float32 and rows.flags.c_contiguous and not np.shares_memory(rows, X)
        np.testing.assert_array_equal(rows, X)
    assert in_memory(X) is X or np.shares_memory(in_memory(X), X)
    matrix = in_memory(sp.csr_array(X), own=True)
    assert sp.issparse(matrix) and matrix.dtype == np.float32
    bad = wide.copy()
    bad[13, 1] = np.nan
    for table in (bad, open_source(bad)):
        with pytest.raises(ValueError, match=r"row 13.* column 1"):
            in_memory(table)
