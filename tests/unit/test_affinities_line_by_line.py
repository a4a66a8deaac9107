"""Kernels of affinities and of sums as Python itself runs them, line by line, held against the words of their heads."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from line_by_line import plain, smaller
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.special import expit


@pytest.fixture(autouse=True)
def wrapped():
    """Whole numbers without a sign go round, as they do in compiled code."""
    with np.errstate(all="ignore"):
        yield


# ----------------------------------------------------------------------------------------------------------- affinities


def entropy(beta, squares):
    weights = np.exp(-beta * squares)
    p = weights / weights.sum()
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum())


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_precision_has_the_perplexity_that_is_asked_for(scale):
    """In units of the mean excess, by a search between two bounds; rows far off, copies, and neighbours far out."""
    rng = np.random.default_rng(0)
    find = plain("calibrate")["_precision"]
    rows = [np.sort(rng.gamma(shape, size=12)) for shape in (0.3, 1, 30)]
    rows += [1e3 + rows[1], np.r_[0, 0, 0, rows[1][3:]], np.r_[rows[0][:11], 1e6]]
    for row in rows:
        distances = (scale * row).astype(np.float32)[None]
        squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
        for perplexity in (3.5, 5.0, 10.0):
            beta, unit = find(distances, 0, math.log(perplexity))
            assert unit == pytest.approx(12 / squares.sum())
            assert entropy(beta * unit, squares) == pytest.approx(math.log(perplexity), abs=3e-5)
    assert find(np.full((1, 5), scale, np.float32), 0, 1.0) == (0.0, 0.0)


def test_rows_as_far_out_as_no_weight_can_reach_do_not_set_the_unit():
    near = np.sort(np.random.default_rng(0).gamma(2, size=9))
    for far in (1e15, 1e18):
        distances = np.r_[near, np.full(3, far)].astype(np.float32)[None]
        squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
        beta, unit = plain("calibrate")["_precision"](distances, 0, math.log(4.0))
        assert unit == pytest.approx(9 / squares[:9].sum())
        assert entropy(beta * unit, squares) == pytest.approx(math.log(4.0), abs=3e-5)
    # Those that are not that far count.
    distances = np.r_[near, np.full(3, 1e6)].astype(np.float32)[None]
    squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
    assert plain("calibrate")["_precision"](distances, 0, math.log(4.0))[1] == pytest.approx(12 / squares.sum())


def test_a_precision_is_found_in_few_looks():
    """Five or six for each row, where halving intervals takes twenty."""
    looks = []
    math_ = SimpleNamespace(**{name: getattr(math, name) for name in ("exp", "ceil", "inf", "copysign")})
    math_.log = lambda x: looks.append(x) or math.log(x)
    find, rng = smaller("calibrate", math=math_)["_precision"], np.random.default_rng(0)
    for shape in (0.5, 1, 3, 30):
        distances = np.sort(rng.gamma(shape, size=(20, 30)), axis=1).astype(np.float32)
        distances[::5] += 100
        for row in range(20):
            for perplexity in (2.5, 10, 25):
                find(distances, row, math.log(perplexity))
    assert len(looks) < 8 * 240


def rows_of(kind):
    """Twenty ascending distances: of all sizes, of some, or with so many that are the nearest alike."""
    rng, few = np.random.default_rng(0), (1, 2, 3, 5, 8, 12, 19)
    if kind == "copies":
        return [np.r_[np.zeros(c), np.sort(rng.gamma(2, size=20 - c))] for c in few]
    if kind == "copies far off":
        return [np.r_[np.full(c, 3.0), 3 + np.sort(rng.gamma(2, size=20 - c))] for c in few]
    if kind == "two distances":
        return [np.r_[np.full(c, 1e-6), np.full(20 - c, 1e3)] for c in few]
    wide = (-15, 37) if kind == "all sizes" else (-3, 3)
    return [np.sort(10.0 ** rng.uniform(*wide, 20)) for _ in range(12)]


@pytest.mark.parametrize("kind", ["all sizes", "six sizes", "copies", "copies far off", "two distances"])
def test_a_precision_is_found_wherever_it_is_and_no_sharper_one_is_sought_for_copies(kind):
    """Within a hundred-thousandth of the entropy; of copies no fewer than all are near, which is known in time."""
    looks = []
    math_ = SimpleNamespace(**{name: getattr(math, name) for name in ("exp", "ceil", "inf", "copysign")})
    math_.log = lambda x: looks.append(x) or math.log(x)
    find = smaller("calibrate", math=math_)["_precision"]
    for perplexity in (1.5, 3.0, 8.5, 13.0, 19.5):
        taken = []
        for row in rows_of(kind):
            distances = row.astype(np.float32)[None]
            looks.clear()
            beta, unit = find(distances, 0, math.log(perplexity))
            taken.append(len(looks))
            squares = np.square(distances[0].astype(float)) - float(distances[0, 0]) ** 2
            wanted = math.log(max(perplexity, np.count_nonzero(squares == 0)))
            assert entropy(beta * unit, squares) == pytest.approx(wanted, abs=1.1e-5)
        # Before the search ends by itself, after 64 steps.
        assert max(taken) < (36 if "sizes" in kind else 62)
        assert "sizes" not in kind or np.mean(taken) < 17


def test_no_precision_tells_copies_apart():
    """More of them than the perplexity asks for, of which all are equally likely, and nobody else is."""
    distances = np.array([[2, 2, 2, 2, 3, 4], [0, 0, 0, 0, 0, 1e-3]], np.float32)
    out = np.zeros((2, 6), np.float32)
    plain("calibrate")["calibrate"](distances, math.log(3.0), np.float32(1), 0, 2, out)
    np.testing.assert_allclose(out, [[0.25] * 4 + [0] * 2, [0.2] * 5 + [0]], atol=1e-6)


def test_shares_of_probabilities_are_added_to_a_range_of_rows():
    rng = np.random.default_rng(1)
    distances = np.sort(rng.gamma(3, size=(5, 8)), axis=1).astype(np.float32)
    distances[2] = 4
    out = np.full((5, 8), 2, np.float32)
    plain("calibrate")["calibrate"](distances, math.log(3.0), np.float32(0.25), 1, 4, out)
    assert (out[[0, 4]] == 2).all()
    np.testing.assert_allclose(out[2], 2 + 0.25 / 8)
    for row in (1, 3):
        p = (out[row].astype(float) - 2) / 0.25
        assert p.sum() == pytest.approx(1, abs=1e-4)
        squares = np.square(distances[row].astype(float))
        beta = brentq(lambda b, s=squares: entropy(b, s - s[0]) - math.log(3.0), 1e-9, 1e9)
        weights = np.exp(-beta * (squares - squares[0]))
        np.testing.assert_allclose(p, weights / weights.sum(), atol=3e-4)


def test_a_mixture_is_a_sum_of_gaussian_densities():
    """Each of its own bandwidth, and so of its own height; a row at one distance from all has equal shares."""
    rng = np.random.default_rng(1)
    distances = np.sort(rng.gamma(3, size=(4, 8)), axis=1).astype(np.float32)
    distances[3] = 4
    scales, out = np.log([2.0, 3.0, 6.0]), np.zeros((4, 8), np.float32)
    plain("calibrate")["mix"](distances, scales, 1, 4, out)
    assert not out[0].any()
    np.testing.assert_allclose(out[3], 1 / 8)
    for row in (1, 2):
        squares = np.square(distances[row].astype(float))
        betas = [brentq(lambda b, s=squares, h=h: entropy(b, s - s[0]) - h, 1e-9, 1e9) for h in scales]
        weights = sum(math.sqrt(beta) * np.exp(-beta * squares) for beta in betas)
        np.testing.assert_allclose(out[row], weights / weights.sum(), atol=1e-3)
    # Rows so far from all others that no density is left of any of them in double precision.
    far = (1e5 + 4 * distances).astype(np.float32)
    plain("calibrate")["mix"](far, scales, 0, 2, out)
    np.testing.assert_allclose(out[:2].sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(out[:2], axis=1) <= 0).all() and (out[:2] < 0.9).all()


# -------------------------------------------------------------------------------------------------------- an activation


def test_silu_at_any_number():
    x = np.r_[np.linspace(-30, 30, 400), 0.0, 1e-3, 15.9, -15.9].astype(np.float32)
    found = np.array([plain("activation")["silu"](one) for one in x])
    wanted = x.astype(float) * expit(x.astype(float))
    assert (np.abs(found - wanted) <= 5e-7 * np.maximum(1, np.abs(x))).all()


def test_places_are_those_of_the_last_layers_words():
    """Layer normalisation, SiLU, the head, a line that is eased beyond its reach, and bounds of the map."""
    kernels, rng = plain("activation"), np.random.default_rng(0)
    m, w, p, d = 6, 5, 3, 2
    h, x = rng.normal(size=(m, w)).astype(np.float32), rng.normal(size=(m, p)).astype(np.float32)
    bias, gain, shift = (rng.normal(size=w).astype(np.float32) for _ in range(3))
    head, skip = rng.normal(size=(d, w)).astype(np.float32), 2 * rng.normal(size=(d, p)).astype(np.float32)
    straight, origin = rng.normal(size=d).astype(np.float32), rng.normal(size=d).astype(np.float32)
    low, high, margin, reach = np.full(d, -1, np.float32), np.full(d, 2, np.float32), np.float32(0.5), np.float32(1.5)

    def eased(value, low, high, margin):
        inside = np.clip(value, low, high)
        return inside + margin * np.tanh((value - inside) / margin)

    z = h.astype(float) + bias
    z = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5) * gain + shift
    active = z * expit(z)
    line = straight + x.astype(float) @ skip.T
    assert (np.abs(line) > reach).any() and (np.abs(line) < reach).any()
    wanted = eased(
        origin + active @ head.T.astype(float) + eased(line, -reach, reach, reach) - straight, low, high, margin
    )
    out, room, hidden = np.zeros((m, d), np.float32), np.zeros(w, np.float32), np.zeros((m, w), np.float32)
    kernels["normalised_silu"](h, bias, gain, shift, hidden)
    np.testing.assert_allclose(hidden, active, atol=2e-6)
    kernels["places"](h, bias, gain, shift, head, x, skip, straight, reach, origin, low, high, margin, room, out)
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    assert ((out > high).any() or (out < low).any()) and ((out < high) & (out > low)).any()


def test_rows_are_standardised_a_number_at_a_time():
    rows = np.array([[1, -5, np.nan], [9, 2, 0]], np.float32)
    out = np.zeros((2, 3), np.float32)
    center, scale = np.array([1, 1, 2], np.float32), np.array([2, 3, 4], np.float32)
    plain("activation")["standardised"](rows, center, np.float32(4), scale, out)
    np.testing.assert_array_equal(out, np.array([[0, -12, np.nan], [8, 3, -8]], np.float32))


# ----------------------------------------------------------------------------------------------------- joint affinities


@pytest.mark.parametrize("differ", [True, False])
def test_edges_of_both_ways_are_merged_once(differ):
    """By blocks of rows, from one scan of all edges or from edges that were scattered before."""
    kernels, rng = plain("symmetrize"), np.random.default_rng(0)
    n, k = 9, 3
    neighbors = np.array([rng.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)], np.uint32)
    p = rng.random((n, k)).astype(np.float32) if differ else np.empty((0, 0), np.float32)
    dense = np.zeros((n, n))
    np.put_along_axis(dense, neighbors.astype(int), p if differ else 1.0, axis=1)
    counts = np.zeros(n, np.int64)
    kernels["count_incoming"](neighbors, counts)
    np.testing.assert_array_equal(counts, (dense > 0).sum(axis=0))
    block_of = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2], np.uint16)
    of_blocks = np.zeros(3, np.int64)
    kernels["count_edges"](neighbors, block_of, of_blocks)
    np.testing.assert_array_equal(of_blocks, np.bincount(block_of[neighbors.ravel()]))
    edges = n * k
    targets, froms, of_edges = (
        np.zeros(edges, np.uint32),
        np.zeros(edges, np.uint32),
        np.zeros(edges if differ else 0, np.float32),
    )
    starts = np.r_[0, np.cumsum(of_blocks)]
    kernels["scatter_edges"](neighbors, p, 0, block_of, starts[:-1].copy(), targets, froms, of_edges)
    for block, (first, last) in enumerate(((0, 4), (4, 7), (7, 9))):
        offsets = np.r_[0, np.cumsum(counts[first:last])].astype(np.uint64)
        room = int(offsets[-1])
        ways = []
        for scattered in (False, True):
            sources, into = np.zeros(room, np.uint32), np.zeros(room if differ else 0, np.float32)
            if scattered:
                some = slice(starts[block], starts[block + 1])
                kernels["sort_edges"](
                    targets[some], froms[some], of_edges[some], first, offsets[:-1].copy(), sources, into
                )
            else:
                kernels["gather_incoming"](neighbors, p, first, last, offsets[:-1].copy(), sources, into)
            ways.append((sources.tolist(), into.tolist()))
        assert ways[0] == ways[1]
        own = neighbors[first:last], (p[first:last] if differ else p)
        scale, place, ends = np.float32(0.25), np.zeros(n, np.uint32), np.zeros(last - first + 1, np.uint64)
        kernels["merge"](
            *own, offsets, sources, into, scale, place, ends, np.empty(0, np.uint32), np.empty(0, np.float32)
        )
        np.cumsum(ends, out=ends)
        found, values = np.zeros(int(ends[-1]), np.uint32), np.zeros(int(ends[-1]) if differ else 0, np.float32)
        kernels["merge"](*own, offsets, sources, into, scale, place, ends, found, values)
        assert not place.any()
        for row in range(first, last):
            some = slice(int(ends[row - first]), int(ends[row - first + 1]))
            both = dense[row] + dense[:, row]
            new = [j for j in np.flatnonzero(dense[:, row]) if not dense[row, j]]
            assert found[some].tolist() == [*neighbors[row].tolist(), *new]
            if differ:
                np.testing.assert_allclose(values[some], 0.25 * both[found[some]], rtol=1e-6)


# ---------------------------------------------------------------------------------------------- hashes, sums and counts


def test_numbers_of_rows_are_mixed_as_their_authors_have_it():
    """The first number of SplitMix64 from 0, and MurmurHash3's finaliser of 1, as published."""
    assert plain("boxes")["_mix"](np.uint64(0x9E3779B97F4A7C15)) == 0xE220A8397B1DCDAF
    assert plain("equal")["_mix"](np.uint64(1)) == 0xB456BCFC34C2CB2C


