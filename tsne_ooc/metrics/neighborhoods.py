"""Whether neighbours stay neighbours: recall, trustworthiness, and the labels of neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Int64, TableLike
from tsne_ooc.metrics._common import (
    CDIST,
    Seed,
    check_enough,
    checked_labels,
    nearer_in_data,
    nearest_in_data,
    nearest_in_map,
    points_of,
    same_length,
    sampled,
    tree_of,
)

# Rows that are judged by their neighbours at a time.
_VOTES = 10_000


def neighbor_recall(
    X: TableLike,
    Y: ArrayLike,
    k: int = 10,
    within: Sequence[int] = (10, 50),
    *,
    metric: str = "euclidean",
    sample: int | None = 5000,
    random_state: Seed = 0,
    n_jobs: int | None = None,
) -> dict[int, float]:
    """Share of the `k` nearest rows in the data that are among the nearest rows in the map.

    Parameters
    ----------
    X : array, Source, HDF5 dataset or path, of shape (n_samples, n_features)
        The data; streamed, so it may be larger than memory.
    Y : array_like of shape (n_samples, n_components)
        The map.
    k : int
        Number of neighbours in the data.
    within : sequence of int
        Numbers of neighbours in the map to look among.
    metric : str
        Any metric of `sklearn.neighbors.NearestNeighbors`, for the data; the map is Euclidean.
    sample, random_state, n_jobs
        Number of rows looked at (None: all), its seed, and number of threads (None: all cores).

    Returns
    -------
    dict of int to float
        For every entry of `within`; ``recall[10]`` is the r10 of the benchmarks, ``recall[50]`` their r50.

    Notes
    -----
    Where many rows are identical, which of them are nearest is a matter of chance, and recall is low for any
    map.
    """
    points = points_of(Y, "Y")
    table = same_length(X, points)
    k = whole("k", k, least=1)
    depths = [whole("within", depth, least=1) for depth in within]
    check_enough(len(points), max([k, *depths]))
    rows = sampled(len(points), sample, random_state)
    true = nearest_in_data(table, rows, k, metric, n_jobs)
    found = nearest_in_map(tree_of(points), points[rows], max(depths), n_jobs, own=rows)
    recall = {}
    for depth in depths:
        hits = [np.isin(true[i], found[i, :depth], assume_unique=True).sum(dtype=np.int64) for i in range(len(rows))]
        recall[depth] = float(np.sum(hits) / (len(rows) * k))
    return recall


def trustworthiness(
    X: TableLike,
    Y: ArrayLike,
    k: int = 5,
    *,
    metric: str = "euclidean",
    sample: int | None = 1000,
    random_state: Seed = 0,
    n_jobs: int | None = None,
) -> float:
    """Trustworthiness: are neighbours in the map neighbours in the data?

    Each of the `k` nearest rows in the map costs its rank in the data beyond `k`; rows that are equally far
    share the smaller rank. With ``sample=None`` and no ties this is `sklearn.manifold.trustworthiness`,
    without its matrix of all distances.

    Parameters
    ----------
    X : array, Source, HDF5 dataset or path, of shape (n_samples, n_features)
        The data; streamed, so it may be larger than memory.
    Y : array_like of shape (n_samples, n_components)
        The map.
    k : int
        Number of neighbours, fewer than half of the rows.
    metric : str
        Any metric of `scipy.spatial.distance.cdist`, for the data.
    sample, random_state, n_jobs
        Number of rows looked at (None: all), its seed, and number of threads (None: all cores).

    Returns
    -------
    float
        Between 0 and 1, more is better.

    References
    ----------
    J. Venna, S. Kaski. Neighborhood preservation in nonlinear projection methods. ICANN 2001.
    """
    from scipy.spatial.distance import cdist

    points = points_of(Y, "Y")
    table = same_length(X, points)
    n = len(points)
    k = whole("k", k, least=1)
    if k >= n / 2:
        raise ValueError(f"k={k} must be less than half of the {n} rows")
    rows = sampled(n, sample, random_state)
    found = nearest_in_map(tree_of(points), points[rows], k, n_jobs, own=rows)
    name = CDIST.get(metric, metric)
    nearer = nearer_in_data(table, rows, found, lambda some, block: cdist(some, block, name), Threads(n_jobs))
    excess = np.maximum(nearer + 1 - k, 0).sum(dtype=np.float64)
    return float(1 - excess * 2 / (len(rows) * k * (2 * n - 3 * k - 1)))


def label_accuracy(
    Y: ArrayLike,
    labels: ArrayLike,
    k: int = 10,
    Y_query: ArrayLike | None = None,
    labels_query: ArrayLike | None = None,
    *,
    sample: int | None = 50_000,
    random_state: Seed = 0,
    n_jobs: int | None = None,
) -> float:
    """Share of rows whose label is that of most of their `k` nearest rows in the map.

    Parameters
    ----------
    Y : array_like of shape (n_samples, n_components)
        The map.
    labels : array_like of shape (n_samples,)
        Labels of any type: words, numbers, dates, bytes. Rows whose label is missing (None, NaN) neither vote nor are
        judged.
    k : int
        Number of neighbours that vote; where two labels have as many votes, the one that sorts first wins.
    Y_query, labels_query : array_like of shape (n_queries, n_components) and (n_queries,), optional
        Rows to judge, such as placed ones; without them, those of `Y`, each left out of its own vote.
    sample, random_state, n_jobs
        Number of rows judged (None: all), its seed, and number of threads (None: all cores).

    Returns
    -------
    float
    """
    points = points_of(Y, "Y")
    k = whole("k", k, least=1)
    names, codes = checked_labels(labels, len(points), "labels")
    if not len(names):
        raise ValueError("labels has no label at all, so there is nothing to judge by")
    # A row without a label neither votes nor is judged.
    points, codes = points[codes >= 0], codes[codes >= 0]
    if (Y_query is None) != (labels_query is None):
        raise ValueError("Y_query and labels_query go together")
    own: Int64 | None
    if Y_query is None or labels_query is None:
        check_enough(len(points), k)
        own = rows = sampled(len(points), sample, random_state)
        queries, wanted = points[rows], codes[rows]
    else:
        check_enough(len(points) + 1, k)
        own, queries = None, points_of(Y_query, "Y_query")
        asked = checked_labels(labels_query, len(queries), "labels_query")
        judged = asked.codes >= 0
        if not judged.any():
            raise ValueError("labels_query has no label at all, so there is nothing to judge")
        # A label that no row of the map has is never found.
        number = {name: at for at, name in enumerate(names.tolist())}
        same = np.array([number.get(name, len(names)) for name in asked.names.tolist()], np.int64)
        queries, wanted = queries[judged], same[asked.codes[judged]]
        rows = sampled(len(queries), sample, random_state)
        queries, wanted = queries[rows], wanted[rows]
    tree = tree_of(points)
    hits = 0
    for start, stop in ranges(len(queries), _VOTES):
        part = None if own is None else own[start:stop]
        votes = codes[nearest_in_map(tree, queries[start:stop], k, n_jobs, own=part)]
        # The votes of all rows are counted at once: a label of row i is counted at i * len(names) + label.
        place = votes + np.arange(stop - start)[:, None] * len(names)
        counts = np.bincount(place.ravel(), minlength=(stop - start) * len(names))
        chosen = counts.reshape(stop - start, len(names)).argmax(axis=1)
        hits += int(np.count_nonzero(chosen == wanted[start:stop]))
    return hits / len(queries)
