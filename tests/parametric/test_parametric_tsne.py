"""`ParametricTSNE`: from tables to an encoder, to a folder and back."""

import itertools
import json
import logging
import os
import re
import threading

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from sklearn.base import clone  # noqa: E402

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load  # noqa: E402
from tsne_ooc.parametric.checkpoint import Checkpoint  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, FieldTuning, Stage  # noqa: E402
from tsne_ooc.preprocess import PCA, Preparation, Standardize  # noqa: E402
from tsne_ooc.storage.asked import plain, untold  # noqa: E402
from tsne_ooc.storage.manifest import sum_of  # noqa: E402


def teacher(**options):
    few = {"n_iter": 60, "early_exaggeration_iter": 30, "neighbors": "exact", "random_state": 0, "perplexity": 10}
    return TSNE(**few | options)


def encoder(**options):
    few = {"network": (16, 1), "n_iter": 40, "batch_size": 64, "random_state": 0, "teacher": teacher()}
    if "network" not in options:
        # "auto" has none for so few rows.
        few["landmarks"] = 16
    return ParametricTSNE(**few | options)


@pytest.fixture(autouse=True, scope="module")
def looks():
    # Which weights are the best depends on when one looks: all encoders here are looked at alike.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParametricTSNE, "LOOK_EVERY", 10)
        # Islands are few rows, which "auto" would not tune.
        patch.setattr("tsne_ooc.parametric.lesson.FEWEST_TUNED", 0)
        yield


@pytest.fixture(scope="module")
def fitted(islands):
    torch.set_num_threads(1)
    return encoder().fit(islands)


def weights(model):
    return {name: value.numpy() for name, value in model.encoder_.state_dict().items()}


