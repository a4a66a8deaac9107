"""Commands whose output nobody reads to its end, as before `| head -1`."""

import os
import select
import socket
import subprocess
import sys

import numpy as np
import pytest

from tsne_ooc.cli import command

pytestmark = pytest.mark.skipif(not hasattr(select, "poll"), reason="pipes cannot be looked at")


@pytest.fixture
def unread():
    """The end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def table(tmp_path):
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    return tmp_path / "table.npy"


OUTPUT, BOTH = ["stdout"], ["stdout", "stderr"]


@pytest.mark.parametrize(
    "line, ends, unbuffered, code",
    [
        ("--help", OUTPUT, "", 0),
        ("nonsense", BOTH, "", 2),
        # Enough was read; or nobody reads what is done either, and the work is done by then or it is not.
        ("look {table}", OUTPUT, "1", 0),
        ("look {table}", BOTH, "", 0),
        ("look {table}", BOTH, "1", 141),
        ("look {table}.not", OUTPUT, "", 2),
        ("look {table}.not", BOTH, "", 2),
    ],
    ids=["help", "wrong word", "enough", "done", "stopped", "error", "unread error"],
)
def test_nothing_is_said_of_what_nobody_reads(line, ends, unbuffered, code, unread, table):
    words = [word.format(table=table) for word in line.split()]
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | dict.fromkeys(ends, unread)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([sys.executable, "-m", "tsne_ooc", *words], env=environment, timeout=300, **files)
    assert done.returncode == code
    # Only what the line itself did wrong, where that is read.
    said = done.stderr or b""
    assert said.count(b"\n") == (code == 2 and ends == OUTPUT) and b"Broken" not in said and b"Trace" not in said


def test_a_run_whose_progress_nobody_reads_is_not_taken_for_done(unread, table, tmp_path, monkeypatch, capsys):
    words = ["embed", str(table), "--out", str(tmp_path / "map"), "--perplexity", "5", "--sample", "30"]
    with open(os.dup(unread), "w", buffering=1) as end:
        monkeypatch.setattr(sys, "stderr", end)
        assert command.run(words) == 141
        # Nothing is left that could not be written.
        end.flush()
    assert not capsys.readouterr().out and not (tmp_path / "map" / "manifest.json").exists()


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), BrokenPipeError()])
def test_a_connection_that_breaks_is_an_error_like_others(error, capfd, monkeypatch, table):
    """The line between a scheduler and its workers, say: it is no reader of what is printed."""

    def look(options):
        raise error

    monkeypatch.setattr(command.look, "run", look)
    before = os.fstat(1)
    assert command.run(["look", str(table)]) == 2
    said = capfd.readouterr().err.strip()
    assert said.startswith("tsne-ooc: error: ") and said.endswith(("Broken pipe", "BrokenPipeError"))
    assert os.fstat(1) == before


@pytest.mark.parametrize("error, code", [(KeyboardInterrupt, 130), (ValueError, 2), (None, 0)])
def test_what_is_left_to_be_written_changes_no_exit_code(error, code, unread, table, monkeypatch, capfd):
    """Ctrl-C ends both sides of a pipe, and the program has printed something by then."""

    def look(options):
        print("found")
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(command.look, "run", look)
    with open(os.dup(unread), "w") as end:
        monkeypatch.setattr(sys, "stdout", end)
        assert command.run(["look", str(table)]) == code
        # As Python does at its end.
        end.flush()
    assert capfd.readouterr().err.count("\n") == (code != 0)


def test_which_ends_are_read():
    class File:
        def __init__(self, number):
            self.number = number

        def fileno(self):
            return self.number

    class NoFile:
        def fileno(self):
            raise ValueError("I/O operation on closed file")

    assert not command._unread(None) and not command._unread(NoFile()) and not command._unread(sys.stdout)
    here, there = socket.socketpair()
    with here, there:
        assert not command._unread(File(here.fileno()))
    reading, writing = os.pipe()
    try:
        assert not command._unread(File(writing))
        os.close(reading)
        assert command._unread(File(writing))
        # From here on it can be written to, and no more descriptors are open than before.
        assert os.write(writing, b"x") == 1 and os.fstat(writing).st_rdev == os.stat(os.devnull).st_rdev
        assert not command._unread(File(writing))
        again = os.open(os.devnull, os.O_RDONLY)
        os.close(again)
        assert again == reading
    finally:
        os.close(writing)
