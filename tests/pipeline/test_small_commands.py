"""Small commands on folders of all kinds: what they say of them, what they refuse, and how they end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed, open_run, place, storage
from tsne_ooc.cli import main
from tsne_ooc.cli.command import parser
from tsne_ooc.pipeline import neighbors

FOLDERS = Path(__file__).parents[1] / "folders"
N = 60
FEW = {"perplexity": 4, "early_exaggeration_iter": 5, "n_iter": 5, "random_state": 0}


def rows():
    return np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of a table, of an array and of placed rows without novelty, a graph, and a folder of another kind."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "X.npy", rows())
    names = list("abcd")
    pd.DataFrame(rows(), columns=names).to_parquet(folder / "X.parquet")
    embed(folder / "X.parquet", out=folder / "map", sample=40, tsne=TSNE(**FEW))
    embed(rows(), out=folder / "array", sample=40, tsne=TSNE(**FEW))
    place(folder / "map", folder / "X.parquet", out=folder / "placed", novelty=False)
    neighbors(folder / "X.npy", k=12, out=folder / "graph")
    neighbors(rows(), k=12, out=folder / "of an array")
    other = folder / "other"
    other.mkdir()
    np.save(other / "a.npy", np.zeros(2))
    storage.seal(other, "kitchen", {}, {"a": "a.npy"})
    return folder


@pytest.mark.parametrize(
    "words, message",
    [
        ("info other", "other is not a run, a model, an encoder or a graph, but of the kind 'kitchen'"),
        (
            "strangest array --columns a",
            "array was not made from a file, so its columns cannot be shown; leave --columns out",
        ),
        (
            "strangest bare",
            "bare has no novelty; an encoder's rows have it with tsne-ooc place --novelty",
        ),
        ("export map --to made --per-file --dataset Y", "--per-file takes neither --like nor --dataset: it makes "),
        ("export map --to made --per-file --like X.npy", "--per-file takes neither --like nor --dataset: it makes "),
        ("train X.npy --out made --graph graph --sample 30", "--graph has the neighbours of all rows; "),
        ("embed X.npy --out made -z", "tsne-ooc embed has no option -z; known: --"),
    ],
)  # fmt: skip
def test_one_line_and_nothing_made(home, monkeypatch, capsys, words, message):
    monkeypatch.chdir(home)
    if not Path("bare").exists():
        Path("bare").mkdir()
        np.save("bare/embedding.npy", np.zeros((N, 2), np.float32))
        storage.seal(Path("bare"), "map", {"n_samples": N, "job": {"source": {}}}, {"embedding": "embedding.npy"})
    before = sorted(home.rglob("*"))
    try:
        code = main(words.split())
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    assert code == 2 and told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith(f"tsne-ooc: error: {message}"), told.err
    assert sorted(home.rglob("*")) == before


def test_a_table_that_has_grown_does_not_show_cells_of_other_rows(home, tmp_path, capsys):
    table = tmp_path / "X.parquet"
    frame = pd.DataFrame(rows(), columns=list("abcd"))
    frame.to_parquet(table)
    embed(table, out=tmp_path / "map", sample=40, tsne=TSNE(**FEW))
    pd.concat([frame, frame[:5]]).to_parquet(table)
    assert main(["strangest", str(tmp_path / "map"), "--columns", "a"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err == f"tsne-ooc: error: {table} has 65 rows now, and the map has 60\n"
    assert main(["strangest", str(tmp_path / "map"), "--top", "1"]) == 0


def test_what_a_folder_of_an_encoder_and_of_a_graph_tells(home, capsys):
    assert main(["info", str(FOLDERS / "encoder")]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{FOLDERS / 'encoder'}: an encoder, a network that places rows"
    commands = [shlex.split(line) for line in lines[lines.index("next:") + 1 :]]
    assert commands and commands[0][:3] == ["tsne-ooc", "place", str(FOLDERS / "encoder")]
    assert parser().parse_args(commands[0][1:]).run
    # What is known of a table ends with its name, where it was an array.
    for name, source in (("graph", f"{home / 'X.npy'} of shape (60, 4)"), ("of an array", "array of shape (60, 4)")):
        assert main(["info", str(home / name)]) == 0
        assert f"\nfrom {source}\n" in capsys.readouterr().out


def test_a_table_is_a_table_whatever_it_is_called(home, tmp_path, capsys):
    """Text has to be prepared first; a file is text by what it holds, and not by its name."""
    h5py = pytest.importorskip("h5py")
    embed(home / "X.npy", out=tmp_path / "map", sample=40, tsne=TSNE(**FEW))
    with h5py.File(tmp_path / "table.csv", "w") as file:
        file["X"] = rows()
    words = ["place", str(tmp_path / "map"), str(tmp_path / "table.csv"), "--quiet", "--out"]
    assert main([*words, str(tmp_path / "placed")]) == 0
    wanted = place(tmp_path / "map", home / "X.npy", out=tmp_path / "again").embedding
    np.testing.assert_array_equal(open_run(tmp_path / "placed").embedding, wanted)
    (tmp_path / "table.csv").write_text("a,b,c,d\n1,2,3,4\n")
    assert main([*words, str(tmp_path / "text")]) == 2
    assert "table.csv is text, of which a table" in capsys.readouterr().err and not (tmp_path / "text").exists()


def test_what_prepare_left_out_and_what_is_missing_is_told(tmp_path, monkeypatch, capsys):
    """Rows that were rejected are counted by their reasons, and the next command fills what is missing."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{row},{row * row % 7}" for row in range(3000)]
    lines[10], lines[20], lines[30] = "1,2,3", "1,2,3", "1,1e50"
    # Beyond the rows that a look at a table reads.
    lines[1501] = ",4"
    Path("t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")
    assert main(["prepare", "t.csv", "--out", "out"]) == 0
    told = capsys.readouterr().out
    (line,) = re.findall(r"^rejected .*$", told, re.MULTILINE)
    count, reasons = re.fullmatch(r"rejected (\d+), see out/rejected\.csv \((.+)\)", line).groups()
    assert int(count) == 3 and len(reasons.split("; ")) == 2
    assert sorted(int(one.rpartition(": ")[2]) for one in reasons.split("; ")) == [1, 2]
    assert len(Path("out/rejected.csv").read_text().splitlines()) == 4
    (line,) = re.findall(r"^next: (tsne-ooc embed .*)$", told, re.MULTILINE)
    words = shlex.split(line)
    assert words.count("--missing") == 1 and words[words.index("--missing") + 1] == "neighbors"
    assert parser().parse_args(words[1:]).missing == "neighbors"


