"""Boxes keep what a look at all rows at once would keep, in bounded memory, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc._kernels.boxes import draw_priorities
from tsne_ooc.sampling import Coverage, draw
from tsne_ooc.sampling.boxes import Boxes, Grid

MASK = (1 << 64) - 1


def mix(state):
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def slow_boxes(grid, X, level, per_box):
    """Rows by box, lowest priorities first; boxes as tuples of Python numbers."""
    q = len(grid.origin)
    shifts = [(level + j) // q for j in range(q)]
    boxes = {}
    steps = np.floor((X.astype(np.float64) @ grid.axes - grid.origin) / grid.side)
    for row, point in enumerate(steps):
        cell = tuple((int(x) + (1 << 48)) >> s for x, s in zip(point, shifts, strict=True))
        boxes.setdefault(cell, []).append((mix(mix(row) ^ grid.seed), row))
    return [[row for _, row in sorted(members)[:per_box]] for members in boxes.values()]


def slow_keep(grid, X, capacity, per_box):
    """The boxes of the lowest level at which they hold no more than `capacity` rows."""
    for level in range(10_000):
        boxes = slow_boxes(grid, X, level, per_box)
        if sum(map(len, boxes)) <= capacity:
            return boxes


def streamed(grid, X, capacity, per_box, order, block):
    boxes = Boxes(grid, capacity, per_box)
    for start in range(0, len(X), block):
        part = order[start : start + block]
        boxes.add(part, X[part], part * 10)
        assert boxes.held <= 2 * capacity
    return boxes


def some_rows(n, copies, seed):
    rng = np.random.default_rng(seed)
    X = (rng.integers(-40, 40, (n, 2)) / 2).astype(np.float32)
    X[rng.random(n) < copies] = X[0]
    return X


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 150),
    capacity=st.integers(1, 40),
    per_box=st.integers(1, 6),
    block=st.integers(1, 200),
    copies=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_any_stream_ends_as_a_look_at_all_rows_does(n, capacity, per_box, block, copies, seed):
    X = some_rows(n, copies, seed)
    rng = np.random.default_rng(seed)
    grid = Grid.over(X[:20], 2, rng)
    boxes = streamed(grid, X, capacity, per_box, rng.permutation(n), block)
    rows, tens = boxes.draw(n)
    np.testing.assert_array_equal(tens, rows * 10)
    expected = slow_keep(grid, X, capacity, min(per_box, capacity))
    assert rows.tolist() == sorted(row for box in expected for row in box)
    if len(expected) * per_box > capacity // 2 and len(np.unique(X, axis=0)) > capacity:
        assert len(rows) > capacity // 2


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 60), per_box=st.integers(1, 6), seed=st.integers(0, 99))
def test_draws_of_whole_boxes_filled_up_evenly(size, per_box, seed):
    X = some_rows(200, 0.3, seed)
    grid = Grid.over(X, 2, np.random.default_rng(seed))
    drawn = set(streamed(grid, X, 60, per_box, np.arange(200), 50).draw(size)[0].tolist())
    kept = slow_keep(grid, X, 60, per_box)
    assert len(drawn) == min(size, sum(map(len, kept)))
    coarse = slow_keep(grid, X, max(size, per_box), per_box)
    whole = {row for box in coarse for row in box}
    assert drawn <= whole or whole <= drawn
    # What was filled up: where a box could have given one row more, none gave two more than it.
    boxes = [(len(drawn & set(box)), len(whole & set(box)), len(box)) for box in kept]
    least = min([given_ for given_, _, size in boxes if given_ < size], default=per_box)
    assert all(given_ <= max(before, least + 1) for given_, before, _ in boxes)


def test_numbers_drawn_to_rows_are_splitmix_and_uniform():
    rows = np.arange(20_000)
    priorities = np.empty(len(rows), np.uint64)
    draw_priorities(rows, 5, priorities)
    assert priorities[:3].tolist() == [mix(mix(row) ^ 5) for row in range(3)]
    assert len(np.unique(priorities)) == len(rows)
    # The mean of 20,000 uniform numbers is off by 4 standard errors once in 16,000 seeds.
    assert abs(priorities.astype(float).mean() / 2**64 - 0.5) < 4 / np.sqrt(12 * len(rows))


class Cut:
    """A table whose storage makes `iterate` cut it as given, and that counts what it is asked for."""

    def __init__(self, X, chunk):
        self._X, self.shape, self.dtype = X, X.shape, X.dtype
        self.chunks = None if chunk is None else (chunk, X.shape[1])

    def __getitem__(self, rows):
        return self._X[rows]


@pytest.mark.parametrize("p", [3, 40])
def test_coverage_is_the_same_for_any_storage_and_is_exact(p, monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, p)).astype(np.float32)
    expected = None
    for chunk, block_bytes in [(None, 32 << 20), (7, 4000), (500, 9000)]:
        # `iterate` takes its default when it is defined.
        from tsne_ooc.io import blocks

        monkeypatch.setitem(blocks.iterate.__kwdefaults__, "bytes", block_bytes)
        rows, sample = Coverage(250).draw(Cut(X, chunk), np.random.default_rng(3))
        expected = rows if expected is None else expected
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(sample, X[rows])
    assert len(expected) == 250 and (np.diff(expected) > 0).all()


def test_coverage_keeps_a_rare_group_that_a_uniform_sample_loses():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 5)).astype(np.float32)
    rare = rng.choice(len(X), 25, replace=False)
    X[rare] = 6 + 0.05 * rng.normal(size=(25, 5))
    rows, _ = Coverage(1000).draw(X, rng)
    # A uniform sample would have 0.5 of the 25 rows.
    assert np.isin(rare, rows).sum() >= 20
    # One dimension says what even means: half the boxes lie in the sparse half of the range.
    line = np.concatenate([rng.uniform(0, 1, 99_000), rng.uniform(1, 2, 1000)])[:, None]
    rows, sample = Coverage(500, rows_per_box=5).draw(line, rng)
    assert 0.4 < (sample > 1).mean() < 0.6


@pytest.mark.parametrize("X", [np.zeros((400, 3)), np.repeat(np.arange(8.0), 50)[:, None]], ids=["one", "eight"])
def test_coverage_of_few_distinct_rows_is_filled_up(X):
    rows, sample = Coverage(100, rows_per_box=2).draw(X, np.random.default_rng(0))
    assert len(np.unique(rows)) == 100
    counts = np.unique(sample, return_counts=True)[1]
    assert len(counts) == len(np.unique(X)) and (len(counts) == 1 or counts.min() >= 2)


def test_coverage_of_few_rows_is_all_of_them():
    rows, sample = Coverage(100).draw(np.eye(5), np.random.default_rng(0))
    np.testing.assert_array_equal(rows, np.arange(5))
    np.testing.assert_array_equal(sample, np.eye(5))


def test_far_outliers_do_not_make_boxes_coarse():
    X = np.random.default_rng(0).uniform(size=(5000, 2)).astype(np.float32)
    X[0] = 1e6
    rows, sample = Coverage(400, rows_per_box=1).draw(X, np.random.default_rng(0))
    assert len(rows) == 400
    inner = sample[sample[:, 0] < 2]
    # 398 boxes over the unit square: each of its 16 parts has some 25.
    counts = np.histogram2d(inner[:, 0], inner[:, 1], bins=4, range=[[0, 1], [0, 1]])[0]
    assert counts.min() > 10


def test_rows_below_all_that_were_seen_have_boxes_of_their_own():
    grid = Grid.over(np.random.default_rng(0).uniform(size=(50, 2)).astype(np.float32), 2, np.random.default_rng(0))
    low = np.linspace(-1000, -100, 50, dtype=np.float32)[:, None].repeat(2, 1)
    assert (np.diff(grid.coordinates(low), axis=0) > 0).all()
    # What no number of 62 bits can tell is put into the outermost boxes.
    assert grid.coordinates(np.array([[-1e30, 1e30]], np.float32))[0].tolist() == [0, 2**62 - 2**32]


def test_coverage_rejects_what_is_no_number():
    for name in ("size", "rows_per_box", "directions"):
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            Coverage(**{"size": 5, name: 0})


def test_draw_is_untouched_by_the_package():
    assert draw(3, 9, np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_a_row_that_lacks_a_value_is_at_the_mean_of_the_others():
    """Of a column that nobody has it is at 0; its type is that of the rows, so that the grid does not widen them."""
    X = np.random.default_rng(0).normal(5, 1, (40, 3)).astype(np.float32)
    X[::3, 0] = np.nan
    X[:, 2] = np.nan
    grid = Grid.over(X, 16, np.random.default_rng(0))
    wanted = X[:, :2].astype(float)
    np.testing.assert_allclose(grid.middle[:2], np.nanmean(wanted, axis=0), rtol=1e-6)
    assert grid.middle[2] == 0 and grid.middle.dtype == np.float32
    filled = np.where(np.isnan(X), grid.middle, X)
    np.testing.assert_array_equal(grid.coordinates(X), grid.coordinates(filled))


@pytest.mark.parametrize("row, extent", [([0.5, -0.25], 1), ([3, -50], 50), ([-7, 2], 7), ([0, 0], 1)])
def test_rows_that_are_all_equal_have_boxes_of_their_own_size(row, extent):
    """An extent of 0 would be no grid: theirs is that of their largest number, and of small ones 1."""
    X = np.tile(np.array(row, np.float32), (5, 1))
    grid = Grid.over(X, 16, np.random.default_rng(0))
    assert grid.side * 2**32 == pytest.approx(extent)
    assert len(np.unique(grid.coordinates(X), axis=0)) == 1


def test_below_the_rows_that_were_seen_there_is_room_for_two_to_the_sixteen_times_their_extent():
    """Of 2^32 smallest boxes each; what is farther shares the outermost box with all that is."""
    X = np.float32([[0, 0], [1, 0.25]])
    grid = Grid.over(X, 2, np.random.default_rng(0))
    assert grid.side == 2.0**-32
    Q = np.array([[-(2.0**16) + 2, 0], [-(2.0**16) - 2, 0], [0, 0], [1, 0]], np.float32)
    found = grid.coordinates(Q)[:, 0]
    assert 0 < found[0] < 2**34 and found[1] == 0
    assert found[3] - found[2] == 2**32 and 2**48 <= found[2] <= 2**48 + 2**32
    wanted = np.floor((Q[:, 0].astype(float) - grid.origin[0]) * 2**32) + 2**48
    np.testing.assert_array_equal(found, np.maximum(wanted, 0))


def test_from_nothing_nothing_is_drawn():
    grid = Grid.over(np.float32([[0, 0], [1, 1]]), 2, np.random.default_rng(0))
    boxes = Boxes(grid, 5, 9)
    (rows,) = boxes.draw(3)
    assert rows.dtype == np.int64 and rows.shape == (0,) and boxes.held == 0
    # A box keeps no more rows than there is room for.
    assert boxes.per_box == 5


@pytest.mark.parametrize(
    ("p", "directions", "plain"), [(1, 16, True), (15, 16, True), (16, 16, True), (17, 16, False), (3, 2, False)]
)
def test_boxes_are_cut_along_columns_where_there_are_no_more_than_directions(p, directions, plain):
    X = np.random.default_rng(0).normal(size=(30, p)).astype(np.float32) * np.arange(1, p + 1, dtype=np.float32)
    grid = Grid.over(X, directions, np.random.default_rng(0))
    assert grid.axes.shape == (p, min(p, directions)) and len(grid.origin) == min(p, directions)
    assert (grid.axes.shape == (p, p) and (grid.axes == np.eye(p)).all()) == plain
    # The longest of the sides that rows take along these is cut into 2^32 boxes.
    seen = X.astype(float) @ grid.axes
    assert grid.side * 2.0**32 == pytest.approx(np.ptp(seen, axis=0).max(), rel=1e-9)
    assert (grid.origin <= seen.min(axis=0)).all() and grid.coordinates(X).shape == (30, min(p, directions))


@pytest.mark.parametrize("block", [7, 700])
@pytest.mark.parametrize("seed", range(4))
def test_a_sample_takes_no_more_memory_than_it_says_and_no_other_rows_where_boxes_have_enough(seed, block, monkeypatch):
    """Numbers and coordinates of four times its rows at most; rows are drawn to look at, and not to fill it up."""
    from tsne_ooc.sampling import coverage

    X = np.random.default_rng(seed).uniform(size=(700, 2)).astype(np.float32)
    held, drawn, settle, size = [], [], Boxes._settle, 30 + seed
    monkeypatch.setattr(Boxes, "_settle", lambda self: (held.append(self.held), settle(self)))
    monkeypatch.setattr(coverage, "draw", lambda n, size, rng: drawn.append((n, size)) or draw(n, size, rng))
    monkeypatch.setattr(
        coverage, "iterate", lambda table: ((a, a + block, table.read(a, a + block)) for a in range(0, 700, block))
    )
    told = []
    sample = Coverage(size, rows_per_box=2)
    rows, found = sample.draw(X, np.random.default_rng(0), progress=lambda *done: told.append(done))
    assert len(rows) == size and (np.diff(rows) > 0).all() and max(held) <= 4 * size
    assert drawn == [(700, 1000)] and told[0] == ("sample", block, 700) and told[-1] == ("sample", 700, 700)
    np.testing.assert_array_equal(found, X[rows])
    # Of eight different rows two each are kept, and the others are drawn from those that are left.
    copies = np.repeat(np.arange(8, dtype=np.float32), 90)[:700, None]
    rows, _ = sample.draw(copies, np.random.default_rng(seed))
    assert len(rows) == size and (np.diff(rows) > 0).all() and drawn[1:] == [(700, 1000), (700, size)]
