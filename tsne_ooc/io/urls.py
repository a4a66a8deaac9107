"""Files behind URLs, which fsspec reads, as paths.

Readers take such a path where they take one of the disk. What a server does not give ends in one line.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from tsne_ooc._typing import Json, StrPath
from tsne_ooc.io.failures import first_line
from tsne_ooc.io.optional import load
from tsne_ooc.io.parts import METADATA
from tsne_ooc.io.url_files import NO_PARTS, UrlFile, asked_with, is_of_http, words_of
from tsne_ooc.storage.disk import check_regular

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
        plain = re.split(r"[?#]", self._url)[0] if self.protocol in ("http", "https") else self._url
        return plain.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        return Url(self._url.rstrip("/").rpartition("/")[0])

    @property
    def protocol(self) -> str:
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
        if known and (self.protocol not in ("http", "https") or self._url.endswith(tuple(METADATA))):
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
            raise OSError(f"{self} cannot be read: {NO_PARTS}")
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
        if self.protocol not in ("http", "https"):
            return {}
        aiohttp = load("aiohttp", "remote", what)
        if "::" in self._url or "client_kwargs" in fsspec.config.conf.get(self.protocol, {}):
            return {}
        return {"client_kwargs": asked_with(aiohttp)}

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
                    if is_of_http(why) and getattr(why, "status", None) not in (404, 410):
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


def handle(path: AnyPath) -> Any:
    """What the libraries open: the path of a file on the disk, or a file that is open behind a URL."""
    if isinstance(path, Url):
        return path.open()
    check_regular(path)
    return path


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
