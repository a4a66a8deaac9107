"""No row is thrown off the map: in PyTorch, in the forward pass of our own, and in ONNX."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import ParametricTSNE, load, saving  # noqa: E402
from tsne_ooc.parametric.bounds import MARGIN, Bounds, bounds_of, eased, together  # noqa: E402
from tsne_ooc.parametric.network import Encoder, ResidualNetwork  # noqa: E402

LARGEST = float(np.finfo(np.float32).max)


def encoder(teacher=None, **options):
    options = {"network": (32, 2), "n_iter": 30, "random_state": 0, "n_jobs": 1, **options}
    return ParametricTSNE(teacher, **options)


@pytest.fixture(scope="module")
def teacher(islands):
    return TSNE(perplexity=10, early_exaggeration_iter=50, n_iter=100, random_state=0, n_jobs=1).fit(islands)


def strange(p):
    """Rows that no table should hold, all of them finite."""
    rng = np.random.default_rng(0)
    ways = [*np.eye(p), *-np.eye(p), np.ones(p), -np.ones(p), *rng.normal(size=(20, p))]
    far = [scale * np.array(ways) for scale in (1e2, 1e6, 1e12, 1e20, 1e30)]
    ends = [np.full((1, p), LARGEST), np.full((1, p), -LARGEST), LARGEST * np.sign(rng.normal(size=(5, p)))]
    return np.concatenate([np.zeros((1, p)), np.full((1, p), 1e-38), *far, *ends]).astype(np.float32)


def answers(model, rows, folder):
    """Of all ways that there are."""
    with torch.inference_mode():
        found = {"transform": model.transform(rows), "torch": model.encoder_(torch.from_numpy(rows)).numpy()}
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        return found
    path = str(model.export_onnx(folder / "encoder.onnx"))
    (found["onnx"],) = onnxruntime.InferenceSession(path).run(None, {"rows": rows})
    return found


class Straight(torch.nn.Module):
    """A network of one's own that has no end in any direction."""

    def __init__(self):
        super().__init__()
        self.all = torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.all(x)


@pytest.mark.parametrize(
    "options", [{}, {"landmarks": 16}, {"network": Straight()}], ids=["blocks", "landmarks", "own"]
)
def test_whatever_the_row_its_place_is_on_the_map(teacher, islands, tmp_path, options):
    # A constant column has no deviation, and takes no part in where a row lies.
    X = islands.copy()
    X[:, 3] = 7
    model = encoder(**options).fit(X)
    map_ = model.teacher_.embedding_
    margin = MARGIN * np.ptp(map_, axis=0).max()
    low, high = map_.min(axis=0) - 2 * margin, map_.max(axis=0) + 2 * margin
    rows = strange(X.shape[1])
    found = answers(model, rows, tmp_path)
    for name, places in found.items():
        assert (places >= low - 1e-3).all() and (places <= high + 1e-3).all(), name
        np.testing.assert_allclose(places, found["transform"], rtol=1e-3, atol=1e-2 * margin, err_msg=name)
    # A row is told from one that is farther out, as far as it goes: there is no other place for all of them.
    assert len(np.unique(found["transform"].round(3), axis=0)) > 10


def test_what_is_no_number_is_refused_and_never_a_place(teacher, islands, tmp_path):
    model = encoder(teacher).fit(islands)
    for value in (np.nan, np.inf, -np.inf):
        rows = islands[:3].copy()
        rows[1, 2] = value
        with pytest.raises(ValueError, match=r"row 1|\[1, 2\]"):
            model.transform(rows)
    rows[1, 2] = np.nan
    with torch.inference_mode():
        places = model.encoder_(torch.from_numpy(rows)).numpy()
    assert np.isnan(places[1]).all() and np.isfinite(places[[0, 2]]).all()


def test_ordinary_rows_get_what_the_network_says(teacher, islands):
    model = encoder(teacher).fit(islands)
    bounded = model.transform(islands)
    for name in ("low", "high"):
        getattr(model.encoder_, name).fill_(-torch.inf if name == "low" else torch.inf)
    model.encoder_.body.reach = None
    np.testing.assert_array_equal(model.transform(islands), bounded)
    # And without the bounds a row far out is far out.
    assert np.abs(model.transform(np.full((1, 5), 1e6, np.float32))).max() > 1e4


