"""What commands say, from what they are told: sums, shares, one and many, the next command, and what is foretold."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc.cli import command, info, trials
from tsne_ooc.cli import forecast as forecasts
from tsne_ooc.cli import plot as plots
from tsne_ooc.cli import train as trains
from tsne_ooc.cli.command import parser
from tsne_ooc.cli.forecast import Forecast, in_time
from tsne_ooc.cli.shared import (
    check_free,
    data_of,
    filled_in,
    is_taken,
    picture_of,
    probing,
    split_names,
    strange,
    summary_of,
)
from tsne_ooc.cli.strangest import _shown
from tsne_ooc.cli.trust import lines_of, next_of
from tsne_ooc.novelty import limit_of

# --------------------------------------------------------------------------------------------------- the end of a run


def run_of(folder, novelty=None, **content):
    """A finished run, as far as its summary looks at it."""
    told = {"n_samples": 1200, "n_components": 2, "seconds": {"place": 0.5}, "job": {"request": {}}}
    return SimpleNamespace(folder=Path(folder), novelty=novelty, manifest={**told, **content})


def test_a_run_ends_with_what_it_did():
    fit = {"fit": 3.26, "place": 0.5}
    refined = {"n_iter": 500, "kl_divergence": 1.23456}
    lines = summary_of(run_of(
        "a map", seconds={**fit, "search": 1.0, "weigh": 2.0, "refine": 4.0, "keep": 8.0}, sample=100, dropped=1,
        kl_divergence=2.5, filled={"cells": 1, "columns": 2, "how": "mean"}, refined=refined,
    )).split("\n")  # fmt: skip
    assert lines == [
        "fitted 100 rows in 3.3 s, KL 2.500",
        "read and placed 1,200 rows in 0.5 s (2,400 rows/s)",
        "1 row without a place, since a value is missing: a map/dropped_rows.npy",
        "filled in 1 cell of 2 columns that had no value (--missing mean)",
        "moved all rows together in 15.0 s (500 iterations), KL 1.235",
        "wrote a map/embedding.npy: 1,200 x 2, float32",
    ]
    assert summary_of(run_of("map", seconds=fit, sample=1, kl_divergence=None)).split("\n")[0] == (
        "fitted 1 row in 3.3 s"
    )
    # What is too quick for the clock has a rate all the same.
    placed = summary_of(run_of("b", seconds={"place": 0.0}, model="the map", n_components=3)).split("\n")
    assert placed == [
        "read and placed 1,200 rows in 0.0 s (1,200,000 rows/s)", "wrote b/embedding.npy: 1,200 x 3, float32",
        "over the map they are on: tsne-ooc plot b --axes 1,2",
    ]  # fmt: skip
    assert picture_of(Path("a map"), 2) == picture_of(Path("a map"), 1) == "tsne-ooc plot 'a map'"


@pytest.mark.parametrize("filled", [None, {}, {"cells": 0, "columns": 0, "how": "mean"}])
def test_nothing_is_said_of_what_was_not_filled(filled):
    assert filled_in(filled) == []


def scores(*beyond):
    """Novelty of 400 rows, whose limit is well below 3, and some more."""
    return np.r_[np.linspace(0.9, 1.1, 400), beyond].astype(np.float32)


def told_of(novelty, threshold):
    beyond = int((novelty > threshold).sum())
    return {"beyond": beyond, "beyond_share": beyond / len(novelty), "threshold": threshold, "quantiles": {"0.5": 1.0}}


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("beyond", [(), (9.0,), (9.0, 5.0), (9.0, 5.0, 4.0)])
def test_strange_rows_are_counted_against_both_limits(beyond, looked):
    novelty = scores(*beyond)
    limit = limit_of(novelty)
    assert limit < 2
    n, unlike = len(novelty), len(beyond)
    more = ", rows that the sample did not know: try --sample-by coverage, --rounds 2, or a larger --sample"
    for threshold in (4.5, 1.0):
        text, rows = strange(told_of(novelty, threshold), novelty, "a map", looked=looked)
        count = int((novelty > threshold).sum())
        are = "is" if (unlike if limit < threshold else count) == 1 else "are"
        rows_ = lambda number: f"{number} row{'' if number == 1 else 's'}"  # noqa: E731
        whom = "everything" if looked else "all of the sample" if limit < threshold else "the sample"
        wanted = "novelty: median 1.00; " + (
            f"{rows_(unlike)} ({unlike / n:.2%}) {are} unlike most (beyond {limit:.2f}), {count} ({count / n:.2%}) "
            f"unlike {whom} (beyond 4.50)"
            if limit < threshold
            else f"{rows_(count)} ({count / n:.2%}) {are} unlike {whom} (beyond 1.00)"
        )
        assert text == wanted + (more if count / n > 0.005 and not looked else "")
        first = [*[(400 + at, value) for at, value in enumerate(beyond)], *[(399 - at, None) for at in range(5)]][:5]
        named = ", ".join(f"{row} ({novelty[row]:.2f})" for row, _ in first)
        assert rows == f"strangest rows: {named}; more: tsne-ooc strangest 'a map'"


def test_half_a_percent_of_strangers_is_not_worth_another_run():
    novelty = scores(9.0, 9.0)[2:]
    told = told_of(novelty, 4.5)
    assert told["beyond_share"] == 0.005 and "try" not in strange(told, novelty, "map")[0]
    assert "try" in strange({**told, "beyond_share": 0.00501}, novelty, "map")[0]


# ------------------------------------------------------------------------------------------------------ scores of rows


def median_recall(kept):
    """The number in the middle, of all rows one by one; the lower one of two."""
    numbers = [number for number, times in enumerate(kept) for _ in range(times)]
    return numbers[(len(numbers) - 1) // 2]


@pytest.mark.parametrize(
    "kept",
    [[0, 0, 5], [5, 0, 5], [5, 0, 6], [6, 0, 5], [1, 1, 1], [0, 4, 0], [2, 1, 1], [1, 0, 0], [0, 0, 1], [3, 2, 2],
     [1, 2, 4, 8], [8, 4, 2, 1]],
    ids=str,
)  # fmt: skip
def test_half_of_the_rows_have_so_many_neighbours(kept):
    (line,) = lines_of({"k": len(kept) - 1, "kept": kept, "scored": sum(kept)})
    k, none = len(kept) - 1, kept[0]
    wanted = (
        f"recall: half of the rows have at least {median_recall(kept)} of their {k} nearest rows near them on the map"
    )
    assert line == wanted + (f", {none} ({none / sum(kept):.1%}) have none" if none else "")


@pytest.mark.parametrize("doubtful, are", [(0, "are"), (1, "is"), (2, "are")])
def test_rows_in_doubt_are_counted(doubtful, are):
    facts = {"k": 1, "kept": [0, 200], "scored": 200, "doubtful": doubtful, "length": 0.12345, "far": 1234.5}
    assert lines_of(facts)[1] == (
        f"perturbation: {doubtful} ({doubtful / 200:.1%}) {are} in doubt: moved by 0.123 in the data, they land more "
        "than 1.23e+03 away on the map, in another part of it"
    )
    assert len(lines_of({"k": 1, "kept": [0, 0], "scored": 0})) == 1
    assert next_of("a map", ["recall", "perturbation"]) == "tsne-ooc plot 'a map' --color perturbation"
    assert next_of("map", ["recall"]) == "tsne-ooc plot map --color recall"


@pytest.mark.parametrize("cell, shown", [
    (b"tcp", "tcp"), ("udp", "udp"), (np.float32(0.1), "0.1"), (np.float64(1234567.8), "1.23457e+06"),
    (np.int64(7), "7"), (None, "None"), (1.5, "1.5"), (np.True_, "True"),
])  # fmt: skip
def test_cells_of_a_table_are_shown_with_the_digits_that_matter(cell, shown):
    assert _shown(cell) == shown


# -------------------------------------------------------------------------------------------------- what a folder tells


def folder_of(tmp_path, *, model=True, trust=False):
    folder = tmp_path / "a map"
    (folder / "model").mkdir(parents=True) if model else folder.mkdir()
    if trust:
        (folder / "trust").mkdir()
    return folder


@pytest.mark.parametrize("model, trust, novelty, dataset, source, axes", [
    (True, False, True, "/X", "x.h5", 2), (True, True, False, None, "x y.npy", 3),
    (False, False, True, None, "x.npy", 1), (True, False, True, None, None, 2),
])  # fmt: skip
def test_the_commands_that_go_on_from_a_run(tmp_path, model, trust, novelty, dataset, source, axes):
    folder = folder_of(tmp_path, model=model, trust=trust)
    content = {"n_components": axes, "job": {"source": {"path": source, "dataset": dataset}}, "read": {},
               **({"novelty": {}} if novelty else {})}  # fmt: skip
    name = shlex.quote(str(folder))
    two = " --axes 1,2" if axes == 3 else ""
    wanted = [f"plot {name}{two}", f"view {name}{two}", f"report {name}", f"export {name} --to map.parquet"]
    wanted += [f"strangest {name}"] if novelty else []
    if model:
        wanted += [] if trust else [f"trust {name}"]
        wanted.append(f"place {name} FILE --out more")
        if source is not None:
            named = " --dataset X" if dataset else ""
            wanted.append(f"train {shlex.quote(source)}{named} --map {name} --out encoder")
    lines = info._next_of_run(folder, name, content)
    assert lines == ["next:", *(f"  tsne-ooc {one}" for one in wanted), (
        f"  numpy.load({str(folder / 'embedding.npy')!r}, mmap_mode='r')"
    )]  # fmt: skip
    for line in lines[1:-1]:
        assert parser().parse_args(shlex.split(line)[1:]).run


def test_what_became_of_a_table(tmp_path):
    file = tmp_path / "x.npy"
    assert info._now({"path": str(file), "size": 3}) == ", which is not there any more"
    file.write_bytes(b"abc")
    assert info._now({"path": str(file), "size": 3}) == info._now({"path": str(file)}) == info._now({}) == ""
    assert info._now({"path": str(file), "size": 4}) == ", which has changed since"
    # The size of a folder says nothing.
    assert info._now({"path": str(tmp_path), "size": 4}) == ""


def test_options_that_are_not_the_usual_ones_are_told():
    content = {
        "parameters": {"perplexity": 30, "exaggeration": 4, "dof": 0.5, "random_state": 7, "unheard of": 1},
        "job": {"request": {"prepare": [{"class": "PCA", "n": 5}, {"name": 1}, {"class": "Log1p"}],
                            "refine": {"reference": None, "n_iter": 7}}},
    }  # fmt: skip
    assert info._made(content) == [
        "prepared by PCA(n=5), a step(name=1), Log1p()", "options: dof=0.5, exaggeration=4, refine={'n_iter': 7}",
    ]  # fmt: skip
    assert info._made({}) == info._made({"parameters": None, "job": {"request": {"prepare": []}}}) == []
    assert info._made({"parameters": {"perplexity": 31}}) == ["options: perplexity=31"]
    assert info._seconds({"seconds": {"fit": 1.26, "place": 100}}) == ["took: fit 1.3 s, place 100.0 s"]
    assert info._seconds({}) == info._seconds({"seconds": {}}) == []


def run_told(**content):
    told = {
        "n_samples": 1200, "n_components": 2, "task": "place", "source": "x.npy",
        "job": {"tsne_ooc": "9.8", "source": {}, "request": {}},
    }  # fmt: skip
    return info._of_run(Path("a map"), {**told, **content})


@pytest.mark.parametrize("axes, where", [(1, "on a line"), (2, "on a plane"), (3, "in space")])
@pytest.mark.parametrize("n, rows", [(1, "1 row"), (1200, "1,200 rows")])
def test_what_a_run_is_of(monkeypatch, axes, where, n, rows):
    monkeypatch.setattr(info, "_trusted", lambda folder: [f"scores of {folder}"])
    assert run_told(n_components=axes, n_samples=n) == [
        f"a map: {rows} {where}, by tsne-ooc place (version 9.8)", "from x.npy", "scores of a map",
    ]  # fmt: skip


@pytest.mark.parametrize("reference, kept", [(1200, ""), (1199, "; 1,199 rows of them are in the model")])
def test_how_a_run_was_made_in_the_order_of_its_work(monkeypatch, reference, kept):
    monkeypatch.setattr(info, "_trusted", lambda folder: [])
    refined = {"reference": reference, "neighbors": 90, "kl_divergence": 2.34567, "n_iter": 500}
    fit = {"task": "embed", "sample": 25, "random_state": 7, "n_iter": 60}
    lines = run_told(**fit, kl_divergence=1.23456, refined=refined, model="the map", seconds={"fit": 1.26})
    assert lines == [
        "a map: 1,200 rows on a plane, by tsne-ooc embed (version 9.8)", "from x.npy", "placed by the map",
        "fitted 25 rows, seed 7, KL 1.235 after 60 iterations",
        f"then moved all rows together: 90 neighbours of each, KL 2.346 after 500 iterations{kept}", "took: fit 1.3 s",
    ]  # fmt: skip
    for kl in ({}, {"kl_divergence": None}):
        assert run_told(**{**fit, "sample": 1}, **kl)[2:] == ["fitted 1 row, seed 7"]
    assert run_told(**fit, kl_divergence=0.0)[2:] == ["fitted 25 rows, seed 7, KL 0.000 after 60 iterations"]


@pytest.mark.parametrize("metric, by", [(None, ""), ("cosine", " by cosine distance")])
@pytest.mark.parametrize("source", [None, {"path": None}])
@pytest.mark.parametrize("recall", [None, 1.0, 0.98765])
def test_what_a_graph_is_of(metric, by, source, recall):
    content = {"facts": {"metric": metric, "source": source, "recall": recall}, "source": "x.npy"}
    assert info._of_graph(Path("a graph"), content, (1200, 1)) == [
        f"a graph: the 1 nearest neighbour of each of 1,200 rows{by}",
        *([] if source is None else ["from x.npy"]),
        *([] if recall is None else [f"{recall:.3f} of the nearest rows are among them"]),
        "next:", "  tsne_ooc.TSNE(neighbors=tsne_ooc.neighbors.Graph.open('a graph')).fit(rows)",
    ]  # fmt: skip
    assert info._of_graph(Path("g"), content, (1, 15))[0] == f"g: the 15 nearest neighbours of each of 1 row{by}"


@pytest.mark.parametrize("prepared", [None, {"files": 3}])
def test_rows_of_text_are_prepared_before_they_are_placed(prepared):
    content = {"read": {} if prepared is None else {"prepared": prepared}}
    assert info._placing("map", content) == (
        ["  tsne-ooc place map FILE --out more"]
        if prepared is None
        else ["  tsne-ooc prepare FILE --like map --out new", "  tsne-ooc place map new/table.h5 --out more"]
    )
    assert info._placing("map", {}) == ["  tsne-ooc place map FILE --out more"]


# ------------------------------------------------------------------------------------------------------- before a run


@pytest.mark.parametrize("text, names", [
    ("a,b", ["a", "b"]), ("a", ["a"]), ('"a,b",c', ["a,b", "c"]), ("a, b", ["a", " b"]), ("a,", ["a", ""]), ("", []),
    ('"say ""x""",b', ['say "x"', "b"]),
])  # fmt: skip
def test_names_are_split_at_their_commas(text, names):
    assert split_names(text) == names


