"""Gradients of objectives meet finite differences, and field tuning is t-SNE's own gradient."""

import math
from dataclasses import replace

import numpy as np
import pytest
import reference

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.joint import Joint  # noqa: E402
from tsne_ooc.parametric.augmentation import Augmentation  # noqa: E402
from tsne_ooc.parametric.network import Encoder  # noqa: E402
from tsne_ooc.parametric.objectives import (  # noqa: E402
    BatchLocal,
    Distillation,
    FieldTuning,
    InfoNC,
    NegativeSampling,
    Stage,
    resolve,
)
from tsne_ooc.parametric.objectives import field as fields  # noqa: E402
from tsne_ooc.parametric.objectives.base import Loss, Pairs  # noqa: E402
from tsne_ooc.parametric.objectives.negative import MOST_NEGATIVES, pairs_and_negatives  # noqa: E402
from tsne_ooc.parametric.objectives.places import Places  # noqa: E402
from tsne_ooc.parametric.problem import Batch, Graph, Problem  # noqa: E402
from tsne_ooc.parametric.validation import Validation  # noqa: E402


class Table(torch.nn.Module):
    """An encoder of nothing but places: rows hold their own number."""

    def __init__(self, Y):
        super().__init__()
        self.Y = torch.nn.Parameter(torch.tensor(np.asarray(Y)))

    def forward(self, x):
        return self.Y[x[:, 0].long()]


def problem(n=30, d=2, dof=1.0, exaggeration=1.0, width=2.0, seed=0, X=None):
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) * (rng.random((n, n)) < min(1, 40 / n))
    P += P.T + np.eye(n, k=1) + np.eye(n, k=-1)
    np.fill_diagonal(P, 0)
    P /= P.sum()
    order = rng.permutation(n)
    # The graph has an order of its own, as that of a neighbour search.
    joint = Joint.from_matrix(P[np.ix_(order, order)])
    X = np.arange(n, dtype=np.float32)[:, None] if X is None else X
    targets = rng.normal(size=(n, d)).astype(np.float32)
    graph = Graph(X, joint, order)
    return P, Problem(n, width, dof, exaggeration, targets, graph, 0, Threads(1), torch.device("cpu"))


def batch_of(p, rows, step=0):
    return Batch(step, rows, torch.from_numpy(p.graph.X[rows]))


def gradient_of(loss, encoder, batch):
    encoder.zero_grad()
    loss.loss(encoder, batch).backward()
    return encoder.Y.grad.numpy().copy()


@pytest.mark.parametrize(
    "objective", [Distillation(), Distillation(math.inf), BatchLocal(), NegativeSampling(), InfoNC()]
)
@pytest.mark.parametrize("dof", [1.0, 0.6])
def test_gradients_are_those_of_finite_differences(objective, dof):
    _, p = problem(dof=dof)
    Y = np.random.default_rng(1).normal(size=(p.n, 2))
    batch = batch_of(p, np.random.default_rng(2).permutation(p.n)[:12])
    # A loss that remembers something begins anew at every look.
    numerical = reference.numerical_gradient(
        lambda places: float(objective.of(p).loss(Table(places), batch).detach()), Y
    )
    found = gradient_of(objective.of(p), Table(Y), batch)
    assert reference.relative(found, numerical) < 1e-4
    assert np.abs(numerical).max() > 1e-3


def tsne_gradient(P, Y, dof, exaggeration):
    """4 sum_j (rho p_ij - q_ij) (y_i - y_j) / (1 + r^2 / dof), from all pairs."""
    delta = reference.differences(Y)
    inner = 1 / (1 + (delta**2).sum(-1) / dof)
    weight = exaggeration * P - reference.similarities(Y, dof)
    return 4 * ((weight * inner)[..., None] * delta).sum(1)


@pytest.mark.parametrize("dof, exaggeration", [(1.0, 1.0), (0.7, 2.0)])
def test_the_table_of_field_tuning_has_the_gradient_of_tsne(dof, exaggeration):
    P, p = problem(dof=dof, exaggeration=exaggeration)
    Y = np.random.default_rng(1).normal(size=(p.n, 2)).astype(np.float32)
    loss = FieldTuning().of(p)
    loss.put(Y[p.graph.rows])
    some = np.array([3, 17, 5, 29])
    found = loss.gradient(p.graph.places[some], loss.places.latest[p.graph.places[some]])
    wanted = reference.numerical_gradient(lambda y: reference.kl(P, y, dof, exaggeration), Y)
    assert reference.relative(found, wanted[some]) < 1e-4
    assert loss.divergence == pytest.approx(reference.kl(P, Y, dof), rel=1e-4)
    # Its loss has this very gradient, as the mean over rows.
    table = gradient_of(loss, Table(Y), batch_of(p, some, step=1))
    assert reference.relative(table[some], p.n / 4 * wanted[some]) < 1e-4
    assert not np.delete(table, some, axis=0).any()


