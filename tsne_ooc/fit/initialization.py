"""Starts of the optimisation: where rows stand before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import unknown
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Float64, TableLike, UInt32
from tsne_ooc.joint import Joint
from tsne_ooc.schedule import LATE

if TYPE_CHECKING:
    from tsne_ooc.joint import JointRows
    from tsne_ooc.schedule import Schedule


# Small enough that only the directions of the start matter (Kobak and Linderman, Nature Biotechnology 39, 2021).
SCALE = 1e-4
JITTER = 0.01
NAMES = ("pca", "spectral", "random")
ROWS = 8192
# The most columns, or rows where these are fewer, that a covariance is made of: 134 MB, and 7 s to decompose.
MOST_MOMENTS = 4096


def rescale(Y: Float64, rng: np.random.Generator) -> Float32:
    """Scale the first axis to a standard deviation of 1e-4 and add 1 % of noise, so that equal rows can part."""
    spread = float(Y[:, 0].std()) if len(Y) else 0.0
    Y = Y * (SCALE / spread) if spread > 0 else np.zeros_like(Y)
    return (Y + rng.normal(0, SCALE * JITTER, Y.shape)).astype(np.float32)


def _axes(moments: Float64, d: int) -> Float64:
    """The `d` leading eigenvectors of a symmetric matrix as columns, each with its largest entry positive."""
    _, vectors = np.linalg.eigh(moments)
    axes = vectors[:, ::-1][:, :d]
    return np.asarray(axes * np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(axes.shape[1])]))


def filled(X: Float32) -> Float32:
    """A copy of rows in which the mean of its column stands for what is missing: for a start alone, which is coarse."""
    n, p = X.shape
    sums, counts = np.zeros(p), np.zeros(p, np.int64)
    for a, b in ranges(n, ROWS):
        there = ~np.isnan(X[a:b])
        sums += np.where(there, X[a:b], 0).sum(axis=0, dtype=np.float64)
        counts += there.sum(axis=0)
    means = (sums / np.maximum(counts, 1)).astype(np.float32)
    out = X.copy()
    for a, b in ranges(n, ROWS):
        np.copyto(out[a:b], means, where=np.isnan(X[a:b]))
    return out


def pca(X: TableLike, d: int, rng: np.random.Generator, threads: Threads) -> Float32:
    """The first `d` principal components, scaled as `rescale` does.

    They are exact, from the covariance (of the features or of the rows, whichever are fewer). For sparse rows, and for
    more than 4,096 rows of more columns than that, they have the accuracy of an iteration. Axes beyond the data's rank
    hold the noise alone.
    """
    n, p = X.shape
    with threads.one_blas_thread():
        if hasattr(X, "tocsr") or min(n, p) > MOST_MOMENTS:
            scores = _iterated(X, min(d, min(n, p) - 1), int(rng.integers(2**31)))
        else:
            pieces = ranges(n, ROWS)
            sums = threads.map(lambda start, stop: X[start:stop].sum(axis=0, dtype=np.float64), pieces)
            mean = np.sum(sums, axis=0) / n
            if p <= n:
                moments: Float64 = np.zeros((p, p))

                def block(start: int, stop: int) -> Float64:
                    centred = X[start:stop] - mean
                    return np.asarray(centred.T @ centred)

                # They are not computed all at once: those of 1.3 million rows and 2,000 columns took 5 GB.
                some = 2 * threads.n
                for first in range(0, len(pieces), some):
                    for moment in threads.map(block, pieces[first : first + some]):
                        moments += moment
                axes = _axes(moments, d)
                parts = threads.map(lambda start, stop: (X[start:stop] - mean) @ axes, pieces)
                scores = np.concatenate(parts)
            else:
                centred = X - mean
                # The eigenvectors of the rows' products are the scores themselves, but for their lengths.
                scores = centred @ (centred.T @ _axes(centred @ centred.T, d))
                lengths = np.linalg.norm(scores, axis=0)
                # Beyond the rank there is rounding alone, most of it along the first axis: drawn out to a length, it
                # would be that axis again. What is a millionth as long, and these are squares, is less than the noise.
                there = lengths > 1e-12 * lengths.max()
                scores = centred @ (centred.T @ (scores / np.where(there, lengths, 1)))
                norms = np.linalg.norm(scores, axis=0)
                scores = scores / np.sqrt(np.where(there, norms, 1)) * there
    scores = np.pad(scores, ((0, 0), (0, d - scores.shape[1])))
    return rescale(scores, rng)


def _iterated(X: TableLike, rank: int, seed: int) -> Float64:
    """The leading `rank` principal components without a covariance; sparse rows are centred without becoming dense."""
    from sklearn.decomposition import PCA
    from sklearn.utils.sparsefuncs import mean_variance_axis

    sparse = hasattr(X, "tocsr")
    if sparse:
        # This is done in double precision: the variance of counts with a large mean is a difference of large numbers.
        X = X.astype(np.float64)
    spread = mean_variance_axis(X, axis=0)[1] if sparse else X.var(axis=0, dtype=np.float64)
    rank = min(rank, int((spread > 0).sum()))
    if rank < 1:
        return np.zeros((X.shape[0], 0))
    solver = "arpack" if sparse else "randomized"
    found = PCA(rank, svd_solver=solver, random_state=seed).fit_transform(X)
    return np.asarray(found, np.float64)


def spectral(P: Joint, d: int, rng: np.random.Generator, threads: Threads, order: UInt32 | None = None) -> Float32:
    """The leading non-constant eigenvectors of the affinity graph's normalised Laplacian, scaled by `rescale`.

    (Belkin and Niyogi, Neural Computation 15, 2003; t-SNE under strong exaggeration tends to them: Linderman and
    Steinerberger, SIAM J. Math. Data Sci. 1, 2019.)

    Row r of P is row ``order[r]`` of the result.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import eigsh

    if P.n <= d + 1:
        return rescale(rng.normal(size=(P.n, d)), rng)
    matrix = P.tocsr()
    root = np.sqrt(matrix.sum(axis=1))
    inverse = diags_array(1 / np.where(root > 0, root, 1))
    normalised = inverse @ matrix @ inverse
    with threads.one_blas_thread():
        if P.n < 200:
            values, vectors = np.linalg.eigh(normalised.toarray())
        else:
            noise = rng.normal(size=P.n)
            start = root + 0.1 * root.mean() * (noise if order is None else noise[order])
            # One more than wanted and twice the usual work space: close eigenvalues are the rule, not the exception.
            values, vectors = eigsh(normalised, d + 1, which="LA", v0=start, ncv=max(20, 4 * d), tol=1e-4, maxiter=5000)
    leading = np.argsort(values)[::-1][1 : d + 1]
    Y = vectors[:, leading] * np.asarray(inverse.diagonal())[:, None]
    if order is not None:
        Y[order] = Y.copy()
    Y = Y * np.sign(Y[np.argmax(np.abs(Y), axis=0), np.arange(d)])
    return rescale(Y / np.where(Y.std(axis=0) > 0, Y.std(axis=0), 1), rng)


