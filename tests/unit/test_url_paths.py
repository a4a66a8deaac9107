"""URLs as paths: their parts, what is behind them, and bytes of their files, against paths and files of the disk."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import weakref

import numpy as np
import pytest

from tsne_ooc.io import open_source, url_files
from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.url_files import UrlFile
from tsne_ooc.io.urls import Url, facts_of, handle, is_url, path_of

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    """A store of files that is in memory, and empty again afterwards."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


@pytest.mark.parametrize(
    "given, url",
    [
        ("https://x.org/a.h5", True), ("s3://b/k", True), ("S3://b/k", True), ("simplecache::https://x/y", True),
        ("a+b.c-d://x", True), ("memory://x", True), ("a/b", False), ("/a", False), ("C:\\x", False), ("C:/x", False),
        ("://x", False), ("1s://x", False), ("x:/y", False), ("a b://c", False), (b"s3://x", False), (None, False),
        ("./https://x", False), ("::https://x", False),
    ],
)  # fmt: skip
def test_what_is_a_url(given, url):
    assert is_url(given) == url
    if isinstance(given, str):
        assert isinstance(path_of(given), Url) == url and str(path_of(given)) == (given if url else str(path_of(given)))
    assert is_url(Url("s3://x")) and path_of(Url("s3://x")) == Url("s3://x")


@pytest.mark.parametrize(
    "url, name, suffix, parent, protocol",
    [
        ("https://x.org/d/a.tar.gz", "a.tar.gz", ".gz", "https://x.org/d", "https"),
        ("https://x.org/d/a.h5?key=1/2.npy", "a.h5", ".h5", "https://x.org/d/a.h5?key=1", "https"),
        ("http://x.org/d/a.h5#part", "a.h5", ".h5", "http://x.org/d", "http"),
        ("s3://bucket/d/a?b.npy", "a?b.npy", ".npy", "s3://bucket/d", "s3"),
        ("s3://bucket/d.zarr/", "d.zarr", ".zarr", "s3://bucket", "s3"),
        ("simplecache::S3://bucket/a", "a", "", "simplecache::S3://bucket", "s3"),
        ("memory://x", "x", "", "memory:/", "memory"),
    ],
)
def test_the_parts_of_a_url(url, name, suffix, parent, protocol):
    found = Url(url)
    assert (found.name, found.suffix, str(found.parent), found.protocol) == (name, suffix, parent, protocol)
    assert str(found) == os.fspath(found) == url and repr(found) == f"Url({url!r})" and found.resolve() is found
    assert str(found / "a") == url.rstrip("/") + "/a" and str(found / "") == url
    again = pickle.loads(pickle.dumps(found))
    assert again == found and hash(again) == hash(found) and found != Url(url + "x") and found != url


def test_what_is_behind_a_url(memory):
    memory.pipe({"/d/a.npy": b"123", "/d/deep/b.npy": b"12345", "/d/x.zarr/zarr.json": b"{}", "/d/a10.npy": b""})
    folder = Url("memory://d")
    assert folder.exists() and folder.is_dir() and not folder.is_file()
    file = folder / "a.npy"
    assert file.exists() and file.is_file() and not file.is_dir()
    nothing = folder / "none.npy"
    assert not nothing.exists() and not nothing.is_file() and not nothing.is_dir()
    found = {one.name: one for one in folder.iterdir()}
    assert set(found) == {"a.npy", "a10.npy", "deep", "x.zarr"}
    assert {name: one.is_dir() for name, one in found.items()} == {
        "a.npy": False, "a10.npy": False, "deep": True, "x.zarr": True,
    }  # fmt: skip
    assert sorted(Url("memory://d/*.npy").glob()) == ["memory:///d/a.npy", "memory:///d/a10.npy"]
    with pytest.raises(FileNotFoundError, match=r"^there is no file memory://d/none\.npy$"):
        nothing.open()
    assert handle(file).read() == b"123"


