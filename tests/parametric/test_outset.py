"""What a training begins with, and what it refuses before it does: options at their limits, networks, teachers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from torch import nn  # noqa: E402

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.io import as_source  # noqa: E402
from tsne_ooc.parametric import ParametricTSNE, outset, shared  # noqa: E402
from tsne_ooc.parametric.bounds import bounds_of  # noqa: E402
from tsne_ooc.parametric.network import (  # noqa: E402
    Encoder,
    ResidualNetwork,
    hidden_matrices,
    leading_axes,
    own_copy,
    padded,
    standardisation,
)
from tsne_ooc.parametric.objectives import BatchLocal, Distillation, FieldTuning, Stage, resolve  # noqa: E402
from tsne_ooc.parametric.outset import (  # noqa: E402
    check_landmarks,
    check_network,
    device_of,
    glance,
    held_out,
    prepared_rows,
    problem_of,
    rows_looked_at,
    try_network,
)
from tsne_ooc.parametric.teaching import (  # noqa: E402
    Taught,
    affinity_of,
    check_affinities,
    default_teacher,
    given_teacher,
    is_fitted,
    knows_affinities,
    own_teacher,
    rows_mapped,
)
from tsne_ooc.preprocess import Preparation, Standardize  # noqa: E402

QUICK = {"perplexity": 5, "n_iter": 3, "early_exaggeration_iter": 3, "random_state": 0}


def rows(n=60, p=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, p)).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- options


def test_options_exactly_at_their_limits_are_taken():
    least = {
        "n_iter": 1, "batch_size": 2, "augmentation": 0, "learning_rate": 100, "patience": 1, "network": [16, 0],
        "landmarks": 0, "callbacks_every_iters": 1, "shuffle": "batch", "device": "cpu", "n_jobs": -1,
    }  # fmt: skip
    found = ParametricTSNE(**least)._options()
    assert (found.steps, found.learning_rate, found.patience, found.callbacks_every) == (1, 100.0, 1, 1)
    usual = ParametricTSNE()._options()
    assert (usual.steps, usual.learning_rate, usual.patience, usual.callbacks) == (3000, 0.006, None, [])
    assert usual.look_every == ParametricTSNE.LOOK_EVERY == 500
    ParametricTSNE(augmentation=0.999999, network=(1 << 16, 1 << 10), landmarks=32).check_options()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"n_iter": 0}, ValueError, "n_iter=0 must be at least 1"),
        ({"n_iter": "many"}, TypeError, "n_iter='many' is not a whole number"),
        ({"batch_size": 1}, ValueError, "batch_size=1 must be at least 2"),
        ({"augmentation": 1}, ValueError, "augmentation=1 must be less than 1: some rows have to stay"),
        ({"augmentation": -0.1}, ValueError, "augmentation=-0.1 must be a finite number of at least 0"),
        ({"learning_rate": 0}, ValueError, "learning_rate=0 must be a finite number greater than 0"),
        ({"learning_rate": 101}, ValueError, "learning_rate=101 must be a finite number of at most 100"),
        ({"learning_rate": "auto"}, TypeError, "learning_rate='auto' is not a number; leave it out for 0.006"),
        ({"patience": 0}, ValueError, "patience=0 must be at least 1"),
        (
            {"patience": 3, "validation": False},
            ValueError,
            "patience counts looks at held-out rows; it needs validation=True",
        ),
        ({"validation": 1}, TypeError, "validation=1 is neither True nor False"),
        (
            {"shuffle": None},
            ValueError,
            "shuffle=None reads rows in their order, from which nothing is learnt; use 'batch'",
        ),
        ({"callbacks_every_iters": 0}, ValueError, "callbacks_every_iters=0 must be at least 1"),
        ({"teacher": 3}, TypeError, "teacher=3 is not a TSNE"),
        (
            {"teacher": TSNE(metric="precomputed")},
            ValueError,
            "a teacher of metric='precomputed' knows distances only; an encoder needs rows",
        ),
        ({"teacher": TSNE(dof=0)}, ValueError, "dof=0 must be"),
    ],
)
def test_one_beyond_a_limit_is_refused_before_any_work(options, kind, message):
    for call in (ParametricTSNE(**options).check_options, lambda: ParametricTSNE(**options).fit("no table")):
        with pytest.raises(kind) as told:
            call()
        assert str(told.value).startswith(message)


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        ((15, 2), ValueError, "network width 15 must be a multiple of 16"),
        ((0, 2), ValueError, "network width=0 must be at least 1"),
        (((1 << 16) + 16, 2), ValueError, "network width=65552 must be at most 65536"),
        ((16, -1), ValueError, "network depth=-1 must be at least 0"),
        ((16, 1025), ValueError, "network depth=1025 must be at most 1024"),
        ((16,), TypeError, "network=(16,) is neither (width, depth) nor a torch.nn.Module"),
        ("deep", TypeError, "network='deep' is neither (width, depth) nor a torch.nn.Module"),
        ((16, 2.0), TypeError, "network depth=2.0 is not a whole number"),
    ],
)
def test_networks_that_cannot_be(network, kind, message):
    with pytest.raises(kind) as told:
        check_network(network)
    assert str(told.value) == message
    check_network(nn.Linear(2, 2))


def test_landmarks_that_cannot_be():
    for landmarks in ("auto", 0, 16, 4096):
        check_landmarks(landmarks, (16, 2))
    check_landmarks(0, nn.Linear(2, 2))
    for landmarks, network, message in (
        ("many", (16, 2), "landmarks='many' is not known; known: auto"),
        (-16, (16, 2), "landmarks=-16 must be at least 0"),
        (8, (16, 2), "landmarks=8 must be a multiple of 16"),
        (16, nn.Linear(2, 2), "landmarks=16 are for (width, depth), not for a network of your own"),
    ):
        with pytest.raises(ValueError) as told:
            check_landmarks(landmarks, network)
        assert str(told.value) == message


def test_devices_by_their_words():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=r"^device='cpo' is not known; did you mean 'cpu'\?"):
        device_of("cpo")
    if not torch.cuda.is_available():
        with pytest.raises(
            ValueError, match=r"^device='cuda' is not available here \(.*\); use 'cpu', or leave it out$"
        ):
            device_of("cuda")


class Made(nn.Module):
    """A network that does as it is told, with a parameter."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.ones(5, 2))

    def forward(self, rows):
        return self.answer(rows, self.weight)


