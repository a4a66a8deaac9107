"""Children of tests: whatever becomes of them, a test comes to its end and is told."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from children import forked, status_of
from forking import Forking

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


def raises():
    raise LookupError("of the child")


def test_an_end_is_told(capfd):
    assert status_of(forked(lambda: None)) == 0 and capfd.readouterr().err == ""
    assert status_of(forked(raises)) == 1 and "LookupError: of the child" in capfd.readouterr().err
    assert status_of(forked(lambda: os.kill(os.getpid(), signal.SIGTERM))) == -signal.SIGTERM


def test_a_child_that_hangs_says_where_and_is_ended(capfd):
    def hangs_here():
        threading.Event().wait()

    child = forked(hangs_here)
    with pytest.raises(TimeoutError, match="did not end"):
        status_of(child, 0.2)
    assert "in hangs_here" in capfd.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_program_of_a_fork_that_hangs_says_where_and_is_ended():
    programs = Forking("SECONDS = 0.3")
    try:
        done = programs.run("import time\ndef hangs_here(): time.sleep(99)\nhangs_here()", dict(os.environ))
        assert done.returncode == 1 and not done.stdout and "in hangs_here" in done.stderr
        assert programs.run("print(1)", dict(os.environ)).stdout == "1\n"
    finally:
        programs.close()
