"""What torch is set to elsewhere in the process changes nothing, and is not changed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load  # noqa: E402


def encoder(**options):
    teacher = TSNE(perplexity=10, early_exaggeration_iter=20, n_iter=30, random_state=0, n_jobs=1)
    options = {"network": (16, 1), "landmarks": 16, "n_iter": 10, "random_state": 0, "n_jobs": 1, **options}
    return ParametricTSNE(teacher, decoder=Decoder((16, 1), n_iter=5), **options)


@pytest.fixture
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def wanted(islands):
    return encoder().fit(islands)


def test_the_default_type_of_torch_does_not_matter(islands, wanted, doubles, tmp_path):
    model = encoder().fit(islands)
    Y = model.transform(islands)
    # AdamW counts in the default type, and so rounds otherwise.
    np.testing.assert_allclose(Y, wanted.transform(islands), atol=1e-3)
    np.testing.assert_allclose(model.inverse_transform(Y), wanted.inverse_transform(Y), atol=1e-2)
    assert {value.dtype for value in model.encoder_.state_dict().values()} == {torch.float32}
    wanted.save(tmp_path / "encoder")
    np.testing.assert_array_equal(load(tmp_path / "encoder").transform(islands), wanted.transform(islands))
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    path = str(model.export_onnx(tmp_path / "encoder.onnx"))
    (found,) = runtime.InferenceSession(path).run(None, {"rows": islands})
    np.testing.assert_allclose(found, Y, rtol=1e-4, atol=1e-4)


def test_generators_and_settings_stay_as_they_were(islands, wanted, tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()

    def unchanged():
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == 1 and torch.get_default_dtype() == torch.float32
        assert torch.is_grad_enabled()

    model = encoder().fit(islands)
    unchanged()
    model.inverse_transform(model.transform(islands))
    unchanged()
    model.save(tmp_path / "encoder")
    load(tmp_path / "encoder").transform(islands)
    unchanged()
