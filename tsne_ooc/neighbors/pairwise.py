"""Distances in every metric, in arithmetic that treats each pair by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._options import unknown
from .._state import Saved, State
from ._sparse import all_distances
from .base import Metric

# Reference rows converted to double precision at a time.
STRIP = 4096
# SciPy's names, by every name in use.
DENSE = {
    **{name: name for name in (
        "euclidean", "cosine", "chebyshev", "minkowski", "braycurtis", "canberra",
        "correlation", "hamming", "jaccard", "sqeuclidean", "seuclidean", "mahalanobis",
        "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "jensenshannon",
    )},
    "l2": "euclidean", "manhattan": "cityblock", "l1": "cityblock", "cityblock": "cityblock",
    "linf": "chebyshev",
}  # fmt: skip
# Parameters that have one axis as long as a row, or two.
OF_COLUMNS = {"V": 1, "w": 1, "VI": 2}
BOOLEAN = {"dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "jaccard"}
SPARSE = {"euclidean", "l2", "cosine", "manhattan", "l1", "cityblock"}


class Pairwise:
    """One metric with its parameters.

    Parameters
    ----------
    metric : str or callable
        A callable takes two float64 rows and returns a number.
    params : mapping or None
    X : array of shape (n, p) or CSR matrix
        The rows that set what a metric takes from the data: variances for seuclidean, their inverse
        covariance for mahalanobis.
    """

    def __init__(self, metric: Metric, params: Mapping[str, Any] | None, X: Any) -> None:
        self.sparse = not isinstance(X, np.ndarray)
        self.params = dict(params or {})
        self.metric = metric
        if callable(metric):
            if self.sparse:
                raise ValueError("a callable metric takes no sparse rows; use a named metric or a dense array")
            self.name: Metric = metric
            return
        if metric not in (SPARSE if self.sparse else DENSE):
            raise unknown("metric", metric, SPARSE if self.sparse else DENSE)
        self.name = DENSE[metric]
        # SciPy would take these from each block of queries, and answers would depend on the batch.
        if self.name == "seuclidean" and "V" not in self.params:
            self.params["V"] = np.var(X, axis=0, ddof=1, dtype=np.float64)
        if self.name == "mahalanobis" and "VI" not in self.params:
            self.params["VI"] = np.linalg.pinv(np.atleast_2d(np.cov(X, rowvar=False, dtype=np.float64)))

    def state(self) -> State:
        """Name and parameters, those taken from the rows too."""
        if not isinstance(self.metric, str):
            raise ValueError(
                f"metric={self.metric!r} is a function, which no file can hold; use the name of a metric, or pickle"
            )
        params = {f"param.{name}": np.asarray(value) for name, value in self.params.items() if value is not None}
        for name, value in params.items():
            if value.dtype.kind not in "bif" or (value.ndim and name.removeprefix("param.") not in OF_COLUMNS):
                raise ValueError(f"metric_params[{name.removeprefix('param.')!r}] is neither a number nor known")
            if value.ndim:
                params[name] = value.astype(np.float64)
        return {"metric": self.metric}, params

    @classmethod
    def restore(cls, saved: Saved, X: Any) -> Pairwise:
        """The metric of a `state`, for the rows X."""
        metric = saved.text("metric")
        if metric not in (DENSE if isinstance(X, np.ndarray) else SPARSE):
            raise saved.fail(f"has the unknown metric {metric[:40]!r}")
        params: dict[str, Any] = {}
        for full, value in saved.own_arrays().items():
            if not full.startswith("param."):
                continue
            name = full.removeprefix("param.")
            # SciPy reads as many numbers as there are columns, whatever it was given.
            shape = (X.shape[1],) * OF_COLUMNS.get(name, 0)
            if value.shape != shape or (shape and value.dtype != np.float64):
                raise saved.fail(f"has the shape {value.shape} and type {value.dtype}, where {shape} is needed", full)
            params[name] = np.array(value) if shape else value.item()
        return cls(metric, params, X)

    def block(self, Q: Any, X: Any) -> NDArray[np.float64]:
        """Distances of shape (q, n), finite and at least 0.

        Raises
        ------
        ValueError
            Where the metric gives a negative number, NaN or infinity.
        """
        result = all_distances(Q, X, str(self.name)) if self.sparse else self._dense(Q, X)
        # Rounding leaves some -1e-16.
        np.copyto(result, 0.0, where=(result < 0) & (result > -1e-6))
        if not np.isfinite(result).all() or (result < 0).any():
            i, j = np.argwhere(~(np.isfinite(result) & (result >= 0)))[0]
            raise ValueError(
                f"metric {self.metric!r} gives {result[i, j]} for a pair of rows; it must be finite and at least 0"
            )
        return result

    def _dense(self, Q: NDArray[Any], X: NDArray[Any]) -> NDArray[np.float64]:
        from scipy.spatial.distance import cdist

        kind = bool if self.name in BOOLEAN else np.float64
        left = Q.astype(kind)
        result = np.empty((len(Q), len(X)))
        for start in range(0, len(X), STRIP):
            strip = X[start : start + STRIP].astype(kind)
            if self.name == "cosine" and not self.params:
                result[:, start : start + STRIP] = _cosine(left, strip, cdist)
            else:
                result[:, start : start + STRIP] = cdist(left, strip, self.name, **self.params)
        return result


def canonical(X: Any) -> Any:
    """X itself where it is dense or CSR without repeated entries, else such a copy."""
    if isinstance(X, np.ndarray) or (X.format == "csr" and X.has_canonical_format):
        return X
    copy = X.tocsr(copy=True)
    copy.sum_duplicates()
    return copy


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64], cdist: Any) -> NDArray[np.float64]:
    """Half the squared distance of unit rows, which loses no digits where angles are small; 1 for rows of
    zeros."""
    a, b = (np.sqrt(np.square(rows).sum(axis=1, keepdims=True)) for rows in (left, right))
    result: NDArray[np.float64] = 0.5 * cdist(
        left / np.where(a > 0, a, 1), right / np.where(b > 0, b, 1), "sqeuclidean"
    )
    result[(a == 0) | (b == 0).T] = 1.0
    return result
