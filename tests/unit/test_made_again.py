"""The command that makes a map again: what the command line can say, it says; for all else there is Python."""

from __future__ import annotations

import shlex

import pytest

from tsne_ooc.cli.command import parser
from tsne_ooc.recipes import WIDE, perplexity_of_sample
from tsne_ooc.refinement import DEVIATION
from tsne_ooc.report.again import again
from tsne_ooc.sampling import Coverage
from tsne_ooc.storage.asked import plain

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


def at(path="table.npy", shape=(5000, 20), **source):
    """A table, as a manifest tells of it."""
    return {"path": path, "shape": list(shape), **source}


def told(content, source=None, files=None):
    """The manifest of a run of another table."""
    content = {**content, "job": {**content["job"], "source": at() if source is None else source}}
    return content if files is None else {**content, "files": files}


IN_MEMORY = "FILE stands for the array in memory that the map was made from"
USUAL = "tsne-ooc embed table.npy --sample 1000 --seed 3 --out again"


@pytest.mark.parametrize(
    "content, text",
    [
        (run(), USUAL),
        # What is as by default, or has no effect on the map, is not said.
        (run(parameters={"perplexity": 30, "n_jobs": 7, "verbose": True, "callbacks": []}), USUAL),
        (run(parameters={"sample": 9, "prepare": 9, "callbacks": None, "callbacks_every_iters": 3}), USUAL),
        (run(parameters={"random_state": 3}), USUAL), (run(rounds=1, then=None, refine=None), USUAL),
        *[
            (run(parameters={"perplexity": 30, name: value}), USUAL.replace("--seed", f"{words} --seed"))
            for name, value, words in (
                ("exaggeration", 4, "--exaggeration 4"), ("exaggeration", 4.0, "--exaggeration 4"),
                ("n_components", 3, "--n-components 3"), ("dof", 0.1 + 0.2, "--dof 0.30000000000000004"),
                ("metric", "cosine", "--metric cosine"), ("neighbors", "ivf", "--neighbors ivf"),
                ("affinity", "mixture", "--affinity mixture"), ("schedule", "classic", "--schedule classic"),
                ("perplexity", 1e6, "--perplexity 1e+06"), ("perplexity", 7.5, "--perplexity 7.5"),
            )
        ],
        (run(sample=plain(Coverage(50))), USUAL.replace("1000", "50 --sample-by coverage")),
        *[
            (run(prepare=[step]), USUAL.replace("--seed", f"{words} --seed"))
            for step, words in (
                ({"class": "Missing", "how": "mean"}, "--missing mean"), ({"class": "Log1p"}, "--log1p"),
                ({"class": "Normalize", "total": 100.0}, "--normalize 100"), ({"class": "PCA", "n": 7}, "--pca 7"),
                ({"class": "Standardize", "robust": True}, "--standardize robust"),
                ({"class": "Standardize", "robust": False}, "--standardize standard"),
            )
        ],
        (run(rounds=2), USUAL.replace("--seed", "--rounds 2 --seed")),
        (run(refine=COARSE), USUAL.replace("--seed", "--refine --seed")),
        (run(refine={"deviation": DEVIATION}), USUAL.replace("--seed", "--refine --seed")),
        (run(refine={**COARSE, "reference": 60}), USUAL.replace("--seed", "--refine --reference 60 --seed")),
        (
            run(parameters={"perplexity": 9}, refine={**COARSE, "perplexity": 12}),
            USUAL.replace("--seed", "--refine --sample-perplexity 9 --perplexity 12 --seed"),
        ),
        (told(run(), at("a b.h5", dataset="/g/X/")), USUAL.replace("table.npy", "'a b.h5' --dataset g/X")),
        (
            told(run(), at(columns=["a", "b,c", "d e"])),
            USUAL.replace("table.npy", "table.npy --columns 'a,\"b,c\",d e'"),
        ),
        (told(run(), at(columns=[f"c{j}" for j in range(30)])),
         USUAL.replace("table.npy", "table.npy --columns " + ",".join(f"c{j}" for j in range(30)))),
        (told(run(), at(columns=['a"b', "c\nd"])), USUAL.replace("table.npy", 'table.npy --columns \'"a""b","c\nd"\'')),
        (told(run(), at(columns=None, dataset=None)), USUAL),
        (told(run(), at("a.npy"), [{"path": "a.npy"}, {"path": "b.npy"}]), USUAL.replace("table.npy", "a.npy b.npy")),
    ],
)  # fmt: skip
def test_each_option_is_typed_as_the_command_line_has_it(content, text):
    found = again(content)
    assert (found.text, found.language, found.note) == (text, "sh", "")
    typed = parser().parse_args(shlex.split(text)[1:])
    assert typed.run and typed.columns == content["job"]["source"].get("columns")


