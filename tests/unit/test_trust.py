"""Trust: Hessians by finite differences, moved rows by placing them, rows left out by maps that never had them."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE, Placement
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.io import open_source
from tsne_ooc.neighbors import HNSW, Graph
from tsne_ooc.placement import ask, descend, hessians
from tsne_ooc.trust import Scores, scores
from tsne_ooc.trust.judge import Judge, _smallest
from tsne_ooc.trust.moves import Moves

ONE = Threads(1)
QUICK = {"perplexity": 10, "random_state": 0}


def groups(n=600, p=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (4, p))[rng.integers(0, 4, n)] + rng.normal(size=(n, p))).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK).fit(groups())


def left_out(Y, near, p, own, exaggeration, dof=1.0):
    """The exact energy of a row at any place, as a function, without the row `own` of the map."""
    kept = np.arange(len(Y)) != own
    number = np.cumsum(kept) - 1
    return lambda y: reference.placement_energy(y, Y[kept], number[near], p, exaggeration, dof)


def curvature(energy, y, step=1e-3):
    """The Hessian by central differences."""
    d, E = len(y), np.eye(len(y)) * step
    at = lambda *moves: energy(y + sum(moves))  # noqa: E731
    return np.array(
        [
            [(at(E[a], E[b]) - at(E[a], -E[b]) - at(-E[a], E[b]) + at(-E[a], -E[b])) / (4 * step**2) for b in range(d)]
            for a in range(d)
        ]
    )


@pytest.mark.parametrize("dof", [1.0, 0.7])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_hessian_is_that_of_the_exact_loss_without_the_row(d, dof):
    rng = np.random.default_rng(0)
    Y = rng.uniform(-12, 12, (1200, d)).astype(np.float32)
    fitted = Model(Y, None, dof, 1.5)
    own = np.concatenate([rng.choice(len(Y), 12, replace=False), np.full(4, -1)])
    near = np.argsort(cdist(Y[own], Y), axis=1)[:, 1:16].astype(np.uint32)
    p = rng.dirichlet(np.ones(15), len(own)).astype(np.float32)
    places = Y[own] + rng.normal(0, 0.3, (len(own), d)).astype(np.float32)
    found = hessians(fitted, near, p, Placement(exaggeration=[4, 1.5]), ONE, places, own, Crowd.around(Y, dof, 9.0))
    wanted = [
        curvature(left_out(Y, near[i], p[i].astype(float), own[i], 1.5, dof), places[i].astype(float))
        for i in range(len(own))
    ]
    assert reference.relative(found, wanted) < 1e-5


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_row_left_out_goes_where_a_map_without_it_has_it(d):
    rng = np.random.default_rng(1)
    Y = rng.uniform(-9, 9, (300, d)).astype(np.float32)
    near = np.argsort(cdist(Y, Y), axis=1)[:, 1:11].astype(np.uint32)
    p = rng.dirichlet(np.ones(10), len(Y)).astype(np.float32)
    placement = Placement(exaggeration=1.5, tolerance=1e-6)
    whole = Model(Y, None, 1.0, 1.0)
    whole.__dict__["field"] = Crowd.around(Y, 1.0, 20.0)
    found, _ = descend(whole, near, p, placement, ONE, start=Y, own=np.arange(len(Y)))
    for row in range(0, len(Y), 20):
        without = np.delete(Y, row, axis=0)
        others = Model(without, None, 1.0, 1.0)
        others.__dict__["field"] = Crowd.around(without, 1.0, 20.0)
        number = near[row] - (near[row] > row).astype(np.uint32)
        place, _ = descend(others, number[None], p[row][None], placement, ONE, start=Y[row][None])
        np.testing.assert_allclose(found[row], place[0], atol=1e-4)


def clumps(n, d, seed=0):
    """A map of clumps, as dense as maps are."""
    rng = np.random.default_rng(seed)
    width = (n / 1.5) ** (1 / d) * 1.5
    middle = rng.uniform(-width / 2, width / 2, (30, d))[rng.integers(0, 30, n)]
    return (middle + rng.normal(0, width / 14, (n, d))).astype(np.float32)


@pytest.mark.parametrize("dof", [1.0, 0.7])
@pytest.mark.parametrize("d", [1, 2])
def test_hessians_of_many_rows_are_read_from_a_grid_that_is_fine_enough(d, dof):
    Y = clumps(4000, d)
    fitted = Model(Y, None, dof, 1.0)
    assert not fitted.curved_field.summed and fitted.curved_field.shape.spacing < fitted.field.shape.spacing
    own = np.arange(0, 4000, 4)
    near = cKDTree(Y).query(Y[own], 31)[1][:, 1:].astype(np.uint32)
    p = np.full(near.shape, np.float32(1 / 30))
    places = Y[own] + np.random.default_rng(1).normal(0, 0.2, (len(own), d)).astype(np.float32)
    read, summed = (
        hessians(fitted, near, p, Placement(exaggeration=1.0), ONE, places, own, field)
        for field in (fitted.curved_field, Crowd.around(Y, dof, 20.0))
    )
    off, size = (np.abs(one).max(axis=(1, 2)) for one in (read - summed, summed))
    # As docs/trust.md has it. Where a row is alone its field is nearly nothing, and its Hessian any number.
    assert np.median(off) < 0.015 * np.median(size) and np.quantile(off, 0.99) < 0.07 * np.median(size)
    coarse = hessians(fitted, near, p, Placement(exaggeration=1.0), ONE, places, own, fitted.field)
    assert np.median(np.abs(coarse - summed).max(axis=(1, 2))) > 3 * np.median(off)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_smallest_eigenvalue(d):
    A = np.random.default_rng(0).normal(size=(50, d, d))
    A += A.transpose(0, 2, 1)
    np.testing.assert_allclose(_smallest(A), np.linalg.eigvalsh(A)[:, 0], atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e25])
def test_distances_after_a_move_are_those_of_rows_that_are_moved(scale):
    X, Q = groups(300) * np.float32(scale), (groups(40, seed=4) * np.float32(scale))
    fitted = TSNE(**QUICK, n_iter=0, early_exaggeration_iter=0).fit(X)
    moves = Moves.of(fitted.map_.model, 0.9 * scale, 2, 1)
    near, far = ask(fitted.map_.model, Q, 60)
    unit = fitted.map_.model.index.unit
    axes = directions_of(X / np.float32(scale), 2)
    for vector, (found, distances) in zip(moves.vectors, moves.around(Q, near, far, 60, 20, unit, ONE), strict=True):
        assert np.abs(np.abs(axes @ vector.astype(float)).max() / (0.9 * scale) - 1) < 1e-5
        D = cdist(Q.astype(float) + vector, X.astype(float))
        for row in range(40):
            kept = near[row][np.argsort(D[row, near[row]], kind="stable")[:20]]
            np.testing.assert_allclose(distances[row] * unit, D[row, found[row]], rtol=1e-5)
            np.testing.assert_allclose(D[row, found[row]], D[row, kept], rtol=1e-5)
            assert len(set(found[row].tolist())) == 20 and (np.diff(distances[row]) >= 0).all()


def test_rows_lie_where_one_says(model):
    X = groups()
    np.testing.assert_array_equal(scores(model, X, places=model.embedding_), scores(model, X))
    # In the wrong group a row has none of its neighbours, and goes far when it is placed anew.
    far = model.embedding_[np.argmax(np.linalg.norm(model.embedding_ - model.embedding_[0], axis=1))]
    places = np.array(model.embedding_)
    places[0] = far
    moved, before = scores(model, X, places=places), scores(model, X)
    assert moved.recall[0] == 0 and moved.perturbation[0] > 5 * before.perturbation[0]
    for part, whole in zip(moved, before, strict=True):
        np.testing.assert_array_equal(part[1:], whole[1:])
    for bad, words in ((places[:5], "places has shape"), (places * np.nan, "row 0, column 0 is nan")):
        with pytest.raises(ValueError, match=words):
            scores(model, X, places=bad)


def by_hand(model, X, rows):
    """Recall and singularity of fitted rows by the slow way: distances, exact energies, a general minimiser."""
    Y = model.embedding_.astype(float)
    D = cdist(X, X)
    np.fill_diagonal(D, np.inf)
    on_map = cdist(Y, Y)
    np.fill_diagonal(on_map, np.inf)
    for row in rows:
        near = np.argsort(D[row])[:30]
        recall = np.isin(near[:10], np.argsort(on_map[row])[:10]).mean()
        p = Perplexity(10).conditional(D[row, near][None].astype(np.float32), ONE)[0].astype(float)
        energy = left_out(Y, near, p, row, 1.0)
        place = minimize(energy, Y[row], method="BFGS", options={"gtol": 1e-7}).x
        yield row, recall, 1 / np.linalg.eigvalsh(curvature(energy, place))[0]


def test_scores_are_those_of_the_slow_way(model):
    X, rows = groups(), np.arange(0, 600, 15)
    found = scores(model, X)
    assert model.map_.model.exaggeration == 1.0 and isinstance(found, Scores)
    assert all(part.dtype == np.float32 and part.shape == (600,) for part in found)
    np.testing.assert_array_equal(found.novelty, model.novelty_)
    close = []
    for row, recall, singularity in by_hand(model, X, rows):
        np.testing.assert_allclose(found.recall[row], recall, atol=1e-6)
        close.append(abs(found.singularity[row] / singularity - 1) < 0.1)
    # In a hollow that is nearly flat rows stop a little earlier than a general minimiser does.
    assert np.mean(close) > 0.9


def directions_of(X, r):
    centred = X.astype(float) - X.mean(axis=0, dtype=float)
    return np.linalg.svd(centred, full_matrices=False)[2][:r]


def test_the_perturbation_of_new_rows_is_how_far_placing_moves_them(model):
    Q, length = groups(200, seed=0)[:100] + np.float32(0.1), 0.8
    found = scores(model, Q, length=length, directions=2, placement=Placement()).perturbation
    before, farthest = model.transform(Q).astype(float), np.zeros(len(Q))
    for axis in directions_of(groups(), 2):
        for side in (-length, length):
            moved = model.transform((Q + side * axis).astype(np.float32))
            farthest = np.maximum(farthest, np.linalg.norm(moved - before, axis=1))
    # Rows stop within a gradient of .001; one on the edge of two hollows may fall into the other.
    assert np.mean(np.abs(found - farthest) < 0.05 + 0.01 * farthest) >= 0.97
    # More directions, no less of a move.
    more = scores(model, Q, length=length, directions=9, placement=Placement()).perturbation
    assert (more >= found).all() and (more > found).any()


def test_the_perturbation_is_that_of_the_slow_way(model):
    """With the defaults, by exact energies: the nearest of 45 neighbours, placed from their mean."""
    X, Y = groups().astype(float), model.embedding_.astype(float)
    D = cdist(X, X)
    np.fill_diagonal(D, np.inf)
    usual = np.median(np.sort(D, axis=1)[:, :15].mean(axis=1))
    found = scores(model, groups()).perturbation
    close = []
    for row in range(0, 600, 25):
        own = np.argsort(D[row])[:45]
        p = Perplexity(10).conditional(D[row, own[:30]][None].astype(np.float32), ONE)[0].astype(float)
        place = minimize(left_out(Y, own[:30], p, row, 1.0), Y[row], method="BFGS", options={"gtol": 1e-6}).x
        farthest = 0.0
        for axis in directions_of(groups(), 3):
            for side in (-0.7 * usual, 0.7 * usual):
                away = np.linalg.norm(X[row] + side * axis - X[own], axis=1)
                near = np.argsort(away)[:15]
                p = Perplexity(5).conditional(away[near][None].astype(np.float32), ONE)[0].astype(float)
                energy = left_out(Y, own[near], p, row, 1.5)
                put = minimize(energy, p @ Y[own[near]], method="BFGS", options={"gtol": 1e-6}).x
                farthest = max(farthest, np.linalg.norm(put - place))
        close.append(abs(found[row] - farthest) < 0.1 + 0.02 * farthest)
    # A general minimiser may leap into another hollow.
    assert np.mean(close) >= 0.85


def test_a_fitted_row_that_is_moved_does_not_meet_itself(model):
    X = groups()
    judge = Judge.of(model, 10, length=0.8, directions=1, placement=Placement(perplexity=10, k=30, exaggeration=1.5))
    own = np.arange(0, 600, 30)
    moved = (X[own] + judge.moves.vectors[0]).astype(np.float32)
    near, far = judge._others(*ask(model.map_.model, X[own], 91), own)
    around, distances = next(judge._around(X[own], near, far, own))
    held, p = judge._weighed(judge.mover, around, distances)
    places = descend(model.map_.model, held, p, judge.mover, ONE, own=own)[0]
    for place, row, number, found, there in zip(places, moved, own, distances, around, strict=True):
        D = cdist(row[None], X)[0]
        D[number] = np.inf
        near = np.argsort(D)[:30]
        np.testing.assert_array_equal(there, near)
        np.testing.assert_allclose(found, D[near], rtol=1e-5)
        p = Perplexity(10).conditional(D[near][None].astype(np.float32), ONE)[0].astype(float)
        energy = left_out(model.embedding_.astype(float), near, p, number, 1.5)
        # Where the hollow is flat, the lowest place may be a unit away, at less than a thousandth of the energy below.
        slope = [(energy(place + step) - energy(place - step)) / 2e-4 for step in 1e-4 * np.eye(2)]
        assert np.linalg.norm(slope) < 0.01


def test_new_rows_have_the_novelty_and_the_neighbours_that_placing_gives_them(model):
    Q = groups(50, seed=3)
    found = scores(model, Q, k=7, placement=Placement())
    np.testing.assert_allclose(found.novelty, model.score_samples(Q), rtol=1e-6)
    data = np.argsort(cdist(Q, groups()), axis=1)[:, :7]
    there = cKDTree(model.embedding_).query(model.transform(Q), 7)[1]
    recall = [np.isin(a, b).mean() for a, b in zip(data, there, strict=True)]
    assert np.mean(np.abs(found.recall - recall) < 1e-6) > 0.95


def test_each_row_is_scored_by_itself(model):
    X = np.concatenate([groups()[:200], groups(200, seed=5)])
    whole = scores(model, X)
    some = np.array([3, 150, 199, 200, 333, 399])
    for part, alone in zip(whole, scores(model, X[some]), strict=True):
        np.testing.assert_array_equal(part[some], alone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsne_ooc.trust.judge.BLOCK", 7)
        patch.setattr(model, "n_jobs", 1)
        for part, again in zip(whole, scores(model, X), strict=True):
            np.testing.assert_array_equal(part, again)


def test_a_file_is_streamed(model, tmp_path):
    X = np.repeat(groups(), 3, axis=0)
    np.save(tmp_path / "X.npy", X)
    wanted = scores(model, X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 7 * X[0].nbytes)
        for part, again in zip(wanted, scores(model, open_source(tmp_path / "X.npy")), strict=True):
            np.testing.assert_array_equal(part, again)
    X[1234, 2] = np.inf
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(ValueError, match="row 1234, column 2"):
        scores(model, open_source(tmp_path / "X.npy"))


def test_a_map_that_is_loaded_says_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    for part, again in zip(scores(model, groups()), scores(tsne_ooc.load(tmp_path / "model"), groups()), strict=True):
        np.testing.assert_array_equal(part, again)


# ------------------------------------------------------------------------------------------------- as in the paper


def test_rows_between_two_groups_are_moved_far():
    """What pushes groups apart decides for a row in the middle: a small move takes it to the other group."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 10))
    X[:500, 0] += 14
    middle = rng.normal(size=(40, 10))
    middle[:, 0] = 7
    X = X.astype(np.float32)
    model = TSNE(random_state=0).fit(X)
    Y = model.embedding_
    between, within = (scores(model, rows, length=0.5).perturbation for rows in (middle.astype(np.float32), X))
    gap = np.linalg.norm(Y[:500].mean(axis=0) - Y[500:].mean(axis=0))
    assert np.median(between) > 0.4 * gap
    assert np.quantile(within, 0.75) < np.median(between)


