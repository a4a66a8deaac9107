"""Pictures of maps of any size, against counts, places and files that are made in the plainest way."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tracemalloc
import xml.dom.minidom
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from tsne_ooc import TSNE, Refinement, embed, plot, storage
from tsne_ooc._parallel import Threads
from tsne_ooc.metrics import displacement
from tsne_ooc.plot import beside, draw, most_frequent, panels, scatter
from tsne_ooc.plot.colors import PALETTE, linear, screen
from tsne_ooc.plot.density import CELLS, depth_of
from tsne_ooc.plot.frame import _FEWEST, Frame, _box
from tsne_ooc.plot.labels import Kinds, Scale, coloring
from tsne_ooc.plot.rows import MapRows
from tsne_ooc.plot.text import densest

N = 400
KINDS = np.array(["bird", "cat", "dog", "eel"])[np.arange(N) % 4]


def blobs(n=N, seed=0, apart=20.0):
    """Four round islands, one for each of the kinds."""
    rng = np.random.default_rng(seed)
    corners = apart * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return (corners[np.arange(n) % 4] + rng.normal(size=(n, 2))).astype(np.float32)


def drawn(ax):
    canvas = FigureCanvasAgg(getattr(ax, "figure", ax))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def notes(ax):
    return "\n".join(text.get_text() for text in ax.texts)


@pytest.fixture
def folder(tmp_path):
    """A folder as a run leaves it, made from a table of AnnData."""
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(1)
    obs = pd.DataFrame(
        {"kind": pd.Categorical(KINDS, categories=["eel", "dog", "cat", "bird"]), "score": rng.random(N)},
        index=[f"cell{i}" for i in range(N)],
    )
    X = rng.poisson(1.0, (N, 5)).astype(np.float32)
    data = anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=["CD3D", "CD8A", "MS4A1", "NKG7", "LYZ"]))
    data.write_h5ad(tmp_path / "cells.h5ad")
    run = tmp_path / "map"
    run.mkdir()
    np.save(run / "embedding.npy", blobs())
    np.save(run / "sample_rows.npy", np.arange(0, N, 3))
    np.save(run / "novelty.npy", rng.random(N).astype(np.float32))
    content = {
        "n_samples": N, "sample": 134, "parameters": {"affinity": "perplexity", "perplexity": 30, "exaggeration": None},
        "job": {"source": {"path": str(tmp_path / "cells.h5ad")}},
    }  # fmt: skip
    storage.seal(run, "map", content, {name: f"{name}.npy" for name in ("embedding", "sample_rows", "novelty")})
    return run


# --------------------------------------------------------------------------------------------------------------- places


def test_a_handful_of_far_rows_does_not_blow_up_the_picture():
    Y = blobs()
    alone = scatter(Y)
    far = Y.copy()
    far[7] = 1e6, -1e6
    ax = scatter(far, KINDS, legend=False)
    kept = np.delete(Y, 7, axis=0)
    width = np.ptp(kept, axis=0).max()
    assert np.ptp(ax.get_xlim()) == pytest.approx(1.04 * width, rel=1e-3)
    assert np.ptp(alone.get_xlim()) == pytest.approx(1.04 * np.ptp(Y, axis=0).max(), rel=1e-3)
    assert "1 row far away, drawn at the rim" in notes(ax)
    # It is within the picture, at its lower right corner, and all others are where they are.
    places = np.concatenate([np.asarray(points.get_offsets()) for points in ax.collections])
    ring = places[(places[:, 0] > kept[:, 0].max()) & (places[:, 1] < kept[:, 1].min())]
    assert len(places) == N and len(ring) == 1
    assert ax.get_xlim()[0] < ring[0, 0] < ax.get_xlim()[1] and ax.get_ylim()[0] < ring[0, 1] < ax.get_ylim()[1]


def test_far_rows_of_a_density_get_rings_at_the_rim():
    """A cell of so large a picture would not be seen there."""
    n = 2000
    Y = blobs(n)
    Y[7], Y[9] = (1e6, -1e6), (-1e6, 20.0)
    alone = [len(scatter(some, density=True).collections) for some in (blobs(n), Y)]
    assert alone[1] == alone[0] + 1
    ax = scatter(Y, density=True)
    rings = ax.collections[-1]
    assert len(rings.get_facecolors()) == 0 and (rings.get_sizes() > 10).all()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    # Both are as far out as there is room for a ring: in the corner at the lower right, and at the left.
    room = 0.01 * (right - left)
    found = sorted(np.asarray(rings.get_offsets()).tolist())
    cell = (right - left) / CELLS
    assert found[0] == pytest.approx([left + room, 20.0], abs=cell)
    assert found[1] == pytest.approx([right - room, bottom + room], abs=cell) and len(found) == 2
    assert top > 20


def cells_of(ax, Y):
    """The cells of a picture that have rows, as (up, across), and the places of the middles of cells."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    within = Y[np.isfinite(Y).all(axis=1)].astype(np.float64)
    across = np.clip(((within[:, 0] - left) / (right - left) * CELLS).astype(int), 0, CELLS - 1)
    up = np.clip(((within[:, 1] - bottom) / (top - bottom) * CELLS).astype(int), 0, CELLS - 1)
    width, height = (right - left) / CELLS, (top - bottom) / CELLS
    return set(zip(up.tolist(), across.tolist(), strict=True)), lambda up, across: (
        left + (across + 0.5) * width, bottom + (up + 0.5) * height
    )  # fmt: skip