def test_facts_of_files_are_asked_anew(memory):
    """Of one file its own, of several their sizes in all and their names, of a folder none."""
    memory.pipe({"/d/a": b"123", "/d/b": b"12345"})
    home, a, b = Url("memory://d"), Url("memory://d/a"), Url("memory://d/b")
    first = a.facts()
    assert first["size"] == 3 and first["files"] is None and first["mtime_ns"] is None and first["version"]
    memory.pipe({"/d/a": b"1234"})
    assert a.facts()["size"] == 4 and a.facts()["version"] != first["version"]
    assert facts_of(a, [a]) == a.facts()
    both = facts_of(home, [a, b])
    assert both["size"] == 9 and both == facts_of(home, [b, a]) | {"version": both["version"]}
    assert both["files"] != facts_of(home, [a])["files"]
    memory.pipe({"/d/b": b"54321"})
    again = facts_of(home, [a, b])
    assert (again["size"], again["files"]) == (9, both["files"]) and again["version"] != both["version"]
    # Names count within their folder.
    memory.pipe({"/e/a": b"1234", "/e/b": b"12345"})
    moved = facts_of(Url("memory://e/"), [Url("memory://e/a"), Url("memory://e/b")])
    assert (moved["size"], moved["files"]) == (9, both["files"])
    nothing = {"mtime_ns": None, "version": None}
    assert home.facts() == nothing == facts_of(home, [a, home]) == Url("memory://none").facts()


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_bytes_of_a_url_are_those_of_its_file(memory, monkeypatch, block):
    """Whatever is asked for, in whichever order, and beyond the end too."""
    monkeypatch.setattr("tsne_ooc.io.url_files.BLOCK", block)
    data = np.random.default_rng(0).bytes(300)
    memory.pipe({"/x": data})
    file, twin = Url("memory://x").open(), io.BytesIO(data)
    assert isinstance(file, UrlFile) and file.readable() and file.seekable() and repr(file) == "memory://x"
    rng = np.random.default_rng(block)
    for _ in range(60):
        whence = int(rng.integers(0, 3))
        offset = int(
            rng.integers(0, 320) if whence == 0 else rng.integers(-20, 21) if whence == 1 else rng.integers(-300, 20)
        )
        if whence == 1 and twin.tell() + offset < 0:
            continue
        assert file.seek(offset, whence) == twin.seek(offset, whence) and file.tell() == twin.tell()
        size = int(rng.integers(0, 90))
        assert file.read(size) == twin.read(size) and file.tell() == twin.tell()
    assert file.seek(290) == 290 and file.read() == data[290:]
    numbers = np.zeros(10, "u2")
    file.seek(3)
    assert file.readinto(numbers) == 20 and numbers.tobytes() == data[3:23]
    file.close()
    file.close()
    assert file.closed


def test_a_file_that_became_shorter_is_not_read_as_if_it_were_not(memory):
    memory.pipe({"/x": bytes(100)})
    file = Url("memory://x").open()
    memory.pipe({"/x": bytes(60)})
    with pytest.raises(Unreached, match=r"^the server gave 60 of 100 bytes, at byte 0 of 100$"):
        file.read(10)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f4", ">f8", "u1"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (13, 4)])
def test_an_array_behind_a_url(memory, tmp_path, order, kind, shape):
    """In either order of its numbers, cut short by a byte, and with some behind its end."""
    X = np.asarray(np.arange(np.prod(shape)).reshape(shape), kind, order=order)
    np.save(tmp_path / "x.npy", X)
    data = (tmp_path / "x.npy").read_bytes()
    memory.pipe({"/x.npy": data, "/more.npy": data + b"more", "/less.npy": data[:-1]})
    for name in ("x", "more"):
        with open_source(f"memory://{name}.npy") as source, open_source(tmp_path / "x.npy") as disk:
            assert source.shape == shape == disk.shape and source.dtype == disk.dtype == X.dtype
            for one in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
                for start in range(shape[0] + 1):
                    np.testing.assert_array_equal(one.read(start, shape[0]), X[start:])
                assert one.kind == "NpySource" and one.opened_here
                one.close()
    if X.size:
        with pytest.raises(ValueError) as caught:
            open_source("memory://less.npy")
        assert str(caught.value) == (
            f"memory://less.npy is not a whole .npy file of numbers: it ends before byte {len(data):,}"
        )


