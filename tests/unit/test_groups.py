"""Rows in small groups are seen from their surroundings; all is what a slow sum over all distances says."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from tsne_ooc import TSNE
from tsne_ooc.groups import Groups
from tsne_ooc.io import open_source
from tsne_ooc.placement import ask


def quick(**options):
    return TSNE(**{"n_iter": 0, "early_exaggeration_iter": 0, "random_state": 0, "neighbors": "exact"} | options)


def mean_nearest(D, k):
    return np.sort(D, axis=1)[:, :k].mean(axis=1)


def distances(A, B):
    return np.linalg.norm(A[:, None].astype(float) - B[None], axis=2)


def slow(X, Q, group):
    """Far and dense of the rows of X, and of Q, from all distances in float64."""
    within, across, k = distances(X, X), distances(Q, X), 2 * group
    np.fill_diagonal(within, np.inf)
    around, beside = mean_nearest(within, k), mean_nearest(within, 5)
    around, beside = (np.maximum(own, 0.3 * np.median(own[own > 0])) for own in (around, beside))
    found = []
    for D in (within, across):
        rows = np.argsort(D, axis=1, kind="stable")[:, :k]
        far = np.maximum(mean_nearest(D, k), around.min()) if D is within else mean_nearest(D, k)
        near = np.maximum(mean_nearest(D, 5), beside.min())
        found.append((far / np.median(around[rows], axis=1), np.median(beside[rows], axis=1) / near))
    return found


def test_it_is_what_it_says():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4)).astype(np.float32)
    X[:20] = X[0] + 0.01 * rng.normal(size=(20, 4))
    X[20:30] = X[20]
    Q = np.concatenate([2 * rng.normal(size=(50, 4)), X[:25] + 0.1]).astype(np.float32)
    groups = Groups(quick().fit(X), 12)
    wanted, fresh = slow(X, Q, 12)
    np.testing.assert_allclose(groups.fitted.far, wanted[0], rtol=1e-4)
    np.testing.assert_allclose(groups.fitted.dense, wanted[1], rtol=1e-4)
    found = groups.score(Q)
    np.testing.assert_allclose(found.far, fresh[0], rtol=1e-4)
    np.testing.assert_allclose(found.dense, fresh[1], rtol=1e-3)
    np.testing.assert_array_equal(found.strangest, np.maximum(found.far, found.dense))
    some = groups.score(Q[30:60])
    np.testing.assert_array_equal(some.far, found.far[30:60])
    np.testing.assert_array_equal(some.dense, found.dense[30:60])


def test_groups_that_novelty_does_not_see_are_seen():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 6)).astype(np.float32)
    # One lies apart, and its rows are as far from each other as those of the rest; one lies in the midst, and is dense.
    X[:20, 0] += 15
    X[20:40] = X[20] / 4 + 0.02 * rng.normal(size=(20, 6))
    model = quick().fit(X)
    fitted = Groups(model, 25).fitted
    assert (model.novelty_[:40] < model.novelty_threshold_).all()
    assert set(np.argsort(-fitted.far)[:20]) == {*range(20)} and fitted.far[:20].min() > 2
    assert set(np.argsort(-fitted.dense)[:20]) == {*range(20, 40)} and fitted.dense[20:40].min() > 2
    assert fitted.strangest[:40].min() > fitted.strangest[40:].max()
    assert all(0.85 < np.median(part) < 1.15 for part in fitted)


def test_wrong_groups():
    model = quick(perplexity=5).fit(np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(ValueError, match="group=20 is more than a third of the 50 fitted rows"):
        Groups(model, 20)
    with pytest.raises(ValueError, match="group=2 must be at least 3"):
        Groups(model, 2)
    with pytest.raises(TypeError, match="group='ten' is not a whole number"):
        Groups(model, "ten")
    same = quick(perplexity=5).fit(np.ones((40, 3)))
    assert np.isfinite(Groups(same, 5).fitted.strangest).all()


def test_groups_of_a_map_that_is_not_fitted_say_so():
    with pytest.raises(NotFittedError, match="not fitted"):
        Groups(TSNE(), 12)


@pytest.mark.parametrize("n", [36, 37, 38])
def test_a_third_of_the_rows_is_the_largest_group(n):
    model = quick(perplexity=5).fit(np.random.default_rng(0).normal(size=(n, 3)))
    assert Groups(model, 12).fitted.far.shape == (n,)
    with pytest.raises(ValueError, match=f"group=13 is more than a third of the {n} fitted rows"):
        Groups(model, 13)


def test_the_smallest_group_and_the_usual_one():
    X = 100 * np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    X[:9] = X[0]
    model = quick(perplexity=5).fit(X)
    for size in (3, 30):
        wanted, fresh = slow(X, X[:7] + 1, size)
        groups = Groups(model, size) if size != 30 else Groups(model)
        np.testing.assert_allclose(groups.fitted.far, wanted[0], rtol=1e-4)
        np.testing.assert_allclose(groups.fitted.dense, wanted[1], rtol=1e-4)
        found = groups.score(X[:7] + 1)
        np.testing.assert_allclose(found.far, fresh[0], rtol=1e-4)
        np.testing.assert_allclose(found.dense, fresh[1], rtol=1e-4)
        assert {part.dtype for part in (*found, *groups.fitted)} == {np.dtype(np.float32)}


def test_rows_that_come_in_several_blocks_are_scored_as_in_one(monkeypatch):
    X = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    groups = Groups(quick(perplexity=5).fit(X), 4)
    Q = (2 * X[:50]).copy()
    wanted = groups.score(Q)
    monkeypatch.setattr("tsne_ooc.groups._BLOCK", 7)
    found = groups.score(Q)
    np.testing.assert_array_equal(found.far, wanted.far)
    np.testing.assert_array_equal(found.dense, wanted.dense)


def test_of_a_table_of_copies_distances_count_as_they_are():
    groups = Groups(quick(perplexity=5).fit(np.ones((40, 3), np.float32)), 5)
    found = groups.score(np.ones((2, 3), np.float32) + np.array([[0, 0, 0], [0, 0, 3]], np.float32))
    assert found.far.tolist() == [0, 3] and found.dense[0] == 1


def test_blocks_of_a_file_and_blocks_of_these_are_put_together(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    model = quick(perplexity=5).fit(X)
    groups, Q = Groups(model, 4), np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    wanted = groups.score(Q)
    np.save(tmp_path / "Q.npy", Q)
    monkeypatch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 9 * Q[0].nbytes)
    monkeypatch.setattr("tsne_ooc.groups._BLOCK", 4)
    asked = []
    monkeypatch.setattr(
        "tsne_ooc.groups.ask", lambda model, rows, k: asked.append((len(rows), k)) or ask(model, rows, k)
    )
    with open_source(tmp_path / "Q.npy") as source:
        found = groups.score(source)
    assert max(asked) == (4, 8) and sum(n for n, _ in asked) == 50
    np.testing.assert_array_equal(found.far, wanted.far)
    np.testing.assert_array_equal(found.dense, wanted.dense)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_threads_are_those_that_the_model_has_now(n_jobs):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    model = quick(perplexity=5, n_jobs=2).fit(X)
    groups = Groups(model, 4)
    threads = model.map_.threads
    groups.score(X[:3])
    assert threads.n_jobs == 2
    model.set_params(n_jobs=n_jobs)
    groups.score(X[:3])
    assert threads.n_jobs == n_jobs
    with pytest.raises(ValueError, match=r"^X has 2 features, but TSNE is expecting 3 features as input"):
        groups.score(X[:, :2])
