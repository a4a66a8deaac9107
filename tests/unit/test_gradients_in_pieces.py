"""Forces of a map whose rows, entries and nodes come in pieces: bounds, grids and sums are those of the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from line_by_line import plain

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients import attraction as attractions
from tsne_ooc.gradients import convolve, field
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.field import Field, FieldPlanner
from tsne_ooc.gradients.grid import Shape, shape_for
from tsne_ooc.gradients.kernel import kernel_for
from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion
from tsne_ooc.joint import Joint, Part

ONE = Threads(1)


def rows(n, d, seed=0):
    """Rows of another width on each axis, whose extremes lie in different pieces."""
    rng = np.random.default_rng(seed)
    Y = (rng.uniform(-1, 1, (n, d)) * np.array([17, 26, 9])[:d]).astype(np.float32)
    for axis in range(d):
        Y[(3 + 11 * axis) % n, axis] = -18 - 9 * axis
        Y[(27 + 5 * axis) % n, axis] = 19 + 9 * axis
    return Y


@pytest.mark.parametrize(("margin", "finer"), [(0.0, 1.0), (2.5, 1.0), (0.75, 2.0)])
@pytest.mark.parametrize("d", [1, 2])
def test_a_grid_lies_around_all_pieces_of_rows_on_each_axis(monkeypatch, d, margin, finer):
    Y = rows(40, d)
    low, high = Y.min(axis=0).astype(float), Y.max(axis=0).astype(float)
    whole = FieldPlanner(0.7, ONE, margin, finer).plan(Y)
    monkeypatch.setattr(field, "ROWS", 7)
    pieces = FieldPlanner(0.7, ONE, margin, finer).plan(Y)
    for found in (whole, pieces):
        assert found.shape == shape_for(high - low + 2 * margin, 0.7, None, finer)
        assert (found.low <= low - margin + 1e-4).all() and (found.high >= high + margin - 1e-4).all()
        # What is spare is so on both sides.
        np.testing.assert_allclose(found.low + found.high, low + high, atol=1e-3)
    np.testing.assert_array_equal(pieces.origin, whole.origin)
    np.testing.assert_allclose(pieces.potential, whole.potential, rtol=1e-4, atol=1e-4)
    for one, other in zip(pieces.at(Y[:9], ONE), whole.at(Y[:9], ONE), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    forces = np.empty_like(Y), np.empty_like(Y)
    assert pieces.at_sources(Y, forces[0], ONE) == pytest.approx(whole.at_sources(Y, forces[1], ONE), rel=1e-5)
    np.testing.assert_allclose(*forces, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_one_coordinate_that_is_not_finite_is_one_too_many(monkeypatch, d, wrong):
    monkeypatch.setattr(field, "ROWS", 7)
    for axis, row in itertools.product(range(d), (0, 12, 39)):
        Y = rows(40, d)
        Y[row, axis] = wrong
        with pytest.raises(FloatingPointError, match=r"^the map holds a coordinate that is not finite$"):
            FieldPlanner(1.0, ONE).plan(Y)


@pytest.mark.parametrize("far", [2.0**17, -(2.0**18), 2.0**21])
def test_a_map_far_from_zero_has_the_field_of_one_around_it(far):
    """Where single precision holds no more than some fractions of a cell; rows lie on what it holds."""
    step = np.spacing(np.float32(abs(far))) * 4
    near = (np.round(rows(60, 2) / step) * step).astype(np.float32)
    moved = near + np.float32(far)
    np.testing.assert_array_equal(moved.astype(float) - far, near)
    wanted, found = np.empty_like(near), np.empty_like(near)
    Z = ExactRepulsion(1.0, ONE)(near, wanted)
    assert FieldRepulsion(1.0, ONE)(moved, found) == pytest.approx(Z, rel=1e-4)
    assert reference.relative(found, wanted) < 0.01


def test_places_outside_on_one_axis_alone_are_outside_and_the_first_of_them_is_named():
    found = FieldPlanner(1.0, ONE).plan(rows(40, 2))
    low, high = found.low.tolist(), found.high.tolist()
    places = np.float32([[0, 0], low, high, [0, high[1] + 1], [low[0] - 1, 0], [99, 99]])
    value, gradient = found.at(places[:3], ONE)
    assert value.shape == (3,) and gradient.shape == (3, 2)
    for first in (3, 4, 5):
        with pytest.raises(ValueError) as told:
            found.at(np.concatenate([places[:3], places[first:]]), ONE)
        place = places[first].tolist()
        assert str(told.value) == f"row 3 at {place} lies outside the field, {found.low} to {found.high}"


def test_a_planner_keeps_the_transform_of_its_grid_until_another_is_needed():
    planner = FieldPlanner(1.0, ONE)
    assert planner.shape is None
    shape, other = Shape(0.5, (24, 30)), Shape(0.5, (30, 24))
    first = planner.go_on(shape)
    assert planner.shape == shape and planner.go_on(Shape(0.5, (24, 30))) is first
    second = planner.go_on(other)
    assert second is not first and planner.shape == other and planner.go_on(shape) is not first
    repulsion = FieldRepulsion(1.0, ONE)
    repulsion.go_on(None)
    assert repulsion.grid is None
    repulsion.go_on(shape)
    assert repulsion.grid == shape
    assert ExactRepulsion(1.0, ONE).go_on(shape) is None and ExactRepulsion(1.0, ONE).grid is None


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("lengths", [(60,), (24, 60), (12, 20, 36)])
def test_a_density_is_convolved_alike_in_blocks_of_any_size(monkeypatch, lengths, jobs):
    kernel = kernel_for(Shape(0.5, lengths), 1.0, ONE)
    density = np.random.default_rng(0).random(kernel.shape.nodes).astype(np.float32)
    before = density.copy()
    wanted = convolve.Convolution(kernel, ONE)(density)
    monkeypatch.setattr(convolve, "COLUMN_BYTES", 1)
    monkeypatch.setattr(convolve, "ROW_BYTES", 1)
    pieces = convolve.Convolution(kernel, Threads(jobs))
    assert len(pieces._columns) > 2 and len(pieces._rows) == np.prod(kernel.shape.nodes[:-1])
    # Twice: its room is used again.
    for _ in range(2):
        np.testing.assert_allclose(pieces(density), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_array_equal(density, before)


@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("lengths", [(160,), (96, 108), (48, 60, 54)])
def test_what_a_point_does_to_itself_is_what_its_series_says(lengths, dof):
    """One point, spread to the grid, convolved and read where it stands, wherever that is between the nodes.

    The series leaves out fourth harmonics of an axis, and second ones of two.
    """
    d, spacing = len(lengths), 0.35
    shape = Shape(spacing, lengths)
    planner = FieldPlanner(dof, ONE)
    convolution = planner.go_on(shape)
    kernel, value_of = convolution.kernel, plain("selfterm")["self_value"]
    origin, rng = np.zeros(d, np.float32), np.random.default_rng(d)
    for _ in range(6):
        Y = ((np.array(shape.nodes) // 2 + rng.random(d)) * spacing).astype(np.float32)[None]
        potential = convolution(planner._spread(Y, [(0, 1)], origin, shape))
        found, _ = Field(potential, origin, shape, kernel.own, float(kernel.shifted), 1).at(Y, ONE)
        places = np.pad((Y[0] / np.float32(spacing)) % 1, (0, 3 - d))
        series = float(value_of(*places, d, kernel.own)) + kernel.shifted
        assert series == pytest.approx(float(found[0]), abs=1.2e-5)


class InParts:
    """The rows of P of which each range is read by itself, with its first entry's number."""

    def __init__(self, P):
        self.whole, self.indptr, self.n, self.entries, self.folder = P, P.indptr, P.n, P.entries, None

    def part(self, start, stop):
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return Part(first, self.whole.indices[first:last].copy(), self.whole.values[first:last].copy())


