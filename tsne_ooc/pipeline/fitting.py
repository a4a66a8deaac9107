"""The first fit of a run: the table is prepared, a sample drawn of it, and the sample fitted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._random import generator
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
        Is fitted, and given `prepare` for the rows to come.
    sample : Sample
    prepare : Preparation or None
        Is fitted on the whole table; a copy of it, as it came in stays as it was.
    seed : int
    seconds : dict
        Gets the entries "prepare", "sample" and "fit".
    progress : callable
    """
    log.info("source: %r; sample: %r", table, sample)
    if prepare is not None:
        with Clock(seconds, "prepare"):
            prepare = Preparation(prepare.steps)
            prepare.fit(table, progress, random_state=seed, n_jobs=_jobs(model))
            log.info("%r took %d pass(es): %d columns", prepare, prepare.passes, prepare.n_features_out)
    with Clock(seconds, "sample"):
        rows, X = sample.draw(prepared(table, prepare, model), generator(seed, "sample"), progress=progress)
    with Clock(seconds, "fit"):
        progress("fit", 0, len(rows))
        with uninterrupted():
            model.fit(X)
        progress("fit", len(rows), len(rows))
    model.preparation_ = prepare
    if prepare is not None:
        # Rows to place come as they are in the table.
        model.n_features_in_ = table.shape[1]
    return model, rows


def prepared(table: Source, preparation: Preparation | None, model: Any) -> Source:
    """The table as `model` is to see it, prepared by as many threads as it has."""
    return table if preparation is None else PreparedSource(table, preparation, n_jobs=_jobs(model))


def _jobs(model: Any) -> int | None:
    found: int | None = model.get_params(deep=False).get("n_jobs")
    return found


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Turn the warning of an interrupted fit into the interrupt that it was.

    A fit keeps its map, for people at a prompt; here hours of work would follow.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="interrupted after", category=RuntimeWarning)
        try:
            yield
        except RuntimeWarning as warning:
            if str(warning).startswith("interrupted after"):
                raise KeyboardInterrupt(str(warning)) from None
            raise
