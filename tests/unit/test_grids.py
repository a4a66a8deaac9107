"""The shape of a field's grid: how fine its cells are, how many nodes it has, and when it is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from scipy.fft import next_fast_len

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients import attraction as attractions
from tsne_ooc.gradients.attraction import Attraction, ranges_of
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.gradients.grid import Shape, _fast_even, check_dof, shape_for, spacing_for
from tsne_ooc.gradients.repulsion import exact_below, summed_below
from tsne_ooc.joint import Joint

ONE = Threads(1)
CELLS = {1: 0.25, 2: 0.35, 3: 0.35}


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dof", [0.01, 0.25, 0.9, 1.0, 2.0, 1e4])
def test_cells_are_as_fine_as_the_kernel_is_narrow(d, dof):
    """Its core narrows with the root of the degrees of freedom, and is no wider than that of one."""
    assert spacing_for(d, dof) == pytest.approx(CELLS[d] * math.sqrt(min(dof, 1)))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dof", [0.25, 1.0, 5.0])
@pytest.mark.parametrize("finer", [1.0, 2.0, 4.0])
def test_a_map_is_at_least_forty_cells_wide(d, dof, finer):
    usual = spacing_for(d, dof) / finer
    for cells in (39.99, 40.01, 30, 10, 1, 1e-3, 1e-7, 41, 100):
        extent = usual * cells * np.array([1.0, 0.3, 0.01])[:d]
        shape = shape_for(extent, dof, None, finer)
        if cells >= 40:
            assert shape.spacing == usual
        else:
            # As many to 1.41 times as many, in steps of the root of two.
            assert 40 * (1 - 1e-9) <= extent[0] / shape.spacing < 40 * 2**0.5 * (1 + 1e-9)
            steps = 2 * np.log2(usual / shape.spacing)
            assert abs(steps - round(steps)) < 1e-9 and steps > 0.5
        for width, nodes in zip(extent, shape.nodes, strict=True):
            needed = math.ceil(width / shape.spacing) + 4
            # Some three hundredths to spare, and then the next length that is quick to transform.
            assert needed * 1.03 + 1 <= nodes + 1e-9
            assert 2 * nodes <= next_fast_len(math.ceil(2 * (needed * 1.03 + 1)) + 16, real=True) + 24
        assert shape.lengths == tuple(2 * n for n in shape.nodes)


def test_a_map_of_one_place_has_cells_within_which_nothing_changes():
    for d in (1, 2, 3):
        shape = shape_for(np.zeros(d), 1.0)
        assert shape.spacing == pytest.approx(CELLS[d] / 1000)
        assert all(4 <= n < 12 for n in shape.nodes)
    # Squares of finer ones would vanish.
    assert shape_for(np.full(2, 1e-16), 1.0).spacing == shape_for(np.full(2, 1e-15), 1.0).spacing == 1e-14


@pytest.mark.parametrize(
    "extent", [(2000.0, 2000.0), (2100.0, 2100.0), (4e4, 10.0), (1e6, 1e-3), (60.0, 60, 60), (200.0,) * 3]
)
def test_wider_maps_than_nodes_can_hold_have_coarser_cells(extent):
    """No more than needed, in steps of the root of two along the axes that shrink with them."""
    shape = shape_for(np.array(extent), 1.0)
    least = lambda spacing: np.prod([max(width / spacing, 8) for width in extent])  # noqa: E731
    if least(0.35) <= 2**25:
        assert shape.spacing == 0.35
        return
    steps = 2 * np.log2(shape.spacing / 0.35)
    assert abs(steps - round(steps)) < 1e-9 and steps > 0.5
    assert least(shape.spacing) <= 2**25
    thin = sum(width / 0.35 <= 8 for width in extent)
    assert thin or least(shape.spacing / 2**0.5) > 2**25


def test_a_grid_is_kept_while_it_fits_and_is_not_far_too_large():
    """As long as it has the nodes that are needed, and no more than some seventeen hundredths and eight over."""
    last = shape_for(np.array([100.0, 60.0]), 1.0)
    kept = 0
    for width in np.linspace(60, 130, 141):
        for height in (30.0, 45.0, 50.0, 60.0, 63.0, 66.0):
            needed = [math.ceil(side / 0.35) + 4 for side in (width, height)]
            fits = all(0.85 * n - 8 <= need <= n for need, n in zip(needed, last.nodes, strict=True))
            found = shape_for(np.array([width, height]), 1.0, last)
            assert (found is last) == fits
            assert found == (last if fits else shape_for(np.array([width, height]), 1.0))
            kept += fits
    assert 0 < kept < 141 * 6
    # One of other cells, or of other axes, is none.
    assert shape_for(np.array([100.0, 60.0]), 0.5, last).spacing < 0.3
    assert shape_for(np.array([100.0, 60.0]), 1.0, last, 2.0).spacing == 0.175
    assert len(shape_for(np.array([100.0, 60.0, 5.0]), 1.0, Shape(0.35, (600, 400))).lengths) == 3


def test_lengths_are_even_and_quick():
    for length in (1, 2, 7.5, 30, 31, 33.3, 97, 254, 1021, 5000.2):
        found = _fast_even(length)
        assert found % 2 == 0 and found >= length and next_fast_len(found, real=True) == found
        between = range(2 * math.ceil(length / 2), found, 2)
        assert not [even for even in between if next_fast_len(even, real=True) == even]


@pytest.mark.parametrize("nodes", [(7,), (7, 5), (7, 5, 3)])
def test_what_a_shape_says_of_itself(nodes):
    shape = Shape(0.5, tuple(2 * n for n in nodes))
    assert shape.nodes == nodes
    assert shape.reach == pytest.approx(0.5 * np.linalg.norm(nodes))
    flat = np.arange(np.prod(nodes)).reshape(nodes)
    stride, far = shape.strides
    if len(nodes) > 1:
        assert stride == flat[(0,) * (len(nodes) - 2) + (1, 0)]
    if len(nodes) > 2:
        assert far == flat[1, 0, 0]


@pytest.mark.parametrize("dof", [0.01, 1, 1.0, np.float32(2), 1e4, np.int64(3)])
def test_degrees_of_freedom_that_a_field_can_have(dof):
    assert check_dof(dof) == float(dof) and type(check_dof(dof)) is float


@pytest.mark.parametrize(
    ("dof", "says"),
    [
        (0.00999, "own=0.00999 must be a finite number from 0.01 to 10000"),
        (10_001, "own=10001 must be a finite number from 0.01 to 10000"),
        (math.inf, "own=inf must be a finite number from 0.01 to 10000; at 10000 the kernel is all but a Gaussian"),
        (math.nan, "own=nan must be a finite number greater than 0"),
        (0, "own=0 must be a finite number greater than 0"),
        (-1.5, "own=-1.5 must be a finite number greater than 0"),
    ],
)
def test_degrees_of_freedom_that_no_field_has(dof, says):
    with pytest.raises(ValueError) as caught:
        check_dof(dof, "own")
    assert str(caught.value) == says


@pytest.mark.parametrize("d", [1, 2, 3])
def test_from_how_many_rows_on_there_is_a_grid(d):
    """docs: exact sums below 500, 2,000 and 30,000 rows, below 500 at other degrees of freedom but in three axes."""
    assert exact_below(d, 1.0) == {1: 500, 2: 2_000, 3: 30_000}[d]
    assert exact_below(d, 0.999) == exact_below(d, 1.001) == {1: 500, 2: 500, 3: 30_000}[d]
    assert [summed_below(d, dof) for dof in (0.5, 2.0, 2.001, 100)] == (
        [0] * 4 if d < 3 else [5_000, 5_000, 30_000, 30_000]
    )


@pytest.mark.parametrize("d", [1, 2, 3])
def test_what_few_rows_say_of_their_field(d):
    Y = np.random.default_rng(0).normal(2e3, 5, (40, d)).astype(np.float32)
    crowd = Crowd.around(Y, 3, 0.1)
    assert crowd.summed is True and str(crowd) == "is summed over its 40 rows" and crowd.dof == 3.0
    for bound, wanted in ((crowd.low, Y.min(0) - 0.1), (crowd.high, Y.max(0) + 0.1)):
        assert bound.dtype == np.float32 and bound.shape == (d,)
        np.testing.assert_allclose(bound, wanted, rtol=1e-7)
    phi, n, far, origin, per_cell, offset = crowd.nodes
    np.testing.assert_array_equal(phi, np.concatenate([Y[:, axis] for axis in range(d)]))
    # The kernels that read grids multiply by the cells of a unit and add an offset: for sums these change nothing.
    assert (n, far, per_cell, offset) == (40, 0, 1.0, 0.0) and origin is crowd.low
    places = Y[:9] + 1
    value, gradient = crowd.at(places, ONE)
    S, slope = reference.field(places, Y, 3.0)
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(value, S, rtol=1e-4)
    np.testing.assert_allclose(gradient, slope, atol=1e-3)


def test_a_field_says_how_many_nodes_it_has():
    field = FieldPlanner(1.0, ONE).plan(np.float32([[0, 0], [9, 50]]))
    assert str(field) == f"has {field.shape.nodes[0]} x {field.shape.nodes[1]} nodes" and field.summed is False
    phi, stride, far, origin, per_cell, offset = field.nodes
    np.testing.assert_array_equal(phi, field.potential.ravel())
    assert (stride, far) == field.shape.strides and origin is field.origin
    assert per_cell == pytest.approx(1 / 0.35) and (offset == 2.0) == (field.shape.reach < 40)


def test_a_map_wider_than_single_precision_can_square_has_no_field():
    for Y in ([[0, 0], [2e15, 1]], [[-8e14, 0], [8e14, 0]]):
        with pytest.raises(FloatingPointError, match=r"units wide, and no field reaches farther than 1e\+15$"):
            FieldPlanner(1.0, ONE).plan(np.float32(Y))


# --------------------------------------------------------------------------------------------------- along entries of P


def affinities(n, seed=0, hub=None):
    rng = np.random.default_rng(seed)
    dense = rng.random((n, n)) * (rng.random((n, n)) < 6 / n)
    if hub is not None:
        dense[hub] = rng.random(n)
    np.fill_diagonal(dense, 0)
    dense[n // 2] = dense[:, n // 2] = 0
    dense[0, 1] = 1
    return dense + dense.T


@pytest.mark.parametrize("entries", [1, 7, 50, 10**6])
@pytest.mark.parametrize("hub", [None, 0, 33, 59])
def test_ranges_have_about_as_many_entries_each(monkeypatch, entries, hub):
    """All rows, once and in order; but for the row that a range ends with, no more entries than asked for."""
    monkeypatch.setattr(attractions, "ENTRIES", entries)
    P = Joint.from_matrix(affinities(60, hub=hub))
    ranges = ranges_of(P)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(60))
    assert all(start < stop for start, stop in ranges)
    sizes = np.diff(P.indptr.astype(int))
    assert all(sizes[start : stop - 1].sum() <= entries for start, stop in ranges)
    assert len(ranges) <= max(1, -(-P.entries // entries))


@pytest.mark.parametrize("entries", [40, 10**6])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_divergence_and_forces_in_pieces(monkeypatch, entries, d):
    monkeypatch.setattr(attractions, "ENTRIES", entries)
    dense = affinities(60, hub=5)
    dense /= dense.sum()
    P, Y = Joint.from_matrix(dense), np.random.default_rng(1).normal(0, 3, (60, d)).astype(np.float32)
    for dof in (0.5, 1.0, 4.0):
        pieces = Attraction(P, d, dof, ONE)
        w = reference.kernel((reference.differences(Y) ** 2).sum(-1), dof)
        np.fill_diagonal(w, 0)
        assert pieces.divergence(Y, w.sum()) == pytest.approx(reference.kl(dense, Y, dof), rel=1e-5)
        attracted, repelled = pieces.halves(Y, w.sum())
        kept = dense > 0
        assert attracted == pytest.approx((dense[kept] * np.log(dense[kept] / w[kept])).sum(), rel=1e-5)
        assert repelled == pytest.approx(np.log(w.sum()))
        delta = reference.differences(Y)
        pull = (dense / (1 + (delta**2).sum(-1) / dof))[..., None] * delta
        np.testing.assert_allclose(pieces.forces(Y), pull.sum(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("n", "estimated", "run"), [(60, 20, 5), (61, 60, 6), (60, 60, 6), (59, 60, 6), (200, 8, 1)])
def test_a_divergence_is_estimated_from_runs_of_rows_all_over(monkeypatch, n, estimated, run):
    """The attraction of these rows, over their share of P, stands for that of all."""
    monkeypatch.setattr(attractions, "ESTIMATED", estimated)
    monkeypatch.setattr(attractions, "RUN", run)
    dense = affinities(n, hub=3)
    dense /= dense.sum()
    Y = np.random.default_rng(1).normal(0, 3, (n, 2)).astype(np.float32)
    found = Attraction(Joint.from_matrix(dense), 2, 1.0, ONE).estimate(Y, 55.0)
    w = reference.kernel((reference.differences(Y) ** 2).sum(-1))
    starts = np.linspace(0, n - run, estimated // run).astype(int)
    rows = np.concatenate([np.arange(at, at + run) for at in starts]) if n > estimated else np.arange(n)
    entropy = (dense[dense > 0] * np.log(dense[dense > 0])).sum()
    pull = -(dense[rows] * np.log(w[rows])).sum() / dense[rows].sum()
    assert found == pytest.approx(entropy + pull + np.log(55.0), rel=1e-5)
