"""What each option of `place` promises, each by a rule of its own: the list of options is its signature.

The truth is a known one: a row of the fit comes back to its seat, so that a table of such rows, in an order of its own,
has places that were known before.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from reported import novelty_of, own_of
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.pipeline import placing
from tsne_ooc.stages import RowStage

N, P = 80, 3
FEW = {"perplexity": 6, "early_exaggeration_iter": 4, "n_iter": 6, "random_state": 0}
ORDER = np.random.default_rng(5).permutation(N)


def rows(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 5, (4, P))[rng.integers(0, 4, N)] + rng.normal(size=(N, P))
    # What a missing piece of a file is read as.
    X[17] = 0
    return X.astype(np.float32)


class Counted:
    """A table that knows which of its rows were read."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.chunks = X, X.shape, X.dtype, None
        self.asked = []

    def read(self, start, stop):
        self.asked.append((start, stop))
        return self.X[start:stop]

    def reopen(self):
        return self


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two maps, of different rows, by name: their folders, and where their rows lie."""
    home, found = tmp_path_factory.mktemp("maps"), {}
    for seed, name in enumerate(("one", "two")):
        model = TSNE(**FEW).fit(rows(seed))
        model.save(home / name)
        found[name] = (home / name, np.array(model.embedding_))
    return found


@pytest.fixture
def placed(saved, tmp_path):
    """`place`, of the rows of the first map in an order of their own where nothing else is said."""
    taken = []

    def call(**options):
        taken.append(None)
        given = {"model": saved["one"][0], "source": rows()[ORDER], "out": tmp_path / f"out{len(taken)}", **options}
        return tsne_ooc.place(given.pop("model"), given.pop("source"), **given)

    return call


class Stop(Exception):
    pass


def of_model(placed, saved, folder):
    found = placed(model=saved["two"][0], source=rows(1)[ORDER])
    np.testing.assert_array_equal(found.embedding, saved["two"][1][ORDER])
    assert not np.allclose(saved["two"][1], saved["one"][1])
    assert found.manifest["model"] == str(saved["two"][0])


def of_source(placed, saved, folder):
    np.testing.assert_array_equal(placed(source=rows()[ORDER[:9]]).embedding, saved["one"][1][ORDER[:9]])
    np.testing.assert_array_equal(placed().embedding, saved["one"][1][ORDER])


def of_out(placed, saved, folder):
    run = placed(out=folder / "a" / "b")
    assert run.folder == folder / "a" / "b"
    np.testing.assert_array_equal(np.load(folder / "a" / "b" / "embedding.npy"), saved["one"][1][ORDER])


def of_dataset(placed, saved, folder):
    with h5py.File(folder / "table.h5", "w") as file:
        file["first"], file["second"] = rows()[ORDER], rows()[:9]
    for name, which in (("first", ORDER), ("second", np.arange(9))):
        run = placed(source=folder / "table.h5", dataset=name)
        np.testing.assert_array_equal(run.embedding, saved["one"][1][which])


def of_columns(placed, saved, folder):
    names = ["z", "left out", "y", "x"]
    kind = np.dtype([(name, "f4") for name in names])
    X = rows()[ORDER]
    given = np.column_stack([X[:, 2], np.full(N, 9.0), X[:, 1], X[:, 0]])
    with h5py.File(folder / "table.h5", "w") as file:
        file["X"] = np.array([tuple(row) for row in given], kind)
    # The map has no names of its own, so the order that is asked for is the order of its columns.
    with pytest.warns(UserWarning, match="X has feature names"):
        run = placed(source=folder / "table.h5", columns=["x", "y", "z"])
    np.testing.assert_array_equal(run.embedding, saved["one"][1][ORDER])
    with pytest.warns(UserWarning, match="X has feature names"):
        run = placed(source=folder / "table.h5", columns=["z", "y", "x"])
    assert not np.array_equal(run.embedding, saved["one"][1][ORDER])


def of_allow_missing_chunks(placed, saved, folder):
    with h5py.File(folder / "table.h5", "w") as file:
        table = file.create_dataset("X", (N, P), "f4", chunks=(10, P))
        table[:70] = rows()[ORDER][:70]
    with pytest.raises(OSError, match="--allow-missing-chunks"):
        placed(source=folder / "table.h5")
    run = placed(source=folder / "table.h5", allow_missing_chunks=True)
    np.testing.assert_array_equal(run.embedding[:70], saved["one"][1][ORDER[:70]])
    np.testing.assert_array_equal(run.embedding[70:], saved["one"][1][[17] * 10])


def of_novelty(placed, saved, folder):
    X, Q = rows(), rows(1)
    wanted = novelty_of(cdist(Q, X), own_of(X)[1])
    for given in ({}, {"novelty": True}):
        run = placed(source=Q, **given)
        np.testing.assert_allclose(run.novelty, wanted, rtol=1e-4)
        assert run.manifest["novelty"]["largest"] == pytest.approx(wanted.max(), rel=1e-4)
    run = placed(source=Q, novelty=False)
    assert run.novelty is None and "novelty" not in run.manifest
    assert sorted(file.name for file in run.folder.iterdir() if file.suffix == ".npy") == ["embedding.npy"]


def of_n_jobs(placed, saved, folder):
    seen, real = [], placing.opened_model

    def opened(where, n_jobs):
        found = real(where, n_jobs)
        seen.append(found.estimator.map_.threads.n)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "opened_model", opened)
        runs = [placed(source=rows(1), n_jobs=n) for n in (1, 3)]
    assert seen == [1, 3]
    np.testing.assert_array_equal(runs[0].embedding, runs[1].embedding)


def of_rows(placed, saved, folder):
    totals = set()
    for given in ((5, 30), "5:30", range(5, 30)):
        table = Counted(rows()[ORDER])
        run = placed(source=table, rows=given, progress=lambda phase, done, total: totals.add(total))
        np.testing.assert_array_equal(run.embedding, saved["one"][1][ORDER][5:30])
        assert run.manifest["n_samples"] == len(run.novelty) == 25
    assert totals == {25}
    with pytest.raises(ValueError, match="rows= places some rows only"):
        placed(rows=(0, 3), then=FirstColumn())


def of_executor(placed, saved, folder):
    from concurrent.futures import ThreadPoolExecutor

    names = set()

    class Noted(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            names.add(function.__name__)
            return super().submit(function, *arguments)

    with Noted(2) as pool:
        run = placed(executor=pool, block_rows=9)
    np.testing.assert_array_equal(run.embedding, saved["one"][1][ORDER])
    assert names


def of_block_rows(placed, saved, folder):
    table, seen = Counted(rows()[ORDER]), []
    run = placed(source=table, block_rows=7, progress=lambda *event: seen.append(event))
    np.testing.assert_array_equal(run.embedding, saved["one"][1][ORDER])
    assert {done for _, done, _ in seen} == {*range(0, N, 7), N} - ({0} if seen[0][1] else set())
    assert max(stop - start for start, stop in table.asked) == 7


def of_resume(placed, saved, folder):
    def stopped(phase, done, total):
        if done >= 35:
            raise Stop

    given = {"out": folder / "run", "block_rows": 7, "source": (table := Counted(rows()[ORDER]))}
    with pytest.raises(Stop):
        placed(**given, progress=stopped)
    with pytest.raises(FileExistsError, match="resume=True"):
        placed(**given)
    table.asked.clear()
    run = placed(**given, resume=True)
    # Rows 28 to 34 were placed, and not yet marked.
    rest = [start for start, stop in table.asked if stop - start == 7]
    assert min(rest) >= 28 and 70 in {start for start, _ in table.asked}
    np.testing.assert_array_equal(run.embedding, saved["one"][1][ORDER])


def of_progress(placed, saved, folder):
    seen = []
    placed(block_rows=20, progress=lambda *event: seen.append(event))
    assert {phase for phase, _, _ in seen} == {"place"} and {total for _, _, total in seen} == {N}
    done = [done for _, done, _ in seen]
    assert done == sorted(done) and done[-4:] == [20, 40, 60, 80]


@dataclass(frozen=True)
class FirstColumn(RowStage):
    name = "first"
    makes = ("first.npy",)

    def shapes(self, work):
        return {"first": (N,)}

    def compute(self, work):
        return lambda first, block: {"first": block[:, 0]}


def of_then(placed, saved, folder):
    run = placed(then=FirstColumn())
    np.testing.assert_array_equal(run.arrays["first"], rows()[ORDER][:, 0])
    assert "first" not in placed().arrays


RULES = {
    "model": of_model, "source": of_source, "out": of_out, "dataset": of_dataset, "columns": of_columns,
    "allow_missing_chunks": of_allow_missing_chunks, "novelty": of_novelty, "n_jobs": of_n_jobs,
    "block_rows": of_block_rows, "resume": of_resume, "progress": of_progress, "then": of_then, "rows": of_rows,
    "executor": of_executor,
}  # fmt: skip


def test_no_option_is_left_out():
    # What is not known is refused, which `test_words_elsewhere.py` looks at.
    assert set(RULES) == set(inspect.signature(tsne_ooc.place).parameters) - {"unknown"}


@pytest.mark.parametrize("option", RULES)
def test_each_option(placed, saved, tmp_path, option):
    RULES[option](placed, saved, tmp_path)


def test_the_manifest_says_what_was_done(placed, saved):
    """Its keys are all of these, and each is known otherwise."""
    run = placed(source=rows(1))
    written = json.loads((run.folder / "manifest.json").read_text())["content"]
    assert written == run.manifest
    summary, job, seconds = written.pop("novelty"), written.pop("job"), written.pop("seconds")
    memory = written.pop("memory_gb")
    assert written == {
        "task": "place", "source": f"array of shape ({N}, {P})", "read": {"left_out": {}, "remarks": []},
        "model": str(saved["one"][0]), "n_samples": N, "n_features": P, "n_components": 2,
    }  # fmt: skip
    novelty = np.load(run.folder / "novelty.npy").astype(float)
    threshold = tsne_ooc.load(saved["one"][0]).novelty_threshold_
    assert summary.pop("rows") == N and summary.pop("threshold") == pytest.approx(threshold)
    assert summary.pop("beyond") == (beyond := int((novelty > threshold).sum())) and 0 < beyond < N
    assert summary.pop("beyond_share") == beyond / N and summary.pop("largest") == pytest.approx(novelty.max())
    quantiles = summary.pop("quantiles")
    assert not summary and len(quantiles) == 6
    for q, value in quantiles.items():
        assert value == pytest.approx(np.quantile(novelty, float(q), method="inverted_cdf"), rel=0.03, abs=1e-3)
    assert set(seconds) == {"place"} and seconds["place"] >= 0
    assert set(memory) == {"place"} and 0.02 < memory["place"] < 100
    digest = json.loads((saved["one"][0] / "manifest.json").read_text())["sha256"]
    assert job["request"] == {"model": digest, "novelty": True} and job["task"] == "place"
    assert job["makes"] == ["embedding.npy", "novelty.npy", "dropped_rows.npy"]
    assert set(job) == {"task", "source", "request", "tsne_ooc", "makes"}
