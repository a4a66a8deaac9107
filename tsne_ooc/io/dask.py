"""Rows of Dask arrays, computed as they are read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc.io.bands import BandedRows
from tsne_ooc.io.closing import Closing
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.shape import table_shape

# A block that takes so many times its share of the work repeats what others need too.
_REPEATED = 8


def warn_of_shared_parts(data: Any) -> None:
    """Warn where blocks of rows share parts, such as the mean of all rows: these are computed again for each block.

    Blocks are computed one after the other, for a table larger than memory. A sum over all rows then reads the table
    once for each block: of 100 blocks of ``X - X.mean(0)`` each takes 236 steps of the 335 of all.
    """
    blocks = int(data.numblocks[0]) if data.ndim == 2 else 0
    graph = data.__dask_graph__()
    if blocks < _REPEATED or not hasattr(graph, "cull"):
        return
    of_one = len(graph.cull(data.__dask_keys__()[blocks // 2]))
    if of_one * blocks > _REPEATED * len(graph):
        warnings.warn(
            f"each of the {blocks:,} blocks of this Dask array takes {of_one:,} of the {len(graph):,} steps of all, "
            "since they share parts, such as a mean of all rows; compute those first (mean = X.mean(0).compute()), or "
            "write the array to a file",
            UserWarning,
            stacklevel=4,
        )


class DaskSource(Closing):
    """Rows of a Dask array; each chunk is computed once where rows are read in order, what chunks share for each.

    Parameters
    ----------
    data : dask.array.Array of shape (n_samples, n_features)
        Computed with Dask's threads in this process, whatever scheduler is set: within a worker of a cluster, a
        block must not wait for the cluster.

    Raises
    ------
    ValueError
        Where the sizes of the chunks are not known, as after a selection of rows by their values.
    """

    def __init__(self, data: Any) -> None:
        if any(np.isnan(size) for sizes in data.chunks for size in sizes):
            raise ValueError(
                "the sizes of this Dask array's chunks are not known; call X.compute_chunk_sizes() first, which "
                "computes it once"
            )
        self._data = data
        self.shape = table_shape(data.shape, "the Dask array")
        self.dtype: np.dtype[Any] = np.dtype(data.dtype)
        rows, columns = (max(sizes, default=0) for sizes in data.chunks)
        self.chunks: tuple[int, int] | None = (int(rows), int(columns)) if rows > 0 and columns > 0 else None
        edges = np.cumsum([0, *data.chunks[0]]).astype(np.int64)
        size = self.dtype.itemsize
        self._banded = BandedRows(edges, self._compute, self.shape[1] * size, int(rows) * int(columns) * size)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self._banded.read(start, stop)

    def _compute(self, start: int, stop: int) -> NDArray[Any]:
        found = self._data[start:stop].compute(scheduler="threads")
        return with_mask(found.toarray() if hasattr(found, "toarray") else found)

    def reopen(self) -> DaskSource:
        return DaskSource(self._data)

    def __reduce__(self) -> tuple[Any, ...]:
        return DaskSource, (self._data,)

    def __repr__(self) -> str:
        return f"Dask array of shape {self.shape}"
