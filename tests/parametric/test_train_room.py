"""Room for the teacher, the states of a training and the encoder together is looked at before the first row is read."""

import os
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, FieldTuning, Stage  # noqa: E402
from tsne_ooc.pipeline import embed, train  # noqa: E402
from tsne_ooc.preprocess import Preparation, Standardize  # noqa: E402

N, P = 2000, 6
X = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)
# Manifests and what else has no length beforehand.
SLACK = 1 << 18


class Counted:
    shape, dtype, chunks = (N, P), np.dtype("f4"), None

    def __init__(self):
        self.reads = 0

    def read(self, start, stop):
        self.reads += 1
        return X[start:stop]

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


def network():
    wide = torch.nn.Linear(300, 300)
    return torch.nn.Sequential(torch.nn.Linear(P, 300), torch.nn.ReLU(), wide, torch.nn.Linear(300, 2))


CASES = {
    "wide network": {"network": (400, 2)},
    "landmarks": {"landmarks": 64, "network": (256, 2)},
    "decoder": {"decoder": Decoder(n_iter=12, network=(400, 2))},
    "network of one's own": {"network": network, "landmarks": "auto"},
    "all rows mapped": {"objective": [Stage(Distillation()), Stage(FieldTuning())], "sample": N},
    "a map": {"network": (208, 1), "map": True},
    "prepared": {"network": (400, 2), "prepare": Preparation([Standardize()])},
}


@pytest.mark.parametrize("name", CASES)
def test_a_training_whose_files_do_not_fit_together(tmp_path, monkeypatch, name):
    """Each alone would: it is refused at nine tenths of what it takes at its fullest, and works with all of it."""
    monkeypatch.setattr(ParametricTSNE, "LOOK_EVERY", 4)
    case = {"network": (256, 1), "landmarks": 0, **CASES[name]}
    more = {"sample": case.pop("sample", 400), "prepare": case.pop("prepare", None)}
    few = {"perplexity": 5, "n_iter": 2, "early_exaggeration_iter": 2, "random_state": 0}
    if case.pop("map", False):
        embed(X, out=tmp_path / "map", sample=1500, tsne=TSNE(**few))
        more = {"map": tmp_path / "map"}
    else:
        more["tsne"] = TSNE(**few)
    if callable(case["network"]):
        case["network"] = case["network"]()
    encoder = ParametricTSNE(n_iter=12, batch_size=256, random_state=0, n_jobs=1, **case)
    home = tmp_path / "disk"
    home.mkdir()
    disk = Disk(home, monkeypatch)
    train(X, out=home / "known", encoder=encoder, **more)
    shutil.rmtree(home / "known")
    table = Counted()
    disk.size = int(0.9 * disk.most)
    with pytest.raises(OSError, match=r"encoder needs 0\.\d\d GB more, and .*encoder has 0\.\d\d GB left"):
        train(table, out=home / "encoder", encoder=encoder, **more)
    assert table.reads == 0 and not (home / "encoder").exists()
    disk.size = disk.most + SLACK
    train(table, out=home / "encoder", encoder=encoder, **more)