@pytest.mark.parametrize("labels", [None, KINDS[np.arange(3000) % 4]], ids=["no labels", "labels"])
def test_rows_that_are_alone_are_dots_in_the_middle_of_their_cells(labels):
    """In the colour of the cell, and the fainter the more others are near."""
    Y = blobs(3000, apart=1.0)
    ax = scatter(Y, labels, density=True, legend=False)
    filled, middle = cells_of(ax, Y)
    (dots,) = (one for one in ax.collections if one.get_label() == "_lone rows")
    found = {
        tuple(np.round(place, 4)): color for place, color in zip(dots.get_offsets(), dots.get_facecolors(), strict=True)
    }
    others = {
        (up, across): sum((up + i, across + j) in filled for i in range(-3, 4) for j in range(-3, 4)) - 1
        for up, across in filled
    }
    alone = {cell: count for cell, count in others.items() if count < 16}
    assert len(found) == len(alone) == len(dots.get_offsets())
    image = ax.images[0].get_array()
    opacities = {}
    for cell, count in alone.items():
        color = found[tuple(np.round(middle(*cell), 4))]
        np.testing.assert_allclose(color[:3], np.asarray(image[cell])[:3], atol=1e-6)
        opacities.setdefault(count, set()).add(round(float(color[3]), 5))
    # Each other cell nearby takes its share of the opacity.
    most = opacities[0].pop()
    assert 0.4 < most < 0.9 and all(len(one) <= 1 for one in opacities.values()) and len(opacities) > 2
    for count, one in opacities.items():
        if one:
            assert one.pop() == pytest.approx(most * (1 - count / 16), abs=1e-4)


def test_rings_of_far_rows_are_beside_the_middle_of_their_cells():
    Y = blobs(2000)
    Y[7], Y[9], Y[11], Y[13] = (1e6, -1e6), (-1e6, 7.25), (3.5, 1e6), (1e6, 5.125)
    ax = scatter(Y, density=True)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    _, middle = cells_of(ax, Y)
    room = 0.01 * (right - left)
    up, across = (np.array([7.25, 5.125]) - bottom) / (top - bottom), (3.5 - left) / (right - left)
    wanted = [
        (right - room, bottom + room), (left + room, middle(int(up[0] * CELLS), 0)[1]),
        (middle(0, int(across * CELLS))[0], top - room), (right - room, middle(int(up[1] * CELLS), 0)[1]),
    ]  # fmt: skip
    found = np.asarray(ax.collections[-1].get_offsets())
    np.testing.assert_allclose(sorted(found.tolist()), sorted(wanted), atol=1e-3 * (right - left) / CELLS)


def test_more_than_a_handful_are_a_part_of_the_map():
    Y = blobs()
    Y[:20] += 300
    frame = Frame.around(MapRows(Y), Threads(1))
    assert frame.far == 0
    np.testing.assert_array_equal([frame.low, frame.high], [Y.min(axis=0), Y.max(axis=0)])


@pytest.mark.parametrize("n", [1, 2, 19])
def test_few_rows_have_no_far_ones(n):
    Y = np.zeros((n, 2))
    Y[-1] = 1e5
    assert Frame.around(MapRows(Y), Threads(1)).far == 0


def test_rows_without_a_place_are_left_out_and_counted():
    Y = blobs()
    Y[[3, 9]] = np.nan
    Y[11, 1] = np.inf
    for density in (False, True):
        ax = scatter(Y, KINDS, density=density)
        assert "3 rows without coordinates" in notes(ax)
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
    assert len(scatter(Y, KINDS).collections[0].get_offsets()) == N - 3
    with pytest.raises(ValueError, match="Y has no row with a place: all coordinates are NaN or infinite"):
        scatter(np.full((5, 2), np.nan))


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize(
    "labels", [None, np.arange(50) % 3, np.linspace(0, 1, 50), np.full(50, "x"), np.full(50, None)]
)
def test_all_in_one_place(density, labels):
    ax = scatter(np.full((50, 2), 3.0), labels, density=density, text=True, dpi=40)
    assert drawn(ax).shape[2] == 4


