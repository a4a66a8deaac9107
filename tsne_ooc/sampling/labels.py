"""Labels from a file: an array of HDF5 or Zarr, a column of AnnData or Parquet, a .npy file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tsne_ooc._labels import Categorical, arrow_categories, categories_of, text
from tsne_ooc._typing import Array, Stored, StrPath
from tsne_ooc.io.base import type_of
from tsne_ooc.io.columns import listed
from tsne_ooc.io.contents import is_array
from tsne_ooc.io.failures import Unreached, opening
from tsne_ooc.io.files import are_files, files_of
from tsne_ooc.io.frames import values_of
from tsne_ooc.io.kinds import format_of
from tsne_ooc.io.optional import load
from tsne_ooc.io.parts import parts_of
from tsne_ooc.io.urls import AnyPath, Url, handle, path_of
from tsne_ooc.io.zarr import root_of

Labels = Array


def labels_of(path: StrPath | Sequence[StrPath], name: str | None = None) -> Labels:
    """Read one label for each row, such as `Stratified` takes.

    Parameters
    ----------
    path : path or list of paths
        HDF5 (also ``.h5ad``), Zarr, Parquet or ``.npy``; several, or a pattern, are those of one table.
    name : str, optional
        Name of a one-dimensional array of an HDF5 or Zarr file, of a column of AnnData's ``obs`` in one (with or
        without ``obs/``), or of a column of a Parquet file or folder, whose files are those of
        `tsne_ooc.io.open_source`, in its order. A ``.npy`` file needs none, and neither does an array of Zarr that is
        alone.

    Returns
    -------
    ndarray of shape (n,)
        Categories come as the words they stand for, missing ones as None; the array then lists all of them in its
        attribute ``categories``, in the order of the file, which pictures keep.

    Raises
    ------
    OSError
        Where the file does not exist or cannot be read.
    ValueError
        Where `name` is missing or not there (those that are there are listed), or is not one-dimensional.
    """
    if not isinstance(path, str | os.PathLike) or are_files(path):
        found = [labels_of(one, name) for one in files_of(path)]
        known = [categories_of(labels) for labels in found]
        labels = np.concatenate([np.asarray(labels, object) for labels in found])
        # In the order of the first file, and then of those that have others.
        order = dict.fromkeys(one for categories in known for one in categories or ())
        return labels if None in known else Categorical.of(labels, list(order))
    path = path_of(path)
    readers = {"npy": _from_npy, "hdf5": _from_hdf5, "zarr": _from_zarr, "parquet": _from_parquet}
    with opening(path):
        return readers[format_of(path)](path, name)


def _from_npy(path: AnyPath, name: str | None) -> Labels:
    return _column(np.load(handle(path), allow_pickle=False), str(path))


def _from_hdf5(path: AnyPath, name: str | None) -> Labels:
    import h5py

    try:
        file = h5py.File(handle(path), "r")
    except Unreached:
        raise
    except OSError as error:
        raise OSError(f"{path} cannot be opened as HDF5: {error}") from None
    with file:
        return _within(file, path, name)


def _from_zarr(path: AnyPath, name: str | None) -> Labels:
    with root_of(path) as root:
        if not is_array(root):
            return _within(root, path, None if name is None else name.strip("/"))
        if name is not None:
            raise ValueError(f"{path} holds a single array, so {name!r} cannot choose one")
        return _column(_plain(root), str(path))


def _within(root: Stored, path: AnyPath, name: str | None) -> Labels:
    """The labels called `name` in an open file of HDF5 or Zarr."""
    for wanted in (name, f"obs/{name}") if name else ():
        labels = _stored(root, wanted)
        if labels is not None:
            return _column(labels, f"{wanted!r} of {path}")
    raise _missing(path, name, _names(root))


def _stored(root: Stored, name: str) -> Labels | None:
    """The array of labels called `name`, in any of the ways in which AnnData has stored columns; None without one."""
    found = root.get(name)
    if hasattr(found, "keys"):
        if "codes" in found and "categories" in found:
            return _categories(found["codes"][:], found["categories"])
        if "values" in found and "mask" in found:
            values = _plain(found["values"]).astype(object)
            values[found["mask"][:]] = None
            return values
        return None
    if found is not None and is_array(found):
        categories = found.attrs.get("categories")
        # Before anndata 0.7 categories lay elsewhere in the file, and a reference led to them.
        return _plain(found) if categories is None else _categories(found[:], root[categories])
    parent, _, field = name.rpartition("/")
    records = root.get(parent) if parent else None
    if records is not None and is_array(records) and field in (getattr(type_of(records), "names", None) or ()):
        # AnnData's first layout: codes in records, and their categories elsewhere by name.
        categories = root.get(f"uns/{field}_categories")
        values = records[field]
        if categories is not None:
            return _categories(values, categories)
        return text(values) if values.dtype.kind in "SO" and values.ndim == 1 else np.asarray(values)
    return None


def _plain(dataset: Stored) -> Labels:
    values = np.asarray(dataset[...])
    if values.dtype.kind == "T":
        return values.astype(object)
    # h5py does not decode them: it believes files that call Latin-1 ASCII, and raises an error.
    return text(values) if values.dtype.kind in "SO" and values.ndim == 1 else values


def _categories(codes: Labels, categories: Any) -> Labels:
    labels = np.full(len(codes), None, object)
    known = codes >= 0
    words = _plain(values_of(categories)).astype(object)
    labels[known] = words[codes[known]]
    return Categorical.of(labels, words.tolist())


def _names(root: Stored) -> list[str]:
    items: list[tuple[str, Stored]] = []
    if hasattr(root, "visititems"):
        root.visititems(lambda name, item: items.append((name, item)))
    else:
        # Of Zarr, where a group need not come before what is in it.
        items = sorted(root.members(max_depth=None), key=lambda pair: str(pair[0]))
    names: list[str] = []
    for name, item in items:
        if hasattr(item, "keys"):
            if "codes" in item or "mask" in item:
                names.append(name)
        elif fields := getattr(type_of(item), "names", None):
            names.extend(f"{name}/{field}" for field in fields)
        elif len(item.shape or ()) == 1 and name.rpartition("/")[0] not in names:
            names.append(name)
    return names


def _from_parquet(path: AnyPath, name: str | None) -> Labels:
    dataset = load("pyarrow.dataset", "parquet", f"reading {path}")
    # These are the files that the rows come from, in the same order.
    files = parts_of(path).files if path.is_dir() else [path]
    if isinstance(path, Url):
        places = [file.filesystem() for file in files if isinstance(file, Url)]
        table = dataset.dataset([place for _, place in places], format="parquet", filesystem=places[0][0])
    else:
        table = dataset.dataset([str(file) for file in files], format="parquet")
    if name is None or name not in table.schema.names:
        raise _missing(path, name, table.schema.names)
    column = table.to_table(columns=[name]).column(0)
    # Through pandas, or with NaN for missing values, whole numbers would come back as floats.
    labels: Labels = column.to_numpy() if not column.null_count else np.array(column.to_pylist(), object)
    categories = arrow_categories(column)
    if categories is not None:
        labels = Categorical.of(labels, categories)
    return _column(labels, f"{name!r} of {path}")


def _column(labels: Labels, what: str) -> Labels:
    if labels.ndim != 1:
        raise ValueError(f"{what} has shape {labels.shape}; labels are one for each row")
    return labels


def _missing(path: AnyPath, name: str | None, names: Iterable[str]) -> ValueError:
    names = list(names)
    have = f"it has {listed(names)}" if names else "it has nothing that could be labels"
    if name is None:
        return ValueError(f"{path}: name the labels to read; {have}")
    near = difflib.get_close_matches(name, [*names, *(part.rpartition("/")[2] for part in names)], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"{path} has no labels {name!r}; {hint}{have}")