def test_one_path_is_a_table_and_several_are_one(tmp_path):
    assert data_of(argparse.Namespace(data=["x"])) == "x" and data_of(argparse.Namespace(data=["x", "y"])) == ["x", "y"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    taken = {name: is_taken(tmp_path / name) for name in ("none", "empty", "full", "full/x")}
    assert taken == {"none": False, "empty": False, "full": True, "full/x": True}
    for name in taken:
        out = str(tmp_path / name)
        check_free(argparse.Namespace(out=out, resume=True))
        if taken[name]:
            with pytest.raises(FileExistsError) as error:
                check_free(argparse.Namespace(out=out, resume=False))
            assert str(error.value) == f"{out} holds files already; name a new folder, or remove it first"
        else:
            check_free(argparse.Namespace(out=out, resume=False))


def test_that_rows_are_tried_is_said_unless_it_is_to_be_quiet(capsys):
    probing(argparse.Namespace(quiet=True))()
    assert capsys.readouterr() == ("", "")
    probing(argparse.Namespace(quiet=False))()
    assert capsys.readouterr() == ("", "trying some rows, to say how long it will take\n")


@pytest.mark.parametrize("seconds, words", [
    (0, "under 1 s"), (0.999, "under 1 s"), (1, "1 s"), (1.4, "1 s"), (89.4, "89 s"), (90, "2 min"), (149, "2 min"),
    (151, "3 min"), (5399, "90 min"), (5400, "1.5 h"), (360_000, "100.0 h"),
])  # fmt: skip
def test_times_have_no_more_digits_than_are_known(seconds, words):
    assert in_time(seconds) == words


@pytest.mark.parametrize("size, words", [
    (0, "0 MB"), (1_499_999, "1 MB"), (94_999_999, "95 MB"), (95_000_000, "0.1 GB"), (1_949_000_000, "1.9 GB"),
])  # fmt: skip
def test_bytes_have_no_more_digits_than_are_known(size, words):
    assert forecasts._bytes(size) == words
    assert forecasts._of(None) == "" and forecasts._of(size) == f" of {words}"


def foretold(memory, free, disk, room, columns=None):
    return Forecast((1200, 3), columns, {}, "fit 5 rows", {"fit": 40.0, "place": 100.0}, memory, free, disk, room)


def test_a_forecast_in_lines_and_in_one():
    assert str(foretold(10**9, 4 * 10**9, 10**6, None, ["a", "b"])).split("\n") == [
        "would read 1,200 rows of 3 columns", "columns: a, b", "would fit 5 rows", "  fit     40 s", "  place   2 min",
        "  in all  2 min", "memory: 1.0 GB of 4.0 GB", "disk: 1 MB", "it fits",
    ]  # fmt: skip
    assert foretold(10**9, None, 10**6, None).brief() == (
        "estimate: 2 min in all (fit 40 s, place 2 min), 1.0 GB of memory, 1 MB on the disk"
    )


@pytest.mark.parametrize("memory, free, disk, room, lacking", [
    (5, 5, 7, 7, []), (6, 5, 7, 7, ["memory"]), (5, 5, 8, 7, ["room on the disk"]), (9, None, 9, None, []),
    (6, 5, 8, 7, ["memory", "room on the disk"]),
])  # fmt: skip
def test_what_a_machine_has_too_little_of(memory, free, disk, room, lacking):
    found = foretold(memory, free, disk, room)
    assert found.lacking == lacking
    end = str(found).split("\n")[-1]
    assert end == (f"it does not fit: there is too little {lacking[0]}" if lacking else "it fits")


class Told:
    """A table of a thousand rows in chunks of ten, of which nobody reads any."""

    chunks, dtype, column_names = (10, 3), np.dtype(np.float64), None

    def __init__(self, n=1000):
        self.shape = (n, 3)


@pytest.fixture
def trial(monkeypatch):
    """Trials that end at once, with numbers that tell each other apart."""
    from tsne_ooc.io import reading

    rows = np.zeros((60, 5), np.float32)
    monkeypatch.setattr(trials, "read_some", lambda table, fitted: (2.0, rows, 0.25))
    monkeypatch.setattr(trials, "seconds_to_prepare", lambda *given: (lambda n: 3.0 * n, 5.0, 4, rows))
    monkeypatch.setattr(trials, "rows_read", lambda table, sample, fitted: 7.0 * fitted)
    monkeypatch.setattr(trials, "seconds_to_map", lambda *given: (lambda n: 11.0 * n, 13.0, 17))
    monkeypatch.setattr(trials, "free_at", lambda out: 10**12)
    monkeypatch.setattr("tsne_ooc._memory.available_bytes", lambda: 10**11)
    monkeypatch.setattr("tsne_ooc._memory.used_bytes", lambda: 10**6)
    monkeypatch.setattr("tsne_ooc.pipeline.embedding.room_for", lambda *given: 10**9)
    monkeypatch.setattr(reading, "bytes_of_fit", lambda rows, columns, k: 10**15 * rows + 10**13 * columns + k)


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("fitted", [100, 1000, 5000])
def test_a_forecast_is_made_up_of_what_was_tried(trial, prepared, rounds, fitted):
    """Each row is read, and prepared, in each look; a round is a look and another fit."""
    from tsne_ooc import TSNE
    from tsne_ooc.preprocess import PCA, Preparation
    from tsne_ooc.sampling import UniformSample

    told = []
    found = forecasts.forecast(
        Told(), Path("map"), model=TSNE(), sample=UniformSample(fitted), rounds=rounds, seed=0,
        prepare=Preparation([PCA(2)]) if prepared else None, tell=lambda: told.append(1),
    )  # fmt: skip
    m, row = min(fitted, 1000), 7 if prepared else 2
    seconds = {"prepare": 3 * 1000 + 4 * 1000 * 2} if prepared else {}
    seconds |= {"sample": 7 * m * row, "fit": 11 * m}
    if rounds > 1:
        seconds["look"] = (rounds - 1) * (1000 * (row + 13) + 11 * m)
    assert found.seconds == {**seconds, "place": 1000 * (row + 13)} and list(found.seconds) == [*seconds, "place"]
    assert found.would == f"fit {m:,} rows, and place {1000 - m:,} more rows" and told == [1]
    # Two chunks of doubles beside what the fit takes, and what the process holds already, which is free for it, too.
    assert found.memory == 10**15 * m + 5 * 10**13 + 17 + 2 * 10 * 3 * 8 + 10**6
    assert (found.memory_free, found.disk, found.disk_free) == (10**11 + 10**6, 10**9, 10**12)
    assert (found.shape, found.columns) == ((1000, 3), None)


def test_all_rows_together_are_added_to_a_forecast(trial, monkeypatch):
    from tsne_ooc import TSNE
    from tsne_ooc.cli import forecast_refine
    from tsne_ooc.sampling import UniformSample

    for memory, disk in ((10**18, 5), (1, 0)):
        more = forecast_refine.Moved(0.25, 19.0, 23.0, 29.0, memory, disk)
        monkeypatch.setattr(forecast_refine, "moved", lambda *given, more=more: more)
        found = forecasts.forecast(Told(), Path("map"), model=TSNE(), sample=UniformSample(100), rounds=1, seed=0,
                                   prepare=None, course=object())  # fmt: skip
        assert list(found.seconds.items())[-4:] == [("search", 2000.25), ("weigh", 19), ("refine", 23), ("keep", 29)]
        assert found.disk == 10**9 + disk and found.memory == max(memory, 10**17 + 5 * 10**13 + 17 + 480 + 10**6)
        assert found.would == "fit 100 rows, and place 900 more rows, and then move all rows together"


@pytest.mark.parametrize("kept", [1000, 400])
@pytest.mark.parametrize("known", [False, True])
def test_what_moving_all_rows_takes(monkeypatch, kept, known):
    """Searches grow with the rows, and what is written is hashed twice; neighbours that are known are not searched."""
    from tsne_ooc.cli import forecast_refine
    from tsne_ooc.neighbors import Graph

    class Known(Graph):
        search = "exact"

        def __init__(self):
            pass

        def check_fit(self, n, k):
            seen.append((n, k))

    class Recipe(SimpleNamespace):
        def _replace(self, **named):
            return Recipe(**{**vars(self), **named})

    seen, n, k, width, byte = [], 1000, 7, 3, 1e-3
    monkeypatch.setattr(
        forecast_refine, "_tried", lambda course, recipe, rows, places: (2.0 * len(rows), 3.0 * len(rows))
    )
    monkeypatch.setattr(forecast_refine, "_seconds_a_byte", lambda: byte)
    monkeypatch.setattr(trials, "seconds_to_search", lambda model, rows, among, k, seed: (among, 10_000 * k))
    monkeypatch.setattr("tsne_ooc.pipeline.beginning.room_of", lambda stages, table: 11)
    course = SimpleNamespace(
        recipe=Recipe(neighbors=Known() if known else "auto"), neighbors=lambda rows: k, kept=lambda rows: kept, seed=0,
        estimator=SimpleNamespace(set_params=lambda **named: named), stages=list,
        schedule=lambda rows: SimpleNamespace(iterations=13), plan=lambda *given: SimpleNamespace(memory=17),
    )  # fmt: skip
    rows = np.random.default_rng(0).normal(size=(300, width)).astype(np.float32)
    index = SimpleNamespace(rows=rows)
    model = SimpleNamespace(map_=SimpleNamespace(model=SimpleNamespace(index=index)), embedding_=rows[:, :2])
    found = forecast_refine.moved(course, model, n, None, Path("map"))
    of_a_search = 0 if known else n * (n + 10_000 * k)
    assert found.search == pytest.approx(of_a_search + 2 * byte * n * (8 * k + 4 * width))
    assert (found.weigh, found.refine) == (pytest.approx(2 * n), pytest.approx(3 * n * 13))
    again = kept * (kept + 10_000 * 15) if kept < n else 0
    assert found.keep == pytest.approx(2 * byte * kept * (4 * width + 40) + again)
    assert (found.memory, found.disk, seen) == (17, 11, [(n, k)] * known)


def test_a_table_of_distances_cannot_be_tried(trial):
    from tsne_ooc import TSNE
    from tsne_ooc.sampling import UniformSample

    with pytest.raises(ValueError, match=r"^some rows of a table of distances are not such a table, so nothing can be"):
        forecasts.forecast(Told(), Path("map"), model=TSNE(metric="precomputed"), sample=UniformSample(9), prepare=None,
                           rounds=1, seed=0)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- trials


@pytest.mark.parametrize("n, half", [(0, 0), (1, 1), (199, 199), (200, 200), (399, 200), (400, 200), (402, 201)])
def test_half_of_some_rows_is_not_too_few(n, half):
    assert len(trials.half_of(range(n))) == half


@pytest.mark.parametrize("small, few, large, many, rows, seconds", [
    (1.0, 10, 3.0, 20, 40, 7.0), (1.0, 10, 3.0, 20, 20, 3.0), (1.0, 10, 3.0, 20, 0, 0.0), (1.0, 10, 3.0, 20, 4, 0.0),
    (3.0, 10, 2.0, 20, 40, 4.0), (2.0, 10, 2.0, 20, 40, 4.0), (5.0, 20, 2.0, 20, 60, 6.0), (5.0, 30, 2.0, 20, 60, 6.0),
])  # fmt: skip
def test_a_line_always_rises_and_is_never_below_nothing(small, few, large, many, rows, seconds):
    assert trials.line_through(small, few, large, many)(rows) == pytest.approx(seconds)


def test_rows_that_have_a_copy_are_found():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (40, 2)).astype(np.float32)
    listed = [tuple(row) for row in rows.tolist()]
    assert trials._alone(rows).tolist() == [listed.count(row) == 1 for row in listed]
    others = np.r_[rows[[7, 3]], [[9, 9]]].astype(np.float32)
    found = trials._among(rows, others).tolist()
    assert [listed[at] if at >= 0 else None for at in found] == [listed[7], listed[3], None]