# Rows in space are so few to a cell here that a good part of a force is a row's own, which the grid blurs.
@pytest.mark.parametrize("d, budget", [(1, 0.02), (2, 0.02), (3, 0.08)])
def test_the_field_of_many_rows_gives_the_same(d, budget):
    P, p = problem(n=700, d=d)
    Y = (8 * np.random.default_rng(1).normal(size=(p.n, d))).astype(np.float32)
    loss = FieldTuning().of(p)
    loss.put(Y[p.graph.rows])
    rows = np.arange(0, p.n, 3)
    wanted = tsne_gradient(P, Y, 1.0, 1.0)[rows]
    assert (
        reference.relative(loss.gradient(p.graph.places[rows], loss.places.latest[p.graph.places[rows]]), wanted)
        < budget
    )


def test_a_row_that_moved_is_not_pushed_by_its_former_self():
    _, p = problem(n=700)
    Y = (20 * np.random.default_rng(1).normal(size=(p.n, 2))).astype(np.float32)
    loss = FieldTuning().of(p)
    loss.put(Y[p.graph.rows])
    found, wanted, pushed = [], [], []
    for row in range(40):
        moved = Y.copy()
        moved[row] += np.float32(0.6)
        there = np.ascontiguousarray(moved[[row]])
        found.append(loss.places.slope(p.graph.places[[row]], there)[0])
        wanted.append(reference.others_field(moved)[1][row])
        pushed.append(reference.field(there, Y)[1][0])
    assert reference.relative(found, wanted) < 0.05 < 0.3 < reference.relative(pushed, wanted)


def test_field_tuning_follows_the_divergence_through_the_weights():
    X = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    P, p = problem(n=60, X=X)
    W = np.random.default_rng(4).normal(size=(2, 4)).astype(np.float32)
    body = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        body.weight.copy_(torch.from_numpy(W))
    encoder = Encoder(body, np.zeros(4), np.ones(4), np.zeros(2), 3.0)
    loss = FieldTuning().of(p)
    loss.begin(encoder)
    loss.loss(encoder, batch_of(p, np.arange(60))).backward()
    wanted = reference.numerical_gradient(lambda w: reference.kl(P, 3 * X.astype(float) @ w.T), W)
    assert reference.relative(body.weight.grad.numpy(), wanted) < 1e-3


def test_partners_are_drawn_as_the_affinities_say():
    P, p = problem()
    rows = np.tile(np.arange(p.n), 4000)
    partners, weights = p.graph.partners(rows, np.random.default_rng(0))
    counted = np.zeros_like(P)
    np.add.at(counted, (rows, partners), weights / len(rows))
    assert not counted[P == 0].any()
    # 120,000 pairs: each of some 900 entries is off by a tenth at most of what it is on average.
    assert reference.relative(counted, P) < 0.12
    assert counted.sum() == pytest.approx(1, abs=1e-3)


def test_rows_are_moved_along_differences_of_their_neighbours():
    rng = np.random.default_rng(3)
    P, p = problem(X=rng.normal(size=(30, 5)).astype(np.float32))
    rows = rng.permutation(30)[:20]
    X = p.graph.X[rows]
    nobody = np.zeros(30, bool)
    found, moved = Augmentation(p.graph, 0.6, 1, nobody)(7, rows, X)
    assert moved == 12 and (found[12:] == X[12:]).all() and (p.graph.X[rows] == X).all()
    for row, step in zip(rows[:12], found[:12] - X[:12], strict=True):
        near = p.graph.X[P[row] > 0]
        differences = (near[:, None] - near[None]).reshape(-1, 5)
        reach = (differences @ step) / np.maximum((differences**2).sum(axis=1), 1e-9)
        off = np.linalg.norm(step - reach[:, None] * differences, axis=1)
        # One of them explains all of the step, with a part of itself; or both neighbours were the same.
        assert off[(reach >= 0) & (reach <= 1)].min(initial=np.linalg.norm(step)) < 1e-5
    assert (np.abs(found[:12] - X[:12]).max(axis=1) > 0).sum() > 8
    again, other = (Augmentation(p.graph, 0.6, 1, nobody)(step, rows, X)[0] for step in (7, 8))
    assert (again == found).all() and (other != found).any()
    assert Augmentation(p.graph, 0.0, 1, nobody)(7, rows, X) == (X, 0)