# --------------------------------------------------------------------------------------------------------------- counts


def shares(Y, codes, colors, ax):
    """Rows and mean light of each cell, row by row."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    rows, light = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS, 3))
    for (x, y), code in zip(Y.astype(float), codes, strict=True):
        at = int((y - bottom) * (CELLS / (top - bottom))), int((x - left) * (CELLS / (right - left)))
        rows[at] += 1
        light[at] += linear(np.array(to_rgb(colors[code])))
    return rows, light


def test_cells_count_rows_and_mix_their_colours():
    # Tight, so that cells hold several rows of several kinds.
    Y = blobs(4000, apart=0.0)
    Y[:3000] = np.round(Y[:3000])
    codes = np.arange(4000) % 3
    ax = scatter(Y, codes, density=True, colors=["red", "lime", "blue"])
    image = np.asarray(ax.images[0].get_array())
    rows, light = shares(Y, codes, ["red", "lime", "blue"], ax)
    filled = rows > 0
    assert (rows > 100).sum() > 3
    np.testing.assert_array_equal(image[..., 3] > 0, filled)
    np.testing.assert_allclose(image[filled][:, :3], screen(light[filled] / rows[filled][:, None]), atol=2e-3)
    # The more rows, the deeper.
    order = np.argsort(rows[filled], kind="stable")
    assert (np.diff(image[filled][order, 3]) >= 0).all() and image[..., 3].max() == 1


@pytest.mark.parametrize("shading", ["equalized", "log"])
def test_depth_follows_the_number_and_every_shade_is_used(shading):
    counts = np.random.default_rng(0).geometric(0.02, (CELLS, CELLS)) - 1
    depth = depth_of(counts, shading)
    assert ((depth > 0) == (counts > 0)).all() and depth.max() == 1 and len(np.unique(depth[counts == 1])) == 1
    order = np.argsort(counts.ravel())
    assert (np.diff(depth.ravel()[order]) >= -1e-12).all()
    if shading == "equalized":
        # As many cells within each third of the shades.
        filled = depth[counts > 0]
        thirds = np.histogram(filled, np.linspace(filled.min(), 1, 4))[0] / filled.size
        np.testing.assert_allclose(thirds, 1 / 3, atol=0.03)


def test_what_is_far_is_so_on_either_side():
    """The box of a mirrored map is the mirrored box."""
    Y = np.random.default_rng(0).exponential(size=(_FEWEST + 37, 2)).astype(np.float32)
    box, mirrored = _box(Y, len(Y)), _box(-Y, len(Y))
    np.testing.assert_array_equal(mirrored, -box[[2, 3, 0, 1]])
    inner = np.sort(Y.astype(float), axis=0)[[len(Y) // 50, -1 - len(Y) // 50]]
    np.testing.assert_allclose(box.reshape(2, 2), inner + np.array([[-1], [1]]) * np.diff(inner, axis=0))


@pytest.mark.parametrize("most", [1, 2, 1000])
def test_depths_of_logarithms_are_shares_of_the_largest(most):
    counts = np.zeros((CELLS, CELLS), int)
    counts[0, :4], counts[1] = np.minimum([1, 2, 2, 1], most), most
    depth = depth_of(counts, "log")
    faintest = depth[counts == 1].min() if most > 1 else 0
    shares = np.log(counts[counts > 0]) / np.log(most) if most > 1 else np.ones(CELLS + 4)
    np.testing.assert_allclose(depth[counts > 0], np.minimum(1, faintest + (1 - faintest) * shares))


def darkest(ax, place):
    """How far the darkest dot within three of a place of the map is from white."""
    shown = drawn(ax)[..., :3].astype(int)
    across, up = ax.transData.transform(place)
    row, column = round(len(shown) - up), round(across)
    return (765 - shown[row - 3 : row + 4, column - 3 : column + 4].sum(axis=2)).max()


@pytest.mark.parametrize("labels", [None, "kinds", "scale"])
def test_a_row_that_is_alone_is_seen_among_many_as_it_is_as_a_point(labels):
    """As dark, but for a tenth, as in the picture of as many rows as are still drawn as points."""
    n = 260_000
    Y = np.random.default_rng(0).normal(size=(n, 2))
    Y[0] = 5.0, 5.0
    given = {None: None, "kinds": np.arange(n) % 3, "scale": np.linspace(0, 1, n)}[labels]
    cells, points = (scatter(Y, given, density=density, legend=False) for density in (True, False))
    assert darkest(cells, Y[0]) > 0.9 * darkest(points, Y[0]) > 200


def test_rows_are_alone_where_few_cells_nearby_have_any():
    from tsne_ooc.plot.density import _CROWD, _NEAR, Counts, lone

    rows = (np.random.default_rng(0).random((60, 60)) < np.linspace(0, 0.7, 60)) * 5
    found = lone(Counts(rows, None, None, np.zeros((1, 1, 1))))
    reach = _NEAR // 2
    for (up, across), there in np.ndenumerate(rows):
        near = rows[max(0, up - reach) : up + reach + 1, max(0, across - reach) : across + reach + 1]
        others = (near > 0).sum() - 1
        assert found[up, across] == pytest.approx(max(0, 1 - others / _CROWD) if there else 0, abs=1e-9)
    assert (found[8:-8, 50:-5] == 0).all() and (found[:, :6][rows[:, :6] > 0] > 0.5).all()


def test_threads_and_blocks_change_no_bit(monkeypatch):
    Y, labels = blobs(3000), np.arange(3000) % 5
    for labels in (np.arange(3000) % 5, np.random.default_rng(0).random(3000)):
        wanted = drawn(scatter(Y, labels, density=True, text=True, dpi=60, n_jobs=1))
        for jobs, block in ((2, 1 << 21), (3, 7)):
            monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", block)
            np.testing.assert_array_equal(
                drawn(scatter(Y, labels, density=True, text=True, dpi=60, n_jobs=jobs)), wanted
            )


def of_files():
    """Bytes of this process that are pages of files; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile:")), None)