def test_half_of_few_rows_lies_between_the_others():
    rows = np.arange(1600, dtype=np.float32).reshape(800, 2)
    half, others = trials._parted(rows)
    np.testing.assert_array_equal(half, rows[::2])
    np.testing.assert_array_equal(others, rows[1::2])
    # Of very few, all are taken, and others close by.
    for n in (398, 399):
        half, others = trials._parted(rows[:n])
        np.testing.assert_array_equal(half, rows[:n])
        far = np.abs(others - rows[:n]) / rows[:n].std(axis=0)
        assert others.dtype == np.float32 and (far > 5e-4).all() and (far < 2e-3).all()
    assert len(trials._parted(rows[:400])[0]) == 200


@pytest.mark.parametrize("chunk", [None, 1, 10, 100])
@pytest.mark.parametrize("n, fitted", [(1000, 0), (1000, 30), (1000, 1000), (1, 1)])
def test_rows_that_are_read_for_a_sample(n, fitted, chunk):
    """All of each chunk that holds one of them, as chances have it."""
    from tsne_ooc.sampling import Coverage, UniformSample

    table = SimpleNamespace(shape=(n, 3), chunks=None if chunk is None else (chunk, 3))
    wanted = n * (1 - np.exp(-fitted * (chunk or 1) / n))
    assert trials.rows_read(table, UniformSample(5), fitted) == pytest.approx(wanted)
    assert trials.rows_read(table, Coverage(5), fitted) == 2 * n


