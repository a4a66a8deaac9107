"""Children that a test forks: waited for, and where one hangs, it says where it stands and is ended."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable

# What children take is a second or so. A test that waits for one that hangs would wait for ever, and all tests with it.
SECONDS = 120


def told_where_they_stand() -> None:
    """Let this process, and children that it forks, say where all threads stand when they are asked."""
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)


def end(children: Iterable[int]) -> None:
    """End children that hang, by their numbers; what they say before goes where errors go."""
    for child in children:
        # What has ended meanwhile needs no end.
        try:
            os.kill(child, signal.SIGUSR1)
            time.sleep(0.5)
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


def status_of(child: int, seconds: float = SECONDS) -> int:
    """The exit code of a child, or the number of the signal that ended it as a negative one.

    Raises
    ------
    TimeoutError
        Where it hangs.
    """
    late, pause = time.monotonic() + seconds, 0.001
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > late:
            end([child])
            os.waitpid(child, 0)
            raise TimeoutError(f"a child did not end within {seconds} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def forked(task: Callable[[], object]) -> int:
    """The number of a child that does a task and ends, with 0, or 1 and a traceback: it never goes on with tests."""
    child = os.fork()
    if not child:
        code = 1
        try:
            task()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child
