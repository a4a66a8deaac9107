"""How fast rows of yes and no are searched: made-up fingerprints of 2,048 columns, some 50 of them set.

    python benchmarks/fingerprints.py [--rows 25000] [--new 20000] [--peers]
    python benchmarks/fingerprints.py --among 20000 50000 100000 200000 [--peers]

Processor seconds, so that what else runs does not count. `--peers` adds SciPy (50 new rows) and pynndescent, which
takes minutes.

`--among` asks what a table costs that is searched among itself, k = 90: packed fingerprints of 1,024 columns, 44 of
them set, with columns that are frequent and rare, and families of rows from one to thousands. Beyond 50,000 rows,
2,048 of them are searched. `--peers` adds pynndescent, and the recall of Hamming's nearest rows (faiss, exact) that are
ranked again, both up to 20,000 rows.
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


def molecules(rows: int, rng: np.random.Generator, columns: int = 1024) -> Any:
    """Packed rows: most of the columns of a core, of which there are one for 40 rows, and some of their own."""
    often = rng.permutation(1 / np.arange(1, columns + 1) ** 0.9)
    often = np.cumsum(often / often.sum())

    def drawn(m: int, mean: int) -> Any:
        counts = np.maximum(3, rng.gamma(8, mean / 8, m)).astype(int)
        out = np.zeros((m, columns), bool)
        row = np.repeat(np.arange(m), counts)
        out[row, np.minimum(np.searchsorted(often, rng.random(len(row))), columns - 1)] = True
        return out

    cores = drawn(max(1, rows // 40), 40)
    sizes = np.cumsum(1 / np.arange(1, len(cores) + 1) ** 0.7)
    kinds = np.searchsorted(sizes / sizes[-1], rng.random(rows)).clip(0, len(cores) - 1)
    out = np.empty((rows, columns // 8), np.uint8)
    for a in range(0, rows, 5000):
        of = kinds[a : a + 5000]
        kept = cores[of] & (rng.random((len(of), columns)) < 0.85)
        out[a : a + 5000] = np.packbits(kept | drawn(len(of), 25), axis=1)
    return out


def among(rows: int, peers: bool) -> None:
    """What a search of all rows among themselves takes, and what others find."""
    k, few = 90, min(rows, rows if rows <= 50_000 else 2048)
    packed = molecules(rows, np.random.default_rng(0))
    look = np.sort(np.random.default_rng(1).permutation(rows)[:few])
    index = neighbors.Exact().build(packed.astype(np.float32), metric="bit_jaccard", threads=Threads(2))
    index.query(packed[:100].astype(np.float32), k)
    # Each finds itself, too.
    took, (_, found) = seconds(lambda: index.query(packed[look].astype(np.float32), k + 1))
    pair = took / few / rows
    far = np.median(found[:, -1])
    print(f"{rows:,} rows, exact: {pair * 1e9:.2f} ns a pair, {pair * rows**2:,.1f} s among themselves")
    print(f"  at this rate a million takes {pair * 1e12:,.0f} s; the last of {k} neighbours is at {far:.2f}")
    if not peers or rows > 20_000:
        return
    import faiss

    limits = found[:, -1:] + 1e-6
    hamming = faiss.IndexBinaryFlat(8 * packed.shape[1])
    hamming.add(packed)
    for candidates in (k + 1, 4 * k, 8 * k):
        _, numbers = hamming.search(packed[look], candidates)
        each = [
            1 - np.bitwise_count(row & packed[near]).sum(axis=1) / np.bitwise_count(row | packed[near]).sum(axis=1)
            for row, near in zip(packed[look], numbers, strict=True)
        ]
        ranked = np.sort(each, axis=1)[:, : k + 1]
        print(f"  the best of Hamming's {candidates} nearest: recall {(ranked <= limits).mean():.3f}")
    search, options = neighbors.PyNNDescent(), {"metric": "jaccard", "threads": Threads(2)}
    X = np.unpackbits(packed, axis=1).astype(np.float32)
    search.build(X[:500], rng=np.random.default_rng(0), **options).query_self(15)
    took, (_, found) = seconds(lambda: search.build(X, rng=np.random.default_rng(0), **options).query_self(k))
    print(f"  pynndescent: {took:.1f} s, compiled before, recall {(found <= limits).mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--new", type=int, default=20_000)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--among", type=int, nargs="+", metavar="ROWS", help="search tables among themselves")
    given = parser.parse_args()
    if given.among:
        for rows in given.among:
            among(rows, given.peers)
        return
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
