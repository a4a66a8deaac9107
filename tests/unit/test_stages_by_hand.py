"""What the driver of stages, and a stage of rows, do at each of their forks: with a clock and streams of our own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import stages
from tsne_ooc.io import as_source
from tsne_ooc.io.identity import identity_of
from tsne_ooc.stages import Kept, Remote, RowStage, RunStage, Work, drive
from tsne_ooc.storage.ledger import Entry, Ledger
from tsne_ooc.streaming import silent

X = np.arange(28, dtype=np.float32).reshape(7, 4)


class Home:
    def __init__(self, path, *, keep=False):
        self.path, self.keep, self.resumable = path, keep, False


class Step(RunStage):
    """Leaves its name, or nothing, after so many seconds; or fails."""

    def __init__(self, name, clock, *, takes=0.0, facts=True, fails=False, phase=None, worth=True):
        self.name, self.clock, self.takes, self.facts, self.fails = name, clock, takes, facts, fails
        self.of, self.worth = phase or name, worth

    @property
    def phase(self):
        return self.of

    def run(self, work):
        self.clock.now += self.takes
        if self.fails:
            raise KeyError(self.name)
        return {"by": self.name} if self.facts else None

    def worth_keeping(self, facts):
        return self.worth


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a stage says so, and memory in bytes."""
    found = SimpleNamespace(now=100.0, peak=None)
    monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=lambda: found.now))
    monkeypatch.setattr(stages, "peak_bytes", lambda: found.peak)
    return found


def work_in(folder, *, keep=False, executor=None, **options):
    path = folder / "ledger.json"
    ledger = Ledger.read(path) if path.exists() else Ledger(path, {})
    table = as_source(X)
    return Work(table, kept=Kept(Home(folder, keep=keep), ledger, identity_of(table)), executor=executor, **options)


def test_seconds_are_those_of_the_clock_to_a_thousandth_and_memory_is_in_gigabytes(clock, tmp_path):
    clock.peak = 2_345_678_901
    work = work_in(tmp_path)
    drive([Step("a", clock, takes=1.23456), Step("b", clock, takes=2.0, phase="a"), Step("c", clock, takes=0.25)], work)
    assert work.seconds == {"a": 3.235, "c": 0.25} and work.memory == {"a": 2.346, "c": 2.346}
    assert [work.kept.ledger.entry(name).seconds for name in "abc"] == [1.235, 2.0, 0.25]
    # Where the system does not tell it, nothing is said of memory.
    clock.peak, alone = None, Work(as_source(X))
    drive([Step("a", clock, takes=4.0)], alone)
    assert alone.seconds == {"a": 4.0} and alone.memory == {}


def test_what_an_attempt_took_before_it_failed_counts_with_the_next_one(clock, tmp_path):
    """Seconds of a stage that has begun, and of those that left nothing behind."""
    work = work_in(tmp_path)
    work.kept.ledger.mark("b", Entry(None, 40.0, ()))
    again = work_in(tmp_path)
    drive([Step("a", clock, takes=1.0), Step("b", clock, takes=2.0, phase="rows"), Step("c", clock, takes=3.0)], again)
    assert again.seconds == {"a": 1.0, "rows": 42.0, "c": 3.0}
    ledger = Ledger.read(tmp_path / "ledger.json")
    assert [ledger.entry(name).seconds for name in "abc"] == [1.0, 42.0, 3.0]
    assert [ledger.entry(name).facts for name in "abc"] == [{"by": name} for name in "abc"]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("done", [False, True])
def test_a_run_can_go_on_from_what_it_took_up_if_that_is_worth_keeping(clock, tmp_path, done, keep):
    if done:
        drive([Step("a", clock)], work_in(tmp_path))
    work = work_in(tmp_path, keep=keep)
    with pytest.raises(KeyError):
        drive([Step("a", clock, fails=not done), Step("b", clock, fails=True)], work)
    assert work.kept.home.resumable == (done and keep) and work.kept.home.keep == keep


@pytest.mark.parametrize("worth", [False, True])
def test_what_a_stage_left_is_worth_what_it_says(clock, tmp_path, worth):
    work = work_in(tmp_path)
    # One that leaves nothing changes nothing of it, and its seconds are written with the next mark.
    drive([Step("a", clock, worth=worth), Step("b", clock, takes=2.0, facts=False)], work)
    assert work.kept.home.keep == work.kept.home.resumable == worth
    assert work.facts == {"a": {"by": "a"}} and Ledger.read(tmp_path / "ledger.json").entry("b").seconds == 0
    work.kept.ledger.mark("c", Entry())
    assert Ledger.read(tmp_path / "ledger.json").entry("b").seconds == 2.0


