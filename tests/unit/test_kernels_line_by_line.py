"""Kernels as Python itself runs them, line by line and without a compiler, held against the words of their heads."""

from __future__ import annotations

import itertools
import math
from importlib import import_module
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest
import test_kernels_by_hand as by_hand
from scipy.interpolate import BSpline
from scipy.optimize import brentq
from scipy.sparse import csr_array
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


# ------------------------------------------------------------------------------------------------------------ placement


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


# ----------------------------------------------------------------------------------------------------------- affinities


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


def test_a_precision_is_found_in_few_looks():
    """Five or six for each row, where halving intervals takes twenty."""
    looks = []
    math_ = SimpleNamespace(**{name: getattr(math, name) for name in ("exp", "ceil", "inf", "copysign")})
    math_.log = lambda x: looks.append(x) or math.log(x)
    find, rng = smaller("calibrate", math=math_)["_precision"], np.random.default_rng(0)
    for shape in (0.5, 1, 3, 30):
        distances = np.sort(rng.gamma(shape, size=(20, 30)), axis=1).astype(np.float32)
        distances[::5] += 100
        for row in range(20):
            for perplexity in (2.5, 10, 25):
                find(distances, row, math.log(perplexity))
    assert len(looks) < 8 * 240


def rows_of(kind):
    """Twenty ascending distances: of all sizes, of some, or with so many that are the nearest alike."""
    rng, few = np.random.default_rng(0), (1, 2, 3, 5, 8, 12, 19)
    if kind == "copies":
        return [np.r_[np.zeros(c), np.sort(rng.gamma(2, size=20 - c))] for c in few]
    if kind == "copies far off":
        return [np.r_[np.full(c, 3.0), 3 + np.sort(rng.gamma(2, size=20 - c))] for c in few]
    if kind == "two distances":
        return [np.r_[np.full(c, 1e-6), np.full(20 - c, 1e3)] for c in few]
    wide = (-15, 37) if kind == "all sizes" else (-3, 3)
    return [np.sort(10.0 ** rng.uniform(*wide, 20)) for _ in range(12)]


@pytest.mark.parametrize("kind", ["all sizes", "six sizes", "copies", "copies far off", "two distances"])
def test_a_precision_is_found_wherever_it_is_and_no_sharper_one_is_sought_for_copies(kind):
    """Within a hundred-thousandth of the entropy; of copies no fewer than all are near, which is known in time."""
    looks = []
    math_ = SimpleNamespace(**{name: getattr(math, name) for name in ("exp", "ceil", "inf", "copysign")})
    math_.log = lambda x: looks.append(x) or math.log(x)
    find = smaller("calibrate", math=math_)["_precision"]
    for perplexity in (1.5, 3.0, 8.5, 13.0, 19.5):
        taken = []
        for row in rows_of(kind):
            distances = row.astype(np.float32)[None]
            looks.clear()
            beta, unit = find(distances, 0, math.log(perplexity))
            taken.append(len(looks))
            squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
            wanted = math.log(max(perplexity, np.count_nonzero(squares == 0)))
            assert entropy(beta * unit, squares) == pytest.approx(wanted, abs=1.1e-5)
        # Before the search ends by itself, after 64 steps.
        assert max(taken) < (36 if "sizes" in kind else 62)
        assert "sizes" not in kind or np.mean(taken) < 17


def test_no_precision_tells_copies_apart():
    """More of them than the perplexity asks for, of which all are equally likely, and nobody else is."""
    distances = np.array([[2, 2, 2, 2, 3, 4], [0, 0, 0, 0, 0, 1e-3]], np.float32)
    out = np.zeros((2, 6), np.float32)
    plain("calibrate")["calibrate"](distances, math.log(3.0), np.float32(1), 0, 2, out)
    np.testing.assert_allclose(out, [[0.25] * 4 + [0] * 2, [0.2] * 5 + [0]], atol=1e-6)


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
    # Rows so far from all others that no density is left of any of them in double precision.
    far = (1e5 + 4 * distances).astype(np.float32)
    plain("calibrate")["mix"](far, scales, 0, 2, out)
    np.testing.assert_allclose(out[:2].sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(out[:2], axis=1) <= 0).all() and (out[:2] < 0.9).all()


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


# -------------------------------------------------------------------------------------------------------- an activation


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


# ------------------------------------------------------------------------------------------------------------- searches

NO_KEY = 2**64 - 1
# Queries 0 to 3 look at the first list, and two of them at the last one.
LISTS, STARTS, MEMBERS, EDGES = np.array([0, 2]), np.array([0, 4, 6]), np.array([0, 1, 2, 3, 1, 3]), [0, 20, 45, 70]
ORDER = np.random.default_rng(9).permutation(70).astype(np.uint32)
# Query 1 stands at place 49, behind four others of its block, query 2 at place 7; place 30 is in no list that query 3
# looks at.
ITSELF = np.array([0xFFFFFFFF, 49, 7, 30], np.uint32)