def fails(rows, weight):
    raise KeyError


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fails, "network fails on rows of shape (3, 5), float32: KeyError"),
        (
            lambda rows, w: (rows @ w).double(),
            "network turns rows into torch.float64, and places are a torch.Tensor of",
        ),
        (lambda rows, w: [rows @ w], "network turns rows into a list, and places are a torch.Tensor of float32"),
        (lambda rows, w: rows @ w[:, :1], "network turns rows of shape (3, 5) into (3, 1), and the map has 2 axes"),
        (lambda rows, w: (rows @ w)[:2], "network turns rows of shape (3, 5) into (2, 2), and the map has 2 axes"),
        (lambda rows, w: rows[:, :2], "network has nothing to learn: its places depend on no parameter that takes a"),
        (
            lambda rows, w: rows @ w + torch.rand(3, 2),
            "network gives the same rows other places each time, in eval mode too; make all that is random depend on",
        ),
    ],
    ids=["fails", "double", "list", "axes", "rows", "nothing", "random"],
)
def test_networks_of_ones_own_are_tried(answer, message):
    with pytest.raises(ValueError) as told:
        try_network(Made(answer), 5, 2)
    assert str(told.value).startswith(message)
    good = nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.5))
    good.train()
    before = [value.clone() for value in good.state_dict().values()]
    try_network(good, 5, 2)
    try_network((16, 2), 5, 2)
    assert good.training and all(map(torch.equal, before, good.state_dict().values()))


# ------------------------------------------------------------------------------------------------------------ networks


