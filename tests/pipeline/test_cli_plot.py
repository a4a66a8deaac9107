"""``tsne-ooc plot`` and ``embed --plot --color``: pictures from the command line, and one line for what cannot be."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from matplotlib.image import imread

from tsne_ooc import storage
from tsne_ooc.cli import main

N = 200


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "data.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["X"] = (rng.normal(size=(N, 4)) + 8 * (np.arange(N) % 3)[:, None]).astype(np.float32)
        file["kind"] = np.array([b"ape", b"bee", b"cow"])[np.arange(N) % 3]
        file["short"] = np.arange(N - 1)
    return path


@pytest.fixture
def folder(table):
    run = table.parent / "map"
    run.mkdir()
    np.save(run / "embedding.npy", np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32))
    content = {"n_samples": N, "job": {"source": {"path": str(table)}}}
    storage.seal(run, "map", content, {"embedding": "embedding.npy"})
    return run


def says(capsys, *words):
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def colours(path):
    # Four bytes as one number: millions of rows of four are sorted for seconds.
    return len(np.unique((255 * imread(path)).round().astype(np.uint8).view(np.uint32)))


def test_a_picture_beside_the_map(capsys, folder):
    picture = folder.with_name("map.png")
    assert says(capsys, "plot", folder, "--color", "kind") == (0, f"wrote {picture}\n", "")
    assert colours(picture) > 100
    before = picture.read_bytes()
    code, _, error = says(capsys, "plot", folder)
    assert code == 2 and "exists already" in error and error.count("\n") == 1
    assert picture.read_bytes() == before
    assert says(capsys, "plot", folder, "--overwrite", "--quiet")[:2] == (0, "")
    assert picture.read_bytes() != before


@pytest.mark.parametrize(
    "words",
    [
        "--color kind --dark --no-legend --no-text --title cells",
        "--by kind", "--color kind --by kind", "--other {map} --color kind", "--highlight 3,5", "--colors tab10",
        "--color {labels}", "--color kind --data {table}", "--shading log --jobs 1",
    ],
)  # fmt: skip
def test_what_can_be_asked(capsys, folder, table, words):
    labels = folder.with_name("labels.npy")
    np.save(labels, np.arange(N) % 4)
    out = folder.with_name("out.pdf" if "log" in words else "out.png")
    given = ["--dpi", "40", *words.format(map=folder, labels=labels, table=table).split()]
    assert says(capsys, "plot", folder, *given, "--out", out) == (0, f"wrote {out}\n", "")
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(
    "words, message",
    [
        ("--color kinds", "did you mean 'kind'?"),
        ("--color short", "'short' of {table} has 199 rows, and the map 200"),
        ("--out picture.jpg", "known: *.pdf, *.png, *.svg"),
        ("--out nowhere/picture.png", "there is no folder"),
        ("--out {map}", "is not known"),
        ("--highlight 3,x", "--highlight '3,x' is not a list of whole numbers"),
        ("--highlight 200", "highlight names row 200"),
        ("--axes 1,3", "--axes=3 must be at most 2"),
        ("--by kind --other {map}", "are two pictures"),
        ("--color kind --colors virdis", "did you mean 'viridis'?"),
        ("--color novelty", "has no novelty"),
        ("--dpi 0", "--dpi=0 must be at least 1"),
    ],
)
def test_one_line_for_what_cannot_be(capsys, folder, table, words, message):
    before = sorted(path.name for path in folder.parent.iterdir())
    code, out, error = says(capsys, "plot", folder, *words.format(map=folder).split())
    assert code == 2 and not out and error.count("\n") == 1 and message.format(table=table) in error, error
    assert sorted(path.name for path in folder.parent.iterdir()) == before


def test_without_matplotlib(capsys, folder, monkeypatch):
    import importlib.util

    plain = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else plain(name, *more)
    )
    code, _, error = says(capsys, "plot", folder)
    assert code == 2 and "pip install 'matplotlib>=3.8'" in error and "tsne-ooc view" in error


def test_without_a_display(folder):
    import os
    import subprocess
    import sys

    away = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    words = [sys.executable, "-m", "tsne_ooc", "plot", str(folder), "--color", "kind"]
    subprocess.run(words, env={**away, "MPLBACKEND": "TkAgg"}, check=True, capture_output=True)
    assert colours(folder.with_name("map.png")) > 100


def test_a_run_draws_itself_by_a_column(capsys, table):
    words = ["--dataset", "X", "--perplexity", "5", "--quiet"]
    out = table.parent / "run"
    assert says(capsys, "embed", table, *words, "--plot", "--color", "kind", "--out", out) == (0, "", "")
    assert colours(out / "embedding.png") > 100
    # The same call again, which finds all done, draws again what is no longer there, or is another picture.
    for left in (b"another picture", None):
        (out / "embedding.png").write_bytes(left) if left else (out / "embedding.png").unlink()
        assert says(capsys, "embed", table, *words, "--plot", "--color", "kind", "--out", out, "--resume")[0] == 0
        assert colours(out / "embedding.png") > 100
    for color, message in (("kinds", "did you mean 'kind'?"), ("short", "has 199 labels, and the table has 200 rows")):
        code, _, error = says(capsys, "embed", table, *words, "--plot", "--color", color, "--out", table.parent / "no")
        assert code == 2 and message in error and not (table.parent / "no").exists()
    # A colour is asked for a picture.
    out = table.parent / "novel"
    assert says(capsys, "embed", table, *words, "--color", "novelty", "--out", out)[0] == 0
    assert colours(out / "embedding.png") > 100
