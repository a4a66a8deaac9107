"""New rows over the map they were placed on: which rows are grey, which are not, and how the map is found."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tsne_ooc import TSNE, embed, open_run, place
from tsne_ooc.cli import main
from tsne_ooc.cli.command import parser
from tsne_ooc.plot import draw, panels, scatter
from tsne_ooc.plot.colors import LIGHT
from tsne_ooc.plot.density import CELLS

N, NEW, P = 400, 60, 5
FEW = {"perplexity": 8, "early_exaggeration_iter": 20, "n_iter": 40, "random_state": 0, "n_jobs": 1}
GREY = to_rgb(LIGHT.missing)


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return (6 * np.eye(P)[rng.integers(0, 4, n)] + rng.normal(size=(n, P))).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published map, whose sample is a part of it; new rows on it, ten of which are strange; a map of others."""
    home = tmp_path_factory.mktemp("made")
    new = rows(NEW, 1)
    new[:10] += 25
    np.save(home / "old.npy", rows(N))
    np.save(home / "new.npy", new)
    np.save(home / "kinds.npy", np.array(["ape", "bee"])[np.arange(NEW) % 2])
    embed(home / "old.npy", out=home / "map", sample=250, tsne=TSNE(**FEW))
    place(home / "map", home / "new.npy", out=home / "more")
    embed(home / "old.npy", out=home / "another", sample=200, tsne=TSNE(**FEW))
    TSNE(**FEW).fit(rows(N)).save(home / "published")
    place(home / "published", home / "new.npy", out=home / "over-model")
    return home


@pytest.fixture
def home(made, tmp_path):
    """The same, to change."""
    shutil.copytree(made, tmp_path / "home")
    place(tmp_path / "home" / "map", made / "new.npy", out=tmp_path / "home" / "own")
    return tmp_path / "home"


def of(folder):
    return np.asarray(open_run(folder).embedding)


def notes(figure):
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def grey_rows(figure):
    """The places of the rows that are drawn behind, sorted; none where nothing is."""
    found = [one.get_offsets() for one in figure.axes[0].collections if one.get_zorder() < 0]
    assert len(found) <= 1
    return sorted(map(tuple, np.asarray(found[0], np.float32).tolist())) if found else []


def as_drawn(Y):
    return sorted(map(tuple, np.asarray(Y, np.float32).tolist()))


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


# ------------------------------------------------------------------------------------------------------------- arrays


def test_others_are_grey_and_behind():
    old, new = rows(N)[:, :2], rows(NEW, 1)[:, :2] + 30
    kinds = np.arange(NEW) % 2
    ax = scatter(new, kinds, behind=old, alpha=1, legend=False, colors=["red", "blue"])
    assert grey_rows(ax.figure) == as_drawn(old)
    grey, front = ax.collections
    assert {tuple(color[:3]) for color in grey.get_facecolors()} == {GREY}
    assert {tuple(color[:3]) for color in front.get_facecolors()} == {to_rgb("red"), to_rgb("blue")}
    assert as_drawn(front.get_offsets()) == as_drawn(new)
    both = np.concatenate([old, new])
    for (low, high), places in zip((ax.get_xlim(), ax.get_ylim()), both.T, strict=True):
        assert low < places.min() and places.max() < high
    assert f"{NEW} rows on a map of {N} rows in grey" in notes(ax.figure)
    sizes = [one.get_sizes().tolist() for one in scatter(new, behind=old, size=3).collections]
    assert sizes == [[3], [3]]


def test_a_row_lies_over_the_rows_behind_it():
    """In one place with ten thousand old ones, as a point and as a cell."""
    old = np.concatenate([np.zeros((10_000, 2)), np.random.default_rng(0).normal(size=(500, 2))])
    for density in (False, True):
        ax = scatter(np.zeros((1, 2)), ["x"], behind=old, colors=["red"], density=density, alpha=1, legend=False)
        shown = pixels(ax.figure).astype(int)
        assert (shown[..., 0] - shown[..., 1] > 60).any()
        assert ((shown.max(axis=2) - shown.min(axis=2) < 8) & (shown[..., 0] < 245)).sum() > 50


