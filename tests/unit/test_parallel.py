"""Threads over ranges: order, errors, nesting, forks."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsne_ooc._parallel import Threads, ranges, resolve_n_jobs


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
