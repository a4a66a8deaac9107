"""Equal rows are found by what they hold, however they are stored."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from tsne_ooc._parallel import Threads
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.storage.state import Saved, StateError


def first_equal(X, Q):
    """The slow way: compare with every row."""
    found = []
    for q in Q:
        same = [i for i, x in enumerate(X) if np.array_equal(x, q)]
        found.append(same[0] if same else -1)
    return found


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (300, 4)).astype(np.float32)
    X[7] = 0
    X[8] = -0.0
    return X


def ways(X):
    shuffled = scipy.sparse.csr_array(X)
    shuffled.indices = shuffled.indices.copy()
    for a, b in zip(shuffled.indptr[:-1], shuffled.indptr[1:], strict=True):
        shuffled.indices[a:b] = shuffled.indices[a:b][::-1]
        shuffled.data[a:b] = shuffled.data[a:b][::-1]
    # Every cell stored, the zeros too.
    n, p = X.shape
    stored = scipy.sparse.csr_array((X.ravel(), np.tile(np.arange(p), n), np.arange(0, n * p + 1, p)), shape=X.shape)
    # Twice a half: entries that add up.
    halves = scipy.sparse.csr_array(X / 2)
    twice = scipy.sparse.csr_array(
        (np.repeat(halves.data, 2), np.repeat(halves.indices, 2), halves.indptr * 2), shape=X.shape
    )
    return twice, X, np.asfortranarray(X), scipy.sparse.csr_array(X), shuffled, stored


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_first_equal_row_is_found(rows, n_jobs):
    threads = Threads(n_jobs)
    Q = np.concatenate([rows[::-1], rows[:5] * 2 + 1, rows[:5, ::-1] + np.float32(0.5)])
    wanted = first_equal(rows, Q)
    assert -1 in wanted
    for X in ways(rows):
        for other in ways(Q):
            np.testing.assert_array_equal(EqualRows.of(X, threads).find(other, threads), wanted)


def test_one_bit_makes_another_row():
    X = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    near = X.copy()
    near[:, 3] = np.nextafter(near[:, 3], np.float32(9))
    threads = Threads(1)
    assert (EqualRows.of(X, threads).find(near, threads) == -1).all()
    swapped = X[:, [1, 0, 2, 3, 4, 5]]
    assert (EqualRows.of(X, threads).find(swapped, threads) == -1).all()


def test_a_state_is_read_with_suspicion(rows):
    threads = Threads(1)
    content, arrays = EqualRows.of(rows, threads).state()
    again = EqualRows.restore(Saved(content, arrays), len(rows))
    np.testing.assert_array_equal(again.find(rows, threads), first_equal(rows, rows))
    for name, array in (
        ("rows", arrays["rows"] + np.uint32(300)),
        ("rows", arrays["rows"][:-1]),
        ("rows", arrays["rows"].astype(np.int64)),
        ("hashes", arrays["hashes"][::-1].copy()),
        ("hashes", arrays["hashes"][:, :1].copy()),
    ):
        with pytest.raises(StateError) as told:
            EqualRows.restore(Saved(content, {**arrays, name: array}), len(rows))
        assert told.value.array == name


def test_a_state_names_rows_of_the_map_and_each_row_may_be_there_once_more():
    hashes = np.array([[1, 5], [1, 2], [3, 0]], np.uint64)

    def restored(rows, n, hashes=hashes):
        return EqualRows.restore(Saved({}, {"hashes": hashes, "rows": np.array(rows, np.uint32)}), n)

    assert restored([0, 1, 2], 3).rows.tolist() == [0, 1, 2]
    assert restored([6, 0, 0], 7).rows.tolist() == [6, 0, 0]
    for rows, n in (([0, 1, 3], 3), ([0, 1, 1], 2)):
        with pytest.raises(StateError, match=f"names rows that are not among the {n} of the map") as told:
            restored(rows, n)
        assert told.value.array == "rows"
    with pytest.raises(StateError, match="names rows that are not among the 3 of the map"):
        restored([], 3, hashes[:0])
    with pytest.raises(StateError, match="does not ascend"):
        restored([0, 1, 2], 3, hashes[[2, 0, 1]])


@pytest.mark.parametrize("n", [1, 2, 4096, 4097])
def test_each_of_any_number_of_rows_is_found(n):
    """Of a block, and one row more; beyond the last hash there is nothing, and before the first neither."""
    X = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    seats = EqualRows.of(X, Threads(1))
    assert len(seats.rows) == n and seats.rows.dtype == np.uint32
    np.testing.assert_array_equal(seats.find(X, Threads(2)), np.arange(n))
    others = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    assert (seats.find(others, Threads(1)) == -1).all() and seats.find(others[:0], Threads(1)).shape == (0,)


def test_sparse_rows_in_any_order_and_in_pieces_are_the_same_rows_and_stay_as_they_are():
    from scipy.sparse import csr_array

    plain = csr_array(np.array([[0, 1, 2], [3, 0, 0]], np.float32))
    parts = (np.array([2, 0.5, 0.5, 1, 2], np.float32), np.array([2, 1, 1, 0, 0]), np.array([0, 3, 5]))
    pieces = csr_array(parts, shape=(2, 3))
    before = pieces.data.copy(), pieces.indices.copy()
    seats = EqualRows.of(plain, Threads(1))
    assert seats.find(pieces, Threads(1)).tolist() == [0, 1]
    np.testing.assert_array_equal(pieces.data, before[0])
    np.testing.assert_array_equal(pieces.indices, before[1])


@pytest.mark.parametrize("layout", ["F", "strided", "f8"])
def test_dense_rows_are_the_same_in_any_layout(layout):
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    wide = np.zeros((20, 8), np.float32)
    wide[:, ::2] = X
    other = {"F": np.asfortranarray(X), "strided": wide[:, ::2], "f8": X.astype(np.float64)}[layout]
    assert EqualRows.of(X, Threads(1)).find(other, Threads(1)).tolist() == list(range(20))


def test_rows_whose_hashes_agree_by_half_are_other_rows(monkeypatch):
    """Of so few tables none has two such rows, so the hashes are given here: both numbers tell a row."""
    given = {}
    monkeypatch.setattr("tsne_ooc.equal_rows.hashes_of", lambda X, threads: np.array(given[X], np.uint64))
    given["X"] = [[7, 5], [3, 9], [7, 2], [3, 9], [7, 5], [1, 2], [3, 1]]
    seats = EqualRows.of("X", Threads(1))
    assert seats.hashes.tolist() == [[1, 2], [3, 1], [3, 9], [7, 2], [7, 5]]
    assert seats.rows.tolist() == [5, 6, 1, 2, 0]
    given["Q"] = [[1, 2], [1, 9], [2, 2], [3, 1], [7, 9], [9, 9], [0, 2], [7, 2]]
    assert seats.find("Q", Threads(1)).tolist() == [5, -1, -1, 6, -1, -1, -1, 2]
