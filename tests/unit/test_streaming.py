"""Blocks are written, synchronised, then marked; another attempt begins at the mark, or is told why it may not."""

import os
import threading
import time
import zlib
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc import streaming
from tsne_ooc.io import as_source
from tsne_ooc.storage.ledger import Ledger
from tsne_ooc.streaming import Stream, begin, silent, unlike

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
JOB = {"source": {"shape": [60, 3]}, "model": "a"}


class Stop(Exception):
    pass


def attempt(folder, blocks=None, rows=7, before=lambda first: None):
    """Double the rows, and number them; stop after `blocks` blocks. The first row of each block."""
    ledger = begin(folder / "ledger", JOB, resume=True, differ=unlike)
    files = {"Y": (folder / "Y.npy", (60, 3)), "n": (folder / "n.npy", (60,))}
    firsts = []

    def compute(first, block):
        before(first)
        if blocks is not None and len(firsts) == blocks:
            raise Stop
        firsts.append(first)
        return {"Y": 2 * block, "n": np.arange(first, first + len(block), dtype=np.float32)}

    with Stream(files, ledger, "place") as work:
        work.run(as_source(X), compute, rows=rows, progress=silent, phase="place")
    return firsts


@settings(max_examples=40, deadline=None)
@given(attempts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20)), max_size=6))
def test_any_number_of_attempts_with_any_blocks(tmp_path_factory, attempts):
    folder = tmp_path_factory.mktemp("stream")
    for blocks, rows in attempts:
        done = Ledger.read(folder / "ledger").n_rows if (folder / "ledger").exists() else 0
        try:
            firsts = attempt(folder, blocks, rows)
        except Stop:
            continue
        assert not firsts or firsts[0] == done
    attempt(folder)
    np.testing.assert_array_equal(np.load(folder / "Y.npy"), 2 * X)
    np.testing.assert_array_equal(np.load(folder / "n.npy"), np.arange(60))


def test_a_mark_comes_after_its_rows(tmp_path, monkeypatch):
    """What the mark promises is in both files when it is made, at every block."""
    real, seen = Ledger.mark, []

    def mark(self, stage, entry):
        ((start, rows, sums),) = entry.rows
        Y = np.memmap(tmp_path / "Y.npy.part", np.float32, "r", 128, (rows, 3))
        n = np.memmap(tmp_path / "n.npy.part", np.float32, "r", 128, (rows,))
        np.testing.assert_array_equal(Y, 2 * X[:rows])
        np.testing.assert_array_equal(n, np.arange(rows))
        assert start == 0 and sums == {"Y.npy": zlib.crc32(Y.tobytes()), "n.npy": zlib.crc32(n.tobytes())}
        assert synced == 2
        seen.append(rows)
        real(self, stage, entry)

    synced = 0
    fsync = os.fsync

    def count(handle):
        nonlocal synced
        synced += 1
        fsync(handle)

    def start(first):
        nonlocal synced
        synced = 0

    monkeypatch.setattr(Ledger, "mark", mark)
    monkeypatch.setattr(os, "fsync", count)
    attempt(tmp_path, rows=20, before=start)
    assert seen == [20, 40, 60]


def test_seconds_add_up(tmp_path):
    with pytest.raises(Stop):
        attempt(tmp_path, 2)
    ledger = Ledger.read(tmp_path / "ledger")
    assert ledger.entry("place").seconds >= 0
    ledger.mark("place", replace(ledger.entry("place"), seconds=1000.0))
    attempt(tmp_path)
    assert 1000 <= Ledger.read(tmp_path / "ledger").entry("place").seconds < 1060


def test_one_of_two_files_in_place(tmp_path):
    attempt(tmp_path)
    os.replace(tmp_path / "n.npy", tmp_path / "n.npy.part")
    assert attempt(tmp_path) == []
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), 2 * X)
    np.testing.assert_array_equal(np.load(tmp_path / "n.npy"), np.arange(60))


def test_a_file_that_the_ledger_does_not_know(tmp_path):
    with pytest.raises(Stop):
        attempt(tmp_path, 2)
    ledger = Ledger.read(tmp_path / "ledger")
    with pytest.raises(ValueError, match=r"ledger does not know Z\.npy"):
        Stream({"Z": (tmp_path / "Z.npy", (60, 3))}, ledger, "place")


