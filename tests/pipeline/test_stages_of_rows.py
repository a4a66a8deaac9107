"""Stages that go over all rows, here or on workers: what they ask of whom, what they write, and what they sum up."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import TSNE, embed, place, storage
from tsne_ooc.io import open_source
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline import neighbors, placing, sealing, trusting
from tsne_ooc.pipeline.beginning import job_of
from tsne_ooc.pipeline.models import opened_model
from tsne_ooc.pipeline.placer import Mapped, MapPlacer, Seats
from tsne_ooc.pipeline.placing import Place, placer_of
from tsne_ooc.pipeline.trusting import Score, ScoresRows, _made, trust
from tsne_ooc.pipeline.workers import PlacesRows, ReadsAndPlaces, parts_of
from tsne_ooc.workers import SavedModel, SharedTable

N = 60
X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
QUICK = {
    "perplexity": 5,
    "n_iter": 4,
    "early_exaggeration_iter": 4,
    "random_state": 0,
    "n_jobs": 1,
    "neighbors": "exact",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table, a map of it in a run, and one of the rows of the table on that."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "X.npy", X)
    embed(folder / "X.npy", out=folder / "run", sample=40, tsne=TSNE(**QUICK))
    return folder


class Placer:
    """Places rows at ten times their first two columns, and notes which."""

    def __init__(self, threshold=2.0, drops=False, words=None):
        self.embedding, self.threshold, self.drops, self.words = np.zeros((3, 2), np.float32), threshold, drops, words
        self.asked = []

    def place(self, rows, *, novelty):
        self.asked.append((rows.copy(), novelty))
        found = {"embedding": 10 * rows[:, :2]}
        return {**found, "novelty": rows[:, 2].copy()} if novelty else found

    def table_of(self, table):
        return table

    def told(self):
        return self.words


def job_for(placer, folder, seats=None, where=None, **more):
    mapped = Mapped(placer, seats, where)
    return SimpleNamespace(get=lambda kind: {Mapped: mapped}[kind], table=X, folder=folder, kept=None, **more)


SEATS = np.array([3, 4, 5, 11])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("novelty", [None, True, False])
@pytest.mark.parametrize("into", ["embedding", "placed"])
def test_rows_with_a_seat_keep_it_and_others_are_placed(tmp_path, caplog, known, novelty, into):
    """Where all rows of a block have all that is written, nobody is asked; words are told once."""
    placer = Placer(words="how rows are placed")
    knows = novelty is not False
    seats = Seats(SEATS, -np.ones((4, 2), np.float32), np.full(4, 7, np.float32) if known else None)
    stage = Place(novelty=novelty, into=into)
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        compute = stage.compute(job_for(placer, tmp_path, seats))
        for first, stop in ((0, 3), (2, 7), (3, 6), (10, 12), (11, 12), (12, 60)):
            placer.asked.clear()
            found = compute(first, X[first:stop])
            seated = np.isin(np.arange(first, stop), SEATS)
            assert set(found) == {into, *(["novelty"] if knows else [])}
            wanted = np.where(seated[:, None], -1, 10 * X[first:stop, :2])
            np.testing.assert_allclose(found[into], wanted)
            if knows:
                np.testing.assert_allclose(found["novelty"], np.where(seated & known, 7, X[first:stop, 2]))
            # Novelty that is not known of the seats is asked for, and their places with it.
            all_known = seated.all() and (known or not knows)
            assert [novel for _, novel in placer.asked] == [knows] * (not all_known)
    assert caplog.messages == ["how rows are placed"]
    silent = Placer()
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        found = Place(novelty=novelty).compute(job_for(silent, tmp_path))(0, X)
    np.testing.assert_allclose(found["embedding"], 10 * X[:, :2])
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("n_jobs, threads, wanted", [(None, None, 1), (None, 3, 3), (2, 3, 2), (2, None, 2)])
@pytest.mark.parametrize("by_path", [True, False])
def test_workers_place_rows_on_the_saved_map_with_threads_of_their_own(home, n_jobs, threads, wanted, by_path, caplog):
    folder, placer, _ = placer_of(home / "run", 1, None)
    seats = Seats(SEATS, -np.ones((4, 2), np.float32), np.full(4, 7, np.float32))
    executor = SimpleNamespace() if threads is None else SimpleNamespace(threads=threads)
    table = open_source(home / "X.npy") if by_path else open_source(X)
    work = job_for(placer, home / "run", seats, folder, executor=executor)
    work.table, work.kept = table, SimpleNamespace(origin={"the": "table"})
    for novelty in (True, False):
        with caplog.at_level(logging.INFO, "tsne_ooc"):
            caplog.clear()
            found = Place(novelty=novelty, n_jobs=n_jobs, into="placed").remote(work)
        assert caplog.messages == [placer.told()]
        model = SavedModel.of(folder, opened_model, parts_of(placer))
        assert found.compute == PlacesRows(model, novelty, wanted)
        shared = SharedTable.of(table, {"the": "table"}, (home / "run").resolve())
        assert (shared is not None) == by_path
        assert found.reads == (ReadsAndPlaces(shared, found.compute) if by_path else None)
        given = {"embedding": np.zeros((3, 2), np.float32), **({"novelty": np.zeros(3, np.float32)} if novelty else {})}
        before = {name: values.copy() for name, values in given.items()}
        for values in given.values():
            values.flags.writeable = False
        put = found.finish(2, given)
        assert put["placed"].tolist() == [[0, 0], [-1, -1], [-1, -1]] and ("novelty" in put) == novelty
        assert not novelty or put["novelty"].tolist() == [0, 7, 7]
        # What came from a worker stays as it was.
        assert set(given) == set(before)
        for name, values in given.items():
            np.testing.assert_array_equal(values, before[name])
        placed = found.compute(0, X[:5])
        np.testing.assert_array_equal(placed["embedding"], placer.place(X[:5], novelty=False)["embedding"])
    # Workers find nothing of a map that is not saved, nor of a run without a folder.
    work.kept = None
    assert Place().remote(work) is None
    unsaved = job_for(placer, home / "run", seats, None, executor=executor)
    unsaved.kept = SimpleNamespace(origin={})
    assert Place().remote(unsaved) is None


@pytest.mark.parametrize("part", [None, (10, 25)])
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("threshold", [None, 2.0])
def test_a_placing_is_summed_up_from_its_files(tmp_path, part, drops, threshold):
    n = N if part is None else 15
    places, novelty = np.zeros((n, 2), np.float32), np.random.default_rng(1).gamma(2, size=n).astype(np.float32)
    places[[2, 7]] = np.nan
    np.save(tmp_path / "placed.npy", places)
    np.save(tmp_path / "novelty.npy", novelty)
    stage = Place(rows=part, into="placed")
    found = stage.summary(job_for(Placer(threshold, drops), tmp_path))
    wanted = {"n_samples": n, "n_features": 4, "n_components": 2}
    if threshold:
        whole = NoveltyHistogram(2.0)
        whole.add(novelty)
        wanted["novelty"] = whole.summary()
    first = 0 if part is None else 10
    assert found == {**wanted, **({"dropped": 2} if drops else {})}
    assert (tmp_path / "dropped_rows.npy").exists() == drops
    assert not drops or np.load(tmp_path / "dropped_rows.npy").tolist() == [first + 2, first + 7]
    assert stage.first(None) == first


def test_novelty_is_that_which_was_asked_for_or_comes_by_itself(monkeypatch):
    for free, knows, asked, wanted in (
        (True, True, None, True), (True, True, False, False), (True, True, True, True), (False, True, None, False),
        (False, True, True, True), (True, False, None, False), (True, False, False, False),
    ):  # fmt: skip
        placer = SimpleNamespace(threshold=2.0 if knows else None, novelty_is_free=free)
        opened = []
        monkeypatch.setattr(placing, "opened_model", lambda *given, opened=opened, p=placer: opened.append(given) or p)
        assert placer_of("some/model", 3, asked) == (Path("some/model"), placer, wanted)
        assert opened == [(Path("some/model"), 3)]
    with pytest.raises(ValueError, match=r"^the map in some/model was saved without what novelty needs; fit it again"):
        placer_of("some/model", None, True)


# --------------------------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("n_jobs, threads, wanted", [(None, None, 1), (None, 3, 3), (2, 3, 2), (2, None, 2)])
@pytest.mark.parametrize("by_path", [True, False])
def test_workers_score_rows_of_the_run_as_it_is(home, n_jobs, threads, wanted, by_path):
    folder, placer, _ = placer_of(home / "run", 1, None)
    asked = {"k": 4, "length": 0.25, "directions": 2}
    judge = trusting.Judge.of(placer.estimator, **asked)
    run = trusting.open_run(home / "run")
    stage = Score(run, judge, asked, n_jobs)
    executor = SimpleNamespace() if threads is None else SimpleNamespace(threads=threads)
    table = open_source(home / "X.npy") if by_path else open_source(X)
    work = job_for(placer, home / "run" / "trust", None, folder, executor=executor)
    work.table, work.kept = table, SimpleNamespace(origin={"the": "table"})
    found = stage.remote(work)
    names = ("recall", "singularity", "perturbation")
    scores = ScoresRows(
        SavedModel.of(folder, opened_model, parts_of(placer)), str(run.folder.resolve()), storage.digest_of(run.folder),
        tuple(asked.items()), names, wanted,
    )  # fmt: skip
    assert found.compute == scores and found.finish is None
    shared = SharedTable.of(table, {"the": "table"}, (home / "run" / "trust").resolve())
    assert found.reads == (ReadsAndPlaces(shared, scores) if by_path else None)
    here = stage.compute(work)(7, X[7:20])
    there = scores(7, X[7:20])
    assert set(here) == set(there) == set(names) == set(stage.shapes(work))
    for name in names:
        np.testing.assert_array_equal(here[name], there[name])
        assert here[name].shape == (13,)
    # One for all blocks; and none where the run is another by now.
    assert _made(scores) is _made(scores)
    other = ScoresRows(*[getattr(scores, name) for name in ("model", "folder")], "another", *[
        getattr(scores, name) for name in ("asked", "names", "n_jobs")])  # fmt: skip
    with pytest.raises(ValueError) as told:
        other(0, X[:3])
    assert str(told.value) == f"{run.folder.resolve()} holds another run than that which is to be scored"


def test_numbers_of_a_scoring_are_taken_from_their_least(home):
    for options, says in (
        ({"k": 0}, "k=0 must be at least 1"), ({"length": 0}, "length=0 must be a finite number greater than 0"),
        ({"directions": 0}, "directions=0 must be at least 1"), ({"block_rows": 0}, "block_rows=0 must be at least 1"),
        ({"n_jobs": 0}, "n_jobs=0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            trust(home / "run", home / "nowhere.npy", **options)
    with pytest.raises(TypeError, match="executor=3 is not a"):
        trust(home / "run", executor=3)
    for options in ({"k": 1}, {"length": 1e-9}, {"directions": 1}, {"block_rows": 1}):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            trust(home / "run", home / "nowhere.npy", **options)
    assert not (home / "run" / "trust").exists()


def test_a_run_is_scored_once_and_by_a_map(home, tmp_path):
    run = place(home / "run", home / "X.npy", out=tmp_path / "placed")
    found = trust(run.folder, k=3, directions=1, length=0.5)
    assert set(found.trust) == {"recall", "singularity", "perturbation"} and len(found.trust["recall"]) == N
    facts = found.trusted.content["facts"]
    assert (facts["k"], facts["scored"], sum(facts["kept"])) == (3, N, N) and facts["length"] == pytest.approx(0.5)
    assert facts["kept"] == np.bincount(np.rint(3 * found.trust["recall"]).astype(int), minlength=4).tolist()
    with pytest.raises(FileExistsError) as told:
        trust(run.folder)
    there = run.folder / "trust"
    assert str(told.value) == f"the rows of {run.folder} are scored already; remove {there} to score them again"
    # The same once more is what is there, and something else is refused.
    again = trust(run.folder, k=3, directions=1, length=0.5, resume=True)
    np.testing.assert_array_equal(again.trust["recall"], found.trust["recall"])
    with pytest.raises(ValueError) as told:
        trust(run.folder, k=4, directions=1, length=0.5, resume=True)
    assert str(told.value) == f"{there} holds other scores: k was 3, is 4; remove it to score the rows again"
    part = place(home / "run", home / "X.npy", out=tmp_path / "part", rows=(0, 9))
    with pytest.raises(ValueError) as told:
        trust(part.folder)
    assert str(told.value) == f"{part.folder} is a part of a table; merge all parts first (tsne-ooc merge)"


# -------------------------------------------------------------------------------------------------------- the manifest


class Full:
    """In the place of what writes the manifest: a disk without room."""

    def __init__(self, error):
        self.error, self.asked = error, []

    def __call__(self, *given):
        self.asked.append(given)
        raise self.error


@pytest.mark.parametrize("error, why", [
    (OSError(28, "No space left on device"), "No space left on device"), (PermissionError("not yours"), "not yours"),
], ids=["errno", "words"])  # fmt: skip
@pytest.mark.parametrize("kind", ["run", "graph", "scores"])
def test_a_manifest_that_cannot_be_written_names_the_folder(tmp_path, monkeypatch, kind, error, why):
    full = Full(error)
    monkeypatch.setattr(storage, "seal", full)
    files = {"run": ["embedding.npy", "novelty.npy"], "graph": ["indices.npy", "distances.npy"],
             "scores": ["recall.npy", "singularity.npy"]}[kind]  # fmt: skip
    for name in [*files, "notes.npy", "model"]:
        (tmp_path / name).touch()
    makes = [*files, "missing.npy", "model"]
    home = SimpleNamespace(path=tmp_path, makes=makes)
    work = SimpleNamespace(
        table=X, seconds={"place": 1.0}, memory={"place": 2.0},
        facts={"search": {"facts": {"k": 3}}, "trust": {"k": 3}, "later": {"x": 1}},
    )  # fmt: skip
    job = {"task": "place", "source": {"path": None}}
    later = SimpleNamespace(name="later")
    stage = {
        "run": lambda: sealing.Seal(home, job, lambda work: {"told": len(work.table)}, [later]),
        "graph": lambda: neighbors_stages().Seal(home, job), "scores": lambda: trusting.Seal(home, job),
    }[kind]()  # fmt: skip
    with pytest.raises(type(error)) as told:
        stage.run(work)
    assert str(told.value) == f"{tmp_path} could not be written: {why}"
    ((path, written, content, arrays),) = full.asked
    assert path == tmp_path and arrays == {name.removesuffix(".npy"): name for name in files}
    assert written == {"run": "map", "graph": neighbors_stages().KIND, "scores": "trust"}[kind]
    common = {"source": repr(X), "seconds": {"place": 1.0}, "job": job}
    more = {
        "run": {"task": "place", "read": sealing.account_of(X), "told": N, "then": {"later": {"x": 1}},
                "memory_gb": {"place": 2.0}},
        "graph": {"facts": {"k": 3, "source": {"path": None}}}, "scores": {"facts": {"k": 3}},
    }[kind]  # fmt: skip
    assert content == {**common, **more}


def neighbors_stages():
    import importlib

    return importlib.import_module("tsne_ooc.pipeline.neighbors")


def test_a_graph_that_is_there_is_the_one_that_is_asked_for(tmp_path):
    out = tmp_path / "graph"
    np.save(tmp_path / "X.npy", X)
    first = neighbors(tmp_path / "X.npy", out=out, k=5)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    again = neighbors(tmp_path / "X.npy", out=out, k=5, resume=True)
    assert (again.k, again.n) == (first.k, first.n) == (5, N)
    with pytest.raises(ValueError) as told:
        neighbors(tmp_path / "X.npy", out=out, k=6, resume=True)
    assert str(told.value) == f"{out} holds the result of another run: k was 5, is 6; name a new folder"
    with pytest.raises(FileExistsError, match="holds the result of a finished run already"):
        neighbors(tmp_path / "X.npy", out=out, k=5)
    # One neighbour less than there are rows is as many as there can be.
    assert neighbors(X, out=tmp_path / "all", k=N - 1).k == N - 1
    with pytest.raises(ValueError, match=f"k={N} neighbours cannot be found among {N - 1} other rows"):
        neighbors(X, out=tmp_path / "more", k=N)
    assert not (tmp_path / "more").exists()
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.name != ".lock"} == before


def test_what_a_run_writes_is_no_part_of_a_table_beside_it(tmp_path):
    """A table that is a folder may have the folder of a run within: what is in that tells no tables apart."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "table.zarr", mode="w")
    group.create_array("X", data=X, chunks=(20, 4))
    home = SimpleNamespace(path=tmp_path / "table.zarr" / "map", makes=["embedding.npy"])
    model = TSNE(**QUICK).fit(X)
    table = open_source(tmp_path / "table.zarr", dataset="X")
    before = json.loads(json.dumps(job_of("embed", table, home, {"rounds": 1})))
    assert (before["task"], before["request"], before["makes"]) == ("embed", {"rounds": 1}, ["embedding.npy"])
    home.path.mkdir()
    (home.path / "embedding.npy").write_bytes(b"x" * 1000)
    assert (
        json.loads(json.dumps(job_of("embed", table, home, {"rounds": 1})))["source"]["size"]
        == before["source"]["size"]
    )
    # Nor the file that places are written to.
    path = model.transform_to(table, tmp_path / "table.zarr" / "places.npy")
    np.testing.assert_array_equal(np.load(path), model.transform(X))
    assert MapPlacer(model).embedding.shape == (N, 2)


