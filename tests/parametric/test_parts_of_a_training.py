"""The small parts that a training is made of, each by itself: bounds, rates, spans, histories, checkpoints, errors."""

from __future__ import annotations

import itertools
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.joint import Joint  # noqa: E402
from tsne_ooc.parametric.augmentation import Augmentation  # noqa: E402
from tsne_ooc.parametric.bounds import bounds_of, eased, together  # noqa: E402
from tsne_ooc.parametric.checkpoint import (  # noqa: E402
    Checkpoint,
    array_of,
    check_weights,
    put_weights,
    weights_of,
)
from tsne_ooc.parametric.decoder import Decoder, errors, scales_of  # noqa: E402
from tsne_ooc.parametric.decoder import resolve as resolve_decoder  # noqa: E402
from tsne_ooc.parametric.history import History  # noqa: E402
from tsne_ooc.parametric.landmarks import count_of  # noqa: E402
from tsne_ooc.parametric.lesson import of_decoder  # noqa: E402
from tsne_ooc.parametric.network import Encoder, ResidualNetwork, padded  # noqa: E402
from tsne_ooc.parametric.optimizer import Optimizer, rate_at  # noqa: E402
from tsne_ooc.parametric.problem import Graph, Problem  # noqa: E402
from tsne_ooc.parametric.reconstruction import sum_of_weights  # noqa: E402
from tsne_ooc.parametric.shared import borrowed_generator, threads_kept  # noqa: E402
from tsne_ooc.parametric.state import Best, Training  # noqa: E402
from tsne_ooc.parametric.tiles import TILE, encode, tile_for  # noqa: E402
from tsne_ooc.parametric.training import Options, _stopped, _where, endless, spans  # noqa: E402
from tsne_ooc.parametric.validation import Measured, Validation  # noqa: E402

nan, inf = math.nan, math.inf


def encoder_of(p=5, width=16, depth=1, seed=0):
    rng = np.random.default_rng(seed)
    body = ResidualNetwork(padded(p), 2, width, depth, 0)
    body.initialise(rng.normal(size=(2, padded(p))).astype(np.float32), rng)
    with torch.no_grad():
        body.head.weight.copy_(torch.from_numpy(rng.normal(size=(2, width)).astype(np.float32)))
    return Encoder(body, np.zeros(p), np.ones(p), np.zeros(2), 30.0)


# -------------------------------------------------------------------------------------------------------------- bounds


def test_bounds_are_around_all_maps_and_a_tenth_of_the_longer_side_beyond():
    one, other = np.array([[0, 1], [2, 3]], np.float32), np.array([[-6, 2], [1, 2]], np.float32)
    found = bounds_of(one, other)
    assert found.margin == pytest.approx(0.8)
    np.testing.assert_allclose(found.low, [-6.8, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found.high, [2.8, 3.8], rtol=1e-6)
    assert found.low.dtype == found.high.dtype == np.float32
    # Of one point there is no side.
    point = bounds_of(np.full((3, 2), 5, np.float32))
    assert point.margin == pytest.approx(0.1) and point.low == pytest.approx([4.9, 4.9])


def test_rows_that_were_thrown_off_the_map_are_left_out_axis_by_axis():
    places = (np.random.default_rng(0).normal(size=(1000, 2)) * [1, 50] + [90, -4]).astype(np.float32)
    middle = np.median(places, axis=0)
    away = np.abs(places - np.median(places, axis=0))
    limit = 3 * np.quantile(away, 0.95, axis=0)
    thrown = middle + np.array([[1.05 * limit[0], 0], [0, -1.05 * limit[1]], [nan, 0], [0, inf]], np.float32)
    kept = middle + np.array([[0.95 * limit[0], 0.95 * limit[1]]], np.float32)
    found = together(np.concatenate([thrown[:2], places, kept, thrown[2:]]))
    np.testing.assert_array_equal(found, np.concatenate([places, kept]))
    # Of rows that are all in one place none was thrown anywhere.
    assert len(together(np.ones((5, 2), np.float32))) == 5


def test_what_is_inside_stays_and_what_is_outside_levels_off():
    low, high, margin = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0]), torch.tensor(0.5)
    inside = torch.tensor([[0.3, 0.0], [1.0, 4.0], [-1.0, 3.0]])
    assert torch.equal(eased(inside, low, high, margin), inside)
    outside = torch.tensor([[1e6, -1e6], [1.1, 4.1]], requires_grad=True)
    found = eased(outside, low, high, margin)
    torch.testing.assert_close(found[0], torch.tensor([1.5, -0.5]))
    torch.testing.assert_close(found[1], torch.tensor([1, 4]) + 0.5 * math.tanh(0.2))
    edge = torch.tensor([[1 + 1e-3, 2.0]], requires_grad=True)
    eased(edge, low, high, margin).sum().backward()
    # Without a step in the slope.
    torch.testing.assert_close(edge.grad, torch.ones(1, 2), atol=1e-4, rtol=0)


