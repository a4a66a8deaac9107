"""Each promise of a contract has a test that fails for a part which keeps all of them but this one."""

from __future__ import annotations

import pickle
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity, Uniform
from tsne_ooc.io import Source, open_source
from tsne_ooc.joint import symmetrize
from tsne_ooc.neighbors import Exact, Index, Neighbors
from tsne_ooc.neighbors.base import KINDS
from tsne_ooc.testing import AffinityContract, IndexContract, SourceContract, brute_force
from tsne_ooc.testing import affinities as of_affinities
from tsne_ooc.testing.neighbors import check_answer, check_form
from tsne_ooc.testing.sources import N, P, table

# What a test ends with that has found something.
FOUND = (AssertionError, pytest.fail.Exception)


@pytest.fixture(autouse=True)
def where_all_differences_are_told(monkeypatch):
    """pytest looks for all lines in which two things differ where this variable is set: a contract that leaves half a
    megabyte to it has an answer after hours.
    """
    monkeypatch.setenv("CI", "true")


# ---------------------------------------------------------------------------------------------------------- searches


class Spoiled(Neighbors):
    """An exact search, of which one thing is otherwise."""

    def __init__(self, **other):
        self.other, self.built = other, []

    def build(self, X, **options):
        self.built.append(X)
        self.other.get("build", lambda X: None)(X)
        return Answers(Exact().build(X, **options), X, options["threads"].n, len(self.built), self.other)


class Answers(Index):
    def __init__(self, inner, X, threads, number, other):
        self.inner, self.X, self.threads, self.number, self.other = inner, X, threads, number, other
        self.n, self.metric = other.get("n", inner.n), other.get("metric", inner.metric)

    def query(self, Q, k):
        return self.other["query"](self, Q, k) if "query" in self.other else self.inner.query(Q, k)

    def query_self(self, k):
        return self.other["query_self"](self, k) if "query_self" in self.other else self.inner.query_self(k)

    @property
    def order(self):
        return self.other.get("order")


def off(answer):
    """The same answer, but for the last distance of the last row, which is a bit longer."""
    indices, distances = answer[0].copy(), answer[1].copy()
    distances[-1:, -1:] = np.nextafter(distances[-1:, -1:] * np.float32(1.001), np.float32(np.inf))
    return indices, distances


def when(test):
    """A query that is off where the test says so."""
    return {"query": lambda one, Q, k: (off if test(one, Q, k) else tuple)(one.inner.query(Q, k))}


def when_self(test):
    return {"query_self": lambda one, k: (off if test(one, k) else tuple)(one.inner.query_self(k))}


# Each row is its own nearest.
ITSELF = {"query_self": lambda one, k: one.inner.query(one.X, k)}
ALWAYS, ALWAYS_SELF = when(lambda *_: True), when_self(lambda *_: True)


def overwrite(X):
    """Change rows that one may not change."""
    X.setflags(write=True)
    X[0] = 7


def lenient(from_k, to_k):
    """Answers that are given where there are none."""
    return {"query": lambda one, Q, k: one.inner.query(Q, to_k if k == from_k else k)}


def narrow(one, Q, k):
    """Rows of fewer columns are taken, too."""
    return one.inner.query(np.pad(Q, ((0, 0), (0, one.X.shape[1] - Q.shape[1]))), k)


def swapped(one, Q, k):
    indices, distances = one.inner.query(Q, k)
    return (indices if one.threads < 9 else np.roll(indices, 1, axis=0)), distances


def others_alone(one, Q, k):
    """A single row finds other rows, which are said to be as far away."""
    indices, distances = one.inner.query(Q, k)
    return (indices[:, ::-1] if len(Q) == 1 else indices), distances


