"""Processes that share what a fork copied: pools, joblib, servers that fork before they answer: right, and no hang.

Workers that begin anew (spawn, loky) are in `test_executors.py`, `test_process_pool.py` and `test_saved_models.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import children
import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placing_in_a_process import placed, places

from tsne_ooc import TSNE, load, place
from tsne_ooc.io import identity_of, open_source
from tsne_ooc.pipeline.models import opened_model
from tsne_ooc.pipeline.workers import PlacesRows, ReadsAndPlaces
from tsne_ooc.workers import SavedModel, SharedTable

N, P = 400, 5
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0}

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    # Python 3.12 warns of each fork of a process that has threads; here they are meant.
    pytest.mark.filterwarnings("ignore:This process .*is multi-threaded:DeprecationWarning"),
]


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, n)] + rng.normal(size=(n, P))).astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    TSNE(**FEW, n_jobs=2).fit(rows()[:150]).save(folder / "map")
    np.save(folder / "X.npy", rows())
    place(folder / "map", rows(), out=folder / "wanted", n_jobs=1)
    return folder


@pytest.fixture(autouse=True)
def no_hang():
    """An alarm ends a test that waits for ever, and its children first: a pool waits for them on its way out."""

    def late(*_):
        children.end(child.pid for child in multiprocessing.active_children())
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def bytes_of(folder):
    return {name: (folder / f"{name}.npy").read_bytes() for name in ("embedding", "novelty")}


class Shuffled(Executor):
    """Gives the work of an executor to it in another order, and some of it twice."""

    def __init__(self, pool, rng):
        self.pool, self.rng = pool, rng

    def submit(self, function, *arguments):
        if self.rng.random() < 0.3:
            self.pool.submit(function, *arguments)
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return self.pool.submit(late, self.rng.random() / 100, function, *arguments)


def late(seconds, function, *arguments):
    threading.Event().wait(seconds)
    return function(*arguments)


@pytest.mark.parametrize("source", ["path", "memory"])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_so_many_processes_of_a_fork_in_any_order(home, workers, source, tmp_path):
    """The process that forks has placed rows before, with threads."""
    load(home / "map", n_jobs=2).transform(rows())
    rng = np.random.default_rng(workers)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        place(home / "map", home / "X.npy" if source == "path" else rows(), out=tmp_path / "o",
              executor=Shuffled(pool, rng), block_rows=int(rng.integers(7, 90)))  # fmt: skip
    assert bytes_of(tmp_path / "o") == bytes_of(home / "wanted")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block_rows=st.integers(1, N), workers=st.sampled_from([1, 2, 3, 7]), seed=st.integers(0, 99))
def test_so_many_threads_and_blocks_of_any_size(home, tmp_path_factory, block_rows, workers, seed):
    out = tmp_path_factory.mktemp("any") / "o"
    with ThreadPoolExecutor(workers) as pool:
        place(home / "map", home / "X.npy", out=out, executor=Shuffled(pool, np.random.default_rng(seed)),
              block_rows=max(block_rows, 5))  # fmt: skip
    assert bytes_of(out) == bytes_of(home / "wanted")


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_joblib(home, backend):
    """A model that was fitted here, and one that was loaded."""
    fitted = TSNE(**FEW, n_jobs=2).fit(rows()[:150])
    for model in (fitted, load(home / "map")):
        call = joblib.delayed(model.transform)
        parts = joblib.Parallel(n_jobs=2, backend=backend)(call(rows()[a : a + 130]) for a in range(0, N, 130))
        np.testing.assert_array_equal(np.concatenate(parts), np.load(home / "wanted" / "embedding.npy"))


def test_a_pool_of_multiprocessing(home):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        model = load(home / "map", n_jobs=2)
        parts = pool.map(partial(placed, model), [rows()[a : a + 130] for a in range(0, N, 130)])
        by_path = pool.starmap(places, [(home / "map", a, rows()[a : a + 130]) for a in range(0, N, 130)])
    wanted = np.load(home / "wanted" / "embedding.npy")
    np.testing.assert_array_equal(np.concatenate(parts), wanted)
    np.testing.assert_array_equal(np.concatenate([part["embedding"] for part in by_path]), wanted)


SERVER = """
import os, signal, sys, threading
import numpy as np
from tsne_ooc import TSNE, load
from tsne_ooc.io import open_source

home, options = sys.argv[1], dict({few!r}, n_jobs=2)
X, wanted = np.load(home + "/X.npy"), np.load(home + "/wanted/embedding.npy")
novelty = np.load(home + "/wanted/novelty.npy")
model = load(home + "/map", n_jobs=2)
# Another thread of the parent is at work while it forks; not in its first call, for Python itself keeps no child from
# waiting for modules that a thread was importing.
if {busy}:
    model.transform(X), model.score_samples(X)
stop = threading.Event()
def busy():
    while not stop.is_set():
        model.transform(X)
threads = [threading.Thread(target=busy) for _ in range({busy})]
for thread in threads:
    thread.start()

def child(number):
    answers = []
    def answer():
        answers.append(np.array_equal(model.transform(X), wanted) and np.array_equal(model.score_samples(X), novelty))
    # Servers answer in threads, too.
    mine = [threading.Thread(target=answer) for _ in range(2)]
    for thread in mine:
        thread.start()
    for thread in mine:
        thread.join()
    again = TSNE(**options).fit(X[:150])
    return answers == [True, True] and np.array_equal(again.embedding_, model.embedding_)

pids = []
for number in range(4):
    pid = os.fork()
    if not pid:
        signal.alarm(90)
        code = 9
        try:
            code = 0 if child(number) else 1
        finally:
            os._exit(code)
    pids.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
stop.set()
for thread in threads:
    thread.join()
# The parent answers on.
print(codes, np.array_equal(model.transform(X), wanted))
"""


@pytest.mark.parametrize("busy", [0, 1], ids=["loaded", "at work"])
def test_servers_that_fork_before_they_answer(home, busy):
    """As gunicorn does it with `--preload`: one process loads the map, and its children place, score and fit."""
    script = SERVER.format(few=FEW, busy=busy)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, home], capture_output=True, text=True, timeout=110
    )
    assert done.stdout.strip() == "[0, 0, 0, 0] True", done.stderr


def test_what_travels_is_a_name_one_way_and_the_answer_the_other(home, tmp_path):
    """Neither the model nor rows go to a worker, whatever their size; 12 bytes a row and a constant come back."""
    TSNE(**FEW, n_jobs=1).fit(rows(600)).save(tmp_path / "map")
    np.save(tmp_path / "X.npy", rows(9000))
    sent = []
    for folder in (home, tmp_path):
        model, table = SavedModel.of(folder / "map", opened_model), open_source(folder / "X.npy")
        reads = ReadsAndPlaces(SharedTable.of(table, identity_of(table), None), PlacesRows(model, True, 1))
        sent.append(len(pickle.dumps((reads, 0, N))))
    assert max(sent) < 5000 and abs(sent[1] - sent[0]) < 200
    some, more = (len(pickle.dumps(reads(0, n))) for n in (300, 3000))
    assert abs((more - some) - 12 * 2700) < 32 and some < 12 * 300 + 500
