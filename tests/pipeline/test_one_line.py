"""The command line speaks of its own options, and has one line for what nobody foresaw."""

from __future__ import annotations

import argparse
import inspect
import io
import re
import warnings

import numpy as np
import pytest

from tsne_ooc import TSNE, sampling
from tsne_ooc.cli import command, main
from tsne_ooc.cli.progress import Report
from tsne_ooc.export import export
from tsne_ooc.parametric import ParametricTSNE
from tsne_ooc.pipeline import embed, open_run, place, train
from tsne_ooc.preprocess import Normalize
from tsne_ooc.preprocess.options import preparation_from_options

# What a command calls, and which of its parameters nobody can type.
CALLS = {
    "embed": [embed, TSNE, preparation_from_options, sampling.UniformSample, Normalize],
    "place": [place],
    "train": [train, ParametricTSNE, TSNE, preparation_from_options, Normalize],
    "export": [export],
}
UNTYPED = {
    "source", "progress", "tsne", "prepare", "teacher", "encoder", "callbacks", "callbacks_every_iters", "verbose",
    "validation", "placement", "affinity", "metric_params", "initialization", "learning_rate", "early_exaggeration",
    "early_exaggeration_iter", "folder", "decoder",
}  # fmt: skip


def parsers():
    (commands,) = [action for action in command.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return commands.choices


def options_of(parser):
    """Names of a command's values, and how their options are typed."""
    return {action.dest: action.option_strings for action in parser._actions}


@pytest.mark.parametrize("name", CALLS)
def test_each_parameter_has_the_name_of_its_option(name):
    known = options_of(parsers()[name])
    for call in CALLS[name]:
        for parameter in inspect.signature(call).parameters:
            told = command._typed(f"{parameter}=7 is wrong", known)
            typed = [word for words in known.values() for word in words]
            if told.startswith("--"):
                assert told.partition("=")[0] in typed, f"{call.__name__}({parameter}=) is {told}"
            else:
                # A parameter that is new has an option, or a line above.
                assert parameter in UNTYPED | {"model", "n_iter"} or parameter not in known, parameter


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    return tmp_path / "rows.npy"


def numeric():
    """All options that take a number, and numbers that are wrong for them."""
    for name, parser in parsers().items():
        for action in parser._actions:
            # Those write no folder that is named: theirs are in test_cli.py, test_strangest.py, test_trust_of_runs.py.
            if action.type in (int, float) and name not in ("demo", "strangest", "trust"):
                wrong = ["0", "-1", "-7", *(["nan", "inf", "-inf"] if action.type is float else [])]
                yield from ((name, action.option_strings[0], value) for value in wrong)


# Right as they are: a seed of 0, as many threads as there are but some, no augmentation, no landmarks.
RIGHT = {
    ("--seed", "0"), ("--jobs", "-1"), ("--jobs", "-7"), ("--augmentation", "0"), ("--landmarks", "0"),
}  # fmt: skip


@pytest.mark.parametrize("name, option, value", [case for case in numeric() if case[1:] not in RIGHT])
def test_wrong_numbers_are_told_by_the_option_that_was_typed(capsys, file, tmp_path, name, option, value):
    if name == "train":
        pytest.importorskip("torch")
    given = {"place": [str(file)]}.get(name, [])
    if name == "place":
        TSNE(n_iter=0, early_exaggeration_iter=0, perplexity=5).fit(np.load(file)).save(tmp_path / "model")
        given = [str(tmp_path / "model"), str(file)]
    elif name in ("plot", "view", "report"):
        np.save(tmp_path / "map.npy", np.load(file)[:, :2])
        given = [str(tmp_path / "map.npy")]
    else:
        given = [str(file)]
    ending = {"plot": ".png", "view": ".html", "report": ".html"}.get(name, "")
    assert main([name, *given, "--out", str(tmp_path / f"out{ending}"), f"{option}={value}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("tsne-ooc: error: ") and option in said, said
    # No name that only Python knows.
    typed = {word for words in options_of(parsers()[name]).values() for word in words}
    names = re.findall(r"(?<![\w./-])([a-z_]\w*)=", said.replace(str(tmp_path), ""))
    assert not names, said
    assert set(re.findall(r"--[a-z][a-z-]*", said)) <= typed
    assert not (tmp_path / f"out{ending}").exists()


def test_what_cannot_be_read_is_one_line(capsys, file):
    for words in (["embed"], ["embed", str(file), "--out", "x", "--perplexty", "5"], ["embed", str(file), "--out"], []):
        with pytest.raises(SystemExit) as end:
            main(words)
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.count("\n") == 1 and said.startswith("tsne-ooc: error: ")
        assert said.endswith("--help\n")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("of\ntwo lines"), AssertionError(), IndexError("i")])
def test_the_last_net(capsys, file, tmp_path, monkeypatch, error):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr("tsne_ooc.pipeline.embed", broken)
    words = ["embed", str(file), "--out", str(tmp_path / "map")]
    assert main([*words, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"tsne-ooc: error: {type(error).__name__}: ")
    assert f"stopped tsne-ooc embed {file}, which is a fault of the program; please report this line" in said
    assert main([*words, "--verbose"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):") and told.endswith(said)


def test_compiled_code_that_had_no_memory_to_say_so(capsys, file, tmp_path, monkeypatch):
    """What Numba and Python raise where a call came back with nothing."""

    def broken(*arguments, **options):
        raise SystemError("CPUDispatcher(<function search>) returned NULL without setting an exception")

    monkeypatch.setattr("tsne_ooc.pipeline.embed", broken)
    assert main(["embed", str(file), "--out", str(tmp_path / "map"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "memory runs out" in said and "--jobs" in said
    assert "fault of the program" not in said and "CPUDispatcher" in said


def test_warnings_speak_of_options_too(capsys, file, tmp_path):
    words = ["embed", str(file), "--out", str(tmp_path / "map"), "--sample", "30", "--perplexity", "29", "--quiet"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(words) == 0
    assert capsys.readouterr().err.startswith("tsne-ooc: warning: --perplexity=29 is too large for 30 rows")


def test_the_table_has_the_name_of_its_file(capsys, file, tmp_path):
    X = np.load(file)
    X[3, 2] = np.nan
    np.save(file, X)
    assert main(["embed", str(file), "--out", str(tmp_path / "map"), "--quiet"]) == 2
    assert capsys.readouterr().err.startswith(f"tsne-ooc: error: {file}: X contains NaN at row 3, column 2")


@pytest.mark.parametrize(
    "typed, chosen",
    [
        ("a,b", ["a", "b"]),
        ("expr, log", ["expr, log"]),
        ("b,expr, log,a", ["b", "expr, log", "a"]),
        ('"expr, log",b', ["expr, log", "b"]),
        ('"1,2,3",1', ["1,2,3", "1"]),
        ("*log,a", ["expr, log", "a"]),
        ("ü x", ["ü x"]),
    ],
)
def test_columns_whose_names_have_commas(capsys, tmp_path, typed, chosen):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    names = ["a", "b", "expr, log", "1", "1,2,3", "ü x"]
    data = tmp_path / "my däta, 1.parquet"
    pandas.DataFrame(np.random.default_rng(0).normal(size=(60, 6)), columns=names).to_parquet(data)
    out = tmp_path / "a map"
    words = ["embed", str(data), "--perplexity", "5", "--quiet", "--out"]
    assert main([*words, str(out), "--columns", typed]) == 0, capsys.readouterr().err
    assert open_run(out).manifest["job"]["source"]["columns"] == chosen
    assert main([*words, str(tmp_path / "b"), "--columns", f"{typed},none"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{data} has no such column: --columns='none' is not known" in said


@pytest.mark.parametrize(
    "seconds, told",
    [
        (0.4, "0:00:00"), (59.6, "0:01:00"), (3599.9, "1:00:00"), (86_399, "23:59:59"), (86_399.7, "1 day, 0:00:00"),
        (99 * 3600, "4 days, 3:00:00"), (400 * 86_400 + 61, "400 days, 0:01:01"),
    ],
)  # fmt: skip
def test_the_time_left_counts_days(monkeypatch, seconds, told):
    now = [0.0]
    monkeypatch.setattr("tsne_ooc.cli.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    report = Report(False, stream)
    report("place", 0, 200)
    # The first half took as long as the other one will.
    now[0] = seconds
    monkeypatch.setattr("tsne_ooc.cli.progress.EVERY", -1)
    report("place", 100, 200)
    assert f", {told} left, " in stream.getvalue().splitlines()[-1]


def test_a_map_goes_into_a_copy_of_an_anndata_file(capsys, file, tmp_path):
    anndata = pytest.importorskip("anndata")
    anndata.AnnData(np.load(file)).write_h5ad(tmp_path / "cells.h5ad")
    run, copy = str(tmp_path / "map"), str(tmp_path / "copy.h5ad")
    assert main(["embed", str(tmp_path / "cells.h5ad"), "--out", run, "--perplexity", "5", "--quiet"]) == 0
    assert main(["export", run, "--to", copy]) == 2
    said = capsys.readouterr().err
    line = f"there is no file {copy} to add the map to; give --like, the AnnData file that it should be a copy of\n"
    assert line in said
    more = ["--like", str(tmp_path / "cells.h5ad"), "--dataset", "X_map", "--quiet"]
    assert main(["export", run, "--to", copy, *more]) == 0
    assert np.array_equal(anndata.read_h5ad(copy).obsm["X_map"], open_run(run).embedding)


def test_objects_are_shown_as_they_are():
    known = options_of(parsers()["embed"])
    told = "rows of x.npy behind Preparation([Normalize(total=5.0)]) and UniformSample(size=3), total=5.0"
    assert command._typed(told, known) == told.replace(" total=", " --normalize=")
