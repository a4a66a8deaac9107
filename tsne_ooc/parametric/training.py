"""The one loop: batches come in, an objective gives a loss, the weights move."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

from tsne_ooc._random import generator
from tsne_ooc._typing import Bool, Float32, Int64, Network
from tsne_ooc.batches import Batches
from tsne_ooc.parametric.augmentation import Augmentation
from tsne_ooc.parametric.checkpoint import Checkpoint
from tsne_ooc.parametric.history import LOOK, History
from tsne_ooc.parametric.network import ResidualNetwork
from tsne_ooc.parametric.objectives import Loss, Stage
from tsne_ooc.parametric.optimizer import rate_at
from tsne_ooc.parametric.problem import Batch, Problem
from tsne_ooc.parametric.shared import begin_threads, borrowed_generator
from tsne_ooc.parametric.state import Training
from tsne_ooc.parametric.validation import Look

Callback = Callable[[int, float, Network], Any]

# Rows of a batch that an error names.
_NAMED = 8


class Options(NamedTuple):
    """How a network is trained.

    Parameters
    ----------
    stages : list of Stage
    steps : int
        Steps of all stages together.
    learning_rate : float
    look_every : int
        Steps between looks at held-out rows, and between checkpoints.
    patience : int or None
        Looks without a better one before the training ends.
    callbacks : list of callables of (step, loss, encoder)
        A true return value ends the training.
    callbacks_every : int
    verbose : bool
    title : str
        What is trained, for the bar.
    """

    stages: list[Stage]
    steps: int
    learning_rate: float
    look_every: int
    patience: int | None
    callbacks: list[Callback]
    callbacks_every: int
    verbose: bool
    title: str = "encoder"


class Trained(NamedTuple):
    """The result of the loop; the encoder has the best weights.

    Parameters
    ----------
    history : History
    steps : int
        How many steps were done, including those before a resumption.
    kept : int
        After how many of them the encoder had the weights that it has now.
    stopped : str
        Why the loop ended: "finished", "callback", "converged", "burst" (see `Loss.burst`) or "interrupted".
    """

    history: History
    steps: int
    kept: int
    stopped: str


def spans(stages: list[Stage], steps: int) -> list[tuple[int, int]]:
    """First step of each stage, and the step after its last."""
    edges = np.rint(steps * np.cumsum([0.0, *[stage.share for stage in stages]]) / sum(s.share for s in stages))
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def endless(batches: Batches, step: int) -> Generator[tuple[int, Int64, Float32]]:
    """Epoch, row numbers and rows of every batch from `step` on, without end."""
    epoch, start = divmod(step, len(batches))
    while True:
        with closing(batches.epoch(epoch, start_batch=start)) as inside:
            for rows, X in inside:
                yield epoch, rows, X
        epoch, start = epoch + 1, 0


def learn(
    encoder: Network,
    problem: Problem,
    batches: Batches,
    held: Bool,
    options: Options,
    *,
    augmentation: Augmentation | None = None,
    validation: Look | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train the encoder, on its device.

    Parameters
    ----------
    encoder : Encoder
    problem : Problem
    batches : tsne_ooc.batches.Batches
        Its epochs follow one another without end; a step is a batch.
    held : ndarray of bool, shape (n,)
        Rows that are left out of every batch.
    options : Options
    augmentation : Augmentation, optional
    validation : Look, optional
        It says which weights are the best; without it the objective does, if it can.
    checkpoint : Checkpoint, optional
        It is written every so often; where it exists already, the training goes on from it.

    Raises
    ------
    FloatingPointError
        Where a loss is not finite, naming the rows of its batch.
    """
    begin_threads()
    look = LOOK if validation is None else ("step", *validation.measures._fields)
    state, own = Training(encoder, options.learning_rate, look), None
    if checkpoint is not None and checkpoint.exists:
        own = state.restore(checkpoint)
    encoder.train()
    bar, feed = _bar(options, state.step), endless(batches, state.step)
    # It may have been killed between its last look and its end.
    stopped = "finished" if options.patience is None or state.best.since < options.patience else "converged"
    try:
        for number, (stage, (first, last)) in enumerate(
            zip(options.stages, spans(options.stages, options.steps), strict=True)
        ):
            if stopped != "finished" or last <= max(first, state.step):
                continue
            loss = stage.objective.of(problem)
            if own is not None and first < state.step:
                loss.restore(own)
            else:
                state.best.begin()
                loss.begin(encoder)
                state.look(stage, loss, validation)
            while state.step < last and stopped == "finished":
                began, share = time.perf_counter(), stage.rate * rate_at(state.step - first, last - first)
                epoch, rows, X = next(feed)
                rows, X = (rows[~held[rows]], X[~held[rows]]) if held[rows].any() else (rows, X)
                value, norm = math.nan, math.nan
                if len(rows):
                    value, norm = _learn(state, loss, problem, augmentation, epoch, rows, X, share)
                seconds = time.perf_counter() - began
                state.history.steps.append(
                    (state.step, epoch, number, len(rows), value, seconds, norm, share * options.learning_rate)
                )
                _tell(bar, value, len(rows) / seconds)
                if state.step % options.look_every == 0 or state.step == options.steps:
                    state.look(stage, loss, validation)
                    if checkpoint is not None:
                        state.save(checkpoint, loss.state())
                stopped = _stopped(state, loss, value, options)
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        bar.close()
        feed.close()
    kept = state.end()
    encoder.eval()
    return Trained(state.history, state.step, kept, stopped)