def same(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_it_learns_where_the_teacher_has_the_rows(islands):
    model = encoder(n_iter=300, objective="distillation", batch_size=100).fit(islands)
    Y = model.transform(islands)
    away = np.linalg.norm(Y - model.teacher_.embedding_, axis=1).mean()
    assert away < 0.3 * model.teacher_.embedding_.std()
    history = model.history_
    assert len(history["batches"]["loss"]) == model.n_iter_ == 300
    assert history["batches"]["loss"][-20:].mean() < 0.2 * history["batches"]["loss"][:5].mean()
    assert history["validation"]["recall"][-1] > 0.3 and history["validation"]["step"].tolist() == [*range(0, 301, 10)]
    # 200 rows are 2 batches, of which a tenth is held out.
    assert history["epochs"]["epoch"].tolist() == [*range(150)]
    assert history["batches"]["rows"].reshape(-1, 2).sum(axis=1).tolist() == [180] * 150


def test_few_rows_are_not_tuned(islands, monkeypatch):
    monkeypatch.setattr("tsne_ooc.parametric.lesson.FEWEST_TUNED", len(islands) + 1)
    assert set(encoder(n_iter=4).fit(islands).history_["batches"]["stage"]) == {0}
    monkeypatch.setattr("tsne_ooc.parametric.lesson.FEWEST_TUNED", len(islands))
    assert set(encoder(n_iter=4).fit(islands).history_["batches"]["stage"]) == {0, 1}


def test_field_tuning_lowers_the_divergence(islands):
    fallen = []
    for seed in range(3):
        model = encoder(n_iter=300, batch_size=100, landmarks=0, random_state=seed).fit(islands)
        assert set(model.history_["batches"]["stage"]) == {0, 1}
        tuned = model.history_["batches"]["loss"][model.history_["batches"]["stage"] == 1]
        fallen.append(tuned[0] - tuned[-1])
    # On so few rows one of them may end where it began.
    assert np.mean(fallen) > 0.02, fallen


@pytest.mark.parametrize("objective", ["batch_local", "negative_sampling", "infonc"])
def test_objectives_without_a_map_lower_the_divergence(islands, objective):
    model = ParametricTSNE(
        teacher(n_iter=0, early_exaggeration_iter=0), objective=objective, network=(16, 1), n_iter=120, batch_size=100,
        random_state=0, learning_rate=2e-3,
    ).fit(islands)  # fmt: skip
    found = model.history_["validation"]["kl_divergence"]
    assert found[-1] < found[0] - 0.05


def test_rows_are_the_same_bits_in_any_chunks(fitted, islands, tmp_path):
    Y = fitted.transform(islands)
    for a, b in itertools.pairwise([0, 1, 8, 120, 200]):
        assert (fitted.transform(islands[a:b]) == Y[a:b]).all()
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("X", data=islands, chunks=(7, 5))
        assert (fitted.transform(f["X"]) == Y).all()
        assert (fitted.score_samples(f["X"]) == fitted.score_samples(islands)).all()
    placed = fitted.place_prepared(islands)
    assert (placed.embedding == Y).all() and (placed.novelty == fitted.score_samples(islands)).all()


def test_novelty_is_the_teachers(fitted, islands):
    far = np.concatenate([islands[:5] + 0.1, islands[:5] + 40])
    np.testing.assert_array_equal(fitted.score_samples(far), fitted.teacher_.score_samples(far))
    assert (fitted.score_samples(far) > fitted.novelty_threshold_).tolist() == [False] * 5 + [True] * 5


def test_the_same_seed_gives_the_same_weights(fitted, islands):
    assert same(encoder().fit(islands), fitted)
    assert not same(encoder(random_state=1).fit(islands), fitted)


def test_a_file_of_rows_gives_the_weights_of_an_array(fitted, islands, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("X", data=islands, chunks=(7, 5))
        assert same(encoder().fit(f["X"]), fitted)


@pytest.mark.parametrize("most, order", [(100, "buffer"), (1000, "full")])
def test_many_rows_come_out_of_a_buffer(islands, monkeypatch, most, order):
    asked = []

    class Watched(Batches):
        def __init__(self, source, **options):
            asked.append((source, options["shuffle"]))
            super().__init__(source, **options)

    monkeypatch.setattr("tsne_ooc.parametric.outset.Batches", Watched)
    monkeypatch.setattr("tsne_ooc.parametric.lesson.MOST_FITTED", most)
    encoder(n_iter=2).fit(islands)
    encoder(n_iter=2, shuffle="batch", augmentation=0, objective="distillation").fit(islands)
    assert [shuffle for _, shuffle in asked] == [order, "batch"]
    # Rows that are kept for their affinities are not read from the table again.
    assert [isinstance(source, np.ndarray) for source, _ in asked] == [True, False]


def test_a_sample_teaches_all_rows(islands):
    model = encoder(teacher=teacher(sample=80)).fit(islands)
    assert len(model.teacher_.embedding_) == 80 and set(model.history_["batches"]["stage"]) == {0}


def test_a_perplexity_that_is_too_large_is_told_once(islands):
    with pytest.warns(UserWarning, match="perplexity=100 is too large") as told:
        encoder(teacher=teacher(perplexity=100), n_iter=2).fit(islands)
    assert ["perplexity" in str(warning.message) for warning in told].count(True) == 1


def test_what_cannot_be_trained_is_told_before_the_teacher_is_fitted(islands, monkeypatch):
    monkeypatch.setattr(TSNE, "fit", lambda *_: pytest.fail("the teacher was fitted"))
    n, p = islands.shape
    with pytest.raises(ValueError, match=f"affinities of all {n} rows, and the teacher has 80 of them"):
        encoder(teacher=teacher(sample=80), objective="field").fit(islands)
    with pytest.raises(ValueError, match=f"network fails on rows of shape \\(3, {p}\\)"):
        encoder(network=torch.nn.Linear(p + 1, 2)).fit(islands)


def test_a_fitted_teacher_is_taken_as_it_is(fitted, islands):
    taught = teacher().fit(islands)
    model = encoder(teacher=taught).fit(islands)
    assert model.teacher_.map_ is taught.map_ and same(model, fitted)
    with pytest.raises(ValueError, match="4 columns, and the teacher's rows have 5"):
        encoder(teacher=taught).fit(islands[:, :4])


def test_another_fit_of_the_teacher_does_not_move_the_encoder(islands):
    taught = teacher().fit(islands)
    model = encoder(teacher=taught).fit(islands)
    before, threshold = model.embedding_.copy(), model.novelty_threshold_
    taught.fit(islands[:90])
    assert (model.embedding_ == before).all() and model.novelty_threshold_ == threshold
    assert model.score_samples(islands).shape == (len(islands),)


def test_rows_are_prepared_and_saved_as_they_were(islands, tmp_path):
    model = encoder(prepare=Preparation([Standardize(), PCA(3)])).fit(islands)
    Y = model.transform(islands)
    model.save(tmp_path / "encoder")
    found = load(tmp_path / "encoder")
    assert (found.transform(islands) == Y).all() and (found.transform(islands[3:90]) == Y[3:90]).all()
    assert found.preparation_.n_features_out == 3 and found.n_features_in_ == 5
    inside = encoder(teacher=teacher(prepare=Preparation([Standardize(), PCA(3)]))).fit(islands)
    assert same(inside, model)


def test_threads_of_a_saved_encoder_reach_its_search(fitted, tmp_path):
    fitted.save(tmp_path / "encoder")
    model = load(tmp_path / "encoder", n_jobs=1)
    assert model.n_jobs == model.teacher_.n_jobs == 1
    assert model.teacher_.map_.model.index._threads.n == 1
    with pytest.raises(TypeError, match="n_jobs='two'"):
        load(tmp_path / "encoder", n_jobs="two")


def test_a_saved_encoder_gives_the_same_bits(fitted, islands, tmp_path):
    fitted.save(tmp_path / "encoder")
    found = load(tmp_path / "encoder")
    assert same(found, fitted)
    assert (found.transform(islands) == fitted.transform(islands)).all()
    assert (found.score_samples(islands) == fitted.score_samples(islands)).all()
    np.testing.assert_array_equal(found.history_["batches"]["loss"], fitted.history_["batches"]["loss"])
    assert not list((tmp_path / "encoder").glob("*.pkl")) and len(list(tmp_path.iterdir())) == 1


def test_saving_over_another_leaves_one(fitted, islands, tmp_path, monkeypatch):
    def fail(number):
        os.ftruncate(number, 3)
        raise OSError("the disk is full")

    path = tmp_path / "encoder"
    fitted.save(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fitted.save(path)
    assert same(load(path), fitted)
    other = encoder(random_state=1, n_iter=10).fit(islands)
    other.save(path, overwrite=True)
    assert same(load(path), other) and len(list(path.glob("*.safetensors"))) == 1
    # Killed while it writes the same weights again, it leaves those that were there.
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk"):
        other.save(path, overwrite=True)
    monkeypatch.undo()
    assert same(load(path), other) and not list(path.glob("*.part"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        fitted.save(tmp_path / "full", overwrite=True)
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_damaged_weights_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "encoder")
    (file,) = (tmp_path / "encoder").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=f"{file.name} is damaged"):
        load(tmp_path / "encoder")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file.name} is missing"):
        load(tmp_path / "encoder")


@pytest.mark.parametrize("stops_at", [15, 35])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(fitted, islands, tmp_path, stops_at):
    class Killed(Exception):
        pass

    at, seen = [stops_at], []

    def kill(step, loss, encoder):
        seen.append(step)
        if step in at:
            raise Killed

    path = tmp_path / "training"
    with pytest.raises(Killed):
        encoder(callbacks=kill, callbacks_every_iters=1).fit(islands, checkpoint=path)
    at.clear()
    seen.clear()
    model = encoder(callbacks=kill, callbacks_every_iters=1)
    model.fit(islands, checkpoint=path)
    # From the last tenth on, not from the beginning.
    assert seen[0] == stops_at // 10 * 10 + 1 and seen[-1] == 40
    assert same(model, fitted)
    for name, column in fitted.history_["batches"].items():
        if name != "seconds":
            np.testing.assert_array_equal(model.history_["batches"][name], column)
    with pytest.raises(ValueError, match="another learning_rate"):
        encoder(learning_rate=0.1, callbacks=kill, callbacks_every_iters=1).fit(islands, checkpoint=path)


def test_a_teacher_without_a_seed_has_that_of_the_encoder(islands, tmp_path):
    unseeded = [encoder(teacher=teacher(random_state=None, initialization="random")).fit(islands) for _ in range(2)]
    assert same(*unseeded) and (unseeded[0].teacher_.embedding_ == unseeded[1].teacher_.embedding_).all()


def test_a_training_does_not_go_on_towards_another_map(islands, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(step, loss, encoder):
        if step == 15:
            raise Killed

    with pytest.raises(Killed):
        encoder(callbacks=kill, callbacks_every_iters=1).fit(islands, checkpoint=tmp_path / "training")
    from tsne_ooc.parametric import lesson as module

    learnt = module.teach
    monkeypatch.setattr(
        module, "teach", lambda *some, **more: (t := learnt(*some, **more))._replace(targets=t.targets + 1)
    )
    with pytest.raises(ValueError, match="another map"):
        encoder(callbacks=kill, callbacks_every_iters=1).fit(islands, checkpoint=tmp_path / "training")


def test_where_no_state_can_be_kept_is_told_before_anything_is_fitted(islands, tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc.parametric.lesson.teach", None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        encoder().fit(islands, checkpoint=tmp_path / "missing" / "training")
    with pytest.raises(FileExistsError, match="holds other files"):
        encoder().fit(islands, checkpoint=tmp_path / "full")


def test_dropout_draws_by_the_seed_and_goes_on_after_a_kill(islands, tmp_path):
    class Killed(Exception):
        pass

    at = [15]

    def kill(step, loss, encoder):
        if step in at:
            raise Killed

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 24), torch.nn.Dropout(0.3), torch.nn.Linear(24, 2))
    own = {"network": network, "objective": "distillation"}
    before = torch.get_rng_state()
    first = encoder(**own).fit(islands)
    assert (torch.get_rng_state() == before).all()
    torch.rand(7)
    assert same(first, encoder(**own).fit(islands))
    with pytest.raises(Killed):
        encoder(**own, callbacks=kill, callbacks_every_iters=1).fit(islands, checkpoint=tmp_path / "training")
    torch.rand(7)
    at.clear()
    own |= {"callbacks": kill, "callbacks_every_iters": 1}
    assert same(first, encoder(**own).fit(islands, checkpoint=tmp_path / "training"))


def test_batches_are_alike_and_a_network_is_tried_without_a_trace(islands):
    seen = []
    norm = torch.nn.BatchNorm1d(5)
    network = torch.nn.Sequential(norm, torch.nn.Linear(5, 2))
    network.register_forward_hook(lambda module, rows, out: seen.append((module.training, len(out))))
    model = encoder(
        network=network, objective="distillation", n_iter=8, batch_size=199, validation=False, augmentation=0.0
    ).fit(islands)
    # 200 rows come in two batches of 100, not in one of 199 and one of a single row.
    assert model.history_["batches"]["rows"].tolist() == [100] * 8
    assert {size for training, size in seen if training} == {100}
    assert int(model.encoder_.body[0].num_batches_tracked) == 8


def test_the_kept_batch_is_told(islands, tmp_path):
    model = encoder(n_iter=2000, patience=3, objective="distillation", learning_rate=0.02).fit(islands)
    looks = model.history_["validation"]
    assert model.best_iter_ == looks["step"][looks["distance"].argmin()] < model.n_iter_
    model.save(tmp_path / "encoder")
    assert load(tmp_path / "encoder").best_iter_ == model.best_iter_
    assert encoder(validation=False, objective="distillation").fit(islands).best_iter_ == 40


def test_a_stage_of_no_batches_takes_no_weights_away(islands):
    stages = [Stage(Distillation(), 1.0), Stage(FieldTuning(), 1e-4, rate=100.0)]
    model = encoder(objective=stages).fit(islands)
    assert same(model, encoder(objective=[Stage(Distillation())], augmentation=0.5).fit(islands))


class Broken(torch.nn.Module):
    """Linear, but for one row: that is turned into NaN."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.linear(x) / (x[:, :1] < 5)


@pytest.mark.parametrize(
    "objective, says",
    [
        ("distillation", r"the loss is (nan|inf) at step [01] .*of the rows 133, "),
        ("infonc", r"the loss is (nan|inf) at step [01] .*of the rows \d+, "),
        ("field", "puts 1 rows at places that are not finite, the first of them row 133"),
    ],
)
def test_a_loss_that_is_not_finite_names_the_rows(islands, objective, says):
    torch.manual_seed(0)
    X = islands.copy()
    X[133] = [5000, 1, 2, 3, 4]
    model = encoder(network=Broken(), objective=objective, batch_size=100, validation=False)
    with pytest.raises(FloatingPointError, match=says):
        model.fit(X)
    assert not hasattr(model, "encoder_")


def test_a_callback_ends_the_training(islands):
    model = encoder(callbacks=lambda step, loss, encoder: step >= 20, callbacks_every_iters=5).fit(islands)
    assert model.n_iter_ == 20


def test_it_ends_where_held_out_rows_gain_no_more(islands):
    model = encoder(n_iter=2000, patience=3, objective="distillation", learning_rate=0.02).fit(islands)
    found = model.history_["validation"]["distance"]
    assert model.n_iter_ < 2000 and found.argmin() == len(found) - 4
    # The weights are those of the best look, not the last.
    looked = encoder(n_iter=2000, objective="distillation", learning_rate=0.02)
    stop = int(model.history_["validation"]["step"][found.argmin()])
    looked.set_params(callbacks=lambda step, loss, encoder: step == stop, callbacks_every_iters=1)
    assert same(looked.fit(islands), model)


@pytest.mark.parametrize("validation", [True, False])
def test_tuning_that_spoils_a_map_leaves_what_there_was_before_it(islands, validation):
    learnt = {}

    def remember(step, loss, encoder):
        if step == 60:
            learnt.update({name: value.clone().numpy() for name, value in encoder.state_dict().items()})

    stages = [Stage(Distillation(), 0.6), Stage(FieldTuning(every=1), 0.4, rate=100.0)]
    model = encoder(
        n_iter=100, objective=stages, batch_size=200, validation=validation, augmentation=0.0, learning_rate=0.06,
        callbacks=remember, callbacks_every_iters=60,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="the map burst after .* of 100 batches; .* smaller learning_rate"):
        model.fit(islands)
    assert 60 < model.n_iter_ < 100
    found = weights(model)
    # The bounds of its places are those of the map that it ends with.
    bounds = {"low", "high", "margin"}
    assert all(np.array_equal(found[name], learnt[name]) for name in found.keys() - bounds)


def test_a_network_of_ones_own(islands, tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 24), torch.nn.Tanh(), torch.nn.Linear(24, 2))
    before = network[0].weight.detach().clone()
    model = encoder(network=network, objective=Distillation()).fit(islands)
    assert (network[0].weight == before).all()
    Y = model.transform(islands)
    assert (model.transform(islands[11:40]) == Y[11:40]).all()
    model.save(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"Sequential.*network="):
        load(tmp_path / "encoder")
    with pytest.raises(TypeError, match="network='Sequential' is not a"):
        load(tmp_path / "encoder", network="Sequential")
    assert (load(tmp_path / "encoder", network=network).transform(islands) == Y).all()
    # The network that was passed is not the one that learnt.
    assert (network[0].weight == before).all()


def test_a_loaded_encoder_has_the_parameters_that_it_was_trained_with(islands, tmp_path):
    stages = [Stage(Distillation(), 0.3), Stage(FieldTuning(every=4), 0.7, 0.5)]
    options = {"objective": stages, "network": (32, 1), "landmarks": 16, "n_iter": 6, "augmentation": 0.25}
    model = encoder(**options, decoder=Decoder(network=(16, 1), n_iter=3), callbacks=lambda *_: False).fit(islands)
    model.save(tmp_path / "encoder")
    loaded = load(tmp_path / "encoder")
    asked, found = model.get_params(deep=False), loaded.get_params(deep=False)
    lost = {name for name in asked if name == "callbacks" or found[name] != asked[name]}
    assert lost == {"teacher", "callbacks"} and found["callbacks"] is None
    with pytest.raises(TypeError, match=r"teacher='object of type TSNE \(not saved\)' is not a TSNE"):
        clone(loaded).fit(islands)
    again = clone(loaded).set_params(teacher=model.teacher).fit(islands)
    assert (again.transform(islands) == model.transform(islands)).all()


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("objective", {"Popen": {"args": "ls"}}, r"'Popen' is not a kind of parameter"),
        ("objective", {"FieldTuning": {"every": 0}}, r"every=0"),
        ("n_jobs", 0, r"n_jobs=0"),
        ("colour", "red", r"colour"),
    ],
)
def test_parameters_that_cannot_be_are_refused(fitted, tmp_path, name, value, says):
    fitted.save(tmp_path / "encoder")
    file = tmp_path / "encoder" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["content"]["parameters"][name] = value
    del manifest["sha256"]
    file.write_text(json.dumps(manifest | {"sha256": sum_of(manifest)}))
    with pytest.raises(ValueError, match=f"^{file}: parameters cannot be: .*{says}"):
        load(tmp_path / "encoder")


class Mixing(torch.nn.Module):
    """Looks at a whole batch."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(5, 2)

    def forward(self, x):
        places = self.linear(x)
        return places - places.mean(dim=0)


def of(function):
    """A network that answers with a function of rows and of a linear layer."""

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(5, 2)

        def forward(self, x):
            return function(self.linear, x)

    return Own()


@pytest.mark.parametrize(
    "network, says",
    [
        (torch.nn.Linear(5, 3), r"into \(3, 3\), and the map has 2 axes"),
        (torch.nn.Linear(7, 2), r"fails on rows of shape \(3, 5\), float32: mat1 and mat2"),
        (torch.nn.Linear(5, 2).double(), "fails on rows of shape .*same dtype"),
        (of(lambda linear, x: linear(x).double()), "into torch.float64, and places are"),
        (of(lambda linear, x: (linear(x), 1)), "into a tuple, and places are"),
        (of(lambda linear, x: linear(x).T), r"into \(2, 3\), and"),
        (of(lambda linear, x: linear(x).detach()), "nothing to learn"),
        (torch.nn.Flatten(), r"into \(3, 5\)"),
        (torch.nn.Linear(5, 2).requires_grad_(False), "nothing to learn"),
        (of(lambda linear, x: linear(x) + torch.randn(len(x), 2)), "other places each time, in eval mode too"),
    ],
)
def test_a_network_that_makes_no_places_of_rows_is_told_before_it_is_trained(islands, network, says, monkeypatch):
    monkeypatch.setattr("tsne_ooc.parametric.lesson.learn", None)
    with pytest.raises(ValueError, match=says):
        encoder(network=network).fit(islands)


def test_rows_of_a_network_that_looks_at_a_batch_go_one_by_one(islands):
    model = encoder(network=Mixing(), objective="distillation", n_iter=4).fit(islands)
    assert model.fitted_.tile == 1
    assert (model.transform(islands)[7:9] == model.transform(islands[7:9])).all()


def test_a_network_of_batch_norm_is_looked_at_as_others_are(islands):
    network = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 2))
    model = encoder(network=network, objective="distillation").fit(islands)
    assert model.fitted_.tile == 1024 and len(model.history_["validation"]["step"]) == 5


