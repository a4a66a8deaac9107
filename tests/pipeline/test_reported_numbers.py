"""Each number that a map reports is computed again, in an obvious way; the lists are the manifests' own keys."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import reference
from reported import divergence, leaves, novelty_of, own_of
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc._memory import peak_bytes
from tsne_ooc.neighbors import IVF

N, M = 220, 120
FEW = {"perplexity": 6, "early_exaggeration_iter": 4, "n_iter": 6, "random_state": 0}


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    # Strangers, so that some are beyond the threshold.
    X[-12:] += 30 * rng.normal(size=(12, 4))
    return X.astype(np.float32)


# The strangers come last, and no row of the sample is one.
@pytest.mark.parametrize("sample", [np.arange(M), None], ids=["a sample", "all rows"])
def test_the_manifest_of_embed(tmp_path, sample):
    X, began = rows(), time.perf_counter()
    model = TSNE(**FEW)
    run = tsne_ooc.embed(X, out=tmp_path / "map", sample=sample, tsne=model, random_state=3)
    took = time.perf_counter() - began
    manifest = json.loads((tmp_path / "map" / "manifest.json").read_text())["content"]
    assert manifest == run.manifest
    m = N if sample is None else M
    assert len(run.sample_rows) == m and (np.diff(run.sample_rows) > 0).all()
    S = X[run.sample_rows]
    D, own = own_of(S)
    novelty = novelty_of(cdist(X, S), own)
    within = novelty_of(D, own)
    # Rows of the sample are seen from its others.
    novelty[run.sample_rows] = within
    np.testing.assert_allclose(np.array(run.novelty), novelty, rtol=1e-4, atol=1e-5)
    threshold = 1.1 * max(1, np.quantile(within, 0.999))
    beyond = int((novelty > threshold).sum())
    wanted = {
        "task": "embed", "source": f"array of shape ({N}, 4)", "read.left_out": {}, "read.remarks": [],
        "n_samples": N, "n_features": 4, "n_components": 2, "sample": m, "random_state": 3,
        "novelty.rows": N, "novelty.beyond": beyond, "novelty.beyond_share": beyond / N, "n_iter": 10,
        "novelty.threshold": pytest.approx(threshold, rel=1e-4),
        "novelty.largest": pytest.approx(novelty.max(), rel=1e-4),
        "kl_divergence": pytest.approx(divergence(S, run.embedding[run.sample_rows], 6), rel=1e-3),
        **{f"parameters.{name}": value for name, value in model.get_params(deep=False).items()},
    }  # fmt: skip
    found = dict(leaves(manifest))
    for name, value in wanted.items():
        assert found.pop(name) == value, name
    quantiles = {float(name.partition("quantiles.")[2]): found.pop(name) for name in list(found) if "quantiles" in name}
    assert sorted(quantiles) == [0.01, 0.25, 0.5, 0.75, 0.99, 0.999]
    for q, value in quantiles.items():
        assert value == pytest.approx(np.quantile(novelty, q, method="inverted_cdf"), rel=0.03, abs=1e-3)
    seconds = {name: found.pop(name) for name in list(found) if name.startswith("seconds.")}
    assert set(seconds) == {"seconds.sample", "seconds.fit", "seconds.place"}
    assert all(value >= 0 for value in seconds.values()) and 0 < sum(seconds.values()) <= took
    # The peak of this process, which only grows.
    memory = [found.pop(f"memory_gb.{phase}") for phase in ("sample", "fit", "place")]
    assert 0.02 < memory[0] <= memory[1] <= memory[2] <= peak_bytes() / 1e9 + 0.001
    # Ten iterations are too few for a note; see `unit/test_history.py`.
    history = {name: found.pop(name) for name in list(found) if name.startswith("history.")}
    assert history == {f"history.{name}": [] for name in ("iteration", "exaggeration", "kl_divergence", "step")}
    # What the run is known again by.
    assert all(name.startswith("job.") for name in found), sorted(found)
    assert 0 < beyond < 30 or sample is None


def test_the_manifest_of_place(tmp_path):
    X, Q = rows(M), rows(90, seed=1)
    TSNE(**FEW).fit(X).save(tmp_path / "model")
    run = tsne_ooc.place(tmp_path / "model", Q, out=tmp_path / "placed")
    D, own = own_of(X)
    novelty = novelty_of(cdist(Q, X), own)
    threshold = 1.1 * max(1, np.quantile(novelty_of(D, own), 0.999))
    found = run.manifest
    assert (found["task"], found["n_samples"], found["n_features"], found["n_components"]) == ("place", 90, 4, 2)
    beyond = int((novelty > threshold).sum())
    assert 0 < beyond < 90
    assert (found["novelty"]["beyond"], found["novelty"]["rows"]) == (beyond, 90)
    assert found["novelty"]["beyond_share"] == beyond / 90
    np.testing.assert_array_equal(run.embedding, tsne_ooc.load(tmp_path / "model").transform(Q))


@pytest.mark.parametrize("search", ["exact", IVF(lists=12, probes=1)], ids=["exact", "one probe"])
def test_the_attributes_of_a_fit(search):
    X = rows()
    # One probe finds a half, and says so.
    with pytest.warns(UserWarning) if search != "exact" else _quiet():
        model = TSNE(**FEW, neighbors=search).fit(X)
    D, own = own_of(X)
    wanted = {"n_iter_": 10, "n_neighbors_": 18, "seed_": 0, "n_features_in_": 4, "preparation_": None}
    for name, value in wanted.items():
        assert getattr(model, name) == value, name
    assert np.array_equal(model.sample_rows_, np.arange(N)) if model.sample_rows_ is not None else True
    P = model.affinities_.toarray()
    assert model.kl_divergence_ == pytest.approx(reference.kl(P, model.embedding_), rel=1e-4)
    if search == "exact":
        assert model.recall_ == 1
        assert model.kl_divergence_ == pytest.approx(divergence(X, model.embedding_, 6), rel=1e-3)
        novelty = novelty_of(D, own)
        np.testing.assert_allclose(model.novelty_, novelty, rtol=1e-4)
        assert model.novelty_threshold_ == pytest.approx(1.1 * max(1, np.quantile(novelty, 0.999)), rel=1e-4)
    else:
        found = model.map_.model.index.query(X, 19)[1]
        reach = np.sort(cdist(X, X), axis=1)[:, 18:19]
        share = (found <= reach * (1 + 1e-6)).mean()
        assert share < 0.95 and model.recall_ == pytest.approx(share, abs=0.03)


def _quiet():
    from contextlib import nullcontext

    return nullcontext()
