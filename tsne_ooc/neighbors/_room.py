"""Where the large arrays of an index are: in memory, or in files without a name where memory is to be spared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc._typing import Array

# Rows that are copied at a time.
PIECE = 1 << 15

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Let `empty` and `picked` give arrays over files in a folder, which are gone when nobody holds the arrays."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array to be filled; pages of one over a file go back to the disk where memory is short.

    Raises
    ------
    OSError
        Where the disk does not have the room, since to write to a map of a file that cannot grow would end the process.
    """
    folder = _folder.get()
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if folder is None or not size:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            _allocate(file, size)
        except OSError as error:
            raise type(error)(f"{folder} has no room for {size / 1e9:.2f} GB: {error.strerror or error}") from None
        # A plain array over the mapped file, since Numba does not know other kinds.
        return np.asarray(np.memmap(file, dtype, "r+", 0, shape))


def _allocate(file: Any, size: int) -> None:
    import os

    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def picked(X: Array, which: Array) -> Array:
    """``X[which]`` for row numbers or a mask, in an array from `empty`."""
    numbers = np.flatnonzero(which) if which.dtype == bool else which
    out = empty((len(numbers), *X.shape[1:]), X.dtype)
    for a in range(0, len(numbers), PIECE):
        out[a : a + PIECE] = X[numbers[a : a + PIECE]]
    return out
