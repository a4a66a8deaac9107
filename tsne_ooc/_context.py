"""What a call of ours tells the calls within it: that work follows, who listens, which warnings are of no use."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_work_follows: ContextVar[bool] = ContextVar("work_follows", default=False)
_listener: ContextVar[Callable[[int, int], object] | None] = ContextVar("listener", default=None)
# `warnings.catch_warnings` would change the filters of the whole process: where two calls overlapped in two threads,
# one put back for good what the other had set.
_unsaid: ContextVar[tuple[str, ...]] = ContextVar("unsaid", default=())


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let an interrupted fit raise the interrupt.

    By itself a fit keeps its map, for people at a prompt; here hours of work would follow.
    """
    token = _work_follows.set(True)
    try:
        yield
    finally:
        _work_follows.reset(token)


def interrupted(message: str, stacklevel: int) -> None:
    """Warn that what was fitted is as it was when Ctrl-C came; raise KeyboardInterrupt where work would follow."""
    if _work_follows.get():
        raise KeyboardInterrupt(message)
    warnings.warn(message, RuntimeWarning, stacklevel=stacklevel + 1)


@contextmanager
def listening(listener: Callable[[int, int], object]) -> Iterator[None]:
    """Let the fits within call ``listener(iterations done, iterations)`` after each iteration."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Callable[[int, int], object] | None:
    """Who is to be told of iterations, if anybody is."""
    return _listener.get()


@contextmanager
def unsaid(beginning: str) -> Iterator[None]:
    """Leave out warnings that begin with these words, in the calling thread."""
    token = _unsaid.set((*_unsaid.get(), beginning))
    try:
        yield
    finally:
        _unsaid.reset(token)


def say(message: str, stacklevel: int) -> None:
    """Call ``warnings.warn``, except for what is left out."""
    if not message.startswith(_unsaid.get()):
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)
