"""What people type, and how a command answers: the nearest word, options as they are typed, and nothing of Python."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsne_ooc
from tsne_ooc import TSNE, _elsewhere, affinity, schedule
from tsne_ooc._options import counted
from tsne_ooc.cli import command, fitting, main
from tsne_ooc.cli.shared import strange
from tsne_ooc.neighbors.metrics import DENSE
from tsne_ooc.neighbors.resolve import WORDS, resolve
from tsne_ooc.pipeline import open_run

PACKAGE = Path(tsne_ooc.__file__).parent


def said(capsys, line):
    """The one line of an error, behind its beginning."""
    try:
        code = main(line.split())
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr().err
    assert code == 2 and told.count("\n") == 1 and told.startswith("tsne-ooc: error: "), told
    return told.removeprefix("tsne-ooc: error: ").rstrip("\n")


@pytest.mark.parametrize(
    "line, answer",
    [
        ("embd x.h5", "there is no command 'embd'; did you mean embed?; see tsne-ooc --help"),
        ("xyz x.h5", "there is no command 'xyz'; known: demo, embed, "),
        ("--hlp", "tsne-ooc has no option --hlp; did you mean --help?"),
        # Though --out is missing too.
        ("embed x.h5 --sampel 40", "tsne-ooc embed has no option --sampel; did you mean --sample?"),
        ("embed x.h5 --sampel=40", "tsne-ooc embed has no option --sampel; did you mean --sample?"),
        ("embed x.h5 -o map", "tsne-ooc embed has no option -o; did you mean --onehot or --out?"),
        ("embed x.h5 --n-neighbors 15", "it is --perplexity here, an effective number of neighbours"),
        ("embed x.h5 --random-state 1", "it is --seed here"),
        ("embed x.h5 --n_jobs 1", "it is --jobs here"),
        ("embed x.h5 --dims 3", "it is --n-components here, axes of the map"),
        ("embed x.h5 --max-iter 9", "that is for Python only: tsne_ooc.embed(..., tsne=TSNE(n_iter=...)), iterations"),
        ("embed x.h5 --learning-rate 9", "that is for Python only: tsne_ooc.embed(..., tsne=TSNE(learning_rate=...))"),
        ("embed x.h5 --angle 9", "tsne-ooc embed has no option --angle; forces are always"),
        ("train x.h5 --epochs 9", "it is --iterations here, batches, not epochs"),
        ("train x.h5 --embedding-dims 9", "it is --n-components here"),
        ("place map x.h5 --mertic 9", "tsne-ooc place has no option --mertic; known: --allow-missing-chunks, "),
        ("embed x.h5", "--out is missing"),
        ("embed x.h5 --out map --sample 1e5", "--sample: '1e5' is not a whole number"),
        ("embed x.h5 --out map --dof many", "--dof: 'many' is not a number"),
        ("embed x.h5 --out map --perplexity 30,300", "--affinity multiscale joins a perplexity and ten times as much"),
        ("embed x.h5 --out map --labels y", "--sample-by uniform does not look at labels; say --sample-by stratified"),
        (
            "embed x.h5 --out map --sample-by balanced",
            "--sample-by balanced needs --labels, which says where the labels",
        ),
    ],
)
def test_answers(capsys, tmp_path, monkeypatch, line, answer):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((3, 2)))
    assert answer in said(capsys, line.replace("x.h5", "x.npy"))


@pytest.mark.parametrize(
    "line, answer",
    [
        ("embed x.h5 --out map --refin", "has no option --refin; did you mean --refine?"),
        ("embed x.h5 --out map --perp 5", "has no option --perp; did you mean --perplexity?"),
        ("embed x.h5 --out map --perp=5", "has no option --perp; did you mean --perplexity?"),
        ("embed x.h5 --out map --col a", "has no option --col; did you mean --color or --columns?"),
        ("embed x.h5 --out map --no 3", "has no option --no; did you mean --normalize?"),
        ("place map x.h5 --out more --nov", "has no option --nov; did you mean --novelty?"),
        ("--vers", "has no option --vers; did you mean --version?"),
    ],
)
def test_options_are_typed_in_full(capsys, tmp_path, monkeypatch, line, answer):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((3, 2)))
    assert answer in said(capsys, line.replace("x.h5", "x.npy"))


def test_no_option_of_any_command_is_taken_for_another(capsys):
    """Every beginning of every option, of all commands."""
    top = command.parser()
    (commands,) = (one for one in top._actions if isinstance(one, argparse._SubParsersAction))
    for parser in (top, *commands.choices.values()):
        options = [name for name in parser._option_string_actions if name.startswith("--")]
        for short in {name[:end] for name in options for end in range(3, len(name))} - set(options):
            with pytest.raises(SystemExit):
                parser.parse_known_args([short])
            assert f"has no option {short}; " in capsys.readouterr().err


def test_negative_numbers_are_taken():
    assert command.parser().parse_args(["embed", "x.h5", "--jobs", "-1", "--out", "map"]).jobs == -1
    assert command.parser().parse_args(["look", "--", "--odd name"]).data == "--odd name"


def test_words_in_the_help_are_those_of_the_library(capsys):
    assert set(fitting.METRICS) == set(DENSE.values())
    assert set(fitting.NEIGHBORS) == {"auto", *WORDS} - {"precomputed", "faiss", "faiss-ivf", "faiss-hnsw"}
    assert all(resolve(word, metric="euclidean", n=9, p=2) for word in fitting.NEIGHBORS)
    # The last one begins at places that are given, which no command does.
    assert set(fitting.AFFINITIES) == set(affinity.WORDS) and {*fitting.SCHEDULES, "refine"} == set(schedule.PLANS)
    for name in ("embed", "train"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
        for words in (fitting.METRICS, fitting.NEIGHBORS, fitting.AFFINITIES, fitting.SCHEDULES):
            assert ", ".join(words) in text


def test_an_affinity_is_what_the_library_makes_of_it(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    words = ["embed", str(tmp_path / "x.npy"), "--out", str(tmp_path / "map"), "--affinity", "uniform", "--quiet"]
    assert main([*words, "--perplexity", "6"]) == 0
    wanted = TSNE(affinity="uniform", perplexity=6, random_state=0).fit(X).embedding_
    assert np.array_equal(open_run(tmp_path / "map").embedding, wanted)


# Values that no command passes, and advice for those who write a table or a part of their own.
FOR_PYTHON = {
    "decoder", "validation", "prepared", "persistent", "lengths", "shuffle", "learning_rate", "sample", "lines",
}  # fmt: skip
# Of `TSNE.save` and `tsne_ooc.tl`, which no command calls.
NOT_TYPED = {"storage/writing.py", "tl.py"}


def flags_in_messages():
    """Module and name of each `name=True` in a text of the package that is not a docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body and isinstance(node.body[0], ast.Expr)
        }  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
                for name, rest in re.findall(r"(\w+)=(?:True|False|None)\b(.{0,4})", node.value):
                    yield path.relative_to(PACKAGE), name, rest


