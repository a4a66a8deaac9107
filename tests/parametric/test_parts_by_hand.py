"""Small parts of networks and their training by hand: waves, scales, orthogonal steps, losses, looks, and what is asked
of a teacher."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc._random import generator  # noqa: E402
from tsne_ooc.parametric import ParametricTSNE, lesson, onnx  # noqa: E402
from tsne_ooc.parametric.decoder import LONG, RADIUS, SHORT, DecoderNetwork, errors, scales_of  # noqa: E402
from tsne_ooc.parametric.lesson import _broken, _job, _Telling  # noqa: E402
from tsne_ooc.parametric.muon import Muon, orthogonalised  # noqa: E402
from tsne_ooc.parametric.network import Encoder, ResidualNetwork, leading_axes, padded, standardisation  # noqa: E402
from tsne_ooc.parametric.problem import Batch  # noqa: E402
from tsne_ooc.parametric.reconstruction import HeldRows, Reconstruction  # noqa: E402
from tsne_ooc.parametric.teaching import Taught  # noqa: E402
from tsne_ooc.parametric.tiles import encode  # noqa: E402
from tsne_ooc.parametric.validation import Validation  # noqa: E402

nan, inf = math.nan, math.inf


def rows(n=60, p=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, p)).astype(np.float32)


def decoder_of(p=5, d=2, scale=1.0, seed=0):
    """A decoder that says something."""
    rng = np.random.default_rng(seed)
    network = DecoderNetwork(p, d, 16, 1).begin(rng.normal(size=d), 3.0, rng.normal(size=p), np.full(p, scale), rng)
    with torch.no_grad():
        for layer in (network.body.head, network.body.skip):
            layer.weight.copy_(torch.from_numpy(rng.normal(size=tuple(layer.weight.shape)).astype(np.float32)))
    return network


# ------------------------------------------------------------------------------------------------------------- decoders


@pytest.mark.parametrize("d", [1, 2, 3])
def test_waves_are_of_all_lengths_and_go_all_ways(d):
    """As many in each octave between the longest and the shortest."""
    network = DecoderNetwork(4, d, 16, 1).begin(
        np.zeros(d), 3.0, np.zeros(4), np.ones(4), np.random.default_rng(0)
    )  # fmt: skip
    waves = network.waves.numpy().astype(np.float64)
    counts = np.linalg.norm(waves, axis=0) / (2 * np.pi)
    assert counts.min() >= LONG * (1 - 1e-6) and counts.max() <= SHORT * (1 + 1e-6)
    octaves = np.histogram(np.log2(counts), bins=np.arange(np.log2(LONG), np.log2(SHORT) + 0.5))[0]
    assert len(octaves) == 4 and (octaves >= 5).all()
    ways = waves / np.linalg.norm(waves, axis=0)
    assert np.linalg.norm(ways.mean(axis=1)) < 0.4
    np.testing.assert_allclose(ways @ ways.T / waves.shape[1], np.eye(d) / d, atol=0.15)


def test_a_decoder_begins_as_the_mean_row_and_by_its_own_generator_alone():
    center, scale = np.array([1.0, -2, 30, 0, 5]), np.array([0.5, 0, 2, 1, 7])
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(DecoderNetwork(5, 2, 16, 2).begin(np.ones(2), 3.0, center, scale, np.random.default_rng(0)))
    one, other = (network.state_dict() for network in made)
    assert all(torch.equal(one[name], other[name]) for name in one)
    with torch.no_grad():
        found = made[0](torch.from_numpy(rows(20, 2))).numpy()
    np.testing.assert_array_equal(found, np.tile(center, (20, 1)))
    assert float(made[0].radius.detach()) == pytest.approx(RADIUS)


def test_columns_that_do_not_vary_have_no_scale_wherever_they_lie():
    X = rows(5001, 8)
    for column, value in enumerate((0.0, 0.1, -7.3, 1e30, -1e-30)):
        X[:, column] = value
    # As many steps of rounding as make a millionth, and a few more or less.
    sides = np.where(np.arange(5001) % 2, 1, -1)
    X[:, 5], X[:, 6] = -1 - 1.5e-6 * sides, -1 - 0.5e-6 * sides
    center, scale = scales_of(X)
    np.testing.assert_array_equal(center[:5], X[0, :5])
    assert np.flatnonzero(scale).tolist() == [5, 7] and np.isfinite(scale).all()
    np.testing.assert_allclose(scale[[5, 7]], 1 / X[:, [5, 7]].std(axis=0, dtype=np.float64), rtol=1e-5)
    # The encoder has one scale for all columns that vary.
    center, scale = standardisation(np.ascontiguousarray(X[:, [0, 1, 2, 7]]))
    np.testing.assert_array_equal(center[:3], X[0, :3])
    assert scale[:3].tolist() == [0, 0, 0] and scale[3] == pytest.approx(2 / X[:, 7].std(dtype=np.float64), rel=1e-5)


def test_residuals_at_the_ends_of_single_precision_are_numbers():
    one = SimpleNamespace(scale=torch.tensor([0.0, 1e-38]), spread=torch.tensor([1.0, 2.0]))
    X, back = np.array([[1, 3e38], [2, 0]], np.float32), np.array([[5, -3e38], [5, 1e38]], np.float32)
    np.testing.assert_allclose(errors(one, X, back), [9, 0.25], rtol=1e-5)


def test_held_out_rows_are_judged_by_the_columns_that_vary():
    network, X, places = decoder_of(), rows(30, 5), rows(30, 2, seed=1)
    for scale in ([1, 0, 2, 0.5, 0], [0, 0, 0.25, 0, 0], [0, 1e25, 0, 0, 0], [0, 0, 0, 0, 0]):
        network.scale.copy_(torch.tensor(scale))
        # What comes back depends on the scale; what is looked at here does not.
        back = encode(network, places, 5, Threads(1)).astype(np.float64)
        vary = np.array(scale) > 0
        wanted = np.square((back - X) * network.scale.numpy().astype(np.float64))[:, vary].mean() if vary.any() else 0
        found = HeldRows(X, places, Threads(1))(network)
        assert found.error == pytest.approx(wanted, rel=1e-5) == found.judged("targets", 4.0)


def test_the_losses_of_a_decoder():
    network, X = decoder_of(), rows(40, 5)
    network.scale.copy_(torch.tensor([0.5, 1, 2, 0, 3]))
    with torch.no_grad():
        network.log_radius.fill_(0.05)

    def encoder(X):
        return 2 * X[:, :2] + 1

    def loss(variational, step):
        batch = Batch(step, np.arange(40), torch.from_numpy(X))
        return float(Reconstruction(encoder, variational).of(SimpleNamespace(seed=7)).loss(network, batch).detach())

    origin, center, scale = (value.numpy().astype(float) for value in (network.origin, network.center, network.scale))
    places, wanted = (encoder(X) - origin) / 3, (X - center) * scale

    def away(places):
        with torch.no_grad():
            return network.standardised(torch.from_numpy(places.astype(np.float32))).numpy() - wanted

    assert loss(False, 3) == pytest.approx(np.square(away(places)).mean(), rel=1e-4) == loss(False, 4)
    radius = 0.1 * math.exp(10 * 0.05)
    for step in (3, 4):
        noise = generator(7, f"noise, step {step}").normal(size=(40, 2))
        fit = np.log(np.square(away(places + radius * noise)).mean(axis=0) + 1e-4).sum() / 2
        divergence = 2 * (radius**2 / 2 - math.log(radius))
        assert loss(True, step) == pytest.approx((fit + divergence) / 5, rel=1e-4) == loss(True, step)
    assert loss(True, 3) != loss(True, 4)


# ---------------------------------------------------------------------------------------------------- orthogonal steps


def test_singular_values_from_a_thousandth_on_end_near_one():
    rng = np.random.default_rng(0)
    for small in np.geomspace(0.0015, 1, 40):
        u, v = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
        matrix = torch.from_numpy((u @ np.diag([1, small]) @ v).astype(np.float32))
        found = orthogonalised(matrix).numpy()
        np.testing.assert_allclose(np.linalg.svd(found)[1], 1, atol=0.56)
        values = u.T @ found @ v.T
        assert abs(values[0, 1]) < 1e-2 and abs(values[1, 0]) < 1e-2 and (np.diag(values) > 0).all()


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_the_unit_of_a_gradient_is_no_matter_and_each_matrix_is_by_itself(shape):
    some = torch.from_numpy(rows(6 * shape[0], shape[1]).reshape(2, 3, *shape))
    alone = torch.stack([orthogonalised(matrix) for matrix in some.reshape(6, *shape)]).reshape(some.shape)
    units = torch.tensor([1e-15, 1, 1e15])[:, None, None]
    for given in (some, some * units):
        before = given.clone()
        torch.testing.assert_close(orthogonalised(given), alone, rtol=1e-3, atol=1e-4)
        assert torch.equal(given, before)
    assert not orthogonalised(torch.zeros(3, *shape)).any()


def test_steps_of_matrices_are_nesterovs_by_the_last_gradients():
    shapes = [(16, 16), (16, 16), (32, 8), (8, 32)]
    weights = [torch.nn.Parameter(torch.from_numpy(rows(*shape, seed=i))) for i, shape in enumerate(shapes)]
    wanted, average = [weight.detach().clone() for weight in weights], [torch.zeros(shape) for shape in shapes]
    optimizer = Muon(weights, lr=0.3)
    for step in range(4):
        for i, weight in enumerate(weights):
            # One of two that are alike has nothing to learn for a while.
            weight.grad = None if (step, i) == (1, 0) else torch.from_numpy(rows(*shapes[i], seed=100 * step + i))
        optimizer.step()
        for i, weight in enumerate(weights):
            if weight.grad is not None:
                average[i] = 0.95 * average[i] + 0.05 * weight.grad
                update = orthogonalised(0.05 * weight.grad + 0.95 * average[i])
                wanted[i] = wanted[i] - 0.3 * math.sqrt(max(1, shapes[i][0] / shapes[i][1])) * update
            torch.testing.assert_close(weight.detach(), wanted[i], rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------------------------------------- axes, looks


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (3, 3), (1, 1)])
def test_rows_that_are_all_alike_have_no_axes(shape):
    found = leading_axes(np.zeros(shape, np.float32), 2)
    assert np.isfinite(found).all() and (shape[0] >= shape[1] or not found.any())
    # Of rows in one line there is one, however short they are.
    for unit in (1e-3, 1, 1e3):
        Z = (unit * np.arange(shape[0])[:, None] * np.ones(shape)).astype(np.float32)
        Z -= Z.mean(axis=0)
        found = leading_axes(Z, 2)
        assert np.isfinite(found).all()
        if shape[0] > 1:
            np.testing.assert_allclose(found[0], np.sqrt(1 / shape[1]) / (Z[:, 0].std() * np.sqrt(shape[1])), rtol=1e-3)


def encoder_of(p=3):
    rng = np.random.default_rng(0)
    body = ResidualNetwork(padded(p), 2, 16, 1, 0)
    body.initialise(rng.normal(size=(2, padded(p))).astype(np.float32), rng)
    return Encoder(body, np.zeros(p), np.ones(p), np.zeros(2), 3.0)


@pytest.mark.parametrize("dof", [1.0, 0.6])
def test_a_look_at_held_out_rows(dof):
    held, around, targets = rows(20, 3, seed=1), rows(300, 3, seed=2), rows(20, 2, seed=3)
    look = Validation(
        held, around, targets, 3.0, metric="euclidean", metric_params=None, dof=dof, threads=Threads(1)
    )  # fmt: skip
    encoder = encoder_of()
    found = look(encoder)
    distances = np.linalg.norm(held[:, None].astype(float) - around, axis=2)
    near = np.argsort(distances, axis=1)
    np.testing.assert_array_equal(np.sort(look.near, axis=1), np.sort(near[:, :90], axis=1))
    p = look.p.astype(float)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(-(p * np.log(p)).sum(axis=1)), 30, rtol=1e-3)
    Y, Z = (encode(encoder, X, 2, Threads(1)).astype(float) for X in (held, around))
    square = np.square(Y[:, None] - Z).sum(axis=2)
    w = (1 + square / dof) ** -dof
    log_q = np.log(np.take_along_axis(w, look.near, axis=1) / w.sum(axis=1, keepdims=True))
    assert found.kl_divergence == pytest.approx((p * (np.log(p) - log_q)).sum(axis=1).mean(), rel=1e-4)
    log_w = np.log(np.take_along_axis(w, look.near, axis=1))
    assert found.attraction == pytest.approx(-(p * log_w).sum(axis=1).mean(), rel=1e-4)
    met = [len({*a} & {*b}) for a, b in zip(near[:, :10].tolist(), np.argsort(square)[:, :10].tolist(), strict=True)]
    assert found.recall == pytest.approx(np.mean(met) / 10)
    assert found.distance == pytest.approx(np.linalg.norm(Y - targets, axis=1).mean() / 3, rel=1e-4)


@pytest.mark.parametrize("which", ["held", "reference"])
def test_a_network_that_has_no_place_for_one_row_is_as_bad_as_can_be(which):
    class Somewhere(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 2))

        def forward(self, X):
            return torch.where(X[:, :1] > 50, torch.tensor([inf, 0]), X @ self.weight)

    held, around = rows(8, 3), rows(40, 3, seed=1)
    look = Validation(
        held, around, held[:, :2], 1.0, metric="euclidean", metric_params=None, dof=1.0, threads=Threads(1)
    )  # fmt: skip
    assert np.isfinite(look(Somewhere())).all()
    getattr(look, which)[5, 0] = 99
    assert tuple(look(Somewhere())) == (inf, 0, 0, inf)


# -------------------------------------------------------------------------------------------------------------- lessons


class Stop(Exception):
    pass


STILL = {"perplexity": 5, "n_iter": 0, "early_exaggeration_iter": 0, "neighbors": "exact", "random_state": 0}


@pytest.mark.parametrize(
    ("known", "sample", "n", "augmentation", "objective", "tuned", "graph", "warns"),
    [
        (True, None, 40, 0.5, "auto", True, True, False),
        (True, None, 39, 0.5, "auto", False, True, False),
        (True, None, 40, 0, "auto", True, True, False),
        (True, None, 39, 0, "auto", False, False, False),
        (True, 20, 40, 0.5, "auto", False, True, False),
        (True, None, 40, 0, "distillation", False, False, False),
        (True, None, 39, 0, "batch_local", True, True, False),
        (False, None, 40, 0.5, "auto", False, False, True),
        (False, None, 40, 0, "auto", False, False, False),
        (False, 20, 40, 0.5, "auto", False, False, False),
    ],
)
def test_what_is_asked_of_a_teacher(
    known, sample, n, augmentation, objective, tuned, graph, warns, monkeypatch, recwarn
):
    """Affinities where a stage follows them or rows are moved; the map is tuned from so many rows on."""
    seen = {}

    def teach(teacher, table, **asked):
        seen.update(asked, shape=table.shape)
        raise Stop

    monkeypatch.setattr(lesson, "FEWEST_TUNED", 40)
    monkeypatch.setattr(lesson, "knows_affinities", lambda teacher: known)
    monkeypatch.setattr(lesson, "check_affinities", lambda stages, *rest: seen.update(stages=stages, rest=rest))
    monkeypatch.setattr(lesson, "teach", teach)
    model = ParametricTSNE(
        TSNE(**STILL, sample=sample), augmentation=augmentation, objective=objective, network=(16, 0), random_state=7
    )
    with pytest.raises(Stop):
        model.fit(rows(n))
    assert any(stage.objective.needs == "graph" for stage in seen["stages"]) is tuned
    assert seen["rest"] == (n, sample or n, known) and seen["shape"] == (n, 4)
    assert (seen["graph"], seen["fitted"], seen["seed"]) == (graph, False, 7) and isinstance(seen["threads"], Threads)
    told = [str(one.message) for one in recwarn]
    assert len(told) == warns and all(words.startswith("the affinities of the teacher are not in") for words in told)


@pytest.mark.parametrize(("n", "shuffle"), [(59, "full"), (60, "full"), (61, "buffer")])
@pytest.mark.parametrize("batch_size", [2, 7, 20, 30, 59, 60, 61, 2048])
def test_batches_are_as_equal_as_whole_numbers_allow(n, shuffle, batch_size, monkeypatch):
    seen = []

    def teach(teacher, table, **asked):
        model = SimpleNamespace(embedding=rows(n, 2), dof=1.0, exaggeration=1.0)
        return Taught(SimpleNamespace(map_=SimpleNamespace(model=model), n_iter_=9), model.embedding, None)

    def batches_of(table, *asked):
        seen.append(asked)
        raise Stop

    monkeypatch.setattr(lesson, "MOST_FITTED", 60)
    monkeypatch.setattr(lesson, "teach", teach)
    monkeypatch.setattr(lesson, "batches_of", batches_of)
    for asked in ("auto", "batch", "buffer", "full"):
        with pytest.raises(Stop):
            ParametricTSNE(
                TSNE(**STILL), network=(16, 0), batch_size=batch_size, shuffle=asked, objective="distillation"
            ).fit(rows(n))  # fmt: skip
    assert [order for _, order, _, _ in seen] == [shuffle, "batch", "buffer", "full"]
    count = math.ceil(n / batch_size)
    assert {size for size, _, _, _ in seen} == {math.ceil(n / count)}


def test_what_is_said_of_a_training_that_did_not_come_to_its_end():
    def ended(stopped, steps):
        return SimpleNamespace(stopped=stopped, steps=steps)

    rest = "the encoder is the best one until then"
    for done, decoded, decoding, wanted in (
        (ended("finished", 9), None, False, None),
        (ended("converged", 5), ended("finished", 3), True, None),
        (ended("callback", 5), ended("converged", 3), True, None),
        (ended("interrupted", 5), None, False, f"interrupted after 5 of 9 batches; {rest}"),
        (ended("interrupted", 5), None, True, f"interrupted after 5 of 9 batches; {rest}, and there is no decoder"),
        (
            ended("burst", 5),
            ended("interrupted", 3),
            True,
            f"the map burst after 5 of 9 batches; {rest}. Use a smaller learning_rate, or objective='distillation'",
        ),
        (
            ended("finished", 9),
            ended("interrupted", 3),
            True,
            "interrupted after 3 batches of the decoder; it is the best one until then",
        ),
    ):
        assert _broken(done, decoded, 9, decoding) == wanted


def test_the_loss_is_told_where_there_is_room_for_a_note():
    class Short:
        __slots__ = ("calls",)

        def __init__(self):
            self.calls = []

        def __call__(self, *given):
            self.calls.append(given)

    class Long(Short):
        __slots__ = ("note",)

        def __init__(self):
            super().__init__()
            self.note = ""

    for tell in (Short(), Long()):
        _Telling(SimpleNamespace(progress=tell), 10)(3, 0.123456, None)
        assert tell.calls == [("train", 3, 10)]
    assert tell.note == "loss 0.1235, "


def test_a_training_is_of_the_same_table_wherever_that_lies():
    source = {"path": "a", "mtime_ns": 1, "version": 2, "shape": [3, 4], "bytes": 5}
    asked = SimpleNamespace(told={"shuffle": "full"}, seed=7, network=(16, 2), device=torch.device("cpu"))
    taught = SimpleNamespace(targets=rows(9, 2))
    job = _job(asked, source, SimpleNamespace(stages=[], steps=30), encoder_of(), taught)
    assert job["source"] == {"shape": [3, 4], "bytes": 5}
    assert (job["shuffle"], job["n_iter"], job["random_state"], job["device"]) == ("full", 30, 7, "cpu")
    other = _job(
        asked, source, SimpleNamespace(stages=[], steps=30), encoder_of(), SimpleNamespace(targets=rows(9, 2, 1))
    )
    assert {name for name in job if job[name] != other[name]} == {"map"}


# --------------------------------------------------------------------------------------------------- for other programs


@pytest.mark.parametrize("fails", [False, True])
def test_what_an_exporter_says_of_its_own_workings_is_not_heard(fails, tmp_path, monkeypatch, capfd):
    """The file is one, for any number of rows, and settings are as before, also where there is none."""
    seen = []

    class Program:
        def save(self, path, external_data):
            seen.append(external_data)
            Path(path).write_bytes(b"all of it")

    def export(network, given, *, input_names, output_names, dynamo, verbose, dynamic_shapes):
        assert (input_names, output_names, dynamo) == (["rows"], ["places"], True)
        ((shapes,), (tensor,)) = dynamic_shapes, given
        assert tensor.shape[1] == 3 and tensor.dtype == torch.float32 and list(shapes) == [0] and shapes[0].min == 1
        assert not logging.getLogger("torch.onnx").isEnabledFor(logging.WARNING)
        warnings.warn("an inner working", UserWarning, stacklevel=1)
        if verbose:
            print("an inner working")
        if fails:
            raise RuntimeError("no such layer")
        return Program()

    monkeypatch.setattr(onnx, "check_packages", lambda what: None)
    monkeypatch.setattr(torch.onnx, "export", export)
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.INFO)
    try:
        if fails:
            with pytest.raises(RuntimeError, match="no such layer"):
                onnx.export_onnx(torch.nn.Linear(3, 2), 3, tmp_path / "encoder.onnx")
        else:
            assert onnx.export_onnx(torch.nn.Linear(3, 2), 3, tmp_path / "encoder.onnx") == tmp_path / "encoder.onnx"
            assert (tmp_path / "encoder.onnx").read_bytes() == b"all of it" and seen == [False]
        assert quiet.level == logging.INFO
    finally:
        quiet.setLevel(before)
    assert len(list(tmp_path.iterdir())) == (not fails) and capfd.readouterr().out == ""