def rows_and_queries(p, seed=0):
    """Rows of which many are alike, more of them than a buffer holds, and queries of which some are rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(70, p)).astype(np.float32)
    rows[ORDER[:14]] = rows[ORDER[0]]
    queries = rng.normal(size=(4, p)).astype(np.float32)
    queries[1:] = rows[ORDER[[49, 7, 30]]]
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


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 12])
def test_pairs_have_the_distances_of_their_definitions(n):
    kernels, rng = plain("knn"), np.random.default_rng(n)
    for scale in (1e-3, 1.0, 1e20):
        x, y = (scale * rng.normal(size=(2, n))).astype(np.float32)
        half = (0.5 * x / np.linalg.norm(x.astype(float))).astype(np.float32)
        a, b = x.astype(float), y.astype(float)
        assert kernels["euclidean_pair"](x, y) == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
        long = np.r_[rng.normal(size=3), b, rng.normal(size=2)]
        assert kernels["euclidean_from"](a, long, np.uint64(3)) == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
        wanted = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for one, other in ((x, y), (y, x), (half, y), (y, half)):
            assert kernels["cosine_pair"](one, other) == pytest.approx(wanted, abs=1e-7)
        nothing = np.zeros(n, np.float32)
        for one, other in ((x, nothing), (nothing, y), (nothing, nothing)):
            assert kernels["cosine_pair"](one, other) == 1.0
    # Rows of length one half, exactly: no number but zero is that of nothing.
    exact, other = np.eye(1, n, dtype=np.float32)[0] / 2, np.eye(1, n, n - 1, dtype=np.float32)[0]
    assert kernels["cosine_pair"](exact, exact) == 0 and kernels["cosine_pair"](other, exact) == (n > 1)


@pytest.mark.parametrize("is_cosine", [False, True])
def test_distances_beyond_single_precision_are_its_largest_number(is_cosine):
    rows = np.full((2, 3), 3e38, np.float32)
    rows[1] *= -1
    keys, out = np.zeros((1, 2), np.uint64), np.zeros(2, np.uint64)
    plain("knn")["rerank"](rows[:1], rows, np.array([[1, 0]]), np.array([9], np.uint32), is_cosine, keys)
    plain("knn")["exact_keys"](rows[0], rows, np.arange(2), is_cosine, np.array([1, 0]), 2, out)
    for found in (keys[0], out):
        told = (found >> np.uint64(32)).astype(np.uint32).view(np.float32)
        np.testing.assert_array_equal(told, [2.0 if is_cosine else np.finfo(np.float32).max, 0])


@pytest.mark.parametrize("is_query", [False, True])
@pytest.mark.parametrize("is_cosine", [False, True])
def test_rows_are_lifted_as_the_head_of_the_module_says(is_cosine, is_query):
    rng, p, scale, slack = np.random.default_rng(0), 5, 0.25, 0.01
    rows, numbers, centre = rng.normal(size=(6, p)).astype(np.float32), np.array([4, 0, 5, 2]), rng.normal(size=p)
    rows[0, :2], rows[5], rows[2] = [1e30, -1e30], 0, [0.25, 0.25, 0.25, 0.25, 0]
    lifted, norms = np.full((4, p + 1), 9.0), np.full(4, 9.0)
    plain("knn")["lift"](rows, numbers, centre, scale, is_cosine, slack, is_query, lifted, norms)
    some = rows[numbers].astype(float)
    if is_cosine:
        # All have the norm of one, those of zeros, too: they are as far from everything.
        wanted, squares = some / np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-30), np.ones(4)
    else:
        wanted = np.clip((some - centre) * scale, -(2.0**40), 2.0**40)
        squares = np.square(wanted).sum(axis=1)
    np.testing.assert_allclose(lifted[:, :p], wanted, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(norms, squares, rtol=1e-6)
    np.testing.assert_allclose(lifted[:, p], np.ones(4) if is_query else -squares / 2 * (1 - 2 * slack), rtol=1e-6)


def test_no_row_of_a_score_is_longer_than_what_its_score_allows():
    """Within the root of |q|^2 - 2 low of the query, and never beyond 1."""
    largest, rng = plain("knn")["largest_norm"], np.random.default_rng(0)
    for size in (0.0, 0.01, 0.1, 0.4, 1.5):
        for _ in range(20):
            q, x = (one / np.linalg.norm(one) for one in rng.normal(size=(2, 3)))
            q, x = size * q, rng.uniform(0, 1) * x
            low = np.float32(q @ x - x @ x / 2)
            found = largest(low, q @ q, 1e-7)
            away = np.sqrt(max(size**2 - 2 * float(low), 0)) + size
            assert x @ x <= found * (1 + 1e-6) and found == pytest.approx(min(1.0, away**2), rel=1e-3, abs=1e-6)
        # A score that no row can have, but by rounding, is that of the query itself.
        assert largest(np.float32(size**2), size**2, 1e-9) == pytest.approx(min(1.0, size**2), rel=1e-3)


@pytest.mark.parametrize("before", [-np.inf, 0.2, 0.6])
@pytest.mark.parametrize(("count", "k", "spare"), [(2, 3, 0), (3, 3, 0), (4, 3, 0), (30, 3, 0), (30, 1, 0), (30, 8, 4)])
def test_a_bar_is_between_the_candidates_that_are_enough_and_those_that_are_too_many(before, count, k, spare):
    rng, slack = np.random.default_rng(count), 1e-9
    scores, places = np.zeros((2, 40), np.float32), np.zeros((2, 40), np.uint32)
    values = rng.permutation(np.linspace(0.1, 0.9, count)).astype(np.float32)
    values = values[values >= before]
    m = len(values)
    scores[1, :m], places[1, :m] = values, rng.permutation(90)[:m]
    labels, counts, bars = places[1, :m].copy(), np.array([7, m], np.uint32), np.array([-1, before], np.float32)
    plain("knn")["tighten"](1, k, spare, slack, 2.0, scores, places, counts, bars)
    assert (counts[0], bars[0]) == (7, -1)
    if m < k:
        assert (counts[1], bars[1]) == (m, np.float32(before))
        return
    ranked = np.sort(values)[::-1]
    # No higher than the k-th best, and at least as high as what leaves no more than the spare ones with it.
    assert before <= bars[1] <= ranked[k - 1]
    assert m <= k + spare or bars[1] >= ranked[k + spare] - 1e-5 or bars[1] == np.float32(before)
    kept = values >= bars[1]
    assert counts[1] == kept.sum() >= k
    np.testing.assert_array_equal(scores[1, : counts[1]], values[kept])
    np.testing.assert_array_equal(places[1, : counts[1]], labels[kept])


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_one_candidate_is_taken_out_wherever_it_is(count):
    """The last of its name; those behind it move up, and room behind them stays as it is."""
    for at in range(count):
        values, labels = np.arange(10, 20, dtype=np.float32), np.array([5, 7, 9, 11, 13, 15, 7, 5, 5, 5], np.uint32)
        kept = [[*array[:at], *array[at + 1 : count]] for array in (values, labels)]
        behind = [array[count:].tolist() for array in (values, labels)]
        assert plain("knn")["without"](labels[at], values, labels, np.uint64(count)) == count - 1
        for array, wanted, rest in zip((values, labels), kept, behind, strict=True):
            assert array[: count - 1].tolist() == wanted and array[count:].tolist() == rest


@pytest.mark.parametrize("is_cosine", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_ties_that_fill_a_buffer_are_settled_by_distance_and_number(k, is_cosine):
    rng = np.random.default_rng(k)
    rows, order = rng.integers(1, 4, (20, 2)).astype(np.float32), rng.permutation(20).astype(np.uint32)
    query = np.float32([1, 2])
    scores, places = np.zeros((2, 15), np.float32), np.zeros((2, 15), np.uint32)
    scores[1], places[1] = rng.normal(size=15), rng.permutation(20)[:15]
    before, counts = (scores[1].copy(), places[1].copy()), np.array([4, 12], np.uint32)
    plain("knn")["settle"](1, k, query, rows, order, is_cosine, scores, places, counts)
    pair = plain("knn")["pair"]
    near = sorted(range(12), key=lambda i: (pair(query, rows[order[before[1][i]]], is_cosine), order[before[1][i]]))[:k]
    assert counts.tolist() == [4, k]
    np.testing.assert_array_equal(scores[1, :k], before[0][near])
    np.testing.assert_array_equal(places[1, :k], before[1][near])


def searched_by_gaps(rows, queries, k, chunk):
    """Keys of the nearest by what both rows have."""
    p, kernels = rows.shape[1], smaller("knn_gaps", CHUNK=chunk)
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
    return keys


def gap_distances(queries, rows):
    """Root of the mean square over the columns that both have, times all columns; infinite where there is none."""
    squares = np.square(queries[:, None].astype(float) - rows)
    shared = np.isfinite(squares).sum(axis=2)
    return np.sqrt(np.where(shared > 0, np.nansum(squares, axis=2) * rows.shape[1] / np.maximum(shared, 1), np.inf))


@pytest.mark.parametrize("chunk", [4, 32])
@pytest.mark.parametrize(("p", "k"), [(5, 1), (5, 3), (70, 7)])
def test_the_search_by_what_both_have_finds_the_nearest_of_the_lists_it_looks_at(p, k, chunk):
    rows, queries = rows_and_queries(p)
    rng = np.random.default_rng(1)
    for table in (rows, queries):
        table[rng.random(table.shape) < 0.3] = np.nan
    rows[ORDER[5:14]] = rows[ORDER[0]]
    D = gap_distances(queries, rows)
    # Rows without a column in common are no neighbours.
    assert p == 70 or np.isinf(D).any()
    check_keys(searched_by_gaps(rows, queries, k, chunk), D, k)


@pytest.mark.parametrize("chunk", [4, 32])
def test_who_has_nothing_in_common_is_nobodys_neighbour_though_fewer_are_left(chunk):
    rows, queries = rows_and_queries(6, 3)
    rows[:, 2], queries[0, [0, 1, 3, 4, 5]], queries[0, 2] = np.nan, np.nan, 1.0
    few = ORDER[[3, 11, 19]]
    rows[few, 2] = [4, -1, 2]
    keys = np.sort(searched_by_gaps(rows, queries, 7, chunk)[0])
    assert (keys[3:] == NO_KEY).all()
    assert [int(key) & 0xFFFFFFFF for key in keys[:3]] == [few[2], few[1], few[0]]


def test_a_pair_of_rows_is_compared_by_the_columns_that_both_have():
    pair, rng = plain("knn_gaps")["pair"], np.random.default_rng(0)
    for n in range(1, 14):
        for share in (0, 0.3, 0.7, 1):
            x, y = (np.where(rng.random(n) < share, np.nan, rng.normal(size=n)).astype(np.float32) for _ in range(2))
            assert pair(x, y) == pytest.approx(gap_distances(x[None], y[None])[0, 0], rel=1e-12)
        assert pair(x * np.nan, y) == np.inf


def test_what_products_are_made_of_is_what_the_head_of_the_module_says():
    kernels, rng, p = plain("knn_gaps"), np.random.default_rng(0), 70
    rows, numbers = rng.normal(size=(6, p)), np.array([4, 0, 5])
    rows[rng.random(rows.shape) < 0.4] = np.nan
    rows[0, :2], rows[5, 69] = [1e300, -1e300], 7.0
    centre, scale = rng.normal(size=p), 0.25
    lifted, norms, bits = np.full((3, p), 9, np.float32), np.full(3, 9, np.float32), np.full((3, 2), 9, np.uint64)
    kernels["lift"](rows, numbers, centre, scale, lifted, norms, bits)
    there = np.isfinite(rows[numbers])
    wanted = np.where(there, np.clip((rows[numbers] - centre) * scale, -(2.0**40), 2.0**40), 0)
    np.testing.assert_allclose(lifted, wanted, rtol=1e-6)
    np.testing.assert_allclose(norms, np.square(wanted).sum(axis=1), rtol=1e-6)
    held = (bits[:, np.arange(p) // 64] >> (np.arange(p) % 64).astype(np.uint64)) & np.uint64(1)
    np.testing.assert_array_equal(held, there)
    asked, answers = np.zeros(3 * p, np.float32), np.full((2, 3 * p), 9, np.float32)
    kernels["as_query"](lifted[2], bits[2], asked)
    np.testing.assert_array_equal(asked, np.concatenate([lifted[2] ** 2, there[2], -2 * lifted[2]]))
    kernels["as_reference"](lifted, np.ascontiguousarray(bits.T), 1, 1, answers)
    np.testing.assert_array_equal(answers[0], np.concatenate([there[1], lifted[1] ** 2, lifted[1]]))
    assert (answers[1] == 9).all()


@pytest.mark.parametrize("found", [0, 1, 2, 9])
@pytest.mark.parametrize("before", [0, 2, 3])
def test_candidates_that_are_settled_leave_the_nearest_and_a_bar_at_the_last_of_them(before, found):
    kernels, rng, k, unit = plain("knn_gaps"), np.random.default_rng(before), 3, 0.125
    rows, query, order = rng.normal(size=(20, 4)).astype(np.float32), np.zeros(4, np.float32), rng.permutation(20)
    far = np.linalg.norm(rows.astype(float), axis=1).astype(np.float32)
    key = lambda number: (np.uint64(far[number].view(np.uint32)) << np.uint64(32)) | np.uint64(number)  # noqa: E731
    old, new = order[:before], order[5 : 5 + found]
    keys = np.full((2, k), NO_KEY, np.uint64)
    keys[1, :before] = sorted(key(number) for number in old)
    places, counts, bars = np.zeros((2, 12), np.uint32), np.array([5, found], np.uint32), np.full(2, np.inf, np.float32)
    places[1, :found] = np.arange(5, 5 + found)
    kernels["settle"](1, k, unit, query, rows, order, places, counts, bars, keys)
    wanted = sorted(key(number) for number in (*old, *new))[:k]
    assert keys[1].tolist() == [*wanted, *[NO_KEY] * (k - len(wanted))]
    assert counts.tolist() == [5, 0] and (keys[0] == NO_KEY).all() and bars[0] == np.inf
    if len(wanted) < k or not found:
        assert bars[1] == np.inf
    else:
        square = (float(sorted(far[[*old, *new]])[k - 1]) * unit) ** 2
        assert square <= float(bars[1]) <= square * (1 + 2e-6)


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
        kernels["KINDS"][metric], (Q.astype(int) @ X.T.astype(int)).astype(float), Q.sum(axis=1).astype(float),
        X.sum(axis=1).astype(float), float(p), every,
    )  # fmt: skip
    np.testing.assert_allclose(every, wanted, atol=1e-12)
    for first in (0, len(counts) // 2):
        keys = np.zeros((5, k), np.uint64)
        kernels["search"](
            kernels["KINDS"][metric], packed(Q), Q.sum(axis=1), itself, packed(X)[by_count], by_count.astype(np.uint32),
            np.r_[0, np.cumsum(sizes)], counts, first, float(p), keys,
        )  # fmt: skip
        for query in range(5):
            ranked = sorted((np.float32(wanted[query, row]), row) for row in range(40) if row != itself[query])[:k]
            assert [int(key) & 0xFFFFFFFF for key in np.sort(keys[query])] == [row for _, row in ranked]


@pytest.mark.parametrize("metric", BITS)
def test_the_fewest_shared_columns_are_found_by_trying_all(metric):
    kernels, kind, columns = plain("bits"), plain("bits")["KINDS"][metric], 9.0
    rng = np.random.default_rng(0)
    for left, right in ((0, 0), (0, 4), (9, 9), (3, 5), (7, 8), (1, 1), (9, 2)):
        able = range(max(0, left + right - 9), min(left, right) + 1)
        apart = [
            np.float32(kernels["distance"](kind, float(both), float(left), float(right), columns)) for both in able
        ]
        for limit in [*apart, *rng.random(4).astype(np.float32)]:
            wanted = next((both for both, far in zip(able, apart, strict=True) if far <= limit), min(left, right) + 1)
            assert kernels["least"](kind, left, right, columns, limit) == wanted


# -------------------------------------------------------------------------------------------- what other tests ask, too


@pytest.mark.parametrize(
    ("test", "given"),
    [
        ("test_what_was_found_is_measured_and_what_is_none_is_last", (False,)),
        ("test_what_was_found_is_measured_and_what_is_none_is_last", (True,)),
        ("test_neighbours_of_distinct_rows_are_spread_over_their_copies", (2,)),
        ("test_neighbours_of_distinct_rows_are_spread_over_their_copies", (9,)),
        ("test_where_there_are_fewer_rows_than_are_asked_for_the_last_are_none", ()),
        ("test_a_row_is_not_among_its_own_neighbours", (3,)),
        ("test_how_many_neighbours_are_as_near_on_the_map", (2,)),
        ("test_neighbours_after_a_move_on_a_line", (14, 4, 1.0, 0.25)),
        ("test_neighbours_after_a_move_on_a_line", (9, 9, -1.0, 1.0)),
        ("test_missing_values_are_means_of_the_nearest_donors_that_have_them", (2,)),
        ("test_missing_values_are_means_of_the_nearest_donors_that_have_them", (30,)),
    ],
)
def test_kernels_that_are_asked_by_hand(test, given, monkeypatch):
    """The same questions, line by line."""
    for module in ("knn", "trust"):
        monkeypatch.setattr(by_hand, module, SimpleNamespace(**plain(module)))
    monkeypatch.setattr(by_hand, "spread", plain("knn_distinct")["spread"])
    monkeypatch.setattr(by_hand, "fill_from_nearest", plain("fill")["fill_from_nearest"])
    getattr(by_hand, test)(*given)


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


# ----------------------------------------------------------------------------------------------------- joint affinities


@pytest.mark.parametrize("differ", [True, False])
def test_edges_of_both_ways_are_merged_once(differ):
    """By blocks of rows, from one scan of all edges or from edges that were scattered before."""
    kernels, rng = plain("symmetrize"), np.random.default_rng(0)
    n, k = 9, 3
    neighbors = np.array([rng.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)], np.uint32)
    p = rng.random((n, k)).astype(np.float32) if differ else np.empty((0, 0), np.float32)
    dense = np.zeros((n, n))
    np.put_along_axis(dense, neighbors.astype(int), p if differ else 1.0, axis=1)
    counts = np.zeros(n, np.int64)
    kernels["count_incoming"](neighbors, counts)
    np.testing.assert_array_equal(counts, (dense > 0).sum(axis=0))
    block_of = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2], np.uint16)
    of_blocks = np.zeros(3, np.int64)
    kernels["count_edges"](neighbors, block_of, of_blocks)
    np.testing.assert_array_equal(of_blocks, np.bincount(block_of[neighbors.ravel()]))
    edges = n * k
    targets, froms, of_edges = (
        np.zeros(edges, np.uint32),
        np.zeros(edges, np.uint32),
        np.zeros(edges if differ else 0, np.float32),
    )
    starts = np.r_[0, np.cumsum(of_blocks)]
    kernels["scatter_edges"](neighbors, p, 0, block_of, starts[:-1].copy(), targets, froms, of_edges)
    for block, (first, last) in enumerate(((0, 4), (4, 7), (7, 9))):
        offsets = np.r_[0, np.cumsum(counts[first:last])].astype(np.uint64)
        room = int(offsets[-1])
        ways = []
        for scattered in (False, True):
            sources, into = np.zeros(room, np.uint32), np.zeros(room if differ else 0, np.float32)
            if scattered:
                some = slice(starts[block], starts[block + 1])
                kernels["sort_edges"](
                    targets[some], froms[some], of_edges[some], first, offsets[:-1].copy(), sources, into
                )
            else:
                kernels["gather_incoming"](neighbors, p, first, last, offsets[:-1].copy(), sources, into)
            ways.append((sources.tolist(), into.tolist()))
        assert ways[0] == ways[1]
        own = neighbors[first:last], (p[first:last] if differ else p)
        scale, place, ends = np.float32(0.25), np.zeros(n, np.uint32), np.zeros(last - first + 1, np.uint64)
        kernels["merge"](
            *own, offsets, sources, into, scale, place, ends, np.empty(0, np.uint32), np.empty(0, np.float32)
        )
        np.cumsum(ends, out=ends)
        found, values = np.zeros(int(ends[-1]), np.uint32), np.zeros(int(ends[-1]) if differ else 0, np.float32)
        kernels["merge"](*own, offsets, sources, into, scale, place, ends, found, values)
        assert not place.any()
        for row in range(first, last):
            some = slice(int(ends[row - first]), int(ends[row - first + 1]))
            both = dense[row] + dense[:, row]
            new = [j for j in np.flatnonzero(dense[:, row]) if not dense[row, j]]
            assert found[some].tolist() == [*neighbors[row].tolist(), *new]
            if differ:
                np.testing.assert_allclose(values[some], 0.25 * both[found[some]], rtol=1e-6)


# ---------------------------------------------------------------------------------------------- hashes, sums and counts


def test_numbers_of_rows_are_mixed_as_their_authors_have_it():
    """The first number of SplitMix64 from 0, and MurmurHash3's finaliser of 1, as published."""
    assert plain("boxes")["_mix"](np.uint64(0x9E3779B97F4A7C15)) == 0xE220A8397B1DCDAF
    assert plain("equal")["_mix"](np.uint64(1)) == 0xB456BCFC34C2CB2C


