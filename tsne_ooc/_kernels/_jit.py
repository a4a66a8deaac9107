"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

# Sums may be reordered and divisions contracted by the compiler, the same way for every call; infinities and NaN
# keep their meaning, for a map that has lost its way must be seen to have.
REASSOCIATE = {"reassoc", "contract", "arcp", "nsz"}

# Name, time and length of every file of this folder.
SOURCES = tuple(
    (file.name, (status := file.stat()).st_mtime_ns, status.st_size)
    for file in sorted(Path(__file__).parent.glob("*.py"))
)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that Python calls: without the lock, kept on disk until a file of this folder changes.

    Numba looks at the kernel's own file only, and would go on with pieces of other files as they were.
    """
    compiled: Any = numba.njit(nogil=True, cache=True, fastmath=REASSOCIATE, error_model="numpy")(function)
    # Not public; a Numba that has it elsewhere keeps kernels by its own rule, which matters to nobody but developers.
    with suppress(AttributeError):
        compiled._cache._cache_file._source_stamp = SOURCES
    return compiled


def choice(function: Callable[..., Any]) -> Any:
    """Compile a function that picks one of several by a constant: written into its caller, where the others vanish.

    A kernel must not close over a compiled function instead: Numba then never finds it again on disk, for the name of
    a compiled function is new in each process.
    """
    return numba.njit(fastmath=REASSOCIATE, error_model="numpy", inline="always")(function)


def piece(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call, to be inlined by LLVM."""
    return numba.njit(fastmath=REASSOCIATE, error_model="numpy", forceinline=True)(function)
