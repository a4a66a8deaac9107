"""The field against the exact sum: value, gradient, Z, on tiny and huge maps, in one to three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from reference import field as exact_field
from reference import others_field, relative

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients import field as field_module
from tsne_ooc.gradients.convolve import Convolution
from tsne_ooc.gradients.field import Field, FieldPlanner
from tsne_ooc.gradients.grid import MOST_NODES, Shape, shape_for
from tsne_ooc.gradients.kernel import influence, kernel_for
from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion

ONE = Threads(1)

# The budgets that the documentation states.
FORCE, Z = 1e-2, 1e-4


def spread(n, d, width, seed=0, clustered=False):
    rng = np.random.default_rng(seed)
    if clustered:
        centres = rng.uniform(-0.4, 0.4, (20, d))
        Y = centres[rng.integers(20, size=n)] + rng.normal(0, 0.02, (n, d))
    else:
        Y = rng.uniform(-0.5, 0.5, (n, d))
    return (Y * width).astype(np.float32)


def read_at_sources(Y, dof=1.0, threads=ONE):
    field = FieldPlanner(dof, threads).plan(Y)
    gradient = np.empty_like(Y)
    return field, field.at_sources(Y, gradient, threads), gradient


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("d", "width"),
    [
        (1, 1e-3),
        (1, 2.0),
        (1, 80.0),
        (1, 500.0),
        (2, 1e-3),
        (2, 0.3),
        (2, 9.0),
        (2, 40.0),
        (2, 500.0),
        (3, 1e-3),
        (3, 5.0),
        (3, 30.0),
    ],
)
def test_force_and_z_are_within_the_budget(d, width, dof, clustered):
    Y = spread(2000, d, width, clustered=clustered)
    S, gradient = others_field(Y, dof)
    _, total, found = read_at_sources(Y, dof)
    assert relative(found, gradient) < FORCE
    assert abs(total / S.sum() - 1) < Z
    # What an answer of zeros would score.
    assert relative(np.zeros_like(found), gradient) > 0.9


@pytest.mark.parametrize("d", [1, 2, 3])
def test_field_at_any_place(d):
    Y = spread(1500, d, 25.0)
    rng = np.random.default_rng(1)
    targets = rng.uniform(-15, 15, (300, d)).astype(np.float32)
    field = FieldPlanner(1.0, ONE, margin=5.0).plan(Y)
    value, gradient = field.at(targets, ONE)
    S, slope = exact_field(targets, Y)
    assert relative(value, S) < 1e-3
    assert relative(gradient, slope) < FORCE


def test_field_refuses_places_outside_and_names_the_row():
    field = FieldPlanner(1.0, ONE).plan(spread(500, 2, 20.0))
    with pytest.raises(ValueError, match=r"row 1 at \[1000\.0, 0\.0\] lies outside"):
        field.at(np.array([[0, 0], [1000, 0]], np.float32), ONE)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_no_place_that_can_be_read_lies_beyond_the_grid(d):
    """Kernels check no bounds: from the cell of a place they read four nodes on each axis."""
    rng = np.random.default_rng(d)
    for _ in range(200):
        nodes = tuple(int(n) for n in rng.integers(8, 60, d))
        origin = (rng.normal(size=d) * 10.0 ** rng.integers(-4, 8)).astype(np.float32)
        shape = Shape(float(rng.uniform(0.01, 0.9)), tuple(2 * n for n in nodes))
        field = Field(np.zeros(shape.nodes, np.float32), origin, shape, np.zeros(5, np.float32), 0.0, 1)
        for place in (field.low, field.high):
            cell = np.floor((place - field.origin) * field.per_cell)
            assert (cell >= 0).all() and (cell + 4 <= shape.nodes).all()
        # And hardly a cell is given away.
        lost = (field.origin.astype(float) + (np.array(shape.nodes) - 4) * shape.spacing - field.high) / shape.spacing
        assert (lost < 0.01 + np.spacing(np.abs(field.high)) * 4 / shape.spacing).all()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_field_reaches_as_far_as_its_margin_and_says_so(d):
    Y = spread(300, d, 12.0)
    field = FieldPlanner(1.0, ONE, margin=3.0).plan(Y)
    assert (field.low <= Y.min(0) - 2.999).all() and (field.high >= Y.max(0) + 2.999).all()
    corners = np.stack([field.low, field.high])
    value, gradient = field.at(corners, ONE)
    S, slope = exact_field(corners, Y)
    assert relative(value, S) < 1e-2 and relative(gradient, slope) < 5e-2
    for axis in range(d):
        for corner, way in ((field.low, -np.inf), (field.high, np.inf)):
            outside = corner.copy()
            outside[axis] = np.nextafter(outside[axis], np.float32(way))
            with pytest.raises(ValueError, match=r"row 0 at .* lies outside"):
                field.at(outside[None], ONE)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradient_is_the_derivative_of_the_value(d):
    field = FieldPlanner(1.0, ONE, margin=2.0).plan(spread(800, d, 18.0))
    rng = np.random.default_rng(2)
    targets = rng.uniform(-9, 9, (50, d)).astype(np.float32)
    _, gradient = field.at(targets, ONE)
    step = np.float32(1 / 64)
    numerical = np.empty_like(gradient)
    for axis in range(d):
        move = np.zeros(d, np.float32)
        move[axis] = step
        numerical[:, axis] = (field.at(targets + move, ONE)[0] - field.at(targets - move, ONE)[0]) / (2 * step)
    assert relative(gradient, numerical) < 5e-3


def test_one_far_outlier():
    Y = spread(2000, 2, 30.0)
    Y[7] = (400.0, -350.0)
    S, gradient = others_field(Y)
    _, total, found = read_at_sources(Y)
    assert relative(found, gradient) < FORCE
    # Its own force is a hundred thousandth of the others', and is lost in float32 no sooner than theirs.
    assert np.linalg.norm(found[7] - gradient[7]) < 1e-4 * np.sqrt((gradient**2).sum(1).mean())
    assert abs(total / S.sum() - 1) < Z


def test_a_long_thin_map():
    Y = spread(2000, 2, 1.0) * np.array([300.0, 1e-3], np.float32)
    S, gradient = others_field(Y)
    _, total, found = read_at_sources(Y)
    assert relative(found[:, 0], gradient[:, 0]) < FORCE
    # All rows stand at one place of their cells across the thin axis, so errors there do not average out.
    assert abs(total / S.sum() - 1) < 2e-3


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_equal_rows_feel_no_force(n, d):
    Y = np.full((n, d), 3.25, np.float32)
    _, total, gradient = read_at_sources(Y)
    np.testing.assert_allclose(gradient, 0, atol=1e-3)
    assert total == pytest.approx(n * (n - 1), abs=1e-3)


@pytest.mark.parametrize("distance", [1e-3, 1.0, 12.0, 90.0])
def test_two_rows(distance):
    Y = np.array([[0, 0], [distance * 0.6, distance * 0.8]], np.float32)
    S, gradient = others_field(Y)
    _, total, found = read_at_sources(Y)
    # Two rows far apart hardly meet; what is left of what each does to itself is then the larger part.
    np.testing.assert_allclose(found, gradient, rtol=1e-2, atol=1e-3)
    assert total == pytest.approx(S.sum(), rel=1e-2, abs=1e-4)


def test_forces_cancel():
    """Newton's third law: what a row feels, the others feel against it."""
    Y = spread(3000, 2, 60.0)
    _, _, gradient = read_at_sources(Y)
    assert np.abs(gradient.sum(0, dtype=np.float64)).max() < 1e-3 * np.abs(gradient).sum()


