"""The command line does what it says, and errors are one line and exit code 2."""

import io
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from tsne_ooc import __version__
from tsne_ooc.cli import command, main
from tsne_ooc.cli.progress import Report
from tsne_ooc.pipeline import open_run


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(3, 5)) * 9)[rng.integers(0, 3, 900)] + rng.normal(size=(900, 5))
    with h5py.File(tmp_path / "data.h5", "w") as target:
        target.create_dataset("X", data=X.astype(np.float32), chunks=(100, 5))
        target.create_dataset("labels", data=np.arange(900))
        target.create_dataset("pca/X", data=X[:, :2])
    return tmp_path / "data.h5"


def fails(capsys, *arguments):
    """Run, expect exit code 2 and one line; return the line."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("tsne-ooc: error: ")
    return said.err


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"tsne-ooc {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["embed", "--help"], ["demo", "--help"]])
def test_help(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "usage: tsne-ooc" in text
    if arguments == ["embed", "--help"]:
        options = [
            "dataset",
            "sample",
            "perplexity",
            "exaggeration",
            "out",
            "seed",
            "jobs",
            "metric",
            "neighbors",
        ]
        for option in [*options, "neighbors", "dof", "n-components", "schedule", "quiet", "plot"]:
            assert f"--{option}" in text
        assert "embedding.npy" in text


def test_help_imports_nothing_heavy():
    code = (
        "import sys, tsne_ooc.cli\n"
        "try: tsne_ooc.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'numba', 'sklearn', 'h5py', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_no_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.h5", "--out", "map"], "there is no file nowhere.h5"),
        (["{file}", "--out", "map"], "has 2 tables, name the one to read"),
        (["{file}", "--out", "map", "--dataset", "x"], "has no dataset 'x'; did you mean 'X'?"),
        (["{file}", "--out", "map", "--dataset", "labels"], "is 1-D, shape (900,)"),
        (["{file}", "--out", "map", "--dataset", "pca"], "is a group, not a dataset; it holds pca/X"),
        (["{file}", "--out", "map", "--dataset", "X", "--sample", "0"], "--sample=0 must be at least 1"),
        (["{file}", "--out", "map", "--dataset", "X", "--seed", "-1"], "--seed=-1 must be at least 0"),
        (["{file}", "--out", "{file}", "--dataset", "X"], "data.h5 is a file; name a folder"),
        (["{npy}", "--out", "map", "--dataset", "X"], "holds a single table"),
        (["{file}", "--out", "map", "--dataset", "X", "--rounds", "0"], "--rounds=0 must be at least 1"),
        (["{file}", "--out", "map", "--dataset", "X", "--sample-by", "stratified"], "stratified needs --labels"),
        (["{file}", "--out", "map", "--dataset", "X", "--labels", "labels"], "uniform does not look at labels"),
        (
            ["{file}", "--out", "map", "--dataset", "X", "--plot", "--n-components", "3"],
            "--plot draws maps of one",
        ),
        (["{file}", "--out", "map", "--dataset", "X", "--perplexity", "-3"], "perplexity"),
        (["{file}", "--out", "map", "--dataset", "X", "--metric", "euclid"], "euclid"),
        (["{file}", "--out", "map", "--dataset", "X", "--neighbors", "fais"], "faiss"),
        (["{file}", "--out", "map", "--dataset", "X", "--schedule", "clasic"], "classic"),
        (["{file}", "--out", "map", "--dataset", "X", "--jobs", "0"], "--jobs=0"),
        (["{file}", "--out", "map", "--dataset", "X", "--dof", "0"], "--dof=0.0 must be"),
    ],
)
def test_errors_are_one_line(capsys, file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("numbers.npy", np.zeros((3, 2)))
    filled = (argument.format(file=file, npy="numbers.npy") for argument in arguments)
    assert message in fails(capsys, "embed", *filled, "--quiet")
    assert not (tmp_path / "map").exists()


def test_no_plot_without_matplotlib(capsys, file, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = fails(capsys, "embed", file, "--dataset", "X", "--out", tmp_path / "map", "--plot")
    assert "pip install 'matplotlib>=3.8'" in error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FloatingPointError("the map is not finite")])
def test_interrupts_and_other_errors(capsys, file, tmp_path, monkeypatch, error):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr("tsne_ooc.pipeline.embed", broken)
    code = main(["embed", str(file), "--dataset", "X", "--out", str(tmp_path / "map")])
    interrupted = isinstance(error, KeyboardInterrupt)
    assert code == (130 if interrupted else 2)
    said = capsys.readouterr().err
    assert said == ("tsne-ooc: interrupted\n" if interrupted else "tsne-ooc: error: the map is not finite\n")


@pytest.mark.parametrize(
    "told, typed",
    [
        ("n_iter=0 must be at least 1", "--iterations=0 must be at least 1"),
        ("random_state=-1 and learning_rate=0", "--seed=-1 and --learning-rate=0"),
        ("use neighbors='exact', or sample=None", "use --neighbors='exact', or sample=None"),
        ("shape=3 and share of a stage=0.0", "shape=3 and share of a stage=0.0"),
        ("no file /data/seed=3/x-seed=4.h5; --seed=3", "no file /data/seed=3/x-seed=4.h5; --seed=3"),
    ],
)
def test_errors_name_options_as_they_are_typed(told, typed):
    names = dict.fromkeys(("n_iter", "seed", "learning_rate", "neighbors", "sample"))
    assert command._typed(told, names) == typed


def test_embed(capsys, file, tmp_path):
    out = tmp_path / "map"
    arguments = [
        "embed",
        str(file),
        "--dataset",
        "X",
        "--sample",
        "300",
        "--perplexity",
        "20",
        "--exaggeration",
        "2",
    ]
    arguments += ["--n-components", "2", "--seed", "3", "--jobs", "2", "--plot", "--out", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "fitted 300 rows" in said.out and "read and placed 900 rows" in said.out and "embedding.npy" in said.out
    assert "placing rows (900 rows)" in said.err
    assert (out / "embedding.png").stat().st_size > 5000
    run = open_run(out)
    assert run.embedding.shape == (900, 2) and np.isfinite(run.embedding).all()
    parameters = run.manifest["parameters"]
    assert (parameters["perplexity"], parameters["exaggeration"], parameters["random_state"]) == (20, 2, 3)


def test_quiet_says_nothing(capsys, file, tmp_path):
    arguments = ["embed", str(file), "--dataset", "pca/X", "--sample", "900", "--out", str(tmp_path / "map")]
    assert main([*arguments, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == said.err == ""


def test_warnings_are_one_line(capsys, file, tmp_path):
    # A perplexity too large for the sample is lowered with a warning.
    arguments = ["embed", str(file), "--dataset", "X", "--sample", "60", "--perplexity", "50", "--quiet"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*arguments, "--out", str(tmp_path / "map")]) == 0
    said = capsys.readouterr().err
    assert said.startswith("tsne-ooc: warning: ") and said.count("\n") == 1 and "perplexity" in said


def test_demo(capsys, tmp_path):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["digits.h5", "digits.png", "map"]
    for word in (
        "digits.h5",
        "digits.png",
        "embedding.npy",
        "read and placed 1,797 rows",
        "tsne-ooc embed",
        "a table of your own",
    ):
        assert word in said
    assert open_run(out / "map").embedding.shape == (1797, 2)
    share = float(said.split("% of the placed digits")[0].split("\n")[-1])
    assert share > 90
    assert "exists already" in fails(capsys, "demo", "--out", out)


def test_a_broken_demo_can_be_tried_again(tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tsne_ooc.pipeline.embed", broken)
    assert main(["demo", "--out", str(tmp_path / "demo"), "--quiet"]) == 130
    assert list((tmp_path / "demo").iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    monkeypatch.setattr("tsne_ooc.cli.progress.EVERY", 0)
    screen, log, nothing = Terminal(), io.StringIO(), io.StringIO()
    for stream, quiet in ((screen, False), (log, False), (nothing, True)):
        with Report(quiet, stream) as report:
            for done in (0, 400, 1000):
                report("place", done, 1000)
    assert "placing rows" in screen.getvalue() and "1.00k/1.00k" in screen.getvalue()
    assert "rows/s" in screen.getvalue() and "GB memory" in screen.getvalue()
    lines = log.getvalue().splitlines()
    assert len(lines) == 3 and "400 of 1,000 (40%)" in lines[1] and "rows/s" in lines[1] and " left, " in lines[1]
    assert lines[1].endswith(" GB memory")
    assert nothing.getvalue() == ""
