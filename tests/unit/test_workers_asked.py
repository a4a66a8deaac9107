"""What is asked of workers that die, hang, are cancelled or refuse: each becomes one line that says what to do."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc._parallel import MOST_THREADS
from tsne_ooc.io import identity_of, open_source
from tsne_ooc.io.memory import NpySource
from tsne_ooc.storage import write_folder
from tsne_ooc.workers import asking, by_path, pool
from tsne_ooc.workers.asking import TRIES, Piece, answers
from tsne_ooc.workers.by_path import SavedModel, SharedTable
from tsne_ooc.workers.pool import LocalWorkers


def numbers(start):
    return {"Y": np.arange(start, start + 10)}


class Answering(Executor):
    """Answers at once: the error of each try in turn, and then the results."""

    def __init__(self, *errors, refuses=None):
        self.errors, self.refuses, self.asked = list(errors), refuses, 0

    def submit(self, fn, /, *arguments, **named):
        self.asked += 1
        if self.refuses is not None and self.asked > 1:
            raise self.refuses
        future = Future()
        if self.errors:
            future.set_exception(self.errors.pop(0))
        else:
            future.set_result(fn(*arguments, **named))
        return future


def pieces(*starts):
    return [Piece(start, start + 10, numbers, (start,)) for start in starts]


def asked(executor, *starts):
    return [answer for some in answers(pieces(*starts), executor, 1) for answer in some]


class KilledWorker(Exception):
    """As Dask has one, for work that took several workers with it."""


KilledWorker.__module__ = "distributed.scheduler"

FAILURES = {
    "ended": (
        BrokenExecutor("a process\nterminated abruptly"), ChildProcessError,
        "a worker ended all of a sudden with rows 20 to 29 (a process terminated abruptly), as happens where memory "
        "runs out (take fewer workers or smaller blocks), and in a script without if __name__ == '__main__'",
    ),
    "cancelled": (
        CancelledError(), ConnectionError,
        "the workers were lost with rows 20 to 29: their scheduler has ended, or cancelled the work",
    ),
    "given up": (
        KilledWorker("tried\n4 workers"), ChildProcessError,
        "Dask gave up with rows 20 to 29: KilledWorker: tried 4 workers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
def test_a_piece_that_failed_for_good_says_what_that_means(kind):
    error, wanted, words = FAILURES[kind]
    executor = Answering(*[error] * TRIES)
    with pytest.raises(wanted) as caught:
        asked(executor, 20)
    assert str(caught.value) == words
    # What Dask gives up was tried by many workers already.
    assert executor.asked == (1 if kind == "given up" else TRIES)


@pytest.mark.parametrize("kind", ["ended", "cancelled"])
def test_what_went_well_in_the_end_says_nothing(kind):
    executor = Answering(*[FAILURES[kind][0]] * (TRIES - 1))
    found = sorted(asked(executor, 20, 30), key=lambda answer: answer[0])
    assert [(start, count) for start, count, _ in found] == [(20, 10), (30, 10)] and executor.asked == TRIES + 1
    assert [results["Y"].tolist() for _, _, results in found] == [list(range(20, 30)), list(range(30, 40))]


@pytest.mark.parametrize("refusal, kind", [
    (BrokenExecutor("no process is left"), ChildProcessError), (RuntimeError("it is shut down"), ConnectionError),
])  # fmt: skip
def test_workers_that_take_no_more_work_are_told_where_a_piece_is_asked_for_again(refusal, kind):
    executor = Answering(OSError("the disk is busy"), refuses=refusal)
    with pytest.raises(kind) as caught:
        asked(executor, 20)
    assert str(caught.value) == f"the workers take no more work ({type(refusal).__name__}: {refusal})"
    assert executor.asked == 2


def test_the_first_of_several_errors_is_told():
    """Answers that came with them are given first."""

    class Late(Executor):
        def __init__(self):
            self.futures = []

        def submit(self, fn, /, *arguments):
            self.futures.append((Future(), fn, arguments))
            if len(self.futures) == 3:
                self.futures[0][0].set_exception(ValueError("row 3 is wrong"))
                self.futures[1][0].set_result(fn(*arguments))
                self.futures[2][0].set_exception(ValueError("row 3 is wrong"))
            return self.futures[-1][0]

    work = answers(pieces(0, 10, 20), Late(), 3)
    assert [start for start, _, _ in next(work)] == [10]
    with pytest.raises(ValueError, match=r"^row 3 is wrong$"):
        next(work)


def test_workers_that_have_not_answered_yet_are_waited_for(monkeypatch):
    """A cluster may need long to begin: before the first answer nothing is asked for again."""
    monkeypatch.setattr(asking, "PATIENCE", 0.02)

    class Slow(Answering):
        def submit(self, fn, /, *arguments):
            self.asked += 1
            future = Future()
            threading.Timer(0.3, lambda: future.set_result(fn(*arguments))).start()
            return future

    executor = Slow()
    assert [start for start, _, _ in asked(executor, 20)] == [20] and executor.asked == 1


# Processes of this machine


@pytest.mark.parametrize("n", [MOST_THREADS + 1, 10**6])
def test_more_processes_than_there_can_be_are_refused(n):
    with pytest.raises(ValueError, match=rf"^workers={n} is more than {MOST_THREADS}$"):
        LocalWorkers(n)
    assert LocalWorkers(MOST_THREADS).n == MOST_THREADS


def test_processes_that_die_again_and_again_are_an_error(monkeypatch):
    """A second pool is made where the first is broken, and not a third."""
    made = []

    class Broken:
        def __init__(self, *arguments, **named):
            made.append(self)
            self.ended = False

        def submit(self, *arguments):
            raise BrokenExecutor(f"pool {len(made)}")

        def shutdown(self, **how):
            self.ended = True

    monkeypatch.setattr(pool, "ProcessPoolExecutor", Broken)
    with LocalWorkers(1) as executor, pytest.raises(BrokenExecutor, match=r"^pool 2$"):
        executor.submit(numbers, 3)
    assert len(made) == 2 and all(one.ended for one in made)


def test_a_process_leaves_signals_and_warnings_to_whoever_began_it(monkeypatch):
    """Ctrl-C is the other process's to answer, warnings were shown there, and with it this one ends."""
    ended, left, parent = threading.Event(), [], threading.Event()

    class Parent:
        def join(self):
            parent.wait(10)

    def end(code):
        left.append(code)
        ended.set()

    at_exit = []
    monkeypatch.setattr(pool.os, "_exit", end)
    monkeypatch.setattr(pool.atexit, "register", lambda *call: at_exit.append(call))
    monkeypatch.setattr(pool.multiprocessing, "parent_process", Parent)
    before = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool._begin()
            warnings.warn("shown already", UserWarning, stacklevel=1)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        # Nothing is torn down at the end of all work, and that is no failure.
        assert at_exit == [(end, 0)]
        time.sleep(0.05)
        assert not left, "while the other process lives"
    finally:
        signal.signal(signal.SIGINT, before)
        parent.set()
        # The thread must find the end of this test, and not the real one.
        assert ended.wait(10) and left == [1]