def test_rotated_and_moved_maps_have_the_same_field():
    Y = spread(2000, 2, 60.0)
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    _, total, gradient = read_at_sources(Y)
    _, other_total, other = read_at_sources((Y @ turn.T + (13.0, -5.0)).astype(np.float32))
    assert relative(other @ turn, gradient) < FORCE
    assert other_total == pytest.approx(total, rel=Z)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_threads_change_nothing(d):
    Y = spread(30_000, d, 40.0)
    field, total, gradient = read_at_sources(Y)
    for n_jobs in (2, 3):
        other, other_total, other_gradient = read_at_sources(Y, threads=Threads(n_jobs))
        np.testing.assert_array_equal(other.potential, field.potential)
        np.testing.assert_array_equal(other_gradient, gradient)
        assert other_total == total


def test_exact_and_field_agree():
    Y = spread(1500, 2, 20.0)
    one, two = np.empty_like(Y), np.empty_like(Y)
    Z_exact, Z_field = ExactRepulsion(1.0, ONE)(Y, one), FieldRepulsion(1.0, ONE)(Y, two)
    assert Z_field == pytest.approx(Z_exact, rel=Z)
    assert relative(two, one) < FORCE


@pytest.mark.parametrize("dof", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_exact_repulsion_is_the_sum(d, dof):
    Y = spread(150, d, 6.0)
    S, gradient = others_field(Y, dof)
    found = np.empty_like(Y)
    Z_found = ExactRepulsion(dof, ONE)(Y, found)
    assert Z_found == pytest.approx(S.sum(), rel=1e-5)
    assert relative(found, gradient) < 1e-5


def test_not_finite_is_refused():
    Y = spread(1000, 2, 5.0)
    Y[500, 1] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        FieldPlanner(1.0, ONE).plan(Y)


@pytest.mark.parametrize("lengths", [(48,), (24, 30), (12, 10, 16)])
def test_convolution_is_the_padded_transform(lengths):
    """Against numpy's transform of the whole padded grid at once."""
    kernel = kernel_for(Shape(0.5, lengths), 1.0, ONE)
    rng = np.random.default_rng(0)
    nodes = kernel.shape.nodes
    density = rng.normal(size=nodes).astype(np.float32)
    spectrum = kernel.spectrum.astype(np.float64)
    for axis, length in enumerate(lengths[:-1]):
        half = np.arange(length)
        spectrum = np.take(spectrum, np.minimum(half, length - half), axis=axis)
    axes = range(len(lengths))
    padded = np.fft.rfftn(density, lengths, axes)
    wanted = np.fft.irfftn(padded * spectrum, lengths, axes)[tuple(slice(0, n) for n in nodes)]
    assert relative(Convolution(kernel, Threads(2))(density), wanted) < 1e-5


def test_influence_sums_over_aliases():
    """The closed form against the sum over aliases of the window's squared transform."""
    length = 40
    k = np.arange(length // 2 + 1) / length
    aliases = sum(np.sinc(k + m) ** 8 for m in range(-30, 31))
    np.testing.assert_allclose(influence(length), np.sinc(k) ** 8 / aliases**2, rtol=1e-9)


@pytest.mark.parametrize("extent", [(1e5, 1e5), (1e6, 1e-3), (1e4, 1e4, 1e4), (3000.0, 2000.0, 10.0), (1e9,)])
def test_grids_of_strayed_rows_stay_small(extent):
    shape = shape_for(np.array(extent), 1.0)
    assert np.prod(shape.nodes) < 1.6 * MOST_NODES  # spare nodes, and lengths of quick transforms
    assert all(n * shape.spacing >= width for n, width in zip(shape.nodes, extent, strict=True))


def test_grids_grow_in_steps_and_are_kept():
    first = shape_for(np.array([100.0, 80.0]), 1.0)
    assert shape_for(np.array([101.0, 80.5]), 1.0, first) == first
    grown = shape_for(np.array([130.0, 80.0]), 1.0, first)
    assert grown.lengths[0] > first.lengths[0]
    assert all(n * first.spacing >= extent for n, extent in zip(first.nodes, (100, 80), strict=True))


def test_a_grid_that_does_not_reach_the_map_is_an_error_and_not_a_crash(monkeypatch):
    """Kernels check no bounds; should shapes ever be too small, rows lie beyond the last node."""
    monkeypatch.setattr("tsne_ooc.gradients.field.shape_for", lambda *arguments: Shape(1.0, (32, 32)))
    Y = np.array([[0, 0], [3, 40]], np.float32)
    with pytest.raises(FloatingPointError, match=r"^the map from \[0. 0.\] to \[ 3. 40.\] has no grid$"):
        FieldPlanner(1.0, Threads(1)).plan(Y)


@pytest.mark.parametrize(("d", "dof"), [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0), (2, 3.0), (3, 1.0)])
def test_no_axis_is_another_one_and_no_side_the_other(d, dof):
    """The field of a map whose axes are turned round is that of the map, but for the last digits."""
    rng = np.random.default_rng(0)
    Y = (rng.normal(size=(300, d)) * np.array([6, 4, 2])[:d]).astype(np.float32)
    places = (Y[:50] + rng.normal(0, 0.1, (50, d))).astype(np.float32).clip(Y.min(0), Y.max(0))
    found = []
    for turn in range(d):
        # Each axis becomes each other one.
        order = [(axis + turn) % d for axis in range(d)]
        for sign in (1, -1) if d < 3 else (1 - 2 * (turn == 1),):
            signs = np.float32([sign] + [1] * (d - 1))
            turned, there = (np.ascontiguousarray(rows[:, order] * signs) for rows in (Y, places))
            field = FieldPlanner(dof, ONE, 1.0).plan(turned)
            pushed, gradient = np.empty_like(turned), np.empty_like(there)
            Z = field.at_sources(turned, pushed, ONE)
            value, slope = field.at(there, ONE)
            back = np.empty_like(pushed)
            back[:, order] = pushed * signs
            gradient[:, order] = slope * signs
            found.append((Z, back, value, gradient))
    for Z, *others in found[1:]:
        assert pytest.approx(found[0][0], rel=1e-6) == Z
        for one, first in zip(others, found[0][1:], strict=True):
            assert relative(one, first) < 3e-5


def test_a_map_may_be_as_wide_as_a_field_reaches(monkeypatch):
    monkeypatch.setattr(field_module, "WIDEST", 64.0)
    Y = np.array([[0, 0], [64, 1], [3, 3]], np.float32)
    FieldPlanner(1.0, ONE).plan(Y)
    Y[1, 0] = np.nextafter(np.float32(64), np.float32(65))
    with pytest.raises(FloatingPointError, match="64 units wide, and no field reaches farther than 64"):
        FieldPlanner(1.0, ONE).plan(Y)
