"""Placement: each row at the minimum that a general optimiser finds, alone or among others, to the bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tsne_ooc import affinity
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity, Uniform
from tsne_ooc.fit.model import Model
from tsne_ooc.placement import Placed, Placement, affinities, place_beside, seats_of
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
FINE = {"xatol": 1e-5, "fatol": 1e-10}


def a_map(n=1500, d=2, seed=0, width=40.0):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-width / 2, width / 2, (12, d))
    Y = (centres[rng.integers(12, size=n)] + rng.normal(0, width / 25, (n, d))).astype(np.float32)
    return Model(Y, None, 1.0, 1.0)


def some_rows(model, m=60, k=15, seed=1):
    """Rows whose neighbours are near each other on the map, as neighbours are."""
    rng = np.random.default_rng(seed)
    near = rng.integers(model.n, size=m)
    gaps = np.linalg.norm(model.embedding[near][:, None] - model.embedding[None], axis=2)
    indices = np.argsort(gaps, axis=1)[:, :k].astype(np.uint32)
    distances = np.sort(rng.gamma(6, 1, (m, k)).astype(np.float32), axis=1)
    return indices, distances


@pytest.mark.parametrize("exaggeration", [1.0, 4.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_each_row_reaches_its_minimum(d, exaggeration):
    model = a_map(d=d)
    indices, distances = some_rows(model)
    placement = Placement(exaggeration=exaggeration, tolerance=1e-5)
    found = place_beside(model, indices, distances, placement, ONE).embedding
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    for row in range(len(indices)):
        energy = lambda y, row=row: reference.placement_energy(y, model.embedding, indices[row], p[row], exaggeration)  # noqa: E731
        wanted = minimize(energy, found[row].astype(float), method="Nelder-Mead", options=FINE)
        # The field's own error is what is left between the two.
        assert energy(found[row]) - wanted.fun < 2e-4
        assert np.linalg.norm(found[row] - wanted.x) < 0.1


def test_from_where_it_starts_a_row_finds_the_minimum_of_descent():
    """Newton's steps do not leap into another valley than slow descent would reach."""
    model = a_map()
    indices, distances = some_rows(model)
    found = place_beside(model, indices, distances, Placement(exaggeration=1.0, tolerance=1e-5), ONE).embedding
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    same = 0
    for row in range(len(indices)):
        start = np.median(model.embedding[indices[row]], axis=0).astype(float)
        energy = lambda y, row=row: reference.placement_energy(y, model.embedding, indices[row], p[row])  # noqa: E731
        end = minimize(energy, start, method="BFGS").x
        same += np.linalg.norm(end - found[row]) < 0.1
    assert same >= 0.9 * len(indices)


