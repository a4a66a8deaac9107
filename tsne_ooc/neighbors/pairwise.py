"""Distances in all metrics, by arithmetic that treats each pair by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Float64, Matrix, Named
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors._sparse import all_distances
from tsne_ooc.neighbors.base import Distances, Metric
from tsne_ooc.neighbors.metrics import (
    BOOLEAN,
    DENSE,
    PACKED,
    PARAMS,
    SPARSE,
    canonical_name,
    check_rows,
    checked_params,
)
from tsne_ooc.storage.state import Saved, State

# Reference rows that are converted to double precision at a time.
STRIP = 4096
# Where SciPy has 0 / 0: a row without a direction is as far as possible from all others, as in `_cosine`, and two rows
# of zeros are at the same place. And where rounding leaves it the root of a negative number, because two rows differ
# only in directions that do not count.
UNDEFINED = {
    "cosine": 1.0, "correlation": 1.0, "braycurtis": 0.0, "dice": 0.0, "sokalsneath": 0.0, "mahalanobis": 0.0,
}  # fmt: skip
LARGEST = float(np.finfo(np.float32).max)


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

    Raises
    ------
    ValueError, TypeError
        For unknown metrics and parameters, and rows that the metric does not take.
    """

    def __init__(self, metric: Metric, params: Named | None, X: Matrix) -> None:
        self.sparse = not isinstance(X, np.ndarray)
        self.metric = metric
        self.params = checked_params(metric, params, X)
        self.name = canonical_name(metric, sparse=self.sparse)
        check_rows(self.name, X)

    def state(self) -> State:
        """The name and the parameters, those that were taken from the rows included."""
        if not isinstance(self.metric, str):
            raise ValueError(
                f"metric={self.metric!r} is a function, which no file can hold; use the name of a metric, or pickle"
            )
        return {"metric": self.metric}, {f"param.{name}": np.asarray(value) for name, value in self.params.items()}

    @classmethod
    def restore(cls, saved: Saved, X: Matrix) -> Pairwise:
        """Make the metric that a `state` is of, for the rows X."""
        metric = saved.text("metric")
        if metric not in (DENSE if isinstance(X, np.ndarray) else SPARSE):
            raise saved.fail(f"has the unknown metric {metric[:40]!r}")
        known = PARAMS.get(DENSE[metric], {})
        params: dict[str, Any] = {}
        for full, value in saved.own_arrays().items():
            if not full.startswith("param."):
                continue
            name = full.removeprefix("param.")
            # SciPy reads as many numbers as there are columns, however many it is given.
            shape = (X.shape[1],) * known.get(name, 0)
            if name not in known or value.shape != shape or (shape and value.dtype != np.float64):
                raise saved.fail(f"has the shape {value.shape} and type {value.dtype}, where {shape} is needed", full)
            params[name] = np.array(value) if shape else value.item()
        try:
            return cls(metric, params, X)
        except (ValueError, TypeError) as error:
            raise saved.fail(str(error)) from None

    def block(self, Q: Matrix, X: Matrix, numbers: Any = None) -> Float64:
        """Distances of shape (q, n), finite and at least 0.

        Parameters
        ----------
        Q, X : rows
        numbers : array of shape (n,), optional
            The numbers of the rows X in the fit, for messages.

        Raises
        ------
        RowsError
            Where the metric gives a negative number, NaN or infinity, or does not take a row of Q.
        """
        check_rows(self.name, Q)
        result = all_distances(Q, X, str(self.name)) if self.sparse else self._dense(Q, X)
        # Rounding may leave numbers such as -1e-16.
        np.copyto(result, 0.0, where=(result < 0) & (result > -1e-6))
        good = np.isfinite(result) & (result >= 0)
        if not good.all():
            i, j = (int(at) for at in np.argwhere(~good)[0])
            value = "NaN" if np.isnan(result[i, j]) else f"{result[i, j]:g}"
            other = j if numbers is None else int(numbers[j])
            metric = getattr(self.metric, "__name__", repr(self.metric)) if callable(self.metric) else self.metric
            raise RowsError(
                f"metric {metric!r} gives {value} for row {{row}} and row {other} of the fit; it must be finite and at "
                "least 0",
                i,
            )
        # Distances are ranked, and returned, in single precision.
        return np.minimum(result, LARGEST, out=result)

    def from_themselves(self, X: Matrix) -> Distances | None:
        """`Index.from_themselves` for the rows X."""
        if not callable(self.name) and self.name not in ("cosine", "correlation", "russellrao"):
            return None
        pairs = (self.block(X[i : i + 1], X[i : i + 1])[0, 0] for i in range(X.shape[0]))
        return np.fromiter(pairs, np.float32, X.shape[0])

    def _dense(self, Q: Array, X: Array) -> Float64:
        left = self._ready(Q)
        result = np.empty((len(Q), len(X)))
        # `block` raises for bad numbers, with the name of the metric and the row.
        with np.errstate(all="ignore"):
            for start in range(0, len(X), STRIP):
                result[:, start : start + STRIP] = self._pairs(left, self._ready(X[start : start + STRIP]))
        return result

    def _ready(self, rows: Array) -> Array:
        if self.name in PACKED:
            return np.unpackbits(rows.astype(np.uint8), axis=1).view(bool)
        return rows.astype(bool if self.name in BOOLEAN else np.float64)

    def _pairs(self, left: Array, right: Array) -> Float64:
        from scipy.spatial.distance import cdist

        name = self.name
        if not self.params and name in OWN:
            return OWN[str(name)](left, right)
        # SciPy's `cdist` does not take a base, though its documentation says so.
        params = {key: value for key, value in self.params.items() if key != "base"}
        result: Float64 = cdist(left, right, PACKED.get(str(name), name), **params)
        if name in UNDEFINED:
            result[np.isnan(result)] = UNDEFINED[str(name)]
        if name == "jensenshannon":
            # Rows of zeros have nothing in common with others, and are at the same place as each other.
            a, b = left.sum(axis=1, keepdims=True) == 0, right.sum(axis=1) == 0
            np.copyto(result, np.sqrt(np.log(2)), where=a | b)
            np.copyto(result, 0.0, where=a & b)
            result /= np.sqrt(np.log(self.params.get("base", math.e)))
        return result


