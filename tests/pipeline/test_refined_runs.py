"""Runs that move all rows together: as good as a fit of all, gone on with after any accident, a map like any other."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from functools import partial

import h5py
import numpy as np
import pytest
from faults import KILLED, Runs, sums
from reported import divergence
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE, Refinement
from tsne_ooc import cli as command
from tsne_ooc.cli.progress import Report
from tsne_ooc.metrics import neighbor_recall
from tsne_ooc.neighbors import IVF
from tsne_ooc.pipeline import refining
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.storage.ledger import Ledger

N, SAMPLE = 500, 120
FEW = {"perplexity": 8, "early_exaggeration_iter": 15, "n_iter": 40, "random_state": 0}
SHORT = Refinement(n_iter=30, snapshot_every=4)


def groups(n=N, p=6, seed=0):
    rng = np.random.default_rng(seed)
    centres = 6 * np.random.default_rng(7).normal(size=(5, p))
    return (rng.normal(size=(n, p)) + centres[rng.integers(0, 5, n)]).astype(np.float32)


X = groups()


def embedded(folder, table=X, refine=SHORT, **options):
    return tsne_ooc.embed(table, out=folder, **{"sample": SAMPLE, "tsne": TSNE(**FEW), "refine": refine, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing ended."""
    return embedded(tmp_path_factory.mktemp("whole") / "map")


def bytes_of(folder):
    """What a run leaves, but for times and places in the manifests."""
    return {**sums(folder), **{f"model/{name}": sum for name, sum in sums(folder / "model").items()}}


# ------------------------------------------------------------------------------------------------------ how good


def test_the_map_is_that_of_all_rows(tmp_path):
    run = embedded(tmp_path / "map", refine=True)
    told, placed = run.manifest["refined"], run.placed
    # By the book: exact neighbours, affinities and sums over all pairs.
    assert told["kl_divergence"] == pytest.approx(divergence(X, run.embedding, 8), rel=2e-3)
    assert told["kl_divergence"] < 0.8 * divergence(X, placed, 8)
    found, before = (neighbor_recall(X, np.array(Y), sample=None)[10] for Y in (run.embedding, placed))
    assert found > before + 0.05
    # Novelty is that of before: rows of the sample seen from its others, the rest from the sample.
    plain = embedded(tmp_path / "plain", refine=False)
    assert plain.placed is None
    np.testing.assert_array_equal(run.novelty, plain.novelty)
    np.testing.assert_array_equal(placed, plain.embedding)
    np.testing.assert_array_equal(run.sample_rows, plain.sample_rows)
    assert run.manifest["kl_divergence"] == plain.manifest["kl_divergence"] and run.manifest["sample"] == SAMPLE


def test_what_the_manifest_tells(whole):
    told, D = dict(whole.manifest["refined"]), cdist(X, X)
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1)[:, :24]
    pairs = {(min(i, j), max(i, j)) for i in range(N) for j in near[i].tolist()}
    assert told.pop("kl_divergence") == pytest.approx(divergence(X, whole.embedding, 8), rel=2e-3)
    # A note after 25 of the 30 iterations; see `unit/test_history.py`.
    assert told.pop("history")["iteration"] == [25]
    assert told == {"neighbors": 24, "recall": 1.0, "n_iter": 30, "pairs": 2 * len(pairs), "reference": N}
    asked = whole.manifest["job"]["request"]["refine"]
    assert asked == {"deviation": 2.0, "reference": None, "n_iter": 30}
    assert set(whole.manifest["seconds"]) == {"sample", "fit", "place", "search", "weigh", "refine", "keep"}
    names = {"manifest.json", "model", "embedding.npy", "placed.npy", "novelty.npy", "sample_rows.npy"}
    assert {path.name for path in whole.folder.iterdir()} - {".lock"} == names


