"""Every measure agrees with its slow, obvious twin, and a sample of rows with all of them."""

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from tsne_ooc.metrics import (
    agreement,
    distance_correlation,
    kl_divergence,
    label_accuracy,
    neighbor_recall,
    trustworthiness,
)
from tsne_ooc.sampling import draw


@pytest.fixture(scope="module")
def blobs():
    """Data in five blobs, a map that keeps some of their order, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    X = (rng.normal(size=(5, 8))[labels] * 3 + rng.normal(size=(400, 8))).astype(np.float32)
    Y = (X[:, :2] + rng.normal(size=(400, 2))).astype(np.float32)
    return X, Y, labels


@pytest.fixture(scope="module")
def joint():
    P = sp.random(400, 400, 0.05, format="csr", random_state=0)
    P = P + P.T
    P.setdiag(0)
    return P / P.sum()


def slow_kl(P, Y, dof):
    Y = Y.astype(float)
    w = (1 + cdist(Y, Y) ** 2 / dof) ** -dof
    np.fill_diagonal(w, 0)
    Q = w / w.sum()
    P = P.toarray() / P.sum()
    return sum(P[i, j] * np.log(P[i, j] / Q[i, j]) for i, j in zip(*np.nonzero(P), strict=True))


def slow_nearest(A, metric="euclidean"):
    D = cdist(A.astype(float), A.astype(float), metric)
    np.fill_diagonal(D, np.inf)
    return D.argsort(axis=1)


@pytest.mark.parametrize("dof", [1, 0.5, 3.0])
def test_kl_divergence(blobs, joint, dof):
    _, Y, _ = blobs
    slow = slow_kl(joint, Y, dof)
    assert slow > 0.1
    assert kl_divergence(joint, Y, dof) == pytest.approx(slow, rel=1e-9)
    assert kl_divergence(7 * joint.tocoo(), Y, dof, n_jobs=1) == pytest.approx(slow, rel=1e-9)


def test_kl_divergence_of_many_blocks(joint):
    # More rows than one block of the normalisation has, in both directions.
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(4500, 2))
    P = sp.random(4500, 4500, 0.001, format="csr", random_state=0)
    P = P - sp.diags(P.diagonal())
    assert kl_divergence(P, Y) == pytest.approx(slow_kl(P, Y, 1), rel=1e-9)


def test_kl_divergence_from_a_sample(blobs, joint):
    _, Y, _ = blobs
    exact = kl_divergence(joint, Y)
    errors = [kl_divergence(joint, Y, sample=200, random_state=seed) - exact for seed in range(30)]
    assert 0 < np.abs(errors).max() < 0.1
    assert abs(np.mean(errors)) < 0.02


def test_the_normalisation_of_many_rows_is_from_as_many_pairs_as_there_is_time_for(blobs, joint, monkeypatch):
    """All rows where their pairs are few enough, and else so many rows as have these pairs."""
    _, Y, _ = blobs
    few, all_rows = (kl_divergence(joint, Y, sample=sample) for sample in (50, 400))
    assert few != all_rows
    for pairs, wanted in ((400 * 400, all_rows), (400 * 400 - 1, None), (400 * 50, few), (1, None)):
        monkeypatch.setattr(agreement, "_PAIRS", pairs)
        found = kl_divergence(joint, Y)
        assert found == (kl_divergence(joint, Y, sample=max(1, pairs // 400)) if wanted is None else wanted)
    assert found != all_rows


def test_kl_divergence_does_not_depend_on_threads(blobs, joint):
    _, Y, _ = blobs
    assert kl_divergence(joint, Y, n_jobs=1) == kl_divergence(joint, Y, n_jobs=3)


def test_kl_divergence_of_what_is_no_probability(blobs, joint):
    _, Y, _ = blobs
    with pytest.raises(ValueError, match=r"P has shape \(400, 400\), and Y has 399 rows"):
        kl_divergence(joint, Y[1:])
    with pytest.raises(ValueError, match="P has no positive entry, or a negative one"):
        kl_divergence(sp.csr_array((400, 400)), Y)
    with pytest.raises(ValueError, match="or a negative one"):
        kl_divergence(joint - 0.001 * sp.eye(400), Y)
    with pytest.raises(ValueError, match="dof=0 must be a finite number greater than 0"):
        kl_divergence(joint, Y, dof=0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_neighbor_recall(blobs, metric):
    X, Y, _ = blobs
    true = slow_nearest(X, {"manhattan": "cityblock"}.get(metric, metric))[:, :10]
    found = slow_nearest(Y)
    recall = neighbor_recall(X, Y, metric=metric, sample=None)
    assert set(recall) == {10, 50}
    for depth in (10, 50):
        slow = np.mean([len(set(true[i]) & set(found[i, :depth])) / 10 for i in range(400)])
        assert 0.1 < slow < 0.9
        assert recall[depth] == pytest.approx(slow)


def test_neighbor_recall_of_a_perfect_map(blobs):
    _, Y, _ = blobs
    assert neighbor_recall(Y, Y, 7, (7, 20)) == {7: 1.0, 20: 1.0}


def test_measures_stream_files(blobs, tmp_path):
    X, Y, _ = blobs
    X = np.repeat(X, 50, axis=0) + np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32)
    Y = X[:, :2]
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(700, 8))
    with h5py.File(tmp_path / "X.h5") as file:
        for measure in (neighbor_recall, trustworthiness, distance_correlation):
            assert measure(file["X"], Y, sample=50) == measure(X, Y, sample=50)


def test_neighbor_recall_merges_blocks(blobs, monkeypatch):
    import tsne_ooc.metrics._common as common

    X, Y, _ = blobs
    whole = neighbor_recall(X, Y, sample=None)
    iterate = common.iterate
    monkeypatch.setattr(common, "iterate", lambda table: iterate(table, rows=6))
    assert neighbor_recall(X, Y, sample=None) == whole


def test_neighbor_recall_leaves_a_row_out_by_number_where_rows_are_equal():
    # The second of two equal rows is nearest to the first, and must not be taken for it.
    X = np.repeat(np.random.default_rng(0).normal(size=(50, 3)), 2, axis=0)
    assert neighbor_recall(X, X, 1, (1,), sample=None) == {1: 1.0}
    shifted = np.roll(X, 1, axis=0)
    assert neighbor_recall(X, shifted, 1, (1,), sample=None)[1] < 0.5


@pytest.mark.parametrize("k", [1, 5, 30])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_trustworthiness_is_that_of_sklearn(blobs, k, metric):
    X, Y, _ = blobs
    slow = sklearn_trustworthiness(X.astype(float), Y, n_neighbors=k, metric=metric)
    assert slow < 0.95
    assert trustworthiness(X, Y, k, metric=metric, sample=None) == pytest.approx(slow, abs=1e-12)


def test_trustworthiness_over_many_blocks(blobs):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9000, 4))
    Y = X[:, :2] + 0.3 * rng.normal(size=(9000, 2))
    sampled = trustworthiness(X, Y, sample=300)
    rows = np.sort(np.random.default_rng(0).choice(9000, 300, replace=False, shuffle=False))
    rank = cdist(X.astype(np.float32)[rows].astype(float), X.astype(np.float32).astype(float))
    rank = rank.argsort(axis=1).argsort(axis=1)
    near = cdist(Y[rows], Y).argsort(axis=1)[:, 1:6]
    excess = np.maximum(np.take_along_axis(rank, near, axis=1) - 5, 0).sum()
    assert sampled == pytest.approx(1 - 2 * excess / (300 * 5 * (18_000 - 16)), abs=1e-12)


def test_trustworthiness_needs_few_neighbours():
    with pytest.raises(ValueError, match="k=5 must be less than half of the 10 rows"):
        trustworthiness(np.eye(10), np.eye(10)[:, :2])


def test_distance_correlation(blobs):
    X, Y, _ = blobs
    upper = np.triu_indices(400, 1)
    slow = spearmanr(cdist(X.astype(float), X.astype(float))[upper], cdist(Y.astype(float), Y.astype(float))[upper])
    assert distance_correlation(X, Y, sample=None) == pytest.approx(slow.statistic)
    assert distance_correlation(X, 3 * X, sample=100) == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 10])
def test_label_accuracy_of_placed_rows(blobs, k):
    _, Y, labels = blobs
    names = np.array(["ant", "bee", "cow", "dog", "eel"])[labels]
    slow = KNeighborsClassifier(k).fit(Y[:300], names[:300]).score(Y[300:], names[300:])
    assert 0.3 < slow < 0.95
    assert label_accuracy(Y[:300], names[:300], k, Y[300:], names[300:]) == slow


def test_as_many_neighbours_as_there_are_rows(blobs):
    """Of rows that are asked about all others may vote, of rows of the map all but the row itself."""
    X, Y, _ = blobs
    names = np.array([0, 0, 0, 1, 1])
    assert label_accuracy(Y[:5], names, 5, Y[5:9], np.array([0, 1, 0, 0])) == 0.75
    with pytest.raises(ValueError, match="6 neighbours need more than 6 rows"):
        label_accuracy(Y[:5], names, 6, Y[5:9], np.array([0, 1, 0, 0]))
    # Two votes against two: the first name wins. A row of the second has three against one.
    assert label_accuracy(Y[:5], names, 4) == 0.6
    with pytest.raises(ValueError, match="5 neighbours need more than 5 rows"):
        label_accuracy(Y[:5], names, 5)
    assert neighbor_recall(X[:5], Y[:5], k=4, within=(4,)) == {4: 1}
    with pytest.raises(ValueError, match="5 neighbours need more than 5 rows"):
        neighbor_recall(X[:5], Y[:5], k=5, within=(5,))
    # Three rows have three distances, of which ranks can be compared; two have one.
    assert min(abs(distance_correlation(X[:3], Y[:3]) - value) for value in (-1, -0.5, 0.5, 1)) < 1e-9
    with pytest.raises(ValueError, match="2 neighbours need more than 2 rows"):
        distance_correlation(X[:2], Y[:2])


def test_label_accuracy_leaves_one_out(blobs):
    _, Y, labels = blobs
    votes = labels[slow_nearest(Y)[:, :10]]
    slow = np.mean([np.bincount(row, minlength=5).argmax() for row in votes] == labels)
    assert label_accuracy(Y, labels, sample=None) == pytest.approx(slow)
    assert label_accuracy(Y, np.arange(400), 1) == 0


@pytest.mark.parametrize("measure", ["recall", "trust", "distances", "labels"])
def test_samples_tell_what_all_rows_tell(blobs, measure):
    X, Y, labels = blobs
    call = {
        "recall": lambda **more: neighbor_recall(X, Y, **more)[10],
        "trust": lambda **more: trustworthiness(X, Y, **more),
        "distances": lambda **more: distance_correlation(X, Y, **more),
        "labels": lambda **more: label_accuracy(Y, labels, **more),
    }[measure]
    everything = call(sample=None)
    some = np.array([call(sample=80, random_state=seed) for seed in range(12)])
    assert len(set(some)) > 6
    assert abs(some.mean() - everything) < 0.03
    assert call(sample=80, random_state=3) == some[3]


def test_what_does_not_fit_together(blobs):
    X, Y, labels = blobs
    with pytest.raises(ValueError, match="X has 399 rows, and Y has 400"):
        neighbor_recall(X[1:], Y)
    with pytest.raises(ValueError, match="50 neighbours need more than 50 rows"):
        neighbor_recall(X[:50], Y[:50])
    with pytest.raises(ValueError, match=r"labels has shape \(399,\), and there are 400 rows"):
        label_accuracy(Y, labels[1:])
    with pytest.raises(ValueError, match="Y_query and labels_query go together"):
        label_accuracy(Y, labels, Y_query=Y)
    with pytest.raises(ValueError, match="Y contains NaN at row 0, column 0"):
        distance_correlation(X, Y * np.nan)


def test_rows_with_more_copies_than_neighbours():
    """Such a row may not be among its own nearest, and another row is left out then."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) // 30
    X = np.concatenate([np.zeros((30, 3)), rng.normal(50, 1, (30, 3))]).astype(np.float32)
    Y = X[:, :2].copy()
    assert label_accuracy(Y, labels, k=3) == 1
    # All that is near a copy are copies; which of them is a matter of chance.
    found = neighbor_recall(X, Y, k=3, within=(29,))
    assert 0.5 < found[29] <= 1
    assert trustworthiness(X, Y, k=3) > 0.9