@pytest.mark.parametrize("how", ["columns", "dataset"])
def test_a_single_array_has_nothing_to_choose(memory, how):
    np.save(file := io.BytesIO(), np.ones((3, 2)))
    memory.pipe({"/x.npy": file.getvalue()})
    with pytest.raises(ValueError, match="cannot choose"):
        open_source("memory://x.npy", **{how: "a"})


HTTP = "https://x.org/d"


@pytest.mark.parametrize(
    "url, answers, folder",
    [
        # A store that has folders says so, and what it calls a file is one, whatever lies under its name.
        ("s3://b/d", {"s3://b/d": {"type": "directory"}}, True),
        ("s3://b/d", {"s3://b/d": {"type": "file"}, "s3://b/d/zarr.json": {}}, False),
        ("s3://b/d.zarr", {"s3://b/d.zarr": {"type": "file"}, "s3://b/d.zarr/.zgroup": {}}, False),
        # A server of HTTP may have no word for a folder, or a page: then what is in it tells.
        (HTTP, {}, False),
        (HTTP, {f"{HTTP}/zarr.json": {"type": "file"}}, True),
        (HTTP, {f"{HTTP}/.zarray": {"type": "file"}}, True),
        (HTTP, {f"{HTTP}/.zgroup": {"type": "file"}}, True),
        (HTTP, {f"{HTTP}/.zattrs": {"type": "file"}}, False),
        (HTTP, {HTTP: {"type": "file"}, f"{HTTP}/.zgroup": {"type": "file"}}, True),
        (HTTP, {HTTP: {"type": "file"}}, False),
        (f"{HTTP}.ZARR", {f"{HTTP}.ZARR": {"type": "file"}, f"{HTTP}.ZARR/zarr.json": {"type": "file"}}, True),
        (f"{HTTP}.h5", {f"{HTTP}.h5": {"mimetype": "text/html"}, f"{HTTP}.h5/zarr.json": {"type": "file"}}, True),
        (f"{HTTP}.h5", {f"{HTTP}.h5": {"mimetype": "text/plain"}, f"{HTTP}.h5/zarr.json": {"type": "file"}}, False),
        (f"{HTTP}.h5", {f"{HTTP}.h5/zarr.json": {"type": "file"}}, True),
        # The file that says what a folder is, is none.
        (f"{HTTP}/zarr.json", {f"{HTTP}/zarr.json": {"mimetype": "text/html"}, f"{HTTP}/zarr.json/.zgroup": {}}, False),
    ],
)
def test_what_servers_say_of_folders(url, answers, folder, monkeypatch):
    monkeypatch.setattr(Url, "_info", lambda self: answers.get(str(self)))
    found = Url(url)
    assert found.is_dir() == folder
    assert found.exists() == (folder or url in answers)
    assert found.is_file() == (url in answers and not folder)


def test_a_plain_file_is_asked_for_by_its_own_name_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(Url, "_info", lambda self: asked.append(str(self)) or {"type": "file"})
    assert not Url("https://x.org/X.npy").is_dir() and asked == ["https://x.org/X.npy"]


def test_a_folder_may_be_listed_among_what_is_in_it(monkeypatch):
    """What the list says of a file is not asked for once more."""
    asked = []

    class Store:
        @staticmethod
        def ls(path, detail):
            assert path == "b/d/" and detail
            kinds = {"b/d": "directory", "b/d/deep/": "directory", "b/d/a.npy": "file", "b/d/d": "file"}
            return [{"name": name, "type": kind, "size": 7} for name, kind in kinds.items()]

    monkeypatch.setattr(Url, "filesystem", lambda self, **how: asked.append(str(self)) or (Store, "b/d/"))
    found = list(Url("s3://b/d/").iterdir())
    assert [str(one) for one in found] == ["s3://b/d/deep", "s3://b/d/a.npy", "s3://b/d/d"]
    assert [one.is_dir() for one in found] == [True, False, False] and asked == ["s3://b/d/"]


def test_an_open_file_keeps_as_many_parts_as_it_may(memory, monkeypatch):
    """Of which the one that was longest not asked for goes first, and is got again."""
    monkeypatch.setattr(url_files, "BLOCK", 10)
    monkeypatch.setattr(url_files, "BLOCKS", 3)
    memory.pipe({"/x": bytes(range(60))})
    file, got = Url("memory://x").open(), []
    real = type(memory).cat_file
    monkeypatch.setattr(
        type(memory), "cat_file", lambda self, path, start, end: got.append(start) or real(self, path, start, end)
    )
    for at in (0, 10, 20, 0, 30, 0, 20, 10):
        file.seek(at)
        assert file.read(10) == bytes(range(at, at + 10))
    assert got == [0, 10, 20, 30, 10]
    file.close()