def test_hashes_of_rows_are_those_of_their_cells_in_any_form():
    kernels, rng = plain("equal"), np.random.default_rng(0)
    rows = np.where(rng.random((8, 6)) < 0.5, rng.normal(size=(8, 6)), 0).astype(np.float32)
    rows[3] = rows[5]
    rows[4], rows[6] = rows[7], 0
    rows[4, np.flatnonzero(rows[4] == 0)] = -0.0
    dense, sparse = np.zeros((2, 8, 2), np.uint64)
    kernels["hash_dense"](rows.view(np.uint32), 1, 8, dense)
    table = csr_array(rows)
    for i in range(8):
        # Entries in another order, and a zero among them.
        some = slice(table.indptr[i], table.indptr[i + 1])
        table.indices[some], table.data[some] = table.indices[some][::-1].copy(), table.data[some][::-1].copy()
    kernels["hash_sparse"](table.indptr, table.indices, table.data.view(np.uint32), 1, 8, sparse)
    np.testing.assert_array_equal(dense, sparse)
    assert not dense[0].any() and not dense[6].any()
    assert (dense[3] == dense[5]).all() and (dense[4] == dense[7]).all()
    assert len({*dense[1:, 0].tolist()}) == len({*dense[1:, 1].tolist()}) == 5
    # Neither half is the other, and numbers that change places make another row.
    assert not set(dense[1:6, 0].tolist()) & set(dense[1:6, 1].tolist())
    turned = np.ascontiguousarray(rows[:, ::-1])
    other = np.zeros((8, 2), np.uint64)
    kernels["hash_dense"](turned.view(np.uint32), 0, 8, other)
    assert not set(other[[1, 2, 3]].ravel().tolist()) & set(dense.ravel().tolist())


