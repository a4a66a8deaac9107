"""One law of force, ``w = (1 + r^2 / dof)^-dof``, written where each copy of it is fast; all copies say the same.

Two points, r apart along a diagonal. Each copy gives the weight w, its logarithm, the pull ``r w^(1/dof)`` of an
attraction, or the push ``2 r w^(1 + 1/dof)`` of a field, and is compared with the formula in float64.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc._kernels.attraction import KERNELS
from tsne_ooc._kernels.attraction_rows import FORCES_OF
from tsne_ooc._kernels.pairs import PAIRS
from tsne_ooc._parallel import Threads
from tsne_ooc.fit.model import Model
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.gradients.kernel import _kernel_values
from tsne_ooc.metrics import kl_divergence
from tsne_ooc.metrics.agreement import _normalisation
from tsne_ooc.neighbors import Exact, build
from tsne_ooc.placement import Placement, place_beside

ONE = Threads(1)


def weight(r, dof):
    return math.exp(log_weight(r, dof))


def log_weight(r, dof):
    return -dof * math.log1p(r * r / dof)


def pull(r, dof):
    return r / (1 + r * r / dof)


def push(r, dof):
    return 2 * r * math.exp((-dof - 1) * math.log1p(r * r / dof))


def two(r, d):
    """Two places, r apart, the second at 0."""
    return np.array([[r / math.sqrt(d)] * d, [0.0] * d], np.float32)


PAIR = np.array([0, 1, 2], np.uint64), np.array([1, 0], np.uint32), np.ones(2, np.float32)


def length(vector):
    return float(np.linalg.norm(np.asarray(vector, np.float64)))


def attraction(r, dof, d):
    out = np.empty((2, d), np.float32)
    KERNELS[d][0](PAIR[0], 0, *PAIR[1:], two(r, d), np.float32(1 / dof), 0, 2, out)
    return length(out[0])


def attraction_of_some_rows(r, dof, d):
    Y, out = two(r, d), np.empty((1, d), np.float32)
    FORCES_OF[d](*PAIR, Y, np.float32(1 / dof), np.zeros(1, np.int64), Y[:1], out)
    return length(out[0])


def energy(r, dof, d):
    return -KERNELS[d][1](PAIR[0], 0, *PAIR[1:], two(r, d), dof, 0, 1)


def exact_sum(r, dof, d):
    value, gradient = np.empty(1), np.empty((1, d), np.float32)
    PAIRS[d](two(r, d)[:1], two(r, d)[1:], dof, False, 0, 1, value, gradient)
    return value[0]


def exact_slope(r, dof, d):
    value, gradient = np.empty(1), np.empty((1, d), np.float32)
    PAIRS[d](two(r, d)[:1], two(r, d)[1:], dof, False, 0, 1, value, gradient)
    return length(gradient[0])


def on_the_grid(r, dof, d, shifted=False):
    """The node that is next to the first, on a grid whose spacing puts it r away."""
    shape = SimpleNamespace(lengths=(4,) * d, spacing=r / math.sqrt(d))
    return float(_kernel_values(shape, dof, shifted, np.float64)[(1,) * d])


def on_a_small_grid(r, dof, d):
    return 1 + on_the_grid(r, dof, d, shifted=True)


def normalisation(r, dof, d):
    return _normalisation(two(r, d).astype(np.float64), dof, 2, np.random.default_rng(0), ONE) / 2


def in_the_divergence(r, dof, d):
    """KL of two points is ``sum p log p - log w + log 2 w``, with each p a half: 0 whatever w is, unless it differs."""
    P = np.array([[0, 1], [1, 0]])
    found = kl_divergence(P, two(r, d), dof, n_jobs=1)
    return log_weight(r, dof) + found


WEIGHTS = [exact_sum, on_the_grid, on_a_small_grid, normalisation]
LOGARITHMS = [energy, in_the_divergence]
PULLS = [attraction, attraction_of_some_rows]
PUSHES = [exact_slope]

DISTANCES = (1e-3, 0.1, 1.0, 3.7, 20.0, 300.0)


@pytest.mark.parametrize("dof", [0.05, 0.5, 1.0, 2.0, 10.0, 1000.0])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(
    "copy, law",
    [(copy, law) for copies, law in ((WEIGHTS, weight), (LOGARITHMS, log_weight), (PULLS, pull), (PUSHES, push))
     for copy in copies],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_each_copy_is_the_law(copy, law, d, dof):
    for r in DISTANCES:
        # A logarithm of the divergence's own copy needs a weight that float64 can hold.
        if copy is in_the_divergence and log_weight(r, dof) < -700:
            continue
        # A power of a number in float32 has its error as many times; near 1, w - 1 leaves w no small digits.
        spare = 2e-6 * (1 + abs(log_weight(r, dof))) + 2e-7 * dof + 1e-5 * (copy is energy)
        least = 1e-15 if copy is on_a_small_grid else 1e-37
        assert copy(r, dof, d) == pytest.approx(law(r, dof), rel=spare, abs=least), r


@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_placed_row_feels_the_same_law(d, dof):
    """Where a row rests between two neighbours, pulls and the push of the field, by the formula, cancel."""
    rng = np.random.default_rng(d)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    Y = (4 * rng.normal(size=(40, d))).astype(np.float32)
    index = build(Exact(), X, metric="euclidean", metric_params=None, rng=rng, threads=ONE)
    model = Model(Y.copy(), index, dof, 1.0)
    indices, distances = index.query(X[:8] + np.float32(0.1), 6)
    placed = place_beside(model, indices, distances, Placement(affinity=Flat(), exaggeration=1.0, k=6), ONE).embedding
    inside = ((placed > model.field.low) & (placed < model.field.high)).all(axis=1)
    assert inside.sum() > 4
    for row, y in enumerate(placed.astype(np.float64)):
        # The field has an end, and a row that is drawn beyond it rests there.
        if not inside[row]:
            continue
        away = y - Y
        r = np.linalg.norm(away, axis=1)
        pulls = sum(2 / 6 * pull(r[j], dof) * away[j] / r[j] for j in indices[row])
        total = sum(weight(x, dof) for x in r)
        pushes = sum(push(x, dof) / total * away[j] / x for j, x in enumerate(r))
        assert length(pulls - pushes) < 0.02, row


class Flat:
    """All neighbours alike."""

    def k(self, n):
        return 6

    def conditional(self, *given):
        return None


@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("d", [1, 2])
def test_the_field_is_a_sum_over_the_law(d, dof):
    """The grid as a whole: value and gradient at places that are not those of its sources."""
    rng = np.random.default_rng(d)
    Y, at = (10 * rng.normal(size=(300, d))).astype(np.float32), (5 * rng.normal(size=(20, d))).astype(np.float32)
    value, slope = FieldPlanner(dof, ONE, margin=30.0).plan(Y).at(at, ONE)
    wanted = np.empty((20, d))
    for row, y in enumerate(at.astype(np.float64)):
        away = y - Y
        r = np.linalg.norm(away, axis=1)
        wanted[row] = -sum(push(x, dof) * away[j] / x for j, x in enumerate(r))
        assert value[row] == pytest.approx(sum(weight(x, dof) for x in r), rel=2e-3)
    assert length(slope - wanted) < 0.02 * length(wanted)


def test_networks_learn_by_the_law():
    torch = pytest.importorskip("torch")
    from tsne_ooc.parametric.objectives.base import similarity

    for dof in (0.05, 0.5, 1.0, 2.0, 10.0):
        for r in DISTANCES:
            found = similarity(torch.tensor([r * r], dtype=torch.float64), dof)
            assert float(found) == pytest.approx(weight(r, dof), rel=1e-9)


@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0])
def test_a_row_that_moved_does_not_push_itself(dof):
    """Field tuning plans a field now and then: a row of it that moved since is taken out where it was."""
    pytest.importorskip("torch")
    from tsne_ooc.parametric.objectives.places import Places

    rng = np.random.default_rng(0)
    Y = (3 * rng.normal(size=(60, 2))).astype(np.float32)
    places = Places(60, dof, ONE)
    places.put(Y)
    at = np.arange(5)
    there = Y[at] + np.float32(1.5)
    found = places.slope(at, there)
    for row, y in zip(at, there.astype(np.float64), strict=True):
        others = np.delete(Y, row, axis=0)
        away = y - others
        r = np.linalg.norm(away, axis=1)
        wanted = -sum(push(x, dof) * away[j] / x for j, x in enumerate(r))
        assert length(found[row] - wanted) < 1e-3 * max(1.0, length(wanted))
