"""The one loop: a start, a schedule, and the two halves of the gradient make a map."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._context import listener, warn
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Int64
from tsne_ooc.fit.copies import reunite
from tsne_ooc.fit.history import History, Note, from_json, length_of, spacing, to_json
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.grid import Shape
from tsne_ooc.gradients.repulsion import Repulsion, repulsion_for
from tsne_ooc.joint import JointRows
from tsne_ooc.schedule import Phase, Schedule
from tsne_ooc.storage.codec import decode, encode
from tsne_ooc.storage.mapped import empty, on_disk
from tsne_ooc.storage.state import Saved, State

Callback = Callable[[int, float, Float32], Any]

# The longest step of a row, in map units (openTSNE's max_step_norm; without it, rows with few neighbours leave).
LONGEST_STEP = 5.0
# A map diverges where, at the end of a phase, more than this share of its rows takes the longest step. On digits, iris
# and noise it is at most 0.16 at automatic rates, from 50 rows up, and at least 0.6 where the rate left a map whose
# divergence is several times the usual one. Fewer rows leap at the automatic rate too, and settle. The divergence
# itself tells nothing: at a rate of 1e9 it ends at 1.7 for digits (0.74 by default), far below the 4.0 of the start.
LEAPING = 0.5
FEWEST_LEAPING = 50


class Motion(NamedTuple):
    """What the loop can be gone on from, as if it had not ended.

    Parameters
    ----------
    places, velocity, gains : ndarray of float32, shape (n, d)
    shift : ndarray of float32, shape (d,)
        What the next step takes off all places.
    grid : Shape or None
        Of the field.
    phase : Phase or None
        The one that was at work last; None where there was no iteration.
    exaggeration : float
        Of the last iteration, 1 where there was none.
    """

    places: Float32
    velocity: Float32
    gains: Float32
    shift: Float32
    grid: Shape | None
    phase: Phase | None
    exaggeration: float


class Snapshot(NamedTuple):
    """Where the loop is between two iterations. With it, and all else as it was, another call ends with the same bits.

    Parameters
    ----------
    motion : Motion
    phase, iteration : int
        The number of the phase, among those that have iterations, and that of its next iteration.
    done : int
        Iterations so far, in all phases.
    best : float or None
        The least that the phase has had of what it minimises, where that is watched.
    since : int
        Looks since then.
    leaping : str
        What is to be warned of at the end; empty for nothing.
    history : tuple of Note
    """

    motion: Motion
    phase: int
    iteration: int
    done: int
    best: float | None = None
    since: int = 0
    leaping: str = ""
    history: History = ()

    def state(self) -> State:
        """JSON and arrays for `restore`."""
        places, velocity, gains, shift, grid, *_ = self.motion
        content = {
            "phase": self.phase, "iteration": self.iteration, "done": self.done, "since": self.since,
            "best": encode(self.best), "leaping": self.leaping, "history": to_json(self.history),
            "grid": None if grid is None else [grid.spacing, *grid.lengths],
        }  # fmt: skip
        return content, {"places": places, "velocity": velocity, "gains": gains, "shift": shift}

    @classmethod
    def restore(cls, saved: Saved, n: int, d: int) -> Snapshot:
        """The snapshot of a `state`, of `n` rows on `d` axes.

        Raises
        ------
        StateError
            For a state that cannot be.
        """
        places, velocity, gains = (saved.array(name, np.float32, (n, d)) for name in ("places", "velocity", "gains"))
        best, grid = decode(saved.content.get("best")), saved.content.get("grid")
        if not (best is None or isinstance(best, float)):
            raise saved.fail("has a divergence that is not a number")
        shape = None
        if grid is not None:
            if not (isinstance(grid, list) and len(grid) == 1 + d and all(number > 0 for number in grid)):
                raise saved.fail("has a grid of another shape")
            shape = Shape(float(grid[0]), tuple(map(int, grid[1:])))
        try:
            history = from_json(saved.content.get("history"))
        except ValueError as error:
            raise saved.fail(str(error)) from None
        return cls(
            Motion(places, velocity, gains, saved.array("shift", np.float32, (d,)), shape, None, 1.0),
            saved.whole("phase", 0), saved.whole("iteration", 0), saved.whole("done", 0), best, saved.whole("since", 0),
            saved.text("leaping"), history,
        )  # fmt: skip


class Result(NamedTuple):
    """What the loop ends with.

    Parameters
    ----------
    embedding : ndarray of float32, shape (n, d)
    kl_divergence : float
        Of the joint probabilities from the map's, without exaggeration.
    iterations : int
        How many there were.
    stopped : str
        Why: "finished", "callback", "converged" or "interrupted".
    motion : Motion
    history : tuple of Note
        How it went.
    """

    embedding: Float32
    kl_divergence: float
    iterations: int
    stopped: str
    motion: Motion
    history: History = ()


class Watch:
    """Who is told, how often, and when it has been long enough.

    Parameters
    ----------
    callbacks : callables of (iteration, error, embedding)
        A true return value stops the loop. The embedding is a copy.
    every : int
        Iterations between calls, at least 1.
    patience : int or None
        End a phase once what it minimises has not fallen by a thousandth of itself over this many calls, and the loop
        where that was the last one.
    verbose : bool
        Show a bar with the phase, the divergence and the rate.
    keep : callable, optional
        Called with a `Snapshot` every `keep_every` iterations. Its arrays are those of the loop: they are written down
        or copied before it returns.
    keep_every : int
    progress : callable, optional
        Called as ``progress(done, iterations)`` after each iteration, which costs no look at the divergence.
    """

    def __init__(
        self,
        callbacks: Iterable[Callback] = (),
        every: int = 50,
        patience: int | None = None,
        verbose: bool = False,
        *,
        keep: Callable[[Snapshot], None] | None = None,
        keep_every: int = 25,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.callbacks, self.every, self.patience, self.verbose = list(callbacks), every, patience, verbose
        self.keep, self.keep_every, self.progress = keep, keep_every, progress

    def through(self, view: Callable[[Float32], Float32]) -> Watch:
        """The same, for callbacks that are shown what `view` makes of the map."""

        def seeing(callback: Callback) -> Callback:
            return lambda iteration, error, Y: callback(iteration, error, view(Y))

        return Watch(
            map(seeing, self.callbacks), self.every, self.patience, self.verbose,
            keep=self.keep, keep_every=self.keep_every, progress=self.progress,
        )  # fmt: skip

    def needs_error(self) -> bool:
        return bool(self.callbacks) or self.patience is not None or self.verbose

    def keeps(self, done: int) -> bool:
        """Whether a snapshot is due after so many iterations."""
        return self.keep is not None and done > 0 and done % self.keep_every == 0


class _Stalled:
    """Whether a falling number has stopped falling: not by a thousandth of itself over so many looks."""

    def __init__(self, patience: int | None, best: float | None = None, since: int = 0) -> None:
        self.patience, self.best, self.since = patience, best, since

    def __call__(self, error: float) -> bool:
        if self.best is None or error < self.best - 1e-3 * abs(self.best):
            self.best, self.since = error, 0
        else:
            self.since += 1
        return self.patience is not None and self.since >= self.patience


def minimise(
    P: JointRows,
    start: Float32,
    schedule: Schedule,
    *,
    dof: float = 1.0,
    threads: Threads,
    watch: Watch | None = None,
    repulsion: Repulsion | None = None,
    equal: Int64 | None = None,
    motion: Motion | None = None,
    snapshot: Snapshot | None = None,
) -> Result:
    """Descend from `start` along the gradient of KL(P || Q) with momentum and gains, as `schedule` says.

    Warns where a learning rate is so large that most rows still take the longest step when a phase ends.

    Parameters
    ----------
    P : Joint, or what gives its rows
        Of n rows.
    start : ndarray of float32, shape (n, d)
        Not changed.
    schedule : Schedule
    dof : float, default 1
        Degrees of freedom of the kernel ``(1 + r^2 / dof)^-dof``, from 0.01 to 10,000.
    threads : Threads
    watch : Watch, optional
    repulsion : Repulsion, optional
        By default the exact sum for few rows and the field for many.
    equal : ndarray of int64, shape (n,), optional
        One number for all rows that are equal: at the end they are put beside each other.
    motion : Motion, optional
        Go on from this instead of `start`; the first phase is then the rest of the one before.
    snapshot : Snapshot, optional
        Go on from this, which a call with the same `schedule` and all else kept, to the bits that it would have had.

    Returns
    -------
    Result
        Also after an interrupt from the keyboard: the map as it then was.

    Raises
    ------
    FloatingPointError
        If a coordinate is no longer finite, naming the iteration.
    """
    watch = watch or Watch()
    n, d = start.shape
    attraction = Attraction(P, d, dof, threads)
    repulsion = repulsion or repulsion_for(n, d, dof, threads)
    # In files, where P is. A step of 1.3 million rows, 78 million entries, takes .087 s of the processor either way;
    # with their pages given back range by range, .116 s.
    with on_disk(P.folder):
        Y, moved, slope, velocity, gains = (empty(start.shape, np.float32) for _ in range(5))
    Y[:], velocity[:], gains[:] = start, 0, 1
    shift = np.zeros(d, np.float32)
    last = snapshot or Snapshot(Motion(start, velocity, gains, shift, None, None, 1.0), 0, 0, 0)
    if snapshot is not None:
        motion = snapshot.motion
    if motion is not None:
        Y[:], velocity[:], gains[:] = motion[:3]
        shift = motion.shift.copy()
        repulsion.go_on(motion.grid)
    done, stopped, leaping, history = last.done, "", last.leaping, list(last.history)
    apart = spacing(schedule.iterations)
    phases = [phase for phase in schedule if phase.iterations]
    at, exaggeration = None, 1.0
    with _Bar(schedule.iterations, watch.verbose, done) as bar:
        try:
            for number, phase in enumerate(phases[last.phase :], start=last.phase):
                again = number == last.phase
                stalled = _Stalled(watch.patience, last.best, last.since) if again else _Stalled(watch.patience)
                bar.phase(phase.name or f"exaggeration {phase.exaggeration_at(0):g}")
                if not again or motion is None:
                    # What was learned of another energy would throw rows off.
                    velocity[:], gains[:] = 0, 1
                at = phase
                for iteration in range(last.iteration if again else 0, phase.iterations):
                    if watch.keeps(done) and done > last.done:
                        now = Motion(Y, velocity, gains, shift, repulsion.grid, phase, exaggeration)
                        assert watch.keep is not None
                        looks = stalled.best, stalled.since, leaping, tuple(history)
                        watch.keep(Snapshot(now, number, iteration, done, *looks))
                    exaggeration = phase.exaggeration_at(iteration)
                    Z = repulsion(Y, slope)
                    mean, norm = attraction.step(
                        Y, slope, Z, exaggeration, phase.rate_at(iteration, n), phase.bearable(iteration),
                        phase.momentum, LONGEST_STEP, shift, velocity, gains, moved,
                    )  # fmt: skip
                    if not np.isfinite(norm):
                        raise FloatingPointError("the gradient is not finite")
                    shift = mean.astype(np.float32)
                    Y, moved = moved, Y
                    done += 1
                    bar.advance()
                    if watch.progress is not None:
                        watch.progress(done, schedule.iterations)
                    if iteration == phase.iterations - 1 and not leaping and _leap(velocity):
                        leaping = f"{done} of {schedule.iterations}: {_why(phase, exaggeration)}"
                    # Z is that of the map before the last step, so its divergence needs no pass over the field.
                    if done % apart == 0 and np.isfinite(found := attraction.estimate(moved, Z)):
                        history.append(Note(done, exaggeration, found, length_of(velocity)))
                    if done % watch.every or not watch.needs_error():
                        continue
                    attracted, repelled = attraction.halves(moved, Z)
                    error = attracted + repelled
                    bar.error(error)
                    # All are called, also after one that wants to stop.
                    if any([bool(callback(done, error, Y - shift)) for callback in watch.callbacks]):  # noqa: C419
                        stopped = "callback"
                        break
                    # What is minimised changes with the exaggeration, and is watched where that stays.
                    if not phase.is_course and stalled(exaggeration * attracted + repelled):
                        break
                else:
                    continue
                # A phase that goes no further leads to the next; the last one, or a callback, ends them all.
                if stopped or phase is phases[-1]:
                    stopped = stopped or "converged"
                    break
        except KeyboardInterrupt:
            stopped = "interrupted"
        except FloatingPointError as error:
            # A rate that was not given cannot be made smaller.
            remedy = (
                "use a larger exaggeration=" if at is None or at.is_auto else "use a smaller learning_rate or momentum"
            )
            raise FloatingPointError(f"iteration {done + 1} of {schedule.iterations}: {error}; {remedy}") from None
    if leaping:
        warn(
            f"most rows still took the longest step in iteration {leaping}",
            RuntimeWarning,
        )
    if done and equal is not None:
        reunite(Y, P, equal, dof)
    left = Motion(Y.copy(), velocity, gains, shift, repulsion.grid, at, exaggeration)
    Y -= Y.mean(axis=0, dtype=np.float64).astype(np.float32)
    divergence = attraction.divergence(Y, repulsion(Y, slope))
    return Result(Y, divergence, done, stopped or "finished", left, tuple(history))


def _leap(velocity: Float32) -> bool:
    """Whether so many rows are as fast as they may be that the map diverges."""
    fast = np.square(velocity).sum(axis=1) > (0.99 * LONGEST_STEP) ** 2
    return len(velocity) >= FEWEST_LEAPING and bool(fast.mean() > LEAPING)


def _why(phase: Phase, exaggeration: float) -> str:
    """Why a map diverged in a phase, and what to do: nobody can lower a rate that was not given."""
    if phase.is_auto:
        return (
            f"at an exaggeration of {exaggeration:g} hardly anything holds rows together and the map is of little use; "
            "use a larger exaggeration= (1 is usual)"
        )
    return 'the learning rate is too large and the map of little use; use learning_rate="auto" or a smaller number'


class _Bar:
    """A progress bar where one is asked for, and word for who listens."""

    def __init__(self, total: int, shown: bool, done: int = 0) -> None:
        self._bar: Any = None
        self._listener, self._done, self._total = listener(), 0, total
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="it", dynamic_ncols=True)
        self._started = time.perf_counter()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def phase(self, name: str) -> None:
        if self._bar is not None:
            self._bar.set_description(name)

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()
        if self._listener is not None:
            self._done += 1
            self._listener(self._done, self._total)

    def error(self, error: float) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(f"KL {error:.4f}")


def callbacks_of(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """One callback, several or none as a list.

    Raises
    ------
    TypeError
        If one of them cannot be called.
    """
    if callbacks is not None and not callable(callbacks) and not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks={callbacks!r} is neither a function nor several")
    found = [] if callbacks is None else [callbacks] if callable(callbacks) else list(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"callbacks: {callback!r} cannot be called")
    return found
