"""The loss that t-SNE minimises, and how well distances agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float64, TableLike
from tsne_ooc.gradients.grid import check_dof
from tsne_ooc.metrics._common import CDIST, Seed, check_enough, points_of, same_length, sampled, seeded
from tsne_ooc.sampling import draw, take

# The most pairs in the normalisation of one call: 50,000 x 50,000, some 6 s on two cores (dof = 1; other dof 30 s).
_PAIRS = 2_500_000_000
# Rows whose attraction is summed at a time; rows and columns of a piece of the normalisation.
_ROWS = 1000
_HEIGHT, _WIDTH = 128, 4096


def kl_divergence(
    P: Any,
    Y: ArrayLike,
    dof: float = 1.0,
    *,
    sample: int | None = None,
    random_state: Seed = 0,
    n_jobs: int | None = None,
) -> float:
    """Kullback-Leibler divergence KL(P || Q) of a map, the loss that t-SNE minimises.

    Q has entries w_ij / Z with w = (1 + r^2 / dof)^-dof and Z the sum of w over all ordered pairs.

    Parameters
    ----------
    P : sparse array of shape (n_samples, n_samples)
        Joint affinities without exaggeration; they are divided by their sum.
    Y : array_like of shape (n_samples, n_components)
        The map.
    dof : float
        Degrees of freedom of the kernel, from 0.01 to 10,000.
    sample : int, optional
        Rows from which Z is estimated. By default Z is exact up to 50,000 rows; beyond, it comes from as many
        rows as cost the same, and its relative error (about ``sample ** -0.5`` of the spread of the rows' own
        sums) is the error of the divergence. Z is the only part that is quadratic.
    random_state, n_jobs
        Seed of the sample, and number of threads (None: all cores).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where `P` is not square, does not fit `Y`, or has negative or no entries.

    References
    ----------
    L. van der Maaten, G. Hinton. Visualizing data using t-SNE. JMLR 9, 2008.
    """
    from scipy.sparse import csr_array

    alpha = check_dof(dof)
    points = points_of(Y, "Y")
    n = len(points)
    joint = csr_array(P)
    if not joint.has_canonical_format:
        # A cell may be stored in several parts, whose sum is the affinity.
        joint = joint.astype(np.float64, copy=True)
        joint.sum_duplicates()
    if joint.shape != (n, n):
        raise ValueError(f"P has shape {joint.shape}, and Y has {n} rows")
    total = float(joint.data.sum(dtype=np.float64)) if joint.nnz else 0.0
    if total <= 0 or joint.data.min() < 0:
        raise ValueError("P has no positive entry, or a negative one: it holds no probabilities")
    threads = Threads(n_jobs)

    def attraction(start: int, stop: int) -> float:
        first, last = int(joint.indptr[start]), int(joint.indptr[stop])
        p = joint.data[first:last].astype(np.float64) / total
        i = np.repeat(np.arange(start, stop), np.diff(joint.indptr[start : stop + 1]))
        difference = points[i] - points[joint.indices[first:last]]
        distance = np.einsum("ij,ij->i", difference, difference)
        positive = p > 0
        p = p[positive]
        # This is -log w written out, because w itself underflows for far rows where dof is large.
        return float((p * (np.log(p) + alpha * np.log1p(distance[positive] / alpha))).sum())

    if sample is None:
        sample = n if n * n <= _PAIRS else max(1, _PAIRS // n)
    Z = _normalisation(points, alpha, sample, seeded(random_state), threads)
    return sum(threads.map(attraction, ranges(n, _ROWS))) + float(np.log(Z))


def _normalisation(Y: Float64, alpha: float, sample: int, rng: np.random.Generator, threads: Threads) -> float:
    """Sum of the kernel over all ordered pairs of different rows, from `sample` of the rows."""
    from scipy.spatial.distance import cdist

    n = len(Y)
    exact = sample >= n
    rows = np.arange(n) if exact else draw(n, sample, rng)

    def part(start: int, stop: int) -> float:
        total = 0.0
        # With all rows, pairs are counted once and doubled.
        for first in range(start if exact else 0, n, _WIDTH):
            w = cdist(Y[rows[start:stop]], Y[first : first + _WIDTH], "sqeuclidean")
            if alpha == 1:
                w += 1
                np.reciprocal(w, out=w)
            else:
                w /= alpha
                np.log1p(w, out=w)
                w *= -alpha
                np.exp(w, out=w)
            if exact and first < stop:
                w = np.triu(w, start - first + 1)
            total += float(w.sum())
        return 2 * total if exact else total - (stop - start)

    return sum(threads.map(part, ranges(len(rows), _HEIGHT))) * n / len(rows)


def distance_correlation(
    X: TableLike,
    Y: ArrayLike,
    *,
    metric: str = "euclidean",
    sample: int | None = 1000,
    random_state: Seed = 0,
) -> float:
    """Spearman's rank correlation between distances in the data and in the map: is the large picture kept?

    Parameters
    ----------
    X : array, Source, HDF5 dataset or path, of shape (n_samples, n_features)
        The data; only sampled rows are read.
    Y : array_like of shape (n_samples, n_components)
        The map.
    metric : str
        Any metric of `scipy.spatial.distance.pdist`, for the data.
    sample : int or None
        Number of rows drawn (None: all); all pairs among them are compared, 499,500 for 1000 rows.
    random_state : int, Generator or None
        Seed of the sample.

    Returns
    -------
    float
        Between -1 and 1.

    References
    ----------
    D. Kobak, P. Berens. The art of using t-SNE for single-cell transcriptomics. Nature Communications 10, 2019.
    """
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    points = points_of(Y, "Y")
    table = same_length(X, points)
    check_enough(len(points), 2)
    rows = sampled(len(points), sample, random_state)
    in_data = pdist(take(table, rows).astype(np.float64), CDIST.get(metric, metric))
    in_map = pdist(points[rows])
    return float(spearmanr(in_data, in_map).statistic)


def displacement(before: ArrayLike, after: ArrayLike) -> Float64:
    """How far the place of each row in one map is from its place in another map of the same rows.

    A map that is turned, mirrored, moved or scaled is the same map. So the first is laid on the second as well as
    possible (by least squares, as in a Procrustes analysis), and the remaining distances are measured.

    Parameters
    ----------
    before, after : array_like of shape (n_samples, n_components)

    Returns
    -------
    ndarray of shape (n_samples,)
        In units of `after`.

    Raises
    ------
    ValueError
        Where the maps differ in shape, or are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> before = np.array([[0, 0], [2, 0], [0, 4], [2, 4]])
    >>> displacement(before, -3 * before[:, ::-1] + 1).round(6)
    array([0., 0., 0., 0.])
    """
    first, second = points_of(before, "before"), points_of(after, "after")
    if first.shape != second.shape:
        raise ValueError(f"before has shape {first.shape}, and after has {second.shape}; they are maps of one table")
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    left, sizes, right = np.linalg.svd(first.T @ second)
    extent = float(np.square(first).sum())
    scale = float(sizes.sum()) / extent if extent > 0 else 0.0
    moved: Float64 = np.linalg.norm(scale * (first @ left @ right) - second, axis=1)
    return moved
