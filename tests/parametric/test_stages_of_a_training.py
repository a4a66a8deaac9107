"""What a training asks for before it begins, what its own stages take and hand on, and the room that it asks for."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE, storage  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE  # noqa: E402
from tsne_ooc.parametric.estimator import FEWEST  # noqa: E402
from tsne_ooc.pipeline import training  # noqa: E402
from tsne_ooc.pipeline.fitting import Draw, Fit, Prepare  # noqa: E402
from tsne_ooc.pipeline.models import SLACK, bytes_fitted  # noqa: E402
from tsne_ooc.pipeline.placer import Mapped, MapPlacer  # noqa: E402
from tsne_ooc.preprocess import Preparation, Standardize  # noqa: E402
from tsne_ooc.sampling import Coverage, UniformSample  # noqa: E402

SCALED = Preparation([Standardize()])
QUICK = {
    "perplexity": 5,
    "n_iter": 2,
    "early_exaggeration_iter": 2,
    "random_state": 0,
    "n_jobs": 1,
    "neighbors": "exact",
}
X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


class Table:
    """A table of so many rows, which nobody reads."""

    dtype, chunks = np.dtype(np.float32), None

    def __init__(self, n, p=4):
        self.shape = (n, p)

    def __getitem__(self, rows):
        raise AssertionError("nobody reads it")

    def __repr__(self):
        return f"a table of {self.shape[0]}"


@pytest.fixture(scope="module")
def fitted():
    return TSNE(**QUICK).fit(X)


# ------------------------------------------------------------------------------------------------------------- the room


@pytest.fixture
def asked(monkeypatch):
    """How the bytes of a training are asked for, which are a thousand."""
    asked = []

    def bytes_of(model, teacher, n, p, d, *, all_mapped):
        asked.append((model, teacher, n, p, d, all_mapped))
        return 1000

    monkeypatch.setattr("tsne_ooc.parametric.room.bytes_of_training", bytes_of)
    return asked


@pytest.mark.parametrize("prepare, known", [(None, 7), (SCALED, 0)], ids=["plain", "prepared"])
@pytest.mark.parametrize("size, rows", [(30, 30), (100, 100), (101, 100)])
@pytest.mark.parametrize("axes, d", [(None, 2), (2, 2), (3, 3)])
def test_a_teacher_that_is_fitted_first_takes_its_own_room(asked, prepare, known, size, rows, axes, d):
    """It is kept beside the encoder, which holds it once more; the width of prepared rows is not known beforehand."""
    teacher, model = SimpleNamespace(n_components=axes), object()
    found = training.room_for_training(Table(100, 7), model, teacher, None, UniformSample(size), prepare)
    own = bytes_fitted(rows, known, d) + SLACK
    assert found == own + 1000 + SLACK
    assert asked == [(model, own, 100, max(1, known), d, rows == 100)]


@pytest.mark.parametrize("prepared, known", [(None, 7), (SCALED, 1)], ids=["plain", "prepared"])
def test_a_teacher_that_is_there_takes_the_room_of_its_arrays(asked, tmp_path, prepared, known):
    teacher, model = SimpleNamespace(embedding_=np.zeros((50, 3)), preparation_=prepared), object()
    np.save(tmp_path / "a.npy", np.zeros(10))
    np.save(tmp_path / "b.npy", np.zeros(20))
    (tmp_path / "manifest.json").write_text("x" * 500)
    found = training.room_for_training(Table(100, 7), model, teacher, tmp_path, None, None)
    arrays = sum(os.path.getsize(tmp_path / name) for name in ("a.npy", "b.npy"))
    assert found == 1000 + SLACK and asked == [(model, arrays, 100, known, 3, False)]
    # Of a finished run it is that of the model within.
    (tmp_path / "run").mkdir()
    os.rename(tmp_path / "a.npy", tmp_path / "run" / "a.npy")
    (tmp_path / "run" / "model").mkdir()
    for name in ("b.npy", "manifest.json"):
        os.rename(tmp_path / name, tmp_path / "run" / "model" / name)
    asked.clear()
    training.room_for_training(Table(100, 7), model, teacher, tmp_path / "run", None, None)
    assert asked[0][1] == os.path.getsize(tmp_path / "run" / "model" / "b.npy")


# ---------------------------------------------------------------------------------------------------- what is asked for


def test_an_encoder_is_copied_and_has_a_seed():
    given = ParametricTSNE(network=(16, 1), n_jobs=3)
    model, tsne, sample, prepare, mapped = training.asked_for(given, None, None, None, None)
    assert model is not given and (model.random_state, given.random_state) == (0, None)
    assert (model.network, model.n_jobs) == ((16, 1), 3) and tsne is sample is prepare is mapped is None
    usual = training.asked_for(None, None, None, None, None)[0]
    assert usual.random_state == 0 and usual.network == ParametricTSNE().network
    for seed in (0, 7, 2**70):
        assert training.asked_for(ParametricTSNE(random_state=seed), None, None, None, None)[0].random_state == seed
    drawn = training.asked_for(ParametricTSNE(random_state=np.random.default_rng(0)), None, None, None, None)[0]
    assert type(drawn.random_state) is int
    # A number of rows is a sample of so many; what the teacher says counts where nothing is said here.
    model, tsne, sample, prepare, _ = training.asked_for(
        ParametricTSNE(random_state=7), None, TSNE(sample=9, prepare=SCALED), None, None
    )
    assert sample == UniformSample(9) and prepare is not None and (tsne.sample, tsne.prepare) == (None, None)
    assert tsne.random_state == 7
    for own, wanted in ((None, 7), (3, 3), (np.int64(4), 4)):
        own_teacher = TSNE(random_state=own)
        tsne = training.asked_for(ParametricTSNE(random_state=7), None, own_teacher, 5, None)[1]
        assert tsne.random_state == wanted and tsne is not own_teacher and own_teacher.random_state is own
    assert training.asked_for(None, None, None, 5, SCALED)[2:4] == (UniformSample(5), SCALED)


def test_a_teacher_that_is_there_is_opened_with_the_threads_of_the_encoder(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "model")
    opened = []
    real = training.opened_model
    monkeypatch.setattr(training, "opened_model", lambda *given: opened.append(given) or real(*given))
    *_, mapped = training.asked_for(ParametricTSNE(n_jobs=2), tmp_path / "model", None, None, None)
    assert isinstance(mapped, MapPlacer) and mapped.estimator.n_jobs == 2 and opened == [(tmp_path / "model", 2)]
    monkeypatch.setattr(training, "opened_model", lambda *given: "an encoder")
    with pytest.raises(ValueError) as told:
        training.asked_for(None, "some/encoder", None, None, None)
    assert str(told.value) == (
        "some/encoder holds an encoder; the teacher is a saved model, or the folder of a finished run"
    )
    with pytest.raises(TypeError, match="is not a TSNE to be fitted; pass the folder of a fitted one as map"):
        training.asked_for(None, None, fitted, None, None)


@pytest.mark.parametrize("n, batch_size, told", [
    (FEWEST, "usual", None), (FEWEST - 1, "usual", f"a table of {FEWEST - 1} has {FEWEST - 1} rows, and an"),
    (30, 30, None), (30, 29, None), (30, 31, "batch_size=31 is more than the 30 rows of a table of 30"),
    (2047, "usual", None), (1500, 1501, "batch_size=1501 is more than the 1,500 rows of a table of 1500"),
])  # fmt: skip
def test_rows_are_enough_for_a_batch(n, batch_size, told):
    model = ParametricTSNE(random_state=0, **({} if batch_size == "usual" else {"batch_size": batch_size}))

    def asked():
        return training.teacher_of(None, None, None, None, model, Table(n))

    if told is None:
        teacher, known, sample = asked()
        assert sample == UniformSample(n) and known["sample"] == n and teacher.sample is None
        assert (teacher.random_state, teacher.n_jobs) == (0, None)
    else:
        with pytest.raises(ValueError) as error:
            asked()
        assert str(error.value).startswith(told)


def test_what_tells_a_teacher_from_another_one(fitted):
    """Of a sample that is drawn in another way all of it, of a usual one only its number; of a map what it is."""
    model = ParametricTSNE(random_state=0)
    _, known, sample = training.teacher_of(None, TSNE(**QUICK), UniformSample(50), None, model, Table(30))
    assert known["sample"] == 30 and known["perplexity"] == 5 and sample == UniformSample(50)
    _, known, _ = training.teacher_of(None, TSNE(**QUICK), Coverage(20), None, model, Table(30))
    assert known["sample"] == training.plain(Coverage(20)) != 20
    teacher, known, sample = training.teacher_of(MapPlacer(fitted), None, None, None, model, training_table())
    assert teacher is fitted and known == training.fingerprint(fitted) and sample is None
    with pytest.raises(ValueError, match=r"columns|features"):
        training.teacher_of(MapPlacer(fitted), None, None, None, model, Table(30, 5))
    # A stage that follows the affinities of all rows needs a map of all.
    graph = ParametricTSNE(random_state=0, objective="field")
    training.teacher_of(None, TSNE(**QUICK), UniformSample(30), None, graph, Table(30))
    training.teacher_of(None, TSNE(**QUICK), None, None, graph, Table(30))
    with pytest.raises(ValueError, match="needs the affinities of all 30 rows, and the teacher has 29 of them"):
        training.teacher_of(None, TSNE(**QUICK), UniformSample(29), None, graph, Table(30))
    with pytest.raises(ValueError, match="a teacher of metric='precomputed' knows distances only"):
        training.teacher_of(None, TSNE(metric="precomputed"), None, None, model, Table(30))
    with pytest.raises(ValueError, match="metric holds a"):
        training.teacher_of(None, TSNE(metric=lambda a, b: 0.0), None, None, model, Table(30))


def training_table():
    return Table(40)


# ----------------------------------------------------------------------------------------------------------- its stages


@pytest.mark.parametrize("decoder, decodes", [(False, False), (True, True), (Decoder(n_iter=5), True)])
@pytest.mark.parametrize("sample", [None, UniformSample(9)])
def test_a_teacher_is_fitted_first_where_it_is_to_be(decoder, decodes, sample):
    model, teacher = ParametricTSNE(decoder=decoder), TSNE(n_jobs=3)
    stages = training._stages(model, teacher, sample, SCALED, {"task": "train"})
    names = [stage.name for stage in stages]
    assert names[: 3 if sample else 0] == (["prepare", "sample", "fit"] if sample else [])
    lesson = training_lesson(decodes)
    assert [type(stage) for stage in stages[3 if sample else 0 :]] == [training.Ready, *lesson, training.Export]
    assert stages[-1].model is model and stages[-1].job == {"task": "train"}
    assert stages[3 if sample else 0].model is model
    if sample:
        prepare, draw, fit = stages[:3]
        assert (type(prepare), type(draw), type(fit)) == (Prepare, Draw, Fit)
        assert prepare.prepare is SCALED and prepare.estimator is fit.estimator is teacher and draw.sample is sample
        assert prepare.all_rows is False and fit.saved and fit.folder == "training.part" == fit.makes[0]
        assert fit.room_in(Path()) is None


def training_lesson(decodes):
    from tsne_ooc.parametric.lesson import lesson_stages

    return [type(stage) for stage in lesson_stages(decoding=decodes)]


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_a_lesson_is_made_of_the_map_with_the_options_of_the_encoder(fitted, tmp_path, resumable, keep, begun):
    """And a training that has kept a state goes on, if what is in the folder is kept."""
    checkpoint = tmp_path / "training.part" / "checkpoint"
    checkpoint.mkdir(parents=True)
    if begun:
        (checkpoint / "manifest.json").touch()
    model, asked, put = ParametricTSNE(n_jobs=2, verbose=True), [], []
    teacher = TSNE.of_map(fitted.map_, **fitted.get_params(deep=False))

    def lesson(*given, **named):
        asked.append((given, named))
        return "lesson", "ready"

    model.lesson = lesson
    home = SimpleNamespace(resumable=resumable, keep=keep, path=tmp_path)
    work = SimpleNamespace(
        kept=SimpleNamespace(home=home), take=lambda kind: Mapped(MapPlacer(teacher), None), folder=tmp_path,
        table="the table", put=put.append,
    )  # fmt: skip
    stage = training.Ready(model)
    assert (stage.phase, stage.makes) == ("teach", ("training.part",))
    stage.run(work)
    assert asked == [(("the table", checkpoint), {"without": tmp_path})] and put == ["lesson", "ready"]
    assert home.resumable == (resumable or (keep and begun))
    assert model.teacher is teacher and (teacher.n_jobs, teacher.verbose) == (2, True)


def test_an_encoder_is_written_whole_and_then_to_its_place(tmp_path, monkeypatch):
    """Its history has the seconds of all attempts; what an attempt left that was killed is not taken for it."""
    left = tmp_path / "training.part" / "encoder"
    left.mkdir(parents=True)
    (left / "old.npy").touch()
    seconds = np.array([0.25, 1.5, 0.0004])
    saved = []

    class Made:
        history_ = {"batches": {"seconds": seconds}}  # noqa: RUF012

        def save(self, path):
            assert not path.exists()
            saved.append(path)
            path.mkdir()
            np.save(path / "weights.npy", np.arange(3))
            np.save(path / "teacher.npy", np.arange(4))
            storage.seal(path, "encoder", {"word": 1, "seconds": "its own"},
                         {"weights": "weights.npy", "teacher": "teacher.npy"})  # fmt: skip

    model = ParametricTSNE(network=(16, 1))
    made = []
    monkeypatch.setattr(ParametricTSNE, "of_fitted", lambda self, what, **named: made.append((what, named)) or Made())
    work = SimpleNamespace(folder=tmp_path, table=X, take=lambda kind: "fitted", seconds={"fit": 3.0, "train": 0.1})
    training.Export(model, {"task": "train"}).run(work)
    assert saved == [left] and made[0][0] == "fitted" and made[0][1]["network"] == (16, 1)
    found = storage.read_folder(tmp_path, "encoder")
    assert found.arrays["weights"].tolist() == [0, 1, 2] and found.arrays["teacher"].tolist() == [0, 1, 2, 3]
    assert found.content["word"] == 1 and found.content["job"] == {"task": "train"}
    assert found.content["seconds"] == {"fit": 3.0, "train": 1.75} and found.content["source"] == repr(X)
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "teacher.npy", "training.part", "weights.npy"]


def test_threads_of_torch_are_those_asked_for_and_afterwards_those_before():
    torch.set_num_threads(2)
    for n_jobs, wanted in ((None, 2), (1, 1), (3, 3), (-1, training.resolve_n_jobs(-1))):
        with training.torch_threads(n_jobs):
            assert torch.get_num_threads() == wanted
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError, match="on the way"), training.torch_threads(n_jobs):
            raise RuntimeError("on the way")
        assert torch.get_num_threads() == 2


def test_a_finished_training_is_the_one_that_is_asked_for(tmp_path):
    home = SimpleNamespace(path=tmp_path)
    job = {"task": "train", "source": {"shape": [3, 2]}, "request": {"a": (1, 2)}, "tsne_ooc": "1"}
    np.save(tmp_path / "w.npy", np.zeros(2))
    for content, told in (
        ({"job": {**job, "request": {"a": [1, 2]}}}, None),
        ({"job": {**job, "request": {"a": [1, 3]}}}, f"{tmp_path} holds the result of another run: a was [1, 3]"),
        ({}, f"{tmp_path} holds an encoder that was saved by hand; name a new folder"),
    ):  # fmt: skip
        storage.seal(tmp_path, "encoder", content, {"w": "w.npy"})
        if told is None:
            training._check_finished(home, job)
        else:
            with pytest.raises(ValueError) as error:
                training._check_finished(home, job)
            assert str(error.value).startswith(told)
        (tmp_path / "manifest.json").unlink()
