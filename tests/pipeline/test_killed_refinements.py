"""With little memory as with much: a run that is killed goes on to the same bytes. `tests/killed_refinements.py`."""

from __future__ import annotations

import os

import numpy as np
import pytest
from killed_refinements import BEGINS, rows, tried


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked, since Python takes seconds to begin")
@pytest.mark.parametrize("stretch", BEGINS)
def test_killed_it_goes_on_to_the_bytes_of_memory(stretch, tmp_path):
    np.save(tmp_path / "X.npy", rows())
    tried(stretch, [0.3, 0.8], tmp_path / "X.npy", tmp_path)
