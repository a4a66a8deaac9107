"""Batches hold every row once, in an order that seed and epoch decide, from whatever the rows are read."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise, product

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tsne_ooc.batches import Batches, draws
from tsne_ooc.batches.plans import BlockPlan
from tsne_ooc.batches.sizes import reads_of_a_chunk
from tsne_ooc.io import as_source
from tsne_ooc.io.bands import LastBand
from tsne_ooc.io.cuts import edges
from tsne_ooc.preprocess import PreparedSource, Standardize
from tsne_ooc.preprocess.preparation import Preparation

SHUFFLES = ("full", "buffer", "batch", None)


class Own:
    """A table of a user: row i holds i, i + 0.25 and so on; what is read is written down."""

    def __init__(self, n, columns=2, chunk=None):
        self.shape, self.dtype = (n, columns), np.dtype(np.float32)
        self.chunks = None if chunk is None else (chunk, columns)
        self.reads = []

    def __getitem__(self, rows):
        self.reads.append((rows.start, rows.stop))
        return expected(np.arange(rows.start, rows.stop), self.shape[1])


def expected(rows, columns=2):
    return (rows[:, None] + np.arange(columns) / 4).astype(np.float32)


def numbers(batches):
    return np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in batches)])


def readers():
    """The threads that read ahead, among them such as an earlier test of this process has left."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("tsne_ooc_read")]


@st.composite
def options(draw):
    """A table, and options that fit it."""
    source = Own(draw(st.integers(1, 200)), chunk=draw(st.none() | st.integers(1, 60)))
    shuffle = draw(st.sampled_from(SHUFFLES))
    chosen = {
        "batch_size": draw(st.integers(1, 80)), "shuffle": shuffle,
        "prefetch": draw(st.integers(0, 3)), "seed": draw(st.integers(0, 5)),
    }  # fmt: skip
    if shuffle != "full":
        chosen["block_rows"] = draw(st.integers(1, 90))
    if shuffle in ("full", "buffer"):
        chosen["buffer_rows"] = draw(st.integers(chosen.get("block_rows", 1), 250))
    return source, chosen


# ---------------------------------------------------------------------------------------- each row once


@settings(deadline=None, max_examples=200)
@given(options(), st.booleans(), st.integers(0, 3))
def test_every_row_once_in_whole_batches(made, drop_last, epoch):
    source, chosen = made
    n, size = source.shape[0], chosen["batch_size"]
    if drop_last and n < size:
        with pytest.raises(ValueError, match="there is no batch"):
            Batches(source, drop_last=True, **chosen)
        return
    batches = Batches(source, drop_last=drop_last, **chosen)
    found = list(batches.epoch(epoch))
    sizes = [len(rows) for rows, _ in found]
    assert len(found) == len(batches) == (n // size if drop_last else -(-n // size))
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert sizes[-1] == (size if drop_last else (n - 1) % size + 1)
    rows = numbers(found)
    assert len(set(rows.tolist())) == len(rows) and set(rows.tolist()) <= set(range(n))
    for rows, X in found:
        assert rows.dtype == np.int64 and X.dtype == np.float32 and X.flags.c_contiguous
        np.testing.assert_array_equal(X, expected(rows))


@settings(deadline=None, max_examples=200)
@given(options(), st.data())
def test_a_run_that_was_killed_goes_on_as_if_it_had_not(made, data):
    source, chosen = made
    batches = Batches(source, **chosen)
    whole = list(batches.epoch(1))
    start = data.draw(st.integers(0, len(whole)))
    rest = list(batches.epoch(1, start_batch=start))
    assert len(rest) == len(whole) - start
    for (rows, X), (rows_before, X_before) in zip(rest, whole[start:], strict=True):
        np.testing.assert_array_equal(rows, rows_before)
        np.testing.assert_array_equal(X, X_before)


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_what_was_seen_is_not_read_again(shuffle):
    source = Own(1000)
    more = {"full": {"buffer_rows": 100}, "buffer": {"block_rows": 10, "buffer_rows": 100}}
    batches = Batches(source, shuffle=shuffle, batch_size=50, **more.get(shuffle, {"block_rows": 100}))
    seen = set(numbers(list(batches.epoch(0))[:14]).tolist())
    source.reads.clear()
    rest = set(numbers(batches.epoch(0, start_batch=14)).tolist())
    # Where rows lie scattered, those between are read along; from blocks, no other row is.
    touched = {row for start, stop in source.reads for row in range(start, stop)}
    assert rest <= touched and not rest & seen
    assert sum(stop - start for start, stop in source.reads) <= (3000 if shuffle == "full" else 300)
    source.reads.clear()
    assert list(batches.epoch(0, start_batch=20)) == [] and not source.reads


# ------------------------------------------------------------------------------------------------ order


@settings(deadline=None, max_examples=100)
@given(options(), st.integers(0, 3))
def test_prefetching_changes_nothing(made, prefetch):
    source, chosen = made
    a = numbers(Batches(source, **chosen).epoch(2))
    np.testing.assert_array_equal(a, numbers(Batches(source, **{**chosen, "prefetch": prefetch}).epoch(2)))


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 200), chunk=st.none() | st.integers(1, 60), buffer=st.integers(1, 300), size=st.integers(1, 70))
def test_a_full_shuffle_depends_on_the_number_of_rows_alone(n, chunk, buffer, size):
    whole = numbers(Batches(np.zeros((n, 1)), seed=4).epoch(3))
    np.testing.assert_array_equal(
        whole, numbers(Batches(Own(n, chunk=chunk), seed=4, buffer_rows=buffer, batch_size=size).epoch(3))
    )


