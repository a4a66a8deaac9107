"""A table of prepared rows, read like any other."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import DType, Float32, Json, TableLike
from tsne_ooc.io import as_source, iterate
from tsne_ooc.preprocess.preparation import Preparation
from tsne_ooc.preprocess.rows import working_type
from tsne_ooc.storage.asked import plain


class PreparedSource:
    """The rows of a table behind a fitted `Preparation`, prepared as they are read.

    It is a `tsne_ooc.io.Source`: samples, blocks and maps are made from it as from the table itself. A row is the same
    bits however it is read. Errors name the table's own row and column.

    Parameters
    ----------
    source : Source or what `tsne_ooc.io.as_source` accepts
        Table of shape (n_samples, n_features).
    preparation : Preparation
        It must be fitted, on this table or on one with the same columns. Without steps, rows pass as they are, in
        float32.
    n_jobs : int or None
        Threads.

    Raises
    ------
    ValueError
        Where the preparation is not fitted, or was fitted with another number of columns; while rows are read, what
        its steps find wrong.
    """

    dtype: DType = np.dtype(np.float32)

    def __init__(self, source: TableLike, preparation: Preparation, *, n_jobs: int | None = None) -> None:
        self.source = as_source(source)
        self.preparation = preparation
        self._n_jobs = n_jobs
        self._numbers = preparation.numbers(self.source)
        self.shape = (int(self._numbers.shape[0]), preparation.n_features_out)
        #: Bytes that are read for a row, which differ from those that come out: sampling asks for them to decide about
        #: gaps.
        self.row_bytes = int(self._numbers.shape[1]) * np.dtype(self._numbers.dtype).itemsize
        #: Rows that lack a value, and are neither fitted nor placed, are NaN throughout.
        self.lacks_values = preparation.drops
        chunks = self._numbers.chunks
        self.chunks: tuple[int, int] | None = None if chunks is None else (chunks[0], self.shape[1])
        self._told: Any = None

    def read(self, start: int, stop: int) -> Float32:
        """Rows `start` up to `stop`, prepared, of shape (stop - start, n_features_out)."""
        out = np.empty((stop - start, self.shape[1]), np.float32)
        # This reads block by block, because whoever reads prepared rows does not know how wide they are in the file.
        kind = working_type(self._numbers.dtype)
        for first, last, block in iterate(self._numbers, start=start, stop=stop, dtype=kind):
            self.preparation.apply(block, out[first - start : last - start], first_row=first, n_jobs=self._n_jobs)
        return out

    @property
    def path(self) -> Any:
        """The file or folder of the table, where it has one."""
        return getattr(self.source, "path", None)

    @property
    def opened_here(self) -> bool:
        """Whether this process opened the table."""
        return bool(getattr(self.source, "opened_here", False))

    @property
    def stored(self) -> Any:
        """The files that the table is read from, where it knows them."""
        return getattr(self.source, "stored", None)

    def identity(self) -> Json:
        """What `tsne_ooc.io.identity_of` cannot see from prepared rows: the steps, and the table behind them."""
        own = getattr(self.source, "identity", None)
        columns = getattr(self.source, "column_names", None)
        if self._told is None:
            # This is asked once: a user's own transformers may change while they work.
            self._told = {"steps": plain(self.preparation.steps), "fitted": plain(self.preparation.contents)}
        return {
            "preparation": self._told,
            "table": getattr(self.source, "name", None),
            "columns": None if columns is None else list(columns),
            "own": own() if callable(own) else None,
        }

    def reopen(self) -> PreparedSource:
        again = PreparedSource(self.source.reopen(), self.preparation, n_jobs=self._n_jobs)
        again._told = self._told
        return again

    def close(self) -> None:
        """Close the table."""
        if hasattr(self.source, "close"):
            self.source.close()

    def __enter__(self) -> PreparedSource:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{self.source!r} behind {self.preparation!r}"
