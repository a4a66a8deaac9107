"""What a report measures of a map: the same as brute force and scikit-learn say, with errors that are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import pearsonr, spearmanr
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from tsne_ooc._labels import Classes
from tsne_ooc._parallel import Threads
from tsne_ooc.metrics._space import Space
from tsne_ooc.report import faithfulness as measuring
from tsne_ooc.report.classes import classes_of
from tsne_ooc.report.estimates import correlation, jackknife, mean_of
from tsne_ooc.report.faithfulness import _class_means, _near_classes, _sample, faithfulness

N, P, C = 300, 6, 9


def problem(n=N, d=2, seed=0):
    """Clusters, and a map that keeps some of them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, C, n)
    X = (rng.normal(0, 3, (C, P))[codes] + rng.normal(size=(n, P)) * rng.uniform(0.3, 2, (n, 1))).astype(np.float32)
    Y = (X[:, :d] + 0.5 * rng.normal(size=(n, d))).astype(np.float32)
    return X, Y, codes


def near(A, metric="euclidean"):
    D = cdist(A.astype(float), A.astype(float), metric)
    np.fill_diagonal(D, np.inf)
    return D, D.argsort(axis=1, kind="stable")


def recall(true, found, k):
    return np.mean([len(set(true[i, :k]) & set(found[i, :k])) / k for i in range(len(true))])


def measures(X, Y, codes=None, metric="euclidean", **options):
    classes = None if codes is None else Classes(np.unique(codes), codes.astype(np.int64))
    found = faithfulness(Space(X, Threads(2), metric), Y, classes, **options)
    return found, {one.name: one for one in found.measures}


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_all_rows_by_brute_force(metric):
    X, Y, codes = problem()
    found, told = measures(X, Y, codes, metric)
    assert (found.rows, found.drawn, found.others, found.notes) == (N, N, N, [])
    Z = PCA(2).fit_transform(X.astype(float))
    D, true = near(X, metric)
    for name, points in (("map", Y), ("components", Z)):
        E, there = near(points)
        got = {key: getattr(one, name) for key, one in told.items()}
        assert all(value.error == 0 for value in got.values())
        for k, key in ((10, "10"), (50, "50"), (3, "1 % of the rows")):
            assert got[f"neighbour recall, {key}"].value == pytest.approx(recall(true, there, k), abs=2e-3), (name, k)
        trust = trustworthiness(X, points, n_neighbors=10, metric=metric)
        assert got["trustworthiness"].value == pytest.approx(trust, abs=1e-5)
        continuity = 1 - sum(
            max(0, int(np.flatnonzero(there[i] == j)[0]) + 1 - 10) for i in range(N) for j in true[i, :10]
        ) * 2 / (N * 10 * (2 * N - 3 * 10 - 1))
        assert got["continuity"].value == pytest.approx(continuity, abs=1e-5)
        if metric == "euclidean":
            assert continuity == pytest.approx(trustworthiness(points, X, n_neighbors=10), abs=1e-6)
        rho = spearmanr(pdist(X.astype(float), metric), pdist(points)).statistic
        assert got["rank correlation of distances"].value == pytest.approx(rho, abs=1e-5)
        radii = [np.log(np.sort(one, axis=1)[:, :30].mean(axis=1)) for one in (D, E)]
        assert got["density"].value == pytest.approx(pearsonr(*radii).statistic, abs=1e-5)
        means = [np.array([A[codes == c].mean(axis=0, dtype=float) for c in range(C)]) for A in (X, points)]
        kept = recall(near(means[0], metric)[1], near(means[1])[1], 2)
        assert got["nearest class means, 2 of 8"].value == pytest.approx(kept, abs=1e-9)
    assert told["nearest class means, 2 of 8"].chance == pytest.approx(2 / 8)
    assert told["neighbour recall, 10"].map.value > told["neighbour recall, 10"].chance * 3