def test_more_rows_take_more_iterations(tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc.refinement.LATE_ROWS", 125)
    told = []
    run = embedded(tmp_path / "map", refine=True, progress=lambda *at: told.append(at))
    assert run.manifest["refined"]["n_iter"] == 215 and ("refine", 215, 215) in told


def test_options_of_all_rows_are_their_own(tmp_path):
    run = embedded(tmp_path / "map", refine=Refinement(perplexity=5, dof=0.7, n_iter=25, deviation=None))
    assert run.manifest["refined"]["neighbors"] == 15 and run.manifest["parameters"]["perplexity"] == 8
    model = tsne_ooc.load(run.folder / "model")
    assert (model.perplexity, model.dof, model.n_iter_, model.map_.model.dof) == (5, 0.7, 25, 0.7)
    assert model.kl_divergence_ == run.manifest["refined"]["kl_divergence"]
    # With no shrinking and no steps rows stay where they were placed.
    still = embedded(tmp_path / "still", refine=Refinement(schedule=[tsne_ooc.Phase(0)], deviation=None))
    np.testing.assert_array_equal(still.embedding, still.arrays["placed"])


@pytest.mark.parametrize("rounds", [1, 2])
def test_prepared_rows_by_blocks_and_threads(tmp_path, rounds):
    """The same bits for any cut of the work; rows are prepared, and the sample grows."""
    table = X * np.float32([1, 50, 1, 1, 0.02, 1])
    table[-40:] *= 4 + 9 * np.random.default_rng(5).random((40, 1), np.float32)
    options = {"prepare": Preparation([Standardize()]), "rounds": rounds}
    one = embedded(tmp_path / "one", table, block_rows=61, tsne=TSNE(**FEW, n_jobs=1), **options)
    other = embedded(tmp_path / "other", table, tsne=TSNE(**FEW, n_jobs=3), **options)
    assert bytes_of(one.folder) == bytes_of(other.folder)
    assert (one.manifest["sample"] > SAMPLE) == (rounds == 2) and len(one.sample_rows) == one.manifest["sample"]
    standard = (table - table.mean(axis=0)) / table.std(axis=0)
    assert one.manifest["refined"]["kl_divergence"] == pytest.approx(divergence(standard, one.embedding, 8), rel=5e-3)


# ------------------------------------------------------------------------------------------- a map like any other


def test_new_rows_are_placed_beside_all(whole, tmp_path):
    model = tsne_ooc.load(whole.folder / "model")
    np.testing.assert_array_equal(model.embedding_, whole.embedding)
    np.testing.assert_array_equal(model.transform(X), whole.embedding)
    np.testing.assert_array_equal(model.placed_.embedding, whole.arrays["placed"])
    np.testing.assert_array_equal(model.placed_.novelty, whole.novelty)
    assert model.sample_rows_ is None and model.n_iter_ == 30 and model.n_neighbors_ == 24
    # A row that is all but one of the table's lies beside it, whether the sample had it or not.
    near = model.transform(X + np.float32(1e-3))
    assert np.median(np.linalg.norm(near - whole.embedding, axis=1)) < 1
    run = tsne_ooc.place(whole.folder, groups(60, seed=1), out=tmp_path / "more")
    np.testing.assert_array_equal(run.embedding, model.transform(groups(60, seed=1)))
    assert abs(model.affinities_ - TSNE(**FEW).fit(X).affinities_).max() < 1e-9


def test_some_rows_for_a_reference(whole, tmp_path):
    run = embedded(tmp_path / "map", refine=Refinement(n_iter=30, reference=200))
    np.testing.assert_array_equal(run.embedding, whole.embedding)
    assert run.manifest["refined"]["reference"] == 200
    model = tsne_ooc.load(run.folder / "model")
    rows = model.sample_rows_
    assert len(rows) == 200 and (np.diff(rows) > 0).all() and rows[-1] < N
    np.testing.assert_array_equal(model.embedding_, whole.embedding[rows])
    np.testing.assert_array_equal(model.placed_.embedding, whole.arrays["placed"][rows])
    np.testing.assert_array_equal(model.placed_.novelty, whole.novelty[rows])
    # How many steps it took to place them is not known any more.
    assert model.placed_.iterations.tolist() == [0] * 200
    np.testing.assert_array_equal(model.transform(X[rows]), model.embedding_)
    others = np.setdiff1d(np.arange(N), rows)
    # They come near their seats, in a map some 50 units wide.
    away = np.linalg.norm(model.transform(X[others]) - whole.embedding[others], axis=1)
    assert np.median(away) < 0.05 * np.ptp(whole.embedding, axis=0).max()
    # Novelty is that of the rows that are there.
    D = cdist(X[rows], X[rows])
    np.fill_diagonal(D, np.inf)
    own = np.sort(D, axis=1)[:, :15].mean(axis=1)
    near = np.argsort(D, axis=1)[:, :15]
    own = np.maximum(own, 0.3 * np.median(own))
    np.testing.assert_allclose(
        model.novelty_, np.sort(D, axis=1)[:, :15].mean(axis=1) / own[near].mean(axis=1), rtol=1e-3
    )
    with pytest.raises(AttributeError, match="cannot be made again"):
        _ = model.affinities_


def test_a_stage_of_ones_own_sees_the_refined_map(tmp_path):
    from tsne_ooc.pipeline import Mapped
    from tsne_ooc.stages import RunStage

    class Seen(RunStage):
        name = "seen"

        def run(self, work):
            placer, seats, _ = work.get(Mapped)
            return {"seats": len(seats.rows), "first": placer.embedding[0].tolist()}

    run = embedded(tmp_path / "map", then=Seen())
    assert run.manifest["then"]["seen"] == {"seats": N, "first": run.embedding[0].tolist()}


# ------------------------------------------------------------------------------------------------ after accidents


class Stopped(Exception):
    pass


def stopping(monkeypatch, when):
    """Let a run stop right after the writing of a folder for which `when(kind)` is true."""
    real = refining.storage.write_folder

    def write(path, kind, *state, **options):
        real(path, kind, *state, **options)
        if when(kind):
            raise Stopped

    monkeypatch.setattr(refining.storage, "write_folder", write)


def test_stopped_at_every_snapshot(whole, tmp_path, monkeypatch):
    """One attempt for each snapshot: each goes on from the last, and the bits are those of one attempt."""
    stopping(monkeypatch, lambda kind: kind == "snapshot")
    told = []
    for attempt in range(7):
        with pytest.raises(Stopped):
            embedded(tmp_path / "map", resume=attempt > 0, progress=lambda *at: told.append(at))
    steps = [done for phase, done, _ in told if phase == "refine"]
    # Each begins where the one before ended, and nothing before is done again.
    assert steps == [step for i in range(7) for step in range(4 * i, 4 * i + 5)]
    assert sum(phase in ("fit", "place", "search") for phase, *_ in told) <= 6
    # Another distance of snapshots is the same run.
    run = embedded(tmp_path / "map", resume=True, refine=Refinement(n_iter=30, snapshot_every=100))
    assert bytes_of(run.folder) == bytes_of(whole.folder)
    assert run.manifest["refined"] == whole.manifest["refined"]


@pytest.mark.parametrize("phase", ["search", "weigh", "refine", "keep"])
@pytest.mark.parametrize("end", [False, True], ids=["at its beginning", "at its end"])
def test_stopped_in_each_stage(whole, tmp_path, phase, end):
    def progress(at, done, total):
        if at == phase and (done == total if end else done == 0):
            raise Stopped

    with pytest.raises(Stopped) as stopped:
        embedded(tmp_path / "map", progress=progress)
    assert any("go on with resume=True" in note for note in stopped.value.__notes__)
    run = embedded(tmp_path / "map", resume=True)
    assert bytes_of(run.folder) == bytes_of(whole.folder)
    assert not (run.folder / refining.SCRATCH).exists()


def test_an_interrupt_leaves_the_map_so_far(tmp_path, capsys):
    """Each time that the divergence is looked at, somebody presses Ctrl-C; with a map of few iterations at least."""
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X
    seen = []

    def impatient(iteration, error, Y):
        seen.append((len(Y), iteration))
        if len(Y) == N and iteration == 20:
            raise KeyboardInterrupt

    tsne = TSNE(**FEW, callbacks=impatient, callbacks_every_iters=10)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        embedded(tmp_path / "map", tsne=tsne)
    after, how = interrupt.value.__notes__
    path = tmp_path / "map" / "embedding.npy"
    assert after == f"after 20 of 30 iterations of all rows together; {path} is the map as it then was"
    assert "resume=True" in how
    Y = np.load(tmp_path / "map" / "embedding.npy")
    assert Y.shape == (N, 2) and np.isfinite(Y).all()
    # It is a map already, if not the best one.
    assert divergence(X, Y, 8) < divergence(X, np.load(tmp_path / "map" / "placed.npy"), 8)
    with pytest.raises(FileNotFoundError, match="not finished"):
        tsne_ooc.open_run(tmp_path / "map")
    seen.clear()
    patient = TSNE(**FEW, callbacks=impatient, callbacks_every_iters=10)
    with pytest.raises(KeyboardInterrupt):
        embedded(tmp_path / "map", tsne=patient, resume=True)
    # From the snapshot before: the sample is not fitted again.
    assert seen == [(N, 20)]


def test_what_was_kept_and_is_damaged_is_named(tmp_path, monkeypatch):
    stopping(monkeypatch, lambda kind: kind == "snapshot")
    with pytest.raises(Stopped):
        embedded(tmp_path / "map")
    monkeypatch.undo()
    for file in ("snapshot/gains.npy", "snapshot/manifest.json", "graph/neighbors.npy", "graph/manifest.json"):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "map", tmp_path / "copy")
        path = tmp_path / "copy" / refining.SCRATCH / file
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged|sum") as wrong:
            embedded(tmp_path / "copy", resume=True)
        assert str(path.parent) in str(wrong.value) and "\n" not in str(wrong.value)
    # A run that asks for something else does not go on.
    with pytest.raises(ValueError, match=r"refine.n_iter was 30, is 31"):
        embedded(tmp_path / "map", resume=True, refine=Refinement(n_iter=31))
    for other in (False, Refinement(n_iter=30, deviation=1), Refinement(n_iter=30, reference=9)):
        with pytest.raises(ValueError, match=r"refine"):
            embedded(tmp_path / "map", resume=True, refine=other)