def test_cracks_of_one_gaussian_have_rows_that_are_hardly_held():
    """At a perplexity of 10 the map of one Gaussian is torn, and the highest singularity is along the cracks."""
    X = np.random.default_rng(0).normal(size=(1500, 2)).astype(np.float32)
    model = TSNE(perplexity=10, random_state=0).fit(X)
    Y = model.embedding_.astype(float)
    apart, near = cKDTree(Y).query(Y, 7)
    away = Y[near[:, 1:]] - Y[:, None]
    # At an edge neighbours on the map are on one side and farther off; those in the data may be beyond the crack.
    edge = np.linalg.norm(away.mean(axis=1), axis=1) / np.linalg.norm(away, axis=2).mean(axis=1)
    alike = cKDTree(X).query(X, 9)[1][:, 1:]
    torn = np.median(np.linalg.norm(Y[alike] - Y[:, None], axis=2), axis=1)
    singularity = scores(model, X).singularity
    high = singularity >= np.quantile(singularity, 0.9)
    for what, times in ((edge, 1.2), (apart[:, 1:].mean(axis=1), 1.2), (torn, 1.7)):
        assert what[high].mean() > times * what[~high].mean()


# -------------------------------------------------------------------------------------------- what cannot be known


@pytest.mark.parametrize("kind", ["sparse", "distances", "gaps"])
def test_rows_that_cannot_be_moved_have_no_perturbation(kind):
    from scipy.sparse import csr_array

    X = groups(90)
    rows = {"sparse": csr_array(X), "distances": cdist(X, X).astype(np.float32), "gaps": X.copy()}[kind]
    if kind == "gaps":
        rows[::4, 2] = np.nan
    metric = {"sparse": "euclidean", "distances": "precomputed", "gaps": "nan_euclidean"}[kind]
    model = TSNE(**QUICK, metric=metric).fit(rows)
    found = scores(model, rows)
    assert np.isnan(found.perturbation).all() and np.isfinite(found.recall).all() and (found.singularity > 0).all()


