"""Affinities against their definitions: perplexity, symmetry, sums, the odd rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tsne_ooc import affinity
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import (
    FixedSigma,
    GivenAffinities,
    Joint,
    Mixture,
    Multiscale,
    Perplexity,
    Uniform,
    gaussian,
    resolve,
    symmetrize,
)

ONE = Threads(1)


def some_distances(m=50, k=30, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.gamma(5, scale, (m, k)).astype(np.float32), axis=1)


def some_graph(n=200, k=12, seed=0):
    rng = np.random.default_rng(seed)
    neighbors = np.array([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)], np.uint32)
    p = rng.random((n, k)).astype(np.float32)
    return neighbors, p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("perplexity", [2.0, 5.0, 10.0, 25.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_gaussian_is_that_of_bisection(perplexity, scale):
    distances = some_distances(scale=scale)
    found = gaussian(distances, [perplexity], ONE)
    wanted = np.array([reference.conditional(row, perplexity) for row in distances])
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-6)
    entropy = -(found * np.log(np.maximum(found, 1e-30))).sum(1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-4)


def test_rows_far_from_everything_do_not_underflow():
    distances = some_distances() + np.float32(1000)
    found = gaussian(distances, [5.0], ONE)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert (found.max(1) < 1).all()


def test_equal_distances_are_equal_affinities():
    for value in (0.0, 3.0):
        found = gaussian(np.full((4, 9), value, np.float32), [3.0], ONE)
        np.testing.assert_allclose(found, 1 / 9, rtol=1e-6)


def test_more_duplicates_than_the_perplexity():
    distances = np.array([[0] * 8 + [1, 2, 3, 4]], np.float32)
    found = gaussian(distances, [3.0], ONE)
    np.testing.assert_allclose(found[0, :8], 1 / 8, rtol=1e-4)
    np.testing.assert_allclose(found[0, 8:], 0, atol=1e-6)


def test_one_near_neighbour_among_far_ones():
    distances = np.array([[1e-6] + [1e3] * 20], np.float32)
    found = gaussian(distances, [5.0], ONE)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    wanted = reference.conditional(distances[0], 5.0)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-2)


@pytest.mark.parametrize("far", [1, 5, 12])
@pytest.mark.parametrize("size", [1e6, 1e11, 1e12, 1e13, 1e15, 1e20, 1e30, 1e37])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_rows_of_fill_values_change_no_affinity_of_the_others(size, far, scale):
    """They weigh nothing: what is left is what the near rows have among themselves."""
    distances = some_distances(scale=scale)
    distances[:, -far:] = size
    near = distances[:, :-far]
    wanted = np.array([reference.conditional(row, 10.0) for row in near])
    found = gaussian(distances, [10.0], ONE)
    np.testing.assert_allclose(found[:, :-far], wanted, rtol=2e-3, atol=1e-6)
    np.testing.assert_array_equal(found[:, -far:], 0)
    mixture = Mixture([2.0, 6.0]).conditional(distances, ONE)
    np.testing.assert_allclose(mixture[:, :-far], Mixture([2.0, 6.0]).conditional(near, ONE), rtol=1e-3, atol=1e-6)


def test_distances_of_every_size_at_once_have_the_perplexity():
    """From 1e-15 to 1e37 within a row: whichever rank the perplexity takes, some precision fits it."""
    rng = np.random.default_rng(0)
    distances = np.sort(10.0 ** rng.uniform(-15, 37, (60, 40)), axis=1).astype(np.float32)
    for perplexity in (1.5, 3.0, 8.5, 13.0, 20.0):
        found = gaussian(distances, [perplexity], ONE).astype(np.float64)
        entropy = -(found * np.log(np.maximum(found, 1e-300))).sum(1)
        np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10_000), st.floats(0.5, 12))
def test_any_rows_sum_to_one(k, seed, perplexity):
    rng = np.random.default_rng(seed)
    distances = np.sort((rng.random((7, k)) * 10.0 ** rng.integers(-6, 6, (7, 1))).astype(np.float32), axis=1)
    distances[rng.random(7) < 0.3, : k // 2 + 1] = 0
    found = gaussian(distances, [perplexity], ONE)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-4)


@pytest.mark.parametrize("n", [2, 200, 9000])
def test_joint_is_the_symmetric_half(n):
    neighbors, p = some_graph(n, min(12, n - 1)) if n < 9000 else (None, None)
    if neighbors is None:
        # Several blocks; the twin is a sparse matrix.
        rng = np.random.default_rng(0)
        offsets = np.sort(rng.choice(np.arange(1, 400), 12, replace=False))
        neighbors = ((np.arange(n)[:, None] + offsets) % n).astype(np.uint32)
        p = rng.random(neighbors.shape).astype(np.float32)
        p /= p.sum(1, keepdims=True)
    P = symmetrize(neighbors, p, Threads(2))
    rows = np.repeat(np.arange(n), neighbors.shape[1])
    one = csr_array((p.ravel().astype(float), (rows, neighbors.ravel())), shape=(n, n))
    difference = abs(P.tocsr() - (one + one.T) / (2 * n))
    assert difference.max() < 1e-7 / n
    assert P.values.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert len(P.indices) == (one + one.T).nnz


def test_joint_against_the_dense_twin():
    neighbors, p = some_graph()
    P = symmetrize(neighbors, p, ONE)
    np.testing.assert_allclose(P.tocsr().toarray(), reference.joint(neighbors, p), rtol=1e-5, atol=1e-12)


def test_joint_is_symmetric_to_the_bit():
    P = symmetrize(*some_graph(), ONE).tocsr().toarray()
    np.testing.assert_array_equal(P, P.T)


def test_inputs_stay_as_they_are():
    neighbors, p = some_graph()
    before = neighbors.copy(), p.copy()
    neighbors.setflags(write=False)
    p.setflags(write=False)
    symmetrize(neighbors, p, Threads(2))
    np.testing.assert_array_equal(neighbors, before[0])
    np.testing.assert_array_equal(p, before[1])


def test_uniform_stores_no_values():
    neighbors, _ = some_graph()
    P = symmetrize(neighbors, Uniform(12).conditional(some_distances(), ONE), ONE)
    assert P.values.strides == (0,)
    dense = P.tocsr().toarray()
    edges = reference.joint(neighbors, np.ones(neighbors.shape)) > 0
    np.testing.assert_allclose(dense, edges / edges.sum(), rtol=1e-6)


def test_multiscale_is_the_mean():
    distances = some_distances(k=90)
    found = Multiscale((5, 30)).conditional(distances, ONE)
    wanted = (gaussian(distances, [5.0], ONE) + gaussian(distances, [30.0], ONE)) / 2
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8)
    assert Multiscale((5, 30)).k(1000) == 90


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("away", [0.0, 3.0])
def test_mixture_is_one_density(scale, away):
    rng = np.random.default_rng(3)
    distances = (scale * (away + np.sort(rng.gamma(2, 1, (40, 90)), axis=1))).astype(np.float32)
    found = Mixture((5, 30)).conditional(distances, ONE)
    wanted = np.array([reference.mixture(row, (5, 30)) for row in distances])
    assert reference.relative(found, wanted) < 1e-4
    # It is another than the mean of the two.
    assert reference.relative(Multiscale((5, 30)).conditional(distances, ONE), wanted) > 0.02
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_mixture_of_one_scale_is_plain_perplexity():
    distances = np.sort(np.random.default_rng(4).gamma(2, 1, (40, 90)), axis=1).astype(np.float32)
    one, plain = (
        affinity((30,) if affinity is Mixture else 30).conditional(distances, ONE) for affinity in (Mixture, Perplexity)
    )
    np.testing.assert_allclose(one, plain, rtol=1e-5, atol=1e-30)
    same = Mixture((5, 30)).conditional(np.full((3, 90), 2, np.float32), ONE)
    np.testing.assert_allclose(same, 1 / 90, rtol=1e-6)


def test_fixed_sigma():
    distances = some_distances()
    found = FixedSigma(2.0).conditional(distances, ONE)
    wanted = np.exp(-(distances.astype(float) ** 2) / 8)
    np.testing.assert_allclose(found, wanted / wanted.sum(1, keepdims=True), rtol=1e-4, atol=1e-7)
    assert FixedSigma(2.0, neighbors=50).k(20) == 19


@pytest.mark.parametrize("given", ["perplexity", "uniform", Uniform(9), FixedSigma(1.0), np.ones((3, 3))], ids=str)
@pytest.mark.parametrize("wrong", [-3, 0, np.nan, "many"])
def test_a_wrong_perplexity_is_refused_though_it_is_not_used(given, wrong):
    with pytest.raises((ValueError, TypeError), match="perplexity="):
        resolve(given, wrong)


def test_perplexity_is_capped_at_a_third_of_the_others():
    with pytest.warns(UserWarning, match=r"perplexity=30 is too large for 31 rows; 10 is used"):
        assert Perplexity(30).k(31) == 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Perplexity(10).k(31) == 30
        assert Perplexity(30).k(100_000) == 90


def test_matrix_given():
    neighbors, p = some_graph(50, 5)
    dense = reference.joint(neighbors, p)
    for matrix in (dense, csr_array(dense) * 7):
        np.testing.assert_allclose(GivenAffinities(matrix).joint().tocsr().toarray(), dense, rtol=1e-6)


@pytest.mark.parametrize("form", ["dense", "csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_a_matrix_that_is_given_stays_as_it_is(form, dtype):
    """The diagonal is taken out of ours, not of the caller's, and ours does not follow when theirs is changed."""
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 3, (30, 30)).astype(dtype)
    dense += dense.T
    np.fill_diagonal(dense, 5)
    matrix = dense.copy() if form == "dense" else csr_array(dense).asformat(form)
    wanted = dense.astype(float) * (1 - np.eye(30))
    found = Joint.from_matrix(matrix)
    np.testing.assert_array_equal(matrix if form == "dense" else matrix.toarray(), dense)
    (matrix if form == "dense" else matrix.data)[...] = 7
    np.testing.assert_allclose(found.tocsr().toarray(), wanted / wanted.sum(), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_how_symmetric_a_matrix_must_be_does_not_depend_on_its_scale(scale):
    neighbors, p = some_graph(50, 5)
    dense = reference.joint(neighbors, p)
    row, column = np.unravel_index(dense.argmax(), dense.shape)
    wanted = dense / dense.sum()
    # As rounding leaves it, and as nobody meant it: of each entry, and of one that is small.
    rounded = scale * dense * (1 + 1e-8 * np.random.default_rng(0).random(dense.shape))
    np.testing.assert_allclose(Joint.from_matrix(rounded).tocsr().toarray(), wanted, rtol=1e-6)
    dense[row, column] *= 1 + 1e-4
    with pytest.raises(ValueError, match="not symmetric at row"):
        Joint.from_matrix(scale * dense)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 4)), "must be square"),
        (np.array([[0, 1], [2, 0]]), "not symmetric at row 0, column 1"),
        (np.array([[0, -1], [-1, 0]]), "row 0, column 1 is -1"),
        (np.array([[0, np.nan], [np.nan, 0]]), "row 0, column 1 is nan"),
        (np.eye(3), "are zero"),
    ],
)
def test_matrices_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Joint.from_matrix(matrix)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: affinity.resolve("perplexty", 30), "did you mean 'perplexity'"),
        (lambda: Perplexity(0), "perplexity=0 must be"),
        (lambda: Perplexity(np.nan), "perplexity=nan must be"),
        (lambda: Perplexity(np.inf), "perplexity=inf must be"),
        (lambda: Multiscale(()), "names none"),
        (lambda: FixedSigma(-1), "sigma=-1 must be"),
        (lambda: Uniform(0), "neighbors=0 must be at least 1"),
    ],
)
def test_options_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_words():
    assert affinity.resolve("perplexity", 20) == Perplexity(20)
    assert affinity.resolve("multiscale", 20) == Multiscale((20, 200))
    assert affinity.resolve("mixture", 20) == Mixture((20, 200))
    assert Mixture((5, 30)) != Multiscale((5, 30))
    assert affinity.resolve("uniform", 20) == Uniform(20)
    assert affinity.resolve(Uniform(7), 20) == Uniform(7)


@pytest.mark.parametrize("matrix", [[["a", "b"], ["c", "d"]], {"a": 1}, object()], ids=["words", "mapping", "object"])
def test_matrices_of_other_things_than_numbers_are_told_by_their_type(matrix):
    matrix = np.array(matrix) if isinstance(matrix, list) else matrix
    with pytest.raises(TypeError, match=f"^affinity matrix: {type(matrix).__name__} is not a numeric matrix [(].+[)]$"):
        Joint.from_matrix(matrix)