# ------------------------------------------------------------------------------------------------------ sums of files


def other(path):
    """Another last byte in a file, as a disk may give it; its size stays."""
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))


def test_sums_of_large_files_are_compared_where_that_is_asked_for(home, tmp_path, capsys):
    """They take as long as reading them; a map, which decides where rows are placed, is compared by itself."""
    import shutil

    from tsne_ooc import load, open_run
    from tsne_ooc.cli import main
    from tsne_ooc.neighbors import Graph
    from tsne_ooc.pipeline.models import saved_places

    run = tmp_path / "run"
    shutil.copytree(home / "run", run)
    trust(run, k=3, directions=1)
    for path in (run / "embedding.npy", run / "trust" / "recall.npy"):
        other(path)
    found = open_run(run)
    assert found.embedding.shape == (N, 2) and found.trust["recall"].shape == (N,)
    assert main(["info", str(run)]) == 0 and "scored: recall" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"embedding\.npy"):
        open_run(run, verify=True)
    places = run / "model" / "model.embedding.npy"
    other(places)
    assert saved_places(run / "model")[0].shape == (40, 2)
    assert load(run / "model", verify=False).embedding_.shape == (40, 2)
    with pytest.raises(ValueError, match=r"model\.embedding\.npy"):
        load(run / "model")
    graph = tmp_path / "graph"
    neighbors(X, out=graph, k=5)
    other(graph / "distances.npy")
    assert main(["info", str(graph)]) == 0 and Graph.open(graph, verify=False).k == 5
    with pytest.raises(ValueError, match=r"distances\.npy"):
        Graph.open(graph)