# ---------------------------------------------------------------------------------------------------- stages of rows


class Rows(RowStage):
    """Fills two files, one of them of numbers of another type."""

    name, makes = "rows", ("one.npy", "two.npy")
    of_workers, elsewhere = None, None

    def shapes(self, work):
        return {"one": (5, 2), "two": (5,)}

    def types(self, work):
        return {"two": np.int64}

    def compute(self, work):
        return self.name.upper

    def first(self, work):
        return 2

    def table(self, work):
        return "the table"

    def remote(self, work):
        return self.of_workers

    def where(self, work):
        return work.folder if self.elsewhere is None else self.elsewhere


class Noted:
    """A stream that notes how it is opened and asked."""

    def __init__(self, *arguments, **options):
        self.opened, self.calls = (arguments, options), []
        Noted.last = self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.calls.append("closed" if kind is None else "left")

    def run(self, *arguments, **options):
        self.calls.append(("run", arguments, options))

    def gather(self, *arguments, **options):
        self.calls.append(("gather", arguments, options))


@pytest.mark.parametrize("workers", ["none", "not asked", "are sent rows", "read"])
def test_a_stage_of_rows_asks_workers_for_what_they_can_do(monkeypatch, tmp_path, workers):
    monkeypatch.setattr(stages, "Stream", Noted)
    stage, executor = Rows(), None if workers == "none" else "the workers"
    # Without workers nobody looks at what they would do.
    finish = str.lower
    stage.of_workers = {
        "none": Remote(len, max, finish), "not asked": None, "are sent rows": Remote(len, None, finish),
        "read": Remote(len, max, finish),
    }[workers]  # fmt: skip
    work = work_in(tmp_path, keep=True, executor=executor, block_rows=3, progress=silent)
    assert stage.run(work) == {}
    arguments, options = Noted.last.opened
    files = {"one": (tmp_path / "one.npy", (5, 2)), "two": (tmp_path / "two.npy", (5,))}
    assert arguments == (files, work.kept.ledger, "rows", {"two": np.int64}) and options == {"first": 2}
    (call, given, asked), closed = Noted.last.calls
    usual = {"rows": 3, "progress": silent, "phase": "rows", "check": work.check_unchanged}
    assert closed == "closed"
    if workers in ("none", "not asked"):
        assert (call, given, asked) == ("run", ("the table", stage.name.upper), usual)
    elif workers == "are sent rows":
        assert (call, given, asked) == ("run", ("the table", len), usual | {"executor": executor, "finish": finish})
    else:
        assert (call, given, asked) == ("gather", ("the table", max, executor), usual | {"finish": finish})
    # From here on the run can go on, if it is worth it.
    assert work.kept.home.resumable
    # What was done is taken up by the same stream, which has nothing left to do.
    stage.reopen(work, {})
    assert Noted.last.opened == (arguments, options) and Noted.last.calls == ["closed"]


def test_files_in_the_folder_of_the_run_are_named_and_those_elsewhere_are_the_stages_own(monkeypatch, tmp_path):
    monkeypatch.setattr(stages, "Stream", Noted)
    stage, work = Rows(), work_in(tmp_path)
    stage.makes = ("two.npy",)
    with pytest.raises(ValueError, match=r"^stage 'rows' fills one\.npy, which is not among what it `makes`$"):
        stage.run(work)
    stage.makes = ()
    with pytest.raises(ValueError, match=r"fills one\.npy,"):
        stage.run(work)
    stage.elsewhere = tmp_path / "elsewhere"
    stage.run(work)
    assert Noted.last.opened[0][0]["one"] == (tmp_path / "elsewhere" / "one.npy", (5, 2))
    assert not work.kept.home.resumable


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("error", "resumable"),
    [(ValueError, False), (FileNotFoundError, False), (PermissionError, None), (OSError, None), (KeyError, True)],
)
def test_a_run_cannot_go_on_from_files_that_are_damaged_or_gone(monkeypatch, tmp_path, error, resumable, keep):
    """A disk may be mended: then it can, if it is worth it. Of other errors nothing is known."""

    def stream(*arguments, **options):
        raise error("of the file")

    monkeypatch.setattr(stages, "Stream", stream)
    work = work_in(tmp_path, keep=keep)
    work.kept.home.resumable = True
    with pytest.raises(error, match="of the file"):
        Rows().run(work)
    assert work.kept.home.resumable == (keep if resumable is None else resumable)
