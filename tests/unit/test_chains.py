"""Four sums as one vector: the bits are those of a plain loop, at any length and from any start."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from tsne_ooc._kernels import chains, knn
from tsne_ooc._kernels.chains import four_sums


@numba.njit
def summed(x, y, start):
    return four_sums(x, y, start)


def by_hand(x, y, start, end):
    """Four sums over the first `end` numbers, one number after the other: Python's numbers are of double precision."""
    sums = [0.0] * 4
    for i in range(end):
        difference = float(x[i]) - float(y[start + i])
        sums[i % 4] += difference * difference
    return sums


def vectors(n, start, kinds, seed):
    """Numbers of all sizes; behind those that count there is NaN, and before them, too."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 10.0 ** rng.integers(-6, 7, n)
    y = np.full(start + n + 8, np.nan)
    y[start : start + n] = rng.normal(size=n) * 10.0 ** rng.integers(-6, 7, n)
    return x.astype(kinds[0]), y.astype(kinds[1])


@pytest.mark.parametrize("kinds", [("f4", "f4"), ("f8", "f4"), ("f4", "f8"), ("f8", "f8")], ids="-".join)
def test_bits_of_a_loop(kinds):
    for n in range(1, 68):
        for start in (0, 1, 2, 3, 7, 50):
            x, y = vectors(n, start, kinds, n)
            assert list(summed(x, y, np.uint64(start))) == by_hand(x, y, start, n - n % 4), (n, start)


def test_distances_are_those_of_a_loop():
    for n in range(1, 68):
        x, y = vectors(n, 3, ("f8", "f4"), n)
        s0, s1, s2, s3 = by_hand(x, y, 3, n - n % 4)
        for i in range(n - n % 4, n):
            s0 += (float(x[i]) - float(y[3 + i])) ** 2
        assert knn.euclidean_from(x, y, np.uint64(3)) == math.sqrt((s0 + s1) + (s2 + s3))
        own = y[3 : 3 + n].copy()
        assert knn.euclidean_pair(x, own) == knn.euclidean_from(x, y, np.uint64(3))


def test_rows_that_cannot_be_written_are_read():
    x, y = vectors(9, 0, ("f4", "f4"), 0)
    wanted = summed(x, y, np.uint64(0))
    x.flags.writeable = y.flags.writeable = False
    assert summed(x, y, np.uint64(0)) == wanted


def test_numbers_that_are_none_stay_so():
    x, y = np.array([1, np.nan, np.inf, np.inf], "f4"), np.array([3, 1, 1, np.inf], "f4")
    np.testing.assert_array_equal(summed(x, y, np.uint64(0)), [4, np.nan, np.inf, np.nan])


PLAIN = np.ones(8, np.float32)


@pytest.mark.parametrize(
    "other",
    [np.ones(16, np.float32)[::2], np.ones((8, 1), np.float32), np.ones(8, np.int64), np.ones(8, np.float16), 1.0],
    ids=["gaps", "two axes", "whole numbers", "half precision", "one number"],
)
def test_what_is_not_a_vector_without_gaps_is_refused(other):
    for x, y in ((PLAIN, other), (other, PLAIN)):
        with pytest.raises(TypingError, match=r"takes vectors of float32 or float64 without gaps"):
            summed(x, y, np.uint64(0))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 29, 32])
def test_as_plain_python(n):
    x, y = vectors(n, 5, ("f4", "f4"), n)
    assert list(chains._in_python(x, y, np.uint64(5))) == by_hand(x, y, 5, n - n % 4)
