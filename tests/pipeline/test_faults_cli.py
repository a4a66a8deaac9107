"""On the command line: a run that was interrupted says how it goes on, and does."""

import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from faults import sums

from tsne_ooc.cli import main

PROGRAM = [sys.executable, "-m", "tsne_ooc.cli"]


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(4, 6)) * 5)[rng.integers(0, 4, 900)] + rng.normal(size=(900, 6))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("X", data=X.astype(np.float32), chunks=(100, 6))
    return tmp_path / "data.h5"


def words(data, out, *more):
    return ["embed", str(data), "--sample", "60", "--perplexity", "5", "--out", str(out), *more]


def _listen():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(arguments):
    """What a run says that gets Ctrl-C as soon as it places rows."""
    # Shells have what they start in the background ignore Ctrl-C, and its children inherit that.
    process = subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, preexec_fn=_listen)
    try:
        while "placing rows" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    return said


def test_an_interrupt_is_not_the_end(data, tmp_path, capsys):
    out, more = tmp_path / "map", tmp_path / "more"
    said = interrupted(words(data, out, "--block-rows", "10"))
    assert said == f"tsne-ooc: interrupted; what is done is kept in {out}; go on with resume=True (--resume)\n"
    assert (out / "ledger.json").exists() and not (out / "manifest.json").exists()

    # Without --resume it is left alone, and the word to type is told.
    left = sorted(os.listdir(out))
    assert main(words(data, out, "--quiet")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is of a run that is not finished" in error and "--resume" in error
    assert sorted(os.listdir(out)) == left

    assert main(words(data, out, "--quiet", "--resume")) == 0
    # --resume with nothing to go on with begins.
    assert main(words(data, tmp_path / "whole", "--quiet", "--resume")) == 0
    assert sums(out) == sums(tmp_path / "whole")

    # And at a finished run it has nothing to do.
    capsys.readouterr()
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main(words(data, out, "--resume")) == 0
    assert f"wrote {out / 'embedding.npy'}: 900 x 2, float32" in capsys.readouterr().out
    assert times == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main([*words(data, out, "--resume"), "--seed", "1"]) == 2
    assert "holds the result of another run: random_state was 0, is 1" in capsys.readouterr().err

    # The same for new rows on the map.
    arguments = ["place", str(out), str(data), "--out", str(more)]
    said = interrupted([*arguments, "--block-rows", "10"])
    assert f"what is done is kept in {more}; go on with" in said
    assert main([*arguments, "--quiet"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--quiet", "--resume"]) == 0
    assert main(["place", str(out), str(data), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert sums(more) == sums(tmp_path / "again")


def test_what_was_interrupted_before_it_began_is_not_kept(data, tmp_path, capsys, monkeypatch):
    """Before the sample is fitted there is nothing to go on with, and nothing is said of it."""

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tsne_ooc.TSNE.fit_taken", interrupt)
    assert main(words(data, tmp_path / "map", "--quiet")) == 130
    assert capsys.readouterr().err == "tsne-ooc: interrupted\n"
    assert not (tmp_path / "map").exists()


def test_an_error_says_how_to_go_on(data, tmp_path, capsys, monkeypatch):
    with h5py.File(data, "r+") as file:
        good = file["X"][700]
        file["X"][700] = np.nan
    # The cell is in no row that is sampled.
    rows = np.delete(np.arange(900), 700)[:: 899 // 60]
    monkeypatch.setattr(
        "tsne_ooc.sampling.UniformSample", lambda size: __import__("tsne_ooc.sampling").sampling.Rows(rows)
    )
    arguments = words(data, tmp_path / "map", "--quiet", "--block-rows", "100")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "X contains NaN at row 700, column 0" in error and error.count("\n") == 1
    assert f"; what is done is kept in {tmp_path / 'map'}; go on with resume=True (--resume)" in error
    with h5py.File(data, "r+") as file:
        file["X"][700] = good
    assert main([*arguments, "--resume"]) == 0