def test_columns_are_made_up_to_sixteens():
    assert [padded(p) for p in (1, 15, 16, 17, 32, 33)] == [16, 16, 16, 32, 32, 48]


@pytest.mark.parametrize("n", [1, 2, 4096, 4097, 9000])
def test_one_scale_for_all_columns_that_vary(n):
    X = (rows(n, 3) * [1, 5, 0] + [100, -3, 7]).astype(np.float32)
    before = X.copy()
    center, scale = standardisation(X)
    assert center.dtype == scale.dtype == np.float32
    np.testing.assert_array_equal(X, before)
    np.testing.assert_allclose(center, X.mean(axis=0, dtype=np.float64), rtol=1e-6)
    # Of the mean variance of all columns; one that does not vary has none, and is not told apart.
    variance = X.var(axis=0, dtype=np.float64).sum() / 3
    wanted = 1 / math.sqrt(variance) if n > 1 else 0
    np.testing.assert_allclose(scale, [wanted, wanted, 0], rtol=1e-4)


@pytest.mark.parametrize(("m", "p"), [(50, 4), (4, 50), (5000, 3), (1, 3), (2, 1)])
def test_leading_axes_are_principal_components_in_units_of_the_first(m, p):
    Z = rows(m, p).astype(np.float32)
    Z -= Z.mean(axis=0)
    found = leading_axes(Z, 2)
    assert found.shape == (2, p) and found.dtype == np.float32
    _, values, axes = np.linalg.svd(Z.astype(np.float64), full_matrices=False)
    for axis, value, wanted in zip(found, values, axes, strict=False):
        if value < 1e-6:
            continue
        wanted = wanted * np.sign(wanted[np.abs(wanted).argmax()])
        np.testing.assert_allclose(axis, wanted / (values[0] / math.sqrt(m)), rtol=1e-3, atol=1e-5)


def test_hidden_matrices_are_those_between_the_first_and_the_last():
    body = ResidualNetwork(16, 2, 32, 3, 16)
    assert [tuple(weight.shape) for weight in hidden_matrices(body)] == [(32, 32)] * 3
    own = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(4, 2))
    assert [tuple(weight.shape) for weight in hidden_matrices(own)] == [(8, 8), (4, 8)]
    assert hidden_matrices(nn.Linear(5, 2)) == []


def test_a_network_of_ones_own_is_copied_with_buffers_that_can_be_written_to():
    network = nn.Linear(3, 2)
    network.register_buffer("wide", torch.ones(1).expand(4))
    copy = own_copy(network)
    copy.wide[0] = 7
    with torch.no_grad():
        copy.weight.zero_()
    assert copy.wide.tolist() == [7, 1, 1, 1] and network.wide.tolist() == [1] * 4 and network.weight.any()


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("p", [3, 16, 20])
def test_rows_are_brought_to_the_units_of_the_network_and_places_to_those_of_the_map(p, bounded):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.from_numpy(rows(p, 2, seed=1)))

        def forward(self, z):
            return z @ self.weight

    X, center, scale = rows(7, p), rows(1, p, seed=2)[0], np.abs(rows(1, p, seed=3)[0]) + 0.5
    encoder = Encoder(Plain(), center, scale, np.array([3.0, -1]), 4.0, bounded)
    with torch.no_grad():
        found = encoder(torch.from_numpy(X)).numpy()
        wanted = [3, -1] + 4 * ((X - center) * scale) @ encoder.body.weight.numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert encoder.farthest.item() == pytest.approx(1e9 / scale.max(), rel=1e-5)
    if not bounded:
        assert not hasattr(encoder, "low")
        return
    assert encoder.low.tolist() == [-math.inf] * 2 and encoder.margin.item() == 1
    from tsne_ooc.parametric.bounds import Bounds

    encoder.stay_within(Bounds(np.array([-1.0, -2], np.float32), np.array([1.0, 2], np.float32), 0.5))
    with torch.no_grad():
        inside = encoder(torch.from_numpy(X)).numpy()
    assert (inside >= [-1.5, -2.5]).all() and (inside <= [1.5, 2.5]).all()
    assert (encoder.low.tolist(), encoder.high.tolist(), encoder.margin.item()) == ([-1, -2], [1, 2], 0.5)
    far = torch.full((1, p), 3e38)
    assert torch.isfinite(encoder(far)).all()


