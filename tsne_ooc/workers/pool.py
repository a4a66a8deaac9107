"""Executors: processes of this machine, and the workers of a Dask cluster."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from tsne_ooc._options import whole
from tsne_ooc._parallel import MOST_THREADS, resolve_n_jobs
from tsne_ooc.io.optional import load
from tsne_ooc.workers.dask import DaskExecutor

# Seconds that workers have to end by themselves, once nothing is asked of them any more.
END = 5.0
# Seconds that a scheduler has to answer.
ANSWER = 10


class LocalWorkers(Executor):
    """Processes of this machine that share its cores; one that dies is replaced.

    Parameters
    ----------
    n : int
        How many processes there are.
    n_jobs : int or None
        Threads of all of them together; None is all cores.

    Attributes
    ----------
    threads : int
        Threads of each process.

    Examples
    --------
    >>> with LocalWorkers(4) as executor:  # doctest: +SKIP
    ...     tsne_ooc.place("map", "cells.h5ad", out="more", executor=executor)
    """

    def __init__(self, n: int, *, n_jobs: int | None = None) -> None:
        self.n = whole("workers", n, least=1)
        if self.n > MOST_THREADS:
            raise ValueError(f"workers={n} is more than {MOST_THREADS}")
        self.threads = max(1, resolve_n_jobs(n_jobs) // self.n)
        self._pool: ProcessPoolExecutor | None = None
        self._own = _Spawned()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a process call a function; where one has died, all are started anew."""
        for _ in range(2):
            if self._pool is None:
                self._pool = ProcessPoolExecutor(self.n, mp_context=self._own, initializer=_begin)
            try:
                return self._pool.submit(fn, *args, **kwargs)
            except BrokenExecutor as error:
                # The work that it had has failed already, and whoever gave it asks for it again.
                broken = error
                self._pool.shutdown(wait=False)
                self._pool = None
        raise broken

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; one that hangs is killed after some seconds, since nobody waits for its result."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=cancel_futures)
            self._pool = None
        until = time.monotonic() + END
        for child in self._own.children if wait else ():
            child.join(max(0.0, until - time.monotonic()))
            if child.is_alive():
                child.kill()
                child.join()
        self._own.children.clear()


class _Spawned(SpawnContext):
    """Starts processes, and remembers them.

    It does not fork: a child of a process with threads may wait for ever for a lock that one of them held.
    """

    def __init__(self) -> None:
        self.children: list[SpawnProcess] = []

    def Process(self, *given: Any, **named: Any) -> SpawnProcess:  # type: ignore[override]
        child = SpawnProcess(*given, **named)
        self.children.append(child)
        return child


def _begin() -> None:
    """Set up a process of the pool, before its work."""
    # Ctrl-C reaches all processes of a terminal: the one that asks ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The process that asks has shown all warnings of the table and the model already.
    warnings.simplefilter("ignore")
    # At its end Python would tear down all modules, which takes a second of a core, and there is nothing to save.
    atexit.register(os._exit, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        # Where the parent was killed, nobody else ends this process, and it would wait for work for ever.
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def on_cluster(address: str) -> Iterator[Executor]:
    """The workers of the Dask cluster whose scheduler is at an address such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    ConnectionError
        Where no scheduler answers.
    ModuleNotFoundError
        Where ``distributed`` is not installed.
    """
    distributed = load("distributed", "cluster", f"the scheduler {address}")
    try:
        client = distributed.Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConnectionError(f"no Dask scheduler answers at {address}: {why}") from None
    with client:
        yield DaskExecutor(client, pure=False)