def test_rows_that_lack_a_value_have_no_scores():
    from tsne_ooc.preprocess import Missing, Preparation

    X = groups(120)
    model = TSNE(**QUICK, prepare=Preparation([Missing("drop")])).fit(X)
    Q = X[:30].copy()
    Q[[4, 9], 2] = np.nan
    found, wanted = scores(model, Q), scores(model, X[:30])
    for part, whole in zip(found, wanted, strict=True):
        assert np.isnan(part[[4, 9]]).all()
        np.testing.assert_array_equal(np.delete(part, [4, 9]), np.delete(whole, [4, 9]))


def test_rows_have_no_more_neighbours_than_there_are_others():
    X = groups(12)
    model = TSNE(**{**QUICK, "perplexity": 3}).fit(X)
    others = scores(model, X, k=2, placement=Placement(k=11))
    for k in (12, 13, 500):
        for part, whole in zip(scores(model, X, k=2, placement=Placement(k=k)), others, strict=True):
            np.testing.assert_array_equal(part, whole)


def test_copies_are_each_others_neighbours():
    X = np.repeat(groups(60), 3, axis=0)
    found = scores(TSNE(**QUICK).fit(X), X, k=2)
    assert (found.recall > 0.9).mean() > 0.9 and np.isfinite(found.perturbation).all()


