"""Files behind URLs keep the contract of sources, and a server that fails ends a read in one line."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from containers import ADAPTERS, in_zarr, zarr_csr
from servers import FileServer

from tsne_ooc.io import differences, identity_of, names_of, open_source, url_files
from tsne_ooc.io.failures import first_line, reading
from tsne_ooc.io.files import are_files, files_of
from tsne_ooc.io.overview import look
from tsne_ooc.io.url_stores import store_of
from tsne_ooc.io.urls import Url, facts_of
from tsne_ooc.sampling import labels_of
from tsne_ooc.testing import SourceContract

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

# What is on a server that lists nothing, so that a table in a group needs its name.
SERVED = (
    "npy", "hdf5_gzip", "compound", "h5ad_csr", "loom", "zarr_2", "zarr_sharded", "zarr_csr", "parquet_groups",
)  # fmt: skip
# What a store that lists its folders has besides.
LISTED = ("npy", "hdf5_chunked", "zarr_group", "parquet_folder")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Files of a test are larger than what is read of them at a time."""
    monkeypatch.setattr(url_files, "BLOCK", 700)


@pytest.fixture
def server(tmp_path):
    with FileServer(tmp_path) as found:
        yield found


class Behind:
    """An adapter whose files are behind URLs."""

    on_disk = True

    def __init__(self, adapter, url_of):
        self.adapter, self.url_of = adapter, url_of
        self.dtype, self.dataset = adapter.dtype, adapter.dataset

    def make(self, X, folder):
        return self.url_of(self.adapter.make(X, folder))


class OfUrls(SourceContract):
    def test_a_touched_file_is_the_same_table(self, case, tmp_path):
        made = case.make(np.ones((5, 4), case.dtype), tmp_path)
        with open_source(made, dataset=case.dataset) as source:
            first = identity_of(source)
            for path in [tmp_path, *tmp_path.rglob("*")]:
                os.utime(path, ns=(1, 1))
            second = identity_of(source)
        assert first["path"] == made and differences(first, second) == []
        # Folders do not have a version.
        assert (first["version"] is None) or first["version"] != second["version"]


class TestServed(OfUrls):
    @pytest.fixture(params=SERVED)
    def case(self, request, server):
        found = ADAPTERS[request.param]
        if found.needs is not None:
            pytest.importorskip(found.needs)
        return Behind(found, server.url_of)


class TestListed(OfUrls):
    """In the memory of fsspec, which has folders as S3 has them."""

    @pytest.fixture(params=LISTED)
    def case(self, request, tmp_path):
        found = ADAPTERS[request.param]
        if found.needs is not None:
            pytest.importorskip(found.needs)
        memory = fsspec.filesystem("memory")

        def url_of(path):
            memory.put(str(path), f"/{path.relative_to(tmp_path)}", recursive=True)
            return f"memory://{path.relative_to(tmp_path)}"

        yield Behind(found, url_of)
        memory.rm("/", recursive=True)

    def test_a_touched_file_is_the_same_table(self, case, tmp_path):
        pytest.skip("files in memory are not touched")


def table(n=60):
    return np.random.default_rng(0).normal(size=(n, 7)).astype(np.float32)