# Models by their paths


def opens(folder, n_jobs):
    return [folder.name, n_jobs]


def test_few_models_stay_open_and_the_oldest_goes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(by_path, "_models", type(by_path._models)())
    models = []
    for number in range(by_path.MOST + 1):
        write_folder(tmp_path / f"{number}", "model", {"number": number}, {})
        models.append(SavedModel.of(tmp_path / f"{number}", opens))
    first = [model.opened(1) for model in models[:-1]]
    # Asked for once more, the first is no longer the oldest.
    assert models[0].opened(1) is first[0]
    last = models[-1].opened(1)
    assert last == [f"{by_path.MOST}", 1] and len(by_path._models) == by_path.MOST
    assert models[0].opened(1) is first[0] and models[-1].opened(1) is last
    assert all(model.opened(1) is one for model, one in zip(models[2:-1], first[2:], strict=True))
    again = models[1].opened(1)
    assert again == first[1] and again is not first[1]


def test_a_child_of_a_fork_has_a_lock_of_its_own(monkeypatch):
    """One that another thread of the parent held would stay locked for ever."""
    held = threading.Lock()
    held.acquire()
    monkeypatch.setattr(by_path, "_lock", held)
    by_path._forget()
    assert by_path._lock is not held and by_path._lock.acquire(blocking=False)