def test_tensors_are_tables(fitted, islands):
    assert (fitted.transform(torch.from_numpy(islands)) == fitted.transform(islands)).all()
    assert same(encoder().fit(torch.from_numpy(islands)), fitted)
    (rows, X) = next(iter(Batches(torch.from_numpy(islands), batch_size=200, seed=0)))
    assert (islands[rows] == X).all()


def test_what_is_in_the_way_of_an_encoder_is_left_alone(fitted, tmp_path):
    fitted.teacher_.save(tmp_path / "map")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="other files than those of an encoder"):
        fitted.save(tmp_path / "map", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_onnx_gives_the_same_places(fitted, islands, tmp_path):
    pytest.importorskip("onnxscript", reason="export_onnx needs onnx and onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="the test runs the file with onnxruntime")
    path = fitted.export_onnx(tmp_path / "encoder.onnx")
    session = runtime.InferenceSession(str(path))
    for rows in (islands, islands[:1], islands[:77]):
        (found,) = session.run(["places"], {"rows": rows})
        np.testing.assert_allclose(found, fitted.transform(rows), atol=1e-3)


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"network": (20, 2)}, ValueError, "multiple of 16"),
        ({"network": 128}, TypeError, "neither"),
        ({"landmarks": 20}, ValueError, "landmarks=20 must be a multiple of 16"),
        ({"landmarks": -16}, ValueError, "landmarks=-16 must be at least 0"),
        ({"landmarks": 16.0}, TypeError, "landmarks=16.0 is not a whole number"),
        ({"landmarks": "many"}, ValueError, "landmarks='many' is not known"),
        ({"landmarks": 16, "network": torch.nn.Linear(5, 2)}, ValueError, "network of your own"),
        ({"teacher": "map"}, TypeError, "is not a TSNE"),
        ({"device": "gpu"}, ValueError, "device='gpu' is not known"),
        ({"patience": 2, "validation": False}, ValueError, "needs validation=True"),
        ({"n_iter": 0}, ValueError, "n_iter=0"),
        ({"batch_size": 1}, ValueError, "batch_size=1"),
        ({"augmentation": 1.0}, ValueError, "some rows have to stay"),
        ({"augmentation": -0.1}, ValueError, "augmentation=-0.1"),
        ({"shuffle": "buffet"}, ValueError, "'buffer'"),
        ({"shuffle": None}, ValueError, "use 'batch'"),
        ({"validation": 0.2}, TypeError, "validation=0.2 is neither True nor False"),
        ({"callbacks": 5}, TypeError, "callbacks=5 is neither a function nor several"),
        ({"device": "meta"}, ValueError, "device='meta' is not available here"),
        ({"objective": Distillation}, TypeError, "is neither a word"),
        ({"objective": [Stage(Distillation)]}, TypeError, "is neither a word"),
        ({"objective": Stage([Distillation(), FieldTuning()])}, TypeError, "is neither a word"),
        ({"objective": [["distillation", "field"]]}, TypeError, "is neither a word"),
        ({"objective": Stage(Distillation(), -1)}, ValueError, "the share of a stage=-1 must be"),
    ],
)
def test_wrong_options_are_told_before_anything_is_fitted(islands, options, error, says):
    with pytest.raises(error, match=says):
        encoder(**options).fit(islands)


