"""What is tried for a forecast is what would be run: with its options, on its rows, and nothing of it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import TSNE, neighbors
from tsne_ooc.cli import forecast as forecasts
from tsne_ooc.cli import forecast_refine, trials
from tsne_ooc.io.lacking import Lacking
from tsne_ooc.preprocess import Log1p, Missing, Preparation
from tsne_ooc.sampling import Coverage, UniformSample

ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


class Noting:
    """A function that notes how it is called, and gives something back."""

    def __init__(self, gives=None):
        self.gives, self.calls = gives, []

    def __call__(self, *given, **named):
        self.calls.append((given, named))
        return self.gives


@pytest.mark.parametrize("metric, params, n_jobs", [("minkowski", {"p": 3}, 2), ("euclidean", None, 1)])
def test_a_search_on_trial_has_the_options_of_the_map(monkeypatch, metric, params, n_jobs):
    index = SimpleNamespace(query=lambda queries, k: None)
    resolve, build = Noting(neighbors.Exact()), Noting(index)
    monkeypatch.setattr(neighbors, "resolve", resolve)
    monkeypatch.setattr(neighbors, "build", build)
    monkeypatch.setattr(trials, "seconds_of_a_row", lambda work, rows: 0.5)
    model = TSNE(metric=metric, metric_params=params, n_jobs=n_jobs, neighbors="exact")
    trials.seconds_to_search(model, ROWS, 900, 15, 4)
    assert resolve.calls == [(("exact",), {"metric": metric, "n": 900, "p": 3, "metric_params": params})]
    ((search, many), named) = build.calls[0]
    assert search == neighbors.Exact() and many.shape == (900, 3)
    rng = named.pop("rng")
    assert named.pop("threads").n_jobs == n_jobs and named == {"metric": metric, "metric_params": params}
    assert isinstance(rng, np.random.Generator)


def test_a_fit_on_trial_is_one_of_prepared_rows_that_nobody_watches(monkeypatch):
    """A few rows go first, for what is imported and compiled; the seconds are those of the others."""
    now, done = [0.0], []

    def fit(model, rows):
        done.append(("fit", len(rows)))
        now[0] += 100 if len(done) == 1 else 1e-3 * len(rows)

    def place(model, rows):
        done.append(("place", len(rows)))
        now[0] += 100 if len(done) == 2 else 0

    def to_place(model, rows):
        done.append(("each", len(rows)))
        return 2.0 if len(rows) == 400 else 7.0

    monkeypatch.setattr(trials, "clock", lambda: now[0])
    monkeypatch.setattr(trials, "_fit", fit)
    monkeypatch.setattr(TSNE, "place_prepared", place)
    monkeypatch.setattr(TSNE, "n_neighbors_", property(lambda model: 15))
    monkeypatch.setattr(trials, "seconds_to_place", to_place)
    model = TSNE(sample=9, prepare=Preparation([Log1p()]), verbose=True, callbacks=print, perplexity=5)
    rows = np.random.default_rng(1).normal(size=(800, 3)).astype(np.float32)
    seconds, place_, k = trials.seconds_to_map(model, rows, 800, 0.25, 0)
    assert (model.sample, model.prepare, model.verbose, model.callbacks) == (None, None, False, None)
    assert done == [("fit", 300), ("place", 100), ("fit", 800), ("fit", 400), ("each", 400), ("each", 400)]
    assert seconds(1600) == pytest.approx(1.6) and k == 15 and place_ == pytest.approx(2)
    # Of fewer rows that will be fitted, as many are tried, from all over.
    done.clear()
    seen = []
    monkeypatch.setattr(trials, "_fit", lambda model, rows: seen.append(rows))
    trials.seconds_to_map(model, rows, 200, 0.0, 0)
    np.testing.assert_array_equal(seen[1], rows[::4])
    np.testing.assert_array_equal(seen[2], rows[::2][::2])


def test_searches_on_trial_are_drawn_by_the_seed_of_the_run(monkeypatch):
    asked = []

    def search(model, rows, n, k, seed):
        asked.append((len(rows), n, k, seed))
        return 1e-3, 1e-3

    monkeypatch.setattr(trials, "seconds_to_search", search)
    monkeypatch.setattr(trials, "_fit", lambda model, rows: None)
    monkeypatch.setattr(trials, "seconds_to_place", lambda model, rows: 1.0)
    monkeypatch.setattr(TSNE, "place_prepared", lambda model, rows: None)
    monkeypatch.setattr(TSNE, "n_neighbors_", property(lambda model: 15))
    rows = np.random.default_rng(1).normal(size=(800, 3)).astype(np.float32)
    trials.seconds_to_map(TSNE(perplexity=5), rows, 5000, 0.0, 8)
    nearest = TSNE()._placement().neighbors(400)
    # The halves by themselves, all that will be fitted, and what a row to be placed is searched among.
    assert asked == [(400, 400, 15, 8), (800, 800, 15, 8), (800, 5000, 15, 8), (800, 400, nearest, 8),
                     (800, 5000, nearest, 8)]  # fmt: skip


class Told:
    """A table of a thousand rows, of which nobody reads any."""

    chunks, column_names = None, None

    def __init__(self, dtype="f4"):
        self.shape, self.dtype = (1000, 3), np.dtype(dtype)

    def __getitem__(self, rows):
        raise AssertionError("it was read")


@pytest.mark.parametrize("dtype", ["f4", object])
@pytest.mark.parametrize("steps", [None, [Log1p()], [Missing("mean"), Log1p()]], ids=["none", "logs", "means"])
@pytest.mark.parametrize("sample", [UniformSample(70), Coverage(70), SimpleNamespace()], ids=["uniform", "even", "all"])
def test_stages_are_tried_with_what_the_run_was_asked_for(monkeypatch, dtype, steps, sample):
    """Values that are missing are read as they are where the preparation takes them, but not from columns of words."""
    prepared = np.ones((60, 5), np.float32)
    read, prepare_ = Noting((2.0, ROWS, 0.25)), Noting((lambda n: 3.0 * n, 5.0, 4, prepared))
    drawn, mapped = Noting(7.0), Noting((lambda n: 11.0 * n, 13.0, 17))
    room, fits = Noting(10**9), Noting(10**7)
    for name, noted in (("read_some", read), ("seconds_to_prepare", prepare_), ("rows_read", drawn),
                        ("seconds_to_map", mapped), ("free_at", Noting(5))):  # fmt: skip
        monkeypatch.setattr(trials, name, noted)
    monkeypatch.setattr("tsne_ooc.pipeline.embedding.room_for", room)
    monkeypatch.setattr("tsne_ooc.io.reading.bytes_of_fit", fits)
    table, model = Told(dtype), TSNE(perplexity=5, n_jobs=2)
    prepare = None if steps is None else Preparation(steps)
    told = []
    found = forecasts.forecast(
        table, Path("some/map"), model=model, sample=sample, prepare=prepare, rounds=2, seed=8,
        tell=lambda: told.append(len(prepare_.calls)),
    )  # fmt: skip
    fitted = 70 if hasattr(sample, "size") else 1000
    ((given, many), _) = read.calls[0]
    assert many == fitted and told == [0]
    lacking = steps is not None and len(steps) == 2 and dtype == "f4"
    assert isinstance(given, Lacking) == lacking and (lacking or given is table)
    assert prepare_.calls == ([] if prepare is None else [((ROWS, prepare, 8, 2), {})])
    assert drawn.calls == [((table, sample, fitted), {})]
    ((tried, rows, many, copies, seed), _) = mapped.calls[0]
    assert tried is not model and tried.get_params(deep=False) == model.get_params(deep=False)
    assert rows is (ROWS if prepare is None else prepared) and (many, copies, seed) == (fitted, 0.25, 8)
    assert room.calls == [((table, model, sample, prepare, 2), {})]
    assert fits.calls == [((fitted, 3 if prepare is None else 5, 17), {})] and found.disk_free == 5
    assert found.would == f"fit {fitted:,} rows, and place {1000 - fitted:,} more rows"


def test_all_rows_together_are_tried_with_the_search_that_they_would_have(monkeypatch):
    """Where their graph is known, with the search that it has for new rows."""

    class Known(neighbors.Graph):
        search = "hnsw"

        def __init__(self):
            pass

        def check_fit(self, n, k):
            pass

    class Recipe(SimpleNamespace):
        def _replace(self, **named):
            return Recipe(**{**vars(self), **named})

    tried, asked, seen = [], [], []
    monkeypatch.setattr(
        forecast_refine, "_tried",
        lambda course, recipe, rows, places: tried.append((recipe.neighbors, len(rows), len(places))) or (1.0, 1.0),
    )  # fmt: skip
    monkeypatch.setattr(forecast_refine, "_many", lambda *given: seen.append(given) or (ROWS, ROWS[:, :2]))
    monkeypatch.setattr(forecast_refine, "_seconds_a_byte", lambda: 0.0)
    monkeypatch.setattr(trials, "seconds_to_search", lambda *given: asked.append(given) or (0.0, 0.0))
    monkeypatch.setattr("tsne_ooc.pipeline.beginning.room_of", lambda stages, table: 0)
    for search, used in ((Known(), "hnsw"), ("exact", "exact")):
        for n, most in ((900, 900), (30_000, 20_000)):
            tried.clear(), asked.clear(), seen.clear()
            planned = Noting(SimpleNamespace(memory=1))
            course = SimpleNamespace(
                recipe=Recipe(neighbors=search), neighbors=lambda rows: 7, kept=lambda rows: 40, seed=8,
                estimator=SimpleNamespace(set_params=lambda **named: named), stages=list, plan=planned,
                schedule=lambda rows: SimpleNamespace(iterations=13),
            )  # fmt: skip
            index = SimpleNamespace(rows=ROWS)
            model = SimpleNamespace(map_=SimpleNamespace(model=SimpleNamespace(index=index)), embedding_=ROWS[:, :2])
            forecast_refine.moved(course, model, n, None, Path("some/map"))
            assert {one[0] for one in tried} == {used} and [one[1:] for one in tried] == [(60, 60), (60, 60)]
            ((rows, places, many, seed),) = seen
            assert rows is ROWS and places.shape == (60, 2) and (many, seed) == (most, 8)
            wanted = [] if used == "hnsw" else [({"neighbors": used}, n, 7)]
            wanted = [*wanted, ({"neighbors": used}, 40, 15)]
            assert [(one[0], one[2], one[3]) for one in asked] == wanted and all(one[4] == 8 for one in asked)
            assert planned.calls == [((Path("some/map"), n, 3), {})]