# ------------------------------------------------------------------------------------------------------------- teachers


def test_teachers_are_copies_with_a_seed_and_a_preparation():
    assert given_teacher(None, None, 3) == (None, False, None)
    own = TSNE(perplexity=7)
    found, fitted, prepare = given_teacher(own, None, 3)
    assert found is not own and (found.perplexity, found.random_state, fitted, prepare) == (7, 3, False, None)
    assert own.random_state is None
    assert given_teacher(TSNE(random_state=5), None, 3)[0].random_state == 5
    steps = Preparation([Standardize()])
    found, _, prepare = given_teacher(TSNE(prepare=steps), None, 3)
    assert prepare.steps == steps.steps and found.prepare is None
    done = TSNE(**QUICK).fit(rows())
    assert given_teacher(done, None, 3) == (done, True, None) and is_fitted(done) and not is_fitted(own)
    with pytest.raises(ValueError, match=r"^prepare and a fitted teacher, which has its own: pass one of them$"):
        given_teacher(done, steps, 3)
    again = own_teacher(done)
    assert again is not done and again.map_ is done.map_ and again.perplexity == 5


def test_a_teacher_that_nobody_looks_at_does_not_move():
    for objective, looked_at in (("distillation", True), ("batch_local", False)):
        for n, sample in ((100, None), (100_000, None), (100_001, 25_000)):
            found = default_teacher(n, resolve(objective, tuned=False), 5, 2)
            assert (found.sample, found.random_state, found.n_jobs) == (sample, 5, 2)
            assert (found.n_iter, found.early_exaggeration_iter) == (("auto", "auto") if looked_at else (0, 0))


