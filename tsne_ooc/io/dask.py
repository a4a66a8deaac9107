"""Rows of Dask arrays, computed as they are read."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, TableLike
from tsne_ooc.io.bands import BandedRows
from tsne_ooc.io.base import Closing, table_shape
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.shared_parts import shared_parts


class DaskSource(Closing):
    """Rows of a Dask array; in order, each chunk is computed once, and what chunks share once before.

    Parameters
    ----------
    data : dask.array.Array of shape (n_samples, n_features)
        It is computed with Dask's threads in this process, whatever scheduler is set: within a worker of a cluster, a
        block must not wait for the cluster.

    Raises
    ------
    ValueError
        Where the sizes of the chunks are not known, as after a selection of rows by their values.
    """

    def __init__(self, data: TableLike) -> None:
        if any(np.isnan(size) for sizes in data.chunks for size in sizes):
            raise ValueError(
                "the sizes of this Dask array's chunks are not known; call X.compute_chunk_sizes() first, which "
                "computes it once"
            )
        self._data, self._parts = data, shared_parts(data)
        self._with_parts: Any = None
        self.shape = table_shape(data.shape, "the Dask array")
        self.dtype: DType = np.dtype(data.dtype)
        rows, columns = (max(sizes, default=0) for sizes in data.chunks)
        self.chunks: tuple[int, int] | None = (int(rows), int(columns)) if rows > 0 and columns > 0 else None
        edges = np.cumsum([0, *data.chunks[0]]).astype(np.int64)
        size = self.dtype.itemsize
        self._banded = BandedRows(edges, self._compute, self.shape[1] * size, int(rows) * int(columns) * size)

    def read(self, start: int, stop: int) -> Array:
        return self._banded.read(start, stop)

    def _compute(self, start: int, stop: int) -> Array:
        if self._with_parts is None:
            self._with_parts = self._parts.kept(self._data)
        found = self._with_parts[start:stop].compute(scheduler="threads")
        return with_mask(found.toarray() if hasattr(found, "toarray") else found)

    def reopen(self) -> DaskSource:
        return DaskSource(self._data)

    def __reduce__(self) -> tuple[Any, ...]:
        return DaskSource, (self._data if self._with_parts is None else self._with_parts,)

    def __repr__(self) -> str:
        return f"Dask array of shape {self.shape}"
