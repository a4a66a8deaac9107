"""Identities beyond the contract: what is told, what decides, what is for information."""

import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc.io import differences, identity_of, open_source
from tsne_ooc.io.identity import changes


def test_the_example_of_the_documentation():
    old = identity_of(np.zeros((5, 2), np.float32))
    assert differences(old, identity_of(np.zeros((6, 2), np.float32))) == [
        "shape was [5, 2], is [6, 2]",
        "contents of the rows looked at have changed",
    ]


def test_what_is_told_of_a_file(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["a"] = file["b"] = np.zeros((5, 2), ">f8")
    with open_source(tmp_path / "X.h5", dataset="a") as a, open_source(tmp_path / "X.h5", dataset="b") as b:
        told, other = identity_of(a), identity_of(b)
    facts = (tmp_path / "X.h5").stat()
    assert told["kind"] == "Hdf5Source" and told["dataset"] == "/a" and told["columns"] is None
    assert told["path"] == str((tmp_path / "X.h5").resolve())
    assert told["shape"] == [5, 2] and told["dtype"] == ">f8"
    assert told["size"] == facts.st_size and told["mtime_ns"] == facts.st_mtime_ns
    assert differences(told, other) == ["dataset was /a, is /b"]


def test_a_file_that_grows_is_another(tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((5, 2)))
    old = identity_of(open_source(tmp_path / "X.npy"))
    with (tmp_path / "X.npy").open("ab") as file:
        file.write(b"more")
    assert differences(old, identity_of(open_source(tmp_path / "X.npy"))) == [
        f"size of the file in bytes was {old['size']}, is {old['size'] + 4}"
    ]


def test_the_same_bytes_in_either_order_are_the_same_contents():
    X = np.random.default_rng(0).normal(size=(30, 4))
    assert identity_of(X)["probes"] == identity_of(X.astype(">f8"))["probes"]


def test_ten_rows_are_looked_at():
    class Watched:
        shape, dtype = (1000, 3), np.dtype("f4")

        def __init__(self):
            self.read = []

        def __getitem__(self, rows):
            self.read.append((rows.start, rows.stop))
            return np.zeros((rows.stop - rows.start, 3), np.float32)

    watched = Watched()
    identity_of(watched)
    assert [stop - start for start, stop in watched.read] == [1] * 10
    assert watched.read[0] == (0, 1) and watched.read[-1] == (999, 1000)
    assert max(np.diff([start for start, _ in watched.read])) <= 111


def test_a_reader_may_say_more_of_itself():
    class Database:
        shape, dtype = (2, 2), np.dtype("f4")

        def __init__(self, version):
            self.version = version

        def __getitem__(self, rows):
            return np.zeros((rows.stop - rows.start, 2), np.float32)

        def identity(self):
            return {"version": self.version}

    first, second = identity_of(Database(1)), identity_of(Database(2))
    assert first["kind"] == "Database"
    assert differences(first, second) == ["identity it gives itself was {'version': 1}, is {'version': 2}"]


def test_an_empty_table_has_one():
    assert identity_of(np.zeros((0, 3)))["shape"] == [0, 3]


def test_facts_that_only_one_has_are_not_compared():
    told = identity_of(np.zeros((5, 2)))
    assert differences({"shape": [5, 2]}, told) == []
    assert differences(told, {"shape": [5, 2]}) == []


@pytest.mark.parametrize("row", [0, 55, 99])
def test_a_row_that_cannot_be_looked_at_is_named(row):
    class Table:
        shape, dtype, chunks = (100, 3), np.dtype("f4"), None

        def read(self, start, stop):
            if start <= row < stop:
                raise OSError("the disk is gone")
            return np.zeros((stop - start, 3), "f4")

        def reopen(self):
            return self

        def __repr__(self):
            return "this table"

    with pytest.raises(OSError, match=rf"^rows {row} to {row} of this table could not be read: the disk is gone$"):
        identity_of(Table())


def test_what_lies_beside_a_run_is_none_of_the_table_s(tmp_path):
    """A run may be written into the folder of its table: its ledger, its lock and its parts are left out, too."""
    pytest.importorskip("pyarrow")
    folder = tmp_path / "table"
    folder.mkdir()
    pd.DataFrame(np.ones((5, 2)), columns=["a", "b"]).to_parquet(folder / "x.parquet")
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", data=np.ones((5, 2)))
    for path in (folder, tmp_path / "x.zarr"):
        run = path / "run"
        with open_source(path) as table:
            before = identity_of(table, without=run)
            for name in ("run", ".run.abc.part", "run.lock", "run.partitions"):
                (path / name).mkdir()
                (path / name / "file").write_bytes(b"anything")
            (path / "run.json").write_bytes(b"{}")
            assert identity_of(table, without=run) == {
                **before,
                "mtime_ns": identity_of(table, without=run)["mtime_ns"],
            }
            assert changes(table, before, without=run) == [] or path == folder
            if path != folder:
                # All of the folder is the table: what else comes to lie there is seen.
                (path / "runner").write_bytes(b"another")
                assert identity_of(table, without=run)["files"] != before["files"]
                assert identity_of(table)["files"] != before["files"]


def test_a_table_that_is_gone_is_told_in_one_line(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5, 2)))
    with open_source(tmp_path / "x.npy") as table:
        before = identity_of(table)
        assert changes(table, before) == []
        (tmp_path / "x.npy").unlink()
        assert changes(table, before) == [
            f"it cannot be read any more (there is no file {tmp_path.resolve() / 'x.npy'})"
        ]

    class Silent:
        shape, dtype, chunks, opened_here = (5, 2), np.dtype("f8"), None, True

        def read(self, start, stop):
            return np.ones((stop - start, 2))

        def reopen(self):
            raise KeyError

    assert changes(Silent(), before) == ["it cannot be read any more (KeyError)"]


