"""Every kind of storage that is read, made of one array: what the tests of sources have in common."""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp


class Own:
    """A reader of one's own, with little but a shape and slices."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._data[rows]


@dataclass(frozen=True)
class Adapter:
    """How to make a source of a table: `make(X, folder)`; what is opened from `file` can be opened anew by path."""

    make: Callable[[np.ndarray, Path], Any]
    dtype: str = "f4"
    dataset: str | None = None
    on_disk: bool = True
    needs: str | None = None


def array(X: np.ndarray, folder: Path) -> Any:
    return X


def fortran(X: np.ndarray, folder: Path) -> Any:
    return np.asfortranarray(X)


def npy(X: np.ndarray, folder: Path) -> Path:
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def fortran_npy(X: np.ndarray, folder: Path) -> Path:
    return npy(np.asfortranarray(X), folder)


def memmap(X: np.ndarray, folder: Path) -> Any:
    npy(np.concatenate([X[:1], X]), folder)
    return np.load(folder / "X.npy", mmap_mode="r")[1:]


def frame(X: np.ndarray, folder: Path) -> Any:
    return pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])


def own(X: np.ndarray, folder: Path) -> Any:
    return Own(X)


def in_memory_csr(X: np.ndarray, folder: Path) -> Any:
    return sp.csr_array(X)


def hdf5(**options: Any) -> Callable[[np.ndarray, Path], Path]:
    def make(X: np.ndarray, folder: Path) -> Path:
        with h5py.File(folder / "X.h5", "w") as file:
            file.create_dataset("X", data=X, **within(X, options))
        return folder / "X.h5"

    return make


def within(X: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
    """`options` with chunks no larger than the table, which HDF5 asks for."""
    chunks = options.get("chunks")
    return options if chunks is None else options | {"chunks": tuple(map(min, chunks, X.shape))}


def hdf5_without_suffix(X: np.ndarray, folder: Path) -> Path:
    return hdf5()(X, folder).rename(folder / "cells")


def compound(X: np.ndarray, folder: Path) -> Path:
    """Numbers between fields that are none, in another order than in the file's name."""
    kind = [("label", h5py.string_dtype()), *((f"c{j}", X.dtype) for j in range(X.shape[1])), ("pair", "f4", (2,))]
    rows = np.zeros(len(X), kind)
    rows["label"] = [f"row {i}" for i in range(len(X))]
    for j in range(X.shape[1]):
        rows[f"c{j}"] = X[:, j]
    with h5py.File(folder / "X.h5", "w") as file:
        file.create_dataset("rows", data=rows, chunks=(min(10, len(X)),))
    return folder / "X.h5"


