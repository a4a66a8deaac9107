"""Benchmarks at a command: programs in turn, records, and the page that is written from them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def modules(monkeypatch):
    """Scripts import each other by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.slow
def test_programs_in_turn(tmp_path):
    pytest.importorskip("matplotlib")
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "run",
        "--data",
        "iris",
        "--peers",
        "umap",
        "--quick",
        "--repeats",
        "1",
        "--shares",
        "0.5",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    (table,) = told["tables"]
    runs = table["runs"]["tsne_ooc"]
    # 150 rows, of which a tenth are placed.
    assert (table["n"], table["p"], len(runs), runs[0]["placed"]) == (135, 4, 1, 15)
    assert set(table["runs"]) | set(table["absent"]) == {"tsne_ooc", "umap"} and runs[0]["seconds"]["fit"] > 0
    assert 0.5 < table["quality"]["tsne_ooc"]["labels"] <= 1
    assert table["shares"]["0.5"]["runs"]["tsne_ooc"][0]["seconds"]["fit"] > 0
    assert (tmp_path / "out" / "results.md").read_text() in done.stdout + "\n"
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")
    if table["absent"]:
        assert re.search(r"^\| iris \| umap \| not installed \|", done.stdout, re.MULTILINE)


def test_a_command_that_is_not_one(tmp_path):
    done = subprocess.run([sys.executable, "-m", "benchmarks", "rum"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == (
        "there is no command 'rum'; there are run, scaling, history, list, page\n"
    )


def test_rows_held_back_are_not_fitted(modules):
    import comparison
    from data_sets import Data

    X = np.arange(200, dtype=np.float32)[:, None]
    data, new = comparison.parted(Data("numbers", X, np.arange(200)), quick=False)
    assert len(new) == 20 and sorted([*data.X[:, 0], *new[:, 0]]) == list(range(200))
    assert (data.y == data.X[:, 0]).all()


def test_absent_programs_are_named_and_medians_told(modules):
    import comparison

    runs = {
        "tsne_ooc": [
            {"seconds": {"fit": s, "place": 2.0}, "placed": 10, "peak": 2**30, "version": "1"} for s in (4, 1, 2)
        ],
        "umap": [{"seconds": {"fit": 6.0}, "placed": 0, "peak": 2**31, "version": "5"}],
    }
    quality = {name: dict.fromkeys(comparison.QUALITIES, 0.5) for name in runs}
    found = {"data": "d", "runs": runs, "quality": quality, "absent": ["pacmap"]}
    ours, theirs, absent = (dict(zip(comparison.HEADER, line, strict=True)) for line in comparison.lines(found))
    assert ours["fit, s"] == "2 (1 to 4)" and ours["placed, rows/s"] == "5 (5 to 5)" and ours["x ours"] == 1
    assert theirs["fit, s"] == "6" and theirs["x ours"] == 3 and theirs["placed, rows/s"] == ""
    assert (absent["program"], absent["fit, s"]) == ("pacmap", "not installed")


def test_a_table_that_is_recorded_comes_to_the_page(modules, tmp_path, monkeypatch):
    import records

    monkeypatch.setattr(records, "FOLDER", tmp_path / "records")
    records.keep("one-two", "A title", ("program", "s"), [("ours", 0.12345), ("theirs", 1234)])
    page = "Words.\n\n<!-- table: one-two -->\n\n| old |\n|---|\n| 1 |\n\nMore words.\n"
    written = records.written(page)
    assert written == (
        "Words.\n\n<!-- table: one-two -->\n\n| program | s |\n|---|---|\n"
        "| ours | 0.123 |\n| theirs | 1,234 |\n\nMore words.\n"
    )
    assert records.written(written) == written
    with pytest.raises(ValueError, match="letters"):
        records.keep("../up", "A title", ("s",), [])


def test_the_page_says_what_its_records_say(modules):
    import records

    page = records.PAGE.read_text(encoding="utf-8")
    assert records.written(page) == page
    named = {match[1] for match in records.MARK.finditer(page)}
    assert named == {file.stem for file in records.FOLDER.glob("*.json")}
    for name in named:
        record = records.read(name)
        assert {len(cells) for cells in record["rows"]} == {len(record["header"])}, name


def test_a_curve_goes_from_the_fewest_iterations_to_the_most(modules):
    import comparison
    import programs

    def fits(seconds, good):
        return {"runs": {"umap": [{"seconds": {"fit": s}} for s in seconds]}, "quality": {"umap": {"labels": good}}}

    found = {**fits([4.0, 5.0], 0.8), "shares": {"2.0": fits([9.0], 0.9), "0.5": fits([2.0], 0.7)}}
    assert comparison.curve(found, "umap", "labels") == [([2.0], 0.7), ([4.0, 5.0], 0.8), ([9.0], 0.9)]
    assert programs.iterations("umap", 0.5, 10_000) == (250,) and programs.iterations("umap", 0.5, 10_001) == (100,)
    assert programs.iterations("pacmap", 0.5, 9) == (50, 50, 125)


def test_a_record_says_what_was_typed(modules):
    import comparison

    words = ["--data", "mnist", "--out", "/here/results"]
    assert comparison._command(["python -m benchmarks run", *words]) == (
        "python -m benchmarks run --data mnist --out results"
    )
    assert comparison._command(["benchmarks/trust.py", "--quick"]) == "python benchmarks/trust.py --quick"


def test_a_table_has_a_heading_for_each_cell(modules):
    """Two tables lacked one, and a page of Markdown does not show what is too much."""
    import argparse

    import common

    args = argparse.Namespace(quick=False)
    assert "| 1 | 2 |" in common.table("Two", ("a", "b"), [(1, 2)], args)
    with pytest.raises(ValueError, match="3 cells under 2 headings"):
        common.table("Two", ("a", "b"), [(1, 2), (1, 2, 3)], args)


@pytest.mark.parametrize("power", [1, 2])
def test_exponents(modules, power):
    import growth

    sizes = [1000, 10_000, 100_000, 1_000_000]
    # The small ones have a price of their own, which says nothing of growth.
    seconds = [5.0, 5.0, *(1e-6 * n**power for n in sizes[2:])]
    assert growth.exponent(sizes, seconds) == pytest.approx(power)
    assert np.isnan(growth.exponent(sizes[:1], seconds[:1]))
    rows = growth.rows_of(5000)
    assert rows.shape == (5000, growth.COLUMNS) and np.isfinite(rows).all()


def test_what_is_slower_than_before_is_told(modules, tmp_path):
    import history

    log = tmp_path / "log.jsonl"
    assert history.before(log, "Machine: 2 cores") == {}
    lines = [{"machine": "Machine: 2 cores; Python 3.11", "seconds": {"fit": s}} for s in (1, 5, 2)]
    lines.append({"machine": "Machine: 96 cores; Python 3.11", "seconds": {"fit": 0.1}})
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert history.before(log, "Machine: 2 cores; Python 3.13") == {"fit": 2}
