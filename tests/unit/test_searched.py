"""The neighbours of all rows that a refinement keeps on the disk: they come back as they were, or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tsne_ooc import Perplexity
from tsne_ooc._parallel import Threads
from tsne_ooc.fit.rows import Recipe
from tsne_ooc.fit.searched import Searched
from tsne_ooc.neighbors import Exact
from tsne_ooc.schedule import Schedule
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
N = 60


@pytest.fixture(scope="module")
def found():
    """Of rows of which some are equal."""
    X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
    X[::12] = X[0]
    recipe = Recipe(2, 1.0, Exact(), "euclidean", None, Perplexity(3), "pca", Schedule([]))
    return Searched.among(X, 9, recipe, seed=0, threads=ONE)


def saved(found, **changes):
    content, arrays = found.state()
    return Saved(json.loads(json.dumps(content)), {**arrays, **changes})


def test_it_comes_back_as_it_was(found):
    again = Searched.restore(saved(found), ONE)
    for name in ("neighbors", "distances", "equal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert len(np.unique(found.equal)) == N - 4
    assert again.index.n == N and (again.reference.own == found.reference.own).all()


@pytest.mark.parametrize("row", [N, 2**32 - 1])
def test_neighbours_that_are_no_rows_do_not_reach_a_kernel(found, row):
    neighbors = found.neighbors.copy()
    neighbors[N - 1, 8] = row
    with pytest.raises(StateError) as caught:
        Searched.restore(saved(found, neighbors=neighbors), ONE)
    assert (str(caught.value), caught.value.array) == (f"names a row that is not one of {N}", "neighbors")


@pytest.mark.parametrize("row", [-1, N])
def test_numbers_of_equal_rows_that_are_no_rows_do_not_reach_a_kernel(found, row):
    equal = found.equal.copy()
    equal[7] = row
    with pytest.raises(StateError) as caught:
        Searched.restore(saved(found, equal=equal), ONE)
    assert (str(caught.value), caught.value.array) == (f"names a row that is not one of {N}", "equal")
