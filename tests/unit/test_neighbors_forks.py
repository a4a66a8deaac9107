"""Searches in forked processes: never a hang, never an end without a word."""

import builtins
import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tsne_ooc._kernels import _kept
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import Exact, PyNNDescent, _forks, pynndescent_index

# An alarm ends a child that hangs, even within a lock; the parent prints what its children came to.
SCRIPT = """
import os, signal, warnings
import numpy as np
from tsne_ooc import neighbors
from tsne_ooc._parallel import Threads

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, Q = rng.normal(size=(1500, 6)).astype("f4"), rng.normal(size=(900, 6)).astype("f4")
options = dict(metric={metric!r}, threads=Threads(2))
index = neighbors.resolve({word!r}, metric={metric!r}, n=1500, p=6).build(X, rng=np.random.default_rng(1), **options)
neighbours = index.query_self(20)

def child(answer):
    same = all(np.array_equal(*pair) for pair in zip(index.query(Q, 5), answer, strict=True))
    again = neighbors.resolve({word!r}, metric={metric!r}, n=1500, p=6)
    again = again.build(X, rng=np.random.default_rng(1), **options).query_self(20)
    near = (again[1] <= neighbours[1][:, -1:] * 1.001).mean()
    return 0 if same and near > 0.99 else 1

def fork(generations, answer):
    process = os.fork()
    if not process:
        signal.alarm(100)
        code = 99
        try:
            code = child(answer)
            if generations > 1:
                code = max(code, fork(generations - 1, answer))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

# First children that are the first to ask, of a search that nobody had an answer from; then others.
if {unasked}:
    print(fork(2, neighbors.Exact().build(X, **options).query(Q, 5)))
print(fork(2, index.query(Q, 5)))
"""


def codes(word, metric="euclidean", *, unasked=False):
    script = SCRIPT.format(word=word, metric=metric, unasked=unasked)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=500, check=True)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("word", ["exact", "ivf", "hnsw"])
def test_children_and_grandchildren_answer_with_the_same_bits(word):
    assert codes(word) == ("0", "")


@pytest.mark.slow  # half a minute, if no test before it has had the library compiled for this metric
@pytest.mark.filterwarnings("ignore::numba.NumbaPendingDeprecationWarning", "ignore:This process:DeprecationWarning")
def test_pynndescent_after_a_fork(capfd):
    """Children of this very process, where the library need not be compiled once more."""
    script = SCRIPT.format(word="pynndescent", metric="manhattan", unasked=True)
    parent = os.getpid()
    try:
        with warnings.catch_warnings():
            exec(compile(script, "<children>", "exec"), {})
    finally:
        # Whatever becomes of a child, it never goes on with the tests.
        if os.getpid() != parent:
            os._exit(98)
    assert capfd.readouterr().out.split() == ["0", "0"]


def test_pynndescent_is_exact_and_says_so_where_it_cannot_build(monkeypatch):
    """Without the library: that it is not asked is the point."""
    monkeypatch.setattr(pynndescent_index, "numba_lost", lambda: True)
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    X = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    options = {"metric": "manhattan", "threads": Threads(2)}
    index = PyNNDescent().build(X, rng=np.random.default_rng(0), **options)
    exact = Exact().build(X, **options)
    with pytest.warns(RuntimeWarning, match=r"forked after it.*the search is exact.*'spawn'"):
        found = [*index.query(X[:50], 9), *index.query_self(9)]
    for one, two in zip(found, [*exact.query(X[:50], 9), *exact.query_self(9)], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "layer, before, lost",
    [
        ("omp", False, True),
        ("tbb", False, False),
        ("workqueue", False, False),
        (ValueError, False, False),
        (AttributeError, False, False),
        (None, False, False),
        # In a child of the child it stays lost, whatever has run there since.
        ("workqueue", True, True),
        (ValueError, True, True),
        (None, True, True),
    ],
)
def test_what_a_fork_loses_is_numbas_openmp(monkeypatch, layer, before, lost):
    def threading_layer():
        if isinstance(layer, str):
            return layer
        raise layer("no parallel code has run")

    monkeypatch.setattr(_forks, "_forked", False)
    monkeypatch.setattr(_forks, "_numba_lost", before)
    if layer is None:
        monkeypatch.delitem(sys.modules, "numba", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(threading_layer=threading_layer))
    _forks._note()
    assert _forks.forked() is True and _forks.numba_lost() is lost


def test_the_library_is_loaded_where_numba_has_no_place_for_its_code(monkeypatch):
    """The first import says so; the second one is made with a place that is lent, and gives the module."""
    real, tried, held = builtins.__import__, [], []
    library = ModuleType("pynndescent")

    @contextmanager
    def lent():
        held.append(True)
        yield
        held.pop()

    def imported(name, *arguments, **more):
        if name != "pynndescent":
            return real(name, *arguments, **more)
        tried.append(bool(held))
        if not held:
            raise RuntimeError("cannot cache function 'rdist': no locator available")
        return library

    monkeypatch.setattr(_kept, "lent", lent)
    monkeypatch.setattr(builtins, "__import__", imported)
    assert pynndescent_index._library() is library
    monkeypatch.undo()
    assert tried == [False, True] and not held