def test_rows_that_are_not_finite_are_named(fitted, islands):
    X = islands.copy()
    X[7, 2] = np.nan
    with pytest.raises(ValueError, match="row 7, column 2"):
        fitted.transform(X)
    with pytest.raises(ValueError, match="row 7, column 2"):
        encoder().fit(X)
    with pytest.raises(ValueError, match="4 features"):
        fitted.transform(islands[:, :4])


def test_a_loaded_encoder_has_every_attribute_that_is_documented(fitted, tmp_path):
    listed = re.search(r"    Attributes\n    -+\n(.*?)\n\n", ParametricTSNE.__doc__, re.DOTALL)[1]
    names = re.findall(r"^    (\w+_) : ", listed, re.MULTILINE)
    fitted.save(tmp_path / "encoder")
    loaded = load(tmp_path / "encoder")
    assert len(names) > 8
    for name in names:
        before, after = getattr(fitted, name), getattr(loaded, name)
        if name in ("encoder_", "decoder_", "teacher_", "preparation_"):
            assert (before is None) == (after is None), name
        else:
            np.testing.assert_equal(after, before, err_msg=name)


def test_a_fitted_teacher_and_a_preparation_exclude_each_other(islands, monkeypatch):
    monkeypatch.setattr("tsne_ooc.parametric.lesson.learn", None)
    with pytest.raises(ValueError) as caught:
        encoder(teacher=teacher().fit(islands), prepare=Preparation([Standardize()])).fit(islands)
    assert str(caught.value) == "prepare and a fitted teacher, which has its own: pass one of them"


