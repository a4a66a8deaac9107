"""What is found in a file of many arrays, and what is said of it: tables and near names, and kinds of files."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from stored import Group, Stored, Timed

from tsne_ooc.io.contents import Contents, is_compound, locate
from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.kinds import READ, format_of
from tsne_ooc.io.meant import FieldTable


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