@pytest.mark.parametrize("shuffle", SHUFFLES[:3])
def test_seeds_and_epochs_give_orders_of_their_own(shuffle):
    more = {} if shuffle == "full" else {"block_rows": 50}
    orders = [
        numbers(Batches(Own(1000), shuffle=shuffle, seed=seed, **more).epoch(epoch))
        for seed, epoch in product(range(2), range(3))
    ]
    for i, order in enumerate(orders):
        assert all((order != other).any() for other in orders[:i])
    again = numbers(Batches(Own(1000), shuffle=shuffle, seed=1, **more).epoch(2))
    np.testing.assert_array_equal(orders[-1], again)


def test_loops_count_epochs():
    batches = Batches(Own(100), batch_size=7)
    for epoch in range(3):
        np.testing.assert_array_equal(numbers(batches), numbers(Batches(Own(100), batch_size=9).epoch(epoch)))
    assert batches.next_epoch == 3


def test_in_order():
    np.testing.assert_array_equal(numbers(Batches(Own(1000, chunk=70), shuffle=None, block_rows=140)), np.arange(1000))


@settings(deadline=None, max_examples=100)
@given(n=st.integers(1, 300), chunk=st.integers(1, 40), block=st.integers(1, 80), together=st.integers(1, 9))
def test_a_buffer_holds_whole_blocks_and_all_buffers_as_many(n, chunk, block, together):
    source = as_source(Own(n, chunk=chunk))
    blocks = np.array(edges(source, block, 0, n))
    plan = BlockPlan(source, blocks, together, np.random.default_rng(0))
    held = []
    for piece in plan.pieces(0, n):
        rows = np.sort(plan.read(piece).rows)
        inside = [(start, stop) for start, stop in blocks if start in rows]
        np.testing.assert_array_equal(rows, np.concatenate([np.arange(*ends) for ends in inside]))
        held.append(len(inside))
    assert sum(held) == len(blocks) and max(held) <= together and np.ptp(held) <= 1


def test_memory_of_a_buffer_is_used_again():
    """Where somebody is done with it; a single block is the table's own."""
    plan = BlockPlan(as_source(Own(40, chunk=5)), np.array(edges(as_source(Own(40, chunk=5)), 5, 0, 40)), 2)
    first, second, third, *_ = plan.pieces(0, 40)
    one, other = plan.read(first), plan.read(second)
    assert one.X is not other.X
    plan.done(other)
    assert plan.read(third).X is other.X and plan.read(third).X is not one.X
    single = BlockPlan(as_source(Own(40, chunk=5)), np.array([[0, 5], [5, 10]]), 1)
    held = single.read(single.pieces(0, 10)[0])
    single.done(held)
    assert single.read(single.pieces(0, 10)[1]).X is not held.X


