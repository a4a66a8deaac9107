"""What a training is made of, piece by piece: what a stage is told, what is closed, drawn, measured, kept and read."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc._random import generator  # noqa: E402
from tsne_ooc.affinity import Joint  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.io import as_source  # noqa: E402
from tsne_ooc.parametric import (  # noqa: E402
    Decoder,
    ParametricTSNE,
    lesson,
    load,
    objectives,
    reconstruction,
    room,
    teaching,
    tiles,
    training,
)
from tsne_ooc.parametric.augmentation import Augmentation  # noqa: E402
from tsne_ooc.parametric.checkpoint import Checkpoint, put_weights, weights_of  # noqa: E402
from tsne_ooc.parametric.decoder import LEAST_SPREAD, RADIUS, DecoderNetwork, errors  # noqa: E402
from tsne_ooc.parametric.network import Encoder, ResidualNetwork, padded  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, Loss, Stage  # noqa: E402
from tsne_ooc.parametric.objectives.base import Pairs, graph_of, similarity, targets_of  # noqa: E402
from tsne_ooc.parametric.problem import Graph, Problem, _entropy  # noqa: E402
from tsne_ooc.parametric.reconstruction import Reconstruction, train_decoder  # noqa: E402
from tsne_ooc.parametric.tiles import encode  # noqa: E402
from tsne_ooc.parametric.training import Options, _bar, _drawing, _learn, _tell, _where, learn  # noqa: E402
from tsne_ooc.parametric.validation import Measured, Validation  # noqa: E402
from tsne_ooc.preprocess import Preparation, Standardize, Transformer  # noqa: E402
from tsne_ooc.storage.manifest import sum_of  # noqa: E402

N = 50
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
TARGETS = (X[:, :2] * 4 + 1).astype(np.float32)


def problem(**more):
    usual = {
        "n": N, "width": 10.0, "dof": 1.0, "exaggeration": 1.0, "targets": TARGETS, "graph": None, "seed": 0,
        "threads": Threads(1), "device": torch.device("cpu"),
    }  # fmt: skip
    return Problem(**(usual | more))


def fresh(body=None):
    torch.manual_seed(0)
    body = torch.nn.Linear(3, 2) if body is None else body
    return Encoder(body, np.zeros(3), np.ones(3), np.zeros(2), 10.0)


def options(**more):
    usual = {
        "stages": [Stage(Distillation(math.inf))], "steps": 10, "learning_rate": 0.05, "look_every": 2,
        "patience": None, "callbacks": [], "callbacks_every": 1, "verbose": False,
    }  # fmt: skip
    return Options(**(usual | more))


# --------------------------------------------------------------------------------------------------------- the loop


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


# ---------------------------------------------------------------------------------------------------- what is drawn


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


# ------------------------------------------------------------------------------------------------- what is measured


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


# -------------------------------------------------------------------------------------------------------- decoders


def decoder_behind(monkeypatch, held=(), learns=False, **more):
    """A decoder that is hardly trained, if at all, and what its training was asked for."""
    asked = []

    def learn(network, problem, batches, held, options, *, validation, checkpoint):
        asked.append((network, problem, batches, held, options, validation, checkpoint))
        if learns:
            with torch.no_grad():
                network.body.head.weight.fill_(0.1)
                network.body.skip.weight[:3, :2] = torch.tensor([[0.5, 0], [0, -0.2], [1.5, 0.1]])
        return "done"

    monkeypatch.setattr(reconstruction, "learn", learn)
    table = np.column_stack([X, np.full(N, 7, np.float32)])
    encoder = Encoder(torch.nn.Linear(4, 2), np.zeros(4), np.ones(4), np.ones(2), 5.0)
    given = problem(held=np.array(held, np.int64), seed=3)
    loop = options(patience=4, callbacks=[print], callbacks_every=9, look_every=7, verbose=True, **more)
    asking = Decoder((16, 1), n_iter=33, learning_rate=0.25)
    found = train_decoder(asking, encoder, as_source(table), "batches", given, loop, checkpoint="kept")
    return found, encoder, table, given, *asked


@pytest.mark.parametrize("held", [(), (3, 8, 40)], ids=["none", "some"])
def test_a_decoder_is_trained_as_its_encoder_was_but_for_its_own_options(held, monkeypatch):
    found, encoder, table, given, (network, told, batches, out, asked, look, kept) = decoder_behind(monkeypatch, held)
    assert (batches, kept, told, found.done) == ("batches", "kept", given, "done") and found.network is network
    assert out.dtype == bool and np.flatnonzero(out).tolist() == list(held) and len(out) == N
    ((objective, share, rate),) = asked.stages
    assert (share, rate, objective.encoder, objective.variational) == (1, 1, encoder, False)
    assert (asked.steps, asked.learning_rate, asked.callbacks, asked.title) == (33, 0.25, [], "decoder")
    assert asked.patience == (4 if held else None)
    assert (asked.look_every, asked.callbacks_every, asked.verbose) == (7, 9, True)
    if held:
        np.testing.assert_array_equal(look.rows, table[list(held)])
        np.testing.assert_array_equal(look.places, encode(encoder, table[list(held)], 2, Threads(1)))
        assert look.threads is given.threads
    else:
        assert look is None
    # In the units of the encoder's map, and of the table's columns.
    assert network.origin.tolist() == [1, 1] and float(network.width) == 5 and (network.p, network.d) == (4, 2)
    np.testing.assert_allclose(network.center.numpy(), table.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(network.scale.numpy()[:3], 1 / table.std(axis=0)[:3], rtol=1e-5)
    assert network.scale.numpy()[3] == 0


@pytest.mark.parametrize("learns", [False, True])
def test_what_a_decoder_leaves_is_measured_column_by_column(learns, monkeypatch):
    """A column that it tells exactly counts as if a little were left, and so does one that does not vary."""
    found, encoder, table, *_ = decoder_behind(monkeypatch, learns=learns)
    network = found.network
    back = encode(network, encode(encoder, table, 2, Threads(1)), 4, Threads(1)).astype(float)
    left = np.sqrt(np.square((back - table) * network.scale.numpy()).mean(axis=0))
    if learns:
        assert (np.abs(left[:3] - 1) > 1e-3).all()
    else:
        # It has not learnt anything, and gives the mean row.
        np.testing.assert_allclose(left[:3], 1, rtol=1e-5)
    np.testing.assert_allclose(network.spread.numpy(), np.maximum(left, LEAST_SPREAD), rtol=1e-5)
    assert network.spread.numpy()[3] == np.float32(LEAST_SPREAD) and network.center.device.type == "cpu"


def saying(d, p, scale=1.0):
    """A decoder that says something, in other units than those of its network."""
    rng = np.random.default_rng(0)
    network = DecoderNetwork(p, d, 16, 1).begin(rng.normal(size=d), 3.0, rng.normal(size=p), np.full(p, scale), rng)
    with torch.no_grad():
        for layer in (network.body.head, network.body.skip):
            layer.weight.copy_(torch.from_numpy(rng.normal(size=tuple(layer.weight.shape)).astype(np.float32)))
    return network


@pytest.mark.parametrize("d", [1, 2, 3, 16])
@pytest.mark.parametrize("p", [1, 16, 17])
def test_a_decoder_sees_its_places_and_all_waves_and_gives_all_columns(d, p):
    """In layers that are filled up to sixteens, and no wider."""
    network = saying(d, p)
    seen = d + 2 * network.waves.shape[1]
    assert seen <= network.body.p < seen + 16 and p <= network.body.d < p + 16
    assert network.body.p % 16 == network.body.d % 16 == 0 and network.waves.shape[0] == d
    places = torch.from_numpy(np.random.default_rng(1).normal(size=(9, d)).astype(np.float32))
    with torch.no_grad():
        phase = places @ network.waves
        whole = torch.cat([places, phase.sin(), phase.cos(), torch.zeros(9, network.body.p - seen)], dim=1)
        torch.testing.assert_close(network.standardised(places), network.body(whole)[:, :p])
        assert network.standardised(places).shape == (9, p)
        # The last of the waves counts, too.
        other = network.standardised(places)
        network.waves[:, -1] += 1
        assert not torch.allclose(other, network.standardised(places))


def test_a_row_that_is_decoded_is_in_the_units_of_the_table():
    """A column that does not vary is its mean; a place is measured in widths of the map, from its middle."""
    network = saying(2, 5)
    network.scale.copy_(torch.tensor([0.25, 0, 1, 4, 1e-30]))
    places = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(network.relative(places), (places - network.origin) / 3)
        inside = network.standardised((places - network.origin) / 3).double()
        found = network(places)
    wanted = network.center.double() + inside / torch.tensor([0.25, 1, 1, 4, 1e-30], dtype=torch.float64)
    wanted[:, 1] = network.center[1]
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
    assert (found[:, 1] == network.center[1]).all() and (inside[:, 1] != 0).all()


def test_a_decoder_that_has_not_begun_changes_no_units():
    """Neither those of places nor those of rows; errors are plain, and the radius is the one that it begins with."""
    network = DecoderNetwork(3, 2, 16, 0)
    places = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(network.relative(places), places)
        torch.testing.assert_close(network(places), network.standardised(places))
    rows = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_allclose(errors(network, rows, 0 * rows), np.square(rows).mean(axis=1), rtol=1e-6)
    assert float(network.radius.detach()) == pytest.approx(RADIUS) and not network.waves.any()


def test_networks_are_of_single_precision_whatever_torch_is_set_to():
    torch.set_default_dtype(torch.float64)
    try:
        made = DecoderNetwork(3, 2, 16, 1), ResidualNetwork(16, 2, 16, 1, 16, 4.0), fresh()
        bounded = Encoder(ResidualNetwork(16, 2, 16, 0), np.zeros(3), np.ones(3), np.zeros(2), 1.0, True)
    finally:
        torch.set_default_dtype(torch.float32)
    for network in (*made[:2], bounded):
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    # A network of ones own is what it is, between units that are ours.
    assert {name: value.dtype for name, value in made[2].state_dict().items() if "body" not in name} == dict.fromkeys(
        ("center", "scale", "origin", "width"), torch.float32
    )


def test_a_column_that_does_not_vary_is_within_the_evidence_bound():
    """Its residual is nothing, of which there is no logarithm: a little is added to all mean squares."""
    network = DecoderNetwork(3, 2, 16, 0).begin(
        np.zeros(2), 5.0, np.zeros(3), np.array([1.0, 0, 0.5]), np.random.default_rng(0)
    )
    batch = SimpleNamespace(step=2, X=torch.from_numpy(X))
    loss = Reconstruction(lambda rows: rows[:, :2], True).of(SimpleNamespace(seed=7))
    left = np.square(X * [1, 0, 0.5]).mean(axis=0)
    radius = float(network.radius.detach())
    wanted = (np.log(left + 1e-4).sum() / 2 + 2 * (radius**2 / 2 - math.log(radius))) / 3
    assert float(loss.loss(network, batch).detach()) == pytest.approx(wanted, rel=1e-4)


def test_small_spreads_of_small_columns_are_within_what_numbers_hold():
    one = SimpleNamespace(scale=torch.tensor([1e38]), spread=torch.tensor([0.03]))
    found = errors(one, np.array([[1e-38], [0]], np.float32), np.zeros((2, 1), np.float32))
    np.testing.assert_allclose(found, [1 / 0.03**2, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("network", "kind", "says"),
    [
        ((20, 1), ValueError, "network width 20 must be a multiple of 16"),
        ((0, 1), ValueError, "network width=0 must be at least 1"),
        ((16, -1), ValueError, "network depth=-1 must be at least 0"),
        ((16,), TypeError, "network=(16,) is neither (width, depth) nor a torch.nn.Module"),
        (16, TypeError, "network=16 is neither (width, depth) nor a torch.nn.Module"),
    ],
)
def test_networks_that_no_decoder_can_have(network, kind, says):
    with pytest.raises(kind) as told:
        Decoder(network)
    assert str(told.value).startswith(says)


# ----------------------------------------------------------------------------------------------------- on the disk


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_take_the_room_of_the_type_that_they_are_kept_in(dtype):
    """A file has none of fewer than 32 bits."""
    assert room._size(torch.zeros((3, 5), dtype=dtype)) == (120 if dtype == torch.float64 else 60)


def test_tables_of_places_are_kept_where_a_map_is_tuned():
    """Two of them, single precision, in each of two states that are there at a moment."""
    model = ParametricTSNE(network=(16, 1), landmarks=0)
    more, less = (room.bytes_of_training(model, 0, 10_000, 20, 3, all_mapped=mapped) for mapped in (True, False))
    assert more - less == 2 * 2 * 4 * 3 * 10_000
    # A decoder has as many numbers as it has weights, and a history of its own.
    for steps in (10, 1000):
        model.set_params(decoder=Decoder((16, 1), n_iter=steps), n_iter=5)
        with_it = room.bytes_of_training(model, 10**7, 10_000, 20, 3, all_mapped=False)
        model.set_params(decoder=False)
        assert with_it - room.bytes_of_training(model, 10**7, 10_000, 20, 3, all_mapped=False) > 2 * 64 * steps
    # Where the teacher is large, its copy within the encoder is what takes most.
    large = room.bytes_of_training(model, 10**9, 10_000, 20, 3, all_mapped=False)
    assert large - room.bytes_of_training(model, 10**9 - 1000, 10_000, 20, 3, all_mapped=False) == 1000


def test_weights_of_a_file_may_be_read_only_and_are_copied(recwarn):
    one, other = fresh(), fresh()
    with torch.no_grad():
        other.body.weight.fill_(3)
    weights = weights_of(one)
    for array in weights.values():
        array.flags.writeable = False
    put_weights(other, weights)
    assert not recwarn.list
    for name, value in weights_of(other).items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_a_decoder_is_kept_twice_in_the_end(steps):
    """In the encoder's folder with its history, and in its state: its weights, the best, and two moments of each, or
    one where Muon moves them."""
    model = ParametricTSNE(network=(16, 1), landmarks=0, objective="distillation", n_iter=5)
    without = room.bytes_of_training(model, 10**9, 10_000, 20, 3, all_mapped=True)
    found = room.bytes_of_training(
        model.set_params(decoder=Decoder((32, 2), n_iter=steps)), 10**9, 10_000, 20, 3, all_mapped=True
    )
    network = DecoderNetwork(20, 3, 32, 2)
    weights = sum(value.numel() for value in network.state_dict().values())
    moved = sum(block.linear.weight.numel() for block in network.body.blocks)
    history = steps * 8 * 8
    assert found - without == 4 * (4 * weights - moved) + history + 4 * weights + history


class Removed:
    def __init__(self):
        self.times = 0

    def remove(self):
        self.times += 1


@pytest.mark.parametrize("changed", [False, True])
def test_what_was_learnt_from_a_table_that_changed_is_removed(changed):
    def check():
        if changed:
            raise OSError("it changed")

    one, other = Removed(), Removed()
    with pytest.raises(OSError, match="it changed") if changed else nullcontext():
        lesson._check_one_table(SimpleNamespace(check_unchanged=check), one, None, other)
    assert (one.times, other.times) == (changed, changed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a small encoder with two threads, and the encoder."""
    teacher = TSNE(perplexity=5, n_iter=0, early_exaggeration_iter=0, neighbors="exact", random_state=0, n_jobs=1)
    model = ParametricTSNE(teacher, network=(16, 0), landmarks=0, n_iter=2, random_state=0, n_jobs=2).fit(X)
    folder = tmp_path_factory.mktemp("saved") / "encoder"
    model.save(folder)
    return folder, model


