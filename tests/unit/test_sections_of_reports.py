"""The sections of a report by themselves: what decided a map, what its rows are compared with, and its pictures."""

from __future__ import annotations

import io
import re
from contextlib import ExitStack, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc._labels import Classes
from tsne_ooc._parallel import Threads
from tsne_ooc.fit.history import Note
from tsne_ooc.metrics._space import Space
from tsne_ooc.neighbors.resolve import IVF_FROM, OTHERS_FROM
from tsne_ooc.pipeline.placer import MapPlacer
from tsne_ooc.plot.colors import LIGHT
from tsne_ooc.plot.density import count, depth_of
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.rows import MapRows
from tsne_ooc.refinement import COURSE
from tsne_ooc.report import choices as deciding
from tsne_ooc.report import faithfulness as measuring
from tsne_ooc.report import page as pages
from tsne_ooc.report import pictures, report
from tsne_ooc.report import subject as subjects
from tsne_ooc.report.choices import choices
from tsne_ooc.report.estimates import Estimate
from tsne_ooc.report.made import made
from tsne_ooc.report.several import _DECIDES, Agreement, Pair, _differ, agreement
from tsne_ooc.report.stays import stays
from tsne_ooc.report.subject import Evidence, Subject, subject_of

N = 60
PLACES = np.random.default_rng(3).normal(size=(N, 2)).astype(np.float32)
ONE = Threads(1)


def subject(placer=None, Y=PLACES, run=None, **content):
    return Subject("map", Y, run, content, {}, placer, [])


class Placed(MapPlacer):
    """What a report asks a placer for, and nothing else."""

    def __init__(self, embedding=PLACES, words="as told", **more):
        index = SimpleNamespace(metric="euclidean", sparse=False, rows=np.ones((len(embedding), 3), np.float32))
        for name in ("metric", "sparse", "rows"):
            if name in more:
                setattr(index, name, more.pop(name))
        model = SimpleNamespace(n=more.pop("n", 1000), index=index, reference=None)
        fitted = {"model": model, "embedding": embedding, "features": SimpleNamespace(embedded=7), "n_neighbors": 90,
                  "recall": 0.98765, "affinity": None, "history": []}  # fmt: skip
        fitted |= {name: more.pop(name) for name in [*more] if name in fitted}
        estimator = {"neighbors": "auto", "metric_params": None, "sample_rows_": None}
        estimator |= {name: more.pop(name) for name in [*more] if name in estimator}
        super().__init__(SimpleNamespace(map_=SimpleNamespace(**fitted), **estimator))
        self.words, self.refused, self.table = words, more.pop("refused", None), more.pop("table", None)
        assert not more

    def told(self):
        return self.words

    def check_table(self, table):
        if self.refused is not None:
            raise self.refused

    def table_of(self, table):
        return table if self.table is None else self.table


# ------------------------------------------------------------------------------------------------- what decided the map


def about(found):
    return {one.what: (one.chosen, one.why) for one in found}


@pytest.mark.parametrize("metric, n, chosen", [
    ("euclidean", IVF_FROM - 1, "Exact"), ("euclidean", IVF_FROM, "IVF"), ("cosine", IVF_FROM, "IVF"),
    ("manhattan", OTHERS_FROM - 1, "Exact"), ("cosine", IVF_FROM - 1, "Exact"),
])  # fmt: skip
def test_the_search_for_so_many_rows_and_why(metric, n, chosen):
    if chosen == "IVF":
        pytest.importorskip("faiss")
    found = about(choices(subject(Placed(metric=metric, n=n))))["neighbour search"]
    assert found[0].startswith(f"{chosen}(")
    assert found[1] == (
        f"auto, for {n:,} rows and the metric {metric}: exact search is quicker below {IVF_FROM:,} rows, in other "
        f"metrics than euclidean and cosine below {OTHERS_FROM:,}"
    )
    asked = about(choices(subject(Placed(metric=metric, n=n, neighbors="exact"), parameters={"neighbors": "exact"})))
    assert asked["neighbour search"][1] == "asked for" and asked["neighbour search"][0].startswith("Exact(")
    said = about(choices(subject(Placed(metric=metric, n=n), parameters={"neighbors": "auto"})))
    assert said["neighbour search"] == found


def test_a_search_is_told_of_the_rows_that_were_fitted(monkeypatch):
    asked = []
    monkeypatch.setattr(deciding, "searches", SimpleNamespace(resolve=lambda *of, **by: asked.append((of, by)) or "it"))
    placer = Placed(metric="minkowski", sparse=True, n=77, neighbors="hnsw", metric_params={"p": 3})
    assert about(choices(subject(placer)))["neighbour search"][0] == "'it'"
    assert asked == [(("hnsw",), {"metric": "minkowski", "n": 77, "p": 7, "sparse": True, "metric_params": {"p": 3}})]
    for error in (ValueError("no such word"), TypeError("no such kind")):

        def resolve(*given, error=error, **options):
            raise error

        monkeypatch.setattr(deciding, "searches", SimpleNamespace(resolve=resolve))
        assert about(choices(subject(placer)))["neighbour search"][0] == "hnsw"


@pytest.mark.parametrize("more, content, told", [
    ({}, {}, True), ({"n": 200_000}, {}, True), ({"n": 200_001}, {}, False), ({"n_neighbors": 0}, {}, False),
    ({"n_neighbors": None}, {}, False),
    ({}, {"refined": {"neighbors": 3, "n_iter": 4, "pairs": 5, "recall": 1}}, False),
])  # fmt: skip
def test_what_a_search_finds_is_measured_of_some_rows(more, content, told):
    """Of many it takes long, and of refined maps the search of all rows is measured."""
    found = about(choices(subject(Placed(**more), **content)))
    assert ("what it finds" in found) == told
    if told:
        assert found["what it finds"] == ("0.988 of the 90 nearest rows", "measured")


