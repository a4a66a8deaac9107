"""Whatever ends a run, it goes on where it was and ends with the same bytes as one that nothing ended."""

import errno
import itertools
import json
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from arrivals import forces
from faults import KILLED, Runs, sums
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE, load
from tsne_ooc.pipeline import embed, open_run
from tsne_ooc.storage.ledger import Ledger

ROWS = 20_000


@pytest.fixture(scope="module")
def runs():
    with Runs() as runs:
        yield runs


def table(path, rows, chunk):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(5, 8)) * 5)[rng.integers(0, 5, rows)] + rng.normal(size=(rows, 8))
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X.astype(np.float32), chunks=(chunk, 8))
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "large.h5", ROWS, 1000)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return table(tmp_path_factory.mktemp("data") / "small.h5", 700, 100)


@pytest.fixture(scope="module")
def unbroken(runs, large, small, tmp_path_factory):
    """Folders of runs that nothing ended: "large" and "small" of `embed`, "place" and "transform_to" of the small."""
    home = tmp_path_factory.mktemp("unbroken")
    common = {"n_jobs": 1, "block_rows": 250}
    tasks = {
        "large": ("embed", {"data": large, "out": home / "large", "sample": 300}),
        "embed": ("embed", {"data": small, "out": home / "embed"}),
        "place": ("place", {"data": small, "out": home / "place", "model": home / "embed"}),
        "transform_to": ("transform_to", {"data": small, "out": home / "file" / "Y.npy", "model": home / "embed"}),
    }
    (home / "file").mkdir()
    calls = {}
    for name, (task, options) in tasks.items():
        ended = runs.run(task, **common, **options)
        assert ended["status"] == 0, ended["said"]
        calls[name] = ended["calls"]
    return home, calls