def test_the_gradient_is_gone_where_rows_end():
    model = a_map()
    indices, distances = some_rows(model, m=300)
    placement = Placement(exaggeration=1.0, tolerance=1e-4)
    found = place_beside(model, indices, distances, placement, ONE).embedding
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    delta = found[:, None].astype(float) - model.embedding[indices]
    pull = 2 * (p / (1 + (delta**2).sum(-1)))[..., None] * delta
    value, slope = model.field.at(found, ONE)
    gradient = pull.sum(1) + slope / value[:, None]
    # float32 coordinates on a map of 40 leave 4e-6 of place.
    assert np.linalg.norm(gradient, axis=1).max() < 1e-3
    assert np.linalg.norm(pull.sum(1), axis=1).max() > 0.05


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 500), max_size=6), st.integers(1, 3))
def test_any_chunks_and_threads_give_the_same_bits(cuts, n_jobs):
    model, indices, distances = CHUNKED
    whole = place_beside(model, indices, distances, Placement(), ONE).embedding
    edges = [0, *sorted({c for c in cuts if c < len(indices)}), len(indices)]
    parts = [
        place_beside(model, indices[a:b], distances[a:b], Placement(), Threads(n_jobs)).embedding
        for a, b in itertools.pairwise(edges)
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


CHUNKED = (_model := a_map(), *some_rows(_model, m=500))


def test_a_row_that_is_there_takes_its_seat():
    model = a_map()
    indices, distances = some_rows(model)
    distances[::3, 0] = 0
    placed = place_beside(model, indices, distances, Placement(), Threads(2))
    np.testing.assert_array_equal(placed.embedding[::3], model.embedding[indices[::3, 0]])
    assert (placed.iterations[::3] == 0).all()
    assert (placed.iterations[1::3] > 0).any()


def test_exaggerations_one_after_the_other():
    model = a_map()
    indices, distances = some_rows(model)
    last = place_beside(model, indices, distances, Placement(exaggeration=(8.0, 1.0), tolerance=1e-5), ONE).embedding
    p = Perplexity(5).conditional(distances, ONE).astype(float)
    for row in range(0, len(indices), 7):
        energy = lambda y, row=row: reference.placement_energy(y, model.embedding, indices[row], p[row])  # noqa: E731
        wanted = minimize(energy, last[row].astype(float), method="Nelder-Mead", options=FINE)
        assert energy(last[row]) - wanted.fun < 2e-4


def test_exaggeration_draws_rows_to_their_neighbours():
    model = a_map()
    indices, distances = some_rows(model)
    centre = model.embedding[indices].mean(1)
    gaps = []
    for exaggeration in (1.0, 20.0):
        placed = place_beside(model, indices, distances, Placement(exaggeration=exaggeration), ONE).embedding
        gaps.append(np.linalg.norm(placed - centre, axis=1).mean())
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("initialization", ["median", "mean"])
def test_starts(initialization):
    model = a_map()
    indices, distances = some_rows(model)
    placed = place_beside(
        model,
        indices,
        distances,
        Placement(initialization=initialization, max_iter=0, affinity=Uniform(15)),
        ONE,
    ).embedding
    wanted = getattr(np, initialization)(model.embedding[indices], axis=1)
    np.testing.assert_allclose(placed, wanted, rtol=1e-5, atol=1e-5)


def test_rows_without_company_stay_on_the_map():
    """Neighbours at the map's very edge: the field pushes outwards, the rows stay within its reach."""
    model = a_map(width=200.0)
    edge = np.argsort(model.embedding[:, 0])[-15:].astype(np.uint32)
    distances = np.linspace(1, 2, 15, dtype=np.float32)[None]
    placed = place_beside(model, edge[None], distances, Placement(exaggeration=0.01), ONE).embedding
    assert np.isfinite(placed).all()
    assert (placed >= model.field.low).all()
    assert (placed <= model.field.high).all()


def test_model_stays_as_it_is():
    model = a_map()
    before = model.embedding.copy()
    place_beside(model, *some_rows(model), Placement(), ONE)
    np.testing.assert_array_equal(model.embedding, before)
    with pytest.raises(ValueError, match="read-only"):
        model.embedding[0] = 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_map_of_few_rows(n):
    Y = np.linspace(0, 1, 2 * n, dtype=np.float32).reshape(n, 2)
    indices = np.tile(np.arange(n, dtype=np.uint32), (4, 1))
    distances = np.tile(np.arange(1, n + 1, dtype=np.float32), (4, 1))
    placed = place_beside(Model(Y, None, 1.0, 1.0), indices, distances, Placement(), ONE).embedding
    assert np.isfinite(placed).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perplexity": 0}, "perplexity=0"),
        ({"k": 0}, "k=0"),
        ({"exaggeration": (1, -1)}, "exaggeration=-1"),
        ({"initialization": "medain"}, "did you mean 'median'"),
        ({"tolerance": np.nan}, "tolerance=nan"),
        ({"max_iter": -1}, "max_iter=-1"),
    ],
)
def test_options_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Placement(**options)


def test_affinity_of_its_own():
    assert Placement(affinity=affinity.FixedSigma(1.0, neighbors=7)).neighbors(100) == 7
    assert Placement(k=3).neighbors(2) == 2


def test_the_exaggeration_is_that_of_the_fit_or_one_and_a_half():
    assert Placement().exaggerations(1.0) == [1.5]
    assert Placement().exaggerations(4.0) == [4.0]
    assert Placement(exaggeration=1).exaggerations(4.0) == [1]
    assert Placement(exaggeration=(8, 2)).exaggerations(4.0) == [8, 2]


def test_options_exactly_at_their_limits_are_taken():
    least = Placement(1e-9, k=1, exaggeration=1e-6, tolerance=1e-9, max_iter=0)
    assert (least.perplexity, least.k, least.exaggeration, least.tolerance, least.max_iter) == (1e-9, 1, 1e-6, 1e-9, 0)
    assert Placement() == Placement(
        perplexity=5.0, k=None, exaggeration=None, initialization="median", affinity=None, tolerance=1e-3, max_iter=100
    )
    assert Placement(exaggeration=[4, np.int64(2)]).exaggeration == (4.0, 2.0)
    assert Placement(exaggeration=np.float32(2)).exaggeration == 2.0


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"perplexity": 0}, ValueError, "placement perplexity=0 must be a finite number greater than 0"),
        ({"k": 0}, ValueError, "placement k=0 must be at least 1"),
        ({"tolerance": 0}, ValueError, "placement tolerance=0 must be a finite number greater than 0"),
        ({"max_iter": -1}, ValueError, "placement max_iter=-1 must be at least 0"),
        (
            {"exaggeration": 9e-7},
            ValueError,
            "placement exaggeration=9e-07 must be a finite number from 1e-06 to 1e+06",
        ),
        ({"exaggeration": ()}, ValueError, "placement exaggeration=() names none; leave it out, or give at least one"),
        ({"exaggeration": "many"}, TypeError, "placement exaggeration='many' is not a number"),
        ({"exaggeration": [2, None]}, TypeError, "placement exaggeration=None is not a number"),
        ({"initialization": "first"}, ValueError, "placement initialization='first' is not known; known: mean, median"),
        ({"affinity": 3}, TypeError, "placement affinity=3 is not an object such as tsne_ooc.Uniform()"),
        ({"affinity": "uniform"}, TypeError, "placement affinity='uniform' is not an object such as"),
    ],
)
def test_one_beyond_a_limit_is_refused(options, kind, message):
    with pytest.raises(kind) as told:
        Placement(**options)
    assert str(told.value).startswith(message)


