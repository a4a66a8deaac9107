"""What a training keeps on the disk and reads of it, piece by piece."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer
from small_parts import X, fresh, torch

from tsne_ooc import TSNE
from tsne_ooc.parametric import Decoder, ParametricTSNE, lesson, load, objectives, room, teaching
from tsne_ooc.parametric.checkpoint import put_weights, weights_of
from tsne_ooc.parametric.decoder import DecoderNetwork
from tsne_ooc.parametric.network import padded
from tsne_ooc.parametric.objectives import Distillation, Stage
from tsne_ooc.preprocess import Preparation, Standardize, Transformer
from tsne_ooc.storage.manifest import sum_of


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
