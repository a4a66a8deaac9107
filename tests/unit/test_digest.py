"""Values are told apart by what they hold: pairs that differ in one bit, pairs that are only written otherwise, and
the same script in two processes."""

from __future__ import annotations

import collections
import copy
import functools
import json
import os
import pickle
import subprocess
import sys
import threading
import types
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tsne_ooc.affinity import Perplexity
from tsne_ooc.storage.asked import parameters_of, plain, unequal, untold
from tsne_ooc.storage.digest import Untold, digest

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(60, 4))
NEARLY = NUMBERS.copy()
NEARLY[59, 3] = np.nextafter(NEARLY[59, 3], 9)
FACTOR = 1.0


def scaled(factor):
    return lambda a, b: factor * np.abs(a - b).sum()


def power(a, b, k=2):
    return (np.abs(a - b) ** k).sum()


def with_global(factor):
    """The same text in two modules, which have one name with two values."""
    module = types.ModuleType("elsewhere")
    exec(f"FACTOR = {factor}\ndef metric(a, b):\n    return FACTOR * abs(a - b).sum()", module.__dict__)
    return module.metric


def within(factor):
    """What decides is in a function that a function calls."""
    module = types.ModuleType("elsewhere")
    exec(f"def inner(x):\n    return {factor} * x\ndef metric(a, b):\n    return inner(a - b).sum()", module.__dict__)
    return module.metric


def of_class(factor):
    """Objects without state, of two classes of one name."""

    class Scaled:
        def transform(self, X):
            return factor * X

    return Scaled()


def cyclic(number):
    found = [number]
    found.append(found)
    return found


def dispatcher(factor):
    import numba

    return numba.njit(lambda a, b: factor * np.abs(a - b).sum())


def layers(change):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    with torch.no_grad():
        net[2].bias[1] += change
    return net


class Watcher:
    def __init__(self, limit):
        self.limit = limit

    def watch(self, i, error, Y):
        return error < self.limit


def matrix(values=NUMBERS):
    return sp.csr_array(np.where(np.abs(values) > 0.5, values, 0))


def with_method(number, kind):
    """Classes of one name, of which a method is of this kind."""

    class Holder:
        @kind
        def method(self):
            return number

    return Holder


def with_slots(*names):
    return type("Holder", (), {"__slots__": names, "__module__": __name__})


def recursive(number, *, cut=False):
    """A function that knows itself; where it is cut, by a name that stands for nothing yet."""

    def inner():
        return number, inner

    found = inner
    if cut:
        del inner
    return found


def twice(values):
    """A matrix whose one entry is the sum of two, each at the same place."""
    return sp.csr_array((np.array(values, float), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 3))


