"""BLAS on one thread for each of ours, and room for its products.

Its own threads would change the last bits of a product, and rows of a map with a spectral start moved by 40 to 101
units for them. The limit belongs to the process in some libraries (OpenBLAS with threads of its own, which NumPy and
SciPy bring) and to the thread in others (OpenBLAS on OpenMP, MKL). Here the first of several threads sets the former
and the last lifts it, and each thread at work has the latter. threadpoolctl finds the libraries, and its limits are
not used: from version 3.8 on only the thread that was the first to set one can set others.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

# What OpenBLAS maps for each product that is at work, and keeps for the next. Where the system refuses it, it asks
# again without end: a search of neighbours stood still for ever under `ulimit -v`.
BLAS_BYTES = 33 << 20


class Library(NamedTuple):
    """A library that multiplies: its file, its limit, whose that is, and a way to what is inside."""

    path: str
    get: Callable[[], int]
    set: Callable[[int], Any]
    of_thread: bool
    inside: Any


_lock = threading.Lock()
_mapped: dict[str, int] = {}
# How many calls hold the limit, in all threads; and what the libraries had whose limit is the process's.
_holders = 0
_usual: dict[str, tuple[Library, int]] = {}
# The libraries, and how many modules there were when they were found.
_found: tuple[int, tuple[Library, ...]] = (0, ())


class _Here(threading.local):
    """The holders among them that are this thread's, and the libraries that it limited for itself alone."""

    holders = 0
    limited: tuple[Library, ...] = ()


_here = _Here()


def libraries() -> tuple[Library, ...]:
    """All libraries for products that this process has loaded, SciPy's among them.

    They are looked for anew when modules were imported: that reads /proc/self/maps, in 10 of the 16 ms of a
    `transform` of five rows.
    """
    global _found
    # Loaded later, within the limit, it would be without one.
    import scipy.linalg  # noqa: F401

    modules = len(sys.modules)
    if _found[0] != modules:
        from threadpoolctl import ThreadpoolController

        controllers = ThreadpoolController().select(user_api="blas").lib_controllers
        _found = modules, tuple(_library(controller) for controller in controllers)
    return _found[1]


def _library(controller: Any) -> Library:
    get, limit, inside = controller.get_num_threads, controller.set_num_threads, controller.dynlib
    of_thread = controller.internal_api == "mkl" or getattr(controller, "threading_layer", None) == "openmp"
    if controller.internal_api == "openblas":
        names = ("omp_get_max_threads", "omp_set_num_threads") if of_thread else _names(inside)
        get, limit = getattr(inside, names[0], get), getattr(inside, names[1], limit)
    return Library(controller.filepath, get, limit, of_thread, inside)


def _names(library: Any) -> tuple[str, str]:
    """What the functions of the limit are called in this build of OpenBLAS."""
    for before, after in itertools.product(("", "scipy_"), ("", "64_", "_64")):
        names = f"{before}openblas_get_num_threads{after}", f"{before}openblas_set_num_threads{after}"
        if all(hasattr(library, name) for name in names):
            return names
    return "", ""


@contextmanager
def one_thread(workers: int) -> Iterator[int]:
    """One thread for each product, until the block ends; gives how many of `workers` threads may multiply at once.

    Raises
    ------
    MemoryError
        Where there is no room for a product.
    """
    found = libraries()
    most = _room(found, workers)
    held: list[tuple[Library, int]] = []
    begun, before = False, _here.limited
    try:
        with _lock:
            begun = True
            _hold(1)
            for library in found:
                n = library.get()
                if library.of_thread:
                    held.append((library, n))
                else:
                    _usual.setdefault(library.path, (library, n))
                # Also where the limit stands: somebody else may have lifted it meanwhile.
                library.set(1)
        _here.limited = tuple(library for library, _ in held)
        yield most
    finally:
        _here.limited = before
        for library, n in held:
            library.set(n)
        if begun:
            with _lock:
                _hold(-1)
                _lift()


def _hold(change: int) -> None:
    global _holders
    _holders += change
    _here.holders += change


def _lift() -> None:
    """Where nobody holds the limit any more: what there was before, except where somebody has set another meanwhile."""
    if _holders == 0:
        for library, n in _usual.values():
            if library.get() == 1:
                library.set(n)
        _usual.clear()


def limited() -> Sequence[Library]:
    """Libraries that the calling thread limited for itself alone, for those that work for it."""
    return _here.limited


@contextmanager
def likewise(these: Sequence[Library]) -> Iterator[None]:
    """Limit those in this thread too."""
    before = [library.get() for library in these]
    try:
        for library in these:
            library.set(1)
        yield
    finally:
        for library, n in zip(these, before, strict=True):
            library.set(n)


def _forget() -> None:
    """After a fork, in the child: threads that held the limit are not there to lift it."""
    global _lock, _holders
    _lock, _holders = threading.Lock(), _here.holders
    _lift()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _room(libraries: Sequence[Library], workers: int) -> int:
    """How many of `workers` threads may multiply at once: OpenBLAS is made to map the room for them now."""
    most = workers
    with _lock:
        found = []
        for library in libraries:
            # Functions of its inside; where they have other names, nothing is done beforehand.
            take = getattr(library.inside, "blas_memory_alloc", None)
            give = getattr(library.inside, "blas_memory_free", None)
            if take is not None and give is not None and hasattr(mmap, "MAP_PRIVATE"):
                take.restype, give.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
                found.append((library.path, take, give))
        if any(_mapped.get(path, 0) < workers for path, *_ in found):
            taken: list[tuple[Any, int]] = []
            # A room for each thread in turn, in every library: NumPy and SciPy bring one each.
            for number in range(workers):
                for path, take, give in found:
                    if number < _mapped.get(path, 0) or _fits(BLAS_BYTES):
                        taken.append((give, take(0)))
                        _mapped[path] = max(_mapped.get(path, 0), number + 1)
                    else:
                        most = min(most, number)
                if most <= number:
                    break
            for give, room in taken:
                give(room)
    if most == 0:
        raise MemoryError(
            f"there is no memory left for a product of matrices, which takes {BLAS_BYTES / 1e6:.0f} MB; allow this "
            "process more, or give it less to do"
        )
    if most < workers:
        log.info("there is memory for products of matrices on %d of %d threads", most, workers)
    return most


def _fits(size: int) -> bool:
    """Whether the system would give so many bytes of address space; 10 us, and none of it is touched."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True
