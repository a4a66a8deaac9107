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
from tsne_ooc.affinity import FixedSigma, GivenAffinities, Mixture, Multiscale, Perplexity, Uniform, gaussian, resolve
from tsne_ooc.joint import Joint, check_count, symmetrize

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
    assert P.values.strides == (0,) and P.values.dtype == np.float32
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


def offending(matrix):
    """The first cell, row by row, that no affinity can be; the slow way."""
    for row, column in np.ndindex(matrix.shape):
        if not np.isfinite(matrix[row, column]) or matrix[row, column] < 0:
            return row, column, matrix[row, column]
    return None


@pytest.mark.parametrize("seed", range(12))
def test_the_first_cell_that_is_no_affinity_is_named(seed):
    """Rows without entries, zeros that are stored and small numbers come before it; another one comes after it."""
    rng = np.random.default_rng(seed)
    dense = rng.choice([0.0, 0.25, 0.5, 3.0], (8, 8))
    dense[rng.integers(8)] = 0
    for wrong in rng.choice([-0.5, -2, np.nan, np.inf], 1 + seed % 2):
        dense[tuple(rng.integers(8, size=2))] = wrong
    rows, columns = np.divmod(np.arange(64), 8)
    for matrix in (dense, csr_array(dense), csr_array((dense.ravel(), (rows, columns)), shape=(8, 8))):
        row, column, value = offending(dense)
        with pytest.raises(ValueError) as told:
            Joint.from_matrix(matrix)
        assert str(told.value) == f"affinity matrix: row {row}, column {column} is {value}; they are finite and >= 0"


def test_the_first_pair_that_differs_is_named_and_not_one_that_rounding_left():
    dense = np.full((6, 6), 5.0)
    dense[0, 1] *= 1 + 1e-9
    dense[2, 4] = 3
    dense[3, 5] = 1
    with pytest.raises(ValueError, match=r"^affinity matrix is not symmetric at row 2, column 4; pass "):
        Joint.from_matrix(dense)


@pytest.mark.parametrize("size", [0.2, 1.0, 40.0])
def test_a_millionth_of_the_largest_affinity_is_the_limit_of_symmetry(size):
    for off, refused in ((0.8e-6, False), (1.3e-6, True)):
        dense = np.full((4, 4), size / 10)
        dense[0, 3] = dense[3, 0] = size
        dense[2, 1] += off * size
        if refused:
            with pytest.raises(ValueError, match="not symmetric at row 1, column 2"):
                Joint.from_matrix(dense)
        else:
            Joint.from_matrix(dense)


def test_a_joint_matrix_has_each_pair_once_no_zeros_no_diagonal_and_types_of_its_own():
    rows, columns = [0, 0, 0, 1, 1, 2, 2, 0, 2], [1, 1, 0, 0, 1, 2, 1, 2, 0]
    values = [1, 2, 9, 3, 0, 4, 0, 2, 2]
    # As it is given, an entry comes twice and rows are in no order.
    order = np.lexsort((np.arange(9), rows))
    matrix = csr_array(
        (np.array(values, np.int16)[order], np.array(columns)[order], np.searchsorted(np.sort(rows), [0, 1, 2, 3])),
        shape=(3, 3),
    )
    P = Joint.from_matrix(matrix)
    assert (P.indptr.dtype, P.indices.dtype, P.values.dtype) == (np.uint64, np.uint32, np.float32)
    assert (P.n, P.entries) == (3, 4)
    dense = P.tocsr().toarray()
    np.testing.assert_allclose(dense, np.array([[0, 3, 2], [3, 0, 0], [2, 0, 0]]) / 10, rtol=1e-6)
    assert np.count_nonzero(dense) == P.entries


def test_no_rows_have_no_affinities_and_a_row_of_numbers_is_no_matrix():
    P = Joint.from_matrix(np.zeros((0, 0)))
    assert (P.n, P.entries) == (0, 0) and P.indptr.tolist() == [0]
    for vector in (np.ones(4), [1, 2, 3], csr_array(np.ones(4))):
        n = np.shape(vector)[0]
        with pytest.raises(ValueError) as told:
            Joint.from_matrix(vector)
        assert str(told.value) == f"affinity matrix has shape ({n},); it must be square, a row for each row of X"


def test_one_row_has_affinities_to_nobody_and_two_must_have_some():
    for alone in (0.0, 3.0):
        P = Joint.from_matrix([[alone]])
        assert (P.n, P.entries) == (1, 0)
    with pytest.raises(ValueError, match="all affinities between different rows are zero"):
        Joint.from_matrix(np.eye(2))