def test_rows_of_one_box_have_one_hash_and_each_row_a_number_of_its_own():
    kernels, rng = plain("boxes"), np.random.default_rng(0)
    rows, numbers = np.arange(200), np.zeros((2, 200), np.uint64)
    for seed in (0, 1):
        kernels["draw_priorities"](rows, seed, numbers[seed])
    assert len({*numbers.ravel().tolist()}) == 400
    coordinates = rng.integers(0, 32, (200, 2)).astype(np.uint64)
    shifts, hashes = np.array([3, 2], np.uint64), np.zeros((2, 200), np.uint64)
    for seed in (0, 1):
        kernels["hash_boxes"](coordinates, shifts, seed, hashes[seed])
    boxes = [tuple(row) for row in (coordinates >> shifts).tolist()]
    for seed in (0, 1):
        assert len({*zip(boxes, hashes[seed].tolist(), strict=True)}) == len({*boxes}) == len({*hashes[seed].tolist()})
    assert (hashes[0] != hashes[1]).all()


@pytest.mark.parametrize("p", [3, 4, 5, 8, 11])
def test_rows_are_projected_one_by_one(p):
    rng = np.random.default_rng(p)
    rows, mean, axes, out = rng.normal(size=(5, p)), rng.normal(size=p), rng.normal(size=(p, 3)), np.full((5, 3), 9.0)
    plain("project")["project"](rows, mean, axes, out)
    np.testing.assert_allclose(out, (rows - mean) @ axes, rtol=1e-12)


