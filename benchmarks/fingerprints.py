"""How fast rows of yes and no are searched: made-up fingerprints of 2,048 columns, some 50 of them set.

    python benchmarks/fingerprints.py [--rows 25000] [--new 20000] [--peers]

Processor seconds, so that what else runs does not count. `--peers` adds SciPy (50 new rows) and pynndescent, which
takes minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tsne_ooc import neighbors
from tsne_ooc._parallel import Threads

COLUMNS, KINDS = 2048, 300


def fingerprints(rows: int, rng: np.random.Generator, kinds: Any) -> Any:
    """Rows of 300 kinds: each has 70 % of the columns of its kind, and 0.8 % of all others."""
    out = np.empty((rows, COLUMNS), np.float32)
    for start in range(0, rows, 5000):
        m = min(5000, rows - start)
        own = kinds[rng.integers(KINDS, size=m)] & (rng.random((m, COLUMNS)) < 0.7)
        out[start : start + m] = own | (rng.random((m, COLUMNS)) < 0.008)
    return out


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    result = call()
    return time.process_time() - before, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--new", type=int, default=20_000)
    parser.add_argument("--peers", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    kinds = rng.random((KINDS, COLUMNS)) < rng.uniform(0.01, 0.04, size=(KINDS, 1))
    X, Q = fingerprints(given.rows, rng, kinds), fingerprints(given.new, rng, kinds)
    options: dict[str, Any] = {"metric": "jaccard", "threads": Threads(2)}
    neighbors.Exact().build(X[:100], **options).query(Q[:10], 15)
    took, index = seconds(lambda: neighbors.Exact().build(X, **options))
    print(f"exact: {given.rows:,} rows built in {took:.1f} s")
    took, _ = seconds(lambda: index.query(Q, 15))
    print(f"exact: {given.new / took:,.0f} new rows a second, {took / given.new / given.rows * 1e9:.1f} ns a pair")
    took, exact = seconds(lambda: index.query_self(90))
    print(f"exact: among themselves, k = 90: {took:.1f} s")
    packed = neighbors.Exact().build(
        np.packbits(X > 0, axis=1).astype(np.float32), metric="bit_jaccard", threads=Threads(2)
    )
    took, answer = seconds(lambda: packed.query_self(90))
    same = all(np.array_equal(one, two) for one, two in zip(answer, exact, strict=True))
    print(f"packed: among themselves, k = 90: {took:.1f} s, {'the same bits' if same else 'OTHER BITS'}")
    if given.peers:
        from scipy.spatial.distance import cdist

        took, _ = seconds(lambda: cdist(Q[:50] > 0, X > 0, "jaccard"))
        print(f"scipy: {took / 50 / given.rows * 1e9:,.0f} ns a pair")
        search = neighbors.PyNNDescent()
        took, approximate = seconds(lambda: search.build(X, rng=rng, **options).query_self(90))
        recall = (approximate[1] <= exact[1][:, -1:]).mean()
        print(f"pynndescent: among themselves, k = 90: {took:.1f} s with its compilation, recall {recall:.3f}")


if __name__ == "__main__":
    main()
