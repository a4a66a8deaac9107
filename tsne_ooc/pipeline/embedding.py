"""`embed`: a table of any length in, a folder with its map out."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, Never

from tsne_ooc._options import whole
from tsne_ooc._random import seed_of
from tsne_ooc._typing import Progress
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.fitted import FittedEstimator
from tsne_ooc.intake import check_prepare, taken_over, with_gaps_kept
from tsne_ooc.io import Source
from tsne_ooc.pipeline.beginning import begun, check_executor, check_made, job_of, made_by, own_stages, room_of, told_of
from tsne_ooc.pipeline.fitting import Draw, Fit, Prepare
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.looking import Look, round_folder
from tsne_ooc.pipeline.models import SLACK, bytes_fitted
from tsne_ooc.pipeline.placer import Mapped, check_before, check_savable
from tsne_ooc.pipeline.placing import Place
from tsne_ooc.pipeline.refining import PLACED, Course, Keep, told
from tsne_ooc.pipeline.request import check_known, copied, parameters_of, plain
from tsne_ooc.pipeline.run import Run, open_run
from tsne_ooc.pipeline.sealing import Seal, finished
from tsne_ooc.pipeline.table import opened
from tsne_ooc.preprocess import Preparation
from tsne_ooc.refinement import Refinement
from tsne_ooc.refinement import resolve as resolve_refinement
from tsne_ooc.sampling import Sample, resolve_sample
from tsne_ooc.stages import RunStage, Work, drive

log = logging.getLogger(__name__)

SAMPLE = 25_000
# Each round reads the whole table. The folders of all rounds are named beforehand.
MOST_ROUNDS = 100


def embed(
    source: Any,
    *,
    out: str | os.PathLike[str],
    sample: Any = None,
    tsne: Any = None,
    prepare: Preparation | None = None,
    rounds: int = 1,
    refine: bool | Refinement = False,
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    random_state: int = 0,
    then: RunStage | Sequence[RunStage] = (),
    executor: Executor | None = None,
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **unknown: Never,
) -> Run:
    """Map a table of any length: fit a sample of its rows, then stream and place all others, or let all move.

    Block by block, what is done is written to the disk and marked as done. A run that was killed goes on with
    ``resume=True``, and ends with the same bytes as one that was not killed.

    Parameters
    ----------
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features).
    out : path
        Folder to write; it must not exist yet, or must be empty. Its ``manifest.json`` is written last, so a folder
        that has one is whole.
    sample : int or object of `tsne_ooc.sampling`, optional
        Rows to fit; a number draws so many uniformly, 25,000 by default. A table that has no more is fitted whole.
    tsne : TSNE, optional
        How to fit and place; a copy of it is fitted. By default ``TSNE()``. Where `sample` and `prepare` are not given
        here, its own are those of the run.
    prepare : Preparation, optional
        What is done to the rows first; it is fitted on the whole table, in passes of its own, and saved in the model.
    rounds : int, default 1
        With 2, all rows are looked at once before they are placed, and some of those that the sample did not know are
        added to it; with more, up to 100, that is done again.
    refine : bool or Refinement, default False
        Let all rows move together once they are placed, as `TSNE.refine` does: neighbourhoods become those of a fit of
        all rows, and the sample's large picture stays. What memory does not hold is kept on disk, rows included. The
        finished map is one of all rows, beside which new ones are placed; ``placed.npy`` holds where all rows began.
    dataset, columns, allow_missing_chunks
        What to read of a file, as for `tsne_ooc.io.open_source`.
    random_state : int
        Seed of the sample and the preparation, and of the fit where `tsne` does not have one of its own.
    then : RunStage or sequence of RunStage
        Stages of your own that follow when all rows are placed, such as one that writes another number of each row.
    executor : concurrent.futures.Executor, optional
        It places blocks on its workers, as for `place`; all else, such as the fit, is done in this process.
    block_rows : int, optional
        Rows that are read, placed and marked as done in one piece; the result does not depend on it.
    resume : bool
        Go on with a run in `out` that did not end.
    progress : callable, optional
        Called as ``progress(phase, done, total)`` in rows, with the phases "prepare", "sample", "fit", "look" and
        "place"; with `refine` also "search", "weigh", "refine" (in iterations) and "keep".

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
    MemoryError
        Where all rows are to be refined and memory is too little even so; it is raised before the work.

    Examples
    --------
    >>> run = embed("cells.h5", dataset="X", out="map", tsne=TSNE(exaggeration=4))  # doctest: +SKIP
    >>> run.embedding.shape  # doctest: +SKIP
    (1300000, 2)
    """
    check_known(embed, unknown)
    seed = whole("random_state", random_state, least=0, most=math.inf)
    model = _fresh(tsne, seed)
    # This comes before the file is opened, since drawing a sample of a large one takes long.
    check_before(model)
    check_prepare(prepare)
    sample, prepare = taken_over(model, "sample", sample), taken_over(model, "prepare", prepare)
    with_gaps_kept(prepare, model.get_params(deep=False).get("metric", "euclidean"))
    chosen = resolve_sample(SAMPLE if sample is None else sample)
    rounds = whole("rounds", rounds, least=1, most=MOST_ROUNDS)
    if rounds > 1 and not isinstance(model, TSNE):
        raise TypeError(f"rounds={rounds} needs an estimator that gives novelty, and {type(model).__name__} does not")
    if block_rows is not None:
        block_rows = whole("block_rows", block_rows, least=1)
    check_executor(executor)
    refinement, then = resolve_refinement(refine), own_stages(then)
    saved = _saved(model, prepare)
    if executor is not None and not saved:
        raise ValueError("executor= needs a map that can be saved, for workers open it by its path; leave it out")
    course = None if refinement is None else course_of(refinement, model, prepare)
    stages = [
        Prepare(prepare, model, all_rows=course is not None), Draw(chosen),
        *_rounds(model, rounds, course, saved=saved),
        *([Place()] if course is None else [Place(into=PLACED), *course.stages()]), *then,
    ]  # fmt: skip
    check_made(then, stages)
    with (
        opened(source, dataset, columns, allow_missing_chunks) as table,
        Folder(Path(out), resume=resume, makes=made_by(stages)) as home,
    ):
        home.check_room(room_for(table, model, chosen, prepare, rounds) + room_of(stages, table))
        request = {
            "parameters": parameters_of(model),
            "sample": plain(chosen),
            "prepare": plain(prepare.steps) if prepare is not None else None,
            "rounds": rounds,
            "random_state": seed,
            **({} if refinement is None else {"refine": plain(refinement.asked())}),
            **told_of(then),
        }
        job = job_of("embed", table, home, request)
        if home.finished:
            return finished(home, job)
        work = begun(
            job, table, home, resume=resume, progress=progress, seed=seed, block_rows=block_rows, executor=executor
        )  # fmt: skip
        drive([*stages, Seal(home, job, partial(_told, model, seed), then)], work)
    return open_run(home.path)


def _rounds(model: Any, rounds: int, course: Course | None, *, saved: bool) -> list[RunStage]:
    """The stages of the first fit, and of a look at all rows and another fit for each round."""
    last = "." if course is None else round_folder(rounds)
    folders = [*(round_folder(r) for r in range(1, rounds)), last]
    fits = [Fit(model, saved=saved, folder=folder, space=course and course.space) for folder in folders]
    return [fits[0], *(Look(r, fit) for r, fit in enumerate(fits[1:], start=1))]


def _told(model: Any, seed: int, work: Work) -> dict[str, Any]:
    """The entries of the manifest that are about the map."""
    parameters = model.get_params(deep=False)
    refined = Keep.name in work.facts
    placer, seats, _ = work.get(Mapped)
    filled = None if placer.preparation is None else placer.preparation.filled
    if refined:
        sample = dict(work.facts[Keep.name]["sample"])
    else:
        assert seats is not None
        sample = {"rows": len(seats.rows), **placer.facts}
    return {
        **work.facts["place"],
        **({} if filled is None else {"filled": filled}),
        "sample": sample.pop("rows"),
        "random_state": seed,
        "parameters": {name: plain(value) for name, value in sorted(parameters.items())},
        **{name: plain(value) for name, value in sample.items()},
        **({"refined": told(work)} if refined else {}),
    }


def course_of(refinement: Refinement, model: Any, prepare: Preparation | None) -> Course:
    """What the stages of a refinement share; raises where its map could not be kept."""
    if not isinstance(model, TSNE):
        raise TypeError(f"refine needs a TSNE object, and tsne is a {type(model).__name__}")
    if prepare is not None and prepare.to_drop:
        raise ValueError("refine moves all rows, and missing='drop' leaves some out; let Missing fill values in")
    check_savable(model, prepare)
    course = Course.of(refinement, model, prepared=prepare is not None)
    course.estimator.set_params(random_state=seed_of(course.estimator.random_state))
    check_savable(course.estimator, prepare)
    return course


def room_for(table: Source, model: Any, sample: Sample, prepare: Preparation | None, rounds: int) -> int:
    """Bytes that all files of a run take, as far as that is known before it."""
    n, p = table.shape
    d = int(getattr(model, "n_components", None) or 2)
    fitted = min(n, int(getattr(sample, "size", 0)))
    # The width of prepared rows is known only after a pass over the table.
    map = bytes_fitted(fitted, p if prepare is None else 0, d)
    return rounds * (n * (4 * d + 4 * isinstance(model, TSNE)) + map + SLACK) + 8 * fitted


def _fresh(tsne: Any, seed: int) -> Any:
    """A copy of the estimator that has a seed, so that the map in the folder can be made again."""
    from sklearn.frozen import FrozenEstimator

    if tsne is None:
        return TSNE(random_state=seed)
    if isinstance(tsne, type) or not (hasattr(tsne, "fit") and hasattr(tsne, "transform")):
        raise TypeError(f"tsne={tsne!r} is not a TSNE object")
    if isinstance(tsne, FrozenEstimator):
        raise TypeError("tsne is frozen, a map that is fitted already; save it, and use tsne_ooc.place")
    if isinstance(tsne, FittedEstimator) and not isinstance(tsne, TSNE):
        raise TypeError(f"tsne is a {type(tsne).__name__}, an encoder; train one with tsne_ooc.pipeline.train")
    model = copied(tsne, "tsne")
    parameters = model.get_params(deep=False)
    if "random_state" in parameters and parameters["random_state"] is None:
        model.set_params(random_state=seed)
    elif isinstance(model, TSNE):
        # A generator would draw another number for each round, and no file can hold it.
        model.set_params(random_state=seed_of(model.random_state))
    return model


def _saved(model: Any, prepare: Preparation | None) -> bool:
    """Whether the fitted model can be saved; warns before the work where it is known that it cannot."""
    try:
        check_savable(model, prepare)
    except (ValueError, TypeError) as error:
        log.warning("this run cannot be resumed, since its model cannot be saved: %s", error)
        return False
    return True