def test_rows_below_a_reach_are_added_to_what_was_counted():
    distances = np.array([[1, 2, 2, 5], [0, 0, 1, 9]], np.float32)
    reach, counts = np.array([[2, 6, 1], [0, 1, 10]], np.float32), np.full((2, 3), 10)
    plain("ranks")["count_below"](distances, reach, counts)
    assert counts.tolist() == [[11, 14, 10], [10, 12, 14]]


def test_novelty_is_a_ratio_of_means_and_finite():
    kernels = plain("novelty")
    distances, means = np.array([[1, 2, 9], [3, 5, 9]], np.float32), np.zeros(2, np.float32)
    kernels["mean_distances"](distances, 2, means)
    assert means.tolist() == [1.5, 4]
    own, out = np.array([2, 0.5, 1e-38], np.float32), np.zeros(2, np.float32)
    kernels["novelty"](np.array([[1, 0, 2], [0, 0, 1]], np.uint32), distances, own, 2, out)
    np.testing.assert_allclose(out, [3 / 2.5, 8 / 4], rtol=1e-6)
    kernels["novelty"](np.full((2, 3), 2, np.uint32), distances * np.float32(1e5), own, 2, out)
    assert (out == np.finfo(np.float32).max).all()


def test_rows_of_a_map_are_counted_in_cells():
    """Those beyond the frame at its rim, and those without a place nowhere; values in steps, where there is one."""
    kernels, rng = plain("cells"), np.random.default_rng(0)
    Y = rng.uniform(-1, 6, (60, 2)).astype(np.float32)
    # Rows exactly on each side of the box and of the frame are within.
    Y[20:28] = np.float32([[0, 1], [4, 1], [1, 0.5], [1, 3.5], [0, 0.5], [4, 3.5], [0, 3.5], [4, 0.5]])
    Y[5, 0], Y[9, 1], Y[11] = np.nan, np.inf, -np.inf
    Y[[12, 13], 0], Y[[14, 15], 1] = [np.inf, -np.inf], [-np.inf, np.nan]
    there = np.isfinite(Y).all(axis=1)
    box = np.array([0, 0.5, 4, 3.5])
    low, high, inner_low, inner_high = (np.full(2, x) for x in (np.inf, -np.inf, np.inf, -np.inf))
    lost, beyond = kernels["extent"](Y, box, low, high, inner_low, inner_high)
    left, right = box[:2], box[2:]
    inside = there & ((left <= Y) & (right >= Y)).all(axis=1)
    assert (lost, beyond) == (7, there.sum() - inside.sum())
    for found, wanted in ((low, Y[there].min(axis=0)), (high, Y[there].max(axis=0)),
                          (inner_low, Y[inside].min(axis=0)), (inner_high, Y[inside].max(axis=0))):  # fmt: skip
        np.testing.assert_array_equal(found, wanted)
    cells, coarse, frame = 6, 3, np.array([0, 0.5, 1.5, 2.0])
    across, up = (np.clip((Y[there, a].astype(float) - frame[a]) * frame[2 + a], 0, cells - 1) for a in (0, 1))
    cell = up.astype(int) * cells + across.astype(int)
    codes, colors = rng.integers(0, 3, 60), rng.integers(0, 255, (3, 3))
    picture, kinds = np.zeros((36, 4), np.uint64), np.zeros((3, 3, 3), np.uint32)
    kernels["count_kinds"](Y, codes, colors, frame, cells, coarse, picture, kinds)
    wanted, of_kinds = np.zeros((36, 4)), np.zeros((3, 3, 3))
    np.add.at(wanted, cell, np.c_[np.ones(53), colors[codes[there]]])
    np.add.at(of_kinds, (codes[there], (up / 2).astype(int), (across / 2).astype(int)), 1)
    np.testing.assert_array_equal(picture, wanted)
    np.testing.assert_array_equal(kinds, of_kinds)
    values = rng.uniform(-2, 12, 60)
    values[[3, 4, 6]] = np.nan, np.inf, -np.inf
    picture = np.zeros((36, 3), np.uint64)
    kernels["count_values"](Y, values, 1.0, 8.0, 100, frame, cells, picture)
    given = np.isfinite(values[there])
    steps = np.floor(np.clip((values[there] - 1) / 8, 0, 1) * 100 + 0.5)
    wanted = np.zeros((36, 3))
    np.add.at(wanted, cell, np.c_[np.ones(53), given, np.where(given, steps, 0)])
    np.testing.assert_array_equal(picture, wanted)


