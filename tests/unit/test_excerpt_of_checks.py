"""Why a check failed, in the few lines that are seen of it elsewhere: `.ci/excerpt.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "excerpt.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the checks are not part of what is installed")

HANGS = """
import faulthandler, threading
def waits(lock): lock.acquire()
def asks(lock): waits(lock)
lock = threading.Lock()
lock.acquire()
threading.Thread(target=asks, args=(lock,), daemon=True).start()
faulthandler.dump_traceback_later(0.2, exit=True)
asks(lock)
"""


def excerpt(text, folder):
    log = folder / "log"
    log.write_text(text)
    done = subprocess.run([sys.executable, SCRIPT, log], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.splitlines()


def test_threads_of_what_hung_are_told_in_a_line_each(tmp_path):
    """By what Python really writes, amid other lines."""
    program = tmp_path / "hangs.py"
    program.write_text(HANGS)
    said = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False).stderr
    noise = "".join(f".....  {n}\n" for n in range(500))
    found = excerpt(noise + said + noise + "FAILED a.py::b - worker 'gw1' crashed\n" + noise, tmp_path)
    assert found[-1] == "FAILED a.py::b - worker 'gw1' crashed" and len(found) == 3
    for line, outer in zip(found[:2], ("threading.py", f"{tmp_path.name}/hangs.py:9 <module>"), strict=True):
        place = f"{tmp_path.name}/hangs.py"
        assert line.startswith(f"hung: {place}:3 waits < {place}:4 asks < ") and outer in line


def test_what_runs_the_tests_is_left_out_of_stacks(tmp_path):
    frames = [f'  File "/x/{name}", line 3 in f' for name in ("tests/test_a.py", "_pytest/python.py", "pluggy/a.py")]
    head = "Thread 0x1 (most recent call first):"
    text = "\n".join(["Timeout (0:15:00)!", head, *frames, "", head, frames[1], "", "Somebody else", frames[0], head])
    assert excerpt(text, tmp_path) == ["hung: tests/test_a.py:3 f"]


def test_summaries_are_told_with_the_last_one_and_no_line_is_long(tmp_path):
    text = "\n".join(
        [*(f"FAILED a.py::test[{n}] - {'x' * 500}" for n in range(50)), "== 50 failed, 3 passed in 9.1s =="]
    )
    found = excerpt(text, tmp_path)
    assert [line[:19] for line in found[:-1]] == [f"FAILED a.py::test[{n}" for n in range(6)] and "50 failed" in found[
        -1
    ]
    assert max(map(len, found)) == 220 and sum(map(len, found)) < 2000


@pytest.mark.parametrize("line", ["ERROR: no such version", "a.py:3: error: Name is not defined", "ERROR a.py - x"])
def test_errors_of_other_tools_are_told(line, tmp_path):
    assert excerpt(f"begun\n{line}\nended\n", tmp_path) == [line]


def test_of_all_else_the_last_lines_are_told(tmp_path):
    assert excerpt("\n".join(map(str, range(100))), tmp_path) == [*map(str, range(94, 100))]
    assert excerpt("", tmp_path) == [""]
