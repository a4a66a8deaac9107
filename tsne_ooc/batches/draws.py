"""Row numbers for an epoch, drawn from the whole table before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tsne_ooc._typing import Int64
from tsne_ooc.sampling.stratified import strata

#: Draws as many row numbers as the table has rows.
Draw = Callable[[np.random.Generator], Int64]


def permuted(n: int) -> Draw:
    """Every row once; all orders are equally likely."""
    return lambda rng: rng.permutation(n).astype(np.int64, copy=False)


def balanced(n: int, labels: Any) -> Draw:
    """Every class equally often, and every row within a class.

    Classes come in rounds: each round has every class once, in random order, so that any stretch of rows is balanced,
    not the epoch alone. The rows of a class come in passes, each of which has all of them once, in random order.
    """
    classes = strata(labels)
    if len(classes) != n:
        raise ValueError(f"balanced has {len(classes)} labels, but the table has {n} rows")
    members, counts = np.argsort(classes, kind="stable"), np.bincount(classes)

    def draw(rng: np.random.Generator) -> Int64:
        turns = _passes(np.arange(len(counts)), n, rng)
        places = np.argsort(turns, kind="stable")
        order = np.empty(n, np.int64)
        at = first = 0
        for count, quota in zip(counts.tolist(), np.bincount(turns).tolist(), strict=True):
            order[places[at : at + quota]] = _passes(members[first : first + count], quota, rng)
            at, first = at + quota, first + count
        return order

    return draw


def weighted(n: int, weights: Any) -> Draw:
    """Rows that are drawn independently of each other, in proportion to their weights."""
    share = np.array(weights, dtype=np.float64)
    if share.shape != (n,):
        raise ValueError(f"weights have shape {share.shape}, but the table has {n} rows")
    wrong = ~np.isfinite(share) | (share < 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"weights must be finite and not negative, but row {row} has {share[row]}")
    if not share.any():
        raise ValueError("weights are all zero; at least one row must be drawn from")
    # They are divided by the largest first, because the sum of huge weights would overflow.
    share /= share.max()
    share /= share.sum()
    return lambda rng: rng.choice(n, n, p=share).astype(np.int64, copy=False)


def _passes(items: Int64, size: int, rng: np.random.Generator) -> Int64:
    """`size` of the items: as many random orders of all of them as it takes, one after the other."""
    passes = -(-size // len(items))
    return rng.permuted(np.tile(items, (passes, 1)), axis=1).ravel()[:size]
