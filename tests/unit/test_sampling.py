"""A sample is uniform, sorted, read from each chunk once, and checked."""

import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tsne_ooc.io import open_hdf5
from tsne_ooc.sampling import draw, take, uniform


class Watched:
    """Counts how often every row of chunks is read."""

    def __init__(self, data, chunks):
        self._data, self.shape, self.dtype, self.chunks = data, data.shape, data.dtype, chunks
        self.reads = []

    def __getitem__(self, rows):
        self.reads.append((rows.start, rows.stop))
        return self._data[rows]


@settings(deadline=None, max_examples=100)
@given(
    n=st.integers(1, 400),
    size=st.integers(1, 500),
    chunk=st.none() | st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_sample_is_the_rows_it_says(n, size, chunk, seed):
    X = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    source = Watched(X, None if chunk is None else (chunk, 3))
    rows, sample = uniform(source, size, np.random.default_rng(seed))
    assert rows.dtype == np.int64 and sample.dtype == np.float32
    assert len(rows) == min(size, n) and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < n
    np.testing.assert_array_equal(sample, X[rows])
    if chunk is not None:
        touched = [start // chunk for start, _ in source.reads]
        assert len(touched) == len(set(touched))
        assert all((stop - 1) // chunk == start // chunk for start, stop in source.reads)


def test_same_seed_same_rows():
    a, b, c = (draw(1000, 50, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


@pytest.mark.parametrize("n, size", [(40, 10), (20_000, 40)])
def test_every_row_is_as_likely_as_every_other(n, size):
    # Both ways that NumPy draws: a shuffle of the tail, and Floyd's sets where the sample is a small part.
    rng = np.random.default_rng(0)
    rows = np.concatenate([draw(n, size, rng) for _ in range(2000)])
    counts = np.bincount(rows * 40 // n, minlength=40)
    assert chisquare(counts).pvalue > 1e-3
    assert chisquare(np.bincount(rows * 20 // n, minlength=40)).pvalue < 1e-3


def test_sorted_files_are_sampled_evenly():
    y = np.repeat(np.arange(10.0), 1000)[:, None]
    _, sample = uniform(Watched(y, (1000, 1)), 2000, np.random.default_rng(0))
    assert chisquare(np.bincount(sample[:, 0].astype(int), minlength=10)).pvalue > 1e-3


def test_far_rows_are_not_read_with_all_between():
    X = np.zeros((1_000_000, 8), np.float32)
    source = Watched(X, None)
    take(source, np.array([3, 5, 500_000, 999_999]))
    assert source.reads == [(3, 6), (500_000, 500_001), (999_999, 1_000_000)]


def test_a_chunk_larger_than_memory_is_read_in_pieces():
    X = np.broadcast_to(np.arange(1000, dtype=np.float32), (200_000, 1000))
    source = Watched(X, (200_000, 1000))
    sample = take(source, np.arange(0, 200_000, 5000))
    assert sample.shape == (40, 1000)
    assert max(stop - start for start, stop in source.reads) * 4000 <= 32 << 20


def test_only_sampled_rows_are_checked_and_bad_ones_named(tmp_path):
    X = np.zeros((500, 4))
    X[123, 2] = np.nan
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(50, 4))
    with open_hdf5(tmp_path / "X.h5") as source:
        assert take(source, np.array([0, 122, 124])).shape == (3, 4)
        with pytest.raises(ValueError, match="NaN at row 123, column 2"):
            take(source, np.array([0, 101, 123, 124]))


def test_size_must_be_a_number_of_rows():
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        uniform(np.ones((3, 2)), 0, np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"size=0\.5 is not a whole number"):
        uniform(np.ones((3, 2)), 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("gap", [200_000 // 32, 200_000 // 32 + 1])
def test_rows_as_far_apart_as_is_worth_a_read_of_its_own(gap):
    """Up to 200,000 bytes are read along."""
    source = Watched(np.zeros((50_000, 8), np.float32), None)
    take(source, np.array([10, 10 + gap]))
    assert source.reads == ([(10, 11 + gap)] if gap * 32 <= 200_000 else [(10, 11), (10 + gap, 11 + gap)])


def test_rows_are_taken_in_any_type_and_none_at_all():
    X = np.arange(12, dtype=np.int64).reshape(6, 2) + 2**40
    told = []
    found = take(X, np.array([0, 1, 5]), dtype=np.float64, progress=lambda *at: told.append(at))
    assert found.dtype == np.float64 and found.tolist() == X[[0, 1, 5]].tolist()
    assert told[-1] == ("sample", 3, 3) and take(X, np.array([0])).dtype == np.float32
    assert take(X, np.array([], np.int64)).shape == (0, 2)
    chunks = Watched(np.zeros((100, 1), np.float32), (10, 1))
    told.clear()
    take(chunks, np.array([5, 9, 10, 95]), progress=lambda *at: told.append(at))
    assert chunks.reads == [(5, 10), (10, 11), (95, 96)] and [done for _, done, _ in told] == [2, 3, 4]
    bad = np.zeros((9, 2), np.float32)
    bad[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"^table contains NaN at row 4, column 1;"):
        take(bad, np.array([1, 4]), name="table")


@pytest.mark.parametrize("size", [1, 5, 6, 7])
def test_samples_of_all_rows_and_more_are_all_rows(size):
    rows = draw(6, size, np.random.default_rng(0))
    assert len(rows) == min(size, 6) and rows.dtype == np.int64 and (np.diff(rows) > 0).all()


def slow_reads(rows, chunk, row_bytes, gap, block):
    """Each row joins the read before it, unless a chunk ends, a gap is too long or a read too large."""
    reads, most = [], max(1, block // row_bytes)
    for at, row in enumerate(rows):
        apart = at == 0 or (row // chunk != rows[at - 1] // chunk if chunk else (row - rows[at - 1]) * row_bytes > gap)
        if apart or row - reads[-1][2] >= most:
            reads.append([at, at + 1, row, row + 1])
        else:
            reads[-1][1], reads[-1][3] = at + 1, row + 1
    return [tuple(read) for read in reads]


@pytest.mark.parametrize("block", [1, 160, 10_000])
@pytest.mark.parametrize("chunk", [None, 1, 10, 64])
def test_rows_share_a_read_where_that_is_cheaper(chunk, block, monkeypatch):
    """A source may say how much a row takes; one without columns takes nothing."""
    module = sys.modules["tsne_ooc.sampling.take"]
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    monkeypatch.setattr(module, "_GAP_BYTES", 100)
    for p, kind, told in ((5, "f4", None), (3, "u2", None), (0, "f8", None), (5, "f4", 50), (3, "u2", 8), (5, "f4", 0)):
        table = SimpleNamespace(shape=(400, p), dtype=np.dtype(kind), chunks=None if chunk is None else (chunk, 2))
        if told is not None:
            table.row_bytes = told
        size = max(1, p * np.dtype(kind).itemsize if told is None else told)
        for seed, n in enumerate((0, 1, 2, 30, 120)):
            rows = np.sort(np.random.default_rng(seed).choice(400, n, replace=False))
            found = module._reads(table, rows)
            assert found == slow_reads(rows.tolist(), chunk, size, 100, block)
            assert all(type(number) is int for read in found for number in read)