def test_a_training_that_cannot_be_told_from_others_is_warned_of_and_does_not_go_on(tmp_path, caplog):
    """A lock has no digest: the next process could not know that it is the one of before."""
    job = {"rate": 0.1, "network": plain([1, threading.Lock()]), "own": plain(threading.Lock())}
    lines = untold(job)
    assert len(lines) == 2
    with caplog.at_level(logging.WARNING, "tsne_ooc"):
        kept = Checkpoint(tmp_path / "training", job)
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"this training cannot go on from {tmp_path / 'training'}: {line}" for line in lines]
    kept.write({}, {})
    with pytest.raises(ValueError) as caught:
        kept.read()
    assert str(caught.value) == (
        f"{tmp_path / 'training'} does not allow to go on: {'; '.join(lines)}; name a new folder"
    )
    caplog.clear()
    plainly = Checkpoint(tmp_path / "plain", {"rate": 0.1})
    plainly.write({"step": 3}, {})
    assert plainly.read()[0]["step"] == 3 and not caplog.records


def test_what_tells_a_teacher_from_others(islands):
    """None where there is none; its options before a fit; its map after it, as far as a file could hold it."""
    assert ParametricTSNE()._asked()["teacher"] is None
    one, other = (ParametricTSNE(teacher=teacher(perplexity=p))._asked()["teacher"] for p in (10, 11))
    assert one != other and one == encoder()._asked()["teacher"]
    fits = [encoder(teacher=teacher(random_state=seed).fit(islands))._asked()["teacher"] for seed in (0, 0, 1)]
    assert fits[0] == fits[1] != fits[2] != one


