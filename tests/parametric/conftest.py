"""Small problems for encoders, and one thread of torch: its own would change the last bits."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread_from_the_start():
    """What a fixture of a whole file fits is fitted before `one_thread` of the first test is asked for."""
    torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def one_thread(one_thread_from_the_start):
    torch = one_thread_from_the_start
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def islands():
    """Four groups of 50 rows in five columns."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(4, 1, 5)) * 6 + rng.normal(size=(4, 50, 5))).reshape(200, 5).astype(np.float32)
