"""Parameters as JSON and back: every value that files hold, every form that is none, and words for what they cannot."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from tsne_ooc.storage.asked import parameters_of
from tsne_ooc.storage.codec import decode, decode_all, describe, encode, encode_all


@dataclass(frozen=True)
class Option:
    k: int = 1
    inner: Any = None


class Pair(NamedTuple):
    one: float
    other: Any


class Point(NamedTuple):
    x: float


KINDS = {"Option": Option, "Pair": Pair}
VALUES = [
    None, True, False, 0, -3, 2**70, 1.5, -0.0, math.inf, -math.inf, "", "nan", [], [1, [2.5, None]], (), (1, (2, [3])),
    {}, {"a": (1,)}, {"float": "nan"}, {"tuple": [1]}, {"dict": {"a": 1}}, {"Option": {"k": 2}}, {"a": 1, "b": 2},
    Option(), Option(5, (1, 2)), Option(inner=Option(7, [math.inf])), Pair(1.5, Option(2)), [Pair(0.0, {"x": (1,)})],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_read_is_what_was_written(value):
    back = decode(json.loads(json.dumps(encode(value, KINDS), allow_nan=False)), KINDS)
    assert back == value and repr(back) == repr(value)
    told, not_saved = encode_all({"b": value, "a": 1}, KINDS)
    assert list(told) == ["a", "b"] and not_saved == {}
    assert decode_all(json.loads(json.dumps(told)), KINDS) == {"a": 1, "b": value}


def test_nan_is_read_as_nan():
    assert math.isnan(decode(json.loads(json.dumps(encode(math.nan)))))


@pytest.mark.parametrize("value, plain", [(np.int64(5), 5), (np.float64(0.5), 0.5), (np.bool_(True), True)])
def test_numbers_of_numpy_are_numbers(value, plain):
    assert encode(value) == plain and type(encode(value)) is type(plain)


def test_a_tuple_with_names_that_files_do_not_know_is_a_tuple():
    assert encode(Point(1.0), KINDS) == {"tuple": [1.0]}


class Other:
    pass


Namesake = type("Option", (Option,), {})


@pytest.mark.parametrize(
    "value, words",
    [
        (np.zeros((2, 3)), "ndarray of shape (2, 3)"),
        (describe, "function describe"),
        (Other, "function Other"),
        (Other(), "object of type Other"),
        ({1: 2}, "object of type dict"),
        ({1, 2}, "object of type set"),
        (Namesake(), "object of type Option"),
        (1j, "object of type complex"),
    ],
)
def test_what_files_do_not_hold_is_described(value, words):
    """So it is wherever it stands: alone, in a list, in an option."""
    for one in (value, [value], (value,), {"x": value}, Option(inner=value)):
        with pytest.raises(TypeError) as caught:
            encode(one, KINDS)
        assert str(caught.value) == f"{words} cannot be saved"
    assert describe(value) == words
    found, not_saved = encode_all({"callbacks": value, "metric": value, "k": 3}, KINDS)
    # A fit may go without callbacks; of anything else the words stand in its place, so that it is refused.
    assert found == {"callbacks": None, "k": 3, "metric": f"{words} (not saved)"}
    assert not_saved == {"callbacks": words, "metric": words}


def test_lists_that_are_not_saved_are_told_by_their_length():
    assert encode_all({"x": [Other()] * 3, "y": (Other(),)}, KINDS)[1] == {"x": "list of 3", "y": "tuple of 1"}


@pytest.mark.parametrize(
    "found, words",
    [
        ({}, "an object of 0 keys is not a parameter"),
        ({"tuple": [], "dict": {}}, "an object of 2 keys is not a parameter"),
        ({"float": "1.5"}, "'float' is not a kind of parameter"),
        ({"float": 1.5}, "'float' is not a kind of parameter"),
        ({"tuple": {}}, "'tuple' is not a kind of parameter"),
        ({"dict": []}, "'dict' is not a kind of parameter"),
        ({"Option": []}, "'Option' is not a kind of parameter"),
        ({"Other": {}}, "'Other' is not a kind of parameter"),
        ({"x" * 41: {}}, f"'{'x' * 40}' is not a kind of parameter"),
    ],
)
def test_what_no_file_of_ours_holds_is_refused(found, words):
    for one in (found, [found], {"tuple": [found]}, {"dict": {"a": found}}, {"Option": {"inner": found}}):
        with pytest.raises(ValueError) as caught:
            decode(one, KINDS)
        assert str(caught.value) == words


class Model:
    """An estimator of these parameters."""

    def __init__(self, **parameters):
        self.parameters = parameters

    def get_params(self, deep=True):
        assert not deep
        return self.parameters


def seen(iteration, error, embedding):
    return False


def seen_too(iteration, error, embedding):
    return True


def test_a_callback_alone_is_a_list_of_one():
    """How often it is called counts where there is one."""
    none = parameters_of(Model(callbacks=None, callbacks_every_iters=50, k=1))
    assert none == {"callbacks": [], "k": 1} == parameters_of(Model(callbacks=[], callbacks_every_iters=9, k=1))
    one = parameters_of(Model(callbacks=seen, callbacks_every_iters=50, k=1))
    assert one == parameters_of(Model(callbacks=[seen], callbacks_every_iters=50, k=1))
    assert list(one) == ["callbacks", "callbacks_every_iters", "k"] and len(one["callbacks"]) == 1
    two = parameters_of(Model(callbacks=(seen, seen_too), callbacks_every_iters=50, k=1))
    assert two["callbacks"][0] == one["callbacks"][0] and len({*two["callbacks"]}) == 2


def test_how_the_work_is_done_is_not_what_is_asked_for():
    told = parameters_of(Model(n_jobs=3, verbose=True, k=1, sample=5), without=["sample"])
    assert told == {"k": 1}
