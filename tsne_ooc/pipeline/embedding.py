"""A table of any length in, a folder with its map out."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from tsne_ooc import __version__
from tsne_ooc._options import whole
from tsne_ooc._random import seed_of
from tsne_ooc._typing import Progress
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.fitted import FittedEstimator
from tsne_ooc.intake import check_prepare, taken_over
from tsne_ooc.io import Source, identity
from tsne_ooc.io.ledger import Ledger
from tsne_ooc.io.told import account_of
from tsne_ooc.pipeline.clock import Clock
from tsne_ooc.pipeline.fitted import Fitted, keep, reopen
from tsne_ooc.pipeline.fitting import fit_sample
from tsne_ooc.pipeline.folder import SAVING, Folder
from tsne_ooc.pipeline.looking import look_and_refit
from tsne_ooc.pipeline.models import SLACK, bytes_fitted
from tsne_ooc.pipeline.placer import MapPlacer, Seats, check_before, check_savable
from tsne_ooc.pipeline.placing import finished, seal, stream
from tsne_ooc.pipeline.request import copied, differences, parameters_of, plain, warn_untold
from tsne_ooc.pipeline.run import LEDGER, Run
from tsne_ooc.pipeline.table import opened
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import Sample, resolve_sample
from tsne_ooc.streaming import begin, check_unchanged, silent

log = logging.getLogger(__name__)

SAMPLE = 25_000
# Each reads the whole table. The folders of all of them are named beforehand.
MOST_ROUNDS = 100
_ARRAYS = ["embedding", "novelty", "sample_rows"]


def embed(
    source: Any,
    *,
    out: str | os.PathLike[str],
    sample: Any = None,
    tsne: Any = None,
    prepare: Preparation | None = None,
    rounds: int = 1,
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    random_state: int = 0,
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Map a table of any length: fit a sample of its rows, then stream and place all others.

    What is done is on the disk and marked as done, block by block. A run that was killed goes on with ``resume=True``
    and ends with the same bytes as one that was not.

    Parameters
    ----------
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features).
    out : path
        Folder to write; it must not exist yet, or be empty. Its ``manifest.json`` is written last, so a folder that
        has one is whole.
    sample : int or object of `tsne_ooc.sampling`, optional
        Rows to fit; a number draws so many uniformly. If there are no more, all are fitted. By default 25,000.
    tsne : TSNE, optional
        How to fit and place; a copy of it is fitted. By default ``TSNE()``. Its `sample` and `prepare` are those of
        the run where none are given here.
    prepare : Preparation, optional
        What is done to the rows first; it is fitted on the whole table, in passes of its own, and saved in the model.
    rounds : int, default 1
        With 2 all rows are looked at once before they are placed, and those that the sample did not know are added to
        it; with more, up to 100, again.
    dataset, columns, allow_missing_chunks
        What to read of a file, as for `tsne_ooc.io.open_source`.
    random_state : int
        Seed of the sample and the preparation; and of the fit, where `tsne` has none of its own.
    block_rows : int, optional
        Rows that are read, placed and marked as done in one piece; what comes out does not depend on it.
    resume : bool
        Go on with a run in `out` that did not end.
    progress : callable, optional
        Called as ``progress(phase, done, total)`` in rows, with the phases "prepare", "sample", "fit", "look" and
        "place".

    Returns
    -------
    Run

    Raises
    ------
    OSError
        Where `out` is in use or holds something else, or reading or writing fails. Once the sample is fitted, what is
        done is kept.
    ValueError, TypeError
        For bad tables and parameters, and where a run cannot go on because something else is asked for now.

    Examples
    --------
    >>> run = embed("cells.h5", dataset="X", out="map", tsne=TSNE(exaggeration=4))  # doctest: +SKIP
    >>> run.embedding.shape  # doctest: +SKIP
    (1300000, 2)
    """
    seed = whole("random_state", random_state, least=0, most=math.inf)
    model = _fresh(tsne, seed)
    # Before the file is opened: drawing a sample of a large one takes its time.
    check_before(model)
    check_prepare(prepare)
    sample, prepare = taken_over(model, "sample", sample), taken_over(model, "prepare", prepare)
    chosen = resolve_sample(SAMPLE if sample is None else sample)
    rounds = whole("rounds", rounds, least=1, most=MOST_ROUNDS)
    saved = _saved(model, prepare)
    if rounds > 1 and not isinstance(model, TSNE):
        raise TypeError(f"rounds={rounds} needs an estimator that tells novelty, and {type(model).__name__} does not")
    if block_rows is not None:
        block_rows = whole("block_rows", block_rows, least=1)
    with (
        opened(source, dataset, columns, allow_missing_chunks) as table,
        Folder(Path(out), resume=resume, makes=_made(rounds)) as home,
    ):
        home.check_room(_room(table, model, chosen, prepare, rounds))
        request = {
            "parameters": parameters_of(model),
            "sample": plain(chosen),
            "prepare": plain(prepare.steps) if prepare is not None else None,
            "rounds": rounds,
            "random_state": seed,
        }
        origin = identity.identity_of(table, without=home.path)
        job = {"task": "embed", "source": origin, "request": request, "tsne_ooc": __version__, "makes": home.makes}
        if home.finished:
            return finished(home, job)
        ledger = begin(home.path / LEDGER, job, resume=resume, differ=differences)
        warn_untold(job)
        seconds: dict[str, float] = dict(ledger.job.get("seconds", {}))
        if ledger.n_rows:
            seconds["place"] = ledger.entry("place").seconds
        tell = progress or silent
        work = _Fitting(table, origin, model, chosen, prepare, seed, home, seconds, block_rows, tell, saved)
        placer, seats, ledger = work.run(ledger, rounds)
        home.keep = ledger.job["model"] is not None
        with Clock(seconds, "place"):
            summary = stream(placer, table, home, home.path, ledger, seats, block_rows, tell, source=origin)
        parameters = model.get_params(deep=False)
        content = {
            "task": "embed",
            "source": repr(table),
            "read": account_of(table),
            **summary,
            "sample": len(seats.rows),
            "random_state": seed,
            "parameters": {name: plain(value) for name, value in sorted(parameters.items())},
            **{name: plain(value) for name, value in placer.facts.items()},
            "seconds": seconds,
            "job": job,
        }
        return seal(home, content, _ARRAYS)