def test_a_disk_that_fills_up(whole, tmp_path, monkeypatch):
    """A snapshot, the graph, the map or the model finds no room: one line, and the run goes on once there is some."""
    for kind, at in (("graph", 1), ("snapshot", 1), ("snapshot", 3), ("model", 1)):
        left, real = [at], np.lib.format.write_array_header_1_0

        def full(file, header, kind=kind, left=left, real=real):
            path = getattr(getattr(file, "_file", file), "name", "")
            if (
                f"{kind}" in str(path)
                and "round-" not in str(path)
                and str(path).endswith(("places.npy", "distances.npy", "embedding.npy"))
            ):
                left[0] -= 1
                if not left[0]:
                    raise OSError(28, os.strerror(28))
            real(file, header)

        folder = tmp_path / f"{kind}{at}"
        with monkeypatch.context() as patch:
            patch.setattr(np.lib.format, "write_array_header_1_0", full)
            with pytest.raises(OSError, match="could not be written: No space left on device") as error:
                embedded(folder)
        assert "\n" not in str(error.value) and any("resume" in note for note in error.value.__notes__)
        assert bytes_of(embedded(folder, resume=True).folder) == bytes_of(whole.folder)


@pytest.fixture(scope="module")
def runs():
    with Runs() as runs:
        yield runs