# -------------------------------------------------------------------------------------------------- rates, spans, feed


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 33, 100, 1000])
def test_the_rate_warms_up_over_three_hundredths_and_cools_down_over_two_fifths(steps):
    warm = max(1, round(0.03 * steps))
    rates = np.array([rate_at(step, steps) for step in range(steps)])
    assert (rates > 0).all() and (rates <= 1).all()
    np.testing.assert_allclose(rates[:warm][: steps // 2], ((np.arange(warm) + 1) / warm)[: steps // 2])
    cool = 0.4 * (steps - warm)
    last = np.arange(steps)[warm:]
    np.testing.assert_allclose(rates[warm:], np.minimum(1, (steps - last) / max(1, cool)))


def stage(share, rate=1.0):
    return SimpleNamespace(share=share, rate=rate, objective=SimpleNamespace(needs="graph"))


@pytest.mark.parametrize("shares", [[1], [1, 3], [0.1, 0.2, 0.7], [5, 0, 5]])
def test_spans_follow_one_another_and_are_all_steps(shares):
    for steps in (0, 1, 7, 100):
        found = spans([stage(share) for share in shares], steps)
        assert found[0][0] == 0 and found[-1][1] == steps
        assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
        for (first, last), share in zip(found, shares, strict=True):
            assert abs(last - first - steps * share / sum(shares)) <= 1


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_batches_go_on_from_any_step_over_the_ends_of_epochs(step):
    X = np.arange(20, dtype=np.float32)[:, None]
    batches = Batches(X, batch_size=7, seed=3)
    feed = endless(batches, 0)
    wanted = [next(feed) for _ in range(12)]
    feed.close()
    assert [epoch for epoch, _, _ in wanted] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    other = endless(batches, step)
    for epoch, rows, values in wanted[step:]:
        again = next(other)
        assert again[0] == epoch
        np.testing.assert_array_equal(again[1], rows)
        np.testing.assert_array_equal(again[2], values)
    other.close()


# ----------------------------------------------------------------------------------------------------- why it stopped


def options(**more):
    default = {
        "stages": [], "steps": 10, "learning_rate": 0.1, "look_every": 5, "patience": None, "callbacks": [],
        "callbacks_every": 2, "verbose": False,
    }  # fmt: skip
    return Options(**(default | more))


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.parametrize("answers", [[], [None], [False, True], [True, None], [0, 0]])
@pytest.mark.parametrize("since", [2, 3, 4])
@pytest.mark.parametrize("burst", [False, True])
def test_why_a_training_stops(step, answers, since, burst):
    """All callbacks are called, every so many steps; a map that burst comes first, then callbacks, then patience."""
    called = []

    def callback(answer):
        return lambda *given: (called.append(given), answer)[1]

    state = SimpleNamespace(step=step, best=SimpleNamespace(since=since), network="the network")
    told = _stopped(
        state, SimpleNamespace(burst=burst), 0.5, options(patience=3, callbacks=[callback(one) for one in answers])
    )
    assert called == ([(4, 0.5, "the network")] * len(answers) if step == 4 else [])
    wanted = "converged" if since >= 3 else "finished"
    wanted = "callback" if step == 4 and any(answers) else wanted
    assert told == ("burst" if burst else wanted)
    assert _stopped(state, SimpleNamespace(burst=False), 0.5, options()) == "finished"


@pytest.mark.parametrize("n", [1, 8, 9, 12])
def test_a_loss_that_is_not_finite_names_the_rows_with_the_largest_values(n):
    X = np.zeros((n, 3), np.float32)
    X[np.arange(n), np.arange(n) % 3] = np.where(np.arange(n) % 2, -1, 1) * (n - np.arange(n))
    rows = np.arange(n) + 100
    listed = ", ".join(map(str, rows[:8])) + (f" and {n - 8} more" if n > 8 else "")
    assert _where(nan, 7, 2, rows[::-1], X[::-1]) == (
        f"the loss is nan at step 7 (epoch 2), on a batch of the rows {listed} (those with the largest values first); "
        "look at these rows, or use a smaller learning_rate"
    )


# ------------------------------------------------------------------------------------------------- history and the best


def test_a_history_is_told_by_batches_epochs_and_looks():
    history = History()
    # step, epoch, stage, rows, loss, seconds, gradient norm, rate
    history.steps = [
        (0, 0, 0, 4, 2.0, 0.5, 1.0, 0.1), (1, 0, 0, 0, nan, 0.25, nan, 0.2), (2, 0, 0, 4, 4.0, 0.25, 3.0, 0.3),
        (3, 1, 0, 0, nan, 0.5, nan, 0.25),
    ]  # fmt: skip
    history.looks = [(2, 0.5, 0.4, 0.3, 0.2)]
    found = history.columns()
    assert found["batches"]["step"].tolist() == [0, 1, 2, 3] and found["batches"]["rows"].tolist() == [4, 0, 4, 0]
    epochs = {name: values.tolist() for name, values in found["epochs"].items()}
    assert epochs["epoch"] == [0, 1] and epochs["seconds"] == [1.0, 0.5] and epochs["rate"] == [0.3, 0.25]
    # Batches that had no row to learn from have no loss, and are no part of its mean.
    assert epochs["loss"][0] == 3.0 and math.isnan(epochs["loss"][1])
    assert epochs["gradient_norm"][0] == 2.0 and math.isnan(epochs["gradient_norm"][1])
    assert {name: values.tolist() for name, values in found["validation"].items()} == {
        "step": [2], "kl_divergence": [0.5], "attraction": [0.4], "recall": [0.3], "distance": [0.2],
    }  # fmt: skip
    again = History.of(**history.tables())
    np.testing.assert_equal(again.tables(), history.tables())
    empty = History(("step", "error"))
    assert {name: len(values) for name, values in empty.columns()["epochs"].items()} == dict.fromkeys(epochs, 0)
    assert empty.tables()["looks"].shape == (0, 2) and empty.tables()["steps"].shape == (0, 8)


def test_the_best_is_the_first_of_the_lowest_and_counts_looks_since():
    network = torch.nn.Linear(1, 1, bias=False)
    best = Best()
    assert (best.value, best.since, best.step, best.weights) == (inf, 0, 0, {})
    for step, (value, since, kept) in enumerate([(3.0, 0, 0), (nan, 1, 0), (2.0, 0, 2), (2.0, 1, 2), (5.0, 2, 2)]):
        with torch.no_grad():
            network.weight.fill_(step)
        best.see(value, step, network)
        assert (best.since, best.step, best.weights["weight"].item()) == (since, kept, kept)
    best.begin()
    assert (best.value, best.since, best.step, best.weights) == (inf, 0, 0, {})


def test_what_held_out_rows_are_judged_by():
    measured = Measured(2.0, 0.5, 0.9, 0.1)
    assert measured.judged("targets", 4.0) == 0.1
    assert measured.judged("graph", 1.0) == 2.0 and measured.judged("graph", 4.0) == 3.5


def test_held_out_rows_that_are_few_have_the_neighbours_that_there_are():
    encoder = encoder_of(3)
    rng = np.random.default_rng(0)
    for n in (1, 2, 12, 300):
        held, around = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            look = Validation(
                held, around, held[:, :2], 30.0, metric="euclidean", metric_params=None, dof=1.0, threads=Threads(1)
            )
        assert look.near.shape == (4, min(n, max(1, round(3 * min(30, max(1, (n - 1) / 3))))))
        assert look.k == min(10, look.near.shape[1])
        found = look(encoder)
        assert np.isfinite(found).all() and 0 <= found.recall <= 1
        places = encode(encoder, held, 2, Threads(1))
        assert found.distance == pytest.approx(np.linalg.norm(places - held[:, :2], axis=1).mean() / 30, rel=1e-5)


# ----------------------------------------------------------------------------------------------------- graphs of rows


def a_graph(n=12, seed=0):
    """Joint affinities of rows in another order than they are numbered in."""
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) * (rng.random((n, n)) < 0.5)
    P = P + P.T + np.eye(n, k=1) + np.eye(n, k=-1)
    order = rng.permutation(n)
    return Graph(rng.normal(size=(n, 3)).astype(np.float32), Joint.from_matrix(P), order), P * (1 - np.eye(n)), order


def test_partners_are_rows_of_the_table_that_affinities_join():
    graph, P, order = a_graph()
    P = P / P.sum()
    place = np.argsort(order)
    np.testing.assert_array_equal(graph.places, place)
    rows = np.repeat(np.arange(12), 50)
    partners, weights = graph.partners(rows, np.random.default_rng(0))
    assert (P[place[rows], place[partners]] > 0).all()
    np.testing.assert_allclose(weights, 12 * P.sum(axis=1)[place[rows]], rtol=1e-5)
    assert weights.dtype == np.float32
    # Each partner of each row turns up.
    assert {*zip(rows.tolist(), partners.tolist(), strict=True)} > {
        (order[i], order[j]) for i, j in zip(*np.nonzero(P > 0.02), strict=True)
    }


class Last:
    """Chance that is as close to 1 as there is, or exactly 0."""

    def __init__(self, value):
        self.value = value

    def random(self, n):
        return np.full(n, self.value)


@pytest.mark.parametrize("value", [0.0, np.nextafter(1, 0)])
def test_partners_at_the_ends_of_chance_are_partners_still(value):
    graph, P, order = a_graph()
    place = np.argsort(order)
    partners, _ = graph.partners(np.arange(12), Last(value))
    for row, partner in enumerate(partners):
        near = np.flatnonzero(P[place[row]])
        assert place[partner] == near[0 if value == 0 else -1]


def test_affinities_without_some_rows():
    graph, P, order = a_graph()
    P = P / P.sum()
    plogp = np.where(P > 0, P * np.log(np.where(P > 0, P, 1)), 0)
    assert graph.entropy == pytest.approx(plogp.sum(), rel=1e-5)
    assert graph.without(np.empty(0, np.int64)) == (1.0, graph.entropy)
    kept = ~np.isin(order, [2, 5])
    part = P[np.ix_(kept, kept)]
    share, entropy = graph.without(np.array([2, 5]))
    assert share == pytest.approx(part.sum(), rel=1e-5)
    part = part[part > 0] / part.sum()
    assert entropy == pytest.approx((part * np.log(part)).sum(), rel=1e-5)
    assert graph.without(np.arange(12)) == (0.0, 0.0)


def test_rows_that_are_not_moved_are_given_back_as_they_are():
    graph, _, _ = a_graph()
    rows = np.array([3, 1, 4, 0])
    X = graph.X[rows]
    for share, moved in ((0.0, 0), (0.1, 0), (0.25, 1), (0.4, 2), (1.0, 4)):
        before = X.copy()
        found, count = Augmentation(graph, share, 1, np.zeros(12, bool))(0, rows, X)
        assert count == moved and (found is X) == (moved == 0)
        np.testing.assert_array_equal(X, before)
        np.testing.assert_array_equal(found[moved:], X[moved:])
    # Where all partners are held out, the row itself stands for both of them.
    found, _ = Augmentation(graph, 1.0, 1, np.ones(12, bool))(0, rows, X)
    np.testing.assert_array_equal(found, X)


def test_rows_that_are_learnt_are_those_that_are_not_held_out():
    problem = Problem(20, 1.0, 1.0, 1.0, None, None, 0, Threads(1), torch.device("cpu"))
    assert problem.learnt == 20 and len(problem.held) == 0 and problem.held.dtype == np.int64


# ------------------------------------------------------------------------------------------------ weights, checkpoints


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool]
)
def test_weights_are_arrays_of_their_own(dtype):
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype).t()
    found = array_of(tensor)
    # What NumPy does not have, or hardly anything else, is kept in single precision.
    wanted = {torch.float64: np.float64, torch.int64: np.int64, torch.bool: np.bool_}.get(dtype, np.float32)
    assert found.dtype == wanted and found.flags.c_contiguous and found.flags.writeable
    assert found.tolist() == [[0, 1], [1, 0], [1, 1]]
    found[...] = 0
    assert tensor.sum() == 4
    leaf = torch.ones(2, requires_grad=True)
    assert array_of(leaf).tolist() == [1, 1]


