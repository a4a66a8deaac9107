"""How far and where rows are moved, and what is near them then: by all distances."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE, Placement
from tsne_ooc._parallel import Threads
from tsne_ooc.fit.model import Model
from tsne_ooc.io import open_source
from tsne_ooc.neighbors import Exact
from tsne_ooc.trust import judge as judging
from tsne_ooc.trust import scores
from tsne_ooc.trust.judge import Judge
from tsne_ooc.trust.moves import Moves

ONE = Threads(1)
QUICK = {"perplexity": 8, "random_state": 0, "n_iter": 40, "early_exaggeration_iter": 20}


def rows(n, p=4, seed=0):
    return (np.random.default_rng(seed).normal(size=(n, p)) * np.linspace(1, 4, p)).astype(np.float32)


def on_a_map(X, metric="euclidean"):
    index = Exact().build(X, metric=metric, threads=ONE)
    return Model(np.zeros((len(X), 2), np.float32), index, 1.0, 1.0)


def usual(X, some):
    """The median of the mean distances to the 15 nearest others, or to all; of rows that are not all copies."""
    D = cdist(X[some].astype(float), X.astype(float))
    D[np.arange(len(some)), some] = np.inf
    means = np.sort(D, axis=1)[:, : min(15, len(X) - 1)].mean(axis=1)
    return np.median(means[means > 0])


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 60])
def test_the_usual_length_is_that_of_the_nearest_fifteen(n, metric, copies):
    """Seven tenths of it, by the columns themselves; the neighbours are those of the metric."""
    X = rows(n)
    if copies:
        X[: n // 2] = X[0]
    length = Moves.of(on_a_map(X, metric), None, 1, 1).length
    if metric == "euclidean":
        assert length == pytest.approx(0.7 * usual(X, np.arange(n)), rel=1e-5)
        return
    D = cdist(X.astype(float), X.astype(float), "cityblock" if metric == "manhattan" else "cosine")
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, : min(15, n - 1)]
    means = np.array([np.linalg.norm(X[some].astype(float) - X[at], axis=1).mean() for at, some in enumerate(near)])
    if not copies or n < 32:
        assert length == pytest.approx(0.7 * np.median(means[means > 0]), rel=1e-4)


def test_a_row_that_is_not_among_its_own_neighbours_has_no_more_of_them():
    """By their directions all twenty are at the same place, and the first sixteen are found."""
    X = np.outer(np.arange(1, 21), [1, 2, 2]).astype(np.float32)
    others = [[at for at in range(16) if at != row][:15] for row in range(20)]
    means = [np.abs(3.0 * (np.array(some) - row)).mean() for row, some in enumerate(others)]
    assert Moves.of(on_a_map(X, "cosine"), None, 1, 1).length == pytest.approx(0.7 * np.median(means), rel=1e-5)


def test_of_many_rows_a_thousand_from_all_over_tell_the_usual_length():
    X = rows(2500, 2)
    X[1250:] *= 5
    some = np.unique(np.linspace(0, 2499, 1000).astype(int))
    assert Moves.of(on_a_map(X), None, 1, 1).length == pytest.approx(0.7 * usual(X, some), rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "directions", "left"), [((60, 4), 3, 3), ((60, 4), 9, 4), ((3, 8), 9, 2), ((60, 1), 2, 1)]
)
def test_rows_are_moved_to_and_fro_along_the_leading_directions(shape, directions, left):
    X = rows(*shape)
    moves = Moves.of(on_a_map(X), 0.5, directions, 1)
    vectors = moves.vectors.astype(float)
    r = len(vectors) // 2
    assert left <= r <= min(directions, *shape) and moves.vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[:r], -vectors[r:])
    axes = np.linalg.svd(X - X.mean(0, dtype=float), full_matrices=False)[2]
    for vector, axis in zip(vectors[:left], axes, strict=False):
        assert np.linalg.norm(vector) == pytest.approx(0.5, rel=1e-5)
        assert abs(vector @ axis) == pytest.approx(0.5, rel=1e-4)
    assert moves.length == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_allclose(moves.there, X.astype(float) @ moves.ways.T.astype(float), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("metric", "measured"), [("euclidean", True), ("l2", True), ("manhattan", False), ("cosine", False)]
)
def test_distances_after_a_move_follow_from_those_before_it_in_one_metric_alone(metric, measured):
    index = Exact().build(rows(30), metric=metric, threads=ONE)
    index.metric = metric
    assert Moves.of(Model(np.zeros((30, 2), np.float32), index, 1.0, 1.0), 1.0, 2, 1).measured is measured


@pytest.fixture(scope="module")
def maps():
    X = rows(150)
    return X, {metric: TSNE(**QUICK, metric=metric).fit(X) for metric in ("euclidean", "manhattan", "cosine")}


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
def test_neighbours_after_a_move_are_those_of_the_metric_without_the_row_itself(maps, metric):
    X, models = maps
    judge = Judge.of(models[metric], 10, length=0.3, directions=2, placement=Placement(k=12))
    own = np.array([0, 7, 149, -1, -1])
    Q = np.concatenate([X[own[:3]], rows(2, seed=9)])
    near = np.argsort(cdist(Q, X), axis=1).astype(np.uint32)
    near, far = judge._others(near, np.sort(cdist(Q, X), axis=1).astype(np.float32), own)
    found = list(judge._around(Q, near, far, own))
    assert len(found) == 4
    for vector, (around, distances) in zip(judge.moves.vectors, found, strict=True):
        D = cdist((Q + vector).astype(float), X.astype(float), {"manhattan": "cityblock"}.get(metric, metric))
        D[np.arange(3), own[:3]] = np.inf
        wanted = np.argsort(D, axis=1)[:, :12]
        assert around.shape == (5, 12)
        same = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(around, wanted, strict=True)]
        # Of distances that follow from those before, 36 are looked at, and others may come near.
        assert same == [12] * 5 or (metric == "euclidean" and min(same) >= 11)
        np.testing.assert_allclose(distances, np.take_along_axis(D, around.astype(int), axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("k", "placed", "seen"), [(10, 12, 36), (10, 49, 147), (10, 50, 149), (10, 149, 149), (140, 5, 15)]
)
def test_three_times_as_many_neighbours_are_looked_at_as_place_a_row(maps, k, placed, seen):
    judge = Judge.of(maps[1]["euclidean"], k, length=1.0, placement=Placement(k=placed))
    assert judge._seen == seen
    assert Judge.of(maps[1]["manhattan"], k, length=1.0, placement=Placement(k=placed))._seen == 0


def test_places_that_are_told_go_with_their_rows_block_by_block(maps):
    X, models = maps
    Q, places = rows(40, seed=3), np.random.default_rng(1).normal(0, 9, (40, 2))
    whole = scores(models["euclidean"], Q, places=places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "BLOCK", 7)
        for one, other in zip(scores(models["euclidean"], Q, places=places), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    Y = models["euclidean"].embedding_.astype(float)
    in_data, there = np.argsort(cdist(Q, X), axis=1)[:, :10], np.argsort(cdist(places.astype("f4"), Y), axis=1)[:, :10]
    wanted = [np.isin(one, other).mean() for one, other in zip(in_data, there, strict=True)]
    np.testing.assert_allclose(whole.recall, wanted, atol=1e-6)


def test_a_place_that_is_no_hollow_does_not_hold_at_all(maps, monkeypatch):
    judge = Judge.of(maps[1]["euclidean"], 3, length=1.0)
    curved = np.array(
        [[[2.0, 0], [0, 4]], [[0, 0], [0, 3]], [[5, 0], [0, -1e-9]], [[1, 2], [2, 1]], [[9, 0], [0, 0.5]]]
    )
    monkeypatch.setattr(judging, "hessians", lambda *given: curved)
    assert judge._singularity(None, None, None, None).tolist() == [0.5, np.inf, np.inf, np.inf, 2.0]


def test_the_farthest_of_all_moves_counts(maps, monkeypatch):
    judge = Judge.of(maps[1]["euclidean"], 3, length=1.0)
    places = np.array([[1.0, 1], [2, 2], [3, 3]], np.float32)
    ways = iter(
        [places + np.float32([[3, 4]]), places - np.float32([[0, 1]]), places + np.float32([[6, 8], [0, 0], [5, 12]])]
    )
    monkeypatch.setattr(Judge, "_around", lambda *given: ((None, None) for _ in range(3)))
    monkeypatch.setattr(Judge, "_weighed", lambda *given: (None, None))
    monkeypatch.setattr(judging, "descend", lambda *given, own: (next(ways), None))
    found = judge._moved(np.zeros((3, 4)), None, None, None, places)
    np.testing.assert_allclose(found, [10, 5, 13])


def test_what_moves_a_row_is_how_rows_are_placed():
    """From the mean of its neighbours, and to a hundredth of a map unit, where less was not asked for."""
    X = rows(60)
    for tolerance, wanted in ((1e-6, 1e-2), (1e-2, 1e-2), (0.5, 0.5)):
        placement = Placement(k=7, exaggeration=3.0, tolerance=tolerance, initialization="median")
        mover = Judge.of(TSNE(**QUICK, placement=placement).fit(X)).mover
        assert (mover.k, mover.exaggeration, mover.tolerance, mover.initialization) == (
            7,
            placement.exaggeration,
            wanted,
            "mean",
        )
    asked = Judge.of(TSNE(**QUICK).fit(X), placement=placement)
    assert asked.mover is placement and asked.placement is placement
    assert Judge.of(TSNE(**QUICK).fit(X)).placement.initialization == "mean"


def test_what_is_left_out_of_a_question_is_the_same_for_all_who_ask():
    """As the docstring has it: ten neighbours, three directions, and the usual length and energies."""
    asked, made = (inspect.signature(call).parameters for call in (scores, Judge.of))
    for name, usual in (("k", 10), ("length", None), ("directions", 3), ("placement", None)):
        assert asked[name].default == made[name].default == usual
    assert asked["places"].default is None


def test_a_map_without_novelty_has_the_other_scores(maps):
    X, models = maps
    model, Q = models["euclidean"], np.concatenate([X[:5], rows(6, seed=4)])
    wanted, reference = scores(model, Q, k=2), model.map_.model.reference
    object.__setattr__(model.map_.model, "reference", None)
    try:
        found = scores(model, Q, k=2)
    finally:
        object.__setattr__(model.map_.model, "reference", reference)
    assert np.isnan(found.novelty).all() and found.novelty.dtype == np.float32 and not np.isnan(wanted.novelty).any()
    for name in ("recall", "singularity", "perturbation"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-5)


def test_a_row_that_the_metric_does_not_take_is_named_in_any_block(tmp_path, monkeypatch):
    X = np.abs(rows(60))
    model = TSNE(**{**QUICK, "n_iter": 5, "early_exaggeration_iter": 0}, metric="hellinger").fit(X)
    Q = np.abs(rows(50, seed=3))
    np.save(tmp_path / "Q.npy", Q)
    whole = scores(model, Q, k=3, length=0.01)
    monkeypatch.setattr(judging, "BLOCK", 7)
    monkeypatch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 11 * Q[0].nbytes)
    with open_source(tmp_path / "Q.npy") as source:
        for one, other in zip(scores(model, source, k=3, length=0.01), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    for row in (0, 6, 7, 10, 11, 33, 49):
        bad = Q.copy()
        bad[row, 2] = -1
        np.save(tmp_path / "bad.npy", bad)
        with open_source(tmp_path / "bad.npy") as source:
            for given in (bad, source):
                with pytest.raises(ValueError, match=rf"takes no negative numbers; row {row}, column 2 is -1$"):
                    scores(model, given, k=3, length=0.01)


@pytest.mark.parametrize("n_placed", [1, 2, 5])
def test_novelty_is_that_of_the_map_however_few_neighbours_the_others_look_at(maps, n_placed):
    X, models = maps
    Q = np.concatenate([rows(6, seed=4), X[:3]])
    for metric in ("euclidean", "manhattan"):
        found = scores(models[metric], Q, k=1, length=1e-3, placement=Placement(k=n_placed))
        np.testing.assert_allclose(found.novelty[:6], models[metric].score_samples(Q[:6]), rtol=1e-6)
        np.testing.assert_allclose(found.novelty[6:], models[metric].novelty_[:3], rtol=1e-6)


@pytest.mark.parametrize("k", [1, 148, 149])
def test_recall_of_one_neighbour_and_of_all_others(maps, k):
    X, models = maps
    found = scores(models["euclidean"], X[:4], k=k, length=1e-3, directions=1, placement=Placement(k=3))
    Y, D = models["euclidean"].embedding_.astype(float), cdist(X[:4], X)
    there = cdist(Y[:4], Y)
    for one in (D, there):
        one[np.arange(4), np.arange(4)] = np.inf
    near = [np.argsort(one, axis=1)[:, :k] for one in (D, there)]
    np.testing.assert_allclose(found.recall, [np.isin(a, b).mean() for a, b in zip(*near, strict=True)], atol=1e-6)
    with pytest.raises(ValueError, match=r"^k=150 is more than the 149 others of the 150 fitted rows$"):
        scores(models["euclidean"], X[:4], k=150)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("own", [[0, 5, 9], [-1, -1, -1], [4, -1, 7], []])
def test_rows_begin_where_they_lie_and_new_ones_amid_their_neighbours(maps, own, known, monkeypatch):
    """Each with its own neighbours and weights, and without itself, in the order in which they came."""
    judge = Judge.of(maps[1]["euclidean"], 3, length=1.0)
    own = np.array(own, np.int64)
    near, p = np.arange(30, dtype=np.uint32).reshape(3, 10)[: len(own)], np.random.default_rng(0).random((len(own), 10))
    places = np.arange(6, dtype=np.float32).reshape(3, 2)[: len(own)] if known else None
    asked = []

    def descend(model, held, weights, placement, threads, *, start, own):
        assert model is judge.model and placement is judge.placement and threads is judge.threads
        begin = [None] * len(own) if start is None else start.tolist()
        asked.extend(zip(own.tolist(), held.tolist(), weights.tolist(), begin, strict=True))
        return held[:, :2].astype(np.float32) + 0.5, None

    monkeypatch.setattr(judging, "descend", descend)
    found = judge._settled(near, p, own, places)
    assert found.shape == (len(own), 2) and found.dtype == np.float32
    np.testing.assert_array_equal(found, near[:, :2] + 0.5)
    Y = judge.model.embedding
    wanted = [
        (int(one), near[at].tolist(), p[at].tolist(),
         places[at].tolist() if known else Y[one].tolist() if one >= 0 else None)
        for at, one in enumerate(own)
    ]  # fmt: skip
    assert sorted(asked, key=str) == sorted(wanted, key=str)


@pytest.mark.parametrize("piece", [1, 7, 20, 21])
def test_products_with_moves_are_taken_some_rows_at_a_time(piece, monkeypatch):
    from tsne_ooc.trust import moves

    monkeypatch.setattr(moves, "PIECE", piece)
    X, ways = rows(20), rows(3, seed=5)
    np.testing.assert_allclose(moves._along(X, ways), X.astype(float) @ ways.T.astype(float), rtol=1e-12, atol=1e-12)
