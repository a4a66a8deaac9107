"""What one stage of a fit hands to the next, and not only the map at the end: two wrong orders can make a right one."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from tsne_ooc import TSNE
from tsne_ooc.fit import rows as fitting
from tsne_ooc.fit.optimize import minimise
from tsne_ooc.neighbors import IVF

PERPLEXITY = 8


def rows(copies):
    rng = np.random.default_rng(0)
    X = rng.normal(0, 6, (5, 4))[rng.integers(0, 5, 160)] + rng.normal(size=(160, 4))
    if copies:
        # In threes, far from each other in the table.
        X[rng.permutation(160)[:60]] = np.repeat(X[:20], 3, axis=0)
    return X.astype(np.float32)


def affinities(X):
    """P by the book, dense: all distances, bisection for each row, (p + p^T) / 2n."""
    D = np.linalg.norm(X[:, None].astype(float) - X, axis=2)
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, : 3 * PERPLEXITY]
    return reference.joint(near, [reference.conditional(D[i, near[i]], PERPLEXITY) for i in range(len(X))])


def principal(X):
    centred = X.astype(float) - X.mean(axis=0, dtype=float)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("search", ["exact", IVF(lists=6, probes=6)], ids=["as they came", "an order of its own"])
@pytest.mark.parametrize("start", ["pca", "given"])
def test_the_optimiser_is_given_what_belongs_together(monkeypatch, search, copies, start):
    X, seen = rows(copies), {}
    given = np.random.default_rng(1).normal(2, 1e-4, (160, 2)).astype(np.float32)

    def look(P, Y, schedule, **options):
        seen.update(options, P=P, Y=Y.copy())
        return minimise(P, Y, schedule, **options)

    joint = fitting.joint_of

    def ordered(*args):
        found = joint(*args)
        seen["order"] = found[1]
        return found

    monkeypatch.setattr(fitting, "minimise", look)
    monkeypatch.setattr(fitting, "joint_of", ordered)
    maps = []
    model = TSNE(
        perplexity=PERPLEXITY, neighbors=search, random_state=0, early_exaggeration_iter=0, n_iter=2,
        initialization=given if start == "given" else "pca",
        callbacks=lambda i, e, Y: maps.append(Y), callbacks_every_iters=2,
    ).fit(X)  # fmt: skip
    order = np.arange(160) if seen["order"] is None else seen["order"].astype(int)
    assert sorted(order) == list(range(160))
    assert (search == "exact") == (seen["order"] is None)
    # Row r of everything is row order[r] of the table.
    if not copies:
        assert reference.relative(seen["P"].tocsr().toarray(), affinities(X)[np.ix_(order, order)]) < 1e-4
    if start == "given":
        np.testing.assert_allclose(seen["Y"], (given - given.mean(axis=0, dtype=float))[order], atol=1e-9)
    else:
        alike = [abs(np.corrcoef(seen["Y"][:, axis], principal(X)[order, axis])[0, 1]) for axis in range(2)]
        assert min(alike) > 0.999
    if copies:
        numbers = seen["equal"]
        same = (X[order][:, None] == X[order]).all(axis=2)
        np.testing.assert_array_equal(numbers[:, None] == numbers, same)
        assert same.sum() > 160
    else:
        assert seen["equal"] is None
    # And what comes back is in the order of the table again.
    moved = maps[-1] - maps[-1].mean(axis=0)
    np.testing.assert_allclose(moved, model.embedding_ - model.embedding_.mean(axis=0), atol=2e-6)
    if start == "pca":
        alike = [abs(np.corrcoef(model.embedding_[:, axis], principal(X)[:, axis])[0, 1]) for axis in range(2)]
        assert min(alike) > 0.9