def test_chance_is_what_places_at_random_reach():
    X, _, codes = problem(900)
    Y = np.random.default_rng(3).normal(size=(900, 2)).astype(np.float32)
    for name, one in measures(X, Y, codes)[1].items():
        assert one.map.value == pytest.approx(one.chance, abs=0.35 if "means" in name else 0.04), name


def test_a_map_that_keeps_all_is_perfect():
    X, *_ = problem()
    Y = (7 * X[:, [1, 0]] + 3).astype(np.float32)
    found, told = measures(np.ascontiguousarray(X[:, :2]), Y)
    for one in told.values():
        assert one.map.value == pytest.approx(1, abs=0.01) and one.components.value == pytest.approx(1, abs=0.01)
    assert found.find("density").map.value == pytest.approx(1, abs=1e-5)


def test_samples_are_near_the_whole_as_their_errors_say(monkeypatch):
    n = 3000
    X, Y, codes = problem(n, seed=1)
    monkeypatch.setattr("tsne_ooc.report.faithfulness.OTHERS", 1500)
    whole = measures(X, Y, codes, sample=n)[1]
    drawn = [measures(X, Y, codes, sample=150, seed=seed)[1] for seed in range(12)]
    for name in whole:
        values = np.array([one[name].map.value for one in drawn])
        errors = np.array([one[name].map.error for one in drawn])
        if "means" in name:
            assert (values == values[0]).all() and not errors.any()
            continue
        assert (errors > 0).all()
        # The percent of half of the rows has an error of its own.
        assert (np.abs(values - whole[name].map.value) < 4.5 * errors + 0.01).all(), name
        assert 0.4 < values.std(ddof=1) / errors.mean() < 2.2, name
    again = measures(X, Y, codes, sample=150, seed=3)[1]
    assert again == drawn[3]


def test_the_same_for_any_threads():
    X, Y, codes = problem()
    classes = Classes(np.arange(C), codes)
    found = [faithfulness(Space(X, Threads(jobs)), Y, classes, sample=100) for jobs in (1, 3)]
    assert found[0] == found[1]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_maps_of_any_axes_beside_as_many_components(d):
    X, Y, _ = problem(d=d)
    Z = PCA(d).fit_transform(X.astype(float))
    told = measures(X, Y)[1]
    wanted = recall(near(X)[1], near(Z)[1], 10)
    assert told["neighbour recall, 10"].components.value == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("n", [1, 4, 5, 7, 12, 25, 60, 130])
def test_few_rows(n):
    X, Y, _ = problem(n)
    found, told = measures(X, Y)
    if n < 5:
        assert not told and "hardly any neighbours" in found.notes[0]
        return
    assert "trustworthiness" in told and all(0 <= one.chance < 1 for one in told.values())
    assert all(one.map.value <= 1 + 1e-9 for one in told.values() if one.map.value == one.map.value)


def test_rows_in_one_place():
    X, Y, codes = problem()
    for A, B in ((X, np.zeros_like(Y)), (np.ones_like(X), Y)):
        told = measures(A, B, codes)[1]
        assert np.isnan(told["rank correlation of distances"].map.value) and np.isnan(told["density"].map.value)
        assert 0 <= told["neighbour recall, 10"].map.value <= 1


def test_labels_and_their_classes():
    classes, told = classes_of(["b", None, "a", "b"], "kind")
    assert classes.names.tolist() == ["a", "b"] and classes.codes.tolist() == [1, -1, 0, 1] and not told
    assert classes_of(np.linspace(0, 1, 50), "x") == (None, "x holds numbers on a scale, which have no classes")
    assert classes_of(np.arange(50) % 7, "x")[0].names.tolist() == list(range(7))
    assert len(classes_of(np.array([True, False]), "x")[0].names) == 2
    many, told = classes_of([f"w{i}" for i in range(10_000)] + ["w9999"], "x")
    assert len(many.names) == 1000 and "of 10,000 labels the 1,000 of most rows" in told
    assert "w9999" in many.names and (many.codes >= 0).sum() == 1001


