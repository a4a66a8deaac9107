"""The covariance of metric="mahalanobis": units, columns that follow from others, and what is none."""

import numpy as np
import pytest
import reference_neighbors as reference
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import Exact
from tsne_ooc.neighbors.metrics import checked_params

ONE = Threads(1)


def rows(n=300, p=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p)).astype(np.float32)


def distances(X, Q=None, **given):
    return (
        Exact()
        .build(X, metric="mahalanobis", metric_params=given or None, threads=ONE)
        .query(X[:20] if Q is None else Q, 9)
    )


def covariance(X):
    return np.cov(X.astype(float), rowvar=False)


@pytest.mark.parametrize(
    "given, exponents",
    [
        (None, (0, -6, 6, 3, -6, 0)), ("V", (0, -6, 6, 3, -6, 0)), (None, (-30, -15, 0, 15, 18, 18)),
        (None, (3, 3, 3, 3, 3, -11)), ("V", (3, 3, 3, 3, 3, -11)),
    ],
)  # fmt: skip
def test_the_units_of_columns_do_not_matter(exponents, given):
    """The inverse of the covariance in the columns' own units lacked those of the smallest."""
    X = rows()
    changed = (X * 10.0 ** np.array(exponents)).astype(np.float32)
    options = {} if given is None else {"V": covariance(changed)}
    wanted = np.sort(cdist(X[:20].astype(float), X.astype(float), "mahalanobis", VI=np.linalg.inv(covariance(X))))[
        :, :9
    ]
    np.testing.assert_allclose(distances(changed, **options)[1], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", [None, "V"])
@pytest.mark.parametrize("width, more", [(2, 1), (6, 1), (6, 6), (40, 30)])
def test_columns_that_follow_from_others_do_not_count(width, more, given):
    """Also where a query does not follow the rule: no row tells how far that is."""
    X = rows(500, width)
    rng = np.random.default_rng(1)
    # Whole numbers, so that the sums are exact, and then rounded ones.
    for rule in (rng.integers(-2, 3, (width, more)), rng.normal(size=(width, more))):
        whole = np.round(X * 16)
        Y = np.concatenate([whole, (whole.astype(float) @ rule).astype(np.float32)], axis=1)
        options = {} if given is None else {"V": covariance(Y)}
        alone, wider = distances(whole), distances(Y, **options)
        np.testing.assert_allclose(wider[1], alone[1], rtol=1e-4, atol=1e-5)
        order = rng.permutation(Y.shape[1])
        turned = {} if given is None else {"V": covariance(Y[:, order])}
        np.testing.assert_allclose(distances(Y[:, order], **turned)[1], alone[1], rtol=1e-4, atol=1e-5)
        # Off the rule, in the directions in which nothing varies once all columns vary by one.
        centred, units = Y - Y.mean(axis=0, dtype=float), Y.std(axis=0, dtype=float)
        units[units == 0] = 1
        across = np.linalg.svd(centred / units, full_matrices=True)[2][width:] * units
        Q = (Y[:20] + rng.normal(size=(20, len(across))) @ across).astype(np.float32)
        np.testing.assert_allclose(distances(Y, Q, **options)[1], alone[1], rtol=1e-3, atol=1e-4)
        Q += rng.normal(size=Q.shape).astype(np.float32)
        found = distances(Y, Q, **options)[1]
        wanted = cdist(Q.astype(float), Y.astype(float), "mahalanobis", VI=reference.inverse_covariance(Y))
        np.testing.assert_allclose(found, np.sort(wanted)[:, :9], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width, more, middle", [(2, 1, 10), (40, 30, 30)])
def test_rounded_sums_of_columns_far_from_0_do_not_count(width, more, middle):
    """The deviations of a sum that is rounded to single precision are no direction of their own."""
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(2000, width)) + middle).astype(np.float32)
    Y = np.concatenate([X, (X.astype(float) @ rng.uniform(0.5, 1, (width, more))).astype(np.float32)], axis=1)
    np.testing.assert_allclose(distances(Y)[1], distances(X)[1], rtol=1e-3, atol=1e-3)


