"""Placing knows no axis from another, nor left from right, and the steps of a row have the bounds they are given."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference

from tsne_ooc._kernels.placement import _solve
from tsne_ooc._parallel import Threads
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.placement import Placement, descend, hessians

ONE = Threads(1)
M, K = 30, 7


def case(d, dof, summed, seed=0):
    """A map as a function of how its axes are turned round, with the neighbours and affinities of some rows."""
    rng = np.random.default_rng(seed)
    Y = (rng.normal(size=(160, d)) * np.array([6, 4, 2])[:d]).astype(np.float32)
    near = np.array([rng.permutation(160)[:K] for _ in range(M)], np.uint32)
    p = rng.dirichlet(np.ones(K), M).astype(np.float32)
    start = (Y[near].mean(axis=1) + rng.normal(0, 0.5, (M, d))).astype(np.float32)
    own = np.where(np.arange(M) % 3, rng.integers(0, 160, M), -1)

    def turned(order, signs):
        moved = np.ascontiguousarray(Y[:, order] * np.float32(signs))
        model = Model(moved, None, dof, 1.0)
        model.__dict__["field"] = Crowd.around(moved, dof, 9.0) if summed else FieldPlanner(dof, ONE, 9.0).plan(moved)
        return model, np.ascontiguousarray(start[:, order] * np.float32(signs))

    return turned, near, p, own


CASES = [
    (1, 1.0, True), (1, 0.7, False), (2, 1.0, True), (2, 0.7, True), (2, 1.0, False), (2, 0.7, False), (3, 1.0, True),
    (3, 0.7, True),
]  # fmt: skip


def turns(d):
    return [
        (list(order), signs) for order in itertools.permutations(range(d)) for signs in ([1] * d, [-1] + [1] * (d - 1))
    ]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("d", "dof", "summed"), CASES)
def test_a_map_whose_axes_are_turned_has_rows_at_turned_places(d, dof, summed, apart):
    turned, near, p, own = case(d, dof, summed)
    for placement in (
        Placement(exaggeration=1.5, max_iter=3),
        Placement(exaggeration=[4.0, 1.2], max_iter=2, initialization="mean"),
    ):
        found = []
        for order, signs in turns(d):
            model, start = turned(order, signs)
            given = start if placement.initialization == "median" else None
            places, steps = descend(model, near, p, placement, ONE, start=given, own=own if apart else None)
            back = np.empty_like(places)
            back[:, order] = places * np.float32(signs)
            found.append((back, steps))
        for places, steps in found[1:]:
            # A grid is laid anew, and is the same but for its rounding.
            off = np.abs(places - found[0][0]).max(axis=1)
            assert np.median(off) < 1e-4 and np.quantile(off, 0.9) < 1e-3
            assert (steps == found[0][1]).mean() > 0.8


@pytest.mark.parametrize(("d", "dof", "summed"), CASES)
def test_the_curvature_of_a_map_whose_axes_are_turned_is_turned(d, dof, summed):
    turned, near, p, own = case(d, dof, summed)
    found = []
    for order, signs in turns(d):
        model, start = turned(order, signs)
        H = hessians(model, near, p, Placement(exaggeration=1.5), ONE, start, own, model.field)
        back = np.empty_like(H)
        back[np.ix_(range(M), order, order)] = H * np.outer(signs, signs)
        found.append(back)
    for H in found[1:]:
        assert reference.relative(H, found[0]) < 5e-5
    for H in found[0]:
        np.testing.assert_array_equal(H, H.T)


@pytest.mark.parametrize(("d", "dof", "summed"), CASES)
def test_beyond_the_field_curvature_is_that_at_its_rim(d, dof, summed):
    """A grid has no nodes there, and kernels check no bounds; places stay as they were."""
    turned, near, p, own = case(d, dof, summed)
    model, start = turned(list(range(d)), [1] * d)
    far = start.copy()
    far[::3], far[1::3, -1] = 1e6, -1e6
    before = far.copy()
    placement, field = Placement(exaggeration=[4.0, 1.5]), model.field
    found = hessians(model, near, p, placement, ONE, far, own, field)
    rim = np.clip(far, field.low, field.high)
    np.testing.assert_array_equal(found, hessians(model, near, p, placement, ONE, rim, own, field))
    np.testing.assert_array_equal(far, before)
    # Of several exaggerations the last one counts.
    last = hessians(model, near, p, Placement(exaggeration=1.5), ONE, rim, own, field)
    np.testing.assert_array_equal(found, last)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("apart", [False, True])
def test_no_step_makes_a_row_fit_worse_or_is_longer_than_two_units(d, apart):
    turned, near, p, own = case(d, 1.0, True)
    model, start = turned(list(range(d)), [1] * d)
    start = (start + np.float32(5)).astype(np.float32)
    Y = model.embedding.astype(float)

    def energies(places, rho):
        found = []
        for row, y in enumerate(places):
            kept = np.arange(160) != (own[row] if apart else -1)
            w = 1 / (1 + ((y.astype(float) - Y) ** 2).sum(1))
            found.append(-rho * (p[row] * np.log(w[near[row]])).sum() + np.log(w[kept].sum()))
        return np.array(found)

    before, places, total = energies(start, 1.5), start, np.zeros(M, int)
    for most in range(1, 9):
        placement = Placement(exaggeration=1.5, max_iter=most, tolerance=1e-3)
        here, steps = descend(model, near, p, placement, ONE, start=start, own=own if apart else None)
        after = energies(here, 1.5)
        assert (after <= before + 1e-6).all() and (steps <= most).all() and (steps >= total).all()
        assert (np.linalg.norm(here.astype(float) - places, axis=1) <= 2 + 1e-4).all()
        before, places, total = after, here, steps
    assert (total > 3).any()
    assert (before < energies(start, 1.5) - 0.1).mean() > 0.5


@pytest.mark.parametrize("word", ["median", "mean"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_rows_begin_in_the_middle_of_their_neighbours(d, word):
    """Where the tolerance is so wide that none goes on, that is where they are."""
    turned, near, p, _ = case(d, 1.0, True)
    model, start = turned(list(range(d)), [1] * d)
    placement = Placement(exaggeration=1.5, tolerance=1e9, initialization=word)
    places, steps = descend(model, near, p, placement, ONE)
    Y = model.embedding[near].astype(float)
    wanted = np.median(Y, axis=1) if word == "median" else (p[:, :, None] * Y).sum(axis=1)
    np.testing.assert_allclose(places, wanted, atol=1e-5)
    assert not steps.any()
    # One that is given is taken as it is, within the bounds of the field; what is no number becomes the lower one.
    start[0], start[1], start[2] = 1e6, -1e6, np.nan
    places, _ = descend(model, near, p, placement, ONE, start=start)
    np.testing.assert_array_equal(places[0], model.field.high)
    np.testing.assert_array_equal(places[1], model.field.low)
    np.testing.assert_array_equal(places[2], model.field.low)
    np.testing.assert_array_equal(places[3:], start[3:])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_one_exaggeration_after_the_other_is_one_descent_after_the_other(d):
    turned, near, p, own = case(d, 1.0, True)
    model, start = turned(list(range(d)), [1] * d)
    first, tried = descend(model, near, p, Placement(exaggeration=4.0), ONE, start=start, own=own)
    second, more = descend(model, near, p, Placement(exaggeration=1.2), ONE, start=first, own=own)
    both, steps = descend(model, near, p, Placement(exaggeration=[4.0, 1.2]), ONE, start=start, own=own)
    np.testing.assert_allclose(both, second, atol=1e-3)
    assert np.abs(steps - tried - more).max() <= 1


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_rows_do_not_leave_the_bounds_of_the_field(d, apart):
    """A single neighbour at the rim of each axis, on each side, and all others pushing outwards."""
    rng = np.random.default_rng(0)
    Y = (rng.normal(size=(400, d)) * np.array([1, 0.8, 0.6])[:d]).astype(np.float32)
    Y[: 2 * d] = np.concatenate([np.eye(d), -np.eye(d)]) * np.array([4, 3.5, 3])[:d]
    model = Model(Y, None, 1.0, 1.0)
    model.__dict__["field"] = Crowd.around(Y, 1.0, 0.25)
    near, p = np.arange(2 * d, dtype=np.uint32)[:, None], np.ones((2 * d, 1), np.float32)
    own = np.full(2 * d, -1) if apart else None
    places, _ = descend(model, near, p, Placement(exaggeration=0.3), ONE, own=own)
    low, high = model.field.low, model.field.high
    assert ((places >= low) & (places <= high)).all()
    for axis in range(d):
        assert (places[axis, axis], places[d + axis, axis]) == (high[axis], low[axis])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_what_is_read_from_a_grid_is_what_is_summed(d):
    """Each second derivative by itself, and where rows end; in three axes only maps of many rows have a grid."""
    rng = np.random.default_rng(0)
    Y = (rng.normal(size=(150, d)) * np.array([2, 1.5, 1])[:d]).astype(np.float32)
    near = np.array([rng.permutation(150)[:K] for _ in range(M)], np.uint32)
    p, own = rng.dirichlet(np.ones(K), M).astype(np.float32), np.arange(M)
    places = (Y[:M] + rng.normal(0, 0.2, (M, d))).astype(np.float32)
    fields = [Crowd.around(Y, 1.0, 0.5), FieldPlanner(1.0, ONE, 0.5, 2.0 if d < 3 else 1.0).plan(Y)]
    found = []
    for field in fields:
        model = Model(Y, None, 1.0, 1.0)
        model.__dict__["field"] = field
        H = [
            hessians(model, near, p, Placement(exaggeration=1.5), ONE, places, rows, field)
            for rows in (own, np.full(M, -1))
        ]
        there, _ = descend(model, near, p, Placement(exaggeration=1.5), ONE, start=places, own=own)
        found.append((*H, there))
    for summed, read in zip(*found, strict=True):
        if summed.ndim == 2:
            assert np.median(np.abs(read - summed)) < 0.02
            continue
        for a, b in itertools.product(range(d), repeat=2):
            assert np.abs(read[:, a, b] - summed[:, a, b]).max() < 0.03 * np.abs(summed).max()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_step_is_that_of_the_damped_matrix_where_that_is_positive_definite(d):
    """Matrices that are one by little, by damping alone, or not at all, whichever axis makes the difference."""
    rng = np.random.default_rng(d)
    taken = 0
    for _ in range(300):
        turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
        H = turn @ np.diag(rng.uniform(-1, 2, d)) @ turn.T
        # Axes by themselves, too.
        H = np.diag(np.diag(H)) if rng.random() < 0.3 else (H + H.T) / 2
        g, damping = rng.normal(size=d), float(rng.choice([0, 0.1, 0.5]))
        wide = np.zeros((3, 3))
        wide[:d, :d] = H
        six = tuple(float(wide[a, b]) for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
        ok, *step = _solve(six, tuple(float(one) for one in np.pad(g, (0, 3 - d))), damping, d)
        damped = H + damping * np.eye(d)
        assert ok == (np.linalg.eigvalsh(damped)[0] > 0)
        if ok:
            np.testing.assert_allclose(step[:d], -np.linalg.solve(damped, g), rtol=1e-6)
            assert step[d:] == [0] * (3 - d)
            taken += 1
    assert 50 < taken < 250