def scrambled(X: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """data, indices, indptr of X: entries of a row in any order, one of them in two parts where that is exact."""
    data, indices, indptr = [], [], [0]
    for row in X:
        at = rng.permutation(np.flatnonzero(row))
        values = row[at]
        if len(at) and X.dtype != bool and values[0] - 1 + 1 == values[0]:
            at, values = np.append(at, at[0]), np.append(values, values.dtype.type(1))
            values[0] -= 1
        data.append(values)
        indices.append(at)
        indptr.append(indptr[-1] + len(at))
    return np.concatenate(data).astype(X.dtype), np.concatenate(indices), np.array(indptr)


def write_csr(group: Any, X: np.ndarray, *, legacy: bool = False, **options: Any) -> None:
    data, indices, indptr = scrambled(X, np.random.default_rng(1))
    for name, values in (("data", data), ("indices", indices.astype(np.int32)), ("indptr", indptr)):
        group.create_dataset(name, data=values, **(within(values, options) if len(values) else {}))
    if legacy:
        group.attrs.update({"h5sparse_format": b"csr", "h5sparse_shape": X.shape})
    else:
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": X.shape})


def h5ad(*, sparse: bool, legacy: bool = False, inside: str = "X", **options: Any) -> Callable[..., Path]:
    def make(X: np.ndarray, folder: Path) -> Path:
        with h5py.File(folder / "cells.h5ad", "w") as file:
            if not legacy:
                file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            for name in ("obs", "var", "obsm", "layers"):
                file.create_group(name)
            file["obsm/X_umap"] = np.zeros((len(X), 2))
            if inside != "X":
                file["X"] = np.zeros((len(X), 3))
            if sparse:
                write_csr(file.create_group(inside), X, legacy=legacy, **options)
            else:
                file.create_dataset(inside, data=X, **options)
        return folder / "cells.h5ad"

    return make


#: Zarr does not write chunks of zeros alone, and a chunk that is not there is refused.
WRITTEN = {"write_empty_chunks": True}


def in_zarr(
    *, zarr_format: int = 3, inside: str = "", zipped: bool = False, opened: bool = False, **options: Any
) -> Callable[[np.ndarray, Path], Any]:
    """An array of Zarr by itself (`inside` is empty) or in a group."""

    def make(X: np.ndarray, folder: Path) -> Any:
        import zarr

        path = folder / "X.zarr"
        more = {"chunks": (20, 4), "config": WRITTEN} | options
        if inside:
            root = zarr.create_group(path, zarr_format=zarr_format)
            root.create_array("labels", shape=(3,), dtype="i4")
            made = root.create_array(inside, shape=X.shape, dtype=X.dtype, **more)
        else:
            made = zarr.create_array(path, shape=X.shape, dtype=X.dtype, zarr_format=zarr_format, **more)
        made[:] = X
        if zipped:
            return Path(shutil.make_archive(str(folder / "zipped"), "zip", path))
        return zarr.open(path, mode="r") if opened else path

    return make


def zarr_in_memory(X: np.ndarray, folder: Path) -> Any:
    import zarr

    return zarr.array(X, chunks=(20, 4))


def zarr_csr(X: np.ndarray, folder: Path) -> Path:
    """As anndata writes it."""
    import zarr

    root = zarr.create_group(folder / "X.zarr", zarr_format=2)
    root.attrs.update({"encoding-type": "anndata"})
    for name in ("obs", "var"):
        root.create_group(name)
    group = root.create_group("X")
    data, indices, indptr = scrambled(X, np.random.default_rng(1))
    for name, values in (("data", data), ("indices", indices.astype(np.int32)), ("indptr", indptr)):
        group.create_array(name, data=values, chunks=(50,), config=WRITTEN)
    group.attrs.update({"encoding-type": "csr_matrix", "shape": list(X.shape)})
    return folder / "X.zarr"


def loom(X: np.ndarray, folder: Path) -> Path:
    """Genes x cells, in square chunks, as loompy writes it; another layer beside."""
    with h5py.File(folder / "cells.loom", "w") as file:
        file.attrs["LOOM_SPEC_VERSION"] = "2.0.1"
        file.create_dataset("matrix", data=X.T, **within(X.T, {"chunks": (5, 32)}), compression="gzip")
        file["layers/spliced"] = np.zeros(X.T.shape, X.dtype)
        file["row_attrs/Gene"] = [f"g{j}".encode() for j in range(X.shape[1])]
        file["col_attrs/CellID"] = [f"c{i}".encode() for i in range(len(X))]
    return folder / "cells.loom"


def loom_layer(X: np.ndarray, folder: Path) -> Path:
    path = loom(np.zeros_like(X), folder)
    with h5py.File(path, "a") as file:
        file["layers/spliced"][:] = X.T
    return path


def tenx(*, version: int) -> Callable[[np.ndarray, Path], Path]:
    """As Cell Ranger writes it: genes x cells by columns, in its versions 2 and 3."""

    def make(X: np.ndarray, folder: Path) -> Path:
        by_columns = sp.csc_matrix(X.T)
        genes = [f"g{j}".encode() for j in range(X.shape[1])]
        with h5py.File(folder / "filtered.h5", "w") as file:
            group = file.create_group("matrix" if version == 3 else "GRCh38")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(by_columns, name)
            group["shape"] = np.array(X.T.shape, np.int32)
            group["barcodes"] = [f"c{i}-1".encode() for i in range(len(X))]
            if version == 3:
                group["features/id"] = genes
                group["features/feature_type"] = [b"Gene Expression"] * (len(genes) - 1) + [b"Antibody Capture"]
            else:
                group["genes"] = genes
        return folder / "filtered.h5"

    return make


def matlab(X: np.ndarray, folder: Path) -> Path:
    """HDF5 behind a block of MATLAB's own, arrays by columns, a cell array beside."""
    with h5py.File(folder / "table.mat", "w", userblock_size=512) as file:
        file.create_dataset("X", data=X.T, **within(X.T, {"chunks": (7, 10)}), compression="gzip")
        file["X"].attrs["MATLAB_class"] = np.bytes_("double")
        file["#refs#/a"] = np.zeros((3, 4))
    with (folder / "table.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
    return folder / "table.mat"


def pandas_table(X: np.ndarray, folder: Path) -> Path:
    """As `DataFrame.to_hdf(format="table")` writes columns of two types, of text, and one that can be asked for."""
    names = [f"c{j}" for j in range(X.shape[1])]
    blocks = {"values_block_0": names[1::2], "values_block_1": names[2::2]}
    blocks = {block: inside for block, inside in blocks.items() if inside}
    kind = [("index", "i8"), *((block, X.dtype, (len(inside),)) for block, inside in blocks.items())]
    rows = np.zeros(len(X), [*kind, ("values_block_2", "S5", (1,)), ("c0", X.dtype)])
    rows["index"] = np.arange(len(X))[::-1] * 10
    for block, inside in blocks.items():
        for at, name in enumerate(inside):
            rows[block][:, at] = X[:, names.index(name)]
    rows["c0"] = X[:, 0]
    with h5py.File(folder / "store.h5", "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = np.bytes_("frame_table")
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, [*names, "text"])], 0))
        table = group.create_dataset("table", data=rows, chunks=(min(10, len(X)),))
        table.attrs["index_kind"] = np.bytes_("integer")
        for block, inside in blocks.items():
            table.attrs[f"{block}_kind"] = np.bytes_(pickle.dumps(inside, 0))
        table.attrs["values_block_2_kind"] = np.bytes_(pickle.dumps(["text"], 0))
    return folder / "store.h5"


