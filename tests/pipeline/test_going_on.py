"""What a fit leaves to go on with: its affinities, its momentum, and places to begin from."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import tsne_ooc
from tsne_ooc import TSNE, Mixture, Phase, Schedule
from tsne_ooc.neighbors import IVF


def blobs(n=300, p=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 6, (5, p))[np.arange(n) % 5] + rng.normal(size=(n, p))).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- affinities


def wanted_affinities(X, perplexity):
    """P by the book: all distances, bisection for each row, (p + p^T) / 2n."""
    distances = np.linalg.norm(X[:, None].astype(float) - X, axis=2)
    np.fill_diagonal(distances, np.inf)
    k = int(np.ceil(3 * perplexity))
    neighbors = np.argsort(distances, axis=1)[:, :k]
    near = np.take_along_axis(distances, neighbors, axis=1)
    return reference.joint(neighbors, [reference.conditional(row, perplexity) for row in near])


@pytest.mark.parametrize("neighbors", ["exact", IVF(lists=4, probes=4)])
def test_affinities_are_those_of_the_book(tmp_path, neighbors):
    X = blobs(200)
    model = TSNE(perplexity=10, neighbors=neighbors, n_iter=5, early_exaggeration_iter=0, random_state=0).fit(X)
    wanted = wanted_affinities(X, 10)
    assert reference.relative(model.affinities_.toarray(), wanted) < 1e-4
    assert model.kl_divergence_ == pytest.approx(reference.kl(wanted, model.embedding_), rel=1e-4)
    model.save(tmp_path / "model")
    assert (tsne_ooc.load(tmp_path / "model").affinities_ != model.affinities_).nnz == 0
    # Options that are set later are those of another fit.
    before = model.affinities_
    model.set_params(perplexity=30)
    assert (model.affinities_ != before).nnz == 0


def test_affinities_of_a_matrix(tmp_path):
    X = blobs(60)
    P = np.exp(-(np.linalg.norm(X[:, None] - X, axis=2) ** 2) / 20).astype(np.float64)
    np.fill_diagonal(P, 0)
    model = TSNE(affinity=P, n_iter=5, early_exaggeration_iter=0).fit(X)
    np.testing.assert_allclose(model.affinities_.toarray(), P / P.sum(), rtol=1e-6)
    model.save(tmp_path / "model")
    with pytest.raises(AttributeError, match="cannot be made again"):
        _ = tsne_ooc.load(tmp_path / "model").affinities_
    with pytest.raises(NotFittedError):
        _ = TSNE().affinities_


def test_a_mixture_fits_and_is_saved(tmp_path):
    model = TSNE(affinity=Mixture((5, 30)), n_iter=5, early_exaggeration_iter=5, random_state=0).fit(blobs())
    model.save(tmp_path / "model")
    assert tsne_ooc.load(tmp_path / "model").affinity == Mixture((5, 30))
    named = TSNE(affinity="mixture", perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0).fit(blobs())
    mean = TSNE(affinity="multiscale", perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0).fit(blobs())
    assert not np.array_equal(named.embedding_, mean.embedding_)


# ---------------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("n", [200, 700])
@pytest.mark.parametrize("neighbors", ["exact", IVF(lists=4)])
def test_going_on_is_as_never_having_stopped(n, neighbors):
    """Below and above the size from which the field takes over, whose grid remembers the one before."""
    X, options = blobs(n), {"neighbors": neighbors, "random_state": 0, "n_jobs": 1}
    early = Phase(30, 12.0)
    whole = TSNE(schedule=[early, Phase(100, 1.0, 0.9)], **options).fit(X)
    parts = TSNE(schedule=[early, Phase(35, 1.0, 0.9)], **options).fit(X)
    first = parts.embedding_
    kept = first.copy()
    assert parts.continue_fit(25) is parts
    parts = pickle.loads(pickle.dumps(parts)).set_params(n_jobs=2).continue_fit(Phase(40, 1.0, 0.9))
    np.testing.assert_array_equal(parts.embedding_, whole.embedding_)
    assert parts.kl_divergence_ == whole.kl_divergence_
    assert parts.n_iter_ == whole.n_iter_ == 130
    # What was handed out stays.
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(parts.transform(X[:50]), parts.embedding_[:50])


def test_going_on_from_a_map_that_was_given():
    X = blobs()
    Z = TSNE(random_state=0).fit(X).embedding_ + np.float32(100)
    options = {"initialization": Z, "early_exaggeration_iter": 0, "random_state": 0}
    model = TSNE(schedule=[Phase(10)], **options).fit(X).continue_fit(10)
    np.testing.assert_array_equal(model.embedding_, TSNE(schedule=[Phase(20)], **options).fit(X).embedding_)
    np.testing.assert_allclose(model.embedding_.mean(0), Z.mean(0), atol=1e-2)


def test_going_on_lowers_the_divergence_and_tells(tmp_path):
    X, seen = blobs(), []
    model = TSNE(n_iter=60, random_state=0, callbacks=lambda i, e, Y: seen.append((i, Y.shape)) or False)
    with pytest.raises(NotFittedError):
        model.continue_fit(5)
    model.fit(X)
    before = model.kl_divergence_
    seen.clear()
    model.continue_fit(Schedule([Phase(150, 1.0, 0.9), Phase(50, 2.0, 0.5)]))
    assert [i for i, _ in seen] == [50, 100, 150, 200]
    assert model.kl_divergence_ != before
    assert model.map_.model.exaggeration == 2.0
    assert TSNE(n_iter=60, random_state=0).fit(X).continue_fit(100).kl_divergence_ < before
    for wrong in (-1, True, "late", 2.5, [3]):
        with pytest.raises((ValueError, TypeError)):
            model.continue_fit(wrong)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="no momentum to go on with"):
        tsne_ooc.load(tmp_path / "model").continue_fit(5)
    with pytest.raises(NotFittedError):
        clone(model).continue_fit(5)


# ------------------------------------------------------------------------------------------------ a start for placing


def test_rows_begin_where_they_are_told():
    X, new = blobs(400), blobs(60, seed=0) + np.float32(0.3)
    model = TSNE(random_state=0).fit(X)
    plain = model.place(new)
    # From where it ends a row does not move on; equal rows have their seats whatever is said.
    again = model.place(new, start=plain.embedding)
    np.testing.assert_allclose(again.embedding, plain.embedding, atol=0.05)
    assert again.iterations.sum() < plain.iterations.sum()
    np.testing.assert_array_equal(model.place(X[:9], start=np.zeros((9, 2))).embedding, model.embedding_[:9])
    # No step at all: the start itself, as far as the field reaches.
    still = TSNE(random_state=0, placement=tsne_ooc.Placement(max_iter=0)).fit(X)
    start = np.random.default_rng(0).uniform(-5, 5, (60, 2)).astype(np.float32)
    np.testing.assert_array_equal(still.place(new, start=start).embedding, start)
    far = still.place(new, start=np.full((60, 2), 1e6)).embedding
    assert np.isfinite(far).all()
    assert (far > still.embedding_.max(axis=0)).all()
    assert (far < 3 * np.abs(still.embedding_).max()).all()


def test_a_start_goes_with_its_rows():
    X, new = blobs(400), blobs(90) + np.float32(0.3)
    start = np.random.default_rng(0).normal(0, 10, (90, 2))
    model = TSNE(random_state=0).fit(X)
    whole = model.place(new, start=start).embedding
    parts = [model.place(new[a : a + 7], start=start[a : a + 7]).embedding for a in range(0, 90, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.zeros((59, 2)), r"start has shape \(59, 2\); \(60, 2\) is needed"),
        (np.full((60, 2), np.nan), "start: row 0, column 0 is nan"),
        ("pca", "start: the given array is not numeric"),
    ],
)
def test_a_wrong_start_is_told(start, message):
    model = TSNE(n_iter=0, early_exaggeration_iter=0).fit(blobs())
    with pytest.raises(ValueError, match=message):
        model.place(blobs(60) + np.float32(0.3), start=start)


@pytest.mark.parametrize("exaggeration, end", [(3.0, 3.0), ((4.0, 2.0), 2.0)], ids=["one", "a course"])
def test_more_iterations_go_on_where_the_last_phase_ended(exaggeration, end):
    """Not where it began: the attraction of a course is that of its end."""
    last = Phase(6, exaggeration, 0.7, 20.0)
    options = {"perplexity": 8, "schedule": Schedule([Phase(4, 5.0), last]), "random_state": 0}
    model = TSNE(**options).fit(blobs(90))
    assert model.map_.model.exaggeration == end
    wanted = TSNE(**options).fit(blobs(90)).continue_fit(Schedule([Phase(5, end, 0.7, 20.0)]))
    model.continue_fit(5)
    np.testing.assert_array_equal(model.embedding_, wanted.embedding_)
    assert model.map_.model.exaggeration == end


# ------------------------------------------------------------------------------------------------- what is warned of


def test_a_late_course_that_begins_anew_is_told_and_the_way_to_go_on_is_not():
    X = blobs()
    model = TSNE(random_state=0).fit(X)
    with pytest.warns(UserWarning, match=r"late course of 60 iterations.*continue_fit\(60\).*schedule=\[Phase\(60\)\]"):
        anew = TSNE(initialization=model.embedding_, early_exaggeration_iter=0, n_iter=60, random_state=0).fit(X)
    # Warnings are errors: none of these says anything, the early phase's among them.
    there = TSNE(initialization=model.embedding_, schedule=[Phase(60)], random_state=0).fit(X)
    TSNE(initialization=model.embedding_, schedule="refine", n_iter=5, random_state=0).fit(X)
    TSNE(initialization=model.embedding_ * 1e-6, early_exaggeration_iter=0, n_iter=5, random_state=0).fit(X)
    moved = [np.abs(one.embedding_ - model.embedding_).max() for one in (anew, there)]
    assert moved[1] < moved[0]
    with pytest.warns(UserWarning, match="little room to order"):
        TSNE(initialization=model.embedding_, n_iter=5, random_state=0).fit(X)
