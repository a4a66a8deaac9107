"""Dask in, Dask out: what a fitted estimator answers for a Dask array or data frame, computed when it is asked for."""

from __future__ import annotations

from contextlib import closing
from copy import copy
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from tsne_ooc import __version__
from tsne_ooc._typing import Array, Float32, TableLike
from tsne_ooc._validate import RowsError, counted_from, is_frame, is_sparse
from tsne_ooc.workers import SavedModel, check_version

if TYPE_CHECKING:
    from tsne_ooc.estimator.fitted import FittedEstimator

# What is asked for: places, which are a row of numbers for each row, or novelty, which is one number.
PLACES, NOVELTY = "places", "novelty"


def is_lazy(X: TableLike) -> bool:
    """Whether X is an array or a data frame of Dask."""
    return type(X).__module__.partition(".")[0] == "dask" and hasattr(X, "compute")


def lazily(estimator: FittedEstimator, X: TableLike, what: str) -> Any:
    """The answer for each row of X as a Dask array, of which nothing is computed yet.

    Parameters
    ----------
    estimator : FittedEstimator
        One that was loaded is opened by its path, once in each worker. Another one travels with the graph, as an entry
        of its own, so that nothing is lost with a worker that is lost.
    X : dask.array.Array or dask.dataframe.DataFrame
        Chunks of any sizes, known or not; blocks may be CSR matrices.
    what : str
        `PLACES` or `NOVELTY`.

    Raises
    ------
    ValueError
        For columns that are not those of the fit.
    """
    # Dask has types for a part of it only.
    delayed: Any = import_module("dask").delayed
    da: Any = import_module("dask.array")
    features, asker = estimator.features_, type(estimator).__name__
    model = estimator._by_path
    if model is None:
        # Dask has threads of its own.
        own = copy(estimator)
        own.n_jobs = 1
        model = delayed(own, name=f"{asker}-{uuid4().hex}")
    width = () if what == NOVELTY else (estimator._n_features_out,)
    if hasattr(X, "to_delayed") and is_frame(X._meta):
        # This says at once which columns are missing, and warns here and not on each worker.
        features.lined_up(X._meta, asker)
        answered = [delayed(_answers)(part, model, what, __version__) for part in X.to_delayed()]
        shape = (np.nan, *width)
        parts = [da.from_delayed(part, shape, meta=np.empty((0, *width), np.float32)) for part in answered]
        return da.concatenate(parts, allow_unknown_chunksizes=True)
    if X.ndim != 2 or X.shape[1] != features.width:
        raise ValueError(
            f"X has {X.shape[1] if X.ndim == 2 else X.ndim} {'features' if X.ndim == 2 else 'axes'}, but {asker} is "
            f"expecting {features.width} features as input"
        )
    features.lined_up(np.empty((0, features.width), np.float32), asker)
    if len(X.chunks[1]) > 1:
        X = X.rechunk({1: -1})
    known = not any(np.isnan(size) for size in X.chunks[0])
    return X.map_blocks(
        _answers_counted if known else _answers, model, what, __version__,
        chunks=(X.chunks[0], *((size,) for size in width)), drop_axis=[] if width else [1],
        dtype=np.float32, meta=np.empty((0, *width), np.float32), name=None,
    )  # fmt: skip


def _answers_counted(block: Any, model: Any, what: str, version: str, block_info: Any = None) -> Float32:
    """Do as `_answers` does, where an error names the row by its number in the whole array."""
    first = int(block_info[0]["array-location"][0][0])
    try:
        with counted_from(first):
            return _answers(block, model, what, version)
    except ValueError as error:
        if isinstance(error, RowsError) or not first:
            raise
        raise ValueError(f"{error} (counted from row {first} of the Dask array)") from None


def _answers(block: Any, model: Any, what: str, version: str) -> Float32:
    """The answers for the rows of one block; this runs on a worker, which must have the version of who asks."""
    check_version(version)
    fitted = model.opened(1) if isinstance(model, SavedModel) else model
    width = () if what == NOVELTY else (fitted._n_features_out,)
    if not block.shape[0]:
        return np.empty((0, *width), np.float32)
    features = fitted.features_
    if is_sparse(block) and not features.sparse:
        block = block.toarray()
    if not is_frame(block):
        # The user was warned that there are no names when the answer was asked for.
        features = replace(features, names=None)
    out = np.empty((block.shape[0], *width), np.float32)
    _, blocks = features.blocks(_plain(block), type(fitted).__name__, fitted.n_jobs)
    with closing(blocks):
        for start, stop, rows in blocks:
            with counted_from(start):
                out[start:stop] = fitted._answered(rows, what == NOVELTY)
    return out


def _plain(block: Any) -> Array | Any:
    return block if is_frame(block) or is_sparse(block) or isinstance(block, np.ndarray) else np.asarray(block)
