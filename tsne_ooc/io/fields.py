"""Tables within compound datasets of HDF5: a field that holds several numbers in each record."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, Stored


def wide_fields(item: Stored) -> dict[str, tuple[int, int]]:
    """Names and shapes of the fields of a row of records that are tables of their own."""
    fields: dict[str, DType] = {name: kind for name, (kind, *_) in item.dtype.fields.items()}
    return {
        name: (int(item.shape[0]), int(kind.shape[0]))
        for name, kind in fields.items()
        if len(kind.shape) == 1 and kind.base.kind in "fiub"
    }


class FieldTable:
    """One such field; behaves like a dataset. Before its version 0.7, AnnData stored ``obsm/X_pca`` in this way."""

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