def test_weights_are_put_back_and_do_not_follow_the_arrays():
    one, other = encoder_of(seed=0), encoder_of(seed=1)
    weights = weights_of(one)
    assert sum_of_weights(one) != sum_of_weights(other)
    put_weights(other, weights)
    assert sum_of_weights(one) == sum_of_weights(other)
    for array in weights.values():
        array[...] = 7
    assert sum_of_weights(one) == sum_of_weights(other)


class Holding(torch.nn.Module):
    """A network with one buffer."""

    def __init__(self, value):
        super().__init__()
        self.register_buffer("held", value)


class Telling(torch.nn.Module):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Holding(torch.tensor([1.0, nan])), "network has NaN or infinity in held, which no saved encoder holds; use"),
        (Holding(torch.tensor([inf])), "network has NaN or infinity in held, which"),
        (Holding(torch.tensor([1j])), "network has torch.complex64 in held, and a saved encoder holds arrays of real"),
        (Holding(torch.eye(2).to_sparse()), "network has torch.float32 in held, and a saved encoder holds arrays of"),
        (Telling(), "network has an object of type dict in _extra_state, and a saved encoder holds arrays of real"),
        (torch.nn.LazyLinear(3), "network has no shape yet in weight; call it once with rows, before it is trained"),
    ],
    ids=["nan", "infinity", "complex", "sparse", "object", "lazy"],
)
def test_networks_that_cannot_be_saved(network, message):
    with pytest.raises(ValueError) as told:
        check_weights(network)
    assert str(told.value).startswith(message)
    check_weights(Holding(torch.tensor([1, 2])))
    check_weights(encoder_of())
    check_weights(Holding(None))


