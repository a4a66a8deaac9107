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
