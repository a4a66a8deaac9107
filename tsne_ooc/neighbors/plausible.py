"""Warnings where rows or distances look like something else than what they are taken for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._typing import Array
from tsne_ooc.neighbors.base import Metric
from tsne_ooc.neighbors.metrics import BOOLEAN, DENSE, PACKED

# Rows that are looked at, from all over the table; more rows tell the same.
_ROWS = 1024
# Numbers are taken for bytes of eight bits where a quarter of those that are not 0 have an upper half. Of yes and no
# none has one, and of counts few have.
_UPPER, _SHARE = 16, 0.25
# The two distances of a pair are the same to rounding; graphs of similarities have a 1 in nearly each row.
_ROUNDING, _NEARLY_ALL = 1e-3, 0.9
# Rows and columns of distances that are compared at a time.
_TILE = 1024


def tell_unlikely(rows: Any, metric: Metric) -> None:
    """Warn of rows of a fit that the metric was hardly meant for; rows that are surely wrong are refused elsewhere.

    Parameters
    ----------
    rows : array or CSR matrix
        Rows that are checked; for "precomputed", distances among the rows of the fit, in any form that the search
        takes.
    metric : str or callable
    """
    doubt = None
    if metric == "precomputed":
        doubt = _of_distances(rows)
    elif isinstance(metric, str) and (DENSE[metric] in BOOLEAN or DENSE[metric] in PACKED):
        doubt = _of_bits(rows, metric)
    if doubt is not None:
        warn(doubt)


def _of_bits(rows: Any, metric: str) -> str | None:
    some = rows[:: max(1, rows.shape[0] // _ROWS)]
    values = some.data if hasattr(some, "tocsr") else np.asarray(some).ravel()
    there = values[values != 0]
    if not len(there):
        return None
    if DENSE[metric] in PACKED:
        if there.max() == 1 and rows.shape[1] > 8:
            other = PACKED[DENSE[metric]]
            return f"all rows hold 0 and 1, and metric={metric!r} takes eight of them in a byte; use metric={other!r}"
        return None
    packed = there.min() > 0 and there.max() <= 255 and (there == np.floor(there)).all()
    if packed and there.max() >= 128 and (there >= _UPPER).mean() >= _SHARE:
        bits = {"jaccard": "bit_jaccard"}.get(DENSE[metric], "bit_hamming or bit_jaccard")
        return (
            f"metric={metric!r} asks of each number only whether it is 0, and these look like bytes of eight bits "
            f"each, such as numpy.packbits makes; for those there is {bits}, and for numbers another metric"
        )
    return None


def _of_distances(D: Any) -> str | None:
    if hasattr(D, "tocsr"):
        return _of_graph(D)
    if isinstance(D, tuple | list):
        return None
    D = np.asarray(D)
    if D.shape[0] != D.shape[1]:
        # The search refuses them.
        return None
    own = D.diagonal()
    if len(D) > 2 and (own > 0).all() and (own >= D.max(axis=1)).all():
        return (
            f"each row's largest precomputed distance is that to itself, {own[0]:.4g}: these look like similarities; "
            "turn them into distances"
        )
    one = D[0, 1] if len(D) > 2 else 0
    if one > 0 and np.count_nonzero(one == D) == D.size - len(D) and not own.any():
        return f"all precomputed distances are {one:.4g}: nothing is nearer than anything else"
    for a in range(0, len(D), _TILE):
        for b in range(0, a + 1, _TILE):
            there, back = D[a : a + _TILE, b : b + _TILE], D[b : b + _TILE, a : a + _TILE].T
            if (at := _differ(there, back)) is not None:
                i, j = divmod(at, there.shape[1])
                return _asymmetric(a + i, b + j, there[i, j], back[i, j])
    return None


def _of_graph(graph: Any) -> str | None:
    graph = graph.tocsr()
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    apart = row != graph.indices
    row, column, values = row[apart], graph.indices[apart], np.asarray(graph.data)[apart]
    if len(values) < 3:
        return None
    if values.min() == values.max():
        return (
            f"all precomputed distances are {values[0]:.4g}, as in a graph of which rows are neighbours; one of "
            "distances says how far they are (kneighbors_graph(mode='distance'), adata.obsp['distances'])"
        )
    largest = np.zeros(graph.shape[0], values.dtype)
    np.maximum.at(largest, row, values)
    if values.max() <= 1 and (largest[np.diff(graph.indptr) > 0] == 1).mean() >= _NEARLY_ALL:
        return (
            "the largest precomputed distance of nearly every row is exactly 1, as in a graph of similarities such as "
            "adata.obsp['connectivities']; give one of distances, such as adata.obsp['distances']"
        )
    # Of two rows, one may have the other as a neighbour, or both; where both have, the two distances are the same.
    other = graph[column, row]
    back = np.asarray(other).ravel()
    both = back != 0
    if (at := _differ(values[both], back[both])) is not None:
        return _asymmetric(int(row[both][at]), int(column[both][at]), values[both][at], back[both][at])
    return None


def _differ(there: Array, back: Array) -> int | None:
    """The place of the first pair of numbers that are not the same to rounding; None where there is no such pair."""
    known = np.isfinite(there) & np.isfinite(back)
    with np.errstate(invalid="ignore"):
        far = known & (np.abs(there - back) > _ROUNDING * np.maximum(there, back))
    return int(np.argmax(far)) if far.any() else None


def _asymmetric(i: int, j: int, there: float, back: float) -> str:
    if i > j:
        i, j, there, back = j, i, back, there
    return (
        f"precomputed distances are not symmetric: from row {i} to row {j} it is {there:.4g}, and back {back:.4g}; "
        "each row's own are used as they are"
    )
