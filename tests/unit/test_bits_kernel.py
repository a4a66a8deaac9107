"""The kernel for rows of yes and no meets four queries at a time: groups of every size, and queries that stop early."""

from itertools import product

import numpy as np
import pytest

from tsne_ooc import neighbors
from tsne_ooc._kernels import bits
from tsne_ooc._parallel import Threads


def obvious(Q, X):
    """Jaccard distances, pair by pair."""
    found = np.empty((len(Q), len(X)), np.float32)
    for i, query in enumerate(Q):
        for j, row in enumerate(X):
            either = int((query | row).sum())
            found[i, j] = 1 - int((query & row).sum()) / either if either else 0
    return found


def drawn(n, seed, columns=200):
    """Rows of very different counts, some of nothing, and some that are equal."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, columns)) < rng.choice([0, 0.01, 0.05, 0.2, 0.7], size=(n, 1))
    X[n // 2 :: 3] = X[: len(X[n // 2 :: 3])]
    return X


def nearest(distances, k):
    """By distance, then by number."""
    order = np.lexsort((np.broadcast_to(np.arange(distances.shape[1]), distances.shape), distances))[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 130])
@pytest.mark.parametrize("k", [1, 6])
def test_new_rows(queries, k):
    X, Q = drawn(150, 0), drawn(queries, queries)
    index = neighbors.Exact().build(X.astype(np.float32), metric="jaccard", threads=Threads(1))
    indices, distances = index.query(Q.astype(np.float32), k)
    expected, away = nearest(obvious(Q, X), k)
    np.testing.assert_array_equal(distances, away)
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize("n", [2, 5, 66, 200])
def test_among_themselves(n):
    X = drawn(n, 1)
    k = min(9, n - 1)
    index = neighbors.Exact().build(X.astype(np.float32), metric="jaccard", threads=Threads(1))
    indices, distances = index.query_self(k)
    all_pairs = obvious(X, X)
    np.fill_diagonal(all_pairs, np.inf)
    expected, away = nearest(all_pairs, k)
    np.testing.assert_array_equal(distances, away)
    np.testing.assert_array_equal(indices, expected)


def by_counts(both, left, right, n):
    """SciPy's formulas, from how many columns are set in both rows, in one of them, and in neither; 0 / 0 is 0."""
    one, other, none = left - both, right - both, n - left - right + both
    apart = one + other
    shares = {
        "jaccard": (apart, both + apart), "dice": (apart, 2 * both + apart), "hamming": (apart, n),
        "rogerstanimoto": (2 * apart, both + none + 2 * apart), "sokalsneath": (2 * apart, both + 2 * apart),
        "russellrao": (n - both, n), "yule": (2 * one * other, both * none + one * other),
    }  # fmt: skip
    return {name: part / whole if whole else 0.0 for name, (part, whole) in shares.items()}


def counts_of(n):
    """All that two rows of n columns can have set, and share."""
    for left, right in product(range(n + 1), repeat=2):
        for both in range(max(0, left + right - n), min(left, right) + 1):
            yield both, left, right


@pytest.mark.parametrize("n", [1, 2, 7])
def test_each_metric_is_its_formula(n):
    for both, left, right in counts_of(n):
        for name, wanted in by_counts(both, left, right, n).items():
            found = bits.distance(bits.KINDS[name], float(both), float(left), float(right), float(n))
            assert found == pytest.approx(wanted, rel=1e-12), (name, both, left, right)


@pytest.mark.parametrize("name", bits.KINDS)
def test_how_many_columns_must_be_shared_not_to_be_farther_apart(name):
    """At each distance that there is, at the next smaller number, and at ones beyond all of them."""
    n = 7
    told = {counts: np.float32(by_counts(*counts, n)[name]) for counts in counts_of(n)}
    limits = {*told.values(), *(np.nextafter(one, np.float32(-1)) for one in told.values()), np.float32(9)}
    for left, right in product(range(n + 1), repeat=2):
        possible = range(max(0, left + right - n), min(left, right) + 1)
        for limit in limits:
            wanted = next((both for both in possible if told[both, left, right] <= limit), possible[-1] + 1)
            assert bits.least(bits.KINDS[name], left, right, float(n), limit) == wanted, (left, right, limit)


@pytest.mark.parametrize("size", range(1, 10))
def test_a_key_takes_the_place_of_the_largest(size):
    rng = np.random.default_rng(size)
    heap = np.full(size, bits.NO_KEY, np.uint64)
    kept = heap.tolist()
    for key in rng.integers(0, 60, 40).astype(np.uint64):
        if key > heap[0]:
            continue
        bits.sift(heap, key)
        kept = sorted([*kept[:-1], int(key)])
        assert sorted(heap.tolist()) == kept
        assert all(heap[(child - 1) // 2] >= heap[child] for child in range(1, size))


METRICS = ["jaccard", "dice", "rogerstanimoto", "sokalsneath", "russellrao", "yule", "bit_jaccard", "bit_hamming"]


@pytest.mark.parametrize(("block", "group"), [(1, 1), (3, 5), (512, 64)])
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_in_blocks_of_any_size(metric, block, group, monkeypatch):
    """Rows of one count are in one block or in several, and queries begin at any of them."""
    monkeypatch.setattr("tsne_ooc.neighbors.bits.BLOCK", block)
    monkeypatch.setattr("tsne_ooc.neighbors.bits.GROUP", group)
    monkeypatch.setattr("tsne_ooc.neighbors.bits.PIECE", 7)
    packed = metric.startswith("bit_")
    columns = 136 if packed else 131
    X, Q = drawn(40, 2, columns), drawn(21, 3, columns)
    X[:6], Q[:2] = True, True
    Q[4] = False
    counts = [rows.sum(axis=1) for rows in (Q, X)]

    def distances(left, right):
        found = np.empty((len(left), len(right)), np.float32)
        for i, j in product(range(len(left)), range(len(right))):
            some = int((left[i] & right[j]).sum()), int(left[i].sum()), int(right[j].sum())
            found[i, j] = by_counts(*some, columns)[metric.removeprefix("bit_")]
        return found

    def given(rows):
        return (np.packbits(rows, axis=1) if packed else rows * 3).astype(np.float32)

    assert all(len(np.unique(some)) > 8 for some in counts)
    index = neighbors.Exact().build(given(X), metric=metric, threads=Threads(1))
    among = distances(X, X)
    np.fill_diagonal(among, np.inf)
    for k in (1, 7, 39):
        for answer, told in ((index.query(given(Q), k), distances(Q, X)), (index.query_self(k), among)):
            expected, away = nearest(told, k)
            np.testing.assert_array_equal(answer[1], away)
            np.testing.assert_array_equal(answer[0], expected)
