"""The decoder: from places back to rows, behind an encoder that does not move for it."""

import itertools
import json

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from sklearn.exceptions import NotFittedError  # noqa: E402

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.io import as_source  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load, reconstruction  # noqa: E402
from tsne_ooc.parametric.decoder import DecoderNetwork, errors  # noqa: E402
from tsne_ooc.parametric.network import Encoder, standardisation  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.reconstruction import train_decoder  # noqa: E402
from tsne_ooc.parametric.tiles import encode, tile_for  # noqa: E402
from tsne_ooc.parametric.training import Options  # noqa: E402
from tsne_ooc.preprocess import PCA, Log1p, Normalize, Preparation, Standardize, Transformer  # noqa: E402

FEW = Decoder(network=(16, 1), n_iter=60)


def estimator(**options):
    teacher = TSNE(n_iter=60, early_exaggeration_iter=30, neighbors="exact", random_state=0, perplexity=10)
    few = {"network": (16, 1), "n_iter": 40, "batch_size": 64, "random_state": 0, "teacher": teacher, "decoder": FEW}
    return ParametricTSNE(**few | options)


@pytest.fixture(autouse=True, scope="module")
def looks():
    # Before `fitted`, for which weights are the best depends on when they are looked at.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParametricTSNE, "LOOK_EVERY", 10)
        yield


@pytest.fixture(scope="module")
def fitted(looks, islands):
    torch.set_num_threads(1)
    return estimator().fit(islands)


def weights(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def same(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def behind_known_places(X, axes, options, held=()):
    """A decoder behind an encoder that is a matrix: the places of the rows X are ``X @ axes``."""
    d = axes.shape[1]
    body = torch.nn.Linear(len(axes), d, bias=False)
    center, scale = standardisation(X)
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    with torch.no_grad():
        body.weight.copy_(torch.from_numpy((axes / scale[:, None]).T.astype(np.float32)))
    origin = (center @ axes).astype(np.float32)
    encoder = Encoder(body, center, standardisation(X)[1], origin, 1.0)
    places = X @ axes
    encoder.width.fill_(float(places.std(axis=0).max()))
    with torch.no_grad():
        body.weight.div_(encoder.width)
    problem = Problem(
        len(X), float(encoder.width), 1.0, 1.0, places, None, 0, Threads(1), torch.device("cpu"), np.array(held, int)
    )
    loop = Options([], 1, 1.0, 50, None, [], 50, False)
    return train_decoder(
        options, encoder, as_source(X), Batches(X, batch_size=250, seed=0), problem, loop, checkpoint=None
    )


def test_rows_that_follow_from_their_places_come_back():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(1000, 2)).astype(np.float32)
    M, shift = rng.normal(size=(2, 6)).astype(np.float32) * [1, 10, 0.1, 1, 100, 1], [0, 5, 0, -3, 1000, 1]
    X = (U @ M + shift).astype(np.float32)
    X = np.column_stack([X, np.full(len(X), 7.5)]).astype(np.float32)
    axes = np.linalg.lstsq(X[:, :6] - np.array(shift), U, rcond=None)[0]
    axes = np.vstack([axes, np.zeros((1, 2))]).astype(np.float32)
    decoder = behind_known_places(X, axes, Decoder((16, 1), n_iter=400), held=range(0, 1000, 10)).network
    # Places that no row had, from within the table.
    fresh = np.clip(rng.normal(size=(500, 2)), -1.5, 1.5).astype(np.float32)
    places = (fresh + (np.append(shift, 7.5) @ axes)).astype(np.float32)
    wanted = np.column_stack([fresh @ M + shift, np.full(500, 7.5)])
    found = encode(decoder, places, 7, Threads(1))
    assert np.abs((found - wanted)[:, :6] / X.std(axis=0)[:6]).mean() < 0.05
    assert (found[:, 6] == np.float32(7.5)).all()


def test_it_tells_more_than_the_mean_row(islands):
    model = estimator(n_iter=100, decoder=Decoder((32, 1), n_iter=200)).fit(islands)
    history = model.history_["decoder"]
    # Of standardised columns: 1 is the mean row, and of the islands' variance nine tenths lie between them.
    assert history["validation"]["error"][-1] < 0.3
    assert history["batches"]["loss"][0] > 0.7 and len(history["batches"]["loss"]) == 200
    assert history["validation"]["step"].tolist() == [*range(0, 201, 10)]
    back = model.inverse_transform(model.transform(islands))
    assert np.square(back - islands).mean() < 0.3 * islands.var(axis=0).mean()


def test_the_weights_are_those_of_the_best_look():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    axes = np.eye(4, 1, dtype=np.float32)
    held = np.arange(0, 60, 2)
    network, done = behind_known_places(X, axes, Decoder((64, 2), n_iter=400, learning_rate=0.02), held=held)
    looks = np.array(done.history.looks)[:, 1]
    # Thirty rows of noise are soon learnt by heart.
    assert looks.min() < 0.9 * looks[-1]
    found = encode(network, X[held] @ axes, 4, Threads(1))
    assert np.square((found - X[held]) / X.std(axis=0)).mean() == pytest.approx(looks.min(), rel=1e-4)


def test_a_radius_is_that_of_the_evidence_bound():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 1)) + 0.5 * rng.normal(size=(4000, 5))
    X = (X / X.std(axis=0)).astype(np.float32)
    axes = np.full((5, 1), 0.2, np.float32)
    network = behind_known_places(X, axes, Decoder((16, 1), variational=True, n_iter=400)).network
    # Of normal columns a share of R^2 follows from the place, and R^2 / (1 + r^2) from the place and noise of radius r.
    told = np.corrcoef((X @ axes)[:, 0], X.T)[0, 1:] ** 2
    r = np.geomspace(0.01, 3, 2000)
    bound = np.log(1 - told[:, None] / (1 + r**2)).sum(axis=0) / 2 - np.log(r) + r**2 / 2
    best = r[bound.argmin()]
    assert 0.15 < best < 2 and float(network.radius.detach()) == pytest.approx(best, rel=0.08)


