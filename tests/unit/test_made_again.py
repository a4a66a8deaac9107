"""The command that makes a map again: what the command line can say, it says; for all else there is Python."""

from __future__ import annotations

import shlex

import pytest

from tsne_ooc.cli.command import parser
from tsne_ooc.recipes import WIDE, perplexity_of_sample
from tsne_ooc.refinement import DEVIATION
from tsne_ooc.report.again import again

UNIFORM = {"class": "UniformSample", "size": 1000}
COARSE = {"reference": None, "perplexity": 30, "deviation": DEVIATION}


def run(columns=20, **request):
    """The manifest of a run of 5,000 rows."""
    wanted = {"parameters": {"perplexity": 30}, "random_state": 3, "sample": UNIFORM, "prepare": None, **request}
    source = {"path": "table.npy", "shape": [5000, columns]}
    return {"task": "embed", "job": {"request": wanted, "source": source}}


def large(columns=20, prepare=None, equal=True, **refine):
    """A run as `--recipe large` makes it: the perplexity of the sample follows from the one that is asked for."""
    asked = {**COARSE, "affinity": "uniform", **refine}
    sample = perplexity_of_sample(1000, asked["perplexity"] or 30, equal=equal)
    parameters = {"affinity": "uniform", "perplexity": sample, "metric": "euclidean"}
    return run(columns, parameters=parameters, refine=asked, prepare=prepare)


def test_what_the_command_line_says():
    found = again(
        run(refine=COARSE, rounds=4, prepare=[{"class": "Standardize", "robust": False}, {"class": "PCA", "n": 5}])
    )
    assert found.language == "sh" and found.note == ""
    assert found.text == (
        "tsne-ooc embed table.npy --sample 1000 --standardize standard --pca 5 --refine --rounds 4 --seed 3 --out again"
    )
    asked = parser().parse_args(shlex.split(found.text)[1:])
    assert (asked.sample, asked.pca, asked.rounds, asked.seed, asked.refine) == (1000, 5, 4, 3, True)
    assert "--recipe large" in again(large()).text and again(large()).language == "sh"


@pytest.mark.parametrize(
    "content, told",
    [
        (run(parameters={"perplexity": 30, "random_state": 4}), ["sample=UniformSample(size=1000), random_state=3,"]),
        (
            run(then=[{"class": "Trust", "k": 5}, {"class": "Look"}], rounds=3),
            ["    rounds=3,", "    then=[Trust(k=5), Look()],"],
        ),
        (run(refine={**COARSE, "deviation": DEVIATION / 2}), [f"deviation={DEVIATION / 2!r}"]),
        (run(refine={**COARSE, "n_iter": 7}), ["n_iter=7)"]),
        # Not as the recipe chooses: of wide rows it keeps some components, and one perplexity follows from the other.
        (large(columns=WIDE + 1), ["refine=Refinement(perplexity=30"]),
        (large(equal=False), ["refine=Refinement(perplexity=30"]),
        (large(perplexity=None), ["refine=Refinement(deviation="]),
        (run(sample={**UNIFORM, "replace": True}), ["sample=UniformSample(size=1000, replace=True)"]),
        (run(sample={"class": "Coverage", "size": 1000, "weight": 2}), ["sample=Coverage(size=1000, weight=2)"]),
        (
            run(prepare=[{"class": "PCA", "n": 5}, {"class": "Log1p"}]),
            ["prepare=Preparation([PCA(n=5), Log1p()])"],
        ),
        (run(prepare=[{"class": "Mine", "columns": [1, 2]}]), ["prepare=Preparation([Mine(columns=[1, 2])])"]),
        (run(prepare=[{"class": "PCA", "n": 5, "whiten": True}]), ["prepare=Preparation([PCA(n=5, whiten=True)])"]),
    ],
)  # fmt: skip
def test_what_it_has_no_words_for_is_python(content, told):
    found = again(content)
    assert found.language == "python" and found.text.startswith("tsne_ooc.embed('table.npy', out='again',\n")
    # It can be read as Python, too.
    compile(found.text, "again", "eval")
    for words in told:
        assert words in found.text, found.text


def test_a_part_of_the_rows_that_were_placed():
    content = {"task": "place", "model": "map", "job": {"source": {"path": "new.h5", "dataset": "/X"}, "request": {}}}
    assert again(content).text == "tsne-ooc place map new.h5 --dataset X --out again"
    content["job"]["request"] = {"rows": [20, 300]}
    found = again(content).text
    assert found == "tsne-ooc place map new.h5 --dataset X --rows 20:300 --out again"
    assert parser().parse_args(shlex.split(found)[1:]).rows == "20:300"
