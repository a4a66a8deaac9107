"""Kernels as Python itself runs them, line by line and without a compiler, held against the words of their heads."""

from __future__ import annotations

import math
from importlib import import_module
from types import FunctionType

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from tsne_ooc._kernels import _jit, chains

HERE = "tsne_ooc._kernels."
PLAIN: dict[str, dict] = {}


def plain(name):
    """What a module of kernels holds, with functions that nobody has compiled."""
    if name in PLAIN:
        return PLAIN[name]
    module = import_module(HERE + name)
    space = PLAIN[name] = dict(vars(module))
    for word, value in vars(module).items():
        function = getattr(value, "py_func", value)
        if word in ("kernel", "piece", "choice", "ordered", "divides") and function.__module__ == _jit.__name__:
            space[word] = lambda same: same
        elif word == "four_sums":
            space[word] = chains._in_python
        elif word == "ones":
            space[word] = lambda bits: np.uint64(int(bits).bit_count())
        elif isinstance(function, FunctionType) and function.__module__.startswith(HERE):
            home = function.__module__.removeprefix(HERE)
            globals_ = space if home == name else plain(home)
            space[word] = FunctionType(function.__code__, globals_, word, function.__defaults__, function.__closure__)
    return space


@pytest.fixture(autouse=True)
def wrapped():
    """Whole numbers without a sign go round, as they do in compiled code."""
    with np.errstate(all="ignore"):
        yield


def derivatives(function, place, step=1e-4):
    """Gradient and Hessian by central differences."""
    d = len(place)
    unit = step * np.eye(d)
    gradient = np.array([function(place + unit[a]) - function(place - unit[a]) for a in range(d)]) / (2 * step)
    wide = 10 * unit
    hessian = np.array([
        [sum(s * t * function(place + s * wide[a] + t * wide[b]) for s in (1, -1) for t in (1, -1)) for b in range(d)]
        for a in range(d)
    ])  # fmt: skip
    return gradient, hessian / (4 * (10 * step) ** 2)


PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def check_derivatives(found, gradient, hessian, d, rtol=1e-4):
    """A gradient of three, and a Hessian as uu, vv, ww, uv, uw, vw, of which the first `d` axes are there."""
    np.testing.assert_allclose(found[0][:d], gradient, rtol=rtol, atol=rtol * np.abs(gradient).max())
    for value, (a, b) in zip(found[1], PAIRS, strict=True):
        if max(a, b) < d:
            assert value == pytest.approx(hessian[a, b], rel=rtol, abs=rtol * np.abs(hessian).max())


# ----------------------------------------------------------------------------------------------------------- placement


def summed(Y, dof):
    """The field of rows Y at a place."""
    return lambda place: float(((1 + np.square(place - Y).sum(axis=1) / dof) ** -dof).sum())


def wide(place):
    return [float(x) for x in np.pad(place, (0, 3 - len(place)))]


def a_field(Y, dof, place, per_cell=1.0):
    """The field of rows at a place as kernels read it from a grid: derivatives are per cell."""
    d = Y.shape[1]
    phi = np.ascontiguousarray(Y.T).reshape(-1)
    S, slope, curve = plain("placement")["_sum"](*wide(place), phi, len(Y), dof, d)
    return S, tuple(x / per_cell for x in slope), tuple(x / per_cell**2 for x in curve)