def test_a_checkpoint_is_of_one_job(tmp_path):
    path = tmp_path / "training"
    job = {"random_state": 5, "table": (1, 2)}
    one = Checkpoint(str(path), job)
    assert not one.exists and Checkpoint.seed_of(path, 9) == 9
    one.remove()
    arrays = {"weights": {"a.b": np.arange(3.0)}, "best": {}}
    one.write({"step": 3}, arrays)
    assert one.exists and Checkpoint.seed_of(path, 9) == 5
    content, groups = Checkpoint(path, {"random_state": 5, "table": [1, 2]}).read()
    assert content["step"] == 3 and list(groups) == ["weights"]
    assert groups["weights"]["a.b"].tolist() == [0, 1, 2] and groups["weights"]["a.b"].flags.writeable
    with pytest.raises(ValueError) as told:
        Checkpoint(path, {"random_state": 6, "table": [1, 2], "more": 1}).read()
    assert str(told.value) == (
        f"{path} holds a training with another more, random_state; ask for the same, or name a new folder"
    )
    one.write({"step": 4}, arrays)
    assert one.read()[0]["step"] == 4
    for seed, wanted in ((-1, 9), (True, 9), ("5", 9), (0, 0), (None, 9)):
        Checkpoint(path, {"random_state": seed}).write({}, arrays)
        assert Checkpoint.seed_of(path, 9) == wanted
    Checkpoint.check(path)
    one.remove()
    assert not path.exists()
    assert of_decoder(path) == tmp_path / "training.decoder"


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_training_that_is_read_back_goes_on_to_the_same_weights(tmp_path, steps):
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32))

    def go(training, count):
        norms = [training.optimizer.step(training.network(X).square().mean(), 0.5) for _ in range(count)]
        training.history.steps += [(training.step, 0, 0, 30, 1.0, 0.1, norm, 0.01) for norm in norms]
        return norms

    whole = Training(encoder_of(), 0.01, ("step", "error"))
    go(whole, steps)
    wanted = go(whole, 2)
    part = Training(encoder_of(), 0.01, ("step", "error"))
    go(part, steps)
    if steps:
        part.best.see(0.25, steps, part.network)
        part.best.since = 2
    checkpoint = Checkpoint(tmp_path / "a", {})
    part.save(checkpoint, {"own": np.arange(2)})
    again = Training(encoder_of(seed=4), 0.01, ("step", "error"))
    own = again.restore(checkpoint)
    assert own["own"].tolist() == [0, 1] and again.step == steps
    assert (again.best.value, again.best.since, again.best.step) == ((0.25, 2, steps) if steps else (inf, 0, 0))
    assert sum_of_weights(again.network) == sum_of_weights(part.network)
    assert go(again, 2) == wanted and sum_of_weights(again.network) == sum_of_weights(whole.network)
    assert again.step == steps + 2
    # The end is the best there was, or where it stands, where there is none.
    assert again.end() == (steps or steps + 2)
    assert sum_of_weights(again.network) == sum_of_weights(part.network if steps else whole.network)


