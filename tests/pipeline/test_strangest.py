"""Rows that are strange are told as such, however many there are: the limit, the list; and what folders tell."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE
from tsne_ooc.cli import main
from tsne_ooc.cli.command import parser
from tsne_ooc.novelty import limit_of, strangest
from tsne_ooc.pipeline import open_run


def contaminated(share, n=6000, seed=0):
    """Fifty clusters, and a share of rows that are nowhere near any of them; which these are."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(50, 16))[rng.integers(0, 50, n)] + 0.6 * rng.normal(size=(n, 16))
    junk = np.zeros(n, bool)
    junk[rng.choice(n, int(share * n), replace=False)] = True
    X[junk] = rng.normal(size=(int(junk.sum()), 16)) * 6
    return X.astype(np.float32), junk


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1])
def test_junk_in_the_sample_does_not_move_the_limit(share):
    X, junk = contaminated(share)
    model = TSNE(sample=2000, n_iter=0, early_exaggeration_iter=0, random_state=0).fit(X)
    novelty = model.score_samples(X)
    novelty[model.sample_rows_] = model.novelty_
    limit, clean = limit_of(novelty), limit_of(novelty[~junk])
    # A tenth of the rows moves the quartiles of all the others, by no more than that.
    assert clean <= limit < 1.35 * clean
    assert (novelty[~junk] > limit).mean() <= 0.01
    if share:
        assert (novelty[junk] > limit).mean() > 0.98
        # What the sample's own end says of them.
        assert (novelty[junk] > model.novelty_threshold_).mean() < 0.5


def test_the_limit_follows_from_two_quantiles():
    values = np.exp(np.random.default_rng(0).normal(0.1, 0.2, 1_200_001)).astype(np.float32)
    assert limit_of(values) == pytest.approx(np.exp(0.1 + 5 * 0.2), rel=0.02)
    assert limit_of(np.zeros(10, np.float32)) == 0 and limit_of(np.full(7, 2.0, np.float32)) == 2


def test_the_strangest_are_those_of_a_sort(monkeypatch):
    monkeypatch.setattr("tsne_ooc.novelty._BLOCK", 7)
    values = np.random.default_rng(0).integers(0, 30, 200).astype(np.float32)
    wanted = sorted(range(200), key=lambda row: (-values[row], row))
    for n in (1, 5, 30, 200, 400):
        assert strangest(values, n).tolist() == wanted[:n]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("runs")
    X, junk = contaminated(0.01, 900)
    table = pd.DataFrame(X, columns=[f"c{j}" for j in range(16)]).assign(proto=np.where(junk, "odd", "tcp"))
    table.to_parquet(folder / "flows.parquet")
    words = ["embed", str(folder / "flows.parquet"), "--sample", "400", "--perplexity", "7", "--standardize", "--out"]
    assert main([*words, str(folder / "a map"), "--quiet"]) == 0
    return folder / "a map", table


