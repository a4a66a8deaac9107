"""Tables of HDF5 and Zarr that grow by blocks of rows, with the names of their columns and where each row is from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Int64
from tsne_ooc.io.optional import load
from tsne_ooc.io.prepared import NAME

# Bytes of a chunk, of whole rows.
CHUNK = 1 << 20


class GrowingTable:
    """A table of float32 in a file of HDF5 or a folder of Zarr.

    ``X`` holds the rows, and ``rows/file`` and ``rows/line`` the number of the file and of the line of each row. As in
    AnnData, ``var/_index`` holds the names of the columns, and ``obs`` the labels of the rows. ``prepared`` is what the
    table says about how it was made.

    Parameters
    ----------
    path : Path
        Its ending, ``.h5`` or ``.zarr``, is the format.
    names : list of str
        Names of the columns.
    labels : sequence of str
        Names of columns of words that are kept beside them.
    prepared : str
        How the columns were made, as JSON.
    """

    def __init__(self, path: Path, names: list[str], labels: Sequence[str] = (), prepared: str = "{}") -> None:
        self.path, self.n = path, 0
        p = len(names)
        self.rows = max(1, CHUNK // (4 * p))
        self._waiting: list[tuple[Array, ...]] = []
        self._held = 0
        if path.suffix == ".h5":
            import h5py

            self._root: Any = h5py.File(path, "w")
            self._make = self._root.create_dataset
            text: Any = h5py.string_dtype()
            values: Any = names
        else:
            zarr = load("zarr", "zarr", f"writing {path}")
            self._root = zarr.open_group(str(path), mode="w", zarr_format=2)
            # Chunks of zeros alone are written, too: readers take one that is not there for a copy that did not end.
            self._make = partial(self._root.create_array, config={"write_empty_chunks": True})
            values = np.array(names)
            text = values.dtype
        var = self._root.create_group("var")
        var.attrs["_index"] = "_index"
        if path.suffix == ".h5":
            var.create_dataset("_index", data=values, dtype=text)
            self._root.create_dataset(NAME, data=prepared, dtype=text)
        else:
            var.create_array("_index", data=values)
            self._root.attrs[NAME] = prepared
        for group in ("rows", "obs") if labels else ("rows",):
            self._root.create_group(group)
        self._parts = {
            "X": self._grown("X", (p,), np.float32),
            "file": self._grown("rows/file", (), np.uint32),
            "line": self._grown("rows/line", (), np.int64),
            **{name: self._grown(f"obs/{name}", (), text if path.suffix == ".h5" else str) for name in labels},
        }

    def _grown(self, name: str, width: tuple[int, ...], dtype: Any) -> Any:
        more = {"maxshape": (None, *width)} if self.path.suffix == ".h5" else {}
        return self._make(name, shape=(0, *width), chunks=(self.rows, *width), dtype=dtype, **more)

    def add(self, X: Array, file: int, lines: Int64, *labels: Array) -> None:
        """Put rows behind those that are there, each with its labels."""
        self._waiting.append((X, np.full(len(X), file, np.uint32), lines, *labels))
        self._held += len(X)
        if self._held >= self.rows:
            self._write(self._held // self.rows * self.rows)

    def _write(self, count: int) -> None:
        # Whole chunks are written, since one that is written in two parts has to be read in between.
        blocks = [np.concatenate(parts) for parts in zip(*self._waiting, strict=True)]
        for part, block in zip(self._parts.values(), blocks, strict=True):
            part.resize((self.n + count, *part.shape[1:]))
            part[self.n : self.n + count] = block[:count]
        self.n += count
        self._held -= count
        self._waiting = [tuple(block[count:] for block in blocks)] if self._held else []

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._held:
            self._write(self._held)
        if self.path.suffix == ".h5":
            self._root.close()
