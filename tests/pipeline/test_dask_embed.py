"""A whole run on a cluster of real processes: a worker is killed, the scheduler is restarted, Dask is left: one map."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("distributed")

from clusters import Cluster
from killed_workers import BLOCK, FEW, N, bytes_of, killed_at, rows

from tsne_ooc import TSNE, embed
from tsne_ooc.workers import asking, on_cluster


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
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "X.npy"
    np.save(path, rows())
    return path


@pytest.fixture(scope="module")
def wanted(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("wanted") / "map"
    return bytes_of(embed(table, out=out, sample=300, tsne=TSNE(**FEW), block_rows=BLOCK).folder)


def test_the_command_with_a_scheduler_makes_the_same_bytes(cluster, table, tmp_path):
    words = [sys.executable, "-m", "tsne_ooc", "embed", str(table), "--sample", "300", "--perplexity", "5", "--out"]
    more = ["--block-rows", str(BLOCK), "--jobs", "1"]
    for name, where in (("plain", []), ("cluster", ["--scheduler", cluster.address])):
        done = subprocess.run(
            [*words, str(tmp_path / name), *more, *where], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert f"read and placed {N:,} rows" in done.stdout and "wrote " in done.stdout
    assert bytes_of(tmp_path / "cluster") == bytes_of(tmp_path / "plain")


@pytest.mark.parametrize("draw", range(3))
def test_a_worker_that_is_killed_at_any_moment_changes_nothing(cluster, table, wanted, tmp_path, draw):
    """The first three of the moments that `tests/killed_workers.py` draws."""
    moment = random.Random(draw).randrange(1, N // BLOCK - 1)
    assert killed_at(cluster, table, tmp_path / "map", moment) == wanted


def test_the_scheduler_is_restarted_in_the_middle_of_a_run(cluster, table, wanted, tmp_path, monkeypatch):
    """The run goes on, or ends in one line and goes on when it is told to, with the new scheduler or without any."""
    monkeypatch.setattr(asking, "PATIENCE", 4.0)
    for name in ("with it", "without Dask"):
        restarted = []

        def hit(phase, done, total, restarted=restarted):
            if phase == "place" and done > N // 3 and not restarted:
                restarted.append(cluster.scheduler)
                cluster.restart()

        options = {"out": tmp_path / name, "sample": 300, "tsne": TSNE(**FEW), "block_rows": BLOCK}
        try:
            with on_cluster(cluster.address) as executor:
                run = embed(table, **options, executor=executor, progress=hit)
        except OSError as error:
            assert "\n" not in str(error)
            if name == "with it":
                with on_cluster(cluster.address) as executor:
                    run = embed(table, **options, executor=executor, resume=True)
            else:
                run = embed(table, **options, resume=True)
        assert restarted and bytes_of(run.folder) == wanted


def test_a_run_that_was_killed_on_the_cluster_goes_on_without_dask(cluster, table, tmp_path):
    """The process that leads the run is killed (SIGKILL), and its workers are not asked again."""
    words = [sys.executable, "-m", "tsne_ooc", "embed", str(table), "--sample", "300", "--perplexity", "5", "--quiet"]
    words += ["--block-rows", str(BLOCK), "--jobs", "1", "--out"]
    done = subprocess.run([*words, str(tmp_path / "plain")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "map"
    leading = subprocess.Popen([*words, str(out), "--scheduler", cluster.address])
    try:
        # The model is there when the first rows are placed.
        for _ in range(3000):
            if (out / "model" / "manifest.json").exists() or leading.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        leading.kill()
        leading.wait()
    done = subprocess.run([*words, str(out), "--resume"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert bytes_of(out) == bytes_of(tmp_path / "plain")