@pytest.mark.parametrize("dof", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_field_that_is_summed_has_its_derivatives(d, dof):
    rng = np.random.default_rng(d)
    Y, place = rng.normal(size=(9, d)), rng.normal(size=d)
    value, slope, curve = a_field(Y, dof, place)
    assert value == pytest.approx(summed(Y, dof)(place))
    check_derivatives((slope, curve), *derivatives(summed(Y, dof), place), d)
    assert a_field(np.full((2, d), 1e300), 1.0, place)[0] == 1e-300


@pytest.mark.parametrize("dof", [1.0, 0.5, 3.0])
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


@pytest.mark.parametrize("dof", [1.0, 0.5, 3.0])
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


@pytest.mark.parametrize(("d", "dof"), [(1, 1.0), (2, 0.5), (3, 1.0)])
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


# --------------------------------------------------------------------------------------------------------- affinities


def entropy(beta, squares):
    weights = np.exp(-beta * squares)
    p = weights / weights.sum()
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum())


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_precision_has_the_perplexity_that_is_asked_for(scale):
    """In units of the mean excess, by a search between two bounds; rows far off, copies, and neighbours far out."""
    rng = np.random.default_rng(0)
    find = plain("calibrate")["_precision"]
    rows = [np.sort(rng.gamma(shape, size=12)) for shape in (0.3, 1, 30)]
    rows += [1e3 + rows[1], np.r_[0, 0, 0, rows[1][3:]], np.r_[rows[0][:11], 1e6]]
    for row in rows:
        distances = (scale * row).astype(np.float32)[None]
        squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
        for perplexity in (3.5, 5.0, 10.0):
            beta, unit = find(distances, 0, math.log(perplexity))
            assert unit == pytest.approx(12 / squares.sum())
            assert entropy(beta * unit, squares) == pytest.approx(math.log(perplexity), abs=3e-5)
    assert find(np.full((1, 5), scale, np.float32), 0, 1.0) == (0.0, 0.0)


def test_rows_as_far_out_as_no_weight_can_reach_do_not_set_the_unit():
    near = np.sort(np.random.default_rng(0).gamma(2, size=9))
    for far in (1e15, 1e18):
        distances = np.r_[near, np.full(3, far)].astype(np.float32)[None]
        squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
        beta, unit = plain("calibrate")["_precision"](distances, 0, math.log(4.0))
        assert unit == pytest.approx(9 / squares[:9].sum())
        assert entropy(beta * unit, squares) == pytest.approx(math.log(4.0), abs=3e-5)
    # Those that are not that far count.
    distances = np.r_[near, np.full(3, 1e6)].astype(np.float32)[None]
    squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
    assert plain("calibrate")["_precision"](distances, 0, math.log(4.0))[1] == pytest.approx(12 / squares.sum())


def test_shares_of_probabilities_are_added_to_a_range_of_rows():
    rng = np.random.default_rng(1)
    distances = np.sort(rng.gamma(3, size=(5, 8)), axis=1).astype(np.float32)
    distances[2] = 4
    out = np.full((5, 8), 2, np.float32)
    plain("calibrate")["calibrate"](distances, math.log(3.0), np.float32(0.25), 1, 4, out)
    assert (out[[0, 4]] == 2).all()
    np.testing.assert_allclose(out[2], 2 + 0.25 / 8)
    for row in (1, 3):
        p = (out[row].astype(float) - 2) / 0.25
        assert p.sum() == pytest.approx(1, abs=1e-4)
        squares = np.square(distances[row].astype(float))
        beta = brentq(lambda b, s=squares: entropy(b, s - s[0]) - math.log(3.0), 1e-9, 1e9)
        weights = np.exp(-beta * (squares - squares[0]))
        np.testing.assert_allclose(p, weights / weights.sum(), atol=3e-4)


def test_a_mixture_is_a_sum_of_gaussian_densities():
    """Each of its own bandwidth, and so of its own height; a row at one distance from all has equal shares."""
    rng = np.random.default_rng(1)
    distances = np.sort(rng.gamma(3, size=(4, 8)), axis=1).astype(np.float32)
    distances[3] = 4
    scales, out = np.log([2.0, 3.0, 6.0]), np.zeros((4, 8), np.float32)
    plain("calibrate")["mix"](distances, scales, 1, 4, out)
    assert not out[0].any()
    np.testing.assert_allclose(out[3], 1 / 8)
    for row in (1, 2):
        squares = np.square(distances[row].astype(float))
        betas = [brentq(lambda b, s=squares, h=h: entropy(b, s - s[0]) - h, 1e-9, 1e9) for h in scales]
        weights = sum(math.sqrt(beta) * np.exp(-beta * squares) for beta in betas)
        np.testing.assert_allclose(out[row], weights / weights.sum(), atol=1e-3)


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


# ------------------------------------------------------------------------------------------------------- an activation


