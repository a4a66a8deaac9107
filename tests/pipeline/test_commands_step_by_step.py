"""Commands with the work left out: in which order they do what, whom they tell, and what they print behind it."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import TSNE, Refinement
from tsne_ooc.cli import command, elsewhere, embed, main, shared, trust
from tsne_ooc.cli.command import parser
from tsne_ooc.preprocess import PCA, Preparation
from tsne_ooc.sampling import Coverage, Stratified, UniformSample

ROWS = np.arange(24, dtype=np.float32).reshape(8, 3)


def typed(line):
    return parser().parse_args(shlex.split(line))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a table of eight rows, where commands are typed."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", ROWS)
    np.save("y.npy", ROWS)
    return tmp_path


class Flushed(io.StringIO):
    """A stream that notes what was in it whenever it was flushed."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def flush(self):
        self.seen.append(self.getvalue())


# ---------------------------------------------------------------------------------------------------------------- embed


@pytest.fixture
def done(home, monkeypatch):
    """Runs that are done at once; what they were asked for, and the forecasts that were made before."""
    done = SimpleNamespace(asked=[], forecasts=[], foretells=lambda: SimpleNamespace(brief=lambda: "estimate: brief"))

    def run(source, **options):
        done.asked.append((source, options))
        Path(options["out"]).mkdir(exist_ok=True)
        return SimpleNamespace(folder=Path(options["out"]))

    def forecast(options, *, least):
        done.forecasts.append(least)
        return done.foretells()

    monkeypatch.setattr("tsne_ooc.pipeline.embed", run)
    monkeypatch.setattr(embed, "_forecast", forecast)
    monkeypatch.setattr(embed, "summary_of", lambda found: f"the summary of {found.folder}")
    return done


