"""What a forked process must not do, since the threads of other libraries do not come with it.

GNU's OpenMP waits for them for ever (faiss), or ends the child at once where Numba is told to use it (pynndescent). Our
own threads are kept for each process, and BLAS looks after its own.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from tsne_ooc._forking import held_at_forks

_forked = False
_numba_lost = False


def _note() -> None:
    global _forked, _numba_lost
    _forked = True
    numba = sys.modules.get("numba")
    try:
        layer = None if numba is None else numba.threading_layer()
    except (ValueError, AttributeError):
        # No parallel code has run before the fork, so a layer of the child's own can be started.
        return
    # TBB, and the layer that is Numba's own, start anew in the child.
    _numba_lost = _numba_lost or layer == "omp"


def _compiling() -> Any:
    """The lock that a thread holds while it compiles or reads what was compiled."""
    found = sys.modules.get("numba.core.compiler_lock")
    return getattr(getattr(found, "global_compiler_lock", None), "_lock", None)


held_at_forks(_compiling)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)


def forked() -> bool:
    """Whether this process is the child of a fork that came after this module was imported."""
    return _forked


def numba_lost() -> bool:
    """Whether parallel Numba code would end this process: such code had run on OpenMP before it was forked."""
    return _numba_lost