def test_what_a_teacher_knows_of_the_rows():
    done = TSNE(**QUICK).fit(rows(40))
    assert rows_mapped(done, 99) == 40 and rows_mapped(TSNE(), 99) == 99
    assert rows_mapped(TSNE(sample=7), 99) == 7 and rows_mapped(TSNE(sample=200), 99) == 99
    assert affinity_of(done) == done.map_.affinity and affinity_of(TSNE(perplexity=9)).perplexity == 9
    assert knows_affinities(done) and not knows_affinities(TSNE(affinity=object()))
    graph, places = resolve("batch_local", tuned=False), resolve("distillation", tuned=False)
    check_affinities(graph, 99, 99)
    check_affinities(places, 99, 7, known=False)
    for known, mapped, message in (
        (
            False,
            99,
            "needs the affinities of all rows, and those of the teacher are a matrix or an object that no file",
        ),
        (True, 98, "needs the affinities of all 99 rows, and the teacher has 98 of them; use objective='distillation'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_affinities(graph, 99, mapped, known)


@pytest.mark.parametrize("moved", [True, False])
def test_the_width_of_a_map_is_its_larger_deviation_or_what_its_rows_would_have(moved):
    teacher = TSNE(**{**QUICK, **({} if moved else {"n_iter": 0, "early_exaggeration_iter": 0})}).fit(rows(50))
    taught = Taught(teacher, teacher.embedding_, None)
    problem = problem_of(taught, 50, 7, Threads(1), torch.device("cpu"))
    width = teacher.embedding_.std(axis=0).max() if moved else 0.2 * math.sqrt(50)
    assert problem.width == pytest.approx(width, rel=1e-6)
    assert (problem.n, problem.dof, problem.exaggeration, problem.seed) == (50, 1.0, 1.0, 7)


def test_a_map_whose_rows_are_all_in_one_place_has_a_width_all_the_same():
    model = SimpleNamespace(embedding=np.zeros((50, 2), np.float32), dof=0.5, exaggeration=2.0)
    teacher = SimpleNamespace(map_=SimpleNamespace(model=model), n_iter_=9)
    problem = problem_of(Taught(teacher, model.embedding, None), 50, 7, Threads(1), torch.device("cpu"))
    assert problem.width == pytest.approx(0.2 * math.sqrt(50)) and (problem.dof, problem.exaggeration) == (0.5, 2.0)


def test_rows_that_are_looked_at():
    """128 MiB of them, a thousand at least, a hundred thousand at most."""
    assert [rows_looked_at(n, 3) for n in (5, 100_000, 10**6)] == [5, 100_000, 100_000]
    assert (
        rows_looked_at(10**6, 1024) == 32_768 and rows_looked_at(10**6, 10**6) == 1000 and rows_looked_at(7, 10**6) == 7
    )
    X = rows(30)
    drawn = glance(as_source(X), 3)
    assert drawn.rows.tolist() == list(range(30))
    np.testing.assert_array_equal(drawn.X, X)


@pytest.mark.parametrize(("n", "count"), [(9, 0), (10, 1), (19, 1), (20, 2), (60, 6)])
def test_a_tenth_of_the_rows_is_held_out(n, count):
    X = rows(n)
    teacher = TSNE(**{**QUICK, "perplexity": 1}).fit(X)
    taught = Taught(teacher, teacher.embedding_, None)
    problem = problem_of(taught, n, 7, Threads(1), torch.device("cpu"))
    held, look = held_out(as_source(X), taught, problem)
    assert held.dtype == bool and held.sum() == count and (look is None) == (count == 0)
    if look is not None:
        np.testing.assert_array_equal(look.held, X[held])
        np.testing.assert_array_equal(look.reference, X[~held])
        np.testing.assert_array_equal(look.targets, teacher.embedding_[held])
    again, _ = held_out(as_source(X), taught, problem)
    np.testing.assert_array_equal(again, held)


def test_the_fewest_rows_of_a_training():
    with pytest.raises(ValueError, match=r"has 2 sample\(s\) while a minimum of 3 is required\.$"):
        ParametricTSNE(n_iter=1).fit(rows(2))


def test_a_row_that_overflows_is_told_by_its_first_cells():
    from tsne_ooc.parametric.fitted_encoder import FittedEncoder

    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(7, 2))

        def forward(self, z):
            return torch.where(z[:, :1] > 5, torch.inf, z @ self.weight)

    encoder = Encoder(Huge(), np.zeros(7), np.ones(7), np.zeros(2), 1.0)
    fitted = FittedEncoder(
        encoder, None, None, SimpleNamespace(map_=SimpleNamespace(n_components=2)), 16, {}, 0, 0, None
    )
    X = np.zeros((20, 7), np.float32)
    assert fitted.encode(X, 1).shape == (20, 2)
    X[13] = [6, 1, 2, 3, 4, 5, 0]
    with pytest.raises(ValueError) as told:
        fitted.encode(X, 1)
    assert str(told.value) == (
        "the network has no place for a row that begins with [6.0, 1.0, 2.0, 3.0, 4.0]: it overflows"
    )


def array_bytes(arrays):
    return sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("objective", ["distillation", "field"])
@pytest.mark.parametrize("own", [False, True])
def test_room_for_a_training_is_that_of_what_it_keeps(decoder, objective, own):
    """Two checkpoints at a moment, one being replaced; or one with the encoder that is made of it."""
    from tsne_ooc.parametric import Decoder
    from tsne_ooc.parametric.checkpoint import weights_of
    from tsne_ooc.parametric.decoder import DecoderNetwork
    from tsne_ooc.parametric.optimizer import Optimizer
    from tsne_ooc.parametric.room import bytes_of_training

    n, p, d, steps = 500, 20, 2, 30
    network = nn.Sequential(nn.Linear(p, 8), nn.Linear(8, 8), nn.Linear(8, d)) if own else (32, 2)
    model = ParametricTSNE(
        objective=objective, network=network, landmarks=0 if own else 16, n_iter=steps,
        decoder=Decoder((16, 1), n_iter=40) if decoder else False,
    )  # fmt: skip
    found = bytes_of_training(model, 10_000, n, p, d, all_mapped=True)

    def kept(body):
        """What a checkpoint has of a network: weights, moments, and the best weights so far."""
        whole = body if isinstance(body, DecoderNetwork) else Encoder(body, np.zeros(p), np.ones(p), np.zeros(d), 1.0)
        optimizer = Optimizer(whole, 0.01)
        for weight in optimizer.parameters:
            weight.grad = torch.ones_like(weight)
        for part in optimizer._parts:
            part.step()
        weights = array_bytes(weights_of(whole))
        return 2 * weights + array_bytes(optimizer.state()), weights

    state, weights = kept(network if own else ResidualNetwork(padded(p), d, 32, 2, 16))
    state += 8 * 8 * steps + (8 * d * n if objective == "field" else 0)
    encoder = 10_000 + weights + 8 * 8 * steps
    wanted = [2 * state, state + encoder]
    if decoder:
        other, more = kept(DecoderNetwork(p, d, 16, 1))
        other += 8 * 8 * 40
        wanted = [2 * state, state + 2 * other, state + other + encoder + more + 8 * 8 * 40]
    # But for a few numbers that are no weights, such as where the map lies.
    assert abs(found - max(wanted)) < 5000 and abs(found - max(wanted)) < 0.1 * found
    longer = bytes_of_training(model.set_params(n_iter="auto"), 10_000, n, p, d, all_mapped=True)
    assert longer > found


@pytest.mark.parametrize(("follows", "knows", "moved"), [
    (False, True, True), (True, False, True), (True, True, False), (True, True, True),
])  # fmt: skip
def test_an_encoder_is_bounded_by_its_teachers_map_and_by_its_own_where_it_left_that(
    follows, knows, moved, monkeypatch
):
    """A map that was not optimised bounds nothing; a row that was thrown off does not count."""
    rng = np.random.default_rng(0)
    taught_map, own = (rng.uniform(-1, 1, (200, 2)).astype(np.float32) + np.float32(away) for away in (0, 5))
    own[7] = 1e6
    asked = []
    monkeypatch.setattr(outset, "encode", lambda *given: asked.append(given) or own)
    X, graph = rows(200), SimpleNamespace(X=None)
    graph.X = X
    taught = Taught(
        SimpleNamespace(embedding_=taught_map, n_iter_=9 if moved else 0), taught_map, graph if knows else None
    )
    problem = SimpleNamespace(threads=Threads(1))
    found = outset.bounds_after("encoder", taught, problem, follows)
    kept = np.delete(own, 7, axis=0)
    if follows and knows:
        wanted = bounds_of(kept, taught_map) if moved else bounds_of(kept)
        assert asked == [("encoder", X, None, problem.threads)]
    else:
        wanted = bounds_of(taught_map)
    np.testing.assert_array_equal(found.low, wanted.low)
    np.testing.assert_array_equal(found.high, wanted.high)
    assert found.margin == wanted.margin


def test_held_out_rows_are_compared_by_the_parameters_of_the_teachers_search():
    """A folder holds a few words of them, which no metric takes; others are as they were given."""
    params = {"p": 3.0}

    def teacher(index, given):
        return SimpleNamespace(map_=SimpleNamespace(model=SimpleNamespace(index=index)), metric_params=given)

    found = SimpleNamespace(pairwise=SimpleNamespace(params=params))
    assert outset._metric_params(teacher(found, "words of a folder")) is params
    for index in (SimpleNamespace(pairwise=None), SimpleNamespace()):
        assert outset._metric_params(teacher(index, params)) is params
        assert outset._metric_params(teacher(index, None)) is None
        assert outset._metric_params(teacher(index, "words of a folder")) is None


def test_a_child_has_lost_the_threads_with_which_its_parent_worked(monkeypatch):
    """Several of them, not one; and with one of its own it need not have any."""
    for name in ("_drawing", "_counting", "_holders", "_lost", "_threaded"):
        monkeypatch.setattr(shared, name, getattr(shared, name))
    shared._threaded = shared._lost = False
    torch.set_num_threads(1)
    shared.begin_threads()
    shared._forget()
    torch.set_num_threads(2)
    # Nobody worked with several before.
    shared.begin_threads()
    locks = shared._drawing, shared._counting
    with shared.threads_kept():
        shared._forget()
        assert shared._holders == 1
        assert not {*map(id, locks)} & {id(shared._drawing), id(shared._counting)}
    assert shared._holders == 0
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"^PyTorch worked with several threads before this process was forked, "
        ):
            shared.begin_threads()
        # A child of the child has not got them, either.
        shared._forget()
    torch.set_num_threads(1)
    shared.begin_threads()


