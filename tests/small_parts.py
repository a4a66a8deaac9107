"""A training in small, which tests of its parts share."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc._parallel import Threads  # noqa: E402
from tsne_ooc.parametric.network import Encoder  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, Stage  # noqa: E402
from tsne_ooc.parametric.problem import Problem  # noqa: E402
from tsne_ooc.parametric.training import Options  # noqa: E402

N = 50
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
TARGETS = (X[:, :2] * 4 + 1).astype(np.float32)


def problem(**more):
    usual = {
        "n": N, "width": 10.0, "dof": 1.0, "exaggeration": 1.0, "targets": TARGETS, "graph": None, "seed": 0,
        "threads": Threads(1), "device": torch.device("cpu"),
    }  # fmt: skip
    return Problem(**(usual | more))


def fresh(body=None):
    torch.manual_seed(0)
    body = torch.nn.Linear(3, 2) if body is None else body
    return Encoder(body, np.zeros(3), np.ones(3), np.zeros(2), 10.0)


def options(**more):
    usual = {
        "stages": [Stage(Distillation(math.inf))], "steps": 10, "learning_rate": 0.05, "look_every": 2,
        "patience": None, "callbacks": [], "callbacks_every": 1, "verbose": False,
    }  # fmt: skip
    return Options(**(usual | more))
