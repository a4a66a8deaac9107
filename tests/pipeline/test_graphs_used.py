"""A graph that was searched before is used wherever all rows are fitted, and makes what a search would have made."""

from __future__ import annotations

import numpy as np
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc.cli import main
from tsne_ooc.pipeline import neighbors
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.refinement import Refinement

QUICK = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0}


def rows(n=400, p=6, seed=0):
    rng = np.random.default_rng(seed)
    middles = 8 * np.random.default_rng(7).normal(size=(5, p))
    return (middles[rng.integers(0, 5, n)] + rng.normal(size=(n, p))).astype("f4")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    prepare = Preparation([Standardize()])
    return neighbors(rows(), out=tmp_path_factory.mktemp("graphs") / "graph", k=18, search="ivf", prepare=prepare)


def test_all_rows_together(tmp_path, graph):
    options = {"sample": 100, "tsne": TSNE(**QUICK), "prepare": Preparation([Standardize()])}
    searched = embed(rows(), out=tmp_path / "a", refine=Refinement(neighbors="ivf", n_iter=20), **options)
    known = embed(rows(), out=tmp_path / "b", refine=Refinement(neighbors=graph, n_iter=20), **options)
    np.testing.assert_array_equal(known.embedding, searched.embedding)
    # Of which the map keeps some rows alone, among which new ones are searched.
    some = embed(rows(), out=tmp_path / "c", refine=Refinement(neighbors=graph, n_iter=20, reference=150), **options)
    np.testing.assert_array_equal(some.embedding, searched.embedding)


def test_the_recipe(tmp_path, graph):
    from tsne_ooc.recipes import large

    made = [
        large(
            rows(), out=tmp_path / name, perplexity=5, sample=100, tsne=TSNE(**QUICK | {"neighbors": "ivf"}),
            prepare=Preparation([Standardize()]), graph=known,
        ).embedding
        for name, known in (("graph", graph), ("search", None))
    ]  # fmt: skip
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    "table, perplexity, says",
    [
        (rows(399), 5, "the graph is of 400 rows, and there are 399"),
        (rows(), 30, "the graph has 18 neighbours of each row, and 90 are needed"),
        (rows(seed=1), 5, "is of other rows"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(tmp_path, graph, table, perplexity, says):
    seen = []
    with pytest.raises(ValueError, match=says) as caught:
        embed(
            table, out=tmp_path / "map", sample=100, tsne=TSNE(**QUICK), prepare=Preparation([Standardize()]),
            refine=Refinement(neighbors=graph, perplexity=perplexity), progress=lambda phase, *_: seen.append(phase),
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    # What can be known beforehand is said before the work.
    assert ("fit" in seen) == ("other rows" in says)


def test_the_commands(tmp_path, capsys, graph):
    np.save(tmp_path / "X.npy", rows())
    embedding = ["embed", str(tmp_path / "X.npy"), "--standardize", "--perplexity", "5", "--sample", "100", "--quiet"]
    embedding += ["--neighbors", "ivf"]
    folder = str(graph._path)
    assert main([*embedding, "--refine", "--out", str(tmp_path / "a")]) == 0
    assert main([*embedding, "--refine", "--graph", folder, "--out", str(tmp_path / "b")]) == 0
    found, wanted = (np.load(tmp_path / name / "embedding.npy") for name in "ba")
    np.testing.assert_array_equal(found, wanted)
    capsys.readouterr()
    for words, says in (
        (["--graph", folder], "--graph is for maps of all rows together; add --refine"),
        (["--graph", str(tmp_path / "no"), "--refine"], "there is no folder"),
    ):
        assert main([*embedding, *words, "--out", str(tmp_path / "c")]) == 2
        assert says in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_teachers(tmp_path, graph):
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.pipeline import train

    encoder = ParametricTSNE(n_iter=3, batch_size=64, random_state=0, objective="distillation")
    prepare, made = Preparation([Standardize()]), {}
    for name, search in (("graph", graph), ("search", "ivf")):
        model = train(rows(), out=tmp_path / name, encoder=encoder, tsne=TSNE(**QUICK, neighbors=search),
                      prepare=prepare)  # fmt: skip
        made[name] = model.transform(rows(9, seed=1))
    np.testing.assert_array_equal(made["graph"], made["search"])
    with pytest.raises(ValueError, match="is of other rows"):
        train(rows(seed=1), out=tmp_path / "other", encoder=encoder, tsne=TSNE(**QUICK, neighbors=graph),
              prepare=prepare)  # fmt: skip
