"""Before a run: what would be read, how long it would take, whether it fits; and how far a fit is, in a file."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, neighbors
from tsne_ooc.cli import embed as command
from tsne_ooc.cli import forecast as module
from tsne_ooc.cli import forecast_refine, main, trials
from tsne_ooc.cli import progress as reports
from tsne_ooc.cli.forecast import Forecast, forecast, in_time
from tsne_ooc.cli.forecast_refine import _many as many
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


@pytest.fixture(scope="module")
def finished(flows, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "map"
    words = ["--sample", "300", "--perplexity", "5", "--standardize", "--quiet"]
    assert main(["embed", str(flows), "--out", str(out), *words]) == 0
    return out


def told_of(capsys, words):
    """Lines of a dry run by their first word, and its stages."""
    assert main([*words, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert text.endswith("\nit fits\n")
    return text, [name for name, _ in re.findall(r"^  (\w[\w ]*?)  +(.+)$", text, re.MULTILINE)]


def test_rows_that_lack_values_are_foretold(tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32)
    X[::3, 1], X[5] = np.nan, np.nan
    np.save(tmp_path / "x.npy", X)
    words = ["embed", str(tmp_path / "x.npy"), "--metric", "nan_euclidean", "--sample", "300", "--perplexity", "5"]
    _, stages = told_of(capsys, [*words, "--out", str(tmp_path / "map")])
    assert stages == ["prepare", "sample", "fit", "place", "in all"]


def test_all_rows_together_are_foretold(flows, tmp_path, capsys):
    words = ["embed", str(flows), "--out", str(tmp_path / "map"), "--sample", "300", "--perplexity", "5"]
    more = ["search", "weigh", "refine", "keep"]
    for options in (["--refine"], ["--refine", "--reference", "400", "--memory", "4"], ["--recipe", "large"]):
        text, stages = told_of(capsys, [*words, *options])
        assert stages == ["sample", "fit", "place", *more, "in all"]
        assert "would fit 300 rows, and place 600 more rows, and then move all rows together" in text
    assert not list(tmp_path.iterdir())
    assert main([*words, "--refine", "--memory", "0.01", "--dry-run"]) == 2
    said = capsys.readouterr().err.removeprefix("trying some rows, to say how long it will take\n")
    assert "GB of memory are too little for 900 rows" in said and said.count("\n") == 1
    assert main([*words, "--refine", "--missing", "drop", "--dry-run"]) == 2
    assert "refine moves all rows, and --missing='drop' leaves some out" in capsys.readouterr().err


def test_what_placing_takes_is_foretold(flows, finished, tmp_path, capsys):
    words = ["place", str(finished), str(flows), "--out", str(tmp_path / "more")]
    text, stages = told_of(capsys, words)
    assert stages == ["place", "in all"] and "would read 900 rows of 4 columns\ncolumns: a, b, c, d\n" in text
    assert "would place beside 300 rows of the map" in text
    text, _ = told_of(capsys, [*words, "--rows", "100:300"])
    assert "would read 200 rows" in text and "would place those numbered 100 to 299, beside 300 rows of the map" in text
    assert not list(tmp_path.iterdir())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "notes.txt").touch()
    for more, answer in (
        ([], "holds files already; name a new folder"), (["--rows", "800:901"], "is not a range of its rows"),
        (["--columns", "a,b"], "c"),
    ):  # fmt: skip
        folder = tmp_path / ("more" if not more else "other")
        assert main(["place", str(finished), str(flows), "--out", str(folder), *more, "--dry-run"]) == 2
        said = capsys.readouterr().err
        assert answer in said and said.count("\n") == 1


def test_what_training_takes_is_foretold(flows, finished, tmp_path, capsys):
    pytest.importorskip("torch")
    words = ["train", str(flows), "--out", str(tmp_path / "encoder"), "--network", "16x1"]
    fit = ["--sample", "300", "--perplexity", "5", "--standardize"]
    text, stages = told_of(capsys, [*words, *fit, "--decoder", "--iterations", "200"])
    assert stages == ["prepare", "sample", "fit", "teach", "train", "decoder", "in all"]
    assert "would fit 300 rows, and train a network on all rows" in text
    text, stages = told_of(capsys, [*words, "--map", str(finished)])
    assert stages == ["teach", "train", "in all"] and "would train a network on all rows" in text
    assert not list(tmp_path.iterdir())
    assert main([*words, *fit, "--missing", "drop", "--dry-run"]) == 2
    assert "missing='drop' is for maps alone" in capsys.readouterr().err


def test_the_memory_of_a_fit_before_a_training_is_that_of_its_columns(flows, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    asked = []
    monkeypatch.setattr("tsne_ooc.io.reading.bytes_of_fit", lambda n, p, k: asked.append((n, p)) or 7 * 10**9)
    words = ["train", str(flows), "--out", str(tmp_path / "encoder"), "--network", "16x1", "--perplexity", "5"]
    text, _ = told_of(capsys, [*words, "--sample", "300", "--pca", "3"])
    assert set(asked) == {(300, 3)}
    assert float(re.search(r"^memory: (\S+) GB of", text, re.MULTILINE)[1]) > 7


@pytest.mark.parametrize("kind", ["embed", "place", "train"])
def test_a_run_may_have_what_is_free_and_what_the_dry_run_itself_holds(
    flows, finished, tmp_path, capsys, monkeypatch, kind
):
    monkeypatch.setattr("tsne_ooc._memory.available_bytes", lambda: 5 * 10**9)
    monkeypatch.setattr("tsne_ooc._memory.used_bytes", lambda: 2 * 10**9)
    fit, words = ["--sample", "300", "--perplexity", "5"], [str(flows), "--out", str(tmp_path / "map")]
    if kind == "train":
        pytest.importorskip("torch")
        words += ["--network", "16x1"]
    words = ["place", str(finished), *words] if kind == "place" else [kind, *words, *fit]
    text, _ = told_of(capsys, words)
    assert re.search(r"^memory: 2\.\d+ GB of 7\.0+ GB", text, re.MULTILINE), text


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
    said, first, *lines = capsys.readouterr().err.splitlines()
    # The estimate takes seconds, and is announced.
    assert said == "trying some rows, to say how long it will take"
    assert re.match(r"estimate: .* in all \(sample .*, fit .*, place .*\), .* of memory, .* on the disk$", first)
    # A file is told how far a fit is.
    assert any(re.match(r"fitting the sample: iteration \d+ of 240, .* left", line) for line in lines)
    # An estimate that fails stops no run.
    monkeypatch.setattr(trials, "read_some", lambda *_: 1 / 0)
    assert main([*words, "--out", str(tmp_path / "third")]) == 0
    assert "estimate" not in capsys.readouterr().err
    monkeypatch.setattr(command, "WORTH", 901)
    assert main([*words, "--out", str(tmp_path / "other")]) == 0
    assert "estimate" not in capsys.readouterr().err


def test_trials_are_announced_before_they_begin(flows, tmp_path, capsys, monkeypatch):
    """But not where nothing is to be said; and an error that comes before them stays alone."""
    words = ["--sample", "300", "--perplexity", "5"]
    assert main(["embed", str(flows), *words, "--out", str(tmp_path / "map"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    told = []
    for name in ("seconds_to_map", "seconds_of_a_row"):
        real = getattr(trials, name)
        monkeypatch.setattr(
            trials, name, lambda *given, real=real: told.append(capsys.readouterr().err) or real(*given)
        )
    for line in (["embed", str(flows), *words], ["place", str(tmp_path / "map"), str(flows)]):
        for quiet in ([], ["--quiet"]):
            told.clear()
            assert main([*line, "--dry-run", "--out", str(tmp_path / "none"), *quiet]) == 0
            assert told[0] == ("" if quiet else "trying some rows, to say how long it will take\n")
            capsys.readouterr()


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
    monkeypatch.setattr(trials, "clock", clock)
    table = as_source(Slow(1200, 100, clock))
    model = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
    found = forecast(table, tmp_path / "map", model=model, sample=sample, prepare=None, rounds=2, seed=0)
    # Nothing but reading takes time by this clock: each row .01 s, whenever all are read.
    assert found.seconds["sample"] == pytest.approx(touched * 12, rel=1e-3)
    assert found.seconds["place"] == pytest.approx(12) and found.seconds["look"] == pytest.approx(12)
    assert found.seconds["fit"] == 0 and found.would == "fit 200 rows, and place 1,000 more rows"


def test_few_rows_of_many_chunks_read_few_chunks():
    """Of 10,000 chunks of 10 rows, 50 drawn rows touch all but 50."""

    class Table:
        shape, chunks = (100_000, 3), (10, 3)

    rng = np.random.default_rng(0)
    counted = [10 * len(np.unique(rng.choice(100_000, 500, replace=False) // 10)) for _ in range(50)]
    assert trials.rows_read(Table(), UniformSample(500), 500) == pytest.approx(np.mean(counted), rel=0.02)


@pytest.mark.parametrize(
    "rows, of_a_row, tried", [(2500, 1e-6, [2500, 10_000, 40_000]), (2500, 1e-3, [2500]), (0, 1, [0])]
)
def test_batches_that_are_timed_are_as_large_as_those_of_a_run(monkeypatch, rows, of_a_row, tried):
    now, seen = [0.0], []
    monkeypatch.setattr(trials, "clock", lambda: now[0])

    def work(batch):
        seen.append(len(batch))
        now[0] += 0.01 + of_a_row * len(batch)

    X = np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2)
    found = trials.seconds_of_a_row(work, X)
    assert seen == tried and found == pytest.approx((0.01 + of_a_row * tried[-1]) / max(1, tried[-1]))


@pytest.mark.parametrize("search, growth", [("exact", 1.0), ("ivf", 0.5)])
def test_a_search_among_more_rows_is_forecast_to_grow(monkeypatch, search, growth):
    """A query takes time in proportion to the rows where all are met, and to their root where lists or graphs are."""
    now = [0.0]
    monkeypatch.setattr(trials, "clock", lambda: now[0])
    monkeypatch.setattr(trials, "seconds_of_a_row", lambda work, some: 0.25)
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    model = TSNE(neighbors=search, random_state=0)
    found = [trials.seconds_to_search(model, X, n, 15, 0)[1] for n in (300, 30_000, 480_000)]
    among = trials._SEARCHED
    expected = [0.25 * max(1, n / among) ** growth for n in (300, 30_000, 480_000)]
    np.testing.assert_allclose(found, expected)


def test_a_line_through_two_measurements():
    line = trials.line_through(3.0, 100, 5.0, 200)
    assert line(1000) == pytest.approx(21) and line(200) == pytest.approx(5)
    # Where more rows took less time, noise did: what many took is shared out.
    assert trials.line_through(3.0, 100, 2.0, 200)(2000) == pytest.approx(20)


def test_what_does_not_fit_is_said():
    few = Forecast((10, 2), None, {}, "fit 5 rows", {"fit": 70.0, "place": 7000.0}, 5 << 30, 1 << 30, 10, 100)
    assert str(few).endswith("it does not fit: there is too little memory") and "in all  2.0 h" in str(few)
    full = Forecast((10, 2), None, {}, "fit 5 rows", {"fit": 0.2}, 5, None, 200, 100)
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
    _, rows, copies = trials.read_some(as_source(table), 500)
    sample = {row.tobytes() for row in table[np.unique(np.linspace(0, 3999, 500).astype(int))]}
    share = np.mean([row.tobytes() in sample for row in np.delete(table, np.linspace(0, 3999, 500).astype(int), 0)])
    assert copies == pytest.approx(share, abs=0.02) and (share > 0.99 if kinds == 40 else share == 0)
    assert trials._alone(rows).mean() == (0 if kinds == 40 else 1)


def test_a_copy_takes_less_than_another_row(monkeypatch):
    monkeypatch.setattr(trials, "seconds_to_place", lambda model, others: 7.0 if len(others) == 250 else 1.0)
    rows = np.random.default_rng(0).normal(size=(499, 3)).astype(np.float32)
    model = TSNE(n_iter=2, early_exaggeration_iter=0, perplexity=5, random_state=0)
    # 250 rows are fitted and placed again; the 249 between them are new.
    _, new, _ = trials.seconds_to_map(model, rows, 499, 0.0, 0)
    _, both, _ = trials.seconds_to_map(model, rows, 499, 0.75, 0)
    _, old, _ = trials.seconds_to_map(model, rows, 499, 1.0, 0)
    assert (new, both, old) == (1.0, 0.75 * 7 + 0.25 * 1, 7.0)


def test_a_fit_of_more_rows_than_are_tried_searches_among_all_of_them(monkeypatch):
    """All else of a fit grows with its rows, and a query with those that it meets: the forecast follows both."""
    now = [0.0]
    monkeypatch.setattr(trials, "clock", lambda: now[0])
    rest, build, query, placing = 3e-3, 1e-3, 1e-6, 7e-3

    def fit(model, rows):
        now[0] += len(rows) * (rest + build + query * len(rows))
        TSNE.fit(model, rows)

    def search(model, rows, among, k, seed):
        assert k in (model.n_neighbors_, model._placement().neighbors(250)) and seed == 5
        return build, query * among

    monkeypatch.setattr(trials, "_fit", fit)
    monkeypatch.setattr(trials, "seconds_to_search", search)
    monkeypatch.setattr(trials, "seconds_to_place", lambda model, some: placing + query * 250)
    rows = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    model = TSNE(n_iter=2, early_exaggeration_iter=0, perplexity=5, random_state=0)
    seconds, place, k = trials.seconds_to_map(model, rows, 100_000, 0.0, 5)
    assert seconds(100_000) == pytest.approx(100_000 * (rest + build + query * 100_000))
    assert place == pytest.approx(placing + query * 100_000) and k == model.n_neighbors_
    # Never less than nothing, however the clock went.
    monkeypatch.setattr(trials, "seconds_to_place", lambda model, some: 0.0)
    monkeypatch.setattr(trials, "seconds_to_search", lambda model, rows, among, k, seed: (0.0, 1 / among))
    seconds, place, _ = trials.seconds_to_map(model, rows, 100_000, 0.0, 5)
    assert place == 0.0 and seconds(100_000) >= 0


def test_a_row_alone_has_no_copy():
    assert trials._copied(np.zeros((1, 3), np.float32), 10) == trials._copied(np.zeros((0, 3), np.float32), 10) == 0.0
    assert trials._copied(np.zeros((2, 3), np.float32), 10) == 1.0


@pytest.mark.parametrize("words, searched", [([], [900]), (["--reference", "900"], [900]),
                                             (["--reference", "400"], [900, 400])])  # fmt: skip
def test_an_index_of_all_rows_is_not_built_twice(flows, tmp_path, capsys, monkeypatch, words, searched):
    asked, moved = [], forecast_refine.moved

    def counted(model, rows, among, k, seed):
        asked.append(among)
        return 0.0, 0.0

    def alone(*args):
        # Trials of fits and of placing search, too.
        monkeypatch.setattr(trials, "seconds_to_search", counted)
        return moved(*args)

    monkeypatch.setattr(forecast_refine, "moved", alone)
    words = ["embed", str(flows), "--out", str(tmp_path / "map"), "--sample", "300", "--perplexity", "5", *words]
    assert main([*words, "--refine", "--dry-run"]) == 0
    assert asked == searched


def test_words_that_were_read_are_a_table_of_their_own():
    """Some rows of words and numbers are prepared as a table is; as numbers alone they cannot be read."""
    table = trials._Words({"a": np.arange(5.0), "kind": np.array(list("vwxyz"), object)})
    assert table.shape == (5, 2) and table[1:3].read_columns(0, 2)["kind"].tolist() == ["w", "x"]
    assert table.reopen() is table
    with pytest.raises(TypeError, match=r"^not all of these columns hold numbers$"):
        table.read(0, 2)


@pytest.mark.parametrize("n", [20, 60, 61])
def test_rows_that_are_moved_on_trial_are_like_those_of_the_model(n):
    """No more are drawn than there are: each is one of them, in any order, at its own place; others are like them."""
    rng = np.random.default_rng(0)
    rows, places = rng.normal(size=(60, 3)).astype(np.float32), np.arange(120, dtype=np.float32).reshape(60, 2)
    found, at = many(rows, places, n, 0)
    assert found.shape == (n, 3) and at.shape == (n, 2) and found.dtype == np.float32
    assert {tuple(one) for one in at.tolist()} <= {tuple(one) for one in places.tolist()}
    near = rows[(at[:, 0] / 2).astype(int)]
    if n <= 60:
        np.testing.assert_array_equal(found, near)
        assert len({tuple(one) for one in at.tolist()}) == n
        assert not np.array_equal(at, places[:n])
    else:
        assert not np.array_equal(found, near) and np.abs(found - near).max() < 2


def test_a_graph_that_is_known_is_foretold(tmp_path, capsys):
    """It is not searched again among all rows of a run; a network that is taught by it has all rows in its batches."""
    pytest.importorskip("torch")
    X = tmp_path / "x.npy"
    np.save(X, np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32))
    graph = str(tmp_path / "graph")
    assert main(["neighbors", str(X), "--k", "30", "--out", graph, "--quiet"]) == 0
    words = ["embed", str(X), "--out", str(tmp_path / "map"), "--sample", "300", "--refine", "--graph", graph]
    _, stages = told_of(capsys, [*words, "--perplexity", "5"])
    assert stages == ["sample", "fit", "place", "search", "weigh", "refine", "keep", "in all"]
    # It has to fit, as it has to in the run.
    assert main([*words, "--perplexity", "30", "--dry-run"]) == 2
    assert "the graph has 30 neighbours of each row, and 90 are needed" in capsys.readouterr().err
    words = ["train", str(X), "--out", str(tmp_path / "encoder"), "--network", "16x1", "--perplexity", "5"]
    text, stages = told_of(capsys, [*words, "--graph", graph, "--iterations", "200"])
    assert "fit" in stages and "teach" in stages and "would fit 700 rows, and train a network on all rows" in text
    assert sorted(one.name for one in tmp_path.iterdir()) == ["graph", "x.npy"]


def test_rows_that_will_be_dropped_are_not_placed_on_trial(tmp_path, capsys, monkeypatch):
    from tsne_ooc.pipeline.placer import MapPlacer

    X = np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32)
    X[::3, 1] = np.nan
    np.save(tmp_path / "x.npy", X)
    words = ["embed", str(tmp_path / "x.npy"), "--missing", "drop", "--sample", "300", "--perplexity", "5", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "map")]) == 0
    tried, place = [], MapPlacer.place

    def watched(self, rows, **options):
        tried.append(np.array(rows))
        return place(self, rows, **options)

    monkeypatch.setattr(MapPlacer, "place", watched)
    told_of(capsys, ["place", str(tmp_path / "map"), str(tmp_path / "x.npy"), "--out", str(tmp_path / "more")])
    assert tried and all(np.isfinite(rows).all() for rows in tried)


def test_a_search_on_trial_is_that_of_as_many_rows_and_columns(monkeypatch):
    asked, real = [], neighbors.resolve
    monkeypatch.setattr(neighbors, "resolve", lambda word, **about: (asked.append(about), real(word, **about))[1])
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    trials.seconds_to_search(TSNE(metric="manhattan"), X, 5000, 15, 0)
    assert asked[0] == {"metric": "manhattan", "n": 5000, "p": 4, "metric_params": None}
