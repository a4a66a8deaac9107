"""The contract of affinities, compared with the joint probabilities written out as a matrix."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32
from tsne_ooc.joint import symmetrize
from tsne_ooc.testing import brute_force
from tsne_ooc.testing.bits import assert_same_bits


def ascending(m: int, k: int, seed: int = 0) -> Float32:
    """Distances of m rows from k neighbours, of very different scales; in some rows they are equal, in some 0."""
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.gamma(5, size=(m, k)) * 10.0 ** rng.integers(-3, 4, (m, 1)), axis=1).astype(np.float32)
    distances[::7] = distances[::7, :1]
    distances[3::7, : k // 2] = 0
    distances[5::7] = 0
    return distances


class AffinityContract:
    """What fitting and placing ask of affinities; see `tsne_ooc.affinity.Affinity`.

    Attributes
    ----------
    affinity : Affinity
    """

    affinity: Any

    @pytest.fixture
    def case(self) -> Any:
        """The object with the attributes of this class: itself, unless a subclass has several affinities."""
        return self

    @staticmethod
    def wanted(case: Any, n: int) -> int:
        with warnings.catch_warnings():
            # Few rows may not have the perplexity that was asked for, and a fit says so.
            warnings.simplefilter("ignore", UserWarning)
            return int(case.affinity.k(n))

    @pytest.mark.parametrize("n", [2, 3, 10, 50, 1000, 100_000])
    def test_as_many_neighbours_as_there_are(self, case: Any, n: int) -> None:
        assert 1 <= self.wanted(case, n) <= n - 1

    @pytest.mark.parametrize("k", [1, 2, 15, 90])
    def test_rows_sum_to_one(self, case: Any, k: int) -> None:
        distances = ascending(60, k)
        before = distances.copy()
        distances.flags.writeable = False
        p = case.affinity.conditional(distances, Threads(1))
        np.testing.assert_array_equal(distances, before)
        if p is None:
            # All probabilities are equal, and none is kept.
            return
        assert p.shape == distances.shape and p.dtype == np.float32
        assert np.isfinite(p).all() and (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1, dtype=np.float64), 1, rtol=1e-4)

    def test_the_nearer_is_not_the_less_likely(self, case: Any) -> None:
        p = case.affinity.conditional(ascending(60, 30), Threads(1))
        assert p is None or (np.diff(p, axis=1) <= 1e-6).all()

    def test_equal_distances_are_equally_likely(self, case: Any) -> None:
        p = case.affinity.conditional(np.full((4, 9), 3, np.float32), Threads(1))
        assert p is None or np.ptp(p) < 1e-6

    def test_a_row_does_not_depend_on_others_or_on_threads(self, case: Any) -> None:
        distances = ascending(9000, 15)
        whole = case.affinity.conditional(distances, Threads(1))
        if whole is None:
            return
        assert_same_bits(case.affinity.conditional(distances, Threads(3)), whole)
        for start, stop in [(0, 1), (17, 450), (4000, 9000)]:
            part = case.affinity.conditional(distances[start:stop], Threads(2))
            assert_same_bits(part, whole[start:stop])

    def test_joint_probabilities_are_those_of_the_definition(self, case: Any) -> None:
        X = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
        k = self.wanted(case, len(X))
        neighbors, distances = brute_force.smallest(brute_force.distances(X, X), k, itself=True)
        p = case.affinity.conditional(distances, Threads(1))
        P = symmetrize(neighbors, p, Threads(2)).tocsr().toarray()
        one = np.zeros((80, 80))
        np.put_along_axis(one, neighbors.astype(np.int64), 1.0 if p is None else p.astype(np.float64), axis=1)
        # Where all probabilities are equal, they are equal after each pair has both its directions.
        both = (one + one.T > 0).astype(np.float64) if p is None else one + one.T
        np.testing.assert_allclose(P, both / both.sum(), rtol=1e-4, atol=1e-12)

    def test_it_goes_into_other_processes(self, case: Any) -> None:
        assert pickle.loads(pickle.dumps(case.affinity)) == case.affinity
