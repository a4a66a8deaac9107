"""One thread for each product, from whichever threads it is asked for at once, and the limits of before afterwards."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from children import forked, status_of
from threadpoolctl import threadpool_info, threadpool_limits

from tsne_ooc import TSNE, _blas
from tsne_ooc._blas import Library, libraries, one_thread
from tsne_ooc._parallel import Threads


def limits():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def several():
    """Every library has three threads, also where there is one core."""
    found = libraries()
    before = [library.get() for library in found]
    for library in found:
        library.set(3)
    yield
    for library, n in zip(found, before, strict=True):
        library.set(n)


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


class Fake:
    """A library whose limit is the process's, or each thread's own."""

    def __init__(self, *, of_thread):
        self.holder = threading.local() if of_thread else type("All", (), {})()
        self.library = Library(f"fake, {of_thread}", self.get, self.set, of_thread, None)

    def get(self):
        return getattr(self.holder, "n", 3)

    def set(self, n):
        self.holder.n = n


@pytest.fixture(params=[False, True], ids=["of the process", "of each thread"])
def fake(request, monkeypatch):
    found = Fake(of_thread=request.param)
    monkeypatch.setattr(_blas, "libraries", lambda: (found.library,))
    return found


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_transformers_meet_one_thread_of_blas(n_jobs):
    """A call of 1,000 rows and of one row is then the same product, whatever the machine; with no such step nobody
    looks for BLAS."""
    from sklearn.preprocessing import FunctionTransformer

    from tsne_ooc.preprocess import Preparation, PreparedSource, Standardize, Transformer

    def noted(rows):
        met.append(set(limits().values()))
        return rows

    met, X = [], np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    out = np.empty((2000, 4), np.float32)
    prepared = Preparation([Standardize(), Transformer(FunctionTransformer(noted))]).fit(X, n_jobs=n_jobs)
    prepared.transform(X, n_jobs=n_jobs)
    prepared.apply(X, out, first_row=0, n_jobs=n_jobs)
    PreparedSource(X, prepared, n_jobs=n_jobs).read(3, 1700)
    assert len(met) > 4 and all(threads == {1} for threads in met)
    assert set(limits().values()) == {3}


def test_the_libraries_are_found():
    found = limits()
    # A limit of each thread is told for the thread that asks.
    assert {library.path: library.get() for library in libraries()} == found and set(found.values()) == {3}
    with one_thread(1):
        assert set(limits().values()) == {1}
    assert limits() == found


def test_the_limit_is_the_same_from_every_thread():
    def within():
        with Threads(1).one_blas_thread():
            return set(limits().values())

    for _ in range(2):
        assert within() == {1}
        assert in_thread(within) == {1}
    assert set(limits().values()) == {3}


def test_limits_of_others_work_in_every_thread_afterwards():
    """threadpoolctl 3.8 lets one thread set limits, until that one says that it is done."""
    with Threads(1).one_blas_thread():
        pass

    def other():
        with threadpool_limits(2, user_api="blas"):
            return set(limits().values())

    assert in_thread(other) == {2} and other() == {2}
    assert set(limits().values()) == {3}


@pytest.mark.parametrize("ends_first", [0, 1])
def test_calls_that_overlap(fake, ends_first):
    held, end, seen = threading.Barrier(3), [threading.Event(), threading.Event()], []

    def call(number):
        with one_thread(1):
            held.wait(10)
            end[number].wait(10)
            seen.append(fake.get())
        seen.append(fake.get())

    threads = [threading.Thread(target=call, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    held.wait(10)
    for number in (ends_first, 1 - ends_first):
        end[number].set()
        threads[number].join()
    # The first to end sees the limit of the one that is still at work, where that is the process's.
    of_process = not fake.library.of_thread
    assert seen == [1, 1 if of_process else 3, 1, 3] and fake.get() == 3


def test_calls_within_calls(fake):
    with one_thread(1):
        with one_thread(1):
            assert fake.get() == 1
        assert fake.get() == 1
    assert fake.get() == 3


def test_threads_at_work_are_limited_too(fake):
    """Where the limit is each thread's own, it is no use that the caller alone has it."""
    meeting = threading.Barrier(3)

    def piece(i):
        meeting.wait(10)
        return fake.get()

    threads = Threads(3)
    with threads.one_blas_thread():
        assert threads.map(piece, [(i,) for i in range(3)]) == [1, 1, 1]
    assert threads.map(piece, [(i,) for i in range(3)]) == [3, 3, 3]


def test_each_block_restores_what_it_found(fake):
    """Not what an earlier one found; and who works for a thread is told of the limits of that thread alone."""
    own = (fake.library,) if fake.library.of_thread else ()
    for n in (3, 5, 2):
        fake.set(n)
        with one_thread(1):
            assert _blas.limited() == own and in_thread(_blas.limited) == ()
            with one_thread(1):
                assert _blas.limited() == own
            assert _blas.limited() == own
        assert fake.get() == n and _blas.limited() == ()