def test_rows_of_a_buffer_and_blocks_come_in_all_orders():
    counts = np.zeros((2, 24))
    for epoch in range(2400):
        order = numbers(Batches(Own(8), shuffle="buffer", block_rows=2, buffer_rows=4, seed=1, prefetch=0).epoch(epoch))
        first = sorted({int(row) // 2 for row in order[:4]})
        counts[0, first[0] * 4 + first[1]] += 1
        counts[1, rank(order[:4])] += 1
    chosen = counts[0][counts[0] > 0]
    assert len(chosen) == 6 and chisquare(chosen).pvalue > 1e-3
    assert chisquare(counts[1]).pvalue > 1e-3


def rank(order):
    """Number of a permutation of 4."""
    places = np.argsort(np.argsort(order)).tolist()
    return sum(sum(later < place for later in places[i:]) * [6, 2, 1, 1][i] for i, place in enumerate(places))


def test_a_sorted_file_is_mixed_as_promised():
    # A column that follows the order of the rows: the worst case.
    n, size, block, m = 40_000, 100, 250, 16
    v = np.var(np.arange(n))

    def spread(shuffle, **more):
        means = [
            rows.mean() for e in range(5) for rows, _ in
            Batches(Own(n, 1), shuffle=shuffle, batch_size=size, **more).epoch(e)
        ]  # fmt: skip
        return np.var(means)

    full = spread("full")
    mixed = spread("buffer", block_rows=block, buffer_rows=block * m)
    one = spread("batch", block_rows=block)
    assert 0.8 * v / size < full < 1.2 * v / size
    # Means of batches of the same buffer go together, so there are 50 values, not 2,000: a wide margin.
    assert 0.4 * v / m < mixed < 1.3 * (v / size + v / m)
    assert one > 3 * mixed


# --------------------------------------------------------------------------------- classes and weights


@settings(deadline=None, max_examples=150)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=150), kind=st.sampled_from(["int", "str", "float", "list"]),
    size=st.integers(1, 40), epoch=st.integers(0, 3),
)  # fmt: skip
def test_classes_are_equally_often(labels, kind, size, epoch):
    codes = np.unique(labels, return_inverse=True)[1]
    given = {
        "int": np.array(labels), "str": np.array([f"class {i}" for i in labels]),
        "float": np.where(np.array(labels) == 3, np.nan, labels), "list": [None if i == 2 else str(i) for i in labels],
    }[kind]  # fmt: skip
    n, classes = len(labels), codes.max() + 1
    found = list(Batches(Own(n), balanced=given, batch_size=size, buffer_rows=50).epoch(epoch))
    rows = numbers(found)
    assert len(rows) == n
    assert np.ptp(np.bincount(codes[rows], minlength=classes)) <= 1
    for label in range(classes):
        members = np.flatnonzero(codes == label)
        assert np.ptp(np.bincount(rows, minlength=n)[members]) <= 1
    for rows, X in found:
        often = np.bincount(codes[rows], minlength=classes)
        assert np.ptp(often) <= (0 if size % classes == 0 and len(rows) == size else 2)
        np.testing.assert_array_equal(X, expected(rows))


def test_rows_of_a_class_are_shuffled_from_the_order_of_the_table(monkeypatch):
    """Equal labels in the order of some processor's sort would be other batches on another machine."""
    seen, passes = [], draws._passes
    monkeypatch.setattr(draws, "_passes", lambda items, *rest: seen.append(items) or passes(items, *rest))
    labels = np.random.default_rng(0).integers(0, 4, 2000)
    draws.balanced(2000, labels)(np.random.default_rng(1))
    wanted = [np.flatnonzero(labels == label).tolist() for label in range(4)]
    assert sorted(items.tolist() for items in seen[1:]) == sorted(wanted)


def test_classes_come_in_no_fixed_order():
    labels = np.repeat([0, 1, 2], [10, 20, 70])
    orders = [numbers(Batches(Own(100), balanced=labels).epoch(epoch)) for epoch in range(300)]
    assert chisquare([(labels[[order[0] for order in orders]] == i).sum() for i in range(3)]).pvalue > 1e-3
    # Rows of the largest class have 33 or 34 places for 70: all are as likely to be left out.
    often = sum(np.bincount(order, minlength=100) for order in orders)
    assert (often[30:] > 0.4 * 300).all() and (often[30:] < 0.6 * 300).all()


