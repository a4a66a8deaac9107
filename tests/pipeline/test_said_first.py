"""What can be known before the work is said before it: no callback is called, and no row read but the ten by which a
table is known again, before any of these errors; and what can be done is done."""

from __future__ import annotations

import inspect
import logging
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from tsne_ooc import TSNE, Perplexity, embed, open_run
from tsne_ooc.pipeline import train
from tsne_ooc.preprocess import Preparation, Transformer
from tsne_ooc.sampling import Drawn, Sample

X = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
QUICK = {"perplexity": 5, "n_iter": 4, "early_exaggeration_iter": 4, "callbacks_every_iters": 1, "random_state": 0}
SCALED = Preparation([Transformer(StandardScaler())])


class Table:
    """Counts the blocks that are read of it; a look at one row is no block."""

    shape, dtype = X.shape, X.dtype

    def __init__(self, own=None):
        self.own, self.blocks = own, 0

    def __getitem__(self, rows):
        self.blocks += rows.stop - rows.start > 1
        return X[rows]

    def identity(self):
        return self.own


class Rows(Sample):
    """A sample of the user's."""

    def __init__(self, rows):
        self.rows, self.size = rows, len(rows)

    def draw(self, source, rng, *, progress=None):
        return Drawn(np.array(self.rows), X[np.array(self.rows, int) % 80])


class Halves(BaseEstimator):
    """An estimator of the user's, with no threads, no seed, and no way to save it."""

    def __init__(self, factor=0.5):
        self.factor = factor

    def fit(self, rows, y=None):
        self.embedding_ = self.transform(rows)
        return self

    def transform(self, rows):
        return self.factor * np.asarray(rows)[:, :2]


def network(torch, of):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = torch.nn.LazyLinear(2) if of == "no shape" else torch.nn.Linear(4, 2)
            if of in ("complex", "infinite"):
                self.register_buffer("more", torch.tensor([1j if of == "complex" else float("inf")]))

        def forward(self, rows):
            return self.out(rows)

        if of == "words":

            def get_extra_state(self):
                return {"version": 1}

            def set_extra_state(self, state):
                pass

    return Net()


def encoder(**options):
    parametric = pytest.importorskip("tsne_ooc.parametric")
    quick = {"network": (16, 1), "n_iter": 4, "batch_size": 20, "objective": "distillation", "random_state": 0}
    return parametric.ParametricTSNE(**{**quick, **options})


def folder(path):
    path.mkdir(parents=True)
    (path / "mine.txt").write_text("mine")
    return path


# What is asked for with a table, a TSNE and a path.
WRONG = {
    "an encoder to embed with": lambda table, tsne, out: embed(table, out=out, tsne=encoder(teacher=tsne)),
    "names of two kinds": lambda table, tsne, out: embed(named(["a", 1, "c", "d"]), out=out, tsne=tsne),
    "two samples": lambda table, tsne, out: embed(table, out=out, tsne=tsne.set_params(sample=30), sample=40),
    "two preparations": lambda table, tsne, out: embed(
        table, out=out, tsne=tsne.set_params(prepare=SCALED), prepare=Preparation([])
    ),
    "a sample that descends": lambda table, tsne, out: embed(table, out=out, tsne=tsne, sample=Rows([5, 4, 6])),
    "a sample with a row twice": lambda table, tsne, out: tsne.set_params(sample=Rows([4, 4, 6])).fit(table),
    "a sample of rows that are not": lambda table, tsne, out: embed(table, out=out, tsne=tsne, sample=Rows([3, 90])),
    "a sample of parts": lambda table, tsne, out: embed(table, out=out, tsne=tsne, sample=Rows([1.0, 2.5])),
    "rounds without novelty": lambda table, tsne, out: embed(table, out=out, tsne=Halves(), rounds=2),
    "an option that cannot be copied": lambda table, tsne, out: embed(
        table, out=out, tsne=tsne.set_params(callbacks=Watcher(threading.Lock()).watch)
    ),
    "a folder in the way of a run": lambda table, tsne, out: embed(table, out=folder(out), tsne=tsne),
    "a search of the user's to train": lambda table, tsne, out: train(
        table, out=out, tsne=tsne.set_params(neighbors=object()), encoder=encoder()
    ),
    "a transformer to train": lambda table, tsne, out: train(
        table, out=out, tsne=tsne, encoder=encoder(), prepare=SCALED
    ),
    "a function as metric to train": lambda table, tsne, out: train(
        table, out=out, tsne=tsne.set_params(metric=lambda a, b: np.abs(a - b).sum()), encoder=encoder()
    ),
    "distances to train": lambda table, tsne, out: train(
        table, out=out, tsne=tsne.set_params(metric="precomputed"), encoder=encoder()
    ),
    "distances to learn from": lambda table, tsne, out: encoder(
        teacher=tsne.set_params(metric="precomputed")
    ).fit(table),
    "a folder in the way of a training": lambda table, tsne, out: encoder(teacher=tsne).fit(
        table, checkpoint=folder(out)
    ),
    "a folder in the way of a decoder": lambda table, tsne, out: encoder(teacher=tsne, decoder=True).fit(
        table, checkpoint=folder(out.with_name("out.decoder")).with_name("out")
    ),
}  # fmt: skip


