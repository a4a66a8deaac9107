"""All rows together: as good as a fit of all of them, in fewer iterations, and a map like any other."""

from __future__ import annotations

import copy
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse

import tsne_ooc
from tsne_ooc import TSNE, Phase, Uniform
from tsne_ooc.estimator.saving import fingerprint
from tsne_ooc.metrics import displacement, kl_divergence, label_accuracy, neighbor_recall
from tsne_ooc.neighbors import IVF
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.refinement import JITTER, begin_at

QUICK = {"perplexity": 8, "early_exaggeration_iter": 15, "n_iter": 30, "random_state": 0, "n_jobs": 2}
FEW = {"n_iter": 20, "early_exaggeration_iter": 5}
STILL = [Phase(0)]


def groups(n=400, p=6, seed=0):
    rng = np.random.default_rng(seed)
    centres = 8 * np.random.default_rng(7).normal(size=(5, p))
    return (rng.normal(size=(n, p)) + centres[rng.integers(0, 5, n)]).astype(np.float32)


X = groups()


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK, sample=150).fit(X)


# ------------------------------------------------------------------------------------------------------ how good


@pytest.fixture(scope="module")
def maps(digits):
    """A fit of all digits, and a refinement of a third of them."""
    table, _ = digits
    return TSNE(random_state=0).fit(table), TSNE(random_state=0, sample=600).fit(table).refine(table)


def test_it_is_as_good_as_a_fit_of_all_rows_in_fewer_iterations(maps, digits):
    (table, labels), (fit, refined) = digits, maps
    assert refined.n_iter_ <= 0.8 * fit.n_iter_
    P = fit.affinities_
    assert abs(P - refined.affinities_).max() < 1e-9
    # By exact sums over all pairs, of the very same affinities.
    assert kl_divergence(P, refined.embedding_) < kl_divergence(P, fit.embedding_) + 0.01
    assert refined.kl_divergence_ == pytest.approx(kl_divergence(P, refined.embedding_), abs=2e-3)
    recalls = [neighbor_recall(table, Y, sample=None) for Y in (fit.embedding_, refined.embedding_)]
    assert recalls[1][10] > recalls[0][10] - 0.01 and recalls[1][50] > recalls[0][50] - 0.01
    assert label_accuracy(refined.embedding_, labels) > label_accuracy(fit.embedding_, labels) - 0.01
    # Placed rows alone are far from it.
    assert neighbor_recall(table, refined.placed_.embedding, sample=None)[10] < recalls[1][10] - 0.05


def test_the_large_picture_is_that_of_the_sample(digits):
    """Islands stay where chance put them in the sample; three seeds put them in three ways."""
    table, labels = digits
    maps = [TSNE(random_state=seed, sample=600, initialization="random").fit(table).refine(table) for seed in (1, 2, 5)]

    def middles(Y):
        return np.array([Y[labels == label].mean(axis=0) for label in range(10)])

    placed, found = (
        [middles(Y) for Y in some] for some in zip(*((m.placed_.embedding, m.embedding_) for m in maps), strict=True)
    )
    apart = np.array([[displacement(a, b).mean() for a in placed] for b in found])
    own = np.eye(3, dtype=bool)
    assert (apart.argmin(axis=1) == np.arange(3)).all()
    assert apart[own].mean() < 0.5 * apart[~own].mean()


def test_it_descends_as_the_slow_way_does(model):
    """Ten plain steps of gradient descent by sums over all pairs, from where the rows were placed."""
    rho, rate, steps = 2.0, 40.0, 10
    course = {"schedule": [Phase(steps, rho, momentum=0.0, learning_rate=rate)], "neighbors": "exact"}
    refined = model.refine(X, deviation=None, **course)
    P, Y = refined.affinities_.toarray(), refined.placed_.embedding.astype(np.float64)
    gains, before = np.ones_like(Y), np.zeros_like(Y)
    for _ in range(steps):
        Q = reference.similarities(Y)
        w = reference.kernel((reference.differences(Y) ** 2).sum(-1))
        gradient = 4 * np.einsum("ij,ijd->id", (rho * P - Q) * w, reference.differences(Y))
        # With no momentum the last step points against the last gradient.
        gains = np.where(np.sign(before) == np.sign(gradient), np.maximum(0.8 * gains, 0.01), gains + 0.2)
        step = -rate * gains * gradient
        step *= 5 / np.maximum(5, np.linalg.norm(step, axis=1, keepdims=True))
        before, Y = step, Y + step
    centred = refined.embedding_ - refined.embedding_.mean(axis=0)
    assert reference.relative(centred, Y - Y.mean(axis=0)) < 1e-3