LEFT_OUT = (
    "it was made of 31 columns, which the manifest has under job, source; where the table has others, they are to be "
    "named in columns (--columns)"
)


@pytest.mark.parametrize(
    "content, text, note",
    [
        (told(run(), at(None)), USUAL.replace("table.npy", "FILE"), IN_MEMORY),
        (
            run(parameters={"perplexity": 7, "n_iter": 9}),
            "tsne_ooc.embed('table.npy', out='again',\n    sample=UniformSample(size=1000), random_state=3,\n"
            "    tsne=TSNE(perplexity=7, n_iter=9),\n)", "",
        ),
        (
            told(run(parameters={"init": "<array> [3 x 2]"}, prepare=[{"class": "Log1p"}, {"class": "Log1p"}], rounds=3,
                     refine={"deviation": None, "n_iter": 7}),
                 at("a.h5", dataset="/X", columns=["a", "b"]), [{"path": "a.h5"}, {"path": "b.h5"}]),
            "tsne_ooc.embed(['a.h5', 'b.h5'], out='again',\n    dataset='X',\n    columns=['a', 'b'],\n"
            "    sample=UniformSample(size=1000), random_state=3,\n    tsne=TSNE(init='<array> [3 x 2]'),\n"
            "    prepare=Preparation([Log1p(), Log1p()]),\n    refine=Refinement(n_iter=7),\n    rounds=3,\n)",
            "what stands in quotes with brackets was an object that no file holds",
        ),
        (
            told(run(parameters={"perplexity": [5, 50]}), at(None, columns=[f"c{j}" for j in range(31)])),
            "tsne_ooc.embed('FILE', out='again',\n    sample=UniformSample(size=1000), random_state=3,\n"
            "    tsne=TSNE(perplexity=[5, 50]),\n)",
            f"{IN_MEMORY}; {LEFT_OUT}",
        ),
        # So many names would hide the rest.
        (told(run(), at(columns=[f"c{j}" for j in range(31)])), USUAL, LEFT_OUT),
    ],
)  # fmt: skip
def test_what_is_not_said_is_noted(content, text, note):
    found = again(content)
    assert found.text == text and found.note == note


@pytest.mark.parametrize(
    "content",
    [{}, {"task": "embed"}, {"task": "embed", "job": {}}, {**run(), "task": "fit"}, {**run(), "task": None},
     {"task": "embed", "job": {"request": {"sample": 5}, "source": at()}}],
)  # fmt: skip
def test_where_a_manifest_does_not_tell_there_is_no_command(content):
    assert again(content) is None


@pytest.mark.parametrize("perplexity", [5, 30, 200])
@pytest.mark.parametrize("columns, prepare", [(WIDE, None), (WIDE + 1, [{"class": "PCA", "n": 5}])])
def test_the_recipe_is_named_where_it_chooses_so(perplexity, columns, prepare):
    found = again(large(columns, prepare, perplexity=perplexity))
    words = found.text.split()
    assert found.language == "sh" and words[words.index("--recipe") + 1] == "large" and "--refine" not in words
    assert "--affinity" in words and words[words.index("--affinity") + 1] == "uniform"
    if perplexity != 30:
        assert words[words.index("--perplexity") + 1] == str(perplexity)


# ------------------------------------------------------------------------------------ at the edges of what can be said

MINE = {"class": "Mine", "p": 3}