def test_weights_are_proportions():
    weights = np.array([0, 1, 2, 3, 0, 4.0]) * 4e307
    batches = Batches(Own(6), weights=weights, batch_size=4)
    rows = np.concatenate([numbers(batches.epoch(epoch)) for epoch in range(2000)])
    often = np.bincount(rows, minlength=6)
    assert len(rows) == 12_000 and often[0] == often[4] == 0
    assert chisquare(often[often > 0], 12_000 * np.array([0.1, 0.2, 0.3, 0.4])).pvalue > 1e-3
    for rows, X in batches.epoch(5):
        np.testing.assert_array_equal(X, expected(rows))


def test_rows_that_are_drawn_are_read_in_file_order_and_each_chunk_once():
    source = Own(10_000, chunk=100)
    labels = np.arange(10_000) < 10
    list(Batches(source, balanced=labels, batch_size=50, buffer_rows=500, prefetch=0).epoch(0, start_batch=190))
    touched = [start // 100 for start, _ in source.reads]
    assert len(touched) == len(set(touched)) and touched == sorted(touched)


# ------------------------------------------------------------------------------------- reading ahead


@pytest.mark.parametrize("prefetch", [1, 2])
def test_the_next_blocks_are_read_while_this_one_is_used(prefetch):
    read = [threading.Event() for _ in range(10)]

    class Told(Own):
        def __getitem__(self, rows):
            # None is read before the one so far ahead is done with.
            assert rows.start // 10 <= used + prefetch
            read[rows.start // 10].set()
            return super().__getitem__(rows)

    used = 0
    batches = Batches(Told(100), shuffle=None, block_rows=10, batch_size=10, prefetch=prefetch)
    for used, _ in enumerate(batches.epoch(0)):
        # Nothing is asked for here, and yet these come: a thread reads them.
        for event in read[: used + prefetch + 1]:
            assert event.wait(30)
        used += 1
    assert used == 10


def test_without_prefetching_there_is_no_thread():
    before = set(readers())
    source = Own(100)
    with closing(Batches(source, shuffle=None, block_rows=10, batch_size=10, prefetch=0).epoch(0)) as epoch:
        for i in range(3):
            next(epoch)
            assert len(source.reads) == i + 1 and not set(readers()) - before


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_leaving_early_ends_the_thread(shuffle):
    before = set(readers())
    more = {} if shuffle == "full" else {"block_rows": 10}
    with closing(Batches(Own(1000), shuffle=shuffle, batch_size=10, **more).epoch(0)) as epoch:
        next(epoch)
        assert set(readers()) - before
    assert not set(readers()) - before
    for _ in Batches(Own(1000), shuffle=shuffle, batch_size=10, **more):
        break
    assert not set(readers()) - before


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors_of_reading_arrive_in_their_place(prefetch):
    class Torn(Own):
        def __getitem__(self, rows):
            if rows.start >= 60:
                raise OSError("wrong checksum")
            return super().__getitem__(rows)

    before = set(readers())
    seen = []
    batches = Batches(Torn(100), shuffle=None, block_rows=20, batch_size=8, prefetch=prefetch)
    with pytest.raises(OSError, match=r"rows 60 to 79 of Torn of shape \(100, 2\) could not be read: wrong checksum"):
        for rows, _ in batches.epoch(0):
            seen += rows.tolist()
    assert seen == list(range(56))
    assert not set(readers()) - before


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_bad_cell_is_named_by_its_row_in_the_file(tmp_path, shuffle):
    X = np.zeros((500, 4))
    X[123, 2] = np.nan
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(50, 4))
    with Batches(tmp_path / "X.h5", shuffle=shuffle) as batches, pytest.raises(ValueError, match="NaN at row 123, col"):
        list(batches)


def test_memory_is_bounded():
    n, columns, buffer = 200_000, 10, 10_000
    source = Own(n, columns)
    for shuffle, more in (("buffer", {"block_rows": 1000, "buffer_rows": buffer}), ("batch", {"block_rows": buffer})):
        tracemalloc.start()
        try:
            for _ in Batches(source, shuffle=shuffle, prefetch=1, **more):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Two pieces, row numbers with them, and what making a block of float64 takes; all rows would be 8 MB.
        assert peak < 3.2 * buffer * (4 * columns + 16) + 3 * buffer * 8 * columns
        assert peak < n * columns * 4 * 0.75


# ------------------------------------------------------------------------------------------- sources


def test_files_and_prepared_rows(tmp_path):
    X = np.random.default_rng(0).normal(3, 9, size=(700, 5)).astype(np.float32)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(64, 5), compression="gzip")
    preparation = Preparation([Standardize()]).fit(X)
    ready = PreparedSource(X, preparation).read(0, 700)
    for shuffle in SHUFFLES:
        more = {} if shuffle == "full" else {"block_rows": 64}
        with Batches(tmp_path / "X.h5", shuffle=shuffle, batch_size=100, **more) as batches:
            order = numbers(batches.epoch(0))
            for rows, found in batches.epoch(0):
                np.testing.assert_array_equal(found, X[rows])
            prepared = Batches(PreparedSource(batches.source, preparation), shuffle=shuffle, batch_size=100, **more)
            for rows, found in prepared.epoch(0):
                np.testing.assert_array_equal(found, ready[rows])
        # The same order from an array, which has no chunks.
        np.testing.assert_array_equal(order, numbers(Batches(X, shuffle=shuffle, **more).epoch(0)))
    with pytest.raises(ValueError, match="closed"):
        list(batches)


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_batches_may_be_changed(shuffle):
    X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    kept = X.copy()
    for _ in range(2):
        for rows, batch in Batches(X, shuffle=shuffle, batch_size=300).epoch(0):
            np.testing.assert_array_equal(batch, kept[rows])
            batch += 1
            rows += 1
    np.testing.assert_array_equal(X, kept)


