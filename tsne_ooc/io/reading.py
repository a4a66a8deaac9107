"""What users pass as X: which kind of table it is, and its rows in memory where they fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tsne_ooc._memory import available_bytes
from tsne_ooc._typing import Float32, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.io import as_source, iterate
from tsne_ooc.io.arrow import is_arrow
from tsne_ooc.storage.mapped import empty, forget, spared

# Neighbours of a row at a perplexity of 30, and bytes that a fit with so many takes for each row beside the row itself:
# neighbours, affinities, the map and its field. Measured at 1.3 million rows: 2.8 GB.
_NEIGHBORS, _FIT_BYTES = 90, 2200


def streamed(X: TableLike) -> bool:
    """Whether X is on disk, or elsewhere, and read by slicing."""
    if isinstance(X, np.memmap):
        return True
    # Tables of pandas and SciPy can be sliced, too, but they are in memory and have better ways.
    if isinstance(X, str | os.PathLike):
        raise TypeError(f"X is the path {str(X)!r}; open the file and pass the table: tsne_ooc.io.open_source(path)")
    # SciPy's dictionary of keys (dok) is a mapping, too.
    if isinstance(X, Mapping) and not hasattr(X, "iloc") and not hasattr(X, "tocsr"):
        raise TypeError(
            f"X is a {type(X).__name__} of {', '.join(map(repr, list(X)[:5])) or 'nothing'}; pass one table"
        )
    if type(X).__module__.startswith("h5py.") and not X:
        raise ValueError("X is a dataset of a file that has been closed; keep the file open while it is read")
    if is_arrow(X):
        return True
    in_memory = (
        isinstance(X, np.ndarray)
        or _is_tensor(X)
        or hasattr(X, "iloc")
        or hasattr(X, "tocsr")
        or hasattr(X, "__dataframe__")
    )
    return hasattr(X, "shape") and (hasattr(X, "__getitem__") or hasattr(X, "read")) and not in_memory


def _is_tensor(X: TableLike) -> bool:
    return type(X).__module__.partition(".")[0] == "torch"


def in_memory(X: TableLike, *, own: bool = False, neighbors: int = _NEIGHBORS) -> Any:
    """X as checked float32 rows in memory, sparse where X is; those of a table are on the disk within `on_disk`.

    Parameters
    ----------
    X : array-like, DataFrame, sparse matrix or source
    own : bool
        Share no memory with X; a read-only array that owns its numbers is shared all the same.
    neighbors : int
        How many of each row the fit will hold in memory; 0 where the rows alone have to fit.

    Raises
    ------
    MemoryError
        Where a table that is not in memory, or its fit, would take more than there is.
    ValueError, TypeError, OSError
        For unusable data, naming the row and column, and where reading fails.
    """
    if not streamed(X):
        return as_rows(X, accept_sparse=True, own=own)
    table = as_source(X)
    if not spared():
        check_memory(table, neighbors)
    rows: Float32 = empty(table.shape, np.float32)
    for start, stop, block in iterate(table):
        rows[start:stop] = block
        forget(rows[start:stop])
    return rows


_SAMPLE = "fit a sample of them, such as TSNE(sample=25000), and transform the table"


def bytes_of_fit(n: int, p: int, neighbors: int = _NEIGHBORS) -> int:
    """Memory that a fit of n rows of p columns takes, with so many neighbours of each."""
    return n * (4 * p + _FIT_BYTES * neighbors // _NEIGHBORS)


def check_memory(table: Any, neighbors: int = _NEIGHBORS) -> None:
    """Raise MemoryError where a fit of all rows, with so many neighbours of each, would take more than there is."""
    n, p = table.shape
    check_fits(n, p, neighbors)


def check_fits(n: int, p: int, neighbors: int, remedy: str = _SAMPLE) -> None:
    """The same for so many rows and columns; the error ends with the `remedy`."""
    needed, free = bytes_of_fit(n, p, neighbors), available_bytes()
    if free is not None and needed > free:
        raise MemoryError(
            f"to {'fit' if neighbors else 'hold'} all {n:,} rows of {p:,} columns takes about {needed / 1e9:.1f} GB of "
            f"memory{f' with {neighbors} neighbours each' if neighbors else ''}, and {free / 1e9:.1f} GB are free; "
            f"{remedy}"
        )
