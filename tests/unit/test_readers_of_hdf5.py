"""What readers of HDF5 decide by themselves: gaps, types, handles and what comes back of what is written."""

from __future__ import annotations

import os
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from stored import Group, Stored, Timed

from tsne_ooc.io import hdf5, holdings, source
from tsne_ooc.io.contents import Contents

# HDF5


def chunked(shape, chunks, kind="f4", **attrs):
    return Stored(np.empty(shape, kind), chunks=chunks, **attrs)


def test_bytes_of_chunks_that_reading_comes_back_to():
    matrix = Group(
        {"data": chunked(100, (10,), "f8"), "indices": chunked(100, (30,), "i4"), "indptr": chunked(5, None, "i8")},
        encoding_type="csr_matrix",
    )
    assert hdf5._cache_bytes(matrix, True) == 30 * 4
    del matrix["indices"]
    assert hdf5._cache_bytes(matrix, True) == 80
    del matrix["data"]
    assert hdf5._cache_bytes(matrix, True) == 0
    frame = Group({"i": Stored([1])}, encoding_type="dataframe")
    assert hdf5._cache_bytes(frame, True) == 0 and hdf5._cache_bytes(chunked((10, 7), None), True) == 0
    # Three chunks side by side, the last of which is cut.
    assert hdf5._cache_bytes(chunked((10, 7), (4, 3), "f8"), True) == 4 * 3 * 3 * 8
    assert hdf5._cache_bytes(chunked((10,), (4,), "f8"), True) == 32
    turned = chunked((10, 7), (4, 3), "f8", MATLAB_class="double")
    turned.file = Group()
    assert hdf5._cache_bytes(turned, True) == 4 * 3 * 3 * 8 and hdf5._cache_bytes(turned, False) == 4 * 3 * 3 * 8
    turned = chunked((20, 7), (4, 3), "f8", MATLAB_class="double")
    turned.file = Group()
    assert hdf5._cache_bytes(turned, True) == 4 * 3 * 5 * 8 and hdf5._cache_bytes(turned, False) == 4 * 3 * 3 * 8


@pytest.mark.parametrize(
    "cells, found",
    [
        (np.array([b"a", b"\xc3\xa9", b"\xff"]), ["a", "é", "\\xff"]),
        (np.array(["a", b"b", None, 3], object), ["a", "b", None, 3]),
        (np.array([1.5, 2]), [1.5, 2]), (np.array(["u"]), ["u"]),
    ],
)  # fmt: skip
def test_words_of_records_are_texts(cells, found):
    got = hdf5._text(cells)
    assert got.tolist() == found and got.shape == cells.shape
    assert got.dtype == (object if cells.dtype.kind in "OS" else cells.dtype)


def test_fields_of_records_have_types_of_their_own():
    kind = [
        ("a", ">f4"),
        ("b", "?"),
        ("c", "u1"),
        ("s", "S3"),
        ("o", "O"),
        ("t", "M8[s]"),
        ("w", "f4", (3,)),
        ("z", "c8"),
    ]
    found = hdf5._fields(Stored(np.empty(2, kind)))
    assert {name: words for name, (_, words) in found.items()} == {
        "a": ">f4", "b": "bool", "c": "uint8", "s": "text", "o": "text", "t": "datetime64[s]", "w": "('<f4', (3,))",
        "z": "complex64",
    }  # fmt: skip
    assert [name for name, (dtype, _) in found.items() if dtype is not None] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "file, own, netcdf", [("_NCProperties", "", True), ("", "_Netcdf4Dimid", True), ("", "", False)]
)
def test_what_netcdf_wrote_is_told_by_its_notes(file, own, netcdf):
    item = Stored([[1, 2]], "i2", **({own: 1} if own else {}), scale_factor=2.0)
    item.file, item.fillvalue, item.id = SimpleNamespace(attrs={file: 1} if file else {}), 0, None
    assert hdf5._is_netcdf(item) is netcdf
    table, remarks = hdf5._as_meant(item, True)
    assert (table is item) != netcdf and bool(remarks) == netcdf
    item.attrs = {"MATLAB_class": "double"}
    table, remarks = hdf5._as_meant(item, False)
    assert table is item and remarks == [
        "rows are those of the dataset itself; opened by its path, the file would be turned round"
    ]
    assert hdf5._as_meant(item, True)[0].shape == (2, 1)


# What a file holds