def test_threads_of_a_loaded_encoder_are_those_that_are_asked_for(saved, tmp_path):
    folder, model = saved
    for asked, own, teachers in (("saved", 2, 1), (3, 3, 3), (None, None, None)):
        found = load(folder, n_jobs=asked)
        assert (found.n_jobs, found.teacher_.n_jobs) == (own, teachers)
        np.testing.assert_array_equal(found.transform(X), model.transform(X))
    assert load(folder).n_jobs == 2
    for wrong in (0, 1.5, "all"):
        # Before anything is read.
        with pytest.raises((ValueError, TypeError), match="n_jobs="):
            load(tmp_path / "nowhere", n_jobs=wrong)


def forged(saved, target, change):
    target.mkdir()
    for file in saved.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    change(manifest["content"])
    del manifest["sha256"]
    (target / "manifest.json").write_text(json.dumps({**manifest, "sha256": sum_of(manifest)}))
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content["network"].update(reach=-1), "network"),
        (lambda content: content["network"].update(reach=0), "network"),
        (lambda content: content["network"].update(reach="far"), "network"),
        (lambda content: content["network"].update(bounded=1), "network"),
        (lambda content: content["fitted"].update(columns=0), "fitted"),
        (lambda content: content["fitted"].update(columns=(1 << 24) + 1), "fitted"),
        (lambda content: content["fitted"].update(seed=-1), "fitted"),
        (lambda content: content["parameters"].update(n_jobs=0), "parameters cannot be: n_jobs=0"),
        (lambda content: content["parameters"].update(x=3), "parameters cannot be: "),
        (lambda content: content.pop("network"), "network"),
        (lambda content: content.pop("weights"), "weights"),
    ],
)
def test_what_a_manifest_says_amiss_is_told_in_one_line(saved, tmp_path, change, says):
    target = forged(saved[0], tmp_path / "forged", change)
    with pytest.raises(ValueError) as told:
        load(target)
    text = str(told.value)
    assert text.startswith(f"{target / 'manifest.json'}: ") and says in text and "\n" not in text
    assert len(text) < len(str(target)) + 300


