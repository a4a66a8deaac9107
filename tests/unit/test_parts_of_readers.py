"""What readers decide by themselves: names in zip files, notes of other programs, differing files, short reads."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from stored import Group, Stored, Timed

from tsne_ooc.io import arrow, files, hdf5, holdings, memory, source, url_files
from tsne_ooc.io import zarr as zarr_files
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.blocks import iterate, read_checked
from tsne_ooc.io.contents import Contents
from tsne_ooc.io.cuts import block_rows
from tsne_ooc.io.failures import Unreached, first_line, opening, reading
from tsne_ooc.io.files import FilesSource, _home
from tsne_ooc.io.lacking import Lacking, for_kept
from tsne_ooc.io.masks import stacked, with_mask
from tsne_ooc.io.memory import NpySource
from tsne_ooc.io.missing import of_hdf5_dataset
from tsne_ooc.io.optional import _packages
from tsne_ooc.io.prepared import how_prepared
from tsne_ooc.io.sparse import is_tenx, remarks_on, sparse_format, sparse_shape, stored_csr
from tsne_ooc.io.urls import Url
from tsne_ooc.workers.by_path import SharedTable, here

parquet = pytest.importorskip("tsne_ooc.io.parquet")

# Zarr


@pytest.mark.parametrize(
    "names, within",
    [
        (["zarr.json", "c/0/0"], ""), ([".zgroup", "a/.zarray"], ""), (["x.zarr/zarr.json", "x.zarr/c/0"], "x.zarr"),
        (["x.zarr/.zgroup", "x.zarr/a/.zarray"], "x.zarr"), (["x.zarr/.zgroup", "y.zarr/.zgroup"], ""),
        (["x.zarr/a/.zarray", "x.zarr/a/0"], ""), (["x.zarr/.zgroup", "zarr.json"], ""), (["a", "b"], ""), ([], ""),
        (["x.zarr/.zgroup", "__MACOSX/x.zarr/.zgroup"], "x.zarr"), (["x.zarr/.zgroup", "other/readme"], "x.zarr"),
    ],
)  # fmt: skip
def test_the_folder_in_a_zip_file_is_found_where_there_is_one(tmp_path, names, within):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    assert zarr_files._within(tmp_path / "x.zip") == within


@pytest.mark.parametrize(
    "text, codec",
    [
        ("unknown codec: jpeg", True), ("Codec 'x' is UNKNOWN", True), ("codec not available: 'x'", True),
        ("codec x failed", False), ("unknown error", False), ("not available", False),
    ],
)  # fmt: skip
def test_a_codec_that_is_missing_is_told_from_damage(text, codec):
    told = str(zarr_files._unreadable(Path("x.zarr"), ValueError(f"{text}\nmore")))
    assert told == (
        f"x.zarr is packed by a codec that is not installed ({text}): pip install the package that has it, such as "
        "imagecodecs; or write it again with zstd"
        if codec
        else f"x.zarr is not a whole Zarr table: {text}"
    )


def test_where_an_array_lies_is_asked_of_its_store(tmp_path):
    url = Url("s3://b/x.zarr")
    path = tmp_path / "x.zarr"
    path.mkdir()
    for store, found in (
        (SimpleNamespace(url=url, root=str(path)), url),
        (SimpleNamespace(url="text", root=str(path)), path.resolve()),
        (SimpleNamespace(root=path), path.resolve()),
        (SimpleNamespace(root=None, path=str(path)), path.resolve()),
        (SimpleNamespace(path=path), path.resolve()),
        (SimpleNamespace(root=str(path / "none")), None),
        (SimpleNamespace(root=5), None),
        (SimpleNamespace(), None),
    ):
        assert zarr_files._path(SimpleNamespace(store=store)) == found


def test_chunks_of_a_server_are_needed_unless_it_is_allowed():
    store = SimpleNamespace(needed=["before"])
    arrays = [SimpleNamespace(store=store, path="a"), SimpleNamespace(store=store, path="b")]
    zarr_files._check_chunks(arrays, Url("s3://b/x.zarr"), True)
    assert store.needed == ["before"]
    zarr_files._check_chunks(arrays, Url("s3://b/x.zarr"), False)
    assert store.needed == ["before", "a", "b"]


@pytest.mark.parametrize("path, name", [("a/b", "array 'a/b' of x"), ("", "x")])
def test_an_array_that_lacks_chunks_is_named_within_its_file(path, name):
    names = SimpleNamespace(_zf=SimpleNamespace(namelist=lambda: [f"{path}/0.0".strip("/")]))
    array = SimpleNamespace(shape=(4, 2), chunks=(2, 2), shards=None, store=names, path=path, fill_value=7)
    zarr_files._check_chunks([array], Path("x"), True)
    with pytest.raises(OSError) as caught:
        zarr_files._check_chunks([array], Path("x"), False)
    assert str(caught.value).startswith(f"1 of 2 chunks of {name} are missing and would be read as 7: ")


def test_the_server_of_a_group_that_lists_nothing_is_told():
    group = SimpleNamespace(members=lambda max_depth: [], store=SimpleNamespace(url=Url("s3://b/x.zarr")))
    with pytest.raises(ValueError, match=r"^the server of here does not list what it holds; name a table that it has"):
        zarr_files._listed(group, "here")
    group.store = SimpleNamespace()
    assert zarr_files._listed(group, "here").shapes == {}
    members = [("b", Stored(np.zeros((2, 2)))), ("a", Stored(np.zeros((3, 2))))]
    group.members, group.store = (
        (lambda max_depth: members if max_depth is None else []),
        SimpleNamespace(url=Url("s3://b")),
    )
    assert list(zarr_files._listed(group, "here").shapes) == ["a", "b"]


# Parquet


def test_files_of_a_folder_are_compared_with_the_first():
    types = {"a": (np.dtype("f4"), "float"), "b": (None, "string"), "i": (np.dtype("i8"), "int64")}
    first, part = Path("d/1.parquet"), Path("d/2.parquet")

    def compared(others, names=("a",), more=False, index=()):
        parquet._compare(first, types, part, others, list(names), more=more, index=index)

    compared(types, index={"i"})
    compared(types, names=["a", "b", "i"])
    compared({"a": types["a"], "b": (None, "null")})
    compared({**types, "z": (None, "string")}, index={"i"})
    compared({**types, "z": (np.dtype("f4"), "float")}, more=True)
    for how, words in (
        (({"b": types["b"]},), "d/2.parquet has no column 'a', which 1.parquet has"),
        (
            ({"a": (np.dtype("f8"), "double")},),
            "column 'a' is of type double in d/2.parquet, and of type float in 1.parquet",
        ),
        ((types,), "d/2.parquet has a column of numbers 'i', which 1.parquet does not have; name those to read"),
        (
            ({**types, "z": (np.dtype("f4"), "float")}, ("a",), False, {"i"}),
            "d/2.parquet has a column of numbers 'z', which 1.parquet does not have; name those to read",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            compared(*how)
        assert str(caught.value) == words


@pytest.mark.parametrize(
    "notes, index",
    [
        (None, set()), ({}, set()), ({b"pandas": b""}, set()), ({b"pandas": b"{"}, set()),
        ({b"pandas": b"[]"}, set()),
        ({b"pandas": b'{"index_columns": null}'}, set()), ({b"pandas": b'{"index_columns": {"a": 1}}'}, set()),
        ({b"pandas": b'{"index_columns": ["a", {"kind": "range"}, "b"]}'}, {"a", "b"}), ({b"pandas": b"{}"}, set()),
        ({b"pandas": b'{"index_columns": "ab"}'}, set()), ({b"other": b'{"index_columns": ["a"]}'}, set()),
    ],
)  # fmt: skip
def test_the_index_of_a_frame_is_in_its_notes(notes, index):
    assert parquet._index(SimpleNamespace(schema_arrow=SimpleNamespace(metadata=notes))) == index


@pytest.mark.parametrize(
    "words, told",
    [
        ("list<item: float>", "; where the lists of 'a b' are rows of numbers"),
        ("large_list<item: double>", "; where the lists"),
        ("decimal128(10, 2)", "; tsne-ooc prepare 'x y.parquet' --out FOLDER makes numbers of the decimals in 'a b'"),
        ("string", ""), ("fixed_decimal", ""),
    ],
)  # fmt: skip
def test_what_to_do_with_other_columns(words, told):
    found = parquet._to_numbers(Path("x y.parquet"), "a b", words)
    assert found.startswith(told) and bool(found) == bool(told)


def test_the_order_of_files_is_told_where_there_are_several():
    files = [Path(f"d/{at}.parquet") for at in range(12)]
    assert parquet._order(files[:1]) == []
    assert parquet._order(files[:2]) == ["rows come from 2 files, in the order of their names: 0.parquet, 1.parquet"]
    assert parquet._order(files)[0].endswith(", 9.parquet and 2 more")


def test_rows_and_columns_of_several_files(tmp_path):
    """Columns are those of the first; files without rows, and pieces of storage without rows, are passed over."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = [pa.table({"a": pa.array([1.0, 2, None], "f4"), "w": ["x", "y",
    "z"]}), pa.table({"a": pa.array([], "f4"), "w": pa.array([], "string")}),
            pa.table({"a": pa.array([4.0, 5], "f4"), "w": ["u", "v"]})]  # fmt: skip
    for at, table in enumerate(made):
        pq.write_table(table, tmp_path / f"{at}.parquet", row_group_size=2)
    assert parquet.columns_in(tmp_path) == (5, {"a": "float", "w": "string"})
    with parquet.open_parquet(tmp_path) as found:
        assert found.shape == (5, 1) and found.chunks == (2, 1) and found.dtype == np.float32
        assert found.left_out == ["w"] and found.unread == {"w": "of type string"} and len(found.remarks) == 1
        for start, stop in ((0, 5), (1, 4), (2, 3), (3, 5), (5, 5), (0, 0)):
            np.testing.assert_array_equal(found.read_with_gaps(start, stop)[:, 0], [1, 2, np.nan, 4, 5][start:stop])
            cells = found.read_columns(start, stop)["a"]
            assert np.ma.getmaskarray(cells).tolist() == [False, False, True, False, False][start:stop]
            assert cells.dtype == np.float32
            if start <= 2 < stop:
                with pytest.raises(ValueError, match=r"^column 'a' has no value \(null\) in row 2;"):
                    found.read(start, stop)
            else:
                assert found.read(start, stop)[:, 0].tolist() == [1, 2, None, 4, 5][start:stop]
        assert repr(found) == f"{tmp_path.resolve()} of shape (5, 1)" and found.reopen().shape == (5, 1)
    with parquet.open_parquet(tmp_path, columns=(name for name in ["w", "a"])) as found:
        assert found.column_names == ["w", "a"] and found.left_out == [] and found.unread == {}
        assert found.read_columns(1, 4)["w"].tolist() == ["y", "z", "u"] and found.reopen().column_names == ["w", "a"]
        with pytest.raises(
            TypeError, match=r"^column 'w' does not hold numbers; make columns of its words with OneHot"
        ):
            found.read(0, 1)
        with pytest.raises(TypeError, match=r"^column 'w' does not hold numbers"):
            found.read_with_gaps(0, 1)
    for at in (0, 2):
        (tmp_path / f"{at}.parquet").unlink()
    with parquet.open_parquet(tmp_path) as none:
        assert none.shape == (0, 1) and none.chunks is None and none.read(0, 0).shape == (0, 1)
        assert none.read_with_gaps(0, 0).shape == (0, 1) and none.read_columns(0, 0)["a"].shape == (0,)


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


