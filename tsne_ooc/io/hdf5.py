"""Tables in HDF5 files, opened with errors that say what to do next."""

from __future__ import annotations

import difflib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc.io.shape import table_shape

# Streaming 400,000 x 64 float32 on one core takes 0.02 s where chunks are as wide as the table, 0.05 s with 4
# side by side, 0.08 with 8, 0.12 with 32, 0.19 with 64; single rows take 5 to 60 times as long.
_CHUNKS_ACROSS = 8
# A table that is read in a moment whatever its chunks needs no warning.
_WORTH_A_WARNING = 64 << 20
# HDF5 keeps so much of the chunks it has unpacked; a larger row of chunks would break the bound on memory.
_LARGEST_CACHE = 64 << 20


def open_hdf5(path: str | os.PathLike[str], dataset: str | None = None) -> Hdf5Source:
    """Open a table in an HDF5 file for reading.

    Parameters
    ----------
    path : path
        The file.
    dataset : str, optional
        Name of the dataset within the file, such as ``"X"`` or ``"obsm/X_pca"``. Without it the file must
        hold exactly one two-dimensional numeric dataset.

    Returns
    -------
    Hdf5Source
        Use it in a ``with`` statement, or call its ``close``. It pickles by path and reopens after a fork.

    Raises
    ------
    OSError
        Where the file does not exist, is a folder, is not HDF5 or is cut short.
    ValueError
        Where the dataset is missing (those that are there are listed), is a group, or is no two-dimensional
        table of real numbers, and where `dataset` is left out although there is more than one table.

    Warns
    -----
    UserWarning
        Where chunks are so narrow that reading rows is slow.

    Examples
    --------
    >>> with open_hdf5("cells.h5", "X") as X:  # doctest: +SKIP
    ...     coordinates = model.transform(X)
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not an HDF5 file")
    file = _open(path)
    try:
        if dataset is None:
            dataset = _only_table(file, path)
        found = _look_up(file, path, dataset)
        check_table(found, f"dataset {dataset!r} of {path}")
        band = _band_bytes(found)
        if band > _default_cache(found):
            # Where a block of rows ends within a chunk, the chunks it cuts must still be unpacked next time.
            file.close()
            file = h5py.File(path, "r", rdcc_nbytes=min(band, _LARGEST_CACHE), rdcc_nslots=10007)
            found = file[dataset]
    except BaseException:
        file.close()
        raise
    return Hdf5Source(file, found)


class Hdf5Source:
    """Rows of an HDF5 dataset (see `open_hdf5`); a pickle holds the path and the name of the dataset."""

    def __init__(self, file: Any, dataset: Any, *, owns_file: bool = True) -> None:
        self._file = file if owns_file else None
        self._dataset = dataset
        self._process = os.getpid()
        self.path = Path(dataset.file.filename).resolve()
        self.name = str(dataset.name)
        self.shape: tuple[int, int] = table_shape(dataset.shape, f"dataset {self.name!r}")
        self.dtype: np.dtype[Any] = dataset.dtype
        self.chunks: tuple[int, int] | None = dataset.chunks
        self._warn_if_narrow()

    @classmethod
    def of(cls, dataset: Any) -> Hdf5Source:
        """The source of an open ``h5py.Dataset``, whose file stays with whoever opened it."""
        if not dataset:
            raise ValueError("the HDF5 file of this dataset is closed; open it again, or pass it while it is open")
        check_table(dataset, f"dataset {dataset.name!r} of {dataset.file.filename}")
        return cls(None, dataset, owns_file=False)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        if os.getpid() != self._process:
            # A handle does not survive a fork: parent and child would move each other's position in the file.
            fresh = open_hdf5(self.path, self.name)
            self._file, self._dataset, self._process = fresh._file, fresh._dataset, os.getpid()
        if not self._dataset:
            raise ValueError(f"{self.path} is closed; read from it within its `with` statement")
        return np.asarray(self._dataset[start:stop])

    def reopen(self) -> Hdf5Source:
        return open_hdf5(self.path, self.name)

    def close(self) -> None:
        """Close the file, if this source opened it."""
        if self._file is not None and os.getpid() == self._process:
            self._file.close()

    def __enter__(self) -> Hdf5Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_hdf5, (self.path, self.name)

    def __repr__(self) -> str:
        return f"dataset {self.name!r} of {self.path}, shape {self.shape}"

    def _warn_if_narrow(self) -> None:
        rows, columns = self.shape
        if self.chunks is None or rows * columns * self.dtype.itemsize < _WORTH_A_WARNING:
            return
        across = -(-columns // self.chunks[1])
        if across > _CHUNKS_ACROSS:
            good = max(1, (1 << 20) // max(1, columns * self.dtype.itemsize))
            warnings.warn(
                f"{self.name!r} of {self.path.name} is stored in chunks of {self.chunks}: {across} side by "
                f"side make "
                f"up a row, so reading rows is slow; write it again with chunks=({min(good, rows)}, "
                f"{columns})",
                UserWarning,
                stacklevel=4,
            )


def check_table(dataset: Any, name: str) -> None:
    """Raise one clear line where an h5py dataset is not a two-dimensional table of real numbers."""
    kind = dataset.dtype
    if kind.names is not None:
        if set(kind.names) == {"r", "i"}:
            raise ValueError(f"Complex data not supported: {name} has type {kind}")
        raise ValueError(
            f"{name} is a compound table with fields {', '.join(kind.names)}; write its numbers as one 2-D array"
        )
    if kind.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has type {kind}")
    if kind.kind in "OSU":
        raise ValueError(f"{name} holds strings or objects, not numbers")
    if kind.kind not in "fiub":
        raise ValueError(f"{name} has type {kind}, which does not hold plain numbers")
    if dataset.shape is None:
        raise ValueError(f"{name} is empty")
    if len(dataset.shape) != 2:
        what = {0: "a scalar", 1: "1-D"}.get(len(dataset.shape), f"{len(dataset.shape)}-D")
        raise ValueError(f"{name} is {what}, shape {dataset.shape}; a table of (n_samples, n_features) is needed")


def _open(path: Path) -> Any:
    import h5py

    try:
        with path.open("rb") as raw:
            signature = raw.read(8)
    except PermissionError:
        raise PermissionError(f"{path} may not be read (permission denied)") from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
        if "truncated" in text or "eof" in text.lower():
            raise OSError(f"{path} is cut short: its copy or download did not end") from None
        if signature == b"\x89HDF\r\n\x1a\n":
            raise OSError(f"{path} cannot be opened as HDF5 (damaged or cut short, or being written): {text}") from None
        raise OSError(f"{path} is not an HDF5 file; HDF5 and .npy files are read") from None


def _tables(file: Any) -> tuple[list[str], list[str]]:
    """Names of all two-dimensional numeric datasets, and of all datasets."""
    import h5py

    tables: list[str] = []
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)
            try:
                check_table(item, name)
            except (TypeError, ValueError):
                return
            tables.append(name)

    file.visititems(visit)
    return tables, names


def _listing(file: Any, names: list[str]) -> str:
    shown = [f"{name} {file[name].shape}" for name in names[:10]]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _only_table(file: Any, path: Path) -> str:
    tables, names = _tables(file)
    if len(tables) == 1:
        return tables[0]
    if tables:
        raise ValueError(f"{path} has {len(tables)} tables, name the one to read: {_listing(file, tables)}")
    have = f"it has {_listing(file, names)}" if names else "it has no datasets at all"
    raise ValueError(f"{path} has no two-dimensional numeric dataset; {have}")


def _look_up(file: Any, path: Path, dataset: str) -> Any:
    import h5py

    try:
        found = file.get(dataset)
    except (KeyError, ValueError, OSError):
        found = None
    if isinstance(found, h5py.Dataset):
        return found
    tables, names = _tables(file)
    if isinstance(found, h5py.Group):
        prefix = dataset.strip("/") + "/"
        inside = [name for name in names if name.startswith(prefix) or prefix == "/"]
        have = f"it holds {_listing(file, inside)}" if inside else "it holds no datasets"
        raise ValueError(f"{dataset!r} of {path} is a group, not a dataset; {have}")
    near = difflib.get_close_matches(dataset, tables or names, n=1, cutoff=0.5)
    if not near:
        lower = {name.lower(): name for name in names}
        near = [lower[dataset.lower()]] if dataset.lower() in lower else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    have = f"it has {_listing(file, names)}" if names else "it has no datasets at all"
    raise ValueError(f"{path} has no dataset {dataset!r}; {hint}{have}")


def _band_bytes(dataset: Any) -> int:
    """Bytes of a row of chunks, which together hold some rows of the table in full."""
    if dataset.chunks is None:
        return 0
    rows, columns = dataset.chunks
    return int(rows * columns * -(-dataset.shape[1] // columns) * dataset.dtype.itemsize)


def _default_cache(dataset: Any) -> int:
    return int(dataset.id.get_access_plist().get_chunk_cache()[1])
