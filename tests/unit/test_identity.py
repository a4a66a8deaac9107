"""Identities beyond the contract: what is told, what decides, what is for information."""

import h5py
import numpy as np

from tsne_ooc.io import differences, identity_of, open_source


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
