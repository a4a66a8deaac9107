"""Kernels of placement as Python itself runs them, line by line, held against the words of their heads."""

from __future__ import annotations

import itertools
import math
from types import FunctionType

import numpy as np
import pytest
from line_by_line import PAIRS, derivatives, plain, summed, wide


@pytest.fixture(autouse=True)
def wrapped():
    """Whole numbers without a sign go round, as they do in compiled code."""
    with np.errstate(all="ignore"):
        yield


def check_derivatives(found, gradient, hessian, d, rtol=1e-4):
    """A gradient of three, and a Hessian as uu, vv, ww, uv, uw, vw, of which the first `d` axes are there."""
    np.testing.assert_allclose(found[0][:d], gradient, rtol=rtol, atol=rtol * np.abs(gradient).max())
    for value, (a, b) in zip(found[1], PAIRS, strict=True):
        if max(a, b) < d:
            assert value == pytest.approx(hessian[a, b], rel=rtol, abs=rtol * np.abs(hessian).max())


def a_field(Y, dof, place, per_cell=1.0):
    """The field of rows at a place as kernels read it from a grid: derivatives are per cell."""
    d = Y.shape[1]
    phi = np.ascontiguousarray(Y.T).reshape(-1)
    S, slope, curve = plain("placement")["_sum"](*wide(place), phi, len(Y), dof, d)
    return S, tuple(x / per_cell for x in slope), tuple(x / per_cell**2 for x in curve)