BROKEN_SEARCHES = [
    ("answers_those_of_brute_force", ("euclidean", 15), one)
    for one in ({"n": 5}, {"metric": "cityblock"}, ALWAYS, ALWAYS_SELF, ITSELF)
]
BROKEN_SEARCHES += [("answers_those_of_brute_force", ("cosine", 1), one) for one in (ALWAYS, ALWAYS_SELF, ITSELF)]
BROKEN_SEARCHES += [("as_many_neighbours_as_there_are_rows", ("euclidean",), one) for one in (ALWAYS, ALWAYS_SELF)]
BROKEN_SEARCHES += [
    ("what_cannot_be_answered_is_an_error", ("euclidean",), one)
    for one in (
        lenient(0, 1), lenient(41, 40), {"query": narrow},
        {"query_self": lambda one, k: one.inner.query_self(39 if k == 40 else k)},
    )
]  # fmt: skip
BROKEN_SEARCHES += [("copies_of_one_row_have_each_other", ("euclidean",), one) for one in (ALWAYS_SELF, ITSELF)]
BROKEN_SEARCHES += [("copies_among_others", ("euclidean", 40), one) for one in (ALWAYS, ALWAYS_SELF, ITSELF)]
BROKEN_SEARCHES += [("rows_all_the_same", ("euclidean",), one) for one in (
    ITSELF, {"query_self": lambda one, k: (one.inner.query_self(k)[0], np.full((one.n, k), 1e-9, np.float32))},
)]  # fmt: skip
BROKEN_SEARCHES += [
    ("batches_do_not_matter", ("euclidean",), when(lambda one, Q, k: len(Q) < 200)),
    ("single_rows_find_what_the_batch_finds", ("euclidean",), when(lambda one, Q, k: len(Q) == 1)),
    ("single_rows_find_what_the_batch_finds", ("euclidean",), {"query": others_alone}),
    ("more_threads_than_any_machine_has_are_no_end", ("euclidean",), {"query": swapped}),
    ("no_queries_no_answers", ("euclidean",), {"query": lambda one, Q, k: one.inner.query(Q, k + 1)}),
]
BROKEN_SEARCHES += [
    ("threads_and_repetition_do_not_matter", ("euclidean",), one)
    for of in (lambda one: one.threads == 3, lambda one: one.number == 4)
    for one in (when(lambda one, Q, k, of=of: of(one)), when_self(lambda one, k, of=of: of(one)))
]
BROKEN_SEARCHES += [
    ("inputs_may_be_read_only_and_stay_as_they_are", ("euclidean",), one)
    for one in ({"build": overwrite}, {"query": lambda one, Q, k: overwrite(Q) or one.inner.query(Q, k)})
]
BROKEN_SEARCHES += [
    ("order_is_a_permutation", ("euclidean",), {"order": order})
    for order in (np.zeros(600, np.uint32), np.random.default_rng(0).permutation(600), np.arange(600))
]


@pytest.mark.parametrize("name, given, other", BROKEN_SEARCHES)
def test_a_search_that_breaks_a_promise_is_found(name, given, other):
    case = SimpleNamespace(search=Spoiled(**other), recall=1.0, metrics=("euclidean", "cosine"))
    with pytest.raises(FOUND):
        getattr(IndexContract(), f"test_{name}")(case, *given)


@pytest.mark.parametrize("other", [
    {"build": lambda X: X.__setitem__(0, X[0])},
    {"query": lambda one, Q, k: Q.__setitem__(0, Q[0]) or one.inner.query(Q, k)},
])  # fmt: skip
def test_a_search_that_writes_to_its_rows_is_found(other):
    """Even if it writes what was there: rows may lie in a file that nobody may write to."""
    case = SimpleNamespace(search=Spoiled(**other), recall=1.0, metrics=("euclidean",))
    with pytest.raises(ValueError, match="read-only"):
        IndexContract().test_inputs_may_be_read_only_and_stay_as_they_are(case, "euclidean")


@pytest.mark.parametrize("name", [
    "as_many_neighbours_as_there_are_rows", "what_cannot_be_answered_is_an_error", "rows_all_the_same",
    "batches_do_not_matter", "single_rows_find_what_the_batch_finds", "order_is_a_permutation", "no_queries_no_answers",
    "inputs_may_be_read_only_and_stay_as_they_are",
])  # fmt: skip
def test_a_search_that_keeps_its_promises_passes_in_the_metric_that_it_is_asked_for(name):
    asked = []
    search = Spoiled()
    build = search.build
    search.build = lambda X, **options: asked.append(options["metric"]) or build(X, **options)
    getattr(IndexContract(), f"test_{name}")(SimpleNamespace(search=search, recall=1.0, metrics=("cosine",)), "cosine")
    assert asked and set(asked) == {"cosine"}


def partly(D, k, share):
    """True answers, of which only so many are among the nearest: the others are the farthest."""
    D = D.astype(np.float32)
    m, indices = round(share * k), np.argsort(D, axis=1, kind="stable").astype(np.uint32)
    indices = np.concatenate([indices[:, :m], indices[:, len(D[0]) - (k - m) :]], axis=1)
    return indices, np.take_along_axis(D, indices.astype(np.int64), axis=1)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("least", [0.5, 0.7, 0.9, 1.0])