@pytest.mark.parametrize(("name", "same"), [("manhattan", "cityblock"), ("l1", "cityblock"), ("l2", "euclidean")])
def test_a_metric_has_one_meaning_under_all_its_names(blobs, name, same):
    X, Y, _ = blobs
    for measure in (neighbor_recall, trustworthiness, distance_correlation):
        found = [measure(X, Y, metric=metric, sample=60) for metric in (name, same, "chebyshev")]
        assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda X, Y, labels: neighbor_recall(X, Y, 0), "k=0 must be at least 1"),
        (lambda X, Y, labels: neighbor_recall(X, Y, 5, (5, 0)), "within=0 must be at least 1"),
        (lambda X, Y, labels: neighbor_recall(X, Y, 5, (5, 400)), "400 neighbours need more than 400 rows"),
        (lambda X, Y, labels: neighbor_recall(X, Y, 400, (5,)), "400 neighbours need more than 400 rows"),
        (lambda X, Y, labels: trustworthiness(X, Y, 0), "k=0 must be at least 1"),
        (lambda X, Y, labels: trustworthiness(X, Y, 200), "k=200 must be less than half of the 400 rows"),
        (lambda X, Y, labels: label_accuracy(Y, labels, 0), "k=0 must be at least 1"),
        (lambda X, Y, labels: label_accuracy(Y, labels, sample=0), "sample=0 must be at least 1"),
        (lambda X, Y, labels: neighbor_recall(X, Y, sample=0), "sample=0 must be at least 1"),
        (lambda X, Y, labels: distance_correlation(X, Y, sample=0), "sample=0 must be at least 1"),
        (
            lambda X, Y, labels: label_accuracy(Y, [None] * 400),
            "labels has no label at all, so there is nothing to judge by",
        ),
        (
            lambda X, Y, labels: label_accuracy(Y, labels, 3, Y[:2], [None, np.nan]),
            "labels_query has no label at all, so",
        ),
        (
            lambda X, Y, labels: label_accuracy(Y, labels, 3, labels_query=labels),
            "Y_query and labels_query go together",
        ),
        (
            lambda X, Y, labels: label_accuracy(Y, labels, 3, Y[:2], labels[:3]),
            "labels_query has shape (3,), and there are 2",
        ),
    ],
)
def test_what_is_asked_for_in_vain(blobs, call, says):
    with pytest.raises(ValueError) as caught:
        call(*blobs)
    assert str(caught.value).startswith(says)