def given(Y: Any, n: int, d: int, name: str = "initialization") -> Float32:
    """A start given as the array `name`, used as it is.

    Raises
    ------
    ValueError
        If its shape is not (n, d) or it is not finite, naming the row and column.
    """
    try:
        # A value too large for float32 becomes infinity, which is refused with its row and column.
        with np.errstate(over="ignore"):
            start = np.array(Y, dtype=np.float32, order="C")
    except (TypeError, ValueError):
        raise ValueError(f"{name}: the given array is not numeric") from None
    if start.shape != (n, d):
        raise ValueError(f"{name} has shape {start.shape}; ({n}, {d}) is needed, a row for each row of X")
    if not np.isfinite(start).all():
        row, column = (int(x[0]) for x in np.nonzero(~np.isfinite(start)))
        raise ValueError(f"{name}: row {row}, column {column} is {start[row, column]}; it must be finite")
    return start


def warn_wide(start: Float32, schedule: Schedule) -> None:
    """Warn of a given start that is too wide for an early phase, or is a map that would go through all late phases."""
    phases = [phase for phase in schedule if phase.iterations]
    spread = float(start[:, 0].std(dtype=np.float64))
    if len(start) < 2 or not phases or spread <= 1e-2:
        return
    if phases[0].name == LATE:
        n = schedule.iterations
        warn(
            f"the given initialization is a map, and goes through the whole late course of {n} iterations, which moves "
            f"all rows; to go on with a fitted map use model.continue_fit({n}), and with places alone "
            f"schedule=[Phase({n})]",
        )
    # A course down to the last exaggeration is not an early phase: it leaves a map in order.
    elif not phases[0].is_course and phases[0].exaggeration_at(0) > phases[-1].exaggeration_at(0):
        warn(
            f"the given initialization has a standard deviation of {spread:.2g} on its first axis; above "
            "0.01 the early phase has little room to order the map (usual is 1e-4)",
        )


def check(initialization: Any) -> None:
    """Raise if `initialization` is a word that is not known."""
    if isinstance(initialization, str) and initialization not in NAMES:
        raise unknown("initialization", initialization, NAMES)
    if not isinstance(initialization, str) and not hasattr(initialization, "__len__"):
        raise TypeError(f"initialization={initialization!r} is neither a word ({', '.join(NAMES)}) nor an array")


def start(
    initialization: Any,
    X: TableLike,
    P: JointRows,
    d: int,
    rng: np.random.Generator,
    threads: Threads,
    order: UInt32 | None = None,
) -> Float32:
    """The start that a word or an array stands for, shape (n, d), float32, in the order of the rows.

    Row r of P is row ``order[r]``, or row r for None. `X` may be None for "spectral" and "random".
    """
    check(initialization)
    if not isinstance(initialization, str):
        return given(initialization, P.n, d)
    if initialization == "pca" and X is not None:
        return pca(X, d, rng, threads)
    if initialization == "spectral" or (initialization == "pca" and X is None):
        if not isinstance(P, Joint):
            raise ValueError("a spectral start needs all affinities in memory; allow more by memory=, or give a start")
        return spectral(P, d, rng, threads, order)
    return rescale(rng.normal(size=(P.n, d)), rng)
