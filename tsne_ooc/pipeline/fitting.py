"""The first fit of a run: the table is prepared, a sample drawn of it, and the sample fitted."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._context import uninterrupted
from tsne_ooc._typing import Progress
from tsne_ooc.intake import take_in
from tsne_ooc.io import Source
from tsne_ooc.pipeline.clock import Clock
from tsne_ooc.pipeline.placer import MapPlacer, StrangerPlacer, fitted_to, threads_of
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import Sample

log = logging.getLogger(__name__)


def fit_sample(
    table: Source,
    estimator: Any,
    sample: Sample,
    prepare: Preparation | None,
    seed: int,
    seconds: dict[str, float],
    progress: Progress,
) -> tuple[MapPlacer | StrangerPlacer, NDArray[np.int64]]:
    """Fit an estimator to a sample of the table's rows; what places with it, and the numbers of these rows.

    Parameters
    ----------
    table : Source
        As it was given.
    estimator : estimator
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
        table, prepare=prepare, sample=sample, metric=estimator.get_params(deep=False).get("metric"), seed=seed,
        n_jobs=threads_of(estimator), progress=progress, stage=lambda phase: Clock(seconds, phase),
    )  # fmt: skip
    rows = taken.sample_rows
    assert rows is not None
    with Clock(seconds, "fit"):
        progress("fit", 0, len(rows))
        with uninterrupted():
            placer = fitted_to(estimator, taken)
        progress("fit", len(rows), len(rows))
    return placer, rows