def test_hashes_of_rows_are_those_of_their_cells_in_any_form():
    kernels, rng = plain("equal"), np.random.default_rng(0)
    rows = np.where(rng.random((8, 6)) < 0.5, rng.normal(size=(8, 6)), 0).astype(np.float32)
    rows[3] = rows[5]
    rows[4], rows[6] = rows[7], 0
    rows[4, np.flatnonzero(rows[4] == 0)] = -0.0
    dense, sparse = np.zeros((2, 8, 2), np.uint64)
    kernels["hash_dense"](rows.view(np.uint32), 1, 8, dense)
    table = csr_array(rows)
    for i in range(8):
        # Entries in another order, and a zero among them.
        some = slice(table.indptr[i], table.indptr[i + 1])
        table.indices[some], table.data[some] = table.indices[some][::-1].copy(), table.data[some][::-1].copy()
    kernels["hash_sparse"](table.indptr, table.indices, table.data.view(np.uint32), 1, 8, sparse)
    np.testing.assert_array_equal(dense, sparse)
    assert not dense[0].any() and not dense[6].any()
    assert (dense[3] == dense[5]).all() and (dense[4] == dense[7]).all()
    assert len({*dense[1:, 0].tolist()}) == len({*dense[1:, 1].tolist()}) == 5
    # Neither half is the other, and numbers that change places make another row.
    assert not set(dense[1:6, 0].tolist()) & set(dense[1:6, 1].tolist())
    turned = np.ascontiguousarray(rows[:, ::-1])
    other = np.zeros((8, 2), np.uint64)
    kernels["hash_dense"](turned.view(np.uint32), 0, 8, other)
    assert not set(other[[1, 2, 3]].ravel().tolist()) & set(dense.ravel().tolist())