def test_errors_are_mean_squares_in_spreads(fitted, islands):
    network = DecoderNetwork(3, 2, 16, 1)
    scale, spread = np.array([0.5, 0, 2.0]), np.array([0.1, 9.0, 0.4])
    network.scale.copy_(torch.tensor(scale))
    network.spread.copy_(torch.tensor(spread))
    rng = np.random.default_rng(0)
    rows, back = rng.normal(size=(2, 50, 3)).astype(np.float32)
    wanted = [(((x - y) * scale / spread)[[0, 2]] ** 2).mean() for x, y in zip(rows, back, strict=True)]
    np.testing.assert_allclose(errors(network, rows, back), wanted, rtol=1e-6)
    found = fitted.reconstruction_error(islands)
    assert found.mean() == pytest.approx(1, abs=1e-3) and (found >= 0).all()
    far = islands[:5].copy()
    far[:, 2] += 60
    assert (fitted.reconstruction_error(far) > found.max()).all()


@pytest.mark.parametrize("p, width", [(1, 16), (50, 32), (130, 48)])
def test_a_place_is_decoded_alike_whatever_comes_with_it(p, width):
    rng = np.random.default_rng(0)
    network = DecoderNetwork(p, 2, width, 2).begin(np.zeros(2), 3.0, np.zeros(p), np.ones(p), rng)
    with torch.no_grad():
        for layer in (network.body.head, network.body.skip):
            layer.weight.copy_(torch.from_numpy(rng.normal(size=tuple(layer.weight.shape)).astype(np.float32)))
    assert tile_for(network, 2) == 1024
    Y = (5 * rng.normal(size=(2100, 2))).astype(np.float32)
    X = encode(network, Y, p, Threads(2))
    np.testing.assert_allclose(X, network(torch.from_numpy(Y)).detach().numpy(), rtol=1e-3, atol=1e-3)
    for rows in [np.arange(1), np.arange(7, 2100), rng.permutation(2100), rng.integers(0, 2100, 33)]:
        assert (encode(network, Y[rows], p, Threads(1)) == X[rows]).all()


