"""Small problems for encoders, and one thread of torch: its own would change the last bits."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def one_thread():
    torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def islands():
    """Four groups of 50 rows in five columns."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(4, 1, 5)) * 6 + rng.normal(size=(4, 50, 5))).reshape(200, 5).astype(np.float32)
