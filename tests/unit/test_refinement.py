"""What a refinement is asked for and where its rows begin: options at their limits, nothing shared with the caller."""

from __future__ import annotations

import numpy as np
import pytest

from tsne_ooc import TSNE, Refinement, sampling
from tsne_ooc.placement import Placed
from tsne_ooc.preprocess import PCA, Preparation
from tsne_ooc.recipes import perplexity_of_sample, settings_of_large
from tsne_ooc.refinement import begin_at, late_iterations, placed_at, resolve


def places(n=200, d=2):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, d)) * ([30, 5, 1][:d]) + 100).astype(np.float32)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("deviation", [0.5, 2, np.float32(7)])
def test_rows_begin_around_zero_at_the_deviation_in_the_shape_of_the_map(d, deviation):
    given = places(5000, d)
    before = given.copy()
    found = begin_at(given, deviation, np.random.default_rng(1))
    assert found.dtype == np.float32 and found.shape == given.shape
    np.testing.assert_array_equal(given, before)
    # The mean square over all axes is that of the deviation, and a hundredth of it is moved at random.
    wanted = given.astype(np.float64) - given.mean(axis=0, dtype=np.float64)
    wanted *= float(deviation) / np.sqrt(np.mean(wanted**2))
    moved = (found - wanted) / float(deviation)
    assert 0.0095 < moved.std() < 0.0105 and abs(moved.mean()) < 1e-3
    again = begin_at(given, deviation, np.random.default_rng(1))
    np.testing.assert_array_equal(again, found)


def test_a_map_may_be_left_as_it_is_and_is_a_copy_then():
    given = places()
    found = begin_at(given, None, np.random.default_rng(0))
    np.testing.assert_array_equal(found, given)
    assert not np.shares_memory(found, given)


def test_the_middle_of_a_map_and_its_deviation_are_not_rounded():
    """Far from zero single precision holds no number between two rows; and a number of another type is that number."""
    given = np.array([[2**24, -(2**23)], [2**24 + 2, 1 - 2**23]], np.float32)
    found = begin_at(given, 2.0, np.random.default_rng(0))
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=2 * 4 * 0.01 * 2)
    for deviation in (np.float32(0.1), np.float16(0.3)):
        one, other = (begin_at(places(), number, np.random.default_rng(1)) for number in (deviation, float(deviation)))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n", [1, 3])
def test_a_map_that_is_a_point_is_moved_by_chance_alone(n):
    found = begin_at(np.full((n, 2), 7, np.float32), 2.0, np.random.default_rng(0))
    assert 0 < np.abs(found).max() < 0.2


def test_late_iterations_begin_to_grow_beyond_a_hundred_thousand_rows():
    assert [late_iterations(n) for n in (0, 1, 99_999, 100_000, 200_000, 400_000)] == [175, 175, 175, 175, 195, 215]


def test_what_stands_for_a_refinement():
    own = Refinement(perplexity=5)
    assert resolve(True) == resolve(np.True_) == Refinement() and resolve(own) is own
    assert resolve(False) is resolve(np.False_) is resolve(None) is None
    for wrong in (1, "yes", {}):
        with pytest.raises(TypeError) as told:
            resolve(wrong)
        assert str(told.value) == f"refine={wrong!r} is neither True, False nor a tsne_ooc.Refinement object"


def test_what_decides_the_result_is_what_is_compared(tmp_path):
    usual = Refinement()
    assert usual.asked() == {"deviation": 2.0, "reference": None}
    assert (usual.snapshot_every, usual.memory, usual.scratch, usual.options) == (25, None, None, {})
    one = Refinement(deviation=None, reference=1, snapshot_every=1, memory=1e-9, scratch=tmp_path, exaggeration=4)
    assert one.asked() == {"deviation": None, "reference": 1, "exaggeration": 4}
    assert (one.snapshot_every, one.memory, one.options) == (1, 1e-9, {"exaggeration": 4})
    assert one == Refinement(deviation=None, reference=1, exaggeration=4)
    for other in ({"deviation": 1}, {"reference": 2}, {"exaggeration": 3}):
        assert one != Refinement(**{"deviation": None, "reference": 1, "exaggeration": 4} | other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deviation": 0}, "deviation=0 must be a finite number greater than 0"),
        ({"memory": 0}, "memory=0 must be a finite number greater than 0"),
        ({"reference": 0}, "reference=0 must be at least 1"),
        ({"snapshot_every": 0}, "snapshot_every=0 must be at least 1"),
    ],
)
def test_one_beyond_a_limit_is_refused(options, message):
    with pytest.raises(ValueError) as told:
        Refinement(**options)
    assert str(told.value) == message


@pytest.mark.parametrize("name", ["n_components", "metric", "metric_params", "initialization", "sample", "prepare"])
def test_what_the_map_has_decided_is_refused_by_its_name(name):
    with pytest.raises(TypeError) as told:
        Refinement(perplexity=3, **{name: None})
    assert str(told.value) == f"{name}= is not an option of refine: the map that is refined has decided it"