def test_a_model_is_found_from_any_folder(tmp_path, monkeypatch):
    """Workers begin in folders of their own."""
    write_folder(tmp_path / "model", "thing", {}, {})
    monkeypatch.chdir(tmp_path)
    saved = SavedModel.of(Path("model"), lambda folder, n_jobs: (folder, n_jobs))
    assert saved.folder == str((tmp_path / "model").resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert saved.opened(3) == (tmp_path.resolve() / "model", 3)


def test_a_worker_of_another_version_says_so():
    by_path.check_version(by_path.__version__)
    with pytest.raises(ValueError) as caught:
        by_path.check_version("0.0.0")
    assert str(caught.value) == (
        f"the worker {by_path.here()} has tsne_ooc {by_path.__version__}, and the process that asks it has 0.0.0; "
        "install the same"
    )


def test_a_worker_that_finds_another_model_says_so(tmp_path):
    """It may be another one, or none, by the time that a worker opens it."""
    write_folder(tmp_path / "model", "thing", {"a": 1}, {})
    saved = SavedModel.of(tmp_path / "model", opens)
    write_folder(tmp_path / "model", "thing", {"a": 2}, {}, overwrite=True)
    with pytest.raises(ValueError) as caught:
        saved.opened(1)
    assert str(caught.value) == (
        f"the model in {tmp_path / 'model'} on the worker {by_path.here()} is not the one that rows are to be placed on"
    )
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError) as caught:
        saved.opened(1)
    assert str(caught.value) == (
        f"the worker {by_path.here()} finds no model in {tmp_path / 'model'}; put it where all workers see it, under "
        "this name"
    )


def test_a_table_that_its_owner_has_open_is_not_shared(tmp_path):
    """A worker opens what was opened here by its path, and finds out where it is another table there."""
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    for owned in (np.ones((3, 2)), np.load(tmp_path / "x.npy", mmap_mode="r")):
        table = open_source(owned)
        assert SharedTable.of(table, identity_of(table), None) is None
    with open_source(tmp_path / "x.npy") as table:
        shared = SharedTable.of(table, identity_of(table), tmp_path / "run")
        assert shared.without == str(tmp_path / "run") and SharedTable.of(table, {}, None).without is None
        opened = shared.opened()
        assert opened is shared.opened() and opened.read(1, 2).tolist() == [[2, 3]]
    other = SharedTable(shared.pickled + b" ", shared.identity | {"shape": [4, 2]}, None)
    with pytest.raises(FileNotFoundError) as caught:
        other.opened()
    assert str(caught.value) == (
        f"the worker {by_path.here()} finds another table in {opened!r}: shape was [4, 2], is [3, 2]"
    )


class Silent(Executor):
    """Answers the first call, and of each piece the tries from some number on; keeps all other futures open."""

    def __init__(self, answers_from):
        self.answers_from, self.asked, self.left = answers_from, [], []

    def submit(self, fn, /, tried, function, start):
        self.asked.append((start, tried))
        future = Future()
        if start == 0 or tried >= self.answers_from:
            future.set_result(fn(tried, function, start))
        else:
            self.left.append((future, fn, (tried, function, start)))
        return future


