"""Each kind of search: its answers in whole and in parts, and what files hold of it, which is refused if damaged."""

from __future__ import annotations

import copy
import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics.pairwise import nan_euclidean_distances

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, Graph, PyNNDescent
from tsne_ooc.neighbors.saved import named_state, restore_index, restore_rows
from tsne_ooc.neighbors.scaled import build
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
N, P = 120, 5


def rows(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(3, 1, (N, P)).astype(np.float32)
    if kind == "gaps":
        X[::7, 1] = np.nan
    if kind == "copies":
        X[:100] = X[0]
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
    "pynndescent": (PyNNDescent(graph_neighbors=40), "euclidean", None, "plain"),
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
    *((name, part, value) for name in ("ivf", "grouped", "annoy", "gaps-ivf", "hnsw")
      for part in ("recall", "nearest") for value in ("missing", "None")),
    *((name, part, value) for name in ("distinct", "reach") for part in ("inner.recall", "inner.nearest")
      for value in ("missing", "None")),
    ("reach", "radius", repr(2**70)),
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


def put(value, at=-1):
    def change(array):
        array.reshape(-1)[at] = value
        return array

    return change


#: Numbers at a limit, which may be, and those one beyond, which may not: the kind of search, the part, the number, and
#: what is said of it.
EDGES = [
    ("blocked", "metric", "l2", None),
    ("blocked", "metric", "hamming", "has the unknown metric 'hamming'"),
    ("sparse", "indptr", put(1, 0), "does not cut {entries} entries into rows"),
    ("sparse", "indptr", lambda array: put(array[-1] + 1)(array), "does not cut {entries} entries into rows"),
    ("sparse", "indptr", lambda array: put(array[4] + 1, 3)(array), "does not cut {entries} entries into rows"),
    ("sparse", "indptr", lambda array: put(array[4], 3)(array), None),
    ("sparse", "indices", put(P), f"names a column that is not one of {P}"),
    ("sparse", "indices", put(-1, 0), f"names a column that is not one of {P}"),
    ("sparse", "indices", lambda array: put(array[0], 1)(array), "does not ascend within a row"),
    ("sparse", "columns", lambda array: np.array(0), "is not a number of columns: 0"),
    ("sparse", "columns", lambda array: np.array(2**31), f"is not a number of columns: {2**31}"),
    ("sparse", "columns", lambda array: np.array(P + 1000), None),
    ("sparse", "columns", lambda array: np.array(P - 1), f"names a column that is not one of {P - 1}"),
    ("ivf", "probes", 1, None),
    ("ivf", "probes", 0, f"probes=0 is not a whole number from 1 to {2**62}"),
    ("ivf", "recall", 1, None),
    ("ivf", "recall", 1.0001, " is to find 1.0001 of the nearest rows, which is more than all"),
    ("ivf", "recall", 1e-9, None),
    ("ivf", "nearest", 1, None),
    ("ivf", "nearest", 0, f"nearest=0 is not a whole number from 1 to {2**62}"),
    ("ivf", "order", put(N), f"is not a permutation of {N} rows"),
    ("ivf", "order", lambda array: put(array[0])(array), f"is not a permutation of {N} rows"),
    ("ivf", "order", lambda array: array[::-1].copy(), None),
    ("ivf", "edges", put(1, 0), f"does not cut {N} rows into lists"),
    ("ivf", "edges", put(N - 1), f"does not cut {N} rows into lists"),
    ("ivf", "edges", put(-1, 1), f"does not cut {N} rows into lists"),
    # A list may be empty.
    ("ivf", "edges", put(0, 1), None),
    ("ivf", "centre", lambda array: array + 1e3, "lies outside the rows"),
    ("ivf", "centre", lambda array: array - 1e3, "lies outside the rows"),
    ("grouped", "groups", put(1, 0), "does not cut 25 centres into groups"),
    ("hnsw", "ef", 1, None),
    ("hnsw", "ef", 2**26, None),
    ("hnsw", "ef", 2**26 + 1, f"ef={2**26 + 1} is not a whole number from 1 to {2**26}"),
    ("hnsw", "links", 1, "links=1 is not a whole number from 2 to 4096"),
    ("hnsw", "links", 4097, "links=4097 is not a whole number from 2 to 4096"),
    ("hnsw", "links", 5, "do not fit the links in number"),
    ("hnsw", "entry", N, f"entry={N} is not a whole number from 0 to {N - 1}"),
    ("hnsw", "links.array", put(-2), f"names a row that is not one of {N}"),
    ("hnsw", "links.array", put(N), f"names a row that is not one of {N}"),
    ("hnsw", "links.array", put(-1), None),
    ("hnsw", "links.array", put(N - 1, 0), None),
    ("annoy", "trees", 1, None),
    ("annoy", "trees", 0, f"trees=0 is not a whole number from 1 to {2**31 - 1}"),
    ("annoy", "trees", 2**31, f"trees={2**31} is not a whole number from 1 to {2**31 - 1}"),
    ("annoy", "search_k", 1, None),
    ("annoy", "search_k", 0, f"search_k=0 is not a whole number from 1 to {2**62}"),
    ("annoy", "seed", 2**31 - 1, None),
    ("annoy", "seed", 2**31, f"seed={2**31} is not a whole number from 0 to {2**31 - 1}"),
    ("annoy", "recall", 2, " is to find 2 of the nearest rows, which is more than all"),
    ("annoy", "metric", "jaccard", " has the unknown metric 'jaccard'"),
    ("pynndescent", "graph_neighbors", 2, None),
    ("pynndescent", "graph_neighbors", 1, f"graph_neighbors=1 is not a whole number from 2 to {2**31 - 1}"),
    ("pynndescent", "seed", 2**31 - 1, None),
    ("pynndescent", "seed", 2**31, f"seed={2**31} is not a whole number from 0 to {2**31 - 1}"),
    ("pynndescent", "epsilon", -1e-9, " has an epsilon below 0: -1e-09"),
    ("pynndescent", "metric", "bit_hamming", "metric 'bit_hamming' takes bytes, whole numbers from 0 to 255"),
    ("pynndescent", "metric", "nan_euclidean", " has the metric 'nan_euclidean', which pynndescent does not know"),
    ("scaled", "exponent", 200, None),
    ("scaled", "exponent", -200, None),
    ("scaled", "exponent", 201, "exponent=201 is not a whole number from -200 to 200"),
    ("scaled", "exponent", -201, "exponent=-201 is not a whole number from -200 to 200"),
    ("scaled", "inner.metric", "cosine", " has the metric 'cosine', whose distances have no scale"),
    ("bits", "columns", 1, None),
    ("bits", "columns", 64, None),
    ("bits", "columns", 65, "has the shape (120, 1), where (any, 2) is needed"),
    ("bits", "columns", 0, f"columns=0 is not a whole number from 1 to {2**40}"),
    ("bits", "metric", "euclidean", " has the unknown metric 'euclidean'"),
    ("bits", "metric", "yule", None),
    ("reach", "radius", 1e-300, None),
    ("reach", "radius", 0, "radius=0 must be a finite number greater than 0"),
    ("reach", "numbers", put(N), "does not name rows in their order"),
    ("reach", "numbers", put(N - 1), None),
    ("reach", "numbers", lambda array: array[::-1].copy(), "does not name rows in their order"),
    ("reach", "numbers", lambda array: put(array[0], 1)(array), "does not name rows in their order"),
    ("reach", "inner.kind", "distinct", "inner is of the unknown kind 'distinct'"),
    ("distinct", "of", put(21), "does not name each of 21 distinct rows"),
    ("distinct", "of", put(0), "does not name each of 21 distinct rows"),
    ("distinct", "of", put(20, 0), "numbers distinct rows in another order than that of their first appearance"),
    ("graph", "neighbors", put(N), f"names a row that is not one of {N}"),
    ("graph", "neighbors", put(N - 1), None),
    ("graph", "distances", put(-1e-6, 0), "does not ascend from 0 within a row"),
    ("graph", "distances", put(0, 0), None),
    ("graph", "distances", put(0), "does not ascend from 0 within a row"),
    ("graph", "order", put(N), f"is not a permutation of {N} rows"),
    ("graph", "order", lambda array: put(array[0])(array), f"is not a permutation of {N} rows"),
    (
        "pairwise",
        "param.p",
        lambda array: np.array(0.0),
        "metric_params['p']=0.0 must be a finite number greater than 0",
    ),
    ("pairwise", "metric", "canberra", "has the shape () and type float64, where () is needed"),
    ("mahalanobis", "param.VI", lambda array: -array, "is not a covariance or its inverse"),
    ("seuclidean", "param.V", put(0.0), "holds variances, which must be greater than 0"),
]


@pytest.mark.parametrize(
    ("name", "part", "change", "says"), EDGES, ids=[f"{name}-{part}-{at}" for at, (name, part, *_) in enumerate(EDGES)]
)
def test_numbers_at_a_limit_and_beyond(made, name, part, change, says):
    if name not in SEARCHES:
        pytest.skip("Annoy is not installed")
    content, arrays = state_of(made[name][0])
    if callable(change):
        arrays[part.removesuffix(".array")] = change(arrays[part.removesuffix(".array")])
    else:
        within = content
        for key in part.split(".")[:-1]:
            within = within[key]
        within[part.split(".")[-1]] = change
    if says is None:
        assert restore_index(Saved(content, arrays), ONE).n == N
        return
    with pytest.raises(StateError) as caught:
        restore_index(Saved(content, arrays), ONE)
    assert says.format(entries=len(arrays.get("data", ()))) in str(caught.value)
    assert caught.value.array is None or caught.value.array in arrays


def test_which_kinds_may_be_within_which(made):
    """A file cannot nest them without end; of a kind that may not be within another, its name is said."""
    plain = {"blocked", "ivf", "hnsw", "annoy", "pynndescent"}
    within = {
        "reach": {"blocked", "ivf", "hnsw"},
        "distinct": {*plain, "reach"},
        "graph": {*plain, "gaps", "gaps-ivf", "reach", "distinct", "pairwise", "bits"},
        "scaled": {*plain, "gaps", "gaps-ivf", "reach", "distinct", "pairwise", "graph"},
    }
    states = {state_of(index)[0]["kind"]: state_of(index) for index, _ in made.values()}
    assert len(states) == len({type(index) for index, _ in made.values()}) > 10
    for outer, allowed in within.items():
        for kind, (content, arrays) in states.items():
            mine, own = state_of(made[outer][0])
            mine["inner"] = content
            own = {name: array for name, array in own.items() if not name.startswith("inner.")}
            own |= {f"inner.{name}": array for name, array in arrays.items()}
            said = ""
            try:
                restore_index(Saved(mine, own), ONE)
            except StateError as error:
                said = str(error)
            assert (f"inner is of the unknown kind {kind!r}" in said) == (kind not in allowed), (outer, kind, said)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", SEARCHES)
def test_few_rows_are_a_state_too(made, name, n):
    """One row finds itself alone, and nobody else."""
    search, metric, params, kind = SEARCHES[name]
    if metric in ("seuclidean", "mahalanobis") and n == 1:
        pytest.skip("one row has no variance")
    X = rows(kind)[[0, 1, 2][:n]]
    if kind == "far":
        X[0] = 1e9
    if kind == "copies":
        X = np.repeat(X[:1], n, axis=0)
    if name == "graph":
        if n == 1:
            pytest.skip("one row has no neighbours")
        search = Graph.of(Exact().build(X, threads=ONE), n - 1)
    options = {"metric": metric, "metric_params": params, "rng": np.random.default_rng(0), "threads": ONE}
    index = build(search, X, **options)
    again = restore_index(Saved(*state_of(index)), ONE)
    assert index.n == again.n == n
    for one, other in ((index.query(X, n), again.query(X, n)), *([] if n == 1 else [
        (index.query_self(n - 1), again.query_self(n - 1))
    ])):  # fmt: skip
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert sorted(index.query(X, n)[0][0].tolist()) == list(range(n))
    if n > 1:
        assert sorted(index.query_self(n - 1)[0][0].tolist()) == list(range(1, n))
    assert index.recall(1) == again.recall(1) == 1.0
    for k, call in ((n + 1, index.query), (0, index.query)):
        with pytest.raises(
            ValueError, match=rf"^k={k} neighbours cannot be found among {n} rows; use k from 1 to {n}$"
        ):
            call(X, k)
    with pytest.raises(
        ValueError, match=rf"^k={n} neighbours cannot be found among {n - 1} other rows; use k from 1 to"
    ):
        index.query_self(n)


def test_a_graph_of_walks_comes_back_as_it_was(made):
    """On all its levels, with the same links and the same way in."""
    index = made["hnsw"][0]
    content, arrays = state_of(index)
    levels, links, width = arrays["levels"].astype(int), arrays["links"], content["links"]
    assert levels.max() > 2
    # faiss frees a graph with its index, whoever still looks at a part of it.
    again = restore_index(Saved(content, arrays), ONE)
    graph, mine = again._graph.hnsw, index._graph.hnsw
    assert (
        (graph.max_level, graph.entry_point)
        == (mine.max_level, mine.entry_point)
        == (levels.max() - 1, content["entry"])
    )

    def refused(levels, links, says, array):
        with pytest.raises(StateError) as caught:
            restore_index(Saved(content, {**arrays, "levels": levels.astype(np.uint8), "links": links}), ONE)
        assert (str(caught.value), caught.value.array) == (says, array)

    # A row on no level, with as many links less.
    last = int(np.flatnonzero(levels == 1)[-1])
    end = int((width * (levels[: last + 1] + 1)).sum())
    lower = np.where(np.arange(N) == last, 0, levels)
    refused(
        lower,
        np.delete(links, np.arange(end - width, end)),
        "has a row on no level, or an entry below the highest",
        "levels",
    )
    # A link leads to a row of its own level.
    edges = np.concatenate([[0], np.cumsum(width * (levels + 1))])
    for level in range(1, levels.max()):
        high, low = int(np.argmax(levels > level)), int(np.argmax(levels == level))
        place = int(edges[high]) + width * (level + 1)
        for at in (place, place + width - 1):
            refused(levels, put(low, at)(links.copy()), f"leads to a row that is not on level {level}", "links")
            other = Saved(content, {**arrays, "links": put(high, at)(links.copy())})
            assert restore_index(other, ONE).n == N
    # The way in must be on the highest level.
    higher = np.where(np.arange(N) == last, levels.max() + 1, levels)
    more = np.insert(links, end, np.full(width * int(levels.max()), -1, np.int32))
    refused(higher, more, "has a row on no level, or an entry below the highest", "levels")
    # Of so many links there are so many levels, and no more.
    most = mine.cum_nneighbor_per_level.size() - 1
    entry = content["entry"]
    end = int((width * (levels[: entry + 1] + 1)).sum())
    for level, taken in ((most, True), (most + 1, False)):
        highest = np.where(np.arange(N) == entry, level, levels)
        more = np.insert(links, end, np.full(width * (level - int(levels[entry])), -1, np.int32))
        if taken:
            again = restore_index(Saved(content, {**arrays, "levels": highest.astype(np.uint8), "links": more}), ONE)
            assert again._graph.hnsw.max_level == level - 1
        else:
            refused(highest, more, "names a level that graphs of so many links do not have", "levels")


@pytest.mark.parametrize("name", SEARCHES)
def test_any_part_of_all_rows_is_answered_as_the_whole(made, name):
    """In the order of the index, from any row to any other, for as many neighbours as there are and fewer."""
    index = made[name][0]
    order = index.order
    if order is None or index.query_part(0, 1, 1) is None:
        assert name in {
            "blocked", "cosine", "pairwise", "seuclidean", "mahalanobis", "sparse", "bits", "gaps", "hnsw", "annoy",
            "scaled", "pynndescent",
        }  # fmt: skip
        return
    assert sorted(order.tolist()) == list(range(N)) and order.dtype == np.uint32
    if name == "reach":
        assert order[-2:].tolist() == [7, 30]
    if name == "distinct":
        # Copies follow each other.
        places = np.argsort(order)[:100]
        assert np.ptp(places) == 99
    most = 6 if name == "graph" else N - 1
    for k in (1, 2, 6, 25, most):
        if k > most:
            continue
        whole = index.query_self(k)
        for start, stop in ((0, N), (0, 1), (N - 1, N), (N - 3, N - 1), (17, 60), (5, N - 1), (40, 41), (99, 101)):
            found = index.query_part(start, stop, k)
            for one, other in zip(found, whole, strict=True):
                np.testing.assert_array_equal(one, other[order[start:stop]])
                assert one.dtype == other.dtype
    with pytest.raises(
        ValueError, match=f"^k={N} neighbours cannot be found among {N - 1} other rows; use k from 1 to {N - 1}$"
    ):
        index.query_part(0, 1, N)


@pytest.mark.parametrize("name", SEARCHES)
def test_all_are_nearest_by_all_distances(made, name):
    """Searches that look everywhere answer as all distances do; others find no nearer rows than there are."""
    index, X = made[name]
    metric, params = SEARCHES[name][1:3]
    dense = X if isinstance(X, np.ndarray) else X.toarray()
    with np.errstate(over="ignore", under="ignore"):
        D = (
            nan_euclidean_distances(dense.astype(float))
            if metric == "nan_euclidean"
            else by_scipy(dense, metric, params)
        )
    D = D / index.unit
    for k in (1, 7, N):
        indices, distances = index.query(X, k)
        assert indices.dtype == np.uint32 and distances.dtype == np.float32
        assert (np.diff(distances, axis=1) >= 0).all()
        assert all(len(set(row)) == k for row in indices.tolist())
        np.testing.assert_allclose(distances, np.take_along_axis(D, indices.astype(int), axis=1), rtol=2e-5, atol=1e-5)
        if k == N or name in (
            "blocked",
            "cosine",
            "pairwise",
            "seuclidean",
            "mahalanobis",
            "sparse",
            "bits",
            "gaps",
            "scaled",
        ):
            np.testing.assert_allclose(distances, np.sort(D, axis=1)[:, :k], rtol=2e-5, atol=1e-5)
        # Of equal distances the smaller row number comes first.
        same = distances[:, 1:] == distances[:, :-1]
        assert (indices[:, 1:].astype(int) > indices[:, :-1])[same].all()


def by_scipy(X, metric, params):
    from scipy.spatial.distance import cdist

    X = X.astype(float)
    if metric == "seuclidean":
        params = {"V": X.var(axis=0, ddof=1)}
    if metric == "mahalanobis":
        params = {"VI": np.linalg.inv(np.cov(X, rowvar=False))}
    D = cdist(X > 0 if metric == "jaccard" else X, X > 0 if metric == "jaccard" else X, metric, **(params or {}))
    if metric == "cosine":
        D[np.isnan(D)] = 1
    return D


def compiled():
    """How many versions of each kernel there are."""
    return {
        f"{module}.{name}": len(one.signatures)
        for module, held in list(sys.modules.items()) if module.startswith("tsne_ooc._kernels")
        for name, one in vars(held).items() if hasattr(one, "signatures") and hasattr(one, "py_func")
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in SEARCHES if name not in ("pynndescent", "annoy", "sparse")])
def test_files_that_cannot_be_written_are_searched_by_the_same_kernels(made, name):
    """Arrays that are mapped into memory are read-only, for which Numba would compile each of these once more."""
    index, X = made[name]
    content, arrays = state_of(index)

    def answers():
        again = restore_index(Saved(content, arrays), ONE)
        return [*again.query(X, 4), *again.query_self(4), *(again.query_part(0, 9, 4) or ())]

    wanted, before = answers(), compiled()
    for array in arrays.values():
        array.flags.writeable = False
    for one, other in zip(answers(), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert compiled() == before


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_sparse_rows_may_be_numbered_in_either_width_but_not_in_both(made, kind):
    index, X = made["sparse"]
    content, arrays = state_of(index)
    wide = {name: arrays[name].astype(kind) for name in ("indices", "indptr")}
    rows = restore_rows(Saved(content, arrays | wide))
    assert rows.shape == X.shape and (rows != X).nnz == 0 and rows.indices.dtype == kind
    other = np.int64 if kind is np.int32 else np.int32
    for name in wide:
        with pytest.raises(
            StateError, match=f"holds int.., not {'int64' if (name == 'indices') == (kind is np.int32) else 'int32'}"
        ):
            restore_rows(Saved(content, arrays | wide | {name: wide[name].astype(other)}))


def test_rows_without_any_entry_come_back():
    X = scipy.sparse.csr_array((5, 4), dtype=np.float32)
    index = build(Exact(), X, metric="euclidean", metric_params=None, rng=np.random.default_rng(0), threads=ONE)
    again = restore_index(Saved(*state_of(index)), ONE)
    assert again.query(X, 5)[0].tolist() == index.query(X, 5)[0].tolist() == [[0, 1, 2, 3, 4]] * 5
    assert not again.query(X, 5)[1].any()