def test_as_few_as_half_of_the_rows_but_one(blobs):
    X, Y, _ = blobs
    assert 0 < trustworthiness(X, Y, 199, sample=5) < 1
    assert neighbor_recall(X, Y, 399, (399,), sample=3) == {399: 1.0}


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("asked", [False, True])
def test_votes_by_hand(k, asked, monkeypatch):
    """Rows without a label neither vote nor are judged, a new label is never found, and the first of a draw wins."""
    monkeypatch.setattr("tsne_ooc.metrics.neighborhoods._VOTES", 7)
    rng = np.random.default_rng(k)
    Y, Q = rng.normal(size=(60, 2)), rng.normal(size=(25, 2))
    labels = rng.choice(np.array(["b", "a", "d", None], object), 60)
    wanted = rng.choice(np.array(["a", "d", None, "z"], object), 25)
    there = np.flatnonzero([label is not None for label in labels])
    right = []
    for at in range(25) if asked else there:
        own, place = (wanted[at], Q[at]) if asked else (labels[at], Y[at])
        if own is None:
            continue
        voters = [row for row in there if asked or row != at]
        near = sorted(voters, key=lambda row, place=place: ((Y[row] - place) ** 2).sum())[:k]
        votes = [labels[row] for row in near]
        right.append(own == min(set(votes), key=lambda label, votes=votes: (-votes.count(label), label)))
    found = label_accuracy(Y, labels, k, *((Q, wanted) if asked else ()), sample=None)
    assert found == pytest.approx(np.mean(right)) and 0 < found < 1