def test_a_scipy_matrix_of_a_joint_is_a_copy_in_double_precision():
    P = symmetrize(*some_graph(30, 4), ONE)
    before = P.indptr.copy(), P.indices.copy(), P.values.copy()
    copy = P.tocsr()
    assert copy.dtype == np.float64 and copy.shape == (30, 30)
    assert copy.indices.dtype.kind == copy.indptr.dtype.kind == "i"
    for array in (copy.data, copy.indices, copy.indptr):
        array[...] = 0
    for array, was in zip((P.indptr, P.indices, P.values), before, strict=True):
        np.testing.assert_array_equal(array, was)
    # Of a table whose last rows and columns are empty, too.
    empty = Joint(np.array([0, 1, 2, 2, 2], np.uint64), np.array([1, 0], np.uint32), np.full(2, 0.5, np.float32))
    assert empty.tocsr().shape == (4, 4)
    part = empty.part(2, 3)
    assert part.first == 0 and part.indices is empty.indices and part.values is empty.values


def test_rows_beyond_32_bits_are_refused_and_the_last_that_fit_are_not():
    check_count(2**32 - 1)
    with pytest.raises(ValueError, match=r"^4,294,967,296 rows are more than the 4,294,967,295 that can be numbered"):
        check_count(2**32)


@pytest.mark.parametrize("p", [None, "some"])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_joint_of_hardly_any_rows(n, p):
    neighbors = np.array([[1], [0]], np.uint32)[:n, : max(0, n - 1)]
    P = symmetrize(neighbors, None if p is None else np.ones(neighbors.shape, np.float32), ONE)
    assert P.n == n and P.entries == (2 if n == 2 else 0)
    np.testing.assert_array_equal(P.values, [0.5] * P.entries)


@pytest.mark.parametrize("perplexity", [0.2, 1.0, 1.4, 3.0, 10.0])
def test_neighbours_searched_for_are_three_times_a_perplexity_of_a_third_of_the_others_at_most(perplexity):
    """Word by word as documented, over tables from one row on, with the warning exactly where it is cut."""
    for n in range(1, 40):
        possible = max(1.0, (n - 1) / 3)
        for one in (Perplexity(perplexity), Multiscale((perplexity / 2, perplexity)), Mixture((perplexity, 0.1))):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                k = one.k(n)
            used = min(perplexity, possible)
            assert k == min(n - 1, int(np.ceil(3 * used)))
            rows = "1 row" if n == 1 else f"{n} rows"
            wanted = [
                f"perplexity={perplexity:g} is too large for {rows}; {possible:g} is used (a third of the other rows)"
            ]
            assert [str(one.message) for one in told] == (wanted if perplexity > possible else [])
        for number in (1, 5, 60):
            assert Uniform(number).k(n) == FixedSigma(1.0, number).k(n) == min(n - 1, number)


def effective(p):
    p = p.astype(np.float64)
    return np.exp(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=1))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9, 30])
@pytest.mark.parametrize("perplexity", [0.3, 1.7, 5.0, 25.0])
def test_few_neighbours_have_a_third_of_their_number_as_perplexity(k, perplexity):
    distances = some_distances(k=k)
    wanted = max(1.0, min(perplexity, k / 3))
    found = Perplexity(perplexity).conditional(distances, ONE)
    assert found.shape == distances.shape and found.dtype == np.float32
    np.testing.assert_allclose(effective(found), wanted, rtol=2e-3)
    # Several that are all cut to the same one count once, in both kinds of sums.
    several = (perplexity, perplexity) if wanted < k / 3 else (perplexity, 10 * perplexity, 100 * perplexity)
    np.testing.assert_array_equal(Multiscale(several).conditional(distances, ONE), found)
    np.testing.assert_allclose(Mixture(several).conditional(distances, ONE), found, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [gaussian, affinity.mixture])
def test_a_perplexity_beyond_the_number_of_neighbours_is_equal_affinities(kind):
    distances = some_distances(k=6)
    np.testing.assert_allclose(kind(distances, [50.0], ONE), 1 / 6, rtol=0.02)
    np.testing.assert_array_equal(kind(distances, [50.0], ONE), kind(distances, [6.0], ONE))


@pytest.mark.parametrize("kind", [gaussian, affinity.mixture])
def test_blocks_of_rows_are_all_filled(kind):
    """One row more than a block has, and two blocks: each row is what it is by itself."""
    distances = np.tile(some_distances(m=3, k=5), (2731, 1))
    found = kind(distances, [1.5, 2.5], Threads(2))
    np.testing.assert_array_equal(found, np.tile(kind(distances[:3], [1.5, 2.5], ONE), (2731, 1)))


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1.0, 1e30])
def test_one_bandwidth_holds_in_any_unit(unit):
    """Squares of distances are beyond single precision here."""
    distances = (some_distances() * np.float32(unit)).astype(np.float32)
    found = FixedSigma(2.0 * unit).conditional(distances, ONE)
    assert found.dtype == np.float32
    wanted = np.exp(-((distances / np.float64(unit)) ** 2) / 8)
    np.testing.assert_allclose(found, wanted / wanted.sum(1, keepdims=True), rtol=1e-5, atol=1e-30)


def test_far_rows_of_one_bandwidth_do_not_all_vanish():
    found = FixedSigma(0.1).conditional(some_distances() + np.float32(1000), ONE)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


class Told:
    """An affinity of one's own, which keeps what it was asked."""

    def k(self, n):
        return n - 1

    def conditional(self, distances, threads):
        self.distances = distances
        return None


