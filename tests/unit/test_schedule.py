"""Phases and schedules exactly at their limits, over all numbers of iterations, and what words stand for."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tsne_ooc import Phase, Schedule, schedule


@pytest.mark.parametrize("iterations", [1, 2, 3, 10])
def test_a_course_is_a_straight_line_from_the_first_to_the_last(iterations):
    phase = Phase(iterations, (5.0, 2.0))
    found = [phase.exaggeration_at(number) for number in range(iterations)]
    np.testing.assert_allclose(found, np.linspace(5, 2, iterations))
    assert [phase.rate_at(number, 700) for number in range(iterations)] == [700 / value for value in found]
    still = Phase(iterations, 3)
    assert [still.exaggeration_at(number) for number in range(iterations)] == [3.0] * iterations


def test_only_what_changes_is_a_course():
    assert Phase(3, (2, 1)).is_course and Phase(3, [1, 2]).is_course
    assert not Phase(3, (2, 2)).is_course and not Phase(3, 2).is_course
    assert Phase(3).is_auto and not Phase(3, learning_rate=5).is_auto


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.93])
def test_the_bearable_rate_is_nine_tenths_of_the_limit_of_descent_with_momentum(momentum):
    phase = Phase(3, (4.0, 1.0), momentum)
    for number, exaggeration in ((0, 4.0), (2, 1.0)):
        assert phase.bearable(number) == pytest.approx(0.9 * (1 + momentum) / (4 * exaggeration))
    assert Phase(3, learning_rate=1e-3).bearable(0) == math.inf


def test_exactly_at_a_limit_is_taken():
    phase = Phase(0, (1e-6, 1e6), 0, 1e12)
    assert (phase.iterations, phase.exaggeration, phase.momentum, phase.learning_rate) == (0, (1e-6, 1e6), 0.0, 1e12)
    assert Phase(1, [2, 3]).exaggeration == (2.0, 3.0) and Phase(1, 2).exaggeration == 2.0
    assert Phase(1, momentum=0.999999).momentum == 0.999999
    assert Schedule([], patience=1).patience == 1 and Schedule([]).patience is None
    assert (Phase(7), Phase(7).name) == (Phase(7, 1.0, 0.8, "auto", ""), "")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: Phase(-1), ValueError, "iterations=-1 must be at least 0"),
        (lambda: Phase(1, ()), ValueError, "exaggeration=() must be one number or two, from and to"),
        (lambda: Phase(1, [2]), ValueError, "exaggeration=[2] must be one number or two, from and to"),
        (lambda: Phase(1, 9e-7), ValueError, "exaggeration=9e-07 must be a finite number from 1e-06 to 1e+06"),
        (
            lambda: Phase(1, (1, 1.1e6)),
            ValueError,
            "exaggeration=1100000.0 must be a finite number from 1e-06 to 1e+06",
        ),
        (lambda: Phase(1, 0), ValueError, "exaggeration=0 must be a finite number greater than 0"),
        (lambda: Phase(1, momentum=1), ValueError, "momentum=1.0 must be less than 1"),
        (lambda: Phase(1, momentum=-1e-9), ValueError, "momentum=-1e-09 must be a finite number of at least 0"),
        (lambda: Phase(1, learning_rate=0), ValueError, "learning_rate=0 must be a finite number greater than 0"),
        (
            lambda: Phase(1, learning_rate=1.1e12),
            ValueError,
            'learning_rate=1100000000000.0 must be at most 1e+12; "auto" suits nearly all data',
        ),
        (lambda: Phase(1, learning_rate="Auto"), ValueError, "learning_rate='Auto' is neither 'auto' nor a number"),
        (lambda: Phase(1, learning_rate=None), TypeError, "learning_rate=None is neither 'auto' nor a number"),
        (lambda: Schedule([], 0), ValueError, "patience=0 must be at least 1"),
        (lambda: Schedule("auto"), TypeError, "schedule='auto' is neither a word nor made of Phase objects"),
        (lambda: Schedule(3), TypeError, "schedule=3 is neither a word nor made of Phase objects"),
        (lambda: Schedule(["early"]), TypeError, "a schedule is made of Phase objects, not 'early'"),
        (lambda: schedule.resolve(7), TypeError, "schedule=7 is neither a word nor made of Phase objects"),
        (
            lambda: schedule.resolve(early_exaggeration=0),
            ValueError,
            "early_exaggeration=0 must be a finite number greater than 0",
        ),
        (lambda: schedule.resolve(learning_rate="fast"), ValueError, "learning_rate='fast' is neither 'auto'"),
        (
            lambda: schedule.resolve(learning_rate=-1, n_iter=0, early_exaggeration_iter=0),
            ValueError,
            "learning_rate=-1",
        ),
        (lambda: schedule.resolve(n_iter="many"), TypeError, "n_iter='many' is not a whole number"),
        (lambda: schedule.resolve(early_exaggeration="high"), TypeError, "early_exaggeration='high' is not a number"),
        (lambda: schedule.resolve(n_iter=-1), ValueError, "n_iter=-1 must be at least 0"),
        (
            lambda: schedule.resolve(early_exaggeration_iter=-1),
            ValueError,
            "early_exaggeration_iter=-1 must be at least 0",
        ),
    ],
)
def test_one_beyond_a_limit_is_refused(call, kind, message):
    with pytest.raises(kind) as told:
        call()
    assert str(told.value).startswith(message)


def test_phases_given_are_used_as_they_are():
    phases = [Phase(3), Phase(0, 2)]
    whole = Schedule(iter(phases), patience=4)
    assert whole.phases == tuple(whole) == tuple(phases) and whole.iterations == 3
    assert schedule.resolve(whole) is whole
    assert schedule.resolve(phases[0], n_iter=9) == Schedule([Phase(3)])
    assert schedule.resolve(iter(phases), exaggeration=9) == Schedule(phases)


@pytest.mark.parametrize("word", ["auto", "classic", "refine"])
@pytest.mark.parametrize("early", [0, 1, 40])
def test_few_iterations_keep_their_shares_at_any_number(word, early):
    """The way down takes a fifth of what is asked for at most, the end a sixth, and the whole is what is asked for."""
    usual = {phase.name: phase.iterations for phase in schedule.resolve(word)}
    for n in (*range(40), 149, 150, 151, 1000):
        plan = schedule.resolve(word, early_exaggeration_iter=early, n_iter=n)
        found = {phase.name: phase.iterations for phase in plan}
        assert len(found) == len(plan.phases) and all(found.values())
        assert plan.iterations == early + n
        assert found.get("early", 0) == early
        # From an early phase there is a way down; a refinement has it, too, from a map that is there.
        down = min(30, math.floor(Fraction(n, 5))) if word != "classic" and (early or word == "refine") else 0
        assert found.get("release", 0) == down
        assert found.get("settle", 0) == (0 if word == "classic" else min(25, math.floor(Fraction(n, 6))))
        assert [name for name in ("early", "release", "late", "settle") if name in found] == list(found)
    assert (
        usual
        == {
            "auto": {"early": 75, "release": 30, "late": 110, "settle": 25},
            "classic": {"early": 250, "late": 500},
            "refine": {"release": 30, "late": 120, "settle": 25},
        }[word]
    )


@pytest.mark.parametrize("exaggeration", [None, 0.5, 1, 2, 5, 30])
@pytest.mark.parametrize("early", ["auto", 1, 3, 20])
def test_exaggerations_fall_to_the_last_from_four_times_it_or_from_the_early_one_if_that_is_less(exaggeration, early):
    plan = {
        phase.name: phase
        for phase in schedule.resolve(exaggeration=exaggeration, early_exaggeration=early, learning_rate=3)
    }
    last = 1.0 if exaggeration is None else float(exaggeration)
    first = max(12.0, last) if early == "auto" else float(early)
    assert plan["early"].exaggeration == first
    assert plan["late"].exaggeration == plan["settle"].exaggeration == last
    begin, end = plan["release"].exaggeration
    assert end == last and begin == max(last, min(first, 4 * last))
    assert {phase.learning_rate for phase in plan.values()} == {3.0}


def test_momentum_rises_on_the_way_down_and_falls_at_the_end():
    """docs/experiments.md, "The default schedule"."""
    plan = {phase.name: phase.momentum for phase in schedule.resolve()}
    assert (plan["release"], plan["late"]) == (0.9, 0.93)
    assert plan["settle"] < plan["early"] < plan["release"]
    assert {phase.momentum for phase in schedule.resolve("classic")} == {0.8}
