"""The configuration that a user's word or object stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsne_ooc._context import warn
from tsne_ooc._options import pick, unknown
from tsne_ooc.neighbors.annoy_index import Annoy
from tsne_ooc.neighbors.base import BLOCKED, GAPS, Metric, Neighbors
from tsne_ooc.neighbors.exact import Exact
from tsne_ooc.neighbors.hnsw import HNSW
from tsne_ooc.neighbors.ivf import IVF
from tsne_ooc.neighbors.metrics import BOOLEAN, DENSE, PACKED, SPARSE, check_names
from tsne_ooc.neighbors.precomputed import Precomputed
from tsne_ooc.neighbors.pynndescent_index import PyNNDescent, takes

# Numbers of rows from which an approximate search takes less time than an exact one, build included
# (docs/neighbors.md).
IVF_FROM = 15_000
OTHERS_FROM = 30_000
# An exact search of bits takes some 3 ns a pair, and pynndescent some 3 ms a row (1,024 columns,
# `benchmarks/fingerprints.py --among`).
BITS_FROM = 1_000_000

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


def resolve(
    neighbors: Any, *, metric: Metric, n: int, p: int, sparse: bool = False, metric_params: Any = None
) -> Neighbors:
    """Find the configuration for a word or an object.

    Parameters
    ----------
    neighbors : str or Neighbors
        "auto", "exact", "ivf" (also "faiss"), "hnsw", "pynndescent", "annoy", or a configuration, which is returned as
        it is. "auto" is exact search for few rows. For more it is `IVF` for dense euclidean and cosine data,
        `PyNNDescent` for other data that this can search, and exact search for the rest.
    metric : str or callable
    n, p : int
        Shape of the reference.
    sparse : bool
    metric_params : mapping or None

    Raises
    ------
    ValueError
        For an unknown word or metric, where the message has the nearest valid one, and where they do not go together.
    TypeError
        For an object that is neither a word nor a configuration.
    """
    if not isinstance(metric, str) and not callable(metric):
        raise TypeError(f"metric={metric!r} is neither a word nor a function")
    if metric_params is not None and not isinstance(metric_params, Mapping):
        raise TypeError(f"metric_params={metric_params!r} is not a mapping of names to values")
    # The metric is checked first, since all else that is wrong may follow from it.
    if metric != "precomputed":
        known = {*(SPARSE if sparse else DENSE), "precomputed"}
        if isinstance(metric, str) and metric not in {*DENSE, "precomputed"}:
            raise unknown("metric", metric, known)
        check_names(metric, metric_params, sparse=sparse)
    words: dict[str, Callable[[], Neighbors]] = {**WORDS, "auto": lambda: _auto(metric, n, sparse, metric_params)}
    if isinstance(neighbors, Neighbors):
        chosen = neighbors
    elif isinstance(neighbors, str):
        chosen = pick("neighbors", neighbors, words)()
    else:
        raise TypeError(f"neighbors={neighbors!r} is neither a word nor an object of tsne_ooc.neighbors")
    if (metric == "precomputed") != isinstance(chosen, Precomputed):
        raise ValueError(f"neighbors={neighbors!r} does not go with metric={metric!r}")
    chosen.check(metric, metric_params, sparse=sparse)
    return chosen


def _auto(metric: Metric, n: int, sparse: bool, params: Any) -> Neighbors:
    if metric == "precomputed":
        return Precomputed()
    if not sparse and isinstance(metric, str):
        if metric in (*BLOCKED, GAPS) and not params:
            return Exact() if n < IVF_FROM else IVF()
        if DENSE[metric] in (*BOOLEAN, *PACKED) and not params:
            return Exact() if n < BITS_FROM or not takes(metric, params, sparse=False) else PyNNDescent()
    if n < OTHERS_FROM:
        return Exact()
    if takes(metric, params, sparse=sparse):
        return PyNNDescent()
    if callable(metric):
        name = getattr(metric, "__name__", repr(metric))
        warn(
            f"neighbors='auto' calls the metric {name} for each pair of {n:,} rows, {n * n:.0e} times; compiled with "
            f"numba.njit({name}) it is one that pynndescent takes",
        )
    return Exact()
