"""An encoder's training as a list of stages: fit the teacher, make a beginning, and train encoder and decoder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tsne_ooc import __version__
from tsne_ooc._context import interrupted, warn
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Bool, Json
from tsne_ooc.batches import Batches
from tsne_ooc.estimator import TSNE
from tsne_ooc.intake import Features, Prepared
from tsne_ooc.io import identity_of
from tsne_ooc.parametric import objectives
from tsne_ooc.parametric.augmentation import Augmentation
from tsne_ooc.parametric.checkpoint import Checkpoint
from tsne_ooc.parametric.decoder import Decoder
from tsne_ooc.parametric.fitted_encoder import FittedEncoder
from tsne_ooc.parametric.history import STEP
from tsne_ooc.parametric.network import Encoder
from tsne_ooc.parametric.objectives import FEWEST_TUNED
from tsne_ooc.parametric.outset import (
    batches_of,
    bounds_after,
    encoder_of,
    glance,
    held_out,
    problem_of,
    try_network,
)
from tsne_ooc.parametric.problem import Problem
from tsne_ooc.parametric.reconstruction import Decoded, sum_of_weights, train_decoder
from tsne_ooc.parametric.teaching import (
    MOST_FITTED,
    Taught,
    check_affinities,
    default_teacher,
    knows_affinities,
    own_teacher,
    rows_mapped,
    teach,
)
from tsne_ooc.parametric.tiles import tile_for
from tsne_ooc.parametric.training import Options, Trained, learn
from tsne_ooc.parametric.validation import Validation
from tsne_ooc.stages import RunStage, Work
from tsne_ooc.storage.asked import plain
from tsne_ooc.streaming import silent


@dataclass(frozen=True, eq=False)
class Lesson:
    """The options of a training, resolved.

    Parameters
    ----------
    options : Options
        Options with the stages of a map of all rows.
    untuned : list of Stage
        The stages where the affinities of all rows are not at hand.
    augmentation : float
        Share of the rows of a batch that are moved.
    network, landmarks, batch_size, shuffle, validation
        The options of `ParametricTSNE`.
    decoder : Decoder or None
    device : torch.device
    threads : Threads
    n_jobs : int or None
    seed : int
    teacher : TSNE or None
    fitted : bool
        Whether the teacher is fitted.
    checkpoint : Path or None
        Folder that keeps the state.
    without : Path or None
        Folder whose files are not part of the table.
    told : dict
        The options as they are compared where a training goes on.
    """

    options: Options
    untuned: list[objectives.Stage]
    augmentation: float
    network: Any
    landmarks: Any
    batch_size: int
    shuffle: str
    validation: bool
    decoder: Decoder | None
    device: torch.device
    threads: Threads
    n_jobs: int | None
    seed: int
    teacher: TSNE | None
    fitted: bool
    checkpoint: Path | None
    without: Path | None
    told: Json

    def stages(self, *, tuned: bool) -> list[objectives.Stage]:
        """The stages of the objective, with field tuning where the map is `tuned`."""
        return self.options.stages if tuned else self.untuned


class Outset(NamedTuple):
    """What a training begins with.

    Parameters
    ----------
    encoder : Encoder
    problem : Problem
    batches : Batches
    held : ndarray of bool
        Rows that are in no batch.
    validation : Validation or None
    options : Options
        Options with the stages that there are.
    checkpoint : Checkpoint or None
    """

    encoder: Encoder
    problem: Problem
    batches: Batches
    held: Bool
    validation: Validation | None
    options: Options
    checkpoint: Checkpoint | None


class Teach(RunStage):
    """Fits the teacher where it is not fitted, and finds where all rows lie on its map."""

    name = "teach"

    def run(self, work: Work) -> None:
        lesson, table = work.get(Lesson), work.get(Prepared).table
        n, p = table.shape
        work.progress("teach", 0, n)
        teacher = lesson.teacher
        if teacher is None:
            teacher = default_teacher(n, lesson.stages(tuned=True), lesson.seed, lesson.n_jobs)
        try_network(lesson.network, p, teacher.n_components)
        mapped, known = rows_mapped(teacher, n), knows_affinities(teacher)
        stages = lesson.stages(tuned=known and mapped == n >= FEWEST_TUNED)
        check_affinities(stages, n, mapped, known)
        graph = known and (lesson.augmentation > 0 or any(stage.objective.needs == "graph" for stage in stages))
        if not known and mapped == n and lesson.augmentation > 0:
            warn(
                "the affinities of the teacher are not in its folder, so rows are not moved along differences of their "
                "neighbours, and the map is not tuned; the teacher as it was fitted has them",
            )
        taught = teach(teacher, table, fitted=lesson.fitted, graph=graph, seed=lesson.seed, threads=lesson.threads)
        # A fitted teacher may have as many rows as the table, but not the same ones.
        stages = stages if taught.graph is not None else lesson.stages(tuned=False)
        work.put(taught)
        work.put(lesson.options._replace(stages=stages))


class Begin(RunStage):
    """Makes what a training begins with."""

    name = "outset"

    @property
    def phase(self) -> str:
        return "teach"

    def run(self, work: Work) -> None:
        lesson, table, taught, options = work.get(Lesson), work.get(Prepared).table, work.get(Taught), work.get(Options)
        n, seed = table.shape[0], lesson.seed
        problem = problem_of(taught, n, seed, lesson.threads, lesson.device)
        # Rows that are in memory for their affinities are not read again.
        rows = table if taught.graph is None else taught.graph.X
        shuffle = ("full" if n <= MOST_FITTED else "buffer") if lesson.shuffle == "auto" else lesson.shuffle
        # Batches are as equal as whole numbers allow: a step is as long for a batch of one row as for a full one.
        size = -(-n // -(-n // lesson.batch_size))
        seen = glance(table, seed)
        batches = batches_of(rows, size, shuffle, seed, seen)
        encoder = encoder_of(lesson.network, lesson.landmarks, seen.X, taught, problem).to(lesson.device)
        del seen
        held, validation = held_out(table, taught, problem) if lesson.validation else (np.zeros(n, np.bool_), None)
        problem = replace(problem, held=np.flatnonzero(held))
        checkpoint = None
        if lesson.checkpoint is not None:
            job = _job(lesson, identity_of(table, without=lesson.without), options, encoder, taught)
            checkpoint = Checkpoint(lesson.checkpoint, job)
        work.put(Outset(encoder, problem, batches, held, validation, options, checkpoint))


class Train(RunStage):
    """Trains the encoder; its state is kept now and then, where a folder for it is named."""

    name = "train"

    def run(self, work: Work) -> None:
        lesson, taught, outset = work.get(Lesson), work.get(Taught), work.get(Outset)
        encoder, problem, held, checkpoint = outset.encoder, outset.problem, outset.held, outset.checkpoint
        options, graph = outset.options, taught.graph
        if work.progress is not silent:
            options = options._replace(callbacks=[*options.callbacks, _Telling(work, options.steps)])
        try:
            done = learn(
                encoder, problem, outset.batches, held, options,
                augmentation=None if graph is None else Augmentation(graph, lesson.augmentation, lesson.seed, held),
                validation=outset.validation, checkpoint=checkpoint,
            )  # fmt: skip
        finally:
            if work.kept is not None and checkpoint is not None and checkpoint.exists:
                work.kept.home.keep = work.kept.home.resumable = True
        # A stage without batches has moved nothing.
        met = {int(step[STEP.index("stage")]) for step in done.history.steps}
        tuned = any(options.stages[i].objective.needs == "graph" for i in met)
        encoder.stay_within(bounds_after(encoder, taught, problem, tuned))
        work.put(done)
        _check_one_table(work, checkpoint)


class Decode(RunStage):
    """Trains a decoder behind the finished encoder."""

    name = "decoder"

    def run(self, work: Work) -> None:
        lesson, outset = work.get(Lesson), work.get(Outset)
        if lesson.decoder is None or work.get(Trained).stopped == "interrupted":
            return
        checkpoint = outset.checkpoint
        if checkpoint is not None:
            more = {"decoder": plain(lesson.decoder), "encoder": sum_of_weights(outset.encoder)}
            checkpoint = Checkpoint(of_decoder(checkpoint.path), {**checkpoint.job, **more})
        table, options = work.get(Prepared).table, outset.options
        work.put(
            train_decoder(
                lesson.decoder, outset.encoder, table, outset.batches, outset.problem, options, checkpoint=checkpoint
            )
        )
        _check_one_table(work, outset.checkpoint, checkpoint)


class Finish(RunStage):
    """Puts all that the training leaves into one value, and warns where it did not come to its end."""

    name = "finish"

    @property
    def phase(self) -> str:
        return "train"

    def run(self, work: Work) -> None:
        # What is not needed any more is let go.
        lesson, ready, encoder = work.get(Lesson), work.take(Prepared), work.take(Outset).encoder
        teacher, done, decoded = work.take(Taught).teacher, work.take(Trained), work.find(Decoded)
        steps, decoding = lesson.options.steps, lesson.decoder is not None
        if broken := _broken(done, None if decoded is None else decoded.done, steps, decoding):
            if broken.startswith("interrupted"):
                interrupted(broken)
            else:
                warn(broken, RuntimeWarning)
        history: Json = dict(done.history.columns())
        if decoded is not None:
            history["decoder"] = decoded.done.history.columns()
        work.put(
            FittedEncoder(
                encoder, None if decoded is None else decoded.network, Features.of(ready),
                own_teacher(teacher), tile_for(encoder.cpu(), ready.table.shape[1]), history,
                done.steps, done.kept, lesson.seed,
            )
        )  # fmt: skip


def lesson_stages(*, decoding: bool) -> list[RunStage]:
    """The stages of a training; its `Lesson` and the `Prepared` table must be in the work."""
    return [Teach(), Begin(), Train(), *([Decode()] if decoding else []), Finish()]


def of_decoder(checkpoint: Path) -> Path:
    """The folder that keeps the state of a decoder, beside that of its encoder."""
    return checkpoint.with_name(f"{checkpoint.name}.decoder")


class _Telling:
    """A callback that tells the progress; no result depends on it."""

    def __init__(self, work: Work, steps: int) -> None:
        self.tell, self.steps = work.progress, steps

    def __call__(self, step: int, loss: float, encoder: Encoder) -> None:
        if hasattr(self.tell, "note"):
            self.tell.note = f"loss {loss:.4g}, "
        self.tell("train", step, self.steps)


def _check_one_table(work: Work, *checkpoints: Checkpoint | None) -> None:
    """Raise, and remove what was learnt, where the table changed meanwhile: only the teacher is of one table."""
    try:
        work.check_unchanged()
    except OSError:
        for checkpoint in checkpoints:
            if checkpoint is not None:
                checkpoint.remove()
        raise


def _job(lesson: Lesson, source: Json, options: Options, encoder: Encoder, taught: Taught) -> Json:
    """What is trained on which data."""
    return {
        # Files are moved and touched without any change to what is learnt.
        "source": {name: fact for name, fact in source.items() if name not in ("path", "mtime_ns", "version")},
        **lesson.told,
        # These tell what other options were resolved to. The decoder is not among them: it is trained when all else is
        # done.
        "objective": plain(options.stages),
        "n_iter": options.steps,
        "random_state": lesson.seed,
        "network": [repr(encoder), plain(lesson.network)],
        "device": lesson.device.type,
        "map": hashlib.sha256(taught.targets.tobytes()).hexdigest(),
        "tsne_ooc": __version__,
    }


def _broken(done: Trained, decoded: Trained | None, steps: int, decoding: bool) -> str | None:
    """What to say about a training that did not come to its end."""
    if done.stopped == "interrupted":
        rest = ", and there is no decoder" if decoding else ""
        return f"interrupted after {done.steps} of {steps} batches; the encoder is the best one until then{rest}"
    if done.stopped == "burst":
        return (
            f"the map burst after {done.steps} of {steps} batches; the encoder is the best one until then. Use a "
            "smaller learning_rate, or objective='distillation'"
        )
    if decoded is not None and decoded.stopped == "interrupted":
        return f"interrupted after {decoded.steps} batches of the decoder; it is the best one until then"
    return None