class _Fitting(NamedTuple):
    """The part of a run before anything is placed: prepare, draw, fit, and round by round look and fit again."""

    table: Source
    origin: dict[str, Any]
    asked: Any
    sample: Sample
    prepare: Preparation | None
    seed: int
    home: Folder
    seconds: dict[str, float]
    block_rows: int | None
    progress: Progress
    saved: bool

    def folder(self, r: int, rounds: int) -> Path:
        """Where round r of `rounds` is kept; the last is the run's own."""
        return self.home.path if r == rounds else self.home.path / f"round-{r}"

    def run(self, ledger: Ledger, rounds: int) -> tuple[Fitted, Seats, Ledger]:
        """What to place with, the seats of its rows, and the ledger that knows of them."""
        from sklearn.base import clone

        # Sums of what the rounds before left, and of the last.
        known = [*ledger.job.get("rounds", []), *([ledger.job] if "model" in ledger.job else [])]
        placer: Fitted | None = None
        seats: Seats | None = None
        if known:
            placer, seats = reopen(self.folder(len(known), rounds), known[-1])
            self._as_asked(placer)
        for r in range(len(known) + 1, rounds + 1):
            if r == 1:
                found, rows = fit_sample(
                    self.table, clone(self.asked), self.sample, self.prepare, self.seed, self.seconds, self.progress
                )
            else:
                assert isinstance(placer, MapPlacer) and seats is not None
                with Clock(self.seconds, "look"):
                    found, (rows, *_) = look_and_refit(
                        placer, seats, known[-1]["model"], self.table, self.home, self.folder(r - 1, rounds),
                        self.seed, self.block_rows, self.progress, self.origin,
                    )  # fmt: skip
            # A model that is kept is of one table.
            check_unchanged(self.table, self.origin, self.home.path)
            folder = self.folder(r, rounds)
            folder.mkdir(exist_ok=True)
            placer, seats, sums = keep(found, rows, folder, saved=self.saved)
            self._as_asked(placer)
            known.append(sums)
            job = {**ledger.job, "seconds": self.seconds}
            ledger.job = job | (sums if r == rounds else {"rounds": [*known]})
            ledger.write()
            self.home.keep = sums["model"] is not None
        assert placer is not None and seats is not None
        return placer, seats, ledger

    def _as_asked(self, placer: Fitted) -> None:
        """Give it all parameters as they are asked for, in copies that no fit has used.

        A file cannot hold some of them, and a callback may remember the round before, which a run that resumes has not
        seen.
        """
        from sklearn.base import clone

        placer.estimator.set_params(**clone(self.asked).get_params(deep=False))


def _made(rounds: int) -> list[str]:
    """What a run makes in its folder."""
    return ["model", SAVING, *(f"{name}.npy" for name in _ARRAYS), *(f"round-{r}" for r in range(1, rounds))]


def _room(table: Source, model: Any, sample: Sample, prepare: Preparation | None, rounds: int) -> int:
    """Bytes that all files of a run take, as far as they are known before it."""
    n, p = table.shape
    d = int(getattr(model, "n_components", None) or 2)
    fitted = min(n, int(getattr(sample, "size", 0)))
    # How wide prepared rows are is known after a pass over the table.
    map = bytes_fitted(fitted, p if prepare is None else 0, d)
    return rounds * (n * (4 * d + 4 * isinstance(model, TSNE)) + map + SLACK) + 8 * fitted


def _fresh(tsne: Any, seed: int) -> Any:
    """A copy of the estimator, with a seed: a map that nobody can make again is of no use in a folder."""
    from sklearn.frozen import FrozenEstimator

    if tsne is None:
        return TSNE(random_state=seed)
    if isinstance(tsne, type) or not (hasattr(tsne, "fit") and hasattr(tsne, "transform")):
        raise TypeError(f"tsne={tsne!r} is not a TSNE object")
    if isinstance(tsne, FrozenEstimator):
        raise TypeError("tsne is fitted already, and kept so; save it, and use tsne_ooc.pipeline.place")
    if isinstance(tsne, FittedEstimator) and not isinstance(tsne, TSNE):
        raise TypeError(f"tsne is a {type(tsne).__name__}, an encoder; train one with tsne_ooc.pipeline.train")
    model = copied(tsne, "tsne")
    parameters = model.get_params(deep=False)
    if "random_state" in parameters and parameters["random_state"] is None:
        model.set_params(random_state=seed)
    elif isinstance(model, TSNE):
        # A generator draws another number for each round, and no file holds it.
        model.set_params(random_state=seed_of(model.random_state))
    return model


def _saved(model: Any, prepare: Preparation | None) -> bool:
    """Whether the fitted model can be saved; where it is known that it cannot, that is said before the work."""
    try:
        check_savable(model, prepare)
    except (ValueError, TypeError) as error:
        log.warning("this run cannot be resumed, since its model cannot be saved: %s", error)
        return False
    return True
