"""Threads where something is short or breaks: a call ends, with its result or one error, and the next one works."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from children import forked, status_of
from threadpoolctl import ThreadpoolController

from tsne_ooc import _blas, _parallel
from tsne_ooc._parallel import Threads, fewer
from tsne_ooc.io.ahead import ahead

PIECES = [(i,) for i in range(40)]
SQUARES = [i * i for i in range(40)]


def square(i):
    return i * i


@pytest.fixture
def anew(monkeypatch):
    """No helper has been started yet."""
    monkeypatch.setattr(_parallel, "_helpers", [])


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_threads_that_cannot_be_started_are_not_missed(anew, monkeypatch, allowed, caplog):
    caplog.set_level("INFO", "tsne_ooc._parallel")
    real, started = threading.Thread.start, []

    def start(self):
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(self)
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert Threads(4).map(square, PIECES) == SQUARES
        assert list(ahead(square, range(40))) == SQUARES
    # The one that calls is one of four.
    assert caplog.messages == [f"{allowed + 1} of 4 threads could be started"]
    # And those that are there again are used: three meet.
    meeting = threading.Barrier(3, timeout=10)
    assert Threads(3).map(lambda i: meeting.wait() >= 0, [(0,), (1,), (2,)]) == [True] * 3


def test_a_thread_that_ends_says_so_and_nobody_waits_a_second_for_it(monkeypatch):
    """The caller has done its own piece long before; without a word it would go by its clock."""
    monkeypatch.setattr(_parallel, "Empty", ZeroDivisionError)
    main, begun = threading.get_ident(), threading.Event()

    def piece(i):
        if threading.get_ident() == main:
            assert begun.wait(10)
        else:
            begun.set()
            time.sleep(0.03)
        return i

    assert Threads(2).map(piece, [(0,), (1,)]) == [0, 1]


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_pages_over_files_are_given_back_between_pieces(monkeypatch, n_jobs):
    relieved = []
    monkeypatch.setattr(_parallel, "relieve", lambda: relieved.append(threading.get_ident()))
    assert Threads(n_jobs).map(square, PIECES) == SQUARES and len(relieved) == len(PIECES)


def test_the_room_for_products_is_that_of_the_narrowest_block(monkeypatch):
    """Of blocks within each other the least counts; each that ends leaves what there was before it."""
    asked = []

    @contextmanager
    def room(workers):
        asked.append(workers)
        yield rooms.pop(0)

    monkeypatch.setattr(_blas, "one_thread", room)
    most = lambda: getattr(_parallel._here, "most", None)  # noqa: E731
    for outer, inner in ((2, 5), (5, 2), (3, 3)):
        rooms = [outer, inner]
        with Threads(7).one_blas_thread():
            assert most() == outer
            with pytest.raises(KeyError), Threads(9).one_blas_thread():
                assert most() == min(outer, inner)
                raise KeyError
            assert most() == outer
        assert most() is None
    # No more are asked for than may multiply at once.
    rooms = [1]
    with Threads(100).one_blas_thread():
        pass
    assert asked == [7, 9] * 3 + [64]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_within_a_piece_has_threads_of_its_own():
    """There it is no piece of anybody's any more, and none of the threads of before is there to help."""

    def work():
        meeting = threading.Barrier(2, timeout=20)
        assert Threads(2).map(lambda i: meeting.wait() >= 0, [(0,), (1,)]) == [True] * 2

    assert [status_of(child) for child in Threads(2).map(lambda i: forked(work), [(0,), (1,)])] == [0, 0]


def test_helpers_that_do_not_come_are_not_waited_for(anew, monkeypatch):
    """Started, and dead before their first work."""
    monkeypatch.setattr(_parallel, "_serve", lambda queue: None)
    assert Threads(4).map(square, PIECES) == SQUARES


def test_an_end_that_cannot_be_told_is_found(monkeypatch):
    class Mute(_parallel.SimpleQueue):
        def put(self, item):
            if item is None:
                raise MemoryError
            super().put(item)

    monkeypatch.setattr(_parallel, "SimpleQueue", Mute)
    assert Threads(3).map(lambda i: time.sleep(0.002) or i * i, PIECES) == SQUARES


