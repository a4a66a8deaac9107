"""Warnings of ours that another call of ours has no use for.

`warnings.catch_warnings` would change the filters of the whole process: of two calls that overlapped in two threads,
one put back what the other had set, for good.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_unsaid: ContextVar[tuple[str, ...]] = ContextVar("unsaid", default=())


@contextmanager
def unsaid(beginning: str) -> Iterator[None]:
    """Leave out warnings that begin so, in the calling thread."""
    token = _unsaid.set((*_unsaid.get(), beginning))
    try:
        yield
    finally:
        _unsaid.reset(token)


def say(message: str, stacklevel: int) -> None:
    """``warnings.warn``, except for what is left out."""
    if not message.startswith(_unsaid.get()):
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)