def test_a_library_that_fails_leaves_the_others_as_they_were(monkeypatch):
    first, second, broken = Fake(of_thread=False), Fake(of_thread=True), Fake(of_thread=False)

    def fails():
        raise OSError("of the library")

    others = (first.library, second.library)
    monkeypatch.setattr(_blas, "libraries", lambda: (*others, broken.library._replace(path="broken", get=fails)))
    with pytest.raises(OSError, match="of the library"), one_thread(1):
        raise AssertionError("the block begins")
    assert (first.get(), second.get(), _blas._holders, _blas.limited()) == (3, 3, 0, ())
    monkeypatch.setattr(_blas, "libraries", lambda: others)
    with one_thread(1):
        assert (first.get(), second.get()) == (1, 1)
    assert (first.get(), second.get()) == (3, 3)


def test_a_limit_that_somebody_sets_meanwhile_stays(fake):
    if fake.library.of_thread:
        pytest.skip("nobody else can set it")
    with one_thread(1):
        fake.set(2)
    assert fake.get() == 2


def test_an_error_lifts_the_limit(fake):
    with pytest.raises(KeyboardInterrupt), one_thread(1):
        raise KeyboardInterrupt
    assert fake.get() == 3 and _blas._holders == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize("holds", [False, True], ids=["another thread holds it", "the thread that forks holds it"])
def test_a_fork_within_the_limit(fake, holds):
    if fake.library.of_thread:
        pytest.skip("there is nothing to lift for others")
    held, end = threading.Event(), threading.Event()

    def call():
        with one_thread(1):
            held.set()
            end.wait(10)

    thread = threading.Thread(target=call)
    thread.start()
    held.wait(10)
    block = one_thread(1) if holds else None
    if block is not None:
        block.__enter__()

    def lifted():
        before = fake.get()
        if block is not None:
            block.__exit__(None, None, None)
        assert (before, fake.get(), _blas._holders) == (1 if holds else 3, 3, 0)

    assert status_of(forked(lifted)) == 0
    if block is not None:
        block.__exit__(None, None, None)
    end.set()
    thread.join()
    assert fake.get() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_within_two_blocks_is_free_of_the_limit_after_both(fake):
    if fake.library.of_thread:
        pytest.skip("there is nothing to lift for others")
    outer, inner, seen = one_thread(1), one_thread(1), []

    def ends():
        for block in (inner, outer):
            seen.append(fake.get())
            block.__exit__(None, None, None)
        assert (*seen, fake.get(), _blas._holders) == (1, 1, 3, 0)

    outer.__enter__()
    inner.__enter__()
    assert status_of(forked(ends)) == 0
    ends()


def test_a_spectral_start_from_a_second_thread():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(156, 11)) + 8 * rng.normal(size=(5, 11))[rng.integers(0, 5, 156)]

    def fit():
        return TSNE(random_state=0, n_jobs=1, perplexity=7.5, initialization="spectral", n_iter=50).fit(X).embedding_

    np.testing.assert_array_equal(in_thread(fit), fit())


class Unknown:
    """A library of OpenBLAS whose functions have names that nobody has heard of."""

    internal_api, threading_layer, filepath, dynlib = "openblas", "pthreads", "/lib/other.so", object()
    threads = 3

    def get_num_threads(self):
        return self.threads

    def set_num_threads(self, threads):
        self.threads = threads


def test_a_build_of_unknown_names_is_limited_as_threadpoolctl_does():
    controller = Unknown()
    library = _blas._library(controller)
    assert library.get() == 3
    library.set(1)
    assert controller.threads == 1
    assert _blas._names(controller.dynlib) == ("", "")


@pytest.mark.parametrize(
    ("api", "layer", "of_thread", "functions"),
    [
        ("openblas", "pthreads", False, ("openblas_get_num_threads", "openblas_set_num_threads")),
        ("openblas", "openmp", True, ("omp_get_max_threads", "omp_set_num_threads")),
        ("openblas", "disabled", False, ("openblas_get_num_threads", "openblas_set_num_threads")),
        ("mkl", "intel", True, None),
        ("mkl", "openmp", True, None),
        ("blis", "openmp", True, None),
        ("flexiblas", None, False, None),
    ],
)
def test_whose_limit_it_is_and_who_sets_it(api, layer, of_thread, functions):
    """OpenBLAS on threads of its own has one for the process, and on OpenMP that of each thread; MKL has each's."""
    names = ("openblas_get_num_threads", "openblas_set_num_threads", "omp_get_max_threads", "omp_set_num_threads")
    inside = SimpleNamespace(**{name: f"its {name}" for name in names})
    controller = SimpleNamespace(
        internal_api=api, filepath="/lib/some.so", dynlib=inside, get_num_threads="gets", set_num_threads="sets"
    )
    if layer is not None:
        controller.threading_layer = layer
    wanted = ("gets", "sets") if functions is None else tuple(f"its {name}" for name in functions)
    assert _blas._library(controller) == Library("/lib/some.so", *wanted, of_thread, inside)