def test_free_room_is_that_of_the_nearest_folder_there_is(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(trials.shutil, "disk_usage", lambda path: seen.append(path) or SimpleNamespace(free=7))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "a" / "b", tmp_path / "file" / "x", Path("c") / "d"):
        assert trials.free_at(out) == 7
    assert seen == [tmp_path] * 4


# ------------------------------------------------------------------------------------------------- words that are read


@pytest.mark.parametrize("given, suffix, wanted", [
    ("map", ".png", "map.png"), ("a/b", ".html", "a/b.html"), ("a/b.npy", ".png", "a/b.png"),
    ("b.v2", ".png", "b.v2.png"), ("a/b/", ".png", "a/b.png"), (".", ".png", "../{here}.png"),
    ("b.NPY", ".png", "b.NPY.png"),
])  # fmt: skip
def test_a_picture_is_beside_its_map(tmp_path, monkeypatch, given, suffix, wanted):
    monkeypatch.chdir(tmp_path)
    assert plots.beside(given, suffix) == (tmp_path / wanted.format(here=tmp_path.name)).resolve()


def test_rows_are_numbers_a_file_or_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", np.array([4, 2]))
    assert plots.numbers("--axes", "1, -3,007") == [1, -3, 7] == plots.rows_of("--x", "1,-3,7")
    assert plots.rows_of("--highlight", "rows.npy").tolist() == plots.ring_of("rows.npy").tolist() == [4, 2]
    assert plots.ring_of("novel") == "novel" and plots.ring_of("5") == [5] and plots.ring_of("5,6") == [5, 6]
    for text in ("", "1,", "1.5", "1;2", "a,1"):
        with pytest.raises(ValueError) as error:
            plots.numbers("--axes", text)
        assert str(error.value) == f"--axes {text!r} is not a list of whole numbers, such as 1,3"
    with pytest.raises(ValueError, match=r"^--ring 'a1' is not a list of whole numbers"):
        plots.ring_of("a1")