@pytest.mark.parametrize("dof", [1.0, 0.4, 3.0])
def test_held_out_rows_judge_by_what_is_minimised(dof):
    rng = np.random.default_rng(5)
    held, reference_rows = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(80, 4)).astype(np.float32)
    body = torch.nn.Linear(4, 2, bias=False)
    encoder = Encoder(body, np.zeros(4), np.ones(4), np.zeros(2), 3.0)
    look = Validation(
        held, reference_rows, held[:, :2], 3.0, metric="euclidean", metric_params=None, dof=dof, threads=Threads(1)
    )
    found = look(encoder)
    Y, around = (encoder(torch.from_numpy(rows)).detach().numpy().astype(float) for rows in (held, reference_rows))
    w = (1 + ((Y[:, None] - around) ** 2).sum(-1) / dof) ** -dof
    p = np.zeros_like(w)
    np.put_along_axis(p, look.near.astype(np.int64), look.p.astype(float), axis=1)
    kept = p > 0
    for rho in (1.0, 4.0):
        terms = p[kept] * (np.log(p[kept]) - rho * np.log(w[kept]))
        assert found.judged("graph", rho) == pytest.approx(terms.sum() / 8 + np.log(w.sum(axis=1)).mean(), rel=1e-4)
    assert found.judged("targets", 4.0) == found.distance


def test_rows_that_are_held_out_move_no_others():
    X = np.random.default_rng(3).normal(size=(30, 5)).astype(np.float32)
    _, p = problem(X=X)
    held = np.arange(30) >= 20
    p.graph.X[held] += 1e6
    rows = np.repeat(np.arange(20), 50)
    found, moved = Augmentation(p.graph, 0.9, 1, held)(0, rows, p.graph.X[rows])
    assert np.abs(found[:moved]).max() < 50
    free = Augmentation(p.graph, 0.9, 1, np.zeros(30, bool))(0, rows, p.graph.X[rows])[0]
    # They are neighbours of the others, so it is not for want of meeting them.
    assert np.abs(free[:moved]).max() > 1e4


@pytest.mark.parametrize("exaggeration", [1.0, 4.0])
def test_field_tuning_judges_the_map_of_all_rows_by_what_it_minimises(exaggeration):
    X = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    P, p = problem(n=60, X=X, exaggeration=exaggeration)
    body = torch.nn.Linear(4, 2, bias=False)
    encoder = Encoder(body, np.zeros(4), np.ones(4), np.zeros(2), 3.0)
    loss = FieldTuning().of(p)
    loss.begin(encoder)
    with torch.no_grad():
        body.weight.mul_(-0.3)
    Y = encoder(torch.from_numpy(p.graph.X)).detach().numpy()
    assert loss.judge(encoder) == pytest.approx(reference.kl(P, Y, 1.0, exaggeration), rel=1e-4)
    with torch.no_grad():
        body.weight.fill_(np.nan)
    assert loss.judge(encoder) == np.inf
    assert BatchLocal().of(p).judge(encoder) is None


@pytest.mark.parametrize("growth, burst", [(2.5, False), (40.0, True)])
def test_field_tuning_says_that_a_map_has_burst(growth, burst):
    _, p = problem()
    loss = FieldTuning(every=1).of(p)
    Y = np.random.default_rng(1).normal(size=(p.n, 2)) * p.width
    table = Table(Y)
    loss.begin(table)
    assert not loss.burst
    table.Y.data.mul_(growth)
    batch = batch_of(p, np.arange(p.n))
    for step in range(2):
        loss.loss(table, batch._replace(step=step))
    assert loss.burst == burst


def test_rows_that_were_moved_leave_their_places_in_the_table():
    _, p = problem()
    Y = np.random.default_rng(1).normal(size=(p.n, 2)).astype(np.float32)
    loss, rows = FieldTuning().of(p), np.arange(10)
    loss.put(Y[p.graph.rows])
    moved = Table(Y + 1)
    loss.loss(moved, batch_of(p, rows)._replace(moved=4)).backward()
    table = loss.places.latest[p.graph.places]
    assert (table[:4] == Y[:4]).all() and (table[4:10] == Y[4:10] + 1).all() and (table[10:] == Y[10:]).all()
    # They are pulled all the same, from where they are.
    assert (np.abs(moved.Y.grad.numpy()[:10]).max(axis=1) > 0).all()