@pytest.mark.parametrize("name", ["large", "embed", "place", "transform_to"])
def test_what_all_are_compared_with_is_right(unbroken, large, small, name):
    """Of runs that nothing ended: rows of the fit have their seats, and others are where the gradient is gone."""
    home, _ = unbroken
    with h5py.File(large if name == "large" else small) as file:
        X = file["X"][:]
    Y = np.load(home / "file" / "Y.npy") if name == "transform_to" else open_run(home / name).embedding
    fitted = load(home / ("large" if name == "large" else "embed") / "model")
    rows = fitted.sample_rows_
    np.testing.assert_array_equal(Y[rows], fitted.embedding_)
    others = np.setdiff1d(np.arange(len(X)), rows)
    some = others[:: len(others) // 150]
    assert len(others) == len(X) - len(rows) > 600
    assert np.quantile(forces(cdist(X[some], X[rows]), fitted.embedding_, Y[some]), 0.9) < 0.015


def mark_of(folder, ledger="ledger.json"):
    """Rows that are marked as done, None while there is no fitted model."""
    if not (Path(folder) / ledger).exists():
        return None
    content = json.loads((Path(folder) / ledger).read_text())
    of = content["stages"].get("place", {"rows": []})["rows"]
    return sum(stop - start for start, stop, _ in of) if "fit" in content["stages"] or of else None


def read(log):
    """Ranges of rows that were read, without the ten single ones by which a table is known again, whenever it is."""
    ranges = [tuple(map(int, line.split())) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    probes = {(row, row + 1) for row in np.linspace(0, ROWS - 1, 10).astype(int).tolist()}
    return [block for block in ranges if block not in probes]


def check_reads(ranges, done, rows=None):
    """From the mark on, without gaps; up to the end where `rows` says so."""
    assert not ranges or ranges[0][0] == done
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    assert rows is None or (ranges[-1][1] if ranges else done) == rows


def test_forty_kills_leave_no_trace(runs, large, unbroken, tmp_path):
    """Blocks of other sizes, other numbers of threads, killed anywhere: the same bytes, and no row twice."""
    rng = np.random.default_rng(0)
    out, log = tmp_path / "map", tmp_path / "log"
    common = {"data": large, "out": out, "sample": 300, "resume": True, "log": log}
    marks, kills = [], 0
    while kills < 40:
        at = "fit" if kills == 0 else str(rng.choice(["block", "torn", "fsync", "replace", "call", "seconds"]))
        most = {"fit": 2, "block": 14, "torn": 14, "fsync": 40, "replace": 12, "call": 50}
        done = mark_of(out)
        # A quick machine does the last thousands of rows in a tenth of a second.
        seconds = float(rng.uniform(0, 0.15)) * (1 - (done or 0) / ROWS) if at == "seconds" else 0.0
        count = round(seconds, 4) if at == "seconds" else int(rng.integers(1, most[at]))
        ended = runs.run(
            "embed", {"at": at, "count": count}, **common,
            block_rows=int(rng.integers(30, 90)), n_jobs=int(rng.integers(1, 3)),
        )  # fmt: skip
        assert ended["status"] == KILLED, ended
        kills += 1
        ranges = read(log)
        if done is not None:
            check_reads(ranges, done)
            assert mark_of(out) >= done
        marks.append(mark_of(out))
        assert not (out / "manifest.json").exists()
    assert len({mark for mark in marks if mark}) > 15
    done = mark_of(out)
    assert 1000 < done < ROWS
    ended = runs.run("embed", **common, block_rows=77, n_jobs=1)
    assert ended["status"] == 0, ended["said"]
    check_reads(read(log), done, ROWS)
    check_whole(out, unbroken[0] / "large")


def check_whole(out, expected):
    assert sums(out) == sums(expected)
    assert sorted(os.listdir(out)) == sorted(os.listdir(expected))
    if (out / "manifest.json").exists():
        found, wanted = open_run(out, verify=True).manifest, open_run(expected).manifest
        varies = ("seconds", "memory_gb", "source", "job")
        assert {name: found[name] for name in found if name not in varies} == {
            name: wanted[name] for name in wanted if name not in varies
        }


def paths_of(task, tmp_path, name, unbroken):
    """Where a task writes, its folder, and its other options."""
    folder = tmp_path / name
    if task == "transform_to":
        folder.mkdir()
        return folder / "Y.npy", folder, {"model": unbroken / "embed"}
    return folder, folder, {} if task == "embed" else {"model": unbroken / "embed"}


@pytest.mark.parametrize("task, every", [("embed", 1), ("place", 2), ("transform_to", 2)])
def test_killed_at_the_steps_to_the_disk(runs, small, unbroken, tmp_path, task, every):
    """Before each call that orders the disk, and once more, anywhere, on the way from there."""
    home, calls = unbroken
    rng = np.random.default_rng(1)
    expected = home / ("file" if task == "transform_to" else task)
    for count in range(1, calls[task] + 1, every):
        out, folder, options = paths_of(task, tmp_path, f"{task}{count}", home)
        common = {"data": small, "out": out, "block_rows": 250, "n_jobs": 1, **options}
        ended = runs.run(task, {"at": "call", "count": count}, **common)
        assert ended["status"] == KILLED, ended
        second = {"at": "call", "count": int(rng.integers(1, calls[task] - count + 4))}
        ended = runs.run(task, second, **common, resume=True)
        assert ended["status"] in (0, KILLED), ended
        ended = runs.run(task, **{**common, "block_rows": 90}, resume=True)
        assert ended["status"] == 0, ended
        check_whole(folder, expected)


def test_killed_between_two_rounds(runs, small, tmp_path):
    """While the rows are looked at, while what the sample missed joins it, and in the second fit."""
    with h5py.File(small) as file:
        X = file["X"][:]
    X[500:] += 40
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(100, 8))
    # None of the rows that were moved.
    sample = list(range(0, 480, 4))
    common = {"data": tmp_path / "data.h5", "block_rows": 250, "n_jobs": 1, "sample": sample, "rounds": 2}
    whole = runs.run("embed", out=tmp_path / "whole", **common)
    assert whole["status"] == 0, whole["said"]
    assert len(open_run(tmp_path / "whole").sample_rows) > len(sample)
    for count in range(1, whole["calls"] + 1, 7):
        out = tmp_path / str(count)
        assert runs.run("embed", {"at": "call", "count": count}, out=out, **common)["status"] == KILLED
        ended = runs.run("embed", out=out, **{**common, "block_rows": 90}, resume=True)
        assert ended["status"] == 0, ended
        check_whole(out, tmp_path / "whole")


@pytest.mark.parametrize("task, every", [("embed", 2), ("place", 3), ("transform_to", 3)])
def test_a_disk_that_refuses(runs, small, unbroken, tmp_path, task, every):
    """At one call after the other: one line that names a file; afterwards the run goes on."""
    home, calls = unbroken
    expected = home / ("file" if task == "transform_to" else task)
    for count in range(1, calls[task] + 1, every):
        out, folder, options = paths_of(task, tmp_path, f"{task}{count}", home)
        common = {"data": small, "out": out, "block_rows": 250, "n_jobs": 1, **options}
        ended = runs.run(task, {"at": "call", "count": count, "error": errno.ENOSPC}, **common)
        said = ended["said"]
        assert said.startswith(str(tmp_path)) and "could not be written: No space left on device" in said, said
        assert "\n" not in said and ended["status"] == 1
        ended = runs.run(task, **common, resume=True)
        assert ended["status"] == 0, ended
        check_whole(folder, expected)


def quick(n_jobs=1):
    """The estimator of `faults.perform`."""
    return TSNE(perplexity=5, n_iter=10, early_exaggeration_iter=5, random_state=0, n_jobs=n_jobs)


@pytest.fixture
def disk(tmp_path):
    """A disk of a megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    if shutil.which("mount") is None or os.name == "nt":
        pytest.skip("there is no command mount here")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    yield path
    # Lazily: the error that was caught may still hold a file.
    subprocess.run(["umount", "-l", path], check=True)


def test_a_disk_that_fills_up(small, unbroken, disk):
    """By somebody else, while rows are placed."""

    def fill(phase, done, total):
        if phase == "place" and done == 300:
            with suppress(OSError), open(disk / "other", "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    common = {"dataset": "X", "out": disk / "map", "sample": 60, "tsne": quick()}
    with pytest.raises(OSError, match=r"could not be written: No space left on device") as caught:
        embed(small, **common, block_rows=100, progress=fill)
    assert caught.value.__notes__ == [f"what is done is kept in {disk / 'map'}; go on with resume=True (--resume)"]
    # The rows are few: a page that was taken before holds them, and the first new file is the ledger.
    assert mark_of(disk / "map") == 300
    (disk / "other").unlink()
    embed(small, **common, resume=True)
    check_whole(disk / "map", unbroken[0] / "embed")


class Breaks:
    """A table whose rows from 400 on cannot be read, until it is mended."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.chunks = X, X.shape, X.dtype, None
        self.mended = False

    def read(self, start, stop):
        if stop > 400 and stop - start > 1 and not self.mended:
            raise RuntimeError("the cable is out")
        return self.X[start:stop]

    def reopen(self):
        return self


def test_a_source_that_breaks(small, tmp_path):
    with h5py.File(small) as file:
        source = Breaks(file["X"][:])
    rows = np.arange(0, 400, 7)
    common = {"out": tmp_path / "map", "sample": rows, "tsne": quick(), "block_rows": 150}
    source.mended = True
    whole = embed(source, **{**common, "out": tmp_path / "whole"})
    source.mended = False
    with pytest.raises(OSError, match=r"^rows 300 to 449 of .* could not be read: the cable is out") as caught:
        embed(source, **common)
    assert "go on with resume=True" in caught.value.__notes__[0]
    assert mark_of(tmp_path / "map") == 300
    source.mended = True
    run = embed(source, **common, resume=True)
    assert sums(run.folder) == sums(whole.folder)


def test_a_run_that_was_killed_behind_its_last_word_is_tidied(runs, small, unbroken, tmp_path):
    """Between the manifest and the removal of what only an unfinished run needs."""
    home, _ = unbroken
    out = tmp_path / "map"
    shutil.copytree(home / "embed", out)
    job = {"makes": ["model", "saving.part", "embedding.npy", "round-1"]}
    Ledger(out / "ledger.json", job).write()
    (out / "ledger.json.part").write_text((out / "ledger.json").read_text()[:50])
    for name in ("saving.part", "round-1"):
        (out / name).mkdir()
        (out / name / "file").write_text("of no use any more")
    (out / "embedding.npy.part").write_text("of no use any more")
    ended = runs.run("embed", data=small, out=out, block_rows=9, n_jobs=1, resume=True)
    assert ended["status"] == 0 and ended["calls"] == 0, ended
    check_whole(out, home / "embed")


def test_seconds_count_all_attempts(runs, small, tmp_path):
    out = tmp_path / "map"
    common = {"data": small, "out": out, "block_rows": 50, "n_jobs": 1}
    assert runs.run("embed", {"at": "block", "count": 9}, **common)["status"] == KILLED
    ledger = Ledger.read(out / "ledger.json")
    assert ledger.entry("place").seconds > 0
    # As if the rows so far had taken a day.
    ledger.mark("place", replace(ledger.entry("place"), seconds=86400.0))
    assert runs.run("embed", **common, resume=True)["status"] == 0
    seconds = open_run(out).manifest["seconds"]
    assert 86400 < seconds["place"] < 86400 + 60
    assert seconds["fit"] == ledger.entry("fit").seconds
