"""Before a run: what would be read, how long it would take, whether it fits; and how far a fit is, in a file."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE
from tsne_ooc.cli import embed as command
from tsne_ooc.cli import forecast as module
from tsne_ooc.cli import main
from tsne_ooc.cli import report as reports
from tsne_ooc.cli.forecast import Forecast, forecast, in_time
from tsne_ooc.cli.progress import Report
from tsne_ooc.io import as_source
from tsne_ooc.sampling import Coverage, UniformSample

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    path = tmp_path_factory.mktemp("flows") / "flows.parquet"
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(900, 4)), columns=list("abcd"))
    table.assign(proto=np.array(["tcp", "udp", "icmp"])[np.arange(900) % 3]).to_parquet(path)
    return path


def test_nothing_is_written_and_all_is_said(flows, tmp_path, capsys):
    out = tmp_path / "map"
    words = ["embed", str(flows), "--out", str(out), "--sample", "300", "--perplexity", "5", "--dry-run"]
    assert main([*words, "--standardize", "--rounds", "2"]) == 0
    told = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert "would read 900 rows of 4 columns\ncolumns: a, b, c, d\n" in told and "proto" in told
    assert "would fit 300 rows, and place 600 more rows" in told
    stages = re.findall(r"^  (\w[\w ]*?)  +(.+)$", told, re.MULTILINE)
    assert [name for name, _ in stages] == ["prepare", "sample", "fit", "look", "place", "in all"]
    assert re.search(r"^memory: \d.* of \d", told, re.MULTILINE) and re.search(r"^disk: .* of \d", told, re.MULTILINE)
    assert told.endswith("\nit fits\n")
    assert main([*words, "--columns", "a,b,proto", "--onehot", "proto", "--pca", "2"]) == 0
    assert "columns: a, b, proto" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words, answer", [
    (["--perplexity", "-3"], "--perplexity"), (["--metric", "euclid"], "euclidean"), (["--columns", "z"], "'z'"),
    (["--metric", "precomputed"], "leave --dry-run out"),
])  # fmt: skip
def test_what_a_run_refuses_is_refused(flows, tmp_path, capsys, words, answer):
    assert main(["embed", str(flows), "--out", str(tmp_path / "map"), "--dry-run", *words]) == 2
    said = capsys.readouterr().err
    assert answer in said and said.count("\n") == 1


def test_a_folder_that_is_taken_is_told_before_the_probe(flows, tmp_path, capsys, monkeypatch):
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr(module, "forecast", lambda *_, **__: pytest.fail("probed"))
    assert main(["embed", str(flows), "--out", str(tmp_path), "--dry-run"]) == 2
    assert "holds files already; name a new folder" in capsys.readouterr().err


def test_the_log_of_a_long_run_begins_with_the_same(flows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "WORTH", 900)
    monkeypatch.setattr(reports, "EVERY", 0.0)
    words = ["embed", str(flows), "--sample", "300", "--perplexity", "5"]
    assert main([*words, "--out", str(tmp_path / "map")]) == 0
    first, *lines = capsys.readouterr().err.splitlines()
    assert re.match(r"estimate: .* in all \(sample .*, fit .*, place .*\), .* of memory, .* on the disk$", first)
    # A file is told how far a fit is.
    assert any(re.match(r"fitting the sample: iteration \d+ of 240, .* left", line) for line in lines)
    # An estimate that fails stops no run.
    monkeypatch.setattr(module, "_read", lambda table: 1 / 0)
    assert main([*words, "--out", str(tmp_path / "third")]) == 0
    assert "estimate" not in capsys.readouterr().err
    monkeypatch.setattr(command, "WORTH", 901)
    assert main([*words, "--out", str(tmp_path / "other")]) == 0
    assert "estimate" not in capsys.readouterr().err


class Clock:
    """A clock that goes on by what is done, and by nothing else."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow:
    """A table whose rows take their time, in chunks that are read whole."""

    dtype = np.dtype(np.float32)

    def __init__(self, n, chunk, clock):
        self.shape, self.chunks, self.clock = (n, 3), (chunk, 3), clock
        self.rows = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        chunk = self.chunks[0]
        self.clock.now += 0.01 * (min(-(-stop // chunk) * chunk, self.shape[0]) - start // chunk * chunk)
        return self.rows[start:stop]


@pytest.mark.parametrize("sample, touched", [(UniformSample(200), 1.0), (Coverage(200), 2.0)])
def test_what_reading_costs_is_told_by_the_rows(monkeypatch, tmp_path, sample, touched):
    clock = Clock()
    monkeypatch.setattr(module, "clock", clock)
    table = as_source(Slow(1200, 100, clock))
    model = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
    found = forecast(table, tmp_path / "map", model=model, sample=sample, prepare=None, rounds=2, seed=0)
    # Nothing but reading takes time by this clock: each row .01 s, whenever all are read.
    assert found.seconds["sample"] == pytest.approx(touched * 12, rel=1e-3)
    assert found.seconds["place"] == pytest.approx(12) and found.seconds["look"] == pytest.approx(12)
    assert found.seconds["fit"] == 0 and found.fitted == 200


def test_few_rows_of_many_chunks_read_few_chunks():
    """Of 10,000 chunks of 10 rows, 50 drawn rows touch all but 50."""

    class Table:
        shape, chunks = (100_000, 3), (10, 3)

    rng = np.random.default_rng(0)
    counted = [10 * len(np.unique(rng.choice(100_000, 500, replace=False) // 10)) for _ in range(50)]
    assert module._drawn(Table(), UniformSample(500), 500) == pytest.approx(np.mean(counted), rel=0.02)


def test_a_line_through_two_measurements():
    line = module._line(3.0, 100, 5.0, 200)
    assert line(1000) == pytest.approx(21) and line(200) == pytest.approx(5)
    # Where more rows took less time, noise did: what many took is shared out.
    assert module._line(3.0, 100, 2.0, 200)(2000) == pytest.approx(20)


def test_what_does_not_fit_is_said():
    few = Forecast((10, 2), None, {}, 5, {"fit": 70.0, "place": 7000.0}, 5 << 30, 1 << 30, 10, 100)
    assert str(few).endswith("it does not fit: there is too little memory") and "in all  2.0 h" in str(few)
    full = Forecast((10, 2), None, {}, 5, {"fit": 0.2}, 5, None, 200, 100)
    assert full.lacking == ["room on the disk"]
    assert [in_time(seconds) for seconds in (0.3, 4.4, 89, 100, 5000, 9000)] == [
        "under 1 s", "4 s", "89 s", "2 min", "83 min", "2.5 h",
    ]  # fmt: skip


def test_iterations_are_told_now_and_then_and_only_in_a_file(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with Report(False, file) as report:
        report("fit", 0, 1000)
        X = np.random.default_rng(0).normal(size=(60, 4))
        model = TSNE(perplexity=5, n_iter=30, early_exaggeration_iter=10, random_state=0)
        model.set_params(callbacks=lambda *_: now.__setitem__(0, now[0] + 10), callbacks_every_iters=10)
        model.fit(X)
    assert "fitting the sample: iteration 20 of 40," not in file.getvalue()
    assert re.findall(r"iteration (\d+) of 40, (\S+) left", file.getvalue()) == [("21", "0:00:19")]
    silent = io.StringIO()
    with Report(True, silent) as report:
        report("fit", 0, 1000)
        TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5).fit(X)
    assert not silent.getvalue()


@pytest.mark.parametrize("kinds", [40, 10**9])
def test_copies_are_foretold_as_copies(kinds):
    """Rows that lie where a fitted one lies take a hash to be placed, others a search and some steps."""
    rng = np.random.default_rng(0)
    each = rng.normal(size=(min(kinds, 4000), 5)).astype(np.float32)
    table = each[rng.permutation(4000) % len(each)]
    _, rows, copies = module._read(as_source(table), 500)
    sample = {row.tobytes() for row in table[np.unique(np.linspace(0, 3999, 500).astype(int))]}
    share = np.mean([row.tobytes() in sample for row in np.delete(table, np.linspace(0, 3999, 500).astype(int), 0)])
    assert copies == pytest.approx(share, abs=0.02) and (share > 0.99 if kinds == 40 else share == 0)
    assert module._alone(rows).mean() == (0 if kinds == 40 else 1)


def test_a_copy_takes_less_than_another_row(monkeypatch):
    monkeypatch.setattr(module, "_placed", lambda model, others: 7.0 if len(others) == 250 else 1.0)
    rows = np.random.default_rng(0).normal(size=(499, 3)).astype(np.float32)
    model = TSNE(n_iter=2, early_exaggeration_iter=0, perplexity=5, random_state=0)
    # 250 rows are fitted and placed again; the 249 between them are new.
    _, new, _ = module._mapped(model, rows, 499, 0.0, 0)
    _, both, _ = module._mapped(model, rows, 499, 0.75, 0)
    _, old, _ = module._mapped(model, rows, 499, 1.0, 0)
    assert (new, both, old) == (1.0, 0.75 * 7 + 0.25 * 1, 7.0)