def test_blocks_are_whole_chunks():
    assert Batches(Own(10**6, 2, chunk=1000), shuffle="batch").block_rows == 1_000_000
    assert Batches(Own(10**7, 2, chunk=1000), shuffle="batch").block_rows == 1_048_000
    assert Batches(Own(10**7, 2, chunk=3_000_000), shuffle="batch").block_rows == 3_000_000
    assert Batches(Own(10**7, 2, chunk=1000), shuffle="buffer").block_rows == 131_000
    assert Batches(Own(10**7, 2, chunk=1000), shuffle="buffer").buffer_rows == 1 << 23
    # A chunk beyond 256 MiB is cut, so that memory stays bounded.
    assert Batches(Own(10**8, 2, chunk=10**8), shuffle="batch").block_rows == 33_333_334


def test_two_readers_of_one_source_wait_for_each_other():
    first_loads, second_loads = threading.Event(), threading.Event()

    def load(number):
        if number == 0:
            first_loads.set()
            # It would come at once, if it did not wait.
            assert not second_loads.wait(0.2)
        else:
            second_loads.set()
        return number

    bands = LastBand(np.array([0, 10, 20]), load)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(bands.__getitem__, 0)
        assert first_loads.wait(30)
        second = pool.submit(bands.__getitem__, 1)
        assert (first.result(), second.result()) == (0, 1)


# ------------------------------------------------------------------------------------------- options


def test_many_reads_of_each_chunk_are_told_once():
    source = Own(20_000_000, 1, chunk=1000)
    with pytest.warns(UserWarning, match=r"reads each chunk of Own of shape .* some 199 times .* use shuffle='buffer'"):
        batches = Batches(source, buffer_rows=100_000)
    assert len(batches) == 78_125 and not source.reads
    Batches(source, buffer_rows=10_000_000)
    Batches(source, shuffle="buffer", buffer_rows=100_000)
    Batches(Own(20_000_000, 1), buffer_rows=100_000)


