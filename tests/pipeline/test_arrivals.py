"""Rows arrive where the exact gradient of their own energy is gone, on every journey of theirs.

That one way gives the bits of another is held elsewhere; here one of them is compared with the law, of every metric,
search and kind of map, and of every way into a map: a table in memory and on disk, a preparation, a saved model, a run.
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from arrivals import forces, seats
from scipy.spatial.distance import cdist
from test_saved_models import FITS, QUICK

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.placement import LEAST_EXAGGERATION
from tsne_ooc.preprocess import PCA, Log1p, Normalize, Preparation, Standardize

pytestmark = pytest.mark.filterwarnings(
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",
    "ignore:the neighbour search finds:UserWarning",
)


def distances(Q, X, metric, params):
    if metric == "mahalanobis":
        params = {"VI": np.linalg.inv(np.cov(X.T.astype(float)))}
    elif metric == "seuclidean":
        params = {"V": X.var(axis=0, ddof=1, dtype=float)}
    return cdist(Q, X, {"manhattan": "cityblock", "l2": "euclidean"}.get(metric, metric), **(params or {}))


def dense(rows):
    return (rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)).astype(np.float32)


# Of equal rows those that a search names pull, and the others do not: which these are, the law leaves open.
@pytest.mark.parametrize("name", [name for name in FITS if "copies" not in name])
def test_of_every_kind_of_map(tmp_path, name):
    make, new, options = FITS[name]
    if name == "annoy":
        pytest.importorskip("annoy")
    X = make()
    model = TSNE(**{**QUICK, **options}).fit(X)
    model.save(tmp_path / "model")
    Y = tsne_ooc.load(tmp_path / "model").transform(new)
    taken = seats(dense(X), dense(new))
    assert (taken >= 0).sum() >= (10 if name != "space" else 0) and (taken < 0).sum() >= 20
    np.testing.assert_array_equal(Y[taken >= 0], model.embedding_[taken[taken >= 0]])
    # Of rows of zeros a cosine is a matter of convention.
    free = (taken < 0) & dense(new).any(axis=1)
    # In units in which their squares are numbers.
    scale = -126 if name == "scaled" else 0
    D = distances(
        np.ldexp(dense(new)[free].astype(float), -scale), np.ldexp(dense(X).astype(float), -scale),
        model.metric, options.get("metric_params"),
    )  # fmt: skip
    D = np.where(dense(X).any(axis=1), D, 1)
    # What is at no distance takes a seat, too; and of rows that are as near as each other the search takes some.
    order = np.sort(D, axis=1)
    apart = (order[:, 0] > 1e-6) & (order[:, 5] > order[:, 0] * (1 + 1e-6)) & (order[:, 15] > order[:, 14] * (1 + 1e-6))
    D, Y, free = D[apart], Y[free][apart], slice(None)
    assert len(Y) >= 15
    exaggeration = max(LEAST_EXAGGERATION, options.get("exaggeration", 1))
    left = forces(D, model.embedding_, Y[free], dof=options.get("dof", 1.0), exaggeration=exaggeration)
    # The field is read from a grid; searches that miss neighbours miss some of what pulls.
    missing = name in ("ivf", "ivf-cosine", "annoy", "hnsw", "hnsw-cosine")
    most = np.quantile(left, 0.5 if missing else 0.9)
    # Anywhere else it is there.
    elsewhere = forces(D, model.embedding_, np.roll(Y[free], 7, axis=0), exaggeration=exaggeration)
    assert most < 0.015 and most < 0.1 * np.quantile(elsewhere, 0.75)


STEPS = {
    "nothing": ([], lambda X, of: X),
    "standardized": ([Standardize()], lambda X, of: (X - of.mean(axis=0)) / of.std(axis=0)),
    "components": ([Standardize(), PCA(3)], lambda X, of: components(X, of)),
    "counts": ([Normalize(10.0), Log1p()], lambda X, of: np.log1p(10 * X / X.sum(axis=1, keepdims=True))),
}


def components(X, of):
    scaled = (of - of.mean(axis=0)) / of.std(axis=0)
    return ((X - of.mean(axis=0)) / of.std(axis=0)) @ np.linalg.svd(scaled, full_matrices=False)[2][:3].T


@pytest.mark.parametrize("name", STEPS)
def test_of_every_way_into_a_map(tmp_path, name):
    """Rows on disk, a sample of them fitted, all prepared: by hand, from the table as it was."""
    steps, by_hand = STEPS[name]
    rng = np.random.default_rng(0)
    X = np.abs(rng.normal(0, 4, (4, 6))[rng.integers(0, 4, 900)] + rng.normal(size=(900, 6))).astype(np.float32)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(64, 6))
    prepare, tsne = Preparation(steps) if steps else None, TSNE(**{**QUICK, "random_state": None})
    run = tsne_ooc.embed(tmp_path / "X.h5", out=tmp_path / "map", sample=250, prepare=prepare, tsne=tsne, block_rows=77)
    rows = np.array(run.sample_rows)
    Z = by_hand(X.astype(float), X.astype(float))
    D = cdist(Z, Z[rows])
    model = tsne_ooc.load(tmp_path / "map" / "model")
    model.transform_to(X, tmp_path / "Y.npy")
    ways = {
        "the run": np.array(run.embedding), "in memory": model.transform(X), "a file": np.load(tmp_path / "Y.npy"),
        "placed": np.array(tsne_ooc.place(tmp_path / "map", tmp_path / "X.h5", out=tmp_path / "placed").embedding),
    }  # fmt: skip
    free = np.setdiff1d(np.arange(900), rows)[::5]
    for way, Y in ways.items():
        np.testing.assert_array_equal(Y[rows], model.embedding_, err_msg=way)
        left = forces(D[free], model.embedding_, Y[free])
        assert np.quantile(left, 0.9) < 0.01, way
        # A row's neighbours on the map are its neighbours in the table.
        near = np.argsort(D[free], axis=1)[:, 0]
        away = np.linalg.norm(Y[free] - model.embedding_[near], axis=1)
        assert np.median(away) < 0.1 * np.ptp(model.embedding_, axis=0).max(), way