def test_a_table_is_prepared_by_the_options_of_its_training(monkeypatch):
    """By those of a teacher that is fitted, where there is one: a table of other columns than its rows is refused."""
    X, asked, prepared = rows(30), [], outset.prepared
    monkeypatch.setattr(
        outset, "prepared", lambda *given, **more: asked.append((*given, more)) or prepared(*given, **more)
    )
    steps = Preparation([Standardize()])
    for teacher, metric in ((TSNE(metric="cosine"), "cosine"), (None, "euclidean")):
        found = prepared_rows(X, steps, teacher, False, seed=5, n_jobs=2)
        table, prepare, of, more = asked.pop()
        assert table is X and prepare is steps and (of, more) == (metric, {"seed": 5, "n_jobs": 2})
        np.testing.assert_allclose(found.table.read(0, 30).mean(axis=0), 0, atol=1e-5)
    done = TSNE(**QUICK, prepare=steps).fit(X)
    again = prepared_rows(X, None, done, True, seed=5, n_jobs=2)
    assert not asked
    np.testing.assert_array_equal(again.table.read(0, 30), found.table.read(0, 30))
    with pytest.raises(ValueError, match="5 columns"):
        prepared_rows(np.zeros((30, 5), np.float32), None, done, True, seed=5, n_jobs=2)
    plain = TSNE(**QUICK).fit(X)
    with pytest.raises(ValueError, match=r"has 5 columns, and the teacher's rows have 4$"):
        prepared_rows(np.zeros((30, 5), np.float32), None, plain, True, seed=5, n_jobs=2)