@pytest.mark.parametrize("codes, words", [(np.zeros(N), "1 label: it takes three"), (np.arange(N) % 2, "2 labels")])
def test_too_few_classes(codes, words):
    X, Y, _ = problem()
    found, told = measures(X, Y, codes)
    assert words in found.notes[0] and not any("means" in name for name in told)


def test_rows_without_a_label_belong_to_no_class():
    X, Y, codes = problem()
    some = codes.copy()
    some[::3] = -1
    X[::3] += 50
    Y[::3] -= 70
    told = measures(X, Y, None)[1]
    classes = Classes(np.arange(C), some)
    found = faithfulness(Space(X, Threads(1)), Y, classes).find("nearest class means")
    means = [np.array([A[some == c].mean(axis=0, dtype=float) for c in range(C)]) for A in (X, Y)]
    assert found.map.value == pytest.approx(recall(near(means[0])[1], near(means[1])[1], 2))
    assert "nearest class means, 2 of 8" not in told


def test_errors_of_means_and_correlations():
    rng = np.random.default_rng(0)
    population = rng.normal(size=2000)
    draws = [mean_of(rng.choice(population, 400, replace=False), 2000) for _ in range(200)]
    spread = np.std([one.value for one in draws])
    assert np.mean([one.error for one in draws]) == pytest.approx(spread, rel=0.15)
    assert mean_of(population, 2000).error == 0
    xy = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 60_000)
    found = []
    for at in range(0, 60_000, 300):
        x, y = xy[at : at + 300].T
        found.append(jackknife(lambda kept, x=x, y=y: correlation(x[kept], y[kept]), 300, 10**9))
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.2)
    assert np.isnan(correlation(np.ones(9), np.arange(9.0))) and np.isnan(correlation(np.ones(2), np.ones(2)))
    assert np.isnan(jackknife(lambda kept: 0.5, 12, 100).error)


