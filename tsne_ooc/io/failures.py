"""Whatever a library raises about a damaged file, as one line that names the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tsne_ooc._typing import StrPath

# A caller can handle these; nobody expects a library's own kinds, such as zlib.error or ArrowInvalid.
_PLAIN = (ValueError, TypeError, MemoryError)


class Unreached(OSError):
    """A server did not give what was asked of it; this says nothing of what is in the file."""


@contextmanager
def opening(path: StrPath) -> Iterator[None]:
    """Let errors through that name the path or a missing package, and make others an OSError that does.

    The libraries that read HDF5, Zarr, Parquet and zip files raise ten kinds of errors about damaged metadata, most of
    which say what is wrong deep within, but not in which file.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, (*_PLAIN, OSError)) and os.fspath(path) in str(error):
            raise
        if isinstance(error, Unreached):
            raise OSError(f"{path} cannot be read: {error}") from error
        if isinstance(error, MemoryError):
            raise MemoryError(f"{path} asks for more memory than there is: {first_line(error)}") from error
        raise OSError(f"{path} is damaged or not whole, and cannot be read: {first_line(error)}") from error


@contextmanager
def reading(table: Any, start: int, stop: int) -> Iterator[None]:
    """Have errors name the rows `start` up to `stop` of the table."""
    try:
        yield
    except Exception as error:
        kind = type(error) if type(error) in _PLAIN else OSError
        raise kind(f"rows {start} to {stop - 1} of {table!r} could not be read: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind, too, where it says nothing or just a key that was looked up."""
    # Reads that run at once, as the newest Zarr's do, raise their errors as one group, which does not say anything.
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__} {text}".strip() if not text or isinstance(error, LookupError) else text
