"""Arrays and groups of files, as h5py and Zarr show them, and tables, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np


class Stored:
    """An array of a file; `chunks`, `attrs` and a file may be given."""

    def __init__(self, values: Any, kind: Any = None, chunks: Any = None, name: str = "/x", **attrs: Any) -> None:
        self.values = values if isinstance(values, np.ndarray) else np.array(values, kind)
        self.shape, self.dtype = self.values.shape, self.values.dtype
        self.chunks, self.attrs, self.name = chunks, attrs, name

    def __getitem__(self, rows: Any) -> Any:
        return self.values[rows]

    def fields(self, names: Any) -> Any:
        """Fields of records, which are read without the others."""
        return self.values[names]


class Timed(Stored):
    """An array of a type that NumPy does not have."""

    @property
    def dtype(self) -> Any:
        raise TypeError("no NumPy equivalent")

    @dtype.setter
    def dtype(self, kind: Any) -> None:
        pass


class Group(dict[str, Any]):
    """A group, whose names may lead through groups within it; of attributes ``_type`` stands for ``-type``."""

    def __init__(self, parts: Any = (), name: str = "/g", **attrs: Any) -> None:
        super().__init__(parts)
        names = {key: key.replace("_type", "-type").replace("_order", "-order") for key in attrs}
        self.name, self.attrs = name, {names[key]: value for key, value in attrs.items()}


class Rows:
    """A table that says which rows were asked for."""

    def __init__(self, X: Any) -> None:
        self.X, self.shape, self.dtype, self.asked = X, X.shape, X.dtype, list[tuple[int, int]]()

    def read(self, start: int, stop: int) -> Any:
        self.asked.append((start, stop))
        return self.X[start:stop]