@pytest.mark.slow
def test_killed_at_random_moments(runs, tmp_path):
    """SIGKILL at calls that concern the disk and within each stage; how many, `KILLS` says: 300 take some minutes."""
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = np.hstack([X, X[:, :2]])
    common = {"data": tmp_path / "X.h5", "n_jobs": 1, "block_rows": 100, "refine": True}
    unbroken = runs.run("embed", out=tmp_path / "whole", **common)
    assert unbroken["status"] == 0, unbroken["said"]
    wanted = bytes_of(tmp_path / "whole")
    rng = np.random.default_rng(int(os.environ.get("SEED", 0)))
    kills = int(os.environ.get("KILLS", 24))
    moments = [
        ("search", 1),
        ("search", 2),
        ("weigh", 1),
        ("weigh", 2),
        *(("refine", i) for i in range(1, 14)),
        ("keep", 1),
    ]
    moments += [("call", int(i)) for i in rng.integers(1, unbroken["calls"] + 1, kills)]
    for number, (at, count) in enumerate(rng.permutation(np.array(moments, object))[:kills]):
        out = tmp_path / f"map{number}"
        ended = runs.run("embed", out=out, die={"at": at, "count": count}, **common)
        assert ended["status"] == KILLED, (at, count, ended)
        # And once more, on the way back.
        again = runs.run("embed", out=out, die={"at": "call", "count": int(rng.integers(1, 30))}, resume=True, **common)
        if again["status"]:
            assert again["status"] == KILLED, (at, count, again)
            again = runs.run("embed", out=out, resume=True, **common)
        assert again["status"] == 0, (at, count, again["said"])
        assert bytes_of(out) == wanted, (at, count)
        assert not [path for path in out.rglob("*") if path.name.endswith(".part")]
        shutil.rmtree(out)


