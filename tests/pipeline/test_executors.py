"""Whoever places the rows, in whatever order: the same bytes; and who cannot is refused in a line that says why."""

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE, embed, place
from tsne_ooc.io import identity_of, open_source
from tsne_ooc.pipeline.models import opened_model
from tsne_ooc.pipeline.placer import Mapped
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.stages import Remote, RowStage
from tsne_ooc.workers import LocalWorkers, SavedModel, SharedTable, asking
from tsne_ooc.workers.asking import Piece, answers

N, P = 700, 5
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0, "n_jobs": 1}


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, n)] + rng.normal(size=(n, P))).astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A saved map of prepared rows, and a table in two kinds of files and in memory."""
    folder = tmp_path_factory.mktemp("home")
    model = TSNE(**FEW, prepare=Preparation([Standardize(), PCA(3)])).fit(rows()[:200])
    model.save(folder / "map")
    np.save(folder / "table.npy", rows())
    with h5py.File(folder / "table.h5", "w") as file:
        file.create_dataset("X", data=rows(), chunks=(64, P))
    return folder


def told_late(path):
    time.sleep(0.5)
    path.write_text("done")


def test_what_a_worker_has_begun_ends_before_its_process_does(tmp_path, monkeypatch):
    """Only one that hangs is killed; one on a machine that stands still for some seconds does not hang."""
    from tsne_ooc.workers import pool as pools

    monkeypatch.setattr(pools, "END", 60.0)
    with LocalWorkers(1, n_jobs=1) as pool:
        pool.submit(os.getpid).result()
        pool.submit(told_late, tmp_path / "late")
        time.sleep(0.1)
    assert (tmp_path / "late").read_text() == "done"


@pytest.fixture(scope="module")
def workers():
    with LocalWorkers(2, n_jobs=2) as pool:
        yield pool


def bytes_of(run):
    return {name: (run.folder / f"{name}.npy").read_bytes() for name in ("embedding", "novelty")}


@pytest.fixture(scope="module")
def wanted(home):
    return bytes_of(place(home / "map", rows(), out=home / "wanted", n_jobs=1))


class Backwards(Executor):
    """Does what it is given last first, and nothing before several are there."""

    def __init__(self, at_once=3):
        self.given, self.at_once = [], at_once

    def submit(self, function, *arguments):
        future = Future()
        self.given.append((future, function, arguments))
        threading.Timer(0.02, self.work).start()
        return future

    def work(self):
        while self.given:
            future, function, arguments = self.given.pop()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*arguments))
                except BaseException as error:
                    future.set_exception(error)


@pytest.mark.parametrize("table", ["memory", "table.npy", "table.h5"])
@pytest.mark.parametrize("kind", ["processes", "threads", "backwards", "loky"])
def test_the_same_bytes(home, wanted, workers, tmp_path, table, kind):
    source = rows() if table == "memory" else home / table
    if kind == "loky":
        loky = pytest.importorskip("joblib.externals.loky")
        executor = loky.get_reusable_executor(2)
    else:
        executor = {"processes": workers, "threads": ThreadPoolExecutor(3), "backwards": Backwards()}[kind]
    run = place(home / "map", source, out=tmp_path / "out", executor=executor, block_rows=90)
    assert bytes_of(run) == wanted
    if kind == "threads":
        executor.shutdown()


def test_a_whole_run_with_rounds(tmp_path, workers):
    """Rows of the sample keep their seats, also one with a twin in it; the map of each round is found by its path."""
    X = rows()
    X[40] = X[300]
    np.save(tmp_path / "X.npy", X)
    tsne, prepare = TSNE(**FEW), Preparation([Standardize()])
    options = {"tsne": tsne, "prepare": prepare, "sample": 400, "rounds": 2, "block_rows": 64}
    one = embed(tmp_path / "X.npy", out=tmp_path / "one", **options)
    two = embed(tmp_path / "X.npy", out=tmp_path / "two", executor=workers, **options)
    assert bytes_of(one) == bytes_of(two)
    assert {40, 300} <= set(one.sample_rows.tolist()) or len(one.sample_rows) > 400


def test_stopped_with_workers_and_gone_on_without(home, wanted, workers, tmp_path):
    def stop(phase, done, total):
        if done >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(home / "map", home / "table.h5", out=tmp_path / "o", executor=workers, block_rows=50, progress=stop)
    run = place(home / "map", home / "table.h5", out=tmp_path / "o", resume=True)
    assert bytes_of(run) == wanted


def test_a_row_that_is_wrong_is_named_by_its_number_in_the_table(home, workers, tmp_path):
    X = rows()
    X[433, 2] = np.nan
    np.save(tmp_path / "X.npy", X)
    for source in (X, tmp_path / "X.npy"):
        with pytest.raises(ValueError, match="row 433, column 2"):
            place(home / "map", source, out=tmp_path / "o", executor=workers, block_rows=50)
        shutil.rmtree(tmp_path / "o")


def test_a_worker_that_is_killed_is_replaced(home, wanted, tmp_path):
    with LocalWorkers(1) as pool:
        killed = []

        def kill(phase, done, total):
            if 0 < done < N and not killed:
                killed.append(pool._own.children[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        run = place(home / "map", home / "table.npy", out=tmp_path / "o", executor=pool, block_rows=20, progress=kill)
        assert killed and bytes_of(run) == wanted
        children = [child.pid for child in pool._own.children]
    # multiprocessing may still take a process for alive that another thread is just waiting for.
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# -------------------------------------------------------------------------------------- who is refused, and how


def test_another_model_or_table_or_version_is_refused_by_name(home, tmp_path):
    model = SavedModel.of(home / "map", opened_model)
    with pytest.raises(ValueError, match=r"has tsne_ooc .*, and the process that asks it has 0\.0\.9; install"):
        replace(model, version="0.0.9").opened(1)
    with pytest.raises(FileNotFoundError, match="finds no model in /nowhere; put it where all workers see it"):
        replace(model, folder="/nowhere").opened(1)
    TSNE(**FEW).fit(rows(seed=3)[:100]).save(tmp_path / "map")
    with pytest.raises(ValueError, match=f"the model in {re.escape(str(tmp_path))}/map on the worker .* is not the"):
        replace(model, folder=str(tmp_path / "map")).opened(1)
    np.save(tmp_path / "X.npy", rows())
    table = open_source(tmp_path / "X.npy")
    shared = SharedTable.of(table, identity_of(table), None)
    np.testing.assert_array_equal(shared.opened().read(5, 9), rows()[5:9])
    assert SharedTable.of(open_source(rows()), {}, None) is None
    np.save(tmp_path / "X.npy", rows(seed=1))
    other = replace(shared, pickled=shared.pickled + b" ")
    with pytest.raises(FileNotFoundError, match=r"finds another table in .*contents of the rows looked at"):
        other.opened()
    (tmp_path / "X.npy").unlink()
    with pytest.raises(FileNotFoundError, match="cannot open the table: there is no file"):
        other.opened()


def test_what_is_not_an_executor(home, tmp_path):
    with pytest.raises(TypeError, match=r"executor=4 is not a concurrent\.futures\.Executor"):
        place(home / "map", rows(), out=tmp_path / "o", executor=4)
    assert not (tmp_path / "o").exists()
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="executor= needs a map that can be saved"):
        embed(rows(), out=tmp_path / "o", executor=pool, tsne=TSNE(metric=lambda a, b: abs(a - b).sum()))
    assert not (tmp_path / "o").exists()


def test_an_executor_that_is_shut_down(home, tmp_path):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ConnectionError, match="the workers take no more work") as raised:
        place(home / "map", rows(), out=tmp_path / "o", executor=pool)
    assert "go on with resume=True" in "".join(raised.value.__notes__)


# --------------------------------------------------------------------------------------------- asking again


def found(start, stop):
    return {"Y": np.arange(start, stop, dtype=np.float32)}


def pieces(function, n=10):
    return [Piece(at, at + 1, function, (at, at + 1)) for at in range(n)]


def test_what_fails_in_passing_is_asked_for_again_and_what_does_not_is_not():
    counts = {}

    def fails(kind, times):
        def call(start, stop):
            counts[start] = counts.get(start, 0) + 1
            if start == 4 and counts[start] <= times:
                raise kind(f"{start} is away")
            return found(start, stop)

        return call

    with ThreadPoolExecutor(2) as pool:
        some = [answer for part in answers(pieces(fails(OSError, 2)), pool, 4) for answer in part]
        assert sorted(start for start, *_ in some) == list(range(10)) and counts[4] == 3
        for kind, times, calls in ((OSError, 3, 3), (ValueError, 1, 1), (FileNotFoundError, 1, 1)):
            counts.clear()
            with pytest.raises(kind, match="4 is away"):
                list(answers(pieces(fails(kind, times)), pool, 4))
            assert counts[4] == calls


def test_a_worker_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    hangs, calls = threading.Event(), []

    def call(start, stop):
        calls.append(start)
        if start == 3 and calls.count(3) <= times:
            hangs.wait(20)
        return found(start, stop)

    with ThreadPoolExecutor(4) as pool:
        times, began = 1, time.perf_counter()
        some = [answer for part in answers(pieces(call), pool, 4) for answer in part]
        assert sorted(start for start, *_ in some) == list(range(10)) and calls.count(3) == 2
        calls.clear()
        times = 3
        with pytest.raises(TimeoutError, match="though rows 3 to 3 were asked for 3 times"):
            list(answers(pieces(call), pool, 4))
        assert time.perf_counter() - began < 15
        hangs.set()


def test_a_worker_that_hangs_ends_with_its_pool(monkeypatch):
    from tsne_ooc.workers import pool

    monkeypatch.setattr(pool, "END", 0.5)
    with LocalWorkers(1, n_jobs=1) as workers:
        future = workers.submit(time.sleep, 600)
        while not future.running():
            time.sleep(0.05)
        (child,) = workers._own.children
    # Two threads wait for its end, and the one that did not hear of it takes it for alive.
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_workers_end_with_whoever_began_them(tmp_path):
    """Killed, it ends nobody itself."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\nfrom tsne_ooc.workers import LocalWorkers\n"
        "if __name__ == '__main__':\n"
        "    pool = LocalWorkers(1, n_jobs=1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as began:
        worker = int(began.stdout.readline())
        began.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            os.kill(worker, 0)
            # What has ended and nobody has asked for is still a name.
            ended = Path(f"/proc/{worker}/stat").read_text().split(")")[1].split()[0] == "Z"
        except (ProcessLookupError, FileNotFoundError):
            ended = True
        if ended:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker lives on")


