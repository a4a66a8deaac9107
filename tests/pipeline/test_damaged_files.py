"""Whatever a file holds, a command ends within seconds: with a map, or with one line that names the file.

`damage.py` makes the cases; run it as a program for more of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "damage.py"


def test_damaged_files_end_in_one_line():
    first, last = 0, 48
    # A process of its own: forks of one that has threads may hang.
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), str(first), str(last)],
        capture_output=True, text=True, env={**os.environ, **one}, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    assert ended.stdout == f"{last - first} cases, 0 faults\n"
