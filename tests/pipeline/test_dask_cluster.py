"""A real scheduler and real workers on the loopback, killed, stopped and misled: the same bytes, or one clear line."""

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clusters import Cluster

from tsne_ooc import TSNE, load, place
from tsne_ooc.cli import main
from tsne_ooc.workers import asking, on_cluster

pytest.importorskip("distributed")

N, P = 3000, 5
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0, "n_jobs": 1}


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, N)] + rng.normal(size=(N, P))).astype(np.float32)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        found.add()
        found.add()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    TSNE(**FEW).fit(rows()[:300]).save(folder / "map")
    np.save(folder / "X.npy", rows())
    return folder


@pytest.fixture(scope="module")
def wanted(home):
    return bytes_of(place(home / "map", rows(), out=home / "wanted", n_jobs=1))


def bytes_of(run):
    return {name: (run.folder / f"{name}.npy").read_bytes() for name in ("embedding", "novelty")}


def test_two_clients_at_once_and_the_command(cluster, home, wanted, tmp_path):
    def one(name):
        with on_cluster(cluster.address) as executor:
            return place(home / "map", home / "X.npy", out=tmp_path / name, executor=executor, block_rows=200)

    with ThreadPoolExecutor(2) as pool:
        assert [bytes_of(run) for run in pool.map(one, ("a", "b"))] == [wanted, wanted]
    words = ["place", str(home / "map"), str(home / "X.npy"), "--out", str(tmp_path / "c"), "--quiet"]
    assert main([*words, "--scheduler", cluster.address]) == 0
    assert (tmp_path / "c" / "embedding.npy").read_bytes() == wanted["embedding"]


def test_a_lazy_array_on_the_cluster(cluster, home):
    import dask.array as da
    from distributed import Client

    model, X = load(home / "map"), da.from_array(rows(), chunks=(700, P))
    with Client(cluster.address, set_as_default=False) as client:
        for fitted in (model, TSNE(**FEW).fit(rows()[:300])):
            np.testing.assert_array_equal(client.compute(fitted.transform(X)).result(), model.transform(rows()))


def test_a_worker_without_the_model_or_the_table(cluster, home, tmp_path, capsys):
    """The workers here see all folders; what one of them would see is put in its place meanwhile."""
    shutil.copytree(home / "map", tmp_path / "map")
    np.save(tmp_path / "X.npy", rows())
    moved = []

    def away(which):
        def progress(phase, done, total):
            if not moved:
                moved.append(which)
                os.rename(tmp_path / which, tmp_path / "away")

        return progress

    for which, words in (("map", "finds no model in"), ("X.npy", "cannot open the table: there is no file")):
        with on_cluster(cluster.address) as executor, pytest.raises(OSError, match=words):
            place(tmp_path / "map", tmp_path / "X.npy", out=tmp_path / f"o-{which}", executor=executor,
                  progress=away(which))  # fmt: skip
        os.rename(tmp_path / "away", tmp_path / which)
        moved.clear()
    assert main(["place", str(home / "map"), str(home / "X.npy"), "--out", str(tmp_path / "o"),
                 "--scheduler", "tcp://127.0.0.1:9"]) == 2  # fmt: skip
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no Dask scheduler answers at tcp://127.0.0.1:9" in said


def test_a_worker_of_another_version(cluster, home, wanted, tmp_path):
    """It is refused by its name, whether the model is found by its path or travels; nothing is placed by it."""
    import dask.array as da
    from distributed import Client

    (tmp_path / "older.py").write_text("import tsne_ooc\ntsne_ooc.__version__ = '0.0.9'\n")
    worker = cluster.add("--preload", str(tmp_path / "older.py"), "--name", "older")
    says = (
        r"the worker .*, process \d+ has tsne_ooc 0\.0\.9, and the process that asks it has 0\.1\.0; install the same"
    )
    try:
        with on_cluster(cluster.address) as executor, pytest.raises(ValueError, match=says) as raised:
            place(home / "map", home / "X.npy", out=tmp_path / "o", executor=executor, block_rows=50)
        assert f"process {worker.pid} has" in str(raised.value)
        assert "go on with resume=True" in "".join(raised.value.__notes__)
        X = da.from_array(rows(), chunks=(30, P))
        with Client(cluster.address, set_as_default=False) as client:
            for fitted in (load(home / "map"), TSNE(**FEW).fit(rows()[:300])):
                with pytest.raises(ValueError, match=says):
                    client.compute(fitted.transform(X)).result()
    finally:
        cluster.workers.remove(worker)
        worker.kill()
        worker.wait()
    run = place(home / "map", home / "X.npy", out=tmp_path / "o", resume=True)
    assert bytes_of(run) == wanted


def test_a_slow_worker(cluster, home, wanted, tmp_path, monkeypatch):
    """It is stopped most of the time, and what others do for it meanwhile it does, too, in the end."""
    monkeypatch.setattr(asking, "PATIENCE", 0.5)
    monkeypatch.setattr(asking, "LONGER", 2.0)
    slow, ended = cluster.workers[0], threading.Event()

    def halting():
        while not ended.wait(0.05):
            os.kill(slow.pid, signal.SIGSTOP)
            ended.wait(0.4)
            os.kill(slow.pid, signal.SIGCONT)

    thread = threading.Thread(target=halting)
    thread.start()
    try:
        with on_cluster(cluster.address) as executor:
            run = place(home / "map", home / "X.npy", out=tmp_path / "o", executor=executor, block_rows=50)
    finally:
        ended.set()
        thread.join()
    assert bytes_of(run) == wanted


def test_a_worker_that_is_killed_and_one_that_hangs(cluster, home, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 1.0)
    monkeypatch.setattr(asking, "LONGER", 2.0)
    for sent in (signal.SIGKILL, signal.SIGSTOP):
        stopped = []

        def hit(phase, done, total, sent=sent, stopped=stopped):
            if done and not stopped:
                stopped.append(cluster.workers.pop())
                os.kill(stopped[0].pid, sent)

        with on_cluster(cluster.address) as executor:
            out = tmp_path / sent.name
            run = place(home / "map", home / "X.npy", out=out, executor=executor, block_rows=50, progress=hit)
        assert stopped and bytes_of(run) == wanted
        stopped[0].kill()
        stopped[0].wait()
        cluster.add()


def test_the_scheduler_is_gone_and_the_run_ends_here(cluster, home, wanted, tmp_path, monkeypatch):
    """The last test of this cluster."""
    monkeypatch.setattr(asking, "PATIENCE", 1.0)

    def hit(phase, done, total):
        if done and cluster.scheduler.poll() is None:
            cluster.scheduler.kill()
            cluster.scheduler.wait()

    with pytest.raises(OSError), on_cluster(cluster.address) as executor:
        place(home / "map", home / "X.npy", out=tmp_path / "o", executor=executor, block_rows=50, progress=hit)
    run = place(home / "map", home / "X.npy", out=tmp_path / "o", resume=True)
    assert bytes_of(run) == wanted
