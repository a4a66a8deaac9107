"""Schedules: what the optimiser does, phase by phase, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tsne_ooc._options import keep, number, pick, whole
from tsne_ooc.storage.codec import stored

Auto = Literal["auto"]

# Share of the rate at which two rows begin to swing: gains, which grow before they shrink, need room. At 1 copies of
# 1,200 digits are torn at perplexity 2, at .8 the divergence is a hundredth higher (benchmarks/tearing.py).
STEADY = 0.9
# Beyond it the squares of steps are infinite in float32, and such rows would stay where they are.
MOST_RATE = 1e12
# The number of rows over an exaggeration has to be a valid rate, too, and single precision has to hold the products.
LEAST_EXAGGERATION, MOST_EXAGGERATION = 1e-6, 1e6


@stored
@dataclass(frozen=True)
class Phase:
    """A stretch of iterations.

    Parameters
    ----------
    iterations : int
        At least 0.
    exaggeration : float or (float, float), default 1
        Factor on the attraction, from 1e-6 to 1e6; two numbers are the first and the last of a linear course.
    momentum : float, default 0.8
        At least 0, less than 1.
    learning_rate : float or "auto", default "auto"
        "auto" is the number of rows divided by the exaggeration (Belkina et al., Nature Communications 10, 2019), and
        less for rows with large affinities; see `bearable`.
    name : str, default ""
        Shown while it runs.
    """

    iterations: int
    exaggeration: float | tuple[float, float] = 1.0
    momentum: float = 0.8
    learning_rate: float | Auto = "auto"
    name: str = ""

    def __post_init__(self) -> None:
        keep(self, iterations=whole("iterations", self.iterations, least=0))
        several = isinstance(self.exaggeration, tuple | list)
        course: Any = self.exaggeration if several else (self.exaggeration,)
        if len(course) != 1 + several:
            raise ValueError(f"exaggeration={self.exaggeration!r} must be one number or two, from and to")
        values = tuple(check_exaggeration(value) for value in course)
        keep(self, exaggeration=values if several else values[0])
        keep(self, momentum=number("momentum", self.momentum, least=0), learning_rate=check_rate(self.learning_rate))
        if self.momentum >= 1:
            raise ValueError(f"momentum={self.momentum!r} must be less than 1")

    def exaggeration_at(self, iteration: int) -> float:
        """The exaggeration of the iteration of this number, counted from 0 within the phase."""
        if not isinstance(self.exaggeration, tuple | list):
            return float(self.exaggeration)
        first, last = self.exaggeration
        return first + (last - first) * iteration / max(1, self.iterations - 1)

    @property
    def is_course(self) -> bool:
        """Whether the exaggeration changes within the phase."""
        return isinstance(self.exaggeration, tuple | list) and len(set(self.exaggeration)) > 1

    @property
    def is_auto(self) -> bool:
        """Whether the learning rate was left to the program."""
        return self.learning_rate == "auto"

    def rate_at(self, iteration: int, n: int) -> float:
        """The learning rate for `n` rows; that of a row is also at most `bearable` over its largest affinity."""
        if self.is_auto:
            return n / self.exaggeration_at(iteration)
        return float(self.learning_rate)

    def bearable(self, iteration: int) -> float:
        """The bound on a row's automatic rate times its largest affinity; infinite for a rate that was given.

        Two rows that p_ij alone joins swing past each other, each time farther, where the rate is beyond
        ``(1 + momentum) / (4 exaggeration p_ij)``: the limit of descent with momentum at a curvature of
        ``8 exaggeration p_ij``. At perplexities of 30 few rows come near it. At 3, and among copies, most rows did:
        they were torn from each other, and the divergence of 70 rows ended at .94 instead of .28.
        """
        if not self.is_auto:
            return math.inf
        return STEADY * (1 + self.momentum) / (4 * self.exaggeration_at(iteration))


def check_exaggeration(value: object, what: str = "exaggeration") -> float:
    """An exaggeration as a float, or an error that says which are valid."""
    return number(what, value, above=0, least=LEAST_EXAGGERATION, most=MOST_EXAGGERATION)


def check_rate(value: float | str) -> float | str:
    """`value`, if it is "auto" or a number > 0, at most 1e12."""
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"learning_rate={value!r} is neither 'auto' nor a number")
        return value
    if value is None:
        raise TypeError("learning_rate=None is neither 'auto' nor a number")
    rate = number("learning_rate", value, above=0)
    if rate > MOST_RATE:
        raise ValueError(f'learning_rate={value!r} must be at most {MOST_RATE:g}; "auto" suits nearly all data')
    return rate


@stored
@dataclass(frozen=True)
class Schedule:
    """Phases, one after the other.

    Parameters
    ----------
    phases : iterable of Phase
    patience : int or None, default None
        End a phase early once what it minimises (the divergence with its exaggeration) has not fallen by a thousandth
        over this many looks; it is looked at every `callbacks_every_iters` iterations. The next phase follows. Phases
        whose exaggeration changes are not looked at. None never ends one early.
    """

    phases: tuple[Phase, ...]
    patience: int | None = None

    def __init__(self, phases: Iterable[Phase], patience: int | None = None) -> None:
        if isinstance(phases, str) or not isinstance(phases, Iterable):
            raise TypeError(f"schedule={phases!r} is neither a word nor made of Phase objects")
        object.__setattr__(self, "phases", tuple(phases))
        object.__setattr__(self, "patience", patience if patience is None else whole("patience", patience, least=1))
        for phase in self.phases:
            if not isinstance(phase, Phase):
                raise TypeError(f"a schedule is made of Phase objects, not {phase!r}")

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)

    @property
    def iterations(self) -> int:
        return sum(phase.iterations for phase in self.phases)


@dataclass(frozen=True)
class _Plan:
    """Iterations and momentum of each phase; `release` and `settle` take at most so many of the late ones."""

    early: int
    late: int
    late_momentum: float
    release: int = 0
    settle: int = 0


EARLY_EXAGGERATION = 12.0
# What the longest phase of every plan is called.
LATE = "late"
# The exaggeration falls from this many times the late one: islands burst when it fell from 12 to 1 at once.
RELEASE_FROM = 4.0
# How "auto" was found: docs/experiments.md, "The default schedule".
PLANS = {
    "auto": _Plan(early=75, late=165, late_momentum=0.93, release=30, settle=25),
    "classic": _Plan(early=250, late=500, late_momentum=0.8),
    # For a start that is a map already.
    "refine": _Plan(early=0, late=175, late_momentum=0.93, release=30, settle=25),
}


def _late_phases(
    plan: _Plan, iterations: int, early: float, late: float, rate: float | Auto, *, after_early: bool
) -> list[Phase]:
    # Where few iterations are asked for, each part keeps about its share.
    release = min(plan.release, iterations // 5) if after_early else 0
    settle = min(plan.settle, iterations // 6)
    start = max(late, min(early, RELEASE_FROM * late))
    return [
        Phase(release, (start, late), 0.9, rate, "release"),
        Phase(iterations - release - settle, late, plan.late_momentum, rate, LATE),
        Phase(settle, late, 0.5, rate, "settle"),
    ]


def resolve(
    schedule: Schedule | Phase | str | Iterable[Phase] | None = None,
    *,
    exaggeration: float | None = None,
    early_exaggeration: float | Auto = "auto",
    early_exaggeration_iter: int | Auto = "auto",
    n_iter: int | Auto = "auto",
    learning_rate: float | Auto = "auto",
) -> Schedule:
    """The schedule that a word or the single options of the estimator stand for.

    Parameters
    ----------
    schedule : Schedule, Phase, iterable of Phase, "auto", "classic", "refine" or None
        None is "auto"; phases given as objects are used as they are.
    exaggeration : float or None
        That of the late phase; None is 1.
    early_exaggeration : float or "auto"
        "auto" is that of the plan, or `exaggeration` where this is larger.
    early_exaggeration_iter, n_iter : int or "auto"
        Iterations at the early exaggeration, and after it; "auto" is the plan's.
    learning_rate : float or "auto"
        See `Phase`.
    """
    if schedule is not None and not isinstance(schedule, str):
        if isinstance(schedule, Phase):
            return Schedule([schedule])
        return schedule if isinstance(schedule, Schedule) else Schedule(schedule)
    plan = pick("schedule", "auto" if schedule is None else schedule, PLANS)
    late = 1.0 if exaggeration is None else check_exaggeration(exaggeration)
    if _auto(early_exaggeration):
        early = max(EARLY_EXAGGERATION, late)
    else:
        early = check_exaggeration(early_exaggeration, "early_exaggeration")
    check_rate(learning_rate)
    first = plan.early if _auto(early_exaggeration_iter) else early_exaggeration_iter
    rest = whole("n_iter", plan.late if _auto(n_iter) else n_iter, least=0)
    opening = Phase(whole("early_exaggeration_iter", first, least=0), early, 0.8, learning_rate, "early")
    phases = [
        opening,
        *_late_phases(plan, rest, early, late, learning_rate, after_early=opening.iterations > 0 or not plan.early),
    ]
    return Schedule(phase for phase in phases if phase.iterations)


def _auto(value: object) -> bool:
    return isinstance(value, str) and value == "auto"