def test_rows_of_one_box_have_one_hash_and_each_row_a_number_of_its_own():
    kernels, rng = plain("boxes"), np.random.default_rng(0)
    rows, numbers = np.arange(200), np.zeros((2, 200), np.uint64)
    for seed in (0, 1):
        kernels["draw_priorities"](rows, seed, numbers[seed])
    assert len({*numbers.ravel().tolist()}) == 400
    coordinates = rng.integers(0, 32, (200, 2)).astype(np.uint64)
    shifts, hashes = np.array([3, 2], np.uint64), np.zeros((2, 200), np.uint64)
    for seed in (0, 1):
        kernels["hash_boxes"](coordinates, shifts, seed, hashes[seed])
    boxes = [tuple(row) for row in (coordinates >> shifts).tolist()]
    for seed in (0, 1):
        assert len({*zip(boxes, hashes[seed].tolist(), strict=True)}) == len({*boxes}) == len({*hashes[seed].tolist()})
    assert (hashes[0] != hashes[1]).all()


@pytest.mark.parametrize("p", [3, 4, 5, 8, 11])
def test_rows_are_projected_one_by_one(p):
    rng = np.random.default_rng(p)
    rows, mean, axes, out = rng.normal(size=(5, p)), rng.normal(size=p), rng.normal(size=(p, 3)), np.full((5, 3), 9.0)
    plain("project")["project"](rows, mean, axes, out)
    np.testing.assert_allclose(out, (rows - mean) @ axes, rtol=1e-12)


