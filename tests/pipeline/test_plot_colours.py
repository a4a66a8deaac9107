"""Each label has the colour that was meant for it: the order of categories, dictionaries, names of maps, numbers."""

from __future__ import annotations

import logging

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from tsne_ooc.plot import scatter
from tsne_ooc.sampling import labels_of

N = 240
Y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
ELEVEN = [str(i) for i in range(11)]
# As scanpy keeps them: one for each category, in the order of the categories.
COLOURS = [matplotlib.colors.to_hex(matplotlib.colormaps["tab20"](i)) for i in range(11)]
CLUSTERS = np.array(ELEVEN)[np.arange(N) % 11]


def colour_of(ax):
    """The colour of each row, by its place."""
    points = ax.collections[0]
    by_place = {tuple(np.float32(at).tolist()): tuple(color[:3]) for at, color in zip(
        points.get_offsets().data, points.get_facecolors(), strict=True)}  # fmt: skip
    return [by_place[tuple(row)] for row in Y.tolist()]


def legend_of(ax):
    legend = ax.get_legend()
    handles = [to_rgb(handle.get_color()) for handle in legend.legend_handles]
    return dict(zip([text.get_text() for text in legend.get_texts()], handles, strict=True))


def check(ax, labels, wanted):
    """Rows and legend, against a dictionary of colours by label."""
    for row, label in zip(colour_of(ax), labels, strict=True):
        assert row == pytest.approx(to_rgb(wanted[label]), abs=1e-6), label
    for label, color in legend_of(ax).items():
        assert color == pytest.approx(to_rgb(wanted[label]), abs=1e-6), label


WANTED = dict(zip(ELEVEN, COLOURS, strict=True))


def dictionary():
    return pytest.importorskip("pyarrow").array(CLUSTERS.tolist()).dictionary_encode()


def chunks():
    """Whose pieces have dictionaries of their own."""
    pyarrow = pytest.importorskip("pyarrow")
    both = [pyarrow.array(part.tolist()).dictionary_encode() for part in (CLUSTERS[:50], CLUSTERS[50:])]
    return pyarrow.chunked_array(both)


CATEGORICAL = pd.Categorical(CLUSTERS, categories=ELEVEN)
ORDERED = {
    "Categorical": lambda: CATEGORICAL,
    "Series": lambda: pd.Series(CATEGORICAL),
    "index": lambda: pd.CategoricalIndex(CATEGORICAL),
    "column of obs": lambda: pd.DataFrame({"louvain": CATEGORICAL}, index=[f"cell{i}" for i in range(N)])["louvain"],
    "Arrow": dictionary,
    "pieces of Arrow": chunks,
    "words": lambda: CLUSTERS,
    "list": lambda: CLUSTERS.tolist(),
    "objects": lambda: CLUSTERS.astype(object),
    "bytes": lambda: CLUSTERS.astype("S2"),
}


@pytest.mark.parametrize("made", ORDERED.values(), ids=ORDERED)
def test_eleven_clusters_have_their_own_colours(made):
    ax = scatter(Y, made(), colors=COLOURS)
    check(ax, CLUSTERS, WANTED)
    assert list(legend_of(ax)) == ELEVEN


def test_an_order_that_is_nobody_elses():
    order = ["late", "middle", "early"]
    labels = pd.Categorical(np.array(order)[np.arange(N) % 3], categories=order, ordered=True)
    ax = scatter(Y, labels, colors=["red", "lime", "blue"])
    check(ax, labels, {"late": "red", "middle": "lime", "early": "blue"})
    assert list(legend_of(ax)) == order
    numbers = pd.Categorical(np.array([30, 4, 200])[np.arange(N) % 3], categories=[30, 4, 200])
    assert list(legend_of(scatter(Y, numbers))) == ["30", "4", "200"]


def test_categories_without_rows_and_rows_without_category():
    values = [ELEVEN[i] if i % 5 else None for i in (np.arange(N) % 11).tolist()]
    some = pd.Categorical([value if value != "3" else None for value in values], categories=ELEVEN)
    assert some.isna().any()
    ax = scatter(Y, some, colors=COLOURS)
    check(ax, [label if isinstance(label, str) else "missing" for label in some], {**WANTED, "missing": "#CCCCCC"})
    assert list(legend_of(ax)) == [label for label in ELEVEN if label not in ("0", "3", "5", "10")] + ["missing"]
    # As many colours as there are labels: they are meant for these.
    there = [label for label in ELEVEN if label not in ("0", "3", "5", "10")]
    check(
        scatter(Y, some, colors=COLOURS[:7]), [label if isinstance(label, str) else "missing" for label in some],
        {**dict(zip(there, COLOURS[:7], strict=True)), "missing": "#CCCCCC"},
    )  # fmt: skip


