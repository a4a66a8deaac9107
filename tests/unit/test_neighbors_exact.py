"""Exact search beyond the contract: hard numbers, other metrics, sparse rows."""

import numpy as np
import pytest
import reference_neighbors as reference
from scipy import sparse

from tsne_ooc._kernels import knn
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import IVF, Exact, _blocks
from tsne_ooc.neighbors.pairwise import Pairwise

THREADS = Threads(2)


def build(search, X, metric="euclidean", **options):
    return search.build(X, metric=metric, rng=np.random.default_rng(0), threads=THREADS, **options)


def check(index, Q, X, k, metric="euclidean", **params):
    indices, distances = reference.nearest(reference.distances(Q, X, metric, **params), k)
    found = index.query(Q, k)
    np.testing.assert_array_equal(found[0], indices)
    np.testing.assert_allclose(found[1], distances, rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("search", [Exact(), IVF(lists=12, probes=12)], ids=["exact", "ivf"])
@pytest.mark.parametrize(
    "scale, offset",
    [(1, 0), (1, 1e4), (1e-3, 1e4), (1e15, 0), (1e-15, 0), (1, [1e6, 0, 0, 0, 0])],
    ids=["plain", "far", "far and dense", "huge", "tiny", "one far column"],
)
def test_rounding_never_decides(search, scale, offset):
    # In single precision |q|^2 - 2 q.x + |x|^2 gets these wrong: without its bound the search fails them.
    X = (np.random.default_rng(0).normal(size=(1500, 5)) * scale + np.asarray(offset)).astype(np.float32)
    check(build(search, X), X[:300], X, 10)


def test_one_far_row_spoils_nothing():
    X = np.random.default_rng(0).normal(size=(1200, 4)).astype(np.float32)
    X[7] = 1e12
    check(build(Exact(), X), X[:100], X, 12)
    X[7] = 1e25
    check(build(Exact(), X), X[:100], X, 12)


def test_integer_grid_is_all_ties():
    X = np.random.default_rng(0).integers(3, size=(3000, 4)).astype(np.float32)
    check(build(Exact(), X), X[:200], X, 40)
    check(build(IVF(lists=10, probes=10), X), X[:200], X, 40)


def test_rows_of_zeros_are_at_cosine_distance_one():
    X = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    X[::10] = 0
    for search in (Exact(), IVF(lists=6, probes=6)):
        check(build(search, X, "cosine"), X[:60], X, 20, "cosine")
    assert (build(Exact(), X, "cosine").query(X[:1], 5)[1] == 1).all()


@pytest.mark.parametrize(
    "metric, params",
    [
        ("manhattan", {}), ("chebyshev", {}), ("minkowski", {"p": 3}), ("correlation", {}), ("canberra", {}),
        ("braycurtis", {}), ("hamming", {}), ("sqeuclidean", {}),
    ],
)  # fmt: skip
def test_other_metrics(metric, params):
    X = np.abs(np.random.default_rng(0).normal(size=(300, 7))).round(1).astype(np.float32) + 0.1
    index = build(Exact(), X, metric, metric_params=params)
    check(index, X[:40], X, 9, metric, **params)
    whole, one = index.query(X[:40], 9), index.query(X[5:6], 9)
    assert whole[1][5].tobytes() == one[1].tobytes()


def test_variances_come_from_the_reference_not_the_batch():
    X = (np.random.default_rng(0).normal(size=(300, 3)) * [1, 10, 100]).astype(np.float32)
    for metric in ("seuclidean", "mahalanobis"):
        index = build(Exact(), X, metric)
        assert index.query(X[:50], 4)[1][3].tobytes() == index.query(X[3:4], 4)[1].tobytes()
    check(build(Exact(), X, "seuclidean"), X[:50], X, 4, "seuclidean", V=X.astype(float).var(axis=0, ddof=1))


def test_a_callable_is_a_metric():
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    check(build(Exact(), X, lambda a, b: np.abs(a - b).max()), X[:9], X, 5, "chebyshev")
    with pytest.raises(ValueError, match="gives -1 for row 0 and row 0 of the fit"):
        build(Exact(), X, lambda a, b: -1.0).query(X, 3)


def test_metric_without_a_value_is_an_error_that_names_both_rows():
    X = np.arange(12, dtype=np.float32).reshape(6, 2) + 1

    def undefined(a, b):
        return np.nan if {a[0], b[0]} == {5, 9} else np.abs(a - b).sum()

    with pytest.raises(ValueError, match="metric 'undefined' gives NaN for row 2 and row 4 of the fit"):
        build(Exact(), X, undefined).query_self(2)
    with pytest.raises(ValueError, match="gives NaN for row 1 and row 2 of the fit"):
        build(Exact(), X, undefined).query(X[[0, 4]], 2)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_sparse_rows(metric):
    rng = np.random.default_rng(0)
    X = sparse.random_array((250, 60), density=0.1, rng=rng, dtype=np.float32, format="csr")
    X = sparse.csr_array(sparse.vstack([X, X[:50], sparse.csr_array((3, 60), dtype=np.float32)]))
    index = build(Exact(), X, metric)
    check(index, X[:40], X, 12, metric)
    assert (index.query_self(12)[0] != np.arange(X.shape[0])[:, None]).all()


def few_entries(n=400, p=300, seed=0):
    return sparse.random_array((n, p), density=0.03, rng=np.random.default_rng(seed), dtype=np.float32, format="csr")


def hard_sparse_rows():
    X = few_entries()
    far, crowd = X.tolil(), X.tolil()
    far[7] = 1e25
    # Squared lengths of 1e16 beside squared distances of 1: the products hold no digit of them.
    crowd[:, 0] = 1e8
    ones = X.copy()
    ones.data[:] = 1
    # Distances from an empty row fall by 1e-10 from row to row, and are all 1 in single precision.
    nearly = np.zeros((400, 300), np.float32)
    nearly[:, 0], nearly[:, 1] = 1, 1e-5 * np.linspace(2, 1, 400)
    nearly[:20] = 0
    named = {"far": far, "crowd": crowd, "ties": ones, "nearly ties": nearly, "huge": X * 1e37, "tiny": X * 1e-37}
    named.update({"unsorted": X[:, ::-1], "no entries": X * 0, "copies": sparse.vstack([X[:20]] * 20)})
    return {name: sparse.csr_array(rows, dtype=np.float32) for name, rows in named.items()}


HARD = hard_sparse_rows()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", HARD)
def test_sparse_products_never_decide(name, metric):
    """The bits are those of all distances, each computed by itself."""
    X = HARD[name]
    index = build(Exact(), X, metric)
    D = index.pairwise.block(X, X)
    for k in (1, 25, 399):
        wanted = reference.nearest(D, k, itself=True)
        for found, want in zip(index.query_self(k), wanted, strict=True):
            assert found.tobytes() == want.tobytes()
    indices, distances = index.query(X[:200], 30)
    parts = [index.query(X[a:b], 30) for a, b in ((0, 1), (1, 64), (64, 200))]
    assert np.concatenate([part[0] for part in parts]).tobytes() == indices.tobytes()
    assert np.concatenate([part[1] for part in parts]).tobytes() == distances.tobytes()


def test_hundreds_of_copies_in_real_data(data_folder):
    if not (data_folder / "kddcup99_10pct.npz").exists():
        pytest.skip("kddcup99_10pct.npz is not in the data folder")
    with np.load(data_folder / "kddcup99_10pct.npz") as file:
        X = file["X"][::60].astype(np.float64)
    X = ((X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9)).astype(np.float32)
    copies = np.unique(X, axis=0, return_counts=True)[1]
    assert copies.max() >= 300
    exact, ivf = build(Exact(), X).query_self(90), build(IVF(), X).query_self(90)
    for indices, distances in (exact, ivf):
        assert not (indices == np.arange(len(X))[:, None]).any() and np.isfinite(distances).all()
        assert all(len(set(row)) == 90 for row in indices.tolist())
    assert np.mean(ivf[1] <= exact[1][:, -1:]) > 0.97
    rows = np.arange(0, len(X), 200)
    D = reference.distances(X[rows], X)
    D[np.arange(len(rows)), rows] = np.inf
    np.testing.assert_array_equal(exact[0][rows], reference.nearest(D, 90)[0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "jaccard", "dice", "hamming", "yule"])
def test_zeros_that_a_sparse_table_stores_are_zeros(metric):
    rng = np.random.default_rng(0)
    X, Q = (rng.random((m, 12)).astype(np.float32) * (rng.random((m, 12)) < 0.5) for m in (60, 20))
    # Each second zero is stored.
    stored = []
    for table in (X, Q):
        kept = (table != 0) | (rng.random(table.shape) < 0.5)
        rows, columns = np.nonzero(kept)
        stored.append(sparse.csr_array((table[rows, columns], (rows, columns)), shape=table.shape))
        assert (stored[-1].data == 0).any()
    told, wanted = build(Exact(), stored[0], metric), build(Exact(), sparse.csr_array(X), metric)
    for found, right in zip(told.query(stored[1], 9), wanted.query(sparse.csr_array(Q), 9), strict=True):
        np.testing.assert_array_equal(found, right)
    for found, right in zip(told.query_self(9), wanted.query_self(9), strict=True):
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("level", [-1e3, -1.0, -1e-3, 1e-3, 0.3])
@pytest.mark.parametrize("count", [7, 40, 300])
def test_a_bar_is_never_above_what_as_many_candidates_prove(level, count):
    """Of equal scores none is dropped, and of others the best stay, also where the scores of far rows are negative."""
    k, rng = 7, np.random.default_rng(count)
    for spread in (0.0, 1e-6, 0.1):
        scores = (level * (1 + spread * rng.random((1, count)))).astype(np.float32)
        before, places = scores[0].copy(), np.arange(count, dtype=np.uint32)[None]
        counts, bars = np.array([count], np.uint32), np.full(1, -np.inf, np.float32)
        knn.tighten(0, k, 0, 0.0, 1.0, scores, places, counts, bars)
        best = np.sort(before)[::-1][k - 1]
        assert bars[0] <= best
        kept = places[0, : counts[0]]
        assert set(np.flatnonzero(before >= best)) <= set(kept.tolist())
        np.testing.assert_array_equal(scores[0, : counts[0]], before[kept])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 7, 30, 59])