def test_means_of_classes_are_those_of_their_rows():
    """A class without rows is at 0, and rows without a class are in none."""
    rng = np.random.default_rng(0)
    Y, codes = rng.normal(size=(200, 2)).astype(np.float32), rng.integers(-1, 5, 200)
    codes[codes == 3] = 2
    codes[7], codes[codes == 4] = 4, 1
    found = _class_means(Y, codes, 5)
    wanted = [Y[codes == c].mean(axis=0) if (codes == c).any() else np.zeros(2) for c in range(5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


# --------------------------------------------------------------------------------------------------- chances and limits


@pytest.mark.parametrize("n", [40, 150, 300])
def test_chances_are_those_of_neighbours_that_are_drawn(n):
    """Each of the others is as likely as any; what a rank costs is added up rank by rank."""
    X, Y, codes = problem(n)
    found, told = measures(X, Y, codes)
    k = 10
    for name, one in told.items():
        if name.startswith("neighbour recall, 1 %"):
            assert one.chance == pytest.approx(round(n / 100) / (n - 1), rel=1e-12)
        elif name.startswith("neighbour recall"):
            assert one.chance == pytest.approx(int(name.split()[-1]) / (n - 1), rel=1e-12)
    cost = sum(max(0, rank - k) for rank in range(1, n)) / (n - 1)
    for name in ("trustworthiness", "continuity"):
        assert told[name].chance == pytest.approx(1 - n * k * cost * 2 / (n * k * (2 * n - 3 * k - 1)), rel=1e-12)
    assert told["density"].chance == told["rank correlation of distances"].chance == 0
    assert found.find("nearest class means").chance == pytest.approx(2 / 8, rel=1e-12)


def test_the_chance_of_a_percent_is_that_among_the_rows_that_stand_for_all(monkeypatch):
    monkeypatch.setattr(measuring, "OTHERS", 200)
    X, Y, _ = problem()
    found, told = measures(X, Y, sample=30)
    assert (found.drawn, found.others) == (30, 200)
    assert told["neighbour recall, 1 % of the rows"].chance == pytest.approx(2 / 199, rel=1e-12)
    # A percent that is one row, or none, says nothing.
    for others, measured in ((149, False), (150, True)):
        monkeypatch.setattr(measuring, "OTHERS", others)
        assert ("neighbour recall, 1 % of the rows" in measures(X, Y, sample=30)[1]) == measured


@pytest.mark.parametrize("n, depths, near", [
    (5, [1], 1), (6, [1], 1), (7, [2], 2), (8, [2], 2), (12, [4], 4), (20, [8], 8), (21, [10], 9), (22, [10], 9),
    (23, [10], 10), (24, [10], 10), (100, [10], 10), (101, [10, 50], 10),
])  # fmt: skip
def test_of_few_rows_fewer_neighbours_are_looked_at(n, depths, near):
    X, Y, _ = problem(n)
    told = measures(X, Y)[1]
    named = [name for name in told if name.startswith("neighbour recall") and "%" not in name]
    assert named == [f"neighbour recall, {k}" for k in depths]
    for k in depths:
        assert told[f"neighbour recall, {k}"].map.value == pytest.approx(recall(near_of(X), near_of(Y), k), abs=1e-9)
    assert told["trustworthiness"].map.value == pytest.approx(trustworthiness(X, Y, n_neighbors=near), abs=1e-5)
    radii = [np.log(np.sort(near_of(A, True), axis=1)[:, : min(30, n - 1)].mean(axis=1)) for A in (X, Y)]
    assert told["density"].map.value == pytest.approx(pearsonr(*radii).statistic, abs=1e-5)


def near_of(A, distances=False):
    return near(A)[0 if distances else 1]


@pytest.mark.parametrize("classes, k", [(3, 1), (4, 1), (5, 1), (8, 1), (9, 2), (12, 2), (13, 3), (41, 10), (45, 10)])
def test_a_quarter_of_the_other_classes_are_near_and_no_more_than_ten(classes, k):
    assert _near_classes(classes) == k


def test_so_many_rows_are_looked_at(monkeypatch):
    """As many as can be compared with all others, within bounds; of wide tables as many as can be held."""
    for name, value in (("COMPARED", 10_000), ("FEWEST", 5), ("MOST", 50), ("_NUMBERS", 3_000), ("NEAR", 10)):
        monkeypatch.setattr(measuring, name, value)
    for n, p, wanted in (
        (7, 2, 7), (49, 2, 49), (100, 2, 50), (200, 1, 50), (250, 2, 20), (250, 4, 10), (333, 3, 10), (1000, 2, 5),
        (10**6, 2, 5), (50, 6, 33), (50, 10, 20), (10, 100, 10), (30, 14, 21), (30, 15, 20), (30, 16, 20),
    ):  # fmt: skip
        assert _sample(n, p) == wanted, (n, p)
    X, Y, _ = problem(100)
    assert measures(X[:, :2], Y)[0].drawn == 50 and measures(X[:, :2], Y, sample=77)[0].drawn == 77
    assert measures(X[:, :2], Y, sample=101)[0].drawn == 100


@pytest.mark.parametrize("numbers, others", [(6 * 299, 299), (6 * 300, 300), (6 * 301, 300), (6 * 120, 120), (6, 100)])
def test_as_many_rows_stand_for_all_as_can_be_held(monkeypatch, numbers, others):
    """A hundred at least, however wide they are."""
    monkeypatch.setattr(measuring, "_NUMBERS", numbers)
    X, Y, _ = problem()
    assert measures(X, Y, sample=20)[0].others == others


@pytest.mark.parametrize("p, d, others, there", [
    (1, 2, 300, False), (2, 2, 300, True), (2, 3, 300, False), (6, 2, 2, False), (6, 2, 3, True), (6, 3, 3, False),
    (1, 1, 300, True),
])  # fmt: skip
def test_there_are_no_more_components_than_columns_and_rows(monkeypatch, p, d, others, there):
    monkeypatch.setattr(measuring, "OTHERS", others)
    X, Y, _ = problem(d=d)
    found, told = measures(X[:, :p], Y, sample=30)
    assert found.notes == ([] if there else [f"a table of {p} column{'s' * (p > 1)} has no {d} principal components"])
    assert (told["density"].components is not None) == there


@pytest.mark.parametrize("numbers, held", [(9 * 6, True), (9 * 6 - 1, False)])
def test_means_of_too_many_columns_are_not_compared(monkeypatch, numbers, held):
    X, Y, codes = problem()
    monkeypatch.setattr(measuring, "_NUMBERS", numbers)
    found = measures(X, Y, codes, sample=20)[0]
    assert found.notes == ([] if held else ["means of 9 labels of 6 columns were too much to hold"])
    assert (found.find("nearest class means") is not None) == held


@pytest.mark.parametrize("q, pairs", [(50, 50), (100, 50), (101, 34), (299, 50), (300, 300)])
def test_distances_are_ranked_of_so_many_rows(monkeypatch, q, pairs):
    """Of all where all are looked at, else of five hundred at most, from all over the table."""
    monkeypatch.setattr(measuring, "PAIRED", 50)
    seen = []
    monkeypatch.setattr(measuring, "jackknife", lambda of, rows, n: seen.append((rows, n)) or jackknife(of, rows, n))
    X, Y, _ = problem()
    measures(X, Y, sample=q)
    # Distances, then density, of the map and of its components.
    assert seen == [(pairs, N)] * 2 + [(q, N)] * 2


def test_copies_have_no_radius():
    X, Y, _ = problem()
    X[:40], Y[100:140] = X[0], Y[100]
    told = measures(X, Y)[1]
    radii = [np.sort(near_of(A, True), axis=1)[:, :30].mean(axis=1) for A in (X, Y)]
    there = (radii[0] > 1e-6) & (radii[1] > 1e-6)
    assert 220 <= there.sum() < N
    wanted = pearsonr(*(np.log(radius[there]) for radius in radii)).statistic
    assert told["density"].map.value == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("in_order", [False, True])
def test_the_percent_of_some_rows_by_brute_force(in_order, monkeypatch):
    """A row that stands for others itself is not its own neighbour; where rows are in an order, those are beside it."""
    monkeypatch.setattr(measuring, "OTHERS", 200)
    seen, real = [], measuring._percent
    monkeypatch.setattr(measuring, "_percent", lambda *given: seen.append((given, real(*given))) or seen[-1][1])
    X, Y, _ = problem()
    if in_order:
        X[:, 0], Y[:, 0] = np.linspace(0, 9000, N), np.linspace(0, 9, N)
    measures(X, Y, sample=90)
    ((_, _, rows, others, held, k, n), found) = seen[0]
    assert len(rows) == 90 and len(others) == 200 and (k, n) == (2, N) and 40 < np.isin(rows, others).sum() < 80
    # Each of them once, in the order of the table.
    assert (np.diff(rows) > 0).all() and (np.diff(others) > 0).all() and others[-1] < N
    np.testing.assert_array_equal(held, X[others])
    sets = []
    for A in (X, Y):
        D = cdist(A[rows].astype(float), A[others].astype(float))
        D[rows[:, None] == others] = np.inf
        sets.append(D.argsort(axis=1)[:, :2])
    shares = [len(set(a) & set(b)) / 2 for a, b in zip(*sets, strict=True)]
    assert found["map"].value == pytest.approx(np.mean(shares)) and 0 < np.mean(shares) < 1
    assert found["map"].error == pytest.approx(np.std(shares, ddof=1) / np.sqrt(90) * np.sqrt(1 - 90 / N))