def test_a_history_of_another_shape_is_told_by_its_file(saved, tmp_path):
    target = forged(saved[0], tmp_path / "forged", lambda content: None)
    (file,) = (path for path in target.glob("*.npy") if path.name.startswith("history.batches"))
    # As many numbers, in other rows.
    np.save(file, np.load(file).reshape(4, 4))
    with pytest.raises(ValueError) as told:
        load(target, verify=False)
    assert str(told.value).startswith(f"{file}") and "\n" not in str(told.value)


def test_a_path_without_bounds_or_an_end_is_one_without_them(saved, tmp_path):
    for reach in (None, 1e-3, 2.5):
        target = forged(
            saved[0], tmp_path / str(reach), lambda content, reach=reach: content["network"].update(reach=reach)
        )
        assert load(target).encoder_.body.reach == reach
    assert load(saved[0]).encoder_.bounded is True and load(saved[0]).seed_ == 0


def test_prepared_rows_are_placed_without_steps_and_with_a_novelty_where_one_is_known(saved):
    _, model = saved
    placed = model.place_prepared(X[:7])
    assert placed.n_iter.tolist() == [0] * 7 if hasattr(placed, "n_iter") else not np.asarray(placed[1]).any()
    assert np.asarray(placed[1]).dtype == np.int32 and np.asarray(placed[1]).shape == (7,)
    np.testing.assert_array_equal(placed.novelty, model.score_samples(X[:7]))
    np.testing.assert_array_equal(placed.embedding, model.transform(X[:7]))
    reference = model.map_.model.reference
    object.__setattr__(model.map_.model, "reference", None)
    try:
        assert model.place_prepared(X[:7]).novelty is None
    finally:
        object.__setattr__(model.map_.model, "reference", reference)
    assert padded(3) == 16 and model.encoder_.body.p == 16