# ------------------------------------------------------------------------------------------- what each part says


class Slow(RowStage):
    """A stage whose numbers workers compute: of rows that are sent, or that they read."""

    name, makes = "sums", ("sums.npy",)

    def __init__(self, reads, finish):
        self.reads, self.finish = reads, finish

    def shapes(self, work):
        return {"sums": (N,)}

    def compute(self, work):
        raise AssertionError("it is not computed here")

    def remote(self, work):
        assert work.get(Mapped).folder is not None and work.get(Mapped).seats is None
        return Remote(compute=sums, reads=self.reads, finish=self.finish)


def sums(first, block):
    return {"sums": block.sum(axis=1)}


def numbers(start, stop):
    return {"sums": np.arange(start, stop, dtype=np.float32)}


def test_a_stage_of_ones_own_says_what_workers_do(home, workers, tmp_path):
    for i, (reads, finish, known) in enumerate((
        (None, None, rows().sum(axis=1)),
        (numbers, None, np.arange(N)),
        (None, lambda first, found: {"sums": found["sums"] + first // 100}, rows().sum(axis=1) + np.arange(N) // 100),
    )):  # fmt: skip
        then = Slow(reads, finish)
        with ThreadPoolExecutor(2) as executor:
            run = place(
                home / "map", home / "table.npy", out=tmp_path / f"o{i}", executor=executor, then=then, block_rows=100
            )
        np.testing.assert_allclose(run.arrays["sums"], known, rtol=1e-6)


def test_a_model_comes_with_what_it_is_made_of(home):
    """The classes that a reader has to know are named in what a worker gets."""
    model = SavedModel.of(home / "map", opened_model, parts=(TSNE,))
    assert pickle.loads(pickle.dumps(model)) == model and model.parts == (TSNE,)
    assert b"tsne_ooc.estimator" in pickle.dumps(model) and SavedModel.of(home / "map", opened_model).parts == ()
    assert model.opened(1) is model.opened(1)


def test_threads_are_shared_and_pools_begin_again():
    assert [LocalWorkers(n, n_jobs=8).threads for n in (1, 3, 16)] == [8, 2, 1]
    pool = LocalWorkers(1, n_jobs=1)
    pid = pool.submit(os.getpid).result()
    children = list(pool._own.children)
    pool.shutdown(wait=False, cancel_futures=True)
    assert pool.submit(os.getpid).result() != pid
    pool.shutdown(wait=True)
    for child in children:
        child.join(30)
        assert not child.is_alive()
