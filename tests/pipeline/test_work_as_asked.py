"""What a run is asked for is what its stages share, and what each of them is told."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import TSNE, Refinement, storage
from tsne_ooc.affinity import Perplexity, Uniform
from tsne_ooc.pipeline import embedding, fitting, looking, merging, placing, refining, table, training, trusting
from tsne_ooc.pipeline.fitted import write_array
from tsne_ooc.pipeline.fitting import Draw, Fit, Prepare
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.looking import Look
from tsne_ooc.pipeline.placer import EncoderPlacer, MapPlacer, StrangerPlacer
from tsne_ooc.pipeline.placing import Place
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.sampling import Coverage, UniformSample
from tsne_ooc.storage.state import StateError

# The function of that name is in its place.
neighbors = importlib.import_module("tsne_ooc.pipeline.neighbors")
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
neural = importlib.util.find_spec("torch") is not None
# What is planned here for few rows is planned for their number alone.
pytestmark = pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")


class Began(Exception):
    """Raised in the place of the work, with what its stages share."""


def begun(monkeypatch, module, call):
    """The stages and the work of a run, and the bytes that it asked for, without any work."""
    asked = []

    def drive(stages, work):
        raise Began(stages, work)

    monkeypatch.setattr(module, "drive", drive)
    monkeypatch.setattr(Folder, "check_room", lambda home, needed: asked.append(needed))
    with pytest.raises(Began) as caught:
        call()
    return *caught.value.args, asked


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home") / "model"
    TSNE(perplexity=5, n_iter=0, early_exaggeration_iter=0, random_state=0, n_jobs=1).fit(X).save(folder)
    return folder


def told(phase, done, total):
    """A progress that is told apart from that by default."""


@pytest.mark.parametrize("kind", ["embed", "place", "neighbors"])
def test_what_stages_share_is_what_was_asked_for(kind, model, tmp_path, monkeypatch):
    module = {"embed": embedding, "place": placing, "neighbors": neighbors}[kind]
    with ThreadPoolExecutor(1) as pool:
        usual = {"out": tmp_path / "usual"}
        other = {"out": tmp_path / "other", "block_rows": 9, "progress": told}
        seeded = {} if kind == "place" else {"random_state": 5}
        pooled = {} if kind == "neighbors" else {"executor": pool}
        given = (model, X) if kind == "place" else (X,)
        few = {"k": 5} if kind == "neighbors" else {}
        run = getattr(module, kind)
        _, plain, _ = begun(monkeypatch, module, lambda: run(*given, **usual, **few))
        _, work, _ = begun(monkeypatch, module, lambda: run(*given, **other, **seeded, **pooled, **few))
        assert (plain.block_rows, plain.seed, plain.executor) == (None, 0, None) and plain.progress is not told
        assert (work.block_rows, work.progress) == (9, told)
        assert work.seed == seeded.get("random_state", 0) and work.executor is pooled.get("executor")
        assert work.table.shape == X.shape and work.kept.home.path == tmp_path / "other"
        assert work.kept.origin["shape"] == [60, 4]


@pytest.mark.skipif(not neural, reason="needs PyTorch")
def test_a_training_has_the_seed_of_its_encoder(tmp_path, monkeypatch):
    from tsne_ooc.parametric import ParametricTSNE

    for seed, wanted in ((None, 0), (7, 7)):
        encoder = ParametricTSNE(random_state=seed, batch_size=8)
        _, work, _ = begun(
            monkeypatch, training,
            lambda encoder=encoder, out=tmp_path / f"e{seed}": training.train(
                X, out=out, encoder=encoder, progress=told
            ),
        )  # fmt: skip
        assert work.seed == wanted and work.progress is told


# ------------------------------------------------------------------------------------------------- stages of a mapping


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_a_run_has_a_look_for_each_round_and_all_fits_are_kept_apart(rounds, refine, tmp_path, monkeypatch):
    refinement = Refinement(memory=3, scratch=tmp_path) if refine else False
    prepare = Preparation([Standardize()])
    stages, _, _ = begun(monkeypatch, embedding, lambda: embedding.embed(
        X, out=tmp_path / "map", sample=40, rounds=rounds, refine=refinement, prepare=prepare, tsne=TSNE(n_jobs=1),
    ))  # fmt: skip
    first, draw, fit, *rest = stages
    looks, place = rest[: rounds - 1], rest[rounds - 1]
    assert (type(first), type(draw), type(fit), type(place)) == (Prepare, Draw, Fit, Place)
    assert first.prepare is prepare and first.all_rows is refine and draw.sample == UniformSample(40)
    assert [type(look) for look in looks] == [Look] * (rounds - 1)
    # A look has the number of the round whose map it looks from, and what it fits is kept for the next one.
    assert [look.name for look in looks] == [f"look {number}" for number in range(1, rounds)]
    assert [look.folder for look in looks] == [f"round-{number}" for number in range(1, rounds)]
    fits = [fit, *(look.next for look in looks)]
    last = f"round-{rounds}" if refine else "."
    assert [one.folder for one in fits] == [*(f"round-{number}" for number in range(1, rounds)), last]
    for one in fits:
        assert one.saved and one.estimator.n_jobs == 1
        room = one.room_in(tmp_path)
        assert room == (refining.Room(3, tmp_path) if refine else None)
    assert place.makes[0] == ("placed.npy" if refine else "embedding.npy")
    assert [stage.name for stage in rest[rounds:]] == (["search", "weigh", "refine", "keep"] * refine + ["seal"])


def test_an_estimator_without_a_seed_has_that_of_the_run_and_one_with_keeps_its_own(tmp_path, monkeypatch):
    for own, wanted in ((None, 7), (3, 3)):
        for refine in (False, True):
            stages, _, _ = begun(monkeypatch, embedding, lambda own=own, refine=refine: embedding.embed(
                X, out=tmp_path / f"{own}{refine}", tsne=TSNE(random_state=own), random_state=7, refine=refine
            ))  # fmt: skip
            assert stages[2].estimator.random_state == wanted
            if refine:
                course = next(stage for stage in stages if stage.name == "keep").course
                assert course.estimator.random_state == course.seed == wanted and course.prepared is False
    stages, _, _ = begun(
        monkeypatch, embedding, lambda: embedding.embed(X, out=tmp_path / "none", random_state=7)
    )  # fmt: skip
    assert stages[2].estimator.random_state == 7


def table_of(n, p):
    return SimpleNamespace(shape=(n, p))


def test_room_is_asked_for_the_rows_that_there_are():
    """A sample of more than all rows is one of all; rounds cost alike; prepared rows have no width beforehand."""
    asked = embedding.room_for
    tsne, few = TSNE(), UniformSample(50)
    assert asked(table_of(100, 5), tsne, UniformSample(101), None, 1) == asked(
        table_of(100, 5), tsne, UniformSample(100), None, 1
    )
    one, two, three = (asked(table_of(100, 5), tsne, few, None, rounds) for rounds in (1, 2, 3))
    assert three - two == two - one
    # Beside the sample's numbers, which are kept once.
    assert 2 * one - two == 8 * 50
    # Each row has a place of single precision, each axis counts, and novelty is one more.
    assert asked(table_of(101, 5), tsne, few, None, 1) - one == 4 * 3
    assert (
        asked(table_of(101, 5), TSNE(n_components=3), few, None, 1)
        - asked(table_of(100, 5), TSNE(n_components=3), few, None, 1)
        == 4 * 4
    )
    stranger = SimpleNamespace(n_components=3)
    assert asked(table_of(101, 5), stranger, few, None, 1) - asked(table_of(100, 5), stranger, few, None, 1) == 4 * 3
    # An estimator that does not say has two axes, and a sample that does not say is of no row.
    silent = SimpleNamespace(n_components=None)
    assert asked(table_of(101, 5), silent, few, None, 1) - asked(table_of(100, 5), silent, few, None, 1) == 4 * 2
    assert (
        asked(table_of(101, 5), object(), object(), None, 1) - asked(table_of(100, 5), object(), object(), None, 1)
        == 4 * 2
    )
    assert asked(table_of(100, 6), tsne, few, None, 1) - one == 4 * 50
    prepared = Preparation([Standardize()])
    assert asked(table_of(100, 6), tsne, few, prepared, 1) == asked(table_of(100, 5), tsne, few, prepared, 1) < one
    assert asked(table_of(100, 5), tsne, Coverage(50), None, 1) == one


@pytest.mark.parametrize("rows", [None, (10, 25)])
@pytest.mark.parametrize("novelty", [True, False])
def test_placing_asks_for_the_bytes_of_its_places(rows, novelty, model, tmp_path, monkeypatch):
    _, _, (asked,) = begun(
        monkeypatch, placing, lambda: placing.place(model, X, out=tmp_path / "o", rows=rows, novelty=novelty)
    )
    n = 60 if rows is None else 15
    assert asked == np.empty((n, 2), np.float32).nbytes + np.empty(n, np.float32).nbytes * novelty


def test_scoring_asks_for_the_bytes_of_its_scores(model, tmp_path, monkeypatch):
    wide = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", wide)
    run = placing.place(model, tmp_path / "X.npy", out=tmp_path / "run")
    with ThreadPoolExecutor(1) as pool:
        stages, work, (asked,) = begun(monkeypatch, trusting, lambda: trusting.trust(
            run.folder, k=4, length=0.25, directions=2, n_jobs=2, block_rows=3, progress=told, executor=pool
        ))  # fmt: skip
        assert asked == 3 * np.empty(7, np.float32).nbytes
        assert (work.block_rows, work.progress, work.executor) == (3, told, pool)
    score = stages[0]
    assert (score.judge.k, score.n_jobs) == (4, 2) and score.judge.moves.length == pytest.approx(0.25)
    assert work.kept.home.keep
    assert score.asked == {"k": 4, "length": 0.25, "directions": 2}


# ------------------------------------------------------------------------------------------------- stages of a refining


class NotedRoom:
    """In place of `Room`: how a plan was asked for."""

    asked: list = []  # noqa: RUF012

    def __init__(self, memory, folder):
        self.memory, self.where = memory, folder

    def plan(self, n, affinity, d, **more):
        NotedRoom.asked.append((n, affinity, d, more))
        return SimpleNamespace(on_disk=False, limit=None, stages=[SimpleNamespace(scratch=0)] * 2)

    def folder(self):
        return self.where


def course_of(tmp_path, **options):
    refinement = options.pop("refinement", Refinement(perplexity=4))
    return embedding.course_of(refinement, TSNE(**{"random_state": 0, "n_jobs": 1, **options}), None)


@pytest.mark.parametrize("search", ["exact", "auto", "hnsw"])
@pytest.mark.parametrize("columns", [0, 6])
def test_the_memory_of_a_refinement_is_planned_for_its_search_and_its_columns(tmp_path, monkeypatch, search, columns):
    course = course_of(tmp_path, neighbors=search, n_components=3)
    monkeypatch.setattr(refining, "Room", NotedRoom)
    NotedRoom.asked.clear()
    for n in (100, 20_000):
        for begun_ in (False, True):
            course.plan(tmp_path, n, columns, begun=begun_)
            whole = refining.at_once(course.recipe, n)
            assert NotedRoom.asked.pop() == (
                n, course.affinity, 3, {"columns": columns, "at_once": whole, "begun": begun_}
            )  # fmt: skip
    placed = SimpleNamespace(placer=SimpleNamespace(table_of=lambda given: table_of(50, 7)))
    with course.spared(SimpleNamespace(get=lambda kind: placed, table=None, folder=tmp_path)):
        n, _, _, more = NotedRoom.asked.pop()
        assert n == 50 and more["columns"] == 7 and more["begun"] is True


def test_a_refinement_keeps_its_things_where_it_is_told_to(tmp_path):
    (tmp_path / "there").mkdir()
    elsewhere = course_of(tmp_path, refinement=Refinement(memory=2, scratch=tmp_path / "there"))
    assert elsewhere.space(tmp_path / "run") == refining.Room(2, tmp_path / "there")
    assert course_of(tmp_path).space(tmp_path / "run") == refining.Room(None, tmp_path / "run")
    # What is kept on another disk takes no room on this one.
    assert refining.Weigh(elsewhere).room(table_of(10**9, 4)) == 0


def test_few_rows_are_kept_whole_and_of_many_the_reference():
    few, usual = (course_of(None, refinement=Refinement(reference=reference)) for reference in (40, None))
    assert [few.kept(n) for n in (1, 39, 40, 41, 1000)] == [1, 39, 40, 40, 40]
    assert [usual.kept(n) for n in (5, refining.REFERENCE, refining.REFERENCE + 1)] == [5, *[refining.REFERENCE] * 2]
    # A row by itself has no neighbour.
    assert [usual.neighbors(n) for n in (1, 2, 91, 92, 1000)] == [0, 1, 90, 90, 90]


def test_stages_of_a_refinement_ask_for_what_each_row_takes():
    course = course_of(None, refinement=Refinement(reference=40), n_components=3)
    search, move, keep = (kind(course).room for kind in (refining.Search, refining.Move, refining.Keep))
    # Once there are as many neighbours as are wanted, each row more takes its neighbours and itself.
    more = search(table_of(1001, 5)) - search(table_of(1000, 5))
    assert search(table_of(1002, 5)) - search(table_of(1001, 5)) == more
    assert search(table_of(1000, 6)) - search(table_of(1000, 5)) == 4 * 1000
    assert more >= 8 * course.neighbors(1000) + 4 * 5
    # Beyond the reference no row more is kept.
    assert keep(table_of(41, 5)) == keep(table_of(40, 5)) == keep(table_of(1000, 5)) > keep(table_of(39, 5)) > 0
    assert keep(table_of(40, 6)) - keep(table_of(40, 5)) == 4 * 40
    # Of many rows two snapshots of places, velocities and gains are there at once; the map that is kept takes their
    # place, and of few rows it takes more.
    n, places = 10**6, 10**6 * 3 * 4
    assert move(table_of(n, 5)) == 7 * places - keep(table_of(n, 5))
    assert move(table_of(10, 5)) == 10 * 3 * 4 + max(0, 6 * 10 * 3 * 4 - keep(table_of(10, 5))) == 10 * 3 * 4


def test_affinities_take_beside_the_neighbours_what_is_planned(monkeypatch):
    """By the time of the affinities the neighbours are a file already, which is not asked for twice."""
    course, n = course_of(None), 1000
    for on_disk, first, second, wanted in (
        (False, 0, 0, 0), (True, 7, 8 * n * 12 + 3, 7), (True, 7, 8 * n * 12 + 9, 9), (True, 0, 8 * n * 12 + 9, 9),
    ):  # fmt: skip
        plan = SimpleNamespace(
            on_disk=on_disk, stages=[SimpleNamespace(scratch=first), SimpleNamespace(scratch=second)]
        )
        monkeypatch.setattr(refining.Course, "plan", lambda *given, plan=plan, **more: plan)
        assert course.neighbors(n) == 12 and refining.Weigh(course).room(table_of(n, 4)) == wanted


def test_affinities_that_fit_nowhere_are_refused_by_the_search_and_take_no_room(monkeypatch):
    """Whoever asks for the room of all stages is not told of memory instead."""

    def none(*given, **more):
        raise MemoryError

    monkeypatch.setattr(refining.Course, "plan", none)
    assert refining.Weigh(course_of(None)).room(table_of(1000, 4)) == 0


@pytest.mark.parametrize("array", ["values", "index.rows", None, "gone"])
def test_what_cannot_be_is_told_with_the_file_that_holds_it(array, tmp_path):
    """And with the folder of the run, which is to be removed."""
    path = tmp_path / "run" / refining.SCRATCH / "graph"
    path.parent.mkdir(parents=True)
    storage.write_folder(path, "graph", {"word": 1}, {"values": np.arange(3), "index.rows": np.arange(4)})
    with refining._read(path, "graph") as saved:
        assert saved.content["word"] == 1 and saved.arrays["index.rows"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError) as caught, refining._read(path, "graph"):
        raise StateError("cannot be", array)
    named = {"values": "values.npy", "index.rows": "index.rows.npy"}.get(array, "manifest.json")
    assert str(caught.value) == f"{path / named}: cannot be; remove {tmp_path / 'run'} to begin again"
    with pytest.raises(ValueError, match="other"), refining._read(path, "other"):
        pass


def test_stages_of_a_search_ask_for_what_each_row_takes():
    def asked(k, prepare=None):
        return neighbors.Asked(k, "euclidean", None, "auto", prepare, 0, neighbors.Threads(1))

    read, search = neighbors.Read(asked(9)).room, neighbors.Search(asked(9)).room
    # Rows are there twice: as they are read, and in the order of the search.
    assert read(table_of(100, 5)) == 2 * X.itemsize * 100 * 5
    assert neighbors.Read(asked(9, Preparation([Standardize()]))).room(table_of(100, 5)) == 0
    # Numbers and distances of neighbours, and the order.
    assert search(table_of(101, 5)) - search(table_of(100, 5)) == 9 * (4 + 4) + 4
    assert neighbors.Search(asked(10)).room(table_of(100, 5)) - search(table_of(100, 5)) == 8 * 100


def test_a_search_of_all_rows_is_made_as_it_was_asked_for(monkeypatch):
    made, resolved = [], []
    monkeypatch.setattr(neighbors.searches, "resolve", lambda *given, **more: resolved.append((given, more)) or "it")
    monkeypatch.setattr(neighbors.searches, "build", lambda *given, **more: made.append((given, more)))
    monkeypatch.setattr(neighbors.searches, "tell_unlikely", lambda *given: None)
    threads = neighbors.Threads(1)
    for params in (None, {"p": 3}):
        asked = neighbors.Asked(9, "minkowski", params, "exact", None, 5, threads)
        neighbors.Search(asked)._index(X)
        assert resolved.pop() == (("exact",), {"metric": "minkowski", "n": 60, "p": 4, "metric_params": params})
        (search, rows), more = made.pop()
        assert search == "it" and rows is X and more["metric"] == "minkowski" and more["metric_params"] == params
        # What is built may change its own options, and not those that were given.
        assert more["metric_params"] is None or more["metric_params"] is not params
        assert more["threads"] is threads
        drawn = neighbors.generator(5, "neighbors").integers(1 << 60, size=3)
        assert more["rng"].integers(1 << 60, size=3).tolist() == drawn.tolist()


# ---------------------------------------------------------------------------------------------------------- the tables


class Kept:
    """A table of a file that notes how it was opened and that it is closed."""

    def __init__(self, names, left_out):
        self.names, self.left_out, self.closed = names, left_out, 0

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("given", ["a.parquet", Path("a.parquet"), ["a.parquet", "b.parquet"], np.zeros((2, 2))])
@pytest.mark.parametrize("lacking, left_out, again", [
    ([], [], False), ([], ["w"], False), (["w"], ["w"], True), (["w"], ["v", "w"], True), (["w"], ["v"], False),
    (["v", "w"], ["w"], False),
])  # fmt: skip
@pytest.mark.parametrize("columns", [None, ["a"]])
def test_columns_of_the_fit_are_read_where_the_file_has_them(given, lacking, left_out, again, columns, monkeypatch):
    """Columns of words are left out of a file, unless they are named or were those of the fit."""
    opened, told_ = [], []

    def open_source(source, **options):
        opened.append((source, options, Kept(["a", "b"], left_out)))
        return opened[-1][2]

    monkeypatch.setattr(table, "open_source", open_source)
    monkeypatch.setattr(table, "names_of", lambda one: one.names)
    monkeypatch.setattr(table, "account_of", lambda one: {"left_out": dict.fromkeys(one.left_out)})
    monkeypatch.setattr(table, "in_words", lambda account: told_.append(account) or [])
    of_the_fit = ["b", *lacking]
    with table.opened(given, "d", columns, True, of_the_fit) as found:
        assert found is opened[-1][2] and not found.closed
    again = again and columns is None and not isinstance(given, np.ndarray)
    usual = {"dataset": "d", "allow_missing_chunks": True}
    assert [options for _, options, _ in opened] == [
        {**usual, "columns": columns}, *([{**usual, "columns": of_the_fit}] if again else [])
    ]  # fmt: skip
    assert all(source is given for source, _, _ in opened) and len(told_) == 1
    # What was opened here is closed, once, and what was given stays open.
    assert [one.closed for _, _, one in opened] == [0 if isinstance(given, np.ndarray) else 1] * len(opened)
    with table.opened(given, "d", columns, True) as found:
        assert len(opened) == (3 if again else 2)


# ------------------------------------------------------------------------------------------------------------ the looks


@pytest.mark.parametrize("n, most", [(1, 1), (4, 1), (14, 1), (16, 2), (60, 6)])
@pytest.mark.parametrize("block", [3, 1 << 17])
def test_a_tenth_of_the_sample_joins_it_of_the_rows_beyond(n, most, block, tmp_path, monkeypatch):
    """And it is chosen of eight times as many; a look reads the novelty of some rows at a time."""
    (tmp_path / "round-2").mkdir()
    novelty = np.array([1, 2, 9, np.nan, 3, 9.5, 2, 7, 7.5, 8], np.float32)
    places = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.save(tmp_path / "round-2" / "novelty.npy", novelty)
    np.save(tmp_path / "round-2" / "embedding.npy", places)
    monkeypatch.setattr(looking, "_ROWS", block)
    monkeypatch.setattr(looking, "take", lambda prepared, rows: X[np.asarray(rows) % 60])
    noted = {"add": []}

    class Novel:
        beyond, seen = 7.0, 4

        def __init__(self, estimator, sample, capacity, rng):
            noted.update(sample=sample, capacity=capacity, drawn=rng.integers(1 << 60))

        def add(self, at, rows, placed):
            noted["add"].append((at, rows, placed))

        def choose(self, most):
            noted["most"] = most

    monkeypatch.setattr(looking, "NovelRows", Novel)
    monkeypatch.setattr(looking, "enlarge", lambda sample, chosen: sample)
    placer = SimpleNamespace(estimator="the map", table_of=lambda given: given)
    seats = SimpleNamespace(rows=np.arange(n), embedding=np.zeros((n, 2), np.float32))
    work = SimpleNamespace(table=None, folder=tmp_path, seed=3)
    again, sample = Look(2, Fit(None, saved=False))._next(work, placer, seats)
    assert again is placer and sample is noted["sample"] and sample.rows.tolist() == list(range(n))
    assert (noted["most"], noted["capacity"]) == (most, 8 * most)
    assert noted["drawn"] == looking.generator(3, "rounds").integers(1 << 60)
    # Exactly at the threshold a row is not beyond it.
    assert np.concatenate([at for at, _, _ in noted["add"]]).tolist() == [2, 5, 8, 9]
    for at, rows, placed in noted["add"]:
        np.testing.assert_array_equal(rows, X[at])
        np.testing.assert_array_equal(placed.embedding, places[at])
        np.testing.assert_array_equal(placed.novelty, novelty[at])
        # Nothing of them keeps the file mapped.
        assert not any(isinstance(part, np.memmap) for part in (placed.embedding, placed.novelty))
        assert placed.iterations.tolist() == [0] * len(at) and placed.iterations.dtype == np.int32


# ---------------------------------------------------------------------------------------------------------- the merging


def test_parts_are_joined_in_the_order_of_their_rows_and_the_room_is_that_of_all(tmp_path, monkeypatch):
    parts = []
    for start, stop in ((12, 20), (0, 5), (5, 12)):
        arrays = {"embedding": np.arange(2 * start, 2 * stop, dtype=np.float32).reshape(-1, 2),
                  "novelty": np.arange(start, stop, dtype=np.float32),
                  "dropped_rows": np.array([start, stop - 1])}  # fmt: skip
        manifest = {
            "seconds": {}, "task": "place",
            "job": {"source": {"shape": [20, 3]}, "request": {"rows": [start, stop]}, "tsne_ooc": "1"},
        }  # fmt: skip
        # Runs cannot be put into an order.
        parts.append(
            merging.Part(start, stop, SimpleNamespace(folder=Path(f"p{start}"), manifest=manifest, arrays=arrays))
        )
    given, asked = iter(parts), []
    monkeypatch.setattr(merging, "_part", lambda folder: next(given))
    monkeypatch.setattr(Folder, "check_room", lambda home, needed: asked.append(needed))
    run = merging.merge(["a", "b", "c"], out=tmp_path / "out")
    assert asked == [20 * 3 * 4]
    assert run.arrays["embedding"].tolist() == np.arange(40, dtype=np.float32).reshape(20, 2).tolist()
    assert run.arrays["novelty"].tolist() == list(range(20))
    assert run.arrays["dropped_rows"].tolist() == [0, 4, 5, 11, 12, 19] and run.manifest["dropped"] == 6
    assert [part["rows"] for part in run.manifest["parts"]] == [[0, 5], [5, 12], [12, 20]]
    assert sorted(file.name for file in (tmp_path / "out").glob("*.npy")) == [
        "dropped_rows.npy", "embedding.npy", "novelty.npy"
    ]  # fmt: skip


def test_a_merging_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    arrays = {"novelty": np.arange(4, dtype=np.float32)}
    manifest = {"seconds": {}, "job": {"source": {"shape": [4, 3]}, "request": {"rows": [0, 4]}, "tsne_ooc": "1"}}
    part = merging.Part(0, 4, SimpleNamespace(folder=Path("p"), manifest=manifest, arrays=arrays))
    monkeypatch.setattr(merging, "_part", lambda folder: part)

    def broken(*given):
        assert (tmp_path / "out" / "novelty.npy").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging, "seal", broken)
    with pytest.raises(OSError, match=r"out could not be written: No space left on device$"):
        merging.merge(["a"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_kinds_of_affinities_that_a_course_may_have():
    assert course_of(None).affinity == Perplexity(4)
    assert course_of(None, affinity="uniform").affinity == Uniform(4)


# ---------------------------------------------------------------------------------------------------- the first stages


class Noting:
    """A function that notes how it is called, and gives something back."""

    def __init__(self, gives=None):
        self.gives, self.calls = gives, []

    def __call__(self, *given, **named):
        self.calls.append((given, named))
        return self.gives


def work_of(tmp_path, **more):
    return SimpleNamespace(
        table=X, folder=tmp_path, seed=5, progress=told, block_rows=None, handed=[], **more
    )  # fmt: skip


def test_tables_are_prepared_and_samples_drawn_as_a_run_says(tmp_path, monkeypatch):
    prepared, drawn, checked = Noting("prepared"), Noting("drawn"), Noting()
    monkeypatch.setattr(fitting, "prepared", prepared)
    monkeypatch.setattr(fitting, "drawn", drawn)
    monkeypatch.setattr(fitting, "check_no_row_dropped", checked)
    work = work_of(tmp_path)
    work.put, work.take = work.handed.append, lambda kind: f"the {kind.__name__}"
    prepare = Preparation([Standardize()])
    for estimator, metric, n_jobs in ((TSNE(metric="cosine", n_jobs=3), "cosine", 3), (Stranger(), None, None)):
        for all_rows in (False, True):
            stage = Prepare(prepare, estimator, all_rows=all_rows)
            assert stage.phase == "prepare" and Prepare(None, estimator).phase == "sample"
            stage.run(work)
            given, named = prepared.calls.pop()
            assert given[0] is X and given[1] is prepare and given[2] == metric
            assert named == {"seed": 5, "n_jobs": n_jobs, "progress": told}
            assert checked.calls == [(("prepared", "refine moves all rows"), {})] * all_rows
            checked.calls.clear()
    sample = UniformSample(4)
    Draw(sample).run(work)
    assert drawn.calls == [(("the Prepared", sample), {"seed": 5, "progress": told})]
    assert work.handed == ["prepared"] * 4 + ["drawn"]


def test_rows_that_are_searched_are_prepared_as_a_search_says(tmp_path, monkeypatch):
    """And once more where an earlier attempt left its folder."""
    prepare, ready = Preparation([Standardize()]), SimpleNamespace(table=X[:, :3])
    prepared, checked = Noting(ready), Noting()
    monkeypatch.setattr(neighbors, "prepared", prepared)
    monkeypatch.setattr(neighbors, "check_no_row_dropped", checked)
    asked = neighbors.Asked(9, "cosine", None, "auto", prepare, 7, neighbors.Threads(3))
    work = work_of(tmp_path)
    work.put = work.handed.append
    for _ in range(2):
        stage = neighbors.Read(asked)
        monkeypatch.setattr(stage, "fill", lambda work: (tmp_path / neighbors.SCRATCH / "rows.npy.part").touch())
        assert stage.run(work) == {"columns": 3}
        given, named = prepared.calls.pop()
        assert given[0] is X and given[1:] == (prepare, "cosine")
        assert named == {"seed": 7, "n_jobs": 3, "progress": told}
        assert checked.calls.pop() == ((ready, "each row has neighbours"), {}) and work.handed.pop() is ready
        assert stage.shapes(SimpleNamespace(table=X)) == {"rows": (60, 3)}


@pytest.mark.parametrize("ordered", [True, False])
def test_neighbours_are_named_by_their_numbers_in_the_order_of_the_search(ordered, tmp_path, monkeypatch):
    """A search that goes by an order names rows by their own numbers; what is kept goes by their places in it."""
    (tmp_path / neighbors.SCRATCH).mkdir()
    np.save(tmp_path / neighbors.SCRATCH / "rows.npy", X)
    order = np.random.default_rng(0).permutation(60).astype(np.uint32)
    indices = np.random.default_rng(1).integers(0, 60, (60, 4)).astype(np.uint32)
    distances = np.arange(240, dtype=np.float32).reshape(60, 4)

    class Index:
        unit = 2.0

        def recall(self, k):
            return 1.0

        def query_part(self, start, stop, k):
            assert k == 4
            return (indices[order[start:stop]], distances[order[start:stop]]) if ordered else None

        def query_self(self, k):
            return indices, distances

    Index.order = order if ordered else None
    monkeypatch.setattr(neighbors.Search, "_index", lambda stage, rows: Index())
    monkeypatch.setattr(neighbors, "as_searched", lambda rows, index: rows)
    stage = neighbors.Search(neighbors.Asked(4, "euclidean", None, "auto", None, 0, neighbors.Threads(1)))
    work = work_of(tmp_path)
    search = stage.compute(work)
    for first, stop in ((0, 60), (7, 20), (59, 60)):
        found = search(first, X[first:stop])
        rows = order[first:stop] if ordered else np.arange(first, stop)
        named = found["indices"]
        np.testing.assert_array_equal(order[named] if ordered else named, indices[rows])
        np.testing.assert_array_equal(found["distances"], distances[rows])
        assert named.dtype == np.uint32
    facts = stage.summary(work)
    assert (tmp_path / "order.npy").exists() == ordered == (facts["order"] is not None)
    assert facts["facts"]["unit"] == 2.0 and facts["facts"]["metric"] == "euclidean"
    # Who goes on looks at the order, where there is one.
    reopened = Noting()
    monkeypatch.setattr(neighbors.RowStage, "reopen", lambda stage, work, facts: reopened(facts))
    stage.reopen(work, facts)
    assert reopened.calls == [((facts,), {})]
    if ordered:
        np.save(tmp_path / "order.npy", order[::-1])
        with pytest.raises(ValueError, match=r"order\.npy is damaged: its sum is not the one that the ledger names"):
            stage.reopen(work, facts)


class Stranger:
    """An estimator of another library, without the usual options; its answers are its own, and doubles."""

    embedding_ = np.arange(6, dtype=np.float64).reshape(3, 2)

    def __init__(self):
        self.answer = np.ones((3, 2))

    def get_params(self, deep=True):
        return {}

    def transform(self, rows):
        assert len(rows)
        return self.answer[: len(rows)]


@pytest.mark.parametrize("drops", [False, True])
def test_answers_of_strangers_are_single_precision_and_ones_own(drops):
    estimator = Stranger()
    placer = StrangerPlacer(estimator, SimpleNamespace(drops=drops, preparation="p"))
    assert placer.embedding.dtype == np.float32 and (placer.drops, placer.preparation) == (drops, "p")
    found = placer.place(X[:3], novelty=False)
    assert set(found) == {"embedding"} and found["embedding"].dtype == np.float32
    found["embedding"][:] = 7
    estimator.answer = estimator.answer.astype(np.float32)
    placer.place(X[:3], novelty=False)["embedding"][:] = 7
    assert (estimator.answer == 1).all()
    assert placer.place(X[:0], novelty=False)["embedding"].shape == (0, 2)
    if drops:
        gaps = X[:3].copy()
        gaps[1] = np.nan
        assert np.isnan(placer.place(gaps, novelty=False)["embedding"]).all(axis=1).tolist() == [False, True, False]
        gaps[:] = np.nan
        assert np.isnan(placer.place(gaps, novelty=False)["embedding"]).all()
    # A map gives novelty on its way, and nobody else does.
    assert MapPlacer.novelty_is_free and not EncoderPlacer.novelty_is_free and not placer.novelty_is_free
    assert placer.novelty is placer.threshold is placer.told() is None
    assert placer.facts == {"kl_divergence": None, "n_iter": None}


def test_an_array_is_written_beside_its_name_first(tmp_path, monkeypatch):
    """Under a name that whoever goes on knows to remove; also over an older file; in the format that all read."""
    path, seen = tmp_path / "rows.npy", []
    plain = np.lib.format.write_array

    def write(file, array, version, allow_pickle):
        seen.append((sorted(os.listdir(tmp_path)), version, allow_pickle))
        plain(file, array, version=version, allow_pickle=allow_pickle)

    monkeypatch.setattr(np.lib.format, "write_array", write)
    for rows in ([1, 2], [3]):
        write_array(path, np.array(rows))
        assert np.load(path).tolist() == rows and os.listdir(tmp_path) == ["rows.npy"]
    assert seen == [(["rows.npy.part"], (1, 0), False), (["rows.npy", "rows.npy.part"], (1, 0), False)]
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_array(path, np.array([{}], object))

    def full(*given, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match=r"rows\.npy could not be written: No space left on device$"):
        write_array(path, np.array([4]))
    assert np.load(path).tolist() == [3] and os.listdir(tmp_path) == ["rows.npy"]


# ------------------------------------------------------------------------------------------ the table of a finished run


@pytest.mark.parametrize("names", [None, ["a", "b"], ["b", "a"], ["a", "b", "c"]])
@pytest.mark.parametrize("columns", [None, ["b"]])
@pytest.mark.parametrize("known", [None, ["a", "b"]])
@pytest.mark.parametrize("dataset", [None, "mine"])
@pytest.mark.parametrize("several", [True, False])
def test_the_table_that_a_run_was_made_from_is_read_as_it_was(
    names, columns, known, dataset, several, tmp_path, monkeypatch
):
    files = [str(tmp_path / name) for name in ("x.npy", "y.npy")]
    for file in files:
        Path(file).touch()
    source = {"path": files[0], "dataset": "theirs", "columns": known}
    manifest = {"job": {"source": source}, **({"files": [{"path": file} for file in files]} if several else {})}
    run = SimpleNamespace(folder=tmp_path / "run", manifest=manifest)
    calls = []

    @contextmanager
    def opened(*given):
        calls.append(given)
        yield "the table"

    monkeypatch.setattr(trusting, "opened", opened)
    monkeypatch.setattr(trusting, "names_of", lambda table: names)
    with trusting._table_of(run, None, dataset, columns, True) as table:
        assert table == "the table"
    path, word = files if several else files[0], dataset or "theirs"
    # Without a need for it, columns are not named: such as where the file has these, in this order, and no others.
    looked = columns is None and known is not None
    wanted = columns if not looked or names == known else known
    assert calls == [(path, word, None, True)] * looked + [(path, word, wanted, True)]
    # Of a table that is given only what is asked for is read.
    calls.clear()
    with trusting._table_of(run, "given", dataset, columns, False):
        assert calls == [("given", dataset, columns, False)]
    Path(files[several]).unlink()
    message = f"the table {files[0]}, which the map was made from, is not there any more; name the place where it is"
    with pytest.raises(FileNotFoundError, match=re.escape(message)), trusting._table_of(run, None, None, None, False):
        pass
    source["path"] = None
    with (
        pytest.raises(ValueError, match=r"was not made from a file; name"),
        trusting._table_of(run, None, None, None, False),
    ):
        pass


@pytest.mark.parametrize("chance", [None, 4, np.random.default_rng(3), np.random.RandomState(3)])
def test_a_refinement_has_one_seed_whatever_chance_is_asked_of(chance):
    """A generator would give each stage another one."""
    course = course_of(None, refinement=Refinement(perplexity=4, random_state=chance))
    seed = course.estimator.random_state
    assert type(seed) is int and course.seed == seed == course.seed
    assert chance != 4 or seed == 4
