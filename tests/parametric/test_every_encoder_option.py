"""What each option of an encoder, its decoder, its stages and objectives promises, each by a rule of its own.

The lists of options are the signatures. The first batch of a training is known beforehand: the network begins as the
leading principal components, the decoder as the mean row, and Adam's first step is the learning rate for each weight.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import reference
from scipy.spatial.distance import cdist

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from test_objectives import Table, batch_of, problem, tsne_gradient  # noqa: E402

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, estimator, lesson, load, outset  # noqa: E402
from tsne_ooc.parametric.objectives import (  # noqa: E402
    WORDS,
    BatchLocal,
    Distillation,
    FieldTuning,
    InfoNC,
    NegativeSampling,
    Stage,
)
from tsne_ooc.preprocess import PCA, Preparation  # noqa: E402

N, P = 200, 5
FEW = {"network": (16, 1), "n_iter": 12, "batch_size": 50, "random_state": 0, "n_jobs": 1}


@pytest.fixture(scope="module")
def teacher(islands):
    return TSNE(perplexity=10, n_iter=30, early_exaggeration_iter=10, neighbors="exact", random_state=0).fit(islands)


@pytest.fixture
def fit(teacher, islands):
    def call(X=None, **options):
        return ParametricTSNE(**{"teacher": teacher, **FEW, **options}).fit(islands if X is None else X)

    return call


class Recorder(torch.nn.Module):
    """A linear map that keeps what it is given in training."""

    seen: list

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(P, 2)

    def forward(self, x):
        if self.training and x.requires_grad is False:
            type(self).seen.append(x.detach().numpy().copy())
        return self.linear(x)


def batches_of(fit, islands, **options):
    """The rows of each batch by their numbers, -1 for rows that are not of the table."""
    Recorder.seen = []
    with torch.random.fork_rng(devices=[]):
        network = Recorder()
    model = fit(network=network, **options)
    known = {row.tobytes(): i for i, row in enumerate(standardised(model, islands))}
    return [np.array([known.get(row.tobytes(), -1) for row in batch]) for batch in Recorder.seen]


def standardised(model, X):
    return (X - model.encoder_.center.numpy()) * model.encoder_.scale.numpy()


def weights_of(model):
    return np.concatenate([value.numpy().ravel() for value in model.encoder_.state_dict().values()])


def of_teacher(fit, teacher, islands, capsys):
    np.testing.assert_array_equal(fit().embedding_, teacher.embedding_)
    asked = TSNE(perplexity=6, n_iter=3, early_exaggeration_iter=3, n_components=3, sample=60, random_state=0)
    model = fit(teacher=asked)
    assert model.embedding_.shape == (60, 3) and model.teacher_.n_neighbors_ == 18
    assert model.transform(islands).shape == (N, 3) and not hasattr(asked, "embedding_")


def of_objective(fit, teacher, islands, capsys):
    for word, kind in WORDS.items():
        made, real = [], kind.of

        def of(self, problem, made=made, real=real):
            made.append(self)
            return real(self, problem)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "of", of)
            fit(objective=word, n_iter=2)
            fit(objective=kind(), n_iter=2)
        assert made == [kind(), kind()], word
    # Field tuning knows the divergence of the whole map, here that of the projection it begins with.
    model = fit(objective="field", n_iter=1)
    Y = projected(model, teacher, islands)
    P_ = teacher.affinities_.toarray()
    assert model.history_["batches"]["loss"][0] == pytest.approx(reference.kl(P_, Y), rel=1e-3)
    # And distillation how far that is from the map.
    model = fit(objective="distillation", n_iter=1, batch_size=N, validation=False, augmentation=0)
    assert model.history_["batches"]["loss"][0] == pytest.approx(huber(model, teacher, islands, 0.1), rel=1e-3)


def projected(model, teacher, X):
    """Where the network puts rows before it has learnt anything."""
    Z = standardised(model, X).astype(float)
    values, axes = np.linalg.svd(Z, full_matrices=False)[1:]
    axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    Z = Z @ axes.T / (values[0] / math.sqrt(len(X)))
    return teacher.embedding_.mean(axis=0) + teacher.embedding_.std(axis=0).max() * Z


def huber(model, teacher, X, delta):
    away = (projected(model, teacher, X) - teacher.embedding_) / teacher.embedding_.std(axis=0).max()
    length = np.linalg.norm(away, axis=1)
    return np.where(length <= delta, length**2, delta * (2 * length - delta)).mean()


def of_network(fit, teacher, islands, capsys):
    body = fit(network=(48, 3)).encoder_.body
    assert body.stem.weight.shape == (48, 16) and len(body.blocks) == 3
    mine = torch.nn.Linear(P, 2)
    before = mine.weight.detach().clone()
    found = fit(network=mine).encoder_.body
    # A copy has learnt.
    assert isinstance(found, torch.nn.Linear) and (mine.weight == before).all() and (found.weight != before).any()


def of_landmarks(fit, teacher, islands, capsys):
    assert fit(landmarks=0).encoder_.body.nearness is None
    model = fit(landmarks=64, learning_rate=1e-30)
    logits = model.encoder_.body.nearness.logits
    weight, bias = logits.weight.detach().numpy().astype(float), logits.bias.detach().numpy().astype(float)
    # A row x has the logit s (2 c x - c c) for landmark c, of one sharpness s.
    sharpness = -np.square(weight).sum(axis=1) / (4 * bias)
    np.testing.assert_allclose(sharpness, sharpness[0], rtol=1e-4)
    assert len(weight) == 64 == model.encoder_.body.landmarks
    centres, Z = weight[:, :P] / (2 * sharpness[0]), standardised(model, islands)
    drawn = Z[np.random.default_rng(0).permutation(N)[:64]]
    # k-means: nearer to rows than rows at random are.
    away = [cdist(Z, those, "sqeuclidean").min(axis=1).sum() for those in (centres, drawn)]
    assert away[0] < 0.9 * away[1]
    # Never more than rows, in multiples of 16; "auto" is one for 16 rows.
    assert fit(landmarks=1024).encoder_.body.landmarks == 192
    wide = np.repeat(islands, 2, axis=0)
    model = ParametricTSNE(**{**FEW, "landmarks": "auto", "teacher": TSNE(perplexity=5, n_iter=2, random_state=0)})
    assert model.fit(wide).encoder_.body.landmarks == 16 and fit().encoder_.body.landmarks == 0


def of_decoder(fit, teacher, islands, capsys):
    plain, full = fit(), fit(decoder=Decoder(network=(16, 1), n_iter=3))
    assert plain.decoder_ is None and not hasattr(plain, "inverse_transform")
    assert full.inverse_transform(full.transform(islands)).shape == islands.shape
    np.testing.assert_array_equal(weights_of(full), weights_of(plain))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesson, "train_decoder", lambda options, *rest, **more: seen.append(options))
        fit(decoder=True)
        fit(decoder=False)
    assert seen == [Decoder()]


def of_n_iter(fit, teacher, islands, capsys):
    model = fit(n_iter=7)
    assert model.n_iter_ == 7 == len(model.history_["batches"]["step"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimator, "STEPS", 9)
        assert fit(n_iter="auto").n_iter_ == 9


def of_batch_size(fit, teacher, islands, capsys):
    for size, wanted in ((40, [40] * 12), (200, [200] * 12), (70, [67, 67, 66] * 4)):
        assert fit(batch_size=size, validation=False).history_["batches"]["rows"].tolist() == wanted


def of_learning_rate(fit, teacher, islands, capsys):
    for rate in (0.003, 0.02):
        model = fit(learning_rate=rate, n_iter=1, validation=False)
        # The head begins at zero.
        moved = np.abs(model.encoder_.body.head.weight.detach().numpy())
        np.testing.assert_allclose(moved, rate, rtol=1e-2)
        assert model.history_["batches"]["rate"].tolist() == [rate]


def of_augmentation(fit, teacher, islands, capsys):
    for share in (0, 0.3, 0.5):
        found = batches_of(fit, islands, augmentation=share, validation=False)
        moved = np.array([(batch < 0).sum() for batch in found])
        # Two neighbours that are one leave a row where it is.
        assert (moved <= round(50 * share)).all() and moved.sum() >= 0.85 * 12 * round(50 * share)


def of_prepare(fit, teacher, islands, capsys):
    few = TSNE(perplexity=10, n_iter=5, early_exaggeration_iter=5, random_state=0)
    model = fit(teacher=few, prepare=Preparation([PCA(2)]))
    centred = islands - islands.mean(axis=0, dtype=float)
    found = model.preparation_.transform(islands)
    wanted = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    assert min(abs(np.corrcoef(found[:, axis], wanted[:, axis])[0, 1]) for axis in range(2)) > 0.9999
    assert model.encoder_.center.shape == (2,) and fit().preparation_ is None
    np.testing.assert_array_equal(model.transform(islands), model.encode_prepared(found))


def of_shuffle(fit, teacher, islands, capsys):
    seen, real = [], outset.Batches

    def batches(table, **options):
        seen.append(options["shuffle"])
        return real(table, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outset, "Batches", batches)
        patch.setattr(outset, "UNEVEN", 2.0)
        # Blocks of 50 rows.
        patch.setattr("tsne_ooc.batches.sizes._BLOCK_BYTES", 50 * P * 4)
        mixed = batches_of(fit, islands, shuffle="full", augmentation=0, validation=False)
        blocks = batches_of(fit, islands, shuffle="batch", augmentation=0, validation=False)
        fit(shuffle="buffer")
        fit(shuffle="auto")
        patch.setattr(lesson, "MOST_FITTED", 150)
        fit(shuffle="auto")
    assert seen == ["full", "batch", "buffer", "full", "buffer"]
    for epoch in range(3):
        for found in (mixed, blocks):
            assert sorted(np.concatenate(found[4 * epoch : 4 * epoch + 4])) == list(range(N))
    # Each batch is one part of the table, or of all parts of it.
    assert all(np.ptp(batch) == 49 for batch in blocks) and all(np.ptp(batch) > 150 for batch in mixed)


def of_validation(fit, teacher, islands, capsys):
    model = fit(validation=False)
    assert not len(model.history_["validation"]["step"]) and model.best_iter_ == 12
    found = batches_of(fit, islands, augmentation=0)
    met = set(np.concatenate(found).tolist())
    assert len(met) == N - N // 10
    assert fit().history_["validation"]["step"].tolist() == [0, 12]


def of_patience(fit, teacher, islands, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParametricTSNE, "LOOK_EVERY", 2)
        # Nothing is learnt, so that no look is better than the one before the first batch.
        assert [fit(patience=p, learning_rate=1e-30).n_iter_ for p in (1, 3, None)] == [2, 6, 12]


def of_callbacks(fit, teacher, islands, capsys):
    seen = []
    model = fit(callbacks=lambda *event: seen.append(event), callbacks_every_iters=1)
    assert [step for step, *_ in seen] == list(range(1, 13)) and seen[0][2] is model.encoder_
    assert [loss for _, loss, _ in seen] == model.history_["batches"]["loss"].tolist()
    assert fit(callbacks=[lambda *event: False, lambda step, *_: step == 5], callbacks_every_iters=1).n_iter_ == 5


def of_callbacks_every_iters(fit, teacher, islands, capsys):
    seen = []
    fit(callbacks=lambda step, *_: seen.append(step), callbacks_every_iters=5)
    assert seen == [5, 10]


def of_device(fit, teacher, islands, capsys):
    where = []
    fit(device="cpu", callbacks=lambda *event: where.append(event[2].center.device), callbacks_every_iters=6)
    assert where == [torch.device("cpu")] * 2
    with pytest.raises(ValueError, match="device='meta' is not available here"):
        fit(device="meta")


def of_n_jobs(fit, teacher, islands, capsys):
    models = [fit(n_jobs=n) for n in (1, 3)]
    assert [model.map_.threads.n for model in models] == [1, 3]
    np.testing.assert_array_equal(*[weights_of(model) for model in models])


def of_random_state(fit, teacher, islands, capsys):
    models = [fit(random_state=seed) for seed in (0, 1)]
    assert [model.seed_ for model in models] == [0, 1]
    held = [set(np.concatenate(batches_of(fit, islands, augmentation=0, random_state=seed))) for seed in (0, 1)]
    # Other rows are held out, and other weights come of it.
    assert held[0] != held[1] and (weights_of(models[0]) != weights_of(models[1])).any()
    drawn = fit(random_state=None)
    np.testing.assert_array_equal(weights_of(fit(random_state=drawn.seed_)), weights_of(drawn))


def of_verbose(fit, teacher, islands, capsys):
    fit()
    assert capsys.readouterr().err == ""
    fit(verbose=True)
    told = capsys.readouterr().err
    assert "encoder: 100%" in told and "12/12" in told and "rows/s" in told


ENCODER = {
    "teacher": of_teacher, "objective": of_objective, "network": of_network, "landmarks": of_landmarks,
    "decoder": of_decoder, "n_iter": of_n_iter, "batch_size": of_batch_size, "learning_rate": of_learning_rate,
    "augmentation": of_augmentation, "prepare": of_prepare, "shuffle": of_shuffle, "validation": of_validation,
    "patience": of_patience, "callbacks": of_callbacks, "callbacks_every_iters": of_callbacks_every_iters,
    "device": of_device, "n_jobs": of_n_jobs, "random_state": of_random_state, "verbose": of_verbose,
}  # fmt: skip


@pytest.mark.parametrize("option", ENCODER)
def test_each_option_of_an_encoder(fit, teacher, islands, capsys, option):
    ENCODER[option](fit, teacher, islands, capsys)


# ------------------------------------------------------------------------------------------------------ decoders


def decoding(fit, **options):
    decoder = Decoder(**{"network": (16, 1), "n_iter": 3, **options})
    return fit(decoder=decoder, batch_size=N, validation=False, augmentation=0)


def of_decoder_network(fit):
    body = decoding(fit, network=(48, 3)).decoder_.body
    assert body.stem.weight.shape[0] == 48 and len(body.blocks) == 3


def of_variational(fit):
    # It begins as the mean row everywhere, so that what is left are columns of variance 1.
    plain, noisy = (decoding(fit, variational=value) for value in (False, True))
    first = [model.history_["decoder"]["batches"]["loss"][0] for model in (plain, noisy)]
    assert first[0] == pytest.approx(1, rel=1e-4)
    divergence = 2 * (0.5 * 0.1**2 - math.log(0.1))
    assert first[1] == pytest.approx((P * 0.5 * math.log(1 + 1e-4) + divergence) / P, rel=1e-4)
    # Only there a radius is learnt.
    radii = [float(model.decoder_.radius.detach()) for model in (plain, noisy)]
    assert radii[0] == pytest.approx(0.1) and radii[1] != pytest.approx(0.1, rel=1e-3)


def of_decoder_n_iter(fit):
    model = decoding(fit, n_iter=5)
    assert len(model.history_["decoder"]["batches"]["step"]) == 5 and model.n_iter_ == 12


def of_decoder_learning_rate(fit):
    for rate in (0.001, 0.03):
        head = decoding(fit, learning_rate=rate, n_iter=1).decoder_.body.head.weight.detach().numpy()
        np.testing.assert_allclose(np.abs(head[:P]), rate, rtol=1e-2)


DECODER = {
    "network": of_decoder_network, "variational": of_variational, "n_iter": of_decoder_n_iter,
    "learning_rate": of_decoder_learning_rate,
}  # fmt: skip


@pytest.mark.parametrize("option", DECODER)
def test_each_option_of_a_decoder(fit, option):
    DECODER[option](fit)


# ----------------------------------------------------------------------------------------- stages and objectives


def of_stage(fit, teacher, islands):
    stages = [Stage(Distillation(), 1.0, 0.5), Stage(FieldTuning(), share=2.0)]
    batches = fit(objective=stages, validation=False).history_["batches"]
    assert batches["stage"].tolist() == [0] * 4 + [1] * 8
    assert batches["rate"][0] == pytest.approx(0.5 * 6e-3) and batches["rate"][4] == pytest.approx(6e-3)


def of_distillation(fit, teacher, islands):
    for delta in (0.05, 0.3, math.inf):
        model = fit(objective=Distillation(delta), n_iter=1, batch_size=N, validation=False, augmentation=0)
        assert model.history_["batches"]["loss"][0] == pytest.approx(huber(model, teacher, islands, delta), rel=1e-3)


def of_field_tuning(fit, teacher, islands):
    plans = []
    from tsne_ooc.parametric.objectives.places import Places

    real = Places.plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Places, "plan", lambda self: (plans.append(None), real(self))[1])
        # One for each so many batches, besides what `begin` makes.
        counts = []
        for every in (1, 4, 12):
            plans.clear()
            fit(objective=FieldTuning(every=every))
            counts.append(len(plans))
    assert np.diff(counts).tolist() == [3 - 12, 1 - 3]
    P_, p = problem(exaggeration=3.0)
    Y = np.random.default_rng(1).normal(size=(p.n, 2)).astype(np.float32)
    some = np.array([3, 17, 5, 29])
    # None is the fit's own.
    for given, factor in ((None, 3.0), (1.5, 1.5)):
        loss = FieldTuning(exaggeration=given).of(p)
        loss.put(Y[p.graph.rows])
        at = p.graph.places[some]
        found = loss.gradient(at, loss.places.latest[at])
        assert reference.relative(found, tsne_gradient(P_, Y, 1.0, factor)[some]) < 1e-4
        # And what is minimised.
        Q = reference.similarities(Y, 1.0)
        Q, inside = Q / Q.sum(), P_ > 0
        cross = -(P_[inside] * np.log(Q[inside])).sum()
        kernel = -(P_[inside] * np.log(1 / (1 + (reference.differences(Y) ** 2).sum(-1)))[inside]).sum()
        wanted = cross + (P_[inside] * np.log(P_[inside])).sum() + (factor - 1) * kernel
        assert loss.judge(Table(Y)) == pytest.approx(wanted, rel=1e-3)


def of_batch_local(fit, teacher, islands):
    _, p = problem()
    Y = np.random.default_rng(1).normal(size=(p.n, 2)).astype(np.float32)
    groups = [np.arange(12), np.arange(8, 30)]
    means = []
    for rows in groups:
        w = 1 / (1 + (reference.differences(Y[rows]) ** 2).sum(-1))
        means.append((w.sum() - len(rows)) / (len(rows) * (len(rows) - 1)))
    for memory in (0.0, 0.4, 0.9):
        loss = BatchLocal(memory).of(p)
        for step, rows in enumerate(groups):
            loss.loss(Table(Y), batch_of(p, rows, step))
        assert loss.average == pytest.approx(memory * means[0] + (1 - memory) * means[1], rel=1e-5)


def together(objective):
    """The loss of a batch of all rows, which are all at one place: each similarity is 1."""
    _, p = problem(n=60)
    loss = objective.of(p).loss(Table(np.zeros((60, 2), np.float32)), batch_of(p, np.arange(60)))
    return float(loss.detach()), weight(p)


def weight(p):
    """The mean weight of the pairs that are drawn."""
    from tsne_ooc.parametric.objectives.base import Pairs

    return float(Pairs(p)(Table(np.zeros((60, 2), np.float32)), batch_of(p, np.arange(60)))[2].mean())


def of_negative_sampling(fit, teacher, islands):
    n = 60
    for negatives, normalization in ((5, None), (2, None), (5, 50.0)):
        odds = negatives * (normalization or 100 * n) / (n * (n - 1))
        found, mean = together(NegativeSampling(negatives, normalization))
        wanted = mean * math.log(1 + odds) + negatives * math.log((1 + odds) / odds)
        assert found == pytest.approx(wanted, rel=1e-4)


def of_infonc(fit, teacher, islands):
    for negatives in (1, 50):
        found, mean = together(InfoNC(negatives))
        assert found == pytest.approx(mean * math.log(1 + negatives), rel=1e-4)


OBJECTIVES = {
    Stage: (of_stage, {"objective", "share", "rate"}),
    Distillation: (of_distillation, {"delta"}),
    FieldTuning: (of_field_tuning, {"every", "exaggeration"}),
    BatchLocal: (of_batch_local, {"memory"}),
    NegativeSampling: (of_negative_sampling, {"negatives", "normalization"}),
    InfoNC: (of_infonc, {"negatives"}),
}


@pytest.mark.parametrize("kind", OBJECTIVES, ids=lambda kind: kind.__name__)
def test_each_option_of_an_objective(fit, teacher, islands, kind):
    OBJECTIVES[kind][0](fit, teacher, islands)


# ------------------------------------------------------------------------------------------------- what is read back


def of_path(saved, model, islands):
    np.testing.assert_array_equal(load(saved).transform(islands), model.transform(islands))


def of_own_network(saved, model, islands):
    with pytest.raises((ValueError, TypeError), match="network"):
        load(saved)
    found = load(saved, network=torch.nn.Linear(P, 2)).encoder_.body
    np.testing.assert_array_equal(found.weight.detach().numpy(), model.encoder_.body.weight.detach().numpy())


def of_verify(saved, model, islands):
    path = saved / "history.batches.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"history\.batches\.npy"):
        load(saved)
    assert load(saved, verify=False).n_iter_ == 12


def of_loaded_n_jobs(saved, model, islands):
    assert load(saved).n_jobs == 1
    found = load(saved, n_jobs=3)
    assert found.n_jobs == 3 and found.map_.threads.n == 3


LOAD = {"path": of_path, "network": of_own_network, "verify": of_verify, "n_jobs": of_loaded_n_jobs}


@pytest.mark.parametrize("option", LOAD)
def test_each_option_of_load(fit, islands, tmp_path, option):
    model = fit(**({"network": torch.nn.Linear(P, 2)} if option == "network" else {}))
    model.save(tmp_path / "encoder")
    LOAD[option](tmp_path / "encoder", model, islands)


@pytest.mark.parametrize(
    "call, options",
    [(ParametricTSNE, set(ENCODER)), (Decoder, set(DECODER)), (load, set(LOAD))]
    + [(kind, names) for kind, (_, names) in OBJECTIVES.items()],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_option_is_left_out(call, options):
    assert options == set(inspect.signature(call).parameters)
    assert set(OBJECTIVES) == {Stage, *WORDS.values()}