def test_silu_at_any_number():
    x = np.r_[np.linspace(-30, 30, 400), 0.0, 1e-3, 15.9, -15.9].astype(np.float32)
    found = np.array([plain("activation")["silu"](one) for one in x])
    wanted = x.astype(float) * expit(x.astype(float))
    assert (np.abs(found - wanted) <= 5e-7 * np.maximum(1, np.abs(x))).all()


def test_places_are_those_of_the_last_layers_words():
    """Layer normalisation, SiLU, the head, a line that is eased beyond its reach, and bounds of the map."""
    kernels, rng = plain("activation"), np.random.default_rng(0)
    m, w, p, d = 6, 5, 3, 2
    h, x = rng.normal(size=(m, w)).astype(np.float32), rng.normal(size=(m, p)).astype(np.float32)
    bias, gain, shift = (rng.normal(size=w).astype(np.float32) for _ in range(3))
    head, skip = rng.normal(size=(d, w)).astype(np.float32), 2 * rng.normal(size=(d, p)).astype(np.float32)
    straight, origin = rng.normal(size=d).astype(np.float32), rng.normal(size=d).astype(np.float32)
    low, high, margin, reach = np.full(d, -1, np.float32), np.full(d, 2, np.float32), np.float32(0.5), np.float32(1.5)

    def eased(value, low, high, margin):
        inside = np.clip(value, low, high)
        return inside + margin * np.tanh((value - inside) / margin)

    z = h.astype(float) + bias
    z = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5) * gain + shift
    active = z * expit(z)
    line = straight + x.astype(float) @ skip.T
    assert (np.abs(line) > reach).any() and (np.abs(line) < reach).any()
    wanted = eased(
        origin + active @ head.T.astype(float) + eased(line, -reach, reach, reach) - straight, low, high, margin
    )
    out, room, hidden = np.zeros((m, d), np.float32), np.zeros(w, np.float32), np.zeros((m, w), np.float32)
    kernels["normalised_silu"](h, bias, gain, shift, hidden)
    np.testing.assert_allclose(hidden, active, atol=2e-6)
    kernels["places"](h, bias, gain, shift, head, x, skip, straight, reach, origin, low, high, margin, room, out)
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    assert ((out > high).any() or (out < low).any()) and ((out < high) & (out > low)).any()


def test_rows_are_standardised_a_number_at_a_time():
    rows = np.array([[1, -5, np.nan], [9, 2, 0]], np.float32)
    out = np.zeros((2, 3), np.float32)
    center, scale = np.array([1, 1, 2], np.float32), np.array([2, 3, 4], np.float32)
    plain("activation")["standardised"](rows, center, np.float32(4), scale, out)
    np.testing.assert_array_equal(out, np.array([[0, -12, np.nan], [8, 3, -8]], np.float32))


# ------------------------------------------------------------------------------------------------------------ searches

NO_KEY = 2**64 - 1
# Queries 0 to 3 look at the first list, and two of them at the last one.
LISTS, STARTS, MEMBERS, EDGES = np.array([0, 2]), np.array([0, 4, 6]), np.array([0, 1, 2, 3, 1, 3]), [0, 20, 45, 70]
ORDER = np.random.default_rng(9).permutation(70).astype(np.uint32)
# Query 1 stands at place 50, query 2 at place 7; place 30 is in no list that query 3 looks at.
ITSELF = np.array([0xFFFFFFFF, 50, 7, 30], np.uint32)