def obsm_frame(X: np.ndarray, folder: Path) -> Any:
    import anndata

    made = anndata.AnnData(np.zeros((len(X), 3), "f4"))
    names = [f"c{j}" for j in range(X.shape[1])]
    made.obsm["frame"] = pd.DataFrame(X, columns=names, index=made.obs_names).assign(
        word=[f"w{i}" for i in range(len(X))], kind=pd.Categorical([["a", "b", None][i % 3] for i in range(len(X))])
    )
    return made


def h5ad_frame(X: np.ndarray, folder: Path) -> Path:
    obsm_frame(X, folder).write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def zarr_frame(X: np.ndarray, folder: Path) -> Path:
    with warnings.catch_warnings():
        # anndata tells of a change of its default format.
        warnings.simplefilter("ignore")
        import zarr

        with zarr.config.set({"array.write_empty_chunks": True}):
            obsm_frame(X, folder).write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


def arrow(X: np.ndarray) -> Any:
    import pyarrow as pa

    # Arrow has numbers in the machine's own order of bytes alone.
    X = X.astype(X.dtype.newbyteorder("="), copy=False)
    columns = {"label": [f"row {i}" for i in range(len(X))]} | {f"c{j}": X[:, j] for j in range(X.shape[1])}
    return pa.table(columns)


def arrow_numbers(X: np.ndarray, folder: Path) -> Any:
    """In pieces of 40 rows, as streams bring them."""
    import pyarrow as pa

    return pa.concat_tables([arrow(X[start : start + 40]) for start in range(0, len(X), 40)]).drop_columns("label")


def polars(X: np.ndarray, folder: Path) -> Any:
    import polars

    return polars.DataFrame({f"c{j}": X[:, j] for j in range(X.shape[1])})


def parquet(**options: Any) -> Callable[[np.ndarray, Path], Path]:
    def make(X: np.ndarray, folder: Path) -> Path:
        from pyarrow.parquet import write_table

        write_table(arrow(X), folder / "X.parquet", **options)
        return folder / "X.parquet"

    return make


def parquet_folder(X: np.ndarray, folder: Path) -> Path:
    """Files of up to 40 rows, the second one without any, in row groups of 15."""
    from pyarrow.parquet import write_table

    (folder / "X").mkdir()
    for number, start in enumerate([0, 40, 40, 80]):
        rows = X[:0] if number == 1 else X[start : start + 40]
        write_table(arrow(rows), folder / "X" / f"part-{number}.parquet", row_group_size=15)
    return folder / "X"


def in_dask(chunks: Any) -> Callable[[np.ndarray, Path], Any]:
    def make(X: np.ndarray, folder: Path) -> Any:
        import dask.array as da

        return da.from_array(X, chunks=(cut(chunks[0], len(X)), cut(chunks[1], X.shape[1])), name="X", asarray=False)

    return make


def cut(sizes: tuple[int, ...], whole: int) -> tuple[int, ...]:
    """`sizes` for another whole: the last ones end earlier, or the last one later."""
    edges = [min(int(edge), whole) for edge in np.cumsum(sizes)[:-1]]
    return tuple(np.diff([0, *edges, whole]).tolist())


def anndata_object(*, sparse: bool = False, backed: bool = False) -> Callable[[np.ndarray, Path], Any]:
    def make(X: np.ndarray, folder: Path) -> Any:
        import anndata

        made = anndata.AnnData(sp.csr_matrix(X) if sparse else X)
        made.obsm["X_pca"] = np.zeros((len(X), 2))
        if backed:
            made.write_h5ad(folder / "cells.h5ad")
            made = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
        return made

    return make


