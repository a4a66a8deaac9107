"""What torch keeps for the whole process, and we use and leave as it was: its generator and its number of threads.

Calls may overlap in several threads. None of them may take what another one has set for what was there before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_drawing = threading.RLock()
_counting = threading.Lock()
_holders = 0
_usual = 1
_here = threading.local()


@contextmanager
def borrowed_generator(seed: int | None = None, device: torch.device | None = None) -> Iterator[None]:
    """Lend torch's generator, begun anew with `seed`, to one thread of ours at a time."""
    cuda = [device] if device is not None and device.type == "cuda" else []
    with _drawing, torch.random.fork_rng(devices=cuda):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextmanager
def threads_kept() -> Iterator[None]:
    """Give torch back as many threads as it had before the first of all overlapping calls.

    Enter it before anything else of torch: a thread's first tensor takes the number that was set last, which may be
    another call's, and that call may have ended when this thread looks.
    """
    global _holders, _usual
    depth = getattr(_here, "depth", 0)
    with _counting:
        before = _usual if _holders and not depth else torch.get_num_threads()
        if not _holders:
            _usual = before
        _holders += 1
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
    _here.depth = depth + 1
    try:
        yield
    finally:
        _here.depth = depth
        with _counting:
            _holders -= 1
            torch.set_num_threads(before)


# Whether torch has worked with several threads here, and whether it had before this process was forked.
_threaded = _lost = False


def begin_threads() -> None:
    """Note that torch works now, with as many threads as it has.

    Raises
    ------
    RuntimeError
        In the child of a fork, where GNU's OpenMP would wait for the threads of the parent for ever.
    """
    global _threaded
    if torch.get_num_threads() < 2:
        return
    if _lost:
        raise RuntimeError(
            "PyTorch worked with several threads before this process was forked, and would wait for them for ever; "
            "begin the process anew (spawn), or call torch.set_num_threads(1) in it first"
        )
    _threaded = True


def _forget() -> None:
    """Start anew in the child of a fork: other threads are not there to give back what they hold."""
    global _drawing, _counting, _holders, _lost
    _lost = _lost or _threaded
    _drawing, _counting, _holders = threading.RLock(), threading.Lock(), getattr(_here, "depth", 0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