def test_answers_are_the_same_bits_in_any_chunks(fitted, islands, tmp_path):
    Y = fitted.transform(islands)
    X, found = fitted.inverse_transform(Y), fitted.reconstruction_error(islands)
    for a, b in itertools.pairwise([0, 1, 8, 120, 200]):
        assert (fitted.inverse_transform(Y[a:b]) == X[a:b]).all()
        assert (fitted.reconstruction_error(islands[a:b]) == found[a:b]).all()
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("X", data=islands, chunks=(7, 5))
        assert (fitted.reconstruction_error(f["X"]) == found).all()


@pytest.mark.parametrize("decoder", [False, True, Decoder((32, 2), variational=True, n_iter=20)])
def test_the_encoder_does_not_know_of_its_decoder(fitted, islands, decoder, monkeypatch):
    if decoder is True:
        monkeypatch.setattr("tsne_ooc.parametric.decoder.Decoder", lambda: FEW)
    model = estimator(decoder=decoder).fit(islands)
    assert same(model.encoder_, fitted.encoder_)
    assert ("decoder" in model.history_) == (model.decoder_ is not None) == bool(decoder)
    if decoder is True:
        assert same(model.decoder_, fitted.decoder_)


def test_a_saved_decoder_gives_the_same_bits(fitted, islands, tmp_path):
    fitted.save(tmp_path / "encoder")
    found = load(tmp_path / "encoder")
    assert same(found.encoder_, fitted.encoder_) and same(found.decoder_, fitted.decoder_)
    Y = fitted.transform(islands)
    assert (found.inverse_transform(Y) == fitted.inverse_transform(Y)).all()
    assert (found.reconstruction_error(islands) == fitted.reconstruction_error(islands)).all()
    for part in ("batches", "epochs", "validation"):
        for name, column in fitted.history_["decoder"][part].items():
            np.testing.assert_array_equal(found.history_["decoder"][part][name], column)
    # Saved over one without: nothing of the old one is left.
    estimator(decoder=False).fit(islands).save(tmp_path / "encoder", overwrite=True)
    assert load(tmp_path / "encoder").decoder_ is None


def test_a_decoder_of_another_shape_is_refused(fitted, tmp_path):
    from tsne_ooc.storage.manifest import sum_of

    fitted.save(tmp_path / "encoder")
    file = tmp_path / "encoder" / "manifest.json"
    manifest = json.loads(file.read_text())
    for shape, says in [([4, 2, 16, 1], "another table"), ([5, 2, 32, 1], "other weights"), ([5, 2], "no shape")]:
        manifest["content"]["decoder"]["shape"] = shape
        del manifest["sha256"]
        manifest["sha256"] = sum_of(manifest)
        file.write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match=says):
            load(tmp_path / "encoder")


@pytest.mark.parametrize("variational", [False, True])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(islands, tmp_path, monkeypatch, variational):
    options = Decoder((16, 1), variational, n_iter=40)
    wanted = estimator(decoder=options).fit(islands)

    class Killed(Exception):
        pass

    learn, steps = reconstruction._Reconstructed.loss, []

    def loss(self, encoder, batch):
        steps.append(batch.step)
        if batch.step == stops_at:
            raise Killed
        return learn(self, encoder, batch)

    monkeypatch.setattr(reconstruction._Reconstructed, "loss", loss)
    path = tmp_path / "training"
    last = []

    def watch(*seen):
        assert not last, "the encoder was trained again"

    watched = {"decoder": options, "callbacks": watch, "callbacks_every_iters": 1}
    stops_at = 15
    with pytest.raises(Killed):
        estimator(**watched).fit(islands, checkpoint=path)
    stops_at = 35
    with pytest.raises(Killed):
        estimator(**watched).fit(islands, checkpoint=path)
    stops_at, steps = None, []
    last.append(True)
    model = estimator(**watched).fit(islands, checkpoint=path)
    # From the last look on, not from the beginning.
    assert steps == [*range(30, 40)]
    assert same(model.encoder_, wanted.encoder_) and same(model.decoder_, wanted.decoder_)
    np.testing.assert_array_equal(
        model.history_["decoder"]["validation"]["error"], wanted.history_["decoder"]["validation"]["error"]
    )
    with pytest.raises(ValueError, match=r"training\.decoder holds a training with another decoder"):
        estimator(**{**watched, "decoder": FEW}).fit(islands, checkpoint=path)


