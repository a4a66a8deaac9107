"""What a training is made of, piece by piece: the loop, what is drawn, and what is measured."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from small_parts import TARGETS, N, X, fresh, options, problem, torch

from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.batches import Batches
from tsne_ooc.joint import Joint
from tsne_ooc.parametric import reconstruction, tiles, training
from tsne_ooc.parametric.augmentation import Augmentation
from tsne_ooc.parametric.checkpoint import Checkpoint
from tsne_ooc.parametric.network import Encoder, ResidualNetwork
from tsne_ooc.parametric.objectives import Distillation, Loss, Stage
from tsne_ooc.parametric.objectives.base import Pairs, graph_of, similarity, targets_of
from tsne_ooc.parametric.problem import Graph, _entropy
from tsne_ooc.parametric.tiles import encode
from tsne_ooc.parametric.training import _bar, _drawing, _learn, _tell, _where, learn
from tsne_ooc.parametric.validation import Measured, Validation

# ------------------------------------------------------------------------------------------------------------- the loop


class Told:
    """An objective of one's own, which writes down what it is asked, and remembers a number."""

    needs = "targets"

    def __init__(self, name, log):
        self.name, self.log = name, log

    def of(self, problem):
        self.log.append((self.name, "of", problem))
        return Telling(self)


class Telling(Loss):
    def __init__(self, told):
        self.told, self.number = told, 0.0

    def begin(self, encoder):
        self.told.log.append((self.told.name, "begin", encoder))

    def loss(self, encoder, batch):
        self.number += 1
        return encoder(batch.X).square().mean()

    def state(self):
        return {"number": np.array([self.number])}

    def restore(self, arrays):
        self.number = float(arrays["number"][0])
        self.told.log.append((self.told.name, "restore", self.number))


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7])
def test_a_stage_is_begun_once_and_goes_on_with_what_it_had(at, tmp_path):
    """Two stages of four and of six steps, and a state is kept at every second; the training is killed at each step."""
    log, checkpoint = [], Checkpoint(tmp_path / "kept", {})
    stages = [Stage(Told("one", log), 4), Stage(Told("two", log), 6)]

    def stop(step, value, network):
        if step == at:
            raise RuntimeError("killed")

    batches = Batches(X, batch_size=20, seed=0)
    given = problem()
    encoder = fresh()
    with pytest.raises(RuntimeError, match="killed"):
        learn(
            encoder, given, batches, np.zeros(N, bool), options(stages=stages, callbacks=[stop]), checkpoint=checkpoint
        )
    begun = [("one", "of", given), ("one", "begin", encoder)]
    assert log == begun + ([("two", "of", given), ("two", "begin", encoder)] if at > 4 else [])
    log.clear()
    encoder = fresh()
    done = learn(encoder, given, batches, np.zeros(N, bool), options(stages=stages), checkpoint=checkpoint)
    kept = at // 2 * 2
    wanted = []
    for name, first, last in (("one", 0, 4), ("two", 4, 10)):
        if kept < last:
            wanted += [
                (name, "of", given),
                (name, "restore", kept - first) if kept > first else (name, "begin", encoder),
            ]
    assert log == wanted and (done.steps, done.stopped) == (10, "finished")


class Looks:
    """Held-out rows that are measured as the test says."""

    def __init__(self, measures, *values):
        self.measures, self.values = measures, iter(values)

    def __call__(self, network):
        return self.measures(*next(self.values))


def test_what_was_best_for_one_objective_is_nothing_to_the_next():
    """The first is judged by distances, of which none of the second stage is as small, and that by its divergence."""
    other = Told("two", [])
    other.needs = "graph"
    look = Looks(Measured, (9.0, 0, 0, 3.0), (5.0, 0, 0, 0.1), (4.0, 0, 0, 7.0))
    stages = [Stage(Told("one", [])), Stage(other)]
    encoder = fresh().eval()
    seen = []
    asked = options(stages=stages, steps=8, look_every=4, callbacks=[lambda *given: seen.append(given[2].training)])
    done = learn(encoder, problem(), Batches(X, batch_size=20, seed=0), np.zeros(N, bool), asked, validation=look)
    assert [row[0] for row in done.history.looks] == [0, 4, 8] and done.kept == 8
    # However it came, it learns in the mode for that, and is left in the other.
    assert seen == [True] * 8 and not encoder.training


