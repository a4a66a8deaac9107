"""Attraction, the whole gradient and the energy against finite differences and the formula."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from reference import relative

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion
from tsne_ooc.joint import Joint

ONE = Threads(1)


def random_p(n, seed=0, degree=8):
    rng = np.random.default_rng(seed)
    P = np.zeros((n, n))
    for i in range(n):
        others = rng.choice(np.delete(np.arange(n), i), min(degree, n - 1), replace=False)
        P[i, others] = rng.random(len(others)) + 0.1
    P = P + P.T
    return P / P.sum()


def gradient_of(P, Y, dof, exaggeration, repulsion):
    slope = np.empty_like(Y)
    Z = repulsion(dof, ONE)(Y, slope)
    pull = Attraction(Joint.from_matrix(P), Y.shape[1], dof, ONE).forces(Y)
    return 4 * (exaggeration * pull.astype(np.float64) + slope.astype(np.float64) / (2 * Z))


@pytest.mark.parametrize("exaggeration", [1.0, 12.0])
@pytest.mark.parametrize("dof", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradient_is_the_derivative_of_the_divergence(d, scale, dof, exaggeration):
    P = random_p(40)
    Y = (np.random.default_rng(1).normal(size=(40, d)) * scale).astype(np.float32)
    numerical = reference.numerical_gradient(
        lambda y: reference.kl(P, y, dof, exaggeration), Y, step=1e-5 * max(1, scale)
    )
    found = gradient_of(P, Y, dof, exaggeration, ExactRepulsion)
    assert relative(found, numerical) < 2e-4


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradient_by_the_field(d):
    P = random_p(1200)
    Y = (np.random.default_rng(1).normal(size=(1200, d)) * 6).astype(np.float32)
    exact = gradient_of(P, Y, 1.0, 1.0, ExactRepulsion)
    assert relative(gradient_of(P, Y, 1.0, 1.0, FieldRepulsion), exact) < 1e-2


@pytest.mark.parametrize("dof", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_divergence(d, dof):
    P = random_p(60)
    Y = np.random.default_rng(1).normal(size=(60, d)).astype(np.float32) * 5
    slope = np.empty_like(Y)
    Z = ExactRepulsion(dof, ONE)(Y, slope)
    found = Attraction(Joint.from_matrix(P), d, dof, ONE).divergence(Y, Z)
    assert found == pytest.approx(reference.kl(P, Y, dof), rel=1e-5)


def test_divergence_of_equal_affinities_stored_once():
    P = (random_p(60) > 0) * 1.0
    P = P / P.sum()
    joint = Joint.from_matrix(P)
    each = np.broadcast_to(np.float32(1 / len(joint.indices)), joint.indices.shape)
    Y = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    slope = np.empty_like(Y)
    Z = ExactRepulsion(1.0, ONE)(Y, slope)
    shared = Attraction(Joint(joint.indptr, joint.indices, each), 2, 1.0, ONE)
    assert shared.divergence(Y, Z) == pytest.approx(reference.kl(P, Y), rel=1e-5)
    np.testing.assert_allclose(shared.forces(Y), Attraction(joint, 2, 1.0, ONE).forces(Y), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("bearable", [np.inf, 0.4])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_step_follows_the_rule(d, bearable):
    """Gains, momentum, bounded rates, the longest step and the new centre, against the rule written out in numpy."""
    rng = np.random.default_rng(0)
    n = 500
    pairs = random_p(n)
    # Some rows have no affinity at all, and nothing bounds their rates.
    pairs[[5, 77]] = pairs[:, [5, 77]] = 0
    P = Joint.from_matrix(pairs)
    Y = rng.normal(size=(n, d)).astype(np.float32) * 10
    velocity = rng.normal(size=(n, d)).astype(np.float32)
    # Rows at rest, as all are when a phase begins.
    velocity[::7] = 0
    gains = rng.uniform(0.01, 3, (n, d)).astype(np.float32)
    shift = rng.normal(size=d).astype(np.float32)
    slope = np.empty_like(Y)
    Z = ExactRepulsion(1.0, ONE)(Y, slope)
    attraction = Attraction(P, d, 1.0, ONE)
    gradient = 4 * (3.0 * attraction.forces(Y) + slope / (2 * Z))

    wanted_gains = np.where(np.sign(velocity) != np.sign(gradient), gains + 0.2, np.maximum(gains * 0.8, 0.01))
    with np.errstate(divide="ignore"):
        rate = np.minimum(2e3, bearable / P.tocsr().toarray().max(axis=1, keepdims=True))
    assert (rate < 2e3).any() == (bearable < np.inf)
    step = 0.7 * velocity - rate * wanted_gains * gradient
    length = np.linalg.norm(step, axis=1, keepdims=True)
    assert (length > 5).any()
    assert (length < 5).any()
    step = step * np.minimum(1, 5 / length)

    out = np.empty_like(Y)
    mean, norm = attraction.step(Y, slope, Z, 3.0, 2e3, bearable, 0.7, 5.0, shift, velocity, gains, out)
    np.testing.assert_allclose(gains, wanted_gains, rtol=1e-6)
    np.testing.assert_allclose(velocity, step, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(out, Y - shift + step, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(mean, out.mean(0), rtol=1e-4, atol=1e-5)
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


def test_threads_change_nothing():
    n = 6000
    rng = np.random.default_rng(0)
    from tsne_ooc.joint import symmetrize

    neighbors = np.array([rng.choice(n, 90, replace=False) for _ in range(n)], np.uint32)
    p = rng.random((n, 90)).astype(np.float32)
    results = []
    for n_jobs in (1, 2, 3):
        P = symmetrize(neighbors, p, Threads(n_jobs))
        Y = np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32)
        attraction = Attraction(P, 2, 1.0, Threads(n_jobs))
        state = [np.ones_like(Y) for _ in range(3)]
        out, shift = np.empty_like(Y), np.zeros(2, np.float32)
        mean, norm = attraction.step(Y, state[0], 10.0, 1.0, 9.0, 1e-3, 0.8, 5.0, shift, *state[1:], out)
        divergence = attraction.divergence(Y, 3.0)
        results.append((P.values.tobytes(), out.tobytes(), mean.tobytes(), norm, divergence))
        assert len(attraction.ranges) > 2
    assert results[0] == results[1] == results[2]


def test_a_map_without_repulsion_has_no_divergence(monkeypatch):
    """All rows so far from each other that no similarity is left: neither of all rows, nor as runs of them tell it."""
    monkeypatch.setattr("tsne_ooc.gradients.attraction.ESTIMATED", 20)
    monkeypatch.setattr("tsne_ooc.gradients.attraction.RUN", 10)
    P = random_p(60)
    Y = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    attraction = Attraction(Joint.from_matrix(P), 2, 1.0, ONE)
    for Z in (0.0, float("nan")):
        assert attraction.estimate(Y, Z) == attraction.divergence(Y, Z) == 0.0
        assert attraction.halves(Y, Z) == (0.0, 0.0)
    assert attraction.estimate(Y, 5.0) != 0


def test_the_entropy_of_affinities_is_summed_in_double_precision():
    """It is most of the divergence, whose last digits tell two maps apart."""
    P = np.random.default_rng(0).gamma(0.3, size=(300, 300)).astype(np.float32)
    joint = Joint.from_matrix((P + P.T) / np.float32(2 * P.sum(dtype=np.float64)))
    p = joint.values.astype(np.float64)
    assert Attraction(joint, 2, 1.0, ONE)._entropy == pytest.approx(
        float((p[p > 0] * np.log(p[p > 0])).sum()), rel=1e-12
    )
