"""A model read back never stands in for what was asked: each option that no file holds, on each way that goes on with a
reopened model, gives the bits that it gives in memory, or is refused before the work."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import tsne_ooc
from tsne_ooc import TSNE, Perplexity, embed
from tsne_ooc.pipeline import train
from tsne_ooc.rounds import Seated, refit

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=(90, 4)), RNG.normal(size=(10, 4)) + 40]).astype(np.float32)
SAMPLE = np.arange(90)
QUICK = {"n_iter": 6, "early_exaggeration_iter": 6, "perplexity": 5, "callbacks_every_iters": 2, "n_jobs": 1}


class Mine(Perplexity):
    pass


def graph(n):
    found = np.exp(-np.linalg.norm(X[:n, None] - X[:n], axis=2))
    np.fill_diagonal(found, 0)
    return sp.csr_array(found)


class Stops:
    """A callback that ends the second fit that it sees, if it is the same object that saw the first."""

    def __init__(self):
        self.seen = 0

    def __call__(self, i, error, Y):
        self.seen += 1
        return self.seen > 8


# Options that a folder has only words of, as functions: some of them remember.
OBJECTS = {
    "an array in metric_params": lambda: {"metric": "seuclidean", "metric_params": {"V": X.var(axis=0)}},
    "an affinity of one's own": lambda: {"affinity": Mine(5)},
    "a generator": lambda: {"random_state": np.random.default_rng(5)},
    "an old generator": lambda: {"random_state": np.random.RandomState(5)},
    "a callback": lambda: {"callbacks": lambda i, error, Y: i >= 4},
    "a callback that remembers": lambda: {"callbacks": Stops()},
    "a start": lambda: {"initialization": 1e-4 * X[:90, :2]},
    "a matrix": lambda: {"affinity": graph(90)},
}


def tsne(name, **more):
    return TSNE(**{**QUICK, "random_state": 0, **OBJECTS[name](), **more})


class Stop(Exception):
    pass


def stopping(phase, count):
    calls = []

    def progress(now, done, total):
        calls.append(now)
        if now == phase and calls.count(phase) == count:
            raise Stop

    return progress


@pytest.mark.parametrize("at", [("look", 2), ("place", 1), ("place", 3)], ids=lambda at: f"{at[0]} {at[1]}")
@pytest.mark.parametrize("name", OBJECTS)
def test_rounds_fit_with_what_was_asked(tmp_path, name, at):
    def run(out, **more):
        return embed(X, out=tmp_path / out, sample=SAMPLE, rounds=2, tsne=tsne(name), block_rows=30, **more)

    if name == "a matrix":
        # Of 90 rows; the second round has more of them, and says so.
        with pytest.raises(ValueError, match="affinity matrix has 90 rows"):
            run("whole")
        return
    whole = run("whole")
    with pytest.raises(Stop):
        run("stopped", progress=stopping(*at))
    stopped = run("stopped", resume=True)
    np.testing.assert_array_equal(stopped.embedding, whole.embedding)
    np.testing.assert_array_equal(stopped.sample_rows, whole.sample_rows)
    assert len(whole.sample_rows) > 90
    # The slow obvious way: the same fits in memory, one after the other.
    first = tsne(name, sample=None)
    if name.endswith("generator"):
        first.set_params(random_state=first.random_state.integers(2**63) if name == "a generator" else
                         first.random_state.randint(2**31 - 1))  # fmt: skip
    first.fit(X[:90])
    rows = np.asarray(whole.sample_rows)
    places = first.transform(X[rows])
    places[rows < 90] = first.embedding_
    first.set_params(callbacks=OBJECTS[name]().get("callbacks"))
    second = refit(first, Seated(rows, X[rows], places))
    np.testing.assert_array_equal(second.embedding_, whole.embedding[rows])


@pytest.fixture
def encoder():
    """An encoder to be trained, with one thread of torch: its own would change the last bits."""
    torch = pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    quick = {"network": (16, 1), "n_iter": 6, "batch_size": 45, "random_state": 0, "n_jobs": 1}
    yield lambda **options: ParametricTSNE(**quick, **options)
    torch.set_num_threads(before)


@pytest.mark.parametrize("objective", ["distillation", "batch_local"])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_saved_teacher_teaches_as_it_did(tmp_path, encoder, name, objective):
    rows = X[:90]
    teacher = tsne(name).fit(rows)
    teacher.save(tmp_path / "map")
    saved = tsne_ooc.load(tmp_path / "map")
    unknown = name in ("a matrix", "an affinity of one's own")
    options = {"objective": objective, **({"augmentation": 0} if unknown else {})}
    if unknown and objective == "batch_local":
        called = []
        watched = encoder(**options, callbacks=lambda *told: called.append(told), callbacks_every_iters=1)
        for door in (
            lambda: watched.set_params(teacher=saved).fit(rows),
            lambda: train(rows, out=tmp_path / "out", map=tmp_path / "map", encoder=watched.set_params(teacher=None)),
        ):
            with pytest.raises(ValueError, match="no file holds"):
                door()
        assert not called and not (tmp_path / "out").exists()
        return
    wanted = encoder(teacher=teacher, **options).fit(rows).transform(X)
    np.testing.assert_array_equal(encoder(teacher=saved, **options).fit(rows).transform(X), wanted)
    found = train(rows, out=tmp_path / "out", map=tmp_path / "map", encoder=encoder(**options))
    np.testing.assert_array_equal(found.transform(X), wanted)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_training_has_the_teacher_that_was_asked_for(tmp_path, encoder, name):
    rows = X[:90]
    options = {"objective": "batch_local"}
    found = train(rows, out=tmp_path / "out", tsne=tsne(name), encoder=encoder(**options))
    wanted = encoder(teacher=tsne(name), **options).fit(rows)
    np.testing.assert_array_equal(found.transform(X), wanted.transform(X))


@pytest.mark.parametrize("name", [name for name in OBJECTS if "callback" not in name])
def test_a_loaded_model_is_not_fitted_with_words(tmp_path, name):
    """Its options are words by then: where one of them decides, another fit says so before the work, or has it."""
    tsne(name).fit(X[:90]).save(tmp_path / "map")
    saved = tsne_ooc.load(tmp_path / "map")
    called = []
    saved.set_params(callbacks=lambda *told: called.append(told))
    for door in (lambda: saved.fit(X[:90]), lambda: embed(X, out=tmp_path / "out", tsne=saved, sample=SAMPLE)):
        with pytest.raises((ValueError, TypeError), match=r"not saved|neither None") as caught:
            door()
        assert "\n" not in str(caught.value) and not called and not (tmp_path / "out").exists()