@pytest.mark.parametrize("text, wanted", [("128x4", (128, 4)), ("128X4", (128, 4)), ("1x1", (1, 1)), ("0x0", (0, 0))])
def test_a_network_is_so_wide_and_so_deep(text, wanted):
    assert trains._network(text) == wanted


@pytest.mark.parametrize("text", ["128", "x4", "128x", "128x4x2", "-1x4", "1.5x2", "", "x"])
def test_what_is_no_network(text):
    with pytest.raises(ValueError) as error:
        trains._network(text)
    assert str(error.value) == f"--network={text} is not WIDTHxDEPTH, such as 128x4"


def test_an_objective_is_a_word_or_stages():
    pytest.importorskip("torch")
    assert trains._objective(None) is None and trains._objective("field") == "field"
    found = trains._objective("distillation:0.3,field:0.7:0.5,field")
    assert [(one.share, one.rate) for one in found] == [(0.3, 1.0), (0.7, 0.5), (1.0, 1.0)]
    assert [type(one.objective).__name__.lower() for one in found] == ["distillation", "fieldtuning", "fieldtuning"]
    for text, part in (("field:1:2:3", "field:1:2:3"), ("field:a", "field:a"), ("field:1,field:", "field:")):
        with pytest.raises(ValueError) as error:
            trains._objective(text)
        assert str(error.value) == (
            f"--objective={text}: {part!r} is not WORD:SHARE:RATE, such as distillation:0.3,field:0.7"
        )
    with pytest.raises(ValueError, match=r"^--objective=auto:0.5: auto stands for stages of its own; name their obj"):
        trains._objective("auto:0.5")


