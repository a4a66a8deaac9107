"""A scale of all numbers changes nothing: not places, novelty or groups, to the bit, from 1e-40 to 1e37."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import tsne_ooc
from tsne_ooc import TSNE, FixedSigma
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import conditional
from tsne_ooc.groups import Groups
from tsne_ooc.neighbors import HNSW, IVF, Exact, build
from tsne_ooc.neighbors.exact import BlockedIndex
from tsne_ooc.neighbors.scaled import exponent_for

ONE = Threads(1)
# 1.8e-40, 1.2e-38, ... 5.3e36: times up to 60, the largest numbers of float32.
EXPONENTS = [-132, -126, -70, 70, 122]
FITS = {
    "exact": {},
    "ivf": {"neighbors": IVF(lists=8, probes=3)},
    "hnsw": {"neighbors": HNSW(links=8)},
    "sqeuclidean": {"metric": "sqeuclidean"},
    "minkowski": {"metric": "minkowski", "metric_params": {"p": 3}},
    "cosine": {"metric": "cosine"},
    "spectral": {"initialization": "spectral"},
    "sparse": {"initialization": "random"},
}


def rows(n=150, seed=0):
    """Multiples of a 64th, so that they are exact at any scale."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) + 5 * np.random.default_rng(9).normal(size=(4, 4))[np.arange(n) % 4]
    return np.round(64 * X) / 64


def at(X, exponent, name):
    X = np.ldexp(X, exponent).astype(np.float32)
    return sparse.csr_array(X) if name == "sparse" else X


def fitted(name, exponent):
    return TSNE(
        perplexity=8, n_iter=15, early_exaggeration_iter=15, random_state=0, n_jobs=1, **FITS[name]
    ).fit(at(rows(), exponent, name))  # fmt: skip


def answers(model, name, exponent):
    groups = Groups(model, 8)
    new = at(rows(30, seed=1), exponent, name)
    placed = model.place(new)
    return (
        model.embedding_, model.transform(at(rows()[:5], exponent, name)), placed.embedding, placed.novelty,
        model.score_samples(new), model.novelty_, *groups.fitted, *groups.score(new),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")
@pytest.mark.parametrize("name", FITS)
def test_a_scale_changes_no_bit(name):
    wanted = answers(fitted(name, 0), name, 0)
    for exponent in EXPONENTS:
        for found, expected in zip(answers(fitted(name, exponent), name, exponent), wanted, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=f"at 2**{exponent}")


@pytest.mark.parametrize("exponent", [-132, 122])
def test_a_saved_map_knows_its_scale(tmp_path, exponent):
    model = fitted("exact", exponent)
    model.save(tmp_path / "map")
    loaded = tsne_ooc.load(tmp_path / "map")
    for found, expected in zip(answers(loaded, "exact", exponent), answers(model, "exact", exponent), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_novelty_of_rows_of_1e_minus_40():
    """Rounded to float32 they keep some five digits, and so does their novelty."""
    X = np.random.default_rng(0).normal(size=(300, 4))
    found, wanted = (
        TSNE(perplexity=10, n_iter=1, early_exaggeration_iter=1, random_state=0).fit(scale * X).novelty_
        for scale in (1e-40, 1)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1, 1e20, 1e37])
def test_the_bandwidth_of_a_fixed_sigma_is_in_the_units_of_the_rows(scale):
    X = np.float32(scale) * np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    index = build(Exact(), X, metric="euclidean", metric_params=None, rng=np.random.default_rng(0), threads=ONE)
    near, distances = index.query_self(5)
    found = conditional(FixedSigma(1.5 * scale, 5), distances, index.unit, ONE)
    rows = X.astype(np.float64) / scale
    square = ((rows[:, None] - rows[near]) ** 2).sum(axis=2)
    wanted = np.exp(-square / (2 * 1.5**2))
    np.testing.assert_allclose(found, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(distances * index.unit, scale * np.sqrt(square), rtol=1e-4)


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1, 1.7e9, 1e15])
def test_rows_of_ordinary_scales_are_searched_as_they_are(size):
    X = np.full((3, 2), size, np.float32)
    assert exponent_for(X) == 0
    index = build(Exact(), X, metric="euclidean", metric_params=None, rng=np.random.default_rng(0), threads=ONE)
    assert isinstance(index, BlockedIndex) and index.unit == 1


def test_new_rows_of_another_scale_are_as_far_as_can_be_told():
    model = fitted("exact", -126)
    placed = model.place(np.full((2, 4), 1e30, np.float32))
    assert np.isfinite(placed.embedding).all() and (placed.novelty > 1e30).all()
    far = fitted("exact", 122).place(np.zeros((1, 4), np.float32))
    assert np.isfinite(far.embedding).all() and np.isfinite(far.novelty).all()
