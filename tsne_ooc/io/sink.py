"""Sinks: rows written as they come, and put in place in one step when all are there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray


def publish(temporary: Path, path: Path) -> None:
    """Put a finished temporary file in place, in one step."""
    # A temporary file is its owner's alone; the finished one gets the rights that `open` would have given it.
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(temporary, 0o666 & ~mask)
    os.replace(temporary, path)


class NpySink:
    """Writes a ``.npy`` file of float32 from top to bottom.

    The rows go to a temporary file in the same folder. `close` moves it to `path` in one step once every row
    is there; whatever happens before, no file of that name appears (or an older one stays as it was).

    Parameters
    ----------
    path : path
        The file to write.
    shape : tuple of int
        (n_samples, n_components).

    Raises
    ------
    OSError
        Where the folder is missing, may not be written, or has too little room.

    Examples
    --------
    >>> with NpySink("map.npy", (1_000_000, 2)) as sink:  # doctest: +SKIP
    ...     for start, stop, block in iterate(source):
    ...         sink.write(model.transform(block))
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, int]) -> None:
        self.path = Path(path)
        self.shape = (int(shape[0]), int(shape[1]))
        self.written = 0
        folder = self.path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder} to write {self.path.name} in")
        needed = 4 * self.shape[0] * self.shape[1] + 128
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OSError(f"{self.path} needs {needed / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB left")
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".part", dir=folder)
        except OSError as error:
            raise type(error)(f"{self.path} cannot be written: {error.strerror or error}") from None
        self._temporary = Path(temporary)
        self._file: Any = os.fdopen(handle, "wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows of shape (m, n_components)."""
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        rows = np.ascontiguousarray(rows, dtype="<f4")
        if rows.ndim != 2 or rows.shape[1] != self.shape[1] or self.written + len(rows) > self.shape[0]:
            raise ValueError(
                f"{self.path} takes rows of shape {self.shape}; {self.written} are written, not so {rows.shape} more"
            )
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise OSError(f"{self.path} could not be written: {error.strerror or error}") from error
        self.written += len(rows)

    def close(self) -> None:
        """Put the file in place; raises ValueError, and leaves nothing, where rows are missing."""
        if self._file is None:
            return
        if self.written != self.shape[0]:
            self.discard()
            raise ValueError(f"{self.path} is short of rows: {self.written} of {self.shape[0]} were written")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            publish(self._temporary, self.path)
        except OSError as error:
            self.discard()
            raise OSError(f"{self.path} could not be written: {error.strerror or error}") from error
        self._file = None

    def discard(self) -> None:
        """Give up: remove what was written."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except OSError:
            # A full disk refuses the last buffer too; the file goes anyway.
            pass
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> NpySink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
