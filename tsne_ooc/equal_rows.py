"""Which rows are equal, told by what they hold: neither a metric nor a search is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Int64, Matrix, UInt32, UInt64
from tsne_ooc.storage.state import Saved, State

ROWS = 4096


def hashes_of(rows: Any, threads: Threads) -> UInt64:
    """128 bits of each row, shape (m, 2)."""
    from tsne_ooc._kernels import equal as kernels

    out = np.empty((rows.shape[0], 2), np.uint64)
    if hasattr(rows, "tocsr"):
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()
        cells: tuple[Any, ...] = (rows.indptr, rows.indices, _words(rows.data))
        run = kernels.hash_sparse
    else:
        cells, run = (_words(rows),), kernels.hash_dense
    threads.map(lambda start, stop: run(*cells, start, stop, out), ranges(len(out), ROWS))
    return out


def _words(values: Any) -> UInt32:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


@dataclass(frozen=True, eq=False)
class EqualRows:
    """Finds the row that is equal to another: the same number in every column.

    Distances cannot tell this: under "correlation" a row is 1e-16 from itself, under "cosine" it is 0 from its double,
    and a graph may miss the row altogether. Rows are told by 128 bits of hash, so two different ones of a billion are
    taken for the same once in 10^20 tables.

    Parameters
    ----------
    hashes : ndarray of uint64, shape (u, 2)
        Of the distinct rows; the first column ascends.
    rows : ndarray of uint32, shape (u,)
        The first row with each hash.
    """

    hashes: UInt64
    rows: UInt32

    @classmethod
    def of(cls, X: Matrix, threads: Threads) -> EqualRows:
        """For clean float32 rows, dense or sparse; a row is equal to one that is stored the other way."""
        hashes = hashes_of(X, threads)
        # Stable: of equal rows the first stays first.
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))
        ranked = hashes[order]
        new = np.ones(len(order), bool)
        new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
        return cls(ranked[new], order[new].astype(np.uint32))

    def find(self, X: Matrix, threads: Threads) -> Int64:
        """The first row that is equal to each of X, shape (m,); -1 where there is none."""
        hashes = hashes_of(X, threads)
        at = np.searchsorted(self.hashes[:, 0], hashes[:, 0])
        at[at == len(self.hashes)] = 0
        same = (self.hashes[at] == hashes).all(axis=1)
        return np.where(same, self.rows[at].astype(np.int64), -1)

    def state(self) -> State:
        """JSON and arrays for `restore`."""
        return {}, {"hashes": self.hashes, "rows": self.rows}

    @classmethod
    def restore(cls, saved: Saved, n: int) -> EqualRows:
        """The equal rows that a `state` holds, of a table of n rows.

        Raises
        ------
        StateError
            For a state that is not valid.
        """
        hashes = saved.array("hashes", np.uint64, (None, 2))
        rows = saved.array("rows", np.uint32, (len(hashes),))
        if not 0 < len(rows) <= n or rows.max() >= n:
            raise saved.fail(f"names rows that are not among the {n} of the map", "rows")
        if (hashes[1:, 0] < hashes[:-1, 0]).any():
            raise saved.fail("does not ascend", "hashes")
        return cls(hashes, rows)
