"""Whether HDF5 can read a file without hanging; that is tried in a child process, which may be lost.

Where the heap that holds texts is damaged, such as by a stretch of zeros that a loss of power leaves, HDF5 2.0 may read
an attribute for ever, as in 4 of 25 such AnnData files. Meanwhile it keeps Python's lock, so that neither a thread nor
Ctrl-C could end it.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import selectors
import signal
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

# Limit in seconds of processor time, which waiting for a slow disk does not use. A file of 20,000 datasets takes 4
# where none of them is named.
_SECONDS = 20
# A child that waits for what no thread of its own will give, or for a disk that does not answer, uses no processor. It
# is left after so many seconds, and whoever opens the file next waits where Ctrl-C ends it.
_PATIENCE = 300.0


def check_readable(options: argparse.Namespace) -> None:
    """Raise OSError where HDF5 hangs or crashes when it opens the table, or the labels, of a command."""

    from tsne_ooc.io.files import files_of

    def work(path: Path) -> None:
        from tsne_ooc.io.hdf5 import open_hdf5
        from tsne_ooc.sampling import labels_of

        with open_hdf5(path, options.dataset):
            pass
        for name in (getattr(options, "labels", None), getattr(options, "color", None)):
            if name is not None:
                labels_of(path, name)

    for path in files_of(options.data):
        # What is behind a URL comes through Python, which Ctrl-C ends.
        if isinstance(path, Path):
            check_hdf5(str(path), partial(work, path))


def check_anndata(path: str) -> None:
    """Raise OSError where HDF5 hangs or crashes when it opens the parts of an AnnData file that a map goes into."""

    def work() -> None:
        import h5py

        with h5py.File(path, "r") as file:
            for name in ("/", "obs", "obsm"):
                dict(file[name].attrs)

    check_hdf5(path, work)


def check_hdf5(path: str, work: Callable[[], None]) -> None:
    """Do some work with a file in a child process, and raise OSError where it does not end by itself.

    All other faults of the file are left to the code that opens it next. Nothing is done for files that are not HDF5,
    on systems without `fork`, nor where this process has other threads, as where a program calls commands.
    """
    if not hasattr(os, "fork") or not _is_alone() or not _is_hdf5(Path(path)):
        return
    import h5py  # noqa: F401

    ended, held = os.pipe()
    with warnings.catch_warnings():
        # The warning says that a child of a process with threads may wait for ever; this one does not need any threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            child = os.fork()
        except OSError:
            os.close(ended)
            os.close(held)
            raise
    if child == 0:
        _live(work)
    # Only the child holds that end any longer, and lets go of it whatever becomes of it.
    os.close(held)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(ended, selectors.EVENT_READ)
            patient = bool(selector.select(_PATIENCE))
    finally:
        os.close(ended)
    if not patient:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if patient and os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        if name != "SIGXCPU":
            raise OSError(f"{path} is damaged: HDF5 crashes over it ({name}); copy it again, or write it anew")
        raise OSError(
            f"{path} is damaged: HDF5 does not come to an end with it; copy it again, or write it anew (where it has "
            "100,000 datasets or more, name one)"
        )


def _is_alone() -> bool:
    """Whether no other thread runs that a fork could wait for.

    OpenBLAS ends its own threads before a fork, and waits for ever for one that works for another thread of ours: that
    took a few seconds beside three threads that multiplied matrices.
    """
    return threading.active_count() == 1


def _is_hdf5(path: Path) -> bool:
    from tsne_ooc.io.kinds import format_of

    try:
        return format_of(path) == "hdf5"
    except OSError:
        return False


def _live(work: Callable[[], None]) -> NoReturn:
    """All that the child process does."""
    try:
        import resource

        # What the parent has left to collect may wait for threads of the parent when it goes.
        gc.disable()
        # The parent tells of a crash in one line.
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        until = int(time.process_time()) + _SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (until, until + 5))
        work()
    finally:
        os._exit(0)
