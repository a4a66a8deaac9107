"""Sources: whatever has a shape and gives rows, in memory or on disk, and the one way to open one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tsne_ooc._typing import Array, DType, TableLike
from tsne_ooc.io.arrow import ArrowSource, is_arrow, is_read_once
from tsne_ooc.io.failures import opening
from tsne_ooc.io.urls import AnyPath, path_of


@runtime_checkable
class Source(Protocol):
    """A table on disk or in memory that is read some rows at a time.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_features).
    dtype : numpy dtype
        Type of the stored numbers.
    chunks : tuple of int, or None
        (rows, columns) of one piece of storage that can only be read whole, or None where any rows may be.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def chunks(self) -> tuple[int, int] | None: ...

    def read(self, start: int, stop: int) -> Array:
        """Rows `start` up to `stop`, as an array of shape (stop - start, n_features)."""
        ...

    def reopen(self) -> Source:
        """The same rows through a handle of its own, for another thread or process."""
        ...


def as_source(data: TableLike) -> Source:
    """Turn a table into a `Source`; a source comes back as it is. This is `open_source` without its choices.

    Raises
    ------
    TypeError
        For a query, which would be run anew, and its rows come in another order, each time that it is asked.
    """
    if is_read_once(data):
        raise TypeError(
            f"X is a {type(data).__name__}, which is not computed yet, and may be another table each time; pass "
            "tsne_ooc.io.open_source(X), which reads it once"
        )
    return open_source(data)


def open_source(
    data: TableLike,
    *,
    dataset: str | None = None,
    columns: str | Iterable[str] | None = None,
    allow_missing_chunks: bool = False,
) -> Source:
    """Open whatever holds a table.

    Parameters
    ----------
    data : path or list of paths, ndarray, memmap, DataFrame, table of Arrow, h5py, Zarr or Dask array, sparse matrix, \
AnnData, `pyarrow.dataset` of files, Source, or anything with ``.shape`` and row slicing
        A path leads to a file of HDF5 (also ``.h5ad``), ``.npy``, Zarr or Parquet, or to a folder of Zarr or of
        Parquet files, which is told by what they hold; a URL (``https://...``, ``s3://...``) leads to one that fsspec
        reads. A list of paths, or one with a pattern such as
        ``"plates/*.h5ad"``, is one table: the rows of all files, one after the other. Other lists are turned into an
        array. Sparse matrices must be in CSR form. A reader of your own needs ``shape`` and ``data[a:b]``. What gives a
        stream of Arrow (``__arrow_c_stream__``: pyarrow, Polars, DuckDB) is read once, and kept in memory.
    dataset : str, optional
        Where there are several tables (HDF5, Zarr, AnnData), the one to read: ``"X"``, ``"layers/counts"``,
        ``"obsm/X_pca"``.
    columns : str or list of str, optional
        Where columns have names (Parquet, compound datasets of HDF5, DataFrames, tables of Arrow; arrays of HDF5, Zarr
        and AnnData whose names are beside them, as `names_of` finds them), those to read, in this order; a ``*`` in a
        name stands for any characters. Without it, all columns that hold numbers; of a table in memory, all.
    allow_missing_chunks : bool, default False
        Read chunks that are missing (Zarr, HDF5; or sources of a virtual dataset) as their fill value, as these formats
        do. By default they are refused: half of a copy looks like this, too.

    Returns
    -------
    Source
        Use it in a ``with`` statement, or call its ``close``. What was passed in open stays open.

    Raises
    ------
    OSError
        For a path that cannot be read, is damaged, or is of another kind; the message says what to do, where that is
        known.
    ValueError
        For a table that is not two-dimensional or holds no real numbers, an unknown dataset or column (with the
        nearest name), a sparse matrix stored by columns.
    TypeError
        For what has no shape or no rows to slice.
    ModuleNotFoundError
        Where the package that reads this kind of file is not installed.

    Examples
    --------
    >>> with open_source("cells.h5ad", dataset="obsm/X_pca") as X:  # doctest: +SKIP
    ...     coordinates = model.transform(X)
    """
    if isinstance(data, str | os.PathLike | list | tuple) or _is_dataset(data):
        from tsne_ooc.io.files import FilesSource, are_files, files_of

        files = _files_of_dataset(data) if _is_dataset(data) else data
        if are_files(files):
            return FilesSource(files_of(files), open_source, dataset, columns, allow_missing_chunks)
    if isinstance(data, str | os.PathLike):
        with opening(data):
            return _from_path(path_of(data), dataset, columns, allow_missing_chunks)
    if _is_anndata(data):
        return _of_anndata(data, dataset or "X", columns, allow_missing_chunks)
    if hasattr(data, "group") and _made_by(data, "anndata"):
        # This is a sparse matrix on disk, as AnnData shows it; it stands for the group that it reads.
        return open_source(data.group, columns=columns, allow_missing_chunks=allow_missing_chunks)
    if _made_by(data, "h5py"):
        from tsne_ooc.io.hdf5 import of_hdf5

        return of_hdf5(data, dataset, columns, allow_missing_chunks)
    if _made_by(data, "zarr"):
        from tsne_ooc.io.zarr import of_zarr

        return of_zarr(data, dataset, columns, allow_missing_chunks)
    if dataset is not None:
        raise TypeError(f"dataset={dataset!r} names a table within a file, and a {type(data).__name__} is not a file")
    if is_arrow(data):
        return ArrowSource(data, columns)
    if hasattr(data, "iloc") and hasattr(data, "to_numpy") and not hasattr(data, "compute"):
        from tsne_ooc.io.memory import FrameSource

        return FrameSource(data, columns)
    source = _from_object(data)
    if columns is None:
        return source
    from tsne_ooc.io.named import chosen, names_of

    if names_of(source) is None:
        raise TypeError(f"columns={columns!r} chooses by name, and the columns of a {type(data).__name__} have none")
    return chosen(source, columns, f"the {type(data).__name__}")


