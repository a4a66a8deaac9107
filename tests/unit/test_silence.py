"""What is done about tests that hang: `tests/silence.py`."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import silence

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
SLEEPS = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]


@pytest.fixture
def told(tmp_path):
    """A file by its number, and what it holds by now."""
    number = os.open(tmp_path / "told", os.O_RDWR | os.O_CREAT)
    yield SimpleNamespace(number=number, lines=lambda: (tmp_path / "told").read_text().splitlines())
    os.close(number)


@pytest.fixture
def watch(told):
    found = silence.Watch(told.number)
    yield found
    found.close()


@pytest.fixture
def sleeping():
    with subprocess.Popen(SLEEPS, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_processes_are_known_with_what_they_do_and_when_they_began(sleeping):
    (words,) = [words for pid, words in silence.descendants() if pid == sleeping.pid]
    assert words.endswith("print(1, flush=True); time.sleep(600)") and f" 1 threads, of {os.getpid()}: " in words
    pids = {pid for pid, _ in silence.descendants(time.time() - 60)}
    assert sleeping.pid in pids and sleeping.pid not in {pid for pid, _ in silence.descendants(time.time() + 60)}


def test_a_test_that_waits_is_told_once_and_its_processes_end(watch, told, sleeping, monkeypatch):
    """First those that it began, and later all."""
    ended = []
    monkeypatch.setattr(silence, "end", lambda children, told: ended.append([pid for pid, _ in children]))
    watch.begins("a.py::b")
    watch.began += 3600
    for seconds in (1, silence.CHILDREN, silence.CHILDREN + 1, silence.CHILDREN + 9, silence.ALL_CHILDREN):
        watch.look(seconds)
    assert told.lines().count(f"hung: a.py::b, {silence.CHILDREN + 1:.0f} s") == 1 and ended == [[]]
    assert any("in test_a_test_that_waits" in line for line in told.lines())
    watch.look(silence.ALL_CHILDREN + 1)
    watch.look(silence.ALL_CHILDREN + 9)
    assert len(ended) == 2 and sleeping.pid in ended[1]
    assert sum(line.startswith("hung: ") for line in told.lines()) == 2


@pytest.mark.parametrize("test", ["c.py::d", None])
def test_the_next_test_begins_anew_and_between_two_nothing_is_done(watch, told, test):
    watch.begins("a.py::b")
    watch.steps = 2
    watch.begins(test)
    watch.look(silence.CHILDREN + 1)
    assert [line[:6] for line in told.lines() if "hung" in line] == ["hung: "] * (test is not None)


def test_what_is_ended_is_told_and_the_youngest_goes_first(told, sleeping):
    with subprocess.Popen(SLEEPS, stdout=subprocess.PIPE) as younger:
        younger.stdout.readline()
        mine = [(pid, words) for pid, words in silence.descendants() if pid in (sleeping.pid, younger.pid)]
        assert [pid for pid, _ in mine] == [sleeping.pid, younger.pid]
        silence.end(mine, told.number, pause=0.05)
        assert younger.wait(30) < 0 and sleeping.wait(30) < 0
    lines = [line for line in told.lines() if line]
    assert [line.split(",")[0] for line in lines] == [
        f"hung: process {younger.pid}", f"hung: process {sleeping.pid}"
    ]  # fmt: skip


def test_who_listens_knows_what_runs_and_why_tests_failed(told):
    listener = silence.Listener(told.number, 3600)
    for test in ("a", "b", "c", "d"):
        listener.begins(test)
    listener.ends("a")
    listener.ends("nobody")
    listener.fails("b", "worker 'gw1' crashed while running 'b'")
    listener.fails("c", "x\nAssertionError: 3\n\n")
    listener.running["d"] -= 100
    listener.last -= 50
    listener.close()
    assert told.lines() == ["", "FAILED b - worker 'gw1' crashed while running 'b'", "", "FAILED c - AssertionError: 3"]
    assert listener.said() == [
        "hung: nothing was heard for 50 s", "hung: c, begun 0 s ago", "hung: d, begun 100 s ago"
    ]  # fmt: skip


SILENT = """
import subprocess, sys, time, silence
silence.time.monotonic = lambda real=time.monotonic: 20 * real()
silence.END = {end}
listener = silence.Listener(2, 60)
listener.begins("a.py::b")
with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
    print(child.pid, flush=True)