@pytest.mark.parametrize("parameters, why", [
    ({}, "the default"), ({"perplexity": 30}, "the default"), ({"affinity": "perplexity"}, "the default"),
    ({"perplexity": 30, "affinity": "perplexity"}, "the default"), ({"perplexity": 29}, "asked for"),
    ({"affinity": "mixture"}, "asked for"), ({"perplexity": 30, "affinity": "mixture"}, "asked for"),
    ({"perplexity": 7, "affinity": "perplexity"}, "asked for"),
])  # fmt: skip
def test_affinities_and_whether_they_were_asked_for(parameters, why):
    found = about(choices(subject(Placed(affinity=("mine", 3)), parameters=parameters)))
    assert found["affinities"] == ("('mine', 3), from 90 neighbours of each row", why)
    assert "affinities" not in about(choices(subject(Placed(), parameters=parameters)))


def test_a_schedule_is_the_default_where_no_part_of_it_was_asked_for():
    usual = "the default: early exaggeration, its release, then momentum"
    default = about(choices(subject(Placed())))["schedule of the fit"]
    assert default[1] == usual and "momentum 0.8 (" in default[0] and default[0].count(";") >= 1
    for name in COURSE:
        for value in (None, "auto"):
            assert about(choices(subject(Placed(), parameters={name: value})))["schedule of the fit"] == default
    asked = {"schedule": "classic", "early_exaggeration": 4.0, "early_exaggeration_iter": 7, "n_iter": 9,
             "learning_rate": 5.0}  # fmt: skip
    assert set(asked) == set(COURSE)
    for name, value in asked.items():
        assert about(choices(subject(Placed(), parameters={name: value})))["schedule of the fit"][1] == "asked for"
    odd = choices(subject(Placed(), parameters={"schedule": "<object> [Phase]"}))
    assert "schedule of the fit" not in about(odd)


@pytest.mark.parametrize("content, what", [
    ({"task": "embed"}, "rows that were placed"), ({"task": "place"}, "rows that were placed"), ({"task": "fit"}, None),
    ({}, None), ({"task": "embed", "refined": {"neighbors": 3, "n_iter": 4, "pairs": 5, "recall": 1}}, "new rows"),
])  # fmt: skip
def test_how_rows_are_placed(content, what):
    found = about(choices(subject(Placed(), **content)))
    why = "they are placed beside the fitted ones, which stay"
    assert {name: found[name] for name in ("rows that were placed", "new rows") if name in found} == (
        {} if what is None else {what: ("as told", why)}
    )
    assert why not in str(choices(subject(Placed(words=None), **content)))
    # One that is not ours says nothing of searches and schedules.
    other = choices(subject(SimpleNamespace(told=lambda: "by itself"), **content))
    assert {one.what for one in other} <= {"rows that were placed", "new rows", "all rows together",
                                           "neighbours of all rows"}  # fmt: skip
    assert ("by itself" in str(other)) == (what is not None)


# ----------------------------------------------------------------------------------------------------- of several maps


def of_job(**request):
    return subject(job={"request": request, "source": {"probes": "abc"}})


def test_runs_differ_in_what_was_asked_for_otherwise():
    same = {"parameters": {"dof": 1, "random_state": 0}, **dict.fromkeys(_DECIDES, 0)}
    assert _differ(of_job(**same), of_job(**same)) == []
    for name in _DECIDES:
        assert _differ(of_job(**same), of_job(**{**same, name: 1})) == [f"{name} was 0, is 1"]
        assert (
            len(
                _differ(
                    of_job(**same),
                    of_job(**{one: 0 for one in same if one != name} | {"parameters": same["parameters"]}),
                )
            )
            == 1
        )
    assert _differ(of_job(**same), of_job(**same, then=[1], n_jobs=3)) == []
    seeds = {**same, "parameters": {"dof": 2, "random_state": 1}, "random_state": 1}
    # Once, though the seed of a run is that of its fit, too.
    assert _differ(of_job(**same), of_job(**seeds)) == ["dof was 1, is 2", "random_state was 0, is 1"]
    other = of_job(**seeds)
    other.content["job"]["source"] = {"probes": "xyz"}
    assert _differ(of_job(**same), other)[0] == "they are of other tables"
    assert _differ(other, other) == []
    for known, unknown in ((of_job(**same), subject()), (subject(), of_job(**same)), (subject(), subject(job={}))):
        assert _differ(known, unknown) == []