def test_a_map_in_a_file_takes_little_memory(tmp_path):
    n = 6_000_000
    Y = np.lib.format.open_memmap(tmp_path / "Y.npy", "w+", np.float32, (n, 2))
    labels = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.uint8, (n,))
    rng = np.random.default_rng(0)
    for start in range(0, n, 1 << 20):
        part = slice(start, min(n, start + (1 << 20)))
        Y[part] = rng.normal(size=Y[part].shape)
        labels[part] = rng.integers(0, 20, labels[part].shape)
    del Y, labels
    Y, labels = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "Yy")
    scatter(Y[:1000], labels[:1000], density=True)
    if (before := of_files()) is not None:
        # A look at rows all over the map touches all of its pages, and gives them back.
        MapRows(Y).some(1 << 18)
        assert of_files() - before < 10e6
    tracemalloc.start()
    scatter(Y, labels, n_jobs=1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Blocks of two million rows of 8 bytes, some copies, and the cells; the map alone has 48 MB.
    assert most < 150e6, most


# --------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(N) % 7 - 3,
        (np.arange(N) % 5 * 60 - 120).astype(np.int8),
        (np.arange(N) % 3).astype(np.uint64) + np.uint64(2**63),
        np.where(np.arange(N) % 5, np.arange(N) % 3, np.nan),
        np.arange(N) % 2 == 0,
        [None if i % 5 == 0 else i % 3 for i in range(N)],
    ],
    ids=["int", "int8", "uint64", "nan", "bool", "none"],
)
def test_numbers_that_are_kinds_are_read_as_they_are(labels, monkeypatch):
    from tsne_ooc.plot.colors import LIGHT

    monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", 31)
    found = coloring(labels, N, None, LIGHT)
    assert isinstance(found, Kinds)
    codes = np.concatenate([found.codes(0, 100), found.codes(100, N)])
    for row, label in enumerate(labels):
        missing = label is None or label != label
        assert found.names[codes[row]] == ("missing" if missing else label)
    np.testing.assert_array_equal(found.counts, np.bincount(codes, minlength=len(found.names)))
    some = np.array([0, 5, 6, 77, 399])
    np.testing.assert_array_equal(found.of(some).codes(0, 5), codes[some])


def test_scales_are_read_as_they_are():
    from tsne_ooc.plot.colors import LIGHT

    numbers = np.random.default_rng(0).normal(size=N)
    numbers[5] = np.nan
    found = coloring(numbers, N, None, LIGHT)
    assert isinstance(found, Scale) and (found.low, found.high) == (np.nanmin(numbers), np.nanmax(numbers))
    np.testing.assert_array_equal(found.values(3, 9), numbers[3:9])


def test_a_hundred_words_have_a_colour_each_and_more_are_refused():
    words = np.array([f"kind {i}" for i in range(100)])[np.arange(N) % 100]
    ax = scatter(blobs(), words)
    colors = {tuple(handle.get_color()) for handle in ax.get_legend().legend_handles}
    assert len(colors) == 100 and {to_rgb(one) for one in PALETTE} == colors
    with pytest.raises(ValueError, match=r"at most 100 can be told apart; tsne_ooc.plot.most_frequent") as error:
        scatter(blobs(), [f"row {i}" for i in range(N)])
    assert "\n" not in str(error.value)


def test_the_most_frequent_are_left():
    labels = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d", None]
    assert most_frequent(labels, 2).tolist() == ["a"] * 5 + ["b"] * 3 + ["2 others"] * 3 + [None]
    assert most_frequent(labels, 2).categories == ["a", "b", "2 others"]
    assert most_frequent(labels, 9).tolist() == labels


