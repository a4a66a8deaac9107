"""The first fit of a run: the table is prepared, a sample drawn of it, and the sample fitted."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._interrupt import uninterrupted
from tsne_ooc.intake import take_in
from tsne_ooc.io import Source
from tsne_ooc.pipeline.clock import Clock
from tsne_ooc.preprocess import Preparation, PreparedSource
from tsne_ooc.sampling import Sample
from tsne_ooc.streaming import Progress

log = logging.getLogger(__name__)


def fit_sample(
    table: Source,
    model: Any,
    sample: Sample,
    prepare: Preparation | None,
    seed: int,
    seconds: dict[str, float],
    progress: Progress,
) -> tuple[Any, NDArray[np.int64]]:
    """Fit `model` to a sample of the table's rows; it, and the numbers of these rows.

    Parameters
    ----------
    table : Source
        As it was given.
    model : estimator
        Is fitted; its own `sample` and `prepare` are not looked at.
    sample : Sample
    prepare : Preparation or None
        Is fitted on the whole table; a copy of it, as it came in stays as it was.
    seed : int
        Of the sample and the preparation.
    seconds : dict
        Gets the entries "prepare", "sample" and "fit".
    progress : callable
    """
    log.info("source: %r; sample: %r", table, sample)
    taken = take_in(
        table, prepare=prepare, sample=sample, metric=getattr(model, "metric", None), seed=seed, n_jobs=_jobs(model),
        progress=progress, stage=lambda phase: Clock(seconds, phase),
    )  # fmt: skip
    rows = taken.sample_rows
    assert rows is not None
    with Clock(seconds, "fit"):
        progress("fit", 0, len(rows))
        with uninterrupted():
            if hasattr(model, "fit_taken"):
                model.fit_taken(taken)
            else:
                model.fit(taken.rows)
                model.preparation_, model.n_features_in_ = taken.preparation, taken.width
        progress("fit", len(rows), len(rows))
    return model, rows


def seen_by(model: Any, table: Source) -> Source:
    """The table as a fitted `model` is to see it."""
    if hasattr(model, "table_of"):
        found: Source = model.table_of(table)
        return found
    preparation = getattr(model, "preparation_", None)
    return table if preparation is None else PreparedSource(table, preparation, n_jobs=_jobs(model))


def _jobs(model: Any) -> int | None:
    found: int | None = model.get_params(deep=False).get("n_jobs")
    return found
