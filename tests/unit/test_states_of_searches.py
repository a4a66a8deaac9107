"""What files hold of each search: it comes back with the same answers, and damaged in any way it is refused."""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, Graph, PyNNDescent
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.neighbors.scaled import build
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
N, P = 60, 5


def rows(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(3, 1, (N, P)).astype(np.float32)
    if kind == "gaps":
        X[::7, 1] = np.nan
    if kind == "copies":
        X[:40] = X[0]
    if kind == "far":
        X[[7, 30]] = 1e9
    if kind == "tiny":
        X *= np.float32(1e-30)
    if kind == "yes":
        X = (X > 3).astype(np.float32)
    if kind == "sparse":
        return scipy.sparse.csr_array(np.where(X > 3, X, 0))
    return X


def graph(X):
    index = IVF(lists=5, probes=5).build(X, rng=np.random.default_rng(0), threads=ONE)
    near, apart = index.query_self(6)
    place = np.argsort(index.order).astype(np.uint32)
    made = Graph.of(index, 6, search=Exact())
    return Graph._made(place[near[index.order]], apart[index.order], index.order, made.facts, Exact())


#: Each kind of search: its configuration, the metric, its parameters, and the rows.
SEARCHES = {
    "blocked": (Exact(), "euclidean", None, "plain"),
    "cosine": (Exact(), "cosine", None, "plain"),
    "pairwise": (Exact(), "minkowski", {"p": 3.0}, "plain"),
    "seuclidean": (Exact(), "seuclidean", None, "plain"),
    "mahalanobis": (Exact(), "mahalanobis", None, "plain"),
    "sparse": (Exact(), "cosine", None, "sparse"),
    "bits": (Exact(), "jaccard", None, "yes"),
    "gaps": (Exact(), "nan_euclidean", None, "gaps"),
    "gaps-ivf": (IVF(lists=6, probes=2), "nan_euclidean", None, "gaps"),
    "ivf": (IVF(lists=6), "euclidean", None, "plain"),
    "ivf, cosine": (IVF(lists=6, probes=2, recall=None), "cosine", None, "plain"),
    "hnsw": (HNSW(links=4), "euclidean", None, "plain"),
    "grouped": (IVF(lists=25, probes=4), "euclidean", None, "plain"),
    "annoy": (Annoy(trees=3), "cosine", None, "plain"),
    "distinct": (IVF(lists=6), "euclidean", None, "copies"),
    "reach": (IVF(lists=6), "euclidean", None, "far"),
    "scaled": (Exact(), "euclidean", None, "tiny"),
    "pynndescent": (PyNNDescent(), "euclidean", None, "plain"),
    "graph": (graph, "euclidean", None, "plain"),
}
if find_spec("annoy") is None:
    del SEARCHES["annoy"]


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def made(monkeypatch_module):
    """Each index with its state, made once."""
    found = {}
    # Otherwise only thousands of lists are in groups.
    monkeypatch_module.setattr("tsne_ooc.neighbors.ivf.GROUPED", 10)
    for name, (search, metric, params, kind) in SEARCHES.items():
        X = rows(kind)
        search = search(X) if callable(search) and not hasattr(search, "build") else search
        options = {"metric": metric, "metric_params": params, "rng": np.random.default_rng(0), "threads": ONE}
        found[name] = build(search, X, **options), X
    return found


def state_of(index):
    content, arrays = named_state(index)
    return json.loads(json.dumps(content)), {name: np.array(array) for name, array in arrays.items()}


@pytest.mark.parametrize("name", SEARCHES)
def test_it_comes_back_with_the_same_answers(made, name):
    index, X = made[name]
    again = restore_index(Saved(*state_of(index)), ONE)
    assert type(again) is type(index)
    assert (again.n, again.metric, again.sparse, again.unit) == (index.n, index.metric, index.sparse, index.unit)
    for k in (1, 4):
        for one, other in ((index.query(X, k), again.query(X, k)), (index.query_self(k), again.query_self(k))):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
        assert again.recall(k) == index.recall(k)
    np.testing.assert_array_equal(again.order, index.order)
    np.testing.assert_array_equal(again.from_themselves(), index.from_themselves())
    # What was read is what is written again.
    content, arrays = state_of(again)
    wanted, own = state_of(index)
    assert content == wanted and arrays.keys() == own.keys()
    for part in own:
        np.testing.assert_array_equal(arrays[part], own[part])
        assert arrays[part].dtype == own[part].dtype


def other_type(array):
    return np.ones(array.shape, "i2" if array.dtype.kind == "f" else "f2")


def with_nan(array):
    if array.dtype.kind != "f" or not array.size:
        return None
    array.reshape(-1)[-1] = np.nan
    return array


def infinite(array):
    if array.dtype.kind != "f" or not array.size:
        return None
    array.reshape(-1)[-1] = -np.inf
    return array


DAMAGES = {
    "missing": lambda array: None,
    "another type": other_type,
    "an axis more": lambda array: array[..., None],
    "flat": lambda array: array.ravel() if array.ndim > 1 else None,
    "a row less": lambda array: array[:-1] if array.ndim else None,
    "a column less": lambda array: np.ascontiguousarray(array[:, :-1]) if array.ndim > 1 else None,
    "none": lambda array: array[:0] if array.ndim else None,
    "not a number": with_nan,
    "infinite": infinite,
}
VALUES = [None, [], "x", -1, 0, -0.5, True, {}, 2**70]


#: What is a state all the same: rows that are all there is to say, which are others then, and what models from before
#: a part was kept do not have.
TAKEN = {
    *((name, "rows", damage) for name in ("blocked", "cosine", "pairwise", "gaps", "pynndescent", "annoy")
      for damage in ("a row less", "a column less")),
    *(("scaled", "inner.rows", damage) for damage in ("a row less", "a column less")),
    ("graph", "inner.rows", "a column less"), ("bits", "words", "a row less"),
    ("seuclidean", "rows", "a row less"), ("mahalanobis", "rows", "a row less"),
    # What a metric takes from the rows is taken from them again, and for a single number any type will do.
    ("pairwise", "param.p", "missing"), ("pairwise", "param.p", "another type"),
    ("seuclidean", "param.V", "missing"), ("mahalanobis", "param.VI", "missing"),
    # A gap more.
    ("gaps", "rows", "not a number"), ("gaps-ivf", "rows", "not a number"),
    # Their kind tells the metric.
    *((name, "metric", value) for name in ("gaps", "gaps-ivf") for value in ("missing", *map(repr, VALUES))),
    ("graph", "order", "missing"),
    *((name, part, value) for name in ("ivf", "grouped", "annoy", "gaps-ivf", "hnsw", "reach")
      for part in ("recall", "nearest") for value in ("missing", "None")),
    *(("distinct", part, value) for part in ("inner.recall", "inner.nearest") for value in ("missing", "None")),
    ("ivf, cosine", "recall", "missing"),
    *((name, "probes", "None") for name in ("ivf, cosine", "gaps-ivf", "grouped")),
    ("annoy", "seed", "0"),
    # Other numbers that may be.
    ("scaled", "exponent", "-1"), ("scaled", "exponent", "0"), ("pynndescent", "seed", "0"),
    ("pynndescent", "epsilon", "0"), ("pynndescent", "epsilon", repr(2**70)),
    *(("graph", "recall", value) for value in ("0", "-0.5", repr(2**70))),
}  # fmt: skip


def damaged(content, arrays):
    """The state with each of its parts damaged in each way: what, how, and the state."""
    for array in arrays:
        for damage, change in DAMAGES.items():
            changed = {key: value.copy() for key, value in arrays.items()}
            new = change(changed.pop(array))
            if new is not None:
                changed[array] = new
            if new is not None or damage == "missing":
                yield array, damage, Saved(content, changed)
    for path in keys(content):
        for value in ("missing", *VALUES):
            changed = copy.deepcopy(content)
            part = changed
            for key in path[:-1]:
                part = part[key]
            if value == "missing":
                del part[path[-1]]
            elif repr(part[path[-1]]) == repr(value):
                continue
            else:
                part[path[-1]] = value
            yield ".".join(path), value if value == "missing" else repr(value), Saved(changed, arrays)


def test_a_state_damaged_in_any_way_is_refused(made):
    """By the one error to which whoever reads a file adds the file's name."""
    taken, tried = set(), 0
    for name in SEARCHES:
        for what, how, saved in damaged(*state_of(made[name][0])):
            tried += 1
            try:
                restore_index(saved, ONE)
            except StateError as error:
                assert "\n" not in str(error)
            else:
                taken.add((name, what, how))
    assert taken == {one for one in TAKEN if one[0] in SEARCHES}
    assert tried > 500


def keys(content, path=()):
    for key, value in content.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys(value, (*path, key))