@pytest.mark.parametrize("search", ["exact", "graph", HNSW(), "copies", "far", "scaled", "manhattan"])
def test_every_search_has_the_rows_that_it_was_given(search):
    X = groups(150)
    options = dict(QUICK)
    if search == "graph":
        options["neighbors"] = TSNE(**QUICK).fit(X).graph()
        assert isinstance(options["neighbors"], Graph)
    elif search == "copies":
        X[40:100] = X[0]
    elif search == "far":
        X[7] *= np.float32(1e6)
    elif search == "scaled":
        X *= np.float32(1e-30)
    elif search == "manhattan":
        options["metric"] = "minkowski"
        options["metric_params"] = {"p": 1.5}
    else:
        options["neighbors"] = search
    model = TSNE(**options).fit(X)
    np.testing.assert_allclose(model.map_.model.index.rows, X, rtol=1e-6)
    assert np.isfinite(scores(model, X[:20]).perturbation).all()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"k": 0}, "k=0"),
        ({"k": 600}, "k=600 is more than the 599 others of the 600 fitted rows"),
        ({"length": 0}, "length=0"),
        ({"directions": 0}, "directions=0"),
        ({"length": "far"}, "length"),
    ],
)
def test_bad_options_are_one_line(model, options, words):
    with pytest.raises((ValueError, TypeError), match=words) as told:
        scores(model, groups(5), **options)
    assert "\n" not in str(told.value)


