"""Joint probabilities: how strongly each two rows of a fit belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, UInt32, UInt64
from tsne_ooc._validate import is_sparse, to_csr

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEAST = 4096
# Each block of rows scans all edges for those that come in, so blocks are few; each holds a share of the transpose,
# so they are not too few. At 1.3 million rows and 90 neighbours: 60 MB a thread.
BLOCKS = 16


class Part(NamedTuple):
    """The entries of some rows of P.

    Parameters
    ----------
    first : int
        Which entry of P the arrays begin with.
    indices : ndarray of uint32
    values : ndarray of float32
    """

    first: int
    indices: UInt32
    values: Float32


class JointRows(Protocol):
    """Joint probabilities P of n rows, wherever they are kept; they are read some rows at a time."""

    @property
    def indptr(self) -> UInt64:
        """Where the entries of each row begin, and where the last ones end."""

    @property
    def n(self) -> int:
        """How many rows there are."""

    @property
    def entries(self) -> int:
        """How many entries there are."""

    @property
    def folder(self) -> Path | None:
        """Where what goes with them lies, too; None for memory."""

    def part(self, start: int, stop: int) -> Part:
        """The entries of rows `start` to `stop`, and perhaps more; good until this thread asks for others."""


@dataclass(frozen=True)
class Joint:
    """The joint probabilities P of a fit in compressed rows: symmetric, no diagonal, their sum is 1.

    Parameters
    ----------
    indptr : ndarray of uint64, shape (n + 1,)
    indices : ndarray of uint32
    values : ndarray of float32
        Of the length of `indices`; for equal affinities a view that repeats one number.
    """

    indptr: UInt64
    indices: UInt32
    values: Float32

    folder: ClassVar[None] = None

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    @property
    def entries(self) -> int:
        return len(self.indices)

    def part(self, start: int, stop: int) -> Part:
        """All of it: what is in memory is not cut."""
        return Part(0, self.indices, self.values)

    def tocsr(self) -> csr_array:
        """A copy as a scipy matrix in float64."""
        from scipy.sparse import csr_array

        parts = (self.values.astype(np.float64), self.indices.astype(np.int64), self.indptr.astype(np.int64))
        return csr_array(parts, shape=(self.n, self.n))

    @classmethod
    def from_matrix(cls, P: Any) -> Joint:
        """Check and take over a matrix of affinities, sparse or dense, shape (n, n); it is scaled to sum to 1.

        Raises
        ------
        ValueError
            If it is not square, not symmetric, negative, not finite, or zero everywhere.
        """
        from scipy.sparse import csr_array

        try:
            matrix = csr_array(P if not is_sparse(P) else to_csr(P), dtype=np.float64, copy=True)
        except (TypeError, ValueError) as error:
            raise TypeError(f"affinity matrix: {type(P).__name__} is not a numeric matrix ({error})") from None
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"affinity matrix has shape {matrix.shape}; it must be square, a row for each row of X")
        matrix.sum_duplicates()
        if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
            entry = int(np.argmin(np.isfinite(matrix.data) & (matrix.data >= 0)))
            row = int(np.searchsorted(matrix.indptr, entry, "right")) - 1
            place = f"row {row}, column {matrix.indices[entry]}"
            raise ValueError(f"affinity matrix: {place} is {matrix.data[entry]}; they are finite and >= 0")
        matrix.setdiag(0)
        matrix.eliminate_zeros()
        total = matrix.sum()
        if matrix.shape[0] > 1 and not total > 0:
            raise ValueError("affinity matrix: all affinities between different rows are zero")
        difference = abs(matrix - matrix.T)
        if difference.nnz and difference.max() > 1e-6 * matrix.max():
            row, column = (int(x[0]) for x in (difference > 1e-6 * matrix.max()).nonzero())
            raise ValueError(f"affinity matrix is not symmetric at row {row}, column {column}; pass (P + P.T) / 2")
        matrix /= total if total > 0 else 1.0
        return cls(matrix.indptr.astype(np.uint64), matrix.indices.astype(np.uint32), matrix.data.astype(np.float32))


# Rows are numbered in 32 bits, and the last number stands for none.
MOST_ROWS = 2**32 - 1


def check_count(n: int) -> None:
    """Raise ValueError where there are more rows than have numbers."""
    if n > MOST_ROWS:
        raise ValueError(
            f"{n:,} rows are more than the {MOST_ROWS:,} that can be numbered; take a sample of them, such as "
            "TSNE(sample=25000), and place the others"
        )


def symmetrize(neighbors: UInt32, p: Float32 | None, threads: Threads) -> Joint:
    """The joint ``(p_ij + p_ji) / 2n`` of conditional probabilities; equal ones over all edges for ``p=None``.

    Parameters
    ----------
    neighbors : ndarray of uint32, shape (n, k)
    p : ndarray of float32, shape (n, k), or None
    threads : Threads
    """
    from tsne_ooc._kernels import symmetrize as kernels

    n = len(neighbors)
    check_count(n)
    conditional = np.empty((0, 0), np.float32) if p is None else p
    scale = np.float32(1 / (2 * max(1, n)))
    counts = np.zeros(n, np.int64)
    kernels.count_incoming(neighbors, counts)
    indptr = np.zeros(n + 1, np.uint64)
    blocks = ranges(n, max(LEAST, -(-n // BLOCKS)))

    def block(first: int, last: int, indices: UInt32, values: Float32) -> None:
        offsets = np.zeros(last - first + 1, np.uint64)
        np.cumsum(counts[first:last], out=offsets[1:], dtype=np.uint64)
        sources = np.empty(int(offsets[-1]), np.uint32)
        incoming = np.empty(0 if p is None else len(sources), np.float32)
        kernels.gather_incoming(neighbors, conditional, first, last, offsets[:-1].copy(), sources, incoming)
        place = np.zeros(n, np.uint32)
        own, of_own, ends = neighbors[first:last], conditional[first:last], indptr[first : last + 1]
        kernels.merge(own, of_own, offsets, sources, incoming, scale, place, ends, indices, values)

    nothing = np.empty(0, np.uint32), np.empty(0, np.float32)
    threads.map(lambda first, last: block(first, last, *nothing), blocks)
    np.cumsum(indptr, out=indptr)
    indices = np.empty(int(indptr[-1]), np.uint32)
    values = np.empty(0 if p is None else len(indices), np.float32)
    if len(indices):
        threads.map(lambda first, last: block(first, last, indices, values), blocks)
    if p is None:
        values = np.broadcast_to(np.float32(1 / max(1, len(indices))), indices.shape)
    return Joint(indptr, indices, values)
