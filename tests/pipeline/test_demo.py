"""The demonstration: what it writes and says, what it asks of the run, and what stays of one that fails."""

from __future__ import annotations

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from tsne_ooc.cli import demo, main

X, y = load_digits(return_X_y=True)
FITTED = np.sort(np.random.default_rng(3).permutation(len(X))[:600])


def places():
    """Each digit near those of its kind, but for some that are somewhere else, more of the placed than of others."""
    rng = np.random.default_rng(0)
    Y = np.stack([10.0 * y, rng.normal(size=len(y))], axis=1) + rng.normal(size=(len(y), 2))
    placed = np.setdiff1d(np.arange(len(y)), FITTED)
    lost = np.r_[placed[::7], FITTED[::40]]
    Y[lost, 0] = 10 * rng.permutation(10)[y[lost]]
    return Y.astype(np.float32)


@pytest.fixture
def asked(monkeypatch):
    """A run that is done at once, and all that was asked of it."""
    asked = []

    def embed(data, **options):
        with h5py.File(data) as file:
            held = {name: (file[name][:], file[name].chunks) for name in file}
        options["out"].mkdir()
        (options["out"] / "manifest.json").touch()
        options["progress"]("place", 0, 1797)
        asked.append((data, held, options))
        return SimpleNamespace(sample_rows=FITTED, embedding=places())

    monkeypatch.setattr("tsne_ooc.pipeline.embed", embed)
    monkeypatch.setattr(demo, "summary_of", lambda found: "summary")
    return asked


def test_what_is_written_and_asked(asked, tmp_path):
    out = tmp_path / "new" / "folder"
    assert main(["demo", "--out", str(out), "--no-plot", "--seed", "7", "--jobs", "1"]) == 0
    ((data, held, options),) = asked
    assert data == out / "digits.h5" and sorted(held) == ["X", "y"] and options["out"] == out / "map"
    np.testing.assert_array_equal(held["X"][0], X)
    np.testing.assert_array_equal(held["y"][0], y)
    # As tables of rows are: of float32, in chunks of whole rows.
    rows, columns = held["X"][1]
    assert held["X"][0].dtype == np.float32 and columns == 64 and 1 < rows < len(X)
    assert options["dataset"] == "X" and options["sample"] == 600 and options["random_state"] == 7
    assert options["tsne"].random_state == 7 and options["tsne"].n_jobs == 1
    assert sorted(one.name for one in out.iterdir()) == ["digits.h5", "map"]


def test_what_is_said(asked, tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--no-plot"]) == 0
    said = capsys.readouterr()
    Y, placed = places(), np.setdiff1d(np.arange(len(y)), FITTED)
    judge = KNeighborsClassifier(10).fit(Y[FITTED], y[FITTED])
    share = judge.score(Y[placed], y[placed])
    # It is that of the placed rows beside the others, and of no other rows.
    assert abs(share - judge.score(Y[FITTED], y[FITTED])) > 0.05
    lines = said.out.splitlines()
    assert lines[:2] == [f"wrote {tmp_path / 'demo' / 'digits.h5'}: 1797 handwritten digits of 64 pixels", "summary"]
    told, _, words = lines[2].partition("% ")
    assert float(told) == pytest.approx(100 * share, abs=0.2)
    assert words == "of the placed digits lie among sampled digits of their own kind"
    assert lines[3].startswith("done in ") and lines[3].endswith(" s; next, a table of your own:")
    assert lines[4:] == ["  tsne-ooc embed data.h5 --dataset X --sample 25000 --out map", "  tsne-ooc embed --help"]
    assert "placing rows" in said.err
    assert asked[0][2]["tsne"].random_state == asked[0][2]["random_state"] == 0 and asked[0][2]["tsne"].n_jobs is None


def test_a_picture_is_drawn_and_said(asked, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert f"wrote {tmp_path / 'digits.png'}: look at it\n" in capsys.readouterr().out
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_a_quiet_one_says_nothing(asked, tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--no-plot", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "") and len(asked) == 1


def test_without_matplotlib_it_is_refused_at_once_or_has_no_picture(asked, tmp_path, capsys, monkeypatch):
    def lacking(otherwise):
        raise ImportError(f"plots need matplotlib; {otherwise}")

    monkeypatch.setattr(demo, "check_plots", lacking)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "leave the picture out with --no-plot" in capsys.readouterr().err and not asked
    assert not (tmp_path / "demo").exists()
    assert main(["demo", "--out", str(tmp_path / "demo"), "--no-plot"]) == 0


def test_a_folder_may_be_there_but_nothing_in_it(asked, tmp_path, capsys):
    empty, full, file = tmp_path / "empty", tmp_path / "full", tmp_path / "file"
    empty.mkdir(), full.mkdir(), file.touch()
    (full / "notes.txt").touch()
    for out in (full, file):
        assert main(["demo", "--out", str(out), "--no-plot"]) == 2
        said = capsys.readouterr().err
        assert said == f"tsne-ooc: error: {out} exists already; name another folder with --out, or remove it first\n"
    assert not asked and list(full.iterdir()) == [full / "notes.txt"]
    assert main(["demo", "--out", str(empty), "--no-plot"]) == 0 and len(asked) == 1


def test_a_wrong_seed_is_told_before_anything_is_written(asked, tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--seed", "-1"]) == 2
    said = capsys.readouterr().err
    assert "--seed=-1" in said and said.count("\n") == 1 and not (tmp_path / "demo").exists()


@pytest.mark.parametrize("begun", [False, True])
def test_one_that_fails_leaves_nothing_in_the_way_of_the_next(asked, tmp_path, monkeypatch, capsys, begun):
    def broken(data, *, out, **options):
        if begun:
            out.mkdir()
            (out / "half").touch()
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr("tsne_ooc.pipeline.embed", broken)
        assert main(["demo", "--out", str(tmp_path / "demo"), "--no-plot"]) == 2
    assert capsys.readouterr().err.endswith("tsne-ooc: error: no room\n")
    assert list((tmp_path / "demo").iterdir()) == []
    assert main(["demo", "--out", str(tmp_path / "demo"), "--no-plot"]) == 0


def test_a_file_that_cannot_be_written_is_the_error_that_is_told(asked, tmp_path, monkeypatch, capsys):
    def full(*given):
        raise OSError("disk is full")

    monkeypatch.setattr(h5py, "File", full)
    assert main(["demo", "--out", str(tmp_path / "demo"), "--no-plot"]) == 2
    assert capsys.readouterr().err == "tsne-ooc: error: disk is full\n"


def test_the_folder_has_a_name_of_its_own(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-plot"]) == 0
    assert [one.name for one in tmp_path.iterdir()] == ["tsne-ooc-demo"]
