"""What every writer asks of the disk: room before it begins, and names that last once they are given."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

# Systems and file systems (NFS, CIFS, FUSE) that cannot open or synchronise folders say so in these words; PostgreSQL
# lets the same errors pass. A full or broken disk says something else.
_NOT_HERE = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EISDIR, errno.EACCES}


def sync_folder(folder: Path) -> None:
    """Make renames within a folder last through a loss of power, where the system can."""
    # Windows does not open folders, and writes their entries through.
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise


def check_regular(path: Path) -> None:
    """Raise OSError where `path` is a pipe, a device or a socket: to open one may wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        # Whoever opens it says what is wrong.
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise OSError(f"{path} is a {kind}, not a file; write what comes out of it to a file first")


def check_room(path: Path, needed: int, what: str | None = None) -> None:
    """Raise OSError where the folder of `path` is missing or has less than `needed` bytes left.

    Parameters
    ----------
    path : Path
        What is to be written.
    needed : int
        Bytes that it takes beyond those it has.
    what : str, optional
        What the error calls it; by default its path.
    """
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to write {path.name} in")
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{what or path} needs {needed / 1e9:.2f} GB more, and {folder} has {free / 1e9:.2f} GB left")
