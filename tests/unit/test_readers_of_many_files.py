"""What is read of files and of many files together: names, orders, parts, and files that differ."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from tsne_ooc.io import files, memory
from tsne_ooc.io.files import FilesSource, _home
from tsne_ooc.io.memory import NpySource
from tsne_ooc.io.urls import Url

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
