"""One run at a time: a lock that dies with the process that holds it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from tsne_ooc._typing import StrPath

# What systems say where another process holds the lock; anything else means that there are no locks here.
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}


class Lock:
    """A lock that holds a file for this process alone, from `__enter__` to `__exit__`.

    The operating system keeps the lock and drops it when the process ends, however it ends; a file that a killed run
    left behind locks nobody out. On some network file systems locks bind one machine only.

    Parameters
    ----------
    path : path
        The file to hold. It is made, holds the number of the process, and is removed at the end.
    what : str
        What error messages call the thing that is locked.

    Raises
    ------
    BlockingIOError
        On entry, where another process (or this one) holds it, naming the process.
    OSError
        On entry, where the file cannot be made, or its file system has no locks.
    """

    def __init__(self, path: StrPath, what: str) -> None:
        self.path = Path(path)
        self.what = what
        self._file: Any = None

    def __enter__(self) -> Lock:
        while self._file is None:
            file = self._open()
            # A lock of ours holds a number, or nothing yet.
            if (found := _read(file)) and not found.isdigit():
                file.close()
                raise FileExistsError(f"{self.path} is not a lock but a file of somebody else; move it away")
            try:
                _hold(file)
            except OSError as error:
                owner = _read(file)
                file.close()
                if error.errno not in _HELD:
                    reason = error.strerror or error
                    raise type(error)(f"{self.what} cannot be locked, {reason}; write to another disk") from None
                by = f" (process {owner})" if owner.isdigit() else ""
                raise BlockingIOError(
                    f"{self.what} is being written by another run{by}; wait for it or stop it"
                ) from None
            if _same(file, self.path):
                self._file = file
            else:
                # Its last owner removed it between our opening and holding it.
                file.close()
        self._file.truncate(0)
        self._file.write(str(os.getpid()).encode())
        self._file.flush()
        return self

    def _open(self) -> Any:
        try:
            return open(self.path, "a+b")
        except OSError as error:
            raise type(error)(f"{self.what} cannot be written: {error.strerror or error}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file is removed while it is held, so whoever opened it before finds out that it is gone. If somebody
        # removed it, the file of this name is the lock of another run.
        if _same(self._file, self.path):
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None


def _read(file: Any) -> str:
    try:
        file.seek(0)
        return str(file.read(20).decode("ascii", "replace")).strip()
    except OSError:
        return ""


def _same(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def _hold(file: Any) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        # This locks a byte far behind the number, so that others may read the number.
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