@pytest.mark.parametrize("rows", [1, 16, 40, 59, 60, 61])
def test_all_rows_some_at_a_time_are_all_rows(rows, k, metric, monkeypatch):
    """Whole numbers, so that ties lie on both sides of each cut."""
    monkeypatch.setattr(_blocks, "ALL", rows)
    X = np.random.default_rng(0).integers(1, 4, (60, 3)).astype(np.float32)
    check(build(Exact(), X, metric), X[::3], X, k, metric)


@pytest.mark.parametrize(
    ("metric", "params", "apart", "same"),
    [
        ("cosine", {"w": np.full(3, 2.0)}, 1, 1), ("correlation", {"w": np.full(3, 2.0)}, 1, 1),
        ("braycurtis", {"w": np.full(3, 2.0)}, 1, 0), ("dice", {"w": np.full(3, 2.0)}, 1, 0),
        ("sokalsneath", {"w": np.full(3, 2.0)}, 1, 0), ("cosine", None, 1, 1), ("correlation", None, 1, 1),
        ("braycurtis", None, 1, 0), ("dice", None, 1, 0), ("sokalsneath", None, 1, 0), ("hellinger", None, 1, 0),
        ("jensenshannon", None, np.log(2) ** 0.5, 0), ("jensenshannon", {"base": 2.0}, 1, 0),
        ("jensenshannon", {"base": 4.0}, 0.5**0.5, 0),
    ],
)  # fmt: skip
def test_rows_of_zeros_with_weights_and_without(metric, params, apart, same):
    """Where SciPy has 0 / 0: rows without a direction are far from all, and others of zeros at the same place."""
    X = np.float32([[0, 0, 0], [1, 2, 4], [0, 0, 0], [3, 1, 1]])
    index = build(Exact(), X, metric, metric_params=params)
    D = index.pairwise.block(X, X) if hasattr(index, "pairwise") else None
    indices, distances = index.query(X[:1], 4)
    found = dict(zip(indices[0].tolist(), distances[0].tolist(), strict=True))
    assert found == pytest.approx({0: same, 1: apart, 2: same, 3: apart}, rel=1e-6)
    if D is not None:
        np.testing.assert_allclose(D[0], [same, apart, same, apart], rtol=1e-6)
        np.testing.assert_allclose(D, D.T, rtol=1e-6, atol=1e-12)


def test_the_other_side_of_the_earth_is_half_a_turn_away():
    rng = np.random.default_rng(0)
    here = np.column_stack([np.arcsin(rng.uniform(-1, 1, 400)), rng.uniform(-np.pi, np.pi, 400)]).astype(np.float32)
    there = np.column_stack([-here[:, 0], here[:, 1] + np.float32(np.pi)]).astype(np.float32)
    pairs = Pairwise("haversine", None, here)
    found = np.concatenate([pairs.block(one[None], other[None])[0] for one, other in zip(here, there, strict=True)])
    assert (np.abs(found - np.pi) < 1e-3).all()
    # Near each other, to the last digits of single precision.
    near = here + np.float32([[0, 1e-4]])
    step = (near.astype(float) - here)[:, 1] * np.cos(here[:, 0].astype(float))
    close = np.array([pairs.block(one[None], other[None])[0, 0] for one, other in zip(here, near, strict=True)])
    np.testing.assert_allclose(close, np.abs(step), rtol=1e-4, atol=1e-12)