def test_looks_are_named_by_what_they_measure():
    look = Looks(reconstruction.Reconstructed, (0.5,), (0.25,), (0.75,))
    for validation, names in ((look, ["step", "error"]), (None, ["step", *Measured._fields])):
        done = learn(
            fresh(), problem(), Batches(X, batch_size=20, seed=0), np.zeros(N, bool), options(steps=4),
            validation=validation,
        )  # fmt: skip
        columns = done.history.columns()["validation"]
        assert list(columns) == names and done.kept == (2 if validation else 4)
        assert columns["step"].tolist() == ([0, 2, 4] if validation else [])
    assert Stage(Distillation()) == (Distillation(), 1.0, 1.0)


class Bar:
    disable = False

    def __init__(self):
        self.told, self.updates, self.closed = [], 0, 0

    def set_postfix_str(self, text, refresh):
        self.told.append((text, refresh))

    def update(self):
        self.updates += 1

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_training_its_bar_and_its_batches_are_closed(end, monkeypatch):
    bars, feeds = [], []

    def bar(asked, start):
        bars.append((asked, start, Bar()))
        return bars[-1][2]

    def endless(batches, step):
        feeds.append("open")
        try:
            yield from real(batches, step)
        finally:
            feeds.append("closed")

    def stop(step, value, network):
        if step == 3 and end is not None:
            raise end

    real = training.endless
    monkeypatch.setattr(training, "_bar", bar)
    monkeypatch.setattr(training, "endless", endless)
    asked = options(callbacks=[stop], steps=5)
    with pytest.raises(end) if end is RuntimeError else nullcontext():
        learn(fresh(), problem(), Batches(X, batch_size=20, seed=0), np.zeros(N, bool), asked)
    ((given, start, one),) = bars
    assert given is asked and start == 0 and one.closed == 1 and feeds == ["open", "closed"]
    assert one.updates == len(one.told) == (5 if end is None else 3)


def test_a_bar_shows_batches_of_all_that_there_are(monkeypatch, capfd):
    bar = _bar(options(verbose=True, title="decoder", steps=12), 5)
    assert (bar.total, bar.n, bar.unit, bar.disable) == (12, 5, "batch", False) and "decoder" in bar.desc
    _tell(bar, 0.123456, 98765.4)
    assert bar.n == 6 and bar.postfix == "loss 0.1235, 98,765 rows/s"
    bar.close()
    hidden = _bar(options(steps=12), 5)
    assert hidden.disable
    _tell(hidden, 0.5, 1.0)
    assert hidden.n in (0, 5)
    capfd.readouterr()
    # Whoever shows nothing is asked for nothing.
    _tell(SimpleNamespace(disable=True), 0.5, 1.0)


def test_rows_with_values_alike_are_named_in_their_order():
    rows = np.arange(40)[::-1].copy()
    values = np.zeros((40, 2), np.float32)
    values[::3, 1] = -5
    values[1::3, 0] = 5
    told = _where(math.inf, 3, 1, rows, values)
    first = [row for row, value in zip(rows, np.abs(values).max(axis=1), strict=True) if value == 5][:8]
    assert f"of the rows {', '.join(map(str, first))} and 32 more (those" in told