def test_an_attempt_that_is_in_the_way(tmp_path):
    with pytest.raises(Stop):
        attempt(tmp_path, 2)
    with pytest.raises(
        FileExistsError, match=r"ledger is of a run that is not finished \(14 rows are done\).*--resume"
    ):
        begin(tmp_path / "ledger", JOB, resume=False, differ=unlike)
    for job, message in [
        ({**JOB, "model": "b"}, "something else is asked for now: it is another model;"),
        ({**JOB, "source": {"shape": [61, 3]}}, r"the source: shape was \[60, 3\], is \[61, 3\];"),
    ]:
        with pytest.raises(ValueError, match=message):
            begin(tmp_path / "ledger", job, resume=True, differ=unlike)


def test_a_job_comes_back_as_it_was(tmp_path):
    """A tuple is a list in JSON; that makes no other job of it."""
    job = {"source": {"own": {"version": (1, 2)}}, "model": "a"}
    begin(tmp_path / "ledger", job, resume=True, differ=unlike)
    assert begin(tmp_path / "ledger", job, resume=True, differ=unlike).n_rows == 0


class Shuffled(Executor):
    """Finishes what it is given in a random order, in a thread, until after some blocks one fails."""

    def __init__(self, seed, fails_after):
        self.rng, self.fails_after = np.random.default_rng(seed), fails_after
        self.waiting, self.most, self.done, self.last = [], 0, 0, 0.0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self.work)

    def submit(self, function, *arguments):
        future = Future()
        with self.lock:
            self.waiting.append((future, function, arguments))
            self.last = time.perf_counter()
            self.most = max(self.most, len(self.waiting))
        return future

    def work(self):
        while not self.over.wait(0.001):
            with self.lock:
                # It chooses among as many as there may be.
                if not self.waiting or (len(self.waiting) < 4 and time.perf_counter() < self.last + 0.05):
                    continue
                future, function, arguments = self.waiting.pop(int(self.rng.integers(len(self.waiting))))
            if not future.set_running_or_notify_cancel():
                continue
            if self.done == self.fails_after:
                future.set_exception(Stop())
            else:
                future.set_result(function(*arguments))
            self.done += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()


def by_executor(folder, executor, rows, *, in_flight=4):
    ledger = begin(folder / "ledger", JOB, resume=True, differ=unlike)
    files = {"Y": (folder / "Y.npy", (60, 3)), "n": (folder / "n.npy", (60,))}
    read, told = [], []

    def compute(first, block):
        read.extend(range(first, first + len(block)))
        return {"Y": 2 * block, "n": np.arange(first, first + len(block), dtype=np.float32)}

    with Stream(files, ledger, "place") as work:
        work.run(
            as_source(X), compute, rows=rows, progress=lambda phase, done, n: told.append(done), phase="place",
            executor=executor, in_flight=in_flight,
        )  # fmt: skip
    return read, told


@pytest.mark.parametrize("seed", range(5))
def test_blocks_in_any_order_killed_in_between(tmp_path, seed):
    """Each attempt finishes blocks in another order, and fails somewhere; what is marked is not computed again."""
    rng, gaps = np.random.default_rng(seed), 0
    marked: set[int] = set()
    for number in range(7):
        with Shuffled(seed + number, int(rng.integers(1, 5)) if number < 6 else -1) as executor:
            try:
                read, told = by_executor(tmp_path, executor, int(rng.integers(2, 6)))
            except Stop:
                parts = Ledger.read(tmp_path / "ledger").entry("place").rows
                gaps += len(parts) > 1
                now = {row for start, stop, _ in parts for row in range(start, stop)}
                assert marked <= now
                marked = now
                assert executor.most <= 4
                continue
        break
    assert not marked & set(read) and marked | set(read) == set(range(60))
    assert told[0] == len(marked) and told == sorted(told) and told[-1] == 60
    assert [(start, stop) for start, stop, _ in Ledger.read(tmp_path / "ledger").entry("place").rows] == [(0, 60)]
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), 2 * X)
    np.testing.assert_array_equal(np.load(tmp_path / "n.npy"), np.arange(60))
    assert gaps, "this seed has shown nothing"


