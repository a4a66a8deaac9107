"""Sinks: rows written as they come, and put in place in one step when all are there."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._disk import check_regular, check_room, sync_folder

_PIECE = 1 << 22


class NpySink:
    """Writes a ``.npy`` file of float32 from top to bottom, and can go on where an earlier one stopped.

    The rows go to a file with ``.part`` behind its name. `close` moves it to `path` in one step once every row is
    there; whatever happens before, no file of that name appears (or an older one stays as it was).

    Parameters
    ----------
    path : path
        The file to write.
    shape : tuple of int
        (n_samples, n_components), or (n_samples,).
    done, crc : int
        To go on: rows that are in the ``.part`` file, and their CRC-32, as `sync` returned it. What lies behind
        them is cut off. By default the file is begun anew.

    Raises
    ------
    OSError
        Where the folder is missing, may not be written, or has too little room.
    ValueError
        Where the rows done are not those that were written.

    Examples
    --------
    >>> with NpySink("map.npy", (1_000_000, 2)) as sink:  # doctest: +SKIP
    ...     for start, stop, block in iterate(source):
    ...         sink.write(model.transform(block))
    """

    def __init__(
        self, path: str | os.PathLike[str], shape: tuple[int, ...], *, done: int = 0, crc: int | None = None
    ) -> None:
        self.path = Path(path)
        self.shape = tuple(int(size) for size in shape)
        self.part = self.path.with_name(self.path.name + ".part")
        self.written = done
        self.crc = crc or 0
        self._row = 4 * int(np.prod(self.shape[1:], dtype=np.int64))
        header = _header(self.shape)
        self._ahead = len(header)
        resumed = crc is not None
        if resumed and done == self.shape[0] and self.path.exists() and not self.part.exists():
            # Stopped after this file was put in place, and before what belongs to it was.
            try:
                os.replace(self.path, self.part)
            except OSError as error:
                raise _refused(self.path, error) from error
        if resumed and not self.part.exists():
            raise FileNotFoundError(f"{self.part}, which holds {done} rows that are marked as done, is missing")
        check_regular(self.part)
        there = self.part.stat().st_size if resumed else 0
        check_room(self.path, len(header) + self._row * self.shape[0] - there)
        try:
            if not resumed and self.part.is_symlink():
                # What somebody's link points to is not written over.
                self.part.unlink()
            self._file: Any = open(self.part, "r+b" if resumed else "wb")  # noqa: SIM115
        except OSError as error:
            raise type(error)(f"{self.path} cannot be written: {error.strerror or error}") from None
        try:
            if resumed:
                self._check_done(header)
            else:
                self._file.write(header)
        except BaseException:
            self._file.close()
            raise

    def _check_done(self, header: bytes) -> None:
        """Compare the rows done with their sum, cut off the rest, and stand behind them."""
        end = self._ahead + self.written * self._row
        if self._file.read(len(header)) != header:
            raise ValueError(f"{self.part} was begun for a table of another shape than {self.shape}")
        found, left = 0, end - self._ahead
        while left:
            piece = self._file.read(min(left, _PIECE))
            if not piece:
                raise ValueError(f"{self.part} is shorter than the {self.written} rows that are marked as done")
            found, left = zlib.crc32(piece, found), left - len(piece)
        if found != self.crc:
            raise ValueError(f"{self.part} is damaged: its first {self.written} rows are not those that were written")
        self._file.seek(end)
        self._file.truncate()

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows, of shape (m, n_components) or (m,) as the file has it."""
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        rows = np.ascontiguousarray(rows, dtype="<f4")
        if rows.shape[1:] != self.shape[1:] or self.written + len(rows) > self.shape[0]:
            raise ValueError(
                f"{self.path} takes rows of shape {self.shape}; {self.written} are written, not so {rows.shape} more"
            )
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise _refused(self.path, error) from error
        self.crc = zlib.crc32(rows.data, self.crc)
        self.written += len(rows)

    def sync(self) -> int:
        """Bring all rows to the disk; their CRC-32."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _refused(self.path, error) from error
        return self.crc

    def close(self) -> None:
        """Put the file in place; raises ValueError where rows are missing, and leaves them in the ``.part`` file."""
        if self._file is None:
            return
        if self.written != self.shape[0]:
            self.leave()
            raise ValueError(f"{self.path} is short of rows: {self.written} of {self.shape[0]} were written")
        try:
            self.sync()
        except BaseException:
            self.leave()
            raise
        self._file.close()
        self._file = None
        try:
            os.replace(self.part, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise _refused(self.path, error) from error

    def leave(self) -> None:
        """Stop writing, and leave what was written in the ``.part`` file."""
        if self._file is None:
            return
        file, self._file = self._file, None
        # A full disk refuses the last buffer too; the rows marked as done are there all the same.
        with contextlib.suppress(OSError):
            file.close()

    def discard(self) -> None:
        """Give up: remove what was written."""
        if self._file is None:
            return
        self.leave()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> NpySink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _header(shape: tuple[int, ...]) -> bytes:
    from io import BytesIO

    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _refused(path: Path, error: OSError) -> OSError:
    return OSError(f"{path} could not be written: {error.strerror or error}")
