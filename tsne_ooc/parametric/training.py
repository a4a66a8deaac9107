"""The one loop: batches come in, an objective gives a loss, the weights move."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tsne_ooc._random import generator
from tsne_ooc.parametric.augmentation import Augmentation
from tsne_ooc.parametric.checkpoint import Arrays, Checkpoint, put_weights, weights_of
from tsne_ooc.parametric.history import LOOK, History
from tsne_ooc.parametric.objectives import Loss, Stage
from tsne_ooc.parametric.optimizer import Optimizer, rate_at
from tsne_ooc.parametric.problem import Batch, Problem
from tsne_ooc.parametric.validation import Look

Callback = Callable[[int, float, Any], Any]

# Rows of a batch that an error names.
_NAMED = 8


class Options(NamedTuple):
    """How it is trained.

    Parameters
    ----------
    stages : list of Stage
    steps : int
        Of all stages together.
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
    """What the loop ends with; the encoder has the best weights.

    Parameters
    ----------
    history : History
    steps : int
        That were done, those before a resumption too.
    kept : int
        After how many of them the encoder was as it is now.
    stopped : str
        Why: "finished", "callback", "converged", "burst" (see `Loss.burst`) or "interrupted".
    """

    history: History
    steps: int
    kept: int
    stopped: str


def spans(stages: list[Stage], steps: int) -> list[tuple[int, int]]:
    """First step of each stage, and the step after its last."""
    edges = np.rint(steps * np.cumsum([0.0, *[stage.share for stage in stages]]) / sum(s.share for s in stages))
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def stream(batches: Any, step: int) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
    """Epoch, row numbers and rows of every batch from `step` on, without end."""
    epoch, start = divmod(step, len(batches))
    while True:
        with closing(batches.epoch(epoch, start_batch=start)) as inside:
            for rows, X in inside:
                yield epoch, rows, X
        epoch, start = epoch + 1, 0


class _Best:
    """The best weights of a stage so far, those that it began with among them."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        # What one objective likes is nothing to another.
        self.value, self.since, self.step, self.weights = math.inf, 0, 0, Arrays()

    def see(self, value: float, step: int, encoder: Any) -> None:
        self.since += 1
        if value < self.value:
            self.value, self.since, self.step, self.weights = value, 0, step, weights_of(encoder)

    def look(
        self, step: int, encoder: Any, stage: Stage, loss: Loss, validation: Look | None, history: History
    ) -> None:
        """See how good the encoder is now: by held-out rows, or else by what the objective says of all rows."""
        if validation is None:
            value = loss.judge(encoder)
        else:
            # Where one stage ends another begins.
            if not history.looks or history.looks[-1][0] != step:
                history.looks.append((step, *validation(encoder)))
            value = validation.measures(*history.looks[-1][1:]).judged(stage.objective.needs, loss.exaggeration)
        if value is not None:
            self.see(value, step, encoder)


def train(
    encoder: Any,
    problem: Problem,
    batches: Any,
    held: NDArray[np.bool_],
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
        Says which weights are the best; without it the objective does, if it can.
    checkpoint : Checkpoint, optional
        Written every so often; where it exists already, the training goes on from it.

    Raises
    ------
    FloatingPointError
        Where a loss is not finite, naming the rows of its batch.
    """
    look = LOOK if validation is None else ("step", *validation.measures._fields)
    optimizer, history, best = Optimizer(encoder, options.learning_rate), History(look), _Best()
    restored: dict[str, Arrays] | None = None
    start, stopped = 0, "finished"
    if checkpoint is not None and checkpoint.exists:
        content, restored = checkpoint.read()
        start, best.since, best.step = int(content["step"]), int(content["since"]), int(content["kept"])
        best.value = math.inf if content["best"] is None else float(content["best"])
        best.weights = restored.get("best", {})
        put_weights(encoder, restored["weights"])
        optimizer.restore(restored.get("optimizer", {}))
        history = History.of(restored["history"]["steps"], restored["history"]["looks"], look)
    encoder.train()
    bar, drawn = _bar(options, start), torch.get_rng_state()
    if options.patience is not None and best.since >= options.patience:
        # It was killed between its last look and its end.
        stopped, start = "converged", options.steps
    plan = list(zip(options.stages, spans(options.stages, options.steps), strict=True))
    try:
        feed = stream(batches, start)
        for number, (stage, (first, last)) in enumerate(plan):
            if last <= max(first, start):
                continue
            loss = stage.objective.of(problem)
            if restored is not None and first < start:
                loss.restore(restored.get("objective", {}))
            else:
                best.begin()
                loss.begin(encoder)
                best.look(first, encoder, stage, loss, validation, history)
            for step in range(max(first, start), last):
                began = time.perf_counter()
                epoch, rows, X = next(feed)
                if held[rows].any():
                    kept = ~held[rows]
                    rows, X = rows[kept], X[kept]
                share = stage.rate * rate_at(step - first, last - first)
                value, norm = math.nan, math.nan
                if len(rows):
                    # A network of the user's may draw numbers, for dropout: by seed and step, before and after a kill.
                    torch.manual_seed(int(generator(problem.seed, f"network, step {step}").integers(1 << 63)))
                    X, moved = augmentation(step, rows, X) if augmentation else (X, 0)
                    tensor = loss.loss(encoder, Batch(step, rows, torch.from_numpy(X).to(problem.device), moved))
                    value = float(tensor.detach())
                    if not math.isfinite(value):
                        raise FloatingPointError(_where(value, step, epoch, rows, X))
                    norm = optimizer.step(tensor, share)
                seconds = time.perf_counter() - began
                history.steps.append(
                    (step, epoch, number, len(rows), value, seconds, norm, share * options.learning_rate)
                )
                _tell(bar, value, len(rows) / seconds)
                done = step + 1
                if done % options.look_every == 0 or done == options.steps:
                    best.look(done, encoder, stage, loss, validation, history)
                    if checkpoint is not None:
                        _save(checkpoint, done, encoder, optimizer, history, best, loss.state())
                    if options.patience is not None and best.since >= options.patience:
                        stopped = "converged"
                called = done % options.callbacks_every == 0
                if called and sum(bool(callback(done, value, encoder)) for callback in options.callbacks):
                    stopped = "callback"
                if loss.burst:
                    stopped = "burst"
                if stopped != "finished":
                    break
            if stopped != "finished":
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        bar.close()
        torch.set_rng_state(drawn)
    if best.weights:
        put_weights(encoder, best.weights)
    encoder.eval()
    best_step = best.step if best.weights else len(history.steps)
    return Trained(history, len(history.steps), best_step, stopped)


def _save(
    checkpoint: Checkpoint, step: int, encoder: Any, optimizer: Optimizer, history: History, best: _Best, own: Arrays
) -> None:
    content = {
        "step": step,
        "since": best.since,
        "kept": best.step,
        "best": best.value if math.isfinite(best.value) else None,
    }
    groups = {
        "weights": weights_of(encoder),
        "optimizer": optimizer.state(),
        "best": best.weights,
        "history": history.tables(),
        "objective": own,
    }
    checkpoint.write(content, groups)


def _where(value: float, step: int, epoch: int, rows: NDArray[np.int64], X: NDArray[np.float32]) -> str:
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
