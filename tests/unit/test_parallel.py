"""Threads over ranges: order, errors, nesting, forks."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsne_ooc._parallel import Threads, fewer, ranges, resolve_n_jobs


@given(st.integers(0, 10_000), st.integers(1, 3000))
def test_ranges_cover_everything_once(n, size):
    pieces = ranges(n, size)
    assert [i for a, b in pieces for i in range(a, b)] == list(range(n))
    assert all(0 < b - a <= size for a, b in pieces)


@pytest.mark.parametrize("n_jobs", [1, 2, 3, 8])
def test_results_stand_in_the_order_of_the_pieces(n_jobs):
    pieces = [(i,) for i in range(100)]
    assert Threads(n_jobs).map(lambda i: i * i, pieces) == [i * i for i in range(100)]
    assert Threads(n_jobs).map(lambda i: i, []) == []


def test_threads_are_used():
    meeting = threading.Barrier(3, timeout=10)
    assert len(set(Threads(3).map(lambda i: (meeting.wait(), threading.get_ident())[1], [(0,), (1,), (2,)]))) == 3


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_the_first_error_is_raised_and_work_goes_on_afterwards(n_jobs):
    def fail(i):
        if i >= 3:
            raise ValueError(f"piece {i}")
        return i

    with pytest.raises(ValueError, match="piece 3"):
        Threads(n_jobs).map(fail, [(i,) for i in range(50)])
    assert Threads(n_jobs).map(lambda i: i, [(i,) for i in range(5)]) == list(range(5))


@pytest.mark.parametrize("n_jobs", [1, 2, 8])
def test_nothing_is_begun_after_an_error(n_jobs):
    """What has begun by then ends; of what is left, nothing begins."""
    begun, meeting = [], threading.Barrier(n_jobs, timeout=10)

    def work(i):
        begun.append(i)
        if i < n_jobs:
            meeting.wait()
            raise ValueError(i)

    with pytest.raises(ValueError, match="0"):
        Threads(n_jobs).map(work, [(i,) for i in range(1000)])
    assert len(begun) <= 2 * n_jobs


def test_maps_within_maps():
    threads = Threads(2)
    inner = [(i,) for i in range(4)]
    found = threads.map(lambda a: sum(threads.map(lambda b: a * b, inner)), [(a,) for a in range(20)])
    assert found == [6 * a for a in range(20)]


def test_pieces_within_a_piece_are_done_by_its_own_thread():
    """Four threads for two pieces: two have nothing to do, and none of them takes what is within."""
    threads, meeting = Threads(4), threading.Barrier(2)

    def outer(a):
        meeting.wait(30)

        def inner(b):
            time.sleep(0.002)
            return threading.get_ident()

        return threading.get_ident(), {*threads.map(inner, [(b,) for b in range(30)])}

    for own, within in threads.map(outer, [(0,), (1,)]):
        assert within == {own}


def _squares(_):
    return Threads(2).map(lambda i: i * i, [(i,) for i in range(10)])


def test_processes_have_threads_of_their_own():
    Threads(2).map(lambda i: i, [(0,), (1,)])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_squares, range(2)) == [[i * i for i in range(10)]] * 2


def test_n_jobs():
    assert resolve_n_jobs(3) == 3
    assert resolve_n_jobs(None) == resolve_n_jobs(-1) >= 1
    with pytest.raises(ValueError, match="n_jobs=0"):
        resolve_n_jobs(0)
    with pytest.raises(TypeError, match="not a whole number"):
        resolve_n_jobs(1.5)


def test_threads_are_counted_from_the_cores_that_there_are(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)), raising=False)
    for asked, wanted in ((None, 6), (-1, 6), (-2, 5), (-6, 1), (-7, 1), (-100, 1), (1, 1), (9, 9), (4096, 4096)):
        assert resolve_n_jobs(asked) == Threads(asked).n == wanted
    threads = Threads(2)
    assert threads.resize(None) is threads and (threads.n_jobs, threads.n) == (None, 6)
    assert threads.resize(3).n == 3 and pickle.loads(pickle.dumps(threads)).n_jobs == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert resolve_n_jobs(None) == 4
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert resolve_n_jobs(None) == 1
    for wrong, message in (
        (0, "n_jobs=0 names no thread at all; leave it out for all cores, or give a number from 1 up"),
        (4097, "n_jobs=4097 is more than 4096; -1 is one thread for each core"),
    ):
        with pytest.raises(ValueError) as told:
            resolve_n_jobs(wrong)
        assert str(told.value) == message


def test_pieces_of_a_range_are_alike():
    for n in (1, 5, 10, 11):
        for size in (1, 3, 10, 11, 50):
            lengths = [stop - start for start, stop in ranges(n, size)]
            assert len(lengths) == -(-n // size) and max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_what_cannot_have_its_threads_has_one(error):
    asked = []

    def function(workers):
        asked.append(workers)
        if workers > 1 or error is ValueError:
            raise error("no thread")
        return "done"

    if error is ValueError:
        with pytest.raises(ValueError):
            fewer(function, 3)
        assert asked == [3]
        return
    assert fewer(function, 3) == fewer(function, 1) == "done" and asked == [3, 1, 1]

    def never(workers):
        asked.append(workers)
        raise RuntimeError

    asked.clear()
    for workers, wanted in ((1, [1]), (2, [1, 2, 1])):
        with pytest.raises(RuntimeError):
            fewer(never, workers)
        assert asked == wanted