def test_so_many_of_the_nearest_have_to_be_found(share, least):
    X = np.random.default_rng(0).normal(size=(60, 4))
    D = brute_force.distances(X, X + 0.1)
    with nullcontext() if share >= least else pytest.raises(FOUND):
        check_answer(partly(D, 10, share), D, least)


@pytest.mark.parametrize("share, passes", [(0.4, False), (0.6, True)])
def test_of_many_copies_an_inexact_search_finds_half(share, passes):
    def some(one, k):
        D = brute_force.distances(one.X, one.X)
        np.fill_diagonal(D, 1e9)
        indices, distances = partly(D, k + 1, share)
        return indices[:, :-1], distances[:, :-1]

    case = SimpleNamespace(search=Spoiled(query_self=some), recall=0.9, metrics=("euclidean",))
    with nullcontext() if passes else pytest.raises(FOUND):
        IndexContract().test_copies_of_one_row_have_each_other(case, "euclidean")


@pytest.mark.parametrize("of", ["query", "query_self"])
@pytest.mark.parametrize("share, passes", [(0.45, False), (0.6, True)])
def test_among_copies_and_others_an_inexact_search_finds_so_many_of_its_share(of, share, passes):
    """Six tenths of what it finds elsewhere, of queries and of its own rows."""

    def query(one, Q, k):
        return partly(brute_force.distances(Q, one.X), k, share)

    def query_self(one, k):
        D = brute_force.distances(one.X, one.X)
        np.fill_diagonal(D, 1e9)
        indices, distances = partly(np.concatenate([D, np.full((len(D), 1), 1e8)], axis=1), k + 2, share)
        # The farthest two are the row itself and what was put there beside it.
        return indices[:, :-2], distances[:, :-2]

    other = {"query": query} if of == "query" else {"query_self": query_self}
    case = SimpleNamespace(search=Spoiled(**other), recall=0.9, metrics=("euclidean",))
    with nullcontext() if passes else pytest.raises(FOUND):
        IndexContract().test_copies_among_others(case, "euclidean", 40)


def spoil(answer, part, at, value):
    indices, distances = answer[0].copy(), answer[1].copy()
    (indices if part == "indices" else distances)[at] = value
    return indices, distances


WHOLE = np.uint32([[0, 3, 4], [2, 1, 5]]), np.float32([[0, 1, 1], [1, 2, 3]])
BROKEN_FORMS = {
    "fewer rows": (WHOLE[0][:1], WHOLE[1][:1]),
    "fewer neighbours": (WHOLE[0][:, :2], WHOLE[1][:, :2]),
    "other numbers of distances": (WHOLE[0], WHOLE[1][:, :2]),
    "indices of 64 bits": (WHOLE[0].astype(np.int64), WHOLE[1]),
    "distances of 64 bits": (WHOLE[0], WHOLE[1].astype(np.float64)),
    "a row that is not there": spoil(WHOLE, "indices", (1, 2), 6),
    "no number": spoil(WHOLE, "distances", (1, 2), np.nan),
    "infinitely far": spoil(WHOLE, "distances", (1, 2), np.inf),
    "less than nothing": spoil(WHOLE, "distances", (0, 0), -1),
    "a row twice": spoil(WHOLE, "indices", (1, 2), 1),
    "a nearer one behind": spoil(WHOLE, "distances", (1, 1), 4),
    "equal ones in another order": (np.uint32([[0, 4, 3], [2, 1, 5]]), WHOLE[1]),
}


@pytest.mark.parametrize("what", BROKEN_FORMS)
def test_answers_of_another_form_are_found(what):
    check_form(WHOLE, 2, 3, 6)
    with pytest.raises(FOUND):
        check_form(BROKEN_FORMS[what], 2, 3, 6)


