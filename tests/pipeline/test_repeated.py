"""What is documented to go on goes on: each call, killed and repeated unchanged in another process, ends with the bytes
of one that nothing killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import repeated

pytestmark = pytest.mark.slow
pytest.importorskip("torch")
pytest.importorskip("zarr")
pytest.importorskip("pyarrow")


def run(mode, folder, pad):
    found = subprocess.run(
        [sys.executable, repeated.__file__, mode, str(folder), str(pad)], stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": str(pad), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    return {told["name"]: told for told in map(json.loads, found.stdout.splitlines())}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    """What was said by calls that were killed, by the same calls again, and by calls that nothing killed."""
    killed, whole = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("whole")
    return run("kill", killed, 11), run("again", killed, 50_021), run("again", whole, 5)


@pytest.mark.parametrize("name", repeated.CALLS)
def test_a_call_that_was_killed_goes_on_when_it_is_repeated(attempts, name):
    killed, again, whole = (attempt[name] for attempt in attempts)
    assert killed["status"] == -9
    assert again["error"] is None and whole["error"] is None
    # The ledger of any run is read at its end.
    assert again["went_on"] > whole["went_on"]
    if name.startswith("fit"):
        # Compared with one of the same seed, where it was drawn.
        return
    contents = [{Path(file).name: Path(file).read_bytes() for file in told["files"]} for told in (again, whole)]
    assert contents[0] and contents[0] == contents[1]