def test_held_out_rows_are_looked_at_as_their_teacher_looks_at_rows(monkeypatch):
    asked = []
    monkeypatch.setattr(outset, "Validation", lambda *given, **more: asked.append((given, more)) or "a look")
    model = SimpleNamespace(index=SimpleNamespace(pairwise=None))
    X, map_ = rows(60), np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    teacher = SimpleNamespace(metric="minkowski", metric_params={"p": 3}, map_=SimpleNamespace(model=model))
    problem = SimpleNamespace(seed=7, width=2.5, dof=0.5, threads=Threads(1))
    held, look = held_out(as_source(X), Taught(teacher, map_, None), problem)
    (((some, others, places, width), more),) = asked
    assert look == "a look" and width == 2.5
    assert more == {"metric": "minkowski", "metric_params": {"p": 3}, "dof": 0.5, "threads": problem.threads}
    np.testing.assert_array_equal(some, X[held])
    np.testing.assert_array_equal(others, X[~held])
    np.testing.assert_array_equal(places, map_[held])


@pytest.mark.parametrize(
    ("objectives", "still"),
    [
        ([Distillation(), FieldTuning()], False),
        ([BatchLocal(), Distillation()], False),
        ([FieldTuning()], True),
        ([BatchLocal(), FieldTuning()], True),
    ],
)
def test_a_teacher_moves_where_any_stage_looks_at_its_map(objectives, still):
    found = default_teacher(50, [Stage(objective) for objective in objectives], 5, None)
    assert (found.n_iter == 0) is still and (found.early_exaggeration_iter == 0) is still