KINDS = {
    "npy": ADAPTERS["npy"].make,
    "hdf5": ADAPTERS["hdf5_chunked"].make,
    "parquet": ADAPTERS["parquet_groups"].make,
    "zarr": in_zarr(),
    "sharded": in_zarr(chunks=(10, 7), shards=(20, 7)),
    "sparse": zarr_csr,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_behind_a_url_is_the_file_on_the_disk(kind, server, tmp_path):
    path = KINDS[kind](table(), tmp_path)
    with open_source(path) as here, open_source(server.url_of(path)) as there:
        assert here.chunks == there.chunks and here.dtype == there.dtype and names_of(here) == names_of(there)
        assert here.read(7, 41).tobytes() == there.read(7, 41).tobytes()
        if path.is_file():
            # A run goes on wherever the file is.
            assert differences(identity_of(here), identity_of(there)) == []


FAULTS = {
    "closes": "the connection broke off",
    "short": "the server gave",
    404: "the server answered 404|is not there",
    503: "the server answered 503 Service Unavailable",
    "silent": "the server was silent for 1 s",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_url_that_breaks_off_is_one_line_with_the_rows(kind, fault, server, tmp_path, monkeypatch):
    if fault == "short" and kind in ("zarr", "sparse", "sharded"):
        pytest.skip("a file that is read whole has the length that the server says")
    monkeypatch.setattr(url_files, "SILENCE", 1.0)
    path = KINDS[kind](table(400), tmp_path)
    with open_source(server.url_of(path)) as source:
        before = source.read(0, 20)
        server.fault = lambda asked: fault
        with pytest.raises(OSError, match=FAULTS[fault]) as caught, reading(source, 380, 400):
            source.read(380, 400)
        told = str(caught.value)
        assert told.startswith("rows 380 to 399 of ") and server.url_of(path) in told and "\n" not in told
        server.fault = lambda asked: None
        # The source itself goes on where the server does.
        with open_source(path) as here:
            assert source.read(380, 400).tobytes() == here.read(380, 400).tobytes()
        assert source.read(0, 20).tobytes() == before.tobytes()


def test_reads_at_once_that_fail_say_what_the_first_of_them_does():
    """The newest Zarr raises one group for all, which says that there are unhandled errors."""
    inner = ExceptionGroup("tasks", [OSError("the server answered 503"), ValueError("another")])
    assert first_line(ExceptionGroup("unhandled errors in a TaskGroup", [inner])) == "the server answered 503"


@pytest.mark.parametrize("fault", [503, "closes"])
@pytest.mark.parametrize("kind", [*KINDS, "h5ad", "frame"])
def test_whichever_answer_is_missing_the_server_is_named(kind, fault, server, tmp_path):
    """No answer is taken for something that the file does not hold."""
    make = KINDS.get(kind) or ADAPTERS[{"h5ad": "h5ad_csr", "frame": "h5ad_frame"}[kind]].make
    path, dataset = make(table(), tmp_path), "obsm/frame" if kind == "frame" else None

    def work(server):
        with open_source(server.url_of(path), dataset=dataset) as source, reading(source, 0, 60):
            return names_of(source), source.read(0, 60).tobytes(), identity_of(source)["probes"]

    whole = work(server)
    count = len(server.asked)
    for number in range(0, count, max(1, count // 15)):
        # A server for each: what was still on its way when the last one failed would count for this one.
        with FileServer(tmp_path) as another:
            another.fault = lambda asked, number=number: fault if asked.number == number else None
            try:
                assert work(another) == whole
            except OSError as error:
                told = str(error)
                assert another.url_of(path) in told and "\n" not in told
                assert "the server answered 503" in told or "the connection broke off" in told
            else:
                # It was a byte or two that were not needed.
                assert fault == "closes"


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_gives_whole_files_alone_is_refused(kind, server, tmp_path):
    path = KINDS[kind](table(400), tmp_path)
    server.fault = lambda asked: "whole"
    if kind in ("zarr", "sparse"):
        # Its chunks are read whole anyhow.
        with open_source(server.url_of(path)) as source, open_source(path) as here:
            assert source.read(0, 400).tobytes() == here.read(0, 400).tobytes()
        return
    with (
        pytest.raises(OSError, match=r"range requests|of .* bytes of") as caught,
        open_source(server.url_of(path)) as it,
    ):
        it.read(380, 400)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_refuses_is_told_by_its_url(kind, status, server, tmp_path):
    path = KINDS[kind](table(), tmp_path)
    url = server.url_of(path)
    server.fault = lambda asked: status
    with pytest.raises(OSError, match=f"{url} cannot be read: .*the server answered {status}"):
        open_source(url)


def test_what_is_not_there(server, tmp_path):
    for name in ("X.npy", "X.h5", "X.zarr", "X"):
        with pytest.raises(FileNotFoundError, match=f"there is no file {server.url}/{name}"):
            open_source(f"{server.url}/{name}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OSError, match=f"{url}/X.npy cannot be read: the connection broke off .*Cannot connect"):
        open_source(f"{url}/X.npy")


@pytest.mark.parametrize("name, contents, says", [
    ("X.npy", b"", "X.npy"), ("X.h5", b"\x89HDF\r\n\x1a\nno", "cannot be opened as HDF5|cut short"),
    ("X.npy", b"\x93NUMPY\x01\x00", "not a whole .npy"), ("X.csv", b"a,b\n1,2\n", "tsne-ooc prepare"),
    ("X.parquet", b"PAR1", "not a whole Parquet file"), ("X.zip", b"PK\x03\x04...", "download it"),
])  # fmt: skip
def test_damaged_files_are_told_as_on_the_disk(name, contents, says, server, tmp_path):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises((OSError, ValueError), match=says) as caught:
        open_source(f"{server.url}/{name}")
    assert f"{server.url}/{name}" in str(caught.value) and "\n" not in str(caught.value)


def test_an_npy_file_that_is_cut_short(server, tmp_path):
    np.save(tmp_path / "X.npy", table())
    (tmp_path / "X.npy").write_bytes((tmp_path / "X.npy").read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"not a whole \.npy file"):
        open_source(f"{server.url}/X.npy")


@pytest.mark.parametrize("kind", ["zarr", "sharded", "sparse"])
def test_a_chunk_that_is_not_there_is_not_read_as_zeros(kind, server, tmp_path):
    path = KINDS[kind](table(60), tmp_path)
    (gone,) = (
        found
        for found in path.rglob("*")
        if found.name == {"zarr": "1", "sharded": "0", "sparse": "3"}[kind]
        and found.is_file()
        and found.parent.name in {"zarr": "1", "sharded": "2", "sparse": "indices"}[kind]
    )
    gone.unlink()
    with open_source(server.url_of(path)) as source, pytest.raises(OSError, match="allow_missing_chunks=True"):
        source.read(0, 60)
    if kind != "sparse":
        with open_source(server.url_of(path), allow_missing_chunks=True) as source:
            assert (source.read(0, 60) == 0).any()


def test_a_table_in_a_group_needs_its_name_where_nothing_is_listed(server, tmp_path):
    path = in_zarr(inside="a/b")(table(), tmp_path)
    with pytest.raises(ValueError, match="does not list what it holds"):
        open_source(server.url_of(path))
    with open_source(server.url_of(path), dataset="a/b") as source, open_source(f"{server.url_of(path)}/a/b") as same:
        assert source.read(3, 9).tobytes() == same.read(3, 9).tobytes() == table()[3:9].tobytes()


def test_a_question_mark_is_not_a_pattern(server, tmp_path):
    np.save(tmp_path / "X.npy", table())
    url = f"{server.url}/X.npy?signature=a*b"
    assert not are_files(f"{server.url}/X.npy?signature=ab") and not are_files(f"{server.url}/X[1].npy")
    with open_source(url.replace("*", "")) as source:
        assert source.read(0, 3).tobytes() == table()[:3].tobytes()
        assert source.path.name == "X.npy" and source.path.suffix == ".npy"


def test_many_files_behind_urls_are_one_table(server, tmp_path):
    for number, rows in ((2, 70), (10, 60)):
        np.save(tmp_path / f"plate{number}.npy", table(rows))
    named = [f"{server.url}/plate2.npy", f"{server.url}/plate10.npy"]
    with open_source(named) as source, open_source(str(tmp_path / "*.npy")) as here:
        assert source.read(50, 100).tobytes() == here.read(50, 100).tobytes()
        assert [file["path"] for file in source.rows_of_files()] == named
        assert differences(identity_of(here), identity_of(source)) == []
        assert identity_of(source)["path"] == server.url
    with pytest.raises(ValueError, match="name all in one way"):
        open_source([named[0], tmp_path / "plate10.npy"])
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/plates", recursive=True)
    try:
        assert [str(found) for found in files_of("memory://plates/*.npy")] == [
            "memory:///plates/plate2.npy", "memory:///plates/plate10.npy",
        ]  # fmt: skip
        with open_source("memory://plates/*.npy") as source:
            assert source.read(50, 100).tobytes() == np.concatenate([table(70), table(60)])[50:100].tobytes()
        with pytest.raises(FileNotFoundError, match="no file fits the pattern"):
            files_of("memory://plates/*.h5")
    finally:
        memory.rm("/plates", recursive=True)


def labelled(kind, folder):
    words = np.array(["x", "y", "z"])[np.arange(60) % 3]
    if kind == "npy":
        np.save(folder / "kind.npy", words)
        return folder / "kind.npy", None
    if kind == "parquet":
        pd.DataFrame({"kind": words}).to_parquet(folder / "kind.parquet")
        return folder / "kind.parquet", "kind"
    if kind == "hdf5":
        with h5py.File(folder / "kind.h5", "w") as file:
            file["obs/kind"] = words.astype("S")
        return folder / "kind.h5", "kind"
    import zarr

    root = zarr.create_group(folder / "kind.zarr")
    root.create_array("kind", data=np.arange(60) % 3)
    return folder / "kind.zarr", "kind"


@pytest.mark.parametrize("kind", ["npy", "hdf5", "zarr", "parquet"])
def test_labels_behind_a_url(kind, server, tmp_path):
    path, name = labelled(kind, tmp_path)
    np.testing.assert_array_equal(labels_of(server.url_of(path), name), labels_of(path, name))


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_at_a_url(kind, server, tmp_path):
    path = KINDS[kind](table(), tmp_path)
    url = server.url_of(path)
    here, there = str(look(path)).replace(str(path), url).splitlines(), str(look(url)).splitlines()
    # A server lists nothing, so that what a group holds is known by its name alone.
    assert [line for line in there if line not in here] == []
    assert [line for line in here if line not in there and not line.startswith("  ")] == []


@pytest.mark.parametrize("package, url, says", [
    ("fsspec", "http://x/X.npy", "reading http://x/X.npy needs fsspec, which is not installed: "),
    ("aiohttp", "http://x/X.npy", "reading http://x/X.npy needs aiohttp, which is not installed: "),
    ("s3fs", "s3://x/X.npy", "reading s3://x/X.npy needs a package that is not installed: Install s3fs"),
])  # fmt: skip
def test_packages_that_are_not_there_are_named(package, url, says, monkeypatch):
    real = importlib.import_module

    def without(name, *more):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=says):
        open_source(url)


def test_a_url_is_shown_as_itself_and_equals_its_like():
    url = Url("http://x/X.npy")
    assert repr(url) == "Url('http://x/X.npy')" and str(url) == os.fspath(url) == "http://x/X.npy"
    assert url == Url("http://x/X.npy") and url != Url("http://x/Y.npy") and url != "http://x/X.npy"


def test_an_open_file_behind_a_url_is_read_as_one_on_the_disk(server, tmp_path):
    data = bytes(range(256)) * 20
    (tmp_path / "x.bin").write_bytes(data)
    with Url(f"{server.url}/x.bin").open() as there, open(tmp_path / "x.bin", "rb", buffering=0) as here:
        assert there.readable() and there.seekable() and not there.writable()
        for offset, whence, count in ((3000, 0, 9), (-5, 1, 20), (-7, 2, 100), (0, 2, 3), (0, 0, 5120)):
            assert there.seek(offset, whence) == here.seek(offset, whence)
            assert there.read(count) == here.read(count) and there.tell() == here.tell()
    assert there.closed


def test_what_cannot_be_opened_behind_a_url(server):
    with pytest.raises(FileNotFoundError, match=rf"^there is no file {server.url}/none\.npy$"):
        Url(f"{server.url}/none.npy").open()
    # A server may say nothing of the size, or that it gives no parts.
    for said in ({"size": None}, {"size": 9, "partial": False}):
        url = Url(f"{server.url}/X.npy")
        url._known = said
        with pytest.raises(OSError) as caught:
            url.open()
        assert str(caught.value) == f"{url} cannot be read: {url_files.NO_PARTS}"
    assert not server.asked


def told(status, message=None):
    """An error that a library raises with the status of an answer."""
    error = OSError("it broke")
    error.status = status
    if message is not None:
        error.message = message
    return error


def of_http(text):
    return type("Lost", (Exception,), {"__module__": "aiohttp.client"})(text)


@pytest.mark.parametrize("error, words", [
    (FileNotFoundError("http://x/X.npy"), "the server does not have it any more (404)"),
    (ValueError("odd\nand more of it"), "odd"),
    (url_files.Unreached("as it was told"), "as it was told"),
    (ValueError("The HTTP server doesn't appear to support range requests."), url_files.NO_PARTS),
    (TimeoutError("odd"), f"the server was silent for {url_files.SILENCE:.0f} s"),
    (told(300, "Multiple Choices"), "the server answered 300 Multiple Choices"), (told(404), "the server answered 404"),
    # A status that is a success, or a word, says nothing of what went wrong.
    (told(299, "Odd"), "it broke"), (told("503", "Odd"), "it broke"), (told(None), "it broke"),
    (of_http("Connection lost: <ClientConnectorError at 0x7f>"), "the connection broke off (Connection lost)"),
])  # fmt: skip
def test_what_became_of_an_answer_in_words(error, words):
    assert url_files.words_of(error) == words


def test_the_users_own_settings_of_requests_are_kept(monkeypatch):
    """Without any, a server that is silent is given up, and packed answers are not asked for."""
    url = Url("http://x/X.npy")
    how = url._options(fsspec, "reading it")["client_kwargs"]
    assert how["headers"] == {"Accept-Encoding": "identity"} and how["timeout"].sock_read == url_files.SILENCE
    # What another kind of store stands before is not asked by HTTP.
    assert Url("simplecache::http://x/X.npy")._options(fsspec, "reading it") == {}
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"trust_env": True}})
    assert url._options(fsspec, "reading it") == {}
    assert Url("memory://x/X.npy")._options(fsspec, "reading it") == {}


def test_folders_among_files_leave_nothing_to_tell_them_by(server, tmp_path):
    np.save(tmp_path / "a.npy", table())
    in_zarr()(table(), tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    home, file = Url(server.url), Url(f"{server.url}/a.npy")
    assert facts_of(home, [file, Url(server.url_of(folder))]) == {"mtime_ns": None, "version": None}
    assert facts_of(home, [file, file])["size"] == facts_of(file, [file])["size"] > 0


def test_objects_of_python_behind_a_url_are_refused(server, tmp_path):
    """To read them would run what the file says."""
    np.save(tmp_path / "X.npy", np.array([[1, "a"]], object), allow_pickle=True)
    with pytest.raises(ValueError) as caught:
        open_source(f"{server.url}/X.npy")
    assert str(caught.value) == (f"{server.url}/X.npy is not a whole .npy file of numbers: it holds objects of Python")


@pytest.mark.parametrize("kind, asked", [("a range", 40), ("the end", 40)])
def test_a_store_that_gives_less_than_a_part_is_told(kind, asked, server, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    from zarr.abc.store import RangeByteRequest, SuffixByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    path = KINDS["zarr"](table(), tmp_path)
    store, real = store_of(Url(server.url_of(path))), zarr.storage.FsspecStore.get
    (name, *_) = (file.name for file in path.iterdir() if file.is_file())
    part = RangeByteRequest(10, 10 + asked) if kind == "a range" else SuffixByteRequest(asked)

    def get(part):
        return sync(store.get(name, default_buffer_prototype(), part))

    async def short(self, *arguments):
        found = await real(self, *arguments)
        return found[: len(found) // 2]

    data = (path / name).read_bytes()
    assert get(part).to_bytes() == (data[10 : 10 + asked] if kind == "a range" else data[-asked:])
    monkeypatch.setattr(zarr.storage.FsspecStore, "get", short)
    with pytest.raises(url_files.Unreached, match=rf"^the server gave {asked // 2} of {asked} bytes of {name}$"):
        get(part)


def test_labels_of_a_server_that_fails_are_not_called_damaged(server, tmp_path):
    path, name = labelled("hdf5", tmp_path)
    # What kind of file it is, is asked first.
    server.fault = lambda asked: 503 if asked.number else None
    with pytest.raises(OSError, match=f"^{server.url_of(path)} cannot be read: the server answered 503"):
        labels_of(server.url_of(path), name)


def test_a_kind_of_url_that_nobody_knows():
    with pytest.raises(ValueError, match=r"^nowhere://x/X\.npy cannot be read: .*nowhere"):
        open_source("nowhere://x/X.npy")


def test_cycles_with_objects_of_hdf5_are_collected_while_it_waits(server, tmp_path):
    """A thread that collects one waits for the lock under which HDF5 waits for what the server gives."""
    import subprocess

    ADAPTERS["hdf5_chunked"].make(table(2000), tmp_path)
    code = f"""
import gc, h5py
from fsspec.implementations.http import HTTPFile, HTTPFileSystem
from tsne_ooc.io import open_source, url_files

def collecting(real):
    async def asks(*given, **named):
        gc.collect()
        return await real(*given, **named)
    return asks

url_files.BLOCK = 700
HTTPFile.async_fetch_range = collecting(HTTPFile.async_fetch_range)
HTTPFileSystem._cat_file = collecting(HTTPFileSystem._cat_file)
with open_source("{server.url}/X.h5") as source, h5py.File("x", "w", driver="core", backing_store=False) as file:
    gc.disable()
    for start in range(0, 2000, 50):
        ring = [file.require_group("x")]
        ring.append(ring)
        del ring
        source.read(start, start + 50)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["npy", "hdf5", "zarr"])
def test_a_notebook_reads_in_the_midst_of_a_loop_of_its_own(kind, server, tmp_path):
    path = KINDS[kind](table(), tmp_path)

    async def a_cell():
        with open_source(server.url_of(path)) as source:
            return source.read(3, 50).tobytes()

    assert asyncio.run(a_cell()) == table()[3:50].tobytes()


def test_a_file_that_is_left_open_does_not_crash_python(server, tmp_path):
    """HDF5 closes its files after Python has taken its objects apart."""
    import subprocess

    ADAPTERS["hdf5"].make(table(), tmp_path)
    code = (
        f"from tsne_ooc.io import open_source\nkept = open_source('{server.url}/X.h5')\nprint(kept.read(0, 2).shape)\n"
        f"try:\n    open_source('{server.url}/none.h5')\nexcept OSError as error:\n    left = error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "(2, 7)\n" and not done.stderr


def test_a_file_lets_go_of_its_connection_once_and_leaves_others_theirs(server, tmp_path):
    """Read or not, closed twice, or by the child of a fork, which has none of its own."""
    (tmp_path / "x.bin").write_bytes(bytes(range(200)))
    one, other, unread = (Url(f"{server.url}/x.bin").open() for _ in range(3))
    assert one.read(3) == other.read(3) == bytes(range(3))
    loop, session = one._parts._loop, one._parts._session
    one._parts._process = -1
    one._parts.close()
    assert not loop.is_closed() and not session.closed
    one._parts._process = os.getpid()
    for _ in range(2):
        one.close()
        one._parts.close()
    assert loop.is_closed() and session.closed
    other.seek(190)
    assert other.read() == bytes(range(190, 200))
    other.close()
    loop = unread._parts._loop
    unread.close()
    assert loop.is_closed() and other._parts._session.closed


@pytest.mark.parametrize("needed, key, told", [
    ([""], "c/9/9", True), ([""], "9.9", True), ([""], "zarr.json", False), ([""], ".zarray", False),
    ([""], ".zattrs", False), ([""], "deep/.zmetadata", False), (["a"], "a/c/0/0", True), (["a"], "a/zarr.json", False),
    (["a"], "b/c/0/0", False), (["a"], "ab/c/0/0", False), (["b", "a"], "a/0.0", True), ([], "c/0/0", False),
    (["a", "a/b"], "a/b/0", True),
])  # fmt: skip
def test_a_chunk_that_is_needed_is_told_and_nothing_else_is(needed, key, told, server):
    """Whether there are attributes, or another array, is asked for all the time."""
    pytest.importorskip("zarr")
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    store = store_of(Url(f"{server.url}/x.zarr/"))
    assert store.read_only and store.needed == [] and store.url == Url(f"{server.url}/x.zarr/")
    store.needed += needed
    if not told:
        assert sync(store.get(key, default_buffer_prototype())) is None
        return
    with pytest.raises(url_files.Unreached) as caught:
        sync(store.get(key, default_buffer_prototype()))
    assert str(caught.value) == (
        f"chunk {key} is not there (its copy did not end, or it was never written): if that is as it should be, pass "
        "allow_missing_chunks=True (--allow-missing-chunks)"
    )


def test_parts_of_a_chunk_are_as_long_as_they_were_asked_for(server, tmp_path):
    """A range ends before its end; all of it is what is there; the file of a server that fails is named by its key."""
    pytest.importorskip("zarr")
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    (tmp_path / "x.zarr").mkdir()
    data = bytes(range(50))
    (tmp_path / "x.zarr" / "0.0").write_bytes(data)
    store = store_of(Url(f"{server.url}/x.zarr"))

    def get(part=None):
        return sync(store.get("0.0", default_buffer_prototype(), part)).to_bytes()

    assert get() == data and get(RangeByteRequest(7, 8)) == data[7:8] and get(RangeByteRequest(0, 50)) == data
    assert get(SuffixByteRequest(1)) == data[-1:] and get(OffsetByteRequest(48)) == data[48:]
    server.fault = lambda asked: 503
    with pytest.raises(url_files.Unreached, match=r"^0\.0 was not read: the server answered 503"):
        get()
