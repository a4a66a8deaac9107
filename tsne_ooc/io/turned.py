"""Files that store the transpose of the table that is meant: .loom (genes x cells) and MATLAB's 7.3."""

from __future__ import annotations

import numpy as np

from tsne_ooc._typing import Array, Stored


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
    """A dataset whose columns are the rows; behaves like a dataset."""

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