@pytest.mark.parametrize("own_network", [False, True])
@pytest.mark.parametrize("own_objective", [False, True])
def test_chance_is_lent_to_what_others_wrote(own_network, own_objective, monkeypatch):
    """By seed and step, the same each time; what we wrote draws nothing, and need not wait for others."""
    lent = []
    monkeypatch.setattr(training, "borrowed_generator", lambda *given: lent.append(given) or nullcontext())
    body = torch.nn.Linear(3, 2) if own_network else ResidualNetwork(16, 2, 16, 0)
    for seed, step in ((0, 0), (0, 1), (7, 1), (0, 0)):
        given = problem(seed=seed)
        loss = Telling(Told("own", [])) if own_objective else Distillation().of(given)
        with _drawing(SimpleNamespace(network=fresh(body), step=step), loss, given):
            pass
    if not (own_network or own_objective):
        assert lent == []
        return
    assert all(type(seed) is int and 0 <= seed < 1 << 63 and device == torch.device("cpu") for seed, device in lent)
    seeds = [seed for seed, _ in lent]
    assert seeds == [
        int(generator(seed, f"network, step {step}").integers(1 << 63))
        for seed, step in ((0, 0), (0, 1), (7, 1), (0, 0))
    ]
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("augmented", [False, True])
def test_a_batch_is_told_by_its_step_its_rows_and_how_many_were_moved(augmented):
    seen = []

    class Seeing(Telling):
        def loss(self, encoder, batch):
            seen.append(batch)
            return super().loss(encoder, batch) * scale

    def augmentation(step, rows, values):
        seen.append((step, rows, values))
        return values + 1, 2

    encoder, rows = fresh(), np.array([4, 9, 2])
    steps = []
    state = SimpleNamespace(
        network=encoder, step=6, optimizer=SimpleNamespace(step=lambda loss, share: steps.append((loss, share)) or 0.75)
    )
    for scale in (1.0, math.nan):
        seen.clear()
        given = state, Seeing(Told("own", [])), problem(), augmentation if augmented else None, 3, rows, X[rows], 0.5
        if scale == 1.0:
            value, norm = _learn(*given)
            assert norm == 0.75 and steps[0][1] == 0.5 and value == float(steps[0][0].detach()) and type(value) is float
        else:
            # What is told of is what the network has seen.
            with pytest.raises(FloatingPointError) as told:
                _learn(*given)
            assert str(told.value) == _where(math.nan, 6, 3, rows, X[rows] + augmented) and len(steps) == 1
        batch = seen[-1]
        assert (batch.step, batch.moved) == (6, 2 if augmented else 0) and batch.rows is rows
        np.testing.assert_array_equal(batch.X.numpy(), X[rows] + augmented)
        assert len(seen) == 1 + augmented
        if augmented:
            assert seen[0][0] == 6 and seen[0][1] is rows


# -------------------------------------------------------------------------------------------------------- what is drawn


def a_graph(n=20, seed=0):
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) * (rng.random((n, n)) < 0.4)
    P = P + P.T + np.eye(n, k=1) + np.eye(n, k=-1)
    return Graph(rng.normal(size=(n, 3)).astype(np.float32), Joint.from_matrix(P), rng.permutation(n))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_row_is_moved_by_a_part_of_the_way_between_two_of_its_partners(share):
    """Drawn by the seed and the step, one after the other; in place of a held-out one stands the row itself."""
    graph, held = a_graph(), np.arange(20) % 3 == 0
    rows = np.random.default_rng(1).integers(0, 20, 60)
    given = graph.X[rows]
    for step in (0, 5):
        found, moved = Augmentation(graph, share, 9, held)(step, rows, given)
        rng = generator(9, f"augmentation, step {step}")
        some = rows[:moved]
        one, other = (graph.partners(some, rng)[0] for _ in range(2))
        assert held[one].any() and (~held[one]).any() and held[other].any()
        one, other = np.where(held[one], some, one), np.where(held[other], some, other)
        part = rng.random((moved, 1), dtype=np.float32)
        wanted = given.copy()
        wanted[:moved] = given[:moved] + part * (graph.X[one] - graph.X[other])
        assert moved == round(share * 60) and found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("held", [[], [2, 5, 11], [*range(20)]], ids=len)
