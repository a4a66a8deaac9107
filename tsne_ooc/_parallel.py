"""Ranges of rows on threads: one shared pool, and a partition of the work that never depends on its size.

Kernels are serial functions that release the interpreter's lock and own a range of rows. How the rows are cut
depends on the amount of work alone, and whatever the ranges return is combined in the order of the ranges, so a
result is the same to the bit for any number of threads.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Range = tuple[int, int]
Work = Callable[[], None]

_lock = threading.Lock()
_limiting = threading.Lock()
_limited = 0
_limit: Any = None
_here = threading.local()
_queues: dict[int, tuple[SimpleQueue[tuple[Work, SimpleQueue[None]]], list[threading.Thread]]] = {}


def ranges(n: int, size: int) -> list[Range]:
    """Cut ``range(n)`` into pieces of at most `size` rows, as equal as whole numbers allow."""
    pieces = max(1, -(-n // size))
    edges = [n * piece // pieces for piece in range(pieces + 1)]
    return list(itertools.pairwise(edges)) if n else []


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Number of threads: None is every core this process may use, -1 all, -2 all but one (as in scikit-learn)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if n_jobs is None:
        return available
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int):
        raise TypeError(f"n_jobs={n_jobs!r} is not a whole number or None")
    if n_jobs == 0:
        raise ValueError("n_jobs=0 names no thread at all; use None for all cores, or a number from 1 up")
    return n_jobs if n_jobs > 0 else max(1, available + 1 + n_jobs)


def _serve(queue: SimpleQueue[tuple[Work, SimpleQueue[None]]]) -> None:
    while True:
        work, done = queue.get()
        work()
        done.put(None)
        # Not held while waiting for the next: what it closes over may be large.
        del work, done


def _helpers(workers: int) -> SimpleQueue[tuple[Work, SimpleQueue[None]]]:
    """The queue that at least `workers` threads of this process serve.

    A bare queue hands work over in 20 us, `concurrent.futures` in 57, ten times an iteration.
    """
    with _lock:
        # Keyed by process: a forked child inherits the table but none of the threads behind it.
        queue, threads = _queues.setdefault(os.getpid(), (SimpleQueue(), []))
        while len(threads) < workers:
            threads.append(threading.Thread(target=_serve, args=(queue,), name="tsne_ooc", daemon=True))
            threads[-1].start()
    return queue


class Threads:
    """Runs a function over pieces of work on `n_jobs` threads, the calling one among them.

    Parameters
    ----------
    n_jobs : int or None
        As `resolve_n_jobs` reads it.
    """

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        self.n = resolve_n_jobs(n_jobs)

    def resize(self, n_jobs: int | None) -> Threads:
        """These threads, as many as `n_jobs` says from now on, wherever they are held; no result depends on it."""
        self.n_jobs, self.n = n_jobs, resolve_n_jobs(n_jobs)
        return self

    def __reduce__(self) -> tuple[type[Threads], tuple[int | None]]:
        # On another machine "all cores" are those of that machine.
        return Threads, (self.n_jobs,)

    def map(self, function: Callable[..., T], pieces: Sequence[tuple[int, ...]]) -> list[T]:
        """``[function(*piece) for piece in pieces]``, whose results stand in the order of `pieces`.

        Threads draw the next piece from one counter, so uneven pieces balance themselves. The first exception (in
        the order of the pieces) is raised once all threads have stopped.
        """
        workers = min(self.n, len(pieces))
        # A piece that itself calls `map` runs its own pieces: the thread it would wait for may be its own.
        if workers <= 1 or getattr(_here, "within", False):
            return [function(*piece) for piece in pieces]
        results: list[T | None] = [None] * len(pieces)
        errors: dict[int, BaseException] = {}
        counter = itertools.count()

        def work() -> None:
            _here.within = True
            while not errors and (index := next(counter)) < len(pieces):
                try:
                    results[index] = function(*pieces[index])
                except BaseException as error:
                    errors[index] = error
            _here.within = False

        queue, done = _helpers(workers - 1), SimpleQueue[None]()
        for _ in range(workers - 1):
            queue.put((work, done))
        work()
        for _ in range(workers - 1):
            done.get()
        if errors:
            raise errors[min(errors)]
        return results  # type: ignore[return-value]

    @contextmanager
    def one_blas_thread(self) -> Iterator[None]:
        """Keep BLAS to the calling thread: its own threads would change the last bits of a product.

        The limit is the process's, not the thread's: the first of several threads here sets it, the last one lifts
        it. One that lifted it on its own would let BLAS loose in the midst of another's products.
        """
        global _limit, _limited
        with _limiting:
            if _limited == 0:
                from threadpoolctl import threadpool_limits

                _limit = threadpool_limits(1, user_api="blas")
            _limited += 1
        try:
            yield
        finally:
            with _limiting:
                _limited -= 1
                if _limited == 0:
                    _limit.restore_original_limits()
