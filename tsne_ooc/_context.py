"""What a call of ours tells the calls within it: that work follows, who listens, which warnings are of no use."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

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


def interrupted(message: str) -> None:
    """Warn that what was fitted is as it was when Ctrl-C came; raise KeyboardInterrupt where work would follow."""
    if _work_follows.get():
        raise KeyboardInterrupt(message)
    warn(message, RuntimeWarning)


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


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, except of what is left out, and name the line outside of this package that asked for what was done.

    The way from there has no fixed length: `embed` fits, `transform` places, and a class of scikit-learn lies between.
    """
    if message.startswith(_unsaid.get()):
        return
    names = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        names.append(str(frame.f_globals.get("__name__")).partition(".")[0])
        frame = frame.f_back
    at = max((at for at, name in enumerate(names) if name == "tsne_ooc"), default=-1) + 1
    while at + 1 < len(names) and names[at] == "sklearn":
        at += 1
    # 2 is the line that calls this function.
    warnings.warn(message, category, stacklevel=at + 2)