def test_what_a_file_holds_is_told_in_words():
    csr = Group(
        {"data": Stored([1.0], "f4"), "indices": Stored([0]), "indptr": Stored([0, 1])},
        encoding_type="csr_matrix",
        shape=[1, 2],
    )
    few, many = (Stored(np.zeros(4, [(name, "f4") for name in names])) for names in ("abcde", "abcdef"))
    root = Group(
        {
            "a": Stored(np.zeros((3, 2), "i2")),
            "csr": csr,
            "csc": Group(dict(csr), encoding_type="csc_matrix", shape=[3, 4]),
            "empty": Group({}, encoding_type="csr"),
            "frame": Group({"i": Stored([1, 2])}, encoding_type="dataframe", _index="i"),
            "few": few,
            "many": many,
            "when": Timed(np.zeros(3)),
            "words": Stored(["u"]),
            "bytes": Stored([b"u"]),
            "one": Stored(np.float32(1)),
            "wide": Stored(np.zeros(4, [("x", "f4", (2,))])),
        }
    )
    found = holdings._arrays(root, Contents.of("x", list(root.items())))
    assert [tuple(held) for held in found] == [
        ("a", (3, 2), "int16"), ("csr", (1, 2), "float32, sparse by rows"),
        ("csc", (3, 4), "float32, sparse by columns"),
        ("empty", (), "sparse by rows"), ("frame", (2, 0), "data frame"), ("few", (4,), "records of a, b, c, d, e"),
        ("many", (4,), "records of a, b, c, d, e, ..."), ("when", (3,), "unknown"), ("words", (1,), "text"),
        ("bytes", (1,), "text"),
        ("one", (), "float32"), ("wide", (4,), "records of x"), ("wide/x", (4, 2), "field"),
    ]  # fmt: skip
    assert all(type(size) is int for held in found for size in held.shape)
    assert holdings._arrays(Stored(np.zeros((3, 2), "u1")), None) == [("", (3, 2), "uint8")]
    bare = Stored(np.zeros(3))
    bare.shape = None
    assert holdings._arrays(bare, None) == [("", (), "float64")]


# HDF5, written and read


def written(path, **how):
    file = h5py.File(path, "w", **how)
    X = np.arange(1, 13, dtype="f4").reshape(4, 3)
    file.create_dataset("g/X", data=X, chunks=(3, 2))
    records = np.zeros(4, [("a", "f4"), ("w", "S2"), ("n", "i8"), ("wide", "f4", (2,))])
    records["a"], records["w"], records["n"], records["wide"] = (
        X[:, 0],
        [b"u", b"\xff", b"", b"v"],
        [1, 2, 3, 4],
        X[:, 1:],
    )
    file.create_dataset("records", data=records, chunks=(3,))
    frame = file.create_group("frame")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": ["b", "a"]})
    frame["i"], frame["a"], frame["b"] = np.arange(4), X[:, 0], X[:, 1]
    sparse = file.create_group("sparse")
    matrix = sp.csr_array(X)
    sparse.attrs.update({"encoding-type": "csr_matrix", "shape": X.shape})
    for part in ("data", "indices", "indptr"):
        sparse[part] = getattr(matrix, part)
    return file, X


WANTED = {
    "g/X": lambda X: X, "records/wide": lambda X: X[:, 1:], "sparse": lambda X: X, "frame": lambda X: X[:, [1, 0]],
    "records": lambda X: np.column_stack([X[:, 0], [1, 2, 3, 4]]),
}  # fmt: skip