def test_what_is_open_when_python_ends_is_closed_tables_before_their_files(memory, monkeypatch):
    """Each of them, though another one cannot be closed."""
    closed = []

    class Table:
        def __init__(self, name):
            self.name = name

        def close(self):
            closed.append(self.name)
            raise OSError("it is gone")

    monkeypatch.setattr(url_files, "_tables", weakref.WeakSet())
    monkeypatch.setattr(url_files, "_files", weakref.WeakSet())
    memory.pipe({"/x": b"12", "/y": b"34"})
    files = [Url("memory://x").open(), Url("memory://y").open()]
    real = UrlFile.close
    monkeypatch.setattr(UrlFile, "close", lambda self: closed.append(str(self.url)) or real(self))
    tables = [url_files.closed_at_exit(Table(name)) for name in "ab"]
    url_files._close()
    assert sorted(closed[:2]) == ["a", "b"] == [table.name for table in tables]
    assert sorted(closed[2:4]) == ["memory://x", "memory://y"] and all(file.closed for file in files)


# What servers say of a file

VERSIONS = ("ETag", "etag", "VersionId", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")


class Answering:
    """A file system that says these things of a file, or raises."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def invalidate_cache(self, path):
        self.asked.append(("forget", path))

    def info(self, path):
        self.asked.append(("info", path))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def behind(monkeypatch, *answers):
    store = Answering(*answers)
    monkeypatch.setattr(Url, "filesystem", lambda self, **how: (store, "b/x.npy"))
    return Url("s3://b/x.npy"), store


@pytest.mark.parametrize("first", range(len(VERSIONS)))
def test_the_best_word_for_the_state_of_a_file_counts(first, monkeypatch):
    """An empty one says nothing."""
    told = {name: f"word {name}" for name in VERSIONS[first:]} | dict.fromkeys(VERSIONS[:first], "")
    url, _ = behind(monkeypatch, {"size": 5, "type": "file", **told})
    assert url.facts() == {"size": 5, "files": None, "mtime_ns": None, "version": f"word {VERSIONS[first]}"}
    url, _ = behind(monkeypatch, {"size": 5, "type": "file", VERSIONS[first]: 7})
    assert url.facts()["version"] == "7"
    url, _ = behind(monkeypatch, {"size": None, "type": "file", "other": 7})
    assert url.facts() == {"size": None, "files": None, "mtime_ns": None, "version": None}


def test_a_server_is_asked_once_and_anew_for_facts(monkeypatch):
    url, store = behind(monkeypatch, {"size": 5, "type": "file"}, {"size": 6, "type": "file"})
    assert url.exists() and url.is_file() and not url.is_dir()
    # What a file system remembers of an earlier look does not count.
    assert store.asked == [("forget", "b/x.npy"), ("info", "b/x.npy")]
    assert url.facts()["size"] == 6 and len(store.asked) == 4


class Answer(OSError):
    """An error as aiohttp has them."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status, self.message = status, "words"


Answer.__module__ = "aiohttp.client_exceptions"


@pytest.mark.parametrize(
    "cause, words",
    [
        (None, None), (Answer(404), None), (Answer(410), None), (KeyError("x"), None), (OSError("x"), None),
        (Answer(403), "the server answered 403 words"), (Answer(500), "the server answered 500 words"),
        (TimeoutError(), "the server was silent for 60 s"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_say_whether_a_file_is_there_is_told(cause, words, monkeypatch):
    """For HTTP every error is that of a file that is not there; what is behind it tells."""
    error = FileNotFoundError("b/x.npy")
    error.__cause__ = cause
    # The name is asked for once more as that of a folder.
    url, _ = behind(monkeypatch, *[error] * 9)
    if words is None:
        assert not url.exists()
        return
    with pytest.raises(OSError) as caught:
        url.exists()
    assert str(caught.value) == f"s3://b/x.npy cannot be read: {words}"


@pytest.mark.parametrize(
    "known, opens",
    [
        ({"size": 5}, True), ({"size": 5, "partial": True}, True), ({"size": 5, "partial": None}, True),
        ({"size": 5, "partial": False}, False), ({"size": None, "partial": True}, False), ({"partial": True}, False),
    ],
)  # fmt: skip
def test_a_file_without_a_size_or_without_parts_is_not_opened(known, opens, monkeypatch):
    monkeypatch.setattr("tsne_ooc.io.urls.UrlFile", lambda url, size: (str(url), size))
    url, _ = behind(monkeypatch, known)
    if opens:
        assert url.open() == ("s3://b/x.npy", 5)
        return
    with pytest.raises(OSError, match=r"^s3://b/x\.npy cannot be read: its server does not give parts of files"):
        url.open()


@pytest.mark.parametrize(
    "url, settings, ours",
    [
        ("https://x/y", {}, True), ("http://x/y", {}, True), ("s3://x/y", {}, False), ("memory://x", {}, False),
        ("simplecache::https://x/y", {}, False), ("https://x/y", {"https": {"client_kwargs": {}}}, False),
        ("https://x/y", {"http": {"client_kwargs": {}}}, True), ("https://x/y", {"https": {"other": 1}}, True),
        ("simplecache::https://x/y", {"https": {"client_kwargs": {}}}, False),
    ],
)  # fmt: skip
def test_how_http_is_asked_unless_its_user_says_it(url, settings, ours, monkeypatch):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(fsspec.config, "conf", settings)
    found = Url(url)._options(fsspec, "reading")
    assert bool(found) == ours
    if ours:
        limits = found["client_kwargs"]["timeout"]
        # An answer takes as long as it is large; it is silence that ends it, as the words for it say.
        assert limits.total is None and limits.connect == limits.sock_read == url_files.SILENCE == 60
        assert url_files.words_of(TimeoutError()) == f"the server was silent for {limits.sock_read:.0f} s"
        assert found["client_kwargs"]["headers"] == {"Accept-Encoding": "identity"}


def test_sizes_of_several_files_are_added_up_where_each_has_one():
    class Told:
        def __init__(self, name, **facts):
            self.name, self.told = name, facts

        def __str__(self):
            return self.name

        def facts(self):
            return self.told

    home = Url("s3://b/d/")
    a, b = Told("s3://b/d/a", size=3, version="u"), Told("s3://b/d/b", size=5, version="v")
    both = facts_of(home, [b, a])
    assert list(both) == ["size", "files", "mtime_ns", "version"] and both["size"] == 8 and both["mtime_ns"] is None
    assert both["files"] == hashlib.sha256(b"a\x003\nb\x005\n").hexdigest()
    assert both["version"] == hashlib.sha256(b"v\nu\n").hexdigest()
    folder = Told("s3://b/d/c", version=None)
    assert facts_of(home, [a, folder, b]) == {"mtime_ns": None, "version": None}
    # A file alone is what it is, but not a file of a folder.
    assert facts_of(Url("s3://b/d/a"), [a]) == a.told != facts_of(home, [a])
    assert facts_of(home, [a])["files"] == hashlib.sha256(b"a\x003\n").hexdigest()


def test_a_folder_whose_store_says_so_is_not_asked_for_what_is_in_it(monkeypatch):
    url, store = behind(monkeypatch, {"type": "directory"})
    assert url.is_dir() and url.exists() and not url.is_file() and len(store.asked) == 2


@pytest.mark.parametrize("version, read", [((1, 0), True), ((2, 0), True), ((3, 0), False)])
def test_arrays_of_both_plain_versions_are_read(memory, version, read):
    X = np.arange(6.0).reshape(3, 2)
    np.lib.format.write_array(file := io.BytesIO(), X, version=version)
    memory.pipe({"/x.npy": file.getvalue()})
    if read:
        with open_source("memory://x.npy") as table:
            np.testing.assert_array_equal(table.read(0, 3), X)
            assert table.opened_here
    else:
        with pytest.raises(ValueError, match=r"^memory://x\.npy is not a whole \.npy file of numbers: "):
            open_source("memory://x.npy")