class Kept(Answers, kind="kept by a test"):
    """An index that is saved, and of which one thing is otherwise once it is restored."""

    def state(self):
        content, arrays = {"metric": self.metric, **self.other.get("content", {})}, {"rows": self.X}
        if self.order is not None:
            arrays["order"] = self.order
        return content, arrays

    @classmethod
    def restore(cls, saved, threads):
        content = dict(saved.content)
        rows, other = saved.arrays["rows"], content.get("other", {})
        if other.get("writes"):
            rows[0] = rows[0]
        found = cls(Exact().build(rows, metric=content["metric"], rng=None, threads=threads), rows, threads.n, 0, {})
        found.other = {"order": saved.arrays.get("order")}
        if other.get("order"):
            found.other["order"] = saved.arrays["order"][::-1].copy()
        if "off" in other and threads.n == other["off"]:
            found.other |= {"query": ALWAYS["query"], "query_self": ALWAYS_SELF["query_self"]}
        if "k" in other:
            found.other |= when(lambda one, Q, k: k == other["k"])
        if other.get("itself"):
            found.other |= ALWAYS_SELF
        found.n, found.metric = other.get("n", found.n), other.get("metric", found.metric)
        found.pickled = other.get("pickled")
        return found

    def __reduce__(self):
        return _again, (self.X, self.metric, self.threads, self.order, getattr(self, "pickled", None))


def _again(X, metric, threads, order, pickled):
    other = {"order": order} | (ALWAYS if pickled else {})
    inner = Exact().build(X, metric=metric, rng=None, threads=Threads(threads))
    return Kept(inner, X, threads, 0, other)


class Saving(Spoiled):
    def build(self, X, **options):
        found = super().build(X, **options)
        return Kept(found.inner, X, found.threads, 1, {"order": np.arange(len(X), dtype=np.uint32), **self.other})


@pytest.fixture
def kind():
    KINDS["kept by a test"] = Kept
    yield
    del KINDS["kept by a test"]


KINDS.pop("kept by a test")


@pytest.mark.parametrize("content, error", [
    ({}, None), ({"other": {"off": 1}}, FOUND), ({"other": {"off": 3}}, FOUND), ({"other": {"k": 1}}, FOUND),
    ({"other": {"k": 20}}, FOUND), ({"other": {"itself": True}}, FOUND), ({"other": {"order": True}}, FOUND),
    ({"other": {"n": 599}}, FOUND), ({"other": {"metric": "l2"}}, FOUND), ({"other": {"pickled": True}}, FOUND),
    ({"other": {"writes": True}}, ValueError), ({"more": float("nan")}, ValueError), ({"more": {1, 2}}, TypeError),
])  # fmt: skip
def test_an_index_that_is_another_one_once_it_is_restored_is_found(kind, content, error):
    case = SimpleNamespace(search=Saving(content=content), recall=1.0, metrics=("euclidean",))
    with nullcontext() if error is None else pytest.raises(error):
        IndexContract().test_saved_and_restored_it_answers_the_same_bits(case, "euclidean", 0)


def test_a_metric_that_a_search_does_not_take_is_not_asked_for():
    contract = IndexContract()
    metric = type(contract).__dict__["metric"]
    function = getattr(metric, "__wrapped__", None) or metric.__pytest_wrapped__.obj
    case = SimpleNamespace(metrics=("cosine",))
    assert function(contract, SimpleNamespace(param="cosine"), case) == "cosine"
    with pytest.raises(pytest.skip.Exception, match="does not take the metric euclidean"):
        function(contract, SimpleNamespace(param="euclidean"), case)


def test_rows_of_a_contract_are_what_searches_find_hard():
    from tsne_ooc.testing.neighbors import clumps

    X = clumps(900)
    assert X.shape == (900, 11) and X.dtype == np.float32 and np.ptp(X[:, -1]) == 0
    # Many have copies, and all are far from the origin, which costs digits.
    assert 400 < len(np.unique(X, axis=0)) < 800 and X[:, :-1].mean() > 20
    # They lie in clumps, whose middles are farther from each other than their rows are.
    D = brute_force.distances(X, X)
    D[D == 0] = np.nan
    assert np.nanmin(D, axis=1).mean() < 0.3 * np.nanmean(D)


# ----------------------------------------------------------------------------------------------------------- sources


class Rows(Source):
    """Rows in memory, of which one thing is otherwise."""

    chunks = None

    def __init__(self, X, **other):
        self.X, self.other, self.reads = X, other, 0
        self.store = X.copy()

    @property
    def shape(self):
        return self.other.get("shape", self.X.shape)

    @property
    def dtype(self):
        return self.other.get("dtype", self.X.dtype)

    def read(self, start, stop):
        self.reads += 1
        found = self.X[start:stop].copy()
        return self.other["read"](self, start, stop, found) if "read" in self.other else found

    def reopen(self):
        return self.other["reopen"](self) if "reopen" in self.other else nullcontext(self)

    def __repr__(self):
        return self.other.get("repr", f"{len(self.X)} rows")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __reduce__(self):
        if "pickle" in self.other:
            return opened, (self.X, self.other["pickle"])
        return Rows, (self.X,)