@pytest.mark.parametrize("name", WANTED)
def test_a_table_of_hdf5_is_opened_anew_behind_a_fork_or_by_its_pickle(tmp_path, monkeypatch, name):
    file, X = written(tmp_path / "x.h5")
    file.close()
    wanted = WANTED[name](X)
    table = source.open_source(tmp_path / "x.h5", dataset=name)
    path = (tmp_path / "x.h5").resolve()
    assert table.shape == wanted.shape and table.path == path and table.opened_here and table.name == f"/{name}"
    assert table.chunks == {"g/X": (3, 2), "records/wide": (3, 2), "records": (3, 2)}.get(name)
    assert repr(table) == f"dataset '/{name}' of {path}, shape {wanted.shape}"
    assert table.remarks == [] and table.left_out == ["w", "wide"] if name == "records" else True
    first = table._file
    make, given = table.__reduce__()
    for one in (table, table.reopen(), make(*given)):
        np.testing.assert_array_equal(one.read(1, 4), wanted[1:4])
        if hasattr(one, "read_some"):
            np.testing.assert_array_equal(one.read_some(1, 4, np.array([1, 0])), wanted[1:4, [1, 0]])
        if hasattr(one, "read_columns"):
            assert list(one.read_columns(0, 2)) == one.column_names
        if one is not table:
            assert one._file is not first and one.chunks == table.chunks
            one.close()
    here = os.getpid()
    monkeypatch.setattr(hdf5.os, "getpid", lambda: here + 1)
    # What is its parent's is not closed by the child.
    table.close()
    assert first
    np.testing.assert_array_equal(table.read(1, 4), wanted[1:4])
    second = table._file
    assert second is not first and table.read(0, 1).shape[0] == 1 and table._file is second
    table.close()
    assert not second and first
    with pytest.raises(ValueError, match=r"x\.h5 is closed; read from it within its `with` statement$"):
        table.read(0, 1)
    if hasattr(table, "read_some"):
        with pytest.raises((ValueError, TypeError)):
            table.read_some(0, 1, np.array([0]))
    first.close()


@pytest.mark.parametrize("name", WANTED)
def test_a_table_of_hdf5_in_memory_is_its_owners(name):
    file, X = written("nowhere.h5", driver="core", backing_store=False)
    table = source.open_source(file, dataset=name)
    wanted = WANTED[name](X)
    np.testing.assert_array_equal(table.read(1, 4), wanted[1:4])
    assert table.path is None and not table.opened_here and table.reopen() is table
    assert repr(table) == f"dataset '/{name}' of nowhere.h5, shape {wanted.shape}"
    with pytest.raises(TypeError, match=r"is not on the disk, and another process cannot open it; write it to a file$"):
        table.__reduce__()
    table.close()
    assert file
    file.close()


def test_fields_of_records_by_name_and_again_where_they_are_opened_anew(tmp_path):
    file, _X = written(tmp_path / "x.h5")
    file.close()
    with source.open_source(tmp_path / "x.h5", dataset="records", columns=(name for name in ["w", "n"])) as table:
        assert table.column_names == ["w", "n"] and table.left_out == [] and table.unread == {}
        for one in (table, table.reopen()):
            found = one.read_columns(0, 3)
            assert found["w"].tolist() == ["u", "\\xff", ""] and found["n"].tolist() == [1, 2, 3]
            if one is not table:
                one.close()
        with pytest.raises(TypeError, match="column 'w' does not hold numbers"):
            table.read(0, 1)
    with source.open_source(tmp_path / "x.h5", dataset="records", columns="n") as table:
        assert table.read(0, 2).tolist() == [[1], [2]] and table.dtype == np.int64 and table.chunks == (3, 1)
    with pytest.raises(ValueError, match=r"^dataset '/records' of .*x\.h5 has no such column"):
        source.open_source(tmp_path / "x.h5", dataset="records", columns="z")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["r"] = np.zeros(3, [("w", "S2")])
    with pytest.raises(ValueError, match=r"has no field of numbers; it has w$"):
        source.open_source(tmp_path / "y.h5")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"text that is none", "is not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "cannot be opened as HDF5|is cut short"),
        (b"", "is not an HDF5 file"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_hdf5(tmp_path, content, words):
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(OSError, match=words):
        hdf5.open_hdf5(tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*none\.h5$"):
        hdf5.open_hdf5(str(tmp_path / "none.h5"))
    with pytest.raises(IsADirectoryError, match=r"is a folder, not an HDF5 file$"):
        hdf5.open_hdf5(tmp_path)


def test_a_file_is_closed_where_its_table_is_refused(tmp_path, monkeypatch):
    file, _ = written(tmp_path / "x.h5")
    file["lost"] = np.zeros(3)
    file.create_dataset("gaps", (40, 2), "f4", chunks=(10, 2))[:10] = 1
    file.close()
    opened, real = [], hdf5.open_file
    monkeypatch.setattr(hdf5, "open_file", lambda path, **how: opened.append(real(path, **how)) or opened[-1])
    for how in (
        {"dataset": "none"},
        {"dataset": "lost"},
        {"dataset": "gaps"},
        {"dataset": "frame", "columns": ["z"]},
        {},
    ):
        with pytest.raises((OSError, ValueError)):
            hdf5.open_hdf5(tmp_path / "x.h5", **how)
    assert len(opened) >= 5 and not any(opened)
