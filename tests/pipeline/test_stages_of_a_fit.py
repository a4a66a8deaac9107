"""A fit of a run, kept in its folder and opened again: what it asks, tells, keeps and hands on, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA as Components

from tsne_ooc import TSNE, storage
from tsne_ooc.intake import Intake
from tsne_ooc.pipeline import fitted, fitting, looking
from tsne_ooc.pipeline.fitted import check_sum, put_model, reopen, reopened_model, seats_of, sum_of
from tsne_ooc.pipeline.fitting import Fit
from tsne_ooc.pipeline.looking import Look
from tsne_ooc.pipeline.placer import Mapped, MapPlacer, Seats, StrangerPlacer
from tsne_ooc.rounds import Seated
from tsne_ooc.scratch import Room

N = 40
X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
QUICK = {
    "perplexity": 5,
    "n_iter": 2,
    "early_exaggeration_iter": 2,
    "random_state": 0,
    "n_jobs": 1,
    "neighbors": "exact",
}
ROWS = np.arange(N) * 3


class Job:
    """What stages share, as far as these look at it."""

    def __init__(self, folder):
        self.folder, self.told, self.things, self.seed, self.table = folder, [], {}, 7, X

    def take(self, kind):
        return self.things.pop(kind)

    def get(self, kind):
        return self.things[kind]

    def put(self, thing):
        self.things[type(thing)] = thing

    def progress(self, *event):
        self.told.append(event)


def job_of(folder):
    job = Job(folder)
    job.put(Intake(X, ROWS, None, None, 4))
    return job


class Stranger(Components):
    """An estimator of another library."""

    def fit(self, X, y=None):
        super().fit(X)
        self.embedding_ = self.transform(X)
        return self


@pytest.fixture(autouse=True)
def only_warnings_are_told(caplog):
    """Whatever an earlier test has set."""
    caplog.set_level("WARNING", "tsne_ooc")


@pytest.mark.parametrize("folder", [".", "round-1"])
@pytest.mark.parametrize("space", [None, Room(2)], ids=["anywhere", "a room"])
def test_a_fit_is_kept_and_goes_on_as_one_that_was_opened_again(tmp_path, monkeypatch, folder, space):
    rooms, plain = [], TSNE.fit_taken
    monkeypatch.setattr(
        TSNE, "fit_taken", lambda self, taken, room=None: rooms.append(room) or plain(self, taken, None)
    )
    estimator = TSNE(**QUICK, callbacks=[print], callbacks_every_iters=100)
    stage = Fit(estimator, saved=True, folder=folder, space=None if space is None else lambda path: (path, space)[1])
    assert stage.makes == (("model", "saving.part", "sample_rows.npy") if folder == "." else (folder,))
    assert stage.room_in(tmp_path) is space
    for attempt in range(2):
        job = job_of(tmp_path)
        facts = stage.run(job)
        assert job.told == [("fit", 0, N), ("fit", N, N)] and rooms.pop() is space
        where = tmp_path / folder
        assert facts == {
            "model": storage.digest_of(where / "model"), "sample_rows": sum_of(where / "sample_rows.npy"),
        }  # fmt: skip
        assert stage.worth_keeping(facts) and not stage.worth_keeping({**facts, "model": None})
        placer, seats, path = job.get(Mapped)
        assert path == where / "model" and seats.rows.tolist() == ROWS.tolist()
        # The estimator that was asked for is not the one that was fitted, nor are its callbacks those of the file.
        assert placer.estimator is not estimator and placer.estimator.callbacks == [print]
        assert not hasattr(estimator, "embedding_")
        with pytest.raises(ValueError, match="a map that was loaded has no momentum"):
            placer.estimator.continue_fit(1)
        np.testing.assert_array_equal(seats.embedding, placer.embedding)
        np.testing.assert_array_equal(seats.novelty, placer.estimator.novelty_)
        again = Job(tmp_path)
        stage.reopen(again, facts)
        other, others, path = again.get(Mapped)
        assert path == where / "model" and other.estimator.callbacks == [print]
        np.testing.assert_array_equal(others.embedding, seats.embedding)
        assert others.rows.tolist() == ROWS.tolist()
        # A second attempt finds what one left that was killed before its ledger knew, and is not led astray.
        (where / "model" / "notes.txt").touch()
        (where / "saving.part").mkdir(exist_ok=True)
        assert attempt or sorted(os.listdir(where)) == ["model", "sample_rows.npy", "saving.part"]
    assert not (where / "model" / "manifest.part").exists()


def test_what_was_kept_and_is_another_by_now_is_named(tmp_path):
    stage = Fit(TSNE(**QUICK), saved=True)
    facts = stage.run(job_of(tmp_path))
    for changed, says in (
        ({"model": "another"}, f"the model in {tmp_path / 'model'} is not the one that this run began with; remove "
                               f"{tmp_path} to begin again"),
        ({"model": None}, f"the run in {tmp_path} has no saved model to go on with; remove the folder to begin again"),
        ({"sample_rows": "another"}, f"{tmp_path / 'sample_rows.npy'} is damaged: its sum is not the one that the "
                                     f"ledger names; remove {tmp_path}"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as told:
            reopen(tmp_path, {**facts, **changed}, tmp_path)
        assert str(told.value) == says
    placer, seats = reopen(tmp_path, facts, tmp_path)
    assert isinstance(placer, MapPlacer) and isinstance(seats, Seats) and seats.rows.dtype == np.int64
    np.testing.assert_array_equal(reopened_model(tmp_path, facts["model"], tmp_path).embedding, placer.embedding)
    assert check_sum(tmp_path / "sample_rows.npy", facts["sample_rows"], tmp_path) is None
    # An object has no place among row numbers.
    np.save(tmp_path / "sample_rows.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        reopen(tmp_path, {**facts, "sample_rows": sum_of(tmp_path / "sample_rows.npy")}, tmp_path)


@pytest.mark.parametrize("kind", ["not to be saved", "cannot be saved", "of others"])
def test_a_fit_that_is_not_kept_is_handed_on_as_it_is(tmp_path, monkeypatch, caplog, kind):
    estimator = Stranger(2) if kind == "of others" else TSNE(**QUICK)
    if kind == "cannot be saved":

        def unsaved(placer, path):
            Path(path).mkdir()
            raise ValueError("no file can hold it")

        monkeypatch.setattr(MapPlacer, "save", unsaved)
    stage, job = Fit(estimator, saved=kind == "cannot be saved"), job_of(tmp_path)
    facts = stage.run(job)
    assert facts == {"model": None, "sample_rows": sum_of(tmp_path / "sample_rows.npy")}
    assert sorted(os.listdir(tmp_path)) == ["sample_rows.npy"] and not stage.worth_keeping(facts)
    placer, seats, path = job.get(Mapped)
    assert path is None and type(placer) is (StrangerPlacer if kind == "of others" else MapPlacer)
    assert seats.rows is ROWS and (seats.novelty is None) == (kind == "of others")
    np.testing.assert_array_equal(seats.embedding, placer.embedding)
    words = "this run cannot be resumed, since its model cannot be saved: no file can hold it"
    assert caplog.messages == [words] * (kind == "cannot be saved")
    if kind == "of others":
        np.testing.assert_allclose(placer.embedding, Components(2).fit_transform(X), atol=1e-5)


@pytest.mark.parametrize("error, why", [
    (OSError(28, "No space left on device"), "No space left on device"), (PermissionError("not yours"), "not yours"),
], ids=["errno", "word"])  # fmt: skip
def test_a_model_that_cannot_be_put_in_its_place_names_it(tmp_path, monkeypatch, error, why):
    def refuse(*given):
        raise error

    placer = MapPlacer(TSNE(**QUICK).fit(X))
    monkeypatch.setattr(fitted.os, "replace", refuse)
    monkeypatch.setattr(MapPlacer, "save", lambda placer, path: Path(path).mkdir())
    with pytest.raises(type(error)) as told:
        put_model(placer, tmp_path)
    assert str(told.value) == f"{tmp_path / 'model'} could not be written: {why}" and not list(tmp_path.iterdir())
    monkeypatch.undo()
    synced = []
    monkeypatch.setattr(fitted, "sync_folder", synced.append)
    assert put_model(placer, tmp_path) == storage.digest_of(tmp_path / "model") and synced == [tmp_path]
    assert os.listdir(tmp_path) == ["model"]
    seats = seats_of(placer, ROWS)
    assert seats.rows is ROWS and seats.embedding is placer.embedding


def test_an_interrupt_ends_the_run_and_not_the_fit_alone(tmp_path):
    def stop(*given):
        raise KeyboardInterrupt

    job = job_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Fit(TSNE(**QUICK, callbacks=stop, callbacks_every_iters=1), saved=True).run(job)
    assert job.told == [("fit", 0, N)] and not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------ the looks


def looked(tmp_path, monkeypatch, again, rows):
    """A look that finds these rows, and the stage that keeps them."""
    kept = []
    following = SimpleNamespace(
        makes=("round-2",), keep=lambda *given: kept.append(given) or {"model": "m"},
        reopen=lambda *given: kept.append(given), worth_keeping=lambda facts: facts["model"] == "m",
        room_in=lambda folder: ("room", folder),
    )  # fmt: skip
    look, job = Look(1, following), Job(tmp_path)
    job.put(Mapped(MapPlacer(TSNE()), Seats(ROWS, X[:, :2], None)))
    monkeypatch.setattr(look, "fill", lambda work: kept.append("filled"))
    monkeypatch.setattr(look, "_next", lambda work, placer, seats: kept.append((placer, seats)) or (again, rows))
    return look, job, kept


def test_what_a_look_fitted_is_kept_by_the_next_fit(tmp_path, monkeypatch):
    look, job, kept = looked(tmp_path, monkeypatch, "again", Seated(np.arange(5), None, None))
    assert (look.name, look.phase, look.makes) == ("look 1", "look", ("round-2",))
    assert look.where(job) == tmp_path / "round-1" and look.into == "embedding" and look.novelty is None
    mapped = job.get(Mapped)
    assert look.run(job) == {"model": "m"}
    work, again, rows = kept.pop()
    assert work is job and again == "again" and rows.tolist() == list(range(5))
    # All rows are placed first.
    assert kept == ["filled", (mapped.placer, mapped.seats)]
    look.reopen(job, "facts")
    assert kept.pop() == (job, "facts") and look.worth_keeping({"model": "m"}) and not look.worth_keeping({"model": 0})


@pytest.mark.parametrize("new", [True, False])
def test_a_look_that_finds_rows_fits_once_more_and_tells_it(tmp_path, monkeypatch, caplog, new):
    import logging

    asked = []
    monkeypatch.setattr(MapPlacer, "refit", lambda placer, both, room: asked.append((both, room)) or "again")
    (tmp_path / "round-1").mkdir()
    model = TSNE(**QUICK).fit(X)
    table = np.r_[X, X + 100 * new].astype(np.float32)
    np.save(tmp_path / "round-1" / "novelty.npy", np.r_[model.novelty_, np.full(N, 50 if new else 0)].astype("f4"))
    np.save(tmp_path / "round-1" / "embedding.npy", np.r_[model.embedding_, model.embedding_])
    look, job, _ = looked(tmp_path, monkeypatch, None, None)
    job.table = table
    placer, seats = MapPlacer(model), Seats(np.arange(N), model.embedding_, model.novelty_)
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        again, both = Look._next(look, job, placer, seats)
    # A tenth of the sample joins it, of the rows that are farther from it than nearly all of its own.
    more = 4 if new else 0
    beyond = N if new else 0
    own = np.quantile(model.novelty_, 0.99)
    assert caplog.messages == [
        f"{beyond} rows are farther from the sample than .99 of its own (novelty {own:.2f}); {more} of them join it"
    ]
    assert len(both.rows) == N + more and both.rows[:N].tolist() == list(range(N)) and (both.rows[N:] >= N).all()
    np.testing.assert_array_equal(both.X, table[both.rows])
    if new:
        assert again == "again" and asked == [(both, ("room", tmp_path))]
        assert job.told == [("fit", 0, N + 4), ("fit", N + 4, N + 4)]
    else:
        assert again is placer and not asked and not job.told
    assert looking.round_folder(3) == "round-3" and fitting.ROWS == "sample_rows.npy"
