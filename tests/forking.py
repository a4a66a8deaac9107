"""Programs in processes of their own that begin with libraries loaded: forked from one that has loaded them once.

A new interpreter takes a second or two to load Numba, again and again. A fork has it at once, and is as far from other
processes in all that matters to programs about files: its memory, environment, folder and end are its own. Not for
programs about imports, nor for what has to be started by its command.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import selectors
import subprocess
import sys
import tempfile
import traceback

# Programs take a second or so; one that hangs says where, and ends.
SECONDS = 200


class Forking:
    """A process that runs `first`, which loads what all programs need, and then forks one for each program.

    Threads do not come along, so `first` must begin none, but such as come back by themselves.
    """

    def __init__(self, first: str) -> None:
        words = [sys.executable, __file__, first]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """What a program came to that has this environment, as `subprocess.run` says it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([program, environment]), file=self._process.stdin, flush=True)
        return subprocess.CompletedProcess(program, *json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


def _child(program: str, environment: dict[str, str], out: int, err: int) -> None:
    """Be the process of a program, to its end."""
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        # Else whoever waits for it would wait for ever, and not know what for.
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=2)
        sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "w")), io.TextIOWrapper(io.FileIO(2, "w"))
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
        # What was read from the environment as the interpreter and Numba began.
        sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
        tempfile.tempdir = None
        if "numba" in sys.modules:
            sys.modules["numba"].config.reload_config()
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    for line in sys.stdin:
        # Pipes and not files, for a program may forbid itself to write any.
        (hears_out, out), (hears_err, err) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            _child(*json.loads(line), out, err)
        os.close(out)
        os.close(err)
        said = {hears_out: b"", hears_err: b""}
        with selectors.DefaultSelector() as ears:
            for ear in said:
                ears.register(ear, selectors.EVENT_READ)
            while ears.get_map():
                for key, _ in ears.select():
                    some = os.read(key.fd, 1 << 16)
                    said[key.fd] += some
                    if not some:
                        ears.unregister(key.fd)
                        os.close(key.fd)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, *(heard.decode() for heard in said.values())]), flush=True)


if __name__ == "__main__":
    exec(sys.argv[1])
    _serve()
