"""From rows to a map, step by step: what is searched, told, put in order, planned and saved on the way."""

from __future__ import annotations

import json
import logging
import pickle
import warnings

import numpy as np
import pytest
import reference
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from tsne_ooc import Perplexity, Phase, Uniform
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import GivenAffinities
from tsne_ooc.fit import rows as fits
from tsne_ooc.fit.model import Model
from tsne_ooc.fit.rows import (
    Recipe,
    _Frame,
    affinities_of,
    at_once,
    continue_rows,
    fit_rows,
    in_order,
    joint_of,
    tell_recall,
)
from tsne_ooc.fit.watch import Watch
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.neighbors import HNSW, IVF, Exact, Graph
from tsne_ooc.schedule import Schedule
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)


def some(n=90, p=4, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, p)) + 5 * rng.normal(size=(3, p))[rng.integers(0, 3, n)]).astype(np.float32)


def recipe(**changes):
    plain = {
        "d": 2, "dof": 1.0, "neighbors": Exact(), "metric": "euclidean", "metric_params": None,
        "affinity": Perplexity(4), "initialization": "pca", "schedule": Schedule([Phase(6)]),
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


def fitted(rows, **changes):
    return fit_rows(rows, recipe(**changes), seed=0, threads=ONE, watch=Watch())


# ------------------------------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize("neighbors", ["auto", Exact(), IVF(lists=9)])
def test_each_step_is_logged(caplog, neighbors):
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        fit = fitted(some(), neighbors=neighbors)
    width, height = np.ptp(fit.result.embedding, axis=0)
    share = fit.model.index.recall(12)
    pairs = joint_of(Perplexity(4), fit.model.index, 90, 0, ONE)[0].entries
    chosen = ", chosen for 90 rows and the euclidean metric" if neighbors == "auto" else ""
    search = Exact() if neighbors == "auto" else neighbors
    assert [record.getMessage() for record in caplog.records] == [
        f"neighbours of 90 rows of 4 columns by {search!r}{chosen}",
        f"{'all' if share == 1 else f'{share:.3f}'} of the 12 nearest rows are found",
        f"affinities: {Perplexity(4)!r}, from 12 neighbours of each row; {pairs:,} pairs",
        f"schedule: {Phase(6)}",
        f"6 iterations: KL {fit.result.kl_divergence:.4f}, a map of {width:.0f} x {height:.0f} units",
    ]
    assert fit.k == 12


def test_a_search_is_not_asked_what_it_found_where_affinities_are_given(caplog):
    dense = np.exp(-cdist(some(), some()))
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        fit = fitted(some(), affinity=GivenAffinities(dense))
    assert fit.k == 0
    assert not [one for one in caplog.messages if "nearest rows are found" in one]
    assert "from 0 neighbours of each row; 8,010 pairs" in " ".join(caplog.messages)
    with pytest.raises(ValueError, match="affinity matrix has 90 rows, X has 89; they must be the same rows"):
        fitted(some()[1:], affinity=GivenAffinities(dense))


class Finds:
    """An index that finds this share."""

    def __init__(self, share):
        self.share = share

    def recall(self, k):
        return self.share


@pytest.mark.parametrize(
    ("share", "told", "warned"),
    [
        (1.0, "all", False),
        (0.9999, "1.000", False),
        (0.9, "0.900", False),
        (0.8999, "0.900", True),
        (0.0, "0.000", True),
    ],
)
def test_a_search_that_finds_too_little_is_warned_of(caplog, share, told, warned):
    with warnings.catch_warnings(record=True) as said, caplog.at_level(logging.INFO, "tsne_ooc"):
        warnings.simplefilter("always")
        tell_recall(Finds(share), 30)
    assert caplog.messages == [f"{told} of the 30 nearest rows are found"]
    assert [str(one.message) for one in said] == [
        f"the neighbour search finds {share:.2f} of the 30 nearest rows, and the map shows the rest as apart; use "
        "neighbors='exact', or in Python ask more of it (probes=, ef=, trees=, recall= of tsne_ooc.neighbors)"
    ] * warned


# ----------------------------------------------------------------------------------------------- what is put in order


@pytest.mark.parametrize("centre", [None, np.array([3e5, -2.0])])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_map_goes_into_the_order_of_affinities_and_back(centre, ordered):
    order = np.random.default_rng(0).permutation(50).astype(np.uint32) if ordered else None
    near = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
    Y = (near + (0 if centre is None else centre)).astype(np.float32)
    before, frame = Y.copy(), _Frame(order, centre)
    inside = frame.inside(Y)
    assert inside.dtype == np.float32
    for place in range(50):
        row = place if order is None else order[place]
        np.testing.assert_array_equal(inside[place], (Y[row] - (0 if centre is None else centre)).astype(np.float32))
        assert frame.ordered(np.arange(50))[place] == row
    outside = frame.outside(inside)
    assert outside.dtype == np.float32
    np.testing.assert_array_equal(outside, Y)
    outside[:] = 7
    np.testing.assert_array_equal(Y, before)


@pytest.mark.parametrize("block", [1, 7, 40, 32_768])
def test_neighbours_are_named_by_their_places(monkeypatch, block):
    monkeypatch.setattr(fits, "BLOCK", block)
    rng = np.random.default_rng(0)
    neighbors = rng.integers(0, 40, (40, 3)).astype(np.uint32)
    order, before = rng.permutation(40).astype(np.uint32), neighbors.copy()
    found = in_order(neighbors, order)
    assert found.dtype == np.uint32
    for place, row in enumerate(order):
        assert order[found[place]].tolist() == neighbors[row].tolist()
    np.testing.assert_array_equal(neighbors, before)


@pytest.mark.parametrize("affinity", [Perplexity(4), Uniform(7)])
@pytest.mark.parametrize("search", [Exact(), IVF(lists=9, probes=9)])
def test_affinities_are_those_of_the_rows_in_whatever_order_a_search_has_them(search, affinity):
    X = some()
    fit = fitted(X, neighbors=search, affinity=affinity)
    assert (fit.model.index.order is None) == isinstance(search, Exact)
    D = cdist(X, X)
    np.fill_diagonal(D, np.inf)
    k = affinity.k(90)
    near = np.argsort(D, axis=1)[:, :k]
    if isinstance(affinity, Uniform):
        # All pairs of neighbours are equal, also where each has the other.
        wanted = np.zeros((90, 90))
        np.put_along_axis(wanted, near, 1, axis=1)
        wanted = np.maximum(wanted, wanted.T) / np.maximum(wanted, wanted.T).sum()
    else:
        wanted = reference.joint(near, [reference.conditional(np.sort(row)[:k], 4) for row in D])
    found = affinities_of(fit.model, affinity, seed=0, threads=ONE)
    np.testing.assert_allclose(found.toarray(), wanted, atol=2e-6)


@pytest.mark.parametrize("affinity", [Perplexity(3), Uniform(5)])
def test_copies_name_other_copies_than_a_search_does(affinity):
    """A search names the first few of them; as neighbours of all copies these would be hubs. The seed draws others."""
    X = some()
    X[30:80] = X[30]
    fit = fitted(X, affinity=affinity)
    k = affinity.k(90)
    searched = fit.model.index.query_self(k)[0]
    assert np.bincount(searched[30:80].ravel(), minlength=90).max() > 40
    found = [affinities_of(fit.model, affinity, seed=seed, threads=ONE).toarray() for seed in (0, 0, 1)]
    for dense in found:
        # Each copy has k others, and k others have it.
        assert ((dense[30:80, 30:80] > 0).sum(axis=0) <= 2 * k).all()
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_a_row_alone_has_no_affinities():
    index = Exact().build(np.ones((1, 3), np.float32), threads=ONE)
    P, order, k, reference_ = joint_of(Perplexity(3), index, 1, 0, ONE)
    assert (P.n, P.entries, order, k) == (1, 0, None, 0)
    assert P.tocsr().shape == (1, 1) and len(reference_.own) == 1
    P, _, k, _ = joint_of(Uniform(3), Exact().build(np.eye(2, dtype=np.float32), threads=ONE), 2, 0, ONE)
    assert (P.n, P.entries, k) == (2, 2, 1)


def test_which_searches_find_all_neighbours_at_once():
    known = Graph(csr_array(cdist(some(), some())))
    table = [
        ("exact", "euclidean", 10**6, True), ("ivf", "euclidean", 100, False), ("ivf", "cosine", 100, False),
        ("ivf", "nan_euclidean", 100, False), ("auto", "euclidean", 14_999, True), ("auto", "euclidean", 15_000, False),
        ("auto", "nan_euclidean", 15_000, False), ("auto", "l2", 15_000, False), ("hnsw", "euclidean", 10**6, True),
        (HNSW(), "cosine", 10**6, True), (IVF(), "cosine", 100, False), (known, "euclidean", 90, False),
        ("auto", "manhattan", 10**6, True), ("pynndescent", "manhattan", 10**6, True), ("auto", "jaccard", 10**6, True),
        ("auto", cdist, 10**6, True), ("precomputed", "precomputed", 10**6, True),
    ]  # fmt: skip
    for neighbors, metric, n, all_of_them in table:
        assert at_once(recipe(neighbors=neighbors, metric=metric), n) is all_of_them, (neighbors, metric, n)
    weighted = {"w": np.ones(4)}
    assert at_once(recipe(neighbors="auto", metric="euclidean", metric_params=weighted), 15_000) is True


# ----------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize(("extent", "margin"), [(0.0, 1.0), (4.0, 3.0), (37.9, 19.95), (38.0, 20.0), (200.0, 20.0)])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_new_rows_may_lie_half_a_map_beside_it_and_no_more_than_twenty_units(extent, margin, d):
    Y = np.random.default_rng(0).random((60, d))
    Y = (
        (Y - Y.min(0)) / np.ptp(Y, axis=0) * extent * np.array([0.1, 0.3, 1])[-d:] + np.array([5, -40, 300])[-d:]
    ).astype(np.float32)
    low, high = Y.min(0) - margin, Y.max(0) + margin
    field = Model(Y, None, 1.0, 1.0).curved_field
    assert field.summed
    np.testing.assert_allclose((field.low, field.high), (low, high), atol=1e-4)
    if d < 3:
        planned = Model(Y, None, 1.0, 1.0).field
        wanted = FieldPlanner(1.0, ONE, margin).plan(Y)
        assert not planned.summed and planned.shape.nodes == wanted.shape.nodes
        np.testing.assert_allclose((planned.low, planned.high), (wanted.low, wanted.high), atol=1e-3)


@pytest.mark.parametrize(
    ("d", "n", "dof", "summed", "curved"),
    [
        (1, 1, 1.0, False, True), (2, 1_999, 1.0, False, True), (2, 2_000, 1.0, False, False),
        (1, 2_000, 1.0, False, False), (3, 4_999, 2.0, True, True), (3, 5_000, 2.5, True, True),
        (3, 29_999, 2.5, True, True),
    ],
)  # fmt: skip
def test_which_fields_are_sums(d, n, dof, summed, curved):
    Y = np.zeros((n, d), np.float32)
    Y[0] = 30
    model = Model(Y, None, dof, 1.0)
    assert (model.field.summed, model.curved_field.summed) == (summed, curved)
    assert model.field is model.field and model.n == n
    for field in (model.field, model.curved_field):
        assert isinstance(field, Crowd) == field.summed
    if not curved:
        # Second derivatives need a finer grid: half as wide on a plane, a quarter on a line.
        assert model.curved_field.shape.spacing * {1: 4, 2: 2}[d] == pytest.approx(model.field.shape.spacing)


def lone(value):
    """A map with one row far out."""
    Y = np.zeros((90, 2), np.float32)
    Y[7, 1] = value
    return Y


@pytest.fixture(scope="module")
def saved():
    content, arrays = fitted(some()).model.state()
    return json.loads(json.dumps(content)), arrays


def test_a_model_comes_back(saved):
    model = Model.restore(Saved(*saved), ONE)
    content, arrays = model.state()
    assert json.loads(json.dumps(content)) == saved[0]
    assert arrays.keys() == saved[1].keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, saved[1][name])
    with pytest.raises(ValueError, match="read-only"):
        model.embedding[0] = 1
    # Models of versions before do not know how far their rows are from each other, nor which are equal.
    older = {key: value for key, value in saved[0].items() if key not in ("reference", "seats")}
    model = Model.restore(Saved(older, saved[1]), ONE)
    assert model.reference is None and model.seats is None and model.state()[0] == older


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"embedding": np.zeros((0, 2), "f4")}, "has the shape (0, 2), which is not a map"),
        ({"embedding": np.zeros((90, 0), "f4")}, "has the shape (90, 0), which is not a map"),
        ({"embedding": np.zeros((90, 4), "f4")}, "has the shape (90, 4), which is not a map"),
        ({"embedding": np.zeros((90, 3), "f4")}, None),
        ({"embedding": np.zeros((90, 1), "f4")}, None),
        ({"embedding": lone(1e6)}, None),
        ({"embedding": lone(-1e6)}, None),
        ({"embedding": lone(1.001e6)}, "is wider than 1e+06 units"),
        ({"embedding": lone(-1.001e6)}, "is wider than 1e+06 units"),
        ({"embedding": np.zeros((89, 2), "f4")}, "holds 89 places, the index 90 rows"),
        ({"dof": 0.01}, None),
        ({"dof": 10_000}, None),
        ({"dof": 0.009}, " is not valid: dof=0.009 must be a finite number from 0.01 to 10000"),
        ({"dof": 10_001}, " is not valid: dof=10001.0 must be a finite number from 0.01 to 10000"),
        ({"dof": 0}, " is not valid: dof=0 must be a finite number greater than 0"),
        ({"dof": -1}, " is not valid: dof=-1 must be a finite number greater than 0"),
        ({"exaggeration": 0}, " is not valid: exaggeration=0 must be a finite number greater than 0"),
        ({"exaggeration": 1e-3}, None),
    ],
)
def test_a_model_that_cannot_be_is_refused(saved, change, says):
    content, arrays = saved
    new = Saved(
        {**content, **{key: value for key, value in change.items() if key in content}},
        {**arrays, **{key: value for key, value in change.items() if key in arrays}},
    )
    if says is None:
        assert Model.restore(new, ONE).n == 90
        return
    with pytest.raises(StateError) as caught:
        Model.restore(new, ONE)
    assert str(caught.value).startswith(says)
    assert caught.value.array == ("embedding" if "embedding" in change else None)