@pytest.mark.parametrize("front", [False, True])
def test_many_others_are_counted(monkeypatch, front):
    """Cell by cell: grey where there are old rows, whatever lies before them."""
    monkeypatch.setattr(importlib.import_module("tsne_ooc.plot.scatter"), "MOST_POINTS", 100)
    old, new = rows(N)[:, :2].round(1), rows(NEW, 1)[:, :2]
    ax = scatter(new, behind=old, density=front)
    grey, *others = [np.asarray(image.get_array()) for image in ax.images]
    assert len(others) == front
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    filled = np.zeros((CELLS, CELLS), bool)
    for x, y in old.astype(float):
        filled[int((y - bottom) * (CELLS / (top - bottom))), int((x - left) * (CELLS / (right - left)))] = True
    np.testing.assert_array_equal(grey[..., 3] > 0, filled)
    np.testing.assert_allclose(grey[filled][:, :3], np.tile(GREY, (filled.sum(), 1)), atol=1e-6)
    assert ax.images[0].get_zorder() < 0


def test_groups_lie_on_the_map_behind_them():
    old, new = rows(N)[:, :2], rows(NEW, 1)[:, :2] + 30
    by = np.array(["Monday", "Tuesday"])[np.arange(NEW) % 2]
    figure = panels(new, by, behind=old)
    for ax, day in zip(figure.axes, ("Monday", "Tuesday"), strict=True):
        assert as_drawn(ax.collections[0].get_offsets()) == as_drawn(new[by == day])
        filled = np.argwhere(np.asarray(ax.images[0].get_array())[..., 3] > 0)[:, ::-1]
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        cells = np.floor((old.astype(float) - (left, bottom)) * (CELLS / (right - left)))
        assert {*map(tuple, filled.tolist())} == {*map(tuple, cells.astype(int).tolist())}
        assert top - bottom == pytest.approx(right - left)
    assert f"{NEW} rows on a map of {N} rows in grey" in notes(figure)


def test_far_and_lost_rows_of_both_are_told():
    old, new = rows(N)[:, :2], rows(NEW, 1)[:, :2]
    old[3], new[5] = 1e6, np.nan
    ax = scatter(new, behind=old)
    assert np.ptp(ax.get_xlim()) < 100
    assert "1 row far away, drawn at the rim; 1 row without coordinates" in notes(ax.figure)
    new[:] = np.nan
    assert f"{NEW} rows without coordinates" in notes(scatter(new, ["x"] * NEW, behind=old).figure)


def test_maps_of_one_axis():
    ax = scatter(rows(NEW, 1)[:, :1], behind=rows(N)[:, :1])
    assert len(grey_rows(ax.figure)) == N
    with pytest.raises(ValueError, match="behind has 1 column, and Y 2"):
        scatter(rows(NEW)[:, :2], behind=rows(N)[:, :1])
    with pytest.raises(ValueError, match=r"behind has 3 columns; choose one or two to draw, such as behind\[:, :2\]"):
        scatter(rows(NEW)[:, :2], behind=rows(N)[:, :3])


def test_rings_are_around_the_rows_that_are_named():
    Y = rows(N)[:, :2]
    for ring in ([7, 3], np.isin(np.arange(N), [3, 7])):
        ax = scatter(Y, np.arange(N) % 2, ring=ring, legend=False)
        rings = ax.collections[-1]
        np.testing.assert_allclose(rings.get_offsets(), Y[[3, 7]])
        assert rings.get_facecolors().shape[0] == 0 and rings.get_zorder() > ax.collections[0].get_zorder()
        assert "2 rows ringed" in notes(ax.figure)
        # The others keep their colours.
        assert len({tuple(color) for color in ax.collections[0].get_facecolors()}) == 2
    with pytest.raises(ValueError, match="ring names row 400, and Y has 400 rows"):
        scatter(Y, ring=[N])


# --------------------------------------------------------------------------------------------------------------- runs


def test_placed_rows_lie_on_all_rows_of_their_map(made):
    """On those of the whole run, fitted or not, and not only on those that its model holds."""
    for source in (made / "more", str(made / "more"), open_run(made / "more")):
        figure = draw(source)
        assert grey_rows(figure) == as_drawn(of(made / "map"))
        assert as_drawn(figure.axes[0].collections[-1].get_offsets()) == as_drawn(of(made / "more"))
    told = notes(figure)
    assert f"on map: {N} rows · 250 fitted · perplexity 8" in told
    assert f"{NEW} rows on a map of {N} rows in grey" in told
    # A map alone, and coordinates alone, lie on nothing.
    assert grey_rows(draw(made / "map")) == grey_rows(draw(made / "more" / "embedding.npy")) == []