def one_more(test):
    """Rows that are 1 more where the test says so."""
    return {"read": lambda one, start, stop, found: found + np.float32(test(one, start, stop))}


def other_rows(one, start, stop, found):
    return found + np.float32(1)


@contextmanager
def spoils(one):
    """What is opened again is right, and what it was opened from is not any more."""
    yield Rows(one.X)
    one.other = one_more(lambda *_: True)


BROKEN_SOURCES = [
    ("attributes", one)
    for one in (
        {"shape": (N, P + 1)}, {"dtype": "f4"}, {"chunks": (5,)}, {"chunks": (0, P)}, {"chunks": (5, 0)},
        {"repr": "rows"},
    )
]  # fmt: skip
BROKEN_SOURCES += [
    ("any_rows", one_more(test))
    for test in (
        lambda one, start, stop: stop == N, lambda one, start, stop: (start, stop) == (5, 9),
        lambda one, start, stop: start == 9, lambda one, start, stop: (start, stop) == (0, 1),
        lambda one, start, stop: start == N - 1, lambda one, start, stop: start == 11,
    )
]  # fmt: skip
BROKEN_SOURCES += [
    ("any_rows", {"read": lambda one, start, stop, found, at=at: one.X[:1] if (start, stop) == (at, at) else found})
    for at in (0, 30, N)
]
BROKEN_SOURCES += [
    ("what_was_read_is_the_callers_own", {"read": lambda one, start, stop, found: one.store[start:stop]}),
    # Only what other reads give is changed.
    ("what_was_read_is_the_callers_own",
     {"read": lambda one, start, stop, found: found if one.reads == 2 else one.store[start:stop]}),
    ("threads_each_with_their_own", {"reopen": spoils}),
    ("identity_is_stable", {"read": lambda one, start, stop, found: found + np.float32(one.reads)}),
    ("identity_is_stable", {"reopen": lambda one: nullcontext(Rows(one.X + 1))}),
    ("blocks_of_any_size_are_the_table", one_more(lambda one, start, stop: stop - start == 1)),
    ("blocks_of_any_size_are_the_table", one_more(lambda one, start, stop: stop == N)),
    ("blocks_of_any_size_are_the_table", one_more(lambda one, start, stop: stop - start > 20)),
    ("pickles", {"pickle": {"shape": (N, P + 1)}}),
    ("pickles", {"pickle": {"dtype": np.dtype("f8")}}),
    ("pickles", {"pickle": {"chunks": (5, P)}}),
    ("pickles", {"pickle": {"read": other_rows}}),
]  # fmt: skip


def opened(X, other):
    other = dict(other)
    found = Rows(X, **{name: value for name, value in other.items() if name != "chunks"})
    if "chunks" in other:
        found.chunks = other["chunks"]
    return found


@pytest.mark.parametrize("name, other", BROKEN_SOURCES)
def test_a_source_that_breaks_a_promise_is_found(name, other):
    X = table().astype("f4")
    contract, case = SourceContract(), SimpleNamespace(on_disk=name != "pickles")
    more = (case,) if name in ("what_was_read_is_the_callers_own", "pickles") else ()
    try:
        getattr(contract, f"test_{name}")((X, opened(X, {})), *more)
    except pytest.skip.Exception:
        pytest.fail("nothing was looked at")
    with pytest.raises(FOUND):
        getattr(contract, f"test_{name}")((X, opened(X, other)), *more)


def test_rows_within_a_pickle_of_a_file_are_found():
    X = table().astype("f4")
    with pytest.raises(FOUND):
        SourceContract().test_pickles((X, opened(X, {})), SimpleNamespace(on_disk=True))


def test_a_table_in_memory_need_not_give_its_rows_away(tmp_path):
    X = table().astype("f4")
    for call in (
        lambda contract, case: contract.test_what_was_read_is_the_callers_own((X, opened(X, {})), case),
        lambda contract, case: contract.test_a_touched_file_is_the_same_table(case, tmp_path),
    ):
        with pytest.raises(pytest.skip.Exception):
            call(SourceContract(), SimpleNamespace(on_disk=False))