def test_files_keep_the_order_of_their_categories(tmp_path):
    anndata = pytest.importorskip("anndata")
    pytest.importorskip("pyarrow")
    order = ["z", "b", "a", "unused"]
    labels = pd.Categorical(np.array(order[:3])[np.arange(N) % 3], categories=order)
    table = pd.DataFrame({"kind": labels}, index=[str(i) for i in range(N)])
    anndata.AnnData(Y, obs=table).write_h5ad(tmp_path / "cells.h5ad")
    table.assign(x=1.0).to_parquet(tmp_path / "cells.parquet")
    for name in ("cells.h5ad", "cells.parquet"):
        found = labels_of(tmp_path / name, "kind")
        assert list(found) == list(labels) and list(found.categories) == order
        ax = scatter(Y, found, colors=["red", "lime", "blue", "black"])
        check(ax, labels, {"z": "red", "b": "lime", "a": "blue"})
        # A part of the rows, too.
        assert list(legend_of(scatter(Y[:9], found[:9]))) == ["z", "b", "a"]
    obs = anndata.read_h5ad(tmp_path / "cells.h5ad").obs["kind"]
    check(
        scatter(Y, obs, colors={"a": "blue", "b": "lime", "z": "red"}), labels, {"z": "red", "b": "lime", "a": "blue"}
    )


@pytest.mark.parametrize(
    "labels, legend",
    [
        (["x10", "x9", "x1", "y"], ["x1", "x9", "x10", "y"]),
        (["10", "9", "1e", "B", "a"], ["1e", "9", "10", "B", "a"]),
        (["$5", "100%", "_a"], ["$5", "100%", "_a"]),
        (["9" * 5000, "8"], ["8", "9" * 39 + "…"]),
        ([3, "b", "a", 20], ["3", "20", "a", "b"]),
    ],
)
def test_words_sort_as_people_do(labels, legend):
    given = [labels[i % len(labels)] for i in range(N)]
    assert list(legend_of(scatter(Y, given))) == legend


def test_colours_by_label_and_by_name():
    kinds = np.array(["T", "B", "NK"])[np.arange(N) % 3]
    wanted = {"T": "red", "B": "#00FF00", "NK": (0, 0, 1), "none": "black"}
    check(scatter(Y, kinds, colors=wanted), kinds, wanted)
    tab = matplotlib.colormaps["tab10"]
    check(scatter(Y, kinds, colors="tab10"), kinds, {"B": tab(0), "NK": tab(1), "T": tab(2)})
    spaced = matplotlib.colormaps["viridis"]
    check(scatter(Y, kinds, colors="viridis"), kinds, {"B": spaced(0.0), "NK": spaced(0.5), "T": spaced(1.0)})


@pytest.mark.parametrize(
    "labels, colors, message",
    [
        (np.arange(N) % 3, {0: "red", 1: "blue"}, "colors has no colour for 1 label, such as 2"),
        (np.arange(N) % 3, "virdis", "colors='virdis' is not known; did you mean 'viridis'"),
        (np.arange(N) % 3, "red", "colors='red' is one colour; give one for each label"),
        (np.arange(N) % 12, "tab10", "colors='tab10' has 10 colours, and there are 12 labels"),
        (np.arange(N) % 3, ["red"], "colors has 1 colour, and there are 3 labels"),
        (np.linspace(0, 1, N), ["red"] * N, "labels are 240 numbers on a scale, which takes the name of a colour map"),
        (pd.Categorical(np.arange(N)), None, "labels has 240 different words; at most 100"),
    ],
)
def test_colours_that_do_not_fit(labels, colors, message):
    with pytest.raises(ValueError) as error:
        scatter(Y, labels, colors=colors)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_numbers_are_kinds_or_a_scale_and_that_is_said(caplog):
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        whole = scatter(Y, (np.arange(N) % 5).astype(float))
    assert whole.get_legend() is not None and "5 different whole numbers, taken for kinds" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        doses = scatter(Y, np.array([0.1, 0.5, 2.5])[np.arange(N) % 3])
    assert doses.get_legend() is None and "3 different numbers, drawn on a scale" in caplog.text
    scale = scatter(Y, np.arange(N) % 5, colors="magma")
    assert scale.get_legend() is None and scale.collections[0].get_cmap().name == "magma"
    assert scatter(Y, np.arange(N) % 2 == 0).get_legend() is not None


def test_the_density_of_numbers_has_the_colour_of_their_mean():
    # Two cells of the picture: 3 rows of mean 2 in one, and 1 row of 6 in the other; a third has no number.
    places = np.array([[0, 0], [0, 0], [0, 0], [5, 5], [0, 5]], np.float32)
    numbers = np.array([1.5, 2, 2.5, 6.5, np.nan])
    ax = scatter(places, numbers, density=True, legend=False)
    image = ax.images[0].get_array()
    filled = np.argwhere(image[:, :, 3] > 0)
    found = {tuple(at): image[tuple(at)][:3] for at in filled.tolist()}
    assert len(found) == 3
    viridis = matplotlib.colormaps["viridis"]
    wanted = {(0, 0): viridis((2 - 1.5) / 5), (1, 1): viridis(1.0), (1, 0): to_rgb("#CCCCCC")}
    for at, color in found.items():
        key = tuple(int(one > 400) for one in at)
        assert np.allclose(color, wanted[key][:3], atol=0.01), (at, key)
    assert len(scatter(places, numbers, density=True).figure.axes) == 2