def test_of_equal_distances_after_a_move_the_first_stays_first():
    """They are equal as they are told, in single precision; behind them come those that are farther in any."""
    near = np.array([[4, 2, 3, 0, 1]], np.uint32)
    far = np.array([[0.1, 0.1, 0.1, 0.3, 0.7]], np.float32)
    for unit in (1.0, 3.0, 0.7):
        for k in (1, 2, 3, 4, 5):
            out, distances = np.zeros((1, k), np.uint32), np.zeros((1, k), np.float32)
            # The second is nearer by less than single precision tells, the third by so little more.
            there = np.array([0.0, 0.0, 1e-12, -1e-12, 0.0])
            plain("trust")["moved"](
                near, far, 5, np.zeros(1), there, 1.0, 0.0, unit, out, distances, 0, 1
            )  # fmt: skip
            assert out[0].tolist() == [4, 2, 3, 0, 1][:k]
            np.testing.assert_array_equal(distances[0], far[0, :k])
    # A nearer one behind them is not missed.
    out, distances = np.zeros((1, 1), np.uint32), np.zeros((1, 1), np.float32)
    far = np.array([[0.1, 0.1, 0.05]], np.float32)
    there = np.array([0.0, 0.0, 1e-12, 0.0, 0.0])
    plain("trust")["moved"](near, far, 3, np.zeros(1), there, 1.0, 0.0, 3.0, out, distances, 0, 1)
    assert out.tolist() == [[3]] and distances[0, 0] == np.float32(0.05)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_sparse_rows_are_compared_by_all_columns_that_either_has(kind):
    kernels, rng = plain("knn_sparse"), np.random.default_rng(kind)
    Q, X = (np.where(rng.random((n, 8)) < 0.4, rng.integers(1, 4, (n, 8)), 0).astype(float) for n in (4, 9))
    X[2], Q[1] = 0, 0
    own, factors = rng.integers(1, 3, 4).astype(float), rng.integers(1, 3, 9).astype(float)
    q, x = csr_array(Q), csr_array(X)
    edges, numbers = np.array([0, 5, 5, 12, 14]), rng.integers(0, 9, 14)
    result = np.zeros(14)
    kernels["sparse_distances"](
        q.data, q.indices, q.indptr, own, x.data, x.indices, x.indptr, factors, 8, kind, edges, numbers, result
    )
    query = np.repeat(np.arange(4), np.diff(edges))
    gaps = np.abs(Q[query] * own[query, None] - X[numbers] * factors[numbers, None])
    wanted = [np.square(gaps).sum(axis=1), gaps.sum(axis=1), gaps.max(axis=1), (gaps != 0).sum(axis=1)][kind]
    np.testing.assert_allclose(result, wanted)