@pytest.mark.parametrize("content, inside", [
    # Words and numbers alone can be typed.
    *[
        (run(parameters={"perplexity": 30, name: value}), f"tsne=TSNE({name}={words}),")
        for name, value, words in (
            ("metric", MINE, "Mine(p=3)"), ("dof", None, "None"), ("schedule", [MINE], "[Mine(p=3)]"),
            ("neighbors", "<object> [Search]", "'<object> [Search]'"),
            ("callbacks", ["<object> [Film]"], "['<object> [Film]']"),
            ("min_grad_norm", 0.125, "0.125"),
        )
    ],
    # The seed of the fit is said where it is not that of the run.
    (run(parameters={"random_state": 3, "n_iter": 9}), "tsne=TSNE(n_iter=9),"),
    (run(parameters={"random_state": 4, "n_iter": 9}), "tsne=TSNE(random_state=4, n_iter=9),"),
    (run(sample="<array> [5]"), "sample='<array> [5]', random_state=3,"),
    (run(sample=None), "sample=None, random_state=3,"),
    (run(sample=MINE), "sample=Mine(p=3), random_state=3,"),
    (run(prepare=["<object> [Own]"]), "prepare=Preparation(['<object> [Own]']),"),
    (run(prepare=[{"n": 5}]), "prepare=Preparation([{'n': 5}]),"),
    (told(run(then=[MINE]), at(columns=[f"c{j}" for j in range(30)])), f"columns={[f'c{j}' for j in range(30)]},"),
    (run(then=[MINE], rounds=2), "rounds=2,"), (run(then=[MINE]), "then=[Mine(p=3)],"),
    (run(refine={**COARSE, "n_iter": 5}), f"refine=Refinement(perplexity=30, deviation={DEVIATION!r}, n_iter=5),"),
    (run(refine={"perplexity": 9}), "refine=Refinement(perplexity=9),"),
    # A sample of affinities as no recipe chooses.
    (large() | {"job": {**large()["job"], "request": {**large()["job"]["request"], "parameters": {
        **large()["job"]["request"]["parameters"], "affinity": "mixture"}}}},
     f"refine=Refinement(perplexity=30, deviation={DEVIATION!r}, affinity='uniform'),"),
])  # fmt: skip
def test_what_cannot_be_typed_is_said_in_full_by_python(content, inside):
    """And nothing that is not so: neither rounds that were not asked for, nor what is as by default."""
    found = again(content)
    lines = [line.strip() for line in found.text.split("\n")]
    assert found.language == "python" and inside in lines
    request = content["job"]["request"]
    assert len(lines) == 3 + sum(
        bool(one)
        for one in (
            content["job"]["source"].get("columns"), request.get("prepare"), request.get("refine"),
            request.get("rounds", 1) != 1, request.get("then"),
            set(request["parameters"]) - {"perplexity"},
        )
    )  # fmt: skip


def of_recipe(rows, size, perplexity, metric="euclidean", columns=20, prepare=None):
    """The manifest of a run by `--recipe large` of a table of so many rows."""
    parameters = {"affinity": "uniform", "metric": metric,
                  "perplexity": perplexity_of_sample(min(rows, size), perplexity, equal=True)}  # fmt: skip
    refine = {**COARSE, "perplexity": perplexity, "affinity": "mixture", "reference": 70}
    content = run(columns, parameters=parameters, refine=refine, sample={**UNIFORM, "size": size}, prepare=prepare)
    return told(content, at(shape=(rows, columns)))


@pytest.mark.parametrize("rows, size", [(5000, 1000), (5000, 5000), (60, 1000), (61, 60)])
@pytest.mark.parametrize("metric, columns", [("euclidean", WIDE), ("cosine", WIDE + 1), ("cosine", 20)])
def test_a_recipe_is_all_that_is_said_of_what_it_chooses(rows, size, metric, columns):
    """Of a table that is smaller than the sample was to be, too; other metrics than euclidean keep all columns."""
    found = again(of_recipe(rows, size, 20, metric, columns)).text.split()
    of_metric = [] if metric == "euclidean" else ["--metric", metric]
    expected = ["tsne-ooc", "embed", "table.npy", "--sample", str(size), "--recipe", "large", "--reference", "70",
                "--affinity", "mixture", *of_metric, "--perplexity", "20", "--seed", "3", "--out", "again"]  # fmt: skip
    assert found[:9] == expected[:9] and found[-4:] == expected[-4:] and sorted(found) == sorted(expected)


@pytest.mark.parametrize("columns, prepare, said", [
    (WIDE, None, True), (WIDE + 1, None, False), (WIDE + 1, [{"class": "PCA", "n": 50}], True),
])  # fmt: skip
def test_of_wide_rows_a_recipe_keeps_some_components(columns, prepare, said):
    found = again(of_recipe(5000, 1000, 20, columns=columns, prepare=prepare))
    assert ("--recipe large" in found.text) == said == (found.language == "sh")


@pytest.mark.parametrize("columns, shown", [(0, False), (1, True), (30, True), (31, False)])
def test_a_placed_map_of_some_columns_and_several_files(columns, shown):
    names = [f"c{j}" for j in range(columns)]
    content = {"task": "place", "job": {"source": at("a.h5", columns=names, dataset="/X"), "request": {}},
               "files": [{"path": "a.h5"}, {"path": "b.h5"}]}  # fmt: skip
    found = again(content)
    more = f" --columns {','.join(names)}" if shown else ""
    assert found.text == f"tsne-ooc place MODEL a.h5 b.h5 --dataset X{more} --out again"
    assert (found.language, found.note) == ("sh", LEFT_OUT if columns == 31 else "")
    in_memory = again({**content, "files": [], "job": {"source": at(None), "request": {"rows": [0, 5]}}})
    assert in_memory.text == "tsne-ooc place MODEL FILE --rows 0:5 --out again" and in_memory.note == IN_MEMORY
