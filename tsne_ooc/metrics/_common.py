"""What all measures use: checked maps, samples of rows, nearest rows in the map and in the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import Classes, classes, column
from tsne_ooc._options import whole
from tsne_ooc._parallel import fewer, resolve_n_jobs
from tsne_ooc._typing import Float64, Int64, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.io import as_source, iterate
from tsne_ooc.sampling import draw, take

Seed = int | np.random.Generator | None

# SciPy's names for metrics that have another name in scikit-learn.
CDIST = {"manhattan": "cityblock", "l1": "cityblock", "l2": "euclidean"}


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


def without_self(indices: Int64, own: Int64) -> Int64:
    """Drop a row's own number, or the last number where duplicates have kept the row itself out of the k + 1."""
    keep = indices != own[:, None]
    keep[keep.all(axis=1), -1] = False
    kept: Int64 = indices[keep].reshape(len(indices), -1)
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

    queries = take(table, rows)
    distances = np.full((len(rows), k + 1), np.inf)
    indices = np.full((len(rows), k + 1), -1, dtype=np.int64)
    # Metrics that scikit-learn does not reduce on the fly fill this many MB with distances, by default 1024.
    with config_context(working_memory=64):
        for start, stop, block in iterate(table):
            search = NearestNeighbors(
                n_neighbors=min(k + 1, stop - start),
                algorithm="brute",
                metric=metric,
                n_jobs=resolve_n_jobs(n_jobs),
            )
            d, i = search.fit(block).kneighbors(queries)
            both = np.concatenate([distances, d], axis=1)
            order = np.argsort(both, axis=1, kind="stable")[:, : k + 1]
            distances = np.take_along_axis(both, order, axis=1)
            indices = np.take_along_axis(np.concatenate([indices, i + start], axis=1), order, axis=1)
    return without_self(indices, rows)