def test_a_small_part_that_columns_do_not_share_counts():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400))
    X = np.column_stack([a, a + 2e-5 * b, rng.normal(size=400)]).astype(np.float32)
    wanted = cdist(X[:20].astype(float), X.astype(float), "mahalanobis", VI=np.linalg.inv(covariance(X)))
    np.testing.assert_allclose(distances(X)[1], np.sort(wanted)[:, :9], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_part_only_where_nothing_varies_are_at_the_same_place(seed):
    """Rounding leaves less than nothing there, of which SciPy takes the root."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(100, 3)).astype(np.float32)
    Y = np.column_stack([X, X[:, 2], X[:, 2]])
    Q = Y + np.array([0, 0, 1, 2, -3], np.float32) * rng.integers(1, 100, (100, 1)).astype(np.float32)
    numbers, found = distances(Y, Q)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(100))
    assert (found[:, 0] < 1e-4).all()


def test_columns_that_do_not_vary_do_not_count():
    X = np.column_stack([rows(50, 2), np.full(50, 0.1), np.full(50, 1e30), np.zeros(50)]).astype(np.float32)
    Q = X[:20] + np.array([0, 0, 5, 1e29, -7], np.float32)
    np.testing.assert_allclose(distances(X, Q)[1], distances(X[:, :2].copy(), Q[:, :2].copy())[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e-5, 3.3])
def test_nor_does_a_column_whose_variance_is_rounding(value):
    X = np.column_stack([rows(50, 2), np.full(50, value)]).astype(np.float32)
    V = covariance(np.column_stack([X[:, :2], np.full(50, value) * (1 + 2e-16 * (np.arange(50) % 2))]))
    assert V[2, 2] > 0
    Q = X[:20] + np.array([0, 0, 5], np.float32)
    alone = distances(X[:, :2].copy(), Q[:, :2].copy())[1]
    np.testing.assert_allclose(distances(X, Q, V=V)[1], alone, rtol=1e-6, atol=1e-6)


NEGATIVE = np.diag([1.0, 1.0, -1.0])


@pytest.mark.parametrize(
    "key, value",
    [
        ("V", NEGATIVE), ("VI", NEGATIVE), ("V", [[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        ("V", [[1.0, 4, 0], [0, 1, 0], [0, 0, 1]]), ("V", [[1.0, 0, 0], [4, 1, 0], [0, 0, 1]]),
        ("V", [[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]), ("VI", [[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]),
        # The same in other units, where it is small beside the rest.
        ("V", [[1e-12, 2e-12, 0], [2e-12, 1e-12, 0], [0, 0, 1]]),
    ],
)  # fmt: skip
def test_what_is_no_covariance_is_refused(key, value):
    with pytest.raises(
        ValueError, match=rf"^metric_params\['{key}'\] is not a covariance or its inverse: one eigenvalue"
    ):
        checked_params("mahalanobis", {key: value}, rows(30, 3))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_rounding_beside_a_column_that_does_not_vary_is_nothing(scale):
    V = np.diag([4.0, 1.0, 0.0])
    V[0, 2] = V[2, 0] = 1e-17
    given = checked_params("mahalanobis", {"V": V * scale**2}, rows(30, 3))
    np.testing.assert_allclose(given["VI"] * scale**2, np.diag([0.25, 1.0, 0.0]), rtol=1e-12)


@pytest.mark.parametrize("key", ["V", "VI"])
def test_a_covariance_of_less_than_all_directions_is_one(key):
    given = checked_params("mahalanobis", {key: np.ones((3, 3))}, rows(30, 3))
    assert sorted(given) == ["VI"]
    np.testing.assert_allclose(given["VI"], np.ones((3, 3)) / (9 if key == "V" else 1), rtol=1e-12)
