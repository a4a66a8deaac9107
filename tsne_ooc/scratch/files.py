"""Files without a name: they are gone when they are closed, and when the process is killed."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, StrPath

# File systems that are kept in memory, so that a file there does not spare any.
_IN_MEMORY = {"tmpfs", "ramfs"}


def scratch_folder(scratch: StrPath | None = None) -> Path:
    """The folder that scratch files are made in, by default that of the system's temporary files; a file is tried.

    Raises
    ------
    OSError
        Where there is no such folder, it cannot be written, or it is kept in memory.
    """
    folder = Path(tempfile.gettempdir() if scratch is None else scratch)
    if not folder.is_dir():
        raise FileNotFoundError(f"scratch={str(folder)!r} is not a folder; make it, or name another one")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(
            f"scratch={str(folder)!r} cannot be written ({error.strerror or error}); name another folder"
        ) from None
    if _kind_of(folder) in _IN_MEMORY:
        raise OSError(
            f"scratch={str(folder)!r} is kept in memory ({_kind_of(folder)}), and scratch is there to spare it; name a "
            "folder on a disk"
        )
    return folder


def _kind_of(folder: Path) -> str:
    """The kind of file system that a folder is on, "" where the system does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    here = folder.resolve()
    mounts = [line.split()[1:3] for line in lines]
    # Of two file systems at one point, the one that was mounted last hides the other.
    over = [(len(point), kind) for point, kind in mounts if here == Path(point) or Path(point) in here.parents]
    return max(reversed(over), key=lambda found: found[0])[1] if over else ""


class ScratchFile:
    """Numbers of one type on disk, which many threads may write and read at any place.

    Parameters
    ----------
    folder : Path
    dtype : type
    what : str
        What error messages call it.
    """

    def __init__(self, folder: Path, dtype: Any, what: str) -> None:
        self.folder, self.dtype, self.what = folder, np.dtype(dtype), what
        # Where the system can, the file never has a name: a killed process leaves nothing behind.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        # Code that fails on the way need not know of the file to close it.
        weakref.finalize(self, self._file.close)

    def close(self) -> None:
        self._file.close()

    def write(self, at: int, values: Array) -> None:
        """Write numbers, the first of them as number `at` of the file.

        Raises
        ------
        OSError
            Where the disk is full, or refuses.
        """
        data = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data
        place = at * self.dtype.itemsize
        try:
            while data:
                done = self._put(data, place)
                data, place = data[done:], place + done
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "make room there, or name another folder by scratch="
            raise type(error)(
                f"{self.what} cannot be written to {self.folder}: "
                f"{'the disk is full' if full else error.strerror or error}; {remedy}"
            ) from None

    def read(self, at: int, out: Array) -> None:
        """Fill `out`, which is contiguous, with numbers of the file, from number `at` on.

        Raises
        ------
        OSError
            Where the file is too short, or the disk refuses.
        """
        data, place = out.reshape(-1).view(np.uint8).data, at * self.dtype.itemsize
        try:
            while data:
                done = self._get(data, place)
                if not done:
                    raise OSError("the file is shorter than what was written")
                data, place = data[done:], place + done
        except OSError as error:
            raise type(error)(
                f"{self.what} cannot be read from {self.folder}: {error.strerror or error}; begin again, or name "
                "another folder by scratch="
            ) from None

    def soon(self, at: int, count: int) -> None:
        """Let the system read numbers ahead that will soon be asked for."""
        if hasattr(os, "posix_fadvise"):
            size = self.dtype.itemsize
            os.posix_fadvise(self._file.fileno(), at * size, count * size, os.POSIX_FADV_WILLNEED)

    def _put(self, data: memoryview, place: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._file.fileno(), data, place)
        with self._lock:
            self._file.seek(place)
            return int(self._file.write(data) or 0)

    def _get(self, data: memoryview, place: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [data], place)
        with self._lock:
            self._file.seek(place)
            return int(self._file.readinto(data) or 0)
