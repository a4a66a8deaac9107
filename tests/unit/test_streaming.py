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
        # On a busy machine an attempt may have fewer blocks left than it would need to fail.
        marked = set(range(60))
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
