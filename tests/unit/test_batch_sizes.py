"""Blocks and buffers as large as documented, exactly at their limits; defaults, weights and evenness by slow twins."""

from __future__ import annotations

import math
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from tsne_ooc.batches import Batches
from tsne_ooc.batches.evenness import between
from tsne_ooc.batches.plans import BlockPlan, Listed
from tsne_ooc.batches.sizes import block_rows_for, buffer_rows_for, mixed_rows_for, reads_of_a_chunk
from tsne_ooc.io import open_source

MIB = 1 << 20


def table(n, columns, chunk=None, dtype="f4"):
    return SimpleNamespace(
        shape=(n, columns), dtype=np.dtype(dtype), chunks=None if chunk is None else (chunk, columns)
    )


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("columns", [1, 7, 3000])
def test_what_is_read_at_once_unless_it_is_said(columns, dtype):
    """64 MiB of float32 are a buffer; a block is 8 MiB, or a 64th of a buffer; as rows are held while they are read."""
    source = table(50_000_000, columns, dtype=dtype)
    row = columns * max(4, np.dtype(dtype).itemsize)
    buffer = buffer_rows_for(source, None)
    assert buffer == 64 * MIB // (4 * columns)
    assert block_rows_for(source, None, None) == 8 * MIB // row
    assert block_rows_for(source, None, buffer) == max(1, buffer // 64)
    assert mixed_rows_for(source) == max(1, buffer // 1024)


@pytest.mark.parametrize("chunk", [1, 100, 30_000])
def test_blocks_are_whole_chunks_and_one_at_least(chunk):
    source = table(10_000_000, 10, chunk)
    for rows, wanted in (
        (block_rows_for(source, None, None), 8 * MIB / 40),
        (block_rows_for(source, None, 64_000), 1000),
        (mixed_rows_for(source), buffer_rows_for(source, None) // 1024),
    ):
        assert rows % chunk == 0 or rows < chunk
        assert rows <= max(wanted, chunk) < rows + chunk + 1
        if chunk == 30_000:
            assert rows >= 30_000
    # A chunk of more rows than there are, and one of more than 256 MiB.
    assert block_rows_for(table(50, 10, 80), None, None) <= 80
    large = table(100_000_000, 10, 50_000_000)
    for rows in (block_rows_for(large, None, None), mixed_rows_for(large)):
        assert 128 * MIB < rows * 40 <= 256 * MIB
        assert buffer_rows_for(large, None) >= rows


def test_sizes_that_are_given_are_used_and_refused_one_below_the_least():
    source = table(100, 4, 20)
    assert buffer_rows_for(source, 1) == 1 and block_rows_for(source, 1, None) == 1
    assert block_rows_for(source, 101, None) == 100 == block_rows_for(source, 100, 100)
    for call, message in (
        (lambda: buffer_rows_for(source, 0), "buffer_rows=0 must be at least 1"),
        (lambda: block_rows_for(source, 0, None), "block_rows=0 must be at least 1"),
        (
            lambda: block_rows_for(source, 21, 20),
            "buffer_rows=20 holds no block of 21 rows (the table is stored in chunks of 20); use at least 21",
        ),
        (lambda: block_rows_for(table(100, 4), 6, 5), "buffer_rows=5 holds no block of 6 rows; use at least 6"),
    ):
        with pytest.raises(ValueError) as told:
            call()
        assert str(told.value) == message
    assert block_rows_for(source, 21, 20, check=False) == 21


def test_how_often_a_chunk_is_read():
    assert reads_of_a_chunk(table(100, 4), 1) == 1
    assert reads_of_a_chunk(table(100, 4, 10), 100) == reads_of_a_chunk(table(100, 4, 10), 500) == 1
    # Nine rows of ten in groups of 50: as many of the two groups as have one of them; of a chunk of all rows, both.
    assert reads_of_a_chunk(table(100, 4, 10), 50) == pytest.approx(2 * (1 - 0.5**10))
    assert reads_of_a_chunk(table(100, 4, 500), 50) == pytest.approx(2 * (1 - 0.5**100))
    assert 1 < reads_of_a_chunk(table(100, 4, 10), 99) < 1.03


@pytest.mark.parametrize("shuffle", ["full", "buffer", "batch", None])
def test_what_is_left_out_is_what_the_help_says(shuffle):
    X = np.arange(1200.0, dtype=np.float32).reshape(600, 2)
    given = Batches(X, batch_size=256, shuffle=shuffle, drop_last=False, prefetch=2, seed=0)
    plain = Batches(X, shuffle=shuffle)
    for epoch in (0, 1):
        pairs = list(zip(plain.epoch(epoch), given.epoch(epoch), strict=True))
        assert [len(rows) for (rows, _), _ in pairs] == [256, 256, 88]
        for (rows, values), (wanted, same) in pairs:
            np.testing.assert_array_equal(rows, wanted)
            np.testing.assert_array_equal(values, same)
            np.testing.assert_array_equal(values, X[rows])
    if shuffle == "full":
        assert repr(Batches(X)) == repr(plain)
    assert (plain.buffer_rows is None) == (shuffle in ("batch", None)) and (plain.block_rows is None) == (
        shuffle == "full"
    )


def test_an_epoch_may_begin_behind_its_last_batch_and_hold_exactly_one():
    X = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    for options, count in (({"batch_size": 6}, 1), ({"batch_size": 4}, 2), ({"batch_size": 4, "drop_last": True}, 1)):
        for shuffle in ("full", "buffer", "batch", None):
            batches = Batches(X, shuffle=shuffle, **options)
            assert len(batches) == count
            assert list(batches.epoch(0, start_batch=count)) == []
            assert len(list(batches.epoch(3, start_batch=count - 1))) == 1
            with pytest.raises(ValueError, match=f"start_batch={count + 1} is beyond the {count} batches of an epoch"):
                batches.epoch(0, start_batch=count + 1)
    assert Batches(X, prefetch=0, seed=2**70).prefetch == 0
    assert len(Batches(X, batch_size=6, drop_last=True)) == 1
    with pytest.raises(ValueError, match="has 6 rows, and drop_last leaves out a batch of less than batch_size=7"):
        Batches(X, batch_size=7, drop_last=True)
    with pytest.raises(ValueError, match=r"has 0 rows: there is no batch"):
        Batches(X[:0], drop_last=True)


def test_weights_of_any_size_and_what_is_wrong_with_them():
    X = np.zeros((4, 1), np.float32)
    rows = [np.concatenate([r for r, _ in Batches(X, weights=w, seed=5)]) for w in ([0, 1, 3, 0], [0, 2e307, 6e307, 0])]
    np.testing.assert_array_equal(rows[0], rows[1])
    # A sum of them would be infinite.
    many = Batches(X, weights=np.full(4, 1.7e308))
    assert {len(r) for r, _ in many} == {4}
    weights = np.array([0.0, 5.0, 0.0, 0.0])
    assert {*np.concatenate([r for r, _ in Batches(X, weights=weights)])} == {1}
    assert weights.tolist() == [0, 5, 0, 0]
    for wrong, message in (
        ([1, np.inf, -1, 1], "weights must be finite and not negative, but row 1 has inf"),
        ([0, 1, 2, -1e-9], "weights must be finite and not negative, but row 3 has -1e-09"),
        ([0, 0, 0, 0], "weights are all zero; at least one row must be drawn from"),
        (np.ones((4, 1)), "weights have shape (4, 1), but the table has 4 rows"),
    ):
        with pytest.raises(ValueError) as told:
            Batches(X, weights=wrong)
        assert str(told.value) == message


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_classes_are_equally_often_to_within_one_in_any_number_of_rows(classes):
    for n in (classes, classes + 1, 11, 30):
        labels = np.minimum(np.arange(n), classes - 1)
        batches = Batches(np.zeros((n, 1), np.float32), balanced=labels, batch_size=n)
        for epoch in range(3):
            [(rows, _)] = batches.epoch(epoch)
            counts = np.bincount(labels[rows], minlength=classes)
            assert counts.max() - counts.min() <= 1
            # Rows of one class, too.
            for one in range(classes):
                of_rows = np.bincount(rows, minlength=n)[labels == one]
                assert of_rows.max() - of_rows.min() <= 1


def slow_between(rows, X, edges):
    """The share of variance between blocks, less what chance has of it, one row at a time."""
    groups = [[x for row, x in zip(rows, X.astype(np.float64), strict=True) if a <= row < b] for a, b in edges]
    groups = [np.array(group) for group in groups if group]
    center = X.astype(np.float64).mean(axis=0)
    total = sum(((x - center) ** 2).sum() for group in groups for x in group)
    apart = sum(len(group) * ((group.mean(axis=0) - center) ** 2).sum() for group in groups)
    if total == 0 or len(groups) < 2:
        return 0.0
    chance = (len(groups) - 1) / (len(rows) - 1)
    return max(0.0, (apart / total - chance) / (1 - chance)) if chance < 1 else 0.0


@pytest.mark.parametrize("seed", range(8))
def test_evenness_is_what_it_says(seed):
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.choice(np.arange(1, 99), 6, replace=False))
    edges = np.stack([np.r_[0, cuts], np.r_[cuts, 100]], axis=1)
    rows = np.sort(rng.choice(100, rng.integers(2, 40), replace=False))
    for X in (
        rng.normal(size=(len(rows), 3)),
        rng.normal(size=(len(rows), 3)) + rows[:, None],
        1e4 + rows[:, None] // 30 * np.ones(3),
        np.ones((len(rows), 3)),
    ):
        X = X.astype(np.float32)
        before = X.copy()
        assert between(rows, X, edges) == pytest.approx(slow_between(rows, X, edges), rel=1e-6, abs=1e-12)
        np.testing.assert_array_equal(X, before)


def test_evenness_of_hardly_any_rows_and_blocks():
    edges = np.array([[0, 5], [5, 10]])
    two = np.array([[0.0], [1]], np.float32)
    assert between(np.array([1, 7]), two, edges) == 0
    assert between(np.array([1, 2]), two, edges) == between(np.array([1]), two[:1], edges) == 0
    assert between(np.array([4, 5, 9]), np.array([[0.0], [1], [1]], np.float32), edges) == 1
    assert not math.isnan(between(np.array([4, 5, 9]), np.ones((3, 1), np.float32), edges))


def test_a_file_is_closed_where_options_are_refused_and_by_its_owner_alone(tmp_path):
    path = tmp_path / "X.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.zeros((5, 2), np.float32)
    for options in ({"weights": [1]}, {"batch_size": 6, "drop_last": True}):
        with pytest.raises(ValueError) as told:
            Batches(path, **options)
        # Open for reading, it could not be written to; the error still holds all that was made.
        with h5py.File(path, "r+"):
            assert told.value is not None
    batches = Batches(path)
    batches.close()
    with h5py.File(path, "r+"):
        pass
    with open_source(path) as source:
        Batches(source).close()
        assert source.read(0, 5).shape == (5, 2)


def test_a_row_at_least_is_read_at_once_however_wide_it_is():
    source = table(50, 20_000_000)
    assert buffer_rows_for(source, None) == block_rows_for(source, None, None) == mixed_rows_for(source) == 1


@pytest.mark.parametrize("rare", [2, 3, 7])
def test_rows_of_a_class_come_in_passes_of_all_of_them(rare):
    """Each pass has every row of the class once, in an order of its own, and ends before the next one begins."""
    n = 400
    labels = np.ones(n, int)
    labels[np.linspace(0, n - 1, rare).astype(int)] = 0
    members = np.flatnonzero(labels == 0)
    batches = Batches(np.zeros((n, 1), np.float32), balanced=labels, batch_size=n, seed=1)
    orders = set()
    for epoch in range(2):
        [(rows, _)] = batches.epoch(epoch)
        mine = rows[labels[rows] == 0]
        assert len(mine) == n // 2
        for start in range(0, len(mine) - rare + 1, rare):
            assert sorted(mine[start : start + rare]) == members.tolist()
            orders.add(tuple(mine[start : start + rare]))
    assert len(orders) > 1 and (rare > 3 or len(orders) == math.factorial(rare))


def test_rows_of_a_single_class_are_drawn_by_their_place_in_the_table():
    """The same numbers are drawn for a class wherever its rows are, so that an epoch is the same on every machine."""
    n = 300
    labels = np.arange(n) % 2
    for epoch in range(2):
        [(apart, _)] = Batches(np.zeros((n, 1), np.float32), balanced=labels, batch_size=n).epoch(epoch)
        [(together, _)] = Batches(np.zeros((n, 1), np.float32), balanced=np.sort(labels), batch_size=n).epoch(epoch)
        np.testing.assert_array_equal(np.where(labels[apart] == 0, apart // 2, n // 2 + apart // 2), together)


def test_evenness_far_from_zero_is_what_it_is_near_it():
    """In float32 the mean of many large numbers would be another one."""
    rng = np.random.default_rng(0)
    rows, edges = np.arange(20_000), np.stack([np.arange(0, 20_000, 500), np.arange(500, 20_500, 500)], axis=1)
    X = (rng.integers(0, 9, (20_000, 2)) + rows[:, None] // 500 % 3).astype(np.float32)
    near, far = between(rows, X, edges), between(rows, X + np.float32(2**23), edges)
    assert near > 0.05 and far == pytest.approx(near, rel=1e-9)


# Plans, whichever part of an epoch is asked for


class Counted:
    """A table whose rows hold their own numbers, and which says what was read of it."""

    chunks = None

    def __init__(self, n, p=2):
        self.shape, self.dtype, self.spans = (n, p), np.dtype("i4"), []

    def read(self, start, stop):
        self.spans.append((start, stop))
        return np.arange(start * self.shape[1], stop * self.shape[1], dtype="i4").reshape(-1, self.shape[1])

    def reopen(self):
        return self


def held(plan, start, stop):
    """Numbers and rows of a part of an epoch, in its order."""
    rows, X = [np.empty(0, np.int64)], [np.empty((0, 2), np.float32)]
    for piece in plan.pieces(start, stop):
        read = plan.read(piece)
        assert len(read.order) == piece[2] - piece[1]
        for at in range(0, len(read.order), 3):
            numbers, values = read.part(at, min(at + 3, len(read.order)))
            assert values.dtype == np.float32 and values.base is None
            rows.append(numbers)
            X.append(values.copy())
        plan.done(read)
    return np.concatenate(rows), np.concatenate(X)


@pytest.mark.parametrize("kind", ["listed", "blocks", "blocks in order", "single blocks"])
@pytest.mark.parametrize("n", [1, 7, 12])
def test_any_part_of_an_epoch_is_what_the_whole_has_there(kind, n):
    rng = np.random.default_rng(n)
    table = Counted(n)
    if kind == "listed":
        order = rng.integers(0, n, n)
        plan = Listed(table, order, 4)
    else:
        blocks = np.array([(at, min(at + 2, n)) for at in range(0, n, 2)])
        plan = BlockPlan(table, blocks, 1 if "single" in kind else 3, None if "order" in kind else rng)
    whole, X = held(plan, 0, n)
    if kind == "listed":
        np.testing.assert_array_equal(whole, order)
    else:
        assert sorted(whole.tolist()) == list(range(n)) and ("order" not in kind or whole.tolist() == list(range(n)))
    np.testing.assert_array_equal(X, whole[:, None] * 2 + np.arange(2))
    for start in range(n + 1):
        for stop in range(start, n + 1):
            pieces = plan.pieces(start, stop)
            assert (start == stop and kind == "listed") or (pieces == []) == (start == stop)
            assert all(type(number) is int for piece in pieces for number in piece)
            found, values = held(plan, start, stop)
            np.testing.assert_array_equal(found, whole[start:stop])
            np.testing.assert_array_equal(values, X[start:stop])


def test_rows_of_a_list_are_read_in_the_order_of_the_file():
    table = Counted(100)
    piece = Listed(table, np.array([50, 3, 50, 99, 4]), 5).read((0, 0, 5))
    assert piece.rows.tolist() == [3, 4, 50, 50, 99] and piece.rows[piece.order].tolist() == [50, 3, 50, 99, 4]
    assert table.spans == sorted(table.spans) and not piece.buffer
    # Equal rows stay in the order in which they are listed.
    assert piece.order.tolist() == [2, 0, 3, 4, 1]