# ------------------------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_refined(tmp_path):
    from sklearn.manifold import MDS

    class Other(MDS):
        def transform(self, X):
            return X

    for refine, options, wrong, words in (
        (1, {}, TypeError, r"^refine=1 is neither True, False nor"),
        (True, {"tsne": Other()}, TypeError, r"^refine needs a TSNE object, and tsne is a Other"),
        (True, {"tsne": TSNE(metric=lambda a, b: abs(a - b).sum(), neighbors="exact")}, ValueError, "metric"),
        (True, {"tsne": TSNE(metric="precomputed")}, ValueError, r"^refine needs rows"),
        (Refinement(perplexity=-1), {}, ValueError, r"^perplexity=-1"),
        (Refinement(affinity=np.eye(3)), {}, TypeError, r"^affinity= is a matrix"),
        (Refinement(prplexity=3), {}, TypeError, "prplexity"),
    ):
        with pytest.raises(wrong, match=words):
            embedded(tmp_path / "map", refine=refine, **options)
        assert not (tmp_path / "map").exists()
    for given, wrong, words in (
        ({"deviation": 0}, ValueError, "^deviation=0"), ({"reference": 0}, ValueError, "^reference=0"),
        ({"snapshot_every": 0}, ValueError, "^snapshot_every=0"), ({"metric": "cosine"}, TypeError, "^metric= is not"),
    ):  # fmt: skip
        with pytest.raises(wrong, match=words):
            Refinement(**given)


def test_too_large_for_memory_or_disk_is_said_before_the_work(tmp_path, monkeypatch):
    class Unread:
        shape, dtype = (10**8, 50), np.dtype("f4")

        def __getitem__(self, rows):
            return np.random.default_rng(rows.start or 0).normal(size=(rows.stop - rows.start, 50)).astype("f4")

    with pytest.raises(OSError, match=r"needs .* GB more"):
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 10**10}))
        embedded(tmp_path / "map", Unread())
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 10**13}))
    monkeypatch.setattr("tsne_ooc.scratch.plan.available_bytes", lambda: 10**9)
    # Those of this process are what other tests have left.
    monkeypatch.setattr("tsne_ooc.scratch.plan.used_bytes", lambda: 5 * 10**8)
    with pytest.raises(MemoryError, match=r"too little for 100,000,000 rows .*: search takes 9\.\d+ GB; allow more by"):
        embedded(tmp_path / "map", Unread())
    assert not (tmp_path / "map").exists()


def odd(kind):
    rng = np.random.default_rng(3)
    table = groups(260)
    if kind == "all rows equal":
        table[:] = table[0]
    elif kind == "half are copies":
        table[1::2] = table[::2]
    elif kind == "half are one row":
        table[::2] = table[0]
    elif kind == "apart":
        # Two parts, with no neighbour in the other one.
        table[130:] += 1e4
    elif kind == "alone":
        table[77] = 1e6 * rng.normal(size=6)
    return table