LEAVING = """
import threading
from tsne_ooc._parallel import Threads
from tsne_ooc.io import ahead
print(Threads(3).map(lambda i: i * i, [(i,) for i in range(5)]), flush=True)
ahead.PATIENCE = 0.1
begun = threading.Event()
blocks = ahead.ahead(lambda i: i if i == 0 else begun.set() or threading.Event().wait(), range(3))
print(next(blocks), begun.wait(), flush=True)
blocks.close()
print(ahead.hanging(), flush=True)
"""


def test_a_process_ends_though_its_threads_wait_for_work_or_hang_in_a_read():
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:-1] == ["[0, 1, 4, 9, 16]", "0 True", "True"] and not done.stderr


def test_a_reader_that_cannot_tell_its_error_is_not_waited_for(monkeypatch):
    from tsne_ooc.io import ahead as module

    monkeypatch.setattr(module, "_read", lambda *arguments: None)
    with pytest.raises(MemoryError, match="the thread that reads"):
        list(ahead(square, range(3)))


def test_a_piece_that_got_lost_is_an_error_and_not_a_result(monkeypatch):
    class Short:
        """Counts, and once has no memory for the next number."""

        def __init__(self):
            self.next = 0

        def __next__(self):
            self.next += 1
            if self.next == 5:
                raise MemoryError
            return self.next - 1

    monkeypatch.setattr(_parallel.itertools, "count", Short)
    with pytest.raises(MemoryError):
        Threads(3).map(square, PIECES)
    monkeypatch.undo()
    assert Threads(3).map(square, PIECES) == SQUARES


def test_after_an_interrupt_nobody_writes_on():
    """Ctrl-C while the caller waits for a thread: it is raised when that one has ended its piece."""
    out, main = np.zeros(200), threading.get_ident()
    begun = threading.Event()

    def piece(i):
        if threading.get_ident() == main:
            begun.wait(10)
            os.kill(os.getpid(), signal.SIGINT)
            return
        begun.set()
        time.sleep(0.1)
        out[i] = 1

    with pytest.raises(KeyboardInterrupt):
        Threads(2).map(piece, [(i,) for i in range(200)])
    before = out.sum()
    time.sleep(0.3)
    assert out.sum() == before < 10
    assert Threads(2).map(square, PIECES) == SQUARES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_in_the_midst_of_a_call_has_threads_of_its_own():
    """A lock that another thread holds at that moment stays locked in the child. (Forks wait for that of BLAS, for a
    minute at most: see test_forking.py.)
    """

    def work():
        with Threads(2).one_blas_thread():
            assert Threads(3).map(square, PIECES) == SQUARES

    Threads(2).map(square, PIECES)
    with _parallel._lock:
        child = forked(work)
    assert status_of(child) == 0


def test_threads_of_others_that_cannot_be_started():
    def start(workers):
        if workers > 1:
            raise RuntimeError("Resource temporarily unavailable")
        return workers

    assert fewer(start, 4) == 1
    with pytest.raises(RuntimeError, match="another"):
        fewer(lambda workers: (_ for _ in ()).throw(RuntimeError("another")), 1)


LITTLE = """
    import resource, sys
    import numpy as np
    from tsne_ooc import TSNE

    X = np.random.default_rng(0).normal(size=(4000, 50)).astype("f4")
    tsne = TSNE(n_iter=2, early_exaggeration_iter=2, random_state=0, n_jobs=4, neighbors="exact")
    tsne.fit(X[:200])
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (int(sys.argv[1]) << 20),) * 2)
    try:
        tsne.fit(X)
    except MemoryError as error:
        print("memory", str(error).count("\\n"))
    else:
        print("fine")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the limit is not kept")
@pytest.mark.parametrize("megabytes", [25, 60])
def test_where_memory_ends_a_fit_ends(megabytes):
    """OpenBLAS asks without end for the 32 MB that each thread's first product takes."""
    program = [sys.executable, "-c", textwrap.dedent(LITTLE), str(megabytes)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.stdout in ("fine\n", "memory 0\n"), done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="elsewhere the limit is not kept")