@pytest.mark.parametrize("dof", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_field_that_is_summed_has_its_derivatives(d, dof):
    rng = np.random.default_rng(d)
    Y, place = rng.normal(size=(9, d)), rng.normal(size=d)
    value, slope, curve = a_field(Y, dof, place)
    assert value == pytest.approx(summed(Y, dof)(place))
    check_derivatives((slope, curve), *derivatives(summed(Y, dof), place), d)
    assert a_field(np.full((2, d), 1e300), 1.0, place)[0] == 1e-300


@pytest.mark.parametrize("dof", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_field_without_one_row_is_that_of_the_others(d, dof):
    rng = np.random.default_rng(d)
    Y, place, per_cell = rng.normal(size=(9, d)), rng.normal(size=d), 2.5
    without = plain("placement")["_without"]
    whole = a_field(Y, dof, place, per_cell)
    for j in (0, 4, 8):
        found = without(whole, *wide(place), Y, j, per_cell, dof, d)
        S, slope, curve = a_field(np.delete(Y, j, axis=0), dof, place, per_cell)
        assert found[0] == pytest.approx(S)
        for a in range(d):
            assert found[1][a] == pytest.approx(slope[a])
        for e, (a, b) in enumerate(PAIRS):
            if max(a, b) < d:
                assert found[2][e] == pytest.approx(curve[e], abs=1e-12)
    assert without(whole, *wide(place), Y, -1, per_cell, dof, d) == whole
    # Where there is no other row, something is left all the same.
    alone = a_field(Y[:1], dof, place, per_cell)
    assert without(alone, *wide(place), Y, 0, per_cell, dof, d)[0] == 1e-6


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_field_that_is_read_has_its_derivatives_by_cells(d):
    """Places in double precision, of which cells are single: steps are a good part of a cell."""
    rng = np.random.default_rng(d)
    nodes, per_cell, origin = 9, 2.0, np.array([-1.0, 0.5, 2.0], np.float32)[:d]
    phi = rng.uniform(1, 2, nodes**d).astype(np.float32)
    strides = (nodes if d > 1 else 0), nodes**2
    read = plain("placement")["_read"]

    def value(place, offset=0.0, phi=phi):
        return read(*wide(place), phi, *strides, origin, per_cell, offset, d)

    place = origin + np.array([1.7, 2.2, 1.3])[:d]
    S, slope, curve = value(place)
    gradient, hessian = derivatives(lambda at: value(at)[0], place, 2e-3)
    np.testing.assert_allclose(np.array(slope[:d]) * per_cell, gradient, atol=2e-3)
    for e, (a, b) in enumerate(PAIRS):
        if max(a, b) < d:
            assert curve[e] * per_cell**2 == pytest.approx(hessian[a, b], abs=0.05)
    assert value(place, 7.0)[0] == pytest.approx(S + 7, rel=1e-6)
    assert value(place, -5.0)[0] == 1e-6


def energy_of(Y, near, p, exaggeration, dof, field):
    """exaggeration * dof * sum p log(1 + r^2 / dof) + log field."""
    return lambda place: (
        exaggeration * dof * float((p * np.log1p(np.square(place - Y[near]).sum(axis=1) / dof)).sum())
        + math.log(field(place))
    )


@pytest.mark.parametrize("dof", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_energy_of_a_row_has_its_derivatives(d, dof):
    rng = np.random.default_rng(d)
    Y, place, near = rng.normal(size=(9, d)), rng.normal(size=d), np.array([[0, 0, 0, 0], [7, 2, 5, 1]])
    p = rng.dirichlet(np.ones(4), size=2)
    wanted = energy_of(Y, near[1], p[1], 1.7, dof, summed(Y, dof))
    for per_cell in (1.0, 2.5):
        field = a_field(Y, dof, place, per_cell)
        energy, *found = plain("placement")["evaluate"](*wide(place), Y, near, p, 1, 1.7, dof, *field, per_cell, d)
        assert energy == pytest.approx(wanted(place))
        check_derivatives(found, *derivatives(wanted, place), d)


@pytest.mark.parametrize(("d", "dof"), [(1, 1.0), (2, 0.5), (3, 2.0)])
def test_curvatures_are_those_of_rows_without_their_own(d, dof):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(9, d))
    near, p = rng.integers(0, 9, (3, 4)), rng.dirichlet(np.ones(4), size=3)
    places, own = rng.normal(size=(3, d)), np.array([2, -1, 8])
    phi = np.ascontiguousarray(Y.T).reshape(-1)
    out = np.full((3, 6), np.nan)
    box = np.zeros(3, np.float32)
    plain("placement")["hessian_for"](d, True)(Y, near, p, 1.3, dof, phi, 9, 0, box, 1.0, 0.0, own, places, 1, 3, out)
    assert np.isnan(out[0]).all()
    for row in (1, 2):
        others = Y if own[row] < 0 else np.delete(Y, own[row], axis=0)
        wanted = energy_of(Y, near[row], p[row], 1.3, dof, summed(others, dof))
        check_derivatives(((0,) * d, out[row]), np.zeros(d), derivatives(wanted, places[row])[1], d)


def placed(d, apart, starts, *, most=100, tolerance=1e-6, exaggerations=(4.0, 1.0), low=-9.0, high=9.0, count=None):
    """Rows among nine others, moved from `starts`; and how many times each looked at its energy."""
    rng = np.random.default_rng(d)
    Y = 3 * rng.normal(size=(9, d))
    m = len(starts)
    near, p = rng.integers(0, 9, (m, 4)), rng.dirichlet(np.ones(4), size=m)
    own = np.resize([2, -1, 8, 0], m)
    space = dict(plain("placement"))
    looks = []
    evaluate = space["evaluate"]
    space["evaluate"] = lambda *args: looks.append(args[6]) or evaluate(*args)
    make = plain("placement")["placement_for"]
    place = FunctionType(make.__code__, space)(d, True, apart)
    out, iterations = np.array(starts, np.float64), np.full(m, -1)
    place(Y, near, p, np.array(exaggerations), 1.0, np.ascontiguousarray(Y.T).reshape(-1), 9, 0, np.zeros(3), 1.0, 0.0,
          np.full(d, low), np.full(d, high), tolerance, most, own, 0, m, out, iterations)  # fmt: skip

    def energy(row, exaggeration=exaggerations[-1]):
        others = np.delete(Y, own[row], axis=0) if apart and own[row] >= 0 else Y
        return energy_of(Y, near[row], p[row], exaggeration, 1.0, summed(others, 1.0))

    return out, iterations, energy, [looks.count(row) for row in range(m)]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_rows_come_to_rest_at_minima_in_few_looks(d, apart):
    starts = np.random.default_rng(7).normal(size=(12, d)) * 4
    out, iterations, energy, looks = placed(d, apart, starts)
    for row in range(12):
        gradient, hessian = derivatives(energy(row), out[row])
        if (np.abs(out[row]) < 9).all():
            assert np.abs(gradient).max() < 1e-4
            assert np.linalg.eigvalsh(hessian)[0] > -1e-4
    # Each exaggeration begins with a look, and each step that is tried takes one.
    np.testing.assert_array_equal(iterations, np.array(looks) - 2)
    assert np.median(looks) < 22
    # From there, nothing is left to do.
    again, spent, _, looks = placed(d, apart, out, exaggerations=(1.0,), tolerance=1e-4)
    inside = (np.abs(out) < 9).all(axis=1)
    np.testing.assert_array_equal(again[inside], out[inside])
    assert not spent[inside].any() and inside.sum() > 6


@pytest.mark.parametrize("d", [1, 2, 3])
def test_steps_are_short_few_and_within_bounds(d):
    starts = np.random.default_rng(8).normal(size=(8, d)) * 4
    once, iterations, energy, _ = placed(d, True, starts, most=1, exaggerations=(1.0,), low=-3.0, high=2.5)
    begun = np.clip(starts, -3, 2.5)
    assert set(iterations.tolist()) <= {0, 1} and (once >= -3).all() and (once <= 2.5).all()
    assert (np.linalg.norm(once - begun, axis=1) <= 2 + 1e-12).all()
    assert all(energy(row)(once[row]) <= energy(row)(begun[row]) for row in range(8))
    stayed, none, _, _ = placed(d, True, starts, most=0, low=-3.0, high=2.5)
    np.testing.assert_array_equal(stayed, begun)
    assert not none.any()
    # A row that is nowhere begins at the lower bounds.
    lost, _, _, _ = placed(d, False, np.full((2, d), np.nan), most=0, low=-3.0)
    np.testing.assert_array_equal(lost, np.full((2, d), -3.0))
    # Each axis has bounds of its own.
    low, high = np.array([-3.0, -2.0, -1.0])[:d], np.array([2.5, 2.0, 1.5])[:d]
    begun = np.array([[-9.0] * d, [9.0] * d, [np.nan] * d, [0.5] * d])
    stayed, _, _, _ = placed(d, True, begun, most=0, low=low, high=high)
    np.testing.assert_array_equal(stayed, [low, high, low, [0.5] * d])


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("d", [2, 3])
def test_a_row_at_a_bound_goes_on_along_the_other_axes(d, apart):
    """Each axis in turn has no room: where rows end, it pushes them against its bounds, and nothing else moves them."""
    starts, bounded, left = np.random.default_rng(9).normal(size=(6, d)), 0, []
    for axis in range(d):
        low, high = np.full(d, -9.0), np.full(d, 9.0)
        low[axis], high[axis] = 0.2, 0.3
        out, _, energy, _ = placed(d, apart, starts, exaggerations=(2.0,), low=low, high=high)
        assert ((low <= out) & (out <= high)).all()
        for row in range(6):
            slope = derivatives(energy(row), out[row])[0]
            held = ((out[row] == low) & (slope > 0)) | ((out[row] == high) & (slope < 0))
            left.append(np.abs(slope[~held]).max(initial=0))
            bounded += held[axis]
    # Steps are cut at the bounds, and what is left along the other axes becomes little.
    assert np.median(left) < 0.06 and max(left) < 0.4
    assert bounded >= 4 * d


def test_a_field_without_the_only_row_that_makes_it_is_a_little_more_than_nothing():
    Y, place = np.array([[0.5, -1.0, 2.0]]), [0.25, 0.5, 1.0]
    for d in (1, 2, 3):
        whole = a_field(Y[:, :d], 1.0, place[:d])
        assert plain("placement")["_without"](whole, *wide(place[:d]), Y, 0, 1.0, 1.0, d)[0] == 1e-6


def made_for(compiled):
    """What a kernel was made for, by the names of its maker."""
    function = compiled.py_func
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__), strict=True))