# -------------------------------------------------------------------------------------------- what it starts from


def test_no_step_leaves_the_placed_map(model):
    """In the order of the rows, whatever order the search keeps; at its place and width."""
    for neighbors in ("exact", IVF(lists=12, probes=12)):
        still = model.refine(X, deviation=None, schedule=STILL, neighbors=neighbors)
        np.testing.assert_array_equal(still.embedding_, model.transform(X))
        assert still.n_iter_ == 0
    shrunk = model.refine(X, schedule=STILL).embedding_
    assert np.sqrt(np.square(shrunk - shrunk.mean(axis=0)).mean()) == pytest.approx(2, rel=0.01)
    # But for the noise, it is the same map.
    assert 0.01 < displacement(model.transform(X), shrunk).mean() < 0.04
    wide = model.refine(X, deviation=30, schedule=STILL).embedding_
    assert displacement(shrunk, wide).mean() < 1


def test_a_start_that_is_given(model):
    wanted = model.refine(X, **FEW)
    for start in (model.place(X), model.transform(X), model.transform(X).astype(float)):
        found = model.refine(X, start=start, **FEW)
        np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
        np.testing.assert_array_equal(found.placed_.embedding, wanted.placed_.embedding)
    assert found.placed_.novelty is None
    other = np.random.default_rng(3).normal(size=(400, 2))
    still = model.refine(X, start=other, deviation=None, schedule=STILL)
    np.testing.assert_array_equal(still.embedding_, np.float32(other))


def test_where_rows_were_placed_stays_known(model, tmp_path):
    placed, refined = model.place(X), model.refine(X, **FEW)
    refined.save(tmp_path / "model")
    for kept in (refined, tsne_ooc.load(tmp_path / "model"), copy.deepcopy(refined), refined.refine(X).continue_fit(1)):
        if kept.n_iter_ == refined.n_iter_:
            for found, wanted in zip(kept.placed_, placed, strict=True):
                np.testing.assert_array_equal(found, wanted)
                assert not found.flags.writeable
        # Novelty, seen from the sample, is another than that among all rows.
        assert kept.placed_.novelty.shape == kept.novelty_.shape and (kept.placed_.novelty != kept.novelty_).any()
    assert not hasattr(model, "placed_") and not hasattr(TSNE(**QUICK).fit(X), "placed_")


def test_more_rows_take_more_iterations(model, monkeypatch):
    """20 for each doubling beyond 100,000; here, beyond 100."""
    schedule = [model.schedule_of_all(n).iterations for n in (1, 400, 100_000, 200_000, 1_600_000, 100_000_000)]
    assert schedule == [175, 175, 175, 195, 255, 374]
    monkeypatch.setattr("tsne_ooc.refinement.LATE_ROWS", 100)
    assert model.refine(X).n_iter_ == 215
    assert model.refine(X, n_iter=20).n_iter_ == 20 and model.refine(X, schedule=[Phase(7)]).n_iter_ == 7
    assert model.refine(X, schedule="auto").n_iter_ == 240


# ------------------------------------------------------------------------------------------------ a map like any other


def test_it_places_is_saved_and_goes_on(model, tmp_path):
    refined = model.refine(X, **FEW)
    assert refined.sample_rows_ is None and refined.n_iter_ == 25 and refined.seed_ == model.seed_
    np.testing.assert_array_equal(refined.transform(X), refined.embedding_)
    refined.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    new = groups(50, seed=1)
    np.testing.assert_array_equal(loaded.transform(new), refined.transform(new))
    assert fingerprint(loaded) == fingerprint(refined) != fingerprint(model)
    assert abs(loaded.affinities_ - refined.affinities_).max() == 0
    assert refined.continue_fit(3).n_iter_ == 28
    again = loaded.refine(X, **FEW)
    np.testing.assert_array_equal(again.embedding_, tsne_ooc.load(tmp_path / "model").refine(X, **FEW).embedding_)


