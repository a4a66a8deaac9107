"""A fit as a film: as many pictures as were kept, of the rows and labels that were asked for."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tsne_ooc import TSNE
from tsne_ooc.plot import Film, animate

N = 120
KINDS = np.array(["a", "b", "c"])[np.arange(N) % 3]


def rows():
    return (np.random.default_rng(0).normal(size=(N, 5)) + 9 * (np.arange(N) % 3)[:, None]).astype(np.float32)


def pictures(path):
    with Image.open(path) as film:
        found = []
        for at in range(film.n_frames):
            film.seek(at)
            found.append((np.asarray(film.convert("RGB")), film.info["duration"]))
    return found


@pytest.fixture(scope="module")
def film():
    kept = Film()
    model = TSNE(perplexity=8, early_exaggeration_iter=20, n_iter=40, random_state=0, callbacks=kept,
                 callbacks_every_iters=10).fit(rows())  # fmt: skip
    np.testing.assert_array_equal(model.embedding_, TSNE(
        perplexity=8, early_exaggeration_iter=20, n_iter=40, random_state=0).fit(rows()).embedding_)  # fmt: skip
    return kept


def test_a_fit_is_kept_and_written(film, tmp_path):
    assert 5 <= len(film.frames) == len(film.captions) and film.captions[0].startswith("iteration 10 · KL ")
    # What is kept is not changed by the steps that follow.
    assert not np.allclose(film.frames[0], film.frames[-1])
    out = film.save(tmp_path / "fit.gif", KINDS, pixels=160, fps=20, colors=["red", "lime", "blue"])
    found = pictures(out)
    assert len(found) == len(film.frames) and {one.shape for one, _ in found} == {(160, 160, 3)}
    assert [pause for _, pause in found] == [50] * (len(found) - 1) + [2000]
    last = found[-1][0].reshape(-1, 3).astype(int)
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert (np.abs(last - color).sum(axis=1) < 160).sum() > 10
    assert out.stat().st_size < 20_000 * len(found)


def test_some_rows_and_their_labels(tmp_path):
    kept = Film(rows=[0, 3, 5])
    kept(10, 1.0, np.arange(2.0 * N, dtype=np.float32).reshape(N, 2))
    np.testing.assert_array_equal(kept.frames[0], [[0, 1], [6, 7], [10, 11]])
    kept.save(tmp_path / "film.gif", KINDS, pixels=64, dark=True)
    assert pictures(tmp_path / "film.gif")[0][0][0, 0].max() < 60
    with pytest.raises(ValueError, match="labels has 3 rows, and the fit 120"):
        kept.save(tmp_path / "other.gif", KINDS[:3])


def test_what_cannot_be_filmed(tmp_path, monkeypatch):
    Y = np.zeros((4, 2))
    for frames, out, options, message in (
        ([], "a.gif", {}, "frames holds no map"),
        ([Y], "a.avi", {}, r"known: \*.gif, \*.mp4"),
        ([Y], "a.gif", {"captions": ["a", "b"]}, "captions has 2 lines, and there are 1 frame"),
        ([Y], "a.gif", {"fps": 0}, "fps=0 must be"),
        ([np.full((4, 2), np.nan)], "a.gif", {}, "no row with a place"),
    ):
        with pytest.raises(ValueError, match=message):
            animate(frames, tmp_path / out, **options)
    with pytest.raises(ValueError, match="no picture yet"):
        Film().save(tmp_path / "a.gif")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ImportError, match="need the program ffmpeg"):
        animate([Y], tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    animate([Y], tmp_path / "a.gif", pixels=64)
    with pytest.raises(FileExistsError):
        animate([Y], tmp_path / "a.gif")
    animate([Y, Y + 1], tmp_path / "a.gif", pixels=64, overwrite=True)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program by the name of ffmpeg, which keeps what it is given, and fails where a file says with which words."""
    home = tmp_path / "programs"
    home.mkdir()
    program = home / "ffmpeg"
    program.write_text(
        f"""#!{sys.executable}
import pathlib, sys
home = pathlib.Path({str(home)!r})
(home / "given").write_bytes(sys.stdin.buffer.read())
(home / "words").write_text("\\n".join(sys.argv[1:]))
pathlib.Path(sys.argv[-1]).write_bytes(b"film")
if (home / "fault").exists():
    sys.exit((home / "fault").read_text())
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    return home


def test_what_ffmpeg_is_given(tmp_path, stand_in):
    """All pictures one after the other as they are, and the last for two seconds more."""
    maps = [rows()[:, :2] * at for at in (1, 2, 3)]
    out = animate(maps, tmp_path / "a.mp4", KINDS, pixels=101, fps=2.5)
    assert out.read_bytes() == b"film"
    given = np.frombuffer((stand_in / "given").read_bytes(), np.uint8).reshape(-1, 100, 100, 3)
    assert len(given) == 3 + round(2 * 2.5)
    one = animate(maps[-1:], tmp_path / "b.mp4", KINDS, pixels=100, fps=1)
    last = np.frombuffer((stand_in / "given").read_bytes(), np.uint8).reshape(-1, 100, 100, 3)[0]
    assert one.exists() and all(np.array_equal(picture, last) for picture in given[2:])
    assert (last < 200).any()
    words = (stand_in / "words").read_text().split("\n")
    assert "100x100" in words and words[words.index("-r") + 1] == "1" and words.index("-r") < words.index("-i")
    assert words[words.index("-pix_fmt") + 1] == "rgb24" and words[words.index("-i") + 1] == "-"
    # Beside the film, until it is whole.
    assert words[-1] not in (str(one), str(out)) and not (tmp_path / words[-1]).exists()


def test_an_ffmpeg_that_fails_leaves_no_film(tmp_path, stand_in):
    (stand_in / "fault").write_text("Unknown encoder\n 'libx264' " + "x" * 400)
    with pytest.raises(OSError, match=r"^ffmpeg could not write the film: ") as error:
        animate([rows()[:, :2]], tmp_path / "a.mp4", pixels=64)
    assert str(error.value).startswith("ffmpeg could not write the film: Unknown encoder 'libx264' xxx")
    assert len(str(error.value)) == len("ffmpeg could not write the film: ") + 200
    assert [path.name for path in tmp_path.iterdir()] == ["programs"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_mp4(tmp_path):
    out = animate([rows()[:, :2] * at for at in (1, 2, 3)], tmp_path / "a.mp4", KINDS, pixels=100)
    assert out.read_bytes()[4:8] == b"ftyp"