def rows_and_queries(p, seed=0):
    """Rows of which many are alike, more of them than a buffer holds, and queries of which some are rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(70, p)).astype(np.float32)
    rows[ORDER[:14]] = rows[ORDER[0]]
    queries = rng.normal(size=(4, p)).astype(np.float32)
    queries[1:] = rows[ORDER[[50, 7, 30]]]
    return rows, queries


def smaller(name, **numbers):
    """The kernels of a module with other numbers than its own."""
    space = dict(plain(name))
    space.update(numbers)
    for word, value in plain(name).items():
        if isinstance(value, FunctionType) and value.__globals__ is plain(name):
            space[word] = FunctionType(value.__code__, space, word, value.__defaults__, value.__closure__)
    return space


def check_keys(keys, D, k, seen=(range(20), [*range(20), *range(45, 70)])):
    """The k least keys of each query are those of the nearest of the rows that it looks at, by distance and number."""
    for query in range(4):
        places = [at for at in seen[query % 2] if at != ITSELF[query]]
        wanted = sorted((np.float32(D[query, ORDER[at]]), int(ORDER[at])) for at in places)[:k]
        found = np.sort(keys[query])[:k]
        assert [int(key) & 0xFFFFFFFF for key in found] == [number for _, number in wanted]
        told = (found >> np.uint64(32)).astype(np.uint32).view(np.float32)
        np.testing.assert_allclose(told, [far for far, _ in wanted], rtol=2e-7)


@pytest.mark.parametrize("chunk", [4, 32])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("is_cosine", [False, True])
def test_the_blocked_search_finds_the_nearest_of_the_lists_it_looks_at(is_cosine, k, chunk):
    """In blocks of eight, with buffers that are full again and again, and with ties that fill them."""
    p = 5
    rows, queries = rows_and_queries(p)
    if is_cosine:
        rows[ORDER[3]] = 0
    kernels = smaller("knn", CHUNK=chunk)
    centre = rows.mean(axis=0).astype(np.float64)
    scale = 1 / np.sqrt(np.square(rows - centre).sum(axis=1).max())
    slack = (p + 16) * 2.0**-24
    reference, lifted = np.zeros((70, p + 1), np.float32), np.zeros((4, p + 1), np.float32)
    norms, query_norms = np.zeros(70), np.zeros(4)
    kernels["lift"](rows, ORDER, centre, scale, is_cosine, slack, False, reference, norms)
    kernels["lift"](queries, np.arange(4), centre, scale, is_cosine, slack, True, lifted, query_norms)
    assert (lifted[:, p] == 1).all() and (norms <= 1 + 1e-6).all()
    capacity = 2 * k + chunk + 2
    scores, places = np.zeros((4, capacity), np.float32), np.zeros((4, capacity), np.uint32)
    counts, bars = np.zeros(4, np.uint32), np.zeros(4, np.float32)
    keys = kernels["search"](
        lifted, queries, query_norms, ITSELF, LISTS, STARTS, MEMBERS, EDGES, reference, rows, ORDER, k, 8, slack,
        is_cosine, scores, places, counts, bars,
    )  # fmt: skip
    Q, X = queries.astype(float), rows.astype(float)
    if is_cosine:
        Q, X = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-30) for one in (Q, X))
    D = np.square(Q[:, None] - X).sum(axis=2)
    D = np.where(X.any(axis=1), D / 2, 1.0) if is_cosine else np.sqrt(D)
    check_keys(keys, D, k)
    # Few candidates are left to be measured.
    assert keys.shape[1] <= 14 + k + 8


@pytest.mark.parametrize("chunk", [4, 32])
@pytest.mark.parametrize(("p", "k"), [(5, 1), (5, 3), (70, 7)])
def test_the_search_by_what_both_have_finds_the_nearest_of_the_lists_it_looks_at(p, k, chunk):
    rows, queries = rows_and_queries(p)
    rng = np.random.default_rng(1)
    for table in (rows, queries):
        table[rng.random(table.shape) < 0.3] = np.nan
    rows[ORDER[5:14]] = rows[ORDER[0]]
    kernels = smaller("knn_gaps", CHUNK=chunk)
    centre = np.nanmean(rows, axis=0).astype(np.float64)
    scale = 1 / np.sqrt(np.nansum(np.square(rows - centre), axis=1).max())
    slack, words = 6 * p * 2.0**-24, -(-p // 64)
    reference, lifted = np.zeros((70, p), np.float32), np.zeros((4, p), np.float32)
    norms, query_norms = np.zeros(70, np.float32), np.zeros(4, np.float32)
    bits, query_bits = np.ones((70, words), np.uint64), np.ones((4, words), np.uint64)
    kernels["lift"](rows, ORDER, centre, scale, reference, norms, bits)
    kernels["lift"](queries, np.arange(4), centre, scale, lifted, query_norms, query_bits)
    np.testing.assert_allclose(norms, np.square(reference.astype(float)).sum(axis=1), rtol=1e-6)
    capacity = k + chunk + 2
    lows, places = np.zeros((4, capacity), np.float32), np.zeros((4, capacity), np.uint32)
    counts, bars, keys = np.zeros(4, np.uint32), np.zeros(4, np.float32), np.zeros((4, k), np.uint64)
    kernels["search"](
        lifted, queries, query_norms, query_bits, ITSELF, LISTS, STARTS, MEMBERS, EDGES, reference, norms,
        np.ascontiguousarray(bits.T), rows, ORDER, k, 8, slack, scale / math.sqrt(p), lows, places, counts, bars, keys,
    )  # fmt: skip
    squares = np.square(queries[:, None].astype(float) - rows)
    shared = np.isfinite(squares).sum(axis=2)
    # Rows without a column in common are no neighbours.
    assert p == 70 or (shared == 0).any()
    check_keys(keys, np.sqrt(np.where(shared > 0, np.nansum(squares, axis=2) * p / shared, np.inf)), k)


BITS = ["jaccard", "dice", "hamming", "rogerstanimoto", "sokalsneath", "russellrao", "yule"]


@pytest.mark.parametrize("k", [1, 30])
@pytest.mark.parametrize("metric", BITS)
def test_rows_of_bits_have_the_nearest_by_scipys_distances(metric, k):
    """Rows with few and with many bits, in words that are not full; more are asked for than there are of one count."""
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(k)
    p, kernels = 70, plain("bits")
    X = rng.random((40, p)) < rng.uniform(0.05, 0.95, (40, 1))
    X[::9] = X[0]
    Q = np.concatenate([X[[4, 11]], rng.random((3, p)) < 0.5])

    def packed(table):
        wide = np.zeros((len(table), 128), np.uint8)
        wide[:, :p] = table
        return np.packbits(wide, axis=1, bitorder="little").view(np.uint64)

    found = np.zeros(40, np.int64)
    kernels["count"](packed(X), found)
    np.testing.assert_array_equal(found, X.sum(axis=1))
    by_count = np.argsort(found, kind="stable")
    counts, sizes = np.unique(found, return_counts=True)
    itself = np.array([4, 11] + [0xFFFFFFFF] * 3, np.uint32)
    wanted = cdist(Q, X, metric)
    wanted[np.isnan(wanted)] = 0
    every = np.zeros((5, 40))
    kernels["of_counts"](
        BITS.index(metric), (Q.astype(int) @ X.T.astype(int)).astype(float), Q.sum(axis=1).astype(float),
        X.sum(axis=1).astype(float), float(p), every,
    )  # fmt: skip
    np.testing.assert_allclose(every, wanted, atol=1e-12)
    for first in (0, len(counts) // 2):
        keys = np.zeros((5, k), np.uint64)
        kernels["search"](
            BITS.index(metric), packed(Q), Q.sum(axis=1), itself, packed(X)[by_count], by_count.astype(np.uint32),
            np.r_[0, np.cumsum(sizes)], counts, first, float(p), keys,
        )  # fmt: skip
        for query in range(5):
            ranked = sorted((np.float32(wanted[query, row]), row) for row in range(40) if row != itself[query])[:k]
            assert [int(key) & 0xFFFFFFFF for key in np.sort(keys[query])] == [row for _, row in ranked]


@pytest.mark.parametrize("metric", BITS)
def test_the_fewest_shared_columns_are_found_by_trying_all(metric):
    kernels, kind, columns = plain("bits"), BITS.index(metric), 9.0
    rng = np.random.default_rng(0)
    for left, right in ((0, 0), (0, 4), (9, 9), (3, 5), (7, 8), (1, 1), (9, 2)):
        able = range(max(0, left + right - 9), min(left, right) + 1)
        apart = [
            np.float32(kernels["distance"](kind, float(both), float(left), float(right), columns)) for both in able
        ]
        for limit in [*apart, *rng.random(4).astype(np.float32)]:
            wanted = next((both for both, far in zip(able, apart, strict=True) if far <= limit), min(left, right) + 1)
            assert kernels["least"](kind, left, right, columns, limit) == wanted
