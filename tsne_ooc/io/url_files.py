"""Open files behind URLs, and what their servers answer, in words."""

from __future__ import annotations

import atexit
import importlib
import io
import os
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tsne_ooc._typing import Json
from tsne_ooc.io.failures import Unreached, first_line
from tsne_ooc.io.optional import load

if TYPE_CHECKING:
    from tsne_ooc.io.urls import Url

# Seconds that a server may be silent. One that is only slow is waited for.
SILENCE = 60.0
# What is asked for at a time, and how many of these an open file keeps: a block of rows. Sixteen files of one table,
# which may be open together, keep half a gigabyte.
BLOCK, BLOCKS = 4 << 20, 8
NO_PARTS = "its server does not give parts of files (range requests); download it, and read the copy"


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
        if self._url.protocol not in ("http", "https"):
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


def asked_with(aiohttp: Any) -> Json:
    """How HTTP is asked, where the user's own settings do not say it."""
    # By default each answer has five minutes in all, whatever its size. Packed answers are not parts of the file.
    limits = aiohttp.ClientTimeout(total=None, connect=SILENCE, sock_read=SILENCE)
    return {"timeout": limits, "headers": {"Accept-Encoding": "identity"}}


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
        return NO_PARTS
    if is_of_http(error):
        return f"the connection broke off ({first_line(error).partition(': <')[0]})"
    return first_line(error)


def is_of_http(error: BaseException | None) -> bool:
    return isinstance(error, TimeoutError) or type(error).__module__.partition(".")[0] == "aiohttp"


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
