"""What a fit takes from a table: its names, its preparation, a sample, and rows in memory of their own."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._context import warn
from tsne_ooc._random import generator
from tsne_ooc._typing import Configurable, Float64, Int64, Matrix, Progress, TableLike
from tsne_ooc._validate import as_array, as_rows, check_shape, is_frame, is_sparse, to_csr, unmasked
from tsne_ooc.io import Source, as_source, iterate, names_of
from tsne_ooc.io.lacking import KeptRows, Lacking
from tsne_ooc.io.reading import in_memory, streamed
from tsne_ooc.io.sparse import with_gaps
from tsne_ooc.neighbors import distances_of
from tsne_ooc.neighbors.base import GAPS, Metric
from tsne_ooc.preprocess import Preparation, PreparedSource
from tsne_ooc.preprocess.shift import Precision, Shift, look_at
from tsne_ooc.sampling import Sample, resolve_sample
from tsne_ooc.storage.asked import plain
from tsne_ooc.streaming import silent

log = logging.getLogger(__name__)

#: Metrics whose distances stay the same when a number is added to a column.
SHIFT_FREE = frozenset(
    (
        "euclidean", "l2", "sqeuclidean", "manhattan", "cityblock", "l1", "chebyshev", "linf", "minkowski",
        "seuclidean", "mahalanobis", "nan_euclidean",
    )
)  # fmt: skip


class Prepared(NamedTuple):
    """A table as it is embedded, and facts about it as it came.

    Parameters
    ----------
    table : array, DataFrame, csr_array or Source
        The table of prepared rows.
    preparation : Preparation or None
        Fitted.
    names : list of str or None
        Names of the columns of the table as it came.
    width : int
        The number of these columns.
    """

    table: TableLike
    preparation: Preparation | None
    names: list[str] | None
    width: int

    @classmethod
    def of(cls, X: TableLike, preparation: Preparation | None, names: list[str] | None, n_jobs: int | None) -> Prepared:
        """A table that can be sliced, behind a preparation that is fitted on it; without the rows that it drops."""
        width = int((as_source(X) if streamed(X) else X).shape[1])
        if preparation is None:
            return cls(X, None, names, width)
        table: TableLike = PreparedSource(X, preparation, n_jobs=n_jobs)
        if len(preparation.dropped):
            table = KeptRows(table, preparation.dropped, preparation.leaves_gaps)
        return cls(table, preparation, names, width)


class Intake(NamedTuple):
    """Rows to fit, and facts about the table that they come from.

    Parameters
    ----------
    rows : ndarray of float32, csr_array
        The rows as they are embedded: prepared, and in memory that nobody else has.
    sample_rows : ndarray of int64 or None
        Their numbers in the table, where a sample was drawn.
    preparation : Preparation or None
        Fitted.
    names : list of str or None
        Names of the columns of the table.
    width : int
        Columns of the table.
    """

    rows: Matrix
    sample_rows: Int64 | None
    preparation: Preparation | None
    names: list[str] | None
    width: int


def take_in(
    X: TableLike, *, prepare: Preparation | None, sample: Sample | None, metric: Metric, seed: int, n_jobs: int | None
) -> Intake:
    """Prepare a table and draw a sample of it, or read it all: the one way to a fit, by `prepared` and `drawn`.

    Parameters
    ----------
    X : array-like, DataFrame, sparse matrix or source of shape (n, p)
    prepare : Preparation or None
        A copy of it is fitted on the whole table.
    sample : Sample or None
    metric : str or callable
        It says whether columns may be shifted.
    seed : int
    n_jobs : int or None

    Raises
    ------
    ValueError, TypeError, OSError, MemoryError
        For unusable data, naming the row and column, and where reading fails.
    """
    elsewhere = streamed(X)
    if isinstance(metric, str) and metric == "precomputed" and not elsewhere and sample is None:
        distances = distances_of(X)
        return Intake(distances, None, None, names_of(X) if is_frame(X) else None, distances.shape[1])
    ready = prepared(X, prepare, metric, seed=seed, n_jobs=n_jobs)
    if sample is None:
        rows = in_memory(ready.table, own=True)
        # Without those that lack a value it is a sample, too.
        numbers = ready.table.numbers(np.arange(len(rows))) if isinstance(ready.table, KeptRows) else None
        return Intake(rows, numbers, ready.preparation, ready.names, ready.width)
    if not elsewhere:
        _check_all(ready.table)
    return drawn(ready, sample, seed=seed)


def prepared(
    X: TableLike,
    prepare: Preparation | None,
    metric: Metric,
    *,
    seed: int,
    n_jobs: int | None,
    progress: Progress = silent,
) -> Prepared:
    """A table behind a copy of `prepare` that is fitted on all its rows, or behind the shift that its columns need.

    Parameters and errors are those of `take_in`.
    """
    if isinstance(metric, str) and metric == "precomputed":
        check_gaps(X)
    names = names_of(X)
    prepare = with_gaps_kept(prepare, metric)
    if not streamed(X):
        X = as_table(X, missing=prepare is not None and prepare.takes_missing)
    if prepare is None:
        return Prepared.of(X, shift_of(X, metric, names), names, n_jobs)
    if prepare.leaves_gaps and len(prepare.steps) == 1 and (offset := offset_of(Lacking(X), metric, names)) is not None:
        prepare = Preparation([*prepare.steps, Shift(offset)])
    preparation = unchangeable(Preparation(prepare.steps).fit(X, progress, random_state=seed, n_jobs=n_jobs))
    log.info("%r took %d pass(es): %d columns", prepare, preparation.passes, preparation.n_features_out)
    return Prepared.of(X, preparation, names, n_jobs)


def drawn(ready: Prepared, sample: Sample, *, seed: int, progress: Progress = silent) -> Intake:
    """Draw a sample of a prepared table."""
    table = ready.table
    if isinstance(table, KeptRows):
        sample = sample.without(table.dropped, table.source.shape[0])
    numbers, rows = sample.draw(table, generator(seed, "sample"), progress=progress)
    found = _ascending(numbers, rows, sample, table.shape[0])
    if isinstance(table, KeptRows):
        found = table.numbers(found)
    return Intake(rows, found, ready.preparation, ready.names, ready.width)


def with_gaps_kept(prepare: Preparation | None, metric: Metric) -> Preparation | None:
    """The preparation of a fit by this metric: values may stay missing for the one that takes such rows, and no other.

    Raises
    ------
    ValueError
        Where they do not go together.
    """
    if isinstance(metric, str) and metric == GAPS:
        return (Preparation([]) if prepare is None else prepare).keeping_gaps()
    if prepare is not None and prepare.leaves_gaps:
        raise ValueError(
            f"missing='keep' is for metric={GAPS!r} alone, and metric={metric!r} needs all values; fill them in by "
            "Missing('median') (--missing median)"
        )
    return prepare


def check_no_row_dropped(ready: Prepared, why: str) -> None:
    """Raise ValueError where a prepared table is without a row of the table, saying `why` each is needed."""
    if isinstance(ready.table, KeptRows):
        raise ValueError(
            f"row {ready.table.dropped[0]} has no value in any column, and {why}; leave such rows out of the table"
        )


def check_prepare(prepare: object) -> None:
    """Raise TypeError for what is not a preparation."""
    if prepare is not None and not isinstance(prepare, Preparation):
        raise TypeError(f"prepare={prepare!r} is not a tsne_ooc.preprocess.Preparation")


def taken_over(model: Configurable, name: str, given: Any, whose: str = "tsne") -> Any:
    """The one `sample` or `prepare` of a run and its estimator, which then has none.

    Raises
    ------
    ValueError
        For two values, naming both.
    """
    own = model.get_params(deep=False).get(name)
    if own is None:
        return given
    model.set_params(**{name: None})
    if given is None or _same(name, own, given):
        return own
    raise ValueError(f"{name}={given!r} is given here, and {name}={own!r} to {whose}; pass one of them")


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "sample":
        one, other = resolve_sample(one), resolve_sample(other)
    else:
        one, other = getattr(one, "steps", one), getattr(other, "steps", other)
    return bool(plain(one) == plain(other))


def check_gaps(X: TableLike) -> None:
    """Raise ValueError for a sparse graph of distances that would be streamed."""
    if (streamed(X) or isinstance(X, Source)) and with_gaps(as_source(X)):
        raise ValueError(
            "a sparse graph of distances cannot be streamed, because distances that it does not store are not 0; read "
            "it into memory and pass the CSR matrix to TSNE.fit or transform"
        )


def as_table(X: TableLike, *, missing: bool = False) -> TableLike:
    """A table in memory in a form that can be sliced: an array, a data frame or a CSR matrix; numbers stay.

    Masked cells become NaN where values may be `missing`.
    """
    if is_sparse(X):
        return to_csr(X)
    if not is_frame(X):
        X = as_array(unmasked(X) if missing else X)
    check_shape(X.shape)
    return X


def shift_of(X: TableLike, metric: Metric, names: list[str] | None = None) -> Preparation | None:
    """The preparation for columns so far from 0 that float32 would merge rows; None for most tables.

    A warning is given where rows are merged all the same, also because a shift would change the metric.
    """
    if is_sparse(X) or (isinstance(metric, str) and metric == "precomputed"):
        return None
    offset = offset_of(X, metric, names)
    return None if offset is None else unchangeable(Preparation([Shift(offset)]).fit(X))


def offset_of(X: TableLike, metric: Metric, names: list[str] | None) -> Float64 | None:
    """What such a shift subtracts from each column."""
    if (look := look_at(X)) is None:
        return None
    free = isinstance(metric, str) and metric in SHIFT_FREE
    if len(lost := look.lost(free)):
        _warn_of(look, lost, free, names)
    if not free or not look.helped.any():
        return None
    offset = np.where(look.helped, look.centre, 0.0)
    at = np.flatnonzero(look.helped)
    log.info(
        "%d columns are so far from 0 that float32 would merge their rows, and are shifted in float64: %s",
        len(at), ", ".join(f"{j if names is None else names[j]!r} by {-offset[j]:g}" for j in at[:10].tolist()),
    )  # fmt: skip
    return offset


def _warn_of(look: Precision, lost: NDArray[np.intp], shifted: bool, names: list[str] | None) -> None:
    called = [str(j) if names is None else repr(names[j]) for j in lost.tolist()]
    first = int(lost[0])
    helps = bool(look.saved[first] > look.kept[first])
    kept = look.saved[first] if shifted and look.helped[first] else look.kept[first]
    also = f" (and too few of {', '.join(called[1:10])}{', ...' * (len(called) > 10)})" if len(called) > 1 else ""
    remedy = "subtract what its values have in common, such as their median" if helps else "rank it, or split it in two"
    warn(
        f"float32, which maps are computed in, keeps {kept} of {look.known[first]} values of column {called[0]} apart"
        f"{also}; {remedy}, or use prepare=Preparation([Standardize()]) (--standardize)",
    )


def unchangeable(preparation: Preparation) -> Preparation:
    """Make the arrays of a preparation read-only, so that nobody can change them from outside; return it."""
    for step in preparation.fitted:
        for part in fields(step):  # type: ignore[arg-type]
            value = getattr(step, part.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
    return preparation


def _ascending(numbers: Any, rows: Any, sample: Sample, n: int) -> Int64:
    """The row numbers of a sample, which may be a user's own, checked to ascend, each once, as look-ups need it."""
    found = np.asarray(numbers)
    if found.shape != (rows.shape[0],) or found.dtype.kind not in "iu":
        raise ValueError(f"{sample!r} drew {rows.shape[0]} rows, and numbers of shape {found.shape}, {found.dtype}")
    if len(wrong := np.flatnonzero(found[1:] <= found[:-1])):
        before, after = found[wrong[0]], found[wrong[0] + 1]
        raise ValueError(f"{sample!r} drew row {after} after row {before}; the rows of a sample ascend, each once")
    if len(found) and not (found[0] >= 0 and found[-1] < n):
        raise ValueError(f"{sample!r} drew rows {found[0]} to {found[-1]} of a table of {n}")
    return found.astype(np.int64)


def _check_all(table: TableLike) -> None:
    """Look at all rows in memory, also those that no sample takes: they will be placed."""
    if is_sparse(table):
        as_rows(table, accept_sparse=True)
        return
    for _ in iterate(table):
        pass
