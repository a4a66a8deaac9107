"""What hangs is told and ended: which test it is, where threads stand, and which processes it waits for.

A test that waits for a process for ever is given a chance to fail by itself: after a while the processes that it began
are told and ended. Where nothing comes of that, the process of the tests says where it stands, and ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
from functools import partial

import pytest

# The first test of pynndescent compiles it: two minutes, but five beside other work on an old processor. All others
# take less than two.
CHILDREN, ALL_CHILDREN = 480.0, 580.0
# For the summary, once all is ended that was waited for.
END = 60.0


def descendants(since: float | None = None) -> list[tuple[int, str]]:
    """Processes that this one began, directly or not, with what is known of each; the oldest first.

    Parameters
    ----------
    since : float, optional
        Only those that began after this, in seconds of `time.time`.
    """
    try:
        import psutil
    except ImportError:
        return []
    found = []
    for child in sorted(psutil.Process().children(recursive=True), key=lambda child: child.create_time()):
        with contextlib.suppress(psutil.Error):
            # The clock of the system starts ticks before the one that is asked.
            if since is None or child.create_time() >= since - 1:
                waits = "?"
                with contextlib.suppress(OSError), open(f"/proc/{child.pid}/wchan") as file:
                    waits = file.read()
                words = " ".join(" ".join(child.cmdline()).split())[-100:]
                state = f"{child.status()} in {waits}, {child.num_threads()} threads, of {child.ppid()}"
                found.append((child.pid, f"{state}: {words}"))
    return found


def end(children: list[tuple[int, str]], told: int, pause: float = 2.0) -> None:
    """Tell of each what it is, let it say where it stands where it can, and end it: the youngest first, which others
    wait for.
    """
    for pid, words in reversed(children):
        say(told, f"hung: process {pid}, {words}")
        for number in (getattr(signal, "SIGUSR1", signal.SIGTERM), getattr(signal, "SIGKILL", signal.SIGTERM)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                time.sleep(pause)


class Watch:
    """A thread that looks after one process of the tests.

    Parameters
    ----------
    told : int
        The file that it writes to, as a number: what a test captures is gone with its process.
    """

    def __init__(self, told: int) -> None:
        self.told = told
        self._over = threading.Event()
        self.begins(None)
        threading.Thread(target=self._look, name="silence", daemon=True).start()

    def begins(self, test: str | None) -> None:
        """A test begins; None between two of them."""
        self.test, self.began, self.clock, self.steps = test, time.time(), time.monotonic(), 0

    def close(self) -> None:
        self._over.set()

    def look(self, seconds: float) -> None:
        """Do what is due where a test has taken so many seconds."""
        test, began = self.test, self.began
        if test is None:
            return
        for step, (after, since) in enumerate(((CHILDREN, began), (ALL_CHILDREN, None))):
            if seconds > after and self.steps == step and test == self.test:
                self.steps += 1
                say(self.told, f"hung: {test}, {seconds:.0f} s")
                faulthandler.dump_traceback(file=self.told)
                end(descendants(since), self.told)

    def _look(self) -> None:
        while not self._over.wait(5):
            self.look(time.monotonic() - self.clock)


class Listener:
    """What the process that listens to the others knows of them: the tests that have begun and have not ended."""

    def __init__(self, told: int, seconds: float) -> None:
        self.told, self.seconds = told, seconds
        self.running: dict[str, float] = {}
        self.last = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._look, name="silence", daemon=True).start()

    def begins(self, test: str) -> None:
        self.running[test] = self.last = time.monotonic()

    def ends(self, test: str) -> None:
        self.running.pop(test, None)
        self.last = time.monotonic()

    def fails(self, test: str, why: str) -> None:
        """A test failed, or its process ended within it."""
        if " crashed " in why:
            self.running.pop(test, None)
        last = next((line for line in reversed(why.splitlines()) if line.strip()), "")
        say(self.told, f"FAILED {test} - {last.strip()}")

    def close(self) -> None:
        self._over.set()

    def said(self) -> list[str]:
        """What is told where nothing is heard."""
        now = time.monotonic()
        tests = [f"hung: {test}, begun {now - at:.0f} s ago" for test, at in self.running.items()]
        return [f"hung: nothing was heard for {now - self.last:.0f} s", *tests]

    def _look(self) -> None:
        while not self._over.wait(5):
            if time.monotonic() - self.last > self.seconds:
                say(self.told, *self.said())
                faulthandler.dump_traceback(file=self.told)
                end(descendants(), self.told, pause=0.2)
                # Without them it may come to an end, with its summary.
                if not self._over.wait(END):
                    os._exit(1)


def say(told: int, *lines: str) -> None:
    """Write lines to a file that is known by its number, each as a whole."""
    os.write(told, "".join(f"\n{line}" for line in (*lines, "")).encode(errors="replace"))


def forks_hold_no_pipes(config: pytest.Config) -> None:
    """In children that a test forks, the pipe by which the end of their parent is heard is none: one that hangs would
    keep it open, and who listens would wait for ever.
    """
    for plugin in config.pluginmanager.get_plugins():
        pipes = getattr(getattr(getattr(plugin, "channel", None), "gateway", None), "_io", None)
        if pipes is not None:
            numbers = [file.fileno() for file in (pipes.infile, pipes.outfile)]
            os.register_at_fork(after_in_child=partial(_nowhere, numbers))


def _nowhere(numbers: list[int]) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nowhere, number, inheritable=False)
    os.close(nowhere)