def test_a_pool_of_threads_gives_the_bytes_of_one(tmp_path):
    (tmp_path / "one").mkdir()
    attempt(tmp_path / "one")
    with ThreadPoolExecutor(3) as pool:
        by_executor(tmp_path, pool, 2, in_flight=5)
    for name in ("Y.npy", "n.npy"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_an_error_in_a_pool_names_the_row_of_the_table(tmp_path):
    from tsne_ooc._validate import RowsError

    def compute(first, block):
        if first == 20:
            raise RowsError("row {row} is odd", 1)
        time.sleep(0.001)
        return {"Y": block}

    ledger = begin(tmp_path / "ledger", JOB, resume=True, differ=unlike)
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(RowsError, match="row 21 is odd"),
        Stream({"Y": (tmp_path / "Y.npy", (60, 3))}, ledger, "place") as work,
    ):
        work.run(as_source(X), compute, rows=4, progress=silent, phase="place", executor=pool)
    assert (tmp_path / "Y.npy.part").exists() and not (tmp_path / "Y.npy").exists()


def stream_of(folder, n=60, first=0, types=None, stage="place", names=("Y",)):
    ledger = begin(folder / "ledger", JOB, resume=True, differ=unlike)
    return Stream({name: (folder / f"{name}.npy", (n, 3)) for name in names}, ledger, stage, types, first=first)


@pytest.mark.parametrize("how", ["here", "executor", "gathered"])
def test_files_of_rows_in_the_midst_of_a_table(tmp_path, how):
    """The files begin with row 25 of the table: what is computed knows its rows by their numbers in the table."""
    firsts, finished = [], []

    def compute(first, block):
        firsts.append((first, len(block)))
        np.testing.assert_array_equal(block, X[first : first + len(block)])
        return {"Y": block + first}

    def finish(first, results):
        finished.append(first)
        return {"Y": 2 * results["Y"]}

    options = {"rows": 8, "progress": lambda *at: told.append(at), "phase": "placing"}
    told = []
    for _ in range(2):
        # The second attempt finds all done.
        with ThreadPoolExecutor(1) as pool, stream_of(tmp_path, 20, 25, {"Y": np.float64}) as work:
            if how == "here":
                work.run(X, compute, **options)
            elif how == "executor":
                work.run(X, compute, executor=pool, finish=finish, **options)
            else:
                work.gather(
                    X, lambda start, stop: compute(start, X[start:stop]), pool, finish=finish, **options
                )  # fmt: skip
        assert len(firsts) == 3 and sorted(firsts)[0][0] == 25 and sum(size for _, size in firsts) == 20
    wanted = np.concatenate([X[first : first + size] + first for first, size in sorted(firsts)])
    assert sorted(finished) == ([] if how == "here" else [first for first, _ in sorted(firsts)])
    found = np.load(tmp_path / "Y.npy")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, wanted if how == "here" else 2 * wanted)
    assert {phase for phase, _, _ in told} == {"placing"} and {n for _, _, n in told} == {20}
    assert told[0][1] == 0 and told[-1][1] == 20


def test_what_a_stage_computes_is_compared_with_its_files_by_name(tmp_path):
    for computed, told_as in (({}, "nothing"), ({"b": 0, "a": 0}, "a, b"), ({"Y": X[:7]}, "Y")):
        folder = tmp_path / told_as
        folder.mkdir()
        with pytest.raises(ValueError) as told, stream_of(folder, names=("Y", "X")) as work:
            work.run(X, lambda first, block, computed=computed: computed, rows=7, progress=silent, phase="p")
        assert str(told.value) == f"stage 'place' computed {told_as}, and its files are X, Y"
        assert not (folder / "Y.npy").exists() and (folder / "Y.npy.part").exists()


