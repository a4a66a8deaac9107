"""Saved weights and NumPy in double precision: what an encoder and its decoder answer on each of their journeys."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from scipy.special import expit, softmax

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
safetensors = pytest.importorskip("safetensors.numpy")

from tsne_ooc import TSNE, place  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load  # noqa: E402
from tsne_ooc.pipeline import train  # noqa: E402
from tsne_ooc.preprocess import Preparation, Standardize  # noqa: E402

FEW = {"perplexity": 10, "n_iter": 30, "early_exaggeration_iter": 10, "random_state": 0}


class Weights:
    """Of a folder, in double precision."""

    def __init__(self, folder):
        (file,) = folder.glob("*.safetensors")
        self.of = {name: value.astype(float) for name, value in safetensors.load_file(file).items()}
        content = json.loads((folder / "manifest.json").read_text())["content"]
        self.reach, self.landmarks = content["network"]["reach"], content["network"]["residual"][4]

    def linear(self, name, x):
        bias = self.of.get(f"{name}.bias", 0)
        return x @ self.of[f"{name}.weight"].T + bias

    def norm(self, name, x):
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * self.of[f"{name}.weight"] + self.of[f"{name}.bias"]

    def body(self, name, x, reach):
        """Residual blocks beside a linear map."""
        x = np.pad(x, ((0, 0), (0, self.of[f"{name}.stem.weight"].shape[1] - x.shape[1])))
        h = self.linear(f"{name}.stem", x)
        if f"{name}.nearness.logits.weight" in self.of:
            near = softmax(self.linear(f"{name}.nearness.logits", x), axis=1)
            h = h + 0.5 * np.sqrt(near.shape[1]) * self.linear(f"{name}.nearness.values", near)
        block = 0
        while f"{name}.blocks.{block}.linear.weight" in self.of:
            inner = self.norm(f"{name}.blocks.{block}.norm", h)
            h = h + self.linear(f"{name}.blocks.{block}.linear", inner * expit(inner))
            block += 1
        straight = self.linear(f"{name}.skip", x)
        if reach is not None:
            straight = eased(straight, -reach, reach, reach)
        h = self.norm(f"{name}.norm", h)
        return straight + self.linear(f"{name}.head", h * expit(h))

    def encode(self, X):
        places = self.body("body", (X - self.of["center"]) * self.of["scale"], self.reach)
        return eased(self.of["origin"] + self.of["width"] * places, self.of["low"], self.of["high"], self.of["margin"])

    def decode(self, Y):
        of = {name.removeprefix("decoder."): value for name, value in self.of.items() if name.startswith("decoder.")}
        places = (Y - of["origin"]) / of["width"]
        phase = places @ of["waves"]
        columns = self.body("decoder.body", np.hstack([places, np.sin(phase), np.cos(phase)]), None)
        return of["center"] + columns[:, : len(of["center"])] / of["scale"]


def eased(x, low, high, margin):
    inside = np.clip(x, low, high)
    return inside + margin * np.tanh((x - inside) / margin)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("landmarks", [0, 32])
@pytest.mark.parametrize("prepared", [False, True])
def test_every_journey_of_an_encoder(islands, tmp_path, monkeypatch, landmarks, prepared):
    rng = np.random.default_rng(1)
    # So near that rows within the map meet the end of the linear path.
    monkeypatch.setattr("tsne_ooc.parametric.outset.REACH", 0.7)
    # Also of rows far off the map.
    new = np.concatenate([islands[::3] + rng.normal(size=(67, 5)), 50 * rng.normal(size=(8, 5))]).astype(np.float32)
    options = {
        "network": (32, 2), "landmarks": landmarks, "n_iter": 25, "batch_size": 50, "random_state": 0, "n_jobs": 1,
        "decoder": Decoder((16, 1), n_iter=10),
    }  # fmt: skip
    steps = Preparation([Standardize()]) if prepared else None
    model = train(
        islands, out=tmp_path / "run", encoder=ParametricTSNE(**options), tsne=TSNE(**FEW), prepare=steps
    )  # fmt: skip
    center, deviation = (islands.mean(axis=0, dtype=float), islands.std(axis=0, dtype=float)) if prepared else (0, 1)
    weights = Weights(tmp_path / "run")
    assert weights.landmarks == landmarks
    wanted = weights.encode((new - center) / deviation)
    model.save(tmp_path / "saved")
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file.create_dataset("X", data=new, chunks=(20, 5))
    in_memory = ParametricTSNE(TSNE(**FEW, prepare=steps), **options).fit(islands)
    close(model.transform(new), wanted)
    close(in_memory.transform(new), wanted)
    close(load(tmp_path / "saved", n_jobs=2).transform(new), wanted)
    with h5py.File(tmp_path / "new.h5") as file:
        close(model.transform(file["X"]), wanted)
    close(place(tmp_path / "run", tmp_path / "new.h5", out=tmp_path / "placed", block_rows=7).embedding, wanted)
    close(model.encode_prepared(((new - center) / deviation).astype(np.float32)), wanted)
    # Back to rows, from places on the map.
    places = weights.encode((islands - center) / deviation)
    rows = weights.decode(places)
    close(model.inverse_transform(places.astype(np.float32), prepared=True), rows)
    close(load(tmp_path / "saved").inverse_transform(places.astype(np.float32)), rows * deviation + center)
    # What the map does not tell of them, in spreads of what is left on average.
    left = (rows - (islands - center) / deviation) * weights.of["decoder.scale"] / weights.of["decoder.spread"]
    np.testing.assert_allclose(model.reconstruction_error(islands), np.square(left).mean(axis=1), rtol=2e-3)
    assert np.abs(wanted).max() < 3 * np.abs(model.embedding_).max() + 10