def test_a_decoder_does_not_go_on_behind_another_encoder(islands, tmp_path, monkeypatch):
    estimator().fit(islands, checkpoint=tmp_path / "training")
    # As a disk may have it that lost what was written last.
    monkeypatch.setattr(reconstruction, "sum_of_weights", lambda encoder: "of another")
    monkeypatch.setattr("tsne_ooc.parametric.lesson.sum_of_weights", lambda encoder: "of another")
    with pytest.raises(ValueError, match="another encoder;"):
        estimator().fit(islands, checkpoint=tmp_path / "training")


def test_an_encoder_that_gained_no_more_is_not_trained_on(islands, tmp_path, monkeypatch):
    options = {"n_iter": 2000, "patience": 1, "objective": "distillation", "learning_rate": 0.02}
    wanted = estimator(**options).fit(islands)
    monkeypatch.setattr(reconstruction._Reconstructed, "loss", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        estimator(**options).fit(islands, checkpoint=tmp_path / "training")
    monkeypatch.undo()
    model = estimator(**options).fit(islands, checkpoint=tmp_path / "training")
    assert model.n_iter_ == wanted.n_iter_ < 2000
    assert same(model.encoder_, wanted.encoder_) and same(model.decoder_, wanted.decoder_)


def test_rows_come_back_in_the_units_of_the_table(islands):
    X = np.abs(islands) * [1, 10, 100, 1, 1]
    model = estimator(prepare=Preparation([Log1p(), Standardize(), PCA(3)])).fit(X)
    Y = model.transform(X)
    prepared = model.inverse_transform(Y, prepared=True)
    assert prepared.shape == (200, 3)
    back = model.inverse_transform(Y)
    step = model.preparation_.fitted
    wanted = np.expm1(np.maximum(0, (prepared @ step[2].axes.T + step[2].mean) * step[1].scale + step[1].centre))
    np.testing.assert_allclose(back, wanted, rtol=1e-4)
    assert np.abs(np.median(back, axis=0) / np.median(X, axis=0) - 1).max() < 1
    assert (model.inverse_transform(Y[7:9]) == back[7:9]).all()
    kept = estimator(prepare=Preparation([Normalize(10)])).fit(X)
    assert kept.inverse_transform(Y[:4]).shape == (4, 5)


def test_what_cannot_be_answered_is_told(fitted, islands):
    from sklearn.preprocessing import QuantileTransformer

    Y = fitted.transform(islands)
    without = estimator(decoder=False).fit(islands)
    with pytest.raises(NotFittedError, match=r"^inverse_transform needs a decoder.*use decoder=True$"):
        without.inverse_transform(Y)
    with pytest.raises(AttributeError, match=r"^reconstruction_error needs a decoder.*use decoder=True$"):
        without.reconstruction_error(islands)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        estimator().inverse_transform(Y)
    with pytest.raises(ValueError, match="Y has 3 axes, the map has 2"):
        fitted.inverse_transform(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="row 1, column 0"):
        fitted.inverse_transform([[0, 1], [np.nan, 1]])
    with pytest.raises(ValueError, match=r"Y\[1\] = .* is so far outside of the map"):
        fitted.inverse_transform([[0, 1], [1e30, 1]])
    odd = estimator(prepare=Preparation([Transformer(QuantileTransformer(n_quantiles=50))])).fit(islands)
    with pytest.raises(ValueError, match=r"QuantileTransformer.*cannot be undone; ask for prepared rows"):
        odd.inverse_transform(Y)
    assert odd.inverse_transform(Y, prepared=True).shape == (200, 5)


def test_the_place_that_has_no_row_is_named(fitted, islands, monkeypatch):
    """One of several, of whose row one column alone is lost, and the first of two."""

    def lost(self, places, n_jobs):
        rows = np.zeros((len(places), 5), np.float32)
        rows[3, 1], rows[7] = np.inf, np.nan
        return rows

    monkeypatch.setattr("tsne_ooc.parametric.fitted_encoder.FittedEncoder.decode", lost)
    Y = fitted.transform(islands)
    with pytest.raises(ValueError) as caught:
        fitted.inverse_transform(Y)
    assert str(caught.value) == f"Y[3] = {Y[3].tolist()} is so far outside of the map that no row is there"


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"network": (20, 2)}, ValueError, "multiple of 16"),
        ({"network": torch.nn.Linear(2, 5)}, TypeError, "network of its own"),
        ({"n_iter": 0}, ValueError, "n_iter=0"),
        ({"variational": 1}, TypeError, "variational=1"),
        ({"learning_rate": 0}, ValueError, "learning_rate=0"),
    ],
)
def test_wrong_options_are_told_at_once(options, error, says):
    with pytest.raises(error, match=says):
        Decoder(**options)