class Clock:
    """A time that passes only where the test says."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr("tsne_ooc.streaming.time", found)
    return found


def test_blocks_that_a_table_changed_under_are_not_kept_as_done(tmp_path, clock):
    """What was marked before the last look that passed stays, what came after it does not."""
    looks, firsts = [], []

    def compute(first, block):
        firsts.append(first)
        clock.now += 4
        return {"Y": block}

    def check():
        looks.append(len(firsts))
        if len(looks) == 2:
            raise OSError("changed")

    options = {"rows": 10, "progress": silent, "phase": "p"}
    with pytest.raises(OSError, match="changed"), stream_of(tmp_path) as work:
        work.run(X, compute, check=check, **options)
    # Ten seconds go by within three blocks.
    assert looks == [3, 6]
    entry = Ledger.read(tmp_path / "ledger").entry("place")
    assert [(start, stop) for start, stop, _ in entry.rows] == [(0, 30)] and entry.seconds == 12
    with stream_of(tmp_path) as work:
        work.run(X, compute, check=lambda: looks.append("again"), **options)
    assert firsts == [0, 10, 20, 30, 40, 50, 30, 40, 50] and looks[2:] == ["again"]
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), X)
    assert Ledger.read(tmp_path / "ledger").entry("place").seconds == 24


def test_a_look_that_takes_long_is_taken_rarely(tmp_path, clock):
    """Of the time, a hundredth at most: after one of a second the next comes a hundred seconds later."""
    looks, firsts = [], []

    def compute(first, block):
        firsts.append(first)
        clock.now += 11
        return {"Y": block}

    def check():
        looks.append(len(firsts))
        clock.now += 1

    with stream_of(tmp_path) as work:
        work.run(X, compute, check=check, rows=2, progress=silent, phase="p")
    assert looks == [1, 11, 21, 30]


def test_a_table_is_looked_at_in_the_end_at_least_and_not_at_each_block(tmp_path):
    looks = []
    with stream_of(tmp_path) as work:
        work.run(
            X, lambda first, block: {"Y": block}, rows=3, progress=silent, phase="p", check=lambda: looks.append(1)
        )
    assert looks == [1]


@pytest.mark.parametrize("n, columns, dtype", [(10, 3, "f4"), (10**7, 3, "f8"), (10**7, 100, "u1"), (10**7, 1, "f4")])
def test_rows_at_once_are_as_many_as_memory_is_meant_for(n, columns, dtype):
    from types import SimpleNamespace

    from tsne_ooc.io.blocks import BLOCK_BYTES
    from tsne_ooc.streaming import MOST_ROWS, rows_at_once

    rows = rows_at_once(SimpleNamespace(shape=(n, columns), dtype=np.dtype(dtype), chunks=None))
    row = columns * max(4, np.dtype(dtype).itemsize)
    most = min(MOST_ROWS, BLOCK_BYTES // row)
    assert 1 <= rows <= most and (rows == n or rows > most - 2)


def test_a_job_is_begun_once_and_compared_with_what_it_was(tmp_path):
    path = tmp_path / "ledger"
    begin(str(path), {"a": (1, 2), "b": 3}, resume=False)
    assert begin(path, {"a": [1, 2], "b": 3}, resume=True).job == {"a": [1, 2], "b": 3}
    with pytest.raises(ValueError) as told:
        begin(path, {"a": [1], "c": None, "b": 3, "d": 0}, resume=True)
    assert str(told.value) == (
        f"the run of {path} cannot go on, since something else is asked for now: a differs; d differs; ask for the "
        "same, or remove what it left to begin again"
    )
    for rows, done in ((0, ""), (1, " (1 row is done)"), (1200, " (1,200 rows are done)")):
        ledger = Ledger.read(path)
        ledger.mark("place", replace(ledger.entry("place"), rows=((0, rows, {}),) if rows else ()))
        with pytest.raises(FileExistsError) as told:
            begin(path, {}, resume=False)
        assert str(told.value).startswith(f"{path} is of a run that is not finished{done}; go on with it with resume=")


def test_what_is_unlike_is_told_in_words():
    was = {"source": {"shape": [5, 3]}, "model": "a", "tsne_ooc": "1"}
    assert unlike(was, dict(was)) == [] == unlike({**was, "tsne_ooc": None}, {**was, "tsne_ooc": None})
    assert unlike(was, {**was, "model": "b"}) == ["it is another model"]
    assert unlike(was, {**was, "tsne_ooc": "2"}) == ["tsne_ooc was 1, is 2"]
    assert unlike({"model": "a"}, {**was, "source": {}}) == ["tsne_ooc was None, is 1"]


def test_files_are_let_go_of_where_one_of_them_cannot_be_begun(tmp_path):
    (tmp_path / "Z.npy.part").mkdir()
    ledger = begin(tmp_path / "ledger", JOB, resume=True, differ=unlike)
    files = {"Y": (tmp_path / "Y.npy", (60, 3)), "Z": (tmp_path / "Z.npy", (60, 3))}
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    with pytest.raises(OSError) as told:
        Stream(files, ledger, "place")
    after = set(os.listdir("/proc/self/fd")) if before else set()
    assert len(after) <= len(before) and told.value is not None


@pytest.mark.parametrize(
    "rows, columns, wanted",
    [
        (1, (), 50),
        (5, (), 50),
        (6, (), 41),
        (5, (3,), 16),
        (10, (3,), 8),
        (60, (3,), 8),
        (5, (2, 2), 12),
        (5, (0,), 50),
    ],
)
def test_workers_that_read_have_as_many_blocks_as_their_results_may_take(rows, columns, wanted, tmp_path, monkeypatch):
    """Of 1,000 bytes here; as many as of those that are sent at least, and 50 at most."""
    monkeypatch.setattr(streaming, "RESULT_BYTES", 1000)
    monkeypatch.setattr(streaming, "MOST_READ", 50)
    asked = []

    def answers(pieces, executor, in_flight):
        asked.append((list(pieces), executor, in_flight))
        raise Stop

    monkeypatch.setattr(streaming, "answers", answers)
    ledger = begin(tmp_path / "ledger", JOB, resume=True, differ=unlike)
    with pytest.raises(Stop), Stream({"Y": (tmp_path / "Y.npy", (60, *columns))}, ledger, "place") as work:
        work.gather(as_source(X), "reads", "executor", rows=rows, progress=silent, phase="place")
    ((pieces, executor, in_flight),) = asked
    assert in_flight == wanted and executor == "executor"
    found = sorted((piece.start, piece.stop) for piece in pieces)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(60))
    assert all(0 < stop - start <= rows for start, stop in found)
    assert all((piece.function, piece.arguments) == ("reads", (piece.start, piece.stop)) for piece in pieces)


@pytest.mark.parametrize("chunks, stored", [(None, "rows"), ((10, 3), "chunks of (10, 3)")])
def test_how_a_table_is_read_is_logged(tmp_path, caplog, chunks, stored):
    class Wide:
        shape, dtype = (10**6, 500), np.dtype("f8")

    Wide.chunks = chunks
    ledger = begin(tmp_path / "ledger", JOB, resume=False)
    with Stream({}, ledger, "place") as work, caplog.at_level("INFO", logger=streaming.__name__):
        assert work._told(Wide(), 12_345, "place") == 12_345
        # In MB of float32, which rows become.
        assert caplog.messages == [f"place: 12,345 rows at a time (25 MB), storage in {stored}"]
        assert work._told(Wide(), None, "place") == streaming.rows_at_once(Wide())


def test_a_stage_without_files_has_no_rows(tmp_path):
    told = []
    ledger = begin(tmp_path / "ledger", JOB, resume=False)
    with Stream({}, ledger, "place") as work:
        work.run(as_source(X), None, progress=lambda *of: told.append(of), phase="place")
    assert told == [("place", 0, 0)] and work.first == 0


def test_names_of_results_and_of_files_are_told_in_order(tmp_path):
    ledger = begin(tmp_path / "ledger", JOB, resume=False)
    files = {name: (tmp_path / f"{name}.npy", (60,)) for name in "cab"}
    with pytest.raises(ValueError) as caught, Stream(files, ledger, "place") as work:
        work.run(as_source(X), lambda first, block: {"z": block, "y": block}, progress=silent, phase="place")
    assert str(caught.value) == "stage 'place' computed y, z, and its files are a, b, c"