def test_a_flag_in_a_message_says_how_it_is_typed():
    found = list(flags_in_messages())
    assert len(found) > 5
    for path, name, rest in found:
        assert name in FOR_PYTHON or str(path) in NOT_TYPED or rest.startswith(" (--"), f"{path}: {name}="


@pytest.mark.parametrize(
    "told, typed",
    [
        ("x exists; pass overwrite=True (--overwrite) to replace it", "x exists; pass --overwrite to replace it"),
        ("its words with OneHot (--onehot), or others", "its words with --onehot, or others"),
        ("use prepare=Preparation([Standardize()]) (--standardize)", "use --standardize"),
        ("or use prepare=Preparation([Missing('median')]) (--missing median)", "or use --missing median"),
        ("the KL (a number) of a run (--resume)", "the KL (a number) of a run (--resume)"),
    ],
)
def test_what_python_says_is_said_as_it_is_typed(told, typed):
    assert command._typed(told, {}) == typed


def test_words_without_onehot_are_answered_with_it(capsys, tmp_path):
    flows(tmp_path / "flows.parquet")
    line = f"embed {tmp_path}/flows.parquet --columns * --out {tmp_path}/map --quiet"
    assert said(capsys, line).endswith("make columns of its words with --onehot, or choose others")


def flows(path, rows=90):
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"]).assign(
        proto=np.array(["tcp", "udp"])[rng.integers(0, 2, rows)], other="x"
    )
    table.to_parquet(path)
    return table