if {waits}:
    time.sleep(600)
listener.close()
"""


@pytest.mark.parametrize("waits, end, code", [(True, 0.1, 1), (False, 50, 0)])
def test_where_nothing_is_heard_all_ends_and_says_so(waits, end, code):
    """By a clock that goes twenty times as fast; who was kept waiting by another process comes to its own end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", SILENT.format(waits=waits, end=end)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == code and "hung: nothing was heard for " in done.stderr
    assert "hung: a.py::b, begun " in done.stderr and f"hung: process {int(done.stdout)}, " in done.stderr
    assert 'File "<string>", line 7 in <module>' in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_children_do_not_hold_the_pipes_of_their_parent(monkeypatch):
    """Who reads hears the end of the parent, though a child goes on."""
    registered = []
    monkeypatch.setattr(os, "register_at_fork", lambda after_in_child: registered.append(after_in_child))
    (ear, mouth), (other, _) = pipes = os.pipe(), os.pipe()
    io = SimpleNamespace(infile=os.fdopen(other, "rb"), outfile=os.fdopen(mouth, "wb"))
    plugin = SimpleNamespace(channel=SimpleNamespace(gateway=SimpleNamespace(_io=io)))
    silence.forks_hold_no_pipes(SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: [object(), plugin])))
    (in_child,) = registered
    child = os.fork()
    if not child:
        try:
            in_child()
            assert not os.get_inheritable(mouth) and os.fstat(mouth).st_rdev == os.stat(os.devnull).st_rdev
            time.sleep(600)
        finally:
            os._exit(1)
    io.outfile.close()
    heard = []
    listens = threading.Thread(target=lambda: heard.append(os.read(ear, 1)), daemon=True)
    listens.start()
    listens.join(30)
    os.kill(child, 9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9 and heard == [b""]
    io.infile.close()
    for number in (ear, pipes[1][1]):
        os.close(number)


ENDS = """
import os, time

def test_ends():
    if not os.fork():
        time.sleep(30)
        os._exit(0)
    os._exit(1)
"""


def run_apart(folder, test, options, **environment):
    """What pytest says of a file of tests under the common fixtures, and in how many seconds."""
    for name in ("conftest.py", "silence.py", "children.py", "scheduling.py"):
        shutil.copy(Path(silence.__file__).parent / name, folder)
    (folder / "test_apart.py").write_text(test)
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {options}\n")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with open(folder / "said", "w+") as said:
        began = time.monotonic()
        # Not through a pipe, which a child would hold as well.
        words = [sys.executable, "-m", "pytest"]
        subprocess.run(words, cwd=folder, env=inherited | environment, stdout=said, stderr=said, timeout=100)
        took = time.monotonic() - began
        said.seek(0)
        return said.read(), took


def test_the_end_of_a_process_of_tests_is_heard_though_a_child_lives_on(tmp_path):
    """Its child outlives it by half a minute, in which who listens would hear nothing."""
    said, took = run_apart(tmp_path, ENDS, "-n 1 --dist loadfile --max-worker-restart 0")
    assert "crashed while running 'test_apart.py::test_ends'" in said and took < 25


DIFFERS = """
from hypothesis import given, settings, strategies

@given(number=strategies.integers())
def test_examples_are_the_same_each_time(number):
    assert settings.default.derandomize

def test_differs():
    assert [f"{i:040}" for i in range(50_000)] == [f"{i:041}" for i in range(50_000)]
"""


@pytest.mark.parametrize("processes", ["-n 0", "-n 1 --dist loadfile"])
def test_not_all_differences_are_looked_for_on_any_machine(tmp_path, processes):
    """Of so many lines, pytest would find them in an hour."""
    said, _ = run_apart(tmp_path, DIFFERS, processes, CI="true", BUILD_NUMBER="7")
    assert "1 failed, 1 passed" in said
