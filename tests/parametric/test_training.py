"""The network, its optimisers and the loop, on problems whose answers are known."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.batches import Batches  # noqa: E402
from tsne_ooc.parametric.forward import Forward  # noqa: E402
from tsne_ooc.parametric.muon import Muon, orthogonalised  # noqa: E402
from tsne_ooc.parametric.network import Encoder, ResidualNetwork, leading_axes, padded, standardisation  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, Stage  # noqa: E402
from tsne_ooc.parametric.optimizer import rate_at  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.tiles import encode, tile_for  # noqa: E402
from tsne_ooc.parametric.training import Options, learn, spans  # noqa: E402


def residual(p, width=32, depth=2, seed=0, landmarks=0):
    rng = np.random.default_rng(seed)
    body = ResidualNetwork(padded(p), 2, width, depth, landmarks)
    body.initialise(rng.normal(size=(2, padded(p))).astype(np.float32), rng)
    with torch.no_grad():
        body.head.weight.copy_(torch.from_numpy(rng.normal(size=(2, width)).astype(np.float32)))
    return Encoder(body, np.zeros(p), np.ones(p), np.zeros(2), 30.0)


def test_an_encoder_begins_as_the_principal_components():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    X = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 5).astype(np.float32)
    X[:, 3] = 7.1
    center, scale = standardisation(X)
    Z = (X - center) * scale
    assert np.allclose(Z.mean(axis=0), 0, atol=1e-5) and Z.var(axis=0).mean() == pytest.approx(1, abs=1e-4)
    # One scale for all columns: distances are what they were, but for a factor.
    distances = np.linalg.norm(X[1:] - X[:-1], axis=1) / np.linalg.norm(Z[1:] - Z[:-1], axis=1)
    assert np.ptp(distances) < 1e-4 * distances.mean()
    assert not standardisation(np.full((5, 2), 7.1, np.float32))[1].any()
    body = ResidualNetwork(padded(6), 2, 16, 1)
    body.initialise(np.pad(leading_axes(Z, 2), ((0, 0), (0, 10))), rng)
    Y = encode(Encoder(body, center, scale, np.array([1.0, 2.0]), 30.0), X, 2, Threads(1))
    wanted = PCA(2).fit_transform(Z.astype(np.float64))
    wanted *= 30 / wanted[:, 0].std()
    wanted *= np.sign((wanted * Y).sum(axis=0))
    np.testing.assert_allclose(Y, wanted + np.array([1, 2]), atol=1e-2)


def test_what_an_encoder_begins_with_takes_little_memory():
    import tracemalloc

    X = (np.random.default_rng(0).normal(size=(20_001, 40)) * np.arange(1, 41) + 1000).astype(np.float32)
    tracemalloc.start()
    try:
        center, scale = standardisation(X)
        axes = leading_axes(X, 2)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.5 * X.nbytes
    full = X.astype(np.float64)
    np.testing.assert_allclose(center, full.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, 1 / np.sqrt(full.var(axis=0).mean()), rtol=1e-5)
    values, vectors = np.linalg.eigh(full.T @ full / len(full))
    first = vectors[:, -1] / np.sqrt(values[-1])
    np.testing.assert_allclose(axes[0], first * np.sign(first[np.abs(first).argmax()]), rtol=1e-4, atol=1e-8)


def test_a_column_far_from_zero_takes_no_scale_from_the_others():
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    X[:, 2] = 20_240_101
    center, scale = standardisation(X)
    Z = (X - center) * scale
    assert not Z[:, 2].any() and Z.var(axis=0).mean() == pytest.approx(1, abs=1e-4)
    assert scale[2] == 0 and (scale[[0, 1, 3]] == scale[0]).all()


def test_a_column_counts_as_constant_where_its_deviation_is_below_the_rounding():
    """A millionth of its mean, at any scale."""
    sides = np.tile(np.float64([-1, 1]), 100)
    X = np.stack([sides, 1 + 3e-6 * sides, 1 + 3e-7 * sides, 1e8 + 160 * sides, 1e8 + 48 * sides], axis=1)
    kept = [0, 1, 3]
    deviations = X.astype(np.float32).std(axis=0, dtype=np.float64)
    assert np.flatnonzero(deviations > 1e-6 * X.mean(axis=0)).tolist() == kept
    scale = standardisation(X.astype(np.float32))[1]
    assert np.flatnonzero(scale).tolist() == kept
    np.testing.assert_allclose(scale[kept], 1 / np.sqrt(np.square(deviations[kept]).sum() / 5), rtol=1e-6)


@pytest.mark.parametrize("width, landmarks", [(16, 0), (256, 32)])
def test_weights_begin_as_documented(width, landmarks):
    """Uniform within one over the root of what goes in; the linear map is the axes, the head is zero, and so are all
    biases."""
    rng = np.random.default_rng(0)
    body = ResidualNetwork(64, 2, width, 3, landmarks)
    axes = rng.normal(size=(2, 64)).astype(np.float32)
    body.initialise(axes, rng)
    for name, layer in body.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        weight = layer.weight.detach().numpy()
        assert layer.bias is None or not layer.bias.detach().any()
        if name == "skip":
            np.testing.assert_array_equal(weight, axes)
        elif name == "head":
            assert not weight.any()
        else:
            bound = 1 / np.sqrt(weight.shape[1])
            assert 0.9 * bound < weight.max() <= bound and -bound <= weight.min() < -0.9 * bound, name
            # The standard deviation of a uniform number.
            assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    again = ResidualNetwork(64, 2, width, 3, landmarks)
    again.initialise(axes, np.random.default_rng(1))
    assert not torch.equal(again.stem.weight, body.stem.weight)


@pytest.mark.parametrize("m, p", [(30, 200), (200, 30), (2, 9), (3, 1)])
def test_the_first_axes_are_those_of_the_singular_values(m, p):
    rng = np.random.default_rng(1)
    Z = (rng.normal(size=(m, p)) * np.linspace(3, 0.1, p)).astype(np.float32)
    values, rows = np.linalg.svd(Z.astype(np.float64), full_matrices=False)[1:]
    d = min(2, p)
    wanted = rows[:d] * np.sqrt(m) / values[0]
    wanted *= np.sign(wanted[np.arange(d), np.abs(wanted).argmax(axis=1)])[:, None]
    found = leading_axes(Z, 2)
    np.testing.assert_allclose(found[:d], wanted, atol=1e-5)
    assert not found[d:].any()


@pytest.mark.parametrize("shape", [(40, 24), (16, 64), (32, 32)])
def test_muon_makes_matrices_orthogonal_in_float32(shape):
    matrix = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    u, s, v = np.linalg.svd(matrix.numpy(), full_matrices=False)
    found = orthogonalised(matrix).numpy()
    assert found.dtype == np.float32
    # The same singular vectors, and values between 0.4 and 1.6.
    values = u.T @ found @ v.T
    assert np.abs(values - np.diag(np.diag(values))).max() < 1e-4
    small = s < 0.05 * s.max()
    assert ((np.diag(values) > 0.4) & (np.diag(values) < 1.6))[~small].all()


def test_muon_descends():
    wanted = torch.from_numpy(np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32))
    weight = torch.nn.Parameter(torch.zeros(32, 32))
    optimizer = Muon([weight], lr=0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * rate_at(step, 200)
        optimizer.zero_grad()
        (weight - wanted).square().sum().backward()
        optimizer.step()
    assert float((weight.detach() - wanted).norm() / wanted.norm()) < 0.05


def test_rates_rise_and_fall():
    rates = [rate_at(step, 1000) for step in range(1000)]
    assert rates[29:612] == pytest.approx(np.ones(583)) and rates[28] < 1 and rates[613] < 1
    assert rates[14] == pytest.approx(0.5) and rates[806] == pytest.approx(0.5) and 0 < rates[-1] < 0.003
    assert 0 < rate_at(0, 1) <= 1
    assert spans([Stage(None, 1.0), Stage(None, 3.0)], 10) == [(0, 2), (2, 10)]


def test_a_linear_map_is_learnt_exactly():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    targets = (X @ rng.normal(size=(4, 2)) * 5 + [3, -8]).astype(np.float32)
    torch.manual_seed(0)
    body = torch.nn.Linear(4, 2)
    encoder = Encoder(body, *standardisation(X), np.zeros(2), 10.0)
    problem = Problem(300, 10.0, 1.0, 1.0, targets, None, 0, Threads(1), torch.device("cpu"))
    stages = [Stage(Distillation(float("inf")))]
    options = Options(stages, 600, 0.05, 500, None, [], 50, False)
    done = learn(encoder, problem, Batches(X, batch_size=60, seed=0), np.zeros(300, bool), options)
    assert done.stopped == "finished" and done.steps == 600
    assert np.abs(encode(encoder, X, 2, Threads(1)) - targets).max() < 1e-3


@pytest.mark.parametrize("p, width, landmarks", [(1, 16, 0), (3, 32, 16), (50, 128, 1024), (17, 48, 0), (9, 16, 208)])
def test_a_row_comes_out_the_same_whatever_comes_with_it(p, width, landmarks):
    encoder = residual(p, width, landmarks=landmarks)
    X = np.random.default_rng(1).normal(size=(2100, p)).astype(np.float32)
    assert tile_for(encoder, p) == 1024
    Y = encode(encoder, X, 2, Threads(2))
    np.testing.assert_allclose(Y, encoder(torch.from_numpy(X)).detach().numpy(), rtol=1e-4, atol=1e-3)
    rng = np.random.default_rng(2)
    for rows in [np.arange(1), np.arange(7, 2100), rng.permutation(2100), rng.integers(0, 2100, 33)]:
        assert (encode(encoder, X[rows], 2, Threads(1)) == Y[rows]).all()


@pytest.mark.parametrize(
    "p, width, depth, m, landmarks",
    [(50, 64, 4, 1024, 0), (7, 16, 0, 3, 0), (16, 48, 1, 100, 32), (50, 64, 2, 1024, 256)],
)
def test_an_encoder_taken_apart_gives_the_places_of_the_whole(p, width, depth, m, landmarks):
    encoder, rng = residual(p, width, depth, landmarks=landmarks), np.random.default_rng(3)
    with torch.no_grad():
        for weight in encoder.body.parameters():
            # Biases and gains, too, which begin as zeros and ones.
            weight.add_(torch.from_numpy(rng.normal(size=tuple(weight.shape)).astype(np.float32) / 4))
    encoder.center[:], encoder.scale[:], encoder.origin[:] = 5.0, 0.5, -3.0
    X = (5 + rng.normal(size=(m, p))).astype(np.float32)
    wanted = copy.deepcopy(encoder).double()(torch.from_numpy(X).double()).detach().numpy()
    found, forward = np.full((m + 1, 2), np.nan, np.float32), Forward(encoder, 1024)
    assert Forward.takes(encoder)
    for _ in range(2):
        # The second time in buffers that are full of the first, and of rows that were more.
        forward(X, found[:m])
        np.testing.assert_allclose(found[:m], wanted, atol=3e-6 * np.abs(wanted).max())
        assert np.isnan(found[m]).all()
        forward(np.full((1024, p), 1e4, np.float32), np.empty((1024, 2), np.float32))
    assert not Forward.takes(torch.nn.Linear(5, 2)) and not Forward.takes(
        Encoder(torch.nn.Linear(5, 2), *[X[0]] * 3, 1.0)
    )


def test_a_network_whose_rows_depend_on_their_place_goes_row_by_row():
    class Placed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x[:, :2] + self.w * 1e-3 * torch.arange(len(x))[:, None]

    assert tile_for(Placed(), 3) == 1


def test_muon_leaves_alone_what_has_no_gradient():
    """A layer that the loss of this stage does not meet; it is taken along once it does."""
    met, other = (torch.nn.Parameter(torch.ones(8, 8)) for _ in range(2))
    optimizer = Muon([other, met], lr=0.1)
    met.sum().backward()
    optimizer.step()
    assert bool((other == 1).all()) and other not in optimizer.state
    assert not bool((met == 1).any())
    other.sum().backward()
    optimizer.step()
    assert not bool((other == 1).any())