def test_libraries_are_looked_for_again_once_there_are_other_modules(monkeypatch):
    found = libraries()
    assert libraries() is found
    monkeypatch.setitem(sys.modules, "tsne_ooc_of_another", sys)
    again = libraries()
    assert again is not found and [library.path for library in again] == [library.path for library in found]


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="elsewhere nothing is mapped beforehand")
def test_whether_there_is_room_is_what_the_system_says():
    """No process has so many bytes of addresses as the second asks for."""
    assert _blas._fits(1 << 16) is True
    assert _blas._fits(1 << 60) is False


@pytest.mark.parametrize("before", ["", "scipy_"])
@pytest.mark.parametrize("after", ["", "64_", "_64"])
def test_every_build_of_openblas_is_asked_under_its_names(before, after):
    get, limit = f"{before}openblas_get_num_threads{after}", f"{before}openblas_set_num_threads{after}"
    both = SimpleNamespace(**{get: lambda: 3, limit: lambda n: None})
    assert _blas._names(both) == (get, limit)
    # Half of them is none of them.
    for one in (get, limit):
        assert _blas._names(SimpleNamespace(**{one: None})) == ("", "")


class Rooms:
    """A library that gives out room, and knows whether all of it came back."""

    def __init__(self, path):
        self.out, self.given = [], 0

        def blas_memory_alloc(kind):
            assert kind == 0
            self.given += 1
            self.out.append(self.given)
            return self.given

        def blas_memory_free(room):
            self.out.remove(room)

        inside = self.inside = SimpleNamespace(blas_memory_alloc=blas_memory_alloc, blas_memory_free=blas_memory_free)
        self.library = Library(path, lambda: 1, lambda n: None, False, inside)


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="elsewhere nothing is mapped beforehand")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("fits", [0, 1, 2, 3, 4, 5, 9])
def test_room_is_taken_once_for_as_many_threads_as_there_is_memory_for(count, fits, monkeypatch, caplog):
    caplog.set_level("INFO", "tsne_ooc._blas")
    rooms = [Rooms(f"library {number}") for number in range(count)]
    left, sizes = fits, []

    def asked(size):
        nonlocal left
        sizes.append(size)
        left -= 1
        return left >= 0

    monkeypatch.setattr(_blas, "_mapped", {})
    monkeypatch.setattr(_blas, "_fits", asked)
    libraries = [*(room.library for room in rooms), Library("other", None, None, False, SimpleNamespace())]
    wanted = min(4, fits // count)
    if not wanted:
        with pytest.raises(MemoryError) as told:
            _blas._room(libraries, 4)
        assert str(told.value) == (
            "there is no memory left for a product of matrices, which takes 35 MB; allow this process more, or give it "
            "less to do"
        )
    else:
        assert _blas._room(libraries, 4) == wanted
        said = [f"there is memory for products of matrices on {wanted} of 4 threads"] if wanted < 4 else []
        assert caplog.messages == said
    assert all(size == 33 << 20 for size in sizes) and not any(room.out for room in rooms)
    # Addresses have 64 bits, which C's default for what a function gives and takes would cut.
    for room in rooms:
        assert room.inside.blas_memory_alloc.restype is ctypes.c_void_p
        assert room.inside.blas_memory_free.argtypes == [ctypes.c_void_p]
    if wanted == 4:
        assert [room.given for room in rooms] == [4] * count
        # It is mapped now, and nobody is asked again; for one thread more there may be none.
        del sizes[:]
        assert _blas._room(libraries, 4) == _blas._room(libraries, 1) * 4 == 4 and not sizes
        assert _blas._room(libraries, 5) == (5 if fits >= 5 * count else 4)
    assert _blas._room([libraries[-1]], 7) == 7


def test_threads_of_openmp_are_given_back():
    from threadpoolctl import ThreadpoolController

    def threads():
        return [pool.num_threads for pool in ThreadpoolController().select(user_api="openmp").lib_controllers]

    before = threads()
    with pytest.raises(KeyError), _blas.openmp_kept():
        for pool in ThreadpoolController().select(user_api="openmp").lib_controllers:
            pool.set_num_threads(7)
        raise KeyError
    assert threads() == before


def test_libraries_are_limited_within_and_as_before_behind():
    fakes = [Fake(of_thread=False), Fake(of_thread=True)]
    fakes[1].set(5)
    with pytest.raises(KeyError), _blas.likewise([fake.library for fake in fakes]):
        assert [fake.get() for fake in fakes] == [1, 1]
        raise KeyError
    assert [fake.get() for fake in fakes] == [3, 5]
    assert _blas.limited() == ()