# Sparse matrices


def tenx(*parts, kinds=None):
    made = Group({part: Stored([1]) for part in parts})
    if "shape" in parts:
        made["shape"] = Stored([5, 7])
    if "features" in parts:
        made["features"] = Group({} if kinds is None else {"feature_type": Stored(kinds)})
    return made


ALL = ("data", "indices", "indptr", "shape", "barcodes")


@pytest.mark.parametrize("lost", [None, *ALL])
@pytest.mark.parametrize("genes", ["features", "genes", None])
def test_a_matrix_of_10x_is_told_by_all_its_parts(lost, genes):
    group = tenx(*(part for part in (*ALL, genes) if part and part != lost))
    whole = lost is None and genes is not None
    assert is_tenx(group) is whole and sparse_format(group) == ("csr" if whole else None)
    assert sparse_shape(group) == ((7, 5) if whole else None)
    assert bool(remarks_on(group)) is whole


@pytest.mark.parametrize(
    "kinds, told",
    [
        (None, []), (["Gene"], []),
        (["Gene"] * 1200 + ["Peak"] * 2, ["columns are of several kinds: 1,200 of Gene, 2 of Peak"]),
        ([b"b", b"a"], ["columns are of several kinds: 1 of a, 1 of b"]),
    ],
)  # fmt: skip
def test_columns_of_several_kinds_are_told(kinds, told):
    found = remarks_on(tenx(*ALL, "features", kinds=kinds))
    assert found == ["rows are the cells (barcodes) and columns the genes of a 10x matrix", *told]
    assert remarks_on(tenx(*ALL, "genes")) == found[:1]