def test_distillation_is_hubers_loss():
    _, p = problem(width=2.0)
    for away, wanted in [(0.0, 0.0), (0.1, 0.05**2), (2.0, 0.1 * (2 * 1.0 - 0.1))]:
        Y = p.targets.astype(np.float64) + np.array([away, 0.0])
        loss = float(Distillation(0.1).of(p).loss(Table(Y), batch_of(p, np.arange(p.n))).detach())
        assert loss == pytest.approx(wanted, abs=1e-6)


def test_the_negatives_of_a_row_are_all_other_rows_alike():
    """Not one other row for each, nor the row itself; here a distance tells which pair it is of."""
    _, p = problem()
    Y = Table(2.0 ** np.arange(p.n)[:, None])
    negatives, counts = 40, np.zeros((p.n, p.n), int)
    apart = 1 / (1 + (2.0 ** np.arange(p.n)[:, None] - 2.0 ** np.arange(p.n)) ** 2)
    for step in range(20):
        batch = batch_of(p, np.arange(p.n), step)
        first = Pairs(p)(Y, batch)[0].detach().numpy()[:, 0]
        far = pairs_and_negatives(Pairs(p), 1.0, batch, Y, negatives)[1].detach().numpy()
        rows = np.rint(np.log2(first)).astype(int)
        for row, found in zip(rows, far, strict=True):
            others = np.abs(apart[row] - found[:, None]).argmin(axis=1)
            np.add.at(counts[row], others, 1)
            assert len(np.unique(others)) > 8
    assert not np.diagonal(counts).any()
    held = counts.sum(axis=1) > 0
    assert held.sum() > 20 and ((counts[held] > 0).sum(axis=1) > 20).all()


def test_contrastive_losses_are_those_of_the_paper():
    _, p = problem()
    Y = Table(np.random.default_rng(1).normal(size=(p.n, 2)))
    batch = batch_of(p, np.arange(p.n))
    for m, norm in [(3, 500.0), (7, None)]:
        close, far, weights = (x.detach().numpy() for x in pairs_and_negatives(Pairs(p), p.dof, batch, Y, m))
        Z = norm or 100 * p.n
        # Of a model q = w / Z and noise that is uniform over pairs, an edge being one of m + 1.
        edge, other = (w / Z / (w / Z + m / (p.n * (p.n - 1))) for w in (close, far))
        wanted = -(weights * np.log(edge)).mean() - m * np.log(1 - other).mean()
        found = NegativeSampling(m, norm).of(p).loss(Y, batch)
        assert float(found.detach()) == pytest.approx(wanted, rel=1e-6)
        contrast = -(weights * np.log(close / (close + far.sum(1)))).mean()
        assert float(InfoNC(m).of(p).loss(Y, batch).detach()) == pytest.approx(contrast, rel=1e-6)


def test_batch_local_estimates_the_divergence():
    P, p = problem(n=60)
    Y = np.random.default_rng(1).normal(size=(p.n, 2))
    found = [
        float(BatchLocal().of(p).loss(Table(Y), batch_of(p, np.arange(p.n), step)).detach()) for step in range(300)
    ]
    assert np.mean(found) == pytest.approx(reference.kl(P, Y), abs=4 * np.std(found) / 300**0.5)


def test_words_and_stages():
    assert [type(stage.objective) for stage in resolve("auto", tuned=False)] == [Distillation]
    # Half of the steps each, and the second half at 0.3 of the rate.
    assert resolve("auto", tuned=True) == [Stage(Distillation(), 0.5, 1.0), Stage(FieldTuning(), 0.5, 0.3)]
    assert resolve("field", tuned=True) == resolve(Stage(FieldTuning()), tuned=True) == [Stage(FieldTuning(), 1.0, 1.0)]
    assert resolve([Stage(InfoNC(), 2.0), "field"], tuned=True)[1].objective == FieldTuning()
    with pytest.raises(ValueError, match="did you mean 'distillation'"):
        resolve("distilation", tuned=True)
    with pytest.raises(TypeError, match="objective=3"):
        resolve(3, tuned=True)
    from dataclasses import replace

    _, p = problem()
    with pytest.raises(ValueError, match="affinities of all rows"):
        FieldTuning().of(replace(p, graph=None))


