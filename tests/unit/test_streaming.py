"""Blocks are written, synchronised, then marked; another attempt begins at the mark, or is told why it may not."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc.io import as_source
from tsne_ooc.io.ledger import Ledger
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

    with Stream(files, ledger) as work:
        work.run(as_source(X), compute, rows=rows, progress=silent, phase="place")
    return firsts


@settings(max_examples=40, deadline=None)
@given(attempts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20)), max_size=6))
def test_any_number_of_attempts_with_any_blocks(tmp_path_factory, attempts):
    folder = tmp_path_factory.mktemp("stream")
    for blocks, rows in attempts:
        done = Ledger.read(folder / "ledger").rows if (folder / "ledger").exists() else 0
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

    def mark(self, rows, sums, *seconds):
        if rows:
            Y = np.memmap(tmp_path / "Y.npy.part", np.float32, "r", 128, (rows, 3))
            n = np.memmap(tmp_path / "n.npy.part", np.float32, "r", 128, (rows,))
            np.testing.assert_array_equal(Y, 2 * X[:rows])
            np.testing.assert_array_equal(n, np.arange(rows))
            assert synced == 2
            seen.append(rows)
        return real(self, rows, sums, *seconds)

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
    assert ledger.seconds >= 0
    ledger.mark(ledger.rows, ledger.sums, 1000.0)
    attempt(tmp_path)
    assert 1000 <= Ledger.read(tmp_path / "ledger").seconds < 1060


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
        Stream({"Z": (tmp_path / "Z.npy", (60, 3))}, ledger)


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
    assert begin(tmp_path / "ledger", job, resume=True, differ=unlike).rows == 0