@pytest.mark.parametrize(
    "call",
    [
        lambda model, path: model.transform(X), lambda model, path: model.score_samples(X),
        lambda model, path: model.inverse_transform(X[:, :2]), lambda model, path: model.reconstruction_error(X),
        lambda model, path: model.place_prepared(X), lambda model, path: model.encode_prepared(X),
        lambda model, path: model.save(path / "encoder"), lambda model, path: model.export_onnx(path / "encoder.onnx"),
    ],
)  # fmt: skip
def test_nothing_is_answered_before_a_fit(call, tmp_path):
    with pytest.raises(NotFittedError):
        call(ParametricTSNE(decoder=True), tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(AttributeError, match=r"^this ParametricTSNE is not fitted$"):
        ParametricTSNE().encoder_  # noqa: B018


@pytest.mark.parametrize("name", ["transform", "score_samples"])
def test_a_lazy_table_is_not_taken_before_a_fit_either(name):
    dask = pytest.importorskip("dask.array")
    with pytest.raises(NotFittedError):
        getattr(ParametricTSNE(), name)(dask.from_array(X, chunks=(20, 3)))


def with_decoder(model, prepare=None):
    """The same encoder with a decoder of no training, behind a preparation or none."""
    network = DecoderNetwork(3, 2, 16, 0).begin(
        np.zeros(2), 1.0, np.array([1.0, 2, 3]), np.ones(3), np.random.default_rng(0)
    )
    features = replace(model.fitted_.features, preparation=prepare)
    made = ParametricTSNE.of_fitted(replace(model.fitted_, decoder=network, features=features), decoder=True, n_jobs=1)
    return made


def test_a_place_where_no_row_is_is_named_by_its_number(saved, monkeypatch):
    """Also where only some of its columns are beyond all numbers."""
    model = with_decoder(saved[1])
    places = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.testing.assert_array_equal(model.inverse_transform(places), np.tile([1.0, 2, 3], (6, 1)))
    rows = np.ones((6, 3), np.float32)
    rows[2, 1], rows[4] = np.inf, np.nan
    monkeypatch.setattr(type(model.fitted_), "decode", lambda self, given, n_jobs: rows)
    with pytest.raises(ValueError) as told:
        model.inverse_transform(places)
    assert str(told.value) == "Y[2] = [4.0, 5.0] is so far outside of the map that no row is there"
    rows[2, 1] = 1
    with pytest.raises(ValueError, match=r"^Y\[4\] = "):
        model.inverse_transform(places)
    for wrong in (places[:, :1], np.zeros((6, 3)), np.zeros((2, 6))):
        with pytest.raises(ValueError, match=rf"^Y has {wrong.shape[1]} axes, the map has 2$"):
            model.inverse_transform(wrong)


def test_rows_come_back_behind_a_preparation_or_as_they_are_behind_it(saved):
    scale = Preparation([Standardize()]).fit(4 * X + 7)
    model, places = with_decoder(saved[1], scale), np.zeros((2, 2), np.float32)
    prepared = model.inverse_transform(places, prepared=True)
    np.testing.assert_array_equal(prepared, [[1, 2, 3]] * 2)
    np.testing.assert_allclose(model.inverse_transform(places), scale.undo(prepared), rtol=1e-6)
    assert np.abs(model.inverse_transform(places) - prepared).min() > 1
    # What cannot be undone can be given as it is.
    model = with_decoder(saved[1], Preparation([Transformer(FunctionTransformer())]).fit(X))
    np.testing.assert_array_equal(model.inverse_transform(places, prepared=True), prepared)
    with pytest.raises(ValueError, match=r"cannot be undone; ask for prepared rows \(prepared=True\)$"):
        model.inverse_transform(places)
    assert model.__sklearn_tags__().transformer_tags.preserves_dtype == ["float32"]
    assert "inverse_transform" in dir(type(model)) and type(model).inverse_transform.__name__ == "inverse_transform"


def test_a_teacher_is_asked_for_what_made_its_map_and_not_for_what_it_would_make_now(saved):
    """Also where it is frozen; of one that is not fitted its options are looked at first."""
    teacher = saved[1].teacher_
    made = teacher.map_.affinity
    other = teaching.own_teacher(teacher).set_params(perplexity=9)
    assert teaching.affinity_of(other) is other.map_.affinity and other.map_.affinity == made
    assert teaching.affinity_of(TSNE(perplexity=9)).perplexity == 9 != made.perplexity
    frozen = FrozenEstimator(teacher)
    assert teaching.unfrozen(frozen) is teaching.unfrozen(teacher) is teacher and teaching.unfrozen(3) == 3
    assert teaching.is_fitted(frozen) and not teaching.is_fitted(FrozenEstimator(TSNE())) and not teaching.is_fitted(3)
    assert teaching.given_teacher(frozen, None, 3) == (teacher, True, None)
    for wrong, kind, says in (
        ((TSNE(perplexity=-1), None), ValueError, "perplexity=-1"),
        ((TSNE(), "standardize"), TypeError, "prepare='standardize' is not a tsne_ooc.preprocess.Preparation"),
        ((None, 3), TypeError, "prepare=3 is not a tsne_ooc.preprocess.Preparation"),
        ((3, None), TypeError, "teacher=3 is not a TSNE"),
        ((TSNE(metric="precomputed"), None), ValueError, "a teacher of metric='precomputed' knows distances only"),
    ):
        with pytest.raises(kind) as told:
            teaching.given_teacher(*wrong, 3)
        assert str(told.value).startswith(says)


@pytest.mark.parametrize("what, at", [("share", 1), ("rate", 2)])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "1"])
def test_a_stage_takes_and_steps_something(what, at, value):
    """A stage of no batches or of no steps would be passed over without a word."""
    values = [Distillation(), 1.0, 1.0]
    values[at] = value
    with pytest.raises((ValueError, TypeError), match=f"^the {what} of a stage="):
        objectives.resolve(Stage(*values), tuned=False)


def test_a_stage_may_step_a_hundred_times_as_far_and_no_farther():
    assert objectives.resolve(Stage(Distillation(), 1e9, 100), tuned=False) == [Stage(Distillation(), 1e9, 100.0)]
    assert objectives.resolve(Stage(Distillation(), 1e-9, 1e-9), tuned=False) == [Stage(Distillation(), 1e-9, 1e-9)]
    with pytest.raises(ValueError, match=r"^the rate of a stage=100\.1 "):
        objectives.resolve(Stage(Distillation(), 1.0, 100.1), tuned=False)
