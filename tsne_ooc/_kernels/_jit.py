"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from tsne_ooc._kernels._kept import keep

# The compiler may reorder sums and contract divisions, the same way for every call. Infinities and NaN keep their
# meaning, so that a map that has diverged can be told.
REASSOCIATE = {"reassoc", "contract", "arcp", "nsz"}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that Python calls: it frees the lock, and stays on disk until a file of this folder changes."""
    return _kept(function, fastmath=REASSOCIATE, error_model="numpy")


def ordered(function: Callable[..., Any]) -> Any:
    """Compile as `kernel` does, but keep the source's order of additions wherever the code is inlined."""
    return _kept(function)


def divides(function: Callable[..., Any]) -> Any:
    """Compile as `ordered` does, but let a division by zero give NaN or infinity, not an error."""
    return _kept(function, error_model="numpy")


def _kept(function: Callable[..., Any], **options: Any) -> Any:
    compiled: Any = numba.njit(nogil=True, **options)(function)
    keep(compiled, function)
    return compiled


def choice(function: Callable[..., Any]) -> Any:
    """Compile a function that picks one of several by a constant: inlined into its caller, where the others vanish.

    A kernel must not close over a compiled function instead: Numba then never finds it again on disk, because the name
    of a compiled function is new in each process.
    """
    return numba.njit(fastmath=REASSOCIATE, error_model="numpy", inline="always")(function)


def piece(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call, to be inlined by LLVM."""
    return numba.njit(fastmath=REASSOCIATE, error_model="numpy", forceinline=True)(function)
