"""Weights of any layout and type come back as the same network: what is compared is its answers, not its sums."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
from torch import nn  # noqa: E402

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load  # noqa: E402
from tsne_ooc.parametric.checkpoint import array_of  # noqa: E402
from tsne_ooc.storage import read_folder, write_folder  # noqa: E402

P, UNITS = 12, 8


class Odd(nn.Module):
    """Two layers and a buffer that goes into the answer, of a layout that is made last."""

    def __init__(self, layout):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 2)
        self.first, self.last = nn.Linear(4 + P, UNITS), nn.Linear(UNITS, 2)
        self.register_buffer("shift", torch.linspace(-1, 1, UNITS))
        layout(self)

    def forward(self, x):
        seen = self.conv(x.reshape(-1, 3, 2, 2)).flatten(1)
        first, last = self.first, self.last
        h = torch.cat([seen, x], dim=1) @ first.weight.float().t() + first.bias.float() + self.shift.float()
        return torch.tanh(h) @ last.weight.float().t() + last.bias.float()


def transposed(net):
    net.first.weight = nn.Parameter(net.first.weight.detach().t().contiguous().t())


def strided(net):
    wide = torch.zeros(2 * UNITS, 3 * (4 + P))
    wide[::2, ::3] = net.first.weight.detach()
    net.first.weight = nn.Parameter(wide[::2, ::3])


def channels_last(net):
    net.to(memory_format=torch.channels_last)


def expanded(net):
    net.register_buffer("shift", torch.tensor([0.7]).expand(UNITS))


def no_axes(net):
    net.register_buffer("shift", torch.tensor(0.7))


def shared(net):
    whole = torch.randn(2 * UNITS, 4 + P)
    net.first.weight = nn.Parameter(whole[:UNITS])
    net.register_buffer("shift", whole[UNITS:, 0])


def sixteen_bits(net, dtype=torch.bfloat16):
    net.first.to(dtype)


def half(net):
    # AdamW's smallest number is zero in this type, so these are not trained.
    sixteen_bits(net, torch.float16)
    net.first.requires_grad_(False)


LAYOUTS = [transposed, strided, channels_last, expanded, no_axes, shared, sixteen_bits, half]


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(120, P)).astype(np.float32)


@pytest.fixture(scope="module")
def teacher(rows):
    return TSNE(perplexity=8, early_exaggeration_iter=20, n_iter=30, random_state=0, n_jobs=1).fit(rows)


def encoder(teacher, layout, **options):
    made = ParametricTSNE(teacher, network=Odd(layout), n_iter=6, random_state=0, n_jobs=1, **options)
    made.LOOK_EVERY = 2
    return made


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_saved_network_answers_as_before(teacher, rows, layout, tmp_path):
    model = encoder(teacher, layout).fit(rows)
    model.save(tmp_path / "encoder")
    # What takes the weights may lie otherwise in memory than what they come from.
    for other in (layout, lambda net: None):
        if layout is no_axes and other is not layout:
            continue
        back = load(tmp_path / "encoder", network=Odd(other))
        np.testing.assert_allclose(back.transform(rows), model.transform(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_training_that_was_stopped_goes_on_alike(teacher, rows, layout, tmp_path):
    whole = encoder(teacher, layout).fit(rows)

    class Stop(BaseException):
        pass

    at = [5]

    def stop(step, loss, network):
        if step in at:
            raise Stop

    watched = {"callbacks": stop, "callbacks_every_iters": 1}
    with pytest.raises(Stop):
        encoder(teacher, layout, **watched).fit(rows, checkpoint=tmp_path / "state")
    at.clear()
    gone_on = encoder(teacher, layout, **watched).fit(rows, checkpoint=tmp_path / "state")
    np.testing.assert_allclose(gone_on.transform(rows), whole.transform(rows), rtol=1e-5, atol=1e-5)


def test_a_decoder_behind_an_odd_network_comes_back(teacher, rows, tmp_path):
    model = encoder(teacher, transposed, decoder=Decoder((16, 1), n_iter=4)).fit(rows)
    model.save(tmp_path / "encoder")
    back = load(tmp_path / "encoder", network=Odd(transposed))
    np.testing.assert_array_equal(back.inverse_transform(model.embedding_), model.inverse_transform(model.embedding_))


def test_an_odd_network_goes_to_onnx(teacher, rows, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="the test runs the file with onnxruntime")
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    for layout in (transposed, strided, channels_last):
        model = encoder(teacher, layout).fit(rows)
        path = model.export_onnx(tmp_path / "encoder.onnx")
        (found,) = runtime.InferenceSession(str(path)).run(None, {"rows": rows})
        np.testing.assert_allclose(found, model.transform(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "dtype, layout",
    list(itertools.product(["<f4", ">f8", ">i8", "|u1", "|b1"], ["C", "F", "strided", "reversed", "none", "empty"])),
)
def test_arrays_of_any_layout_are_written_as_they_read(tmp_path, dtype, layout):
    array = np.arange(24).reshape(4, 6).astype(dtype)
    array = {
        "C": array, "F": np.asfortranarray(array), "strided": array[::2, 1::2], "reversed": array[::-1],
        "none": array[2, 3], "empty": array[:0],
    }[layout]  # fmt: skip
    write_folder(tmp_path / "folder", "model", {}, {"x": np.asarray(array)})
    found = read_folder(tmp_path / "folder", "model").arrays["x"]
    assert found.shape == np.shape(array)
    np.testing.assert_array_equal(found, array)


def test_a_tensor_becomes_an_array_in_rows():
    x = torch.arange(12.0).reshape(3, 4)
    for odd in (x.t(), x[:, ::2], x[0, 0], x[:1].expand(5, 4), x.bfloat16(), x.half(), x.double().t()):
        found = array_of(odd)
        assert found.flags.c_contiguous and found.shape == tuple(odd.shape)
        assert found.dtype in (np.float32, np.float64)
        assert found.tolist() == odd.tolist()
