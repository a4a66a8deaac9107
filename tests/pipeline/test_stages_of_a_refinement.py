"""What each stage of a refinement takes from those before, hands on, tells, keeps and removes; the work is left out."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE, Refinement, storage
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.affinity import Perplexity
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.fit.model import Model
from tsne_ooc.fit.searched import Searched
from tsne_ooc.neighbors import Exact, Graph
from tsne_ooc.pipeline import refining
from tsne_ooc.pipeline.placer import Mapped, MapPlacer, Seats
from tsne_ooc.pipeline.refining import Course, Keep, Move, Search, Weigh, Weighed
from tsne_ooc.scratch import JointOnDisk

N, ONE = 70, Threads(1)
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
def sample():
    """A map of the first forty rows."""
    return TSNE(**QUICK).fit(X[:40])


class Job:
    """What stages share, as far as these look at it."""

    def __init__(self, folder, *things, **facts):
        self.folder, self.table, self.facts, self.told = folder, X, facts, []
        self.things = {type(thing): thing for thing in things}

    def get(self, kind):
        return self.things[kind]

    def find(self, kind):
        return self.things.get(kind)

    def take(self, kind):
        return self.things.pop(kind)

    def put(self, thing):
        self.things[type(thing)] = thing

    def progress(self, phase, done, total):
        self.told.append((phase, done, total))


def course_of(search="exact", **options):
    refinement = Refinement(**{"n_iter": 6, "perplexity": 5, **options})
    return Course.of(refinement, TSNE(**{**QUICK, "neighbors": search}), prepared=False)


def mapped(sample):
    placer = MapPlacer(sample)
    return Mapped(placer, Seats(np.arange(40), placer.embedding, placer.novelty))


def searched_of(course, k=15):
    return Searched.among(X, k, course.recipe, seed=course.seed, threads=ONE)


# ----------------------------------------------------------------------------------------------------------- the search


@pytest.mark.parametrize("scratch", [None, "there"])
def test_what_cannot_be_is_told_before_the_first_stage(tmp_path, monkeypatch, scratch):
    """A graph of too few neighbours or of other rows, and another disk that is too small."""
    asked = []
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(refining.Room, "check_scratch", lambda room, plan: asked.append((room, plan)))
    monkeypatch.setattr(Course, "plan", lambda course, *given, **named: ("plan", given, named))
    where = None if scratch is None else tmp_path / scratch
    course = course_of(scratch=where)
    Search(course).check(Job(tmp_path))
    plan = ("plan", (tmp_path, N, 4), {})
    assert asked == ([] if scratch is None else [(course.space(tmp_path), plan)])
    for graph, says in (
        (Graph(csr_array(cdist(X, X))), None), (TSNE(**QUICK).fit(X).graph(14), "14 neighbours of each row, and 15"),
        (TSNE(**QUICK).fit(X[:50]).graph(15), "50"),
    ):  # fmt: skip
        stage = Search(course_of(graph))
        if says is None:
            stage.check(Job(tmp_path))
        else:
            with pytest.raises(ValueError, match=says):
                stage.check(Job(tmp_path))


class Half:
    """A search that finds half of the nearest rows."""

    def __init__(self, index):
        self.index = index

    def __getattr__(self, name):
        return getattr(self.index, name)

    def recall(self, k):
        assert k == 15
        return 0.5


def test_a_search_keeps_what_it_found_and_tells_it(tmp_path, sample, monkeypatch, caplog):
    course = course_of()
    job, stage = Job(tmp_path, mapped(sample)), Search(course)
    # What an attempt left that was killed is not taken for what was found now.
    (tmp_path / "refine.part" / "graph").mkdir(parents=True)
    (tmp_path / "refine.part" / "graph" / "notes.txt").touch()
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        facts = stage.run(job)
    assert "all of the 15 nearest rows are found" in caplog.messages
    assert job.told == [("search", 0, N), ("search", N, N)]
    graph = tmp_path / "refine.part" / "graph"
    assert facts == {"neighbors": 15, "recall": 1.0, "graph": storage.digest_of(graph)}
    assert not (graph / "notes.txt").exists()
    found = job.get(Searched)
    np.testing.assert_array_equal(found.neighbors, searched_of(course).neighbors)
    # Who goes on finds the same, or what is wrong.
    again = Job(tmp_path, mapped(sample))
    stage.reopen(again, facts)
    np.testing.assert_array_equal(again.get(Searched).distances, found.distances)
    with pytest.raises(ValueError) as told:
        stage.reopen(again, {**facts, "graph": "another"})
    assert str(told.value) == f"{graph} is not what this run began with; remove {tmp_path} to begin again"
    plain = Searched.among

    def half(*given, **named):
        found = plain(*given, **named)
        object.__setattr__(found, "index", Half(found.index))
        return found

    monkeypatch.setattr(refining.Searched, "among", half)
    monkeypatch.setattr(Searched, "state", lambda found: ({}, {"x": np.zeros(1)}))
    monkeypatch.setattr(stage, "reopen", lambda work, facts: None)
    with pytest.warns(UserWarning, match="the neighbour search finds 0.50 of the 15 nearest rows"):
        assert stage.run(Job(tmp_path, mapped(sample)))["recall"] == 0.5


def test_a_row_alone_is_not_searched_and_lacks_nothing(tmp_path, sample, monkeypatch, caplog):
    job = Job(tmp_path, mapped(sample))
    job.table = X[:1]
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        facts = Search(course_of()).run(job)
    assert (facts["neighbors"], facts["recall"]) == (0, 1.0) and not any("nearest" in line for line in caplog.messages)


# ------------------------------------------------------------------------------------------------------- the affinities


def test_affinities_are_those_of_the_search_and_are_told(tmp_path, monkeypatch, caplog):
    course, asked = course_of(), []
    plain = Searched.joint

    def joint(found, *given, **named):
        asked.append((given, named))
        return plain(found, *given, **named)

    monkeypatch.setattr(Searched, "joint", joint)
    found = searched_of(course)
    job = Job(tmp_path, found)
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        Weigh(course).run(job)
    ((affinity, d, room), named), P = asked[0], job.get(Weighed).P
    assert (affinity, d, room) == (Perplexity(5), 2, course.space(tmp_path))
    assert named["seed"] == 0 and named["threads"].n_jobs == 1
    assert f"affinities: {Perplexity(5)!r}, from 15 neighbours of each row; {P.entries:,} pairs" in caplog.messages
    assert job.told == [("weigh", 0, N), ("weigh", N, N)] and job.get(Searched) is found


# ----------------------------------------------------------------------------------------------------------- the move


class Closed(JointOnDisk):
    """Affinities on the disk, of which only is known whether they are closed."""

    entries, closed = 7, 0

    def __init__(self):
        pass

    def close(self):
        self.closed += 1


class Result(SimpleNamespace):
    pass


def moved(monkeypatch, tmp_path, P=None, stopped="finished", **options):
    """A move that ends at once, with what it was asked for."""
    course, asked = course_of(**options), []
    places = np.random.default_rng(1).normal(3, 20, (N, 2)).astype(np.float32)
    np.save(tmp_path / "placed.npy", places)
    result = Result(
        embedding=places + 1, kl_divergence=np.float64(1.5), iterations=5, stopped=stopped, history=(),
        motion=SimpleNamespace(exaggeration=np.float64(1.25)),
    )  # fmt: skip

    def descend(*given, **named):
        asked.append((given, named))
        return result, None

    monkeypatch.setattr(refining, "descend", descend)
    found = searched_of(course)
    job = Job(tmp_path, found, Weighed(SimpleNamespace(entries=7) if P is None else P))
    return course, job, asked, places, found


def test_all_rows_begin_where_they_were_placed_and_end_in_a_file(tmp_path, monkeypatch):
    course, job, asked, places, found = moved(monkeypatch, tmp_path, snapshot_every=3, deviation=1.5)
    P = job.get(Weighed).P
    facts = Move(course).run(job)
    ((given, order, start, recipe), named) = asked[0]
    assert given is P and order is found.index.order
    wanted = refining.begin_at(places, 1.5, generator(0, "refine"))
    np.testing.assert_array_equal(start, wanted)
    assert recipe == course.recipe._replace(schedule=course.schedule(N)) and recipe.schedule.iterations > 0
    watch = named.pop("watch")
    assert named.pop("threads").n_jobs == 1
    assert named == {"given": True, "equal": found.equal, "snapshot": None}
    total = recipe.schedule.iterations
    watch.progress(3, total)
    assert job.told == [("refine", 0, total), ("refine", 3, total)] and watch.keep_every == 3
    np.testing.assert_array_equal(np.load(tmp_path / "embedding.npy"), places + 1)
    assert facts.pop("embedding") == refining.sum_of(tmp_path / "embedding.npy")
    assert facts == {
        "kl_divergence": 1.5, "n_iter": 5, "exaggeration": 1.25, "pairs": 7, "history": refining.to_json(()),
    }  # fmt: skip
    assert type(facts["kl_divergence"]) is type(facts["exaggeration"]) is float
    # What the stage needed of others is let go of.
    assert job.find(Searched) is None and job.find(Weighed) is None
    # Snapshots lie in one folder, each in the place of the one before.
    (tmp_path / "refine.part").mkdir()
    for number in (1, 2):
        watch.keep(SimpleNamespace(state=lambda number=number: ({"number": number}, {"x": np.zeros(1)})))
    kept = storage.read_folder(tmp_path / "refine.part" / "snapshot", "snapshot")
    assert kept.content["number"] == 2
    Move(course).reopen(job, {"embedding": refining.sum_of(tmp_path / "embedding.npy")})
    with pytest.raises(ValueError, match=r"embedding\.npy is damaged"):
        Move(course).reopen(job, {"embedding": "another"})


def test_a_move_goes_on_from_its_snapshot(tmp_path, monkeypatch):
    from tsne_ooc.fit.snapshot import Motion, Snapshot

    course, job, asked, places, _ = moved(monkeypatch, tmp_path)
    motion = Motion(places, places * 0, places * 0 + 1, np.zeros(2, np.float32), None, None, 1.0)
    (tmp_path / "refine.part").mkdir()
    storage.write_folder(tmp_path / "refine.part" / "snapshot", "snapshot", *Snapshot(motion, 0, 4, 4).state())
    Move(course).run(job)
    snapshot = asked[0][1]["snapshot"]
    assert (snapshot.iteration, snapshot.done) == (4, 4) and job.told[0][:2] == ("refine", 4)
    np.testing.assert_array_equal(snapshot.motion.places, places)


@pytest.mark.parametrize("stopped", ["finished", "interrupted"])
def test_affinities_on_the_disk_are_closed_and_an_interrupt_tells_how_far_it_was(tmp_path, monkeypatch, stopped):
    P, there = Closed(), tmp_path / "embedding.npy"
    course, job, _, places, _ = moved(monkeypatch, tmp_path, P, stopped)
    total = course.schedule(N).iterations
    if stopped == "finished":
        assert Move(course).run(job)["pairs"] == 7
    else:
        with pytest.raises(KeyboardInterrupt) as told:
            Move(course).run(job)
        assert told.value.__notes__ == [
            f"after 5 of {total} iterations of all rows together; {there} is the map as it then was"
        ]
    assert P.closed == 1
    np.testing.assert_array_equal(np.load(tmp_path / "embedding.npy"), places + 1)


# -------------------------------------------------------------------------------------------------------- the keeping


def kept(tmp_path, sample, *, novelty=True, found=True, **options):
    """A run whose rows have moved, with what `keep` finds of it."""
    course = course_of(**options)
    searched = searched_of(course)
    rng = np.random.default_rng(2)
    for name, values in (("placed", rng.normal(size=(N, 2))), ("embedding", rng.normal(size=(N, 2))),
                         ("novelty", rng.gamma(2, size=N))):  # fmt: skip
        if name != "novelty" or novelty:
            np.save(tmp_path / f"{name}.npy", values.astype(np.float32))
    facts = {
        "search": {"neighbors": 15, "recall": 1.0}, "place": {},
        "refine": {"kl_divergence": 1.5, "n_iter": 5, "exaggeration": 1.25, "pairs": 7,
                   "history": {"iteration": [5], "exaggeration": [1.25], "kl_divergence": [1.5], "step": [0.5]}},
    }  # fmt: skip
    things = [mapped(sample), *([searched] if found else [])]
    return course, Job(tmp_path, *things, **facts), searched


@pytest.mark.parametrize("reference", [None, N, 30])
@pytest.mark.parametrize("novelty", [True, False])
def test_the_map_that_is_kept_is_that_of_the_rows_where_they_moved(tmp_path, sample, reference, novelty):
    (tmp_path / "refine.part" / "snapshot").mkdir(parents=True)
    course, job, searched = kept(tmp_path, sample, novelty=novelty, reference=reference)
    facts = Keep(course).run(job)
    assert job.told == [("keep", 0, N), ("keep", N, N)]
    rows = 30 if reference == 30 else N
    assert facts["rows"] == rows and facts["sample"] == {"rows": 40, **MapPlacer(sample).facts}
    assert not (tmp_path / "refine.part" / "snapshot").exists()
    # The rows of the sample are told in a file, also where the map is of others.
    assert np.load(tmp_path / "sample_rows.npy").tolist() == list(range(40))
    assert facts["sample_rows"] == refining.sum_of(tmp_path / "sample_rows.npy")
    assert facts["model"] == storage.digest_of(tmp_path / "model") and Keep(course).worth_keeping(facts)
    assert not Keep(course).worth_keeping({**facts, "model": None})
    placer, seats, folder = job.get(Mapped)
    model = placer.estimator
    numbers = np.arange(N) if rows == N else model.sample_rows_
    assert (model.sample_rows_ is None) == (rows == N) and len(numbers) == len(set(numbers.tolist())) == rows
    assert (np.diff(numbers) > 0).all() and seats.rows.tolist() == numbers.tolist() and folder is None
    embedding, placed = (np.load(tmp_path / f"{name}.npy") for name in ("embedding", "placed"))
    np.testing.assert_array_equal(model.embedding_, embedding[numbers])
    np.testing.assert_array_equal(model.map_.model.index.rows, X[numbers])
    np.testing.assert_array_equal(model.transform(X[numbers[:5]]), embedding[numbers[:5]])
    np.testing.assert_array_equal(model.placed_.embedding, placed[numbers])
    # They were not placed in steps.
    assert model.placed_.iterations.tolist() == [0] * rows and model.placed_.iterations.dtype == np.int32
    assert (model.placed_.novelty is None) == (not novelty)
    if novelty:
        np.testing.assert_array_equal(model.placed_.novelty, np.load(tmp_path / "novelty.npy")[numbers])
    assert (model.kl_divergence_, model.n_iter_, model.n_neighbors_) == (1.5, 5, 15)
    assert model.map_.model.exaggeration == 1.25 and model.map_.model.dof == 1.0 and len(model.map_.history) == 1
    assert (model.perplexity, model.n_jobs, model.random_state) == (5, 1, 0)
    # Of some rows the affinities of all cannot be made again.
    assert model.seed_ == (0 if rows == N else None)
    if rows == N:
        assert model.affinities_.shape == (N, N)
        wanted = searched.model(embedding, 1.0, 1.25).reference
    else:
        wanted = Model(embedding[numbers], Exact().build(X[numbers], threads=ONE), 1.0, 1.0)
        wanted = refining.Reference.of(wanted.index)
        drawn = generator(0, "reference").choice(N, 30, replace=False, shuffle=False)
        assert numbers.tolist() == sorted(drawn.tolist())
    np.testing.assert_array_equal(model.map_.reference.novelty, wanted.novelty)
    seats_of = EqualRows.of(X[numbers], ONE)
    np.testing.assert_array_equal(model.map_.model.seats.find(X, ONE), seats_of.find(X, ONE))
    # Who goes on finds the same.
    again = Job(tmp_path)
    Keep(course).reopen(again, facts)
    np.testing.assert_array_equal(again.get(Mapped).seats.embedding, embedding[numbers])
    assert again.get(Mapped).seats.rows.tolist() == numbers.tolist()
    for name, says in (("sample_rows", "sample_rows.npy is damaged"), ("model", "is not the one that this run began")):
        with pytest.raises(ValueError, match=says):
            Keep(course).reopen(again, {**facts, name: "another"})


def test_what_was_found_is_read_again_where_it_was_let_go_of(tmp_path, sample, monkeypatch):
    """The move lets go of it; a run that goes on behind the search has it still."""
    course, job, searched = kept(tmp_path, sample, found=False)
    asked = []

    def reopen(stage, work, facts):
        asked.append((stage.course, facts))
        work.put(searched)

    monkeypatch.setattr(Search, "reopen", reopen)
    Keep(course).run(job)
    assert asked == [(course, {"neighbors": 15, "recall": 1.0})]
    _, job, _ = kept(tmp_path, sample)
    asked.clear()
    Keep(course).run(job)
    assert not asked


@pytest.mark.parametrize("reference", [None, 30])
def test_of_a_graph_that_is_given_only_its_search_is_asked_about_some_rows(tmp_path, sample, reference, monkeypatch):
    graph = TSNE(**QUICK).fit(X).graph(15)
    course, job, _ = kept(tmp_path, sample, search=graph, reference=reference)
    seen = []
    plain = refining.index_of

    def index_of(rows, recipe, **named):
        seen.append((recipe.neighbors, named["seed"], named["threads"].n_jobs))
        return plain(rows, recipe, **named)

    monkeypatch.setattr(refining, "index_of", index_of)
    Keep(course).run(job)
    assert seen == ([] if reference is None else [(graph.search, 0, 1)])
    assert len(job.get(Mapped).placer.embedding) == (reference or N)


def test_a_map_that_cannot_be_saved_is_handed_on_as_it_is(tmp_path, sample, monkeypatch, caplog):
    course, job, _ = kept(tmp_path, sample)

    def unsaved(placer, path):
        raise ValueError("no file can hold it")

    monkeypatch.setattr(MapPlacer, "save", unsaved)
    facts = Keep(course).run(job)
    assert facts["model"] is None and len(job.get(Mapped).placer.embedding) == N
    assert "this run cannot be resumed, since its model cannot be saved: no file can hold it" in caplog.messages
    # What made its affinities is known all the same.
    assert job.get(Mapped).placer.estimator.affinities_.shape == (N, N)
    assert not (tmp_path / "model").exists() and not (tmp_path / "saving.part").exists()


def test_what_no_file_holds_is_as_it_was_asked_for_in_the_map_that_was_kept(tmp_path, sample):
    """It is the one of the folder, as a run that goes on finds it, with the callbacks of the estimator."""
    course, job, _ = kept(tmp_path, sample, callbacks=[print])
    facts = Keep(course).run(job)
    for found in (job, Job(tmp_path)):
        if found is not job:
            Keep(course).reopen(found, facts)
        estimator = found.get(Mapped).placer.estimator
        assert estimator.callbacks == [print] and estimator.n_jobs == 1
        with pytest.raises(ValueError, match="a map that was loaded has no momentum"):
            estimator.continue_fit(1)
        # Its rows are those of the file, and not a copy in memory.
        assert isinstance(estimator.map_.model.index.rows.base, np.memmap | np.ndarray)
        assert not estimator.map_.model.index.rows.flags.owndata


def test_rows_of_a_refinement_alone_have_to_fit_and_its_course_is_that_of_their_number(tmp_path, sample, monkeypatch):
    """Their neighbours are planned for by themselves; more rows have more iterations."""
    from tsne_ooc.schedule import Phase, Schedule

    asked = []
    plain = refining.in_memory
    monkeypatch.setattr(refining, "in_memory", lambda *given, **named: asked.append(named) or plain(*given, **named))
    Search(course_of()).run(Job(tmp_path, mapped(sample)))
    assert asked == [{"neighbors": 0}]
    monkeypatch.setattr(Course, "schedule", lambda course, n: Schedule([Phase(n)]))
    course, job, asked, _, _ = moved(monkeypatch, tmp_path)
    Move(course).run(job)
    assert asked[0][0][3].schedule == Schedule([Phase(N)]) and job.told[0] == ("refine", 0, N)


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_lie_on_the_disk_where_memory_is_for_other_things(tmp_path, sample, monkeypatch, on_disk):
    course, seen = course_of(), []

    class On:
        def __init__(self, *given):
            seen.append(given)

        def __enter__(self):
            seen.append("within")

        def __exit__(self, *error):
            seen.append("left")

    monkeypatch.setattr(refining, "on_disk", On)
    monkeypatch.setattr(Course, "plan", lambda *given, **named: SimpleNamespace(on_disk=on_disk, limit=77))
    for stage in (Search(course), Keep(course)):
        seen.clear()
        job = kept(tmp_path, sample)[1] if stage.name == "keep" else Job(tmp_path, mapped(sample))
        stage.run(job)
        # The search reads what it has kept once more.
        assert seen == [(tmp_path if on_disk else None, 77), "within", "left"] * (2 if stage.name == "search" else 1)


def test_what_is_told_of_a_refinement_is_that_of_its_stages():
    facts = {
        "search": {"neighbors": 15, "recall": 0.5, "graph": "g"}, "keep": {"rows": 30, "model": "m"},
        "refine": {"kl_divergence": 1.5, "n_iter": 5, "exaggeration": 1.25, "pairs": 7, "embedding": "e"},
    }  # fmt: skip
    wanted = {"neighbors": 15, "recall": 0.5, "kl_divergence": 1.5, "n_iter": 5, "pairs": 7, "reference": 30}
    assert refining.told(SimpleNamespace(facts=facts)) == wanted
    facts["refine"]["history"] = {"iteration": []}
    assert refining.told(SimpleNamespace(facts=facts)) == {**wanted, "history": {"iteration": []}}


def test_stages_of_a_refinement_are_in_their_order_and_make_what_they_say():
    stages = course_of().stages()
    assert [(stage.name, stage.makes) for stage in stages] == [
        ("search", ("refine.part",)), ("weigh", ()), ("refine", ("embedding.npy",)),
        ("keep", ("model", "saving.part", "sample_rows.npy")),
    ]  # fmt: skip
    assert Path(refining.SCRATCH).suffix == ".part"
    with pytest.raises(TypeError, match="affinity= is a matrix, and refine makes affinities from neighbours"):
        Course.of(Refinement(affinity=csr_array(np.eye(4)[::-1])), TSNE(), prepared=False)
