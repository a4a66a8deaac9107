"""Fits at their edges: copies on maps of any size, rows without a step, what is handed on, closed, and left alone."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE, Perplexity, Phase, Uniform
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import GivenAffinities
from tsne_ooc.fit import rows as fits
from tsne_ooc.fit import searched as searches
from tsne_ooc.fit.copies import reunite
from tsne_ooc.fit.history import length_of
from tsne_ooc.fit.model import WIDEST, Model
from tsne_ooc.fit.optimize import minimise
from tsne_ooc.fit.rows import Recipe, continue_rows, fit_rows, joint_of, joint_within
from tsne_ooc.fit.searched import Searched
from tsne_ooc.fit.snapshot import Motion, Snapshot
from tsne_ooc.fit.watch import Watch
from tsne_ooc.joint import Joint
from tsne_ooc.neighbors import IVF, Exact
from tsne_ooc.schedule import Schedule
from tsne_ooc.scratch import JointOnDisk, NeighborsOnDisk, Room
from tsne_ooc.storage.state import Saved

ONE = Threads(1)
QUICK = {
    "perplexity": 5,
    "n_iter": 4,
    "early_exaggeration_iter": 4,
    "random_state": 0,
    "n_jobs": 1,
    "neighbors": "exact",
}


def some(n=90, p=4, copies=0):
    """Rows of which the first are all alike."""
    X = np.random.default_rng(0).normal(size=(n, p)).astype(np.float32)
    X[:copies] = X[0]
    return X


def recipe(**changes):
    plain = {
        "d": 2, "dof": 1.0, "neighbors": Exact(), "metric": "euclidean", "metric_params": None,
        "affinity": Perplexity(4), "initialization": "pca", "schedule": Schedule([Phase(6)]),
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


# --------------------------------------------------------------------------------------------------------- of any size


@pytest.mark.parametrize("d", [1, 2, 3])
def test_copies_are_lost_or_not_whatever_the_unit_of_the_map_is(d):
    """Of a map that has hardly begun as of one of millions of rows; all lengths are shares of its own."""
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(200, d)).astype(np.float32)
    equal = np.arange(200)
    equal[:60] = np.arange(60) // 12
    for number in range(5):
        Y[12 * number : 12 * number + 9] = Y[12 * number] + 0.01 * rng.normal(size=(9, d)).astype(np.float32)
        # Some are on the other side of the map, and further.
        Y[12 * number + 9 : 12 * number + 11] = -4 * np.sign(Y[12 * number])
    P = Joint.from_matrix(csr_array(1 - np.eye(200)))
    moved = []
    for unit in (2.0**-14, 1.0, 2.0**10):
        # Where affinities pull does not depend on the unit where the kernel's own width is scaled, too.
        found = Y * np.float32(unit)
        count = reunite(found, P, equal, unit**2)
        moved.append((count, (found != Y * np.float32(unit)).any(axis=1).tolist()))
    assert moved[0] == moved[1] == moved[2] and moved[0][0] > 0


@pytest.mark.parametrize("velocity, length", [([[3.0, 4.0]], 5.0), ([[3, 4], [0, 0]], np.sqrt(12.5)), ([[2.0]], 2.0)])
def test_the_length_of_a_step_is_a_mean_over_rows(velocity, length):
    assert length_of(np.array(velocity, np.float32)) == pytest.approx(length)
    assert length_of(np.empty((0, 2), np.float32)) == 0


@pytest.mark.parametrize(
    "far, saved", [(WIDEST, True), (-WIDEST, True), (np.nextafter(np.float32(WIDEST), np.float32(2e6)), False)]
)
def test_a_map_of_a_million_units_is_saved_and_no_wider_one(far, saved):
    Y = np.zeros((30, 2), np.float32)
    Y[3, 1] = far
    model = Model(Y, Exact().build(some(30), threads=ONE), 1.0, 1.0)
    if saved:
        content, arrays = model.state()
        np.testing.assert_array_equal(Model.restore(Saved(content, arrays), ONE).embedding, Y)
    else:
        with pytest.raises(ValueError, match="the map is wider than 1e"):
            model.state()
        content, arrays = replace(model, embedding=np.zeros((30, 2), np.float32)).state()
        with pytest.raises(ValueError, match="is wider than 1e"):
            Model.restore(Saved(content, {**arrays, "embedding": Y}), ONE)


# ------------------------------------------------------------------------------------------------------- without a step


def test_a_fit_of_no_iterations_goes_on_as_one_that_has_just_begun():
    """From where rows stand, with no momentum and all gains at one."""
    X = some()
    for phases in ([Phase(5)], [Phase(3, 4.0), Phase(4, 1.0)]):
        whole = TSNE(**{**QUICK, "schedule": phases, "n_iter": "auto", "early_exaggeration_iter": "auto"}).fit(X)
        begun = TSNE(**{**QUICK, "n_iter": 0, "early_exaggeration_iter": 0}).fit(X)
        assert begun.n_iter_ == 0 and begun.map_.model.exaggeration == 1
        begun.continue_fit(phases)
        np.testing.assert_allclose(begun.embedding_, whole.embedding_, atol=1e-6)
        assert begun.n_iter_ == whole.n_iter_ and begun.map_.model.exaggeration == whole.map_.model.exaggeration == 1
        begun.continue_fit(0)
        np.testing.assert_allclose(begun.embedding_, whole.embedding_, atol=1e-6)


def test_the_first_snapshot_is_of_the_first_of_all():
    """All numbers may be 0: such a one comes back, and one below is refused."""
    places = some(7, 2)
    motion = Motion(places, places * 0, places * 0 + 1, np.zeros(2, np.float32), None, None, 1.0)
    content, arrays = Snapshot(motion, 0, 0, 0).state()
    found = Snapshot.restore(Saved(content, arrays), 7, 2)
    assert (found.phase, found.iteration, found.done, found.since, found.best) == (0, 0, 0, 0, None)
    for name in ("phase", "iteration", "done", "since"):
        with pytest.raises(ValueError, match=name):
            Snapshot.restore(Saved({**content, name: -1}, arrays), 7, 2)


# --------------------------------------------------------------------------------------------------- what is handed on


@pytest.mark.parametrize("search", [Exact(), IVF(lists=6, probes=6)], ids=["exact", "lists"])
def test_callbacks_are_shown_a_map_of_their_own_in_single_precision(search):
    seen = []
    watch = Watch([lambda iteration, error, Y: seen.append(Y)], every=1)
    start = np.random.default_rng(1).normal(3e4, 2, (90, 2)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = fit_rows(some(), recipe(neighbors=search, initialization=start), seed=0, threads=ONE, watch=watch)
    assert len(seen) == 6 and all(Y.dtype == np.float32 and Y.flags.writeable for Y in seen)
    for Y in seen:
        Y[:] = 0
    assert np.abs(fit.model.embedding.mean(axis=0) - 3e4).max() < 100
    # Where a given map lies is known more exactly than single precision has it.
    np.testing.assert_array_equal(fit.pause.centre, start.mean(axis=0, dtype=np.float64))
    assert fit.pause.centre.dtype == np.float64 and fit.pause.motion.shift.dtype == np.float32


def test_a_fit_that_goes_on_knows_its_copies(monkeypatch):
    X = some(copies=30)
    fit = fit_rows(X, recipe(), seed=0, threads=ONE, watch=Watch())
    asked = []

    def noted(*given, **named):
        asked.append((given, named))
        return minimise(*given, **named)

    monkeypatch.setattr(fits, "minimise", noted)
    later = continue_rows(
        replace(fit.model, dof=0.7), Perplexity(4), Schedule([Phase(2)]), fit.pause, seed=0, threads=ONE, watch=Watch()
    )
    ((_, start, schedule), named) = asked[0]
    assert start is fit.pause.motion.places and schedule == Schedule([Phase(2)]) and named["dof"] == 0.7
    assert named["equal"] is fit.pause.equal is later.pause.equal and named["motion"] is fit.pause.motion
    assert (fit.pause.equal[:30] == 0).all() and len(set(fit.pause.equal.tolist())) == 61
    assert named["threads"] is ONE


def test_a_fit_of_few_or_given_affinities_is_planned_nowhere(monkeypatch):
    """One row has none, and those of a matrix are in memory already."""
    monkeypatch.setattr(Room, "plan", lambda *given, **named: pytest.fail("planned"))
    index = Exact().build(some(1), threads=ONE)
    P, order, k, _ = joint_within(Room(), Perplexity(4), index, 1, 2, 0, ONE)
    assert (P.n, P.entries, order, k) == (1, 0, None, 0)
    index = Exact().build(some(), threads=ONE)
    matrix = csr_array(np.exp(-cdist(some(), some())) - np.eye(90))
    given = GivenAffinities(matrix)
    P, order, k, _ = joint_within(Room(), given, index, 90, 2, 0, ONE)
    assert (order, k) == (None, 0) and P.n == 90
    np.testing.assert_array_equal(P.tocsr().toarray(), joint_of(given, index, 90, 0, ONE)[0].tocsr().toarray())
    monkeypatch.undo()
    asked = []

    def plan(room, *args, **named):
        asked.append((args, named))
        return SimpleNamespace(on_disk=False)

    monkeypatch.setattr(Room, "plan", plan)
    P, *_ = joint_within(Room(), Uniform(1), Exact().build(some(2), threads=ONE), 2, 3, 0, ONE)
    assert asked == [((2, Uniform(1), 3), {"begun": True})] and P.n == 2


def test_a_fit_goes_on_by_the_matrix_that_it_was_given():
    matrix = csr_array(np.exp(-cdist(some(), some())) - np.eye(90))
    options = {**QUICK, "affinity": matrix, "n_iter": "auto", "early_exaggeration_iter": "auto"}
    whole = TSNE(**{**options, "schedule": [Phase(7)]}).fit(some())
    first = TSNE(**{**options, "schedule": [Phase(4)]}).fit(some())
    np.testing.assert_array_equal(first.continue_fit(3).embedding_, whole.embedding_)


# -------------------------------------------------------------------------------------------- closed and left as it was


class Small(Room):
    """A room whose every plan is one on the disk."""

    def plan(self, n, affinity, d, **named):
        asked.append(named)
        return SimpleNamespace(on_disk=True, held=0, __str__=lambda plan: "a plan")


asked: list = []


def test_what_was_on_the_disk_is_closed_once_a_fit_has_ended(tmp_path, monkeypatch):
    closed = []
    for kind in (NeighborsOnDisk, JointOnDisk):
        plain = kind.close
        monkeypatch.setattr(kind, "close", lambda self, plain=plain: closed.append(type(self)) or plain(self))
    room, plain = Small(None, tmp_path), fit_rows(some(), recipe(), seed=0, threads=ONE, watch=Watch())
    found = fit_rows(some(), recipe(initialization=some(90, 2)), seed=0, threads=ONE, watch=Watch(), room=room)
    assert closed == [NeighborsOnDisk, JointOnDisk] and asked.pop() == {"begun": True}
    inside = fit_rows(some(), recipe(initialization=some(90, 2)), seed=0, threads=ONE, watch=Watch())
    np.testing.assert_array_equal(found.model.embedding, inside.model.embedding)
    assert plain.k == found.k == 12


@pytest.mark.parametrize("search", [Exact(), IVF(lists=6, probes=6)], ids=["exact", "lists"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_affinities_leave_what_was_searched_as_it_was(search, on_disk, tmp_path):
    """Of copies those are named that the search has found, also after others were named in their place."""
    X = some(copies=40)
    found = Searched.among(X, 12, recipe(neighbors=search), seed=0, threads=ONE)
    before = found.neighbors.copy(), found.distances.copy()
    room = (Small if on_disk else Room)(None, tmp_path)
    first, second = (found.joint(Perplexity(4), 2, room, seed=0, threads=ONE) for _ in range(2))
    np.testing.assert_array_equal(found.neighbors, before[0])
    np.testing.assert_array_equal(found.distances, before[1])
    for one, other in zip(first.part(0, 90), second.part(0, 90), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not on_disk or asked.pop() == {"begun": True}
    assert isinstance(first, JointOnDisk) == on_disk


def test_neighbours_of_no_row_are_of_none():
    found = Searched.among(some(1), 0, recipe(), seed=0, threads=ONE)
    assert found.neighbors.shape == found.distances.shape == (1, 0) and (found.n, found.k) == (1, 0)
    assert found.neighbors.dtype == np.uint32 and found.distances.dtype == np.float32
    assert searches.Searched.joint(found, Perplexity(4), 2, Room(), seed=0, threads=ONE).entries == 0


# ------------------------------------------------------------------------------------------------- without its novelty


def silent(model):
    """The same map, as a version of this package saved it that knew no novelty."""
    return TSNE.of_map(
        replace(model.map_, model=replace(model.map_.model, reference=None)), **model.get_params(deep=False)
    )


def test_a_map_that_does_not_know_novelty_places_without(tmp_path):
    from tsne_ooc.pipeline import place
    from tsne_ooc.pipeline.placer import MapPlacer

    model = TSNE(**QUICK).fit(some())
    old = silent(model)
    new = some(20) + np.float32(0.1)
    placed, wanted = old.place(new), model.place(new)
    np.testing.assert_array_equal(placed.embedding, wanted.embedding)
    np.testing.assert_array_equal(placed.iterations, wanted.iterations)
    assert placed.novelty is None and wanted.novelty is not None
    for name in ("novelty_", "novelty_threshold_"):
        with pytest.raises(AttributeError, match="this model was saved without what novelty needs; fit it again"):
            getattr(old, name)
    with pytest.raises(AttributeError, match="fit it again"):
        old.score_samples(new)
    placer = MapPlacer(old)
    assert placer.novelty is placer.threshold is None and set(placer.place(new, novelty=True)) == {"embedding"}
    assert set(MapPlacer(model).place(new, novelty=False)) == {"embedding"}
    assert set(MapPlacer(model).place(new, novelty=True)) == {"embedding", "novelty"}
    old.save(tmp_path / "old")
    run = place(tmp_path / "old", new, out=tmp_path / "run")
    assert run.novelty is None and "novelty" not in run.manifest
    np.testing.assert_array_equal(run.embedding, wanted.embedding)
    with pytest.raises(
        ValueError, match=r"old was saved without what novelty needs; fit it again, or leave novelty out"
    ):
        place(tmp_path / "old", new, out=tmp_path / "more", novelty=True)
    assert not (tmp_path / "more").exists()


def test_cells_on_such_a_map_have_places_alone():
    anndata = pytest.importorskip("anndata")
    from tsne_ooc import tl

    model = TSNE(**QUICK).fit(some())
    new = some(20) + np.float32(0.1)
    for made, known in ((model, True), (silent(model), False)):
        adata = anndata.AnnData(some(20, 3), obsm={"rep": new})
        tl.place(adata, made, use_rep="rep")
        np.testing.assert_array_equal(adata.obsm["X_tsne"], model.transform(new))
        assert ("tsne_novelty" in adata.obs) == ("novelty_threshold" in adata.uns["tsne"]["params"]) == known


def test_a_table_by_name_has_the_columns_of_the_map_though_that_knows_their_names():
    """Names of genes are those of X, and a table of another width is told before anything is placed."""
    anndata, pd = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    from tsne_ooc import tl

    model = TSNE(**QUICK).fit(pd.DataFrame(some(), columns=list("abcd")))
    adata = anndata.AnnData(some(20, 3), obsm={"rep": some(20, 5), "other": some(20, 4)})
    with pytest.raises(ValueError) as told:
        tl.place(adata, model, use_rep="rep")
    assert str(told.value) == (
        "rep has 5 columns, and the map was made of 4; 'other' of obsm has as many: pass use_rep, if its columns are "
        "those of the map"
    )