def test_what_is_drawn_of_maps_and_tables_is_as_with_seed_nought(monkeypatch):
    monkeypatch.setattr("tsne_ooc.report.several.DRAWN", 20)
    maps = [subject(), subject(Y=PLACES[::-1].copy())]
    assert agreement(maps, ONE).rows.tolist() == agreement(maps, ONE, 0).rows.tolist()
    assert agreement(maps, ONE).rows.tolist() != agreement(maps, ONE, 1).rows.tolist()
    space = Space(np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32), ONE)
    found = [measuring.faithfulness(space, PLACES, sample=20, **seed) for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert found[0] == found[1] != found[2] and found[0].drawn == 20
    assert measuring.faithfulness(space, PLACES, sample=2).drawn == 2
    with pytest.raises(ValueError, match=r"^sample=1 must be at least 2"):
        measuring.faithfulness(space, PLACES, sample=1)


# ------------------------------------------------------------------------------------------ means, in one pass or more


def blocks_of(size):
    def iterate(table):
        for start in range(0, len(table), size):
            stop = min(len(table), start + size)
            yield start, stop, table[start:stop]

    return iterate


@pytest.mark.parametrize("size", [1000, 13])
def test_a_table_in_blocks_is_measured_as_one_in_a_piece(monkeypatch, size):
    """Classes without a row, and of a single one, have the means that they have."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 3)).astype(np.float32)
    codes = np.arange(N) % 4
    codes[codes == 3] = -1
    codes[7] = 4
    labels = Classes(np.arange(6), codes)
    monkeypatch.setattr(measuring, "iterate", blocks_of(size))
    places, means, notes = measuring._read(Space(X, ONE), X, 2, labels)
    X64 = X.astype(float)
    wanted = [X64[codes == c].mean(axis=0) if (codes == c).any() else np.zeros(3) for c in range(6)]
    np.testing.assert_allclose(means, wanted, rtol=1e-6)
    np.testing.assert_allclose(measuring._class_means(X, codes, 6), wanted, rtol=1e-6)
    turned = (X64 - X64.mean(axis=0)) @ np.linalg.svd(X64 - X64.mean(axis=0), full_matrices=False)[2][:2].T
    for axis in (0, 1):
        assert abs(np.corrcoef(places[:, axis], turned[:, axis])[0, 1]) > 0.9999
    assert notes == [] and places.shape == (N, 2)
    # Each of them alone.
    alone = measuring._read(Space(X, ONE), X, 2, None)
    np.testing.assert_allclose(alone[0], places)
    assert alone[1] is None and alone[2] == []
    narrow = measuring._read(Space(X, ONE), X[:2], 2, labels)
    np.testing.assert_allclose(narrow[1], means)
    assert narrow[0] is None and narrow[2] == ["a table of 3 columns has no 2 principal components"]
    assert measuring._read(Space(X, ONE), X[:2], 2, None)[:2] == (None, None)
    bits = measuring._read(Space(X, ONE, "bit_jaccard"), X, 2, None)
    assert bits == (None, None, ["columns compared by bit_jaccard have no principal components"])


@pytest.mark.parametrize("codes, why", [
    ([0, 0, 3, 3, -1], "2 labels: it takes three for one class to be nearer than another"),
    ([0, 1, 3, 3, -1], ""), ([-1, -1, -1, 2, 2], "1 label: it takes three for one class to be nearer than another"),
])  # fmt: skip
def test_only_classes_that_have_rows_are_compared(codes, why):
    labels = Classes(np.arange(5), np.array(codes))
    assert measuring._compared(labels, 2) == (None if why else True, why)
    assert measuring._compared(None, 2) == (None, "")


# ------------------------------------------------------------------------------------------------- what it is a map of


@pytest.mark.parametrize("shape", [(5,), (5, 0), (5, 4), (5, 2, 1)])
def test_a_map_has_one_to_three_axes(shape):
    with pytest.raises(ValueError) as error:
        subject_of(np.zeros(shape), 1)
    assert str(error.value) == (f"the map has shape {shape}; a map has a row for each row and one to three columns")


@pytest.mark.parametrize("d", [1, 2, 3])
def test_coordinates_alone_are_a_map(d, tmp_path):
    Y = np.arange(5.0 * d).reshape(5, d)
    Y[3, d - 1] = np.inf
    found = subject_of(Y, 1)
    assert (found.name, found.run, found.content, found.versions, found.placer, found.told) == (
        "map", None, {}, {}, None, []
    )  # fmt: skip
    # A row is there where all of its coordinates are.
    assert found.there.tolist() == [True, True, True, False, True]
    np.save(tmp_path / "own.npy", Y)
    for path in (tmp_path / "own.npy", str(tmp_path / "own.npy")):
        assert subject_of(path, 1).name == "own" and subject_of(path, 1).Y.shape == (5, d)


def table(n=N, p=3):
    return np.random.default_rng(0).normal(size=(n, p)).astype(np.float32)


def of_table(found, X):
    told = []
    return subjects._of_table(found, X, ONE, told), told


def test_rows_of_a_table_are_taken_as_the_map_had_them():
    X = table()
    found, told = of_table(subject(), X)
    assert found.space.table is X and found.rows is None and found.Y is PLACES and told == []
    assert (found.space.metric, found.space.params) == ("euclidean", None) and found.told is told
    prepared = table(p=2)
    given = Placed(metric="minkowski", metric_params={"p": 3}, table=prepared)
    found, told = of_table(subject(given), X)
    assert found.space.table is prepared and found.space.metric == "minkowski" and found.space.params == {"p": 3}
    assert found.space.threads is ONE and told == []


@pytest.mark.parametrize("error", [OSError, ValueError, TypeError, KeyError, ImportError, MemoryError])
def test_a_table_that_does_not_fit_is_told_in_a_line(error):
    found, told = of_table(subject(Placed(refused=error("no\n such \tcolumn"))), table())
    words = "'no\\n such \\tcolumn'" if error is KeyError else "no such column"
    assert found is None and told == [f"the table does not fit the map: {words}"]
    with pytest.raises(ZeroDivisionError):
        of_table(subject(Placed(refused=ZeroDivisionError())), table())


def test_a_part_of_a_table_and_distances_are_not_compared():
    found, told = of_table(subject(Y=PLACES[:1]), table(1200))
    assert found is None and told == [
        "the map has 1 row and the table 1,200, so the map is of a part of it; merge the parts first (tsne-ooc merge)"
    ]
    found, told = of_table(subject(Placed(metric="precomputed")), table())
    assert found is None and told == ["the map was made of distances, and not of rows"]


@pytest.mark.parametrize("metric", ["euclidean", "nan_euclidean"])
@pytest.mark.parametrize("lost", [1, 3])
def test_rows_without_a_place_are_left_out_of_the_table(metric, lost):
    """Cells of the others may be missing only where the metric knows what to do about it."""
    Y = PLACES.copy()
    Y[:lost, 1] = np.nan
    X = table()
    source = SimpleNamespace(shape=X.shape, dtype=X.dtype, read=lambda start, stop: X[start:stop])
    found, told = of_table(subject(Placed(metric=metric, table=source), Y), X)
    assert told == [f"{lost} row{'s' * (lost > 1)} without coordinates are left out"]
    assert found.rows.tolist() == [*range(lost, N)] and found.space.metric == metric
    np.testing.assert_array_equal(found.Y, Y[lost:])
    assert found.space.table.shape == (N - lost, 3) and found.space.table.lacks_values == (metric == "nan_euclidean")
    np.testing.assert_array_equal(found.space.table.read(0, N - lost), X[lost:])


def test_fitted_rows_stand_for_a_table_that_is_gone():
    rows, numbers = table(9), np.arange(9) * 3
    placer = Placed(PLACES[:9], rows=rows, sample_rows_=numbers, metric="minkowski", metric_params={"p": 3})
    told = ["before"]
    found = subjects._of_the_fit(subject(placer), ONE, told)
    assert found.space.table is rows and found.Y is placer.embedding and found.rows is numbers
    assert (found.space.metric, found.space.params, found.told) == ("minkowski", {"p": 3}, ["before"])
    of_a_run = subjects._of_the_fit(subject(placer, run=SimpleNamespace()), ONE, [])
    assert of_a_run.told == ["what follows is of the 9 rows that the model holds, and not of those placed later"]
    for other in (subject(placer, task="place"), subject(), subject(SimpleNamespace(told=lambda: None))):
        assert subjects._of_the_fit(other, ONE, told) == Evidence(None, PLACES, None, told)
    assert told == ["before"]


def test_a_model_without_rows_has_none_to_compare():
    class Forgot:
        metric = "euclidean"

        @property
        def rows(self):
            raise NotImplementedError

    forgot = Placed()
    forgot.estimator.map_.model.index = Forgot()
    for placer in (forgot, Placed(metric="precomputed"), Placed(rows=None)):
        told = []
        found = subjects._of_the_fit(subject(placer, run=SimpleNamespace()), ONE, told)
        assert found.space is None and found.rows is None and found.Y is PLACES
        assert told == ["the model holds no rows that could be compared"]


def test_a_table_is_looked_for_where_it_was_or_where_it_is_said_to_be(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", table())
    with ExitStack() as held:
        told = []
        assert subjects._table(subject(), None, held, told) is None and told == []
        assert subjects._table(subject(), tmp_path / "X.npy", held, told).shape == (N, 3) and told == []
        run = SimpleNamespace(folder=tmp_path / "map")
        for source in ({}, {"path": None}):
            told = []
            of_memory = subject(run=run, job={"source": source})
            assert subjects._table(of_memory, None, held, told) is None
            assert told == ["the map was made from an array in memory; --table names a file that has its rows"]
        seen = []

        def opened(where, dataset, columns):
            seen.append((where, dataset, columns))
            raise OSError("gone\n away")

        monkeypatch.setattr(subjects, "opened", opened)
        facts = {"path": "a.h5", "dataset": "/X", "shape": [N, 3]}
        for files, given, where in (
            (None, None, "a.h5"), ([], None, "a.h5"), ([{"path": "a"}, {"path": "b"}], None, ["a", "b"]),
            ([{"path": "a"}], "c.h5", "c.h5"),
        ):  # fmt: skip
            told = []
            found = subject(run=run, job={"source": facts, "request": {}}, files=files)
            assert subjects._table(found, given, held, told) is None and seen.pop() == (where, "X", None)
            assert told == ["the table of the map cannot be read: gone away; --table says where it is now"]


# ------------------------------------------------------------------------------------------------------------- the page


@pytest.fixture
def drawn(monkeypatch):
    """What the pictures of a page are asked for; they are not drawn."""
    seen = []
    monkeypatch.setattr(pictures, "of_map", lambda *given: seen.append(given) or b"png")
    return seen


@pytest.mark.parametrize("d, axes, planes", [
    (1, None, [(1,)]), (2, None, [(1, 2)]), (3, None, [(1, 2), (1, 3), (2, 3)]), (3, [3, 1], [(3, 1)]),
    (2, (2, 1), [(2, 1)]),
])  # fmt: skip
@pytest.mark.parametrize("labels", [None, np.array(["a", "b", "c"])[np.arange(N) % 3]], ids=["plain", "coloured"])
def test_each_plane_of_a_map_has_a_picture_and_its_words(drawn, d, axes, planes, labels):
    Y = np.random.default_rng(0).normal(size=(N, d))
    page = pages._drawn(subject(Y=Y, n_samples=N), labels, axes, ONE)
    assert [one[3] for one in drawn] == planes == pictures.planes(d, axes)
    for one in drawn:
        assert one[0] is Y and one[2] == f"{N} rows" and one[4] is ONE
        assert one[1] is None if labels is None else list(one[1]) == list(labels)
    of = "" if labels is None else ", coloured by its label"
    told = [f"The map{f', axes {a} and {b}' if d == 3 else ''}: each row at its place{of}" for a, b in
            (one if len(one) == 2 else (*one, None) for one in planes)]  # fmt: skip
    assert re.findall('alt="([^"]*)"', page) == told
    # Of several, each says below which it is.
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == (told if d == 3 else [])
    assert page.count("<p>") == 1 and "Its axes have no unit and no meaning of their own." in page
    assert pages._drawn(subject(Y=Y), labels, axes, ONE) and drawn[-1][2] == ""


def test_without_matplotlib_a_picture_says_what_it_lacks(drawn, monkeypatch):
    monkeypatch.setattr(pictures, "has_matplotlib", lambda: False)
    page = pages._drawn(subject(), None, None, ONE)
    assert "<p>How many rows lie where. With matplotlib the map has its labels and their colours.</p><p>Its" in page
    nowhere = pages._drawn(subject(Y=np.full((4, 2), np.nan)), None, None, ONE)
    assert nowhere == "<p>No row has a place: all coordinates are NaN or infinite.</p>" and len(drawn) == 1
    some = np.full((4, 2), np.nan)
    some[2] = 0
    assert "<img" in pages._drawn(subject(Y=some), None, None, ONE)


@pytest.mark.parametrize("d, axes", [(1, "1 axis"), (2, "2 axes"), (3, "3 axes")])
def test_a_page_says_of_how_many_rows_and_axes_its_map_is(d, axes):
    assert pages._about(subject(Y=np.zeros((1, d)))) == f"A map of 1 row · {axes}"
    assert pages._about(subject(Y=np.zeros((1200, d)))) == f"A map of 1,200 rows · {axes}"
    assert pages._about(subject(Y=np.zeros((9, d)), n_samples=9, sample=5)) == f"A map of 9 rows · 5 fitted · {axes}"


def test_labels_of_a_report_are_those_of_its_rows(monkeypatch):
    asked = []
    monkeypatch.setattr(pages, "column_of", lambda *given: asked.append(given) or [1, 2, 3])
    found = subject(Y=np.zeros((3, 2)), run="the run")
    assert pages._labels(None, found, None) is None and asked == []
    assert pages._labels("kind", found, "data.h5") == [1, 2, 3] and asked == [("kind", 3, "the run", "data.h5")]
    given = ["a", "b", "a"]
    assert pages._labels(given, found, None) is given and len(asked) == 1
    for some, told in ((["a"], "1 label"), (["a"] * 4, "4 labels")):
        with pytest.raises(ValueError) as error:
            pages._labels(some, subject(Y=np.zeros((1200, 2))), None)
        assert str(error.value) == f"color has {told}, and the map 1,200 rows"


def test_labels_of_rows_without_a_place_are_no_classes(monkeypatch):
    """Those of the others are in the order of the rows that are compared."""
    seen = []

    def measured(space, Y, classes, **options):
        seen.append((space, Y, classes, options))
        return measuring.Faithfulness(1, 1, 1, [], ["of the measures"])

    monkeypatch.setattr(pages, "faithfulness", measured)
    Y = PLACES.copy()
    Y[[0, 5]] = np.nan
    X = table()
    monkeypatch.setattr(subjects, "_table", lambda *given: X)
    source = SimpleNamespace(shape=X.shape, dtype=X.dtype, read=lambda start, stop: X[start:stop])
    kinds = np.array(["a", "b", "c", "d"])[np.arange(N) % 4]
    found = subject(Placed(table=source), Y)._replace(told=["of the subject"])
    told = pages._faithfulness(found, kinds, "kind", None, 7, 11, ONE)[1]
    assert told == ["of the subject", "2 rows without coordinates are left out", "of the measures"]
    _, places, classes, options = seen.pop()
    there = np.delete(np.arange(N), [0, 5])
    assert classes.names[classes.codes].tolist() == kinds[there].tolist() and options == {"sample": 7, "seed": 11}
    np.testing.assert_array_equal(places, Y[there])
    whole = subject()
    pages._faithfulness(whole, kinds, "kind", None, None, 0, ONE)
    assert seen.pop()[2].codes.tolist() == (np.arange(N) % 4).tolist()
    pages._faithfulness(whole, None, None, None, None, 0, ONE)
    assert seen.pop()[2] is None
    for color, name in (("number", "number"), (np.linspace(0, 1, N), "color")):
        told = pages._faithfulness(whole, np.linspace(0, 1, N), color, None, None, 0, ONE)[1]
        assert told[0] == f"{name} holds numbers on a scale, which have no classes" and seen.pop()[2] is None
    monkeypatch.setattr(subjects, "_table", lambda *given: None)
    assert pages._faithfulness(whole, kinds, "kind", None, None, 0, ONE) == (
        None, ["so its neighbours cannot be compared with those of the data"]
    )  # fmt: skip


def test_a_page_that_is_there_is_replaced_where_that_is_asked_for(drawn, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("mine")
    with pytest.raises(FileExistsError):
        report(PLACES, out=out)
    assert out.read_text() == "mine" and not drawn
    assert report(PLACES, out=out, overwrite=True, sample=2, title="Mine") == out
    first = out.read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in first and "Drawn with seed 0." in first and "Beside other maps" not in first
    np.save(tmp_path / "other.npy", PLACES)
    for others in (tmp_path / "other.npy", str(tmp_path / "other.npy"), [PLACES]):
        report(PLACES, out=out, overwrite=True, others=others)
        found = out.read_text(encoding="utf-8")
        assert "Beside other maps" in found and "Two of the maps share 100%" in found and "<h1>map</h1>" in found
        contents = re.findall('<a href="#(.*?)">', found)
        assert contents == re.findall('<section id="(.*?)">', found) == ["map", "faithful", "several", "made"]


# --------------------------------------------------------------------------------------------------------- its pictures


@pytest.mark.parametrize("d, axes", [(1, (1,)), (2, (1, 2)), (2, (2, 1)), (3, (3, 1))])
def test_a_plain_picture_is_of_the_axes_that_are_asked_for(monkeypatch, d, axes):
    """In the colour that densities have on light paper, and as strong as they are."""
    image = pytest.importorskip("matplotlib.image")
    from matplotlib.colors import to_rgb

    monkeypatch.setattr(pictures, "has_matplotlib", lambda: False)
    Y = np.random.default_rng(0).normal(size=(400, d)).astype(np.float32) * [1, 2, 3][:d]
    found = image.imread(io.BytesIO(pictures.of_map(Y, None, "", axes, ONE)))[::-1]
    rows = MapRows(Y[:, [one - 1 for one in axes]])
    counts = count(rows, None, np.zeros((1, 3)), Frame.around(rows, ONE).square(), ONE)
    np.testing.assert_allclose(found[..., 3], depth_of(counts.rows, "equalized"), atol=0.51 / 255)
    np.testing.assert_allclose(found[..., :3].reshape(-1, 3).max(axis=0), to_rgb(LIGHT.density), atol=1e-6)
    assert (found[..., :3] == found[0, 0, :3]).all()


def test_a_picture_of_a_page_has_the_words_of_its_map(monkeypatch):
    pytest.importorskip("matplotlib")
    asked = []
    monkeypatch.setattr(
        pictures, "scatter", lambda *given, **by: asked.append((given, by)) or SimpleNamespace(figure=1)
    )
    monkeypatch.setattr(pictures, "beside", lambda *given, **by: asked.append((given, by)) or 1)
    monkeypatch.setattr(pictures, "_as_png", lambda figure: b"png")
    kinds, threads = ["a"] * N, Threads(3)
    assert pictures.of_map(PLACES, kinds, "as made", (2, 1), threads) == b"png"
    (given, by) = asked.pop()
    np.testing.assert_array_equal(given[0], PLACES[:, ::-1])
    assert given[1] is kinds and by.pop("dpi") > 100
    assert by == {"text": True, "caption": "as made", "n_jobs": 3}
    assert pictures.of_two(PLACES, -PLACES, kinds, ("one", "other"), threads) == b"png"
    (given, by) = asked.pop()
    assert given[0] is PLACES and given[1][0, 0] == -PLACES[0, 0] and given[2] is kinds
    assert by.pop("dpi") > 50 and by == {"titles": ("one", "other"), "n_jobs": 3}


# ----------------------------------------------------------------------------------------------------- how it was made


def notes(*divergences):
    return [Note(25 * at, 1.0, divergence, 0.5) for at, divergence in enumerate(divergences, start=1)]


def courses(**content):
    placer = Placed(history=notes(3.0, 2.0)) if content.pop("placed", True) else None
    page = made(subject(placer, **content))
    return re.findall(r"The divergence of the fit goes from (\S+) after", page), page


def test_the_course_of_a_saved_model_is_its_own_and_that_of_a_run_is_in_its_folder():
    """A map of placed rows has none, though the model that they were placed with has."""
    end = {"n_iter": 60, "kl_divergence": 1.5}
    assert courses(**end)[0] == ["3.000"]
    kept = {"iteration": [25, 50], "exaggeration": [1.0, 1.0], "kl_divergence": [7.0, 6.0], "step": [1.0, 0.5]}
    assert courses(**end, history=kept)[0] == courses(**end, history=kept, placed=False)[0] == ["7.000"]
    job = {"source": {}, "request": {}}
    assert courses(**end, job=job, history=kept)[0] == ["7.000"]
    for content in ({**end, "job": job}, {"n_iter": 60}, {**end, "placed": False}):
        found, page = courses(**content)
        assert found == [] and "The folder does not hold how the optimisation went" in page
        found, page = courses(**content, task="place")
        if "job" in content:
            assert found == [] and "The course of the optimisation" not in page and "does not hold" not in page


def test_both_courses_of_a_refined_map_are_shown():
    kept = [{"iteration": [25, 50], "exaggeration": [1.0, 1.0], "kl_divergence": [at, 0.5], "step": [1.0, 0.5]}
            for at in (7.0, 9.0)]  # fmt: skip
    refined = {"neighbors": 3, "pairs": 4, "recall": 1.0, "n_iter": 70, "kl_divergence": 0.25, "history": kept[1]}
    page = made(subject(n_iter=60, kl_divergence=1.5, history=kept[0], refined=refined))
    assert "The divergence of the fit goes from 7.000 after 25 iterations to 1.500 after 60." in page
    assert "The divergence of all rows together goes from 9.000 after 25 iterations to 0.250 after 70." in page
    assert page.count("<h3>The course of the optimisation</h3>") == 1 and page.count('<div class="pair">') == 2


@pytest.mark.parametrize("parameters, shown", [
    ({}, None), ({"perplexity": 30}, False), ({"perplexity": 31}, True), ({"perplexity": 31, "dof": 1}, True),
])  # fmt: skip
def test_parameters_are_in_a_table_where_they_are_not_the_usual_ones(parameters, shown):
    page = made(subject(x=1, parameters=parameters))
    assert ("<h3>Parameters</h3>" in page) == (shown is not None)
    assert ('<th scope="col">default</th>' in page) == bool(shown)
    usual = [f"<code>{name}={value}</code>" for name, value in parameters.items() if value in (30, 1)]
    assert (f"<p>As by default: {', '.join(usual)}.</p>" in page) == (shown is not None)
    assert "Choices, and why" not in page and "makes it again" not in page
    assert "<h3>Choices, and why</h3>" in made(subject(x=1, refined={
        "neighbors": 3, "n_iter": 4, "pairs": 5, "recall": 1, "kl_divergence": 1.0}))  # fmt: skip


def test_the_command_is_told_with_what_it_does_not_say():
    same = "ith the versions above it gives the same bits on this kind of machine.</p>"
    job = {"request": {"parameters": {}, "random_state": 3, "sample": {"class": "UniformSample", "size": 9}}}
    source = {"path": "a.npy", "shape": [9, 2], "dtype": "<f4", "probes": "abc"}
    page = made(subject(task="embed", job={**job, "source": source}))
    assert "<pre>tsne-ooc embed a.npy --sample 9 --seed 3 --out again</pre><p>W" + same in page
    page = made(subject(task="embed", job={**job, "source": {**source, "path": None}}))
    assert f"<p>FILE stands for the array in memory that the map was made from; w{same}" in page


def test_a_saved_model_tells_what_a_run_would(monkeypatch, tmp_path):
    """It is opened for as many threads as are asked for."""
    asked = []
    features, model = SimpleNamespace(width=7), SimpleNamespace(n=9)
    fitted = SimpleNamespace(model=model, features=features, n_components=2, kl_divergence=1.5, n_iter=60, seed=4)
    monkeypatch.setattr(subjects, "load", lambda path, **by: asked.append((path, by)) or SimpleNamespace(
        map_=fitted, embedding_=PLACES[:9].tolist()))  # fmt: skip
    monkeypatch.setattr(subjects, "read_manifest", lambda path: {
        "versions": {"numpy": "2"}, "content": {"parameters": {"dof": 1}}})  # fmt: skip
    found = subjects._of_model(tmp_path / "mine", 3)
    assert asked == [(tmp_path / "mine", {"n_jobs": 3})]
    assert (found.name, found.run, found.versions, found.told) == ("mine", None, {"numpy": "2"}, [])
    np.testing.assert_array_equal(found.Y, PLACES[:9])
    assert isinstance(found.placer, MapPlacer) and found.content == {
        "task": "fit", "n_samples": 9, "n_features": 7, "n_components": 2, "kl_divergence": 1.5, "n_iter": 60,
        "random_state": 4, "parameters": {"dof": 1},
    }  # fmt: skip


def test_a_model_that_cannot_be_opened_is_told_in_a_line(monkeypatch):
    run, asked = SimpleNamespace(folder="map"), []
    monkeypatch.setattr(subjects, "model_under", lambda run: f"{run.folder}/model")
    monkeypatch.setattr(subjects, "opened_model", lambda *given: asked.append(given) or "placer")
    assert subjects._placer_of(run, 3) == ("placer", []) and asked == [("map/model", 3)]
    for error in (OSError, ValueError, TypeError, ImportError, MemoryError):

        def opened_model(*given, error=error):
            raise error("gone\n  away")

        monkeypatch.setattr(subjects, "opened_model", opened_model)
        told = ["what rows were placed with cannot be opened: gone away"]
        assert subjects._placer_of(run, 3) == (None, told)


def test_a_table_of_other_columns_is_opened_by_the_names_of_the_map(monkeypatch, tmp_path):
    """What differs is told; of a copy elsewhere, only whether it is as long and has the same rows."""
    asked = []
    run = SimpleNamespace(folder=tmp_path / "map")
    facts = {"path": "a.h5", "dataset": "/X/", "shape": [N, 3], "columns": ["a", "b", "c"], "probes": "abc", "size": 9}
    now, others = dict(facts), [False]
    monkeypatch.setattr(subjects, "opened", lambda *given: asked.append(given) or nullcontext("the table"))
    monkeypatch.setattr(subjects, "_has_others", lambda found, of: others[0])
    monkeypatch.setattr(subjects, "identity_of", lambda found, *, without: asked.append(without) or now)

    def looked(given=None, placer="placer", **request):
        told = []
        asked.clear()
        of = subject(placer, run=run, job={"source": facts, "request": request})
        with ExitStack() as held:
            return subjects._table(of, given, held, told), told

    found, told = looked()
    assert found == "the table" and told == [] and asked == [("a.h5", "X", None), run.folder]
    others[0] = True
    found, told = looked()
    assert told == [] and asked == [("a.h5", "X", None), ("a.h5", "X", ["a", "b", "c"]), run.folder]
    now["size"] = 10
    found, told = looked()
    assert found is None and len(told) == 1 and told[0].startswith(
        "the table is not what it was when the map was made: size ")  # fmt: skip
    assert looked("b.h5")[1] == [] and asked[0] == ("b.h5", "X", None)
    now["probes"] = "xyz"
    assert "is not what it was" in looked("b.h5")[1][0]
    now |= {"probes": "abc", "size": 9}
    # Rows that nobody prepared are compared without a model, too.
    assert looked(placer=None)[1] == looked(placer=None, prepare=[])[1] == looked(prepare=["PCA"])[1] == []
    assert looked(placer=None, prepare=["PCA"]) == (
        None, ["its rows were prepared by what went with the model, so they cannot be compared"]
    )  # fmt: skip


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("axes, drawn", [((2, 2, 2), True), ((2, 1, 2), False), ((3, 3, 2), False), ((1, 1, 1), False)])
@pytest.mark.parametrize("labels", [None, np.array(["a", "b"])[np.arange(N) % 2]], ids=["plain", "coloured"])
def test_each_other_map_of_two_axes_is_drawn_beside_the_first(monkeypatch, there, axes, drawn, labels):
    seen = []
    monkeypatch.setattr(pictures, "has_matplotlib", lambda: there)
    monkeypatch.setattr(pictures, "of_two", lambda *given: seen.append(given) or b"png")
    maps = [subject(Y=np.zeros((N, d)))._replace(name=f"map {at}") for at, d in enumerate(axes)]
    pairs = [Pair(0, 1, Estimate(0.5, 0.0), 0.1, []), Pair(0, 2, Estimate(0.5, 0.0), 0.1, [])]
    compared = Agreement(10, np.arange(20), N, np.ones(20), np.zeros(20), pairs, 0.1)
    page = stays(compared, maps, labels, ONE)
    told = "<p>Maps of two axes would be drawn side by side here, with matplotlib.</p>"
    if not (there and drawn):
        assert seen == [] and "<img" not in page and page.endswith(told)
        return
    words = [f"map 0, laid on map {at}, beside it, and how far each row moved" for at in (1, 2)]
    assert told not in page and re.findall('alt="([^"]*)"', page) == words
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == words
    for at, (first, second, shown, names, threads) in enumerate(seen, start=1):
        assert first is maps[0].Y and second is maps[at].Y and threads is ONE and names == ("map 0", f"map {at}")
        assert shown is None if labels is None else list(shown) == list(labels)


@pytest.mark.parametrize("exaggerations, marked", [
    ([12.0, 12.0, 1.5], [75]), ([12.0, 4.0, 4.0, 1.5], [100]), ([1.0, 1.0, 1.0], []),
    ([12.0, 1.0, 12.0, 1.0], [50, 100]), ([4.0], []),
])  # fmt: skip
def test_where_the_last_exaggeration_begins_is_marked_on_both_charts(exaggerations, marked):
    n = len(exaggerations)
    history = {"iteration": [25 * at for at in range(1, n + 1)], "exaggeration": exaggerations,
               "kl_divergence": [3.0 - 0.5 * at for at in range(n)], "step": [2.0**-at for at in range(n)]}  # fmt: skip
    end = 25 * n + 25
    page = made(subject(history=history, n_iter=end, kl_divergence=0.5))
    charts = re.findall("<svg.*?</svg>", page)
    assert len(charts) == 2
    for chart, last in zip(charts, (end, 25 * n), strict=True):
        places = [float(at) for at in re.findall('x1="([0-9.]+)"[^>]*stroke-dasharray', chart)]
        assert places == pytest.approx([58 + at / last * 490 for at in marked], abs=0.06)
        assert chart.count(f">exaggeration {exaggerations[-1]:g}<") == len(marked) == chart.count("exaggeration")


def test_pictures_do_not_say_what_drew_them_and_letters_that_no_font_has_are_boxes(recwarn):
    pytest.importorskip("matplotlib")
    kinds = np.array(["\U0001f9ec", "\u4e00"])[np.arange(N) % 2]
    one = pictures.of_map(PLACES, kinds, "\u4e00", (1, 2), ONE)
    assert one.startswith(b"\x89PNG") and b"Software" not in one and b"matplotlib" not in one
    assert not [str(found.message) for found in recwarn if "Glyph" in str(found.message)]


def test_each_section_is_asked_for_with_what_is_its_own(monkeypatch, tmp_path):
    asked = {}

    def answers(name, answer):
        monkeypatch.setattr(pages, name, lambda *given: asked.update({name: given}) or answer)

    for name, answer in (
        ("_labels", "labels"), ("_drawn", "<p>drawn</p>"), ("_faithfulness", ("found", ["told"])),
        ("stays", "<p>s</p>"),
        ("scores_of", "scores"), ("measured", "<p>measured</p>"), ("of_rows", ""), ("made", "<p>made</p>"),
        ("agreement", "compared"), ("summary", ["in short"]),
    ):  # fmt: skip
        answers(name, answer)
    other = -PLACES
    report(PLACES, "kind", out=tmp_path / "page.html", others=[other], table="table", data="data", axes=(2, 1),
           sample=7, random_state=3, n_jobs=2)  # fmt: skip
    first, second = asked["agreement"][0]
    threads = asked["agreement"][1]
    assert first.Y is PLACES and second.Y is other and threads.n_jobs == 2 and asked["agreement"][2] == 3
    assert asked["_labels"] == ("kind", first, "data") and asked["_drawn"] == (first, "labels", (2, 1), threads)
    assert asked["_faithfulness"] == (first, "labels", "kind", "table", 7, 3, threads)
    assert asked["scores_of"] == (None,) and asked["measured"] == ("found", ["told"]) and asked["made"] == (first,)
    assert asked["of_rows"] == ("scores", "labels") and asked["summary"] == (first, "found", "scores", "compared")
    assert asked["stays"] == ("compared", [first, second], "labels", threads)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.findall('<section id="(.*?)"><h2>(.*?)</h2>(.*?)</section>', page) == [
        ("map", "The map", "<p>drawn</p>"), ("faithful", "How faithful it is", "<p>measured</p>"),
        ("several", "Beside other maps", "<p>s</p>"), ("made", "How it was made", "<p>made</p>"),
    ]  # fmt: skip
    assert "<ul><li>in short</li></ul>" in page and "Drawn with seed 3." in page and "<h1>map</h1>" in page
    asked.clear()
    report(PLACES, out=tmp_path / "alone.html", sample=2)
    assert "agreement" not in asked and "stays" not in asked and asked["_faithfulness"][4:6] == (2, 0)
    for sample in (0, 1):
        with pytest.raises(ValueError, match=f"^sample={sample} must be at least 2"):
            report(PLACES, out=tmp_path / "none.html", sample=sample)


def compared(rows=N, kept=None):
    kept = np.linspace(0, 1, rows) if kept is None else kept
    pairs = [Pair(0, 1, Estimate(0.5, 0.0), 0.125, ["dof was 1, is 2"])]
    return Agreement(10, np.arange(rows), N, kept, np.zeros(rows), pairs, 0.1)


def heads(page):
    """The heads of the tables of a section, of which those of numbers are marked; and what stands above each table."""
    tables = re.findall("<table>(.*?)</table>", page)
    found = [re.findall('<th scope="col"( class="n")?>(.*?)</th>', one) for one in tables]
    rows = [re.findall("<tr>(.*?)</tr>", one)[1:] for one in tables]
    for head, body in zip(found, rows, strict=True):
        for row in body:
            cells = re.findall('<t[hd](?: scope="row")?( class="n")?>', row)
            assert [bool(one) for one in cells] == [bool(mark) for mark, _ in head]
    return [[name + "#" * bool(mark) for mark, name in one] for one in found], [
        re.findall("<caption>(.*?)</caption>", one) for one in tables
    ]


@pytest.mark.parametrize("labels, of_labels", [
    (None, False), (np.array(["a", "b"])[np.arange(N) % 2], True), (np.full(N, None), False),
    (np.linspace(0, 1, N), False), (np.arange(N) % 3, True),
], ids=["none", "words", "missing", "scale", "numbers"])  # fmt: skip
def test_tables_of_several_maps_have_heads_and_say_what_they_are(monkeypatch, labels, of_labels):
    monkeypatch.setattr(pictures, "has_matplotlib", lambda: False)
    page = stays(compared(20), [subject(), subject(Y=-PLACES)._replace(name="other")], labels, ONE)
    names, captions = heads(page)
    assert names[0] == ["maps", "neighbours kept#", "moved#", "what was asked for otherwise"] and captions[0] == []
    assert names[1] == ["row", *(["label"] if labels is not None else []), "neighbours kept#", "moved#"]
    assert captions[1] == ["Of the 20 rows that were looked at, those that keep the fewest neighbours."]
    assert names[2:] == ([["label", "neighbours kept#", "rows looked at#"]] if of_labels else [])
    assert captions[2:] == ([["By label, those that keep the fewest first."]] if of_labels else [])
    # Both tables of rows and labels stand beside each other below their title.
    inside = page[page.index("<h3>Which rows change</h3>") :]
    assert inside.startswith('<h3>Which rows change</h3><div class="pair"><div class="wide"><table>')
    assert page.count("<div") == page.count("</div>") and page.count("<h3>") == 1
    assert inside.index('<div class="pair">') < inside.rindex("</table></div></div><p>Maps of two axes")
    assert "map and other" in page and "<li>dof was 1, is 2</li>" in page


def test_labels_that_keep_as_much_are_in_their_own_order(monkeypatch):
    monkeypatch.setattr(pictures, "has_matplotlib", lambda: False)
    kinds = np.array([f"kind {at:02}" for at in range(20)])
    page = stays(compared(kept=np.full(N, 0.5)), [subject(), subject(Y=-PLACES)], kinds[np.arange(N) % 20], ONE)
    (table,) = re.findall("<table><caption>By label.*?</table>", page)
    assert re.findall('<th scope="row">(.*?)</th><td class="n">(.*?)</td><td class="n">(.*?)</td>', table) == [
        (kind, "0.500", "3") for kind in kinds
    ]