class Theirs:
    """An array of another library, with nothing but what all arrays have."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __reduce__(self):
        raise TypeError("is told by its numbers")


def generator(seed, steps=0):
    rng = np.random.default_rng(seed)
    rng.random(steps)
    return rng


def with_function(**attributes):
    """A function that carries attributes."""

    def metric(a, b):
        return 0.0

    metric.__dict__.update(attributes)
    return metric


def tensor(kind, *, requires_grad=False, more=0.0):
    torch = pytest.importorskip("torch")
    return torch.tensor([1.0, 2.0 + more], dtype=getattr(torch, kind), requires_grad=requires_grad)


DIFFERENT = {
    "keyword defaults": (lambda *, k=1: k, lambda *, k=2: k),
    "attributes of functions": (with_function(k=1), with_function(k=2)),
    "names that a function takes": (lambda a: a.real, lambda a: a.imag),
    "empty arrays of another shape": (np.empty((0, 3)), np.empty((3, 0))),
    "empty arrays of another type": (np.empty(0), np.empty(0, np.int64)),
    "names of records": (
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.array([(1, 2.0)], [("a", "i4"), ("c", "f8")]),
    ),
    "lengths of records": (np.zeros(2, "i4,f8"), np.zeros(3, "i4,f8")),
    "shapes of arrays of objects": (np.array([["a", "b"]], object), np.array([["a"], ["b"]], object)),
    "numbers under a mask": (np.ma.array([1, 2], mask=[False, True]), np.ma.array([1, 3], mask=[False, True])),
    "complex numbers": (1j, 2j),
    "queues": (collections.deque([1, 2]), collections.deque([2, 1])),
    "counters": (collections.Counter("ab"), collections.Counter("abb")),
    "shapes of matrices": (sp.csr_array((2, 3)), sp.csr_array((2, 4))),
    "matrices of one axis": (sp.coo_array(np.array([1.0, 0, 2])), sp.coo_array(np.array([1.0, 2, 0]))),
    "labels of the rows of frames": (pd.DataFrame(NUMBERS), pd.DataFrame(NUMBERS, index=np.arange(1, 61))),
    "labels of the rows of series": (pd.Series(NUMBERS[:, 0]), pd.Series(NUMBERS[:, 0], index=np.arange(1, 61))),
    "types of series": (pd.Series([1, 2], dtype="Int64"), pd.Series([1, 2], dtype="int64")),
    "gradients of tensors": (tensor("float32"), tensor("float32", requires_grad=True)),
    "types of tensors": (tensor("float32"), tensor("bfloat16")),
    "tensors of two bytes": (tensor("bfloat16"), tensor("bfloat16", more=0.5)),
    "classes above": (type("Above", (int,), {}), type("Above", (float,), {})),
    "names of classes": (type("One", (), {}), type("Other", (), {})),
    "modules": (np.linalg, np.fft),
    "numbers": (1, 2),
    "text and number": ("1", 1),
    "true and text": (True, "True"),
    "arrays": (NUMBERS, NEARLY),
    "types of arrays": (NUMBERS, NUMBERS.astype(np.float32)),
    "shapes": (NUMBERS, NUMBERS.reshape(4, 60)),
    "arrays of objects": (np.array([1, "a"], object), np.array([1, "b"], object)),
    "records": (np.array([(1, 2.0)], "i4,f8"), np.array([(1, 2.5)], "i4,f8")),
    "masks": (np.ma.masked_greater(NUMBERS, 1), np.ma.masked_greater(NUMBERS, 2)),
    "times": (np.array(["2020-01-01"], "M8[s]"), np.array(["2020-01-02"], "M8[s]")),
    "matrices": (matrix(), matrix(NEARLY)),
    "matrices of as many entries": (matrix(), matrix()[::-1]),
    "generators": (generator(0), generator(1)),
    "states of one generator": (generator(0), generator(0, 1)),
    "old generators": (np.random.RandomState(0), np.random.RandomState(1)),
    "closures": (scaled(1), scaled(2)),
    "closures of arrays": (scaled(NUMBERS), scaled(NEARLY)),
    "partials": (functools.partial(power, k=1), functools.partial(power, k=2)),
    "partials of closures": (functools.partial(scaled(1)), functools.partial(scaled(2))),
    "defaults": (lambda a, b, k=1: k, lambda a, b, k=2: k),
    "constants": (lambda a, b: 1.0, lambda a, b: 2.0),
    "operators": (lambda a, b: a + b, lambda a, b: a - b),
    "globals": (with_global(1), with_global(2)),
    "functions within": (within(1), within(2)),
    "compiled functions": (dispatcher(1), dispatcher(2)),
    "functions of a library": (np.linalg.norm, np.linalg.det),
    "builtins": (min, max),
    "methods of objects": (Watcher(1).watch, Watcher(2).watch),
    "methods of lists": ([1].append, [2].append),
    "objects": (Watcher(1), Watcher(2)),
    "classes of one name": (of_class(1), of_class(2)),
    "fitted transformers": (StandardScaler().fit(NUMBERS), StandardScaler().fit(NUMBERS[1:])),
    "options of transformers": (PCA(2), PCA(3)),
    "fitted and not": (StandardScaler(), StandardScaler().fit(NUMBERS)),
    "frames": (pd.DataFrame(NUMBERS), pd.DataFrame(NEARLY)),
    "names of frames": (pd.DataFrame(NUMBERS, columns=list("abcd")), pd.DataFrame(NUMBERS, columns=list("abce"))),
    "series": (pd.Series(NUMBERS[:, 3]), pd.Series(NEARLY[:, 3])),
    "sets": ({1, 2}, {1, 3}),
    "dicts": ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    "keys": ({1: 0}, {"1": 0}),
    "cycles": (cyclic(1), cyclic(2)),
    "networks": (layers(0), layers(1e-3)),
    "affinities": (Perplexity(5), Perplexity(6)),
    "static methods": (with_method(1, staticmethod), with_method(2, staticmethod)),
    "methods of classes": (with_method(1, classmethod), with_method(2, classmethod)),
    "static methods and those of classes": (with_method(1, staticmethod), with_method(1, classmethod)),
    "properties": (with_method(1, property), with_method(2, property)),
    "properties that are set": (property(power, None), property(None, power)),
    "properties that are deleted": (property(None, None, power), property(power)),
    "properties that are kept": (with_method(1, functools.cached_property), with_method(2, functools.cached_property)),
    "slots": (with_slots("a", "b"), with_slots("a", "c")),
    "methods of types": (str.upper, str.lower),
    "cells that are empty": (recursive(1, cut=True), recursive(1)),
    "matrices that name a place twice": (twice([1, 2]), twice([1, 3])),
    "arrays of others": (Theirs(NUMBERS), Theirs(NEARLY)),
    "types of arrays of others": (Theirs(NUMBERS), Theirs(NUMBERS.astype(np.float32))),
}
SAME = {
    "classes and what is written above them": (type("One", (), {"__doc__": "a"}), type("One", (), {"__doc__": "b"})),
    "records in another layout": (np.zeros((4, 2), "i4,f8")[::2], np.zeros((2, 2), "i4,f8")),
    "objects in another layout": (np.full((4, 2), None)[::2], np.full((2, 2), None)),
    "matrices of one axis": (sp.coo_array(np.array([1.0, 0, 2])), sp.csr_array(np.array([1.0, 0, 2]))),
    "queues": (collections.deque([1, 2]), collections.deque([1, 2])),
    "tensors": (tensor("bfloat16"), tensor("bfloat16")),
    "numbers of NumPy": (5, np.int64(5)),
    "numbers without axes": (0.5, np.array(0.5)),
    "lists and tuples": ([1, (2, 3)], (1, [2, 3])),
    "layouts": (NUMBERS, np.asfortranarray(NUMBERS)),
    "byte orders": (NUMBERS, NUMBERS.astype(">f8")),
    "strided": (NUMBERS[:, :2], NUMBERS[:, :2].copy()),
    "by rows and by columns": (matrix(), matrix().tocsc()),
    "coordinates": (matrix(), matrix().tocoo()),
    "old matrices": (matrix(), sp.csr_matrix(matrix())),
    "generators": (generator(3, 2), generator(3, 2)),
    "closures": (scaled(NUMBERS), scaled(NUMBERS.copy())),
    "partials": (functools.partial(power, k=2), functools.partial(power, k=2)),
    "globals": (with_global(2), with_global(2)),
    "compiled functions": (dispatcher(2), dispatcher(2)),
    "classes": (of_class(2), of_class(2)),
    "methods": (Watcher(1).watch, Watcher(1).watch),
    "transformers": (StandardScaler().fit(NUMBERS), StandardScaler().fit(NUMBERS.copy())),
    "pickled": (PCA(2).fit(NUMBERS), pickle.loads(pickle.dumps(PCA(2).fit(NUMBERS)))),
    "frames in one block and in four": (
        pd.DataFrame(NUMBERS, columns=list("abcd")),
        pd.DataFrame({name: NUMBERS[:, j] for j, name in enumerate("abcd")}),
    ),
    "dicts in another order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "sets": ({"a", "b", "c"}, {"c", "b", "a"}),
    "cycles": (cyclic(1), cyclic(1)),
    "networks": (layers(0), copy.deepcopy(layers(0))),
    "static methods": (with_method(1, staticmethod), with_method(1, staticmethod)),
    "methods of classes": (with_method(1, classmethod), with_method(1, classmethod)),
    "properties": (with_method(1, property), with_method(1, property)),
    "properties that are kept": (with_method(1, functools.cached_property), with_method(1, functools.cached_property)),
    "slots": (with_slots("a", "b"), with_slots("a", "b")),
    "cells that are empty": (recursive(1, cut=True), recursive(1, cut=True)),
    "matrices that name a place twice": (twice([1, 2]), sp.csr_array(twice([1, 2]).toarray())),
    "arrays of others": (Theirs(NUMBERS), Theirs(NUMBERS.copy())),
    "shared and apart": ([NUMBERS, NUMBERS], [NUMBERS, NUMBERS.copy()]),
}  # fmt: skip


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_different_values_are_told_apart(pair):
    one, other = pair
    assert digest(one) != digest(other)
    assert plain(one) != plain(other) and unequal("x", plain({"a": [one]}), plain({"a": [other]}))


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_the_same_written_otherwise(pair):
    one, other = pair
    assert digest(one) == digest(other)
    assert unequal("x", plain([one]), plain([other])) == []


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_holds_itself_is_told_by_how_far_up_it_is(depth):
    """A list whose innermost list holds the outermost is another one than one that holds the one right above it."""

    def made(up):
        lists = [[] for _ in range(depth + 1)]
        for outer, inner in pairwise(lists):
            outer.append(inner)
        lists[-1].append(lists[-1 - up])
        return lists[0]

    told = [digest(made(up)) for up in range(depth + 1)]
    assert len(set(told)) == depth + 1 and told == [digest(made(up)) for up in range(depth + 1)]


def test_what_an_object_is_made_of_and_not_who_made_it(monkeypatch):
    """Transformers say the version of their library, which another process may have in another version."""
    scaler = StandardScaler().fit(NUMBERS)
    before = digest(scaler)
    monkeypatch.setattr("sklearn.base.__version__", "0.1")
    assert digest(scaler) == before
    assert digest({1, 2}) == digest(frozenset({2, 1})) and digest({"a": 1}) == digest(types.MappingProxyType({"a": 1}))


def test_a_digest_is_sixteen_digits():
    assert all(len(digest(value)) == 16 and int(digest(value), 16) >= 0 for value in (None, 1.5, NUMBERS, "a", PCA(2)))


def test_a_module_of_the_users_is_what_its_file_holds(tmp_path, monkeypatch):
    """A function that calls what another file holds is another one when that file is."""
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for content in ("K = 1\n", "K = 2\n", "K = 1\n"):
        (tmp_path / "a_module_of_mine.py").write_text(content)
        sys.modules.pop("a_module_of_mine", None)
        module = types.ModuleType("a_module_of_mine")
        module.__file__ = str(tmp_path / "a_module_of_mine.py")
        found.append([digest(module), digest([lambda module=module: module.K])])
    assert found[0] == found[2] and all(one != other for one, other in zip(*found[:2], strict=True))
    # That of a library is known by its name, and one without a file has nothing else.
    assert digest(np.linalg) != digest(np.fft) and digest(types.ModuleType("x")) != digest(types.ModuleType("y"))
    (tmp_path / "a_module_of_mine.py").unlink()
    with pytest.raises(Untold, match="a_module_of_mine, whose file cannot be read"):
        digest(module)


def test_what_cannot_be_told_apart_is_named():
    lock = threading.Lock()
    for value in (lock, [lock], lambda i: lock, functools.partial(power, k=lock), (i for i in range(3))):
        with pytest.raises(Untold, match=r"_thread.lock|builtins.generator"):
            digest(value)
        told = plain({"callbacks": value})
        assert untold(told) and untold(told) == unequal("", told, told)
        assert all("cannot be told from another" in line and "\n" not in line for line in untold(told))
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Untold, match="nested too deeply"):
        digest(deep)


class Unready:
    """It raises when it is looked at, as parameters of networks do that have no shape yet."""

    @property
    def nnz(self):
        raise RuntimeError("not initialised")

    tocsr = nnz


def test_what_raises_when_it_is_looked_at_is_named():
    with pytest.raises(Untold, match=r"^an object of type test_digest\.Unready$"):
        digest([Unready()])
    told = plain({"callbacks": Unready()})
    assert untold(told) and "test_digest.Unready" in untold(told)[0]


def test_a_path_is_its_name_and_an_array_of_others_its_numbers():
    assert plain(Path("a/b")) == plain("a/b") == "a/b" and plain([Path("a")]) != plain([Path("b")])
    assert digest(Theirs(NUMBERS)) == digest(NUMBERS)


def test_a_matrix_stays_as_it_was():
    matrix = twice([1, 2])
    digest(matrix)
    assert matrix.nnz == 2 and matrix.data.tolist() == [1, 2]


SCRIPT = """
import sys, functools, numpy as np
pad = [object() for _ in range(int(sys.argv[1]))]
from tsne_ooc.storage.asked import plain
from sklearn.preprocessing import StandardScaler
LIMIT = set("abcdefghijklmnop")
class Half:
    def transform(self, X): return X / 2 if str(X) in LIMIT or str(X) in {"one", "two", "three", "four", "five"} else X