def test_workers_that_fall_silent_are_asked_again_and_then_given_up(monkeypatch, caplog):
    monkeypatch.setattr(asking, "PATIENCE", 0.02)
    executor = Silent(answers_from=99)
    with caplog.at_level("INFO", logger=asking.__name__), pytest.raises(TimeoutError) as caught:
        for _ in answers(pieces(0, 30, 20, 10), executor, 4):
            pass
    # All that are open, in the order of the rows.
    assert executor.asked[:4] == [(0, 1), (30, 1), (20, 1), (10, 1)]
    assert executor.asked[4:] == [(start, tried) for tried in range(2, TRIES + 1) for start in (10, 20, 30)]
    assert str(caught.value) == (
        f"no worker has answered for 0 s, though rows 10 to 19 were asked for {TRIES} times; find out what the workers "
        "wait for, perhaps a disk"
    )
    assert "no worker has answered for 0 s; 3 blocks are with them" in caplog.text
    # Nobody waits any more for what was asked.
    assert all(future.cancelled() for future, _, _ in executor.left)


def test_an_answer_that_comes_twice_counts_once(monkeypatch):
    """The first try may answer, after all, when the second has."""
    monkeypatch.setattr(asking, "PATIENCE", 0.02)
    executor, found = Silent(answers_from=2), []
    for some in answers(pieces(0, 10, 20, 30, 40), executor, 3):
        assert some, "whoever waits is not told of nothing"
        found += [(start, count, results["Y"].tolist()) for start, count, results in some]
        for future, fn, arguments in executor.left:
            if arguments[2] in [start for start, _, _ in found] and not future.done():
                future.set_result(fn(*arguments))
    assert sorted(found) == [(start, 10, list(range(start, start + 10))) for start in (0, 10, 20, 30, 40)]


def test_what_is_asked_for_again_is_told(caplog):
    executor = Answering(OSError("the disk\nis busy"))
    with caplog.at_level("INFO", logger=asking.__name__):
        assert len(asked(executor, 20)) == 1
    assert "rows 20 to 29 are asked for again: the disk is busy" in caplog.text


@pytest.mark.parametrize("error", [FileNotFoundError("no disk"), PermissionError("not yours"), ValueError("row 3")])
def test_an_error_that_will_not_pass_is_not_asked_for_again(error):
    executor = Answering(*[error] * TRIES)
    with pytest.raises(type(error), match=str(error)):
        asked(executor, 20)
    assert executor.asked == 1


@pytest.mark.parametrize("in_flight", [1, 2, 3, 10])
def test_no_more_pieces_are_asked_for_than_may_be(in_flight):
    """And none is made before it is needed."""
    made = []

    def some():
        for start in range(0, 60, 10):
            made.append(start)
            yield Piece(start, start + 10, numbers, (start,))

    work = answers(some(), Answering(), in_flight)
    first = next(work)
    assert len(made) == min(in_flight, 6)
    found = [answer for part in (first, *work) for answer in part]
    assert sorted(start for start, _, _ in found) == list(range(0, 60, 10))


@pytest.mark.parametrize("n, n_jobs, threads", [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (8, 2, 1)])
def test_processes_share_the_threads_there_are(n, n_jobs, threads):
    assert LocalWorkers(n, n_jobs=n_jobs).threads == threads


class Clock:
    """Time that passes only where it is waited for."""

    now = 100.0

    def monotonic(self):
        return self.now


class Child:
    """A process that ends after so many seconds, or never."""

    def __init__(self, clock, seconds):
        self.clock, self.ends, self.told = clock, clock.now + seconds, []

    def join(self, limit=None):
        self.told.append(("join", limit))
        if limit is not None:
            self.clock.now = min(self.clock.now + limit, max(self.clock.now, self.ends))

    def is_alive(self):
        return self.clock.now < self.ends

    def kill(self):
        self.told.append(("kill", None))
        self.ends = self.clock.now