@pytest.mark.parametrize("perplexity", [0.2, 1.0, 2.5, 5.0, 1e300])
def test_neighbours_asked_for_are_three_times_the_perplexity_of_those_that_there_are(perplexity):
    for n in (1, 2, 3, 7, 8, 100):
        assert Placement(perplexity).neighbors(n) == max(1, min(n, int(np.ceil(min(n, 3 * perplexity)))))
        assert Placement(k=5).neighbors(n) == min(n, 5)
        # An affinity of one's own counts the row that is placed, too.
        assert Placement(affinity=Uniform(6)).neighbors(n) == min(n, 6)
        assert Placement(affinity=Uniform(6), k=2).neighbors(n) == min(n, 2)


def test_a_seat_is_that_of_the_equal_row_or_of_the_first_at_distance_zero():
    indices = np.array([[4, 1], [2, 3], [7, 0], [5, 6]], np.uint32)
    distances = np.array([[0, 1], [0.5, 1], [0, 0], [1, 2]], np.float32)
    assert seats_of(indices, distances, None).tolist() == [4, -1, 7, -1]
    assert seats_of(indices, distances, np.array([-1, 9, 0, -1])).tolist() == [4, 9, 0, -1]
    assert seats_of(indices[:0], distances[:0], None).tolist() == []


def test_pieces_are_joined_with_what_each_of_them_has():
    def piece(first, n, novelty=True):
        values = np.arange(first, first + n, dtype=np.float32)
        return Placed(np.stack([values, -values], axis=1), values.astype(np.int32), 2 * values if novelty else None)

    found = Placed.joined([piece(0, 2), piece(2, 1), piece(3, 3)])
    assert found.embedding[:, 1].tolist() == [0, -1, -2, -3, -4, -5] and found.iterations.tolist() == [*range(6)]
    assert found.novelty.tolist() == [0, 2, 4, 6, 8, 10] and found.embedding.dtype == np.float32
    assert Placed.joined([piece(0, 2, False), piece(2, 1, False)]).novelty is None
    for one in (piece(0, 4), piece(0, 4, False)):
        content, arrays = one.state()
        assert content == {} and set(arrays) == {
            "embedding",
            "iterations",
            *(["novelty"] if one.novelty is not None else []),
        }
        again = Placed.restore(Saved(content, arrays), (4, 2))
        for mine, theirs in zip(again, one, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for shape in ((3, 2), (4, 3)):
            with pytest.raises(StateError):
                Placed.restore(Saved(content, arrays), shape)


def test_rows_begin_within_the_field_wherever_they_are_told_to():
    model = a_map()
    indices, distances = some_rows(model, m=6)
    start = np.array([[1e30, 0], [-1e30, 0], [0, 1e30], [0, -1e30], [0, 0], [3, 3]], np.float32)
    before = start.copy()
    found = place_beside(model, indices, distances, Placement(max_iter=0), ONE, start=start)
    np.testing.assert_array_equal(start, before)
    np.testing.assert_array_equal(found.embedding, np.clip(start, model.field.low, model.field.high))
    assert found.iterations.tolist() == [0] * 6 and found.novelty is None
    # A row that takes a seat needs no start, and the others have their own.
    distances[2, 0] = 0
    seated = place_beside(model, indices, distances, Placement(max_iter=0), ONE, start=start)
    np.testing.assert_array_equal(seated.embedding[2], model.embedding[indices[2, 0]])
    np.testing.assert_array_equal(np.delete(seated.embedding, 2, 0), np.delete(found.embedding, 2, 0))


def test_all_rows_may_take_seats():
    model = a_map()
    indices, distances = some_rows(model, m=5)
    distances[:, 0] = 0
    found = place_beside(model, indices, distances, Placement(), ONE)
    np.testing.assert_array_equal(found.embedding, model.embedding[indices[:, 0]])
    assert not found.iterations.any()
    empty = place_beside(model, indices[:0], distances[:0], Placement(), ONE)
    assert empty.embedding.shape == (0, 2) and empty.iterations.shape == (0,)


def test_equal_affinities_are_a_share_of_each_neighbour():
    model = a_map()
    _, distances = some_rows(model, m=5, k=8)
    p = affinities(model, distances, Placement(affinity=Uniform(8)), ONE)
    assert p.dtype == np.float32 and p.shape == (5, 8) and (p == np.float32(1 / 8)).all()
    plain = affinities(model, distances, Placement(2.0), ONE)
    np.testing.assert_array_equal(plain, Perplexity(2.0).conditional(distances, ONE))