@pytest.mark.parametrize("far", [1.001e6, -1.001e6, np.nan, np.inf])
def test_a_map_without_a_place_in_a_file_is_not_saved(far):
    model = fitted(some()).model
    Y = model.embedding.copy()
    Y[7, 1] = far
    with pytest.raises(ValueError, match=r"^the map is wider than 1e\+06 units or not finite, and cannot be saved$"):
        Model(Y, model.index, 1.0, 1.0).state()
    Y = model.embedding.copy()
    Y[7, 1] = -1e6
    assert "embedding" in Model(Y, model.index, 1.0, 1.0).state()[1]


# ------------------------------------------------------------------------------------------------------------- going on


START = np.random.default_rng(5).normal(300, 4, (90, 2)).astype(np.float32)


@pytest.mark.parametrize("given", [False, True], ids=["principal", "given"])
@pytest.mark.parametrize("search", [Exact(), IVF(lists=9, probes=9)], ids=["exact", "lists"])
def test_a_fit_that_goes_on_is_one_that_did_not_stop(search, given):
    """Of one phase in two parts the bits are those of the whole; the first map stays as it was."""
    options = {"neighbors": search, "initialization": START if given else "pca", "dof": 0.8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        whole = fitted(some(), **options, schedule=Schedule([Phase(10, 1.0)]))
        first = fitted(some(), **options, schedule=Schedule([Phase(6, 1.0)]))
    before = first.model.embedding.copy()
    rest = continue_rows(
        first.model, Perplexity(4), Schedule([Phase(4, 1.0)]), first.pause, seed=0, threads=ONE, watch=Watch()
    )
    np.testing.assert_array_equal(rest.model.embedding, whole.model.embedding)
    np.testing.assert_array_equal(rest.result.embedding, whole.result.embedding)
    assert rest.result.kl_divergence == whole.result.kl_divergence and rest.k == whole.k == 12
    np.testing.assert_array_equal(first.model.embedding, before)
    assert rest.model.index is first.model.index and rest.model.dof == 0.8
    for one, other in zip(rest.pause.motion[:4], whole.pause.motion[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    if given:
        # A map that is given stays where it lies.
        assert np.abs(rest.model.embedding.mean(axis=0) - START.mean(axis=0)).max() < 5
    else:
        assert rest.pause.centre is None and np.abs(rest.model.embedding.mean(axis=0)).max() < 1e-3
    rest.result.embedding[:] = 0
    assert rest.model.embedding.any()


def test_where_there_is_no_iteration_nothing_changes():
    fit = fitted(some(), schedule=Schedule([Phase(6, 3.0)]))
    again = continue_rows(fit.model, Perplexity(4), Schedule([]), fit.pause, seed=0, threads=ONE, watch=Watch())
    np.testing.assert_array_equal(again.model.embedding, fit.model.embedding)
    assert again.model.exaggeration == fit.model.exaggeration == 3.0
    assert (again.pause.motion.phase, again.pause.motion.exaggeration) == (Phase(6, 3.0), 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        given = fitted(some(), initialization=START, schedule=Schedule([]))
    np.testing.assert_array_equal(given.model.embedding, START)
    assert given.model.exaggeration == 1.0


def test_who_watches_is_shown_the_map_in_the_order_of_the_rows():
    """Where it lies, and as the fit ends with it."""
    seen = []
    watch = Watch([lambda iteration, error, Y: seen.append(Y.copy())], every=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        options = recipe(neighbors=IVF(lists=9, probes=9), initialization=START)
        fit = fit_rows(some(), options, seed=0, threads=ONE, watch=watch)
        seen.append(None)
        later = Schedule([Phase(6, 2.5)])
        rest = continue_rows(fit.model, Perplexity(4), later, fit.pause, seed=0, threads=ONE, watch=watch)
    assert len(seen) == 3 and (fit.model.exaggeration, rest.model.exaggeration) == (1.0, 2.5)
    there = rest.model.embedding - rest.model.embedding.mean(0)
    np.testing.assert_allclose(seen[2] - seen[2].mean(0), there, atol=1e-3)
    np.testing.assert_allclose(seen[0] - seen[0].mean(0), fit.model.embedding - fit.model.embedding.mean(0), atol=1e-3)
    assert np.abs(seen[0] - START.mean(0)).max() < 100


def test_a_model_is_pickled_with_all_but_its_field():
    model = fitted(some()).model
    assert model.field is model.field
    again = pickle.loads(pickle.dumps(model))
    assert "field" in model.__dict__ and "field" not in again.__dict__
    for one, other in zip(model.state()[1].items(), again.state()[1].items(), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
    assert again.state()[0] == model.state()[0] and not again.embedding.flags.writeable
    np.testing.assert_array_equal(again.field.potential, model.field.potential)
