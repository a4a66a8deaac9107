"""What an estimator asks of the parts of a fit: each option arrives where it belongs, in a fit and what follows it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array

from tsne_ooc import TSNE, Perplexity, Phase, Uniform
from tsne_ooc._random import generator
from tsne_ooc.estimator import fitting, refining
from tsne_ooc.fit import rows as fits
from tsne_ooc.intake import Intake
from tsne_ooc.neighbors import IVF, Exact
from tsne_ooc.preprocess import Log1p, Preparation
from tsne_ooc.rounds import NovelRows, Seated, enlarge, refit, schedule_of
from tsne_ooc.sampling import UniformSample
from tsne_ooc.schedule import Schedule
from tsne_ooc.scratch import Room

QUICK = {
    "perplexity": 5,
    "n_iter": 2,
    "early_exaggeration_iter": 2,
    "random_state": 3,
    "n_jobs": 1,
    "neighbors": "exact",
}
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


class Asked(Exception):
    """Raised in the place of the work, with what it was asked for."""


def asking(monkeypatch, module, name):
    def instead(*given, **named):
        raise Asked(given, named)

    monkeypatch.setattr(module, name, instead)


def asked_of(call):
    with pytest.raises(Asked) as caught:
        call()
    return caught.value.args


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK).fit(X)


# ---------------------------------------------------------------------------------------------------------------- a fit


def test_rows_are_taken_in_as_the_options_say(monkeypatch):
    asking(monkeypatch, fitting, "take_in")
    prepare = Preparation([Log1p()])
    usual = {"prepare": None, "sample": None, "metric": "euclidean", "seed": 3, "n_jobs": 1}
    for options, told in (
        ({}, {}), ({"sample": 9}, {"sample": UniformSample(9)}), ({"prepare": prepare}, {"prepare": prepare}),
        ({"metric": "cosine"}, {"metric": "cosine"}), ({"random_state": 8}, {"seed": 8}),
        ({"n_jobs": 2}, {"n_jobs": 2}),
    ):  # fmt: skip
        given, named = asked_of(lambda options=options: TSNE(**{**QUICK, **options}).fit(X))
        assert given == (X,) and named == {**usual, **told}


def test_rows_are_fitted_as_the_options_say(monkeypatch):
    """By a recipe that has all of them, within the room that is given, watched by whom they name."""
    asking(monkeypatch, fitting, "fit_rows")
    taken = Intake(X, None, None, None, 4)
    calls, params = [], {"p": 3}
    options = {
        **QUICK, "n_components": 3, "dof": 0.5, "metric": "minkowski", "metric_params": params, "affinity": "uniform",
        "initialization": "random", "schedule": [Phase(7, 2.0)], "callbacks": lambda *given: calls.append(given),
        "callbacks_every_iters": 3, "verbose": True, "n_jobs": 2, "n_iter": "auto", "early_exaggeration_iter": "auto",
    }  # fmt: skip
    room = Room(3)
    ((rows, recipe), named) = asked_of(lambda: TSNE(**options).fit_taken(taken, room))
    assert rows is X and named["seed"] == 3 and named["threads"].n_jobs == 2 and named["room"] is room
    watch = named["watch"]
    assert (watch.callbacks, watch.every, watch.patience, watch.verbose) == ([options["callbacks"]], 3, None, True)
    assert recipe == fits.Recipe(
        3, 0.5, "exact", "minkowski", {"p": 3}, Uniform(5), "random", Schedule([Phase(7, 2.0)])
    )
    # What a search does with its options does not reach those of the estimator.
    assert recipe.metric_params is not params
    assert type(recipe.d) is int and type(recipe.dof) is float
    _, named = asked_of(lambda: TSNE(**QUICK).fit_taken(taken))
    assert named["room"] is None and named["watch"].callbacks == [] and named["watch"].verbose is False
    for options, iterations, exaggeration in (
        ({"n_iter": 9, "early_exaggeration_iter": 4}, 13, 1), ({"n_iter": 9, "early_exaggeration_iter": 0}, 9, 1),
        ({"exaggeration": 4}, 4, 4),
    ):  # fmt: skip
        (_, recipe), _ = asked_of(lambda options=options: TSNE(**{**QUICK, **options}).fit_taken(taken))
        assert recipe.schedule.iterations == iterations
        last = [phase for phase in recipe.schedule if phase.iterations][-1]
        assert last.exaggeration_at(last.iterations - 1) == exaggeration
    (_, recipe), _ = asked_of(lambda: TSNE(**{**QUICK, "early_exaggeration": 7, "learning_rate": 33}).fit_taken(taken))
    first = next(iter(recipe.schedule))
    assert first.exaggeration_at(0) == 7 and first.rate_at(0, 60) == 33


def test_a_fit_that_goes_on_is_asked_for_by_phases_or_their_number(model, monkeypatch):
    seen = []
    from tsne_ooc.estimator.fitted_map import FittedMap

    def went_on(self, schedule, watch):
        seen.append((schedule, watch))
        return self, SimpleNamespace(stopped="finished", iterations=0)

    monkeypatch.setattr(FittedMap, "went_on", went_on)
    last = Phase(10, (4.0, 2.0), 0.7, learning_rate=55, name="mine")
    motion = model.map_.pause.motion._replace(phase=last)
    again = TSNE.of_map(
        replace(model.map_, pause=model.map_.pause._replace(motion=motion)),
        **{**model.get_params(deep=False), "callbacks_every_iters": 4},
    )
    for more in (0, 3, np.int64(3)):
        assert again.continue_fit(more) is again
        schedule, watch = seen.pop()
        # A course that has ended stays where it ended.
        assert schedule == Schedule([replace(last, iterations=more, exaggeration=last.exaggeration_at(9))])
        (phase,) = schedule
        assert phase.exaggeration_at(0) < 4 and phase.momentum == 0.7 and watch.every == 4
    again.continue_fit([Phase(2), Phase(3, 5.0)])
    assert seen.pop()[0] == Schedule([Phase(2), Phase(3, 5.0)])


# --------------------------------------------------------------------------------------------------------- a refinement


@pytest.mark.parametrize("sparse", [False, True])
def test_a_refinement_is_a_fit_of_all_rows_from_where_they_are_placed(model, monkeypatch, sparse, tmp_path):
    fitted = TSNE(**QUICK).fit(csr_array(X)) if sparse else model
    all_rows = np.r_[X, X + np.float32(0.01)]
    given = csr_array(all_rows) if sparse else all_rows
    planned, checked = [], []
    monkeypatch.setattr(Room, "plan", lambda room, *given, **named: planned.append((given, named)) or "plan")
    monkeypatch.setattr(Room, "check_scratch", lambda room, plan: checked.append((room, plan)))
    asking(monkeypatch, refining.FittingEstimator, "_fit_taken")
    (again, taken, seed, recipe, placed, room), _ = asked_of(
        lambda: fitted.refine(given, deviation=1.5, memory=3, scratch=tmp_path, exaggeration=2, n_iter=9)
    )
    assert seed == 3 and room == Room(3, tmp_path) and (again.exaggeration, again.perplexity) == (2, 5)
    assert again is not fitted and fitted.exaggeration is None
    assert taken.rows.shape == (120, 4) and taken.sample_rows is None and taken.names is None
    np.testing.assert_array_equal(placed.embedding, fitted.transform(given))
    wanted = refining.begin_at(placed.embedding, 1.5, generator(3, "refine"))
    np.testing.assert_array_equal(recipe.initialization, wanted)
    assert recipe.schedule == again.schedule_of_all(120, exaggeration=2, n_iter=9) and recipe.d == 2
    n, columns = 120, 0 if sparse else 4
    assert planned == [
        ((n, Perplexity(5), 2), {"more": refining.rows_bytes(n, columns), "at_once": True})
    ] and checked == [(room, "plan")]  # fmt: skip
    # Places that are given are taken as they are, and another seed is another start.
    there = np.random.default_rng(1).normal(size=(120, 2)).astype(np.float32)
    # More rows have more iterations.
    monkeypatch.setattr(refining, "late_iterations", lambda n: n + 1)
    (again, _, seed, recipe, placed, room), _ = asked_of(
        lambda: fitted.refine(given, start=there, deviation=None, random_state=8)
    )
    assert recipe.schedule == again.schedule_of_all(120) != again.schedule_of_all(4)
    np.testing.assert_array_equal(placed.embedding, there)
    assert seed == 8 and room == Room(None, None)
    np.testing.assert_array_equal(recipe.initialization, refining.begin_at(there, None, generator(8, "refine")))


def test_a_refinement_of_many_rows_in_lists_is_planned_some_rows_at_a_time(model, monkeypatch):
    planned = []
    monkeypatch.setattr(Room, "plan", lambda room, *given, **named: planned.append(named) or "plan")
    monkeypatch.setattr(Room, "check_scratch", lambda room, plan: None)
    asking(monkeypatch, refining.FittingEstimator, "_fit_taken")
    for search, at_once in ((Exact(), True), (IVF(lists=6), False)):
        asked_of(lambda search=search: model.refine(X, neighbors=search))
        assert planned.pop()["at_once"] is at_once


def test_names_of_columns_go_into_the_map_of_all_rows(monkeypatch):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = TSNE(**QUICK).fit(frame)
    asking(monkeypatch, refining.FittingEstimator, "_fit_taken")
    (_, taken, *_), _ = asked_of(lambda: fitted.refine(frame[["d", "c", "b", "a"]]))
    assert taken.names == list("abcd") and taken.width == 4
    np.testing.assert_array_equal(taken.rows, X)


# --------------------------------------------------------------------------------------------------------------- rounds


def test_a_refit_is_a_fit_of_what_was_asked_for_from_where_rows_stand(model, monkeypatch):
    """Its own options are those of the map, also afterwards; a seed that was drawn is not drawn again."""
    seen = []
    plain = TSNE.fit_taken

    def fit_taken(self, taken, room=None):
        seen.append(({**self.get_params(deep=False)}, taken, room))
        return plain(self, taken, room)

    monkeypatch.setattr(TSNE, "fit_taken", fit_taken)
    numbers = np.arange(60) * 2
    rows, room = X.copy(), Room(3)
    rows.flags.writeable = False
    sample = Seated(numbers, rows, model.embedding_)
    made = TSNE.of_map(model.map_, **{**model.get_params(deep=False), "sample": 9, "prepare": Preparation([Log1p()]),
                                      "random_state": np.random.default_rng(5), "perplexity": 4})  # fmt: skip
    again = refit(made, sample, schedule=Schedule([Phase(3)]), room=room)
    params, taken, given = seen.pop()
    assert given is room and params["schedule"] == Schedule([Phase(3)]) and params["random_state"] == 3
    assert params["sample"] is params["prepare"] is None and params["perplexity"] == 4
    np.testing.assert_array_equal(params["initialization"], model.embedding_)
    np.testing.assert_array_equal(taken.rows, X)
    assert taken.sample_rows is numbers and taken.names is None and taken.width == 4 and taken.preparation is None
    assert again is not made and again.sample == 9 and again.initialization == made.initialization
    assert again.n_iter_ == 3 and again.schedule == made.schedule and again.prepare.steps == made.prepare.steps
    assert np.array_equal(again.sample_rows_, numbers) and made.map_ is model.map_
    # Without a word it is what the usual course does after its early phase.
    refit(made, sample)
    params, _, given = seen.pop()
    assert given is None and params["schedule"] == schedule_of(model.map_.model.exaggeration)
    assert params["schedule"].iterations == 165
    unknown = TSNE.of_map(replace(model.map_, seed=None), **{**model.get_params(deep=False), "random_state": 8})
    refit(unknown, sample, schedule=Schedule([Phase(1)]))
    assert seen.pop()[0]["random_state"] == 8


def test_rows_of_a_refit_are_not_those_of_who_asks(model):
    """It keeps them, and who asked may write over theirs."""
    rows = np.array(X)
    again = refit(model, Seated(np.arange(60), rows, model.embedding_), schedule=Schedule([Phase(1)]))
    places = again.transform(X[:5])
    rows[:] = 7
    np.testing.assert_array_equal(again.transform(X[:5]), places)
    sparse = TSNE(**QUICK).fit(csr_array(X))
    found = refit(sparse, Seated(np.arange(60), csr_array(X), sparse.embedding_), schedule=Schedule([Phase(1)]))
    assert found.n_iter_ == 1 and found.transform(csr_array(X[:3])).shape == (3, 2)


@pytest.mark.parametrize("exaggeration", [1, 2.5])
def test_the_course_of_a_refit_comes_down_to_where_the_map_ended(exaggeration):
    course = schedule_of(exaggeration)
    first, *others = course
    assert first.exaggeration_at(0) == pytest.approx(4 * exaggeration, rel=0.2)
    assert first.exaggeration_at(first.iterations - 1) == pytest.approx(exaggeration, rel=0.2)
    assert all(phase.exaggeration_at(at) == exaggeration for phase in others for at in (0, phase.iterations - 1))
    assert all(0 <= phase.momentum < 1 for phase in course)


def test_rows_that_are_chosen_are_chosen_from_one_on(model):
    sample = Seated(np.arange(60), X, model.embedding_)
    strange = (50 + X[:20]).astype(np.float32)
    for name in ("capacity", "rows_per_box"):
        given = {"capacity": 5, "rows_per_box": 5, name: 0}
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            NovelRows(model, sample, given["capacity"], np.random.default_rng(0), rows_per_box=given["rows_per_box"])
    novel = NovelRows(model, sample, 1, np.random.default_rng(0), rows_per_box=1)
    # Nothing passed by, and nothing is chosen; an order of columns of its own is no matter.
    none = novel.choose(1)
    assert none.rows.tolist() == [] and none.X.shape == (0, 4) and none.embedding.shape == (0, 2)
    rows = np.arange(100, 120)
    novel.add(rows, np.asfortranarray(strange), model.place_prepared(strange))
    chosen = novel.choose(1)
    assert novel.seen == 20 and len(chosen.rows) == 1 and chosen.rows[0] in rows
    np.testing.assert_array_equal(chosen.X[0], strange[chosen.rows[0] - 100])
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        novel.choose(0)
    with pytest.raises(ValueError, match="rows were placed without their novelty; fit the model again"):
        novel.add(rows, strange, model.place_prepared(strange)._replace(novelty=None))
    assert novel.beyond == pytest.approx(np.quantile(model.novelty_, 0.99))
    assert NovelRows(model, sample, 1, np.random.default_rng(0), beyond=7).beyond == 7
    both = enlarge(sample, Seated(np.array([3, 70, 61]), X[:3] + 9, model.embedding_[:3] + 9))
    assert both.rows.tolist() == [*range(60), 61, 70]
    np.testing.assert_array_equal(both.X, np.r_[X, X[2:3] + 9, X[1:2] + 9])
    np.testing.assert_array_equal(both.embedding[60:], model.embedding_[[2, 1]] + 9)


# ----------------------------------------------------------------------------------------------------- places in a file


def test_places_go_into_a_file_as_is_asked_for(model, tmp_path, monkeypatch):
    """What is done is told, and compared with the table once more at the end; a file of others is left alone."""
    from tsne_ooc.estimator import fitted as module

    begun, checked, told = [], [], []
    begin, check = module.begin, module.check_unchanged
    monkeypatch.setattr(module, "begin", lambda *given, **named: begun.append((given, named)) or begin(*given, **named))
    monkeypatch.setattr(module, "check_unchanged", lambda *given: checked.append(given) or check(*given))
    path = tmp_path / "places.npy"
    assert model.transform_to(X, path, progress=lambda *event: told.append(event)) == path
    np.testing.assert_array_equal(np.load(path), model.transform(X))
    assert np.load(path).dtype == np.float32 and [file.name for file in tmp_path.iterdir()] == ["places.npy"]
    assert {phase for phase, _, _ in told} == {"place"} and told[-1] == ("place", 60, 60)
    ((kept, job), named) = begun.pop()
    assert kept == tmp_path / "places.npy.ledger" and named == {"resume": False, "differ": module.unlike}
    assert set(job) == {"source", "model", "tsne_ooc"} and job["model"] == module.fingerprint(model)
    ((table, source, written),) = checked
    assert table.shape == (60, 4) and source == job["source"] and written == path
    # Nobody has to be told.
    assert model.transform_to(X[:7], tmp_path / "few.npy", resume=True) == tmp_path / "few.npy"
    assert begun.pop()[1]["resume"] is True and np.load(tmp_path / "few.npy").shape == (7, 2)
    (tmp_path / "more.npy.part").touch()
    with pytest.raises(FileExistsError) as refused:
        model.transform_to(X, tmp_path / "more.npy")
    there = tmp_path / "more.npy.part"
    assert str(refused.value) == f"{there} is not from a run that stopped, and would be overwritten; move it away"
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        model.transform_to(X, tmp_path)
    with pytest.raises(ValueError, match=r"5 features|5 columns"):
        model.transform_to(np.zeros((3, 5), np.float32), tmp_path / "wide.npy")
    assert not (tmp_path / "wide.npy.ledger").exists() and not (tmp_path / "more.npy").exists()


def test_a_map_of_a_folder_is_found_by_its_path_as_long_as_it_is_that_map(model, tmp_path):
    """Workers open it there; a fit, or another placement, makes it another one."""
    from tsne_ooc import Placement, load

    assert model._by_path is None
    model.save(tmp_path / "map")
    loaded = load(tmp_path / "map")
    assert loaded._by_path.folder == str((tmp_path / "map").resolve())
    loaded.set_params(placement=Placement(k=3))
    assert loaded._by_path is None
    loaded.set_params(placement=None)
    assert loaded._by_path is not None
    loaded.set_params(n_iter=1, early_exaggeration_iter=0).fit(X)
    assert loaded._by_path is None
