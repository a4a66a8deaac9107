"""What is spread to the nodes of a grid, and read from them, is the cubic B-spline by its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients import field as fields
from tsne_ooc.gradients.field import Field, FieldPlanner
from tsne_ooc.gradients.grid import Shape
from tsne_ooc.placement import Placement, hessians

ONE = Threads(1)
# No two axes alike, so that none is taken for another.
NODES = (9, 11, 8)


def spline(x, order=0):
    """The cardinal cubic B-spline, centred, or a derivative of it."""
    away, sign = np.abs(x), np.sign(x)
    near, far = away <= 1, (away > 1) & (away < 2)
    pieces = [
        (2 / 3 - away**2 + away**3 / 2, (2 - away) ** 3 / 6),
        (sign * (-2 * away + 1.5 * away**2), -sign * (2 - away) ** 2 / 2),
        (-2 + 3 * away, 2 - away),
    ][order]
    return np.where(near, pieces[0], 0) + np.where(far, pieces[1], 0)


def weights(places, origin, spacing, nodes, order=0):
    """How much each node of an axis counts at each place; the first node lies one cell before the origin."""
    u = (places.astype(float) - float(origin)) / spacing
    return spline(u[:, None] + 1 - np.arange(nodes), order)


def of_axes(factors):
    """Products of the weights of all axes, flat."""
    found = factors[0]
    for more in factors[1:]:
        found = (found[:, :, None] * more[:, None, :]).reshape(len(found), -1)
    return found


def a_grid(d, seed=0):
    """A grid, its origin, and places all over it, some of them exactly on nodes."""
    rng = np.random.default_rng(seed)
    shape = Shape(0.5, tuple(2 * n for n in NODES[:d]))
    origin = rng.normal(0, 3, d).round(2).astype(np.float32)
    places = (origin + rng.uniform(0.01, 0.99, (40, d)) * (np.array(shape.nodes) - 4) * 0.5).astype(np.float32)
    places[:3] = origin + np.float32(0.5) * np.arange(3, dtype=np.float32)[:, None]
    return shape, origin, places


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_field_is_read_by_the_spline_of_its_nodes(d):
    shape, origin, places = a_grid(d)
    rng = np.random.default_rng(1)
    phi = rng.uniform(1, 2, shape.nodes).astype(np.float32)
    field = Field(phi, origin, shape, np.zeros(5, np.float32), 3.0, 7)

    def read(orders):
        factors = [weights(places[:, a], origin[a], 0.5, shape.nodes[a], orders[a]) for a in range(d)]
        return of_axes(factors) @ phi.reshape(-1).astype(float) / 0.5 ** sum(orders)

    def orders(*axes):
        return [sum(axis == a for axis in axes) for a in range(d)]

    value, gradient = field.at(places, ONE)
    S, slope = read(orders()) + 3.0, np.stack([read(orders(a)) for a in range(d)], axis=1)
    np.testing.assert_allclose(value, S, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=2e-5)
    # Without neighbours that pull, the Hessian of a row's energy is that of the logarithm of the field.
    model = Model(np.zeros((2, d), np.float32), None, 1.0, 1.0)
    near, p = np.zeros((40, 1), np.uint32), np.zeros((40, 1), np.float32)
    H = hessians(model, near, p, Placement(exaggeration=1.0), ONE, places, np.full(40, -1), field)
    inside = np.clip(places, field.low, field.high)
    np.testing.assert_array_equal(inside, places)
    for a, b in itertools.product(range(d), repeat=2):
        wanted = read(orders(a, b)) / S - slope[:, a] * slope[:, b] / S**2
        np.testing.assert_allclose(H[:, a, b], wanted, atol=2e-5)


@pytest.mark.parametrize(("rows", "points"), [(8192, 1024), (7, 1), (1, 5)])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_are_spread_by_the_spline(d, rows, points, monkeypatch):
    """In pieces of any size, and in bands of few points, the rows of a band in the order in which they came."""
    monkeypatch.setattr(fields, "ROWS", rows)
    monkeypatch.setattr(fields, "BAND_POINTS", points)
    shape, origin, places = a_grid(d, seed=2)
    found = FieldPlanner(1.0, ONE)._spread(places, ranges(len(places), rows), origin, shape)
    factors = [weights(places[:, a], origin[a], 0.5, shape.nodes[a]) for a in range(d)]
    assert found.shape == shape.nodes and found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(-1), of_axes(factors).sum(axis=0), atol=2e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_at_the_rows_themselves_each_is_without_its_own_share(d):
    """The series of the self-term by its formula; the field of all others adds up to Z."""
    shape, origin, places = a_grid(d, seed=3)
    rng = np.random.default_rng(4)
    phi, own = rng.uniform(1, 2, shape.nodes).astype(np.float32), rng.uniform(0.1, 0.2, 5).astype(np.float32)
    plain, gradient = Field(phi, origin, shape, own, 0.0, 40).at(places, ONE)
    angles = 2 * np.pi * ((places.astype(float) - origin) / 0.5)
    share = own[0] + sum(own[m] * np.cos(m * angles).sum(axis=1) for m in (1, 2, 3))
    slope = -sum(m * own[m] * np.sin(m * angles) for m in (1, 2, 3))
    for a, b in itertools.combinations(range(d), 2):
        share += own[4] * np.cos(angles[:, a]) * np.cos(angles[:, b])
        slope[:, a] -= own[4] * np.sin(angles[:, a]) * np.cos(angles[:, b])
        slope[:, b] -= own[4] * np.sin(angles[:, b]) * np.cos(angles[:, a])
    # Half of the derivative: the reader moves, and the source does not.
    slope *= np.pi / 0.5
    for offset, more in ((0.0, 0.0), (40.0, 40 * 39)):
        found = np.empty_like(places)
        total = Field(phi, origin, shape, own, offset, 40).at_sources(places, found, ONE)
        assert total == pytest.approx((plain - share).sum() + more, rel=1e-4)
        np.testing.assert_allclose(found, gradient - slope, atol=2e-3)