@pytest.mark.parametrize("chunk, group", [(1, 100), (20, 40), (50, 8)])
def test_reads_of_a_chunk_are_foreseen(chunk, group):
    source = Own(400, chunk=chunk)
    list(Batches(source, batch_size=1, buffer_rows=group).epoch(0))
    assert len(source.reads) / (400 / chunk) == pytest.approx(reads_of_a_chunk(source, group), rel=0.15)


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"shuffle": "bufer"}, ValueError, "did you mean 'buffer'"),
        ({"batch_size": 0}, ValueError, "batch_size=0 must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size=2.5 is not a whole number"),
        ({"prefetch": -1}, ValueError, "prefetch=-1"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"block_rows": 10}, ValueError, "block_rows=10 has no meaning with shuffle='full'"),
        ({"shuffle": "batch", "buffer_rows": 10}, ValueError, "buffer_rows=10 has no meaning with shuffle='batch'"),
        ({"shuffle": "buffer", "buffer_rows": 10}, ValueError, r"no block of 20 rows \(the table is .* chunks of 20\)"),
        ({"shuffle": "buffer", "block_rows": 60, "buffer_rows": 50}, ValueError, "use at least 60"),
        ({"drop_last": True, "batch_size": 101}, ValueError, "100 rows, and drop_last leaves out .* batch_size=101"),
        ({"balanced": [1, 2]}, ValueError, "balanced has 2 labels, but the table has 100 rows"),
        ({"balanced": np.ones(100), "weights": np.ones(100)}, ValueError, "pass one of them"),
        ({"balanced": np.ones(100), "shuffle": "batch"}, ValueError, "balanced .* needs shuffle='full', not 'batch'"),
        ({"weights": np.ones(100), "shuffle": None}, ValueError, "weights .* needs shuffle='full', not None"),
        ({"weights": np.ones(99)}, ValueError, r"weights have shape \(99,\), but the table has 100 rows"),
        ({"weights": -np.arange(100)}, ValueError, "row 1 has -1"),
        ({"weights": np.full(100, np.nan)}, ValueError, "row 0 has nan"),
        ({"weights": np.zeros(100)}, ValueError, "all zero"),
    ],
)
def test_wrong_options(options, error, says):
    with pytest.raises(error, match=says):
        Batches(Own(100, chunk=20), **options)


def test_wrong_epochs_and_starts():
    batches = Batches(Own(100), batch_size=30)
    with pytest.raises(ValueError, match="start_batch=5 is beyond the 4 batches"):
        batches.epoch(0, start_batch=5)
    with pytest.raises(ValueError, match="epoch=-1"):
        batches.epoch(-1)
    with pytest.raises(ValueError, match="there is no batch"):
        Batches(np.empty((0, 3)))


def test_a_table_without_columns_is_refused():
    with pytest.raises(ValueError, match=r"array of shape \(5, 0\) has no columns"):
        Batches(np.zeros((5, 0), np.float32))


@pytest.mark.parametrize(
    "n, size, drop_last, count", [(10, 4, False, 3), (10, 4, True, 2), (8, 4, True, 2), (1, 4, False, 1)]
)
@pytest.mark.parametrize("shuffle", [None, "full"])
def test_it_is_shown_by_what_it_gives(n, size, drop_last, count, shuffle):
    batches = Batches(np.zeros((n, 2), np.float32), batch_size=size, shuffle=shuffle, drop_last=drop_last, seed=0)
    assert sum(1 for _ in batches.epoch(0)) == count
    assert repr(batches) == f"{count} batches of {size} rows, shuffle={shuffle!r}, of {batches.source!r}"


@pytest.mark.parametrize("buffer_rows", [24, 60, 1000])
def test_blocks_of_a_buffer_are_read_in_the_order_of_the_file(buffer_rows):
    """So that a disk need not go to and fro, whatever order their rows come in."""
    source = Own(250)
    batches = Batches(source, batch_size=10, shuffle="buffer", block_rows=6, buffer_rows=buffer_rows, prefetch=0)
    together = buffer_rows // 6
    for epoch in range(3):
        source.reads.clear()
        assert sorted(numbers(batches.epoch(epoch))) == list(range(250))
        starts = [start for start, _ in source.reads]
        turns = sum(b < a for a, b in pairwise(starts))
        # It goes back once for each buffer but the first, at the most.
        assert turns < -(-42 // together) and (together >= 42 or turns > 0)