def _learn(
    state: Training,
    loss: Loss,
    problem: Problem,
    augmentation: Augmentation | None,
    epoch: int,
    rows: Int64,
    X: Float32,
    share: float,
) -> tuple[float, float]:
    """Learn from one batch at this share of the full rate; return its loss and the norm of the gradient."""
    X, moved = augmentation(state.step, rows, X) if augmentation else (X, 0)
    batch = Batch(state.step, rows, torch.from_numpy(X).to(problem.device), moved)
    with _drawing(state, loss, problem):
        tensor = loss.loss(state.network, batch)
        value = float(tensor.detach())
        if not math.isfinite(value):
            raise FloatingPointError(_where(value, state.step, epoch, rows, X))
        return value, state.optimizer.step(tensor, share)


def _drawing(state: Training, loss: Loss, problem: Problem) -> AbstractContextManager[None]:
    """A context in which a user's network or objective draws by seed and step, so the same also after a kill.

    Ours draw none, so trainings in several threads need not wait for each other.
    """
    if isinstance(state.network.body, ResidualNetwork) and type(loss).__module__.startswith("tsne_ooc."):
        return nullcontext()
    seed = int(generator(problem.seed, f"network, step {state.step}").integers(1 << 63))
    return borrowed_generator(seed, problem.device)


def _stopped(state: Training, loss: Loss, value: float, options: Options) -> str:
    """Whether the training ends here, as `Trained.stopped` says it."""
    stopped = "finished"
    if options.patience is not None and state.best.since >= options.patience:
        stopped = "converged"
    called = state.step % options.callbacks_every == 0
    if called and sum(bool(callback(state.step, value, state.network)) for callback in options.callbacks):
        stopped = "callback"
    return "burst" if loss.burst else stopped


def _where(value: float, step: int, epoch: int, rows: Int64, X: Float32) -> str:
    largest = rows[np.argsort(-np.abs(X).max(axis=1), kind="stable")[:_NAMED]]
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return (
        f"the loss is {value} at step {step} (epoch {epoch}), on a batch of the rows {', '.join(map(str, largest))}"
        f"{more} (those with the largest values first); look at these rows, or use a smaller learning_rate"
    )


def _bar(options: Options, start: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=options.steps, initial=start, unit="batch", disable=not options.verbose, desc=options.title)


def _tell(bar: Any, value: float, rate: float) -> None:
    if not bar.disable:
        bar.set_postfix_str(f"loss {value:.4g}, {rate:,.0f} rows/s", refresh=False)
        bar.update()