@pytest.mark.parametrize("d", [1, 2, 3])
def test_affinities_that_are_read_in_parts_are_those_in_memory(monkeypatch, d):
    monkeypatch.setattr(attractions, "ENTRIES", 30)
    monkeypatch.setattr(attractions, "ESTIMATED", 40)
    monkeypatch.setattr(attractions, "RUN", 8)
    rng = np.random.default_rng(d)
    dense = rng.random((90, 90)) * (rng.random((90, 90)) < 0.06)
    dense[40] = dense[:, 40] = 0
    P = Joint.from_matrix(dense + dense.T)
    Y, slope, velocity = (rng.normal(size=(90, d)).astype(np.float32) for _ in range(3))
    found = []
    for entries in (P, InParts(P)):
        one = Attraction(entries, d, 1.5, ONE)
        state, gains, out = velocity.copy(), np.ones_like(Y), np.empty_like(Y)
        mean, norm = one.step(Y, slope, 7.0, 2.0, 5.0, 1e-3, 0.7, 4.0, np.zeros(d, np.float32), state, gains, out)
        found.append((one.forces(Y), one.halves(Y, 7.0), one.estimate(Y, 7.0), mean, norm, state, gains, out))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_without_repulsion_a_step_is_attraction_alone():
    dense = np.random.default_rng(0).random((30, 30))
    P, Y = Joint.from_matrix(dense + dense.T), np.random.default_rng(1).normal(size=(30, 2)).astype(np.float32)
    attraction, slope = Attraction(P, 2, 1.0, ONE), np.ones_like(Y)
    for Z in (0.0, float("nan"), -1.0):
        out = np.empty_like(Y)
        _, norm = attraction.step(
            Y, slope, Z, 3.0, 1.0, np.inf, 0.0, 9.0, np.zeros(2, np.float32), np.zeros_like(Y), np.ones_like(Y), out
        )
        assert norm == pytest.approx(np.linalg.norm(12 * attraction.forces(Y)), rel=1e-5)


