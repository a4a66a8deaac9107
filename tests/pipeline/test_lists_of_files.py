"""Lists of files that are wrong, at every door and in parts; and a row of a map that is traced to its line of text."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE, embed, merge, open_run, place
from tsne_ooc.cli import main
from tsne_ooc.convert import convert
from tsne_ooc.export import export_per_file
from tsne_ooc.workers import LocalWorkers

FEW = {"perplexity": 5, "early_exaggeration_iter": 5, "n_iter": 5, "random_state": 0, "n_jobs": 1}
SIZES, P = (60, 50, 70), 4


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (4, P))[rng.integers(0, 4, sum(SIZES))] + rng.normal(size=(sum(SIZES), P))).astype("f4")


@pytest.fixture
def home(tmp_path):
    TSNE(**FEW).fit(rows()[:80]).save(tmp_path / "map")
    for number, part in enumerate(np.split(rows(), np.cumsum(SIZES)[:-1])):
        np.save(tmp_path / f"part{number}.npy", part)
    return tmp_path


@pytest.mark.parametrize("command", ["look", "embed", "place", "neighbors", "train", "prepare"])
def test_a_pattern_that_nothing_fits(command, home, capsys):
    """One line at every door, and nothing is written."""
    before = sorted(home.iterdir())
    words = {"place": [str(home / "map")]}.get(command, [])
    out = [] if command == "look" else ["--out", str(home / "out")]
    assert main([command, *words, str(home / "none-*.npy"), *out]) == 2
    said = capsys.readouterr().err
    assert f"no file fits the pattern {home}/none-*.npy" in said.splitlines()[-1]
    assert sorted(home.iterdir()) == before


def changed(home, change):
    path = home / "part1.npy"
    part = np.load(path)
    if change == "missing":
        path.unlink()
    else:
        np.save(path, {"shorter": part[:-1], "other columns": part[:, :3], "other rows": part[::-1]}[change])


SAYS = {
    "missing": r"there is no file .*part1\.npy",
    "shorter": r"b does not belong to .*a: .*shape was \[180, 4\], is \[179, 4\]",
    "other columns": r"part1\.npy has 3 columns, and part0\.npy has 4",
    "other rows": r"b does not belong to .*a: .*contents of the rows looked at have changed",
}


@pytest.mark.parametrize("change", SAYS)
def test_a_file_of_the_list_that_changes_between_parts(change, home):
    """The second part cannot be placed, or does not belong to the first."""
    place(home / "map", home / "part*.npy", out=home / "a", rows="0:90", n_jobs=1)
    changed(home, change)
    with pytest.raises((ValueError, OSError), match=SAYS[change]) as raised:
        place(home / "map", home / "part*.npy" if change != "missing" else [home / f"part{i}.npy" for i in range(3)],
              out=home / "b", rows="90:", n_jobs=1)  # fmt: skip
        merge([home / "a", home / "b"], out=home / "whole")
    assert "\n" not in str(raised.value) and not (home / "whole").exists()


@pytest.mark.parametrize("change", ["missing", "shorter", "other columns"])
def test_a_file_of_the_list_that_changes_before_it_is_resumed(change, home):
    def stop(phase, done, total):
        if phase == "place" and done >= 60:
            raise KeyboardInterrupt

    files = [home / f"part{i}.npy" for i in range(3)]
    how = {"out": home / "run", "sample": 80, "tsne": TSNE(**FEW), "block_rows": 20}
    with pytest.raises(KeyboardInterrupt):
        embed(files, **how, progress=stop)
    given = np.load(files[1])
    changed(home, change)
    with pytest.raises((ValueError, OSError), match=r"part1\.npy|shape was \[180, 4\], is \[179, 4\]"):
        embed(files, **how, resume=True)
    np.save(files[1], given)
    run = embed(files, **how, resume=True)
    np.testing.assert_array_equal(run.embedding, embed(rows(), **how | {"out": home / "one"}).embedding)


def test_workers_read_a_list_themselves(home):
    wanted = place(home / "map", rows(), out=home / "wanted", n_jobs=1).embedding
    with LocalWorkers(1, n_jobs=1) as executor:
        run = place(home / "map", home / "part*.npy", out=home / "o", executor=executor, block_rows=25)
    np.testing.assert_array_equal(run.embedding, wanted)


def test_a_row_of_a_map_is_traced_to_its_line(tmp_path):
    """Over tables that were split by month and day, with lines between that are rejected."""
    pytest.importorskip("pyarrow")
    X = rows().round(3)
    for number, part in enumerate(np.split(np.arange(len(X)), [70, 110])):
        lines = ["a,b,c,d,when"]
        for i in part:
            lines += ["not,a row"] if i % 9 == 0 else []
            day = 28 + i % 7
            stamp = f"2024-02-{day:02}" if day < 30 else f"2024-03-{day - 29:02}"
            lines.append(",".join(str(value) for value in X[i]) + f",{stamp} 10:00")
        (tmp_path / f"log{number}.csv").write_text("\n".join(lines) + "\n")
    told = convert(tmp_path / "log*.csv", tmp_path / "tables", split_by="when:day")
    assert {out["key"] for out in told["outputs"]} == {
        "2024-02-28", "2024-02-29", *(f"2024-03-{day:02}" for day in range(1, 6))}  # fmt: skip
    assert told["written"] == len(X) and told["read"] - told["written"] == sum(i % 9 == 0 for i in range(len(X)))
    run = embed(tmp_path / "tables" / "*.h5", out=tmp_path / "map", sample=80, tsne=TSNE(**FEW))
    manifest = json.loads((tmp_path / "tables" / "manifest.json").read_text())
    inputs = [file["path"] for file in manifest["inputs"]]
    seen = set()
    for table in open_run(tmp_path / "map").manifest["files"]:
        with h5py.File(table["path"]) as file:
            for row in range(table["start"], table["stop"]):
                source = inputs[file["rows/file"][row - table["start"]]]
                line = int(file["rows/line"][row - table["start"]])
                cells = (tmp_path / source).read_text().splitlines()[line - 1].split(",")
                seen.add((source, line))
                np.testing.assert_array_equal(
                    np.float32([float(cell) for cell in cells[:4]]), file["X"][row - table["start"]]
                )
    assert len(seen) == len(X) == len(run.embedding)


def test_a_part_of_a_table_is_not_exported_by_its_files(home):
    """Its rows begin and end within them."""
    place(home / "map", home / "part*.npy", out=home / "a", rows="0:90", n_jobs=1)
    before = sorted(home.iterdir())
    with pytest.raises(ValueError) as raised:
        export_per_file(home / "a", home / "places.csv")
    assert str(raised.value) == f"{home / 'a'} is a part of a table; merge all parts first (tsne-ooc merge)"
    assert sorted(home.iterdir()) == before