@pytest.mark.parametrize("unit", [1.0, 0.25, 1e-30, 1e30, np.float64(0.25)])
def test_affinities_of_ones_own_see_the_unit_of_the_metric(unit):
    distances = np.array([[0.0, 0.5, 2.0, 3e38], [1e-30, 1.0, 3.0, 4.0]], np.float32)
    before = distances.copy()
    for own in (Told(), FixedSigma(3.0)):
        affinity.conditional(own, distances, unit, ONE)
    told = Told()
    affinity.conditional(told, distances, unit, ONE)
    assert told.distances.dtype == np.float32
    wanted = np.minimum(before.astype(np.float64) * unit, np.finfo(np.float32).max).astype(np.float32)
    np.testing.assert_allclose(told.distances, wanted, rtol=1e-6)
    if unit == 0.25:
        found = affinity.conditional(FixedSigma(1.0), distances, unit, ONE)
        np.testing.assert_allclose(found, FixedSigma(4.0).conditional(distances, ONE), rtol=1e-5, atol=1e-30)
    np.testing.assert_array_equal(distances, before)


@pytest.mark.parametrize("kind", [Perplexity(1.2), Multiscale((1.2, 1.3)), Mixture((1.1, 1.2)), Uniform(3)], ids=repr)
def test_what_asks_for_ratios_alone_does_not_depend_on_the_unit(kind):
    """The largest number there is stays it: multiplied, it would be infinite, and all others zero."""
    distances = np.array([[1e30, 2e30, 3e30, 4e30]], np.float32)
    for unit in (1e-30, 1e30):
        found, wanted = (affinity.conditional(kind, distances, one, ONE) for one in (unit, 1.0))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Perplexity(-2), "perplexity=-2 must be a finite number greater than 0"),
        (lambda: Multiscale((3, 0)), "perplexities=0 must be a finite number greater than 0"),
        (lambda: Multiscale(()), "perplexities=() names none; give at least one, such as (30, 300)"),
        (lambda: FixedSigma(0), "sigma=0 must be a finite number greater than 0"),
        (lambda: FixedSigma(0.9e-60), "sigma=9e-61 must be a finite number from 1e-60 to 1e+60"),
        (lambda: FixedSigma(1.1e60), "sigma=1.1e+60 must be a finite number from 1e-60 to 1e+60"),
        (lambda: FixedSigma(1, 0), "neighbors=0 must be at least 1"),
        (lambda: affinity.check_matrix(GivenAffinities(np.ones((3, 5))), 5), "affinity matrix has 3 rows, X has 5"),
    ],
)
def test_one_beyond_a_limit_is_refused(call, message):
    with pytest.raises(ValueError) as told:
        call()
    assert str(told.value).startswith(message)


def test_exactly_at_a_limit_is_taken():
    assert (FixedSigma(1e-60).sigma, FixedSigma(1e60).sigma, FixedSigma(1.0).neighbors) == (1e-60, 1e60, 90)
    assert Uniform(1).neighbors == FixedSigma(0.5, 1).neighbors == 1
    assert Perplexity(0.5).perplexity == 0.5 and Multiscale([0.5, 2]).perplexities == (0.5, 2.0)
    affinity.check_matrix(GivenAffinities(np.ones((3, 5))), 3)
    affinity.check_matrix(Uniform(), 3)
    # What has no shape is refused where it is read, by its type.
    affinity.check_matrix(GivenAffinities(object()), 3)


def test_equal_affinities_of_a_graph_are_of_all_that_it_has():
    assert affinity.at_most(Uniform(9), 5) == Uniform(5)
    assert affinity.at_most(Uniform(3), 5) == Uniform(3)
    other = Perplexity(30)
    assert affinity.at_most(other, 5) is other


@pytest.mark.parametrize(("perplexity", "neighbors"), [(0.2, 1), (1.0, 1), (1.6, 2), (2.4, 2), (15, 15)])
def test_equal_affinities_by_their_word_are_of_as_many_neighbours_as_the_perplexity_but_one_at_least(
    perplexity, neighbors
):
    assert resolve("uniform", perplexity) == Uniform(neighbors)


def test_what_stands_for_an_affinity():
    matrix, own = np.ones((3, 3)), Told()
    assert resolve(matrix, 30).matrix is matrix
    assert resolve(own, 30) is own
    for known in (Perplexity(3), Multiscale(), Mixture(), Uniform(), FixedSigma(1.0), GivenAffinities(matrix)):
        assert resolve(known, 30) is known
    for half in ("k", "conditional"):
        neither = type("Half", (), {half: None, "__repr__": lambda self: "Half()"})()
        with pytest.raises(TypeError, match=r"^affinity=Half\(\) is neither a word, an affinity object nor a matrix$"):
            resolve(neither, 30)
    with pytest.raises(TypeError, match=r"^perplexity=\(5, 50\) is not one number; affinity='multiscale' joins"):
        resolve("perplexity", (5, 50))
