"""A copy of a file, for nothing where the file system can."""

from __future__ import annotations

import shutil
from pathlib import Path


def clone(source: Path, target: Path) -> None:
    """Copy a file, at no cost where the file system shares blocks between files (Btrfs, XFS)."""
    try:
        import fcntl

        with source.open("rb") as old, target.open("wb") as new:
            fcntl.ioctl(new.fileno(), 0x40049409, old.fileno())  # FICLONE
    except (ImportError, OSError):
        shutil.copyfile(source, target)
