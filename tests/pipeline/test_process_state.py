"""Every public call leaves the process as it found it, and answers the same from every thread, alone or with others; a
thread, an array or an open file that is refused once in its midst is missed once.

`python tests/public_calls.py` and `python tests/refusals.py` do for all calls what is done for some here.
"""

from __future__ import annotations

import gc
import importlib.util
import warnings

import numpy as np
import public_calls
import pytest
import refusals
from public_calls import ALONE, CALLS, NEURAL, QUICK, SHORT, at_once, changed, digest, rows, state

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc._blas import libraries
from tsne_ooc.rounds import Seated, refit

neural = importlib.util.find_spec("torch") is not None
pytestmark = [
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:X has feature names:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def loaded():
    public_calls.load_everything(neural)
    # Each look for what a call has left collects garbage, and would go through all that is loaded here.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def several():
    """BLAS has three threads, also where there is one core; torch one, for its own round otherwise."""
    before = [(library, library.get()) for library in libraries()]
    for library, _ in before:
        library.set(3)
    if neural:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
    yield
    if neural:
        torch.set_num_threads(threads)
    for library, n in before:
        library.set(n)


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """What a call answers where nothing is in its way."""
    kept = {}

    def of(name):
        if name not in kept:
            kept[name] = digest(CALLS[name](tmp_path_factory.mktemp("alone")))
        return kept[name]

    return of


# Those that use what others do not.
SOME = (
    "fit, spectral", "fit, sparse", "fit, mahalanobis", "fit, prepared", "transform", "embed", "refit", "encoder_fit",
    "encoder_with_dropout", "encoder_answers", "train", "command_line",
)  # fmt: skip


@pytest.mark.parametrize("name", SOME)
def test_a_call_changes_nothing_of_the_process(name, tmp_path):
    if name in NEURAL and not neural:
        pytest.skip("encoders need the extra 'neural'")
    folders = [tmp_path / str(number) for number in range(1 if name in ALONE else 4)]
    for folder in folders:
        folder.mkdir()
    before = state()
    alone = digest(CALLS[name](folders[0]))
    assert not changed(before, state())
    for library in libraries():
        library.set(2)
    before = state()
    assert at_once(CALLS[name], folders[1:]) == [alone] * len(folders[1:])
    assert not changed(before, state())


REFUSED = (
    ("transform", "thread", 1),
    ("batches", "thread", 1),
    ("fit, inverted file", "memory", 9),
    ("embed", "memory", 25),
    ("embed", "descriptor", 3),
    ("transform_to", "descriptor", 1),
    ("save_and_load", "descriptor", 2),
    ("encoder_saved", "descriptor", 4),
)


@pytest.mark.parametrize("name, kind, at", REFUSED)
def test_what_is_refused_once(name, kind, at, tmp_path, answer):
    if name in NEURAL and not neural:
        pytest.skip("encoders need the extra 'neural'")
    assert not refusals.case(name, kind, at, tmp_path, answer(name))
    for manifest in (tmp_path / "first").rglob("manifest.json"):
        # What has a manifest is whole.
        assert list(manifest.parent.glob("*.npy"))


def test_filters_of_warnings_are_not_touched_for_a_moment_either(tmp_path):
    """They are the whole process's: two calls that overlap would put back what the other had set."""
    before, seen = list(warnings.filters), []

    def look(*event):
        seen.append(list(warnings.filters) == before)

    watched = TSNE(**QUICK, callbacks=look, callbacks_every_iters=5).fit(rows())
    start = Seated(np.arange(300), rows(), watched.embedding_)
    refit(watched, start)
    tsne_ooc.embed(rows(), out=tmp_path / "map", tsne=TSNE(**QUICK, callbacks=look))
    if neural:
        from tsne_ooc.parametric import ParametricTSNE

        ParametricTSNE(TSNE(**QUICK, callbacks=look), **{**SHORT, "callbacks": look}).fit(rows())
    assert len(seen) > 10 and all(seen)