def test_field_tuning_goes_on_with_the_grid_that_it_had(monkeypatch):
    monkeypatch.setattr("tsne_ooc.parametric.objectives.places.EXACT_BELOW", 0)
    _, p = problem(n=300)
    Y = (50 * np.random.default_rng(4).normal(size=(300, 2))).astype(np.float32)
    loss, fresh, other = (FieldTuning().of(p) for _ in range(3))
    loss.put(Y)
    # A map that shrinks a little keeps its grid, and a grid made for it would be another one.
    loss.put(np.float32(0.95) * Y)
    fresh.put(np.float32(0.95) * Y)
    assert fresh.places.grid != loss.places.grid
    other.restore(loss.state())
    at = np.arange(0, 300, 7)
    found, wanted, without = (each.gradient(at, loss.places.latest[at]) for each in (other, loss, fresh))
    assert (found == wanted).all() and not (without == wanted).all()


@pytest.mark.parametrize("objective", [Distillation(), BatchLocal(), NegativeSampling(), InfoNC(), FieldTuning()])
def test_a_loss_that_is_read_back_goes_on_as_it_would_have(objective):
    """Also one that was written down before its first batch."""
    _, p = problem(n=60)
    Y = np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32)
    for before in (0, 3):
        losses = [objective.of(p) for _ in range(2)]
        losses[0].begin(Table(Y))
        for step in range(before):
            losses[0].loss(Table(Y), batch_of(p, np.arange(20) + step, step))
        losses[1].restore({name: np.array(value) for name, value in losses[0].state().items()})
        for step in range(before, before + 3):
            batch = batch_of(p, np.arange(20) + step, step)
            one, other = (gradient_of(loss, Table(Y), batch) for loss in losses)
            assert one.tobytes() == other.tobytes() and np.isfinite(one).all()
            one, other = (loss.state() for loss in losses)
            assert one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


class Seen(torch.nn.Module):
    """Remembers the rows that were put through it."""

    def __init__(self, Y):
        super().__init__()
        self.inner, self.rows = Table(Y), set()

    def forward(self, x):
        self.rows.update(x[:, 0].long().tolist())
        return self.inner(x)


@pytest.mark.parametrize("objective", [BatchLocal(), NegativeSampling(), InfoNC()])
def test_rows_that_are_held_out_are_no_partners(objective):
    p = problem(n=40)[1]
    held = np.arange(0, 40, 3)
    rows = np.setdiff1d(np.arange(40), held)
    encoder = Seen(np.random.default_rng(2).normal(size=(40, 2)).astype(np.float32))
    loss = objective.of(replace(p, held=held))
    loss.begin(encoder)
    encoder.rows.clear()
    for step in range(30):
        loss.loss(encoder, batch_of(p, rows, step))
    assert encoder.rows == set(rows.tolist())
    # Without any held out, all rows are partners of others.
    for step in range(30):
        objective.of(p).loss(encoder, batch_of(p, rows, step))
    assert encoder.rows == set(range(40))


def test_rows_that_were_moved_attract_nobody():
    p = problem(n=30)[1]
    Y = np.random.default_rng(3).normal(size=(30, 2)).astype(np.float32)
    rows = np.random.default_rng(4).permutation(30)[:12]
    gradients = []
    for away in (0.0, 5.0):
        places = Y.copy()
        places[rows[:5]] += np.float32(away)
        loss = FieldTuning().of(p)
        loss.begin(Table(Y))
        table = Table(places)
        loss.loss(table, batch_of(p, rows)._replace(moved=5)).backward()
        gradients.append(table.Y.grad.numpy()[rows])
    # Where the first five would lie is nothing to the others, and much to themselves.
    np.testing.assert_array_equal(gradients[0][5:], gradients[1][5:])
    assert (gradients[0][:5] != gradients[1][:5]).all()


def test_a_stage_of_auto_is_one_stage():
    """What follows the plain word is not hidden within a stage."""
    (stage,) = resolve([Stage("auto", 0.5)], tuned=True)
    assert isinstance(stage.objective, Distillation) and stage.share == 0.5
    assert len(resolve("auto", tuned=True)) == 2


