"""Ctrl-C is answered at once, in one line, also where a read hangs and while the program is being loaded."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc.cli import main
from tsne_ooc.io import iterate
from tsne_ooc.io.ahead import hanging

HANGING = """
    import os, sys, time
    import numpy as np
    from tsne_ooc import cli
    from tsne_ooc.io import hdf5, memory

    # Not in the child that tries the file first.
    own = os.getpid()
    hanging = False

    def hang(real):
        def read(self, start, stop):
            global hanging
            if os.getpid() == own and (sys.argv[-1] == "sample" or (stop - start > 1 and start >= 100)):
                hanging = True
                print("hangs", flush=True)
                time.sleep(100)
            return real(self, start, stop)
        return read

    for kind in (hdf5.Hdf5Source, memory.NpySource):
        kind.read = hang(kind.read)
    # What closing does behind a read that hangs: it waits for the library's lock.
    hdf5.Hdf5Source.close = lambda self: time.sleep(100) if hanging else None
    sys.exit(cli.main(sys.argv[1:-1]))
"""


def _listen():
    # Shells have what they start in the background ignore Ctrl-C, and its children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("kind, phase", [("npy", "place"), ("h5", "place"), ("h5", "sample")])
def test_while_a_read_hangs(tmp_path, kind, phase):
    X = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    if kind == "npy":
        np.save(tmp_path / "x.npy", X)
    else:
        import h5py

        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("X", data=X, chunks=(50, 4))
    program = textwrap.dedent(HANGING)
    words = ["embed", str(tmp_path / f"x.{kind}"), "--out", str(tmp_path / "map"), "--block-rows", "50"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--sample", "60", "--perplexity", "5", phase],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_listen,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "hangs\n"
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 10
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (130, -signal.SIGINT)
    assert said.splitlines()[-1].startswith("tsne-ooc: interrupted") and "Traceback" not in said


def test_a_read_that_hangs_is_left_behind(monkeypatch):
    """In Python: the loop ends, and the thread when its read does."""
    let_go = threading.Event()

    class Slow:
        shape, dtype, chunks = (100, 2), np.dtype("f4"), None

        def read(self, start, stop):
            if start:
                let_go.wait(60)
            return np.zeros((stop - start, 2), np.float32)

        def reopen(self):
            return self

    monkeypatch.setattr("tsne_ooc.io.ahead.PATIENCE", 0.1)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in iterate(Slow(), rows=10):
            pass
    assert time.monotonic() - began < 10 and hanging()
    let_go.set()
    while hanging():
        assert time.monotonic() - began < 30
        time.sleep(0.01)


def test_a_reader_that_is_left_early_is_waited_for():
    """A read at work ends first: whoever leaves may close the file."""
    ended = []

    class Slow:
        shape, dtype, chunks = (100, 2), np.dtype("f4"), None

        def read(self, start, stop):
            time.sleep(0.1)
            ended.append(start)
            return np.zeros((stop - start, 2), np.float32)

        def reopen(self):
            return self

    blocks = iterate(Slow(), rows=10)
    next(blocks)
    before = threading.active_count()
    blocks.close()
    assert not hanging() and threading.active_count() == before - 1
    before = len(ended)
    time.sleep(0.15)
    assert before == len(ended) <= 2


WHILE_LOADING = """
    import builtins, sys
    from tsne_ooc.cli import main

    real = builtins.__import__
    def interrupted(name, *arguments, **more):
        if name.startswith(sys.argv[1]):
            raise KeyboardInterrupt
        return real(name, *arguments, **more)
    builtins.__import__ = interrupted
    sys.exit(main(["embed", "x.npy", "--out", "map"]))
"""


@pytest.mark.parametrize("module", ["argparse", "tsne_ooc.cli.progress", "tsne_ooc.pipeline", "sklearn", "numba"])
def test_while_the_program_is_loaded(tmp_path, module):
    np.save(tmp_path / "x.npy", np.zeros((50, 2)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WHILE_LOADING), module], capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stderr == "tsne-ooc: interrupted\n" and done.returncode == 130


def test_the_way_in_loads_nothing_before_it_listens():
    """Not even of Python's own: `typing` takes 10 ms, as long as all else that Python starts with."""
    home = str(Path(tsne_ooc.__file__).parents[1])
    program = (
        f"import sys; sys.path.append({home!r}); known = {{*sys.modules}}; import tsne_ooc.cli; "
        "print(*sorted({*sys.modules} - known))"
    )
    # Without the site's own start, in which other packages may be loaded.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["__future__", "tsne_ooc", "tsne_ooc.cli"], done.stderr


def test_while_arguments_are_read(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("tsne_ooc.cli.command.parser", interrupted)
    assert main(["embed", "x.npy", "--out", "map"]) == 130
    assert capsys.readouterr().err == "tsne-ooc: interrupted\n"