class Pool:
    def __init__(self):
        self.told = []

    def shutdown(self, **how):
        self.told.append(how)


@pytest.fixture
def ending(monkeypatch):
    """Workers that end after 1 s, 3 s and never, and after 4 s."""
    clock = Clock()
    monkeypatch.setattr(pool, "time", clock)
    found = LocalWorkers(4, n_jobs=4)
    found._own.children[:] = [Child(clock, seconds) for seconds in (1, 3, 1e9, 4)]
    found._pool = Pool()
    return found


def test_processes_have_some_seconds_together_to_end_by_themselves(ending):
    """Only one that does not is killed, and then it is waited for."""
    children, made = list(ending._own.children), ending._pool
    ending.shutdown()
    assert made.told == [{"wait": False, "cancel_futures": False}] and ending._pool is None
    assert [child.told for child in children] == [
        [("join", pool.END)], [("join", pool.END - 1)], [("join", pool.END - 3), ("kill", None), ("join", None)],
        [("join", 0.0)],
    ]  # fmt: skip
    assert ending._own.children == []
    ending.shutdown()
    assert len(made.told) == 1


@pytest.mark.parametrize("cancel", [True, False])
def test_who_does_not_wait_leaves_the_processes_to_themselves(ending, cancel):
    children, made = list(ending._own.children), ending._pool
    ending.shutdown(wait=False, cancel_futures=cancel)
    assert made.told == [{"wait": False, "cancel_futures": cancel}]
    assert all(child.told == [] for child in children) and ending._own.children == []


def test_a_broken_pool_is_let_go_of_without_a_wait(monkeypatch):
    """What was asked of it has failed; a new one has as many processes, each set up in the same way."""
    made = []

    class Breaking(Pool):
        def __init__(self, *arguments, **named):
            super().__init__()
            self.given = (arguments, named)
            made.append(self)

        def submit(self, function, *arguments, **named):
            if len(made) == 1:
                raise BrokenExecutor("broken")
            return function, arguments, named

    monkeypatch.setattr(pool, "ProcessPoolExecutor", Breaking)
    workers = LocalWorkers(3, n_jobs=3)
    assert workers.submit(numbers, 3, a=4) == (numbers, (3,), {"a": 4})
    assert [one.told for one in made] == [[{"wait": False}], []]
    assert all(one.given == ((3,), {"mp_context": workers._own, "initializer": pool._begin}) for one in made)
    assert workers.submit(numbers) == (numbers, (), {}) and len(made) == 2


@pytest.mark.parametrize("error, why", [(OSError("no\n  route"), "no route"), (ValueError(""), "ValueError"),
                                        (TypeError("odd"), "odd")])  # fmt: skip
def test_a_scheduler_that_does_not_answer_is_told(error, why, monkeypatch):
    def client(address, **how):
        raise error

    monkeypatch.setattr(pool, "load", lambda *_: SimpleNamespace(Client=client))
    with pytest.raises(ConnectionError) as caught, pool.on_cluster("tcp://x:1"):
        pass
    assert str(caught.value) == f"no Dask scheduler answers at tcp://x:1: {why}"


def test_a_client_of_a_cluster_is_ours_alone(monkeypatch):
    """It does not become the one that all others use, ends with the work, and equal calls are two calls."""
    made = []

    class Client:
        def __init__(self, address, **how):
            made.append((address, how))

        def __enter__(self):
            made.append("in")

        def __exit__(self, *error):
            made.append("out")

    monkeypatch.setattr(pool, "load", lambda *given: made.append(given) or SimpleNamespace(Client=Client))
    with pool.on_cluster("tcp://x:1") as executor:
        assert executor._options == {"pure": False} and isinstance(executor._client, Client) and made[-1] == "in"
    assert made == [
        ("distributed", "cluster", "the scheduler tcp://x:1"),
        ("tcp://x:1", {"timeout": pool.ANSWER, "set_as_default": False}), "in", "out",
    ]  # fmt: skip


