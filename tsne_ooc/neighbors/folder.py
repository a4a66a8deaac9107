"""A graph of neighbours on the disk: a folder of ``.npy`` files, which are read some rows at a time.

The files are in an order in which near rows are near each other, in which a search writes and affinities read: line i
of ``indices.npy`` and ``distances.npy`` is about row ``order[i]`` of the table, and a neighbour j is row ``order[j]``.
Without ``order.npy`` they are in the order of the table.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._typing import Array, Float32, Json, StrPath, UInt32, UInt64
from tsne_ooc.storage import read_folder, write_folder
from tsne_ooc.storage.manifest import MANIFEST
from tsne_ooc.storage.state import Saved, StateError

KIND = "graph"
# Rows that have one entry of the fingerprint together, so that an error can say where a table differs.
TOLD = 1 << 16
# Rows that are checked at a time.
ROWS = 1 << 15


class GraphFacts(NamedTuple):
    """What a graph knows of its rows, as far as its maker could tell.

    Parameters
    ----------
    metric : str or None
    unit : float
        What a distance of 1 is in the metric.
    recall : float or None
        The share of the nearest rows that it has, as it was measured.
    rows : tuple of str
        A digest of each `TOLD` rows, as they were searched; `fingerprint_of` makes them.
    source : dict or None
        The table, as `tsne_ooc.io.identity_of` describes it.
    """

    metric: str | None = None
    unit: float = 1.0
    recall: float | None = None
    rows: tuple[str, ...] = ()
    source: Json | None = None

    def json(self) -> Json:
        return {**self._asdict(), "rows": list(self.rows)}

    @classmethod
    def restore(cls, saved: Saved) -> GraphFacts:
        """The facts of a state; raises StateError for what is not possible."""
        content = saved.content
        rows, source = content.get("rows"), content.get("source")
        if not isinstance(rows, list) or not all(isinstance(text, str) for text in rows):
            raise saved.fail("has rows that are not a list of sums")
        if not (source is None or isinstance(source, dict)):
            raise saved.fail("has a source that is not an object")
        metric = None if content.get("metric") is None else saved.text("metric")
        recall = None if content.get("recall") is None else min(1.0, saved.number("recall", above=-1))
        return cls(metric, saved.number("unit", above=0), recall, tuple(rows), source)


def fingerprint_of(hashes: UInt64) -> tuple[str, ...]:
    """A digest of each `TOLD` rows, from their hashes (`tsne_ooc.equal_rows.hashes_of`), shape (n,)."""
    little = np.ascontiguousarray(hashes, "<u8")
    return tuple(
        hashlib.sha256(little[at : at + TOLD].tobytes()).hexdigest()[:16] for at in range(0, len(little), TOLD)
    )


def write_graph(
    path: StrPath, indices: UInt32, distances: Float32, order: UInt32 | None, facts: GraphFacts, *, overwrite: bool
) -> None:
    """Write a graph that is in memory, whole or not at all; it raises as `tsne_ooc.storage.write_folder` does."""
    arrays: dict[str, Any] = {"indices": indices, "distances": distances}
    if order is not None:
        arrays["order"] = order
    write_folder(path, KIND, {"facts": facts.json()}, arrays, overwrite=overwrite)


def read_graph(path: StrPath, *, verify: bool = True) -> tuple[UInt32, Float32, UInt32 | None, GraphFacts]:
    """Indices, distances, order and facts of a graph, memory-mapped and checked.

    Raises
    ------
    FileNotFoundError, ValueError
        For a folder that is missing, not whole, damaged, or of another kind; the message names the file.
    """
    folder = read_folder(path, KIND, verify=verify)
    saved = Saved(folder.content, folder.arrays)
    try:
        indices, distances, order = arrays_of(saved)
        return indices, distances, order, GraphFacts.restore(saved.part("facts"))
    except StateError as error:
        raise ValueError(f"{folder.files.get(error.array or '', f'{path}/{MANIFEST}')} {error}") from None


def arrays_of(saved: Saved, name: str = "indices") -> tuple[UInt32, Float32, UInt32 | None]:
    """The three arrays of a graph, checked so that kernels can trust them; raises StateError."""
    distances = saved.array("distances", np.float32, (None, None))
    n, k = distances.shape
    indices = saved.array(name, np.uint32, (n, k))
    if not n or not k:
        raise saved.fail(f"has the shape {(n, k)}, which is not a graph", "distances")
    for a in range(0, n, ROWS):
        if indices[a : a + ROWS].max() >= n:
            raise saved.fail(f"names a row that is not one of {n}", name)
        some = distances[a : a + ROWS]
        if not some[:, 0].min() >= 0 or (some[:, 1:] < some[:, :-1]).any():
            raise saved.fail("does not ascend from 0 within a row", "distances")
    if "order" not in saved.own_arrays():
        return indices, distances, None
    order = np.array(saved.array("order", np.uint32, (n,)))
    if not np.bincount(np.minimum(order, n), minlength=n)[:n].all():
        raise saved.fail(f"is not a permutation of {n} rows", "order")
    return indices, distances, order


def in_rows_order(values: Array, order: UInt32, *, named: bool = False) -> Array:
    """Values in `order` as a new array in the order of the rows; with `named`, places in `order` become row numbers.

    It works piece by piece, so that a graph on the disk need not be in memory twice.
    """
    out = np.empty(values.shape, values.dtype)
    for a in range(0, len(values), ROWS):
        some = values[a : a + ROWS]
        out[order[a : a + ROWS]] = order[some] if named else some
    return out
