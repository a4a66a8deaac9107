"""A thread that makes the next results while the caller works on this one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Answer = TypeVar("Answer")

# Seconds that a caller who leaves early waits for the running read. A read that hangs, as on a network that is gone,
# must not keep Ctrl-C waiting; its thread ends with the process.
PATIENCE = 2.0

_left: list[threading.Thread] = []


def ahead(load: Callable[[T], Answer], items: Iterable[T], depth: int = 1) -> Generator[Answer]:
    """Yield ``load(item)`` for each item, in order, from one thread that is at most `depth` results ahead.

    The thread ends with the iteration, also where the caller leaves it early; an error comes out where its result
    would have. Where no thread can be started, the caller loads.

    Who keeps the iteration under a name closes it: an error keeps alive what its frames know, and with it the thread. A
    loop straight over it needs nothing.

    Parameters
    ----------
    load : callable
    items : iterable
    depth : int
        Results that are made, or being made, while the caller has one. With 0 there is no thread.
    """
    rest = iter(items)
    if depth == 0:
        yield from map(load, rest)
        return
    asked: SimpleQueue[tuple[T] | None] = SimpleQueue()
    made: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    left = threading.Event()
    reader = threading.Thread(target=_read, args=(load, asked, made, left), name="tsne_ooc_read", daemon=True)
    try:
        reader.start()
    except RuntimeError:
        yield from map(load, rest)
        return
    try:
        pending = 0
        for item in islice(rest, depth):
            asked.put((item,))
            pending += 1
        while pending:
            result, error = _next(made, reader)
            pending -= 1
            if error is not None:
                raise error
            for item in islice(rest, 1):
                asked.put((item,))
                pending += 1
            yield result
            # Let go of it before the next one is waited for.
            del result
    finally:
        left.set()
        asked.put(None)
        reader.join(PATIENCE)
        if reader.is_alive():
            _left.append(reader)


def _read(load: Any, asked: Any, made: Any, left: threading.Event) -> None:
    while (item := asked.get()) is not None and not left.is_set():
        try:
            made.put((load(*item), None))
        except BaseException as error:
            made.put((None, error))
            del error
        del item


def _next(made: SimpleQueue[Any], reader: threading.Thread) -> Any:
    while True:
        try:
            return made.get(timeout=1)
        except Empty:
            # The thread lacked the memory even to hand over its error.
            if not reader.is_alive() and made.empty():
                raise MemoryError("the thread that reads had no memory left") from None


def hanging() -> bool:
    """Whether a read that its caller left is still running; what it reads from cannot be closed meanwhile."""
    _left[:] = [reader for reader in _left if reader.is_alive()]
    return bool(_left)
