"""Locks that no other thread holds while the process is forked: in the child there is nobody to give them back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

# A compilation may take a minute. Who forks from a signal's handler in the midst of one would wait for itself.
_SECONDS = 60.0


class _Here(threading.local):
    """The locks that this thread has taken to fork."""

    def __init__(self) -> None:
        self.taken: list[Any] = []


_here = _Here()


def held_at_forks(lock: Callable[[], Any]) -> None:
    """Let every fork wait for a lock, and give it back on both sides; `lock` returns it, or None where there is none.

    A lock that another thread held at that moment stayed locked in the child for ever: one child of some hundred hung
    that was forked beside a `transform`, in Numba's compiler or in the limit of BLAS.
    """

    def take() -> None:
        found = lock()
        if found is not None and found.acquire(timeout=_SECONDS):
            _here.taken.append(found)

    def give() -> None:
        while _here.taken:
            _here.taken.pop().release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=take, after_in_parent=give, after_in_child=give)