ODD = ("all rows equal", "half are copies", "half are one row", "apart", "alone")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_odd_tables(tmp_path, kind):
    table = odd(kind)
    run = embedded(tmp_path / "map", table, sample=80)
    assert np.isfinite(run.embedding).all()
    width = np.ptp(run.embedding, axis=0).max()
    if kind == "half are copies":
        pairs = np.linalg.norm(run.embedding[::2] - run.embedding[1::2], axis=1)
        assert np.median(pairs) < 0.05 * width
    if kind == "half are one row":
        copies = np.array(run.embedding[::2])
        assert len(np.unique(copies, axis=0)) > 100 and np.ptp(copies, axis=0).max() < 0.6 * width
    if kind == "apart":
        first, second = run.embedding[:130], run.embedding[130:]
        # Each row's nearest in the map are of its part.
        near = np.argsort(cdist(run.embedding, run.embedding), axis=1)[:, 1:4]
        assert ((near < 130) == (np.arange(260) < 130)[:, None]).mean() > 0.98, (first.mean(0), second.mean(0))
    # Stopped in the middle, it ends the same.
    model = tsne_ooc.load(run.folder / "model")
    assert np.isfinite(model.transform(groups(20, seed=5))).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")
def test_few_rows(tmp_path, n):
    run = embedded(tmp_path / "map", X[:n])
    assert run.embedding.shape == (n, 2) and np.isfinite(run.embedding).all()
    # Of none that are to be found, none is missed.
    assert run.manifest["refined"]["recall"] == 1.0 and run.manifest["refined"]["neighbors"] == min(n - 1, 24)
    assert tsne_ooc.load(run.folder / "model").transform(X[:n]).shape == (n, 2)


def test_nothing_is_left_of_a_table_with_a_hole(tmp_path):
    """NaN in the middle: found while rows are placed, before any of them moves, by row and column."""
    table = X.copy()
    table[333, 4] = np.nan
    with pytest.raises(ValueError, match=r"row 333, column 4"):
        embedded(tmp_path / "map", table)
    assert not (tmp_path / "map" / refining.SCRATCH).exists() and not (tmp_path / "map" / "embedding.npy").exists()