def test_a_loaded_map_is_refined_to_the_same_bits(model, tmp_path):
    model.save(tmp_path / "model")
    found = tsne_ooc.load(tmp_path / "model").refine(X, **FEW)
    np.testing.assert_array_equal(found.embedding_, model.refine(X, **FEW).embedding_)


@pytest.mark.parametrize("n_jobs", [1, 3, None])
def test_the_same_bits_for_any_number_of_threads(model, n_jobs):
    wanted = model.refine(X, neighbors=IVF(), **FEW)
    found = model.refine(X, neighbors=IVF(), n_jobs=n_jobs, **FEW)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
    np.testing.assert_array_equal(found.novelty_, wanted.novelty_)


def test_nothing_is_changed_or_shared(model):
    table, start = X.copy(), model.place(X)
    new = groups(30, seed=1)
    before = model.embedding_.copy(), model.get_params(), model.map_
    refined = model.refine(table, start=start, perplexity=5, **FEW)
    wanted, placed = refined.transform(new), [part.copy() for part in refined.placed_]
    np.testing.assert_array_equal(table, X)
    for part in (table, *start):
        part[:] = -1
    np.testing.assert_array_equal(refined.transform(new), wanted)
    for found, kept in zip(refined.placed_, placed, strict=True):
        np.testing.assert_array_equal(found, kept)
    np.testing.assert_array_equal(model.embedding_, before[0])
    assert model.get_params() == before[1] and model.map_ is before[2]
    assert refined.perplexity == 5 and refined.get_params() == {**before[1], "perplexity": 5, **FEW}
    assert refined.n_neighbors_ == 15 and model.n_neighbors_ == 24


def test_rows_in_another_order_make_the_same_map(model):
    """By exact search and without the noise of the start there is nothing else that an order decides."""
    course = {"deviation": None, "schedule": [Phase(20, 1.0, 0.5)], "neighbors": "exact"}
    shuffled = np.random.default_rng(2).permutation(len(X))
    wanted = model.refine(X, **course).embedding_
    found = model.refine(X[shuffled], **course).embedding_
    assert reference.relative(found, wanted[shuffled]) < 0.01


def test_callbacks_see_the_map_in_the_order_of_the_rows_and_may_end_it(model):
    seen = []

    def look(iteration, error, Y):
        seen.append((iteration, error, Y))
        return iteration == 8

    options = {"callbacks": look, "callbacks_every_iters": 4, "neighbors": IVF(lists=12, probes=12)}
    refined = model.refine(X, deviation=None, schedule=[Phase(99)], **options)
    assert [iteration for iteration, *_ in seen] == [4, 8] and refined.n_iter_ == 8
    # Eight iterations take no island past another.
    for _, error, Y in seen:
        assert displacement(refined.embedding_, Y).mean() < 0.2 * np.ptp(Y, axis=0).max() and np.isfinite(error)
    np.testing.assert_allclose(seen[-1][2], refined.embedding_, atol=1e-4)


def test_an_interrupt_keeps_the_map(model):
    def interrupt(iteration, error, Y):
        raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="interrupted after 10 of 175 iterations; the map is as it then was"):
        refined = model.refine(X, callbacks=interrupt, callbacks_every_iters=10)
    assert refined.n_iter_ == 10 and np.isfinite(refined.embedding_).all()
    np.testing.assert_array_equal(refined.transform(X[:5]), refined.embedding_[:5])


# ------------------------------------------------------------------------------------------------------ containers


def on_disk(table, folder):
    with h5py.File(folder / "X.h5", "w") as file:
        file["X"] = table
    return h5py.File(folder / "X.h5")["X"]