@pytest.mark.parametrize("low, high, margin", [(-3.0, 5.0, 2.0), (0.0, 0.0, 1.0), (-1e4, 1e4, 1e2)])
def test_the_way_out_has_no_step_and_no_kink(low, high, margin):
    ends = [torch.tensor(value, dtype=torch.float64) for value in (low, high, margin)]
    x = torch.linspace(low - 20 * margin, high + 20 * margin, 200_001, dtype=torch.float64, requires_grad=True)
    y = eased(x, *ends)
    y.sum().backward()
    slope, step = x.grad.numpy(), 40 * margin / 200_000 + (high - low) / 200_000
    y, x = y.detach().numpy(), x.detach().numpy()
    assert (np.diff(y) >= 0).all() and y.min() >= low - margin and y.max() <= high + margin
    inside = (x >= low) & (x <= high)
    assert (y[inside] == x[inside]).all()
    # Its slope is that of its values, and changes no faster than that of a hyperbolic tangent.
    np.testing.assert_allclose(np.diff(y) / step, (slope[1:] + slope[:-1]) / 2, atol=1e-5)
    assert np.abs(np.diff(slope)).max() <= 0.8 * step / margin


def test_a_row_that_is_met_too_rarely_stays_on_the_map():
    # As one of KDD Cup 1999: 350 times as long as the median row, and learnt from a few times only.
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(4, 1, 8)) * 5 + rng.normal(size=(4, 100, 8))).reshape(400, 8).astype(np.float32)
    X[17] *= 350
    model = encoder(n_iter=4, batch_size=40).fit(X)
    map_ = model.teacher_.embedding_
    margin = MARGIN * np.ptp(map_, axis=0).max()
    Y = model.transform(X)
    assert (np.maximum(map_.min(axis=0) - Y, Y - map_.max(axis=0)) <= 2 * margin + 1e-3).all()
    # The network itself, whose blocks are bounded, has it within a few widths, or it would not find back.
    model.encoder_.stay_within(Bounds(np.full(2, -np.inf), np.full(2, np.inf), 1.0))
    assert np.abs(model.transform(X[17:18]) - map_.mean(axis=0)).max() < 20 * map_.std()


def test_a_map_of_its_own_has_bounds_of_its_own(islands):
    model = encoder(objective="batch_local", n_iter=60).fit(islands)
    assert model.teacher_.n_iter_ == 0
    Y = model.transform(islands)
    low, high, margin = model.encoder_.low.numpy(), model.encoder_.high.numpy(), float(model.encoder_.margin)
    assert (low < Y).all() and (high > Y).all() and margin == pytest.approx(MARGIN * np.ptp(Y, axis=0).max(), rel=0.2)
    far = model.transform(strange(5))
    assert (far >= low - margin - 1e-3).all() and (far <= high + margin + 1e-3).all()


def test_few_rows_that_were_thrown_off_are_no_part_of_a_map():
    rng = np.random.default_rng(2)
    Y = rng.uniform(-1, 1, size=(1000, 2)).astype(np.float32)
    assert len(together(Y)) == 1000
    thrown = np.concatenate([Y, [[400, 0], [0, -3e4], [np.nan, 0]]]).astype(np.float32)
    np.testing.assert_array_equal(together(thrown), Y)
    bounds = bounds_of(Y, Y[:10] + 5)
    assert bounds.high.min() > 5 and bounds.low.max() < -1 and np.isfinite(bounds.margin)
    assert bounds_of(np.zeros((3, 2), np.float32)).margin > 0


def test_a_folder_of_before_there_were_bounds_answers_as_it_did(teacher, islands, tmp_path, monkeypatch):
    model = encoder(teacher).fit(islands)
    old = model.encoder_
    body = ResidualNetwork(16, 2, 32, 2, old.body.landmarks)
    body.load_state_dict(old.body.state_dict())
    arrays = (getattr(old, name).numpy() for name in ("center", "scale", "origin"))
    unbounded = Encoder(body, *arrays, float(old.width)).eval()
    model = type(model).of_fitted(replace(model.fitted_, encoder=unbounded), **model.get_params(deep=False))
    monkeypatch.setattr(saving, "_bounds", lambda encoder: {})
    model.save(tmp_path / "old")
    back = load(tmp_path / "old")
    rows = np.concatenate([islands, strange(5)[:100]])
    np.testing.assert_array_equal(back.transform(rows), model.transform(rows))
    assert not back.encoder_.bounded and np.abs(back.transform(rows)).max() > 1e4
    # Saved again it stays what it is.
    monkeypatch.undo()
    back.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").transform(rows), model.transform(rows))


def test_bounds_are_saved(teacher, islands, tmp_path):
    model = encoder(teacher).fit(islands)
    model.save(tmp_path / "encoder")
    rows = strange(5)
    np.testing.assert_array_equal(load(tmp_path / "encoder").transform(rows), model.transform(rows))