def test_a_run_is_foretold_where_somebody_reads_it_and_it_begins(done, home, capsys):
    """Not where all is to be quiet, nor of one that goes on, nor where the folder is taken, as the run itself says."""
    assert main(["embed", "x.npy", "--out", "map"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("the summary of map\n", "estimate: brief\n") and done.forecasts == [embed.WORTH]
    done.forecasts.clear()
    (home / "full").mkdir()
    (home / "full" / "notes.txt").touch()
    (home / "file").touch()
    for words in (["--out", "other", "--quiet"], ["--out", "third", "--resume"], ["--out", "full"]):
        assert main(["embed", "x.npy", *words]) == 0
        said = capsys.readouterr()
        assert said.err == "" and said.out == ("" if "--quiet" in words else f"the summary of {words[1]}\n")
    assert not done.forecasts and len(done.asked) == 4
    (home / "empty").mkdir()
    assert main(["embed", "x.npy", "--out", "empty"]) == 0 and done.forecasts == [embed.WORTH]


@pytest.mark.parametrize("error", [ValueError, TypeError, OSError, ZeroDivisionError, MemoryError])
def test_a_run_of_which_nothing_can_be_foretold_is_one_all_the_same(done, error, capsys):
    done.foretells = lambda: None
    assert main(["embed", "x.npy", "--out", "map"]) == 0
    assert capsys.readouterr().err == ""

    def fails():
        raise error("no forecast")

    done.foretells = fails
    assert main(["embed", "x.npy", "--out", "more"]) == 0
    assert capsys.readouterr().err == "" and len(done.asked) == 2


def test_what_is_foretold_is_in_the_log_before_the_run_begins(done, monkeypatch):
    """A log that is a file would have it at the end only, if it was not handed over at once."""
    log = Flushed()
    monkeypatch.setattr("sys.stderr", log)
    options = typed("embed x.npy --out map --jobs 1")
    assert options.run(options) == 0
    assert log.seen == ["estimate: brief\n"] or log.seen[0].endswith("estimate: brief\n")
    tried = Flushed()
    monkeypatch.setattr("sys.stderr", tried)
    shared.probing(SimpleNamespace(quiet=False))()
    assert tried.seen[-1] == "trying some rows, to say how long it will take\n"
    told = Flushed()
    monkeypatch.setattr("sys.stdout", told)
    shared.say(SimpleNamespace(quiet=False), "done")
    assert told.seen[-1] == "done\n"


def test_a_dry_run_makes_nothing_else(done, home, capsys):
    done.foretells = lambda: "the forecast"
    assert main(["embed", "x.npy", "--out", "map", "--dry-run"]) == 0
    assert capsys.readouterr().out == "the forecast\n"
    # All that there is to tell, of however few rows.
    assert done.forecasts == [0] and not done.asked and not (home / "map").exists()


def test_a_picture_is_drawn_of_what_was_made_and_over_an_older_one(done, home, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    drawn, saved = [], []
    monkeypatch.setattr("tsne_ooc.plot.draw", lambda *given, **named: drawn.append((given, named)) or "figure")
    monkeypatch.setattr("tsne_ooc.plot.saving.save", lambda *given, **named: saved.append((given, named)))
    np.save("kind.npy", np.arange(8))
    for words, color in (
        ("--plot", None), ("--color novelty", "novelty"), ("--color sampled --plot --jobs 3", "sampled"),
        ("--color kind.npy", np.arange(8)), ("--plot --n-components 1", None), ("--plot --n-components 2", None),
    ):  # fmt: skip
        assert main(["embed", "x.npy", "--out", "map", "--resume", *words.split()]) == 0
        assert capsys.readouterr().out == f"the summary of map\nwrote {Path('map') / 'embedding.png'}\n"
        ((found, by), named), ((figure, path), how) = drawn.pop(), saved.pop()
        assert found.folder == Path("map") and named == {"n_jobs": 3 if "--jobs" in words else None}
        np.testing.assert_array_equal(by, color)
        assert (figure, path, how) == ("figure", Path("map/embedding.png"), {"overwrite": True})
    assert main(["embed", "x.npy", "--out", "map", "--resume"]) == 0 and not drawn and not saved
    done.asked.clear()
    for words in ("--plot --n-components 3", "--color novelty --n-components 3"):
        assert main(["embed", "x.npy", "--out", "map", *words.split()]) == 2
        assert (
            "--plot draws maps of one or two dimensions; leave it out with --n-components 3" in capsys.readouterr().err
        )
    assert not done.asked
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else "there")
    for words in (["--plot"], ["--color", "novelty"]):
        assert main(["embed", "x.npy", "--out", "map", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("tsne-ooc: error: plots need matplotlib; install it with: ")
        assert said.endswith(", or leave --plot and --color out\n") and not done.asked


def test_labels_of_a_picture_are_read_before_the_work(done, home, capsys):
    """A file of labels by its name; a name that nobody knows, or labels of other rows, are told before the run."""
    for name in ("labels.npy", "short.npy"):
        np.save(name, np.arange(8 if name == "labels.npy" else 7))
    (home / "labels.csv").write_text("a\n" * 8)
    assert embed._color(typed("embed x.npy --out m --color labels.npy")).tolist() == list(range(8))
    assert embed._color(typed("embed x.npy --out m --color labels.csv")).tolist() == ["a"] * 8
    # Several files are one table, and their rows those of all.
    with pytest.raises(ValueError, match=r"8\b.* 16 rows"):
        embed._color(typed("embed x.npy y.npy --out m --color labels.npy"))
    for word in ("novelty", "sampled"):
        assert embed._color(typed(f"embed nowhere.h5 --out m --color {word}")) == word
    assert embed._color(typed("embed nowhere.h5 --out m")) is None
    for color, told in (
        ("label.npy", "--color: there is no file label.npy; did you mean 'labels.npy'?"),
        ("LABELS.NPY", "--color: there is no file LABELS.NPY"), ("zzz.csv", "--color: there is no file zzz.csv"),
        ("no/where.npy", "--color: there is no file no/where.npy"),
        ("kind", "--color kind: x.npy holds only rows; give a .npy file of their labels"),
        ("short.npy", "short.npy"),
    ):  # fmt: skip
        assert main(["embed", "x.npy", "--out", "map", "--color", color]) == 2
        assert told in capsys.readouterr().err
    assert not done.asked


def test_options_of_all_rows_together_need_that_they_move(done, capsys):
    for word, value in (
        ("sample-perplexity", "9"),
        ("reference", "5"),
        ("memory", "2"),
        ("scratch", "."),
        ("graph", "g"),
    ):
        assert main(["embed", "x.npy", "--out", "map", f"--{word}", value]) == 2
        assert capsys.readouterr().err == (
            f"tsne-ooc: error: --{word} is for maps of all rows together; add --refine\n"
        )
    assert not done.asked


@pytest.mark.parametrize("option", ["--seed", "--sample", "--rounds"])
def test_numbers_of_a_run_are_taken_from_their_least(done, option, capsys):
    least = 0 if option == "--seed" else 1
    assert main(["embed", "x.npy", "--out", "map", option, str(least)]) == 0
    (_, asked) = done.asked.pop()
    assert {"--seed": asked["random_state"], "--sample": asked["sample"].size, "--rounds": asked["rounds"]}[
        option
    ] == least
    assert main(["embed", "x.npy", "--out", "map", option, str(least - 1)]) == 2
    assert f"{option}={least - 1} must be at least {least}" in capsys.readouterr().err and not done.asked


def test_the_sample_is_drawn_as_it_is_said(home, monkeypatch):
    asked = []
    labels = np.arange(8) % 2
    monkeypatch.setattr("tsne_ooc.sampling.labels_of", lambda *given: asked.append(given) or labels)

    def sample(words):
        return embed._sample(typed(f"embed x.npy --out m --sample 5 {words}"))

    assert sample("") == sample("--sample-by uniform") == UniformSample(5) and not asked
    assert sample("--sample-by coverage") == Coverage(5) and not asked
    for word, balance in (("stratified", "proportional"), ("balanced", "balanced")):
        found = sample(f"--sample-by {word} --labels kind")
        assert type(found) is Stratified and (found.size, found.balance) == (5, balance)
        assert asked.pop() == ("x.npy", "kind")
        with pytest.raises(ValueError) as told:
            sample(f"--sample-by {word}")
        assert str(told.value) == (
            f"--sample-by {word} needs --labels, which says where the labels are: obs/NAME, a dataset or a column"
        )
    for words in ("", "--sample-by uniform", "--sample-by coverage"):
        with pytest.raises(ValueError) as told:
            sample(f"{words} --labels kind")
        by = words.split()[-1] if words else "uniform"
        assert str(told.value) == (
            f"--sample-by {by} does not look at labels; say --sample-by stratified or balanced, or leave --labels out"
        )
    assert not asked


def test_a_recipe_is_followed_with_all_that_is_said_beside_it(home, monkeypatch):
    asked = []
    monkeypatch.setattr("tsne_ooc.recipes.settings_of_large", lambda *given, **named: asked.append((given, named)))
    monkeypatch.setattr("tsne_ooc.neighbors.Graph.open", lambda folder: f"the graph of {folder}")
    embed._settings(typed(
        "embed x.npy y.npy --out m --recipe large --perplexity 7 --sample 5 --sample-perplexity 9 --reference 4 "
        "--memory 3 --scratch s --graph g --pca 2 --dataset d --columns a,b --allow-missing-chunks --jobs 2 --seed 6"
    ))  # fmt: skip
    (source, tsne), named = asked.pop()
    assert source == ["x.npy", "y.npy"] and (tsne.perplexity, tsne.n_jobs, tsne.random_state) == (7, 2, 6)
    assert named.pop("prepare").steps == Preparation([PCA(2)]).steps
    where = {"dataset": "d", "columns": ["a", "b"], "allow_missing_chunks": True}
    assert named == {
        "perplexity": 7, "sample": UniformSample(5), "sample_perplexity": 9, "reference": 4, "memory": 3,
        "scratch": "s", "graph": "the graph of g", "where": where,
    }  # fmt: skip
    embed._settings(typed("embed x.npy --out m --recipe large"))
    (_, tsne), named = asked.pop()
    assert named["prepare"] == "auto" and named["graph"] is None and named["perplexity"] == tsne.perplexity == 30
    settings = embed._settings(typed("embed x.npy --out m --refine --graph g --perplexity 7 --sample-perplexity 9"))
    assert settings["refine"].options == {"perplexity": 7, "neighbors": "the graph of g"}
    assert settings["tsne"].perplexity == 9 and settings["prepare"] is None
    assert embed._settings(typed("embed x.npy --out m"))["refine"] is False


class Opened:
    """A table that notes whether it was closed."""

    def __init__(self, n):
        self.shape, self.closed = (n, 3), 0

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("stuck", [False, True])
def test_a_table_that_is_looked_at_is_closed_unless_a_read_of_it_hangs(home, stuck, monkeypatch, capsys):
    tables, asked, tried = [], [], []

    def opened(source, **named):
        asked.append((source, named))
        tables.append(Opened(8))
        return tables[-1]

    monkeypatch.setattr("tsne_ooc.io.open_source", opened)
    monkeypatch.setattr("tsne_ooc.io.ahead.hanging", lambda: stuck)

    def trial(options, table, tell):
        tried.append(capsys.readouterr().err)
        tell()
        return "forecast"

    monkeypatch.setattr(embed, "_tried", trial)
    options = typed("embed x.npy --out m --dataset d --columns a --allow-missing-chunks")
    said = "trying some rows, to say how long it will take\n"
    for least, wanted in ((0, "forecast"), (8, "forecast"), (9, None), (4, "forecast")):
        assert embed._forecast(options, least=least) == wanted
        # Once: of a run before all that is imported for it, and where nothing else is done once rows are read.
        assert capsys.readouterr().err == ("" if least else said)
        assert wanted is None or tried[-1] == (said if least else "")
    assert all(table.closed == (not stuck) for table in tables) and len(tables) == 4 and len(tried) == 3
    assert asked == [("x.npy", {"dataset": "d", "columns": ["a"], "allow_missing_chunks": True})] * 4
    monkeypatch.setattr(embed, "_tried", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed._forecast(options, least=0)
    assert tables[-1].closed == (not stuck)


def test_what_is_foretold_is_what_would_be_done(home, monkeypatch):
    asked, checked = [], []
    monkeypatch.setattr("tsne_ooc.cli.forecast.forecast", lambda *given, **named: asked.append((given, named)))
    monkeypatch.setattr(TSNE, "check_options", lambda model: checked.append(model))
    monkeypatch.setattr("tsne_ooc.pipeline.embedding.course_of", lambda *given: ("course", *given))
    words = "embed x.npy --out some/map --sample 5 --pca 2 --rounds 3 --seed 4 --perplexity 7"
    embed._tried(typed(words), "table", "tell")
    ((table, out), named) = asked.pop()
    assert (table, out) == ("table", Path("some/map")) and checked[0] is named["model"]
    assert (named["sample"], named["rounds"], named["seed"]) == (UniformSample(5), 3, 4)
    assert named["prepare"].steps == Preparation([PCA(2)]).steps and named["model"].perplexity == 7
    assert named["course"] is None and named["tell"] == "tell"
    embed._tried(typed(f"{words} --refine"), "table", "tell")
    named = asked.pop()[1]
    course, refinement, model, prepare = named["course"]
    assert course == "course" and refinement == Refinement(perplexity=7)
    assert model is named["model"] and prepare is named["prepare"]


# ------------------------------------------------------------------------------------------------------- other dry runs


def test_a_dry_run_of_a_placing_is_one_of_what_is_typed(home, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "tsne_ooc.cli.forecast_place.forecast_place", lambda *given, **named: asked.append((given, named)) or "told"
    )
    usual = {
        "rows": None, "novelty": None, "n_jobs": None, "dataset": None, "columns": None, "allow_missing_chunks": False
    }  # fmt: skip
    for words, more in (
        ("", {}), ("--rows 1:2", {"rows": "1:2"}), ("--novelty", {"novelty": True}), ("--jobs 3", {"n_jobs": 3}),
        ("--dataset d", {"dataset": "d"}), ("--columns a,b", {"columns": ["a", "b"]}),
        ("--allow-missing-chunks", {"allow_missing_chunks": True}),
    ):  # fmt: skip
        assert main(["place", "the map", "x.npy", "--out", "some/more", "--dry-run", *words.split()]) == 0
        assert capsys.readouterr().out == "told\n"
        given, named = asked.pop()
        named.pop("tell")()
        assert capsys.readouterr().err == "trying some rows, to say how long it will take\n"
        assert given == ("the map", "x.npy", Path("some/more")) and named == {**usual, **more}
    assert main(["place", "m", "x.npy", "y.npy", "--out", "o", "--dry-run", "--quiet"]) == 0
    given, named = asked.pop()
    capsys.readouterr()
    named["tell"]()
    assert given[1] == ["x.npy", "y.npy"] and capsys.readouterr().err == ""
    (home / "full").mkdir()
    (home / "full" / "notes.txt").touch()
    for out in ("full", "x.npy"):
        assert main(["place", "m", "x.npy", "--out", out, "--dry-run"]) == 2
        assert "holds files already; name a new folder, or remove it first" in capsys.readouterr().err and not asked
    # Of one that goes on, what is there is its own.
    assert main(["place", "m", "x.npy", "--out", "full", "--dry-run", "--resume"]) == 0 and asked


def test_a_dry_run_of_a_training_is_one_of_what_is_typed(home, monkeypatch, capsys):
    pytest.importorskip("torch")
    asked = []
    monkeypatch.setattr(
        "tsne_ooc.cli.forecast_train.forecast_train", lambda *given, **named: asked.append((given, named)) or "told"
    )
    usual = {
        "map": None, "tsne": None, "sample": None, "prepare": None, "dataset": None, "columns": None,
        "allow_missing_chunks": False,
    }  # fmt: skip
    for words, more in (
        ("", {}), ("--map m", {"map": "m"}), ("--sample 5", {"sample": 5}), ("--dataset d", {"dataset": "d"}),
        ("--columns a,b", {"columns": ["a", "b"]}), ("--allow-missing-chunks", {"allow_missing_chunks": True}),
    ):  # fmt: skip
        assert main(["train", "x.npy", "--out", "some/encoder", "--dry-run", "--seed", "3", *words.split()]) == 0
        assert capsys.readouterr().out == "told\n"
        given, named = asked.pop()
        named.pop("tell")()
        assert capsys.readouterr().err == "trying some rows, to say how long it will take\n"
        encoder = named.pop("encoder")
        assert given == ("x.npy", Path("some/encoder")) and named == {**usual, **more} and encoder.random_state == 3


# --------------------------------------------------------------------------------------------------- the ends of others


@pytest.mark.parametrize("k, n, neighbours, rows", [
    (1, 1, "1 neighbour", "1 row"), (90, 1200, "90 neighbours", "1,200 rows"),
])  # fmt: skip
@pytest.mark.parametrize("recall, found", [(None, ""), (1, ""), (1.0, ""), (0.98765, ", 0.988 of the nearest")])
def test_a_search_ends_with_what_it_found(home, monkeypatch, capsys, k, n, neighbours, rows, recall, found):
    graph = SimpleNamespace(k=k, n=n, facts=SimpleNamespace(recall=recall))
    monkeypatch.setattr("tsne_ooc.pipeline.neighbors", lambda *given, **named: graph)
    assert main(["neighbors", "x.npy", "--out", "graph"]) == 0
    assert capsys.readouterr().out == f"wrote graph: {neighbours} of each of {rows}{found}\n"
    assert main(["neighbors", "x.npy", "--out", "graph", "--quiet"]) == 0 and capsys.readouterr().out == ""
    for option, least in (("--seed", 0), ("--k", 1)):
        assert main(["neighbors", "x.npy", "--out", "graph", option, str(least), "--quiet"]) == 0
        assert main(["neighbors", "x.npy", "--out", "graph", option, str(least - 1)]) == 2
        assert f"{option}={least - 1} must be at least {least}" in capsys.readouterr().err


@pytest.mark.parametrize("seconds, told", [(0.0, "0.0 s (4,000,000 rows/s)"), (0.0012, "0.0 s (3,333,333 rows/s)"),
                                           (2.5, "2.5 s (1,600 rows/s)")])  # fmt: skip
@pytest.mark.parametrize("names, color", [(("recall",), "recall"), (("recall", "perturbation"), "perturbation")])
def test_scores_end_with_how_long_they_took(home, monkeypatch, capsys, seconds, told, names, color):
    facts = {"k": 2, "scored": 4000, "kept": [0, 0, 4000]}
    trusted = SimpleNamespace(content={"seconds": {"trust": seconds}, "facts": facts}, arrays=dict.fromkeys(names))
    monkeypatch.setattr("tsne_ooc.pipeline.trust", lambda *given, **named: SimpleNamespace(trusted=trusted))
    assert main(["trust", "a map"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"scored 4,000 rows in {told}", *trust.lines_of(facts), f"see them: tsne-ooc plot 'a map' --color {color}",
    ]  # fmt: skip


def test_whatever_was_written_is_named(home, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("tsne_ooc.export.export", lambda *given, **named: asked.append((given, named)) or "there.csv")
    monkeypatch.setattr(
        "tsne_ooc.export.export_per_file", lambda *given, **named: asked.append((given, named)) or ["a.h5", "b.h5"]
    )
    assert main(["export", "map", "--to", "there.csv"]) == 0 and capsys.readouterr().out == "wrote there.csv\n"
    assert asked.pop() == (("map", "there.csv"), {"like": None, "dataset": "X_tsne", "overwrite": False})
    for words in ([], ["--overwrite"]):
        assert main(["export", "map", "--to", "all.h5", "--per-file", *words]) == 0
        assert capsys.readouterr().out == "wrote a.h5\nwrote b.h5\n"
        assert asked.pop() == (("map", "all.h5"), {"overwrite": bool(words)})
    for words in (["--like", "l.h5ad"], ["--dataset", "d"], ["--like", "l.h5ad", "--dataset", "X_tsne"]):
        assert main(["export", "map", "--to", "all.h5", "--per-file", *words]) == 2
        assert "--per-file takes neither --like nor --dataset" in capsys.readouterr().err and not asked
    monkeypatch.setattr("tsne_ooc.pipeline.merge", lambda parts, *, out: (parts, out))
    monkeypatch.setattr("tsne_ooc.cli.merge.summary_of", str)
    assert main(["merge", "a", "b", "--out", "whole"]) == 0
    assert capsys.readouterr().out == "(['a', 'b'], 'whole')\n"
    (home / "page.html").write_bytes(b"x" * 2_340_000)
    for name, where in (("view", "tsne_ooc.view.view"), ("report", "tsne_ooc.report.report")):
        monkeypatch.setattr(where, lambda *given, **named: Path("page.html"))
        assert main([name, "map"]) == 0
        assert capsys.readouterr().out == "wrote page.html (2.3 MB): open it in a browser\n"


# ------------------------------------------------------------------------------------------------------ the whole line


def answering(monkeypatch, answer):
    """The command `demo`, which has no option to say more, with this in its place."""
    from tsne_ooc.cli import demo

    monkeypatch.setattr(demo, "run", answer)


def test_a_program_without_a_screen_ends_well(monkeypatch):
    """As Python has none where nobody gave it one."""
    answering(monkeypatch, lambda options: 0)
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["demo"]) == 0


def test_what_is_printed_is_handed_over_before_the_end(monkeypatch):
    screen = Flushed()
    answering(monkeypatch, lambda options: print("done") or 7)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["demo"]) == 7 and screen.seen[-1] == "done\n"


def test_choices_are_told_only_where_that_is_asked_for(monkeypatch, capsys):
    import logging

    def chosen(options):
        logging.getLogger("tsne_ooc.some").info("a choice of %d", 7)
        return 0

    logger = logging.getLogger("tsne_ooc")
    before = (logger.level, list(logger.handlers))
    answering(monkeypatch, chosen)
    assert main(["demo"]) == 0 and capsys.readouterr().err == ""
    with command._explained(True):
        chosen(None)
    assert capsys.readouterr().err == "tsne-ooc: a choice of 7\n"
    assert (logger.level, list(logger.handlers)) == before


FAULT = (
    "KeyError: 'x' stopped tsne-ooc demo, which is a fault of the program; please report this line and what --verbose "
    "adds to it to the developers of tsne_ooc"
)
SILENT = (
    "compiled code of a library failed without a reason (<built-in> returned NULL), as happens where memory runs out; "
    "give it more memory, or less to do: fewer rows to fit, fewer --jobs"
)


@pytest.mark.parametrize("error, told", [
    (ValueError("X has  two\nlines"), "X has two lines"), (MemoryError(), "MemoryError"),
    (OSError("n_jobs=0 is wrong"), "--jobs=0 is wrong"), (KeyError("x"), FAULT),
    (SystemError("<built-in> returned NULL"), SILENT),
], ids=["two lines", "no words", "an option", "a fault", "compiled code"])  # fmt: skip
def test_an_error_is_a_line_and_a_traceback_only_where_that_is_asked_for(monkeypatch, capsys, error, told):
    def fails(options):
        raise error

    answering(monkeypatch, fails)
    error.__notes__ = ["go on so", "or so"]
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == f"tsne-ooc: error: {told}; go on so; or so\n"


@pytest.mark.parametrize("stuck", [False, True])
def test_an_interrupt_does_not_wait_for_a_read_that_hangs(monkeypatch, capsys, stuck):
    class Left(BaseException):
        """Raised in the place of the end of the process."""

    def stopped(options):
        print("half", end="")
        interrupt = KeyboardInterrupt()
        interrupt.add_note("what is done is kept")
        raise interrupt

    def leave(code):
        assert code == 130 and screen.seen == ["half"]
        raise Left

    screen = Flushed()
    answering(monkeypatch, stopped)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr("tsne_ooc.io.ahead.hanging", lambda: stuck)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(Left) if stuck else contextlib.nullcontext():
        assert main(["demo"]) == 130
    assert capsys.readouterr().err == "tsne-ooc: interrupted; what is done is kept\n"


@pytest.mark.parametrize("given, told", [
    ("a.h5", "a.h5"), (["a.h5"], "a.h5"), (["a.h5", "b.h5"], "a.h5 and 1 more"), (["a", "b", "c"], "a and 2 more"),
    (Path("some  where"), "some where"),
])  # fmt: skip
def test_what_was_typed_is_told_by_its_first(given, told):
    assert command._given(given) == told


def test_an_error_of_the_table_names_the_file(monkeypatch, capsys):
    """Where it is called X, as Python has it; elsewhere the message is left as it is."""
    from tsne_ooc.cli import look

    for words, message, told in (
        (["a.h5"], "X has no rows", "a.h5: X has no rows"), (["a.h5"], "it has no rows", "it has no rows"),
    ):  # fmt: skip

        def fails(options, message=message):
            raise ValueError(message)

        monkeypatch.setattr(look, "run", fails)
        assert main(["look", *words]) == 2
        assert capsys.readouterr().err == f"tsne-ooc: error: {told}\n"

        def breaks(options):
            raise KeyError("x")

        monkeypatch.setattr(look, "run", breaks)
        assert main(["look", *words, "--verbose"]) == 2
        said = capsys.readouterr().err
        assert (
            said.startswith("Traceback (most recent call last)") and "KeyError: 'x' stopped tsne-ooc look a.h5" in said
        )


@pytest.mark.parametrize(
    "workers, scheduler, jobs", [(None, None, 3), (2, None, 3), (2, None, None), (None, "tcp://a:1", 3)]
)
def test_rows_are_placed_where_it_is_said(monkeypatch, workers, scheduler, jobs):
    made = []
    monkeypatch.setattr("tsne_ooc.workers.LocalWorkers", lambda *given, **named: made.append((given, named)) or "local")
    monkeypatch.setattr("tsne_ooc.workers.on_cluster", lambda *given, **named: made.append((given, named)) or "far")
    found = elsewhere.workers_of(SimpleNamespace(workers=workers, scheduler=scheduler, jobs=jobs))
    if scheduler:
        assert (found, made) == ("far", [((scheduler,), {})])
    elif workers:
        assert (found, made) == ("local", [((workers,), {"n_jobs": jobs})])
    else:
        with found as nobody:
            assert nobody is None and not made


# ------------------------------------------------------------------------------------------------ training and drawing


@pytest.fixture
def trained(home, monkeypatch):
    """Trainings that are done at once; what they were asked for, and what their encoder is asked for behind it."""
    pytest.importorskip("torch")
    from tsne_ooc.cli import train

    trained = SimpleNamespace(asked=[], exported=[], filled={"cells": 3, "columns": 2, "how": "mean"})

    def run(source, **options):
        trained.asked.append((source, options))
        return SimpleNamespace(
            preparation_=None if trained.filled is None else SimpleNamespace(filled=trained.filled),
            export_onnx=lambda path: trained.exported.append(path) or f"the file {path}",
        )  # fmt: skip

    monkeypatch.setattr("tsne_ooc.pipeline.train", run)
    monkeypatch.setattr(train, "_read", lambda out: [f"read for {out}"])
    monkeypatch.setattr(train, "_summary", lambda model, out: f"the summary of {out}")
    monkeypatch.setattr("tsne_ooc.parametric.onnx.check_packages", lambda what: None)
    return trained


FILLED = "filled in 3 cells of 2 columns that had no value (--missing mean)"


def test_a_training_ends_with_what_was_read_filled_in_and_learnt(trained, capsys):
    assert main(["train", "x.npy", "--out", "e"]) == 0
    assert capsys.readouterr().out.splitlines() == ["read for e", FILLED, "the summary of e"]
    # Of a map that is there, its own run has told what was filled in.
    assert main(["train", "x.npy", "--out", "e", "--map", "m"]) == 0
    assert capsys.readouterr().out.splitlines() == ["read for e", "the summary of e"]
    trained.filled = None
    assert main(["train", "x.npy", "--out", "e"]) == 0
    assert capsys.readouterr().out.splitlines() == ["read for e", "the summary of e"]
    assert main(["train", "x.npy", "--out", "e", "--quiet", "--resume"]) == 0 and capsys.readouterr().out == ""
    assert [options["resume"] for _, options in trained.asked] == [False, False, False, True]
    assert all(options["out"] == "e" for _, options in trained.asked) and not trained.exported


def test_a_network_is_written_for_others_where_that_can_be(trained, home, capsys):
    assert main(["train", "x.npy", "--out", "e", "--onnx", "net.onnx"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "wrote the file net.onnx" and trained.exported == ["net.onnx"]
    trained.asked.clear()
    (home / "there.onnx").touch()
    for path, told in (
        ("there.onnx", "there.onnx exists already; name another file with --onnx, or remove it first"),
        ("no/where.onnx", "there is no folder no to write where.onnx in"),
    ):  # fmt: skip
        assert main(["train", "x.npy", "--out", "e", "--onnx", path]) == 2
        assert capsys.readouterr().err == f"tsne-ooc: error: {told}\n" and not trained.asked
    # A training that goes on has written it before, perhaps.
    assert main(["train", "x.npy", "--out", "e", "--onnx", "there.onnx", "--resume"]) == 0 and trained.asked


def test_a_map_that_is_there_takes_no_options_of_another(trained, capsys):
    for words, name in (
        ("--perplexity 7", "perplexity"), ("--n-components 3", "n-components"), ("--sample 5", "sample"),
        ("--graph g", "graph"), ("--log1p", "log1p"), ("--onehot a", "onehot"), ("--pca 2 --dof 1", "pca"),
        ("--missing mean", "missing"), ("--standardize", "standardize"), ("--normalize 0", "normalize"),
    ):  # fmt: skip
        assert main(["train", "x.npy", "--out", "e", "--map", "m", *words.split()]) == 2
        assert capsys.readouterr().err == (
            f"tsne-ooc: error: --map is fitted and prepared already; leave out --{name}, or --map to fit another one\n"
        )
    for option, least in (("--seed", 0), ("--sample", 1)):
        assert main(["train", "x.npy", "--out", "e", option, str(least)]) == 0
        capsys.readouterr()
        trained.asked.clear()
        assert main(["train", "x.npy", "--out", "e", option, str(least - 1)]) == 2
        assert f"{option}={least - 1} must be at least {least}" in capsys.readouterr().err and not trained.asked


def test_a_teacher_of_a_graph_is_one_of_all_rows(trained, monkeypatch, capsys):
    from tsne_ooc.neighbors import Graph

    monkeypatch.setattr(Graph, "open", lambda folder: f"the graph of {folder}")
    assert main(["train", "x.npy", "--out", "e", "--graph", "g", "--perplexity", "2"]) == 0
    tsne = trained.asked.pop()[1]["tsne"]
    assert (tsne.neighbors, tsne.perplexity) == ("the graph of g", 2)
    capsys.readouterr()
    assert main(["train", "x.npy", "--out", "e", "--graph", "g", "--sample", "5"]) == 2
    assert "--graph has the neighbours of all rows; leave out --sample" in capsys.readouterr().err
    assert main(["train", "x.npy", "--out", "e"]) == 0 and trained.asked.pop()[1]["tsne"] is None


@pytest.mark.filterwarnings("always:something else", "always:Glyph")
@pytest.mark.parametrize("words, overwrite", [([], False), (["--overwrite"], True)])
def test_a_picture_is_refused_before_it_is_drawn(home, monkeypatch, capsys, words, overwrite):
    pytest.importorskip("matplotlib")
    import warnings

    events = []
    monkeypatch.setattr(
        "tsne_ooc.plot.saving.check_target", lambda out, *, overwrite: events.append(("check", out, overwrite))
    )
    monkeypatch.setattr("tsne_ooc.plot.draw", lambda *given, **named: events.append("draw") or "figure")

    def save(figure, out, *, overwrite):
        events.append(("save", figure, out, overwrite))
        warnings.warn("Glyph 128512 (\\N{GRINNING FACE}) missing from font(s) DejaVu Sans.", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)

    monkeypatch.setattr("tsne_ooc.plot.saving.save", save)
    for out, path in (([], home / "a map.png"), (["--out", "p.pdf"], Path("p.pdf"))):
        events.clear()
        assert main(["plot", "a map", *out, *words]) == 0
        assert events == [("check", path, overwrite), "draw", ("save", "figure", path, overwrite)]
        said = capsys.readouterr()
        assert said.out == f"wrote {path}\n" and said.err == "tsne-ooc: warning: something else\n"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else "there")
    assert main(["plot", "a map"]) == 2
    assert capsys.readouterr().err.endswith(", or use tsne-ooc view, which needs no matplotlib\n")


def test_a_look_prints_what_there_is_and_then_what_is_wrong(home, monkeypatch, capsys):
    class Seen:
        def __init__(self, problem):
            self.problem = problem

        def __str__(self):
            return "first\nsecond\nproblem: as it would be said"

    asked = []
    problem = [None]
    monkeypatch.setattr(
        "tsne_ooc.io.overview.look", lambda *given, **named: asked.append((given, named)) or Seen(problem[0])
    )
    assert main(["look", "x.npy", "--dataset", "d", "--columns", "a,b", "--allow-missing-chunks"]) == 0
    assert capsys.readouterr().out == "first\nsecond\nproblem: as it would be said\n"
    assert asked == [(("x.npy",), {"dataset": "d", "columns": ["a", "b"], "allow_missing_chunks": True})]
    problem[0] = "columns=['z'] are not there"
    assert main(["look", "x.npy"]) == 2
    said = capsys.readouterr()
    assert said.out == "first\nsecond\n" and said.err == "tsne-ooc: error: --columns=['z'] are not there\n"
