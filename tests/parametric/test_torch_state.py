"""What torch is set to elsewhere in the process changes nothing, and is not changed."""

import threading
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load, shared  # noqa: E402
from tsne_ooc.parametric.shared import borrowed_generator, threads_kept  # noqa: E402
from tsne_ooc.pipeline import train  # noqa: E402


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
    np.testing.assert_array_equal(Y, wanted.transform(islands))
    np.testing.assert_array_equal(model.inverse_transform(Y), wanted.inverse_transform(Y))
    assert {value.dtype for value in model.encoder_.state_dict().values()} == {torch.float32}
    wanted.save(tmp_path / "encoder")
    np.testing.assert_array_equal(load(tmp_path / "encoder").transform(islands), wanted.transform(islands))
    runtime = pytest.importorskip("onnxruntime", reason="the test runs the file with onnxruntime")
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


def test_threads_of_torch_after_calls_that_overlapped(islands, wanted):
    """A thread begins with what was set last, by whomever."""
    alone, found, meeting = wanted.transform(islands), [], threading.Barrier(3)
    torch.set_num_threads(3)

    def call():
        meeting.wait(10)
        for _ in range(5):
            found.append(wanted.transform(islands))
        found.append(torch.get_num_threads())

    calls = [threading.Thread(target=call) for _ in range(3)]
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
    assert [n for n in found if isinstance(n, int)] == [3, 3, 3] and torch.get_num_threads() == 3
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]
    for Y in found:
        if not isinstance(Y, int):
            np.testing.assert_array_equal(Y, alone)


class _Ending:
    """A lock of the count of overlapping calls: at its first use in this thread, the call of another one ends."""

    def __init__(self, end: threading.Event, ended: threading.Event) -> None:
        self.lock, self.end, self.ended = threading.Lock(), end, ended

    def __enter__(self) -> None:
        if threading.current_thread().name == "later":
            self.end.set()
            assert self.ended.wait(20)
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


@pytest.mark.parametrize("what", ["fit", "transform", "inverse_transform", "save", "load", "export_onnx", "train"])
def test_a_thread_that_begins_within_a_call_that_ends_then(islands, wanted, what, tmp_path, monkeypatch):
    """Its first tensor would take the one thread of that call for what was there before."""
    if what == "export_onnx":
        pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    Y = wanted.transform(islands)
    wanted.save(tmp_path / "encoder")
    ask = {
        "fit": lambda: encoder().fit(islands),
        "transform": lambda: wanted.transform(islands),
        "inverse_transform": lambda: wanted.inverse_transform(Y),
        "save": lambda: wanted.save(tmp_path / "again"),
        "load": lambda: load(tmp_path / "encoder"),
        "export_onnx": lambda: wanted.export_onnx(tmp_path / "encoder.onnx"),
        "train": lambda: train(islands, out=tmp_path / "run", encoder=encoder().set_params(teacher=None)),
    }[what]
    torch.set_num_threads(3)
    held, end, ended, seen = threading.Event(), threading.Event(), threading.Event(), []

    def hold():
        with threads_kept():
            torch.set_num_threads(1)
            held.set()
            end.wait(20)
        ended.set()

    def later():
        ask()
        seen.append(torch.get_num_threads())

    monkeypatch.setattr(shared, "_counting", _Ending(end, ended))
    calls = [threading.Thread(target=hold), threading.Thread(target=later, name="later")]
    calls[0].start()
    assert held.wait(20)
    calls[1].start()
    for thread in calls:
        thread.join()
    assert seen == [3] and torch.get_num_threads() == 3


def test_the_first_of_two_to_end_gives_back_what_was_there_before():
    held, end, seen = threading.Barrier(3), [threading.Event(), threading.Event()], []
    torch.set_num_threads(3)

    def call(number):
        with threads_kept():
            torch.set_num_threads(1)
            held.wait(10)
            end[number].wait(10)
        seen.append(torch.get_num_threads())

    calls = [threading.Thread(target=call, args=(number,)) for number in range(2)]
    for thread in calls:
        thread.start()
    held.wait(10)
    for number in (0, 1):
        end[number].set()
        calls[number].join()
    assert seen == [3, 3]
    with threads_kept():
        torch.set_num_threads(2)
        with threads_kept():
            torch.set_num_threads(1)
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


def test_the_generator_is_lent_to_one_thread_at_a_time():
    torch.manual_seed(7)
    before, drawn = torch.get_rng_state(), {}

    def draw(seed):
        with borrowed_generator(seed):
            drawn[seed] = [torch.rand(1).item() for _ in range(200) if not time.sleep(0)]

    calls = [threading.Thread(target=draw, args=(seed,)) for seed in range(3)]
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    for seed, numbers in drawn.items():
        alone = torch.Generator().manual_seed(seed)
        assert numbers == [torch.rand(1, generator=alone).item() for _ in range(200)]