def test_a_saved_model_is_a_map_too(made):
    Y = np.load(made / "published" / "model.embedding.npy")
    figure = draw(made / "over-model")
    assert grey_rows(figure) == as_drawn(Y) and f"on published: {N} rows · perplexity 8" in notes(figure)
    alone = draw(made / "published")
    assert as_drawn(alone.axes[0].collections[0].get_offsets()) == as_drawn(Y)


def test_an_encoder_puts_rows_on_the_map_of_its_teacher(made, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from tsne_ooc.parametric import ParametricTSNE

    few = {"network": (16, 1), "n_iter": 20, "batch_size": 64, "random_state": 0, "n_jobs": 1}
    encoder = ParametricTSNE(TSNE(**FEW), **few).fit(rows(N))
    encoder.save(tmp_path / "encoder")
    place(tmp_path / "encoder", made / "new.npy", out=tmp_path / "more")
    assert grey_rows(draw(tmp_path / "more")) == as_drawn(encoder.teacher_.embedding_)
    # The published map is one that the encoder's own folder does not name.
    assert grey_rows(draw(tmp_path / "more", behind=made / "map")) == as_drawn(of(made / "map"))


def test_a_map_is_found_from_elsewhere(home, monkeypatch, tmp_path):
    monkeypatch.chdir(home)
    place("map", "new.npy", out="from-here")
    assert len(grey_rows(draw("from-here"))) == N
    monkeypatch.chdir(tmp_path)
    assert len(grey_rows(draw(home / "from-here"))) == N


def test_a_map_that_is_gone_is_said_and_named_anew(home):
    (home / "map").rename(home / "moved")
    with pytest.warns(UserWarning, match="^the map behind the rows of own is not drawn: there is no model in") as told:
        figure = draw(home / "own")
    # It is told of the line that asked for the picture.
    assert [one.filename for one in told] == [__file__]
    assert grey_rows(figure) == [] and f"{NEW} rows" in notes(figure)
    moved = home / "moved"
    for behind, told in ((moved, True), (moved / "embedding.npy", False), (of(moved), False), (open_run(moved), True)):
        figure = draw(home / "own", behind=behind)
        assert len(grey_rows(figure)) == N
        # Places alone have nothing to tell about themselves.
        assert notes(figure).startswith(f"on moved: {N} rows" if told else f"{NEW} rows on a map of {N} rows in grey")
    # Its model alone: what was fitted.
    assert len(grey_rows(draw(home / "own", behind=home / "moved" / "model"))) == 250
    # Rows of another map lie on another one, also where theirs is gone.
    with pytest.raises(ValueError, match=r"^the rows of own do not lie on another, but on another map$"):
        draw(home / "own", behind=home / "another")
    # Another map in its place.
    (home / "another").rename(home / "map")
    with pytest.warns(UserWarning, match="is not the one that the rows of"):
        assert grey_rows(draw(home / "own")) == []


def test_rows_of_another_map_are_refused(made):
    for behind in (made / "another", open_run(made / "another"), made / "published", made / "over-model"):
        with pytest.raises(ValueError, match=r"^the rows of more do not lie on \S+, but on another map$"):
            draw(made / "more", behind=behind)
    # Two tables of new rows on one map; and new rows behind the map itself.
    figure = draw(made / "map", behind=made / "more")
    assert grey_rows(figure) == as_drawn(of(made / "more"))
    with pytest.raises(FileNotFoundError, match="there is no folder or file"):
        draw(made / "more", behind=made / "nowhere")


def test_rows_beyond_the_threshold_get_rings(made):
    run = open_run(made / "more")
    threshold = run.manifest["novelty"]["threshold"]
    novel = np.flatnonzero(run.novelty > threshold)
    assert set(range(10)) <= set(novel.tolist()) and len(novel) < NEW / 2
    figure = draw(run, "novelty", ring="novel")
    rings = figure.axes[0].collections[-1]
    np.testing.assert_allclose(rings.get_offsets(), run.embedding[novel], rtol=1e-6)
    assert f"rings: novelty beyond {threshold:.2f}" in notes(figure) and f"; {len(novel)} rows ringed" in notes(figure)
    with pytest.raises(ValueError, match="did you mean 'novel'"):
        draw(run, ring="novl")
    with pytest.raises(ValueError, match="embedding has no novelty"):
        draw(made / "more" / "embedding.npy", ring="novel")


def test_groups_and_chosen_rows_of_a_placed_run(made):
    kinds = str(made / "kinds.npy")
    figure = draw(made / "more", by=kinds)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["ape (30)", "bee (30)"]
    assert f"{NEW} rows on a map of {N} rows in grey" in notes(figure)
    figure = draw(made / "more", highlight=[1])
    assert len(grey_rows(figure)) == N and "1 row highlighted" in notes(figure)
    # Beside another map of the same rows there is nothing behind.
    assert grey_rows(draw(made / "more", other=made / "more")) == []
    for given, message in (
        ({"other": made / "more", "behind": made / "map"}, "other is drawn beside the map, and behind within it"),
        ({"by": kinds, "ring": [1]}, "ring is for a picture of one map; leave out by and other"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(made / "more", **given)


def test_two_axes_of_three(made, tmp_path):
    embed(made / "old.npy", out=tmp_path / "map", tsne=TSNE(n_components=3, **FEW))
    place(tmp_path / "map", made / "new.npy", out=tmp_path / "more")
    assert grey_rows(draw(tmp_path / "more", axes=(3, 1))) == as_drawn(of(tmp_path / "map")[:, [2, 0]])


# ------------------------------------------------------------------------------------------------- the command line


def test_the_line_after_placing_draws_what_it_says(made, tmp_path, capsys):
    assert main(["place", str(made / "map"), str(made / "new.npy"), "--out", str(tmp_path / "more day")]) == 0
    (line,) = re.findall(r"over the map they are on: (tsne-ooc plot .*)", capsys.readouterr().out)
    assert main(["info", str(tmp_path / "more day")]) == 0
    assert f"  {line}\n" in capsys.readouterr().out
    assert parser().parse_args(shlex.split(line)[1:]).map == str(tmp_path / "more day")
    assert main([*shlex.split(line)[1:], "--dpi", "60"]) == 0
    shown = np.round(255 * imread(tmp_path / "more day.png")[..., :3]).astype(int)
    grey = (np.ptp(shown, axis=2) < 6) & (shown[..., 0] < 240)
    blue = shown[..., 2] - shown[..., 0] > 60
    assert grey.sum() > blue.sum() > 100


@pytest.mark.parametrize(
    "words, message",
    [
        ("--behind {home}/another", "the rows of more do not lie on another, but on another map"),
        ("--behind {home}/nowhere", "there is no folder or file"),
        ("--ring novl", "--ring='novl' is not known; did you mean 'novel'?"),
        ("--ring 3,x", "--ring '3,x' is not a list of whole numbers"),
        ("--ring 60", "ring names row 60, and Y has 60 rows"),
        ("--other {home}/map --behind {home}/map", "leave out one of them"),
    ],
)
def test_one_line_for_what_cannot_be(made, tmp_path, capsys, words, message):
    out = tmp_path / "out.png"
    code = main(["plot", str(made / "more"), *words.format(home=made).split(), "--out", str(out)])
    said = capsys.readouterr()
    assert code == 2 and not out.exists() and said.err.count("\n") == 1 and message in said.err, said.err


@pytest.mark.filterwarnings("default:the map behind")
def test_a_map_that_is_gone_is_one_line_and_a_picture(home, capsys):
    (home / "map").rename(home / "moved")
    assert main(["plot", str(home / "own"), "--dpi", "40"]) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "is not drawn: there is no model in" in said.err
    assert said.err.endswith("; or say where it is with --behind\n")
    words = ["--behind", str(home / "moved"), "--ring", "novel", "--color", "novelty", "--dpi", "40", "--overwrite"]
    assert main(["plot", str(home / "own"), *words]) == 0 and capsys.readouterr().err == ""
