"""Graphs that other programs made become arrays of neighbours, some rows at a time, since they may take gigabytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._options import unknown
from tsne_ooc._typing import StrPath
from tsne_ooc._validate import check_shape, is_sparse
from tsne_ooc.io.failures import opening
from tsne_ooc.io.sparse import sparse_format, sparse_shape
from tsne_ooc.neighbors.base import Answer
from tsne_ooc.neighbors.precomputed import distances_of, stored_nearest

# Pairs of rows that are read at a time, which take some 100 bytes each.
PAIRS = 1 << 20
# The name under which scanpy keeps distances.
_KEY = "distances"


def nearest_of(distances: Any) -> Answer:
    """Neighbours and distances of a graph in one of the forms of `Graph`; as many as the row with the fewest has.

    Raises
    ------
    ValueError, TypeError
        For what is not such a graph, where the message has row and column, and for a row without a neighbour.
    """
    pair = isinstance(distances, tuple | list) and len(distances) == 2 and all(np.ndim(p) == 2 for p in distances)
    if not pair and not is_sparse(distances):
        try:
            shape = np.shape(distances)
        except ValueError:
            raise TypeError(
                "a graph is a sparse matrix or a pair (indices, distances), both with a row for each row, not "
                f"{len(distances)} arrays of unequal shapes"
            ) from None
        raise TypeError(
            f"a graph is a sparse matrix or a pair (indices, distances), not all {' x '.join(map(str, shape))} "
            "distances; use metric='precomputed' for these"
        )
    parts: tuple[Any, ...] = tuple(map(np.asarray, distances)) if pair else (_by_rows(distances),)
    if pair and (parts[0].shape != parts[1].shape or {part.dtype.kind for part in parts} - set("iuf")):
        # This says what is wrong with the pair as a whole.
        distances_of(tuple(part[:1] for part in parts) if parts[0].shape == parts[1].shape else parts)
    n = int(parts[0].shape[0])
    if not n:
        check_shape(parts[0].shape)
    if not pair and parts[0].shape[1] != n:
        distances_of(parts[0])
    height = max(1, PAIRS // max(1, parts[0].shape[1] if pair else -(-parts[0].nnz // max(1, n))))
    edges = [(a, min(a + height, n)) for a in range(0, n, height)]

    def piece(a: int, b: int) -> Any:
        some = tuple(part[a:b] for part in parts)
        return distances_of(some if pair else some[0], n, a)

    least = n
    for a, b in edges:
        graph = piece(a, b)
        row = np.repeat(np.arange(a, b), np.diff(graph.indptr))
        count = np.bincount(row[graph.indices != row] - a, minlength=b - a)
        least = min(least, int(count.min()))
        if not least:
            raise ValueError(f"row {a + int(np.argmin(count))} has no neighbour in the graph; each row needs one")
    indices, found = np.empty((n, least), np.uint32), np.empty((n, least), np.float32)
    for a, b in edges:
        indices[a:b], found[a:b] = stored_nearest(piece(a, b), least, np.arange(a, b, dtype=np.uint32))
    return indices, found


def _by_rows(matrix: Any) -> Any:
    """A matrix of which some rows can be taken; one that is not stored by rows is checked as a whole first."""
    if matrix.format == "csr":
        return matrix
    return distances_of(matrix)


def of_scanpy(data: Any, key: str = _KEY) -> Any:
    """The distances that scanpy's ``pp.neighbors`` left in an AnnData, or in its file.

    Raises
    ------
    OSError
        For a file that is missing or not HDF5.
    ValueError
        Where there are none; the message names the graphs that there are.
    """
    if hasattr(data, "obsp"):
        if key not in data.obsp:
            raise _without("this AnnData", key, list(data.obsp))
        return data.obsp[key]
    with opening(data):
        return _of_file(data, key)


def _of_file(path: StrPath, key: str) -> Any:
    import h5py
    from scipy.sparse import csr_array

    with h5py.File(path) as file:
        held = file.get("obsp")
        group = None if held is None else held.get(key)
        if group is None:
            raise _without(str(path), key, [] if held is None else list(held))
        if hasattr(group, "dtype") or sparse_format(group) != "csr":
            raise ValueError(f"{path}: obsp/{key} is not a sparse matrix stored by rows (CSR), as scanpy writes it")
        return csr_array((group["data"][:], group["indices"][:], group["indptr"][:]), shape=sparse_shape(group))


def _without(what: str, key: str, held: list[str]) -> ValueError:
    if not held:
        return ValueError(f"{what} holds no graph of neighbours; scanpy.pp.neighbors makes obsp[{key!r}]")
    return unknown(f"graph of {what}", key, [str(name) for name in held])
