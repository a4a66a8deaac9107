"""Disjoint ranges of rows and their checksums, against `zlib` on the bytes themselves and against sets of rows."""

import itertools
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc.storage.ranges import Range, combined, joined, missing


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_the_sum_of_two_pieces_is_that_of_both(data, at):
    first, second = data[:at], data[at:]
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(data)


@pytest.mark.parametrize("length", [1, 8, 31, 4096, 1_000_003, 1 << 23])
def test_pieces_of_any_length(length):
    rng = random.Random(length)
    first, second = rng.randbytes(1000), rng.randbytes(length)
    assert combined(zlib.crc32(first), zlib.crc32(second), length) == zlib.crc32(first + second)


def test_lengths_beyond_what_is_in_memory():
    """2^40 zeros, by doubling: each step is checked against itself put together from two halves."""
    crc, length = zlib.crc32(bytes(1 << 20)), 1 << 20
    while length < 1 << 40:
        crc, length = combined(crc, crc, length), 2 * length
    thirds = combined(combined(zlib.crc32(b""), crc, length), zlib.crc32(b"end"), 3)
    assert thirds == zlib.crc32(b"end", crc)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 39), max_size=12), st.integers(1, 9), st.integers(0, 1000))
def test_ranges_in_any_order(cuts, row_bytes, seed):
    rng = random.Random(seed)
    data, edges = rng.randbytes(40 * row_bytes), [0, *sorted(set(cuts)), 40]
    pieces = list(itertools.pairwise(edges))
    rng.shuffle(pieces)
    done, rows = (), set()
    for start, stop in pieces:
        done = joined(done, Range(start, stop, zlib.crc32(data[start * row_bytes : stop * row_bytes])), row_bytes)
        rows |= set(range(start, stop))
        assert {row for part in done for row in range(part.start, part.stop)} == rows
        # As few as there can be.
        assert len(done) == sum(row - 1 not in rows for row in rows)
        for part in done:
            assert part.crc == zlib.crc32(data[part.start * row_bytes : part.stop * row_bytes])
        gaps = missing([(part.start, part.stop) for part in done], 40)
        assert {row for start, stop in gaps for row in range(start, stop)} == set(range(40)) - rows
    assert done == (Range(0, 40, zlib.crc32(data)),) and missing([(0, 40)], 40) == []


@pytest.mark.parametrize("more", [(0, 3), (2, 4), (4, 6), (3, 5), (0, 9)])
def test_rows_are_done_once(more):
    with pytest.raises(ValueError, match=r"rows [2-4] to [2-4] are done already"):
        joined([Range(2, 5, 0)], Range(*more, 0), 1)


def test_nothing_is_missing_of_nothing():
    assert missing([], 0) == [] and missing([], 5) == [(0, 5)] and missing([(0, 2), (4, 5)], 5) == [(2, 4)]
