"""What Annoy is asked for, and what becomes of its answers: with a library in its place that writes both down."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import Annoy
from tsne_ooc.neighbors._recall import Wanted
from tsne_ooc.neighbors.annoy_index import AnnoyIndex
from tsne_ooc.storage.state import Saved

ONE = Threads(1)
X = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)


class Forest:
    """In the place of Annoy's: exact, but for the rows that it keeps to itself."""

    def __init__(self, columns, metric):
        self.columns, self.metric, self.items, self.asked, self.lost = columns, metric, {}, [], 0
        self.seed = self.built = None
        self.made.append(self)

    def set_seed(self, seed):
        assert not self.items
        self.seed = seed

    def add_item(self, number, row):
        self.items[number] = np.array(row)

    def build(self, trees, n_jobs):
        self.built = trees, n_jobs

    def get_nns_by_vector(self, row, k, effort):
        self.asked.append((k, effort))
        rows = np.array([self.items[number] for number in range(len(self.items))])
        near = np.argsort(cdist([row], rows)[0], kind="stable")[:k]
        return near[: len(near) - self.lost].tolist()


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setattr(Forest, "made", [], raising=False)
    monkeypatch.setitem(sys.modules, "annoy", SimpleNamespace(AnnoyIndex=Forest))
    return Forest


@pytest.mark.parametrize(
    ("metric", "name"),
    [("euclidean", "euclidean"), ("l2", "euclidean"), ("cosine", "angular"), ("manhattan", "manhattan"),
     ("l1", "manhattan"), ("cityblock", "manhattan")],
)  # fmt: skip
def test_the_forest_is_of_all_rows_by_the_metric_and_the_seed(metric, name, library):
    for seed in (0, 1):
        index = Annoy(trees=3, recall=None).build(X, metric=metric, rng=np.random.default_rng(seed), threads=Threads(2))
        D = cdist(X, X, {"l1": "cityblock", "l2": "euclidean", "manhattan": "cityblock"}.get(metric, metric))
        _, distances = index.query(X[:9], 70)
        np.testing.assert_allclose(distances, np.sort(D[:9], axis=1), rtol=1e-5, atol=1e-6)
        index.query(X[:2], 3)
        # Grown once.
        (forest,) = library.made[seed:]
        assert (forest.columns, forest.metric, forest.built) == (4, name, (3, 1))
        np.testing.assert_array_equal([forest.items[number] for number in range(70)], X)
    assert library.made[0].seed != library.made[1].seed


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_candidates_and_what_is_missing_among_them(lost, library):
    index = AnnoyIndex(X, Annoy(trees=7, recall=None), 5, "euclidean", ONE, None)
    index.forest().lost = lost
    D = cdist(X.astype(float), X.astype(float))
    for k, effort in ((1, 140), (19, 140), (20, 140), (21, 147), (50, 350)):
        index.forest().asked.clear()
        np.testing.assert_array_equal(index.query(X[3:6], k)[0], np.argsort(D[3:6], axis=1)[:, :k])
        # One more than is asked for, for each row finds itself.
        np.testing.assert_array_equal(index.query_self(k)[0], np.argsort(D, axis=1)[:, 1 : k + 1])
        assert index.forest().asked == [(k, effort)] * 3 + [(k + 1, effort)] * 70
    assert library.made[0].seed == 5


def test_candidates_that_are_told_are_kept_and_nothing_is_measured(library):
    """Whatever share is asked for, which is saved all the same."""
    told = AnnoyIndex(X, Annoy(trees=7, search_k=33, recall=0.9), 5, "euclidean", ONE, Wanted(0.9))
    told.query(X[:2], 30)
    assert told.forest().asked == [(30, 33)] * 2
    content, arrays = told.state()
    assert content == {
        "metric": "euclidean", "seed": 5, "trees": 7, "search_k": 33, "recall": 0.9, "nearest": 15,
    }  # fmt: skip
    again = AnnoyIndex.restore(Saved(content, arrays), ONE)
    again.query(X[:2], 30)
    assert again.state()[0] == content and again.forest().asked == [(30, 33)] * 2
    assert (again.forest().seed, again.forest().built) == (5, (7, 1))
    # Otherwise 256 rows are looked at, or all where there are fewer.
    looked = AnnoyIndex(X, Annoy(trees=7), 5, "euclidean", ONE, Wanted(0.9))
    looked.query(X[:2], 30)
    assert looked.forest().asked == [(31, 210)] * 70 + [(30, 210)] * 2 and looked.recall(30) == 1


def test_without_annoy_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "annoy", None)
    index = AnnoyIndex(X, Annoy(), 5, "euclidean", ONE, None)
    with pytest.raises(ImportError) as caught:
        index.query(X[:2], 3)
    assert str(caught.value) == "neighbors='annoy' needs Annoy: pip install annoy"