def test_a_wrong_decoder_is_told_before_anything_is_fitted(islands):
    with pytest.raises(TypeError, match="decoder='yes' is neither"):
        estimator(decoder="yes").fit(islands)


def interrupting(real, at):
    def loss(self, encoder, batch):
        if batch.step == at:
            raise KeyboardInterrupt
        return real(self, encoder, batch)

    return loss


def test_an_interrupt_of_the_decoder_leaves_the_best_one_so_far(fitted, islands, monkeypatch):
    monkeypatch.setattr(reconstruction._Reconstructed, "loss", interrupting(reconstruction._Reconstructed.loss, 25))
    with pytest.warns(RuntimeWarning) as told:
        model = estimator().fit(islands)
    assert [str(warning.message) for warning in told] == [
        "interrupted after 25 batches of the decoder; it is the best one until then"
    ]
    assert same(model.encoder_, fitted.encoder_) and not same(model.decoder_, fitted.decoder_)
    assert np.isfinite(model.inverse_transform(model.transform(islands))).all()


def test_an_encoder_that_was_interrupted_has_no_decoder(islands, monkeypatch):
    def interrupt(step, *rest):
        if step == 15:
            raise KeyboardInterrupt

    monkeypatch.setattr("tsne_ooc.parametric.lesson.train_decoder", None)
    with pytest.warns(RuntimeWarning) as told:
        model = estimator(callbacks=interrupt, callbacks_every_iters=1).fit(islands)
    assert [str(warning.message) for warning in told] == [
        "interrupted after 15 of 40 batches; the encoder is the best one until then, and there is no decoder"
    ]
    assert model.fitted_.decoder is None and np.isfinite(model.transform(islands)).all()


def test_once_fitted_it_is_the_fit_that_has_a_decoder_and_not_the_option(fitted, islands):
    """An option that is set afterwards is for the next fit."""
    without = estimator(decoder=False).fit(islands)
    for model, has in ((without, False), (fitted, True)):
        for option in (True, False):
            given = ParametricTSNE.of_fitted(model.fitted_, **{**model.get_params(deep=False), "decoder": option})
            assert hasattr(given, "inverse_transform") is has
    assert [hasattr(estimator(decoder=one), "inverse_transform") for one in (True, FEW, False)] == [True, True, False]
