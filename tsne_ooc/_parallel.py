"""Ranges of rows on threads: one shared pool, and a partition of the work that never depends on its size.

Kernels are serial functions that release the interpreter's lock and own a range of rows. How the rows are cut
depends on the amount of work alone, and whatever the ranges return is combined in the order of the ranges, so a
result is the same to the bit for any number of threads.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from tsne_ooc import _blas
from tsne_ooc._memory import relieve
from tsne_ooc._options import shown, whole

log = logging.getLogger(__name__)

T = TypeVar("T")
Range = tuple[int, int]
Work = Callable[[], None]

_MISSING: Any = object()
_NOT_BEGUN, _BUSY, _DONE = range(3)

_lock = threading.Lock()
_here = threading.local()
_queue: SimpleQueue[Work] = SimpleQueue()
_helpers: list[threading.Thread] = []

# The cores of a large machine. A thread that waits takes memory, and more threads than cores make nothing quicker.
MOST_THREADS = 4096
# So many of them may multiply matrices at once: OpenBLAS takes 35 MB of address space for each, in NumPy's and in
# SciPy's copy. 4,096 times that is more than a process may have, and later forks and threads were refused.
MOST_MULTIPLYING = 64


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
    asked = whole("n_jobs", n_jobs, least=None)
    if asked == 0:
        raise ValueError("n_jobs=0 names no thread at all; leave it out for all cores, or give a number from 1 up")
    if asked > MOST_THREADS:
        raise ValueError(f"n_jobs={shown(n_jobs)} is more than {MOST_THREADS}; -1 is one thread for each core")
    return asked if asked > 0 else max(1, available + 1 + asked)


def _serve(queue: SimpleQueue[Work]) -> None:
    while True:
        work = queue.get()
        # `map` keeps what goes wrong in a piece. What arrives here left no memory to keep anything, and `map` finds
        # that the piece has no result.
        with suppress(BaseException):
            work()
        # It is not held while waiting for the next: what it closes over may be large.
        del work


def _helped(workers: int) -> int:
    """How many of `workers` threads serve the queue, started where they are wanted for the first time.

    A bare queue hands work over in 20 us, `concurrent.futures` in 57, ten times an iteration.
    """
    with _lock:
        while len(_helpers) < workers:
            helper = threading.Thread(target=_serve, args=(_queue,), name="tsne_ooc", daemon=True)
            try:
                helper.start()
            except RuntimeError:
                # There is no memory for its stack, or this user may have no more threads. Those that are there do the
                # work, and the next call asks again.
                log.info("%d of %d threads could be started", len(_helpers) + 1, workers + 1)
                break
            _helpers.append(helper)
        return min(workers, len(_helpers))


def _forget() -> None:
    """Start anew in the child of a fork: it has none of the threads, and a lock that one of them held stays locked."""
    global _lock, _queue
    _lock, _queue = threading.Lock(), SimpleQueue()
    _helpers.clear()
    _here.within = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def fewer(function: Callable[[int], T], workers: int) -> T:
    """``function(workers)``, or ``function(1)`` where a library cannot start its threads."""
    try:
        return function(workers)
    except RuntimeError:
        if workers == 1:
            raise
        return function(1)


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
        """Change the number of threads for all who hold this object, and return it; no result depends on it."""
        self.n_jobs, self.n = n_jobs, resolve_n_jobs(n_jobs)
        return self

    def __reduce__(self) -> tuple[type[Threads], tuple[int | None]]:
        # On another machine "all cores" are those of that machine.
        return Threads, (self.n_jobs,)

    def map(self, function: Callable[..., T], pieces: Sequence[tuple[int, ...]]) -> list[T]:
        """``[function(*piece) for piece in pieces]``, whose results stand in the order of `pieces`.

        Threads draw the next piece from one counter, so uneven pieces balance themselves. Where fewer threads can be
        started than were asked for, those there are do the work. The first exception (in the order of the pieces),
        or an interrupt, is raised once all threads have stopped; a second interrupt does not wait for them.
        """
        n = len(pieces)
        workers = min(self.n, n)

        def one(piece: tuple[int, ...]) -> T:
            found = function(*piece)
            # Between pieces nobody minds that pages over files are read again.
            relieve()
            return found

        # A piece that calls `map` itself runs those pieces alone: the thread it would wait for may be its own.
        if workers <= 1 or getattr(_here, "within", False):
            return [one(piece) for piece in pieces]
        workers = min(workers, getattr(_here, "most", None) or workers)
        # All that threads write to is allocated beforehand: where memory runs out, a result, an error or an end is
        # written down all the same, and nobody waits for what will not come.
        results: list[T] = [_MISSING] * n
        errors: list[BaseException | None] = [None] * n
        states = bytearray(workers)
        counter = itertools.count()
        ended: SimpleQueue[None] = SimpleQueue()
        stopped = False
        limited = _blas.limited()

        def draw() -> None:
            nonlocal stopped
            _here.within = True
            try:
                while (index := next(counter)) < n:
                    if stopped:
                        continue
                    try:
                        results[index] = one(pieces[index])
                    except BaseException as error:
                        errors[index] = error
                        stopped = True
            finally:
                _here.within = False

        def help(place: int) -> None:
            states[place] = _BUSY
            try:
                with _blas.likewise(limited):
                    draw()
            finally:
                states[place] = _DONE
                ended.put(None)

        interrupt: BaseException | None = None
        try:
            for place in range(_helped(workers - 1)):
                _queue.put(partial(help, place))
            draw()
        except BaseException as error:
            interrupt = error
        stopped = stopped or interrupt is not None
        # The counter is run to its end: a thread that has not begun finds nothing to do, and is not waited for.
        while next(counter) < n:
            pass
        while _BUSY in states:
            try:
                # The wait has a limit, because a thread may lack the memory to say that it has ended.
                with suppress(Empty):
                    ended.get(timeout=1)
            except BaseException as error:
                if interrupt is not None:
                    raise
                interrupt, stopped = error, True
        if interrupt is not None:
            raise interrupt
        for first in errors:
            if first is not None:
                raise first
        if any(result is _MISSING for result in results):
            raise MemoryError("a thread had no memory left for its work")
        return results

    @contextmanager
    def one_blas_thread(self) -> Iterator[None]:
        """Keep BLAS to one thread for each of these: its own threads would change the last bits of a product.

        Raises
        ------
        MemoryError
            Where there is no room for a product.
        """
        before = getattr(_here, "most", None)
        with _blas.one_thread(min(self.n, MOST_MULTIPLYING)) as most:
            _here.most = most if before is None else min(most, before)
            try:
                yield
            finally:
                _here.most = before
