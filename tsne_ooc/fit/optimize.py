"""The one loop: a start, a schedule, and the two halves of the gradient make a map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Int64
from tsne_ooc.fit.copies import reunite
from tsne_ooc.fit.history import History, Note, length_of, spacing
from tsne_ooc.fit.snapshot import Motion, Snapshot
from tsne_ooc.fit.watch import Bar, Stalled, Watch
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.repulsion import Repulsion, repulsion_for
from tsne_ooc.joint import JointRows
from tsne_ooc.schedule import Phase, Schedule
from tsne_ooc.storage.mapped import empty, on_disk

# The longest step of a row, in map units (openTSNE's max_step_norm; without it, rows with few neighbours leave).
LONGEST_STEP = 5.0
# A map diverges where, at the end of a phase, more than this share of its rows takes the longest step. On digits, iris
# and noise it is at most 0.16 at automatic rates, from 50 rows up, and at least 0.6 where the rate left a map whose
# divergence is several times the usual one. Fewer rows leap at the automatic rate too, and settle. The divergence
# itself tells nothing: at a rate of 1e9 it ends at 1.7 for digits (0.74 by default), far below the 4.0 of the start.
LEAPING = 0.5
FEWEST_LEAPING = 50


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
    with Bar(schedule.iterations, watch.verbose, done) as bar:
        try:
            for number, phase in enumerate(phases[last.phase :], start=last.phase):
                again = number == last.phase
                stalled = Stalled(watch.patience, last.best, last.since) if again else Stalled(watch.patience)
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
