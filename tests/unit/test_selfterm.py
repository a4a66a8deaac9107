"""What a point does to itself is the series that is written down, and its slope is half the derivative."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from tsne_ooc._kernels.selfterm import cosine, self_slope, self_value, sine

T = np.linspace(0, 1, 1001).astype(np.float32)


@numba.njit
def over(function, t):
    found = np.empty(len(t))
    for i in range(len(t)):
        found[i] = function(t[i])
    return found


@numba.njit
def values(places, d, c):
    found = np.empty(len(places))
    for i in range(len(places)):
        found[i] = self_value(places[i, 0], places[i, 1], places[i, 2], d, c)
    return found


@numba.njit
def slopes(t, others, c):
    found = np.empty(len(t))
    for i in range(len(t)):
        found[i] = self_slope(t[i], others[i], c)
    return found


def series(places, d, c):
    """The formula at the head of the module, in double precision."""
    angles = 2 * np.pi * places[:, :d].astype(np.float64)
    total = c[0] + sum(c[m] * np.cos(m * angles).sum(axis=1) for m in (1, 2, 3))
    for a in range(d):
        for b in range(a):
            total = total + c[4] * np.cos(angles[:, a]) * np.cos(angles[:, b])
    return total


def test_cosine_and_sine_are_as_near_as_they_say():
    assert np.abs(over(cosine, T) - np.cos(2 * np.pi * T.astype(np.float64))).max() < 4.5e-5
    assert np.abs(over(sine, T) - np.sin(2 * np.pi * T.astype(np.float64))).max() < 6.5e-6


@pytest.mark.parametrize("alone", [0, 1, 2, 3, 4, None])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_series(d, alone):
    """Each coefficient by itself, so that none hides behind a larger one, and all together."""
    rng = np.random.default_rng(0)
    c = rng.uniform(1, 2, 5) if alone is None else np.eye(5)[alone]
    places = rng.random((500, 3)).astype(np.float32)
    c = c.astype(np.float32)
    np.testing.assert_allclose(values(places, d, c), series(places, d, c), atol=2e-3)
    step = 1e-5
    for axis in range(d):
        moved = [places.astype(np.float64) + sign * step * np.eye(3)[axis] for sign in (1, -1)]
        wanted = (series(moved[0], d, c) - series(moved[1], d, c)) / (2 * step) / 2
        others = [np.cos(2 * np.pi * places[:, other].astype(np.float64)) for other in range(d) if other != axis]
        found = slopes(places[:, axis].copy(), np.float32(sum(others, np.zeros(500))), c)
        np.testing.assert_allclose(found, wanted, atol=2e-2)