# ----------------------------------------------------------------------------------------------------- tables and jobs


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("given", ["x.npy", "an array"])
@pytest.mark.parametrize("closes", [True, False])
def test_a_table_is_closed_where_it_was_opened_unless_a_read_of_it_hangs(
    monkeypatch, caplog, stuck, fails, given, closes
):
    """And what is left out of it, and remarks, are told once."""
    from tsne_ooc.pipeline import table as module

    closed = []
    source = SimpleNamespace(**({"close": lambda: closed.append(1)} if closes else {}))
    monkeypatch.setattr(module, "open_source", lambda *args, **named: source)
    monkeypatch.setattr(module, "account_of", lambda table: "an account")
    monkeypatch.setattr(module, "in_words", lambda account: [f"{account}, 7 % of it", "and more"])
    monkeypatch.setattr(module, "hanging", lambda: stuck)
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        try:
            with module.opened("x.npy" if given == "x.npy" else X, None, None) as table:
                assert table is source and not closed
                if fails:
                    raise RuntimeError("on the way")
        except RuntimeError:
            assert fails
    assert caplog.messages == ["an account, 7 % of it", "and more"]
    assert closed == [1] * (given == "x.npy" and closes and not stuck)


def test_all_that_differs_between_two_jobs_is_told_in_one_line(caplog):
    from tsne_ooc.pipeline.request import copied, differences, warn_untold

    old = {"task": "embed", "source": {"shape": [3, 2], "dtype": "<f4"}, "request": {"a": 1, "b": 2}, "tsne_ooc": "1"}
    new = {"task": "embed", "source": {"shape": [4, 2], "dtype": "<f8"}, "request": {"a": 2, "b": 3}, "tsne_ooc": "2"}
    found = differences(old, new)
    assert found == [
        "the source: shape was [3, 2], is [4, 2]", "the source: type of numbers was <f4, is <f8",
        "a was 1, is 2", "b was 2, is 3", "tsne_ooc was 1, is 2",
    ]  # fmt: skip
    assert differences(old, old) == []

    class Alone:
        def __deepcopy__(self, memo):
            raise TypeError("there is one of it")

    with pytest.raises(TypeError) as told:
        copied(TSNE(metric_params={"V": Alone()}), "tsne")
    assert str(told.value) == "tsne=TSNE(...) has an option that cannot be copied: there is one of it"
    given = TSNE(**QUICK)
    assert copied(given, "tsne") is not given and copied(given, "tsne").get_params() == given.get_params()
    warn_untold({"source": {"own": None}, "request": {"a": 1}})
    assert not caplog.messages
