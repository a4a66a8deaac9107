"""Datasets of HDF5 as they are meant: wide fields of records as tables, and tables that are stored transposed.

Files of Loom (genes x cells) and of MATLAB 7.3 store them transposed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, Stored


def wide_fields(item: Stored) -> dict[str, tuple[int, int]]:
    """Names and shapes of those fields of records that are tables of their own."""
    fields: dict[str, DType] = {name: kind for name, (kind, *_) in item.dtype.fields.items()}
    return {
        name: (int(item.shape[0]), int(kind.shape[0]))
        for name, kind in fields.items()
        if len(kind.shape) == 1 and kind.base.kind in "fiub"
    }


class FieldTable:
    """One such field, which behaves like a dataset. Before version 0.7 AnnData stored ``obsm/X_pca`` in this way."""

    def __init__(self, dataset: Stored, field: str) -> None:
        self._dataset, self._field = dataset, field
        self.attrs: dict[str, Any] = {}
        self.file, self.id = dataset.file, dataset.id
        self.name = f"{dataset.name}/{field}"
        self.shape = wide_fields(dataset)[field]
        self.dtype: DType = dataset.dtype[field].base
        self.chunks = None if dataset.chunks is None else (int(dataset.chunks[0]), self.shape[1])

    def __bool__(self) -> bool:
        return bool(self._dataset)

    def __getitem__(self, rows: slice) -> Array:
        return np.asarray(self._dataset.fields(self._field)[rows])


def is_loom(root: Stored) -> bool:
    """Whether an HDF5 file has the layout of https://linnarssonlab.org/loompy/format."""
    named = "LOOM_SPEC_VERSION" in root.attrs or "attrs/LOOM_SPEC_VERSION" in root
    return "matrix" in root and (named or all(group in root for group in ("row_attrs", "col_attrs")))


def turned_because(item: Stored) -> str | None:
    """Why the rows of an HDF5 dataset are meant to be columns, in words; None where they are rows."""
    if len(item.shape or ()) != 2 or not hasattr(item, "file"):
        return None
    if "MATLAB_class" in item.attrs:
        return "rows are the rows that MATLAB has, which HDF5 shows as columns"
    name = item.name.strip("/")
    if (name == "matrix" or name.startswith("layers/")) and is_loom(item.file):
        return "rows are the cells, which .loom files store as columns"
    return None


class Turned:
    """A dataset whose columns are the rows, which behaves like a dataset."""

    def __init__(self, dataset: Stored) -> None:
        self._dataset = dataset
        self.attrs, self.name, self.file, self.id = dataset.attrs, dataset.name, dataset.file, dataset.id
        self.dtype = dataset.dtype
        self.shape = dataset.shape[::-1]
        self.chunks = None if dataset.chunks is None else dataset.chunks[::-1]

    def __bool__(self) -> bool:
        return bool(self._dataset)

    def __getitem__(self, rows: slice) -> Array:
        return np.asarray(self._dataset[:, rows]).T
