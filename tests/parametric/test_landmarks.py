"""Landmarks: where they begin, what they say, and what they are good for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.parametric import landmarks  # noqa: E402
from tsne_ooc.parametric.network import Encoder, Nearness, ResidualNetwork  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, Stage  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.tiles import encode  # noqa: E402
from tsne_ooc.parametric.training import Options, learn  # noqa: E402


def groups(count, each, p=16, seed=0):
    rng = np.random.default_rng(seed)
    means = 8 * rng.normal(size=(count, p))
    return (np.repeat(means, each, axis=0) + rng.normal(size=(count * each, p))).astype(np.float32), means


@pytest.mark.parametrize(
    "asked, m, p, wanted",
    [
        ("auto", 60_000, 50, 1024),
        ("auto", 1_797, 64, 112),
        ("auto", 200, 5, 0),
        ("auto", 100_000, 2_000, 256),
        (0, 60_000, 50, 0),
        (2048, 60_000, 50, 2048),
        (64, 50, 5, 48),
    ],
)
def test_there_are_as_many_as_rows_and_columns_allow(asked, m, p, wanted):
    assert landmarks.count_of(asked, m, p) == wanted


def test_they_begin_in_the_midst_of_rows_and_tell_them_apart():
    Z, means = groups(4, 500)
    centres, sharpness = landmarks.first_landmarks(Z, 32, np.random.default_rng(0), Threads(2))
    away = np.linalg.norm(centres[:, None] - means, axis=2)
    assert centres.shape == (32, 16) and away.min(axis=1).max() < 7 and set(away.argmin(axis=1)) == {0, 1, 2, 3}
    squares = np.sort(np.square(Z[:, None].astype(np.float64) - centres).sum(axis=2), axis=1)
    # The nearest is e^0.5 times as likely as the second, of the median row.
    assert sharpness * np.median(squares[:, 1] - squares[:, 0]) == pytest.approx(0.5, rel=1e-4)
    again = landmarks.first_landmarks(Z, 32, np.random.default_rng(0), Threads(1))
    assert (again[0] == centres).all() and again[1] == sharpness
    # Thousands of equal rows, each with several landmarks at its very place, say nothing of how far apart others are.
    flood = np.concatenate([np.repeat(Z[:1], 4000, axis=0), Z[1:]])
    blunt = landmarks.first_landmarks(flood, 512, np.random.default_rng(0), Threads(1))[1]
    assert 0 < blunt < 10 * sharpness
    # Of rows that are all the same none is nearer than the others.
    assert landmarks.first_landmarks(np.ones((40, 16), np.float32), 16, np.random.default_rng(0), Threads(1))[1] == 0


def test_nearness_is_a_softmax_of_squared_distances():
    Z, _ = groups(4, 20)
    centres = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    layer = Nearness(16, 32, 16)
    layer.place(centres, 0.02)
    logits = -0.02 * np.square(Z[:, None].astype(np.float64) - centres).sum(axis=2)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    wanted = 2 * shares @ layer.values.weight.detach().numpy().T
    np.testing.assert_allclose(layer(torch.from_numpy(Z)).detach().numpy(), wanted, atol=1e-5)


def test_islands_that_lie_anywhere_are_learnt_with_fewer_batches():
    X, _ = groups(64, 32)
    targets = np.repeat(np.random.default_rng(2).normal(size=(64, 2)) * 20, 32, axis=0).astype(np.float32)
    left = []
    for count in (0, 128):
        rng = np.random.default_rng(3)
        body = ResidualNetwork(16, 2, 32, 1, count)
        body.initialise(np.zeros((2, 16), np.float32), rng)
        if count:
            body.nearness.place(*landmarks.first_landmarks(X / 8, count, rng, Threads(1)))
        encoder = Encoder(body, np.zeros(16), np.full(16, 1 / 8), np.zeros(2), 20.0)
        problem = Problem(len(X), 20.0, 1.0, 1.0, targets, None, 0, Threads(1), torch.device("cpu"))
        options = Options([Stage(Distillation())], 60, 6e-3, 500, None, [], 50, False)
        learn(encoder, problem, Batches(X, batch_size=256, seed=0), np.zeros(len(X), bool), options)
        left.append(np.linalg.norm(encode(encoder, X, 2, Threads(1)) - targets, axis=1).mean())
    assert left[1] < 0.5 * left[0]


@pytest.mark.parametrize("m", [300, 4096, 5000])
def test_so_many_rows_say_how_far_apart_landmarks_are(m, monkeypatch):
    """The last ones of the order in which the first ones were those of k-means; the median of all is another one."""
    monkeypatch.setattr(landmarks, "_SHARPENED", 512)
    rng = np.random.default_rng(0)
    Z = (rng.normal(size=(m, 8)) * rng.uniform(0.5, 2, (m, 1))).astype(np.float32)
    centres, sharpness = landmarks.first_landmarks(Z, 16, np.random.default_rng(1), Threads(1))
    squares = np.sort(np.square(Z[:, None].astype(np.float64) - centres).sum(axis=2), axis=1)
    gaps = squares[:, 1] - squares[:, 0]
    order = np.random.default_rng(1).permutation(m)
    assert sharpness == pytest.approx(0.5 / np.median(gaps[order[-512:]]), rel=1e-4)
    assert m == 300 or sharpness != pytest.approx(0.5 / np.median(gaps), rel=1e-4)


@pytest.mark.parametrize(("gaps", "sharpness"), [
    ([1.3e-4, 2e-4, 3e-4, 7e-4], 0.5 / 3e-4), ([1e-4, 1.5e-4, 0], 0.0), ([1e-4, 1.9e-4], 0.5 / 1.9e-4), ([4.0], 0.125),
])  # fmt: skip
def test_landmarks_that_are_as_near_as_rounding_tells_do_not_say_how_far_apart_they_are(gaps, sharpness, monkeypatch):
    """Below 1e-5 for each of 16 columns. For the median row, the nearest is e^0.5 times as likely as the next."""
    centres = np.zeros((3, 16), np.float32)
    centres[1, 0], centres[2, 1] = 1, 100
    asked = []
    monkeypatch.setattr(landmarks.kmeans, "train", lambda *given, **more: asked.append((given, more)) or centres)
    Z = np.zeros((len(gaps), 16), np.float32)
    Z[:, 0] = 0.5 - np.array(gaps) / 2
    rng, threads = np.random.default_rng(0), Threads(1)
    found, told = landmarks.first_landmarks(Z, 3, rng, threads)
    assert found is centres and told == pytest.approx(sharpness, rel=1e-2)
    ((some, count, rounds), more) = asked[0]
    assert (len(some), count, rounds) == (len(gaps), 3, landmarks.ROUNDS) and more == {"rng": rng, "threads": threads}
