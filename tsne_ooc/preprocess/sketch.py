"""Leading principal components of tables that are too wide for their covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._random import generator
from tsne_ooc._typing import Float64
from tsne_ooc.preprocess.statistics import beyond_range

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes

# Pieces of a product, for threads.
_ROWS = 64
_COLUMNS = 2048


# Shares of the variance that the exact 50 axes hold: 0.998 for 10,000 mouse neurons (log1p of 1,000 genes), 0.966 where
# these are also standardised (a flat spectrum), 1.0000 for 20,000 digits. With two passes it is 0.991, 0.932 and
# 0.9999; with scikit-learn's IncrementalPCA in batches of 1,000, which decomposes in between, 0.991, 0.934 and 0.999.
PASSES = 3


def leading(rows: Passes, k: int) -> tuple[Float64, float, Float64, Float64]:
    """Mean (p,), variance of all columns together, k leading eigenvalues, descending, and their vectors (p, k).

    The covariance C is never formed. The first pass multiplies it by random columns; each further pass multiplies it by
    an orthonormal basis Q of the result before. The last gives the approximation CQ (Q'CQ)^-1 (CQ)' of C.
    """
    n, p = rows.n, rows.width
    width = min(p, n, 2 * k + 20)
    basis = generator(rows.seed, "sketch").normal(size=(p, width))
    mean, total, image = _times(rows, basis)
    for _ in range(PASSES - 1):
        basis, _ = np.linalg.qr(image / _unit(image))
        mean, total, image = _times(rows, basis)
    # Division by a power of four changes no digits, nor those of roots. The squares of what is left are within the
    # range of float64, whatever the unit of the columns: at 1e-100 all axes were lost, and 1e100 was an error.
    unit = _unit(image)
    image /= unit
    size = float(np.linalg.norm(image))
    if size == 0:
        return mean, total, np.zeros(k), basis[:, :k]
    # A shift by the rounding error gives the small matrix a Cholesky factor, also for data of a lower rank.
    shift = np.sqrt(p) * np.finfo(np.float64).eps * size
    image += shift * basis
    small = basis.T @ image
    factor = np.linalg.cholesky((small + small.T) / 2)
    vectors, lengths, _ = np.linalg.svd(np.linalg.solve(factor, image.T).T, full_matrices=False)
    return mean, total, np.maximum(lengths[:k] ** 2 - shift, 0.0) * unit, vectors[:, :k]


def _unit(values: Float64) -> float:
    return float(4.0 ** (int(np.frexp(np.abs(values).max())[1]) // 2))


def _times(rows: Passes, columns: Float64) -> tuple[Float64, float, Float64]:
    """Mean and total variance of the rows, and their covariance times `columns`, in one pass."""
    p, width = columns.shape
    n, total, product = 0, 0.0, np.zeros((p, width))
    # As in `Moments`, tiles are taken about their own means, and these are distances from the first row.
    origin, mean = np.zeros(p), np.zeros(p)
    for first, tile in rows.tiles():
        if first == 0:
            origin = tile[0].copy()
        m = len(tile)
        with np.errstate(over="ignore", invalid="ignore"):
            tile -= origin
            own = tile.sum(axis=0) / m
            tile -= own
            step = own - mean
            weight = n * m / (n + m)
            _add_product(product, tile, columns, rows.threads)
            product += np.multiply.outer(weight * step, step @ columns)
            total += float(np.einsum("ij,ij->", tile, tile)) + weight * float(step @ step)
        if not np.isfinite(product).all():
            raise beyond_range(int(np.maximum(np.abs(tile).max(axis=0), np.abs(step)).argmax()))
        n += m
        mean += step * (m / n)
    return origin + mean, total / n, product / n


def _add_product(product: Float64, tile: Float64, columns: Float64, threads: Threads) -> None:
    """``product += tile.T @ (tile @ columns)``, in pieces that the shapes alone cut."""

    # The caller reports what is beyond the range of numbers.
    def score(a: int, b: int) -> Float64:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(tile[a:b] @ columns)

    scores = np.concatenate(threads.map(score, ranges(len(tile), _ROWS)))

    def add(a: int, b: int) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            product[a:b] += tile[:, a:b].T @ scores

    threads.map(add, ranges(tile.shape[1], _COLUMNS))
