"""Room for all files of a run together, of those on their way too, is looked at before the first row is read."""

import importlib.util
import os
import shutil

import numpy as np
import pytest

from tsne_ooc import TSNE, Refinement
from tsne_ooc import stages as runs
from tsne_ooc.pipeline import embed, place, train
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.sampling import Coverage

P = 6
# Manifests and what else has no length beforehand.
SLACK = 1 << 18
FEW = {"perplexity": 5, "n_iter": 2, "early_exaggeration_iter": 2, "random_state": 0}
neural = importlib.util.find_spec("torch") is not None


def rows(n):
    return np.random.default_rng(0).normal(size=(n, P)).astype(np.float32)


class Counted:
    """A table that counts how often it is read."""

    dtype, chunks = np.dtype("f4"), None

    def __init__(self, n):
        self.X, self.shape, self.reads = rows(n), (n, P), 0

    def read(self, start, stop):
        self.reads += 1
        return self.X[start:stop]

    def reopen(self):
        return self


class Disk:
    """One that has so many bytes in all, of which the files of a folder take some; and the most they ever took."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.size, self.most = folder, 1 << 40, 0
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=max(0, self.size - self.taken())))
        for name in ("replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, self.watched(getattr(os, name)))

    def taken(self):
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def watched(self, real):
        def call(*arguments, **options):
            self.most = max(self.most, self.taken())
            return real(*arguments, **options)

        return call


def embedding(n=60_000, **more):
    """A run of so many rows."""
    asked = {"sample": 500, "tsne": TSNE(**FEW), **more}
    return n, lambda folder: lambda table, out: embed(table, out=out, **asked)


def placed(folder):
    embed(rows(600), out=folder / "map", tsne=TSNE(**FEW))
    return lambda table, out: place(folder / "map", table, out=out)


def training(**case):
    """A training of 2,000 rows."""

    def prepared(folder):
        from tsne_ooc.parametric import ParametricTSNE

        given = {"network": (256, 1), "landmarks": 0, **case}
        given = {name: value() if callable(value) else value for name, value in given.items()}
        more = {"sample": given.pop("sample", 400), "prepare": given.pop("prepare", None), "tsne": TSNE(**FEW)}
        if given.pop("map", False):
            embed(rows(2_000), out=folder / "map", sample=1500, tsne=TSNE(**FEW))
            more = {"map": folder / "map"}
        encoder = ParametricTSNE(n_iter=12, batch_size=256, random_state=0, n_jobs=1, **given)
        return lambda table, out: train(table, out=out, encoder=encoder, **more)

    return 2_000, prepared


def decoder():
    from tsne_ooc.parametric import Decoder

    return Decoder(n_iter=12, network=(400, 2))


def network():
    import torch

    wide = torch.nn.Linear(300, 300)
    return torch.nn.Sequential(torch.nn.Linear(P, 300), torch.nn.ReLU(), wide, torch.nn.Linear(300, 2))


def stages():
    from tsne_ooc.parametric.objectives import Distillation, FieldTuning, Stage

    return [Stage(Distillation()), Stage(FieldTuning())]


CASES = {
    "embed": embedding(), "embed, rounds": embedding(rounds=2), "embed, coverage": embedding(sample=Coverage(500)),
    "embed, prepared": embedding(prepare=Preparation([Standardize()])), "embed, large sample": embedding(sample=4000),
    "embed, refined": embedding(7_000, refine=Refinement(n_iter=5, snapshot_every=2)),
    "embed, refined, few kept": embedding(7_000, refine=Refinement(n_iter=5, snapshot_every=2, reference=200)),
    "place": (60_000, placed),
    "train, wide network": training(network=(400, 2)), "train, landmarks": training(landmarks=64, network=(256, 2)),
    "train, decoder": training(decoder=decoder), "train, a map": training(network=(208, 1), map=True),
    "train, a network of one's own": training(network=network, landmarks="auto"),
    "train, all rows mapped": training(objective=stages, sample=2_000),
    "train, prepared": training(network=(400, 2), prepare=Preparation([Standardize()])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_run_whose_files_do_not_fit_together(tmp_path, monkeypatch, name):
    """Each alone would: it is refused at nine tenths of what it takes at its fullest, and works with all of it."""
    if name.startswith("train"):
        if not neural:
            pytest.skip("encoders need the extra 'neural'")
        monkeypatch.setattr("tsne_ooc.parametric.ParametricTSNE.LOOK_EVERY", 4)
    n, made = CASES[name]
    run, home = made(tmp_path), tmp_path / "disk"
    home.mkdir()
    disk = Disk(home, monkeypatch)
    run(rows(n), home / "known")
    shutil.rmtree(home / "known")
    table = Counted(n)
    disk.size = int(0.9 * disk.most)
    with pytest.raises(OSError, match=r"out needs 0\.\d\d GB more, and .*out has 0\.\d\d GB left"):
        run(table, home / "out")
    assert table.reads == 0 and not (home / "out").exists()
    disk.size = disk.most + SLACK
    run(table, home / "out")


def test_room_that_goes_during_the_fit(tmp_path, monkeypatch):
    """The error says how to go on; what lies there already needs no room then."""
    n, real, usage = 2_000, runs.Stream, shutil.disk_usage("/")

    def room(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free))

    def stream(*arguments, **options):
        room(100)
        return real(*arguments, **options)

    monkeypatch.setattr(runs, "Stream", stream)
    asked = {"out": tmp_path / "map", "sample": 500, "tsne": TSNE(**FEW)}
    with pytest.raises(OSError, match=r"embedding\.npy needs .* GB more") as caught:
        embed(rows(n), **asked)
    monkeypatch.undo()
    assert caught.value.__notes__ == [f"what is done is kept in {tmp_path / 'map'}; go on with resume=True (--resume)"]
    # For coordinates and novelty, and not for the model once more.
    room(n * 12 + 140_000)
    embed(rows(n), **asked, resume=True)
