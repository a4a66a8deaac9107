"""What is around a search in a blocked metric: copies are searched once, and rows that are far out are kept apart."""

from __future__ import annotations

from collections.abc import Callable

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32
from tsne_ooc.neighbors.base import Index
from tsne_ooc.neighbors.distinct import COPIES, DistinctIndex, find_copies
from tsne_ooc.neighbors.reach import within_reach


def searched(X: Float32, metric: str, build: Callable[[Float32], Index], threads: Threads, few: int = COPIES) -> Index:
    """Make the index of all rows X; `build` makes that of distinct rows within reach of each other."""

    def apart(rows: Float32) -> Index:
        # Rows of unit length are all equally far out.
        return build(rows) if metric == "cosine" else within_reach(rows, build, threads)

    copies = find_copies(X, threads, few)
    return apart(X) if copies is None else DistinctIndex.build(X, copies, apart, threads)