def test_held_out_rows_of_places_that_are_not_finite_are_as_bad_as_can_be():
    rng = np.random.default_rng(5)
    held, rows = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(80, 4)).astype(np.float32)
    look = Validation(held, rows, held[:, :2], 3.0, metric="euclidean", metric_params=None, dof=1.0, threads=Threads(1))
    body = torch.nn.Linear(4, 2, bias=False)
    encoder = Encoder(body, np.zeros(4), np.ones(4), np.zeros(2), 3.0)
    good = look(encoder)
    with torch.no_grad():
        body.weight[0, 0] = np.nan
    for needs in ("graph", "targets"):
        for exaggeration in (1.0, 12.0):
            assert look(encoder).judged(needs, exaggeration) == math.inf > good.judged(needs, exaggeration)
    assert look(encoder).recall == 0


def test_a_map_that_fell_apart_is_as_bad_as_can_be():
    """Places are finite, and so far from each other that no similarity is left."""
    X = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    _, p = problem(n=60, X=X)
    body = torch.nn.Linear(4, 2, bias=False)
    encoder = Encoder(body, np.zeros(4), np.ones(4), np.zeros(2), 3.0)
    loss = FieldTuning().of(p)
    loss.begin(encoder)
    with torch.no_grad():
        body.weight.mul_(1e30)
    assert np.isfinite(encoder(torch.from_numpy(X)).detach().numpy()).all()
    assert loss.judge(encoder) == math.inf


def test_a_batch_of_places_that_are_not_finite_leaves_the_table_as_it_was():
    _, p = problem()
    Y = np.random.default_rng(1).normal(size=(p.n, 2)).astype(np.float32)
    loss = FieldTuning().of(p)
    loss.put(Y[p.graph.rows])
    latest = loss.places.latest.copy()
    lost = Y.copy()
    lost[3, 1] = np.nan
    table = Table(lost)
    found = loss.loss(table, batch_of(p, np.arange(8), step=1))
    assert not bool(torch.isfinite(found)) and found.requires_grad
    np.testing.assert_array_equal(loss.places.latest, latest)


def test_rows_beyond_the_field_are_taken_into_it():
    """Two rows of a batch went farther than the field of the last plan reaches."""
    rng = np.random.default_rng(1)
    places = Places(700, 1.0, Threads(1))
    places.put((8 * rng.normal(size=(700, 2))).astype(np.float32))
    width = places.extent
    at = np.array([3, 77, 10])
    Y = places.latest[at] + np.array([[3 * width, 0], [0, -2 * width], [0.5, 0.5]], np.float32)
    found = places.slope(at, Y)
    # Where the rows are is told by the loss, and not here.
    assert not (places.latest[at[:2]] == Y[:2]).all(axis=1).any() and places.extent > 3 * width
    # As if they had been there when the field was planned; the row that stayed within is where it was.
    others = places.latest.copy()
    others[at[:2]] = Y[:2]
    anew = Places(700, 1.0, Threads(1))
    anew.put(others)
    np.testing.assert_array_equal(places.planned, others)
    np.testing.assert_array_equal(found, anew.slope(at, Y))
    # And by the formula, as far as cells of so wide a map tell it.
    apart = Y[2].astype(float) - np.delete(others.astype(float), at[2], axis=0)
    wanted = (-2 * apart / (1 + (apart**2).sum(axis=1, keepdims=True)) ** 2).sum(axis=0)
    assert reference.relative(found[2], wanted) < 0.1


def test_what_an_objective_cannot_do_without():
    _, p = problem()
    with pytest.raises(ValueError, match=r"^this objective needs a map to imitate, and the teacher has none$"):
        Distillation().of(replace(p, targets=None))
    with pytest.raises(NotImplementedError):
        Loss().loss(Table(np.zeros((3, 2))), None)
    # What a loss of one's own may leave out.
    own = Loss()
    own.begin(None)
    own.restore(own.state())
    assert (own.burst, own.exaggeration, own.judge(None), own.state()) == (False, 1.0, None, {})


@pytest.mark.parametrize("memory", [1, 1.5])
def test_the_memory_of_a_moving_average_is_less_than_all(memory):
    with pytest.raises(ValueError, match=rf"^memory={float(memory)!r} must be less than 1$"):
        BatchLocal(memory=memory)
    assert (BatchLocal(memory=0).memory, BatchLocal(memory=0.999).memory) == (0, 0.999)


