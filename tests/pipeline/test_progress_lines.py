"""Lines of progress in a log: what they say of speed and of the time that is left, by a clock that the test turns."""

from __future__ import annotations

import contextlib
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


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("phase, done, total, line", [
    ("place", 0, 1, "placing rows (1 row)"), ("place", 1, 2, "placing rows (2 rows, 1 of them done before)"),
    ("place", 2, 2, "placing rows (2 rows)"), ("fit", 1, 2, "fitting the sample (2 rows)"),
    ("look", 1000, 2000, "looking for what the sample missed (2,000 rows, 1,000 of them done before)"),
    ("refine", 5, 50, "moving all rows together (50 iterations, 5 of them done before)"),
    ("trust", 5, 50, "scoring rows (50 rows, 5 of them done before)"),
    ("train", 5, 50, "training the encoder (50 batches)"), ("convert", 0, 9000, "reading text (9,000 bytes)"),
    ("my own", 3, 9, "my own (9 rows)"),
    ("keep", 0, 1, "keeping the map (1 row)"),
])  # fmt: skip
def test_a_phase_begins_with_a_line(clock, phase, done, total, line):
    log = io.StringIO()
    Report(False, log)(phase, done, total)
    assert log.getvalue() == line + "\n"


@pytest.mark.parametrize("rate, told", [
    (0.012, "0.012"), (0.999, "1"), (9.94, "9.9"), (10, "10"), (12.6, "13"), (12_345.6, "12,346"),
])  # fmt: skip
def test_rates_have_two_digits_or_more(clock, rate, told):
    log = io.StringIO()
    report = Report(False, log)
    report.note = "loss 1.5, "
    report("train", 0, 10**9)
    clock[0] += 1000
    done = round(rate * 1000)
    report("train", done, 10**9)
    line = log.getvalue().split("\n")[1]
    assert line.startswith(f"training the encoder: loss 1.5, {done:,} of 1,000,000,000 (")
    assert f", {told} batches/s, " in line and line.endswith(" left, 1.5 GB memory")


def test_a_line_is_told_after_fifteen_seconds_and_not_before(clock):
    """Whatever phase it is, but for those that have no steps."""
    for phase in module._NAMES:
        log = io.StringIO()
        report = Report(False, log)
        report(phase, 0, 100)
        for seconds, done in ((15, 1), (0.1, 2), (15, 3), (0.1, 4)):
            clock[0] += seconds
            report(phase, done, 100)
        lines = log.getvalue().count("\n") - 1
        assert lines == (0 if phase in ("fit", "teach", "search", "weigh", "keep") else 2), phase
        # Where nothing goes on, nobody knows what is left.
        clock[0] += 20
        report(phase, 4, 100)
    late = Report(False, log := io.StringIO())
    late("place", 0, 100)
    clock[0] += 20
    late("place", 0, 100)
    assert "0 of 100 (0%), 0 rows/s, ? left" in log.getvalue()


def test_on_a_terminal_rows_have_a_bar_and_others_a_line(clock):
    for phase in module._NAMES:
        screen = Terminal()
        with Report(False, screen) as report:
            report(phase, 2, 10)
            clock[0] += 100
            report(phase, 7, 10)
            bar = report._bar
            if bar is not None:
                assert (bar.n, bar.total, bar.initial, bar.postfix) == (7, 10, 2, "1.5 GB memory"), phase
        assert (bar is None) == (phase in ("fit", "teach", "train", "refine"))
        assert report._bar is None and (bar is None or bar.disable)
        assert ("\r" in screen.getvalue()) == (bar is not None)


@pytest.mark.parametrize("quiet, stream, heard", [(False, io.StringIO, True), (True, io.StringIO, False),
                                                  (False, Terminal, False), (True, Terminal, False)])  # fmt: skip
def test_iterations_are_listened_to_where_lines_are_written(monkeypatch, quiet, stream, heard):
    """On a terminal a bar stands for them."""
    asked = []
    monkeypatch.setattr(module, "listening", lambda answer: asked.append(answer) or contextlib.nullcontext())
    with Report(quiet, stream()) as report:
        assert asked == ([report.iterations] if heard else [])