@pytest.mark.parametrize("best", [500, 400])
def test_an_encoder_ends_with_what_it_learnt(best):
    batches = {"seconds": np.array([0.5, 1.5]), "rows": np.array([1000, 3000]), "loss": np.array([9.0, 0.123456])}
    looks = {"step": [400, 500], "distance": [0.5, 0.25], "recall": [0.123, 0.456]}
    model = SimpleNamespace(history_={"batches": batches, "validation": looks}, n_iter_=500, best_iter_=best,
                            n_features_in_=1)  # fmt: skip
    lines = trains._summary(model, "encoder").split("\n")
    assert lines[0] == "learnt from 500 batches in 2.0 s (2,000 rows/s), loss 0.1235"
    assert lines[-1] == "wrote encoder: an encoder of 1 column; next, tsne-ooc place encoder FILE --out map"
    far, kept = ("0.250", "45.6%") if best == 500 else ("0.500", "12.3%")
    assert lines[-2] == (
        f"held-out rows: {far} widths of the map from where the teacher has them, {kept} of their 10 nearest rows kept"
    )
    assert lines[1:-2] == ["the encoder is that of batch 400, the best one for held-out rows"] * (best == 400)
    # No rows are held out of a short training, which may be too quick for the clock.
    batches["seconds"][:] = 0
    looks["step"] = []
    assert len(trains._summary(model, "encoder").split("\n")) == 2 + (best == 400)
    assert "in 0.0 s (4,000,000 rows/s)" in trains._summary(model, "encoder")


