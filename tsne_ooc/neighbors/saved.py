"""Indices as JSON and arrays, and back; and the checks that several kinds share."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Json, Matrix
from tsne_ooc.neighbors._recall import Wanted
from tsne_ooc.neighbors.base import BLOCKED, KINDS, Index
from tsne_ooc.storage.state import Saved, State

# Row numbers are 32 bits wide, and the last two stand for no row.
MOST_ROWS = 2**32 - 2

# The kinds that may be within another index; there are no others, so that a file cannot nest them without end.
PLAIN = ("blocked", "ivf", "hnsw", "annoy", "pynndescent")
LACKING = ("gaps", "gaps-ivf")
WITHIN = {
    "distinct": (*PLAIN, "reach"),
    "reach": ("blocked", "ivf", "hnsw"),
    "graph": (*PLAIN, *LACKING, "reach", "distinct", "pairwise", "bits"),
    "scaled": (*PLAIN, *LACKING, "reach", "distinct", "pairwise", "graph"),
}


def named_state(index: Index) -> State:
    """The state of an index with the name of its kind, for `restore_index`.

    Raises
    ------
    ValueError
        Where the index cannot be saved.
    """
    content, arrays = index.state()
    names = {kind: name for name, kind in KINDS.items()}
    if type(index) not in names:
        raise ValueError(f"an index of type {type(index).__name__} cannot be saved: its class has no kind=")
    return {"kind": names[type(index)], **content}, arrays


def restore_index(saved: Saved, threads: Threads, *, within: str | None = None) -> Index:
    """Make the index that a `named_state` is of; `within` names the kind of index that holds it.

    Raises
    ------
    StateError
        For a state that is not possible.
    """
    kind = saved.text("kind")
    allowed = set(KINDS) if within is None else {*WITHIN[within]}
    if within == "scaled":
        # A user's own search is given rows of an extreme scale as ours are; it does not hold any of the other kinds.
        allowed |= {name for name, cls in KINDS.items() if cls.__module__.partition(".")[0] != "tsne_ooc"}
    if kind not in allowed:
        raise saved.fail(f"is of the unknown kind {kind[:40]!r}")
    return KINDS[kind].restore(saved, threads)


def blocked_metric(saved: Saved) -> str:
    """The metric of a search that knows euclidean and cosine."""
    metric = saved.text("metric")
    if metric not in BLOCKED:
        raise saved.fail(f"has the unknown metric {metric[:40]!r}")
    return BLOCKED[metric]


def recall_state(wanted: Wanted | None) -> Json:
    """What a search is to find, as a state tells it."""
    return {"recall": None} if wanted is None else {"recall": wanted.share, "nearest": wanted.nearest}


def saved_recall(saved: Saved) -> Wanted | None:
    """What a search is to find.

    Models from before it was measured do not have it, nor those from before farther rows might be missed the rank up to
    which that share is wanted; both answer as they did.
    """
    if saved.content.get("recall") is None:
        return None
    nearest = None if "nearest" not in saved.content else saved.whole_or_none("nearest", 1)
    share = saved.number("recall", above=0)
    if share > 1:
        raise saved.fail(f"is to find {share:g} of the nearest rows, which is more than all")
    return Wanted(share, nearest)


def saved_rows(saved: Saved, *, finite: bool = True) -> Float32:
    """Dense rows: at least one, with at least one column; `finite` unless they may lack values."""
    X: Float32 = saved.array("rows", np.float32, (None, None), finite=finite)
    if not 0 < X.shape[0] <= MOST_ROWS or not X.shape[1]:
        raise saved.fail(f"has the shape {X.shape}", "rows")
    return X


def rows_state(X: Matrix) -> Json:
    """The arrays of dense or sparse rows."""
    if isinstance(X, np.ndarray):
        return {"rows": X}
    return {"data": X.data, "indices": X.indices, "indptr": X.indptr, "columns": np.array(X.shape[1])}


def restore_rows(saved: Saved) -> Any:
    """Dense or sparse rows as `rows_state` left them."""
    own = saved.own_arrays()
    if "rows" in own:
        return saved_rows(saved)
    from scipy.sparse import csr_array

    data = saved.array("data", np.float32, (None,))
    kind = np.int64 if "indices" in own and own["indices"].dtype == np.int64 else np.int32
    indices = saved.array("indices", kind, data.shape)
    indptr = saved.array("indptr", kind, (None,))
    columns = int(saved.array("columns", np.int64, ()))
    if len(indptr) < 2 or indptr[0] != 0 or indptr[-1] != len(data) or (np.diff(indptr) < 0).any():
        raise saved.fail(f"does not cut {len(data)} entries into rows", "indptr")
    if not 0 < columns < 2**31:
        raise saved.fail(f"is not a number of columns: {columns}", "columns")
    if len(indices) and not (indices.min() >= 0 and indices.max() < columns):
        raise saved.fail(f"names a column that is not one of {columns}", "indices")
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    if ((np.diff(indices) <= 0) & (np.diff(rows) == 0)).any():
        raise saved.fail("does not ascend within a row", "indices")
    return csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))
