"""Kernels of the grid, of forces and steps as Python itself runs them, held against the words of their heads."""

from __future__ import annotations

import numpy as np
import pytest
from line_by_line import PAIRS, derivatives, plain, summed
from scipy.interpolate import BSpline


@pytest.fixture(autouse=True)
def wrapped():
    """Whole numbers without a sign go round, as they do in compiled code."""
    with np.errstate(all="ignore"):
        yield


# ---------------------------------------------------------------------------------------------------------- on the grid


@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_are_sorted_into_bands_in_the_order_in_which_they_come(d):
    kernels, rng = plain("spread"), np.random.default_rng(d)
    Y = rng.uniform(1, 9, (30, d)).astype(np.float32)
    origin, per_cell, rows = np.array([0.5, 1.0, -1.0], np.float32)[:d], np.float32(2), 3
    low, high = kernels["bounds"](Y, 4, 27)
    np.testing.assert_array_equal(low, Y[4:27].min(axis=0))
    np.testing.assert_array_equal(high, Y[4:27].max(axis=0))
    for bad in (np.nan, np.inf, -np.inf):
        other = Y.copy()
        other[26, d - 1] = bad
        assert any(np.isnan(one).any() for one in kernels["bounds"](other, 4, 27))
        assert not any(np.isnan(one).any() for one in kernels["bounds"](other, 4, 26))
    band = np.floor((Y[:, 0] - origin[0]) * per_cell).astype(int) // rows
    counts = np.zeros(6, np.int64)
    kernels["count_bands"](Y, 4, 27, origin, per_cell, rows, counts)
    np.testing.assert_array_equal(counts, np.bincount(band[4:27], minlength=6))
    cursor, U = np.cumsum(counts) - counts, np.zeros((23, d), np.float32)
    kernels["sort_into_bands"](Y, 4, 27, origin, per_cell, rows, cursor, U)
    np.testing.assert_array_equal(U, ((Y[4:27] - origin) * per_cell)[np.argsort(band[4:27], kind="stable")])
    np.testing.assert_array_equal(cursor, np.cumsum(counts))


def spline(u, nodes):
    """The cardinal cubic B-spline at each node, for a point at u cells; the first node lies one cell before 0."""
    x = np.abs(np.arange(nodes) - 1 - u)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_of_a_range_are_spread_over_four_nodes_of_each_axis(d):
    nodes = (7, 8, 9)[:d]
    U = np.random.default_rng(d).uniform(0, 4, (6, d)).astype(np.float32)
    grid, wanted = np.zeros(int(np.prod(nodes)), np.float32), np.zeros(nodes)
    stride, far = (nodes[-1] if d > 1 else 1), (nodes[-1] * nodes[-2] if d > 2 else 1)
    plain("spread")[f"spread{d}"](U, 1, 5, stride, far, grid)
    for u in U[1:5].astype(float):
        share = np.ones(())
        for a in range(d):
            share = np.multiply.outer(share, spline(u[a], nodes[a]))
        wanted += share
    np.testing.assert_allclose(grid.reshape(nodes), wanted, atol=1e-6)


# ----------------------------------------------------------------------------------------------------- forces and steps


def a_graph(n=7, seed=0):
    """Rows of different lengths, one without any entry."""
    rng = np.random.default_rng(seed)
    counts = np.array([2, 0, 3, 1, 4, 2, 3])[:n]
    indptr = np.r_[0, np.cumsum(counts)].astype(np.uint64)
    return indptr, rng.integers(0, n, counts.sum()).astype(np.uint32), rng.random(counts.sum()).astype(np.float32)


