"""One thread of BLAS for each of our threads, and memory for its products.

More threads of BLAS would change the last bits of a product, which moved rows of a map with a spectral start by 40 to
101 units. The limit belongs to the process in some libraries (OpenBLAS with threads of its own, which NumPy and SciPy
bring) and to the thread in others (OpenBLAS on OpenMP, MKL). Here the first of several threads sets the former and the
last lifts it; each thread at work sets the latter for itself. threadpoolctl finds the libraries. Its limits are not
used: from version 3.8 on, only the thread that was the first to set one can set others.
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

from tsne_ooc._forking import held_at_forks

log = logging.getLogger(__name__)

# Bytes that OpenBLAS maps for each running product, and keeps for the next. Where the system refuses them, OpenBLAS
# asks again without end: a neighbour search hung for ever under `ulimit -v`.
BLAS_BYTES = 33 << 20


class Library(NamedTuple):
    """A library of BLAS: its file, functions for its limit, whether that is the thread's own, and a handle."""

    path: str
    get: Callable[[], int]
    set: Callable[[int], Any]
    of_thread: bool
    inside: Any


_lock = threading.Lock()
_mapped: dict[str, int] = {}
# How many calls hold the limit, in all threads; and the limits from before, of libraries where these are the process's.
_holders = 0
_usual: dict[str, tuple[Library, int]] = {}
# The libraries, and how many modules there were when they were found.
_found: tuple[int, tuple[Library, ...]] = (0, ())


class _Here(threading.local):
    """How many of the holders are this thread's, and the libraries that it limited for itself alone."""

    holders = 0
    limited: tuple[Library, ...] = ()


_here = _Here()


def libraries() -> tuple[Library, ...]:
    """All libraries for products that this process has loaded, SciPy's among them.

    They are looked for again only after modules were imported: the search reads /proc/self/maps, which takes 10 of the
    16 ms of a `transform` of five rows.
    """
    global _found
    # A library that was loaded later, while the limit holds, would be without one.
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
def openmp_kept() -> Iterator[None]:
    """Give the calling thread back as many threads of OpenMP as it had: Numba changes that when its own threads start.

    Torch goes by that number, and trained other weights after a search by pynndescent.
    """
    from threadpoolctl import ThreadpoolController

    before = [(pool, pool.num_threads) for pool in ThreadpoolController().select(user_api="openmp").lib_controllers]
    try:
        yield
    finally:
        for pool, n in before:
            pool.set_num_threads(n)


@contextmanager
def one_thread(workers: int) -> Iterator[int]:
    """Give each product one thread until the block ends; yield how many of `workers` threads may multiply at once.

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
                # It is set also where it should stand already: somebody else may have lifted it meanwhile.
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
    """Restore the former limit once nobody holds ours, except where somebody has set another meanwhile."""
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
    """Limit these libraries in this thread too."""
    before = [library.get() for library in these]
    try:
        for library in these:
            library.set(1)
        yield
    finally:
        for library, n in zip(these, before, strict=True):
            library.set(n)


def _forget() -> None:
    """Start anew in the child of a fork: threads that held the limit are not there to lift it."""
    global _lock, _holders
    _lock, _holders = threading.Lock(), _here.holders
    _lift()


# Libraries have locks of their own, which a child would find locked had another thread been setting a limit.
held_at_forks(lambda: _lock)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _room(libraries: Sequence[Library], workers: int) -> int:
    """How many of `workers` threads may multiply at once: OpenBLAS is made to map the room for them now."""
    most = workers
    with _lock:
        found = []
        for library in libraries:
            # These functions are internal; where they have other names, nothing is mapped beforehand.
            take = getattr(library.inside, "blas_memory_alloc", None)
            give = getattr(library.inside, "blas_memory_free", None)
            if take is not None and give is not None and hasattr(mmap, "MAP_PRIVATE"):
                take.restype, give.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
                found.append((library.path, take, give))
        if any(_mapped.get(path, 0) < workers for path, *_ in found):
            taken: list[tuple[Any, int]] = []
            # Room for each thread in turn, in every library: NumPy and SciPy bring one each.
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
    """Whether the system would give so many bytes of address space; this takes 10 us and touches none of them."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True
