"""The course of an optimisation, as it is noted: divergences by the book, steps by the maps before and after."""

from __future__ import annotations

import json

import numpy as np
import pytest
import reference

import tsne_ooc
from tsne_ooc import TSNE, Phase, Schedule
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.fit.history import Note, from_json, later, length_of, spacing, to_json
from tsne_ooc.fit.optimize import minimise
from tsne_ooc.fit.rows import joint_of
from tsne_ooc.fit.snapshot import Snapshot
from tsne_ooc.fit.watch import Watch
from tsne_ooc.neighbors import Exact
from tsne_ooc.storage.state import Saved

N = 160
PHASES = Schedule([Phase(40, 8.0), Phase(30, (4.0, 1.0), 0.9), Phase(60, 1.0, 0.9)])


def rows():
    rng = np.random.default_rng(0)
    return (rng.normal(0, 4, (5, 6))[rng.integers(0, 5, N)] + rng.normal(size=(N, 6))).astype(np.float32)


def test_notes_are_what_the_maps_say():
    maps = {}
    model = TSNE(
        perplexity=8, schedule=PHASES, random_state=0, callbacks_every_iters=1,
        callbacks=lambda i, error, Y: maps.update({i: Y.astype(float)}),
    ).fit(rows())  # fmt: skip
    history, P = model.map_.history, model.affinities_.toarray()
    assert [note.iteration for note in history] == [25, 50, 75, 100, 125]
    for note in history:
        before, after = maps[note.iteration - 1], maps[note.iteration]
        assert note.kl_divergence == pytest.approx(reference.kl(P, before), rel=2e-3)
        moved = after - before
        assert note.step == pytest.approx(np.sqrt(np.square(moved).sum() / N), rel=0.02)
    assert [note.exaggeration for note in history] == [8.0, 4 - 3 * 9 / 29, 1.0, 1.0, 1.0]
    # Callbacks change nothing of it, nor do threads.
    for jobs in (1, 3):
        again = TSNE(perplexity=8, schedule=PHASES, random_state=0, n_jobs=jobs).fit(rows())
        assert again.map_.history == history
        np.testing.assert_array_equal(again.embedding_, model.embedding_)


def test_divergences_of_many_rows_are_estimated():
    from tsne_ooc.gradients.attraction import ESTIMATED, Attraction
    from tsne_ooc.gradients.repulsion import repulsion_for

    n = 2 * ESTIMATED
    rng = np.random.default_rng(0)
    X = (rng.normal(0, 4, (20, 5))[rng.integers(0, 20, n)] + rng.normal(size=(n, 5))).astype(np.float32)
    estimates = []
    for threads in (Threads(1), Threads(3)):
        P, *_ = joint_of(Perplexity(10), Exact().build(X, threads=threads), n, 0, threads)
        attraction = Attraction(P, 2, 1.0, threads)
        for Y in (np.ascontiguousarray(3 * X[:, :2]), rng.normal(0, 20, (n, 2)).astype(np.float32)):
            Z = repulsion_for(n, 2, 1.0, threads)(Y, np.empty_like(Y))
            exact, found = attraction.divergence(Y, Z), attraction.estimate(Y, Z)
            assert found != exact and found == pytest.approx(exact, rel=0.02)
            estimates.append(found)
    # Those of the same map.
    assert estimates[0] == estimates[2]


def problem():
    threads = Threads(1)
    index = Exact().build(rows(), threads=threads)
    P, *_ = joint_of(Perplexity(8), index, N, 0, threads)
    return P, np.random.default_rng(1).normal(0, 1e-2, (N, 2)).astype(np.float32), threads


def test_an_optimisation_that_goes_on_from_a_snapshot_has_all_of_it():
    P, start, threads = problem()
    kept = {}
    watch = Watch(keep=lambda one: kept.update({one.done: _written(one)}), keep_every=30)
    whole = minimise(P, start, PHASES, threads=threads, watch=watch)
    assert len(whole.history) == 5
    for done in (30, 60, 120):
        snapshot = Snapshot.restore(Saved(*kept[done]), N, 2)
        assert len(snapshot.history) == done // 25
        again = minimise(P, start, PHASES, threads=threads, snapshot=snapshot)
        assert again.history == whole.history and (again.embedding == whole.embedding).all()


