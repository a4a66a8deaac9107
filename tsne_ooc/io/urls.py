"""Files behind URLs, which fsspec reads: as paths, as open files, and as stores of Zarr.

Readers take such a path where they take one of the disk. What a server does not give ends in one line.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib
import io
import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from tsne_ooc._typing import Json, StrPath
from tsne_ooc.io.failures import Unreached, first_line
from tsne_ooc.io.optional import load
from tsne_ooc.io.parts import METADATA
from tsne_ooc.storage.disk import check_regular

# Seconds that a server may be silent. One that is only slow is waited for.
SILENCE = 60.0
# What is asked for at a time, and how many of these an open file keeps: a block of rows. Sixteen files of one table,
# which may be open together, keep half a gigabyte.
BLOCK, BLOCKS = 4 << 20, 8

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(?:::[A-Za-z][A-Za-z0-9+.\-]*)*://")
# What servers call the state of a file, the best first: it changes where the file is written anew.
_VERSIONS = ("ETag", "etag", "VersionId", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")


def is_url(given: object) -> bool:
    """Whether what is given for a table is a URL, or a pattern of them."""
    return isinstance(given, Url) or (isinstance(given, str) and _URL.match(given) is not None)


def path_of(given: StrPath) -> AnyPath:
    """A path of the disk, or of a file behind a URL."""
    if isinstance(given, Url):
        return given
    return Url(given) if isinstance(given, str) and is_url(given) else Path(given)


class Url:
    """A file, or a folder of Zarr or Parquet, behind a URL; it has the methods of a path that readers use.

    Parameters
    ----------
    url : str
        Whatever fsspec opens: ``https://...``, ``s3://...``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: Json | None = None

    def __str__(self) -> str:
        return self._url

    def __fspath__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"Url({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __reduce__(self) -> tuple[Any, ...]:
        return Url, (self._url,)

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self._url.rstrip('/')}/{name}" if name else self._url)

    @property
    def name(self) -> str:
        # Behind a question mark there may be a key; in the names of other stores it is a letter as others are.
        plain = re.split(r"[?#]", self._url)[0] if self._protocol in ("http", "https") else self._url
        return plain.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        return Url(self._url.rstrip("/").rpartition("/")[0])

    @property
    def _protocol(self) -> str:
        return self._url.partition("://")[0].rpartition("::")[2].lower()

    def resolve(self) -> Url:
        return self

    def exists(self) -> bool:
        """Whether there is such a file or folder.

        Raises
        ------
        OSError
            Where the server does not say.
        """
        return self._info() is not None or self.is_dir()

    def is_dir(self) -> bool:
        """Whether it is a folder of Zarr, or one of a store that has folders."""
        known = self._info() or {}
        if known.get("type") == "directory":
            return True
        if known and (self._protocol not in ("http", "https") or self._url.endswith(tuple(METADATA))):
            return False
        # Servers of HTTP show a page for a folder, as if it were a file, or say that it is not there.
        page = not known or known.get("mimetype") == "text/html" or self.suffix.lower() in ("", ".zarr")
        return page and any((self / name)._info() is not None for name in METADATA)

    def is_file(self) -> bool:
        """Whether it is there, and not a folder."""
        return self._info() is not None and not self.is_dir()

    def iterdir(self) -> Iterator[Url]:
        """What is in a folder of a store that has folders."""
        fs, path = self.filesystem()
        for entry in fs.ls(path, detail=True):
            name = entry["name"].rstrip("/")
            # A folder may be among what is in it.
            if name != path.rstrip("/"):
                found = self / name.rpartition("/")[2]
                found._known = entry
                yield found

    def glob(self) -> list[str]:
        """The URLs that fit a pattern."""
        fs, path = self.filesystem()
        with self._told():
            return [str(fs.unstrip_protocol(found)) for found in fs.glob(path)]

    def open(self, mode: str = "rb", buffering: int = 0) -> io.RawIOBase:
        """The file, open for reading.

        Raises
        ------
        FileNotFoundError
            Where it is not there.
        OSError
            Where the server does not give parts of it.
        """
        known = self._info()
        if known is None:
            raise FileNotFoundError(f"there is no file {self}")
        if known.get("size") is None or known.get("partial") is False:
            raise OSError(f"{self} cannot be read: {_NO_PARTS}")
        return UrlFile(self, int(known["size"]))

    def facts(self) -> Json:
        """What tells whether it is the same file as before: its size, and what the server calls its state, asked anew.

        A folder has neither.
        """
        self._known = None
        known = None if self.is_dir() else self._info()
        if known is None:
            return {"mtime_ns": None, "version": None}
        version = next((str(known[name]) for name in _VERSIONS if known.get(name)), None)
        return {"size": known.get("size"), "files": None, "mtime_ns": None, "version": version}

    def filesystem(self, **how: Any) -> tuple[Any, str]:
        """The file system of fsspec, and the path in it.

        Raises
        ------
        ModuleNotFoundError
            Where a package is not installed, naming it.
        ValueError
            For a URL of a kind that fsspec does not know.
        """
        what = f"reading {self}"
        fsspec = load("fsspec", "remote", what)
        how |= self._options(fsspec, what)
        try:
            fs, path = fsspec.core.url_to_fs(self._url, **how)
        except ImportError as error:
            raise ModuleNotFoundError(f"{what} needs a package that is not installed: {first_line(error)}") from None
        except ValueError as error:
            raise ValueError(f"{self} cannot be read: {first_line(error)}") from None
        return fs, path

    def _options(self, fsspec: Any, what: str) -> Json:
        """What HTTP is asked with, unless the user's own settings of fsspec say it."""
        if self._protocol not in ("http", "https"):
            return {}
        aiohttp = load("aiohttp", "remote", what)
        if "::" in self._url or "client_kwargs" in fsspec.config.conf.get(self._protocol, {}):
            return {}
        # By default each answer has five minutes in all, whatever its size. Packed answers are not parts of the file.
        limits = aiohttp.ClientTimeout(total=None, connect=SILENCE, sock_read=SILENCE)
        return {"client_kwargs": {"timeout": limits, "headers": {"Accept-Encoding": "identity"}}}

    def _info(self) -> Json | None:
        """What the server says about the file; None where there is none."""
        if self._known is None:
            fs, path = self.filesystem()
            with self._told():
                fs.invalidate_cache(path)
                try:
                    self._known = dict(fs.info(path))
                except FileNotFoundError as error:
                    # For HTTP all errors are this one.
                    why = error.__cause__
                    if _is_of_http(why) and getattr(why, "status", None) not in (404, 410):
                        raise why from None  # type: ignore[misc]
        return self._known

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what fsspec raises into one line with the URL."""
        try:
            yield
        except Exception as error:
            raise OSError(f"{self} cannot be read: {words_of(error)}") from error


AnyPath: TypeAlias = Path | Url

_NO_PARTS = "its server does not give parts of files (range requests); download it, and read the copy"


class UrlFile(io.RawIOBase):
    """An open file behind a URL, which gives all that is asked for, or raises `Unreached`."""

    def __init__(self, url: Url, size: int) -> None:
        self.url, self.size = url, size
        self._at = 0
        self._parts = _Parts(url, size)
        caching = load("fsspec.caching", "remote", f"reading {url}")
        self._kept = caching.BlockCache(BLOCK, self._parts, size, maxblocks=BLOCKS)
        _files.add(self)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        out = memoryview(buffer).cast("B")
        at = self._at
        wanted = max(0, min(len(out), self.size - at))
        try:
            data = self._kept._fetch(at, at + wanted) if wanted else b""
        except Exception as error:
            raise Unreached(f"{words_of(error)}, at byte {at:,} of {self.size:,}") from error
        out[:wanted] = data
        self._at += wanted
        return wanted

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed and hasattr(self, "_parts"):
            self._parts.close()
        super().close()

    def __repr__(self) -> str:
        # HDF5 takes this as the name of the file.
        return str(self.url)


class _Parts:
    """Gets parts of a file, in the thread that asks for them.

    What fsspec reads comes from a thread of its own. HDF5 waits for it under a lock of h5py, which that thread wants,
    too, whenever it happens to collect a cycle with an object of h5py in it: then both wait for ever. So stores that
    are asynchronous are asked from a loop that runs here.
    """

    def __init__(self, url: Url, size: int) -> None:
        self._url, self._size = url, size
        self._loop: Any = None
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._fs, self._path = url.filesystem()
        if hasattr(self._fs, "set_session"):
            self._fs, self._path = url.filesystem(asynchronous=True, skip_instance_cache=True)
            self._loop = importlib.import_module("asyncio").new_event_loop()
            self._session: Any = None

    def __call__(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._size)
        if self._loop is None:
            found = bytes(self._fs.cat_file(self._path, start=start, end=stop))
        else:
            with self._lock:
                found = bytes(self._run(self._asked(start, stop)))
        if len(found) != stop - start:
            # Without this, what is missing would be read as whatever was in the memory.
            raise Unreached(f"the server gave {len(found):,} of {stop - start:,} bytes")
        return found

    async def _asked(self, start: int, stop: int) -> bytes:
        if self._session is None:
            self._session = await self._fs.set_session()
        if self._url._protocol not in ("http", "https"):
            return bytes(await self._fs._cat_file(self._path, start=start, end=stop))
        # Only this looks at the head of the answer, which may be a whole file of any size.
        file = importlib.import_module("fsspec.implementations.http").HTTPFile(
            self._fs, self._path, session=self._session, size=self._size, asynchronous=True, **self._fs.kwargs
        )
        return bytes(await file.async_fetch_range(start, stop))

    def _run(self, work: Any) -> Any:
        # Only here: it takes .03 s to load.
        import asyncio

        # A notebook runs its cells in a loop, beside which no other runs in the same thread, unless it is not told.
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(work)
        finally:
            asyncio._set_running_loop(outer)

    def close(self) -> None:
        if self._loop is None or self._loop.is_closed() or self._process != os.getpid():
            return
        with self._lock:
            if self._session is not None:
                self._run(self._session.close())
            self._loop.close()


def handle(path: AnyPath) -> Any:
    """What the libraries open: the path of a file on the disk, or a file that is open behind a URL."""
    if isinstance(path, Url):
        return path.open()
    check_regular(path)
    return path


def words_of(error: BaseException) -> str:
    """What became of an answer, in words."""
    if isinstance(error, Unreached):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"the server was silent for {SILENCE:.0f} s"
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 300:
        return f"the server answered {status} {getattr(error, 'message', '')}".strip()
    if isinstance(error, FileNotFoundError):
        return "the server does not have it any more (404)"
    if "range requests" in str(error):
        return _NO_PARTS
    if _is_of_http(error):
        return f"the connection broke off ({first_line(error).partition(': <')[0]})"
    return first_line(error)


def _is_of_http(error: BaseException | None) -> bool:
    return isinstance(error, TimeoutError) or type(error).__module__.partition(".")[0] == "aiohttp"


def facts_of(home: Url, files: Iterable[Url]) -> Json:
    """The same as `Url.facts` of one file; of several their size in all, and a digest of their names within `home`."""
    told = {str(file): file.facts() for file in files}
    if list(told) == [str(home)]:
        return told[str(home)]
    if any("size" not in facts for facts in told.values()):
        return {"mtime_ns": None, "version": None}
    start = f"{home}".rstrip("/") + "/"
    lines = "".join(sorted(f"{name.removeprefix(start)}\0{facts['size']}\n" for name, facts in told.items()))
    versions = "".join(f"{facts['version']}\n" for facts in told.values())
    return {
        "size": sum(facts["size"] for facts in told.values()),
        "files": hashlib.sha256(lines.encode()).hexdigest(),
        "mtime_ns": None,
        "version": hashlib.sha256(versions.encode()).hexdigest(),
    }


def store_of(url: Url) -> Any:
    """The store of a folder of Zarr: its list ``needed`` has the names of arrays all of whose chunks must be there."""
    load("zarr", "zarr", f"reading {url}")
    fs, path = url.filesystem(asynchronous=True)
    return _store().of(url, fs, path)


@functools.cache
def _store() -> Any:
    from zarr.abc.store import RangeByteRequest, SuffixByteRequest
    from zarr.storage import FsspecStore
    from zarr.storage._fsspec import _make_async

    class UrlStore(FsspecStore):
        """A store that names what it does not get; a chunk that is not there is not an empty one."""

        url: Url
        needed: list[str]

        @classmethod
        def of(cls, url: Url, fs: Any, path: str) -> UrlStore:
            made = cls(fs if fs.async_impl else _make_async(fs), read_only=True, path=path.rstrip("/"))
            made.url, made.needed = url, []
            return made

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            try:
                found = await super().get(key, prototype, byte_range)
            except Exception as error:
                raise Unreached(f"{key} was not read: {words_of(error)}") from error
            if found is None:
                if any(key.startswith(f"{name}/" if name else "") for name in self.needed) and _is_chunk(key):
                    raise Unreached(
                        f"chunk {key} is not there (its copy did not end, or it was never written): if that is as it "
                        "should be, pass allow_missing_chunks=True (--allow-missing-chunks)"
                    )
                return None
            wanted = None
            if isinstance(byte_range, RangeByteRequest):
                wanted = byte_range.end - byte_range.start
            elif isinstance(byte_range, SuffixByteRequest):
                wanted = byte_range.suffix
            if wanted is not None and len(found) != wanted:
                raise Unreached(f"the server gave {len(found):,} of {wanted:,} bytes of {key}")
            return found

    return UrlStore


def _is_chunk(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name not in METADATA and not name.startswith(".z")


# What is still open when Python ends is closed in this order.
_tables: weakref.WeakSet[Any] = weakref.WeakSet()
_files: weakref.WeakSet[UrlFile] = weakref.WeakSet()


def closed_at_exit(table: Any) -> Any:
    """Have a file of HDF5 closed before Python ends: it reads through an object that is gone by then, and crashes."""
    _tables.add(table)
    return table


@atexit.register
def _close() -> None:
    for opened in [*_tables, *_files]:
        with suppress(Exception):
            opened.close()
