"""What contracts say of parts that do not keep them: a test that passes for anything would be no contract."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc.io import Source, open_source
from tsne_ooc.neighbors import Exact, Index, Neighbors
from tsne_ooc.testing import IndexContract, SourceContract
from tsne_ooc.testing.neighbors import check_answer
from tsne_ooc.testing.sources import table


class Shifted(Source):
    """Right itself; what it is opened as again for another thread is one row further on."""

    chunks = None

    def __init__(self, X, step=0):
        self.X, self.step = X, step

    @property
    def shape(self):
        return self.X.shape

    @property
    def dtype(self):
        return self.X.dtype

    def read(self, start, stop):
        return np.roll(self.X, -self.step, axis=0)[start:stop].copy()

    def reopen(self):
        return nullcontext(Shifted(self.X, 1))


def test_a_source_that_is_another_one_in_a_thread():
    X = table().astype("f4")
    contract = SourceContract()
    contract.test_threads_each_with_their_own((X, open_source(X)))
    shifted = Shifted(X)
    np.testing.assert_array_equal(shifted.read(3, 50), X[3:50])
    with pytest.raises(AssertionError):
        contract.test_threads_each_with_their_own((X, shifted))


def test_a_contract_needs_a_source(tmp_path):
    with pytest.raises(NotImplementedError):
        SourceContract().make(table(), tmp_path)


class Forgetful(Neighbors):
    """Answers as an exact search does, and cannot be saved."""

    def build(self, X, **options):
        inner = Exact().build(X, **options)

        class Answers(Index):
            n, metric = inner.n, inner.metric

            def query(self, Q, k):
                return inner.query(Q, k)

            def query_self(self, k):
                return inner.query_self(k)

            def recall(self, k):
                return 1.0

        return Answers()


def test_a_search_that_is_not_saved_need_not_be_restored():
    case = SimpleNamespace(search=Forgetful(), recall=1.0, metrics=("euclidean",))
    with pytest.raises(pytest.skip.Exception, match=r"^the index has no state\(\), so models with it are not saved$"):
        IndexContract().test_saved_and_restored_it_answers_the_same_bits(case, "euclidean", 0)
    case.search = Exact()
    IndexContract().test_saved_and_restored_it_answers_the_same_bits(case, "euclidean", 0)


def test_a_row_among_its_own_neighbours_is_told():
    """Also where a search need not find all of them."""
    X = np.random.default_rng(0).normal(size=(30, 3))
    D = np.linalg.norm(X[:, None] - X, axis=2).astype(np.float32)
    order = np.argsort(D, axis=1, kind="stable").astype(np.uint32)
    answers = [(near, np.take_along_axis(D, near.astype(int), axis=1)) for near in (order[:, :4], order[:, 1:5])]
    check_answer(answers[0], D, 0.9)
    check_answer(answers[1], D, 0.9, itself=True)
    with pytest.raises(AssertionError):
        check_answer(answers[0], D, 0.9, itself=True)
