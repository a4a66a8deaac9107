"""The next results are made by a thread while the caller works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


def ahead(load: Callable[[T], Result], items: Iterable[T], depth: int = 1) -> Iterator[Result]:
    """Yield ``load(item)`` for each item, in order, from one thread that is at most `depth` results ahead.

    The thread ends with the iteration, also where the caller leaves it early; an error comes out where its result
    would have.

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
    with ThreadPoolExecutor(1, thread_name_prefix="tsne_ooc_read") as reader:
        pending = deque(reader.submit(load, item) for item in islice(rest, depth))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(reader.submit(load, item) for item in islice(rest, 1))
                yield result
                # Let go of it before the next one is waited for.
                del result
        finally:
            for future in pending:
                future.cancel()
