"""Lines of progress in a log: what they say of speed and of the time that is left, by a clock that the test turns."""

from __future__ import annotations

import io

import pytest

from tsne_ooc.cli import progress as module
from tsne_ooc.cli.progress import Report


@pytest.fixture
def clock(monkeypatch):
    """Seconds, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_memory", lambda: "1.5 GB memory")
    return now


def told(clock, events, *, iterations=False):
    """What is said after so many seconds each."""
    log = io.StringIO()
    report = Report(False, log)
    for seconds, *event in events:
        clock[0] += seconds
        (report.iterations if iterations and len(event) == 2 else report)(*event)
    return log.getvalue().splitlines()


def test_speed_and_time_are_those_of_this_attempt(clock):
    """Rows that were done before took no time of it."""
    found = told(clock, [(0, "place", 400_000, 1_000_000), (20, "place", 600_000, 1_000_000)])
    assert found == [
        "placing rows (1,000,000 rows, 400,000 of them done before)",
        "placing rows: 600,000 of 1,000,000 (60%), 10,000 rows/s, 0:00:40 left, 1.5 GB memory",
    ]


def test_slow_ones_have_two_digits_and_a_long_way_its_hours(clock):
    found = told(clock, [(0, "refine", 0, 10_000), (100, "refine", 25, 10_000)])
    assert found[1] == ("moving all rows together: 25 of 10,000 (0%), 0.25 iterations/s, 11:05:00 left, 1.5 GB memory")
    # More than a day is told in days.
    assert ", 4 days, 13:59:00 left" in told(clock, [(0, "place", 0, 400_000), (100, "place", 101, 400_000)])[1]


def test_lines_are_far_apart(clock):
    events = [(0, "place", 0, 1000), *((5, "place", 10 * i, 1000) for i in range(1, 13))]
    found = told(clock, events)
    # More than 15 seconds each.
    assert [line.split(": ")[-1].split(" of")[0] for line in found[1:]] == ["40", "80", "120"]


def test_what_goes_back_is_told_anew(clock):
    """As a second round of the same phase is."""
    found = told(clock, [(0, "place", 0, 1000), (1, "place", 1000, 1000), (1, "place", 0, 500)])
    assert found == ["placing rows (1,000 rows)", "placing rows (500 rows)"]


def test_iterations_of_a_fit_tell_what_is_left(clock):
    """The first one, which compiles, does not count; the last one needs no line."""
    events = [(0, "fit", 0, 300), (50, 1, 750), (30, 4, 750), (14, 5, 750), (2, 6, 750), (900, 750, 750)]
    found = told(clock, events, iterations=True)
    assert found == [
        "fitting the sample (300 rows)",
        "fitting the sample: iteration 4 of 750, 2:04:20 left, 1.5 GB memory",
        "fitting the sample: iteration 6 of 750, 1:54:05 left, 1.5 GB memory",
    ]


def test_nothing_is_said_where_quiet(clock):
    log = io.StringIO()
    report = Report(True, log)
    for done in (0, 5, 10):
        clock[0] += 60
        report("place", done, 10)
    assert log.getvalue() == ""