@pytest.mark.parametrize("cut", [(None, None, None), (7, 5, 11)])
@pytest.mark.parametrize("dof", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("sample", [1, 50, 399, 400])
def test_the_normalisation_of_a_sample_is_that_of_its_rows(blobs, joint, sample, dof, cut, monkeypatch):
    """Each row that is drawn meets all others but itself, and stands for as many as there are to a drawn one."""
    for name, size in zip(("_ROWS", "_HEIGHT", "_WIDTH"), cut, strict=True):
        if size:
            monkeypatch.setattr(agreement, name, size)
    Y = blobs[1].astype(float)
    # Entries of nothing count for nothing, and whoever has no pair in P has no part in the sum.
    P = joint.tocsr().copy()
    P.data[::3] = 0
    P.data[P.indptr[40] : P.indptr[60]] = 0
    rows = np.arange(400) if sample >= 400 else draw(400, sample, np.random.default_rng(3))
    w = (1 + cdist(Y[rows], Y, "sqeuclidean") / dof) ** -dof
    Z = (w.sum() - len(rows)) * 400 / len(rows)
    dense = P.toarray() / P.sum()
    i, j = np.nonzero(dense)
    apart = np.square(Y[i] - Y[j]).sum(axis=1)
    wanted = (dense[i, j] * (np.log(dense[i, j]) + dof * np.log1p(apart / dof))).sum() + np.log(Z)
    for made in (P, P.astype(np.float32), P.tocoo()):
        found = kl_divergence(made, blobs[1], dof, sample=sample, random_state=3, n_jobs=2)
        assert found == pytest.approx(wanted, rel=1e-6 if made.dtype == np.float32 else 1e-10) and type(found) is float
    if sample == 50:
        assert kl_divergence(P, blobs[1], dof, sample=50, random_state=4) != pytest.approx(wanted, rel=1e-6)
        assert kl_divergence(P, blobs[1], dof, sample=50) == kl_divergence(P, blobs[1], dof, sample=50, random_state=0)


def test_counts_are_affinities_too(blobs):
    _, Y, _ = blobs
    P = np.random.default_rng(0).integers(0, 3, (400, 400)).astype(np.int8)
    np.fill_diagonal(P, 0)
    P = sp.csr_array(P)
    assert P.sum(dtype=int) > 127
    assert kl_divergence(P, Y) == pytest.approx(slow_kl(P.astype(float), Y, 1), rel=1e-9)


@pytest.mark.parametrize("sample", [1, 7, 30, 31, None])
def test_of_placed_rows_some_are_drawn_that_are_judged(blobs, sample):
    _, Y, labels = blobs
    wanted = labels[300:].astype(object)
    # Rows without a label are not drawn from.
    wanted[5::7] = None
    judged = np.flatnonzero([one is not None for one in wanted])
    near = np.argsort(cdist(Y[300:], Y[:300]), axis=1)[:, :3]
    right = []
    for at in judged:
        votes = labels[near[at]].tolist()
        right.append(min(set(votes), key=lambda label, votes=votes: (-votes.count(label), label)) == wanted[at])
    some = np.arange(len(judged)) if sample is None else draw(len(judged), sample, np.random.default_rng(5))
    found = label_accuracy(Y[:300], labels[:300], 3, Y[300:], wanted, sample=sample, random_state=5)
    assert found == np.mean(np.array(right)[some])


MEASURES = {
    "recall": (lambda X, Y, labels, **more: neighbor_recall(X, Y, sample=20, **more), 2),
    "trust": (lambda X, Y, labels, **more: trustworthiness(X, Y, sample=20, **more), 2),
    "labels": (lambda X, Y, labels, **more: label_accuracy(Y, labels, sample=20, **more), 1),
    "placed": (lambda X, Y, labels, **more: label_accuracy(Y, labels, 3, Y[:9], labels[:9], **more), 1),
}


@pytest.mark.parametrize("name", MEASURES)
def test_each_part_of_a_measure_has_the_threads_that_are_asked_for(blobs, name, monkeypatch):
    from tsne_ooc.metrics import _common, neighborhoods

    measure, parts = MEASURES[name]
    asked, resolve, threads = [], _common.resolve_n_jobs, neighborhoods.Threads
    monkeypatch.setattr(_common, "resolve_n_jobs", lambda n_jobs: asked.append(n_jobs) or resolve(n_jobs))
    monkeypatch.setattr(neighborhoods, "Threads", lambda n_jobs: asked.append(n_jobs) or threads(n_jobs))
    found = [measure(*blobs, n_jobs=1), measure(*blobs)]
    assert asked == [1] * parts + [None] * parts and found[0] == found[1]


def test_affinities_that_are_stored_in_parts_are_their_sums(blobs, joint):
    _, Y, _ = blobs
    whole = joint.tocsr()
    parts = sp.csr_array(
        (np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr), shape=whole.shape
    )
    before = parts.data.copy()
    assert kl_divergence(parts, Y) == pytest.approx(kl_divergence(whole, Y), rel=1e-12)
    np.testing.assert_array_equal(parts.data, before)
    shuffled = whole[:, ::-1][:, ::-1]
    assert kl_divergence(shuffled, Y) == pytest.approx(kl_divergence(whole, Y), rel=1e-12)


def test_maps_are_compared_in_double_precision(blobs):
    """Such as one that lies far from 0, where single precision has no digit of it."""
    X, Y, labels = blobs
    far = 1e9 + 1e-3 * np.asarray(Y, float)
    for measure in (neighbor_recall, trustworthiness, distance_correlation):
        wanted = measure(X, Y, sample=60)
        assert measure(X, far, sample=60) == (pytest.approx(wanted, abs=0.02) if isinstance(wanted, dict) else
                                              pytest.approx(wanted, abs=0.005))  # fmt: skip
    assert label_accuracy(far, labels, sample=60) == pytest.approx(label_accuracy(Y, labels, sample=60), abs=0.02)


def test_without_a_seed_that_is_told_all_measures_draw_the_same_rows(blobs, joint):
    X, Y, labels = blobs
    for call in (
        lambda **seed: neighbor_recall(X, Y, sample=9, **seed)[10],
        lambda **seed: trustworthiness(X, Y, sample=9, **seed),
        lambda **seed: distance_correlation(X, Y, sample=9, **seed),
        lambda **seed: label_accuracy(Y, labels, sample=9, **seed),
        lambda **seed: kl_divergence(joint, Y, sample=9, **seed),
    ):
        assert call() == call(random_state=0) == call(random_state=np.random.default_rng(0))
        assert len({call(random_state=seed) for seed in range(3)}) > 1


def test_the_usual_numbers_of_neighbours(blobs):
    X, Y, labels = blobs
    assert neighbor_recall(X, Y, sample=30) == neighbor_recall(X, Y, 10, (10, 50), sample=30)
    assert trustworthiness(X, Y, sample=30) == trustworthiness(X, Y, 5, sample=30)
    assert label_accuracy(Y, labels) == label_accuracy(Y, labels, 10)
    assert neighbor_recall(X, Y, sample=30) != neighbor_recall(X, Y, 9, (10, 50), sample=30)
