"""Files and folders that are whole or absent: the one way in which this package puts a name on the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tsne_ooc.storage.disk import sync_folder


@contextmanager
def whole_file(path: Path, *, part: Path | None = None, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """A temporary file that takes the place of `path` in one step, once it is written and on the disk.

    After an error nothing is left; after a kill, the temporary file is.

    Parameters
    ----------
    path : Path
    part : Path, optional
        What the file is called until then. By default it is a hidden name beside `path` that nobody else has and that
        ends in ``.part``. The next attempt writes over a name that is given.
    check : callable, optional
        Called right before the step, when the disk has had its time; it may raise.

    Raises
    ------
    OSError
        Where that fails.
    """
    temporary = _made(path) if part is None else part
    if temporary.is_symlink():
        # The target of somebody's link must not be written over.
        temporary.unlink()
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if check is not None:
            check()
        if path.exists():
            shutil.copymode(path, temporary)
        elif part is None:
            _give_rights(temporary, 0o666)
        os.replace(temporary, path)
    except BaseException:
        # A disk that refuses to write may refuse this, too.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _made(path: Path) -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from None
    os.close(handle)
    return Path(name)


@contextmanager
def whole_folder(path: Path, put: Callable[[Path, Path], None] | None = None) -> Iterator[Path]:
    """Do as `whole_file` does for a folder, where there is none yet, or an empty one.

    `put` gives it its name; by default it is renamed. With `exchange` it takes the place of a folder that is there.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        _sync_all(temporary)
        _give_rights(temporary, 0o777)
        (put or os.rename)(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def exchange(temporary: Path, path: Path) -> None:
    """Give a folder its name; one that has it already is set aside for the moment of the change."""
    if not path.exists():
        os.rename(temporary, path)
        return
    old = temporary.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.rename(old, path)
        raise
    # The old one goes when the new one has its name for good.
    sync_folder(path.parent)
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def _sync_all(folder: Path) -> None:
    """Bring a folder and all within it to the disk, the deepest first."""
    for here, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(os.path.join(here, name), "rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(here))


def _give_rights(temporary: Path, most: int) -> None:
    """Give a temporary file or folder, which is its owner's alone, the rights that `open` or `mkdir` would give."""
    os.chmod(temporary, most & ~_mask())


def _mask() -> int:
    """Which rights new files do not get.

    Linux tells it. Asking by setting another one, if only for a moment, would also set it for other threads' files.
    """
    with suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