def test_a_pair_is_a_row_and_its_partner_and_counts_as_much_as_affinities_say(held):
    """On average 1 among the rows that are learnt; pairs with held-out rows count nothing."""
    graph, held = a_graph(), np.array(held, np.int64)
    given = problem(n=20, graph=graph, targets=None, seed=4, held=held)
    pairs = Pairs(given)
    share, entropy = graph.without(held)
    assert (pairs.n, pairs.entropy) == (20 - len(held), entropy)
    rows = np.random.default_rng(1).integers(0, 20, 60)
    batch = SimpleNamespace(step=6, rows=rows, X=torch.from_numpy(graph.X[rows]))
    encoder = fresh()
    Y, Z, weights, rng = pairs(encoder, batch)
    twin = generator(4, "pairs, step 6")
    partners, wanted = graph.partners(rows, twin)
    out = np.isin(partners, held)
    assert out.all() == (len(held) == 20) and out.any() == (len(held) > 0)
    gain = (20 - len(held)) / (20 * share) if share else 0
    np.testing.assert_allclose(weights.numpy(), np.where(out, 0, gain * wanted), rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(Y, encoder(torch.from_numpy(graph.X[rows])))
        torch.testing.assert_close(Z, encoder(torch.from_numpy(graph.X[np.where(out, rows, partners)])))
    # The generator goes on behind what was drawn.
    assert rng.random() == twin.random() and weights.dtype == torch.float32


def test_what_a_problem_lacks_is_told():
    with pytest.raises(ValueError, match=r"^this objective needs a map to imitate, and the teacher has none$"):
        targets_of(problem(targets=None))
    with pytest.raises(ValueError, match=r"^this objective needs the affinities of all rows; use objective='dist"):
        graph_of(problem())
    assert targets_of(problem()) is TARGETS
    plain = Loss()
    assert (plain.exaggeration, plain.burst, plain.judge(None), plain.state()) == (1.0, False, None, {})
    assert plain.begin(None) is plain.restore({}) is None
    with pytest.raises(NotImplementedError):
        plain.loss(None, None)


def test_affinities_that_are_nothing_add_nothing(recwarn):
    P = np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]])
    joint = Joint.from_matrix(P + np.eye(3, k=1) * 1e-300 + np.eye(3, k=-1) * 1e-300)
    assert _entropy(np.array([0, 0.25, 0.75, 0], np.float32)) == pytest.approx(
        0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    )
    assert Graph(X[:3], joint, np.arange(3)).entropy == pytest.approx(-math.log(2)) and not recwarn.list


@pytest.mark.parametrize("dof", [0.3, 1.0, 2.0, 5.0])
def test_the_kernel_of_a_distance(dof):
    square = torch.tensor([0.0, 0.25, 1.0, 9.0, 1e4], dtype=torch.float64)
    wanted = [(1 + float(one) / dof) ** -dof for one in square]
    np.testing.assert_allclose(similarity(square, dof).numpy(), wanted, rtol=1e-12)


# ----------------------------------------------------------------------------------------------------- what is measured