def test_a_start_is_copied_with_all_that_belongs_to_it():
    given = places()
    plain = placed_at(given, 200, 2)
    assert plain.novelty is None and plain.iterations.dtype == np.int32 and not plain.iterations.any()
    whole = Placed(given, np.arange(200, dtype=np.int32), np.linspace(0, 3, 200, dtype=np.float32))
    for start in (whole, whole._replace(novelty=None), whole._replace(embedding=given.astype(np.float64))):
        found = placed_at(start, 200, 2)
        assert found.embedding.dtype == np.float32 and found.iterations.dtype == np.int32
        np.testing.assert_array_equal(found.embedding, given)
        np.testing.assert_array_equal(found.iterations, start.iterations)
        assert (found.novelty is None) == (start.novelty is None)
        for mine, theirs in zip(found, start, strict=True):
            assert mine is None or not np.shares_memory(mine, theirs)
    np.testing.assert_array_equal(placed_at(whole, 200, 2).novelty, whole.novelty)
    assert not np.shares_memory(plain.embedding, given)
    for start in (given, whole):
        with pytest.raises(ValueError, match=r"^start has shape \(200, 2\); \(201, 2\) is needed"):
            placed_at(start, 201, 2)
    bad = given.copy()
    bad[3, 1] = np.nan
    for start in (bad, whole._replace(embedding=bad)):
        with pytest.raises(ValueError, match=r"^start: row 3, column 1 is nan; it must be finite"):
            placed_at(start, 200, 2)


@pytest.mark.parametrize("perplexity", [0.4, 5.0, 30.0, 500.0])
def test_the_perplexity_of_a_sample_over_all_sizes(perplexity):
    """As documented: the nearest 1/150 of the rows, 1.5 times the perplexity where that is more, a third at most."""
    for rows in (1, 2, 3, 10, 90, 150, 1000, 25_000, 1_000_000):
        equal = perplexity_of_sample(rows, perplexity, equal=True)
        assert equal == max(1, round(max(rows / 150, min(1.5 * perplexity, rows / 3))))
        assert perplexity_of_sample(rows, perplexity, equal=False) == max(1, round(max(rows / 150, perplexity)))


def settings(X, model=None, **options):
    usual = {
        "perplexity": 30.0, "sample": 25_000, "sample_perplexity": None, "reference": None, "memory": None,
        "scratch": None, "graph": None, "prepare": "auto", "where": {},
    }  # fmt: skip
    return settings_of_large(X, TSNE() if model is None else model, **(usual | options))


@pytest.mark.parametrize(
    ("columns", "metric", "prepare", "components"),
    [
        (100, "euclidean", "auto", None),
        (101, "euclidean", "auto", 50),
        (101, "cosine", "auto", None),
        (101, "euclidean", None, None),
        (5, "euclidean", Preparation([PCA(3)]), 3),
    ],
)
def test_wide_tables_are_brought_to_fifty_components_where_distances_are_euclidean(
    columns, metric, prepare, components
):
    found = settings(np.zeros((40, columns), np.float32), TSNE(metric=metric), prepare=prepare)["prepare"]
    assert (found and found.steps) == (None if components is None else (PCA(components),))


@pytest.mark.parametrize(
    ("n", "sample", "affinity", "perplexity", "used", "number"),
    [
        # 1.5 times the perplexity of all rows; a 150th of the sample where that is more, a third where it is less.
        (4000, 900, "perplexity", 30, "uniform", 45),
        (40_000, 25_000, "uniform", 30, "uniform", 167),
        (60, 25_000, "perplexity", 30, "uniform", 20),
        (4000, sampling.Coverage(900), "perplexity", 4, "uniform", 6),
        (4000, "uniform:900", "multiscale", 30, "multiscale", 30),
        (4000, [1, 2, 3], "perplexity", 30, "uniform", 1),
    ],
)
def test_the_sample_has_affinities_of_its_own(n, sample, affinity, perplexity, used, number):
    model = TSNE(affinity=affinity)
    found = settings(np.zeros((n, 2), np.float32), model, sample=sample, perplexity=perplexity)
    assert found["tsne"] is model and (model.affinity, model.perplexity) == (used, number)
    refine = found["refine"]
    known = {"affinity": affinity} if used == "uniform" else {}
    assert refine == Refinement(perplexity=float(perplexity), **known)


def test_what_the_recipe_is_told_is_handed_on(tmp_path):
    X = np.zeros((40, 2), np.float32)
    found = settings(
        X, TSNE(affinity="uniform"), sample_perplexity=7, perplexity=9, reference=5, memory=0.5, scratch=tmp_path
    )
    assert found["tsne"].perplexity == 7.0 and found["tsne"].affinity == "uniform"
    refine = found["refine"]
    assert refine == Refinement(perplexity=9.0, reference=5) and (refine.memory, refine.scratch) == (0.5, tmp_path)
    graph = TSNE(perplexity=5, n_iter=0, early_exaggeration_iter=0).fit(places(40)).graph(5)
    assert settings(X, graph=graph)["refine"].options["neighbors"] is graph
    assert found["sample"] == sampling.UniformSample(25_000)
    for options, message in (
        ({"perplexity": 0}, "perplexity=0 must be"),
        ({"sample_perplexity": 0}, "sample_perplexity=0 must be"),
        ({"prepare": "never"}, "prepare='never' is not known; known: auto"),
        ({"sample": "many"}, "sample='many' is not known"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(X, **options)


def test_a_table_by_path_is_closed_again_and_one_of_ones_own_is_not(tmp_path):
    import h5py

    from tsne_ooc.io import open_source

    path = tmp_path / "X.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.zeros((40, 2), np.float32)
    settings(path, where={"dataset": "X"})
    with h5py.File(path, "r+"):
        pass
    with open_source(path) as source:
        settings(source)
        assert source.read(0, 3).shape == (3, 2)