@pytest.mark.parametrize(
    "attrs, kind, shape",
    [
        ({"encoding-type": "csr_matrix", "shape": np.array([3, 4])}, "csr", (3, 4)),
        ({"encoding-type": b"csc_matrix", "shape": [3, 4]}, "csc", (3, 4)),
        ({"h5sparse_format": "csr", "h5sparse_shape": (3, 4)}, "csr", (3, 4)),
        ({"h5sparse_format": b"csc"}, "csc", None),
        ({"encoding-type": "csr"}, "csr", None),
        ({"encoding-type": "dict", "h5sparse_format": "csr",
        "shape": [1, 2], "h5sparse_shape": [3, 4]}, "csr", (1, 2)),
        ({"MATLAB_sparse": 9}, "csc", (9, 4)),
        ({"encoding-type": "array"}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_the_way_of_a_sparse_matrix_is_in_its_notes(attrs, kind, shape):
    group = Group({"jc": Stored([0, 1, 2, 3, 4])})
    group.attrs = attrs
    assert sparse_format(group) == kind
    assert sparse_shape(group) == shape and (shape is None or all(type(size) is int for size in sparse_shape(group)))


@pytest.mark.parametrize(
    "parts, attrs, words",
    [
        ("data indices indptr", {"encoding-type": "csc_matrix", "shape": [2, 2]}, "is stored by columns (CSC)"),
        ("data indices", {"encoding-type": "csr", "shape": [2, 2]}, "is a damaged CSR matrix: it has no indptr"),
        ("", {"encoding-type": "csr", "shape": [2, 2]}, "is a damaged CSR matrix: it has no data, indices, indptr"),
        ("data indices indptr", {"encoding-type": "csr"}, "is a damaged CSR matrix: it has no shape"),
        ("data", {"encoding-type": "csr"}, "is a damaged CSR matrix: it has no indices, indptr"),
    ],
)  # fmt: skip
def test_a_group_that_is_no_csr_matrix_says_why(parts, attrs, words):
    group = Group({part: Stored([1]) for part in parts.split()})
    group.attrs = attrs
    with pytest.raises(ValueError) as caught:
        stored_csr(group, "m")
    assert str(caught.value).startswith(f"m {words}")


def test_each_array_of_a_csr_matrix_is_opened_in_its_own_way():
    X = sp.csr_array(np.array([[1.0, 0], [0, 2], [3, 0]]))
    group = Group(
        {part: Stored(getattr(X, part)) for part in ("data", "indices", "indptr")}, encoding_type="csr", shape=X.shape
    )
    asked = []
    table = stored_csr(group, "m", lambda part: asked.append(part) or part.values)
    assert asked == [group["data"], group["indices"], group["indptr"]]
    np.testing.assert_array_equal(table[0:3], X.toarray())


# Parts of AnnData, and datasets of pyarrow


def anndata(**parts):
    made = {
        "X": 1,
        "layers": {"a": 2, None: 9},
        "obsm": {"p": 3},
        "raw": SimpleNamespace(X=4),
        "obs_names": [],
        "var_names": [],
    }
    return SimpleNamespace(**{**made, **parts})


@pytest.mark.parametrize(
    "name, found",
    [
        ("X", 1), ("/X/", 1), ("layers/a", 2), ("obsm/p", 3), ("raw/X", 4), ("raw", SimpleNamespace(X=4)),
        ("X/a", None),
        ("layers", None), ("layers/b", None), ("obsm", None), ("raw/Y", None), ("obs", None), ("", None),
        ("obsm/a", None),
    ],
)  # fmt: skip
def test_parts_of_an_anndata_by_name(name, found):
    if found is not None:
        assert source._part(anndata(), name) == found
        return
    with pytest.raises(ValueError) as caught:
        source._part(anndata(), name)
    assert str(caught.value) == f"this AnnData has no table {name!r}; it has X, layers/a, obsm/p"
    with pytest.raises(ValueError, match=r"; it has none at all$"):
        source._part(SimpleNamespace(X=None), name)
    with pytest.raises(ValueError, match=r"; it has obsm/p$"):
        source._part(anndata(X=None, layers={}), "layers/b")
    with pytest.raises(ValueError, match="has no table 'raw/X'"):
        source._part(anndata(raw=None), "raw/X")


def test_variables_are_those_of_the_part_that_is_read():
    X = np.arange(6.0).reshape(3, 2)
    data = anndata(
        X=X, layers={"a": X + 10}, obsm={"p": X + 20}, raw=SimpleNamespace(X=X + 30, var_names=["r",
        "s"]), var_names=["a", 1]
    )  # fmt: skip
    for part, plus, names in (
        ("X", 0, ["a", "1"]),
        ("layers/a", 10, ["a", "1"]),
        ("raw/X", 30, ["r", "s"]),
        ("/raw/X", 30, ["r", "s"]),
    ):
        found = source.open_source(data, dataset=part)
        assert found.column_names == names
        np.testing.assert_array_equal(found.read(0, 3), X + plus)
        some = source.open_source(data, dataset=part, columns=[names[1]])
        np.testing.assert_array_equal(some.read(0, 3), X[:, 1:] + plus)
        with pytest.raises(ValueError, match=f"^{part} of this AnnData has no such column"):
            source.open_source(data, dataset=part, columns=["q"])
    assert source.open_source(data).column_names == ["a", "1"]
    found = source.open_source(data, dataset="obsm/p")
    assert not hasattr(found, "column_names") and found.read(0, 1).tolist() == [[20, 21]]


@pytest.mark.parametrize(
    "thing, anndata_like",
    [(anndata(), True), (SimpleNamespace(X=1, obs_names=[]), False), (SimpleNamespace(X=1, var_names=[]), False),
     (SimpleNamespace(obs_names=[], var_names=[]), False)],
)  # fmt: skip
def test_an_anndata_is_told_by_its_three_names(thing, anndata_like):
    assert source._is_anndata(thing) is anndata_like


def test_a_dataset_of_pyarrow_is_its_files_and_nothing_else(tmp_path):
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    for at in range(2):
        pq.write_table(pa.table({"a": [1.0 + at], "b": [2.0]}), tmp_path / f"{at}.parquet")
    whole = ds.dataset(tmp_path, format="parquet")
    assert source._is_dataset(whole) and not source._is_dataset(pa.table({"a": [1]}))
    assert source._files_of_dataset(whole) == list(whole.files) and len(whole.files) == 2
    assert source.open_source(whole).read(0, 2).tolist() == [[1, 2], [2, 2]]
    for made, words in (
        (SimpleNamespace(files=[], schema=whole.schema, format=whole.format), "no Parquet files"),
        (
            SimpleNamespace(files=whole.files, schema=whole.schema, format=SimpleNamespace(default_extname="csv")),
            "no Parquet files",
        ),
        (
            SimpleNamespace(
                files=whole.files, schema=pa.schema([("a", "f8"), ("z", "f8"), ("year", "i4")]), format=whole.format
            ),
            "a column that is none of its files' (year)",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            source._files_of_dataset(made)
        assert str(caught.value).startswith(f"this dataset of pyarrow has {words}; write it as files in one folder: ")


# Files that are read


class Short(io.BytesIO):
    """A file that gives three bytes at most at a time, as one of the system may give less than was asked for."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:3])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f8", ">i2", "u1"])
def test_an_array_is_read_in_as_many_reads_as_it_takes(tmp_path, monkeypatch, order, kind):
    X = np.asarray(np.arange(20).reshape(5, 4), kind, order=order)
    np.save(tmp_path / "x.npy", X)
    found = memory.MemmapSource.of_npy(tmp_path / "x.npy")
    data = (tmp_path / "x.npy").read_bytes()
    monkeypatch.setattr(NpySource, "_opened", lambda self: Short(data))
    for start, stop in ((0, 5), (1, 3), (4, 5), (2, 2)):
        rows = found.read(start, stop)
        np.testing.assert_array_equal(rows, X[start:stop])
        assert rows.dtype == X.dtype and (rows.flags.c_contiguous if order == "C" else rows.flags.f_contiguous)
    monkeypatch.setattr(NpySource, "_opened", lambda self: Short(data[:-1]))
    with pytest.raises(OSError, match=r"^the file is shorter than when it was opened$"):
        found.read(4, 5)


@pytest.mark.parametrize("order", ["C", "F"])
def test_slices_of_a_map_know_where_they_begin(tmp_path, order):
    """Their pickles lead to the same numbers of the file, of which the first is not that of the map."""
    X = np.arange(60, dtype="f4").reshape(10, 6)
    X.tofile(tmp_path / "raw")
    whole = np.memmap(tmp_path / "raw", "f4", "r", offset=24, shape=(9, 6) if order == "C" else (6, 9), order=order)
    for part in (
        whole,
        whole[2:7] if order == "C" else whole[:, 2:7],
        whole[3:] if order == "C" else whole[:, 3:][:, 1:],
    ):
        assert memory.MemmapSource.takes(part)
        found = memory.MemmapSource(part)
        again = found.__reduce__()
        for one in (found, found.reopen(), again[0](*again[1])):
            np.testing.assert_array_equal(one.read(0, len(part)), part)
            assert one.shape == part.shape and one.path == (tmp_path / "raw").resolve()
    assert not memory.MemmapSource.takes(whole[:, 1:3] if order == "C" else whole[1:3])
    assert not memory.MemmapSource.takes(np.zeros((2, 2)))
    assert not memory.MemmapSource.takes(np.memmap(tmp_path / "raw", "f4", "c"))
    (tmp_path / "raw").write_bytes(bytes(24 + 9 * 6 * 4 - 1))
    with pytest.raises(OSError, match=r"raw was cut short since it was mapped$"):
        found = memory.MemmapSource(whole)
        found.read(0, 1)
    (tmp_path / "raw").unlink()


def test_the_folder_of_many_files_is_the_one_above_all():
    for places, home in (
        (["/a/b/x", "/a/b/y"], "/a/b"), (["/a/b/x", "/a/c/y"], "/a"), (["/a/b/x"], "/a/b"),
        (["/a/bc/x", "/a/b/y"], "/a"),
    ):  # fmt: skip
        assert _home([Path(place) for place in places]) == Path(home)
        assert _home([Url(f"s3:/{place}") for place in places]) == Url(f"s3:/{home}")
    with pytest.raises(ValueError, match=r"^/a/y is a path, and others of the files are URLs; name all in one way$"):
        _home([Url("s3://a/x"), Path("/a/y"), Path("/a/z")])


# Words for what went wrong


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("a\nb"), "a"), (ValueError("\n  \n  b  \nc"), "b"), (ValueError(""), "ValueError"),
        (ValueError("\n \n"), "ValueError"),
        (KeyError("k"), "KeyError 'k'"), (IndexError(""), "IndexError"), (IndexError("out"), "IndexError out"),
        (ExceptionGroup("g", [ExceptionGroup("h", [OSError("in"), OSError("other")]), ValueError("x")]), "in"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (ValueError("no x.h5 here"), ValueError, "no x.h5 here"), (OSError("x.h5 is odd"), OSError, "x.h5 is odd"),
        (ImportError("odd"), ImportError, "odd"),
        (KeyError("x.h5"), OSError, "x.h5 is damaged or not whole, and cannot be read: KeyError 'x.h5'"),
        (ValueError("odd\nmore"), OSError, "x.h5 is damaged or not whole, and cannot be read: odd"),
        (Unreached("away\nmore"), OSError, "x.h5 cannot be read: away\nmore"),
        (MemoryError("much\nmore"), MemoryError, "x.h5 asks for more memory than there is: much"),
        (MemoryError("x.h5 much"), MemoryError, "x.h5 much"), (Unreached("x.h5 away"), Unreached, "x.h5 away"),
        (RuntimeError("x.h5"), OSError, "x.h5 is damaged or not whole, and cannot be read: x.h5"),
    ],
)  # fmt: skip
def test_an_error_of_opening_names_the_file(error, kind, words):
    with pytest.raises(kind) as caught, opening(Path("x.h5")):
        raise error
    assert str(caught.value) == words and (type(caught.value) is kind)


@pytest.mark.parametrize(
    "error, kind", [(ValueError, ValueError), (TypeError, TypeError), (MemoryError, MemoryError), (OSError, OSError),
                    (KeyError, OSError), (UnicodeError, OSError), (Unreached, OSError)],
)  # fmt: skip
def test_an_error_of_reading_names_the_rows(error, kind):
    with pytest.raises(kind) as caught, reading("table", 3, 8):
        raise error("odd\nmore")
    words = "KeyError 'odd\\nmore'" if error is KeyError else "odd"
    assert str(caught.value) == f"rows 3 to 7 of 'table' could not be read: {words}" and type(caught.value) is kind


# Blocks, read ahead


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 3, 6])
def test_so_many_results_are_made_ahead_and_no_more(depth, n):
    begun, caller = [], threading.get_ident()
    work = ahead(lambda item: begun.append((item, threading.get_ident())) or item * 10, iter(range(n)), depth)
    for at, found in enumerate(work):
        assert found == at * 10
        assert len(begun) <= at + 1 + depth
    assert [item for item, _ in begun] == list(range(n))
    assert all((thread == caller) == (depth == 0) for _, thread in begun)


def test_where_no_thread_can_be_started_the_caller_reads(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(ahead(lambda item: (item, threading.get_ident()), range(3))) == [
        (at, threading.get_ident()) for at in range(3)
    ]


class Reader:
    """Rows that may come short; its dtype and chunks are those of a table of float64 in pieces of three rows."""

    shape, dtype, chunks = (10, 2), np.dtype("f8"), (3, 2)

    def __init__(self, rows=None):
        self.X, self.rows = np.arange(20.0).reshape(10, 2), rows

    def read(self, start, stop):
        return self.X[start : stop if self.rows is None else start + self.rows]

    def reopen(self):
        return self

    def __repr__(self):
        return "table"


def test_blocks_of_any_part_are_checked_rows_of_a_type():
    table = Reader()
    for start, stop in ((0, 10), (4, 9), (10, 10), (0, 0)):
        found = list(iterate(table, rows=3, start=start, stop=stop))
        assert [edge for block in found for edge in block[:2]] == [
            edge for at in range(start, stop) if at == start or at % 3 == 0 for edge in (at, min(stop, at + 3 - at % 3))
        ]
        assert all(block[2].dtype == np.float32 and block[2].flags.c_contiguous for block in found)
        if found:
            np.testing.assert_array_equal(np.concatenate([block for _, _, block in found]), table.X[start:stop])
    assert next(iterate(table, dtype=np.float64))[2].dtype == np.float64
    for start, stop in ((-1, 5), (5, 4), (0, 11), (11, 11)):
        with pytest.raises(ValueError, match=rf"^rows {start} to {stop} are not within the 10 rows of table$"):
            iterate(table, start=start, stop=stop)
    with pytest.raises(ValueError, match=r"^Y has 2 features, but TSNE is expecting 3 features as input$"):
        iterate(table, columns=3, name="Y")
    assert next(iterate(table, columns=2))[:2] == (0, 10)
    with pytest.raises(ValueError, match=r"^rows 2 to 5 of table came back as 3 rows; did it change\?$"):
        read_checked(Reader(rows=3), 2, 6)
    table.X[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"^Y .*row 7"):
        list(iterate(table, name="Y"))


def test_some_rows_of_a_block_are_called_by_their_numbers():
    table = Reader()
    rows = np.array([4, 6, 7])
    for kind in (np.asarray, pd.DataFrame):
        table.read = lambda start, stop, kind=kind: kind(table.X[start:stop])
        np.testing.assert_array_equal(read_checked(table, 4, 8, rows=rows), table.X[rows])
    table.X[7, 0] = np.inf
    with pytest.raises(ValueError, match=r"^Z .*row 7"):
        read_checked(table, 4, 8, rows=rows, name="Z")
    table.X[7, 0], table.X[5, 0] = 1, np.inf
    assert read_checked(table, 4, 8, rows=rows).shape == (3, 2)
    table.X[6, 0] = np.nan
    table.lacks_values = True
    assert np.isnan(read_checked(table, 4, 8, rows=rows)[1, 0])


@pytest.mark.parametrize("n", [1, 5, 12, 1000])
@pytest.mark.parametrize("chunk", [None, 1, 3, 5, 12, 13])
@pytest.mark.parametrize("kind, bytes_", [("u1", 8), ("f4", 23), ("f4", 24), ("f8", 100), ("f8", 1)])
def test_rows_of_a_block_are_whole_chunks_or_equal_parts_of_one(n, chunk, kind, bytes_):
    class Table:
        shape, dtype, chunks = (n, 2), np.dtype(kind), chunk and (chunk, 2)

    rows = block_rows(Table, bytes_)
    most = max(1, bytes_ // (2 * max(4, np.dtype(kind).itemsize)))
    assert 1 <= rows <= max(1, min(most, n))
    if chunk is None or chunk > n:
        assert rows == min(most, n)
    elif chunk <= most:
        assert rows == min(n, most // chunk * chunk)
    else:
        # As few parts as fit, and none larger than another by more than one row.
        parts = -(-chunk // most)
        assert rows == -(-chunk // parts)


# Rows that lack values


def test_work_on_rows_that_are_there_leaves_the_others_empty():
    rows = np.array([[1, 2], [np.nan, np.nan], [3, np.nan], [5, 6]], np.float32)
    beside = np.arange(4)
    asked = []

    def work(rows, beside):
        asked.append((rows.copy(), beside))
        return [rows[:, 0], None, np.arange(len(rows)) + 1, np.ones((len(rows), 3), "f4")]

    first, none, count, wide = for_kept(rows, work, beside)
    assert asked[0][1].tolist() == [0, 2, 3] and asked[0][0][:, 0].tolist() == [1, 3, 5]
    np.testing.assert_array_equal(first, [1, np.nan, 3, 5])
    assert none is None and count.tolist() == [1, 0, 2, 3] and count.dtype.kind == "i" and first.dtype == np.float32
    assert wide.shape == (4, 3) and np.isnan(wide).tolist() == [[False] * 3, [True] * 3, [False] * 3, [False] * 3]
    for_kept(rows, work)
    assert asked[1][1] is None
    # Where all are there, they are handed on as they are.
    whole = rows[[0, 3]]
    assert for_kept(whole, lambda found, other: [found is whole, other is beside], beside) == [True, True]


def test_a_table_that_lacks_values_is_closed_and_reopened_with_its_own(monkeypatch):
    closed = []
    table = Reader()
    table.close = lambda: closed.append(1)
    with Lacking(table) as found:
        assert found.chunks == (3, 2) and found.dtype == np.float64 and isinstance(found.reopen(), Lacking)
        table.read_with_gaps = lambda start, stop: np.full((stop - start, 2), np.nan)
        assert np.isnan(found.read(1, 3)).all()
    assert closed == [1] and repr(found) == "table"
    Lacking(Reader()).close()


def test_masks_go_with_their_rows():
    plain, gaps = np.zeros((2, 2)), np.ma.array(np.ones((2, 2)), mask=[[1, 0], [0, 0]])
    bare = np.ma.array(np.ones((2, 2)))
    assert with_mask(gaps) is gaps and type(with_mask(bare)) is np.ndarray and with_mask([[1]]).tolist() == [[1]]
    assert type(stacked([plain, plain])) is np.ndarray
    assert np.ma.getmaskarray(stacked([plain, gaps])).tolist() == [[False] * 2] * 2 + [[True, False], [False, False]]
    one = stacked([plain])
    assert one is not plain and not np.shares_memory(one, plain)


# What else a file tells


@pytest.mark.parametrize(
    "text, found",
    [
        (json.dumps({"a": 1}), {"a": 1}), ("[1]", None), ("5", None), ("{", None), (b'{"b": 2}', {"b": 2}),
        (b"\xff", None), (None, None),
    ],
)  # fmt: skip
def test_how_a_table_was_made_is_an_object_in_its_file(text, found):
    note = type("Note", (), {"shape": (), "__getitem__": lambda self, at: text})()
    item = type("Dataset", (), {"__module__": "h5py._hl.dataset"})()
    item.file = {"prepared": note}
    assert how_prepared(SimpleNamespace(_item=item)) == found
    note.shape = (1,)
    assert how_prepared(SimpleNamespace(_item=item)) is None
    note.shape = ()
    # Of many files the first tells.
    assert how_prepared(SimpleNamespace(first_file=lambda: SimpleNamespace(_item=item), _item=None)) == found
    item.file = {}
    assert how_prepared(SimpleNamespace(_item=item)) is None and how_prepared(SimpleNamespace()) is None


def test_packages_of_an_extra_are_listed_once():
    required = [
        "a>=1; extra == 'one'", 'b ; extra == "two"', "tsne_ooc[one,two]; extra == 'both'",
        "tsne-ooc[one]; extra == 'both'",
        "c; extra == 'both' and python_version > '3'", "d", "e; python_version > '3'", "a>=1; extra == 'one'",
        "z; extra == 'ones'",
    ]  # fmt: skip
    assert _packages("one", required) == ["a>=1"] and _packages("two", required) == ["b"]
    assert _packages("both", required) == ["a>=1", "b", "c"] and _packages("none", required) == []


def test_numbers_of_arrow_are_told_from_other_types():
    import pyarrow as pa

    for kind, found in (
        (pa.int8(), "i1"), (pa.uint64(), "u8"), (pa.float16(), "f2"), (pa.float32(), "f4"), (pa.bool_(), "?"),
        (pa.string(), None),
        (pa.date32(), None), (pa.decimal128(5), None), (pa.list_(pa.int8()), None),
        (pa.dictionary(pa.int8(), pa.int16()), None),
    ):  # fmt: skip
        assert arrow.number_type(kind) == (None if found is None else np.dtype(found))
    words = arrow.column_of(pa.chunked_array([pa.array(["a", None, "a"]).dictionary_encode()]))
    assert words.values.tolist() == ["a", None, "a"] and words.missing is None
    for values, kind, filled in (
        ([1, None, 3], pa.int16(), 0),
        ([True, None], pa.bool_(), False),
        ([None, 2.5], pa.float32(), 0),
    ):
        found = arrow.column_of(pa.chunked_array([pa.array(values, kind)]))
        assert found.missing.tolist() == [value is None for value in values]
        assert found.values.tolist() == [filled if value is None else value for value in values]
        assert found.values.dtype == arrow.number_type(kind)
        some = arrow.masked(found, 0, 1)
        assert isinstance(some, np.ma.MaskedArray) == (values[0] is None) and len(some) == 1
    codes = arrow.column_of(pa.chunked_array([pa.array([7, None, 7], pa.int32()).dictionary_encode()]))
    assert codes.values.tolist() == [7, 0, 7] and codes.missing.tolist() == [False, True, False]


@pytest.mark.parametrize("module, shape, stream, frame, once", [
    ("pyarrow.lib", True, True, False, False), ("polars.frame", True, True, False, False),
    ("pyarrow.lib", False, True, False, True),
    ("polars", False, True, False, True), ("duckdb", True, True, False, True), ("pandas", True, True, True, False),
    ("x", True, False, False, False),
])  # fmt: skip
def test_what_may_be_another_table_each_time_is_read_once(module, shape, stream, frame, once):
    kind = type("Thing", (), {"__module__": module})
    if stream:
        kind.__arrow_c_stream__ = None
    if shape:
        kind.shape = (1, 1)
    if frame:
        kind.iloc = None
    assert arrow.is_read_once(kind()) is once and arrow.is_arrow(kind()) is (stream and not frame)


@pytest.mark.parametrize("error", [OSError, ValueError, FileNotFoundError])
def test_a_table_that_a_worker_cannot_open_is_told_with_its_name(error, monkeypatch):
    monkeypatch.setattr("tsne_ooc.workers.by_path.pickle.loads", lambda pickled: (_ for _ in ()).throw(error("odd")))
    with pytest.raises(error) as caught:
        SharedTable(b"", {}, None)._open()
    assert str(caught.value) == f"the worker {here()} cannot open the table: odd" and type(caught.value) is error


# Many files


class Part:
    """A table of a file that remembers whether it is open."""

    def __init__(self, opened, X, names=None, chunks=None, **more):
        self.X, self.shape, self.dtype, self.chunks, self.opened = X, X.shape, X.dtype, chunks, opened
        if names is not None:
            self.column_names = names
        vars(self).update(more)
        opened.append(self)

    def read(self, start, stop):
        return self.X[start:stop]

    def close(self):
        self.opened.remove(self)


def many(tmp_path, *parts, **how):
    """A source of such tables, of which the tables may be changed later; and those that are open."""
    opened, asked, made = [], [], list(parts)

    def opener(path, **options):
        asked.append((path.name, options))
        table, more = made[int(path.stem)]
        return Part(opened, table, **more)

    files = [tmp_path / f"{at}.x" for at in range(len(parts))]
    return FilesSource(files, opener, **how), opened, asked, made


def rows_of(n, p=2, first=0, kind="f4"):
    return np.arange(first, first + n * p).reshape(n, p).astype(kind)


@pytest.mark.parametrize("most", [1, 2, 16])
@pytest.mark.parametrize("names", [None, ["a", "b"]])
def test_rows_of_many_files_follow_each_other(tmp_path, most, names, monkeypatch):
    """Files without rows are passed over; where columns have names, they are put into the order of the first."""
    monkeypatch.setattr(files, "MOST_OPEN", most)
    X = [rows_of(3, first=0), rows_of(0), rows_of(4, first=10, kind="i4"), rows_of(1, first=20), rows_of(0)]
    chunks = [(2, 2), None, (5, 2), (3, 2), None]
    parts = [(part, {"names": names, "chunks": size}) for part, size in zip(X, chunks, strict=True)]
    if names:
        parts[2] = (X[2][:, ::-1], {"names": ["b", "a"]})
    source, opened, asked, _ = many(tmp_path, *parts, dataset="d", columns=None)
    assert not opened and [name for name, _ in asked] == [f"{at}.x" for at in range(5)]
    assert all(how == {"dataset": "d", "columns": None, "allow_missing_chunks": False} for _, how in asked)
    whole = np.concatenate(X)
    assert source.shape == (8, 2) and source.dtype == np.float64 and source.edges.tolist() == [0, 3, 3, 7, 8, 8]
    assert source.edges.dtype == np.int64 and source.chunks == ((3 if names else 5), 2) and source.column_names == names
    for start in range(9):
        for stop in range(start, 9):
            found = source.read(start, stop)
            np.testing.assert_array_equal(found, whole[start:stop])
            np.testing.assert_array_equal(source.read_with_gaps(start, stop), whole[start:stop])
            assert found.shape == (stop - start, 2) and len(opened) <= most
    # Only files with rows are opened for them, and each once where so many may be open.
    if most == 16:
        assert len(asked) == 5 + 3
    assert not hasattr(source, "read_columns")
    told = source.rows_of_files()
    assert [(one["start"], one["stop"]) for one in told] == [(0, 3), (3, 3), (3, 7), (7, 8), (8, 8)]
    assert told[0]["path"] == str((tmp_path / "0.x").resolve()) and source.path == tmp_path.resolve()
    assert source.remarks == ["rows come from 5 files, in this order: 0.x, 1.x, 2.x, 3.x, 4.x"]
    assert repr(source) == f"5 files {tmp_path / '0.x'} to 4.x of shape (8, 2)"
    again = source.reopen()
    np.testing.assert_array_equal(again.read(2, 8), whole[2:8])
    assert len(again._open) == min(most, 3)
    again.close()
    assert not again._open
    source.close()
    assert not opened


def test_a_file_that_is_read_again_is_the_last_to_be_closed_but_one(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_OPEN", 2)
    source, opened, asked, _ = many(tmp_path, *((rows_of(1, first=at), {}) for at in range(3)))
    for row in (0, 1, 0, 2, 1):
        source.read(row, row + 1)
    assert [name for name, _ in asked[3:]] == ["0.x", "1.x", "2.x"] and len(opened) == 2


@pytest.mark.parametrize(
    "first, other, words",
    [
        ({}, {"p": 3}, "1.x has 3 columns, and 0.x has 2"),
        ({}, {"names": ["a", "b"]}, "1.x has names for its columns, and 0.x has none; name the columns alike"),
        ({"names": ["a", "b"]}, {}, "1.x has no names for its columns, as 0.x has; name the columns alike"),
        ({"names": ["a", "b"]}, {"names": ["a",
        "c"]}, "1.x has columns that 0.x has not: c, and lacks b; name those to read"),
        ({"names": ["a", "b"]}, {"names": ["c", "b",
        "a"], "p": 3}, "1.x has columns that 0.x has not: c; name those to read"),
        ({"names": ["a", "b"]}, {"names": ["b"], "p": 1}, "1.x lacks columns that 0.x has: a; name those to read"),
        ({"names": ["a", "b"]}, {"names": ["b", "a", "a"], "p": 3}, "1.x has several columns of one name ('a'), so"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("later", [False, True])
def test_a_file_with_other_columns_is_named(tmp_path, first, other, words, later):
    """Also where it is another one by the time that it is read."""
    parts = [(rows_of(2, how.get("p", 2)), {"names": how.get("names")}) for how in (first, other)]
    if not later:
        with pytest.raises(ValueError) as caught:
            many(tmp_path, *parts)
        assert str(caught.value).startswith(f"{tmp_path / words}")
        return
    source, _opened, _, made = many(tmp_path, parts[0], parts[0])
    made[1] = parts[1]
    with pytest.raises((OSError, ValueError)) as caught:
        source.read(0, 4)
    shape = parts[1][0].shape
    if shape != (2, 2):
        words = (
            f"1.x has shape {shape} now, and had (2, 2) when it was opened first; put it back as it was, or begin again"
        )
    assert str(caught.value).startswith(f"{tmp_path / words}")


def test_no_file_stays_open_where_one_cannot_be_taken(tmp_path):
    opened = []

    def opener(path, **how):
        return Part(opened, rows_of(2, 2 + int(path.stem)))

    with pytest.raises(ValueError):
        FilesSource([tmp_path / "0.x", tmp_path / "1.x"], opener)
    assert opened == []


def by_columns(X, names):
    """A table, and what else a file gives of it: its columns by name."""

    def columns(start, stop):
        return {name: X[start:stop, at] for at, name in enumerate(names)}

    return X, {"names": names, "unread": {"w": "of type text"}, "name": "t", "read_columns": columns}


def test_columns_of_many_files_by_name(tmp_path):
    X = rows_of(5)
    parts = by_columns(X[:3], ["a", "b"]), by_columns(X[3:, ::-1], ["b", "a"])
    source, _, _, _ = many(tmp_path, *parts, columns=(name for name in "ab"))
    assert source.name == "t" and source.unread == {"w": "of type text"}
    for start, stop in ((0, 5), (1, 3), (2, 4), (5, 5)):
        found = source.read_columns(start, stop)
        assert list(found) == ["a", "b"]
        np.testing.assert_array_equal(found["a"], X[start:stop, 0])
        np.testing.assert_array_equal(found["b"], X[start:stop, 1])
    assert source.reopen()._how["columns"] == ["a", "b"] and source.first_file().X is not None
    make, given = source.__reduce__()
    assert make is FilesSource and given[2:] == (None, ["a", "b"], False)
    with pytest.raises(AttributeError):
        source.other  # noqa: B018


@pytest.mark.parametrize(
    "data, named",
    [
        (["2.x", "1.x"], ["2.x", "1.x"]), ("*.x", ["1.x", "2.x", "10.x"]), (["10.x", "?.x"], ["10.x", "1.x", "2.x"]),
        (["?.x", "10.x"], ["1.x", "2.x", "10.x"]), (["[12].x", "1?.x"], ["1.x", "2.x", "10.x"]),
        ("**/*.y", ["a.y", "deep/b.y"]),
        (["1.x", "./1.x"], "1.x is named twice"), (["1.x", "link.z"], "link.z is named twice"),
        (["1.x", "*.x"], "1.x is named twice"),
        ("*.none", "no file fits the pattern *.none"), (["1.x", "*.none"], "no file fits the pattern *.none"),
        ("odd[1].x", ["odd[1].x"]), (["none.x"], ["none.x"]),
    ],
)  # fmt: skip
def test_files_are_named_one_by_one_or_by_patterns(tmp_path, monkeypatch, data, named):
    monkeypatch.chdir(tmp_path)
    for name in ("1.x", "2.x", "10.x", "a.y", "deep/b.y", "odd[1].x2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.z").symlink_to(tmp_path / "1.x")
    if "odd" in str(data):
        (tmp_path / "odd[1].x").touch()
    if isinstance(named, str):
        with pytest.raises((ValueError, FileNotFoundError), match=named.replace("*", r"\*")):
            files.files_of(data)
    else:
        assert [str(path) for path in files.files_of(data)] == named
    assert files.are_files(data) == (isinstance(data, list) or data[0] == "*")
    assert (
        not files.are_files([])
        and not files.are_files([1, 2])
        and not files.are_files(["1.x", 2])
        and not files.are_files("1.x")
    )
    assert files.are_files(("1.x", Path("2.x"))) and not files.are_files(np.zeros(3))


# Zarr, written and read


zarr = pytest.importorskip("zarr")


def stored_frame(path, fill=None):
    """A data frame in a folder of Zarr: numbers, whole numbers with gaps, and words by codes; all in two chunks."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    frame = root.create_group("f")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": ["a", "gaps", "kind"]})

    def array(group, name, values, kind):
        made = group.create_array(name, shape=(4,), chunks=(2,), dtype=kind, config={"write_empty_chunks": True})
        made[:] = np.array(values, kind)

    array(frame, "i", [1, 2, 3, 4], "i8")
    array(frame, "a", [1, 2, 3, 4], "f4")
    gaps = frame.create_group("gaps")
    gaps.attrs["encoding-type"] = "nullable-integer"
    array(gaps, "values", [5, 6, 7, 8], "i4")
    array(gaps, "mask", [0, 1, 0, 0], "?")
    kind = frame.create_group("kind")
    kind.attrs["encoding-type"] = "categorical"
    array(kind, "codes", [1, 0, 1, 0], "i1")
    array(kind, "categories", [10, 20, 30, 40], "i8")
    return path


@pytest.mark.parametrize(
    "lost, refused",
    [("a/1", "a"), ("i/0", "i"), ("gaps/values/0", "gaps/values"), ("gaps/mask/0", None), ("kind/codes/1", None),
    ("kind/categories/0", None)],
)  # fmt: skip
def test_masks_and_codes_of_zeros_need_not_be_there(tmp_path, lost, refused):
    """Zarr does not write chunks of zeros; but numbers that are not there are missed."""
    path = stored_frame(tmp_path / "x.zarr")
    whole = np.array([[1, 5], [2, np.nan], [3, 7], [4, 8]])
    with source.open_source(path, dataset="f") as table:
        np.testing.assert_array_equal(table.read(0, 4), whole)
        assert table.left_out == ["kind"] and table.shape == (4, 2) and table.dtype == np.float64
        assert table.stored == [path.resolve() / "f"] and table.opened_here and table.chunks is None
        assert repr(table) == f"data frame 'f' of {path.resolve()}, shape (4, 2)"
    (path / "f" / lost).unlink()
    if refused is None:
        source.open_source(path, dataset="f").close()
        return
    with pytest.raises(OSError, match=rf"^1 of 2 chunks of array 'f/{refused}' of .*x\.zarr are missing"):
        source.open_source(path, dataset="f")
    source.open_source(path, dataset="f", allow_missing_chunks=True).close()


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
    return path


@pytest.mark.parametrize("what", ["f", "X"])
def test_a_zip_file_is_opened_anew_behind_a_fork(tmp_path, monkeypatch, what):
    """Parent and child would move each other's place in it; and the child does not close what is its parent's."""
    folder = stored_frame(tmp_path / "x.zarr")
    zarr.open_group(folder, mode="a")["f"].attrs.update({"x": 1})
    made = zarr.open_group(folder, mode="a").create_array("X", shape=(4, 3), chunks=(3, 2), dtype="f4")
    X = np.arange(1, 13, dtype="f4").reshape(4, 3)
    made[:] = X
    wanted = X if what == "X" else np.array([[1, 5], [2, np.nan], [3, 7], [4, 8]])
    path = zipped(folder, tmp_path / "x.zip")
    table = source.open_source(path, dataset=what)
    assert table.name == what and table.path == path.resolve() and table.stored is None
    first = table._store
    np.testing.assert_array_equal(table.read(1, 4), wanted[1:4])
    assert table._store is first
    here = os.getpid()
    monkeypatch.setattr(zarr_files.os, "getpid", lambda: here + 1)
    table.close()
    np.testing.assert_array_equal(table.read(1, 4), wanted[1:4])
    second = table._store
    assert second is not first and table.read(0, 1).shape[0] == 1 and table._store is second
    if what == "f":
        assert table.read_columns(0, 2)["a"].tolist() == [1, 2]
    else:
        assert table.read_some(0, 2, np.array([2, 0])).tolist() == [[3, 1], [6, 4]]
    closed = []
    monkeypatch.setattr(type(second), "close", lambda self: closed.append(self))
    table.close()
    assert closed == [second]


@pytest.mark.parametrize("what", ["f", "X"])
def test_a_table_of_zarr_in_memory_has_no_place(what):
    root = zarr.open_group(store=zarr.storage.MemoryStore(), mode="w", zarr_format=2)
    frame = root.create_group("f")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": ["a", "b"]})
    X = np.arange(1.0, 9.0).reshape(4, 2)
    for name, values in (("i", np.arange(4)), ("a", X[:, 0]), ("b", X[:, 1])):
        frame.create_array(name, data=values)
    root.create_array("X", data=X[:, ::-1].copy(), chunks=(3, 1))
    table = source.open_source(root, dataset=what)
    wanted = X if what == "f" else X[:, ::-1]
    for one in (table, table.reopen()):
        np.testing.assert_array_equal(one.read(1, 4), wanted[1:4])
        assert one.path is None and one.stored is None and not one.opened_here and one.name == what
        assert one.chunks == (None if what == "f" else (3, 1)) and one.remarks == [] and one.unread == {}
        assert repr(one) == f"{'data frame' if what == 'f' else 'Zarr array'} {what!r} of memory, shape (4, 2)"
        one.close()
    if what == "f":
        some = source.open_source(root, dataset="f", columns=(name for name in "b"))
        assert some.column_names == ["b"] == some.reopen().column_names and some.read(0, 1).tolist() == [[2]]
    with pytest.raises(ValueError, match=r"^this group has no dataset 'Y'; .*it has X \(4, 2\), f \(4, 2\)"):
        source.open_source(root, dataset="Y")
    with pytest.raises(ValueError, match=r"holds a single array, so dataset='a' cannot choose one$"):
        source.open_source(root["X"], dataset="a")


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
    opened, real = [], hdf5._open
    monkeypatch.setattr(hdf5, "_open", lambda path, **how: opened.append(real(path, **how)) or opened[-1])
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


# What is handed on, and to whom


@pytest.fixture
def handed(monkeypatch):
    """What the one way to a table is asked for in turn; the real one, and what it was called with."""
    real, told = source.open_source, []

    def asked(data, **how):
        told.append((data, how))
        return real(np.ones((2, 2)))

    monkeypatch.setattr(source, "open_source", asked)
    return real, told


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("columns", [None, ["a"]])
def test_choices_are_handed_on_to_the_part_of_an_anndata(handed, allowed, columns):
    real, told = handed
    data = anndata(var_names=["a", "b"])
    for part, table in (("obsm/p", 3), ("X", 1), ("layers/a", 2), ("raw/X", 4)):
        told.clear()
        if part == "raw/X":
            data.raw.var_names = ["a", "b"]
        found = source._of_anndata(data, part, columns, allowed)
        assert told == [
            (
                table,
                {"columns": columns, "allow_missing_chunks": allowed}
                if part == "obsm/p"
                else {"allow_missing_chunks": allowed},
            )
        ]
        if part != "obsm/p":
            assert found.shape == (2, 2 if columns is None else 1)
    told.clear()
    backed = type("BackedSparse", (), {"__module__": "anndata._core", "group": "the group"})()
    real(backed, columns=columns, allow_missing_chunks=allowed)
    assert told == [("the group", {"columns": columns, "allow_missing_chunks": allowed})]


@pytest.mark.parametrize(
    "module, names, kind",
    [
        ("x", ("iloc", "to_numpy", "shape", "__getitem__"), "FrameSource"),
        ("x", ("iloc", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("to_numpy", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("iloc", "to_numpy", "compute", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("tocsr", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("nnz", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("tocsr", "nnz", "shape", "__getitem__"), "pass X.tocsr()"),
        ("x", ("to_dask_array", "shape", "__getitem__"), "Dask DataFrame"),
        ("x", ("compute", "shape", "__getitem__"), "SlicedSource"),
        ("dask.bag", ("shape", "__getitem__"), "SlicedSource"),
        ("x", ("shape",), "is not a table"), ("x", ("__getitem__",), "is not a table"),
        ("x.dask", ("compute", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("group", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("files", "schema", "shape", "__getitem__"), "SlicedSource"),
        ("pyarrow.x", ("files", "shape", "__getitem__"), "SlicedSource"),
        ("pyarrow.x", ("schema", "shape", "__getitem__"), "SlicedSource"),
    ],
)  # fmt: skip
def test_a_table_is_told_by_all_that_it_has(module, names, kind):
    """By one name alone it may be anything."""
    frame = pd.DataFrame(np.ones((2, 2)))
    has = {
        "shape": (2, 2),
        "iloc": frame.iloc,
        "dtypes": frame.dtypes,
        "columns": frame.columns,
        "__getitem__": lambda self, rows: np.ones((2, 2))[rows],
    }
    parts = {name: has.get(name, lambda self, *_, **__: None) for name in names}
    if kind == "FrameSource":
        parts |= {"dtypes": frame.dtypes, "columns": frame.columns}
    made = type("Thing", (), {"__module__": module, **parts})()
    if " " in kind or "." in kind:
        with pytest.raises(TypeError) as caught:
            source.open_source(made)
        assert kind in str(caught.value)
    else:
        assert type(source.open_source(made)).__name__ == kind


@pytest.mark.parametrize(
    "shape, chunks, told",
    [((7, 3), ((3, 4), (2, 1)), (4, 2)), ((2, 2), ((1, 1), (1, 1)), (1, 1)), ((3, 0), ((3,), (0,)), None), ((0, 3),
    ((0,), (3,)), None)],
)  # fmt: skip
def test_chunks_of_dask_are_the_largest(shape, chunks, told, monkeypatch):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr("tsne_ooc.io.bands.LARGEST", 0)
    X = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    table = source.open_source(da.from_array(X, chunks=chunks))
    assert table.chunks == told and table.shape == shape and table.dtype == np.float32
    for start in range(shape[0] + 1):
        np.testing.assert_array_equal(table.read(start, shape[0]), X[start:])
    # A row of chunks is kept where it is at most twice as large as one of them, which must be computed whole.
    row, one = max(chunks[0]) * shape[1], max(chunks[0]) * max(chunks[1])
    assert table._banded._keeps == (row <= 2 * one)


def test_the_thread_that_reads_ahead_does_not_keep_python_from_ending():
    work = ahead(lambda item: item, range(3))
    next(work)
    (reader,) = [thread for thread in threading.enumerate() if thread.name == "tsne_ooc_read" and thread.is_alive()][
        -1:
    ]
    assert reader.daemon
    work.close()
    assert not reader.is_alive()


def test_open_files_of_a_table_behind_urls_keep_half_a_gigabyte():
    """As many as are open together, each with its parts."""
    assert files.MOST_OPEN * url_files.BLOCK * url_files.BLOCKS == 1 << 29


class AsyncStore:
    """A store of fsspec that is asked in a loop, and says what it was asked for."""

    def __init__(self, data):
        self.data, self.told = data, []

    async def set_session(self):
        self.told.append("session")
        return self

    async def close(self):
        self.told.append("closed")

    async def _cat_file(self, path, start, end):
        self.told.append((path, start, end))
        return self.data[start:end]


def test_a_store_that_is_asked_in_a_loop_gets_one_session_for_a_file(monkeypatch):
    store, asked = AsyncStore(bytes(range(50))), []
    monkeypatch.setattr(Url, "filesystem", lambda self, **how: asked.append(how) or (store, "b/x"))
    parts = url_files._Parts(Url("s3://b/x"), 50)
    assert asked == [{}, {"asynchronous": True, "skip_instance_cache": True}]
    assert parts(3, 7) == bytes([3, 4, 5, 6]) and parts(48, 99) == bytes([48, 49])
    assert store.told == ["session", ("b/x", 3, 7), ("b/x", 48, 50)]
    here = os.getpid()
    monkeypatch.setattr(url_files.os, "getpid", lambda: here + 1)
    parts.close()
    assert not parts._loop.is_closed()
    monkeypatch.setattr(url_files.os, "getpid", lambda: here)
    parts.close()
    parts.close()
    assert store.told[3:] == ["closed"] and parts._loop.is_closed()
    # One that was never asked has nothing to close but its loop.
    unasked = url_files._Parts(Url("s3://b/x"), 50)
    unasked.close()
    assert unasked._loop.is_closed() and store.told[3:] == ["closed"]


@pytest.mark.parametrize(
    "named, there, prefix, missing",
    [
        ("part.h5", "a/part.h5", None, 0), ("sub/part.h5", "a/sub/part.h5", None, 0),
        ("sub/part.h5", "a/part.h5", None, 1),
        ("part.h5", "c/part.h5", "c", 0), ("part.h5", "a/part.h5", "c", 0), ("part.h5", "b/part.h5", None, 1),
        ("part.h5", "a/deep/part.h5", "${ORIGIN}/deep", 0),
        ("/gone/part.h5", "a/part.h5", None, 0), ("/gone/part.h5", "a/other.h5", None, 1),
        ("part.h5", "part.h5", None, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dataset", ["d", "e"])
def test_sources_of_a_virtual_dataset_are_looked_for_where_hdf5_does(
    tmp_path, monkeypatch, named, there, prefix, missing, dataset
):
    """Beside the file itself, not beside a link to it; in the folder of the program; and where the user says."""
    for folder in ("a/sub", "a/deep", "b", "c"):
        (tmp_path / folder).mkdir(parents=True)
    with h5py.File(tmp_path / there, "w") as file:
        file["d"] = np.ones((2, 2))
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource(named, dataset, (2, 2))
    with h5py.File(tmp_path / "a/x.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    (tmp_path / "b/x.h5").symlink_to(tmp_path / "a/x.h5")
    monkeypatch.chdir(tmp_path)
    if prefix is not None:
        monkeypatch.setenv("HDF5_VDS_PREFIX", prefix if "$" in prefix else str(tmp_path / prefix))
    for path in ("a/x.h5", "b/x.h5"):
        with h5py.File(tmp_path / path) as file:
            assert of_hdf5_dataset(file["v"]) == (missing if dataset == "d" else 1, 1, "sources")


def test_a_gap_among_other_cells_of_a_piece_is_named(tmp_path, monkeypatch):
    """And a file stays open for all of its pieces."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for at, values in enumerate(([1, None, 3, 4, 5, None], [7, 8])):
        pq.write_table(
            pa.table({"a": pa.array(values, "i4"), "b": pa.array(values, "f8")}),
            tmp_path / f"{at}.parquet",
            row_group_size=3,
        )
    opened, real = [], parquet._opened
    monkeypatch.setattr(parquet, "_opened", lambda path: opened.append(path.name) or real(path))
    with parquet.open_parquet(tmp_path, "a") as table:
        opened.clear()
        assert table.shape == (8, 1) and table.chunks == (3, 1) and table.dtype == np.int32
        for start, stop, row in ((0, 3, 1), (0, 8, 1), (2, 8, 5), (1, 2, 1), (5, 6, 5)):
            with pytest.raises(ValueError, match=rf"^column 'a' has no value \(null\) in row {row};"):
                table.read(start, stop)
        opened.clear()
        assert table.read(2, 5).tolist() == [[3], [4], [5]] and table.read(6, 8).tolist() == [[7], [8]]
        assert (
            table.read(0, 1).tolist() == [[1]]
            and table.read(3, 4).tolist() == [[4]]
            and table.read(0, 1).tolist() == [[1]]
        )
        assert opened == ["1.parquet", "0.parquet"]
    pq.write_table(pa.table({"a": pa.array([9], "i4"), "b": [1.0], "more": [2.0]}), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet has a column of numbers 'more', which 0\.parquet does not have"):
        parquet.open_parquet(tmp_path)
    with parquet.open_parquet(tmp_path, ["a"]) as table:
        assert table.shape == (9, 1) and table.read(8, 9).tolist() == [[9]]


@pytest.mark.parametrize("shape, own", [((10, 2), False), ((10, np.int64(2)), True), ((np.int32(10), 2), True)])
def test_a_shape_of_numpys_numbers_is_made_one_of_pythons(shape, own):
    """Products of NumPy's own numbers wrap round, be it one of the two."""
    table = Reader()
    table.shape = shape
    found = source.open_source(table)
    assert (found is not table) == own and found.shape == (10, 2)
    assert all(type(size) is int for size in found.shape)
