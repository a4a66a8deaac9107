"""Forks beside a thread at work: the locks that it may hold at that moment are free in the child."""

from __future__ import annotations

import os
import threading
import time

import pytest
from children import forked, status_of
from numba.core.compiler_lock import global_compiler_lock

from tsne_ooc import _blas, neighbors  # noqa: F401
from tsne_ooc._forking import held_at_forks

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    # From Python 3.12 on, of every fork of several threads.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


def codes_beside(work, answer, forks=4):
    """The exit codes of children that are forked while a thread is at work, and answer once themselves."""
    stop, begun = threading.Event(), threading.Event()

    def run():
        while not stop.is_set():
            work(begun)

    def answered():
        assert answer()

    thread = threading.Thread(target=run)
    thread.start()
    codes = []
    try:
        for _ in range(forks):
            begun.clear()
            begun.wait(10)
            codes.append(status_of(forked(answered), 5))
    finally:
        stop.set()
        thread.join()
    return codes


def test_a_lock_that_is_held_is_waited_for():
    lock = threading.RLock()
    # Forks of other tests look here, too, for there is no way back.
    held = [lock]
    held_at_forks(lambda: held[0] if held else None)

    def work(begun):
        with lock:
            begun.set()
            time.sleep(0.05)
        time.sleep(0.001)

    assert codes_beside(work, lambda: lock.acquire(timeout=1)) == [0] * 4
    held.clear()
    # Each side has given it back.
    threading.Thread(target=lambda: (lock.acquire(), lock.release())).start()
    assert lock.acquire(timeout=5)
    lock.release()


def test_nobody_compiles_while_the_process_is_forked():
    def work(begun):
        with global_compiler_lock:
            begun.set()
            time.sleep(0.05)
        time.sleep(0.001)

    assert codes_beside(work, lambda: global_compiler_lock._lock.acquire(timeout=1)) == [0] * 4


def test_nobody_sets_a_limit_of_blas_while_the_process_is_forked(monkeypatch):
    """A library has a lock of its own, which its child would find as it was."""
    inner, limits = threading.Lock(), [3]
    begins = []

    def set_to(n):
        with inner:
            for begun in begins:
                begun.set()
            time.sleep(0.05)
            limits[0] = n

    library = _blas.Library("fake", lambda: limits[0], set_to, False, object())
    monkeypatch.setattr(_blas, "libraries", lambda: (library,))

    def work(begun):
        begins[:] = [begun]
        with _blas.one_thread(1):
            pass
        time.sleep(0.001)

    def answer():
        begins.clear()
        free = inner.acquire(timeout=1)
        if free:
            inner.release()
            with _blas.one_thread(1):
                return limits[0] == 1
        return False

    assert codes_beside(work, answer) == [0] * 4
    assert limits == [3]