def canonical(X: Matrix) -> Any:
    """X itself where it is dense, or CSR without repeated entries; else a copy that is."""
    if isinstance(X, np.ndarray) or (X.format == "csr" and X.has_canonical_format):
        return X
    copy = X.tocsr(copy=True)
    copy.sum_duplicates()
    return copy


def _cosine(left: Float64, right: Float64) -> Float64:
    """Half the squared distance of unit rows, which keeps its digits where angles are small; 1 for rows of zeros."""
    from scipy.spatial.distance import cdist

    a, b = (np.sqrt(np.square(rows).sum(axis=1, keepdims=True)) for rows in (left, right))
    result: Float64 = 0.5 * cdist(left / np.where(a > 0, a, 1), right / np.where(b > 0, b, 1), "sqeuclidean")
    result[(a == 0) | (b == 0).T] = 1.0
    return result


def _correlation(left: Float64, right: Float64) -> Float64:
    """The cosine distance of centred rows. SciPy's ``1 - r`` is some 1e-16 for a row and itself, and for constant rows
    it is the rounding of their mean."""

    def centred(rows: Float64) -> Float64:
        constant = rows.max(axis=1) == rows.min(axis=1)
        return np.where(constant[:, None], 0.0, rows - rows.mean(axis=1, keepdims=True))

    return _cosine(centred(left), centred(right))


def _hellinger(left: Float64, right: Float64) -> Float64:
    """The distance of rows as shares of their sums: 1 between a row of zeros and another, 0 between two of zeros."""
    from scipy.spatial.distance import cdist

    a, b = (rows.sum(axis=1, keepdims=True) for rows in (left, right))
    units = (np.sqrt(rows / np.where(sums > 0, sums, 1)) for rows, sums in ((left, a), (right, b)))
    result: Float64 = cdist(*units, "euclidean") * np.sqrt(0.5)
    result[(a == 0) != (b == 0).T] = 1.0
    return result


def _haversine(left: Float64, right: Float64) -> Float64:
    """The angle at the centre of a sphere between points given by latitude and longitude, in radians."""
    (lat, lon), (other, east) = left.T[:, :, None], right.T[:, None, :]
    half = np.sin((lat - other) / 2) ** 2 + np.cos(lat) * np.cos(other) * np.sin((lon - east) / 2) ** 2
    return np.asarray(2 * np.arcsin(np.sqrt(np.minimum(half, 1))))


# Metrics that SciPy lacks, or that need more care.
OWN = {"cosine": _cosine, "correlation": _correlation, "hellinger": _hellinger, "haversine": _haversine}
