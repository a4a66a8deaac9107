"""Sinks: they write rows as they come, and put the file in place in one step when all are there."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tsne_ooc.storage.disk import check_regular, check_room, sync_folder
from tsne_ooc.storage.ranges import Range, joined

_PIECE = 1 << 22


class NpySink:
    """Writes a ``.npy`` file of numbers, its rows in any order, and can go on where an earlier one stopped.

    The rows go to a file with ``.part`` behind its name. `close` moves it to `path` in one step once every row is
    there. Whatever happens before, no file of that name appears, and an older one stays as it was.

    Parameters
    ----------
    path : path
        The file to write.
    shape : tuple of int
        (n_samples, n_components), or (n_samples,).
    done : sequence of (int, int, int), optional
        Ranges in the ``.part`` file to go on from: first row, row after the last, and CRC-32 of each, as in `done` of
        the sink that wrote them. What lies behind the last is cut off. By default the file is begun anew.
    dtype : numpy type, default float32

    Attributes
    ----------
    done : tuple of Range
        What is written: ascending ranges that do not adjoin, with their CRC-32.

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
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        *,
        done: Sequence[tuple[int, int, int]] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.path = Path(path)
        self.shape = tuple(int(size) for size in shape)
        self.part = self.path.with_name(self.path.name + ".part")
        self.done = tuple(Range(*part) for part in done or ())
        # Where the next rows go that come without a place.
        self._at = self.done[-1].stop if self.done else 0
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._row = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        header = _header(self.shape, self.dtype)
        self._ahead = len(header)
        resumed = done is not None
        if resumed and self.written == self.shape[0] and self.path.exists() and not self.part.exists():
            # The run stopped after this file was put in place, and before the files that belong to it were.
            try:
                os.replace(self.path, self.part)
            except OSError as error:
                raise _refused(self.path, error) from error
        if resumed and not self.part.exists():
            raise FileNotFoundError(f"{self.part}, which holds {self.written} rows that are marked as done, is missing")
        check_regular(self.part)
        check_room(self.path, self._row * (self.shape[0] - self.written) + (0 if resumed else len(header)))
        try:
            if not resumed and self.part.is_symlink():
                # The target of somebody's link must not be written over.
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

    @property
    def written(self) -> int:
        """How many rows are written."""
        return sum(stop - start for start, stop, _ in self.done)

    def _check_done(self, header: bytes) -> None:
        """Compare the rows done with their sums, and cut off what lies behind the last."""
        if self._file.read(len(header)) != header:
            raise ValueError(
                f"{self.part} was begun for a table of another shape than {self.shape}, or for other numbers"
            )
        for start, stop, crc in self.done:
            self._file.seek(self._ahead + start * self._row)
            found, left = 0, (stop - start) * self._row
            while left:
                piece = self._file.read(min(left, _PIECE))
                if not piece:
                    raise ValueError(f"{self.part} is shorter than the {self.written} rows that are marked as done")
                found, left = zlib.crc32(piece, found), left - len(piece)
            if found != crc:
                which = f"its first {stop} rows" if start == 0 else f"its rows {start} to {stop - 1}"
                raise ValueError(f"{self.part} is damaged: {which} are not those that were written")
        self._file.truncate(self._ahead + self._at * self._row)

    def write(self, rows: NDArray[Any], at: int | None = None) -> None:
        """Write rows, of shape (m, n_components) or (m,) as the file has it.

        Parameters
        ----------
        rows : ndarray
        at : int, optional
            The number of the first; by default they go behind those that were written last.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        at = self._at if at is None else at
        if rows.shape[1:] != self.shape[1:] or not 0 <= at <= at + len(rows) <= self.shape[0]:
            where = f"{self.written} are written" if at == self._at else f"they are to go to row {at}"
            raise ValueError(f"{self.path} takes rows of shape {self.shape}; {where}, and {rows.shape} more do not fit")
        if not len(rows):
            return
        try:
            done = joined(self.done, Range(at, at + len(rows), zlib.crc32(rows.data)), self._row)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None
        try:
            self._file.seek(self._ahead + at * self._row)
            self._file.write(rows.data)
        except OSError as error:
            raise _refused(self.path, error) from error
        self.done, self._at = done, at + len(rows)

    def sync(self) -> None:
        """Bring all rows to the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _refused(self.path, error) from error

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
        # A full disk refuses the last buffer, too; the rows marked as done are there all the same.
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


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    from io import BytesIO

    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return file.getvalue()


def _refused(path: Path, error: OSError) -> OSError:
    return OSError(f"{path} could not be written: {error.strerror or error}")
