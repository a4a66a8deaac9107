"""What the last value of a cell of a notebook looks like: pictures are shown, and all else is a few lines."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from tsne_ooc import TSNE, embed, look, open_run, place
from tsne_ooc.plot import beside, draw, panels, scatter

N = 300
FEW = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0, "n_jobs": 1}


def rows(n=N, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


Y, BY = rows()[:, :2], np.arange(N) % 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: scatter(Y, BY, dpi=50), lambda: draw(Y, BY, dpi=50), lambda: panels(Y, BY, dpi=50),
        lambda: beside(Y, -Y, BY, dpi=50),
    ],
    ids=["scatter", "draw", "panels", "beside"],
)  # fmt: skip
def test_pictures_are_shown(make, tmp_path):
    """As a file of them looks, at 72 dots of the page for an inch."""
    value, again = make(), make()
    data, told = value._repr_png_()
    # Another one, since a layout may settle further the second time that it is drawn.
    figure = getattr(again, "figure", again)
    figure.savefig(tmp_path / "wanted.png")
    np.testing.assert_array_equal(imread(io.BytesIO(data)), imread(tmp_path / "wanted.png"))
    assert json.loads(json.dumps(told)) == {
        "width": round(72 * figure.get_figwidth()), "height": round(72 * figure.get_figheight())
    }  # fmt: skip


def test_a_notebook_takes_them():
    formatters = pytest.importorskip("IPython.core.formatters", reason="this is about notebooks, which have IPython")
    for value in (scatter(Y), draw(Y)):
        found, told = formatters.DisplayFormatter().format(value)
        assert found["image/png"][:4] == b"\x89PNG" and told["image/png"]["width"] == 504


def test_they_do_not_belong_to_pyplot():
    code = """
import sys, numpy as np
from tsne_ooc.plot import scatter
assert scatter(np.eye(3)[:, :2], dpi=30)._repr_png_()[0][:4] == b"\\x89PNG"
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_picture_is_pickled():
    figure = pickle.loads(pickle.dumps(draw(Y, BY, dpi=40)))
    assert figure._repr_png_()[0] == draw(Y, BY, dpi=40)._repr_png_()[0]


def test_axes_of_ones_own_are_left_as_they_are():
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    own = Figure().subplots()
    assert type(scatter(Y, ax=own)) is Axes


def shown(value):
    """The text of a value, as notebooks make it."""

    class Printer:
        words = ""

        def text(self, words):
            self.words += words

    if not hasattr(value, "_repr_pretty_"):
        return repr(value)
    printer = Printer()
    value._repr_pretty_(printer, False)
    return printer.words


def test_all_else_is_a_few_lines(tmp_path):
    np.save(tmp_path / "X.npy", rows())
    run = embed(tmp_path / "X.npy", out=tmp_path / "map", sample=200, tsne=TSNE(**FEW))
    more = place(tmp_path / "map", tmp_path / "X.npy", out=tmp_path / "more")
    assert repr(run) == f"Run({str(tmp_path / 'map')!r}: 300 x 2; embedding, novelty, sample_rows)"
    assert repr(more) == f"Run({str(tmp_path / 'more')!r}: 300 x 2; embedding, novelty)" == repr(open_run(more.folder))
    found = look(tmp_path / "X.npy")
    assert shown(found) == str(found) and "would be read: 300 rows of 4 columns" in shown(found)
    model = TSNE(**FEW).fit(rows())
    assert repr(model.map_).startswith("<FittedMap of 300 rows on a plane, KL ")
    for value in (run, found, model, model.map_):
        assert len(shown(value)) < 1500, value
