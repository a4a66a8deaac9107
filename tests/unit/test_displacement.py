"""How far rows lie from where another map has them: nothing for the same map, the way of each row for another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tsne_ooc.metrics import displacement

RNG = np.random.default_rng(0)


def slow(before, after):
    """The best turn, mirror, size and shift on a plane by a search."""
    best = None
    for mirror in (1, -1):
        for angle in (0.0, 2.0, 4.0):

            def left(way, mirror=mirror):
                turn, size, x, y = way
                matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
                return size * (before * [1, mirror]) @ matrix + [x, y] - after

            found = minimize(lambda way, left=left: (left(way) ** 2).sum(), [angle, 1.0, 0.0, 0.0], tol=1e-12)
            if best is None or found.fun < best[0]:
                best = found.fun, np.linalg.norm(left(found.x), axis=1)
    return best[1]


def test_it_is_what_a_search_finds():
    before = RNG.normal(size=(60, 2))
    after = before @ [[0.0, 3.0], [3.0, 0.0]] + RNG.normal(0, 0.5, (60, 2)) + [7, -2]
    np.testing.assert_allclose(displacement(before, after), slow(before, after), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_same_map_has_moved_nowhere(d):
    before = RNG.normal(size=(100, d)) * 30
    turn = np.linalg.qr(RNG.normal(size=(d, d)))[0]
    np.testing.assert_allclose(displacement(before, 0.2 * before @ turn - 5), 0, atol=1e-9)


def test_a_row_that_moved_in_a_large_map_is_found_with_its_way():
    before = RNG.normal(size=(20_000, 2)) * 50
    after = before.copy()
    after[7] += [30, -40]
    found = displacement(before, after)
    assert found[7] == pytest.approx(50, rel=1e-3) and np.delete(found, 7).max() < 0.1


def test_maps_without_extent():
    point = np.ones((4, 2))
    np.testing.assert_allclose(displacement(point, point), 0)
    # A point laid on a map lies in its middle.
    after = np.array([[0, 0], [0, 4], [3, 0], [3, 4.0]])
    np.testing.assert_allclose(displacement(point, after), 2.5)
    np.testing.assert_allclose(displacement(after, point), 0)


def test_what_does_not_go_together():
    with pytest.raises(
        ValueError, match=r"before has shape \(3, 2\), and after has \(4, 2\); they are maps of one table"
    ):
        displacement(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="after contains NaN at row 1, column 0"):
        displacement(np.zeros((2, 2)), [[0, 0], [np.nan, 0]])


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e4])
def test_the_size_of_the_first_map_does_not_count(size):
    before, after = RNG.normal(size=(30, 2)), RNG.normal(size=(30, 2))
    np.testing.assert_allclose(displacement(size * before, after), displacement(before, after), rtol=1e-9)
    np.testing.assert_allclose(displacement(before, size * after), size * displacement(before, after), rtol=1e-9)
