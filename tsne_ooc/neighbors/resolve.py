"""From the word or object a user gives to a configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._options import pick, unknown
from .annoy_index import Annoy
from .base import BLOCKED, Metric, Neighbors
from .exact import Exact
from .hnsw import HNSW
from .ivf import IVF
from .pairwise import DENSE, SPARSE
from .precomputed import Precomputed
from .pynndescent_index import PyNNDescent

# Rows from which approximate search takes less time than exact search, build included (docs/neighbors.md).
IVF_FROM = 15_000
OTHERS_FROM = 30_000

WORDS: dict[str, Callable[[], Neighbors]] = {
    "exact": Exact,
    "ivf": IVF,
    "faiss": IVF,
    "faiss-ivf": IVF,
    "hnsw": HNSW,
    "faiss-hnsw": HNSW,
    "pynndescent": PyNNDescent,
    "annoy": Annoy,
    "precomputed": Precomputed,
}


def resolve(neighbors: Any, *, metric: Metric, n: int, p: int, sparse: bool = False) -> Neighbors:
    """The configuration for a word or object.

    Parameters
    ----------
    neighbors : str or Neighbors
        "auto", "exact", "ivf" (also "faiss"), "hnsw", "pynndescent", "annoy", or a configuration, returned as
        it is. "auto" is exact search for few rows, then `IVF` for dense euclidean and cosine data and
        `PyNNDescent` for the rest.
    metric : str or callable
    n, p : int
        Shape of the reference.
    sparse : bool

    Raises
    ------
    ValueError
        For an unknown word or metric, with the nearest valid one.
    TypeError
        For an object that is neither.
    """
    words: dict[str, Callable[[], Neighbors]] = {**WORDS, "auto": lambda: _auto(metric, n, sparse)}
    if isinstance(neighbors, Neighbors):
        chosen = neighbors
    elif isinstance(neighbors, str):
        chosen = pick("neighbors", neighbors, words)()
    else:
        raise TypeError(f"neighbors={neighbors!r} is neither a word nor an object of tsne_ooc.neighbors")
    if isinstance(metric, str):
        known = {*(SPARSE if sparse else DENSE), "precomputed"}
        if metric not in known:
            raise unknown("metric", metric, known)
        if metric == "precomputed" and neighbors == "auto":
            chosen = Precomputed()
        if (metric == "precomputed") != isinstance(chosen, Precomputed):
            raise ValueError(f"neighbors={neighbors!r} does not go with metric={metric!r}")
    return chosen


def _auto(metric: Metric, n: int, sparse: bool) -> Neighbors:
    if not sparse and isinstance(metric, str) and metric in BLOCKED:
        return Exact() if n < IVF_FROM else IVF()
    return Exact() if n < OTHERS_FROM else PyNNDescent()