def of_rows(made, dtype="f4"):
    """A source for the tests that make tables of their own."""
    return SimpleNamespace(make=lambda X, folder: made(X), dtype=dtype, dataset=None, on_disk=True)


def filled(one, start, stop, found):
    return np.nan_to_num(found)


def last_lost(row):
    def read(one, start, stop, found):
        if start <= row < stop:
            found[row - start] = 0
        return found

    return read


@pytest.mark.parametrize(
    "other", [{"read": filled}, {"read": lambda one, start, stop, found: np.roll(one.X, 1, axis=0)[start:stop]}]
)
def test_a_source_that_hides_a_bad_cell_is_found(tmp_path, other):
    contract = SourceContract()
    contract.test_a_bad_cell_is_named(of_rows(Rows), tmp_path)
    with pytest.raises(FOUND):
        contract.test_a_bad_cell_is_named(of_rows(lambda X: Rows(X, **other)), tmp_path)
    with pytest.raises(pytest.skip.Exception):
        contract.test_a_bad_cell_is_named(of_rows(Rows, "i4"), tmp_path)


@pytest.mark.parametrize("other", [
    {"read": last_lost(0)}, {"read": last_lost(N - 1)}, {"shape": (N - 1, P)}, {"dtype": np.dtype("f4")},
])  # fmt: skip
def test_a_source_that_hides_what_changed_is_found(tmp_path, other):
    (tmp_path / "whole").mkdir(), (tmp_path / "broken").mkdir()
    SourceContract().test_identity_tells_changes(of_rows(Rows), tmp_path / "whole")
    with pytest.raises(FOUND):
        SourceContract().test_identity_tells_changes(of_rows(lambda X: Rows(X, **other)), tmp_path / "broken")


def test_a_file_whose_time_nobody_looks_at_is_found(tmp_path):
    def make(X, folder):
        np.save(folder / "x.npy", X)
        return folder / "x.npy"

    case = SimpleNamespace(make=make, dtype="f8", dataset=None, on_disk=True)
    SourceContract().test_a_touched_file_is_the_same_table(case, tmp_path)
    with pytest.raises((KeyError, *FOUND)):
        SourceContract().test_a_touched_file_is_the_same_table(of_rows(Rows), tmp_path)


def test_the_table_of_the_contract_is_exact_in_every_type():
    X = table()
    assert X.shape == (N, P) and not X[11].any() and 0.3 < (X == 0).mean() < 0.7
    np.testing.assert_array_equal(X.astype("f4").astype("f8"), X)
    np.testing.assert_array_equal(X * 8, np.rint(X * 8))
    assert (np.rint(X) != X).any() and not np.signbit(X[X == 0]).any() and (table(1) != X).any()
    with open_source(X) as source:
        SourceContract().test_any_rows((X, source))


# --------------------------------------------------------------------------------------------------------- affinities


class Other:
    """Affinities of Gaussians, of which one thing is otherwise."""

    def __init__(self, conditional=None, k=None):
        self.own, self.inner, self.count = conditional, Perplexity(5), k

    def k(self, n):
        return self.inner.k(n) if self.count is None else self.count(n)

    def conditional(self, distances, threads):
        p = self.inner.conditional(np.array(distances), threads)
        return p if self.own is None else self.own(p, distances, threads)

    def __eq__(self, other):
        return isinstance(other, Other) and self.own is other.own

    __hash__ = None


def negative(p, distances, threads):
    p = p.copy()
    p[0, 0], p[0, -1] = p[0, 0] + p[0, -1] + 1, -1
    return p


def unknown(p, distances, threads):
    p = p.copy()
    p[0, 0] = np.nan
    return p


def more(test):
    """Rows of probabilities that are twice as large where the test says so of them and of the threads."""
    return Other(lambda p, distances, threads: p * np.float32(1 + test(len(p), threads.n)))


def numbered(p, distances, threads):
    """Rows of which the last counts more: it depends on who else is there."""
    p = p.copy()
    p[-1] = p[-1, ::-1]
    return p