CONTAINERS = {
    "list": lambda table, folder: table.tolist(),
    "Fortran": lambda table, folder: np.asfortranarray(table),
    "CSR": lambda table, folder: sparse.csr_array(table),
    "COO": lambda table, folder: sparse.coo_array(table),
    "HDF5": on_disk,
    "source of CSR": lambda table, folder: tsne_ooc.io.as_source(sparse.csr_array(table)),
}


@pytest.mark.parametrize("prepared", [False, True], ids=["plain", "prepared"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_wherever_rows_lie_the_map_is_the_same(container, prepared, tmp_path):
    table = np.maximum(X, 0)
    prepare = Preparation([Standardize(), PCA(3)]) if prepared else None
    model = TSNE(**QUICK, sample=150, prepare=prepare).fit(table)
    wanted = model.refine(table, **FEW)
    found = model.refine(CONTAINERS[container](table, tmp_path), **FEW)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
    assert (found.preparation_ is None) != prepared and not found.map_.model.index.sparse
    np.testing.assert_array_equal(found.transform(table[:9]), found.embedding_[:9])


def test_a_map_of_sparse_rows_takes_both():
    table = sparse.csr_array(np.maximum(X, 0))
    model = TSNE(**QUICK).fit(table[:150])
    wanted = model.refine(table, **FEW)
    dense = model.refine(table.toarray(), **FEW)
    np.testing.assert_array_equal(dense.embedding_, wanted.embedding_)
    assert dense.map_.model.index.sparse and wanted.map_.model.index.sparse
    np.testing.assert_array_equal(wanted.transform(table), wanted.embedding_)


def test_columns_are_taken_by_name():
    named = pd.DataFrame(X, columns=list("abcdef"))
    model = TSNE(**QUICK, sample=150, prepare=Preparation([Standardize()])).fit(named)
    wanted = model.refine(named, **FEW)
    np.testing.assert_array_equal(model.refine(named[list("fcabed")], **FEW).embedding_, wanted.embedding_)
    assert wanted.feature_names_in_.tolist() == list("abcdef")
    with pytest.raises(ValueError, match="'c'"):
        model.refine(named.drop(columns="c"))


# ------------------------------------------------------------------------------------------------------ other maps


@pytest.mark.parametrize(
    "options",
    [
        {"n_components": 1},
        {"n_components": 3},
        {"dof": 0.6},
        {"metric": "cosine"},
        {"metric": "minkowski", "metric_params": {"p": 1.5}},
        {"affinity": "uniform"},
        {"exaggeration": 4},
    ],
    ids=lambda options: ",".join(options),
)
def test_other_maps_are_refined_too(options):
    model = TSNE(**QUICK, **options, sample=150).fit(X)
    refined = model.refine(X)
    worse = model.refine(X, schedule=STILL, deviation=None)
    assert refined.kl_divergence_ < worse.kl_divergence_ or "exaggeration" in options
    assert refined.map_.model.exaggeration == model.map_.model.exaggeration
    assert refined.embedding_.shape == (len(X), options.get("n_components", 2))


def test_options_of_the_new_map(model):
    strong = model.refine(X, exaggeration=4)
    assert strong.map_.model.exaggeration == 4 and strong.exaggeration == 4
    assert np.ptp(strong.embedding_, axis=0).max() < np.ptp(model.refine(X).embedding_, axis=0).max()
    assert model.refine(X, affinity=Uniform(7), **FEW).n_neighbors_ == 7
    assert model.refine(X, random_state=5, **FEW).seed_ == 5
    # How long the sample was fitted says nothing of all rows.
    assert model.refine(X).n_iter_ == 175 and model.refine(X, schedule="auto").n_iter_ == 240
    assert model.refine(X, early_exaggeration_iter=20, n_iter=100).n_iter_ == 120


def test_a_fit_may_have_the_schedule_of_a_refinement(model):
    start = model.refine(X, schedule=STILL).embedding_
    auto = {"early_exaggeration_iter": "auto", "n_iter": "auto"}
    found = TSNE(**QUICK | auto, schedule="refine", initialization=start).fit(X)
    assert found.n_iter_ == 175
    assert displacement(found.embedding_, model.refine(X).embedding_).mean() < 0.01


# ------------------------------------------------------------------------------------------------- difficult tables


@pytest.mark.filterwarnings("ignore:perplexity=8 is too large")
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_few_rows(model, n):
    refined = model.refine(X[:n])
    assert refined.embedding_.shape == (n, 2) and np.isfinite(refined.embedding_).all()


def test_a_perplexity_that_is_too_large_is_said_once(model):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refined = model.refine(X, perplexity=300, **FEW)
    assert [str(one.message) for one in said] == [
        "perplexity=300 is too large for 400 rows; 133 is used (a third of the other rows)"
    ]
    assert refined.n_neighbors_ == 399


def test_rows_that_are_all_equal(model):
    refined = model.refine(np.tile(X[:1], (60, 1)))
    assert np.isfinite(refined.embedding_).all() and refined.embedding_.shape == (60, 2)


def test_half_of_the_rows_are_copies(model):
    table = np.concatenate([X, np.tile(X[:20], (20, 1))])
    refined = model.refine(table)
    Y = refined.embedding_
    copies = np.arange(400, 800) % 20
    apart = np.linalg.norm(Y[400:] - Y[copies], axis=1)
    assert np.isfinite(Y).all() and apart.max() < 0.2 * np.ptp(Y, axis=0).max()
    fit = TSNE(**QUICK | {"early_exaggeration_iter": "auto", "n_iter": "auto"}).fit(table)
    assert refined.kl_divergence_ < fit.kl_divergence_ + 0.02


def test_a_graph_that_falls_apart():
    """Two halves that no edge joins, one of which the sample has three rows of."""
    far = np.concatenate([groups(300), groups(300, seed=3) + 1e4])
    model = TSNE(**QUICK).fit(far[:303])
    refined = model.refine(far, affinity=Uniform(10))
    P = refined.affinities_.tocoo()
    assert ((P.row < 300) == (P.col < 300)).all()
    Y = refined.embedding_
    near = reference.differences(Y)
    near = np.argsort((near**2).sum(-1), axis=1)[:, 1:6]
    assert ((near < 300) == (np.arange(600) < 300)[:, None]).mean() > 0.99


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "options, says",
    [
        ({"n_components": 3}, "n_components= is not an option of refine: the map that is refined has decided it"),
        ({"metric": "cosine"}, "metric= is not an option of refine"),
        ({"initialization": "pca"}, "initialization= is not an option of refine"),
        ({"sample": 10}, "sample= is not an option of refine"),
        ({"perplexty": 3}, "TSNE has no option 'perplexty'; did you mean 'perplexity'?"),
        ({"n_neighbors": 15}, "TSNE has no option 'n_neighbors'; it is perplexity here"),
        ({"deviation": 0}, "deviation=0 must be a finite number greater than 0"),
        ({"deviation": "wide"}, "deviation='wide' is not a number"),
        ({"schedule": "refined"}, "schedule='refined' is not known; did you mean 'refine'?"),
        ({"n_iter": -1}, "n_iter=-1 must be at least 0"),
        ({"neighbors": "exat"}, "did you mean 'exact'?"),
        ({"start": X[:, :3]}, r"start has shape \(400, 3\); \(400, 2\) is needed, a row for each row of X"),
        ({"start": X[:9, :2]}, r"start has shape \(9, 2\); \(400, 2\) is needed, a row for each row of X"),
        ({"start": np.where(np.arange(800).reshape(400, 2) == 7, np.nan, 0)}, "start: row 3, column 1 is nan"),
        ({"affinity": np.ones((3, 3))}, "affinity matrix has 3 rows, X has 400; they must be the same rows"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(model, options, says, monkeypatch):
    def work(*arguments, **more):
        raise AssertionError("work has begun")

    monkeypatch.setattr("tsne_ooc.estimator.fitted_map.place_rows", work)
    monkeypatch.setattr("tsne_ooc.estimator.fitting.fit_rows", work)
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        model.refine(X, **options)
    assert "\n" not in str(caught.value)


def test_other_tables_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="X has 5 features, but TSNE is expecting 6 features as input"):
        model.refine(X[:, :5])
    with pytest.raises(ValueError, match="has 5 columns, and the map was made of 6"):
        model.refine(on_disk(X[:, :5], tmp_path))
    wrong = X.copy()
    wrong[17, 2] = np.nan
    with pytest.raises(ValueError, match="X contains NaN at row 17, column 2"):
        model.refine(wrong)
    with pytest.raises(TypeError, match="open_source"):
        model.refine("rows.h5")


def test_distances_have_no_rows_to_place():
    from scipy.spatial.distance import cdist

    model = TSNE(**QUICK, metric="precomputed").fit(cdist(X[:90], X[:90]))
    with pytest.raises(ValueError, match="refine needs rows, and metric='precomputed' has distances"):
        model.refine(cdist(X, X))


def test_a_table_that_does_not_fit_is_refused_before_it_is_read(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc.io.reading.available_bytes", lambda: 9_000)
    with pytest.raises(MemoryError, match=r"^to hold all 400 rows of 6 columns takes about 0\.0 GB of memory, and "):
        model.refine(on_disk(X, tmp_path))


def test_too_little_memory_is_refused_before_the_work(model, monkeypatch):
    def work(*arguments, **options):
        raise AssertionError("work began")

    monkeypatch.setattr(type(model), "place_prepared", work)
    # Each row has as many neighbours as the sample's perplexity asks for.
    said = r"^0\.10 GB of memory are too little for 400 rows with 24 neighbours each: .* takes \d\.\d\d GB; allow more"
    with pytest.raises(MemoryError, match=said):
        model.refine(X, memory=0.1)
    monkeypatch.setattr("tsne_ooc.scratch.plan.available_bytes", lambda: 10_000)
    with pytest.raises(MemoryError, match=r"are too little for 400 rows with 120 neighbours each"):
        model.refine(X, perplexity=40)


def test_not_before_a_fit():
    with pytest.raises(ValueError, match="not fitted"):
        TSNE().refine(X)


def test_no_more_iterations_change_nothing_that_follows():
    """Momentum, gains, phase and exaggeration are those of before."""
    plain, paused = (TSNE(**QUICK, exaggeration=3).fit(X[:120]) for _ in range(2))
    places = paused.embedding_.copy()
    paused.continue_fit(0)
    assert paused.n_iter_ == plain.n_iter_ and paused.map_.model.exaggeration == plain.map_.model.exaggeration == 3
    np.testing.assert_array_equal(paused.embedding_, places)
    np.testing.assert_array_equal(paused.continue_fit(7).embedding_, plain.continue_fit(7).embedding_)
    assert paused.map_.model.exaggeration == 3


@pytest.mark.parametrize("width", [1e-6, 0.3, 0.999, 1.0, 40.0, 1e6])
def test_maps_of_any_width_begin_as_wide_as_is_asked_for(width):
    places = np.random.default_rng(0).normal(size=(500, 2))
    found = begin_at((places * width + 3 * width).astype(np.float32), 2.0, np.random.default_rng(1))
    centred = places - places.mean(axis=0)
    wanted = 2 * centred / np.sqrt(np.square(centred).mean())
    # Beside noise of a hundredth.
    np.testing.assert_allclose(found, wanted, atol=2 * 6 * JITTER)
    one_place = begin_at(np.full((50, 2), 3.0, np.float32), 2.0, np.random.default_rng(1))
    assert np.abs(one_place).max() < 2 * 6 * JITTER


class Planned(Exception):
    """Ends a refinement where its room was planned."""


@pytest.mark.parametrize("options, sparse, at_once", [
    ({"neighbors": "ivf"}, False, False), ({"neighbors": "exact"}, False, True), ({"metric": "cityblock"}, False, True),
    ({"neighbors": "exact"}, True, True),
])  # fmt: skip
def test_room_is_planned_for_all_rows_before_the_work(monkeypatch, options, sparse, at_once):
    """For the rows in float32, the copy of the search and what it makes on the way; sparse rows are there already."""
    import scipy.sparse as sp

    from tsne_ooc.scratch import Room

    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4)).astype(np.float32) * (rng.random((90, 4)) < 0.9)
    table = sp.csr_array(X) if sparse else X
    fitted = TSNE(perplexity=5, n_iter=3, early_exaggeration_iter=3, random_state=0, n_components=1, **options)
    fitted.fit(table[:40])
    asked = []

    def plan(self, n, affinity, d, **more):
        asked.append((n, affinity.perplexity, d, more))
        raise Planned

    monkeypatch.setattr(Room, "plan", plan)
    monkeypatch.setattr(TSNE, "place_prepared", lambda *given: pytest.fail("placed"))
    with pytest.raises(Planned):
        fitted.refine(table, perplexity=7)
    held = 0 if sparse else 3 * X.nbytes
    assert asked == [(90, 7, 1, {"more": held, "at_once": at_once})]


def test_room_that_is_not_there_is_told_before_the_work(monkeypatch, tmp_path):
    from tsne_ooc.scratch import Room

    X = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    fitted = TSNE(perplexity=5, n_iter=3, early_exaggeration_iter=3, random_state=0).fit(X[:40])
    monkeypatch.setattr(TSNE, "place_prepared", lambda *given: pytest.fail("placed"))
    plans = []
    monkeypatch.setattr(Room, "plan", lambda self, *given, **more: plans.append(1) or "plan")

    def check(self, plan):
        assert plan == "plan"
        raise OSError("no room")

    monkeypatch.setattr(Room, "check_scratch", check)
    with pytest.raises(OSError, match=r"^no room$"):
        fitted.refine(X)
    with pytest.raises(OSError, match="nowhere"):
        fitted.refine(X, scratch=tmp_path / "nowhere")
    assert len(plans) == 1


def test_a_matrix_of_affinities_has_to_be_of_all_rows(monkeypatch):
    """That is told before they are placed; it needs no room beside itself."""
    from tsne_ooc.scratch import Room

    X = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    fitted = TSNE(perplexity=5, n_iter=3, early_exaggeration_iter=3, random_state=0).fit(X[:40])
    P = TSNE(perplexity=5, n_iter=0, early_exaggeration_iter=0, random_state=0).fit(X).affinities_
    with monkeypatch.context() as patched:
        patched.setattr(TSNE, "place_prepared", lambda *given: pytest.fail("placed"))
        for other in (P[:40][:, :40], P[:4][:, :4]):
            with pytest.raises(ValueError, match="90"):
                fitted.refine(X, affinity=other)
    monkeypatch.setattr(Room, "plan", lambda *given, **more: pytest.fail("planned"))
    assert fitted.refine(X, affinity=P, schedule=[Phase(2)]).embedding_.shape == (90, 2)


def test_more_rows_have_more_late_iterations_unless_a_course_is_named():
    """20 for each doubling beyond 100,000 rows."""
    model = TSNE()

    def count(n, **options):
        return model.schedule_of_all(n, **options).iterations

    assert count(100_000) == count(10) and count(400_000) - count(100_000) == 2 * 20
    for options in ({"n_iter": 7}, {"schedule": "classic"}, {"schedule": "auto"}, {"schedule": [Phase(3)]}):
        assert count(400_000, **options) == count(10, **options), options
    assert count(400_000, n_iter=7) < count(10) and count(10, schedule=[Phase(3)]) == 3


def test_the_recipe_of_a_refinement_has_the_course_of_one():
    """Whatever that of the sample was."""
    sample = TSNE(schedule=[Phase(5)], exaggeration=None)
    for options, wanted in (({}, TSNE(schedule="refine")), ({"n_iter": 11}, TSNE(schedule="refine", n_iter=11))):
        again, recipe = sample.for_all_rows(**options)
        assert recipe.schedule == wanted._schedule() == again.schedule_of_all(0, **options)
        assert again is not sample and again.get_params()["n_iter"] == options.get("n_iter", "auto")
    with pytest.raises(ValueError, match="perplexity"):
        sample.for_all_rows(perplexity=-1)