def test_bad_input_is_one_line(model):
    with pytest.raises(TypeError, match="model=dict is not a fitted TSNE"):
        scores({}, groups(5))
    with pytest.raises(TypeError, match="placement='near' is not a"):
        scores(model, groups(5), placement="near")
    bad = groups(5)
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="row 3, column 2"):
        scores(model, bad)
    with pytest.raises(ValueError, match=r"copies of each other.*give length"):
        scores(TSNE(perplexity=3, n_iter=5, random_state=0).fit(np.ones((40, 3), np.float32)), groups(5, 3))


@pytest.mark.parametrize("placement", [None, Placement(k=7, exaggeration=3.0)])
def test_the_energy_that_holds_a_row_is_that_of_the_fit_or_else_of_placing(placement):
    """Affinities that are given are not made of distances, and say nothing about a row by itself."""
    X = groups(120)
    few = {**QUICK, "n_iter": 5, "early_exaggeration_iter": 5, "exaggeration": 2, "placement": placement}
    made = TSNE(**few).fit(X)
    held = Judge.of(made).placement
    assert (held.k, held.affinity, held.exaggeration) == (made.n_neighbors_, Perplexity(10), 2)
    given = TSNE(**few, affinity=made.affinities_).fit(X)
    assert Judge.of(given).placement == (placement or Placement())
    # What is asked for holds for every map.
    assert Judge.of(given, placement=Placement(k=3)).placement == Judge.of(made, placement=Placement(k=3)).placement