def test_the_norm_of_a_gradient_is_that_before_any_step_and_steps_follow_the_share():
    X = torch.ones(4, 5)
    norms, moved = [], []
    for share in (1.0, 0.25):
        encoder = encoder_of()
        before = {name: value.copy() for name, value in weights_of(encoder).items()}
        optimizer = Optimizer(encoder, 0.01)
        norms.append(optimizer.step(encoder(X).square().mean(), share))
        total = sum(float(weight.grad.square().sum()) for weight in encoder.parameters())
        assert norms[-1] == pytest.approx(math.sqrt(total), rel=1e-5)
        moved.append(sum(np.abs(value - before[name]).sum() for name, value in weights_of(encoder).items()))
    assert norms[0] == norms[1] and moved[0] == pytest.approx(4 * moved[1], rel=1e-2)


def test_weights_are_moved_by_their_gradients_alone_as_adam_has_it():
    """With memories of 10 and of 100 steps, and none of the weights themselves, which do not shrink."""
    encoder = encoder_of()
    optimizer = Optimizer(encoder, 0.01)
    weights = {name: value.detach().double().numpy().copy() for name, value in encoder.named_parameters()}
    moments = {name: [np.zeros_like(value), np.zeros_like(value)] for name, value in weights.items()}
    hidden = {"body.blocks.0.linear.weight"}
    for step in range(1, 4):
        X = torch.from_numpy(np.random.default_rng(step).normal(size=(6, 5)).astype(np.float32))
        # Of one axis of the map alone: what makes the other one has no gradient, but it is there.
        optimizer.step(encoder(X)[:, 0].square().mean(), 0.5)
        for name, value in encoder.named_parameters():
            if name in hidden:
                continue
            gradient = value.grad.double().numpy()
            first, second = moments[name]
            first += 0.1 * (gradient - first)
            second += 0.01 * (gradient**2 - second)
            mean, square = first / (1 - 0.9**step), second / (1 - 0.99**step)
            weights[name] = weights[name] - 0.005 * mean / (np.sqrt(square) + 1e-8)
            np.testing.assert_allclose(value.detach().numpy(), weights[name], rtol=1e-4, atol=1e-6, err_msg=name)