def test_each_number_of_axes_has_kernels_of_its_own():
    """In tables that hold compiled kernels, under what these were made for."""
    both = (False, True)
    placing, bent = plain("placement")["PLACE"], plain("placement")["HESSIAN"]
    assert {key: tuple(map(made_for(one).get, ("d", "summed", "apart"))) for key, one in placing.items()} == {
        key: key for key in itertools.product((1, 2, 3), both, both)
    }
    assert {key: tuple(map(made_for(one).get, ("d", "summed"))) for key, one in bent.items()} == {
        key: key for key in itertools.product((1, 2, 3), both)
    }
    for module, table, names in (
        ("attraction", "KERNELS", ("forces", "energy", "advance")),
        ("attraction_rows", "FORCES_OF", ("forces_of",)),
        ("pairs", "PAIRS", ("all_pairs",)),
        ("interpolate", "GATHER", ("at_targets", "at_sources")),
    ):
        found = {
            d: several if isinstance(several, tuple) else (several,) for d, several in plain(module)[table].items()
        }
        assert list(found) == [1, 2, 3]
        for d, several in found.items():
            assert tuple(one.py_func.__name__ for one in several) == names
            assert {made_for(one)["d"] for one in several} == {d}
    assert {d: one.py_func.__name__ for d, one in plain("spread")["SPREAD"].items()} == {
        d: f"spread{d}" for d in (1, 2, 3)
    }


@pytest.mark.parametrize("d", [1, 2, 3])
def test_rows_begin_at_medians_or_means_of_a_range_of_rows(d):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(9, d)).astype(np.float32)
    near, p = rng.integers(0, 9, (5, 3)), rng.dirichlet(np.ones(3), size=5)
    out = np.zeros((2, 5, d), np.float32)
    plain("placement")["median_start"](Y, near, 1, 4, out[0])
    plain("placement")["mean_start"](Y, near, p, 1, 4, out[1])
    np.testing.assert_array_equal(out[0, 1:4], np.median(Y[near[1:4]], axis=1))
    np.testing.assert_allclose(out[1, 1:4], (p[1:4, :, None] * Y[near[1:4]]).sum(axis=1), rtol=1e-6)
    assert not out[:, [0, 4]].any()