def _written(snapshot):
    content, arrays = snapshot.state()
    return json.loads(json.dumps(content)), {name: array.copy() for name, array in arrays.items()}


def test_a_fit_that_goes_on_goes_on_with_it(tmp_path):
    schedule = Schedule([Phase(60, 1.0, 0.9)])
    model = TSNE(perplexity=8, schedule=schedule, random_state=0).fit(rows())
    first = model.map_.history
    model.continue_fit(55)
    found = model.map_.history
    assert found[:2] == first and [note.iteration for note in found] == [25, 50, 85, 110]
    assert found[-1].kl_divergence > model.kl_divergence_ > 0
    model.save(tmp_path / "model")
    assert tsne_ooc.load(tmp_path / "model").map_.history == found


def test_a_refined_run_tells_both(tmp_path):
    refined = tsne_ooc.Refinement(schedule=[Phase(55, 1.0, 0.9)])
    tsne = TSNE(perplexity=8, schedule=[Phase(30, 1.0)], random_state=0)
    run = tsne_ooc.embed(rows(), out=tmp_path / "map", sample=90, tsne=tsne, refine=refined)
    of_sample, of_all = (from_json(one["history"]) for one in (run.manifest, run.manifest["refined"]))
    assert [note.iteration for note in of_sample] == [25] and [note.iteration for note in of_all] == [25, 50]
    loaded = tsne_ooc.load(run.folder / "model")
    assert loaded.map_.history == of_all
    P = loaded.affinities_.toarray()
    # From the last note to the end, five steps.
    assert reference.kl(P, run.embedding) == pytest.approx(of_all[-1].kl_divergence, rel=0.1)


@pytest.mark.parametrize("iterations, apart", [(1, 25), (240, 25), (5000, 25), (5001, 26), (1_000_000, 5000)])
def test_long_ones_have_notes_farther_apart(iterations, apart):
    assert spacing(iterations) == apart


def test_json_and_back():
    history = (Note(25, 12.0, 3.5, 0.25), Note(50, 1.0, 2.5, 1e-3))
    assert from_json(json.loads(json.dumps(to_json(history)))) == history
    assert from_json(None) == from_json(to_json(())) == ()
    assert [note.iteration for note in later(history, 100)] == [125, 150]
    assert length_of(np.float32([[3, 4], [0, 0]])) == pytest.approx(np.sqrt(12.5)) and length_of(np.empty((0, 2))) == 0


GOOD = to_json((Note(25, 1.0, 2.0, 3.0),))


@pytest.mark.parametrize(
    "found",
    [
        [], "", 7, {**GOOD, "step": [1.0, 2.0]}, {**GOOD, "step": ["x"]}, {**GOOD, "step": [True]},
        {**GOOD, "iteration": [2.5]}, {**GOOD, "step": [float("nan")]}, {**GOOD, "more": [1]}, {"iteration": [1]},
        {**GOOD, "step": 3.0},
    ],
)  # fmt: skip
def test_what_is_none(found):
    with pytest.raises(ValueError, match="has a history"):
        from_json(found)


def test_a_damaged_one_is_told_by_its_file(tmp_path):
    model = TSNE(perplexity=8, schedule=[Phase(30)], random_state=0).fit(rows())
    content, arrays = model.map_.state()
    content["fitted"]["history"]["step"] = [None]
    from tsne_ooc.estimator.saving import KIND, estimator_state
    from tsne_ooc.storage import write_folder

    state = estimator_state(model)[0]
    write_folder(tmp_path / "model", KIND, {**state, "fitted": content["fitted"]}, arrays)
    with pytest.raises(ValueError, match=r"manifest.json: .*has a history that holds other things than numbers"):
        tsne_ooc.load(tmp_path / "model")
