"""Matrices in CSR form, on disk or in memory: rows come out dense, a block of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, Int64, Stored, TableLike
from tsne_ooc.io.base import Closing, table_shape

# What Cell Ranger of 10x Genomics writes: ``features`` from version 3 on, ``genes`` in version 2.
_TENX = ("data", "indices", "indptr", "shape", "barcodes")
_GENES = ("features", "genes")


def sparse_format(group: Stored) -> str | None:
    """ "csr" or "csc" where a group of HDF5 or Zarr holds a sparse matrix, else None.

    AnnData, 10x Genomics and MATLAB write such groups.
    """
    if is_tenx(group):
        # It is stored by columns and as genes x cells, which is by rows where cells are rows.
        return "csr"
    if "MATLAB_sparse" in group.attrs:
        return "csc"
    for key in ("encoding-type", "h5sparse_format"):
        found = group.attrs.get(key)
        word = found.decode() if isinstance(found, bytes) else str(found)
        if word in ("csr_matrix", "csc_matrix", "csr", "csc"):
            return word[:3]
    return None


def is_tenx(group: Stored) -> bool:
    """Whether a group is a `matrix of 10x Genomics \
<https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices>`_."""
    # This does not ask for the type: some types of HDF5 raise an error instead.
    return hasattr(group, "keys") and all(part in group for part in _TENX) and any(part in group for part in _GENES)


def sparse_shape(group: Stored) -> tuple[int, ...] | None:
    """(n_samples, n_features) as the group names it; None where it does not."""
    if is_tenx(group):
        return tuple(int(size) for size in np.asarray(group["shape"][:])[::-1])
    if "MATLAB_sparse" in group.attrs:
        return int(group.attrs["MATLAB_sparse"]), int(group["jc"].shape[0]) - 1
    found = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
    return None if found is None else tuple(map(int, found))


def stored_csr(group: Stored, name: str, opened: Callable[[Stored], Any] = lambda part: part) -> CsrTable:
    """The table of a group that AnnData or Cell Ranger wrote, or one line that says what is wrong with it.

    `opened` is called with each of its three arrays, and gives what is read instead.

    The layout is the `on-disk format of AnnData <https://anndata.readthedocs.io/en/latest/fileformat-prose.html>`_;
    files from before its version 0.7 name their attributes ``h5sparse_format`` and ``h5sparse_shape``.
    """
    if sparse_format(group) != "csr":
        raise ValueError(
            f"{name} is stored by columns (CSC), and rows cannot be read from that; store it by rows: with anndata, "
            "adata.X = adata.X.tocsr(), then adata.write_h5ad(...)"
        )
    missing = [part for part in ("data", "indices", "indptr") if part not in group]
    shape = sparse_shape(group)
    if missing or shape is None:
        raise ValueError(f"{name} is a damaged CSR matrix: it has no {', '.join(missing) or 'shape'}")
    return CsrTable(opened(group["data"]), opened(group["indices"]), opened(group["indptr"]), shape, name)


def remarks_on(group: Stored) -> list[str]:
    """What there is to say about how a sparse group is read."""
    if not is_tenx(group):
        return []
    found = ["rows are the cells (barcodes) and columns the genes of a 10x matrix"]
    kinds = group["features"].get("feature_type") if "features" in group else None
    if kinds is not None:
        words, counts = np.unique(np.asarray(kinds[:]).astype(np.str_), return_counts=True)
        if len(words) > 1:
            told = ", ".join(f"{count:,} of {word}" for word, count in zip(words, counts, strict=True))
            found.append(f"columns are of several kinds: {told}")
    return found


class CsrTable:
    """A matrix in CSR form that gives dense rows when it is sliced, like a dataset of HDF5 or Zarr.

    Memory holds the stored entries of the rows asked for, and these rows. Entries of a row may come in any order.
    Several for the same cell are added up, in a wider type where theirs does not hold the sum.

    Parameters
    ----------
    data, indices, indptr : array, h5py.Dataset or zarr.Array
        Values and columns of all entries, row after row; and where each row begins, n_samples + 1 numbers.
    shape : tuple of int
        (n_samples, n_features).
    name : str
        What error messages call it.
    """

    #: A piece of storage holds a number of entries, not of rows, so there are no rows at which to cut.
    chunks: tuple[int, int] | None = None

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: Any, name: str) -> None:
        self.shape = table_shape(shape, name)
        self.name = name
        if len(indptr.shape) != 1 or indptr.shape[0] != self.shape[0] + 1:
            raise ValueError(f"{name} is a damaged CSR matrix: {indptr.shape} row pointers for {self.shape[0]} rows")
        if len(data.shape) != 1 or data.shape != indices.shape:
            raise ValueError(f"{name} is a damaged CSR matrix: {data.shape} values in {indices.shape} columns")
        kind = np.dtype(data.dtype)
        if kind.kind not in "fiub":
            raise ValueError(f"{name} has type {kind}, which does not hold plain numbers")
        for part, words in ((indices, "columns"), (indptr, "row pointers")):
            if np.dtype(part.dtype).kind not in "iu":
                raise ValueError(f"{name} is a damaged CSR matrix: its {words} are of type {part.dtype}")
        # Where no row owns some entries, this is not the matrix that its writer had.
        first, last = (int(np.asarray(indptr[at : at + 1])[0]) for at in (0, self.shape[0]))
        if first != 0 or last != data.shape[0]:
            raise ValueError(
                f"{name} is a damaged CSR matrix: its row pointers go from {first} to {last}, and there are "
                f"{data.shape[0]} values"
            )
        # SciPy has no sparse float16.
        self.dtype: DType = np.dtype(np.float32) if kind == np.float16 else kind.newbyteorder("=")
        self._data, self._indices, self._indptr = data, indices, indptr

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self.shape[0])
        return self._dense(self._block(start, max(start, stop)))

    def some(self, start: int, stop: int, columns: Int64) -> Array:
        """Some columns of rows `start` up to `stop`, the only ones that become dense."""
        return self._dense(self._block(start, stop)[:, columns])

    def _block(self, start: int, stop: int) -> Any:
        """Rows as SciPy has them, checked."""
        from scipy.sparse import csr_array

        if stop <= start:
            return csr_array((0, self.shape[1]), dtype=self.dtype)
        pointers = np.asarray(self._indptr[start : stop + 1]).astype(np.int64)
        first, last = int(pointers[0]), int(pointers[-1])
        if first < 0 or (pointers[1:] < pointers[:-1]).any():
            raise ValueError("the CSR matrix is damaged: its row pointers fall")
        try:
            block = csr_array(
                (
                    np.asarray(self._data[first:last]).astype(self.dtype, copy=False),
                    np.asarray(self._indices[first:last]),
                    pointers - first,
                ),
                shape=(stop - start, self.shape[1]),
            )
            # A column beyond the last would be written beyond the end of the dense block.
            block.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"the CSR matrix is damaged: {str(error).splitlines()[0]}") from None
        return block

    def _dense(self, block: Any) -> Array:
        if self.dtype.kind not in "iu" or block.has_canonical_format:
            return np.asarray(block.toarray())
        # Sums of small whole numbers would wrap round; they stay in the wider type where they are too large.
        wide = np.asarray(block.astype(np.int64 if self.dtype.itemsize < 8 else np.float64).toarray())
        with np.errstate(invalid="ignore"):
            narrow = np.asarray(block.toarray())
        return narrow if np.array_equal(narrow, wide) else wide


def with_gaps(source: TableLike) -> bool:
    """Whether a source fills up with zeros the cells that its table does not store."""
    return isinstance(getattr(source, "_table", None), CsrTable)


class CsrSource(Closing):
    """Rows of a SciPy CSR matrix in memory, dense a block at a time."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: Any) -> None:
        self._data = data
        # In memory there may be room behind the last entry.
        entries = int(data.indptr[-1])
        self._table = CsrTable(data.data[:entries], data.indices[:entries], data.indptr, data.shape, "X")
        self.shape = self._table.shape
        self.dtype = self._table.dtype

    def read(self, start: int, stop: int) -> Array:
        return self._table[start:stop]

    def read_some(self, start: int, stop: int, columns: Int64) -> Array:
        """Some columns of rows `start` up to `stop`; no others become dense."""
        return self._table.some(start, stop, columns)

    def reopen(self) -> CsrSource:
        return self

    def __repr__(self) -> str:
        return f"{type(self._data).__name__} of shape {self.shape}"