def test_a_table_that_changes_meanwhile(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X

    def progress(phase, done, total):
        if phase == "refine" and done == 8:
            with h5py.File(tmp_path / "X.h5", "r+") as file:
                file["X"][::50] += 1

    from tsne_ooc.io import open_source

    class Table:
        """What is read of the file, without keeping it open."""

        shape, dtype, path = X.shape, X.dtype, tmp_path / "X.h5"

        def __getitem__(self, rows):
            with open_source(self.path) as table:
                return table.read(rows.start, rows.stop)

    with pytest.raises(OSError, match="changed while it was read"):
        embedded(tmp_path / "map", Table(), progress=progress)
    assert Ledger.read(tmp_path / "map" / "ledger.json").entry("refine").facts is None


# ----------------------------------------------------------------------------------------------- recipe and command


def said(capsys, *words):
    code = command.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "wide.h5"
    with h5py.File(path, "w") as file:
        file["X"] = groups(700, 120)
    return path


def test_what_the_search_of_all_rows_misses_is_told(tmp_path, caplog):
    """A share below .9 in a warning, once for the sample and once for all rows."""
    caplog.set_level("INFO", "tsne_ooc")
    poor = Refinement(n_iter=2, neighbors=IVF(lists=60, probes=1))
    with pytest.warns(UserWarning, match=r"the neighbour search finds 0\.\d\d of the \d+ nearest rows"):
        run = embedded(tmp_path / "map", refine=poor, tsne=TSNE(**FEW, neighbors="exact"))
    share = run.manifest["refined"]["recall"]
    assert share < 0.9 and sum(f"{share:.3f} of the" in line for line in caplog.messages) == 1


def test_the_recipe_is_a_name_for_options(tmp_path, wide, caplog):
    caplog.set_level("INFO", "tsne_ooc")
    run = tsne_ooc.recipes.large(
        wide,
        out=tmp_path / "map",
        sample=300,
        perplexity=3,
        exaggeration=2,
        tsne=TSNE(n_iter=20, dof=0.9),
        reference=90,
    )
    asked, parameters = run.manifest["job"]["request"], run.manifest["parameters"]
    # 1.5 x 3 rows, of which 300 / 150 are fewer; 50 components of 120 columns.
    assert (parameters["perplexity"], parameters["exaggeration"], parameters["dof"]) == (4, 2, 0.9)
    assert parameters["affinity"] == "uniform"
    assert asked["prepare"] == [{"class": "PCA", "n": 50}] and asked["sample"] == {
        "class": "UniformSample",
        "size": 300,
    }
    assert asked["refine"] == {"deviation": 2.0, "reference": 90, "perplexity": 3, "affinity": "perplexity"}
    assert any("recipe large" in line and "at perplexity 4 (uniform)" in line for line in caplog.messages)
    by_hand = tsne_ooc.embed(
        wide, out=tmp_path / "hand", sample=300, prepare=Preparation([tsne_ooc.preprocess.PCA(50)]),
        tsne=TSNE(n_iter=20, dof=0.9, affinity="uniform", perplexity=4, exaggeration=2),
        refine=Refinement(affinity="perplexity", perplexity=3, reference=90),
    )  # fmt: skip
    assert bytes_of(by_hand.folder) == bytes_of(run.folder)


def test_each_choice_of_the_recipe_can_be_another(tmp_path, wide):
    few = {"tsne": TSNE(n_iter=5, early_exaggeration_iter=2), "sample": 100}
    run = tsne_ooc.recipes.large(wide, out=tmp_path / "a", perplexity=6, sample_perplexity=9, prepare=None, **few)
    assert run.manifest["parameters"]["perplexity"] == 9 and run.manifest["job"]["request"]["prepare"] is None
    assert run.manifest["refined"]["neighbors"] == 18 and run.manifest["refined"]["reference"] == 700
    # No less than that of all rows; narrow tables, other metrics and other affinities are left as they are.
    for name, table, tsne, neighbors in (
        ("b", groups(200), TSNE(n_iter=5), 4),
        ("c", groups(200, 120), TSNE(n_iter=5, metric="cosine"), 4),
        ("e", groups(200), TSNE(n_iter=5, affinity="mixture"), 3),
    ):
        run = tsne_ooc.recipes.large(table, out=tmp_path / name, perplexity=3, sample=100, tsne=tsne)
        assert (
            run.manifest["parameters"]["perplexity"] == neighbors and run.manifest["job"]["request"]["prepare"] is None
        )
    for given, words in (
        ({"perplexity": 0}, "^perplexity=0"),
        ({"prepare": "pca"}, "prepare"),
        ({"sample_perplexity": -1}, "^sample_perp"),
    ):
        with pytest.raises(ValueError, match=words):
            tsne_ooc.recipes.large(wide, out=tmp_path / "d", **given)


def test_how_many_neighbours_the_rows_of_the_recipes_sample_have():
    """Of 25,000 rows a hundred and fiftieth; of few rows what is like all rows' perplexity, and never over a third."""
    found = partial(tsne_ooc.recipes.perplexity_of_sample, perplexity=30.0)
    assert [found(rows, equal=True) for rows in (25_000, 3000, 90, 2)] == [167, 45, 30, 1]
    assert [found(rows, equal=False) for rows in (25_000, 3000, 90)] == [167, 30, 30]


def test_the_command(tmp_path, wide, capsys):
    common = ("--quiet", "--sample", 200, "--seed", 3)
    assert said(capsys, "embed", wide, "--out", tmp_path / "a", "--perplexity", 5, "--sample-perplexity", 7, "--refine",
                "--reference", 150, "--pca", 4, *common)[0] == 0  # fmt: skip
    run = tsne_ooc.open_run(tmp_path / "a")
    assert run.manifest["parameters"]["perplexity"] == 7
    assert run.manifest["job"]["request"]["refine"] == {"deviation": 2.0, "reference": 150, "perplexity": 5}
    assert said(capsys, "embed", wide, "--out", tmp_path / "b", "--recipe", "large", "--perplexity", 5, *common)[0] == 0
    recipe = tsne_ooc.recipes.large(
        wide, out=tmp_path / "c", perplexity=5, sample=200, random_state=3, tsne=TSNE(random_state=3)
    )
    assert bytes_of(tmp_path / "b") == bytes_of(recipe.folder)
    code, out, err = said(capsys, "info", tmp_path / "a")
    assert code == 0 and "then moved all rows together: 15 neighbours of each, KL" in out
    assert "150 rows of them are in the model" in out
    code, out, err = said(capsys, "place", tmp_path / "a", wide, "--out", tmp_path / "d", "--quiet")
    assert code == 0, err
    for option in ("--sample-perplexity", "--reference"):
        code, _, err = said(capsys, "embed", wide, "--out", tmp_path / "e", option, 30)
        assert code == 2 and err == f"tsne-ooc: error: {option} is for maps of all rows together; add --refine\n"


def test_what_the_command_says(tmp_path, wide, capsys):
    code, out, err = said(
        capsys, "embed", wide, "--out", tmp_path / "map", "--refine", "--sample", 200, "--perplexity", 5
    )
    assert code == 0
    assert [line for line in err.splitlines() if "all rows" in line or "weigh" in line or "keep" in line] == [
        "searching the neighbours of all rows (700 rows)", "weighing them (700 rows)",
        "moving all rows together (175 iterations)", "keeping the map (700 rows)",
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "map" / "manifest.json").read_text())["content"]
    kl = manifest["refined"]["kl_divergence"]
    assert any(line.startswith("moved all rows together in ") and f"KL {kl:.3f}" in line for line in out.splitlines())
    assert (tmp_path / "map" / "placed.npy").exists()