@pytest.mark.parametrize(
    ("metric", "params", "order"), [("minkowski", {"p": 1}, 1), ("minkowski", {"p": 4}, 4), ("euclidean", None, 2)]
)
def test_held_out_rows_are_compared_in_the_metric_of_the_teacher(metric, params, order):
    rng = np.random.default_rng(1)
    held, around = (rng.normal(size=(n, 6)).astype(np.float32) for n in (30, 200))
    look = Validation(
        held, around, held[:, :2], 1.0, metric=metric, metric_params=params, dof=1.0, threads=Threads(1)
    )  # fmt: skip
    D = (np.abs(held[:, None].astype(float) - around) ** order).sum(axis=2) ** (1 / order)
    np.testing.assert_array_equal(look.near, np.argsort(D, axis=1, kind="stable")[:, :90])


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_that_are_far_beyond_all_others_have_no_affinity_and_cost_nothing(jobs, recwarn):
    """More held-out rows than one thread compares at a time, and reference rows of which many are out of reach."""
    rng = np.random.default_rng(1)
    held, around = rng.normal(size=(150, 3)).astype(np.float32), rng.normal(size=(91, 3)).astype(np.float32)
    around[40:] += 1000
    targets = rng.normal(size=(150, 2)).astype(np.float32)
    look = Validation(
        held, around, targets, 3.0, metric="euclidean", metric_params=None, dof=2.0, threads=Threads(jobs)
    )
    p = look.p.astype(float)
    assert (p == 0).any(axis=1).all() and (p > 0).any(axis=1).all()
    encoder = fresh()
    found = look(encoder)
    Y, Z = (encode(encoder, rows, 2, Threads(1)).astype(float) for rows in (held, around))
    square = np.square(Y[:, None] - Z).sum(axis=2)
    w = (1 + square / 2) ** -2
    attraction = -(p * np.log(np.take_along_axis(w, look.near.astype(int), axis=1))).sum(axis=1)
    entropy = np.array([sum(one * math.log(one) for one in row if one > 0) for row in p])
    assert found.attraction == pytest.approx(attraction.mean(), rel=1e-5)
    assert found.kl_divergence == pytest.approx((entropy + attraction + np.log(w.sum(axis=1))).mean(), rel=1e-4)
    assert found.distance == pytest.approx(np.linalg.norm(Y - targets, axis=1).mean() / 3, rel=1e-5)
    nearest = np.argsort(square, axis=1)[:, :10]
    shared = [len({*a} & {*b}) for a, b in zip(nearest.tolist(), look.near[:, :10].tolist(), strict=True)]
    assert found.recall == pytest.approx(np.mean(shared) / 10)
    assert not recwarn.list


class Moody(torch.nn.Module):
    """A network that has no parameters, and refuses some rows."""

    def __init__(self):
        super().__init__()
        self.register_buffer("axes", torch.eye(3, 2))

    def forward(self, rows):
        if (rows > 50).any():
            raise RuntimeError("no such rows")
        return rows @ self.axes


def test_a_network_that_fails_is_left_in_the_mode_that_it_was_in():
    network = Moody()
    for mode in (True, False):
        network.train(mode)
        np.testing.assert_array_equal(encode(network, X, None, Threads(1)), X[:, :2])
        with pytest.raises(RuntimeError, match="no such rows"):
            encode(network, X + 100, 2, Threads(1))
        assert network.training is mode


def test_rows_on_trial_are_like_those_of_the_table(monkeypatch):
    """In the units of its columns, of which one may not vary: a network may be alike for rows near 0 alone."""
    tried, real = [], tiles.encode
    monkeypatch.setattr(tiles, "encode", lambda network, rows, *more: tried.append(rows) or real(network, rows, *more))
    center, scale = np.array([1e4, -3e5, 7.0]), np.array([1e-3, 50, 0])
    body = ResidualNetwork(16, 2, 16, 0)
    body.initialise(np.zeros((2, 16), np.float32), np.random.default_rng(0))
    assert tiles.tile_for(Encoder(body, center, scale, np.zeros(2), 1.0), 3) == tiles.TILE
    one, alike, among = tried
    assert {rows.dtype for rows in tried} == {np.dtype(np.float32)} and among.shape == (tiles.TILE, 3)
    np.testing.assert_array_equal(one, among[:1])
    np.testing.assert_array_equal(alike, np.tile(one, (tiles.TILE, 1)))
    units = (among - center) * np.where(scale == 0, 1, scale)
    np.testing.assert_allclose(units.mean(axis=0), 0, atol=0.2)
    np.testing.assert_allclose(units.std(axis=0), 1, atol=0.2)
    # A network of ones own, without such units, gets rows of variance 1.
    tried.clear()
    assert tiles.tile_for(torch.nn.Linear(3, 2), 3) in (1, tiles.TILE)
    np.testing.assert_allclose(tried[-1].std(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(tried[-1].mean(axis=0), 0, atol=0.2)
