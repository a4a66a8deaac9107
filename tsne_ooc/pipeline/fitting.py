"""The first stages of a run: the table is prepared, a sample is drawn from it, and the sample is fitted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._context import uninterrupted
from tsne_ooc.intake import Intake, Prepared, check_no_row_dropped, drawn, prepared
from tsne_ooc.pipeline.fitted import Fitted, keep, reopen
from tsne_ooc.pipeline.folder import SAVING
from tsne_ooc.pipeline.placer import Mapped, fitted_to, threads_of
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import Sample
from tsne_ooc.scratch import Room
from tsne_ooc.stages import Facts, RunStage, Work

log = logging.getLogger(__name__)

ROWS = "sample_rows.npy"


class Prepare(RunStage):
    """Fits a copy of a preparation on the whole table, or looks at the columns, which may lie far from 0.

    Parameters
    ----------
    prepare : Preparation or None
    estimator : estimator
    all_rows : bool
        Whether none of the rows may be left out, since all are to move.
    """

    name = "prepare"

    def __init__(self, prepare: Preparation | None, estimator: Any, *, all_rows: bool = False) -> None:
        self.prepare, self.estimator, self.all_rows = prepare, estimator, all_rows

    @property
    def phase(self) -> str:
        # A look at the columns alone is not worth a phase of its own.
        return "sample" if self.prepare is None else "prepare"

    def run(self, work: Work) -> None:
        metric = self.estimator.get_params(deep=False).get("metric")
        n_jobs = threads_of(self.estimator)
        found = prepared(work.table, self.prepare, metric, seed=work.seed, n_jobs=n_jobs, progress=work.progress)
        if self.all_rows:
            check_no_row_dropped(found, "refine moves all rows")
        work.put(found)


class Draw(RunStage):
    """Draws the rows that are fitted."""

    name = "sample"

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def run(self, work: Work) -> None:
        log.info("source: %r; sample: %r", work.table, self.sample)
        work.put(drawn(work.take(Prepared), self.sample, seed=work.seed, progress=work.progress))


class Fit(RunStage):
    """Fits a copy of an estimator to these rows, and saves it.

    Parameters
    ----------
    estimator : estimator
        Its own `sample` and `prepare` are not looked at.
    saved : bool
        Whether the fitted estimator can be saved.
    folder : str
        The folder, within that of the run, in which it is kept.
    space : callable, optional
        Gives, for the folder of the run, what the fit may take of memory and disk.
    """

    name = "fit"

    def __init__(
        self, estimator: Any, *, saved: bool, folder: str = ".", space: Callable[[Path], Room] | None = None
    ) -> None:
        self.estimator, self.saved, self.folder, self.space = estimator, saved, folder, space
        self.makes = ("model", SAVING, ROWS) if folder == "." else (folder,)

    def run(self, work: Work) -> Facts:
        from sklearn.base import clone

        taken = work.take(Intake)
        rows = taken.sample_rows
        assert rows is not None
        with fitting(work, len(rows)):
            found = fitted_to(clone(self.estimator), taken, self.room_in(work.folder))
        del taken
        return self.keep(work, found, rows)

    def room_in(self, folder: Path) -> Room | None:
        """What a fit may take of memory and disk, in a run of this folder."""
        return None if self.space is None else self.space(folder)

    def keep(self, work: Work, found: Fitted, rows: NDArray[np.int64]) -> Facts:
        """Save what was fitted, and go on with what was saved, as a run that resumes will do."""
        folder = work.folder / self.folder
        folder.mkdir(exist_ok=True)
        placer, seats, sums = keep(found, rows, folder, work.folder, saved=self.saved)
        work.put(Mapped(as_asked(placer, self.estimator), seats, folder / "model" if sums["model"] else None))
        return sums

    def reopen(self, work: Work, facts: Facts) -> None:
        placer, seats = reopen(work.folder / self.folder, facts, work.folder)
        work.put(Mapped(as_asked(placer, self.estimator), seats, work.folder / self.folder / "model"))

    def worth_keeping(self, facts: Facts) -> bool:
        return facts["model"] is not None


@contextmanager
def fitting(work: Work, n: int) -> Iterator[None]:
    """Tell the progress of a fit of n rows; an interrupt ends the run and not the fit alone."""
    work.progress("fit", 0, n)
    with uninterrupted():
        yield
    work.progress("fit", n, n)


def as_asked(placer: Fitted, asked: Any) -> Fitted:
    """Give a placer all parameters as they were asked for, in copies that no fit has used.

    A file cannot hold some of them, and a callback may remember the round before, which a run that resumes does not
    see.
    """
    from sklearn.base import clone

    placer.estimator.set_params(**clone(asked).get_params(deep=False))
    return placer
