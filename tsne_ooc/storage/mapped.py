"""Where large arrays are: in memory, or in files without a name where memory is to be spared."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc._memory import bounded
from tsne_ooc._typing import Array

# Rows that are copied at a time.
PIECE = 1 << 15
# Numbers that are looked at, or written, before their pages are given back.
NUMBERS = 1 << 20

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)
# What `empty` gave over files, as long as somebody holds it.
_given: WeakValueDictionary[int, np.memmap[Any, Any]] = WeakValueDictionary()


@contextmanager
def on_disk(folder: Path | None, most: int | None = None) -> Iterator[None]:
    """Let `empty` and `picked` give arrays over files in a folder, which are gone when nobody holds the arrays.

    Parameters
    ----------
    folder : path or None
        None lets them give arrays in memory.
    most : int, optional
        Bytes that the process may hold: what threads do in pieces then gives pages of all such arrays back, where they
        come near it.
    """
    token = _folder.set(folder)
    try:
        with bounded(None if folder is None else most, forget_given):
            yield
    finally:
        _folder.reset(token)


def spared() -> bool:
    """Whether `empty` gives arrays over files now."""
    return _folder.get() is not None


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
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _allocate(file, size)
            mapped = np.memmap(file, dtype, "r+", 0, shape)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no folder {folder} any more; make it, or name another one") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what, remedy = ("has no room for", "make room there") if full else ("cannot hold", "name another folder")
        raise type(error)(f"{folder} {what} {size / 1e9:.2f} GB: {error.strerror or error}; {remedy}") from None
    _given[id(mapped)] = mapped
    # A plain array over the mapped file, since Numba does not know other kinds.
    return np.asarray(mapped)


def _allocate(file: Any, size: int) -> None:
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


def forget(*arrays: Array) -> None:
    """Give back the memory of arrays, or parts of arrays, over files; they are read again when they are asked for.

    Pages that were touched count as memory of the process until others need them: 0.9 GB for a graph of 1.3 million
    rows. Arrays in memory stay as they are.
    """
    for array in arrays:
        owner: Any = array
        while isinstance(owner, np.ndarray) and not isinstance(owner.base, mmap.mmap):
            owner = owner.base
        # Only maps that share their file: what was written to a private one would be lost.
        if getattr(owner, "mode", None) not in ("r", "r+", "w+") or not array.flags.c_contiguous or not array.nbytes:
            continue
        if not hasattr(mmap, "MADV_DONTNEED"):
            continue
        at = _address(array) - _address(owner) + owner.offset % mmap.ALLOCATIONGRANULARITY
        first = at - at % mmap.PAGESIZE
        owner.base.madvise(mmap.MADV_DONTNEED, first, at + array.nbytes - first)


def forget_given() -> None:
    """Give back the memory of all that `empty` has given over files."""
    # A list of references is made at once, whatever other threads map meanwhile.
    forget(*(array for ref in _given.valuerefs() if (array := ref()) is not None))


def in_pieces(array: Array) -> Iterator[Array]:
    """The numbers of a C-contiguous array, some at a time; those over a file are forgotten again."""
    flat = array.reshape(-1)
    for start in range(0, len(flat), NUMBERS):
        some = flat[start : start + NUMBERS]
        yield some
        forget(some)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