BROKEN_AFFINITIES = [
    ("as_many_neighbours_as_there_are", (10,), Other(k=lambda n: 0)),
    ("as_many_neighbours_as_there_are", (10,), Other(k=lambda n: n)),
    ("rows_sum_to_one", (15,), Other(lambda p, distances, threads: p * np.float32(1.001))),
    ("rows_sum_to_one", (15,), Other(lambda p, distances, threads: p.astype(np.float64))),
    ("rows_sum_to_one", (15,), Other(lambda p, distances, threads: p[:-1])),
    ("rows_sum_to_one", (15,), Other(unknown)),
    ("rows_sum_to_one", (15,), Other(negative)),
    ("rows_sum_to_one", (15,), Other(lambda p, distances, threads: overwrite(distances) or p)),
    ("the_nearer_is_not_the_less_likely", (), Other(lambda p, distances, threads: p[:, ::-1])),
    ("equal_distances_are_equally_likely", (), Other(lambda p, distances, threads: np.cumsum(p, axis=1))),
    ("a_row_does_not_depend_on_others_or_on_threads", (), more(lambda n, threads: threads == 3)),
    ("a_row_does_not_depend_on_others_or_on_threads", (), more(lambda n, threads: n == 1)),
    ("a_row_does_not_depend_on_others_or_on_threads", (), more(lambda n, threads: n == 433)),
    ("a_row_does_not_depend_on_others_or_on_threads", (), more(lambda n, threads: n == 5000)),
    ("a_row_does_not_depend_on_others_or_on_threads", (), Other(numbered)),
]  # fmt: skip


@pytest.mark.parametrize("name, given, affinity", BROKEN_AFFINITIES)
def test_affinities_that_break_a_promise_are_found(name, given, affinity):
    contract = AffinityContract()
    for whole in (Other(), Uniform(5)):
        getattr(contract, f"test_{name}")(SimpleNamespace(affinity=whole), *given)
    with pytest.raises(FOUND):
        getattr(contract, f"test_{name}")(SimpleNamespace(affinity=affinity), *given)


def test_affinities_that_write_to_distances_are_found():
    own = Other(lambda p, distances, threads: distances.__setitem__(0, distances[0]) or p)
    with pytest.raises(ValueError, match="read-only"):
        AffinityContract().test_rows_sum_to_one(SimpleNamespace(affinity=own), 15)


@pytest.mark.parametrize("affinity", [Other(), Uniform(5)], ids=["Gaussian", "uniform"])
@pytest.mark.parametrize("broken", ["one way", "not divided", "other pairs"])
def test_joint_probabilities_of_another_definition_are_found(monkeypatch, affinity, broken):
    contract, case = AffinityContract(), SimpleNamespace(affinity=affinity)
    contract.test_joint_probabilities_are_those_of_the_definition(case)

    def other(neighbors, p, threads):
        P = symmetrize(neighbors, p, threads).tocsr()
        if broken == "one way":
            P.data[: len(P.data) // 2] *= 2
        elif broken == "not divided":
            P = P * 2
        else:
            P = P[::-1][:, ::-1].tocsr()
        return SimpleNamespace(tocsr=lambda: P)

    monkeypatch.setattr(of_affinities, "symmetrize", other)
    with pytest.raises(FOUND):
        contract.test_joint_probabilities_are_those_of_the_definition(case)


class Forgetful(Other):
    def __reduce__(self):
        return Forgetful, (len,)


def test_affinities_that_are_others_in_another_process_are_found():
    AffinityContract().test_it_goes_into_other_processes(SimpleNamespace(affinity=Perplexity(7)))
    assert pickle.loads(pickle.dumps(Forgetful())).own is len
    with pytest.raises(FOUND):
        AffinityContract().test_it_goes_into_other_processes(SimpleNamespace(affinity=Forgetful()))


def test_distances_of_the_contract_are_of_every_scale():
    D = of_affinities.ascending(70, 15)
    assert D.shape == (70, 15) and D.dtype == np.float32 and (np.diff(D, axis=1) >= 0).all() and (D >= 0).all()
    # Some rows have equal distances, some copies, some nothing but copies, and all others are like none of them.
    equal, none = np.ptp(D, axis=1) == 0, ~D.any(axis=1)
    assert equal[::7].all() and none[5::7].all() and equal.sum() == 20 and none.sum() == 10
    some = (D == 0).sum(axis=1)
    assert (some[3::7] == 7).all() and (some[1::7] == 0).all()
    assert D[1::7].mean(axis=1).max() > 1e4 * D[1::7].mean(axis=1).min()