def stop(limit, frames):
    return lambda i, error, Y: frames.append(Y) or error < limit
X = np.random.default_rng(0).normal(size=(9, 3))
import numba, torch
torch.manual_seed(0)
print(plain([Half(), stop(1, []), functools.partial(np.add, 1), StandardScaler().fit(X), np.random.default_rng(0), X,
             {"x": {"b", "a"}}, frozenset(LIMIT),
             numba.njit(lambda a: a + 1), torch.nn.Linear(2, 2), Half().transform, type(Half())]))
"""


def test_another_process_tells_the_same():
    pytest.importorskip("torch")
    told = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, pad], env={**os.environ, "PYTHONHASHSEED": pad}, text=True,
            capture_output=True, check=True,
        ).stdout
        for pad in ("7", "70001")
    }  # fmt: skip
    assert len(told) == 1 and "0x" not in told.pop()


@pytest.mark.parametrize(
    "value",
    [*DIFFERENT.values(), {1: 0, "a": 1}, {"a": {2: 0, "b": (1,)}}, {(1, 2): 3}, [float("nan"), float("inf"), -0.0]],
)
def test_a_plain_value_is_the_same_after_it_was_written(value):
    """JSON has no other keys than texts, and no NaN: a run that goes on compares with what it reads back."""
    told = plain(value)
    assert json.loads(json.dumps(told, allow_nan=False)) == told and unequal("x", told, plain(value)) == []


class Told:
    """An object that says in a few words what it is, or in many."""

    def __init__(self, words):
        self.words = words

    def __repr__(self):
        return self.words


def test_values_are_told_by_a_few_words_and_a_digest():
    """Of an estimator by what it was made with, where that is short; of all else by its kind."""
    words = {
        "float64 array 60x4": NUMBERS, "float64 matrix 60x4": matrix(), "power": power, "PCA(n_components=2)": PCA(2),
        "PCA": PCA, "deque": collections.deque([1]), "Told": Told("Told('x')"),
        "partial": functools.partial(power, k=1),
        "DataFrame": pd.DataFrame(NUMBERS), "set": {1}, "bool array 2": np.array([True, False]),
    }  # fmt: skip
    for told, value in words.items():
        assert plain(value) == f"{told} [{digest(value)}]"
    short, long = StandardScaler(), FunctionTransformer(power, kw_args={"k": 1000, "another_name_of_a_keyword": 1000})
    assert plain(short).startswith("StandardScaler() [") and plain(long).startswith("FunctionTransformer [")


@pytest.mark.parametrize("length, shown", [(79, True), (80, True), (81, False)])
def test_an_estimator_of_more_than_eighty_letters_is_told_by_its_kind(length, shown):
    class Own(StandardScaler):
        def __repr__(self):
            return "x" * length

    assert plain(Own()).startswith("x" * length + " [" if shown else "Own [")


@pytest.mark.parametrize("kind", [set, frozenset])
def test_sets_are_equal_in_whatever_order_they_were_filled(kind):
    """Numbers of one remainder come out in the order in which they went in."""
    for numbers in ([0, 8], [1, 9, 17], [3, 35, 67, 99]):
        assert digest(kind(numbers)) == digest(kind(numbers[::-1])) != digest(kind(numbers[1:]))


@pytest.mark.parametrize("dtype", ["f4", "i8", "M8[s]", "S3", "U2", "V4", [("a", "f4"), ("b", "i2")]])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3), (0, 3), (2, 1, 3)])
def test_arrays_of_any_number_of_axes_are_told_by_what_they_hold(dtype, shape):
    data = np.random.default_rng(0).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    if np.dtype(dtype).kind == "U":
        array = np.full(shape, "ab", dtype)
    else:
        array = np.frombuffer(data, dtype).reshape(shape)
    assert digest(array) == digest(array.copy()) == digest(np.array(array, order="F"))
    other = np.zeros(shape, dtype)
    assert (digest(array) == digest(other)) == (array.size == 0)


def test_names_of_a_dict_that_json_would_make_alike_stay_apart():
    """JSON writes each name as a text."""
    given = [{"a": 1, "2": 3}, {"a": 1, 2: 3}, {"a": 1, 2.0: 3}, {2: 3, "a": 1}, {"a": 1}, {True: 1}, {"true": 1}]
    told = [json.dumps(plain(one), sort_keys=True) for one in given]
    assert told[1] == told[3] and len({*told}) == len(told) - 1


class Fresh:
    """An object that makes what it holds anew whenever it is taken apart."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return (
            Fresh,
            (types.SimpleNamespace(number=self.number).number,),
            [{"number": self.number, "list": [self.number]}],
        )


def test_objects_that_are_gone_when_the_next_are_made_are_not_taken_for_these():
    """The next may lie where the last one lay."""
    found = {digest([Fresh(a), Fresh(b), Fresh(c)]) for a in range(3) for b in range(3) for c in range(3)}
    assert len(found) == 27
    records = np.zeros((2, 2), [("a", "f4"), ("b", "f4"), ("c", "f4")])
    seen = set()
    for name in records.dtype.names:
        other = records.copy()
        other[name] = 1
        seen.add(digest(other))
    assert len(seen | {digest(records)}) == 4


def test_parameters_of_parts_are_told_by_the_parts():
    """A search within an estimator is told as a whole, and not once more by its own options."""
    asked = []

    class Asked:
        def get_params(self, deep=True):
            asked.append(deep)
            return {"k": 3, "n_jobs": 2, "verbose": 1, "a": None}

    assert parameters_of(Asked(), without=["a"]) == {"k": 3} and list(parameters_of(Asked())) == ["a", "k"]
    assert asked == [False, False]