def test_the_palette_is_told_apart_by_all_eyes():
    """Machado's matrices and OKLab once more, colour by colour."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        import palette
    finally:
        sys.path.pop(0)
    assert tuple(palette.FIRST) == PALETTE[:10] and tuple(palette.chosen()) == PALETTE
    assert min(palette.nearest(PALETTE[:20]).values()) >= 0.0265
    assert min(palette.nearest(PALETTE).values()) >= 0.025
    # White under each of the eyes is white, black is black: the matrices keep what has no colour.
    for one in palette.seen(["#FFFFFF"]):
        np.testing.assert_allclose(one[0], [1, 0, 0], atol=0.01)


# ----------------------------------------------------------------------------------------------------------------- text


def test_a_name_is_on_its_ring_and_not_in_the_hole():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 4000)
    ring = 10 * np.c_[np.cos(angle), np.sin(angle)] + np.random.default_rng(1).normal(scale=0.4, size=(4000, 2))
    ring[:900] = np.random.default_rng(2).normal([9.5, 3.0], 0.3, size=(900, 2))
    ax = scatter(ring, np.full(4000, "ring"), text=True)
    place = next(text for text in ax.texts if text.get_text() == "ring").get_position()
    assert np.linalg.norm(np.median(ring, axis=0)) < 7
    assert np.linalg.norm(np.subtract(place, [9.5, 3.0])) < 1


def test_the_densest_cell_has_rows():
    counts = np.zeros((30, 30), np.uint32)
    counts[4, 4:9] = 10
    counts[20, 20] = 30
    up, across = densest(counts)[0]
    assert counts[up, across] > 0
    assert len(densest(counts, 9)) == 2 and len(densest(np.zeros((9, 9), np.uint32))) == 0


@pytest.mark.parametrize("apart", [20.0, 0.5])
def test_names_lie_over_no_other(apart):
    words = np.array(["a long name of a kind", "another long name", "a third one", "and the last of all"])
    ax = scatter(blobs(apart=apart), words[np.arange(N) % 4], text=True, legend=False)
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent(renderer) for text in ax.texts if text.get_text() in words]
    assert len(boxes) == 4 if apart > 1 else len(boxes) >= 2
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])
        assert box.x0 >= ax.bbox.x0 - 1 and box.x1 <= ax.bbox.x1 + 1


def test_a_name_at_the_edge_is_pushed_into_the_picture():
    """By as much as it would be outside, and no more, to either side; one that is wider than the map stays."""
    Y = np.r_[np.full((200, 2), [0.0, 0.0]), np.full((200, 2), [100.0, 50.0])] + blobs(apart=0.0)
    words = np.repeat(["a name of an island", "the name of another"], 200)
    ax = scatter(Y, words, text=True, legend=False)
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    ax.figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in ax.texts if text.get_text() in words}
    assert boxes["a name of an island"].x0 == pytest.approx(ax.bbox.x0, abs=1)
    assert boxes["the name of another"].x1 == pytest.approx(ax.bbox.x1, abs=1)
    middle = [text.get_position()[1] for text in ax.texts if text.get_text() in words]
    assert sorted(middle) == pytest.approx([0, 50], abs=2)


def test_labels_that_no_row_has_take_no_place_and_no_colour():
    """Of 120 categories rows have two: these get the first of the hundred colours, and only these a name."""
    names = [f"kind {at:03}" for at in range(120)]
    kinds = pd.Categorical.from_codes(np.where(np.arange(N) % 2, 110, 7), names)
    ax = scatter(blobs(), kinds, text=True)
    assert sorted(text.get_text() for text in ax.texts if text.get_text() in names) == ["kind 007", "kind 110"]
    handles = ax.get_legend().legend_handles
    assert [to_rgb(handle.get_color()) for handle in handles] == [to_rgb(color) for color in PALETTE[:2]]
    colors = {tuple(color[:3]) for color in ax.collections[0].get_facecolors()}
    assert colors == {to_rgb(color) for color in PALETTE[:2]}


def test_names_are_set_as_they_are():
    words = np.array(["$5 $6", "_hidden", "a\nb\tc", "<b>\u202eabc"])[np.arange(N) % 4]
    ax = scatter(blobs(), words, text=True)
    assert {"$5 $6", "_hidden", "a b c"} <= {text.get_text() for text in ax.texts}
    assert {"$5 $6", "_hidden", "a b c"} <= {text.get_text() for text in ax.get_legend().get_texts()}


def test_the_map_keeps_its_size_beside_a_legend():
    for words in (np.full(N, "x"), np.array([f"a name of some length, {i:02}" for i in range(60)])[np.arange(N) % 60]):
        ax = scatter(blobs(), words)
        ax.figure.draw_without_rendering()
        assert ax.bbox.width / ax.figure.dpi > 6
        renderer = FigureCanvasAgg(ax.figure).get_renderer()
        box = ax.get_legend().get_window_extent(renderer)
        assert box.x1 <= ax.figure.bbox.x1 + 2 and box.y0 >= 0 and box.y1 <= ax.figure.bbox.y1


# ----------------------------------------------------------------------------------------------- several in one picture


def test_chosen_rows_are_on_top_and_the_others_grey():
    Y = blobs()
    ax = scatter(Y, KINDS, highlight=[5, 2, 5], legend=False)
    others, marked = ax.collections
    assert set(map(tuple, others.get_facecolors()[:, :3])) == {to_rgb("#CCCCCC")}
    np.testing.assert_allclose(marked.get_offsets(), Y[[2, 5]])
    assert marked.get_sizes()[0] > others.get_sizes()[0] and "2 rows highlighted" in notes(ax)
    mask = np.zeros(N, bool)
    mask[[2, 5]] = True
    np.testing.assert_array_equal(drawn(scatter(Y, KINDS, highlight=mask, legend=False)), drawn(ax))
    for wrong, message in (
        ([N], "highlight names row 400, and Y has 400 rows, from 0 on"), ([-1], "highlight names row -1"),
        (mask[1:], r"highlight has shape \(399,\)"), (["a"], "neither numbers of rows nor a mask"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=message):
            scatter(Y, highlight=wrong)


def test_small_multiples_show_each_group_in_one_frame():
    Y = blobs()
    figure = panels(Y, KINDS, most=3)
    axes = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in axes] == ["bird (100)", "cat (100)", "dog (100)"]
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in axes}) == 1
    for at, ax in enumerate(axes):
        found = np.asarray(ax.collections[0].get_offsets())
        np.testing.assert_allclose(np.sort(found, axis=0), np.sort(Y[at::4], axis=0), rtol=1e-6)
    assert any("1 group more" in notes(ax) for ax in figure.axes)
    with pytest.raises(ValueError, match="by names no group"):
        panels(Y, np.full(N, None))
    with pytest.raises(ValueError, match=r"by has shape \(3,\), and Y has 400 rows"):
        panels(Y, [1, 2, 3])


def test_small_multiples_by_numbers_have_one_bar_and_no_empty_frames():
    Y, numbers = blobs(), np.linspace(0, 1, N)
    figure = panels(Y, np.arange(N) % 5, numbers)
    shown = [ax for ax in figure.axes if ax.get_title(loc="left")]
    others = [ax for ax in figure.axes if ax not in shown]
    bars = [ax for ax in others if ax.axison]
    # Five groups are in two rows of four or three; the frames that are left over are not drawn.
    assert len(shown) == 5 and len(bars) == 1 and len(others) > 1
    assert bars[0].get_ylim() == pytest.approx((0, 1))
    assert len(panels(Y, np.arange(N) % 5, numbers, legend=False).axes) == len(figure.axes) - 1


def test_a_frame_is_a_map():
    Y = blobs()
    table = pd.DataFrame(Y, columns=["x", "y"], index=np.arange(N)[::-1])
    np.testing.assert_array_equal(drawn(scatter(table, KINDS, dpi=40)), drawn(scatter(Y, KINDS, dpi=40)))


def test_a_folder_is_no_picture(tmp_path, capsys):
    from tsne_ooc.cli import main

    np.save(tmp_path / "Y.npy", blobs())
    out = tmp_path / "map.png"
    out.mkdir()
    for more in ([], ["--overwrite"]):
        assert main(["plot", str(tmp_path / "Y.npy"), "--out", str(out), *more]) == 2
        assert capsys.readouterr().err == f"tsne-ooc: error: {out} is a folder; name a file\n"
    assert not list(out.iterdir()) and len(list(tmp_path.iterdir())) == 2


def test_as_many_points_cover_the_same_share_of_a_small_picture_as_of_a_large_one():
    Y = np.random.default_rng(0).normal(size=(6000, 2)).astype(np.float32)
    alone = scatter(Y[:2000], legend=False)
    beside_others = panels(Y, np.repeat(["a", "b", "c"], 2000)).axes[0]
    share = []
    for ax, across in ((alone, 1), (beside_others, 3)):
        share.append(ax.collections[0].get_sizes()[0] / (ax.figure.get_figwidth() / across) ** 2)
    assert share[0] == pytest.approx(share[1])


def test_two_maps_side_by_side_and_what_moved():
    Y = blobs()
    turned = (1.7 * Y[:, ::-1] * (1, -1) + 5).astype(np.float32)
    assert "0 rows (0.0%) moved" in notes(beside(Y, turned).axes[0])
    moved = turned.copy()
    moved[:8] += 40
    figure = beside(Y, moved, KINDS)
    far = displacement(Y, moved) / np.ptp(moved, axis=0).max() > 0.1
    assert 8 <= far.sum() < 30 and f"{far.sum()} rows ({far.mean():.1%}) moved" in notes(figure.axes[0])
    with pytest.raises(ValueError, match="the first map has 399 rows, and the second 400"):
        beside(Y[1:], Y)


# ------------------------------------------------------------------------------------------------------ a run, by names


def test_a_run_is_drawn_by_a_column_of_its_table(folder):
    figure = draw(folder, "kind")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["eel", "dog", "cat", "bird"]
    assert {"bird", "cat", "dog", "eel"} <= {text.get_text() for text in ax.texts}
    assert "400 rows · 134 fitted · perplexity 30 · exaggeration 1" in notes(ax)


def test_a_run_whose_rows_all_moved_says_so(tmp_path):
    """They are not as they were placed, which "134 fitted" by itself would mean."""
    tsne = TSNE(perplexity=5, n_iter=6, early_exaggeration_iter=6, random_state=0)
    embed(blobs(), out=tmp_path / "map", sample=134, tsne=tsne, refine=Refinement(n_iter=6))
    assert "400 rows · 134 fitted · all refined · perplexity 5 · exaggeration 1" in notes(
        draw(tmp_path / "map").axes[0]
    )


@pytest.mark.parametrize("name", ["score", "CD3D", "novelty"])
def test_numbers_of_a_run_are_a_scale(folder, name):
    # A gene of few counts is drawn by kinds: whole numbers.
    figure = draw(folder, name)
    assert len(figure.axes) == (1 if name == "CD3D" else 2)


def test_the_cells_of_a_gene(folder):
    import anndata

    from tsne_ooc.plot.column import column_in

    X = anndata.read_h5ad(folder.parent / "cells.h5ad").X
    np.testing.assert_array_equal(column_in(folder.parent / "cells.h5ad", "MS4A1"), X[:, 2])


@pytest.mark.parametrize(
    "name, text, wanted",
    [
        ("labels.csv", "kind,day\na,1\nb,2\n,\n", ["a", "b", None]),
        ("labels.tsv", "day\tkind\n1\tx,y\n2\t\"q\nr\"\n\tz\n", ["x,y", "q\nr", "z"]),
        ("numbers.csv", "kind\n1.5\n\n2\n3\n", [1.5, 2, 3]),
    ],
)  # fmt: skip
def test_columns_of_text(tmp_path, name, text, wanted):
    from tsne_ooc.plot.column import column_in

    (tmp_path / name).write_text(text)
    assert column_in(tmp_path / name, "kind").tolist() == wanted


@pytest.mark.parametrize(
    "text, wanted",
    [("a\nb\na\n", ["a", "b", "a"]), ("1\n2\n3\n", [1, 2, 3]), ("age\n1\n2\n3\n", [1, 2, 3])],
)
def test_files_of_one_column(tmp_path, text, wanted):
    from tsne_ooc.plot.column import column_of

    (tmp_path / "labels.txt").write_text(text)
    assert column_of(str(tmp_path / "labels.txt"), 3).tolist() == wanted


def test_what_cannot_be_drawn_is_told_in_a_line(folder, tmp_path):
    np.save(tmp_path / "three.npy", np.zeros((9, 3), np.float32))
    np.save(tmp_path / "short.npy", np.zeros(9))
    (tmp_path / "torn").mkdir()
    np.save(tmp_path / "torn" / "embedding.npy", blobs())
    (tmp_path / "two.csv").write_text("a,b\n1,2\n")
    for arguments, message in (
        ((folder, "kinds"), "did you mean 'kind'?"),
        ((folder, "CD3E"), "'CD3D' is nearest"),
        ((folder, str(tmp_path / "short.npy")), "has 9 rows, and the map 400"),
        ((folder, str(tmp_path / "nowhere.npy")), "there is no file"),
        ((folder, str(tmp_path / "two.csv")), "has 2 columns; say which"),
        ((tmp_path / "torn",), "embedding.npy"),
        ((tmp_path / "nowhere",), "there is no folder or file"),
        ((tmp_path / "two.csv",), "neither the folder of a run nor a .npy file"),
        ((tmp_path / "three.npy",), "has 3 axes; say which two to draw, such as axes=(1, 2) (--axes 1,2)"),
        ((blobs(), "kind"), "say in which file it is"),
        ((blobs(), "kind", tmp_path / "nowhere.h5"), "nowhere.h5"),
    ):
        with pytest.raises((ValueError, OSError)) as error:
            draw(*arguments[:2], data=(*arguments, None, None)[2])
        assert message in str(error.value) and "\n" not in str(error.value), error.value
    assert draw(tmp_path / "three.npy", axes=(1, 3)) is not None
    for axes, message in (
        ((1, 4), "axes=4 must be at most 3"),
        ((2, 2), "two different"),
        ((1,), "two different"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(tmp_path / "three.npy", axes=axes)


def test_ten_thousand_words_keep_forty_and_say_so(tmp_path, caplog):
    words = np.array([f"w{i:05}" for i in range(10_000)])[np.minimum(np.arange(20_000), 9_999)]
    with caplog.at_level("INFO", "tsne_ooc"):
        figure = draw(blobs(20_000), words)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(names) == 41 and names[-1] == "9,960 others" and "w09999" in names
    assert "the 40 labels of most rows keep their own" in caplog.text


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files_are_whole_and_the_same(tmp_path, suffix):
    from tsne_ooc.plot.saving import save

    for name in ("one", "other"):
        save(draw(blobs(), KINDS), tmp_path / f"{name}{suffix}")
    one, other = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "other"))
    assert one == other
    if suffix == ".svg":
        assert xml.dom.minidom.parseString(one).documentElement.tagName == "svg"
    with pytest.raises(FileExistsError, match="exists already"):
        save(draw(blobs()), tmp_path / f"one{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == one
    save(draw(blobs()), tmp_path / f"one{suffix}", overwrite=True)
    assert (tmp_path / f"one{suffix}").read_bytes() != one
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one{suffix}", f"other{suffix}"]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.parametrize("density", [False, True])
def test_files_hold_what_matplotlib_writes(tmp_path, kind, density):
    """To the byte, though the layout is found without the images; and the figure can be saved again."""
    from tsne_ooc.plot.saving import save

    wanted, figure = (scatter(blobs(), KINDS, density=density, text=True, dpi=60).figure for _ in range(2))
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with matplotlib.rc_context({"svg.hashsalt": "tsne_ooc", "pdf.fonttype": 42}):
        wanted.savefig(tmp_path / "wanted", format=kind, metadata=metadata)
    save(figure, tmp_path / f"found.{kind}")
    assert (tmp_path / f"found.{kind}").read_bytes() == (tmp_path / "wanted").read_bytes()
    assert type(figure.get_layout_engine()) is type(wanted.get_layout_engine())


def test_a_picture_of_an_array_needs_nothing_that_makes_maps():
    code = """