def test_rows_of_no_affinity_are_bounded_by_nothing_and_runs_without_any_tell_nothing(monkeypatch):
    """Affinities of zero that are stored, too, as those that vanish in single precision are."""
    indptr, indices = np.array([0, 1, 2, 4, 6, 6, 6], np.uint64), np.array([1, 0, 3, 0, 2, 1], np.uint32)
    values = np.array([0.25, 0.25, 0, 0, 0, 0], np.float32)
    P, Y = Joint(indptr, indices, values), np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    attraction = Attraction(P, 2, 1.0, ONE)
    slack = attraction._slack
    np.testing.assert_array_equal(slack[:2], 4)
    assert np.isfinite(slack).all() and (slack[2:] > 1e37).all()
    assert attraction._entropy == pytest.approx(0.5 * np.log(0.25))
    # Only the last rows are looked at, and they have no entries: what is known of all is their entropy.
    monkeypatch.setattr(attractions, "ESTIMATED", 2)
    monkeypatch.setattr(attractions, "RUN", 1)
    empty = Joint(indptr[[0, 0, 1, 2, 4, 6, 6]], indices, values)
    assert Attraction(empty, 2, 1.0, ONE).estimate(Y, 5.0) == pytest.approx(0.5 * np.log(0.25) + np.log(5))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_row_reads_four_nodes_from_its_cell_on_and_a_grid_has_all_of_them(monkeypatch, axis):
    """Sixteen nodes, a unit apart: from the thirteenth cell of 0 to 12 on the last one is the last node."""
    monkeypatch.setattr(field, "shape_for", lambda *arguments: Shape(1.0, (32, 32)))
    Y = np.zeros((2, 2), np.float32)
    for most, fits in (
        (12.0, True),
        (12.5, True),
        (np.nextafter(np.float32(13), 0), True),
        (13.0, False),
        (14.5, False),
    ):
        Y[1, axis] = most
        if fits:
            found = FieldPlanner(1.0, ONE).plan(Y)
            assert (np.floor((Y[1] - found.origin) * found.per_cell) + 4 <= found.shape.nodes).all()
        else:
            with pytest.raises(FloatingPointError, match=r"has no grid$"):
                FieldPlanner(1.0, ONE).plan(Y)
