"""Shared fixtures: where real data lies, small data sets, one place for what tests have in common."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays on one process; tests of pynndescent share one, for it is compiled anew in each: a minute or two."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "pynndescent" if "pynndescent" in nodeid.lower() else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter):
    """Say at the end, where it is read, that a whole half was left out."""
    reasons = [str(report.longrepr[-1]) for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    left_out = sum("extra 'neural'" in reason or "'torch'" in reason for reason in reasons)
    if left_out:
        terminalreporter.write_line(
            f"{left_out} tests or files of tests of encoders were left out, since PyTorch is not here; to run them, "
            'pip install -e ".[test,annoy,neural,onnx]"',
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