def test_the_list(run, capsys):
    folder, table = run
    assert main(["strangest", str(folder), "--top", "9", "--columns", "proto,c3"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["row", "novelty", "fitted", "tsne1", "tsne2", "proto", "c3"]
    found = open_run(folder)
    order = np.argsort(-np.asarray(found.novelty), kind="stable")[:9]
    for line, row in zip(lines, order.tolist(), strict=True):
        number, novelty, fitted, x, y, proto, c3 = line.split()
        assert int(number) == row and float(novelty) == pytest.approx(found.novelty[row], abs=0.01)
        assert (fitted == "yes") == (row in found.sample_rows) and proto == table["proto"][row] == "odd"
        assert [float(x), float(y)] == pytest.approx(found.embedding[row].tolist(), abs=0.01)
        assert float(c3) == pytest.approx(table["c3"][row], rel=1e-4)
    assert main(["strangest", str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 21


@pytest.mark.parametrize(
    "words, answer",
    [
        (["--top", "0"], "--top=0 must be at least 1"),
        (["--top", "-1"], "--top=-1 must be at least 1"),
        (["--columns", "protos"], "no such column: --columns='protos'"),
    ],
)
def test_what_cannot_be_listed(run, capsys, words, answer):
    assert main(["strangest", str(run[0]), *words]) == 2
    said = capsys.readouterr().err
    assert answer in said and said.count("\n") == 1


def test_a_run_ends_with_what_is_meant_in_words(run, capsys):
    folder, _ = run
    assert main(["place", str(folder), str(folder.parent / "flows.parquet"), "--out", str(folder.parent / "b")]) == 0
    told = capsys.readouterr().out
    found = open_run(folder.parent / "b")
    unlike = int((found.novelty > limit_of(found.novelty)).sum())
    assert (
        f"; {unlike} rows ({unlike / 900:.2%}) are unlike most (beyond " in told and "unlike all of the sample" in told
    )
    first = int(np.argmax(found.novelty))
    assert f"strangest rows: {first} ({found.novelty[first]:.2f}), " in told
    assert f"more: tsne-ooc strangest {folder.parent / 'b'}" in told


def test_a_folder_tells_what_it_is_and_what_to_do_next(run, capsys, tmp_path, monkeypatch):
    folder, _ = run
    assert main(["info", str(folder)]) == 0
    told = capsys.readouterr().out
    source = folder.parent / "flows.parquet"
    for words in (
        "900 rows on a plane, by tsne-ooc embed (version", f"from {source}", "fitted 400 rows, seed 0, KL ",
        "prepared by Standardize(robust=False)", "options: perplexity=7.0", "left out: proto", "took: ", "next:",
    ):  # fmt: skip
        assert words in told, told
    commands = re.findall(r"^  (tsne-ooc .+)$", told, re.MULTILINE)
    named = ["plot", "view", "report", "export", "strangest", "trust", "place", "train"]
    assert [line.split()[1] for line in commands] == named
    for line in commands:
        assert parser().parse_args(shlex.split(line)[1:]).run
    # The line for numpy is one that it takes.
    (load,) = re.findall(r"^  (numpy\.load.+)$", told, re.MULTILINE)
    assert eval(load, {"numpy": np}).shape == (900, 2)
    assert main(["info", str(folder / "model")]) == 0
    told = capsys.readouterr().out
    assert "a fitted map" in told
    commands = [shlex.split(line) for line in re.findall(r"^  (tsne-ooc .+)$", told, re.MULTILINE)]
    assert [words[1] for words in commands] == ["report", "place"]
    assert main([*commands[0][1:], "--out", str(tmp_path / "page.html"), "--quiet"]) == 0
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").unlink()
    (tmp_path / "copy" / "ledger.json").write_text("{}")
    assert main(["info", str(tmp_path / "copy")]) == 0
    assert "did not end; repeat its command with --resume" in capsys.readouterr().out
    assert main(["info", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_table_that_is_gone_or_has_changed_is_told(run, capsys):
    folder, _ = run
    source = folder.parent / "flows.parquet"
    kept = source.read_bytes()
    try:
        source.write_bytes(kept + b" ")
        assert main(["info", str(folder)]) == 0
        assert "which has changed since" in capsys.readouterr().out
        source.unlink()
        assert main(["info", str(folder)]) == 0
        assert "which is not there any more" in capsys.readouterr().out
    finally:
        source.write_bytes(kept)


def test_rows_that_were_all_dropped_have_no_limit():
    assert limit_of(np.full(7, np.nan, np.float32)) == np.inf
    assert limit_of(np.empty(0, np.float32)) == np.inf
    # Those that were dropped do not count beside others.
    some = np.random.default_rng(0).lognormal(size=99).astype(np.float32)
    assert limit_of(np.concatenate([some, np.full(50, np.nan, np.float32)])) == limit_of(some)
