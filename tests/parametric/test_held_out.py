"""Which rows an encoder does not learn from, and what they are compared with."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.io import as_source  # noqa: E402
from tsne_ooc.parametric import outset  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.teaching import Taught  # noqa: E402


@pytest.mark.parametrize(
    "n, count, others",
    [(9, 0, 0), (10, 1, 9), (39, 3, 36), (90, 9, 50), (200, 20, 50), (260, 20, 50)],
)
def test_a_tenth_and_some_that_they_are_compared_with(monkeypatch, n, count, others):
    """At most `HELD_OUT` and `REFERENCE` of them, drawn by the seed from all over the table."""
    monkeypatch.setattr(outset, "HELD_OUT", 20)
    monkeypatch.setattr(outset, "REFERENCE", 50)
    rng = np.random.default_rng(0)
    X, targets = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)
    teacher = TSNE(perplexity=2, n_iter=0, early_exaggeration_iter=0, random_state=0).fit(X[:9])
    found = []
    for seed in (0, 0, 1):
        problem = Problem(n, 2.0, 1.0, 1.0, targets, None, seed, Threads(1), torch.device("cpu"))
        held, look = outset.held_out(as_source(X), Taught(teacher, targets, None), problem)
        assert held.shape == (n,) and held.sum() == count and (look is None) == (count == 0)
        found.append(held)
        if look is None:
            continue
        np.testing.assert_array_equal(look.held, X[held])
        np.testing.assert_array_equal(look.targets, targets[held])
        # Rows of the training, each once.
        assert look.reference.shape == (others, 4)
        where = [np.flatnonzero((row == X).all(axis=1)) for row in look.reference]
        assert all(len(at) == 1 and not held[at[0]] for at in where) and len({int(at[0]) for at in where}) == others
    assert (found[0] == found[1]).all() and (n < 90 or (found[0] != found[2]).any())


@pytest.mark.parametrize("p", [1, 50, 335, 336, 3000, 33_000, 40_000, 10**6])
@pytest.mark.parametrize("n", [1, 999, 1001, 99_999, 10**7])
def test_rows_of_wide_tables_that_are_looked_at_fit_into_memory(n, p):
    """All rows, 100,000 or those that fit into 128 MiB, whichever are the fewest; but a thousand, if there are."""
    looked = outset.rows_looked_at(n, p)
    most = min(n, 100_000)
    fits = looked * p * 4 <= 2**27
    assert looked <= most and (fits or looked == min(n, 1000))
    # Not a row less than could be.
    assert looked == most or looked == 1000 or (looked + 1) * p * 4 > 2**27