def test_products_on_as_many_threads_as_there_is_room_for(monkeypatch):
    """None: an error that says what is missing; fewer than asked for: the same results."""
    libraries = [
        library
        for library in ThreadpoolController().select(internal_api="openblas").lib_controllers
        if getattr(library.dynlib, "blas_memory_alloc", None) is not None
    ]
    left = []

    def fits(size):
        # For two threads, in each of the libraries that this process has loaded by now.
        left.append(size)
        return len(left) <= 2 * len(libraries)

    monkeypatch.setattr(_blas, "_mapped", {})
    monkeypatch.setattr(_blas, "_fits", lambda size: False)
    with (
        pytest.raises(MemoryError, match="no memory left for a product of matrices, which takes 35 MB"),
        Threads(2).one_blas_thread(),
    ):
        pass
    monkeypatch.setattr(_blas, "_fits", fits)
    import scipy.linalg.blas

    seen = set()
    with Threads(4).one_blas_thread():
        Threads(4).map(lambda i: (time.sleep(0.01), seen.add(threading.get_ident())), PIECES)
    assert scipy.linalg.blas.sgemm(1.0, np.ones((2, 2)), np.ones((2, 2)))[0, 0] == 2
    assert len(seen) <= 2
    # Outside, all are there again.
    meeting = threading.Barrier(3, timeout=10)
    assert Threads(3).map(lambda i: meeting.wait() >= 0, [(0,), (1,), (2,)]) == [True] * 3


def test_thousands_of_threads_leave_room_for_a_fork():
    """Room for 4,096 products at once, 35 MB each, was more than a process may have: the next fork was refused."""
    code = (
        "import os, resource\n"
        "import numpy as np\n"
        "from tsne_ooc._parallel import Threads\n"
        "np.ones((2, 2)) @ np.ones((2, 2))\n"
        "with Threads(4096).one_blas_thread():\n"
        "    pass\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "print(pages * os.sysconf('SC_PAGE_SIZE') >> 30)\n"
    )
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this system does not tell how much address space a process has")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 12


def interrupted(times, met):
    """A queue whose reader is interrupted so often while it waits."""

    class Interrupted(_parallel.SimpleQueue):
        def get(self, block=True, timeout=None):
            if timeout is not None and len(met) < times:
                met.append(len(met) + 1)
                raise KeyboardInterrupt(f"number {len(met)}")
            return super().get(block, timeout)

    return Interrupted


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_the_threads_and_a_second_one_does_not(monkeypatch, times):
    """The caller has nothing left to do, and another thread is still at its piece."""
    main, begun, end, met, done = threading.get_ident(), threading.Event(), threading.Event(), [], []

    def piece(i):
        if threading.get_ident() == main:
            begun.wait(10)
            return
        begun.set()
        # One interrupt is waited out; where there are two, the piece ends only after the call.
        late = time.monotonic() + 5
        while not (end.is_set() or (times == 1 and met)) and time.monotonic() < late:
            time.sleep(0.005)
        done.append(i)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(_parallel, "SimpleQueue", interrupted(times, met))
            with pytest.raises(KeyboardInterrupt, match=f"number {times}"):
                Threads(2).map(piece, [(0,), (1,)])
        assert len(done) == (times == 1)
    finally:
        end.set()
    assert Threads(2).map(square, PIECES) == SQUARES


def test_a_number_that_a_thread_took_and_lost_is_an_error_of_one_line(monkeypatch):
    """Its piece has neither a result nor an error, and the caller did all the others."""
    main, lost = threading.get_ident(), threading.Event()

    class Losing:
        def __init__(self):
            self.next, self.lock = 0, threading.Lock()

        def __next__(self):
            with self.lock:
                self.next += 1
                number = self.next - 1
            if threading.get_ident() != main:
                lost.set()
                raise MemoryError("of the thread")
            return number

    monkeypatch.setattr(_parallel.itertools, "count", Losing)
    with pytest.raises(MemoryError, match=r"^a thread had no memory left for its work$"):
        Threads(2).map(lambda i: lost.wait(10) and i * i, PIECES)
    monkeypatch.undo()
    assert Threads(2).map(square, PIECES) == SQUARES
