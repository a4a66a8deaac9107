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


def test_of_what_hung_the_first_thread_is_told_first(tmp_path):
    """By what Python really writes, amid other lines: it writes that thread last."""
    program = tmp_path / "hangs.py"
    program.write_text(HANGS)
    said = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False).stderr
    noise = "".join(f".....  {n}\n" for n in range(500))
    found = excerpt(noise + said + noise + "FAILED a.py::b - worker 'gw1' crashed\n" + noise, tmp_path)
    assert found[-1] == "FAILED a.py::b - worker 'gw1' crashed" and len(found) == 3
    for line, outer in zip(found[:2], (f"{tmp_path.name}/hangs.py:9 <module>", "threading.py"), strict=True):
        place = f"{tmp_path.name}/hangs.py"
        assert line.startswith(f"hung: {place}:3 waits < {place}:4 asks < ") and outer in line


def frames(*places):
    return [f'  File "/x/{name}", line {line} in {function}' for name, line, function in places]


HEAD = "Thread 0x1 (most recent call first):"


def test_the_test_comes_first_and_what_runs_it_is_left_out(tmp_path):
    near = frames(*(("a/b.py", n, f"f{n}") for n in range(20)))
    far = frames(("tests/test_a.py", 3, "test_one"), ("_pytest/python.py", 3, "f"), ("pluggy/a.py", 3, "f"))
    text = "\n".join(["Timeout (0:15:00)!", HEAD, *near, *far, "", HEAD, far[1], "", "Somebody else", near[0], HEAD])
    (line,) = excerpt(text, tmp_path)
    assert line == "hung: tests/test_a.py:3 test_one: " + " < ".join(f"a/b.py:{n} f{n}" for n in range(7))


@pytest.mark.parametrize("word", ["Timeout (0:15:00)!", "hung: a.py::b, 480 s", "Fatal Python error: Aborted"])
def test_of_each_process_the_first_thread(tmp_path, word):
    """Whatever began its stacks; the first processes, and no other thread where there are many."""
    processes = [
        line
        for n in range(6)
        for line in (word, "", HEAD, *frames(("a.py", n, "other")), "", HEAD, *frames(("b.py", n, "first")), "", "...")
    ]
    found = excerpt("\n".join(processes), tmp_path)
    said = [word] if word.startswith("hung") else []
    error = [word] if word.startswith("Fatal") else []
    assert found == [*said, *(f"hung: x/b.py:{n} first" for n in range(4)), *error]
    one = excerpt("\n".join(processes[:7]), tmp_path)
    assert one == [*said, "hung: x/b.py:0 first", "hung: x/a.py:0 other", *error]


def test_what_is_said_of_what_hung_stays_as_it_is(tmp_path):
    lines = ["hung: a.py::b, 480 s", "hung: process 7, sleeping in pipe_read, 1 threads, of 3: python x.py"]
    assert excerpt("\n".join(["..", lines[0], "..", lines[1], lines[1], "FAILED a"]), tmp_path) == [*lines, "FAILED a"]


def test_summaries_are_told_with_the_last_one_and_no_line_is_long(tmp_path):
    text = "\n".join(
        [*(f"FAILED a.py::test[{n}] - {'x' * 500}" for n in range(50)), "== 50 failed, 3 passed in 9.1s =="]
    )
    found = excerpt(text, tmp_path)
    assert [line[:19] for line in found[:-1]] == [f"FAILED a.py::test[{n}" for n in range(4)] and "50 failed" in found[
        -1
    ]
    assert max(map(len, found)) == 220 and sum(map(len, found)) < 2000


@pytest.mark.parametrize("line", ["ERROR: no such version", "a.py:3: error: Name is not defined", "ERROR a.py - x"])
def test_errors_of_other_tools_are_told(line, tmp_path):
    assert excerpt(f"begun\n{line}\nended\n", tmp_path) == [line]


def test_of_all_else_the_last_lines_are_told(tmp_path):
    assert excerpt("\n".join(map(str, range(100))), tmp_path) == [*map(str, range(96, 100))]
    assert excerpt("", tmp_path) == [""]
