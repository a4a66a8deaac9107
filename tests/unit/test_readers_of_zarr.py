"""What readers of Zarr decide by themselves, and what comes back of what is written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stored import Stored

from tsne_ooc.io import source
from tsne_ooc.io import zarr as zarr_files
from tsne_ooc.io.urls import Url

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
