"""What all measures use: checked maps, samples of rows, nearest rows in the map and in the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._kernels.ranks import count_below
from tsne_ooc._labels import Classes, classes, column
from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads, fewer, ranges, resolve_n_jobs
from tsne_ooc._typing import Array, Bool, Float64, Int64, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.io import as_source, iterate
from tsne_ooc.sampling import draw, take

Seed = int | np.random.Generator | None

# SciPy's names for metrics that have another name in scikit-learn.
CDIST = {"manhattan": "cityblock", "l1": "cityblock", "l2": "euclidean"}
# Rows whose distances to a block are held at a time.
GROUP = 64


def seeded(random_state: Seed) -> np.random.Generator:
    return np.random.default_rng(random_state)


def points_of(Y: ArrayLike, name: str) -> Float64:
    points: Float64 = as_rows(Y, name=name, dtype=np.float64)
    return points


def checked_labels(labels: ArrayLike, n: int, name: str) -> Classes:
    values = column(labels, name)
    if values.shape != (n,):
        raise ValueError(f"{name} has shape {values.shape}, and there are {n} rows")
    return classes(values, name)


def same_length(X: TableLike, Y: Float64) -> Any:
    table = as_source(X)
    if table.shape[0] != len(Y):
        raise ValueError(f"X has {table.shape[0]} rows, and Y has {len(Y)}")
    return table


def check_enough(n: int, k: int) -> None:
    if k >= n:
        raise ValueError(f"{k} neighbours need more than {n} rows")


def sampled(n: int, sample: int | None, random_state: Seed) -> Int64:
    if sample is None:
        return np.arange(n, dtype=np.int64)
    return draw(n, whole("sample", sample, least=1), seeded(random_state))


def others(indices: Int64, own: Int64) -> Bool:
    """All but a row's own number, or the last number where duplicates have kept the row itself out of the k + 1."""
    keep = np.asarray(indices != own[:, None])
    keep[keep.all(axis=1), -1] = False
    return keep


def without_self(indices: Int64, own: Int64) -> Int64:
    """Drop one number of each row, as `others` says."""
    kept: Int64 = indices[others(indices, own)].reshape(len(indices), -1)
    return kept


def tree_of(Y: Float64) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(Y)


def nearest_in_map(
    tree: Any,
    queries: Float64,
    k: int,
    n_jobs: int | None,
    own: Int64 | None,
) -> Int64:
    depth = list(range(1, k + 1 + (own is not None)))
    indices: Int64 = fewer(lambda workers: tree.query(queries, k=depth, workers=workers)[1], resolve_n_jobs(n_jobs))
    return indices if own is None else without_self(indices, own)


def nearest_in_data(table: Any, rows: Int64, k: int, metric: str, n_jobs: int | None) -> Int64:
    """Numbers of the k rows nearest to each of `rows`, which are not among them: exact, and streamed."""
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    def search(block: Array, queries: Array, most: int) -> tuple[Array, Array]:
        # Metrics that scikit-learn does not reduce on the fly fill this many MB with distances, by default 1024.
        with config_context(working_memory=64):
            found = NearestNeighbors(
                n_neighbors=most, algorithm="brute", metric=metric, n_jobs=resolve_n_jobs(n_jobs)
            ).fit(block)
            distances, indices = found.kneighbors(queries)
            return indices, distances

    return nearest_by(table, rows, k, search)[0]


def nearest_by(
    table: Any, rows: Int64, k: int, search: Callable[[Array, Array, int], tuple[Array, Array]]
) -> tuple[Int64, Float64]:
    """Numbers and distances of the k rows nearest to each of `rows`, which are not among them.

    ``search(block, queries, most)`` gives numbers and distances of so many rows of a block.
    """
    queries = take(table, rows)
    distances = np.full((len(rows), k + 1), np.inf)
    indices = np.full((len(rows), k + 1), -1, dtype=np.int64)
    for start, stop, block in iterate(table):
        near, apart = search(block, queries, min(k + 1, stop - start))
        both = np.concatenate([distances, apart], axis=1)
        order = np.argsort(both, axis=1, kind="stable")[:, : k + 1]
        distances = np.take_along_axis(both, order, axis=1)
        numbers = np.concatenate([indices, near.astype(np.int64) + start], axis=1)
        indices = np.take_along_axis(numbers, order, axis=1)
    kept = others(indices, rows)
    return indices[kept].reshape(len(rows), k), distances[kept].reshape(len(rows), k)


def nearer_in_data(
    table: Any, rows: Int64, targets: Int64, measure: Callable[[Array, Array], Array], threads: Threads
) -> Int64:
    """How many rows are nearer to each of `rows` than each of its `targets`, of shape (rows, t); streamed.

    ``measure(queries, block)`` gives all distances.
    """
    queries = take(table, rows).astype(np.float64)
    near, where = np.unique(targets, return_inverse=True)
    neighbours = take(table, near).astype(np.float64)
    pairs = where.reshape(targets.shape)
    # They are measured pair by pair, with the same function that measures all rows below: if a matrix product rounded
    # the distance of a neighbour differently, it would count as nearer than itself.
    reach = np.stack([measure(queries[[i]], neighbours[pairs[i]])[0] for i in range(len(rows))])
    nearer = np.zeros(targets.shape, dtype=np.int64)
    for start, stop, block in iterate(table, rows=8192):
        _count_nearer(threads, queries, rows, block.astype(np.float64), (start, stop), reach, measure, nearer)
    return nearer


def _count_nearer(
    threads: Threads,
    queries: Float64,
    numbers: Int64,
    block: Float64,
    span: tuple[int, int],
    reach: Float64,
    measure: Callable[[Array, Array], Array],
    nearer: Int64,
) -> None:
    """Add to ``nearer[i, j]`` the rows of `block` that lie nearer to query i than ``reach[i, j]``."""

    def count(first: int, last: int) -> None:
        distance = measure(queries[first:last], block)
        own = numbers[first:last] - span[0]
        here = np.flatnonzero((own >= 0) & (own < span[1] - span[0]))
        distance[here, own[here]] = np.inf
        count_below(distance, reach[first:last], nearer[first:last])

    threads.map(count, ranges(len(queries), GROUP))
