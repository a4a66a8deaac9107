"""Each stage of a training by itself: what it asks of others, in which words, and what it hands on."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._context import warn  # noqa: E402
from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.intake import Prepared  # noqa: E402
from tsne_ooc.io import as_source, iterate  # noqa: E402
from tsne_ooc.parametric import lesson as module  # noqa: E402
from tsne_ooc.parametric import teaching  # noqa: E402
from tsne_ooc.parametric.decoder import Decoder  # noqa: E402
from tsne_ooc.parametric.fitted_encoder import FittedEncoder  # noqa: E402
from tsne_ooc.parametric.history import History  # noqa: E402
from tsne_ooc.parametric.lesson import Begin, Decode, Finish, Lesson, Outset, Teach, Train, lesson_stages  # noqa: E402
from tsne_ooc.parametric.objectives import BatchLocal, Distillation, FieldTuning, Stage  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.reconstruction import Decoded  # noqa: E402
from tsne_ooc.parametric.teaching import Taught  # noqa: E402
from tsne_ooc.parametric.training import Options, Trained  # noqa: E402
from tsne_ooc.stages import Work  # noqa: E402

TUNED, UNTUNED = [Stage(Distillation(), 0.5), Stage(FieldTuning(), 0.5)], [Stage(Distillation())]
THREADS, DEVICE = Threads(1), torch.device("cpu")


def asking(**more):
    options = Options(TUNED, 30, 0.1, 5, None, [print], 7, False)
    usual = {
        "options": options, "untuned": UNTUNED, "augmentation": 0.0, "network": (16, 2), "landmarks": 32,
        "batch_size": 8, "shuffle": "auto", "validation": True, "decoder": None, "device": DEVICE, "threads": THREADS,
        "n_jobs": 3, "seed": 7, "teacher": None, "fitted": False, "checkpoint": None, "without": None, "told": {"a": 1},
    }  # fmt: skip
    return Lesson(**(usual | more))


def desk(lesson, n=20, p=5, **options):
    """Work with a table of n rows, of which nobody reads any."""
    table = SimpleNamespace(shape=(n, p))
    work = Work(table, **options)
    work.put(lesson)
    work.put(Prepared(table, None, None, p))
    return work


class Notes:
    """Functions in place of those of the module, which write down what they are asked."""

    def __init__(self, monkeypatch, **answers):
        self.asked = {}
        for name, answer in answers.items():
            monkeypatch.setattr(module, name, self.noting(name, answer))

    def noting(self, name, answer):
        def note(*given, **named):
            self.asked.setdefault(name, []).append((*given, named) if named else given)
            return answer(*given, **named) if callable(answer) else answer

        return note

    def __getitem__(self, name):
        (one,) = self.asked[name]
        return one


# ------------------------------------------------------------------------------------------------------------ teaching


@pytest.mark.parametrize("given", [False, True], ids=["default", "own"])
@pytest.mark.parametrize("graph", [None, "a graph"])
def test_a_teacher_is_asked_for_all_that_follows(given, graph, monkeypatch):
    teacher, told = SimpleNamespace(n_components=3), []
    taught = Taught(teacher, np.zeros((20, 3), np.float32), graph)
    notes = Notes(
        monkeypatch, default_teacher=teacher, try_network=None, rows_mapped=20, knows_affinities=True,
        check_affinities=None, teach=lambda *args, **named: taught,
    )  # fmt: skip
    monkeypatch.setattr(module, "FEWEST_TUNED", 20)
    lesson = asking(teacher=teacher if given else None, fitted=given)
    work = desk(lesson, progress=lambda *event: told.append(event))
    Teach().run(work)
    assert told == [("teach", 0, 20)]
    assert notes.asked.get("default_teacher") == (None if given else [(20, TUNED, 7, 3)])
    assert notes["try_network"] == ((16, 2), 5, 3) and notes["check_affinities"] == (TUNED, 20, 20, True)
    assert notes["rows_mapped"] == (teacher, 20) and notes["knows_affinities"] == (teacher,)
    table = work.get(Prepared).table
    assert notes["teach"] == (teacher, table, {"fitted": given, "graph": True, "seed": 7, "threads": THREADS})
    assert work.get(Taught) is taught
    # Rows of a fitted teacher that are not those of the table have no affinities, and are not tuned.
    assert work.get(Options) == lesson.options._replace(stages=UNTUNED if graph is None else TUNED)


def test_the_stages_are_in_their_order_and_belong_to_two_phases():
    for decoding, names in ((False, ["teach", "outset", "train", "finish"]),
                            (True, ["teach", "outset", "train", "decoder", "finish"])):  # fmt: skip
        stages = lesson_stages(decoding=decoding)
        assert [stage.name for stage in stages] == names
        assert [stage.phase for stage in stages][:2] == ["teach", "teach"] and stages[-1].phase == "train"
    assert asking().stages(tuned=True) is TUNED and asking().stages(tuned=False) is UNTUNED


# ---------------------------------------------------------------------------------------------------------- the outset


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_an_outset_is_made_of_what_was_asked_for(validation, graph, kept, monkeypatch):
    X = np.arange(100.0).reshape(20, 5)
    taught = Taught(SimpleNamespace(), np.zeros((20, 2)), SimpleNamespace(X=X) if graph else None)
    problem = Problem(20, 1.0, 1.0, 1.0, None, None, 7, THREADS, DEVICE)
    moved = []
    encoder = SimpleNamespace(to=lambda device: moved.append(device) or encoder)
    held = np.zeros(20, bool)
    held[[3, 8]] = True
    notes = Notes(
        monkeypatch, problem_of=problem, glance=SimpleNamespace(X="some rows"), batches_of="batches",
        encoder_of=encoder, held_out=(held, "a look"), identity_of="the table", _job="a job",
        Checkpoint="a checkpoint",
    )  # fmt: skip
    home = Path("kept") if kept else None
    lesson = asking(validation=validation, checkpoint=home, without=Path("out"))
    work = desk(lesson)
    work.put(taught)
    work.put(lesson.options)
    Begin().run(work)
    table, found = work.get(Prepared).table, work.get(Outset)
    assert notes["problem_of"] == (taught, 20, 7, THREADS, DEVICE) and notes["glance"] == (table, 7)
    rows, size, shuffle, seed, seen = notes["batches_of"]
    assert rows is (X if graph else table) and (size, shuffle, seed) == (7, "full", 7) and not hasattr(seen, "rows")
    assert notes["encoder_of"] == ((16, 2), 32, "some rows", taught, problem) and moved == [DEVICE]
    assert (found.encoder, found.batches, found.options) == (encoder, "batches", lesson.options)
    if validation:
        assert notes["held_out"] == (table, taught, problem) and found.held is held and found.validation == "a look"
    else:
        assert found.validation is None and found.held.dtype == bool and not found.held.any() and len(found.held) == 20
    assert found.problem.held.tolist() == ([3, 8] if validation else [])
    facts = {name: value for name, value in vars(found.problem).items() if name != "held"}
    assert facts == {name: value for name, value in vars(problem).items() if name != "held"}
    if kept:
        assert notes["identity_of"] == (table, {"without": Path("out")}) and found.checkpoint == "a checkpoint"
        assert notes["_job"] == (lesson, "the table", lesson.options, encoder, taught)
        assert notes["Checkpoint"] == (home, "a job")
    else:
        assert found.checkpoint is None and not {"identity_of", "_job", "Checkpoint"} & set(notes.asked)


# -------------------------------------------------------------------------------------------------------- the training


class Place:
    """An encoder that is told its bounds."""

    within = None

    def stay_within(self, bounds):
        self.within = bounds

    def cpu(self):
        return self


def trained(*stages, stopped="finished", steps=30):
    """A training whose steps belonged to these stages."""
    history = History()
    history.steps = [(i, 0, number, 4, 1.0, 0.1, 1.0, 0.1) for i, number in enumerate(stages)]
    return Trained(history, steps, 5, stopped)


def outset_of(lesson, checkpoint=None):
    problem = Problem(20, 1.0, 1.0, 1.0, None, None, 7, THREADS, DEVICE)
    return Outset(Place(), problem, "batches", np.zeros(20, bool), "a look", lesson.options, checkpoint)


@pytest.mark.parametrize("graph", [None, "a graph"])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("met, tuned", [((0, 0), False), ((0, 1), True), ((1,), True), ((), False)])
def test_a_training_is_told_to_whom_it_may_concern(graph, told, met, tuned, monkeypatch):
    """It stays within the bounds of a map of its own where a stage that followed affinities had a batch."""
    done = trained(*met)
    notes = Notes(
        monkeypatch, learn=done, bounds_after="bounds", Augmentation="moves", _check_one_table=None,
        _Telling=lambda *given: "telling",
    )  # fmt: skip
    lesson = asking(augmentation=0.25)
    work = desk(lesson, progress=(lambda *event: None) if told else None)
    taught = Taught(SimpleNamespace(), None, graph)
    outset = outset_of(lesson)
    for one in (taught, outset):
        work.put(one)
    Train().run(work)
    callbacks = [print, "telling"] if told else [print]
    assert notes["learn"] == (
        outset.encoder, outset.problem, "batches", outset.held, lesson.options._replace(callbacks=callbacks),
        {"augmentation": None if graph is None else "moves", "validation": "a look", "checkpoint": None},
    )  # fmt: skip
    assert notes.asked.get("Augmentation") == (None if graph is None else [("a graph", 0.25, 7, outset.held)])
    assert notes.asked.get("_Telling") == ([(work, 30)] if told else None)
    assert notes["bounds_after"] == (outset.encoder, taught, outset.problem, tuned)
    assert outset.encoder.within == "bounds" and work.get(Trained) is done
    assert notes["_check_one_table"] == (work, None)


@pytest.mark.parametrize("exists", [False, True, None])
@pytest.mark.parametrize("fails", [False, True])
def test_a_run_whose_training_left_a_state_can_go_on(exists, fails, monkeypatch):
    def learn(*given, **named):
        if fails:
            raise RuntimeError("out of power")
        return trained(0)

    Notes(monkeypatch, learn=learn, bounds_after="bounds", _check_one_table=None)
    lesson = asking()
    for kept in (None, SimpleNamespace(home=SimpleNamespace(keep=False, resumable=False))):
        work = desk(lesson, kept=kept)
        work.put(Taught(SimpleNamespace(), None, None))
        work.put(outset_of(lesson, None if exists is None else SimpleNamespace(exists=exists)))
        if fails:
            with pytest.raises(RuntimeError, match="out of power"):
                Train().run(work)
        else:
            Train().run(work)
        if kept is not None:
            assert kept.home.keep is kept.home.resumable is bool(exists)


# -------------------------------------------------------------------------------------------- the decoder, and the end


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("stopped", ["finished", "converged", "burst", "callback", "interrupted"])
@pytest.mark.parametrize("wanted", [False, True])
def test_a_decoder_follows_where_one_is_wanted_and_nobody_waits(kept, stopped, wanted, monkeypatch, tmp_path):
    decoder = Decoder((16, 1)) if wanted else None
    notes = Notes(
        monkeypatch, train_decoder=lambda *given, **named: Decoded("network", trained(0)), plain="plain options",
        sum_of_weights="a sum", Checkpoint=lambda path, job: SimpleNamespace(path=path, job=job), _check_one_table=None,
    )  # fmt: skip
    lesson = asking(decoder=decoder)
    checkpoint = SimpleNamespace(path=tmp_path / "state", job={"a": 1}) if kept else None
    outset = outset_of(lesson, checkpoint)
    work = desk(lesson)
    for one in (outset, trained(0, stopped=stopped)):
        work.put(one)
    Decode().run(work)
    if not wanted or stopped == "interrupted":
        assert not notes.asked and work.find(Decoded) is None
        return
    *given, named = notes["train_decoder"]
    table = work.get(Prepared).table
    assert given == [decoder, outset.encoder, table, "batches", outset.problem, outset.options]
    own = named["checkpoint"]
    if kept:
        assert own.path == tmp_path / "state.decoder"
        assert own.job == {"a": 1, "decoder": "plain options", "encoder": "a sum"} and checkpoint.job == {"a": 1}
        assert notes["plain"] == (decoder,) and notes["sum_of_weights"] == (outset.encoder,)
    else:
        assert own is None
    assert work.get(Decoded).network == "network" and notes["_check_one_table"] == (work, checkpoint, own)


@pytest.mark.parametrize("decoding", [False, True])
def test_all_that_a_training_leaves_is_in_one_value(decoding, monkeypatch):
    notes = Notes(monkeypatch, own_teacher="its own", tile_for=64, Features=None)
    monkeypatch.setattr(module, "Features", SimpleNamespace(of=lambda ready: ("features of", ready)))
    lesson = asking(decoder=Decoder((16, 1)) if decoding else None)
    work = desk(lesson)
    outset, ready, taught = outset_of(lesson), work.get(Prepared), Taught("a teacher", None, None)
    done = trained(0, 0, 1, steps=29)
    for one in (outset, taught, done, *([Decoded("network", trained(0))] if decoding else [])):
        work.put(one)
    Finish().run(work)
    found = work.get(FittedEncoder)
    assert found.encoder is outset.encoder and found.decoder == ("network" if decoding else None)
    assert found.features == ("features of", ready) and found.teacher == "its own" and found.tile == 64
    assert (found.n_iter, found.best_iter, found.seed) == (29, 5, 7)
    assert notes["own_teacher"] == ("a teacher",) and notes["tile_for"] == (outset.encoder, 5)
    assert list(found.history) == ["batches", "epochs", "validation", *["decoder"] * decoding]
    assert found.history["batches"]["stage"].tolist() == [0, 0, 1]
    if decoding:
        assert found.history["decoder"]["batches"]["stage"].tolist() == [0]
    # What is not needed any more is let go.
    assert work.find(Outset) is work.find(Taught) is work.find(Trained) is work.find(Prepared) is None


@pytest.mark.parametrize("stopped, kind", [("interrupted", "interrupt"), ("burst", "warning"), ("finished", None)])
def test_a_training_that_did_not_come_to_its_end_says_so(stopped, kind, monkeypatch, recwarn):
    notes = Notes(monkeypatch, own_teacher="its own", tile_for=64, interrupted=None)
    monkeypatch.setattr(module, "Features", SimpleNamespace(of=lambda ready: None))
    lesson = asking(decoder=Decoder((16, 1)))
    work = desk(lesson)
    for one in (outset_of(lesson), Taught("a teacher", None, None), trained(0, stopped=stopped, steps=9)):
        work.put(one)
    Finish().run(work)
    told = module._broken(trained(0, stopped=stopped, steps=9), None, 30, True)
    if kind == "interrupt":
        assert notes["interrupted"] == (told,) and "there is no decoder" in told
    else:
        assert "interrupted" not in notes.asked
    assert [(one.category, str(one.message)) for one in recwarn] == (
        [(RuntimeWarning, told)] if kind == "warning" else []
    )


def test_a_decoder_that_did_not_come_to_its_end_says_so(monkeypatch):
    """In words of its own: its encoder is finished."""
    notes = Notes(monkeypatch, own_teacher="its own", tile_for=64, interrupted=None)
    monkeypatch.setattr(module, "Features", SimpleNamespace(of=lambda ready: None))
    lesson = asking(decoder=Decoder((16, 1)))
    work = desk(lesson)
    decoded = Decoded("network", trained(0, stopped="interrupted", steps=4))
    for one in (outset_of(lesson), Taught("a teacher", None, None), trained(0), decoded):
        work.put(one)
    Finish().run(work)
    (told,) = notes["interrupted"]
    assert told == "interrupted after 4 batches of the decoder; it is the best one until then"
    assert work.get(FittedEncoder).decoder == "network"


def test_whether_a_stage_follows_affinities_is_asked_of_each(monkeypatch):
    """Among several, in any place."""
    monkeypatch.setattr(module, "FEWEST_TUNED", 1)
    for stages, graph in (
        ([Stage(Distillation()), Stage(BatchLocal())], True), ([Stage(BatchLocal()), Stage(Distillation())], True),
        ([Stage(Distillation()), Stage(Distillation())], False),
    ):  # fmt: skip
        taught = Taught(None, None, "a graph" if graph else None)
        notes = Notes(
            monkeypatch, default_teacher=SimpleNamespace(n_components=2), try_network=None, rows_mapped=20,
            knows_affinities=True, check_affinities=None, teach=lambda *given, taught=taught, **named: taught,
        )  # fmt: skip
        lesson = asking(untuned=stages, options=Options(stages, 30, 0.1, 5, None, [], 7, False))
        Teach().run(desk(lesson))
        assert notes["teach"][-1]["graph"] is graph


# --------------------------------------------------------------------------------------------------- where all rows lie


class Map:
    """A teacher that writes down what it is fitted on, and puts each row at its first two numbers, doubled."""

    def __init__(self, sample, n, seats):
        self.sample, self.fitted, self.placed = sample, [], []
        self.embedding_ = np.full((n, 2), -1, np.float32)
        self.map_ = SimpleNamespace(model=SimpleNamespace(n=n, seats=seats))

    def fit(self, rows):
        self.fitted.append(rows)

    def place_prepared(self, rows):
        self.placed.append(len(rows))
        return SimpleNamespace(embedding=2 * rows[:, :2])


class Seats:
    """Rows are known by their last number."""

    def find(self, rows, threads):
        assert threads is THREADS
        return rows[:, -1].astype(np.int64)


def table_of(last):
    X = np.random.default_rng(0).normal(size=(len(last), 4)).astype(np.float32)
    X[:, -1] = last
    return X


@pytest.fixture
def drawn(monkeypatch):
    """Graphs that are asked for, and rows that are read three at a time."""
    graphs = []
    monkeypatch.setattr(teaching, "_graph", lambda *given: graphs.append(given) or "a graph")
    monkeypatch.setattr(teaching, "iterate", partial(iterate, rows=3))
    return graphs


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("sample", [None, 5])
def test_a_teacher_is_fitted_on_all_rows_or_draws_its_own(graph, sample, drawn):
    """Where it has a sample, all rows are placed on its map in blocks, and their affinities are not at hand."""
    X = table_of(np.arange(10))
    source, teacher = as_source(X), Map(sample, 10 if sample is None else 5, Seats())
    found = teaching.teach(teacher, source, fitted=False, graph=graph, seed=7, threads=THREADS)
    (rows,) = teacher.fitted
    if sample is None:
        np.testing.assert_array_equal(rows, X)
        assert rows is not X and rows.dtype == np.float32 and found.targets is teacher.embedding_ and not teacher.placed
        assert found.graph == ("a graph" if graph else None)
        assert [(one, seed, threads) for one, _, seed, threads in drawn] == [(teacher, 7, THREADS)] * graph
        assert not graph or drawn[0][1] is rows
    else:
        assert rows is source and teacher.placed == [3, 3, 3, 1]
        np.testing.assert_array_equal(found.targets, 2 * X[:, :2])
        assert found.targets.dtype == np.float32 and found.graph is None and not drawn
    assert found.teacher is teacher


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("last", "n", "whole"),
    [
        (np.arange(10), 10, True),
        # Copies have the seat of the first of them.
        ([0, 1, 1, 3, 0, 5, 6, 7, 7, 9], 10, True),
        (np.arange(10)[::-1], 10, False),
        ([1, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10, False),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, -1], 10, False),
        # As many rows of the table as of another one, of which there is nothing to compare.
        (np.arange(10), 9, False),
        (np.arange(10), None, False),
    ],
)
def test_a_fitted_teacher_lends_its_map_to_the_rows_that_it_was_fitted_on(last, n, whole, graph, drawn, caplog):
    caplog.set_level("INFO", logger="tsne_ooc.parametric.teaching")
    X = table_of(last)
    teacher = Map(None, n or 10, None if n is None else Seats())
    found = teaching.teach(teacher, as_source(X), fitted=True, graph=graph, seed=7, threads=THREADS)
    assert not teacher.fitted and teacher.placed == [3, 3, 3, 1]
    assert [one.getMessage() for one in caplog.records] == [f"10 rows lie on the teacher's map of {n or 10}"]
    if whole:
        assert found.targets is teacher.embedding_
    else:
        np.testing.assert_array_equal(found.targets, 2 * X[:, :2])
    assert found.graph == ("a graph" if whole and graph else None) and len(drawn) == (whole and graph)
    if drawn:
        assert drawn[0][0] is teacher and drawn[0][2:] == (7, THREADS)
        np.testing.assert_array_equal(drawn[0][1], X)


@pytest.mark.parametrize("order", [None, np.arange(10, dtype=np.uint32)[::-1]], ids=["as they came", "in an order"])
def test_affinities_are_those_of_the_teachers_own_search(order, monkeypatch):
    asked = []

    def joint_of(*given):
        asked.append(given)
        warn("perplexity=30 is too large")
        return "P", order, None, None

    monkeypatch.setattr(teaching, "joint_of", joint_of)
    monkeypatch.setattr(teaching, "affinity_of", lambda teacher: ("of", teacher))
    teacher, X = (
        SimpleNamespace(map_=SimpleNamespace(model=SimpleNamespace(index="its index"))),
        table_of(np.arange(10)),
    )
    with warnings.catch_warnings():
        # Its own fit has given this warning.
        warnings.simplefilter("error")
        found = teaching._graph(teacher, X, 7, THREADS)
    assert asked == [(("of", teacher), "its index", 10, 7, THREADS)]
    assert found.X is X and found.P == "P" and found.rows.dtype == np.int64
    assert found.rows.tolist() == (list(range(10)) if order is None else list(range(10))[::-1])