def test_ctrl_c_is_one_line(tmp_path, wide, capsys, monkeypatch):
    real = Report.__call__

    def pressed(self, phase, done, total):
        if (phase, done) == ("refine", 30):
            raise KeyboardInterrupt
        real(self, phase, done, total)

    out = tmp_path / "map"
    words = ("embed", wide, "--out", out, "--refine", "--sample", 200, "--perplexity", 5, "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(Report, "__call__", pressed)
        code, _, err = said(capsys, *words)
    so_far = f"after 30 of 175 iterations of all rows together; {out / 'embedding.npy'} is the map as it then was"
    on = f"what is done is kept in {out}; go on with resume=True (--resume)"
    assert code == 130 and err == f"tsne-ooc: interrupted; {so_far}; {on}\n"
    assert said(capsys, "info", out)[1].endswith("a run that did not end; repeat its command with --resume behind it\n")
    assert said(capsys, *words, "--resume")[0] == 0


def test_progress_while_all_rows_move():
    """On a terminal the loop has a bar of its own, so there is no second one; a slow iteration is not "0 a second"."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, lines in ((Terminal(), 1), (io.StringIO(), 2)):
        with Report(False, stream) as report:
            report("refine", 25, 175)
            report._last = report._began = time.monotonic() - 100
            report("refine", 45, 175)
        told = stream.getvalue().splitlines()
        assert told[0] == "moving all rows together (175 iterations, 25 of them done before)" and len(told) == lines
    assert told[1].startswith("moving all rows together: 45 of 175 (26%), 0.2 iterations/s, 0:10:5")


def test_the_recipe_reads_what_embed_reads(tmp_path):
    few = {"tsne": TSNE(n_iter=5, early_exaggeration_iter=2), "sample": 100, "perplexity": 5}
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["other"] = groups(120)
        file.create_dataset("X", (300, 6), "f4", chunks=(100, 6))[:200] = groups(200)
    for options, n in (({"dataset": "other"}, 120), ({"dataset": "X", "allow_missing_chunks": True}, 300)):
        run = tsne_ooc.recipes.large(tmp_path / "X.h5", out=tmp_path / f"map{n}", **options, **few)
        assert run.embedding.shape == (n, 2)
    with pytest.raises(OSError, match="--allow-missing-chunks"):
        tsne_ooc.recipes.large(tmp_path / "X.h5", out=tmp_path / "map", dataset="X", **few)
    with h5py.File(tmp_path / "named.h5", "w") as file:
        file["X"] = np.array([tuple(row) for row in groups(120, 4)], np.dtype([(name, "f4") for name in "abcd"]))
    run = tsne_ooc.recipes.large(tmp_path / "named.h5", out=tmp_path / "named", columns=["d", "a"], **few)
    assert tsne_ooc.load(run.folder / "model").feature_names_in_.tolist() == ["d", "a"]
    assert not (tmp_path / "map").exists()