def test_rows_below_a_reach_are_added_to_what_was_counted():
    distances = np.array([[1, 2, 2, 5], [0, 0, 1, 9]], np.float32)
    reach, counts = np.array([[2, 6, 1], [0, 1, 10]], np.float32), np.full((2, 3), 10)
    plain("ranks")["count_below"](distances, reach, counts)
    assert counts.tolist() == [[11, 14, 10], [10, 12, 14]]


def test_novelty_is_a_ratio_of_means_and_finite():
    kernels = plain("novelty")
    distances, means = np.array([[1, 2, 9], [3, 5, 9]], np.float32), np.zeros(2, np.float32)
    kernels["mean_distances"](distances, 2, means)
    assert means.tolist() == [1.5, 4]
    own, out = np.array([2, 0.5, 1e-38], np.float32), np.zeros(2, np.float32)
    kernels["novelty"](np.array([[1, 0, 2], [0, 0, 1]], np.uint32), distances, own, 2, out)
    np.testing.assert_allclose(out, [3 / 2.5, 8 / 4], rtol=1e-6)
    kernels["novelty"](np.full((2, 3), 2, np.uint32), distances * np.float32(1e5), own, 2, out)
    assert (out == np.finfo(np.float32).max).all()


def test_rows_of_a_map_are_counted_in_cells():
    """Those beyond the frame at its rim, and those without a place nowhere; values in steps, where there is one."""
    kernels, rng = plain("cells"), np.random.default_rng(0)
    Y = rng.uniform(-1, 6, (60, 2)).astype(np.float32)
    # Rows exactly on each side of the box and of the frame are within.
    Y[20:28] = np.float32([[0, 1], [4, 1], [1, 0.5], [1, 3.5], [0, 0.5], [4, 3.5], [0, 3.5], [4, 0.5]])
    Y[5, 0], Y[9, 1], Y[11] = np.nan, np.inf, -np.inf
    Y[[12, 13], 0], Y[[14, 15], 1] = [np.inf, -np.inf], [-np.inf, np.nan]
    there = np.isfinite(Y).all(axis=1)
    box = np.array([0, 0.5, 4, 3.5])
    low, high, inner_low, inner_high = (np.full(2, x) for x in (np.inf, -np.inf, np.inf, -np.inf))
    lost, beyond = kernels["extent"](Y, box, low, high, inner_low, inner_high)
    left, right = box[:2], box[2:]
    inside = there & ((left <= Y) & (right >= Y)).all(axis=1)
    assert (lost, beyond) == (7, there.sum() - inside.sum())
    for found, wanted in ((low, Y[there].min(axis=0)), (high, Y[there].max(axis=0)),
                          (inner_low, Y[inside].min(axis=0)), (inner_high, Y[inside].max(axis=0))):  # fmt: skip
        np.testing.assert_array_equal(found, wanted)
    cells, coarse, frame = 6, 3, np.array([0, 0.5, 1.5, 2.0])
    across, up = (np.clip((Y[there, a].astype(float) - frame[a]) * frame[2 + a], 0, cells - 1) for a in (0, 1))
    cell = up.astype(int) * cells + across.astype(int)
    codes, colors = rng.integers(0, 3, 60), rng.integers(0, 255, (3, 3))
    picture, kinds = np.zeros((36, 4), np.uint64), np.zeros((3, 3, 3), np.uint32)
    kernels["count_kinds"](Y, codes, colors, frame, cells, coarse, picture, kinds)
    wanted, of_kinds = np.zeros((36, 4)), np.zeros((3, 3, 3))
    np.add.at(wanted, cell, np.c_[np.ones(53), colors[codes[there]]])
    np.add.at(of_kinds, (codes[there], (up / 2).astype(int), (across / 2).astype(int)), 1)
    np.testing.assert_array_equal(picture, wanted)
    np.testing.assert_array_equal(kinds, of_kinds)
    values = rng.uniform(-2, 12, 60)
    values[[3, 4, 6]] = np.nan, np.inf, -np.inf
    picture = np.zeros((36, 3), np.uint64)
    kernels["count_values"](Y, values, 1.0, 8.0, 100, frame, cells, picture)
    given = np.isfinite(values[there])
    steps = np.floor(np.clip((values[there] - 1) / 8, 0, 1) * 100 + 0.5)
    wanted = np.zeros((36, 3))
    np.add.at(wanted, cell, np.c_[np.ones(53), given, np.where(given, steps, 0)])
    np.testing.assert_array_equal(picture, wanted)