@pytest.mark.parametrize("dof", [1.0, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_forces_and_energies_are_sums_over_the_entries_of_each_row(d, dof):
    """Of a part of all entries, too; and for rows that lie elsewhere."""
    indptr, indices, values = a_graph()
    rng = np.random.default_rng(d)
    Y, there = (rng.normal(size=(7, d)).astype(np.float32) for _ in range(2))
    forces, energy, _ = plain("attraction")["kernels_for"](d)

    def wanted(i, at):
        some = slice(int(indptr[i]), int(indptr[i + 1]))
        away = at - Y[indices[some]].astype(float)
        base = 1 + np.square(away).sum(axis=1) / dof
        return (values[some] / base) @ away, dof * float(values[some] @ np.log(base))

    out = np.full((7, d), np.nan, np.float32)
    first = int(indptr[2])
    forces(indptr, first, indices[first:], values[first:], Y, np.float32(1 / dof), 2, 6, out)
    assert np.isnan(out[[0, 1, 6]]).all()
    for i in range(2, 6):
        np.testing.assert_allclose(out[i], wanted(i, Y[i].astype(float))[0], atol=1e-5)
    found = energy(indptr, first, indices[first:], values[first:], Y, dof, 2, 6)
    assert found == pytest.approx(sum(wanted(i, Y[i].astype(float))[1] for i in range(2, 6)), rel=1e-5)
    some = np.array([5, 0, 1])
    plain("attraction_rows")["forces_for"](d)(
        indptr, indices, values, Y, np.float32(1 / dof), some, there[:3].copy(), out[:3]
    )
    for r, i in enumerate(some):
        np.testing.assert_allclose(out[r], wanted(i, there[r].astype(float))[0], atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_step_has_jacobs_gains_momentum_and_a_greatest_length(d):
    rng = np.random.default_rng(d)
    n, start, stop = 40, 3, 38
    Y, pulls, slope, velocity = (rng.normal(size=(n, d)).astype(np.float32) for _ in range(4))
    velocity[:6], pulls[6:9], slope[6:9] = 0, 0, 0
    gains = rng.uniform(0.005, 3, (n, d)).astype(np.float32)
    # Gains do not fall below a hundredth.
    gains[::3] = rng.uniform(0.004, 0.03, gains[::3].shape)
    slack = rng.uniform(0, 2, n).astype(np.float32)
    shift = rng.normal(size=max(2, d)).astype(np.float32)
    exaggeration, per_z, rate, bearable, momentum, longest = map(np.float32, (3, 0.5, 0.6, 0.8, 0.7, 1.5))
    gradient = 4 * exaggeration * pulls + 2 * per_z * slope
    grown = np.where(np.sign(velocity) == np.sign(gradient), np.maximum(0.8 * gains, 0.01), gains + 0.2)
    own = np.minimum(rate, bearable * slack)[:, None]
    speed = momentum * velocity - own * grown * gradient
    lengths = np.linalg.norm(speed, axis=1, keepdims=True)
    speed *= longest / np.maximum(longest, lengths)
    assert (lengths > longest).any() and (lengths < longest).any() and (own < rate).any() and (own == rate).any()
    moved = Y - shift[:d] + speed
    kept = [array.copy() for array in (pulls, velocity, gains)]
    out, fast, more = pulls.copy(), velocity.copy(), gains.copy()
    sums = plain("attraction")["kernels_for"](d)[2](
        Y, exaggeration, slope, per_z, rate, bearable, slack, momentum, longest, shift, fast, more, start, stop, out
    )
    for found, wanted, before in zip((out, fast, more), (moved, speed, grown), kept, strict=True):
        np.testing.assert_allclose(found[start:stop], wanted[start:stop], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(
            np.delete(found, slice(start, stop), axis=0), np.delete(before, slice(start, stop), axis=0)
        )
    np.testing.assert_allclose(sums[:3], np.pad(moved[start:stop].sum(axis=0), (0, 3 - d)), rtol=1e-4, atol=1e-4)
    assert sums[3] == pytest.approx(np.square(gradient[start:stop]).sum(), rel=1e-4)


@pytest.mark.parametrize("dof", [1.0, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_field_of_all_pairs_and_its_gradient(d, dof):
    rng = np.random.default_rng(d)
    targets, sources = (rng.normal(size=(n, d)).astype(np.float32) for n in (6, 9))
    all_pairs = plain("pairs")["pairs_for"](d)
    for skip in (False, True):
        value, gradient = np.full(6, np.nan), np.full((6, d), np.nan, np.float32)
        all_pairs(targets, sources, dof, skip, 1, 5, value, gradient)
        assert np.isnan(value[[0, 5]]).all() and np.isnan(gradient[[0, 5]]).all()
        for i in range(1, 5):
            field, place = summed(sources.astype(float), dof), targets[i].astype(float)
            assert value[i] == pytest.approx(field(place) - skip, rel=1e-5)
            np.testing.assert_allclose(gradient[i], derivatives(field, place)[0], atol=1e-4)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_weights_of_four_nodes_are_those_of_the_cardinal_spline(order):
    """The first node lies a cell before the place's own."""
    kernels = plain("bspline")
    found = kernels[("weights", "slopes", "curvatures")[order]]
    basis = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    wanted = basis if order == 0 else basis.derivative(order)
    for t in np.linspace(0.01, 0.99, 15, dtype=np.float32):
        np.testing.assert_allclose(found(t), wanted(float(t) + 1 - np.arange(4)), atol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_share_of_a_point_itself_is_the_series_at_the_head_of_the_module(d):
    kernels, rng = plain("selfterm"), np.random.default_rng(d)
    for _ in range(5):
        c, place = rng.uniform(1, 2, 5).astype(np.float32), rng.random(3).astype(np.float32)
        angles = 2 * np.pi * place[:d].astype(float)
        cosines = np.cos(angles)
        wanted = c[0] + sum(c[m] * np.cos(m * angles).sum() for m in (1, 2, 3))
        wanted += c[4] * (cosines.sum() ** 2 - (cosines**2).sum()) / 2
        # Axes that are not there count for nothing, wherever the point lies on them.
        assert kernels["self_value"](*place, d, c) == pytest.approx(wanted, abs=2e-3)
        for axis in range(d):
            others = cosines.sum() - cosines[axis]
            slope = -np.pi * (sum(m * c[m] * np.sin(m * angles[axis]) for m in (1, 2, 3)))
            slope -= np.pi * c[4] * np.sin(angles[axis]) * others
            assert kernels["self_slope"](place[axis], np.float32(others), c) == pytest.approx(slope, abs=2e-2)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_field_that_is_bent_has_the_value_and_the_slope_that_it_is_read_with(d):
    kernels, rng, nodes = plain("interpolate"), np.random.default_rng(d), (7, 8, 9)[:d]
    phi = rng.uniform(1, 2, nodes).astype(np.float32).reshape(-1)
    strides = (nodes[-1] if d > 1 else 1), (nodes[-1] * nodes[-2] if d > 2 else 1)
    for _ in range(8):
        place = np.pad(rng.uniform(0, 3.9, d), (0, 3 - d)).astype(np.float32)
        value, *slope = kernels["slope"](phi, *strides, *place, d)
        found, gradient, hessian = kernels["bend"](phi, *strides, *place, d)
        assert found == pytest.approx(value, rel=1e-5) and found > 0.9
        np.testing.assert_allclose(gradient, slope, atol=1e-5)
        assert all((one != 0) == (max(a, b) < d) for one, (a, b) in zip(hessian, PAIRS, strict=True))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_field_is_read_at_any_place_and_at_the_rows_without_themselves(d):
    rng = np.random.default_rng(d)
    nodes, per_cell = (7, 8, 9)[:d], np.float32(2)
    phi = rng.uniform(1, 2, nodes).astype(np.float32)
    origin = np.array([-1, 0.5, 2], np.float32)[:d]
    Y = (origin + rng.uniform(0, 1.9, (6, d))).astype(np.float32)
    own = rng.uniform(0.1, 0.2, 5).astype(np.float32)
    strides = (nodes[-1] if d > 1 else 1), (nodes[-1] * nodes[-2] if d > 2 else 1)
    at_targets, at_sources = plain("interpolate")["gather_for"](d)

    def read(place):
        found = phi.astype(float)
        for a in range(d):
            found = np.tensordot(spline((place[a] - origin[a]) * 2, nodes[a]), found, axes=(0, 0))
        return float(found)

    value, gradient = np.full(6, np.nan, np.float32), np.full((6, d), np.nan, np.float32)
    at_targets(phi.reshape(-1), *strides, origin, per_cell, Y, 1, 5, value, gradient)
    assert np.isnan(value[[0, 5]]).all() and np.isnan(gradient[[0, 5]]).all()
    for i in range(1, 5):
        place = Y[i].astype(float)
        assert value[i] == pytest.approx(read(place), rel=1e-5)
        np.testing.assert_allclose(gradient[i], derivatives(read, place)[0], atol=1e-3)
    angles = 2 * np.pi * (Y[1:5].astype(float) - origin) * 2
    share = own[0] + sum(own[m] * np.cos(m * angles).sum(axis=1) for m in (1, 2, 3))
    false = -sum(m * own[m] * np.sin(m * angles) for m in (1, 2, 3))
    for a in range(d):
        for b in range(d):
            if a != b:
                share = share + own[4] / 2 * np.cos(angles[:, a]) * np.cos(angles[:, b])
                false[:, a] -= own[4] * np.sin(angles[:, a]) * np.cos(angles[:, b])
    found = np.full((6, d), np.nan, np.float32)
    total = at_sources(phi.reshape(-1), *strides, origin, per_cell, own, Y, 1, 5, found)
    assert total == pytest.approx((value[1:5] - share).sum(), rel=1e-4)
    # Half of the derivative, since the source stays.
    np.testing.assert_allclose(found[1:5], gradient[1:5] - np.pi * false * 2, atol=5e-3)