# ----------------------------------------------------------------------------------------------- rows through networks


@pytest.mark.parametrize("n", [0, 1, TILE - 1, TILE, TILE + 1])
@pytest.mark.parametrize("own", [False, True])
def test_rows_go_through_a_network_in_tiles_and_leave_it_as_it_was(n, own):
    torch.manual_seed(0)
    encoder = encoder_of() if not own else torch.nn.Sequential(torch.nn.Linear(5, 2), torch.nn.Dropout(0.5))
    rows = np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)
    before = rows.copy()
    for training in (True, False):
        encoder.train(training)
        found = encode(encoder, rows, None, Threads(2))
        assert encoder.training is training
        assert found.shape == (n, 2) and found.dtype == np.float32
        encoder.eval()
        with torch.no_grad():
            np.testing.assert_allclose(found, encoder(torch.from_numpy(rows)).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_allclose(encode(encoder, rows, 2, Threads(1), 7), found, rtol=1e-4, atol=1e-4)


class Counting(torch.nn.Module):
    """A network of which each row knows how many come with it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(5, 2))

    def forward(self, rows):
        return rows @ self.weight + rows.sum()


def test_networks_that_mix_their_rows_go_row_by_row():
    assert tile_for(encoder_of(), 5) == TILE and tile_for(Counting(), 5) == 1


def test_chance_and_threads_of_others_stay_as_they_were():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with borrowed_generator(7):
        one = torch.rand(3)
    with borrowed_generator(7), borrowed_generator():
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(KeyError), threads_kept():
        torch.set_num_threads(2)
        with threads_kept():
            torch.set_num_threads(3)
        assert torch.get_num_threads() == 2
        raise KeyError
    assert torch.get_num_threads() == 1


# ------------------------------------------------------------------------------------------------------------- decoders


def test_a_decoder_at_its_limits():
    plain = Decoder()
    assert (plain.network, plain.variational, plain.n_iter, plain.learning_rate) == ((128, 2), False, 2000, 0.002)
    least = Decoder([np.int64(16), 1], np.bool_(True), 1, 100)
    assert (least.network, least.variational, least.n_iter, least.learning_rate) == ((16, 1), True, 1, 100.0)
    assert resolve_decoder(False) is None and resolve_decoder(True) == plain and resolve_decoder(least) is least
    for call, kind, message in (
        (lambda: Decoder(n_iter=0), ValueError, "n_iter=0 must be at least 1"),
        (lambda: Decoder(learning_rate=0), ValueError, "learning_rate=0 must be a finite number greater than 0"),
        (
            lambda: Decoder(learning_rate=100.1),
            ValueError,
            "learning_rate=100.1 must be a finite number of at most 100",
        ),
        (lambda: Decoder(variational=1), TypeError, "variational=1 is neither True nor False"),
        (lambda: Decoder(torch.nn.Linear(2, 5)), TypeError, "a decoder has a network of its own; network is (width, "),
        (lambda: resolve_decoder(None), TypeError, "decoder=None is neither True, False nor a tsne_ooc.parametric.Dec"),
    ):
        with pytest.raises(kind) as told:
            call()
        assert str(told.value).startswith(message)


@pytest.mark.parametrize("n", [1, 50, 4096, 4097])
def test_columns_are_scaled_by_their_own_deviation(n):
    X = (np.random.default_rng(0).normal(size=(n, 4)) * [1, 1e-3, 50, 0] + [5, 0, -7, 3]).astype(np.float32)
    center, scale = scales_of(X)
    assert center.dtype == scale.dtype == np.float32
    np.testing.assert_allclose(center, X.mean(axis=0, dtype=np.float64), rtol=1e-5)
    deviation = X.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(scale, np.where(deviation > 1e-12, 1 / np.maximum(deviation, 1e-12), 0), rtol=1e-4)
    # What rounding leaves of a column far from zero is no deviation.
    far = np.full((n, 1), 1e6, np.float32)
    far[::2] += 0.125
    assert scales_of(far)[1].tolist() == [0]


def test_errors_are_means_over_the_columns_that_vary():
    decoder = SimpleNamespace(scale=torch.tensor([1.0, 0.0, 2.0]), spread=torch.tensor([1.0, 5.0, 0.5]))
    rows = np.array([[1, 7, 3], [0, 0, 0], [nan, 0, 0]], np.float32)
    decoded = np.array([[0, 0, 2.5], [0, 9, 0], [0, 0, 0]], np.float32)
    found = errors(decoder, rows, decoded)
    assert found.tolist() == [(1 + 4) / 2, 0, inf] and found.dtype == np.float32
    none = SimpleNamespace(scale=torch.zeros(3), spread=torch.ones(3))
    assert errors(none, rows, decoded).tolist() == [0, 0, 0]


@pytest.mark.parametrize("asked", ["auto", 0, 15, 16, 100, 5000])
def test_landmarks_are_in_sixteens_and_no_more_than_rows(asked):
    for m in (0, 15, 16, 256, 1000, 100_000):
        for p in (1, 784, 1 << 19, 1 << 20):
            found = count_of(asked, m, p)
            assert found % 16 == 0 and found <= m
            most = min(1024, m / 16, (1 << 19) / p) if asked == "auto" else min(asked, m)
            assert found <= most < found + 16
