"""Folders of encoders that somebody wrote who means no good: one line that names the file, and never a crash."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from safetensors.numpy import load as read  # noqa: E402
from safetensors.numpy import save as write  # noqa: E402

import tsne_ooc  # noqa: E402
from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, fitted_encoder, load  # noqa: E402
from tsne_ooc.parametric.loading import opened  # noqa: E402
from tsne_ooc.preprocess import PCA, Preparation, Standardize  # noqa: E402
from tsne_ooc.storage.manifest import sum_of  # noqa: E402


def fitted(X, **options):
    teacher = TSNE(perplexity=10, n_iter=10, early_exaggeration_iter=10, neighbors="exact", random_state=0)
    few = {"network": (16, 1), "landmarks": 16, "n_iter": 10, "batch_size": 64, "random_state": 0}
    return ParametricTSNE(teacher, **{**few, **options}).fit(X)


@pytest.fixture(scope="module")
def saved(islands, tmp_path_factory):
    home = tmp_path_factory.mktemp("encoders")
    fitted(islands).save(home / "plain")
    prepare = Preparation([Standardize(), PCA(4)])
    decoder = Decoder(network=(16, 1), n_iter=5)
    fitted(islands, landmarks=0, prepare=prepare, decoder=decoder).save(home / "whole")
    np.save(home / "Q.npy", islands[:20] + np.float32(0.25))
    return home


class Forged:
    """A copy of a saved encoder that somebody changes, sums and all."""

    def __init__(self, original, folder):
        folder.mkdir()
        for file in original.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        self.folder, self.manifest = folder, folder / "manifest.json"
        (self.weights,) = folder.glob("*.safetensors")

    def edit(self, change):
        manifest = json.loads(self.manifest.read_text())
        change(manifest["content"])
        del manifest["sha256"]
        self.manifest.write_text(json.dumps({**manifest, "sha256": sum_of(manifest)}))

    def put(self, data):
        self.weights.write_bytes(data)
        self.edit(lambda content: content["weights"].update(sha256=hashlib.sha256(data).hexdigest()))

    def reweigh(self, change):
        weights = read(self.weights.read_bytes())
        change(weights)
        self.put(write(weights))

    def refused(self, says, file):
        with pytest.raises(ValueError, match=says) as caught:
            load(self.folder)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def forged(saved, tmp_path):
    return Forged(saved / "plain", tmp_path / "forged")


# Columns, axes, units, layers and landmarks of the network as it was saved: [16, 2, 16, 1, 16].
@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([16, 1, 16, 1, 16], "made for 16 columns and 1 axes"),
        ([16, 3, 16, 1, 16], "made for 16 columns and 3 axes"),
        ([32, 2, 16, 1, 16], "made for 32 columns"),
        ([0, 2, 16, 1, 16], "made for 0 columns"),
        ([16, 2, 0, 1, 16], "layers of 0 units"),
        ([16, 2, 17, 1, 16], "layers of 17 units"),
        ([16, 2, 2**19, 1, 16], "other weights than the network has"),
        ([16, 2, 16, 2**19, 16], "524288 layers, where .* holds"),
        ([16, 2, 16, 1, 2**19], "other weights than the network has"),
        ([16, 2, 16, 1, 17], "17 landmarks"),
        ([16, 2, 16, 1, -1], "has no shape"),
        ([16, 2, 16, 1, 2**20], "has no shape"),
        ([16, 2, 2**20, 1, 16], "has no shape"),
        ([16, 2, 16, True, 16], "has no shape"),
        ([16, 2, 16.0, 1, 16], "has no shape"),
        ([16, 2, 16, 1], "has no shape"),
        ([16, 2, 16, 1, 16, 16], "has no shape"),
        ("16, 2, 16, 1, 16", "has no shape"),
    ],
)
def test_shapes_that_are_not_those_of_the_weights(forged, shape, says):
    forged.edit(lambda content: content["network"].update(residual=shape))
    forged.refused(says, forged.folder)


def test_a_network_of_one_axis_with_weights_to_match(forged):
    """What a kernel would read past the end of."""
    forged.edit(lambda content: content["network"].update(residual=[16, 1, 16, 1, 16]))

    def one_axis(weights):
        for name in ("body.skip.weight", "body.skip.bias", "body.head.weight", "body.head.bias", "origin"):
            weights[name] = weights[name][:1].copy()

    forged.reweigh(one_axis)
    forged.refused("1 axes", forged.manifest)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers(forged, value):
    forged.reweigh(lambda weights: weights["body.head.weight"].put(3, value))
    forged.refused("NaN or infinity in 'body.head.weight'", forged.weights)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("origin"), "none of the name 'origin'"),
        (lambda w: w.update(more=np.zeros(2)), "'more', where the network has no it"),
        (lambda w: w.update(origin=np.zeros(3, np.float32)), "one of shape \\(3,\\) of the name 'origin'"),
        (lambda w: w.update(origin=np.zeros(2, np.int64)), "holds int64 for 'origin'"),
    ],
)
def test_other_weights(forged, change, says):
    forged.reweigh(change)
    forged.refused(says, forged.weights)


def with_header(data, text):
    length = int.from_bytes(data[:8], "little")
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:-4],
        lambda data: data + b"1234",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: with_header(data, b"[]"),
        lambda data: with_header(data, b"{"),
        lambda data: with_header(data, b'{"a": 3}'),
        lambda data: with_header(data, b"[" * 100_000),
        lambda data: data.replace(b'"F32"', b'"F99"'),
        lambda data: data.replace(b'"F32"', b'"F16"'),
        lambda data: data.replace(b'"BF1"', b'"F32"').replace(b"F32", b"I32", 1),
    ],
)
def test_files_that_are_not_weights(forged, change):
    forged.put(change(forged.weights.read_bytes()))
    forged.refused("is damaged|other weights|another kind", forged.weights)


def test_weights_that_overflow_put_no_row_anywhere(forged, islands):
    forged.reweigh(lambda weights: weights["body.head.weight"].fill(3e38))
    with pytest.raises(ValueError, match="no place for a row that begins with"):
        load(forged.folder).transform(islands)


def test_the_row_that_overflows_is_named(saved, islands, monkeypatch):
    """One that overflows along one axis of the map only, and is not the first."""
    model = load(saved / "plain")

    def overflowing(network, rows, d, *rest):
        places = np.zeros((len(rows), d), np.float32)
        places[3, 1] = np.inf
        return places

    monkeypatch.setattr(fitted_encoder, "encode", overflowing)
    with pytest.raises(ValueError, match="no place for a row that begins with") as caught:
        model.transform(islands)
    assert str(islands[3, :5].tolist()) in str(caught.value)


def test_what_is_missing_from_a_history_is_no_damage(saved, islands, tmp_path):
    """The loss of a batch that had nothing to learn from."""
    model = fitted(islands)
    model.history_["batches"]["loss"][3] = np.nan
    model.save(tmp_path / "encoder")
    loss = load(tmp_path / "encoder").history_["batches"]["loss"]
    assert np.isnan(loss[3]) and np.isfinite(loss[4])


def test_hundreds_of_damaged_encoders(saved):
    """In a process of their own: a kernel that reads where nothing is would end this one."""
    script = Path(__file__).parents[1] / "mutations.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(tsne_ooc.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), str(saved), "0", "400"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"at mutation {lines[-1:]}: {done.stderr[:2000]}"
    outcomes = Counter(line.split(maxsplit=2)[2] for line in lines)
    assert sum(outcomes.values()) == 400
    assert outcomes["refused"] > 200 and outcomes["taken"] > 10, outcomes


@pytest.mark.parametrize("name", ["../{}", "/elsewhere/{}", "weights.bin", "."])
def test_weights_are_read_from_the_folder_only(forged, name):
    """Also where a file of that name is there, and its sum is right."""
    name = name.format(forged.weights.name)
    (forged.folder.parent / forged.weights.name).write_bytes(forged.weights.read_bytes())
    (forged.folder / "weights.bin").write_bytes(forged.weights.read_bytes())
    forged.edit(lambda content: content["weights"].update(file=name))
    with pytest.raises(ValueError) as caught:
        load(forged.folder)
    assert str(caught.value) == f"{forged.manifest}: weights are not in the folder"


@pytest.mark.parametrize("columns", [4, 6])
def test_a_number_of_columns_that_rows_do_not_have(forged, columns):
    forged.edit(lambda content: content["fitted"].update(columns=columns))
    with pytest.raises(ValueError) as caught:
        load(forged.folder)
    assert str(caught.value) == f"{forged.manifest}: fitted says {columns} columns, where rows have 5"


def test_workers_open_an_encoder_with_the_threads_that_they_have(saved, islands):
    found = opened(saved / "plain", 1)
    assert type(found) is ParametricTSNE and found.n_jobs == 1
    np.testing.assert_array_equal(found.transform(islands), load(saved / "plain").transform(islands))


class Cut(torch.nn.Linear):
    """The very weights of the network that was trained, of which an axis is left out; the other one would be both."""

    def forward(self, x):
        return super().forward(x)[:, :1]


class More(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x)[:, [0, 1, 0]]


class Broken(torch.nn.Linear):
    def forward(self, x):
        raise RuntimeError("no\n   rows   at all " + 300 * "x")


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Cut(5, 2), "it gives 1 axes, the map has 2"),
        (More(5, 2), "it gives 3 axes, the map has 2"),
        (Broken(5, 2), "no rows at all " + "x" * 145),
    ],
    ids=["an axis", "three axes", "no rows"],
)
def test_a_network_of_ones_own_that_does_other_things_now(islands, tmp_path, network, says):
    fitted(islands, network=torch.nn.Linear(5, 2), landmarks=0).save(tmp_path / "own")
    with pytest.raises(ValueError) as caught:
        load(tmp_path / "own", network=network)
    whole = f"the network takes no rows of 5 columns to this map: {says}"
    # One line, however much a library has to say.
    assert str(caught.value) == f"{tmp_path / 'own' / 'manifest.json'}: {whole[:200]}"


# Columns, axes, units and layers of the decoder as it was saved: [4, 2, 16, 1].
@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([4, 2, 17, 1], "decoder has layers of 17 units, not a multiple of 16"),
        ([4, 2, 0, 1], "decoder has layers of 0 units, not a multiple of 16"),
        ([4, 2, 16, 2**19], "decoder has 524288 layers, where "),
        ([4, 3, 16, 1], "decoder is of another table or map"),
        ([5, 2, 16, 1], "decoder is of another table or map"),
        ([4, 2, 16, 1, 1], "decoder has no shape"),
    ],
)
def test_shapes_of_decoders_that_are_not_those_of_the_weights(saved, tmp_path, shape, says):
    forged = Forged(saved / "whole", tmp_path / "forged")
    forged.edit(lambda content: content["decoder"].update(shape=shape))
    with pytest.raises(ValueError) as caught:
        load(forged.folder)
    assert str(caught.value).startswith(f"{forged.manifest}: {says}")


def test_an_encoder_of_no_batches_is_one(forged):
    """As an interrupt before the first one leaves it; the best weights are among those that there were."""
    for n_iter, best_iter in ((0, 0), (1, 0), (1, 1), (10, 10)):
        forged.edit(
            lambda content, given=(n_iter, best_iter): content["fitted"].update(n_iter=given[0], best_iter=given[1])
        )
        found = load(forged.folder)
        assert (found.n_iter_, found.best_iter_) == (n_iter, best_iter)
    for wrong in ({"n_iter": 9}, {"n_iter": -1}, {"n_iter": 10, "best_iter": -1}):
        forged.edit(lambda content, given=wrong: content["fitted"].update(given))
        forged.refused("best_iter|n_iter", forged.manifest)


def test_the_first_of_several_weights_is_named(forged):
    def change(weights):
        for name in sorted(weights)[2:]:
            weights[name] = np.zeros(3, np.float32)

    before = sorted(read(forged.weights.read_bytes()))
    forged.reweigh(change)
    forged.refused(f"one of shape .* of the name '{before[2]}'", forged.weights)


def test_sums_of_arrays_are_compared_where_that_is_asked_for(forged, islands):
    """Those of the weights always are."""
    for file in forged.folder.glob("*.npy"):
        data = bytearray(file.read_bytes())
        if "history" in file.name:
            data[-1] ^= 1
            file.write_bytes(bytes(data))
    forged.refused("history", forged.folder)
    assert np.isfinite(load(forged.folder, verify=False).transform(islands)).all()
    data = bytearray(forged.weights.read_bytes())
    data[-1] ^= 1
    forged.weights.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"is damaged: its sum is not the one that the manifest names"):
        load(forged.folder, verify=False)