def test_of_equal_distances_after_a_move_the_first_stays_first():
    """They are equal as they are told, in single precision; behind them come those that are farther in any."""
    near = np.array([[4, 2, 3, 0, 1]], np.uint32)
    far = np.array([[0.1, 0.1, 0.1, 0.3, 0.7]], np.float32)
    for unit in (1.0, 3.0, 0.7):
        for k in (1, 2, 3, 4, 5):
            out, distances = np.zeros((1, k), np.uint32), np.zeros((1, k), np.float32)
            # The second is nearer by less than single precision tells, the third by so little more.
            there = np.array([0.0, 0.0, 1e-12, -1e-12, 0.0])
            plain("trust")["moved"](
                near, far, 5, np.zeros(1), there, 1.0, 0.0, unit, out, distances, 0, 1
            )  # fmt: skip
            assert out[0].tolist() == [4, 2, 3, 0, 1][:k]
            np.testing.assert_array_equal(distances[0], far[0, :k])
    # A nearer one behind them is not missed.
    out, distances = np.zeros((1, 1), np.uint32), np.zeros((1, 1), np.float32)
    far = np.array([[0.1, 0.1, 0.05]], np.float32)
    there = np.array([0.0, 0.0, 1e-12, 0.0, 0.0])
    plain("trust")["moved"](near, far, 3, np.zeros(1), there, 1.0, 0.0, 3.0, out, distances, 0, 1)
    assert out.tolist() == [[3]] and distances[0, 0] == np.float32(0.05)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_sparse_rows_are_compared_by_all_columns_that_either_has(kind):
    kernels, rng = plain("knn_sparse"), np.random.default_rng(kind)
    Q, X = (np.where(rng.random((n, 8)) < 0.4, rng.integers(1, 4, (n, 8)), 0).astype(float) for n in (4, 9))
    X[2], Q[1] = 0, 0
    own, factors = rng.integers(1, 3, 4).astype(float), rng.integers(1, 3, 9).astype(float)
    q, x = csr_array(Q), csr_array(X)
    edges, numbers = np.array([0, 5, 5, 12, 14]), rng.integers(0, 9, 14)
    result = np.zeros(14)
    kernels["sparse_distances"](
        q.data, q.indices, q.indptr, own, x.data, x.indices, x.indptr, factors, 8, kind, edges, numbers, result
    )
    query = np.repeat(np.arange(4), np.diff(edges))
    gaps = np.abs(Q[query] * own[query, None] - X[numbers] * factors[numbers, None])
    wanted = [np.square(gaps).sum(axis=1), gaps.sum(axis=1), gaps.max(axis=1), (gaps != 0).sum(axis=1)][kind]
    np.testing.assert_allclose(result, wanted)