def named(names):
    return pd.DataFrame(X, columns=names)


class Watcher:
    def __init__(self, lock):
        self.lock = lock

    def watch(self, i, error, Y):
        return False


@pytest.mark.parametrize("name", WRONG)
def test_it_is_said_before_the_work(tmp_path, name):
    called, table = [], Table()
    tsne = TSNE(**QUICK, callbacks=lambda *told: called.append(told))
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        WRONG[name](table, tsne, tmp_path / "out")
    assert "\n" not in str(caught.value) and not called and not table.blocks
    left = {path.name for path in tmp_path.rglob("*")} - {"out", "out.decoder", "mine.txt"}
    assert not left


@pytest.mark.parametrize("of", ["complex", "infinite", "words", "no shape"])
@pytest.mark.parametrize("door", ["train", "fit"])
def test_a_network_that_no_file_holds(tmp_path, of, door):
    torch = pytest.importorskip("torch")
    called, table = [], Table()
    tsne = TSNE(**QUICK, callbacks=lambda *told: called.append(told))
    model = encoder(network=network(torch, of))
    with pytest.raises(ValueError, match="network has"):
        if door == "train":
            train(table, out=tmp_path / "out", tsne=tsne, encoder=model)
        else:
            model.set_params(teacher=tsne).fit(table, checkpoint=tmp_path / "out")
    assert not called and not table.blocks and not list(tmp_path.iterdir())


def test_a_folder_in_the_way_of_a_file(tmp_path):
    table, model = Table(), TSNE(**QUICK).fit(X)
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        model.transform_to(table, folder(tmp_path / "Y.npy"))
    assert not table.blocks and {path.name for path in tmp_path.iterdir()} == {"Y.npy"}


# ------------------------------------------------------------------------------------------- what can be done, is done


def test_a_transformer_is_placed_with_though_no_file_holds_it(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        run = embed(X, out=tmp_path / "map", sample=40, tsne=TSNE(**QUICK), prepare=SCALED, progress=told(caplog))
    assert caplog.before_fit == ["this run cannot be resumed, since its model cannot be saved"]
    assert run.embedding.shape == (80, 2) and not (tmp_path / "map" / "model").exists()
    wanted = TSNE(**QUICK, sample=40, prepare=SCALED).fit_transform(X)
    np.testing.assert_array_equal(run.embedding, wanted)


def told(caplog):
    def progress(phase, done, total):
        if phase == "fit" and not done:
            caplog.before_fit = [record.getMessage().split(":")[0] for record in caplog.records]

    return progress


def test_an_estimator_of_ones_own(tmp_path):
    run = embed(Table(), out=tmp_path / "map", sample=40, tsne=Halves())
    np.testing.assert_array_equal(run.embedding, X[:, :2] / 2)
    assert open_run(tmp_path / "map").manifest["parameters"] == {"factor": 0.5}


@pytest.mark.parametrize("own", [{"version": np.int64(3), "rows": np.arange(3), "when": np.datetime64("2020")}, 5, "a"])
def test_an_identity_of_any_values(tmp_path, own):
    class Stop(Exception):
        pass

    def stop(phase, done, total):
        if phase == "place" and done:
            raise Stop

    options = {"out": tmp_path / "map", "tsne": TSNE(**QUICK), "block_rows": 30}
    with pytest.raises(Stop):
        embed(Table(own), progress=stop, **options)
    with pytest.raises(ValueError, match="identity it gives itself"):
        embed(Table({"version": 4}), resume=True, **options)
    assert embed(Table(own), resume=True, **options).embedding.shape == (80, 2)


def test_all_that_is_saved_is_looked_at():
    """A parameter that decides how rows are placed is refused before the fit where no file holds it."""
    from tsne_ooc.estimator.saving import check_saved

    class Mine(Perplexity):
        pass

    lost = {}
    for name in inspect.signature(TSNE).parameters:
        try:
            check_saved(TSNE(**{name: Mine(5)}))
        except (ValueError, TypeError) as error:
            lost[name] = str(error)
    assert set(lost) == {"metric", "placement", "neighbors"}
