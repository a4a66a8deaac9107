"""Metrics by name: which ones there are, which parameters they take, and which rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tsne_ooc._blas import one_thread
from tsne_ooc._options import number, unknown
from tsne_ooc._typing import Array, Float64, Matrix, Named
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors.base import Metric

# Canonical names (SciPy's, where it has them) by every name in use.
DENSE = {
    **{name: name for name in (
        "euclidean", "cosine", "chebyshev", "minkowski", "braycurtis", "canberra",
        "correlation", "hamming", "jaccard", "sqeuclidean", "seuclidean", "mahalanobis",
        "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "jensenshannon",
        "haversine", "hellinger", "bit_jaccard", "bit_hamming", "nan_euclidean",
    )},
    "l2": "euclidean", "manhattan": "cityblock", "l1": "cityblock", "cityblock": "cityblock",
    "linf": "chebyshev", "tanimoto": "jaccard", "bit_tanimoto": "bit_jaccard",
}  # fmt: skip
SPARSE = {
    name: DENSE[name]
    for name in (
        "euclidean", "l2", "cosine", "manhattan", "l1", "cityblock", "chebyshev", "linf", "hamming", "hellinger",
        "jaccard", "tanimoto", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule",
    )
}  # fmt: skip
# Metrics of yes and no, for which a number that is not 0 counts as yes.
BOOLEAN = {"dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "jaccard"}
# Metrics of rows of bytes, of which each holds eight columns of yes and no, and the metrics of these columns.
PACKED = {"bit_jaccard": "jaccard", "bit_hamming": "hamming"}

# A direction of correlated columns counts where its share of the variance is larger than this for each column: rounding
# in double precision makes up a few parts in 10^16, and numbers in single precision are themselves off by 4 in 10^15.
NOISE = 2.0**-44
# Of a covariance that is given nobody knows the rows: where all numbers of a column are the same, rounding leaves up to
# some 10^-32 of their square.
CONSTANT = 2.0**-100

# The parameters of metrics, and how many axes of the length of a row each has.
WEIGHTED = (
    "euclidean", "cosine", "chebyshev", "braycurtis", "canberra", "correlation", "hamming", "sqeuclidean", "cityblock",
    *BOOLEAN,
)  # fmt: skip
PARAMS: dict[str, dict[str, int]] = {
    **{name: {"w": 1} for name in WEIGHTED},
    "minkowski": {"p": 0, "w": 1},
    "jensenshannon": {"base": 0},
    "seuclidean": {"V": 1},
    "mahalanobis": {"VI": 2, "V": 2},
}


def canonical_name(metric: Metric, *, sparse: bool) -> Metric:
    """The metric under its canonical name, and a function as it is; raises the error that names the nearest metric."""
    if callable(metric):
        if sparse:
            raise ValueError("a callable metric takes no sparse rows; use a named metric or a dense array")
        return metric
    known = SPARSE if sparse else DENSE
    if metric not in known:
        if metric in DENSE:
            raise ValueError(f"metric={metric!r} takes no sparse rows, only {', '.join(SPARSE)}; use a dense array")
        raise unknown("metric", metric, known)
    return known[metric]


def check_names(metric: Metric, params: Named | None, *, sparse: bool) -> None:
    """Raise where the metric is unknown, or does not take such parameters."""
    name = canonical_name(metric, sparse=sparse)
    if not params or callable(name):
        return
    if sparse:
        raise ValueError(f"metric {metric!r} takes no metric_params for sparse rows, got {sorted(params)}")
    known = PARAMS.get(str(name), {})
    for key in params:
        if key not in known:
            if not known:
                raise ValueError(f"metric {metric!r} takes no metric_params, got {sorted(params)}")
            raise unknown(f"metric_params of {metric!r}: the name", key, known)
    if {"V", "VI"} <= set(params):
        raise ValueError("metric_params hold both 'V' and 'VI' for 'mahalanobis'; give the covariance or its inverse")


def checked_params(metric: Metric, params: Named | None, X: Matrix) -> dict[str, Any]:
    """Parameters that are safe for SciPy, and those that a metric takes from the rows X.

    Raises
    ------
    ValueError, TypeError
        For a wrong parameter; the message names it.
    """
    sparse = not isinstance(X, np.ndarray)
    check_names(metric, params, sparse=sparse)
    given = dict(params or {})
    if callable(metric) or sparse:
        return given
    name, p = DENSE[metric], X.shape[1]
    for key, value in given.items():
        axes = PARAMS[name][key]
        given[key] = _array(key, value, (p,) * axes) if axes else number(f"metric_params[{key!r}]", value, above=0)
    if "w" in given and ((given["w"] < 0).any() or not given["w"].any()):
        raise ValueError("metric_params['w'] must be at least 0 for each column, and more for one of them")
    if name == "jensenshannon" and "base" in given:
        number("metric_params['base']", given["base"], above=1)
    if name == "seuclidean":
        # SciPy would take these from each block of queries, and answers would depend on the batch.
        given["V"] = _variances(X) if "V" not in given else given["V"]
        if not (given["V"] > 0).all():
            raise ValueError("metric_params['V'] holds variances, which must be greater than 0")
    if name == "mahalanobis":
        with one_thread(1):
            if "VI" in given:
                values = np.linalg.eigvalsh((given["VI"] + given["VI"].T) / 2)
            elif "V" in given:
                given["VI"], values = _inverse(given.pop("V"), CONSTANT)
            else:
                given["VI"], values = _inverse(_covariance(X), 0.0)
        if values[0] < -1e-6 * max(abs(values[-1]), 1e-300):
            key = "V" if params and "V" in params else "VI"
            raise ValueError(f"metric_params[{key!r}] is not a covariance or its inverse: one eigenvalue is negative")
    return given


def check_rows(name: Metric, X: Matrix, what: str = "row {row}") -> None:
    """Raise `RowsError` for rows that the metric does not take.

    Parameters
    ----------
    name : str or callable
        The canonical name of the metric.
    X : array or CSR matrix
    what : str
        What the message calls a row, with ``{row}`` for its number.
    """
    if name in PACKED:
        bad = ~((X >= 0) & (X <= 255) & (np.floor(X) == X))
        why = f"metric {name!r} takes bytes, whole numbers from 0 to 255, as numpy.packbits makes them"
    elif name in ("hellinger", "jensenshannon"):
        bad = (X if isinstance(X, np.ndarray) else X.data) < 0
        why = f"metric {name!r} compares shares and takes no negative numbers"
    elif name == "haversine":
        if X.shape[1] != 2:
            raise ValueError(
                f"metric 'haversine' takes two columns, latitude and longitude in radians; there are {X.shape[1]}"
            )
        bad = np.zeros(X.shape, bool)
        bad[:, 0] = np.abs(X[:, 0]) > np.pi / 2 + 1e-6
        why = "metric 'haversine' takes radians, latitudes from -pi/2 to pi/2 (numpy.radians turns degrees into them)"
    else:
        return
    if not bad.any():
        return
    if isinstance(X, np.ndarray):
        i, j = (int(at) for at in np.argwhere(bad)[0])
        value = X[i, j]
    else:
        entry = int(np.argmax(bad))
        i, j, value = int(np.searchsorted(X.indptr, entry, "right")) - 1, int(X.indices[entry]), X.data[entry]
    raise RowsError(f"{why}; {what}, column {j} is {value:g}", i)


def _array(key: str, value: Any, shape: tuple[int, ...]) -> Float64:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"metric_params[{key!r}] is not an array of numbers") from None
    if array.shape != shape:
        raise ValueError(f"metric_params[{key!r}] has the shape {array.shape}; rows of {shape[0]} columns need {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"metric_params[{key!r}] holds NaN or infinity")
    return array


def _variances(X: Array) -> Float64:
    if len(X) < 2:
        raise ValueError("metric 'seuclidean' takes variances from the rows, and one row has none; give "
                         "metric_params={'V': variances}")  # fmt: skip
    V: Float64 = np.var(X, axis=0, ddof=1, dtype=np.float64)
    # A column that does not vary is left in its unit, as StandardScaler leaves it.
    V[V == 0] = 1.0
    return V


def _covariance(X: Array) -> Float64:
    if len(X) < 2:
        raise ValueError("metric 'mahalanobis' takes a covariance from the rows, and one row has none; give "
                         "metric_params={'VI': its inverse}")  # fmt: skip
    return np.atleast_2d(np.cov(X, rowvar=False, dtype=np.float64))


def _inverse(V: Float64, least: float) -> tuple[Float64, Float64]:
    """The inverse of a covariance, but for directions in which nothing varies, or only by rounding; and eigenvalues.

    They are those of the correlations, for in the columns' own units a column in metres beside one in nanometres would
    be all that varies. A column varies where its variance is more than `least` of the largest.
    """
    variances = np.diag(V)
    largest = max(float(variances.max()), np.finfo(np.float64).tiny)
    varies = np.flatnonzero(variances > least * largest)
    units = np.full(len(V), math.sqrt(largest))
    units[varies] = np.sqrt(variances[varies])
    correlations = V / units / units[:, None]
    inverse, those = np.zeros_like(V), np.ix_(varies, varies)
    inverse[those] = np.linalg.pinv(correlations[those], rcond=len(V) * NOISE)
    values: Float64 = np.linalg.eigvalsh((correlations + correlations.T) / 2)
    return inverse / units / units[:, None], values
