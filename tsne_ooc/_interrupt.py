"""Ctrl-C where work follows: it ends the work, and not the fit alone that it came in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_work_follows: ContextVar[bool] = ContextVar("work_follows", default=False)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a fit that is interrupted end with the interrupt.

    A fit keeps its map, for people at a prompt; here hours of work would follow.
    """
    token = _work_follows.set(True)
    try:
        yield
    finally:
        _work_follows.reset(token)


def interrupted(message: str, stacklevel: int) -> None:
    """Warn that what was fitted is as it was when Ctrl-C came; or raise that, where more work would follow."""
    if _work_follows.get():
        raise KeyboardInterrupt(message)
    warnings.warn(message, RuntimeWarning, stacklevel=stacklevel + 1)
