"""Rows of an extreme scale are searched in units in which single precision can hold their distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Matrix, Named
from tsne_ooc.neighbors._blocks import largest_of
from tsne_ooc.neighbors.base import Answer, Index, Indices, Metric, Neighbors, by_state
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.storage.mapped import PIECE, empty
from tsne_ooc.storage.state import Saved, State, within

# Powers of two between which the largest number of a table may be. Distances of 1e-40 keep some five digits in single
# precision, those above 3.4e38 none, and the squares that faiss and others take end at half of these exponents.
LEAST, MOST = -30, 50
# Rows of a scale of 2**k have distances of a scale of 2**(power k).
POWERS = {
    "euclidean": 1, "l2": 1, "manhattan": 1, "l1": 1, "cityblock": 1, "chebyshev": 1, "linf": 1, "minkowski": 1,
    "nan_euclidean": 1, "sqeuclidean": 2,
}  # fmt: skip
SCALE_FREE = {"p", "w"}


def build(
    search: Neighbors,
    X: Matrix,
    *,
    metric: Metric,
    metric_params: Named | None,
    rng: np.random.Generator,
    threads: Threads,
) -> Index:
    """Build the index of the rows X by `search`, in units of a power of two where their scale is extreme."""
    options: Any = {"metric": metric, "metric_params": metric_params, "rng": rng, "threads": threads}
    power = POWERS.get(metric, 0) if isinstance(metric, str) and SCALE_FREE.issuperset(metric_params or {}) else 0
    exponent = exponent_for(X) if power else 0
    if not exponent:
        return search.build(X, **options)
    return ScaledIndex(search.build(scaled(X, exponent), **options), exponent, threads)


def exponent_for(X: Matrix) -> int:
    """The exponent of the power of two by which rows are multiplied: 0 for all but extreme ones."""
    largest = largest_of(X if isinstance(X, np.ndarray) else X.data)
    if largest == 0:
        return 0
    size = int(np.frexp(largest)[1])
    return int(np.clip(size, LEAST, MOST)) - size


def scaled(X: Matrix, exponent: int) -> Any:
    """A copy of the rows, multiplied by a power of two; that is exact but for numbers far smaller than the largest."""
    if not isinstance(X, np.ndarray):
        copy = X.copy()
        copy.data = scaled(X.data, exponent)
        return copy
    # A new row of a much larger scale gets the largest distance that can be told.
    largest, numbers = np.finfo(np.float32).max, empty(X.shape, np.float32)
    for a in range(0, len(X), PIECE):
        with np.errstate(over="ignore", under="ignore"):
            some = np.ldexp(X[a : a + PIECE], np.int32(exponent), out=numbers[a : a + PIECE])
        np.clip(some, -largest, largest, out=some)
    return numbers


class ScaledIndex(Index, kind="scaled"):
    """An index of rows that were multiplied by a power of two, which multiplies queries, too.

    Parameters
    ----------
    inner : Index
        The index of the multiplied rows.
    exponent : int
        The exponent of the power of two.
    """

    def __init__(self, inner: Index, exponent: int, threads: Threads) -> None:
        self._inner, self._exponent, self._threads = inner, exponent, threads
        self.n, self.metric, self.sparse = inner.n, inner.metric, inner.sparse
        self.unit = 2.0 ** (-exponent * POWERS[str(inner.metric)])

    def state(self) -> State:
        content, arrays = within("inner", named_state(self._inner))
        return {"exponent": self._exponent, **content}, arrays

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> ScaledIndex:
        inner = restore_index(saved.part("inner"), threads, within="scaled")
        if inner.metric not in POWERS:
            raise saved.fail(f"has the metric {str(inner.metric)[:40]!r}, whose distances have no scale")
        return cls(inner, saved.whole("exponent", -200, 200), threads)

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        return np.asarray(scaled(self._inner.rows, -self._exponent))

    def recall(self, k: int) -> float:
        return self._inner.recall(k)

    @property
    def order(self) -> Indices | None:
        return self._inner.order

    def query(self, Q: Matrix, k: int) -> Answer:
        return self._inner.query(scaled(Q, self._exponent), k)

    def query_self(self, k: int) -> Answer:
        return self._inner.query_self(k)

    def query_part(self, start: int, stop: int, k: int) -> Answer | None:
        return self._inner.query_part(start, stop, k)


def as_searched(X: Matrix, index: Index) -> Matrix:
    """The rows X in the units of an index."""
    return scaled(X, index._exponent) if isinstance(index, ScaledIndex) else X
