"""Folders of Zarr behind URLs, as stores that say what they did not get."""

from __future__ import annotations

import functools
from typing import Any

from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.optional import load
from tsne_ooc.io.parts import METADATA
from tsne_ooc.io.url_files import words_of
from tsne_ooc.io.urls import Url


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