import sys, numpy as np
from tsne_ooc.plot import scatter
scatter(np.eye(3)[:, :2], dpi=30)
assert not {"sklearn", "faiss", "h5py", "tsne_ooc.pipeline"} & set(sys.modules), sorted(sys.modules)
from tsne_ooc.plot import draw
assert callable(draw)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dark_paper_is_dark():
    for labels in (None, KINDS, np.linspace(0, 1, N)):
        figure = draw(blobs(), labels, dark=True)
        assert drawn(figure)[0, 0, :3].max() < 40
    light, dark = (drawn(scatter(blobs(), legend=False, dark=one)) for one in (False, True))
    assert light[..., :3].mean() > 230 and dark[..., :3].mean() < 60


OF_EACH = {
    panels: {"most": 2, "behind": -blobs(), "labels": np.arange(N) % 4 // 2, "caption": "a caption", "shading": "log"},
    beside: {"titles": ("one", "other"), "labels": np.arange(N) % 4 // 2, "legend": False},
    draw: {
        "colors": ["red", "lime", "blue", "black"], "legend": False, "dark": True, "shading": "log", "dpi": 50,
        "by": KINDS, "other": -blobs(), "axes": (2, 1), "highlight": [3], "ring": [3],
        "behind": -blobs(), "title": "a title", "text": False,
    },
}  # fmt: skip
EVERY = [(function, option) for function, options in OF_EACH.items() for option in options]


@pytest.mark.parametrize("function, option", EVERY, ids=lambda value: getattr(value, "__name__", value))
def test_each_option_changes_the_picture(function, option, monkeypatch):
    # As density, which all but a few options are about.
    monkeypatch.setattr(importlib.import_module("tsne_ooc.plot.scatter"), "MOST_POINTS", 0)
    Y = np.round(2 * blobs(apart=2.0)) / 2
    given = {panels: (Y, KINDS), beside: (Y, Y[::-1].copy()), draw: (Y,)}[function]
    name = "color" if function is draw else "labels"
    plain = {name: KINDS, "dpi": 30, "n_jobs": 1}
    pictures = [drawn(function(*given, **{**plain, **more})) for more in ({}, {option: OF_EACH[function][option]})]
    assert pictures[0].shape != pictures[1].shape or (pictures[0] != pictures[1]).any()


def test_everything_has_a_page():
    assert set(plot.__all__) >= {"scatter", "draw", "panels", "beside", "most_frequent"}