def test_the_program_ends_as_its_command_does(home):
    run = [sys.executable, "-m", "tsne_ooc.cli", "info", str(home / "nowhere")]
    ended = subprocess.run(run, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith("tsne-ooc: error: there is no folder")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_whoever_has_read_enough_is_no_fault(home, unbuffered):
    """The reader has ended before there is a line, which is found when it is written, or when all are at the end."""
    words = shlex.join([sys.executable, "-m", "tsne_ooc.cli", "info", str(home / "map")])
    shell = f"{words} 2>errors | true; echo ${{PIPESTATUS[0]}}"
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=home, env=env)
    assert ended.stdout == "0\n" and (home / "errors").read_text() == ""


@pytest.mark.parametrize(
    "words, wanted", [([], None), (["--jobs", "1"], 1), (["--jobs", "3"], 3), (["--jobs", "-1"], -1)]
)
def test_rows_are_placed_with_as_many_threads_as_were_asked_for(home, tmp_path, monkeypatch, words, wanted):
    asked = []
    monkeypatch.setattr(
        "tsne_ooc.pipeline.place", lambda *args, n_jobs, **kwargs: asked.append(n_jobs) or place(*args, **kwargs)
    )
    assert main(["place", str(home / "map"), str(home / "X.parquet"), "--out", str(tmp_path / "placed"), *words]) == 0
    assert asked == [wanted]