@pytest.mark.parametrize("silences, limits", [
    # Until somebody has answered, and after short silences, a minute; later ten times the longest of them.
    ([1.0, 0.5, 2.0], [60, 60, 60, 60]), ([7.0, 3.0, 9.0, 1.0], [60, 70, 70, 90, 90]), ([0.0], [60, 60]),
])  # fmt: skip
def test_silence_is_borne_ten_times_as_long_as_the_longest(silences, limits, monkeypatch):
    """The time that whoever asks takes for what was answered is none."""
    clock, asked_for = Clock(), []
    monkeypatch.setattr(asking, "time", SimpleNamespace(perf_counter=clock.monotonic))
    left = list(silences)

    def wait(waiting, timeout, return_when):
        asked_for.append(timeout)
        assert return_when == asking.FIRST_COMPLETED
        if not left:
            raise KeyboardInterrupt
        clock.now += left.pop(0)
        return SimpleNamespace(done={next(iter(waiting))})

    monkeypatch.setattr(asking, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        for _ in answers(pieces(*range(0, 10 * len(limits), 10)), Answering(), 2):
            clock.now += 1000
    assert asked_for == limits


def test_an_error_of_many_lines_is_one_of_three_hundred_letters():
    executor = Answering(*[OSError("a " * 400)] * TRIES)
    with pytest.raises(OSError):
        asked(executor, 20)
    assert asking._line(OSError("a\n " * 400)) == ("a " * 150) and asking._line(KeyError()) == "KeyError"


def test_a_table_is_opened_anew_behind_a_fork_and_where_another_is_asked_for(tmp_path, monkeypatch):
    """The child of a fork does not close what is its parent's; in one process the one before is closed."""
    closed, real = [], NpySource.close
    monkeypatch.setattr(NpySource, "close", lambda self: closed.append(self) or real(self))
    monkeypatch.setattr(by_path, "_tables", threading.local())
    shared = []
    for number in (1, 2):
        np.save(tmp_path / f"{number}.npy", np.full((3, 2), float(number)))
        with open_source(tmp_path / f"{number}.npy") as table:
            shared.append(SharedTable.of(table, identity_of(table), None))
    closed.clear()
    first = shared[0].opened()
    assert shared[0].opened() is first and not closed
    second = shared[1].opened()
    assert closed == [first] and second.read(0, 1).tolist() == [[2, 2]] and shared[1].opened() is second
    monkeypatch.setattr(by_path.os, "getpid", lambda: -1)
    third = shared[1].opened()
    assert third is not second and closed == [first] and shared[1].opened() is third
    # One that turns out to be another table does not stay open, nor does the one before it.
    wrong = SharedTable(shared[0].pickled, shared[0].identity | {"dtype": "<f2"}, None)
    with pytest.raises(FileNotFoundError, match="finds another table"):
        wrong.opened()
    assert len(closed) == 3 and closed[1] is third
    assert shared[1].opened().read(0, 1).tolist() == [[2, 2]] and len(closed) == 3


def test_what_a_run_writes_into_the_folder_of_its_table_is_no_part_of_the_table(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(by_path, "_tables", threading.local())
    zarr.create_array(tmp_path / "x.zarr", data=np.arange(6.0).reshape(3, 2))
    run = tmp_path / "x.zarr" / "run"
    with open_source(tmp_path / "x.zarr") as table:
        shared = [SharedTable.of(table, identity_of(table, without=run), without) for without in (run, None)]
    run.mkdir()
    (run / "ledger").write_text("some rows are done")
    assert shared[0].opened().read(1, 2).tolist() == [[2, 3]]
    with pytest.raises(FileNotFoundError, match=r"finds another table in .*: size of the file in bytes was"):
        shared[1]._open()