ADAPTERS = {
    "array": Adapter(array, on_disk=False),
    "fortran": Adapter(fortran, "f8", on_disk=False),
    "npy": Adapter(npy, "f8"),
    "fortran_npy": Adapter(fortran_npy),
    "memmap": Adapter(memmap),
    "frame": Adapter(frame, on_disk=False),
    "own": Adapter(own, on_disk=False),
    "in_memory_csr": Adapter(in_memory_csr, "f8", on_disk=False),
    "hdf5": Adapter(hdf5()),
    "hdf5_chunked": Adapter(hdf5(chunks=(10, 3)), "f8"),
    "hdf5_gzip": Adapter(hdf5(chunks=(16, 7), compression="gzip")),
    "hdf5_big_endian": Adapter(hdf5(), ">f4"),
    "hdf5_without_suffix": Adapter(hdf5_without_suffix, "f2"),
    "compound": Adapter(compound),
    "h5ad_dense": Adapter(h5ad(sparse=False)),
    "h5ad_csr": Adapter(h5ad(sparse=True)),
    "h5ad_csr_f8_gzip": Adapter(h5ad(sparse=True, chunks=(50,), compression="gzip"), "f8"),
    "h5ad_csr_i2": Adapter(h5ad(sparse=True), "i2"),
    "h5ad_csr_f2": Adapter(h5ad(sparse=True), "f2"),
    "h5ad_csr_big_endian": Adapter(h5ad(sparse=True), ">f8"),
    "h5ad_csr_legacy": Adapter(h5ad(sparse=True, legacy=True)),
    "loom": Adapter(loom),
    "loom_layer": Adapter(loom_layer, "i4", dataset="layers/spliced"),
    "tenx_3": Adapter(tenx(version=3), "i4"),
    "tenx_2": Adapter(tenx(version=2)),
    "matlab": Adapter(matlab, "f8"),
    "pandas_table": Adapter(pandas_table, "f8"),
    "h5ad_frame": Adapter(h5ad_frame, dataset="obsm/frame", needs="anndata"),
    "zarr_frame": Adapter(zarr_frame, dataset="obsm/frame", needs="anndata"),
    "h5ad_layer": Adapter(h5ad(sparse=True, inside="layers/counts"), "i4", dataset="layers/counts"),
    "h5ad_obsm": Adapter(h5ad(sparse=False, inside="obsm/X_pca"), dataset="obsm/X_pca"),
    "zarr_2": Adapter(in_zarr(zarr_format=2), needs="zarr"),
    "zarr_3": Adapter(in_zarr(), "f8", needs="zarr"),
    "zarr_sharded": Adapter(in_zarr(chunks=(10, 7), shards=(40, 7)), needs="zarr"),
    "zarr_group": Adapter(in_zarr(inside="a/b"), needs="zarr"),
    "zarr_named": Adapter(in_zarr(inside="a", zarr_format=2), dataset="a", needs="zarr"),
    "zarr_zip": Adapter(in_zarr(zipped=True, inside="a"), needs="zarr"),
    "zarr_array": Adapter(in_zarr(opened=True), needs="zarr"),
    "zarr_in_memory": Adapter(zarr_in_memory, on_disk=False, needs="zarr"),
    "zarr_csr": Adapter(zarr_csr, needs="zarr"),
    "parquet": Adapter(parquet(), needs="pyarrow"),
    "parquet_groups": Adapter(parquet(row_group_size=16), "f8", needs="pyarrow"),
    "parquet_folder": Adapter(parquet_folder, "i4", needs="pyarrow"),
    "arrow": Adapter(arrow_numbers, "i4", on_disk=False, needs="pyarrow"),
    "polars": Adapter(polars, "f8", on_disk=False, needs="polars"),
    "dask": Adapter(in_dask(((20, 20, 20, 20, 20, 3), (4, 3))), on_disk=False, needs="dask.array"),
    "dask_uneven": Adapter(in_dask(((7, 50, 0, 1, 45), (7,))), on_disk=False, needs="dask.array"),
    "anndata": Adapter(anndata_object(), on_disk=False, needs="anndata"),
    "anndata_csr": Adapter(anndata_object(sparse=True), on_disk=False, needs="anndata"),
    "anndata_backed": Adapter(anndata_object(backed=True), needs="anndata"),
    "anndata_backed_csr": Adapter(anndata_object(backed=True, sparse=True), needs="anndata"),
}