class Versioned:
    """A source of one's own that tells its version."""

    shape, dtype, chunks, opened_here = (5, 2), np.dtype("f8"), None, True

    def __init__(self, version):
        self.version = version

    def read(self, start, stop):
        return np.ones((stop - start, 2))

    def reopen(self):
        return self

    def identity(self):
        return self.version


@pytest.mark.parametrize("before, now, told", [
    ({"v": 1}, {"v": 1}, []), ({"v": 1}, {"v": 2}, ["identity it gives itself was {'v': 1}, is {'v': 2}"]),
    (None, None, []), ("a", "b", ["identity it gives itself was a, is b"]),
])  # fmt: skip
def test_what_a_source_says_about_itself_is_compared(before, now, told):
    source = Versioned(before)
    facts = identity_of(source)
    assert changes(source, facts) == []
    source.version = now
    assert changes(source, facts) == told == differences(facts, identity_of(source))


def test_what_cannot_be_told_from_another_is_the_same_in_one_process():
    """In the next process nobody can say."""
    import threading

    source = Versioned({"lock": threading.Lock()})
    facts = identity_of(source)
    assert changes(source, facts) == []
    (line,) = differences(facts, identity_of(source))
    assert line.startswith("identity it gives itself.lock holds ") and line.endswith("cannot be told from another")
    source.version = {"lock": threading.Lock()}
    assert changes(source, facts) == [line]


def test_a_table_of_its_owner_is_not_opened_anew():
    """It may be open for writing, or in memory alone."""

    class Owned(Versioned):
        opened_here = False

        def reopen(self):
            raise AssertionError("its owner has it open")

        def close(self):
            raise AssertionError("its owner closes it")

    source = Owned("a")
    facts = identity_of(source)
    assert changes(source, facts) == []
    # What is written to its file meanwhile is its owner's business.
    assert changes(source, {**facts, "size": 7, "files": "abc", "mtime_ns": 3}) == []
    assert changes(source, {**facts, "shape": [6, 2]}) == ["shape was [6, 2], is [5, 2]"]


def test_other_files_of_the_same_folder_are_no_part_of_a_table(tmp_path):
    """An array of a group, and a list of files, are what they are read from, whatever lies beside them."""
    zarr = pytest.importorskip("zarr")
    group = zarr.create_group(tmp_path / "x.zarr")
    for name in ("X", "Y"):
        group.create_array(name, data=np.ones((5, 2)), chunks=(5, 2))
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", np.ones((5, 2)))
    for given, dataset in ((tmp_path / "x.zarr", "X"), ([tmp_path / "a.npy", tmp_path / "b.npy"], None)):
        with open_source(given, dataset=dataset) as table:
            before = identity_of(table)
            (tmp_path / "x.zarr" / "Y" / "more").write_bytes(b"more of another array")
            group["Y"][0, 0] = 7
            np.save(tmp_path / "c.npy", np.ones((50, 2)))
            (tmp_path / "notes.txt").write_text("mine")
            assert identity_of(table) == before and changes(table, before) == []
    # What they are read from counts, though no row that is looked at differs.
    with open_source(tmp_path / "x.zarr", dataset="X") as table:
        before = identity_of(table)
        (tmp_path / "x.zarr" / "X" / "more").write_bytes(b"more of this array")
        assert changes(table, before) == [
            f"size of the file in bytes was {before['size']}, is {before['size'] + 18}",
            "names or sizes of the files have changed",
        ]


@pytest.fixture
def folder(tmp_path):
    """A table of several files in one folder."""
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", data=np.arange(20.0).reshape(10, 2), chunks=(2, 2))
    return tmp_path / "x.zarr"


def test_the_order_in_which_a_disk_lists_files_is_no_matter(folder, monkeypatch):
    walk = os.walk
    with open_source(folder) as table:
        before = identity_of(table)
        monkeypatch.setattr(os, "walk", lambda place: list(walk(place))[::-1])
        assert identity_of(table) == before


def test_the_time_of_a_folder_is_that_of_its_latest_file(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) > 3
    for late in (files[0], files[-1], files[2]):
        for number, path in enumerate(files):
            os.utime(path, ns=(10**18, 10**18 + number))
        os.utime(late, ns=(10**18, 10**18 + 1000))
        with open_source(folder) as table:
            assert identity_of(table)["mtime_ns"] == 10**18 + 1000


def test_a_run_is_left_out_however_its_folder_is_named(folder, monkeypatch):
    with open_source(folder) as table:
        before = identity_of(table)
        (folder / "run").mkdir()
        (folder / "run" / "file").write_bytes(b"anything")
        monkeypatch.chdir(folder)
        for run in (Path("run"), Path("../x.zarr/run"), folder / "run"):
            assert identity_of(table, without=run)["files"] == before["files"]
        assert identity_of(table)["files"] != before["files"]
