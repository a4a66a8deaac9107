"""A fitted model owns what it needs: whatever happens to what went in and what came out, it answers the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, random_array
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler

from tsne_ooc import TSNE, Placement
from tsne_ooc.groups import Groups
from tsne_ooc.preprocess import PCA, Preparation, Standardize, Transformer
from tsne_ooc.sampling import Rows

QUICK = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0}
GROUPS = np.random.default_rng(9).normal(0, 6, (4, 6))


def rows(n=160, seed=0):
    rng = np.random.default_rng(seed)
    return (GROUPS[rng.integers(0, 4, n)] + rng.normal(size=(n, 6))).astype(np.float32)


def spoilt(*inputs):
    """Every array within these, multiplied by -3 in place."""
    for given in inputs:
        for array in (given.data, given.indices) if hasattr(given, "indptr") else (np.asarray(given),):
            array[...] = array[::-1] if array.dtype.kind in "iu" else -3 * array


def inputs():
    """Name, options and table, and what of them the caller goes on to change."""
    X = rows()
    start = np.random.default_rng(1).normal(0, 1e-4, (160, 2)).astype(np.float32)
    sample = np.arange(0, 160, 2)
    VI, V = np.diag([1.0, 2, 3, 4, 5, 6]), np.arange(1.0, 7)
    sparse = random_array((160, 6), density=0.7, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    affinity = np.exp(-(cdist(X, X) ** 2) / 20)
    D = cdist(X, X).astype(np.float32)
    frame = pd.DataFrame(rows(), copy=False)
    yield "float32", {}, X, [X]
    yield "float64", {}, (Z := X.astype(np.float64)), [Z]
    yield "a part of an array", {}, (Z := rows())[:, :], [Z]
    yield "frame", {}, frame, [frame.to_numpy()]
    yield "sparse", {}, sparse, [sparse]
    yield "ivf", {"neighbors": "ivf"}, (Z := rows()), [Z]
    yield "hnsw", {"neighbors": "hnsw"}, (Z := rows()), [Z]
    yield "cosine", {"metric": "cosine"}, (Z := rows()), [Z]
    yield "mahalanobis", {"metric": "mahalanobis", "metric_params": {"VI": VI}}, (Z := rows()), [Z, VI]
    yield "seuclidean", {"metric": "seuclidean", "metric_params": {"V": V}}, (Z := rows()), [Z, V]
    yield "precomputed", {"metric": "precomputed"}, D, [D]
    yield "start", {"initialization": start}, (Z := rows()), [Z, start]
    yield "affinity", {"affinity": affinity}, (Z := rows()), [Z, affinity]
    yield "sample", {"sample": Rows(sample)}, (Z := rows()), [Z]
    yield "prepared", {"prepare": Preparation([Standardize(), PCA(4)])}, (Z := rows()), [Z]
    yield "shifted", {}, (Z := rows().astype(np.float64) + 1.7e9), [Z]


def answers(model, Q):
    placed = model.place(Q)
    return [
        placed.embedding,
        placed.novelty,
        model.score_samples(Q),
        model.embedding_,
        model.novelty_,
        *Groups(model, 5).score(Q),
        *Groups(model, 5).fitted,
    ]


@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")
@pytest.mark.parametrize("name", [name for name, *_ in inputs()])
def test_what_went_in_may_change(name):
    _, options, X, changed = next(found for found in inputs() if found[0] == name)
    Q = {"precomputed": lambda: cdist(rows(40, 1), rows()).astype(np.float32)}.get(name, lambda: rows(40, 1) + 0.1)()
    if name == "shifted":
        Q = Q.astype(np.float64) + 1.7e9
    if name == "sparse":
        Q = csr_array(np.abs(Q))
    model = TSNE(**{**QUICK, **options}).fit(X)
    before = [answer.copy() for answer in answers(model, Q)]
    spoilt(*changed)
    for one, two in zip(before, answers(model, Q), strict=True):
        np.testing.assert_array_equal(one, two)


def reachable(value, seen):
    """All arrays that public attributes lead to."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from reachable(item, seen)
    elif isinstance(value, dict):
        yield from reachable(list(value.values()), seen)
    elif type(value).__module__.startswith("tsne_ooc"):
        for name in dir(type(value)) + list(getattr(value, "__dict__", ())):
            if not name.startswith("_") and not callable(getattr(type(value), name, None)):
                try:
                    yield from reachable(getattr(value, name), seen)
                except (AttributeError, TypeError, ValueError):
                    continue


@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample": 90},
        {"prepare": Preparation([Standardize(), PCA(4)])},
        {"prepare": Preparation([Standardize(robust=True)]), "sample": 90},
    ],
)
def test_what_came_out_may_change(options):
    table = pd.DataFrame(rows(), columns=list("abcdef"))
    model = TSNE(**QUICK, **options)
    first = model.fit_transform(table)
    Q = pd.DataFrame(rows(40, 1), columns=list("abcdef"))
    before = [answer.copy() for answer in answers(model, Q)]
    first *= -3
    public = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    outputs = [*answers(model, Q), *model.place(Q)[:2], *reachable(public, {})]
    for output in outputs:
        if output.flags.writeable and output.dtype.kind == "f":
            output *= -3
    for one, two in zip(before, answers(model, Q), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_callbacks_are_given_may_change():
    def spoil(iteration, error, embedding):
        embedding[...] = 0

    quiet = TSNE(**QUICK, callbacks=lambda *event: None, callbacks_every_iters=5).fit(rows())
    spoiling = TSNE(**QUICK, callbacks=spoil, callbacks_every_iters=5).fit(rows())
    np.testing.assert_array_equal(spoiling.embedding_, quiet.embedding_)


def test_a_transformer_that_is_fitted_anew_is_another():
    scaler = StandardScaler().fit(rows())
    model = TSNE(**QUICK, prepare=Preparation([Transformer(scaler)])).fit(rows())
    wanted = model.transform(rows(40, 1))
    scaler.fit(rows() * 100)
    scaler.mean_ += 7
    np.testing.assert_array_equal(model.transform(rows(40, 1)), wanted)


def test_the_map_itself_is_read_only():
    model = TSNE(**QUICK).fit(rows())
    for array in (model.embedding_, model.novelty_):
        with pytest.raises(ValueError, match="read-only"):
            array *= 2
    assert not np.shares_memory(model.fit_transform(rows()), model.embedding_)


def test_rows_that_nobody_can_change_are_not_copied():
    X = rows(3000)
    X.setflags(write=False)
    model = TSNE(**QUICK, placement=Placement(k=3)).fit(X)
    assert _held(model, X)
    assert not _held(TSNE(**QUICK).fit(rows(3000)), X)


def _held(model, X):
    found = [value for value in _everything(model.map_.model.index, set()) if isinstance(value, np.ndarray)]
    return any(np.shares_memory(value, X) for value in found)


def _everything(value, seen):
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    for inner in getattr(value, "__dict__", {}).values():
        yield from _everything(inner, seen)