def test_a_map_reads_the_columns_of_its_fit_by_itself(tmp_path):
    table = flows(tmp_path / "flows.parquet")
    words = ["embed", str(tmp_path / "flows.parquet"), "--columns", "a,b,c,proto", "--onehot", "proto", "--quiet"]
    assert main([*words, "--perplexity", "5", "--out", str(tmp_path / "map")]) == 0
    # Columns in another order, and more of them.
    table[["other", "proto", "c", "a", "b"]].assign(more=1.0).to_parquet(tmp_path / "new.parquet")
    place = ["place", str(tmp_path / "map"), str(tmp_path / "new.parquet"), "--quiet", "--out"]
    assert main([*place, str(tmp_path / "by itself")]) == 0
    assert main([*place, str(tmp_path / "named"), "--columns", "a,b,c,proto"]) == 0
    runs = [open_run(tmp_path / name).embedding for name in ("map", "by itself", "named")]
    assert np.array_equal(runs[0], runs[1]) and np.array_equal(runs[1], runs[2])


def test_a_column_that_is_not_there_is_missed_by_name(capsys, tmp_path):
    table = flows(tmp_path / "flows.parquet")
    words = ["embed", str(tmp_path / "flows.parquet"), "--columns", "a,b,proto", "--onehot", "proto", "--quiet"]
    assert main([*words, "--perplexity", "5", "--out", str(tmp_path / "map")]) == 0
    table[["a", "proto"]].to_parquet(tmp_path / "new.parquet")
    answer = said(capsys, f"place {tmp_path}/map {tmp_path}/new.parquet --out {tmp_path}/more --quiet")
    assert "lacks" in answer and "'b'" in answer


def test_one_of_a_thing_is_not_many():
    assert [counted(n, "rows") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
    assert counted(1, "batches") == "1 batch" and counted(1, "copies") == "1 copy"
    novelty = {"beyond_share": 0.0001, "beyond": 1, "quantiles": {"0.5": 1.0}, "threshold": 7.0}
    scores = np.array([1, 1, 1, 1.1, 9], np.float32)
    assert "; 1 row (20.00%) is unlike most (beyond 2.03), 1 (0.01%) unlike all" in strange(novelty, scores, "map")[0]
    assert (
        "; 1 row (0.01%) is unlike the sample (beyond 1.50)" in strange({**novelty, "threshold": 1.5}, scores, "m")[0]
    )
    looked = strange(novelty, scores, "map", looked=True)[0]
    assert looked.endswith("is unlike most (beyond 2.03), 1 (0.01%) unlike everything (beyond 7.00)")
    scores = np.array([1] * 10 + [1.1] * 5 + [9, 8], np.float32)
    assert "; 2 rows (11.76%) are unlike most (beyond " in strange(novelty, scores, "map")[0]


def test_units_of_the_table_are_in_words_that_can_be_typed():
    for table in (_elsewhere.MAP, _elsewhere.ENCODER):
        for word, here in table.items():
            assert "=" not in here.unit and "(..." not in here.unit, word


@pytest.mark.parametrize("module", ["tsne_ooc", "tsne_ooc.cli"])
def test_python_runs_it_by_its_name(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tsne-ooc {tsne_ooc.__version__}\n"


# What the help shows in an option's place, and what becomes of its words.
KINDS_OF_WORDS = {
    "N": ("7", 7, "7.5"), "D": ("3", 3, "x"), "GB": ("0.5", 0.5, "much"), "FACTOR": ("4", 4.0, "x"),
    "X": ("2", 2.0, "x"), "SHARE": (".1", 0.1, "x"), "RATE": ("1e-3", 1e-3, "x"), "TOTAL": ("1e4", 1e4, "x"),
    "A,B": ("kind,site of it", ["kind", "site of it"], None), "A,B,...": ("PC*,n", ["PC*", "n"], None),
}  # fmt: skip


def test_options_take_what_their_help_shows():
    (commands,) = (one for one in command.parser()._actions if isinstance(one, argparse._SubParsersAction))
    seen = set()
    for name, parser in commands.choices.items():
        for action in parser._actions:
            if action.metavar not in KINDS_OF_WORDS or action.dest == "axes" or action.nargs == 0:
                continue
            text, value, wrong = KINDS_OF_WORDS[action.metavar]
            if action.dest == "sample_perplexity":
                value = float(value)
                wrong = "x"
            found = parser._get_value(action, text)
            assert found == value and type(found) is type(value), (name, action.option_strings)
            if wrong is not None:
                with pytest.raises(argparse.ArgumentError):
                    parser._get_value(action, wrong)
            seen.add(action.metavar)
    assert seen == set(KINDS_OF_WORDS)
