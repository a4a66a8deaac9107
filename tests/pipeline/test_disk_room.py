"""Room for all files of a run together is looked at before the first row is read."""

import shutil

import numpy as np
import pytest

from tsne_ooc import TSNE, stages
from tsne_ooc.pipeline import embed, place
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.sampling import Coverage

N, P = 2000, 6
X = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)


class Counted:
    shape, dtype, chunks = (N, P), np.dtype("f4"), None

    def __init__(self):
        self.reads = 0

    def read(self, start, stop):
        self.reads += 1
        return X[start:stop]

    def reopen(self):
        return self


@pytest.fixture
def room(monkeypatch):
    """A function that leaves so many bytes on the disk."""
    usage = shutil.disk_usage("/")

    def leave(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=int(free)))

    return leave


def options(out, **more):
    tsne = TSNE(perplexity=5, n_iter=2, early_exaggeration_iter=2, random_state=0, n_components=2)
    return {"out": out, "sample": 500, "tsne": tsne, **more}


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "more", [{}, {"rounds": 2}, {"sample": Coverage(500)}, {"prepare": Preparation([Standardize()])}, {"sample": 5000}],
    ids=["plain", "rounds", "coverage", "prepared", "all"],
)  # fmt: skip
def test_a_run_whose_files_do_not_fit_together(tmp_path, room, more):
    """Each alone would: it is refused at nine tenths of what it takes, and works with all of it."""
    embed(X, **options(tmp_path / "known", **more))
    # The prepared rows of the sample are counted once it is known how wide they are.
    takes = size_of(tmp_path / "known") - (500 * 4 * P if "prepare" in more else 0)
    if "rounds" in more:
        takes = 2 * N * 12 + size_of(tmp_path / "known" / "model")
    table = Counted()
    room(0.9 * takes)
    with pytest.raises(OSError, match=r"map needs 0\.00 GB more, and .*map has 0\.00 GB left"):
        embed(table, **options(tmp_path / "map", **more))
    assert table.reads == 0 and not (tmp_path / "map").exists()
    room(takes + 300_000)
    embed(table, **options(tmp_path / "map", **more))


def test_placing(tmp_path, room):
    embed(X, **options(tmp_path / "map"))
    table = Counted()
    room(11 * N)
    with pytest.raises(OSError, match=r"more needs 0\.00 GB more"):
        place(tmp_path / "map", table, out=tmp_path / "more")
    assert table.reads == 0
    room(13 * N + 100_000)
    place(tmp_path / "map", table, out=tmp_path / "more")


def test_room_that_goes_during_the_fit(tmp_path, room, monkeypatch):
    """The error says how to go on; what lies there already needs no room then."""
    real = stages.Stream

    def stream(*arguments):
        room(100)
        return real(*arguments)

    monkeypatch.setattr(stages, "Stream", stream)
    with pytest.raises(OSError, match=r"embedding\.npy needs .* GB more") as caught:
        embed(X, **options(tmp_path / "map"))
    monkeypatch.undo()
    assert caught.value.__notes__ == [f"what is done is kept in {tmp_path / 'map'}; go on with resume=True (--resume)"]
    usage = shutil.disk_usage(tmp_path)
    # For coordinates and novelty, and not for the model once more.
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=N * 12 + 140_000))
    embed(X, **options(tmp_path / "map", resume=True))
