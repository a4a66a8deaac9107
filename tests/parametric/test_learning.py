"""The loop of a training, step by step: what is learnt from, looked at, kept and told."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.parametric.checkpoint import Checkpoint, weights_of  # noqa: E402
from tsne_ooc.parametric.network import Encoder  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, Stage  # noqa: E402
from tsne_ooc.parametric.optimizer import rate_at  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.training import Options, learn  # noqa: E402
from tsne_ooc.parametric.validation import Measured  # noqa: E402

N = 50
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
TARGETS = (X[:, :2] * 4 + 1).astype(np.float32)
PROBLEM = Problem(N, 10.0, 1.0, 1.0, TARGETS, None, 0, Threads(1), torch.device("cpu"))


def fresh():
    torch.manual_seed(0)
    return Encoder(torch.nn.Linear(3, 2), np.zeros(3), np.ones(3), np.zeros(2), 10.0)


def batches():
    return Batches(X, batch_size=20, seed=0)


def options(**more):
    usual = {
        "stages": [Stage(Distillation(math.inf))], "steps": 10, "learning_rate": 0.05, "look_every": 4,
        "patience": None, "callbacks": [], "callbacks_every": 3, "verbose": False,
    }  # fmt: skip
    return Options(**(usual | more))


class Looking:
    """Held-out rows that are measured as the test says, one look after the other."""

    measures = Measured

    def __init__(self, values):
        self.values, self.met = iter(values), []

    def __call__(self, network):
        self.met.append(weights_of(network)["body.bias"].copy())
        return Measured(1.0, 0.5, 0.25, next(self.values))


def run(encoder=None, held=None, **more):
    checked = {name: more.pop(name) for name in ("checkpoint", "validation") if name in more}
    encoder = fresh() if encoder is None else encoder
    held = np.zeros(N, bool) if held is None else held
    return encoder, learn(encoder, PROBLEM, batches(), held, options(**more), **checked)


def test_each_step_is_told_with_its_batch_and_rate():
    stages = [Stage(Distillation(math.inf), 1.0, 1.0), Stage(Distillation(1.0), 3.0, 0.5)]
    encoder, done = run(stages=stages, steps=8)
    assert (done.stopped, done.steps, encoder.training) == ("finished", 8, False)
    table = np.array(done.history.steps)
    assert table[:, 0].tolist() == [*range(8)] and table[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert table[:, 2].tolist() == [0, 0, 1, 1, 1, 1, 1, 1] and table[:, 3].tolist() == [20, 20, 10] * 2 + [20, 20]
    rates = [0.05 * rate_at(i, 2) for i in range(2)] + [0.05 * 0.5 * rate_at(i, 6) for i in range(6)]
    np.testing.assert_allclose(table[:, 7], rates)
    assert (table[:, 5] > 0).all() and np.isfinite(table).all() and (table[:, 6] > 0).all()
    # Distillation is judged by held-out rows alone: without them no look is kept, and the last weights are.
    assert done.history.looks == [] and done.kept == 8


def test_stages_without_a_step_are_passed_over_and_where_two_meet_is_looked_at_once():
    shares = (1e-6, 1.0, 1e-6, 1.0)
    look = Looking([5.0, 4.0, 3.0])
    _, done = run(
        stages=[Stage(Distillation(math.inf), share) for share in shares], steps=8, validation=look, look_every=4
    )
    assert [row[2] for row in done.history.steps] == [1, 1, 1, 1, 3, 3, 3, 3]
    assert [row[0] for row in done.history.looks] == [0, 4, 8] and len(look.met) == 3


def test_callbacks_are_called_at_their_steps_and_may_end_it():
    seen = []

    def callback(step, value, network):
        seen.append((step, value, network.training))
        return step == 6

    _, done = run(callbacks=[callback])
    assert [step for step, _, _ in seen] == [3, 6] and (done.stopped, done.steps) == ("callback", 6)
    assert [value for _, value, _ in seen] == [done.history.steps[2][4], done.history.steps[5][4]]
    assert len(run(callbacks=[lambda *given: None], callbacks_every=20)[1].history.steps) == 10


def test_the_weights_of_the_best_look_are_those_that_stay():
    look = Looking([5.0, 3.0, 4.0, 6.0])
    encoder, done = run(validation=look, steps=10)
    # At the outset, at each fourth step and in the end.
    assert [row[0] for row in done.history.looks] == [0, 4, 8, 10] and len(look.met) == 4
    assert done.history.looks[1] == (4, 1.0, 0.5, 0.25, 3.0)
    assert done.kept == 4 and (done.stopped, done.steps) == ("finished", 10)
    np.testing.assert_array_equal(weights_of(encoder)["body.bias"], look.met[1])
    assert (look.met[1] != look.met[3]).any()


@pytest.mark.parametrize(("patience", "steps"), [(1, 8), (2, 12), (3, 16)])
def test_patience_ends_it_after_so_many_looks_without_a_fall(patience, steps):
    _, done = run(validation=Looking([5.0, 3.0, *[3.0] * 20]), steps=40, patience=patience)
    assert (done.stopped, done.steps, done.kept) == ("converged", steps, 4)
    _, done = run(validation=Looking(np.arange(30.0)[::-1]), steps=40, patience=1)
    assert (done.stopped, done.steps, done.kept) == ("finished", 40, 40)


def test_rows_that_are_held_out_are_not_learnt_from():
    held = np.zeros(N, bool)
    held[10:] = True
    _, done = run(held=held, steps=9)
    counts = np.array(done.history.steps)[:, 3]
    assert counts.reshape(3, 3).sum(axis=1).tolist() == [10] * 3
    all_held, done = run(held=np.ones(N, bool), steps=3)
    table = np.array(done.history.steps)
    assert table[:, 3].tolist() == [0, 0, 0] and np.isnan(table[:, [4, 6]]).all()
    np.testing.assert_array_equal(weights_of(all_held)["body.bias"], weights_of(fresh())["body.bias"])


def test_a_loss_that_is_not_finite_ends_it_by_its_step():
    encoder = fresh()
    with torch.no_grad():
        encoder.body.weight.fill_(math.inf)
    with pytest.raises(
        FloatingPointError, match=r"^the loss is (nan|inf) at step 0 \(epoch 0\), on a batch of the rows "
    ):
        run(encoder)


def test_an_interrupt_leaves_the_best_so_far():
    def stop(step, value, network):
        raise KeyboardInterrupt

    look = Looking([5.0, 3.0, 4.0, 6.0])
    encoder, done = run(validation=look, callbacks=[stop], callbacks_every=6)
    assert (done.stopped, done.steps, done.kept, encoder.training) == ("interrupted", 6, 4, False)
    np.testing.assert_array_equal(weights_of(encoder)["body.bias"], look.met[1])


@pytest.mark.parametrize("at", [3, 4, 7, 9])
def test_a_training_that_stopped_anywhere_ends_with_the_same_weights(at, tmp_path):
    def stop(step, value, network):
        if step == at:
            raise KeyboardInterrupt

    stages = [Stage(Distillation(math.inf), 1.0, 1.0), Stage(Distillation(1.0), 1.0, 0.5)]
    whole, wanted = run(stages=stages, validation=Looking(np.arange(9.0)[::-1]))
    checkpoint = Checkpoint(tmp_path / "kept", {})
    first = {"stages": stages, "callbacks": [stop], "callbacks_every": 1, "checkpoint": checkpoint}
    run(validation=Looking(np.arange(9.0)[::-1]), **first)
    # It goes on from the last look, at each fourth step.
    assert checkpoint.exists == (at >= 4)
    looks = np.arange(9.0)[::-1][(0 if at < 4 else 2) if at < 8 else 4 :]
    encoder, done = run(stages=stages, validation=Looking(looks), checkpoint=checkpoint)
    assert (done.steps, done.stopped) == (10, "finished") and done.kept == wanted.kept
    for name, value in weights_of(whole).items():
        np.testing.assert_array_equal(weights_of(encoder)[name], value)
    assert [row[0] for row in done.history.looks] == [row[0] for row in wanted.history.looks]
    assert [row[4] for row in done.history.steps] == [row[4] for row in wanted.history.steps]


def test_a_training_that_converged_is_not_trained_on(tmp_path):
    checkpoint = Checkpoint(tmp_path / "kept", {})
    values = [5.0, 3.0, *[3.0] * 9]
    one, done = run(validation=Looking(values), steps=40, patience=2, checkpoint=checkpoint)
    again, twice = run(validation=Looking([]), steps=40, patience=2, checkpoint=checkpoint)
    assert (done.stopped, done.steps) == (twice.stopped, twice.steps) == ("converged", 12)
    for name, value in weights_of(one).items():
        np.testing.assert_array_equal(weights_of(again)[name], value)


def test_the_course_is_told_where_it_is_asked_for(capfd):
    run(verbose=True, title="decoder")
    told = capfd.readouterr().err
    assert "decoder" in told and "10/10" in told and "loss" in told and "rows/s" in told
    run()
    assert capfd.readouterr().err == ""
