"""What approximate searches find is measured, and they look further where it is too little."""

import logging

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tsne_ooc import TSNE, load
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, named_state, restore_index
from tsne_ooc.neighbors._recall import NEAREST, Share, Wanted, effort_for, rows_to_measure, shares_found
from tsne_ooc.storage.state import Saved

pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")
N = 5000


def tables():
    rng = np.random.default_rng(0)
    kinds = rng.random((30, 300))
    return {
        "64 bits": rng.random((N, 64)) < 0.3,
        "normal, 20 columns": rng.normal(size=(N, 20)),
        "normal, 50 columns": rng.normal(size=(N, 50)),
        "topics": rng.dirichlet(np.full(30, 0.1), N) @ kinds + 0.05 * rng.normal(size=(N, 300)),
        "clumps": rng.normal(size=(N, 10)) + 9 * rng.normal(size=(40, 10))[rng.integers(40, size=N)],
        "a line": np.column_stack([np.linspace(0, 1, N), *0.01 * rng.normal(size=(3, N))]),
        "half copies": np.vstack([rng.normal(size=(N // 2, 20)), np.ones((N - N // 2, 20))]),
    }


MIXED = np.random.default_rng(1).permutation(N)
TABLES = {name: np.ascontiguousarray(X[MIXED], np.float32) for name, X in tables().items()}


def build(search, X, metric="euclidean", threads=2):
    return search.build(X, metric=metric, rng=np.random.default_rng(0), threads=Threads(threads))


def found_of(index, X, k, metric="euclidean"):
    """The share of all rows' neighbours that a search finds, by the exact one."""
    true = build(Exact(), X, metric).query_self(k)[1]
    return float((index.query_self(k)[1] <= true[:, -1:] * (1 + 1e-6)).mean())


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("search", [IVF(), HNSW(), Annoy(trees=20)], ids=["ivf", "hnsw", "annoy"])
def test_what_is_found_is_enough_and_told(name, search):
    """The inverted file found a third to a half on data of many true dimensions, and said nothing."""
    if isinstance(search, Annoy):
        pytest.importorskip("annoy")
    X, Q = TABLES[name][:-500], TABLES[name][-500:]
    index = build(search, X)
    found = found_of(index, X, 15)
    assert found > 0.93
    assert abs(index.recall(15) - found) < 0.03
    # New rows are searched as far.
    true = build(Exact(), X).query(Q, 15)[1]
    assert (index.query(Q, 15)[1] <= true[:, -1:] * (1 + 1e-6)).mean() > 0.92


def test_without_a_share_asked_for_the_lists_are_as_they_were():
    X = TABLES["normal, 20 columns"]
    index = build(IVF(recall=None), X)
    assert index.probes(15) == round(len(index._sizes) ** 0.43)
    assert found_of(index, X, 15) < 0.7 and abs(index.recall(15) - found_of(index, X, 15)) < 0.05


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_what_finds_enough_is_left_alone(metric):
    """Same lists, so the same bits as without a look."""
    X = np.ascontiguousarray(load_digits().data, np.float32)
    looked, plain = build(IVF(), X, metric), build(IVF(recall=None), X, metric)
    for k in (15, 90):
        assert looked.probes(k) == plain.probes(k)
        for one, two in zip(looked.query_self(k), plain.query_self(k), strict=True):
            assert one.tobytes() == two.tobytes()


def test_effort_that_is_given_is_kept():
    index = build(IVF(lists=100, probes=2), TABLES["normal, 20 columns"])
    assert index.probes(15) == 2 and index.recall(15) < 0.5
    everything = build(IVF(lists=100, probes=100), TABLES["normal, 20 columns"])
    assert everything.recall(15) == 1


@pytest.mark.parametrize("search", [IVF(), HNSW()], ids=["ivf", "hnsw"])
def test_effort_depends_on_no_batch_thread_or_file(search):
    X = TABLES["normal, 20 columns"]
    Q = X[:50] + np.float32(1e-3)
    one = build(search, X, threads=1)
    content, arrays = named_state(one)
    answers = [one.query(Q, 15), build(search, X, threads=3).query(Q, 15)]
    again = restore_index(Saved(content, arrays), Threads(2))
    answers.append(
        tuple(np.concatenate(part) for part in zip(*(again.query(Q[i : i + 1], 15) for i in range(50)), strict=True))
    )
    for other in answers[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(answers[0], other, strict=True))
    assert again.recall(15) == one.recall(15)


def test_models_saved_before_go_on_as_they_were():
    X = TABLES["normal, 20 columns"]
    content, arrays = named_state(build(IVF(), X))
    content.pop("recall")
    content.pop("nearest")
    assert restore_index(Saved(content, arrays), Threads(2)).probes(15) == build(IVF(recall=None), X).probes(15)


def test_an_effort_is_raised_to_what_it_needs_or_the_most():
    asked = []

    def measure(effort):
        asked.append(effort)
        return Share(effort / 100, effort / 200)

    assert effort_for(Wanted(0.5), 10, 100, measure) == (53, (0.53, 0.265)) and asked == [10, 15, 23, 35, 53]
    assert effort_for(Wanted(0.95), 10, 60, measure) == (60, (0.6, 0.3))
    assert effort_for(None, 10, 60, measure) == (10, (0.1, 0.05))
    assert effort_for(Wanted(0.1), 90, 60, measure) == (60, (0.6, 0.3))


@pytest.mark.parametrize(
    "nearest, all_, enough", [(0.95, 0.9, True), (0.94, 1.0, False), (1.0, 0.89, False), (0.95, 0.95, True)]
)
def test_of_all_twice_as_many_may_be_missed_as_of_the_nearest(nearest, all_, enough):
    assert Wanted(0.95).reached(Share(nearest, all_)) is enough


@pytest.mark.parametrize("k", [1, 14, 15, 16, 40])
def test_shares_are_counted_of_the_nearest_and_of_all(k):
    """By the numbers of rows, where those that are found are counted by their distances."""
    rng = np.random.default_rng(k)
    true = np.sort(rng.random((20, 60)), axis=1)
    true[:, 0] = 0
    kept = rng.random((20, 60)) < 0.8
    kept[:, 0] = True
    found = np.array([row[mask][: k + 1] for row, mask in zip(true, kept, strict=True)])
    for wanted, nearest in ((Wanted(0.9), min(k, 15)), (Wanted(0.9, None), k), (None, k)):
        at = np.array([[mask[1 : m + 1].mean() for m in (nearest, k)] for mask in kept]).mean(axis=0)
        assert shares_found(found, true[:, : k + 1], wanted) == pytest.approx(tuple(at))


@pytest.mark.parametrize("search", [IVF(), HNSW(links=4), Annoy(trees=5)], ids=["ivf", "hnsw", "annoy"])
def test_far_neighbours_may_be_missed_twice_as_often(search):
    if isinstance(search, Annoy):
        pytest.importorskip("annoy")
    X, k = np.random.default_rng(3).normal(size=(N, 12)).astype(np.float32), 40
    index = build(search, X)
    true = build(Exact(), X).query_self(k)[1]
    found = index.query_self(k)[1]
    near, far = (float((found <= true[:, m - 1 : m] * (1 + 1e-6)).sum(axis=1).clip(max=m).mean() / m) for m in (15, k))
    assert near > 0.93 and far > 0.88 and abs(index.recall(k) - far) < 0.03
    # To find as many of all takes more.
    content, arrays = named_state(index)
    assert content["nearest"] == NEAREST
    del content["nearest"]
    whole = restore_index(Saved(content, arrays), Threads(2))
    assert whole.recall(k) >= index.recall(k)
    if isinstance(search, IVF):
        assert whole.recall(k) >= 0.95 > index.recall(k) and whole.probes(k) > index.probes(k)


def test_few_lists_are_enough_of_very_many():
    """From 90,000 rows on, there are more lists than 3 sqrt(n); here as many as are asked for."""
    X = TABLES["clumps"]
    few, more = build(IVF(lists=500), X), build(IVF(lists=500, recall=None), X)
    assert few.probes(5) < more.probes(5) == round(500**0.43) and few.recall(5) >= 0.95


def test_rows_to_measure_are_within():
    for n in (1, 2, 255, 256, 257, 10**6):
        rows = rows_to_measure(n)
        assert rows[0] == 0 and rows[-1] == n - 1 and len(rows) == min(n, 256) and (np.diff(rows) > 0).all()


@pytest.mark.parametrize("recall", [0, 1.5, "much"])
def test_a_share_is_a_share(recall):
    for search in (IVF, HNSW, Annoy):
        with pytest.raises((ValueError, TypeError), match="recall="):
            search(recall=recall)


QUICK = {"perplexity": 5, "random_state": 0, "n_iter": 2, "early_exaggeration_iter": 2}


def test_an_estimator_tells_it(tmp_path, caplog):
    X = TABLES["normal, 20 columns"][:2000, :10]
    assert TSNE(**QUICK).fit(X).recall_ == 1
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        model = TSNE(neighbors="ivf", **QUICK).fit(X)
    assert 0.95 <= model.recall_ < 1
    assert f"{model.recall_:.3f} of the 15 nearest rows are found" in caplog.text
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").recall_ == model.recall_
    with pytest.warns(UserWarning, match=r"finds 0\.\d+ of the 15 nearest rows.*neighbors='exact'"):
        TSNE(neighbors=IVF(probes=1), **QUICK).fit(X)


@pytest.mark.parametrize("lists", [1, 2, 5, 40, 42, 43, 60, 200])
def test_how_many_lists_are_looked_into_first(lists):
    """A power of their number, or as many as have twelve times k rows; a smaller power where lists are short and there
    are more of them than three roots of the rows, and somebody looks at what that finds."""
    X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    for k in (1, 2, 5, 50, 199):
        enough = -(-12 * k * lists // 200)
        plain = build(IVF(lists=lists, recall=None), X)
        assert plain.probes(k) == min(lists, max(round(lists**0.43), enough))
        # So small a share is found at once.
        looked = build(IVF(lists=lists, recall=1e-9), X)
        power = 0.35 if lists > 42 else 0.43
        assert looked.probes(k) == min(lists, max(round(lists**power), enough))
        # What is given is kept, but for there being no more.
        for probes in (1, 3, 500):
            assert build(IVF(lists=lists, probes=probes), X).probes(k) == min(lists, probes)


@pytest.mark.parametrize("recall", [0.6, 0.9, 1.0])
def test_more_lists_are_looked_into_until_enough_is_found_or_all_are(recall):
    """From three tenths of the lists on all rows are searched, which takes less time; unless so many come first."""
    X = np.random.default_rng(0).normal(size=(900, 9)).astype(np.float32)
    for lists in (30, 90, 300):
        index = build(IVF(lists=lists, recall=recall), X)
        for k in (1, 5, 40):
            first, probes, found = index._first(k), index.probes(k), index.recall(k)
            assert probes in (first, lists) or first < probes <= 0.3 * lists
            rows = rows_to_measure(900)
            true = build(Exact(), X).query(X[rows], k + 1)[1]
            there = build(IVF(lists=lists, probes=probes), X)
            share = shares_found(there.query(X[rows], k + 1)[1], true, Wanted(recall))
            assert found == pytest.approx(share.all) and (probes == lists or Wanted(recall).reached(share))
            if first < probes < lists:
                # With a sixth less it is not enough.
                fewer = build(IVF(lists=lists, probes=max(first, int(probes / 1.2) - 1)), X).query(X[rows], k + 1)[1]
                assert not Wanted(recall).reached(shares_found(fewer, true, Wanted(recall)))