@pytest.mark.parametrize("times", [1, 3])
def test_where_there_are_many_affinities_the_divergence_is_looked_at_more_seldom(times, monkeypatch):
    """The field is planned as often as ever."""
    _, p = problem()
    entries = len(p.graph.P.indices)
    monkeypatch.setattr(fields, "ENTRIES", entries // times)
    loss = FieldTuning(every=4).of(p)
    Y = np.random.default_rng(1).normal(size=(p.n, 2)).astype(np.float32)
    loss.put(Y[p.graph.rows])
    looked, planned = [], []
    monkeypatch.setattr(loss, "_look", lambda: looked.append(step))
    monkeypatch.setattr(loss.places, "plan", lambda: planned.append(step))
    for step in range(30):
        loss.loss(Table(Y), batch_of(p, np.arange(8), step))
    assert planned == list(range(0, 30, 4)) and looked == list(range(0, 30, 4 * times))


@pytest.mark.parametrize("n", [30, 700])
def test_a_state_is_of_its_own_on_both_ways(n):
    """Steps after it was told do not change it, nor do steps of what was restored from it."""
    _, p = problem(n=n)
    rng = np.random.default_rng(1)
    Y = (4 * rng.normal(size=(p.n, 2))).astype(np.float32)
    loss = FieldTuning(every=2).of(p)
    loss.put(Y[p.graph.rows])

    def go(one):
        for step in range(1, 4):
            one.loss(Table(Y + np.float32(step)), batch_of(p, np.arange(12), step))
        return one.places

    state = loss.state()
    told = {name: array.copy() for name, array in state.items()}
    first = go(loss)
    again = FieldTuning(every=2).of(p)
    again.restore(state)
    second = go(again)
    for name, array in state.items():
        np.testing.assert_array_equal(array, told[name])
        array.flags.writeable = False
    third = FieldTuning(every=2).of(p)
    third.restore(state)
    third = go(third)
    for other in (second, third):
        np.testing.assert_array_equal(other.latest, first.latest)
        np.testing.assert_array_equal(other.planned, first.planned)
        assert other.Z == first.Z and other.extent == first.extent
    assert (told["table"] != first.latest).any() and (told["planned"] != first.planned).any()


@pytest.mark.parametrize("n", [30, 700])
@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda Y: np.repeat(Y, 2, axis=0)[::2], lambda Y: Y[::-1].copy()[::-1]]
)
def test_places_lie_in_memory_as_they_may(layout, n):
    Y = (4 * np.random.default_rng(1).normal(size=(n, 2))).astype(np.float32)
    Y[:, 1] += 50
    at = np.array([3, 17, 5])
    found = []
    for places in (Y, layout(Y)):
        one = Places(n, 1.0, Threads(1))
        one.put(places)
        found.append((one.Z, one.extent, one.slope(at, Y[at] + np.float32(0.2)).tobytes()))
        assert one.latest.flags.c_contiguous
    assert found[0] == found[1]
    assert found[0][1] == pytest.approx(np.ptp(Y, axis=0).max())


