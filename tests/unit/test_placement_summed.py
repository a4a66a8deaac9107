"""Three axes: new rows meet the sum over all rows of the map, where a grid would leave its rounding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from scipy.optimize import minimize

from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients import repulsion
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import Field
from tsne_ooc.gradients.repulsion import SUMMED, SUMMED_STEEP, summed_below
from tsne_ooc.placement import Placement, place_beside

ONE = Threads(1)


class Index:
    n = 0


def a_map(d=3, dof=1.0, n=2000, width=20.0, m=60):
    """A map, and rows whose neighbours are near each other on it."""
    rng = np.random.default_rng(0)
    Y = (rng.normal(size=(n, d)) * width).astype(np.float32)
    gaps = np.linalg.norm(Y[rng.integers(n, size=m)][:, None] - Y[None], axis=2)
    indices = np.argsort(gaps, axis=1)[:, :15].astype(np.uint32)
    return (
        Model(Y, Index(), dof, 1.0),
        indices,
        np.sort(rng.random((m, 15)), axis=1).astype(np.float32) + np.float32(0.1),
    )


def true_gradient(y, Y, near, p, rho, dof):
    """Of the energy of a row at y, in float64; the field's by logarithms, which hold it however small it is."""
    y, Y = y.astype(float), Y.astype(float)
    delta, away = y - Y[near], y - Y
    pull = (p[:, None] * delta / (1 + (delta**2).sum(1) / dof)[:, None]).sum(0)
    q = (away**2).sum(1) / dof
    log_w = -dof * np.log1p(q)
    w = np.exp(log_w - log_w.max())
    return 2 * rho * pull - 2 * ((w / (1 + q))[:, None] * away).sum(0) / w.sum()


@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0, 10.0, 100.0])
def test_rows_arrive_where_the_exact_gradient_is_gone(dof):
    model, indices, distances = a_map(dof=dof)
    placed = place_beside(model, indices, distances, Placement(tolerance=1e-3), ONE)
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    left = [
        np.linalg.norm(true_gradient(y, model.embedding, near, row, 1.5, dof))
        for y, near, row in zip(placed.embedding, indices, p, strict=True)
    ]
    # A few end on the edge between two minima, where the last digits of the energy fall no further.
    assert np.quantile(left, 0.95) < 1.1e-3
    assert max(left) < 0.05


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dof", [0.6, 1.0, 4.0])
def test_the_sum_has_the_minima_that_a_general_optimiser_finds(d, dof, monkeypatch):
    monkeypatch.setattr("tsne_ooc.fit.model.summed_below", lambda d, dof: 10_000)
    model, indices, distances = a_map(d, dof, n=400, width=6.0, m=12)
    assert isinstance(model.field, Crowd)
    found = place_beside(model, indices, distances, Placement(tolerance=1e-6), ONE).embedding
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    for row in range(len(indices)):
        energy = lambda y, row=row: reference.placement_energy(y, model.embedding, indices[row], p[row], 1.5, dof)  # noqa: E731
        wanted = minimize(
            energy, found[row].astype(float), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10}
        )
        assert energy(found[row]) - wanted.fun < 1e-6


def test_grid_and_sum_place_alike(monkeypatch):
    """Where a grid is right, in three axes at dof = 1: one is no other map than the other."""
    model, indices, distances = a_map(width=8.0)
    summed = place_beside(model, indices, distances, Placement(), ONE).embedding
    monkeypatch.setattr("tsne_ooc.fit.model.summed_below", lambda d, dof: 0)
    gridded = Model(model.embedding, Index(), 1.0, 1.0)
    assert isinstance(gridded.field, Field)
    apart = np.linalg.norm(place_beside(gridded, indices, distances, Placement(), ONE).embedding - summed, axis=1)
    assert np.quantile(apart, 0.9) < 0.02


# (dof, the constant that decides, what places may be apart on either side of it). Beyond a dof of 2 the grid leaves its
# rounding, which on a map as narrow as this is still little.
@pytest.mark.parametrize(
    ("dof", "name", "budget"), [(1.0, "SUMMED", 0.01), (2.0, "SUMMED", 0.02), (2.5, "SUMMED_STEEP", 0.03)]
)
def test_both_sides_of_the_limit_place_by_the_exact_law(dof, name, budget, monkeypatch):
    n = 600
    model, indices, distances = a_map(dof=dof, n=n, width=4.0, m=30)
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    kinds, other = [], "SUMMED_STEEP" if name == "SUMMED" else "SUMMED"
    for limit in (n + 1, n):
        # The other one of the two decides nothing here.
        monkeypatch.setattr(repulsion, name, limit)
        monkeypatch.setattr(repulsion, other, 2 * n - limit)
        placed = Model(model.embedding, Index(), dof, 1.0)
        kinds.append(type(placed.field))
        S, slope = placed.field.at(model.embedding[:50] + np.float32(0.3), ONE)
        wanted, gradient = reference.field(model.embedding[:50] + np.float32(0.3), model.embedding, dof)
        assert max(reference.relative(S, wanted), reference.relative(slope, gradient)) < budget
        found = place_beside(placed, indices, distances, Placement(tolerance=1e-4), ONE).embedding
        left = [
            np.linalg.norm(true_gradient(y, model.embedding, near, row, 1.5, dof))
            for y, near, row in zip(found, indices, p, strict=True)
        ]
        assert np.quantile(left, 0.9) < budget
    assert kinds == [Crowd, Field]


def test_any_chunks_and_threads_give_the_same_bits():
    model, indices, distances = a_map(n=300, m=100)
    whole = place_beside(model, indices, distances, Placement(), ONE).embedding
    for n_jobs, step in ((1, 7), (3, 33)):
        parts = [
            place_beside(model, indices[a:b], distances[a:b], Placement(), Threads(n_jobs)).embedding
            for a, b in itertools.pairwise([*range(0, 100, step), 100])
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_the_field_at_any_place_is_the_sum():
    model, _, _ = a_map(dof=3.0, n=300)
    targets = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32) * 20
    value, gradient = model.field.at(targets, ONE)
    S, slope = reference.field(targets, model.embedding, 3.0)
    assert reference.relative(value, S) < 1e-5
    assert reference.relative(gradient, slope) < 1e-5
    assert (model.field.low < model.embedding.min(axis=0)).all() and (
        model.field.high > model.embedding.max(axis=0)
    ).all()


def test_what_is_summed():
    """Never in two axes, whose grids are quick to plan and right."""
    assert [summed_below(d, dof) for d, dof in ((1, 1.0), (2, 1.0), (2, 10.0), (3, 1.0), (3, 2.0), (3, 2.1))] == [
        0, 0, 0, SUMMED, SUMMED, SUMMED_STEEP,
    ]  # fmt: skip
