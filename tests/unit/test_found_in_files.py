"""What is found in a file of many arrays, and what is said of it: tables and near names, kinds, gaps, who it is."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from stored import Group, Stored, Timed

from tsne_ooc.io import identity, line_up
from tsne_ooc.io.contents import Contents, is_compound, locate
from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.identity import _begins, _probes, differences
from tsne_ooc.io.kinds import READ, format_of
from tsne_ooc.io.meant import FieldTable
from tsne_ooc.io.missing import check_whole, of_hdf5_dataset, of_zarr_array
from tsne_ooc.io.named import LinedUp, _genes, _labels, _variables, by_name, names_listed, order_of
from tsne_ooc.io.pandas_table import PandasTable, names_in
from tsne_ooc.io.sparse import CsrTable

# Tables of a file


def frame(n, *names, **attrs):
    return Group(
        {"i": Stored(np.arange(n)), **{name: Stored(np.ones(n)) for name in names}},
        encoding_type="dataframe",
        **{"_index": "i", "column_order": list(names), **attrs},
    )


def sparse(kind="csr_matrix", **attrs):
    parts = {"data": Stored([1.0]), "indices": Stored([0]), "indptr": Stored([0, 1, 1])}
    return Group(parts, encoding_type=kind, **attrs)


RECORDS = np.zeros(5, [("a", "f4"), ("wide", "i2", (3,)), ("text", "S2", (2,))])


def turned():
    item = Stored(np.zeros((3, 4)), name="/turned", MATLAB_class="double")
    item.file = Group()
    return item


def everything():
    """Names and objects of a file, in its order; what does not count comes before what does."""
    return [
        ("#refs#", Group()), ("#refs#/a", Stored(np.zeros((9, 9)))),
        ("a", Stored(np.zeros((3, 4)))),
        ("s", sparse(shape=[5, 6])), ("s/data", Stored(np.zeros((9, 9)))), ("s/indptr", Stored([0])),
        ("ss/data", Stored(np.zeros((7, 1)))),
        ("unknown", sparse("csc_matrix")),
        ("obs", frame(8, "x")), ("obs/x", Stored(np.zeros(8))), ("var", frame(9)), ("deep/var", frame(9, "x", "y")),
        ("lost", frame(4, "x", _index="gone")),
        ("scalar", scalar_frame()),
        ("records", Stored(RECORDS)), ("pairs", Stored(np.zeros(5, [("r", "f4"), ("i", "f4")]))),
        ("letters", Stored(np.zeros((2, 3), "u2"), MATLAB_class="char")),
        ("bytes", Stored(np.zeros((2, 3), "u2"), MATLAB_class=b"char")),
        ("when", Timed(np.zeros((2, 2)))), ("vector", Stored(np.zeros(3))),
        ("turned", turned()),
        ("g", Group()),
        ("last", Stored(np.zeros((2, 1), "u1"))),
    ]  # fmt: skip


def scalar_frame():
    made = frame(4, "x", _index="one")
    made["one"] = Stored(np.float32(1))
    return made


def test_arrays_are_listed_and_tables_among_them():
    found = Contents.of("x.h5", everything())
    assert found.where == "x.h5"
    assert found.tables == ["a", "s", "ss/data", "unknown", "turned", "last"] and found.compound == ["records"]
    assert list(found.shapes.items()) == [
        ("a", (3, 4)), ("s", (5, 6)), ("ss/data", (7, 1)), ("unknown", ()), ("obs/x", (8,)), ("deep/var", (9, 2)),
        ("lost", (0, 1)), ("scalar", (0, 1)), ("records", (5,)), ("records/wide", (5, 3)), ("pairs", (5,)),
        ("letters", (2, 3)), ("bytes", (2, 3)), ("when", (2, 2)), ("vector", (3,)), ("turned", (4, 3)),
        ("last", (2, 1)),
    ]  # fmt: skip


def holding(*tables, compound=(), **shapes):
    return Contents("x.h5", {**dict.fromkeys([*tables, *compound], (3, 2)), **shapes}, list(tables), list(compound))


@pytest.mark.parametrize(
    "contents, found",
    [
        (holding("a"), "a"),
        (holding("a", compound=["r"]), "a"),
        (holding(compound=["r"]), "r"),
        (holding("a", "b"), "x.h5 has 2 tables, name the one to read: a (3, 2), b (3, 2)"),
        (holding(compound=["r", "q"]), "x.h5 has 2 tables, name the one to read: r (3, 2), q (3, 2)"),
        (holding(v=(3,)), "x.h5 has no two-dimensional numeric dataset; it has v (3,)"),
        (holding(), "x.h5 has no two-dimensional numeric dataset; it has no datasets at all"),
    ],
)
def test_the_only_table_is_the_one_meant(contents, found):
    if "x.h5" not in found:
        assert contents.only_table() == found
        return
    with pytest.raises(ValueError) as caught:
        contents.only_table()
    assert str(caught.value) == found


@pytest.mark.parametrize("count", [9, 10, 11, 12])
def test_up_to_ten_names_are_listed(count):
    names = [f"t{at}" for at in range(count)]
    more = f" and {count - 10} more" if count > 10 else ""
    with pytest.raises(ValueError) as caught:
        holding(*names).only_table()
    assert str(caught.value).endswith(f": {', '.join(f'{name} (3, 2)' for name in names[:10])}{more}")


@pytest.mark.parametrize(
    "asked, near",
    [
        # Tables come first, though another array is nearer; one that shares half of its letters is near enough.
        ("counts", "cou"),
        ("couVWXYZ", "cou"),
        ("vectors", "vector"),
        ("vecXYZ", "vector"),
        ("vect", "vector"),
        ("veXXXX", None),
        ("PCA", "pca"),
        ("Zz", "zZ"),
        ("qqqq", None),
    ],
)
def test_a_name_that_is_not_there_is_answered_by_the_nearest(asked, near):
    contents = holding("cou", "layers", vector=(3,), countsX=(3,), pca=(2,), zZ=(1,))
    hint = f"did you mean {near!r}? " if near else ""
    assert str(contents.missing(asked)) == (
        f"x.h5 has no dataset {asked!r}; {hint}it has cou (3, 2), layers (3, 2), vector (3,), countsX (3,), pca (2,), "
        "zZ (1,)"
    )
    assert str(holding().missing("a")) == "x.h5 has no dataset 'a'; it has no datasets at all"


def test_a_group_lists_what_is_in_it_and_nothing_else():
    contents = holding("a/x", "ab/x", "b/a/x", v=(3,))
    for asked in ("a", "/a/", "a/"):
        assert str(contents.is_group(asked)) == f"{asked!r} of x.h5 is a group, not a dataset; it holds a/x (3, 2)"
    assert str(contents.is_group("c")) == "'c' of x.h5 is a group, not a dataset; it holds no datasets"
    assert str(contents.is_group("/")).endswith("it holds a/x (3, 2), ab/x (3, 2), b/a/x (3, 2), v (3,)")


def anndata(**parts):
    return Group({"X": Stored(np.zeros((3, 2))), "obs": frame(3), "var": frame(2), **parts}, encoding_type="anndata")


LOOM = Group({"matrix": Stored(np.zeros((2, 3))), "row_attrs": Group(), "col_attrs": Group(), "X": Stored([1])})


@pytest.mark.parametrize(
    "root, dataset, found",
    [
        (Stored(np.zeros((2, 2))), None, ""),
        (sparse(), None, ""),
        (frame(3), None, ""),
        (anndata(other=Stored(np.zeros((1, 1)))), None, "X"),
        (LOOM, None, "matrix"),
        (Group({"b": Stored(np.zeros((3, 2)))}), None, "b"),
        (Group({"X": Stored(np.zeros((3, 2))), "b": Stored([1])}), None, "X"),
        (anndata(s=sparse()), "s", "s"),
        (anndata(), "obs", "obs"),
        (Group({"r": Stored(RECORDS)}), "r", "r"),
        (Group({"g": Group()}), "g", "is a group"),
        (Group({"g": Group()}), "h", "no dataset 'h'"),
        (Group({"r": Stored(RECORDS)}), "r/a", "no dataset 'r/a'"),
        (Group({"r": Stored(RECORDS)}), "r/none", "no dataset 'r/none'"),
        (Group({"v": Stored([1.0])}), "v/a", "no dataset 'v/a'"),
        (Group({"g": Group()}), "g/a", "no dataset 'g/a'"),
        (Group({"a": Stored(RECORDS)}), "a/b/wide", "no dataset 'a/b/wide'"),
    ],
)
def test_a_table_is_found_by_its_name_or_by_what_the_file_is(root, dataset, found):
    asked = []

    def contents():
        asked.append(1)
        return Contents.of("x.h5", list(root.items()))

    if " " in found:
        with pytest.raises(ValueError, match=found):
            locate(root, dataset, contents)
        return
    assert locate(root, dataset, contents) is (root if not found else root[found])
    # A look at everything takes long in a large file, and is taken only where nothing else tells.
    assert bool(asked) == (dataset is None and found not in ("", "matrix") and "var" not in root)


def test_a_wide_field_of_records_is_found_as_a_table():
    item = Stored(RECORDS, chunks=(2,), name="/r")
    item.file = item.id = None
    found = locate(Group({"r": item}), "r/wide", None)
    assert isinstance(found, FieldTable) and found.shape == (5, 3) and found.dtype == np.int16
    assert found.chunks == (2, 3) and found.name == "/r/wide" and found[1:3].shape == (2, 3) and bool(found)
    item.chunks = None
    assert locate(Group({"r": item}), "r/wide", None).chunks is None


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), OSError("x"), Unreached("away")])
def test_a_name_that_a_group_cannot_have_is_not_in_it(error):
    """But a server that does not answer says nothing of what is there."""

    class Refusing(Group):
        def get(self, name, default=None):
            raise error

    kind, words = (Unreached, "away") if isinstance(error, Unreached) else (ValueError, "no dataset '../X'")
    with pytest.raises(kind, match=words):
        locate(Refusing(), "../X", lambda: holding("a"))


@pytest.mark.parametrize(
    "kind, parts, taken",
    [
        ("anndata", "X obs var", True), (b"anndata", "X obs var", True), (None, "X obs var", True),
        ("dict", "X obs var", False), ("anndata", "X obs", False), ("anndata", "X var", False),
        ("anndata", "obs var", False),
    ],
)  # fmt: skip
def test_the_layout_of_anndata_has_three_parts(kind, parts, taken):
    root = Group({part: Stored(np.zeros((3, 2))) for part in parts.split()})
    root.attrs = {} if kind is None else {"encoding-type": kind}
    if taken:
        assert locate(root, None, None) is root["X"]
    else:
        with pytest.raises(ValueError, match="name the one to read"):
            locate(root, None, lambda: holding("a", "b"))


def test_records_are_a_row_of_named_fields():
    empty = Stored(RECORDS)
    empty.shape = None
    assert is_compound(Stored(RECORDS))
    for other in (
        empty,
        Stored(RECORDS.reshape(5, 1)),
        Stored(np.zeros(5)),
        Stored(np.zeros(5, [("r", "f4"), ("i", "f4")])),
    ):
        assert not is_compound(other)
    assert is_compound(Stored(np.zeros(5, [("r", "f4"), ("i", "f4"), ("j", "f4")])))


# Kinds of files

HDF = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize("name", ["x", "x.bin", "x.csv", "x.mat"])
@pytest.mark.parametrize("at", [0, 512, 1024, 4096, 1 << 20])
def test_a_file_of_hdf5_may_begin_with_a_block_of_its_user(tmp_path, name, at):
    (tmp_path / name).write_bytes(bytes(at) + HDF + b"more")
    assert format_of(tmp_path / name) == "hdf5"


@pytest.mark.parametrize(
    "content", [bytes(511) + HDF, bytes(768) + HDF, bytes(512) + HDF[:7], bytes(512), bytes(600), b""]
)
def test_what_is_at_no_such_place_is_no_signature(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(OSError) as caught:
        format_of(tmp_path / "x.bin")
    assert str(caught.value) == f"{tmp_path / 'x.bin'} is not a table that can be read; {READ}"


@pytest.mark.parametrize(
    "name, entries, found",
    [
        ("x.zip", ["zarr.json"], "zarr"), ("x.zip", ["a/b/.zarray", "a/b/0.0"], "zarr"),
        ("x.bin", ["z/.zgroup"], "zarr"),
        ("x.npz", ["zarr.json"], "zarr"), ("x.zarr", ["a"], "holds no Zarr table"),
        ("x.zip", ["zarr.json/a"], "holds no Zarr table"),
        ("x.zip", ["a"], "holds no Zarr table"), ("x.h5", [], "not a table"),
        ("x.npz", ["a.npy"], "an archive cannot be read in place"),
    ],
)  # fmt: skip
def test_a_zip_file_is_told_by_the_names_in_it(tmp_path, name, entries, found):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for entry in entries:
            archive.writestr(entry, "{}")
    if " " not in found:
        assert format_of(tmp_path / name) == found
    elif not entries:
        # An archive of nothing has another beginning, and is what its name says.
        assert format_of(tmp_path / name) == "hdf5"
    else:
        with pytest.raises(OSError, match=found):
            format_of(tmp_path / name)
    (tmp_path / name).write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(OSError, match="holds no Zarr table" if "npz" not in name else "an archive cannot"):
        format_of(tmp_path / name)


@pytest.mark.parametrize("names, have, more", [
    ([], "it is empty", ""), (["a"], "it has a", ""), (list("edcba"), "it has a, b, c, d, e", ""),
    (list("fedcba"), "it has a, b, c, d, e, ...", ""),
    (["b.H5", "a.txt", "c.npy"], "it has a.txt, b.H5, c.npy", "*.H5"),
])  # fmt: skip
def test_a_folder_of_other_files_lists_five_and_says_how_tables_are_named(tmp_path, names, have, more):
    folder = tmp_path / "f"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(IsADirectoryError) as caught:
        format_of(folder)
    assert str(caught.value) == (
        f"{folder} is a folder that is neither a Zarr table nor holds .parquet files; {have}"
        + (f"; name them as '{folder}/{more}'" if more else "")
    )
    (folder / "zarr.json").mkdir()
    with pytest.raises(IsADirectoryError):
        format_of(folder)
    (folder / ".zgroup").touch()
    assert format_of(folder) == "zarr"


# Pieces that are missing


def test_missing_pieces_are_counted_and_refused_unless_it_is_allowed():
    check_whole("x", 0, 5, 0, allowed=False)
    check_whole("x", 5, 5, 0, allowed=True)
    for what in ({}, {"what": "sources"}):
        with pytest.raises(
            OSError, match=r"^1,234 of 5,678 (chunks|sources) of x are missing and would be read as -1: its"
        ) as told:
            check_whole("x", 1234, 5678, -1, allowed=False, **what)
        assert what.get("what", "chunks") in str(told.value)


def zarr_array(shape, chunks, store, path="", shards=None):
    return SimpleNamespace(shape=shape, chunks=chunks, shards=shards, store=store, path=path)


@pytest.mark.parametrize("path", ["", "a", "/a/b/"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "names, missing",
    [
        ([], 6),
        (["0.0", "2.1"], 4),
        (["0/0", "1/1", "2/0"], 3),
        (["c/0/0", "c/2/1"], 4),
        (["c.0.1"], 5),
        # Beyond the grid, of other axes, and other files.
        (["0.2", "3.0", "0", "0.0.0", "zarr.json", ".zarray", "x/0/0", "c/c/0/0", "0.0.part"], 6),
        ([f"{i}.{j}" for i in range(3) for j in range(2)], 0),
        ([f"{i}.{j}" for i in range(3) for j in range(2)] + ["c/0/0"], 0),
    ],
)
def test_chunks_of_zarr_are_counted_by_their_names(tmp_path, path, zipped, names, missing):
    """Five rows in chunks of two, and three columns in chunks of two, or in shards of them."""
    inner = f"{path.strip('/')}/" if path else ""
    if zipped:
        store = SimpleNamespace(
            _zf=SimpleNamespace(namelist=lambda: [*(inner + name for name in names), "other/0.0", "b/0.0"])
        )
    else:
        folder = tmp_path / inner
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        store = SimpleNamespace(root=str(tmp_path))
    assert of_zarr_array(zarr_array((5, 3), (2, 2), store, path)) == (missing, 6)
    assert of_zarr_array(zarr_array((5, 3), (1, 1), store, path, shards=(2, 2))) == (missing, 6)


def test_chunks_of_other_stores_are_not_counted(tmp_path):
    assert of_zarr_array(zarr_array((5, 3), (2, 2), SimpleNamespace())) == (0, 6)
    assert of_zarr_array(zarr_array((4, 4), (2, 2), SimpleNamespace(root=str(tmp_path / "none")))) == (0, 4)
    assert of_zarr_array(zarr_array((0, 4), (2, 2), SimpleNamespace())) == (0, 0)


def hdf5_dataset(shape=(10, 3), chunks=None, there=0, bytes_=0, external=None, virtual=None):
    return SimpleNamespace(
        shape=shape, chunks=chunks, external=external, is_virtual=virtual is not None,
        virtual_sources=lambda: [SimpleNamespace(file_name=name, dset_name=part) for name, part in virtual],
        id=SimpleNamespace(get_num_chunks=lambda: there, get_storage_size=lambda: bytes_),
        file={"a": 1, "b": 2},
    )  # fmt: skip


@pytest.mark.parametrize(
    "dataset, found",
    [
        (hdf5_dataset(None), (0, 0, "chunks")),
        (hdf5_dataset((0, 3)), (0, 0, "chunks")),
        (hdf5_dataset((1, 3), chunks=(1, 3)), (1, 1, "chunks")),
        (hdf5_dataset(chunks=(4, 2)), (6, 6, "chunks")),
        (hdf5_dataset(chunks=(4, 2), there=4), (2, 6, "chunks")),
        (hdf5_dataset(chunks=(4, 2), there=6), (0, 6, "chunks")),
        (hdf5_dataset(chunks=(4, 2), there=7), (0, 6, "chunks")),
        (hdf5_dataset(), (1, 1, "pieces")),
        (hdf5_dataset(bytes_=1), (0, 1, "pieces")),
        (hdf5_dataset(external=["x"]), (0, 1, "pieces")),
        (hdf5_dataset(bytes_=1, external=["x"]), (0, 1, "pieces")),
        (hdf5_dataset(virtual=[(".", "a"), (".", "c"), (".", "b")]), (1, 3, "sources")),
        (hdf5_dataset(virtual=[("x%b.h5", "c")]), (0, 1, "sources")),
    ],
)
def test_pieces_of_hdf5_are_counted(dataset, found):
    assert of_hdf5_dataset(dataset) == found


# Frames that pandas wrote


def pandas_dataset(kind, kinds=(), word=b"frame_table", **notes):
    n = 4
    rows = np.zeros(n, kind)
    for at, field in enumerate(rows.dtype.names):
        if rows.dtype[field].base.kind in "fiu":
            rows[field] = np.arange(rows[field].size).reshape(rows[field].shape) + 100 * at
    item = Stored(rows, **{f"{field}_kind": pickle.dumps(names) for field, names in dict(kinds).items()})
    item.parent = SimpleNamespace(
        attrs={"pandas_type": word, **{key: pickle.dumps(value) for key, value in notes.items()}}
    )
    return item


BLOCKS = [("index", "i8"), ("values_block_0", "f8", (2,)), ("values_block_1", "i4", (1,)), ("word", "S3")]


def test_blocks_of_a_frame_are_its_columns_in_its_order():
    item = pandas_dataset(
        BLOCKS,
        {"values_block_0": ["b", "d"], "values_block_1": ["a"]},
        non_index_axes=[(1, ["a", "b", "word", "d", "gone"])],
        levels=["word", "none"],
    )
    table = PandasTable(item)
    assert list(table.types) == ["a", "b", "word", "d", "index"] and table.index == {"index", "word"}
    assert table.types == {
        "a": (np.dtype("i4"), "int32"), "b": (np.dtype("f8"), "float64"), "d": (np.dtype("f8"), "float64"),
        "word": (None, "text"), "index": (np.dtype("i8"), "int64"),
    }  # fmt: skip
    rows = item.values
    found = table.fetch(["d", "index", "a"], 1, 3)
    assert list(found) == ["d", "index", "a"]
    np.testing.assert_array_equal(found["d"], rows["values_block_0"][1:3, 1])
    np.testing.assert_array_equal(found["a"], rows["values_block_1"][1:3, 0])
    np.testing.assert_array_equal(found["index"], rows["index"][1:3])


@pytest.mark.parametrize(
    "names, called",
    [
        (["b", "d"], ["b", "d"]),
        # Of another number, one name twice, or one that another column has.
        (["b"], ["values_block_0_0", "values_block_0_1"]),
        (["b", "d", "e"], ["values_block_0_0", "values_block_0_1"]),
        (["b", "b"], ["values_block_0_0", "values_block_0_1"]),
        (["b", "index"], ["values_block_0_0", "values_block_0_1"]),
        (None, ["values_block_0_0", "values_block_0_1"]),
    ],
)
def test_columns_without_names_of_their_own_are_numbered(names, called):
    kinds = {} if names is None else {"values_block_0": names}
    table = PandasTable(pandas_dataset(BLOCKS[:2], kinds))
    assert list(table.types) == ["index", *called]
    np.testing.assert_array_equal(table.fetch(called, 0, 2)[called[1]], [101, 103])


@pytest.mark.parametrize(
    "field, shape, names, called",
    [
        ("values_block_5", (), ["a"], "a"), ("values_block_5", (), ["a", "b"], "values_block_5"),
        ("values_block_5", (), [], "values_block_5"),
        ("own", (), ["a"], "own"), ("values_block_5", (2, 2), ["a"], "a"),
    ],
)  # fmt: skip
def test_a_field_of_one_column_has_its_name(field, shape, names, called):
    table = PandasTable(pandas_dataset([("index", "i8"), (field, "f4", shape)], {field: names}))
    assert table.types[called] == ((None if shape else np.dtype("f4")), "float32")
    assert table.fetch([called], 0, 3)[called].shape == (3, *shape)


@pytest.mark.parametrize(
    "word, names, taken",
    [
        (b"frame_table", "index", True), ("series_table", "index", True), ("frame", "index", False),
        (b"frame_table", "Index", False), ("", "index", False), (b"\xff_table", "index", True),
    ],
)  # fmt: skip
def test_a_table_of_pandas_is_told_by_its_word_and_its_index(word, names, taken):
    assert PandasTable.takes(pandas_dataset([(names, "i8")], word=word)) is taken
    bare = pandas_dataset([("index", "i8")])
    bare.parent.attrs = {}
    assert not PandasTable.takes(bare)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_in_a_list_are_read_and_nothing_else_is(protocol):
    for names in ([], ["a"], ["é", "b" * 300], [(1, ["a", 70000, -1, 2**40])], [("x", "y", "z"), ()]):
        flat = pd.core.common.flatten(names) if names else ()
        assert names_in(pickle.dumps(names, protocol)) == [str(name) for name in flat]
    for other in ([1.5], [print], [{"a": 1}], [None], [True] if protocol > 1 else [None]):
        assert names_in(pickle.dumps(other, protocol)) == []
    whole = pickle.dumps(["abc", "def"], protocol)
    for text in (None, "text", b"", whole[:-3], b"\xff", np.array([1])):
        assert names_in(text) == []


# Whether it is the same table

FACTS = {
    "kind": "array", "dataset": "X", "columns": ["a"], "shape": [5, 2], "dtype": "<f4", "size": 7, "files": "f",
    "probes": "p", "own": {"version": 1}, "path": "/x", "mtime_ns": 5,
}  # fmt: skip
WORDS = {
    "kind": "kind of source was array, is 0", "dataset": "dataset was X, is 0", "columns": "columns was ['a'], is 0",
    "shape": "shape was [5, 2], is 0", "dtype": "type of numbers was <f4, is 0",
    "size": "size of the file in bytes was 7, is 0",
    "files": "names or sizes of the files have changed", "probes": "contents of the rows looked at have changed",
    "own": "identity it gives itself was {'version': 1}, is 0", "path": None, "mtime_ns": None,
}  # fmt: skip


@pytest.mark.parametrize("key", FACTS)
@pytest.mark.parametrize("other", FACTS)
def test_each_fact_that_differs_is_told(key, other):
    changed = {**FACTS, key: 0, other: 0}
    wanted = [words for name, words in WORDS.items() if name in (key, other) and words]
    # What a table says of itself is long, and follows from the others where these differ.
    wanted = wanted[:1] if WORDS["own"] in wanted else wanted
    assert sorted(differences(FACTS, changed)) == sorted(wanted)
    without = {name: value for name, value in FACTS.items() if name != other}
    alone = [words for name, words in WORDS.items() if name == key and words and name != other]
    assert differences(without, {**FACTS, key: 0}) == alone
    assert differences({**FACTS, key: 0}, without) == [
        words.replace("was " + words.partition("was ")[2], f"was 0, is {FACTS[name]}") if " was " in words else words
        for name, words in WORDS.items()
        if name == key and words and name != other
    ]


@pytest.mark.parametrize(
    "name, own, begins",
    [
        ("map", "map", True), ("map.ledger", "map", True), (".map.x.part", "map", True), ("map2", "map", False),
        (".map", "map", False), ("..map.x", "map", False), ("other.map", "map", False), ("map.", "map", True),
    ],
)  # fmt: skip
def test_what_is_kept_beside_a_run_begins_with_its_name(name, own, begins):
    assert _begins(name, own) is begins


class Rows:
    """A table that says which rows were asked for."""

    def __init__(self, X, chunks=None):
        self.X, self.shape, self.dtype, self.asked = X, X.shape, X.dtype, []

    def read(self, start, stop):
        self.asked.append((start, stop))
        return self.X[start:stop]


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 11, 20, 1000])
@pytest.mark.parametrize("kind", ["f4", ">f4", "u1"])
def test_ten_rows_of_a_table_are_its_digest(n, kind):
    """The first, the last and eight between, each once and in order, in the order of bytes of this machine's files."""
    X = np.arange(3 * n).reshape(n, 3).astype(kind)
    rows = [n - 1 if i == 9 else (n - 1) * i // 9 for i in range(10)] if n else []
    rows = sorted(set(rows))
    digest = hashlib.sha256(
        b"".join(X[row : row + 1].astype(np.dtype(kind).newbyteorder("<")).tobytes() for row in rows)
    )
    for table in (Rows(X), Rows(np.asfortranarray(X)), Rows(X.repeat(2, 1)[:, ::2])):
        assert _probes(table) == digest.hexdigest()
        assert table.asked == [(row, row + 1) for row in rows]


def test_rows_that_lack_values_are_looked_at_as_they_are():
    class Gaps(Rows):
        def read(self, start, stop):
            raise ValueError("no value")

    class Filled(Gaps):
        def read_with_gaps(self, start, stop):
            return Rows.read(self, start, stop)

    X = np.arange(12.0).reshape(6, 2)
    X[3, 1] = np.nan
    assert _probes(Filled(X)) == _probes(Rows(X))
    with pytest.raises(ValueError, match=r"^rows 0 to 0 of .* could not be read: no value$"):
        _probes(Gaps(X))


def test_words_are_looked_at_column_by_column():
    class Words(Rows):
        def read_columns(self, start, stop):
            self.asked.append((start, stop))
            return {"a": self.X[start:stop, 0], "b": self.X[start:stop, 1].astype(float)}

    X = np.array([["x", 1], ["y", 2], [None, 3]], object)
    table = Words(X)
    first = _probes(table)
    assert table.asked == [(0, 1), (1, 2), (2, 3)]
    digest = hashlib.sha256()
    for word, number in X.tolist():
        digest.update(repr([[word], [float(number)]]).encode())
    assert first == digest.hexdigest()
    X[1, 0] = "z"
    assert _probes(Words(X)) != first
    # Numbers are read as rows, though they have names, too; objects without names are rows of objects.
    numbers = Words(np.arange(6.0).reshape(3, 2))
    assert _probes(numbers) == _probes(Rows(numbers.X))
    assert _probes(Rows(X)) == hashlib.sha256("".join(repr([row]) for row in X.tolist()).encode()).hexdigest()


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("closes", [True, False])
def test_a_table_is_looked_at_through_a_handle_of_its_own(opened, closes, monkeypatch):
    """Where it was opened here; it is closed again, and one that belongs to somebody else is not."""
    told, closed = [], []

    class Table(Rows):
        opened_here, chunks = opened, None

        def reopen(self):
            told.append("reopened")
            again = Table(self.X)
            again.first = False
            return again

    if closes:
        Table.close = lambda self: closed.append(getattr(self, "first", True))
    X = np.arange(6.0).reshape(3, 2)
    table = Table(X)
    before = identity.identity_of(table)
    asked = []
    real = identity.identity_of
    monkeypatch.setattr(identity, "identity_of", lambda t, **how: asked.append(how) or real(t, **how))
    assert identity.changes(table, before, without="out") == []
    assert asked == [{"without": "out"}]
    assert told == (["reopened"] if opened else []) and closed == ([False] if opened and closes else [])
    X[0] = 9
    assert identity.changes(table, before) == ["contents of the rows looked at have changed"]
    touched = {**real(table), "mtime_ns": 1}
    assert identity.changes(table, touched) == (
        ["its files were written to, though the rows looked at are the same"] if opened else []
    )
    # Sizes of a file that its owner may write to say nothing.
    assert bool(identity.changes(table, {**real(table), "size": 5})) == opened
    assert bool(identity.changes(table, {**real(table), "files": "f"})) == opened
    if not opened:
        del Table.opened_here
        assert identity.changes(table, real(table)) == [] and told == []


# Names of columns


@pytest.mark.parametrize(
    "labels, found",
    [
        ([], None), ([1, 2], None), (["a"], ["a"]), (["a", "b"], ["a", "b"]), ([("a", "b")], None),
        (["a", 1], "('a', 1)"), ([1, "a"], "('a', 1)"), ([1, "a", 2, "b"], "('a', 1)"),
        (["a", "b", None], "('a', None)"),
    ],
)  # fmt: skip
def test_labels_are_names_where_all_are_texts(labels, found):
    if isinstance(found, str):
        with pytest.raises(TypeError) as caught:
            _labels(labels)
        assert str(caught.value) == (
            f"X has columns whose names are strings and others {found}; make all of them strings: "
            "X.columns = X.columns.astype(str)"
        )
    else:
        assert _labels(labels) == found


def test_names_in_messages_are_ten_at_most():
    names = [f"n{at}" for at in range(12)]
    assert names_listed(names[:10]) == ", ".join(map(repr, names[:10])) and names_listed([]) == ""
    assert names_listed(names[:11]) == f"{names_listed(names[:10])} and 1 more"
    assert names_listed(names) == f"{names_listed(names[:10])} and 2 more"


@pytest.mark.parametrize(
    "own, names, found",
    [
        (["a", "b"], ["a", "b"], [0, 1]),
        (["a", "a"], ["a", "a"], [0, 1]),
        (["c", "a", "b"], ["a", "b"], [1, 2]),
        (["a", "b", "b"], ["a"], [0]),
        ([], [], []),
        (["a"], [], []),
        (["x", "b"], ["a", "b"], "X lacks 1 of the 2 feature names of the fit: 'a'; it has 'x', 'b'"),
        (["aa", "b"], ["a", "b"], "X lacks 1 of the 2 feature names of the fit: 'a'; is 'a' now 'aa'?"),
        # Names that the fit has, too, are none that a column has now.
        (["ab", "x"], ["ac", "ab", "x"], "X lacks 1 of the 3 feature names of the fit: 'ac'; it has 'ab', 'x'"),
        (["a", "b", "a"], ["a", "b"], "X has several columns of one name ('a'), so"),
        (["b", "a"], ["a", "b", "a"], "the fit has several columns of one name ('a'), so"),
        (["b", "a", "b", "a"], ["a", "b"], "X has several columns of one name ('a', 'b'), so"),
    ],
)
def test_columns_are_found_by_name_or_refused(own, names, found):
    if isinstance(found, str):
        with pytest.raises(ValueError) as caught:
            order_of(own, names, "X")
        assert str(caught.value).startswith(found)
        return
    got = order_of(own, names, "X")
    assert got.tolist() == found and got.dtype == np.intp
    assert order_of(tuple(own), tuple(names), "X").tolist() == found


@pytest.mark.parametrize("more", [False, True])
def test_some_columns_of_a_source_in_another_order(more):
    """What a source has beside its rows is asked for of the columns that were chosen."""
    X = np.ma.array(np.arange(15.0).reshape(5, 3), mask=np.arange(15).reshape(5, 3) == 7)

    class Named(Rows):
        chunks, kind, row_bytes, column_names = (2, 3), "a kind", 99, ["a", "b", "c"]

        def reopen(self):
            return type(self)(self.X)

        def __repr__(self):
            return "table"

    class Much(Named):
        def read_some(self, start, stop, columns):
            return self.X[start:stop][:, columns]

        def read_with_gaps(self, start, stop):
            return self.X[start:stop].filled(np.nan)

        def read_columns(self, start, stop):
            return {name: self.X[start:stop, j] for j, name in enumerate("abc")}

    table = LinedUp((Much if more else Named)(X), np.array([2, 0]), ["c", "a"])
    assert (table.shape, table.chunks, table.kind, table.row_bytes) == ((5, 2), (2, 2), "a kind", 99)
    assert (
        repr(table) == "2 columns of table" and repr(LinedUp(table.source, np.array([2, 0, 1]), list("cab"))) == "table"
    )
    for one in (table, table.reopen()):
        for start, stop in ((0, 5), (1, 4), (2, 2)):
            np.testing.assert_array_equal(one.read(start, stop), X[start:stop][:, [2, 0]])
            found = one.read_columns(start, stop)
            assert list(found) == ["c", "a"]
            np.testing.assert_array_equal(found["a"], X[start:stop, 0])
            if more:
                np.testing.assert_array_equal(one.read_some(start, stop, np.array([1])), X[start:stop][:, [0]])
                np.testing.assert_array_equal(one.read_with_gaps(start, stop), X.filled(np.nan)[start:stop][:, [2, 0]])
    if not more:
        assert not hasattr(table, "read_some") and not hasattr(table, "read_with_gaps")
    assert not hasattr(table, "__secret__") and table.X is X
    plain = type("Plain", (Rows,), {"chunks": None})(X)
    assert LinedUp(plain, np.array([0]), ["a"]).row_bytes == 24 and LinedUp(plain, np.array([0]), ["a"]).chunks is None
    assert LinedUp(plain, np.array([0]), ["a"]).kind == "Plain"
    LinedUp(plain, np.array([0]), ["a"]).close()
    assert by_name(plain) is plain
    named = by_name(Named(X))
    assert isinstance(named, LinedUp) and named.column_names == ["a", "b", "c"] and named.shape == (5, 3)
    much = Much(X)
    assert by_name(much) is much


def test_a_table_of_chosen_columns_is_closed_with_its_source():
    closed = []
    source = Rows(np.zeros((2, 2)))
    source.chunks, source.close = None, lambda: closed.append(1)
    with LinedUp(source, np.array([0]), ["a"]):
        pass
    assert closed == [1]


def test_rows_wider_than_a_block_come_in_several(monkeypatch):
    monkeypatch.setattr("tsne_ooc.io.named.block_rows", lambda source: 2)
    X = np.arange(15.0).reshape(5, 3)
    source = Rows(X)
    source.chunks = None
    table = LinedUp(source, np.array([2, 1]), ["c", "b"])
    np.testing.assert_array_equal(table.read(0, 5), X[:, [2, 1]])
    assert source.asked == [(0, 2), (2, 4), (4, 5)]
    source.X = pd.DataFrame(X)
    found = table.read(1, 5)
    assert isinstance(found, pd.DataFrame) and found.to_numpy().tolist() == X[1:5][:, [2, 1]].tolist()


def item_of(root, name, shape=(4, 2)):
    made = Stored(np.zeros(shape), name=name)
    made.file = root
    return made


def variables(names=("u", "v"), **how):
    return Group({"_index": Stored(list(names))}, **{"_index": "_index", **how})


@pytest.mark.parametrize(
    "name, found",
    [
        ("/X", ["u", "v"]), ("X", ["u", "v"]), ("/raw/X", ["r", "s"]), ("/layers/counts", ["u", "v"]),
        ("/mod/layers/c", ["m", "n"]),
        ("/mod/X", ["m", "n"]), ("/layers", None), ("/Y", None), ("/obsm/X_pca", None), ("/gone/X", None),
        ("", None), (None, None),
        ("/layers/deep/c", None), ("/X/layers", None),
    ],
)  # fmt: skip
def test_variables_lie_beside_the_tables_of_anndata(name, found):
    root = Group({"var": variables(), "raw/var": variables("rs"), "mod/var": variables("mn")})
    assert _variables(item_of(root, name)) == found


class AsText(Stored):
    """Bytes, as h5py has them, which may be asked for as text."""

    def asstr(self):
        return Stored([cell.decode() + "!" for cell in self.values.tolist()])


@pytest.mark.parametrize(
    "var, found",
    [
        (variables(), ["u", "v"]), (Group({"i": Stored([b"\xc3\xa9", b"b"])}, _index="i"), ["é", "b"]),
        (Group({"i": AsText([b"a", b"b"])}, _index="i"), ["a!", "b!"]),
        (Group({"i": AsText(np.array([1, 2]))}, _index="i"), ["1", "2"]),
        (Group({"i": Group({"values": Stored(["a", "b"]), "mask": Stored([0, 0])})}, _index="i"), ["a", "b"]),
        (Stored(np.array([(b"a", 1), (b"b", 2)], [("index", "S1"), ("n", "i4")])), ["a", "b"]),
        (Stored(np.array([(b"a", 1)], [("other", "S1"), ("n", "i4")])), None), (Stored(np.zeros(3)), None),
        (Group({}, _index="i"), None),
        (Group({"i": Stored(["a"])}), None), (Group({"i": Group()}, _index="i"), None),
    ],
)  # fmt: skip
def test_names_of_variables_in_all_their_layouts(var, found):
    assert _variables(item_of(Group({"var": var}), "/X")) == found


@pytest.mark.parametrize(
    "parts, tenx, found",
    [
        ({"features/id": Stored(["a", "b"]), "genes": Stored(["x", "y"])}, True, ["a", "b"]),
        ({"genes": Stored([b"x", b"y"])}, True, ["x", "y"]),
        ({"features/id": Stored([["a"], ["b"]]), "genes": Stored(["x", "y"])}, True, ["x", "y"]),
        ({"features": Group()}, True, None),
        ({"row_attrs/Accession": Stored(["a", "b"]), "row_attrs/Gene": Stored(["x", "y"])}, False, ["a", "b"]),
        ({"row_attrs/Gene": Stored(["x", "y"])}, False, ["x", "y"]),
        ({"row_attrs/Accession": Stored("a"), "row_attrs/Gene": Stored(["x"])}, False, ["x"]),
        ({"genes": Stored(["x", "y"])}, False, None), ({}, False, None),
    ],
)  # fmt: skip
def test_genes_have_identifiers_or_symbols(parts, tenx, found):
    """Symbols are not unique, and taken only where nothing else is there."""
    ten = {part: Stored([1]) for part in ("data", "indices", "indptr", "shape", "barcodes")}
    if tenx:
        assert _genes(Group({**ten, "features": Group(), **parts})) == found
    else:
        assert _genes(item_of(Group(parts), "/matrix")) == found


@pytest.mark.parametrize("stop", [0, 2, 3])
@pytest.mark.parametrize("kind", ["f4", "f2", "i2", ">f8", "?"])
def test_sparse_rows_have_one_type_be_there_any_or_none(kind, stop):
    matrix = sp.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float64))
    table = CsrTable(matrix.data.astype(kind), matrix.indices, matrix.indptr, (3, 3), "X")
    wanted = np.float32 if kind == "f2" else np.dtype(kind).newbyteorder("=")
    assert table.dtype == wanted
    for found in (table[:stop], table[3:stop], table.some(0, stop, np.array([1, 0]))):
        assert found.dtype == wanted and type(found) is np.ndarray
    assert table.some(2, 2, np.array([1, 0])).shape == (0, 2) and table[3:1].shape == (0, 3)


def test_a_table_of_polars_is_put_in_order_by_numbers():
    """What has columns and types, but no rows by number, takes a list of numbers of columns."""

    class Polars:
        columns, dtypes, shape = ["a", "b", "c"], [1, 1, 1], (2, 3)

        def __getitem__(self, at):
            return at

    with pytest.warns(UserWarning, match=r"^this has columns that the fit did not have, which are left out: 'c'$"):
        rows, order = line_up(Polars(), ["b", "a"], "this")
    assert rows == slice(None) and order == [1, 0] and type(order) is list
