"""What options of fitted models, rounds, samples and readers promise; and a list of all options that there are.

Every public function, class and method is looked through for arguments that have a default. Each has a rule here, a
table elsewhere, or the file in which it is tried is named.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_origin

import numpy as np
import pandas as pd
import pytest
from test_docs_api import ENTRIES, found

import tsne_ooc
from tsne_ooc import TSNE, Phase, Schedule
from tsne_ooc._memory import used_bytes
from tsne_ooc.io import iterate
from tsne_ooc.pipeline import open_run
from tsne_ooc.placement import Placed
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.rounds import NovelRows, Seated, refit
from tsne_ooc.sampling import Coverage, labels_of, resolve_sample, take
from tsne_ooc.scratch import Room, plan

HERE = Path(__file__).parents[1]
N, P = 90, 4
FEW = {"perplexity": 6, "early_exaggeration_iter": 4, "n_iter": 6, "random_state": 0}


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (4, P))[rng.integers(0, 4, n)] + rng.normal(size=(n, P))).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return TSNE(**FEW).fit(rows())


class Stop(Exception):
    pass


# ------------------------------------------------------------------------------------------------- fitted and saved


def of_start(model, folder):
    Q = rows(20, seed=1)
    corner = np.tile(np.float32([1e4, -1e4]), (20, 1))
    usual, far = model.place(Q), model.place(Q, start=corner)
    again = model.place(Q, start=usual.embedding)
    # All end in one hollow here, sooner or later.
    assert again.iterations.max() <= 1 and (far.iterations > usual.iterations).all()
    for placed in (far, again):
        np.testing.assert_allclose(placed.embedding, usual.embedding, atol=5e-3)
    assert not np.array_equal(far.embedding, usual.embedding)
    np.testing.assert_array_equal(model.place_prepared(Q, corner).embedding, far.embedding)
    # A seat is a seat from everywhere.
    np.testing.assert_array_equal(model.place(rows(), start=np.tile(corner[:1], (N, 1))).embedding, model.embedding_)


def of_overwrite(model, folder):
    model.save(folder / "model")
    other = TSNE(**FEW).fit(rows(seed=2))
    with pytest.raises(FileExistsError):
        other.save(folder / "model")
    np.testing.assert_array_equal(tsne_ooc.load(folder / "model").embedding_, model.embedding_)
    other.save(folder / "model", overwrite=True)
    np.testing.assert_array_equal(tsne_ooc.load(folder / "model").embedding_, other.embedding_)


def of_transform_to(model, folder):
    X, seen = np.repeat(rows(), 30, axis=0), []

    def stopped(phase, done, total):
        seen.append((phase, done, total))
        if done >= 1000:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsne_ooc.streaming.MOST_ROWS", 500)
        with pytest.raises(Stop):
            model.transform_to(X, folder / "Y.npy", progress=stopped)
        assert [done for _, done, _ in seen] == [0, 500, 1000] and {total for *_, total in seen} == {len(X)}
        with pytest.raises(FileExistsError, match="resume=True"):
            model.transform_to(X, folder / "Y.npy")
        seen.clear()
        model.transform_to(X, folder / "Y.npy", resume=True, progress=lambda *event: seen.append(event))
    assert seen[0][1] in (500, 1000) and seen[-1] == ("place", len(X), len(X))
    np.testing.assert_array_equal(np.load(folder / "Y.npy"), np.repeat(model.embedding_, 30, axis=0))


def of_refine(model, folder):
    """Without a step rows are where they were begun: placed, or at the start, as wide as is said."""
    S = np.random.default_rng(7).normal(3, 5, size=(N, 2)).astype(np.float32)
    still = {"n_iter": 0, "early_exaggeration_iter": 0, "schedule": Schedule([Phase(0)])}
    for start, places in ((S, S), (None, model.embedding_)):
        centred = places - places.mean(axis=0, dtype=float)
        for deviation in (0.5, 2.0):
            found = model.refine(rows(), start=start, deviation=deviation, **still).embedding_
            found = found - found.mean(axis=0)
            # Each row is moved by a hundredth at random.
            wanted = centred * (deviation / np.sqrt(np.square(centred).mean()))
            assert 0.002 < np.sqrt(np.square(found - wanted).mean()) / deviation < 0.02
        found = model.refine(rows(), start=start, deviation=None, **still).embedding_
        np.testing.assert_allclose(found - found.mean(axis=0), centred, atol=1e-4)
    moved = model.refine(rows(), schedule=Schedule([Phase(5)]))
    # With little memory, and a folder for what it does not hold, they go to the same places.
    few = {"memory": used_bytes() / 1e9 + 0.3, "scratch": folder}
    again = model.refine(rows(), schedule=Schedule([Phase(5)]), **few)
    np.testing.assert_array_equal(again.embedding_, moved.embedding_)
    with pytest.raises(FileNotFoundError, match="scratch="):
        model.refine(rows(), scratch=folder / "nowhere")
    assert moved.n_iter_ == 5 and not np.allclose(moved.embedding_, model.embedding_, atol=0.5)


def of_at(model, folder):
    """Rows are written in any order, each where it belongs."""
    from tsne_ooc.io import NpySink

    Y = rows()[:, :2]
    with NpySink(folder / "Y.npy", Y.shape) as sink:
        for start in (60, 0, 30):
            sink.write(Y[start : start + 20], start)
            # Behind those before.
            sink.write(Y[start + 20 : start + 30])
    np.testing.assert_array_equal(np.load(folder / "Y.npy"), Y)


def of_graph(model, folder):
    """So many neighbours of each row, by brute force; new rows are found by the search that is named."""
    from scipy.spatial.distance import cdist

    from tsne_ooc._parallel import Threads
    from tsne_ooc.neighbors import IVF, Graph

    D = cdist(rows(), rows())
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")
    for k, kept in ((model.n_neighbors_, model.graph()), (5, model.graph(5))):
        np.testing.assert_array_equal(kept.indices, near[:, :k])
        np.testing.assert_allclose(kept.distances, np.sort(D, axis=1)[:, :k], rtol=1e-5)
    index = model.map_.model.index
    for search, order in (("exact", False), (IVF(lists=5, probes=5), True)):
        for graph in (Graph((kept.indices, kept.distances), search), Graph.of(index, 5, search)):
            built = graph.build(rows(), rng=np.random.default_rng(0), threads=Threads(1))
            assert (built._inner.order is not None) == order
            wanted = np.argsort(cdist(rows(9, seed=1), rows()), axis=1, kind="stable")[:, :7]
            np.testing.assert_array_equal(built.query(rows(9, seed=1), 7)[0], wanted)
    # Of another metric it is another graph.
    with pytest.raises(ValueError, match="is one of metric='euclidean', and the fit has metric='cityblock'"):
        graph.build(rows(), metric="cityblock", rng=np.random.default_rng(0), threads=Threads(1))


def damaged(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)


def of_load(model, folder):
    model.save(folder / "model")
    assert tsne_ooc.load(folder / "model").n_jobs is None
    loaded = tsne_ooc.load(folder / "model", n_jobs=3)
    assert loaded.n_jobs == 3 and loaded.map_.threads.n == 3
    # A bit of the map that is still a number.
    (name,) = (file.name for file in (folder / "model").glob("*model.embedding*.npy"))
    damaged(folder / "model", name)
    with pytest.raises(ValueError, match=name):
        tsne_ooc.load(folder / "model")
    assert (tsne_ooc.load(folder / "model", verify=False).embedding_ != model.embedding_).sum() == 1


def of_open_run(model, folder):
    run = tsne_ooc.embed(rows(), out=folder / "run", tsne=TSNE(**FEW))
    before = np.array(run.embedding)
    damaged(folder / "run", "embedding.npy")
    with pytest.raises(ValueError, match=r"embedding\.npy"):
        open_run(folder / "run", verify=True)
    assert (open_run(folder / "run").embedding != before).sum() == 1


# ------------------------------------------------------------------------------------------------------------ rounds


def of_refit(model, folder):
    sample = Seated(np.arange(N), rows(), model.embedding_)
    still = refit(model, sample, schedule=Schedule([Phase(0)]))
    centred = model.embedding_ - model.embedding_.mean(axis=0)
    np.testing.assert_allclose(still.embedding_ - still.embedding_.mean(axis=0), centred, atol=1e-4)
    again = refit(model, sample, schedule=Schedule([Phase(7)]))
    assert again.n_iter_ == 7 and refit(model, sample).n_iter_ == 165
    with pytest.MonkeyPatch.context() as patch:
        # As if no memory held its affinities.
        patch.setattr(plan, "MUTUAL", 10**6)
        room = Room(used_bytes() / 1e9 + 0.5, folder)
        patch.setattr("tsne_ooc.fit.rows.joint_of", None)
        little = refit(model, sample, schedule=Schedule([Phase(7)]), room=room)
    np.testing.assert_array_equal(little.embedding_, again.embedding_)


def of_beyond(model, folder):
    sample = Seated(np.arange(N), rows(), model.embedding_)
    X = rows(60, seed=3)
    placed = Placed(np.zeros((60, 2), np.float32), np.zeros(60, np.int32), np.linspace(0, 5, 60, dtype=np.float32))
    for given, least in ((None, np.quantile(model.novelty_, 0.99)), (3.0, 3.0)):
        novel = NovelRows(model, sample, 60, np.random.default_rng(0), beyond=given, rows_per_box=60)
        novel.add(np.arange(N, N + 60), X, placed)
        wanted = N + np.flatnonzero(placed.novelty > least)
        assert novel.seen == len(wanted)
        np.testing.assert_array_equal(novel.choose(60).rows, wanted)


def of_rows_per_box(model, folder):
    # Two kinds, far apart, of 50 copies each.
    X = np.repeat(np.float32([[40] * P, [-40] * P]), 50, axis=0)
    sample = Seated(np.arange(N), rows(), model.embedding_)
    placed = Placed(np.zeros((100, 2), np.float32), np.zeros(100, np.int32), np.full(100, 9, np.float32))
    for most in (5, 20):
        novel = NovelRows(model, sample, 90, np.random.default_rng(0), rows_per_box=most)
        novel.add(np.arange(N, N + 100), X, placed)
        kept = novel.choose(90).X[:, 0]
        assert ((kept > 0).sum(), (kept < 0).sum()) == (most, most)


# -------------------------------------------------------------------------------------------------- samples, readers


def of_resolve_sample(model, folder):
    assert resolve_sample("coverage", 300) == Coverage(300) and resolve_sample("coverage").size == 25_000
    assert resolve_sample("uniform", 70).size == 70


def of_labels_of(model, folder):
    table = pd.DataFrame({"one": [1, 2, 3], "two": ["a", "b", "a"]})
    pytest.importorskip("pyarrow")
    table.to_parquet(folder / "labels.parquet")
    assert list(labels_of(folder / "labels.parquet", "two")) == ["a", "b", "a"]
    assert list(map(int, labels_of(folder / "labels.parquet", "one"))) == [1, 2, 3]


def of_take(model, folder):
    table, which, seen = rows().astype(float) / 3, np.array([3, 17, 80]), []
    found = take(table, which, dtype=np.float64, progress=lambda *event: seen.append(event))
    assert found.dtype == np.float64 and seen and seen[-1][1] == seen[-1][2]
    np.testing.assert_array_equal(found, table[which])
    np.testing.assert_array_equal(take(table, which), table[which].astype(np.float32))
    table[17, 2] = np.nan
    with pytest.raises(ValueError, match=r"^cells.*row 17, column 2"):
        take(table, which, name="cells")


def of_iterate(model, folder):
    table = rows().astype(float) / 3
    for dtype in (np.float32, np.float64):
        blocks = list(iterate(table, rows=20, start=5, stop=77, dtype=dtype))
        assert [(start, stop) for start, stop, _ in blocks] == [(5, 20), (20, 40), (40, 60), (60, 77)]
        np.testing.assert_array_equal(np.concatenate([block for *_, block in blocks]), table[5:77].astype(dtype))
    assert [stop - start for start, stop, _ in iterate(table, bytes=8 * P * 40)] == [40, 40, 10]
    with pytest.raises(ValueError, match="4"):
        next(iter(iterate(table, columns=5)))
    assert next(iter(iterate(table, columns=P)))[1] == N
    table[60, 1] = np.inf
    with pytest.raises(ValueError, match=r"^cells.*row 60, column 1"):
        list(iterate(table, name="cells"))


def of_columns(model, folder):
    """The same three columns of every kind of file, in the order that they are asked for."""
    import h5py

    from tsne_ooc.io import open_hdf5, open_parquet, open_source

    table = pd.DataFrame(rows(), columns=list("abcd"))
    with h5py.File(folder / "t.h5", "w") as file:
        file["X"] = np.array([tuple(row) for row in table.to_numpy()], np.dtype([(name, "f4") for name in "abcd"]))
    opening = {folder / "t.h5": open_hdf5, None: None}
    try:
        table.to_parquet(folder / "t.parquet")
        opening[folder / "t.parquet"] = open_parquet
    except ImportError:
        pass
    for path, opened in opening.items():
        for call in (open_source,) if path is None else (open_source, opened):
            with call(table if path is None else path, columns=["d", "a", "c"]) as source:
                np.testing.assert_array_equal(source.read(0, N), table[["d", "a", "c"]].to_numpy())


def of_zarr(model, folder):
    from tsne_ooc.io import open_source, open_zarr

    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "t.zarr"), mode="w")
    for name, values in (("one", rows()), ("two", rows(seed=1))):
        group.create_array(name, data=values, chunks=(30, P))
    for call in (open_source, open_zarr):
        for name, values in (("one", rows()), ("two", rows(seed=1))):
            with call(folder / "t.zarr", dataset=name) as source:
                np.testing.assert_array_equal(source.read(0, N), values)
        with pytest.raises((TypeError, ValueError), match="columns"):
            call(folder / "t.zarr", dataset="one", columns="a")
    next(file for file in (folder / "t.zarr" / "two").rglob("*") if file.parent.name == "1" and file.is_file()).unlink()
    for call in (open_source, open_zarr):
        with pytest.raises(OSError, match="--allow-missing-chunks"):
            call(folder / "t.zarr", dataset="two")
        with call(folder / "t.zarr", dataset="two", allow_missing_chunks=True) as source:
            assert not source.read(30, 60).any()


def of_identity(model, folder):
    """A table of many files is the same one while something is written among them that is left out."""
    from tsne_ooc.io import identity_of, open_source

    pytest.importorskip("zarr").create_array(str(folder / "t.zarr"), data=rows(), chunks=(30, P))
    ours = folder / "t.zarr" / "Y.npy"
    facts = [identity_of(open_source(folder / "t.zarr"), without=ours)]
    (folder / "t.zarr" / "Y.npy.part").write_bytes(b"a file on its way")
    facts += [identity_of(open_source(folder / "t.zarr"), without=without) for without in (ours, None)]
    assert facts[0]["files"] == facts[1]["files"] != facts[2]["files"]
    assert (facts[2]["size"], facts[1]["size"]) == (facts[0]["size"] + 17, facts[0]["size"])


def of_what(model, folder):
    from tsne_ooc.io import line_up

    with pytest.raises(ValueError, match=r"^cells lacks 1 of the 2 feature names"):
        line_up(pd.DataFrame(rows(), columns=list("abcd")), ["a", "e"], "cells")


def of_saved(model, folder):
    from tsne_ooc.extend import Saved, StateError

    holes = np.array([1, np.nan], np.float32)
    saved = Saved({"n": 7}, {"inner.a": holes, "a": holes}, ("inner",))
    with pytest.raises(StateError, match="holds NaN") as caught:
        saved.array("a", np.float32, (2,))
    assert caught.value.array == "inner.a" == saved.fail("is wrong", "a").array and saved.fail("is wrong").array is None
    assert saved.array("a", np.float32, (2,), finite=False) is holes
    assert Saved({}, {"a": np.ones(2)}).array("a", float, (2,)).sum() == 2
    assert saved.whole("n", 1) == saved.whole("n", 1, 7) == 7
    with pytest.raises(StateError, match="from 1 to 6"):
        saved.whole("n", 1, 6)


def of_preparation(model, folder):
    seen = []
    X = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32) * np.arange(1, 41, dtype=np.float32)
    Preparation([Standardize()]).fit(X, progress=lambda *event: seen.append(event))
    assert seen and all(done <= total == 300 for _, done, total in seen) and seen[-1][1] == 300
    found = {n: Preparation([PCA(3)]).fit(X, n_jobs=n).transform(X, n_jobs=n) for n in (1, 3)}
    np.testing.assert_array_equal(found[1], found[3])
    centred = X - X.mean(axis=0, dtype=float)
    wanted = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    assert min(abs(np.corrcoef(found[1][:, axis], wanted[:, axis])[0, 1]) for axis in range(3)) > 0.9999
    with pytest.MonkeyPatch.context() as patch:
        # Beyond this width components are found by directions at random.
        patch.setattr("tsne_ooc.preprocess.pca.EXACT_UP_TO", 20)
        drawn = [Preparation([PCA(3)]).fit(X, random_state=seed).transform(X) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    bad = X[:9].copy()
    bad[4, 7] = np.nan
    with pytest.raises(ValueError, match="row 1004, column 7"):
        Preparation([Standardize()]).fit(X).transform(bad, first_row=1000)


RULES = {
    "TSNE.place": (of_start, {"start"}), "TSNE.place_prepared": (of_start, {"start"}),
    "TSNE.save": (of_overwrite, {"overwrite"}), "TSNE.transform_to": (of_transform_to, {"resume", "progress"}),
    "TSNE.refine": (of_refine, {"start", "deviation", "memory", "scratch"}), "io.NpySink.write": (of_at, {"at"}),
    "TSNE.graph": (of_graph, {"k"}), "neighbors.Graph": (of_graph, {"search"}),
    "neighbors.Graph.of": (of_graph, {"search"}), "neighbors.Graph.build": (of_graph, {"metric", "metric_params"}),
    "load": (of_load, {"verify", "n_jobs"}), "open_run": (of_open_run, {"verify"}),
    "pipeline.open_run": (of_open_run, {"verify"}),
    "TSNE.fit_taken": (of_refit, {"room"}), "rounds.refit": (of_refit, {"schedule", "room"}),
    "rounds.NovelRows": (of_beyond, {"beyond", "rows_per_box"}),
    "rounds.NovelRows, boxes": (of_rows_per_box, set()),
    "sampling.resolve_sample": (of_resolve_sample, {"size"}), "sampling.labels_of": (of_labels_of, {"name"}),
    "sampling.take": (of_take, {"name", "progress", "dtype"}),
    "io.iterate": (of_iterate, {"bytes", "rows", "start", "stop", "columns", "name", "dtype"}),
    "io.open_source": (of_columns, {"dataset", "columns", "allow_missing_chunks"}),
    "io.open_hdf5": (of_columns, {"dataset", "columns", "allow_missing_chunks"}),
    "io.open_parquet": (of_columns, {"columns"}),
    "io.open_zarr": (of_zarr, {"dataset", "columns", "allow_missing_chunks"}),
    "io.identity_of": (of_identity, {"without"}), "io.line_up": (of_what, {"what"}),
    "extend.Saved": (of_saved, {"path"}), "extend.Saved.array": (of_saved, {"finite"}),
    "extend.Saved.whole": (of_saved, {"most"}), "extend.Saved.fail": (of_saved, {"array"}),
    "extend.StateError": (of_saved, {"array"}),
    "preprocess.Preparation.fit": (of_preparation, {"progress", "random_state", "n_jobs"}),
    "preprocess.Preparation.transform": (of_preparation, {"first_row", "n_jobs"}),
    "preprocess.Preparation.apply": (of_preparation, {"n_jobs"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_each_option(model, tmp_path, name):
    RULES[name][0](model, tmp_path)


# --------------------------------------------------------------------------------------------------- all that there are

# Tables of their own, whose keys are the signatures.
TABLES = {
    "pipeline/test_every_option.py": """TSNE embed Placement Phase Schedule Perplexity Uniform Mixture Multiscale
        FixedSigma neighbors.IVF neighbors.HNSW neighbors.Annoy sampling.Stratified sampling.Coverage
        preprocess.Normalize preprocess.Standardize batches.Batches metrics.neighbor_recall metrics.trustworthiness
        metrics.label_accuracy metrics.kl_divergence metrics.distance_correlation plot.scatter""",
    "pipeline/test_every_option_of_place.py": "place",
    "parametric/test_every_option_of_train.py": "pipeline.train",
    "parametric/test_every_encoder_option.py": "parametric.ParametricTSNE parametric.Decoder parametric.Stage "
    "parametric.load",
    "unit/test_every_option_of_export.py": "export.export",
    "unit/test_pynndescent_library.py": "neighbors.PyNNDescent",
}
# Tried in these, by name.
FILES = {
    "unit/test_overview.py": "look",
    "pipeline/test_pictures.py": "plot.draw plot.panels plot.beside",
    "pipeline/test_view.py": "view.view",
    "pipeline/test_report.py": "report.report",
    "pipeline/test_animation.py": "plot.Film plot.Film.save plot.animate",
    "contracts/test_neighbor_metrics.py": "neighbors.Exact.build neighbors.IVF.build neighbors.HNSW.build "
    "neighbors.Annoy.build neighbors.PyNNDescent.build neighbors.Neighbors.build neighbors.Precomputed.build",
    "unit/test_missing_chunks.py": "io.Hdf5Source io.Hdf5Table io.ZarrSource",
    "unit/test_io.py": "io.Hdf5Table",
    "unit/test_graph_folders.py": "neighbors.Graph.open neighbors.Graph.save",
    "pipeline/test_neighbors_of_all.py": "pipeline.neighbors",
    "unit/test_parquet.py": "io.ParquetSource",
    "unit/test_sink.py": "io.NpySink",
    "pipeline/test_stages.py": "stages.Work",
    "pipeline/test_executors.py": "stages.Work stages.Remote pipeline.Mapped workers.LocalWorkers "
    "workers.LocalWorkers.shutdown workers.SavedModel workers.SavedModel.of",
    "pipeline/test_refined_runs.py": "Refinement recipes.large",
    "pipeline/test_out_of_core.py": "Refinement recipes.large",
    "pipeline/test_graphs_used.py": "recipes.large",
    "unit/test_sampling_kinds.py": "sampling.Stratified.draw sampling.Coverage.choose sampling.Coverage.draw "
    "sampling.Rows.draw sampling.Sample.draw sampling.UniformSample.draw",
    "unit/test_preprocess.py": "preprocess.PreparedSource",
    "unit/test_batches.py": "batches.Batches.epoch",
    "parametric/test_parametric_tsne.py": "parametric.ParametricTSNE.fit parametric.ParametricTSNE.save",
    "parametric/test_decoder.py": "parametric.ParametricTSNE.inverse_transform",
    "parametric/test_every_encoder_option.py": "parametric.objectives.Distillation "
    "parametric.objectives.FieldTuning parametric.objectives.BatchLocal parametric.objectives.NegativeSampling "
    "parametric.objectives.InfoNC",
    "unit/test_convert.py": "convert.convert",
    "pipeline/test_like.py": "convert.convert",
    "unit/test_convert_scaled.py": "convert.convert",
    "unit/test_missing_filled.py": "preprocess.OneHot.fit",
    "unit/test_files.py": "export.export_per_file",
    "unit/test_tl.py": "tl.tsne tl.place",
    "unit/test_groups.py": "groups.Groups",
    "unit/test_trust.py": "trust.scores",
    "pipeline/test_trust_of_runs.py": "pipeline.trust",
    "unit/test_parallel.py": "extend.Threads",
}
# scikit-learn's way: nothing is made of it.
IGNORED = {"y"}
# What `open_source` and `reopen` tell a source of ours of the file that it is in.
OWN = {"store", "opened_here", "within", "turn"}


def with_defaults():
    """Names of public calls, and of their arguments that have a default."""
    for home, name in ENTRIES:
        thing = found(home, name)
        if get_origin(thing) is not None or not callable(thing) or home.startswith("tsne_ooc.testing"):
            continue
        calls = {f"{home}.{name}": thing}
        if inspect.isclass(thing):
            for member, value in inspect.getmembers(thing):
                ours = (getattr(value, "__module__", None) or "").startswith("tsne_ooc")
                if not member.startswith("_") and ours and (inspect.isfunction(value) or inspect.ismethod(value)):
                    calls[f"{home}.{name}.{member}"] = value
        for full, call in calls.items():
            options = {one.name for one in inspect.signature(call).parameters.values() if one.default is not one.empty}
            options -= IGNORED | OWN
            if options:
                yield full.removeprefix("tsne_ooc."), options


def test_every_option_is_looked_at_somewhere():
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    known = {name: options for name, (_, options) in RULES.items() if "," not in name}
    elsewhere = {}
    for places in (TABLES, FILES):
        for file, calls in places.items():
            for call in calls.split():
                elsewhere.setdefault(call, []).append(HERE / file)
    there = dict(with_defaults())
    assert not set(known) & set(elsewhere)
    assert set(there) == set(known) | set(elsewhere)
    for call, options in there.items():
        if call in known:
            assert known[call] == options, call
        else:
            words = {word for file in elsewhere[call] for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
            assert options <= words, (call, options - words)