def test_a_file_of_an_encoder_is_judged_before_the_training(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("tsne_ooc.parametric.onnx.check_packages", lambda name: None)
    trains._check_onnx(tmp_path / "a.onnx", False)
    (tmp_path / "a.onnx").touch()
    trains._check_onnx(tmp_path / "a.onnx", True)
    with pytest.raises(FileExistsError) as there:
        trains._check_onnx(tmp_path / "a.onnx", False)
    assert (
        str(there.value) == f"{tmp_path / 'a.onnx'} exists already; name another file with --onnx, or remove it first"
    )
    with pytest.raises(FileNotFoundError) as lacking:
        trains._check_onnx(tmp_path / "no" / "a.onnx", True)
    assert str(lacking.value) == f"there is no folder {tmp_path / 'no'} to write a.onnx in"


def test_some_rows_from_all_over_a_table_are_read(monkeypatch):
    """From its beginning, its middle and its end, at the starts of chunks, until that has taken long enough."""
    monkeypatch.setattr("tsne_ooc.io.cuts.block_rows", lambda table: 100)
    monkeypatch.setattr(trials, "_ROWS", 60)
    now, seen = [0.0], []
    monkeypatch.setattr(trials, "clock", lambda: now[0])
    X = np.arange(2000, dtype=np.float32).reshape(1000, 2)

    def read(table, start, stop):
        seen.append((start, stop))
        now[0] += table.seconds * (stop - start)
        return X[start:stop]

    monkeypatch.setattr("tsne_ooc.io.blocks.read_checked", read)
    for n, chunk, seconds, wanted in (
        (1000, None, 1e-3, [(0, 100), (450, 550), (900, 1000)]), (1000, 40, 1e-3, [(0, 100), (440, 540), (880, 980)]),
        (1000, None, 0.02, [(0, 100), (450, 550)]), (100, None, 1e-3, [(0, 100)]),
        # No row is read twice, and would be a copy of itself.
        (150, None, 1e-3, [(0, 100), (100, 125), (125, 150)]), (150, 100, 1e-3, [(0, 100)]),
        (250, None, 1e-3, [(0, 100), (100, 175), (175, 250)]),
    ):  # fmt: skip
        seen.clear()
        table = SimpleNamespace(
            shape=(n, 2), chunks=None if chunk is None else (chunk, 2), dtype=X.dtype, seconds=seconds
        )
        reading, some, copies = trials.read_some(table, 10)
        assert seen == wanted and reading == pytest.approx(seconds) and copies == 0
        step = max(1, 100 * len(wanted) // 60)
        np.testing.assert_array_equal(some, np.concatenate([X[a:b][::step] for a, b in wanted]))
    # A chunk that is larger than a block is read whole for its first rows.
    table.shape, table.chunks = (1000, 2), (500, 2)
    assert trials.read_some(table, 10)[0] == pytest.approx(1e-3 * 100 / 500)


@pytest.mark.parametrize("text, wanted", [
    ("n_iter=0 must be", "--iterations=0 must be"), ("perplexity=5 is", "--perplexity=5 is"), ("(seed=1)", "(seed=1)"),
    ("out= and random_state= both", "--out and --seed both"), ("data=5", "data=5"), ("n_jobs=None", "n_jobs=None"),
    ("pass overwrite=True (--overwrite) to", "pass --overwrite to"),
    ("say dataset=X (--dataset obs)", "say --dataset obs"),
])  # fmt: skip
def test_messages_name_options_as_they_are_typed(text, wanted):
    options = dict.fromkeys(("iterations", "perplexity", "seed", "out", "data", "jobs", "overwrite", "dataset"))
    assert command._typed(text, options) == wanted
    assert (
        command._given(["a", "b", "c"]) == "a and 2 more" and command._given(["a b"]) == command._given("a\nb") == "a b"
    )


# ------------------------------------------------------------------------------------------------------ text as tables


def converted(**more):
    """What the conversion of a file tells."""
    return {
        "read": 1200, "written": 1200, "seconds": 1.26, "inputs": [{"path": "in/a.csv"}], "rejected": {},
        "left_out": {}, "missing": {}, "columns": ["x", "y"], "outputs": [{"file": "table.h5"}], **more,
    }  # fmt: skip


def prepared(monkeypatch, capsys, found, words="", advice=(), options=("--log1p",)):
    """The lines that the command says."""
    monkeypatch.setattr("tsne_ooc.convert.convert", lambda *given, **named: found)
    seen = SimpleNamespace(options=list(options), advice=list(advice))
    monkeypatch.setattr("tsne_ooc.io.overview.look", lambda path: seen)
    given = parser().parse_args(["prepare", "in", "--out", "o o", *words.split()])
    assert given.run(given) == 0
    return capsys.readouterr().out.split("\n")[:-1]


READ = "read 1,200 rows in 1.3 s, wrote 1,200"


def test_what_became_of_text_is_told(monkeypatch, capsys):
    next_ = "next: tsne-ooc embed 'o o/table.h5' --log1p --out map"
    assert prepared(monkeypatch, capsys, converted(), advice=["cells without a value: 3", "scale them"]) == [
        READ, "wrote table.h5 to o o", "scale them", next_
    ]  # fmt: skip
    assert prepared(monkeypatch, capsys, converted(), "--quiet") == []
    odd = {"path": "in/b.csv", "delimiter": ";", "decimal": ","}
    lines = prepared(monkeypatch, capsys, converted(
        read=1500, inputs=[{"path": "in/a.csv"}, odd, {**odd, "decimal": "."}],
        rejected={"no number": 200, "short": 100},
        left_out={"word": "not numbers", "": "empty", "odd": "text, but most cells are numbers"},
        outputs=[{"file": f"{at}.h5"} for at in range(12)],
    ), "--labels kind --format h5")  # fmt: skip
    assert lines == [
        "read 1,500 rows in 1.3 s, wrote 1,200",
        "b.csv and 1 more: cells are between ';', and commas before decimals",
        "rejected 300, see o o/rejected.csv (no number: 200; short: 100)",
        "left out: word, a column without a name, odd (--labels keeps a column to colour by, --onehot maps by it)",
        "column 'odd' is text, but most cells are numbers; with its name in --columns, rows of other cells are "
        "rejected",
        f"wrote {', '.join(f'{at}.h5' for at in range(10))} to o o",
        "next: tsne-ooc embed 'o o/*.h5' --log1p --out map --color kind",
    ]
    one = prepared(monkeypatch, capsys, converted(inputs=[{**odd, "decimal": "."}]))
    assert one[1] == "b.csv: cells are between ';'"


def test_cells_without_a_value_are_told_by_column(monkeypatch, capsys):
    found = converted(missing={"x": 1200, "y": 5})
    lines = prepared(monkeypatch, capsys, found)
    assert lines[1:3] == [
        "missing: 1,205 of 2,400 cells have no value, in x (1,200), y (5)",
        "no value at all: x; name the others in --columns, here or in embed",
    ]
    # The rows that were looked at may all have one.
    assert lines[-1].endswith("--missing neighbors --log1p --out map")
    assert prepared(monkeypatch, capsys, found, options=["--missing", "mean"])[-1].endswith(
        "h5' --missing mean --out map"
    )
    assert len(prepared(monkeypatch, capsys, converted(missing={"y": 5}))) == len(lines) - 1


@pytest.mark.parametrize("unseen, became", [
    ("missing", "taken as missing (--unseen reject leaves such rows out)"), ("reject", "rejected"),
])  # fmt: skip
def test_words_that_a_map_does_not_know_are_told(monkeypatch, capsys, tmp_path, unseen, became):
    found = converted(unseen={"a": 1, "b": 1500}, left_out={"c": "unknown"})
    lines = prepared(monkeypatch, capsys, found, f"--like {tmp_path} --unseen {unseen}")
    assert lines == [
        READ, f"column 'a': 1 row has a word that {tmp_path} does not know, {became}",
        f"column 'b': 1,500 rows have words that {tmp_path} does not know, {became}", "left out: c",
        "wrote table.h5 to o o", "next: tsne-ooc place MAP 'o o/table.h5' --out placed",
    ]  # fmt: skip
    monkeypatch.setattr("tsne_ooc.storage.kind_of", lambda path: "map")
    assert prepared(monkeypatch, capsys, converted(), "--like m")[-1] == (
        "next: tsne-ooc place m 'o o/table.h5' --out placed"
    )


def test_what_a_manifest_says_is_json():
    """What the summaries are made of may have been read from a file."""
    novelty = scores(9.0)
    told = json.loads(json.dumps(told_of(novelty, 4.5)))
    assert strange(told, novelty, "map") == strange(told_of(novelty, 4.5), novelty, "map")
