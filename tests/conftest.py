"""Shared fixtures: where real data lies, small data sets, one place for what tests have in common."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

sys.path.insert(0, str(Path(__file__).parent))

import silence
from children import told_where_they_stand

told_where_they_stand()

# Contracts are tests too: what they compare is shown.
pytest.register_assert_rewrite("tsne_ooc.testing")

# What a script runs in its background begins with Ctrl-C ignored, and tests that send it would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before Numba is loaded: all processes share one cache, for each would else compile all kernels, a minute and a half.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".numba_cache"))

# Without bytecode, each of the many processes that tests begin compiles the whole package: a third of a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def entries_of_the_shared_cache_are_numbered_one_at_a_time():
    """Where two processes save at once, Numba gives one number to two entries. Those of our kernels are known by more
    than their number; those of other libraries are not.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    from numba.core.caching import IndexDataCacheFile

    save = IndexDataCacheFile.save

    def alone(self, key, data):
        with open(f"{self._index_path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(self, key, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IndexDataCacheFile, "save", alone)
        yield


def pytest_collection_finish():
    """What is there when the tests begin stays to the end: millions of objects, which each full collection of garbage
    looked through, a third of a second every time and 100 s in all.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nobody_waits_for_the_disk():
    """Whoever reads a file is given what was written, on the disk or not, and no test cuts the power: 151 tests of runs
    waited 6,400 times, 37 s on a busy disk, and had work for 13 s. Tests of syncs put functions of their own in this
    place.
    """

    def sync(file):
        # What is not open is refused, as ever.
        os.fstat(file if isinstance(file, int) else file.fileno())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from scheduling import Scheduling

    return Scheduling(config, log)


# Longer than any test may take: each process of tests ends what hangs before the one that listens ends all.
SILENCE = 1100
LOOKS_AFTER = pytest.StashKey[silence.Watch | silence.Listener]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    told = config.stash[fault_handler_stderr_fd_key]
    if "PYTEST_XDIST_WORKER" in os.environ:
        config.stash[LOOKS_AFTER] = silence.Watch(told)
        silence.forks_hold_no_pipes(config)
    elif config.getoption("dist", "no") != "no":
        config.stash[LOOKS_AFTER] = listener = silence.Listener(told, SILENCE)
        config.pluginmanager.register(Heard(listener), "heard")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    """Where one of these is set, pytest looks for all lines in which two things differ, for hours where they are long.
    Hypothesis reads them before, and draws the same examples each time.
    """
    import hypothesis  # noqa: F401

    if session.config.getoption("dist", "no") == "no":
        for name in ("CI", "BUILD_NUMBER"):
            os.environ.pop(name, None)


def pytest_unconfigure(config):
    if LOOKS_AFTER in config.stash:
        config.stash[LOOKS_AFTER].close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """What hangs between tests hangs in none of them: each process ends then, too, before the one that listens."""
    watch = item.config.stash.get(LOOKS_AFTER, None)
    if watch is None:
        return (yield)
    watch.begins(item.nodeid)
    result = yield
    watch.begins(None)
    faulthandler.dump_traceback_later(SILENCE - 200, exit=True, file=watch.told)
    return result


class Heard:
    """What the process that listens hears of tests."""

    def __init__(self, listener):
        self.listener = listener

    def pytest_runtest_logstart(self, nodeid):
        self.listener.begins(nodeid)

    def pytest_runtest_logfinish(self, nodeid):
        self.listener.ends(nodeid)

    def pytest_runtest_logreport(self, report):
        # Where the whole ends before its summary, it was said once.
        if report.failed:
            self.listener.fails(report.nodeid, str(report.longrepr))


def pytest_terminal_summary(terminalreporter):
    """Say at the end, where it is read, that a whole half was left out."""
    reasons = [str(report.longrepr[-1]) for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    left_out = sum("extra 'neural'" in reason or "'torch'" in reason for reason in reasons)
    if left_out:
        terminalreporter.write_line(
            f"{left_out} tests or files of tests of encoders were left out, since PyTorch is not here; to run them, "
            'pip install -e ".[test,annoy,neural,onnx]" onnxruntime',
            yellow=True,
        )


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets; tests that need one skip where it is missing."""
    folder = Path(os.environ.get("TSNE_OOC_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}; set TSNE_OOC_DATA to a folder with mnist.npz and the others")
    return folder


@pytest.fixture(scope="session")
def digits():
    """1,797 handwritten digits of 64 pixels, and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.ascontiguousarray(found.data, np.float32), found.target
