"""Rows of the fit come back to their seats, whatever the metric and the search: equality decides, not a distance."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.neighbors import HNSW, IVF

QUICK = {"early_exaggeration_iter": 10, "n_iter": 15, "random_state": 0, "perplexity": 5}


def rows(n=240, p=6):
    X = np.random.default_rng(0).normal(size=(n, p)).astype(np.float32)
    # Doubles of rows, for which the cosine distance is 0, copies, and a row of zeros.
    X[20:30] = 2 * X[:10]
    X[30:40] = X[:10]
    X[40] = 0
    return X


def first_equal(X):
    return [next(i for i, x in enumerate(X) if np.array_equal(x, q)) for q in X]


# Approximate ones that miss many rows, and are content with it.
SEARCHES = {
    "exact": "exact",
    "ivf": IVF(lists=8, probes=1, recall=None),
    "hnsw": HNSW(links=2, ef_build=4, ef=1, recall=None),
}
PAIRS = [(metric, search) for metric in ("euclidean", "cosine") for search in SEARCHES]
PAIRS += [(metric, "exact") for metric in ("cityblock", "braycurtis", "canberra", "correlation")]


@pytest.mark.filterwarnings("ignore:the neighbour search finds:UserWarning")
@pytest.mark.parametrize(("metric", "search"), PAIRS)
def test_rows_of_the_fit_take_their_seats(tmp_path, metric, search):
    X, neighbors = rows(), SEARCHES[search]
    if metric in ("braycurtis", "correlation"):
        X = X[:40]
    model = TSNE(metric=metric, neighbors=neighbors, **QUICK).fit(X)
    wanted = model.embedding_[first_equal(X)]
    np.testing.assert_array_equal(model.transform(X), wanted)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(tsne_ooc.load(tmp_path / "model").transform(X[::-1]), wanted[::-1])
    # One bit away is another row.
    near = X.copy()
    near[:, 0] = np.nextafter(near[:, 0], np.float32(9))
    assert (model.transform(near) != wanted).any()


@pytest.mark.parametrize("fit_on", ["dense", "sparse"])
def test_dense_rows_take_the_seats_of_sparse_ones(fit_on):
    X = np.random.default_rng(1).poisson(0.3, (150, 12)).astype(np.float32)
    ways = {"dense": X, "sparse": scipy.sparse.csr_array(X)}
    model = TSNE(metric="cosine", neighbors="exact", **QUICK).fit(ways[fit_on])
    for way in ways.values():
        np.testing.assert_array_equal(model.transform(way), model.embedding_[first_equal(X)])


def test_a_model_without_hashes_goes_by_distances(tmp_path):
    """Those of the first versions: rows that are at distance 0 take a seat."""
    import json
    from dataclasses import replace

    from tsne_ooc.fit.model import Model

    X = rows()[:20]
    model = TSNE(**QUICK).fit(X)
    content, arrays = model.map_.model.state()
    assert "seats" in content
    old = Model.restore(
        tsne_ooc.storage.state.Saved(
            {key: value for key, value in json.loads(json.dumps(content)).items() if key != "seats"},
            {name: array for name, array in arrays.items() if not name.startswith("seats.")},
        ),
        tsne_ooc._parallel.Threads(1),
    )
    assert old.seats is None
    model = TSNE.of_map(replace(model.map_, model=old))
    np.testing.assert_array_equal(model.transform(X), model.embedding_)