def test_where_all_pairs_are_with_rows_that_are_held_out_there_is_no_attraction():
    """Two rows, one of which is held out, and two more that nobody is like."""
    P = np.zeros((4, 4))
    P[0, 1] = P[1, 0] = 0.5
    graph = Graph(np.arange(4, dtype=np.float32)[:, None], Joint.from_matrix(P), np.arange(4))
    p = Problem(4, 1.0, 1.0, 1.0, None, graph, 0, Threads(1), torch.device("cpu"), np.array([1]))
    encoder = Table(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    _, _, weights, _ = Pairs(p)(encoder, batch_of(p, np.array([0])))
    assert weights.tolist() == [0] and weights.dtype == torch.float32
    assert graph.without(np.array([1])) == (0.0, 0.0)


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_a_batch_of_one_row_says_nothing_of_all_pairs(memory):
    """It may be left of a batch without its held-out rows, and the first of all; it is attracted all the same."""
    _, p = problem()
    Y = np.random.default_rng(1).normal(size=(p.n, 2))
    loss, table = BatchLocal(memory=memory).of(p), Table(Y)
    alone, more = batch_of(p, np.array([4])), batch_of(p, np.arange(12), 1)
    a, b, weights, _ = Pairs(p)(table, alone)
    (pull,) = torch.autograd.grad((weights * (1 + (a - b).square().sum(dim=1)).log()).mean(), table.Y)
    np.testing.assert_allclose(gradient_of(loss, table, alone), pull.numpy())
    assert loss.average is None and np.abs(pull.numpy()).max() > 0
    assert math.isfinite(float(loss.loss(table, alone).detach()))
    loss.loss(table, more)
    before = loss.average
    np.testing.assert_allclose(gradient_of(loss, table, alone), pull.numpy())
    assert math.isfinite(float(loss.loss(table, alone).detach())) and loss.average == before > 0


def test_the_loss_of_batch_local_by_its_formula():
    """Attraction along the pairs that are drawn, the logarithm of the mean over all other pairs, and the entropy."""
    _, p = problem(dof=0.7)
    Y = np.random.default_rng(1).normal(size=(p.n, 2))
    loss, average = BatchLocal(memory=0.75).of(p), None
    for step, rows in enumerate((np.arange(2), np.arange(9), np.arange(5, 12))):
        batch = batch_of(p, rows, step)
        a, b, weights, _ = (x.detach().numpy() if torch.is_tensor(x) else x for x in Pairs(p)(Table(Y), batch))
        close = (1 + np.square(a - b).sum(axis=1) / 0.7) ** -0.7
        every = (1 + np.square(a[:, None] - a).sum(axis=2) / 0.7) ** -0.7
        mean = every[~np.eye(len(rows), dtype=bool)].mean()
        average = mean if average is None else 0.75 * average + 0.25 * mean
        wanted = -(weights * np.log(close)).mean() + math.log(average * p.n * (p.n - 1)) + p.graph.entropy
        assert float(loss.loss(Table(Y), batch).detach()) == pytest.approx(wanted, rel=1e-6)
        assert loss.average == pytest.approx(average) and loss.state()["average"].tolist() == [loss.average]


@pytest.mark.parametrize("n", [2, 3, 30])
def test_the_odds_of_random_pairs_are_those_of_all_pairs_of_other_rows(n):
    _, p = problem(n=n)
    for options, norm in ((NegativeSampling(4), 100 * n), (NegativeSampling(4, 7.0), 7.0)):
        assert options.of(p).odds == pytest.approx(4 * norm / (n * (n - 1)))


@pytest.mark.parametrize("m", [1, 2, 3])
def test_negatives_of_hardly_any_rows_are_other_rows_where_there_are_some(m):
    _, p = problem()
    Y = np.array([[0.0], [1.0], [3.0]])
    far = pairs_and_negatives(Pairs(p), 1.0, batch_of(p, np.arange(m)), Table(np.resize(Y, (p.n, 1))), 50)[1]
    found = [{round(1 / one - 1) for one in row} for row in far.detach().numpy().tolist()]
    assert found == [[{0}], [{1}, {1}], [{1, 9}, {1, 4}, {9, 4}]][m - 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda: NegativeSampling(MOST_NEGATIVES + 1), f"negatives={MOST_NEGATIVES + 1} "),
        (lambda: InfoNC(MOST_NEGATIVES + 1), f"negatives={MOST_NEGATIVES + 1} "),
        (lambda: NegativeSampling(0), "negatives=0 "),
        (lambda: InfoNC(0), "negatives=0 "),
        (lambda: NegativeSampling(5, 1.1e30), r"normalization=1.1e\+30 "),
        (lambda: NegativeSampling(5, 0.0), "normalization=0"),
        (lambda: Distillation(0.0), "delta=0"),
        (lambda: Distillation(1.1e6), "delta=1100000"),
        (lambda: BatchLocal(-0.1), "memory=-0.1 "),
        (lambda: FieldTuning(0), "every=0 "),
    ],
)
def test_options_of_objectives_beyond_their_limits_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        options()
    for one in (NegativeSampling(MOST_NEGATIVES, 1e30), InfoNC(MOST_NEGATIVES), NegativeSampling(1, 0.5), InfoNC(1)):
        assert one.negatives in (1, MOST_NEGATIVES)
    assert (Distillation(0.5).delta, Distillation(1e6).delta, FieldTuning(1).every) == (0.5, 1e6, 1)


@pytest.mark.parametrize(("width", "limit"), [(2.0, 3 * 20), (7.0, 3 * 28)])
def test_a_map_may_grow_to_three_times_its_own_width_or_its_teachers(width, limit):
    """Its own is that of its wider axis; its teacher's is four standard deviations."""
    _, p = problem(width=width)
    Y = np.random.default_rng(1).uniform(0, 1, (p.n, 2)).astype(np.float32) + np.float32(100)
    Y[:2] = [[95, 100], [115, 101]]
    # The axes lie apart, which makes no width.
    Y[:, 1] += 300
    loss = FieldTuning().of(p)
    loss.begin(Table(Y))
    assert loss.limit == pytest.approx(limit)
    # A single row that is nowhere makes the whole map as bad as can be.
    Y[5, 1] = np.nan
    assert loss.judge(Table(Y)) == math.inf
