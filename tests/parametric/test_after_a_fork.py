"""Encoders in the child of a fork: they place, and are trained with one thread of torch or refused; nobody hangs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="encoders need the extra 'neural'")

SCRIPT = """
import os, signal
import numpy as np
import torch
from tsne_ooc import TSNE
from tsne_ooc.parametric import ParametricTSNE

torch.set_num_threads(2)
X = np.random.default_rng(0).normal(size=(2000, 50)).astype("f4")

def fit():
    few = dict(perplexity=5, early_exaggeration_iter=5, n_iter=5, random_state=0, n_jobs=1)
    return ParametricTSNE(teacher=TSNE(**few), n_iter=5, random_state=0, n_jobs=1).fit(X[:500])

def child(work):
    pid = os.fork()
    if not pid:
        # Much longer than it takes.
        signal.alarm(60)
        code = 9
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def refused():
    try:
        fit()
    except RuntimeError as error:
        return "PyTorch worked with several threads before this process was forked" in str(error)

def alone():
    torch.set_num_threads(1)
    return np.allclose(fit().transform(X), wanted, atol=1e-3)

model = fit()
wanted = model.transform(X)
print(child(lambda: np.array_equal(model.transform(X), wanted)), child(refused), child(alone))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_children_place_and_are_refused_or_train_with_one_thread():
    """A second training in the child waited for the threads of the parent for ever."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=250)
    assert done.stdout.split() == ["0", "0", "0"], done.stdout + done.stderr


LOST = (
    "PyTorch worked with several threads before this process was forked, and would wait for them for ever; "
    "begin the process anew (spawn), or call torch.set_num_threads(1) in it first"
)


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_what_a_child_knows_of_the_threads_of_its_parent(monkeypatch, threaded, lost):
    """What happens in a child right after the fork, here by hand."""
    from tsne_ooc.parametric import shared

    monkeypatch.setattr(shared, "_threaded", threaded)
    monkeypatch.setattr(shared, "_lost", lost)
    for name in ("_drawing", "_counting", "_holders"):
        monkeypatch.setattr(shared, name, getattr(shared, name))
    # Another thread of the parent is at work at that moment, and this one is not.
    monkeypatch.setattr(shared, "_holders", 3)
    with shared._counting:
        shared._forget()
        assert shared._holders == 0 and shared._counting.acquire(timeout=1)
        shared._counting.release()
    monkeypatch.setattr(shared.torch, "get_num_threads", lambda: 2)
    if threaded or lost:
        with pytest.raises(RuntimeError) as caught:
            shared.begin_threads()
        assert str(caught.value) == LOST
    else:
        shared.begin_threads()
        assert shared._threaded
    # A single thread waits for nobody.
    monkeypatch.setattr(shared.torch, "get_num_threads", lambda: 1)
    shared.begin_threads()
