"""`train`: a table in, a folder with an encoder out; the teacher is fitted and kept, then the encoder learns."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from tsne_ooc import storage
from tsne_ooc._context import uninterrupted
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._random import seed_of
from tsne_ooc._typing import Json, Progress
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.saving import check_saved, fingerprint
from tsne_ooc.intake import check_prepare, taken_over
from tsne_ooc.io import Source
from tsne_ooc.io.told import account_of
from tsne_ooc.pipeline.beginning import begun, job_of
from tsne_ooc.pipeline.fitting import Draw, Fit, Prepare
from tsne_ooc.pipeline.folder import TRAINING, Folder
from tsne_ooc.pipeline.models import ENCODER, SLACK, bytes_fitted, folder_of, opened_model
from tsne_ooc.pipeline.placer import Mapped, MapPlacer
from tsne_ooc.pipeline.request import check_known, copied, differences, parameters_of, plain
from tsne_ooc.pipeline.table import opened
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import Sample, UniformSample, resolve_sample
from tsne_ooc.stages import RunStage, Work, drive

if TYPE_CHECKING:
    from tsne_ooc.parametric import ParametricTSNE


def train(
    source: Any,
    *,
    out: str | os.PathLike[str],
    encoder: Any = None,
    map: str | os.PathLike[str] | None = None,
    tsne: Any = None,
    sample: Any = None,
    prepare: Preparation | None = None,
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    **unknown: Never,
) -> Any:
    """Train an encoder on a table of any length: fit its teacher, let it learn from that, and save it.

    The teacher is saved when it is fitted, and the state of the training every 500 batches. A run that was killed goes
    on with ``resume=True`` and ends with the weights of one that was not killed (to the bit with one thread of torch).

    Parameters
    ----------
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features).
    out : path
        Folder to write; it must not exist yet, or must be empty. Its ``manifest.json`` is written last, so a folder
        that has one is whole: it holds what `ParametricTSNE.save` writes, and the job.
    encoder : ParametricTSNE, optional
        The encoder, of which a copy is trained. It must not have a teacher or a preparation, which are given here. Its
        random_state is the seed of everything, 0 where it is None.
    map : path, optional
        The teacher: a saved model, or the folder of a finished run.
    tsne : TSNE, optional
        Where there is no `map`: how to fit the teacher; a copy of it is fitted. Where `sample` and `prepare` are not
        given here, its own are those of the run.
    sample : int or object of `tsne_ooc.sampling`, optional
        Rows that the teacher is fitted on. By default all rows of up to 100,000, and 25,000 of more.
    prepare : Preparation, optional
        What is done to the rows first, as in `embed`; a `map` has a preparation of its own.
    dataset, columns, allow_missing_chunks
        What to read of a file, as for `tsne_ooc.io.open_source`.
    resume : bool
        Go on with a run in `out` that did not end.
    progress : callable, optional
        Called as ``progress(phase, done, total)``, with the phases "prepare", "sample", "fit" and "teach", in rows,
        and "train", in batches. If it has an attribute `note`, that is set to the loss in words.

    Returns
    -------
    ParametricTSNE
        The encoder as `tsne_ooc.parametric.load` reads it from `out`.

    Raises
    ------
    ModuleNotFoundError
        Where PyTorch is not installed.
    OSError
        Where `out` is in use or holds something else, or reading or writing fails. Once the teacher is fitted, what
        is done is kept.
    ValueError, TypeError
        For bad tables and parameters, and where a run cannot go on because something else is asked for now.
    FloatingPointError
        Where a loss is not finite; the message names the rows of its batch.

    Examples
    --------
    >>> model = train("cells.h5", dataset="X", out="encoder")  # doctest: +SKIP
    >>> Y = model.transform(new_rows)  # doctest: +SKIP
    """
    check_known(train, unknown)
    from tsne_ooc.parametric import load

    model, tsne, sample, prepare, fitted = asked_for(encoder, map, tsne, sample, prepare)
    # The folder does not hold the code of a user's own network, which is needed to load it.
    own = None if isinstance(model.network, tuple | list) else model.network
    with (
        opened(source, dataset, columns, allow_missing_chunks, None if fitted is None else fitted.names) as table,
        Folder(Path(out), resume=resume, makes=[TRAINING]) as home,
    ):
        teacher, known, sample = teacher_of(fitted, tsne, sample, prepare, model, table)
        home.check_room(room_for_training(table, model, teacher, map, sample, prepare))
        request = {
            "parameters": parameters_of(model, without=("teacher",)),
            "teacher": known,
            "prepare": plain(prepare.steps) if prepare is not None else None,
        }
        job = job_of("train", table, home, request)
        if home.finished:
            _check_finished(home, job)
        else:
            work = begun(job, table, home, resume=resume, progress=progress, seed=model.random_state)
            (home.path / TRAINING).mkdir(exist_ok=True)
            if map is not None:
                work.put(Mapped(MapPlacer(teacher), None))
            stages = _stages(model, teacher, sample, prepare, job)
            with uninterrupted(), torch_threads(model.n_jobs):
                drive(stages, work)
            # The teacher is mapped from files that are removed now, and some systems refuse to remove mapped files.
            del model, teacher, stages, work
    return load(home.path, network=own)


def _stages(
    model: ParametricTSNE, teacher: TSNE, sample: Sample | None, prepare: Preparation | None, job: Json
) -> list[RunStage]:
    """The stages: the teacher is fitted to a sample, where there is one; then the encoder learns, as in `fit`."""
    from tsne_ooc.parametric.decoder import resolve as resolve_decoder
    from tsne_ooc.parametric.lesson import lesson_stages

    fit: list[RunStage] = []
    if sample is not None:
        fit = [Prepare(prepare, teacher), Draw(sample), Fit(teacher, saved=True, folder=TRAINING)]
    decoding = resolve_decoder(model.decoder) is not None
    return [*fit, Ready(model), *lesson_stages(decoding=decoding), Export(model, job)]


class Ready(RunStage):
    """Makes the lesson: what the encoder is to learn, and from which teacher."""

    name = "ready"
    makes = (TRAINING,)

    def __init__(self, model: ParametricTSNE) -> None:
        self.model = model

    @property
    def phase(self) -> str:
        return "teach"

    def run(self, work: Work) -> None:
        assert work.kept is not None
        model, home, placer = self.model, work.kept.home, work.take(Mapped).placer
        assert isinstance(placer, MapPlacer)
        checkpoint = work.folder / TRAINING / "checkpoint"
        home.resumable = home.resumable or (home.keep and (checkpoint / storage.MANIFEST).exists())
        model.set_params(teacher=placer.estimator.set_params(n_jobs=model.n_jobs, verbose=model.verbose))
        lesson, ready = model.lesson(work.table, checkpoint, without=home.path)
        work.put(lesson)
        work.put(ready)


class Export(RunStage):
    """Writes the encoder to the folder of the run, its manifest last."""

    name = "seal"

    def __init__(self, model: ParametricTSNE, job: dict[str, Any]) -> None:
        self.model, self.job = model, job

    def run(self, work: Work) -> None:
        from tsne_ooc.parametric.fitted_encoder import FittedEncoder

        model = self.model.of_fitted(work.take(FittedEncoder), **self.model.get_params(deep=False))
        # The history also has the seconds of earlier attempts.
        seconds = {**work.seconds, "train": round(float(model.history_["batches"]["seconds"].sum()), 3)}
        told = {"job": self.job, "source": repr(work.table), "read": account_of(work.table), "seconds": seconds}
        whole = work.folder / TRAINING / "encoder"
        shutil.rmtree(whole, ignore_errors=True)
        model.save(whole)
        saved, _, paths = storage.read_folder(whole, ENCODER, verify=False)
        for file in list(whole.iterdir()):
            if file.name != storage.MANIFEST:
                os.replace(file, work.folder / file.name)
        storage.seal(work.folder, ENCODER, {**saved, **told}, {name: path.name for name, path in paths.items()})


def _fresh(encoder: Any, kind: Any) -> Any:
    if not isinstance(encoder, kind):
        raise TypeError(f"encoder={encoder!r} is not a ParametricTSNE")
    if encoder.teacher is not None or encoder.prepare is not None:
        raise ValueError("encoder has a teacher or a preparation of its own; pass these as map, tsne and prepare")
    model = copied(encoder, "encoder")
    return model.set_params(random_state=0 if model.random_state is None else seed_of(model.random_state))


def _unfitted(tsne: Any, seed: int) -> TSNE:
    """A copy of the teacher that is to be fitted; it has a seed."""
    from tsne_ooc.parametric.teaching import is_fitted

    if not isinstance(tsne, TSNE) or is_fitted(tsne):
        raise TypeError(f"tsne={tsne!r} is not a TSNE to be fitted; pass the folder of a fitted one as map")
    teacher: TSNE = copied(tsne, "tsne")
    teacher.check_options()
    own = teacher.random_state
    teacher.set_params(random_state=seed if own is None else seed_of(own))
    return teacher


def _fitted(map: Any, n_jobs: int | None) -> MapPlacer:
    """The map that is saved in a folder."""
    found = opened_model(folder_of(map), n_jobs)
    if not isinstance(found, MapPlacer):
        raise ValueError(f"{map} holds an encoder; the teacher is a saved model, or the folder of a finished run")
    return found


def asked_for(
    encoder: Any, map: Any, tsne: Any, sample: Any, prepare: Preparation | None
) -> tuple[ParametricTSNE, TSNE | None, Sample | None, Preparation | None, MapPlacer | None]:
    """Copies of what is asked for: the encoder, how its teacher is fitted and to which rows, or the map that it is."""
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.parametric.outset import check_all_whole, check_network_saved

    model = _fresh(ParametricTSNE() if encoder is None else encoder, ParametricTSNE)
    model.check_options()
    check_network_saved(model.network)
    if map is not None and not (tsne is sample is prepare is None):
        raise ValueError("map is a teacher that is fitted already; leave out tsne, sample and prepare")
    check_prepare(prepare)
    if tsne is not None:
        tsne = _unfitted(tsne, model.random_state)
        sample, prepare = taken_over(tsne, "sample", sample), taken_over(tsne, "prepare", prepare)
    if sample is not None:
        sample = resolve_sample(sample)
    fitted = None if map is None else _fitted(map, model.n_jobs)
    # Before the teacher is fitted: what is refused here is refused whatever the table is.
    check_all_whole(prepare, tsne if fitted is None else fitted.estimator, fitted is not None)
    return model, tsne, sample, prepare, fitted


def teacher_of(
    map: MapPlacer | None,
    tsne: TSNE | None,
    sample: Sample | None,
    prepare: Preparation | None,
    model: Any,
    table: Source,
) -> tuple[Any, Any, Sample | None]:
    """The teacher, fitted only where it is a `map`; what tells it from another one; and its sample, if there is one.

    All that can be known to be wrong before the fit is raised here.
    """
    from tsne_ooc.parametric.estimator import FEWEST
    from tsne_ooc.parametric.objectives import resolve
    from tsne_ooc.parametric.teaching import (
        MOST_FITTED,
        SAMPLE,
        check_affinities,
        default_teacher,
        given_teacher,
        knows_affinities,
    )

    n = table.shape[0]
    if n < FEWEST:
        raise ValueError(f"{table!r} has {n} rows, and an encoder needs {FEWEST}")
    # For a shorter table the default means all rows.
    if model.batch_size > n and model.batch_size != type(model)().batch_size:
        raise ValueError(f"batch_size={model.batch_size} is more than the {n:,} rows of {table!r}")
    if map is not None:
        teacher = map.estimator
        teacher.check_table(table)
        fitted = len(teacher.embedding_)
        known: Any = fingerprint(teacher)
    else:
        sample = resolve_sample((n if n <= MOST_FITTED else SAMPLE) if sample is None else sample)
        fitted = min(n, sample.size)
        stages = resolve(model.objective, tuned=fitted == n)
        teacher = tsne or default_teacher(n, stages, model.random_state, model.n_jobs).set_params(sample=None)
        # The teacher is kept in the folder of the run.
        check_saved(teacher, prepare)
        known = {**parameters_of(teacher), "sample": fitted if isinstance(sample, UniformSample) else plain(sample)}
    given_teacher(teacher, None, 0)
    knows = knows_affinities(teacher)
    check_affinities(resolve(model.objective, tuned=knows and fitted == n), n, fitted, knows)
    return teacher, known, sample


def room_for_training(
    table: Source, model: Any, teacher: Any, map: Any, sample: Sample | None, prepare: Preparation | None
) -> int:
    """The most bytes on the disk at one moment, as far as that is known before the run."""
    from tsne_ooc.parametric.room import bytes_of_training

    n, p = table.shape
    # The width of prepared rows is known only after a pass over the table.
    known = p if prepare is None and getattr(teacher, "preparation_", None) is None else 0
    fitted = 0 if sample is None else min(n, sample.size)
    if sample is None:
        d, kept = teacher.embedding_.shape[1], 0
        taught = sum(file.stat().st_size for file in folder_of(map).glob("*.npy"))
    else:
        d = int(teacher.n_components or 2)
        taught = kept = bytes_fitted(fitted, known, d) + SLACK
    return kept + bytes_of_training(model, taught, n, max(1, known), d, all_mapped=fitted == n) + SLACK


@contextmanager
def torch_threads(n_jobs: int | None) -> Iterator[None]:
    """Let torch, which counts for the whole process, have as many threads as were asked for; else as there are."""
    import torch

    from tsne_ooc.parametric.shared import threads_kept

    with threads_kept():
        if n_jobs is not None:
            torch.set_num_threads(resolve_n_jobs(n_jobs))
        yield


def _check_finished(home: Folder, job: dict[str, Any]) -> None:
    """Raise unless the encoder in the folder is the one that is asked for."""
    content = storage.read_folder(home.path, ENCODER, verify=False).content
    if "job" not in content:
        raise ValueError(f"{home.path} holds an encoder that was saved by hand; name a new folder")
    if found := differences(content["job"], json.loads(json.dumps(job))):
        raise ValueError(f"{home.path} holds the result of another run: {'; '.join(found)}; name a new folder")