def _of_anndata(data: TableLike, part: str, columns: str | Iterable[str] | None, allow_missing_chunks: bool) -> Source:
    table, place = _part(data, part), part.strip("/").partition("/")[0]
    if place not in ("X", "layers", "raw"):
        return open_source(table, columns=columns, allow_missing_chunks=allow_missing_chunks)
    found = open_source(table, allow_missing_chunks=allow_missing_chunks)
    if not hasattr(found, "path"):
        # Files know the names of their columns; see `names_of`.
        names = data.raw.var_names if place == "raw" else data.var_names
        found.column_names = [str(name) for name in names]  # type: ignore[attr-defined]
    if columns is None:
        return found
    from tsne_ooc.io.named import chosen

    return chosen(found, columns, f"{part} of this AnnData")


def _from_path(
    path: AnyPath, dataset: str | None, columns: str | Iterable[str] | None, allow_missing_chunks: bool
) -> Source:
    from tsne_ooc.io.kinds import format_of

    kind = format_of(path)
    if kind == "hdf5":
        from tsne_ooc.io.hdf5 import open_hdf5

        return open_hdf5(path, dataset, columns, allow_missing_chunks)
    if kind == "zarr":
        from tsne_ooc.io.zarr import open_zarr

        return open_zarr(path, dataset, columns, allow_missing_chunks)
    if kind == "parquet" and dataset is None:
        from tsne_ooc.io.parquet import open_parquet

        return open_parquet(path, columns)
    if dataset is not None:
        raise ValueError(f"{path} holds a single table, so dataset={dataset!r} cannot choose one")
    if columns is not None:
        raise ValueError(f"{path} has no names for its columns, so columns={columns!r} cannot choose some")
    from tsne_ooc.io.memory import MemmapSource

    return MemmapSource.of_npy(path)


def _from_object(data: TableLike) -> Source:
    from tsne_ooc.io import memory

    if isinstance(data, np.ndarray):
        return memory.MemmapSource(data) if memory.MemmapSource.takes(data) else memory.ArraySource(data)
    if isinstance(data, list | tuple) or _made_by(data, "torch"):
        from tsne_ooc._validate import as_array

        # The numbers are not rounded yet: a preparation may work in float64.
        return memory.ArraySource(as_array(data))
    if hasattr(data, "tocsr") and hasattr(data, "nnz"):
        if getattr(data, "format", None) != "csr":
            raise TypeError(
                f"X is a sparse {type(data).__name__}, whose rows cannot be read one by one; pass X.tocsr()"
            )
        from tsne_ooc.io.sparse import CsrSource

        return CsrSource(data)
    if isinstance(data, Source):
        # Products of NumPy's own numbers wrap round.
        return data if all(type(size) is int for size in data.shape) else memory.OwnSource(data)
    if hasattr(data, "to_dask_array"):
        raise TypeError("rows of a Dask DataFrame have no numbers; pass X.to_dask_array(lengths=True)")
    if _made_by(data, "dask") and hasattr(data, "compute"):
        from tsne_ooc.io.dask import DaskSource

        return DaskSource(data)
    if hasattr(data, "shape") and hasattr(data, "__getitem__"):
        return memory.SlicedSource(data)
    from tsne_ooc._validate import computed

    # This raises with what to call, where that is known.
    computed(data, "X")
    raise TypeError(
        f"a {type(data).__name__} is not a table: it needs .shape and row slicing, as arrays and h5py datasets have"
    )


def _made_by(data: TableLike, package: str) -> bool:
    # Packages are told by name, so that a look at any other table does not import h5py (0.2 s), Zarr or Dask.
    return any(kind.__module__.split(".")[0] == package for kind in type(data).__mro__)


def _is_dataset(data: TableLike) -> bool:
    return _made_by(data, "pyarrow") and hasattr(data, "files") and hasattr(data, "schema")


def _files_of_dataset(data: TableLike) -> list[str]:
    """The files of a `pyarrow.dataset`; raises ValueError where they are not the whole of it."""
    import pyarrow.parquet

    files = list(data.files)
    lost = set(data.schema.names) - set(pyarrow.parquet.read_schema(files[0]).names) if files else set()
    if not files or data.format.default_extname != "parquet" or lost:
        what = f"a column that is none of its files' ({sorted(lost)[0]})" if lost else "no Parquet files"
        raise ValueError(
            f"this dataset of pyarrow has {what}; write it as files in one folder: "
            "pyarrow.dataset.write_dataset(data, 'new', format='parquet')"
        )
    return files


def _is_anndata(data: TableLike) -> bool:
    return hasattr(data, "X") and hasattr(data, "obs_names") and hasattr(data, "var_names")


def _part(data: TableLike, dataset: str) -> Any:
    """``X``, ``layers/NAME`` or ``obsm/NAME`` of an AnnData object."""
    place, _, key = dataset.strip("/").partition("/")
    found: Any = None
    if place == "raw" and key == "X":
        found = getattr(getattr(data, "raw", None), "X", None)
    elif place in ("layers", "obsm") and key:
        found = getattr(data, place, {}).get(key)
    elif place in ("X", "raw") and not key:
        found = getattr(data, place, None)
    if found is None:
        # The layer without a name is X, from anndata 0.13 on.
        parts = {part: getattr(data, part, ()) for part in ("layers", "obsm")}
        names = [f"{part}/{name}" for part, those in parts.items() for name in those if name is not None]
        names = ["X", *names] if getattr(data, "X", None) is not None else names
        raise ValueError(f"this AnnData has no table {dataset!r}; it has {', '.join(names) or 'none at all'}")
    return found