@pytest.mark.parametrize(
    "name, error, says",
    [
        ("folder", IsADirectoryError, "{path} is a folder; name a file in it, such as {path}/encoder.onnx"),
        ("missing/encoder.onnx", FileNotFoundError, "there is no folder {path.parent} to write encoder.onnx in"),
    ],
)
def test_where_no_file_of_onnx_can_be(fitted, tmp_path, monkeypatch, name, error, says):
    """Whether or not the packages are there, which is asked first."""
    monkeypatch.setattr("tsne_ooc.parametric.onnx.check_packages", lambda what: None)
    monkeypatch.setattr(torch.onnx, "export", None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as caught:
        fitted.export_onnx(tmp_path / name)
    assert str(caught.value) == says.format(path=tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_prepared_rows_of_any_layout_have_their_places(fitted, islands):
    wanted = fitted.transform(islands)
    readonly = islands.copy()
    readonly.flags.writeable = False
    wide = np.repeat(islands, 2, axis=1)
    for rows in (
        readonly, np.asfortranarray(islands), islands.astype(np.float64), wide[:, ::2], islands[::-1][::-1],
        islands.tolist(),
    ):  # fmt: skip
        np.testing.assert_array_equal(fitted.encode_prepared(rows), wanted)
        placed = fitted.place_prepared(rows)
        np.testing.assert_array_equal(placed.embedding, wanted)
        np.testing.assert_array_equal(placed.novelty, fitted.score_samples(islands))


def test_the_search_has_as_many_threads_as_the_encoder_has_now(fitted, islands, monkeypatch):
    """Whatever its teacher was fitted with, and an encoder of the same training had before."""
    seen = []
    monkeypatch.setattr(
        type(fitted.map_), "score", lambda map, rows, how: seen.append(map.threads.n_jobs) or np.zeros(len(rows), "f4")
    )
    for n_jobs in (2, 1, 3):
        model = ParametricTSNE.of_fitted(fitted.fitted_, n_jobs=n_jobs)
        assert model.map_.threads.n_jobs == n_jobs
        model.set_params(n_jobs=n_jobs + 1).score_samples(islands[:5])
    assert seen == [3, 2, 4]


def test_a_training_is_known_by_every_option_that_decides_it():
    """Others are resolved, and told by what they are resolved to, or change nothing that is learnt."""
    usual = ParametricTSNE()._asked()
    decide = {
        "teacher": teacher(), "landmarks": 16, "batch_size": 100, "learning_rate": 0.01, "augmentation": 0.25,
        "shuffle": "full", "validation": False, "patience": 3, "callbacks": [print],
    }  # fmt: skip
    do_not = {
        "objective": "distillation", "n_iter": 3000, "random_state": 3, "network": (16, 1), "device": "cpu",
        "decoder": True, "prepare": Preparation([Standardize()]), "n_jobs": 2, "verbose": True,
        "callbacks_every_iters": 7,
    }  # fmt: skip
    assert {*decide, *do_not} == {*ParametricTSNE().get_params(deep=False)}
    for name, value in decide.items():
        asked = ParametricTSNE(**{name: value})._asked()
        assert {key for key in {*asked, *usual} if asked.get(key) != usual.get(key)} >= {name}
    for name, value in do_not.items():
        assert ParametricTSNE(**{name: value})._asked() == usual
