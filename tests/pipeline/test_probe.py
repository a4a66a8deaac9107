"""Files with which HDF5 does not come to an end, or crashes, end a command in one line."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import os
import signal
import threading
import time

import h5py
import numpy as np
import pytest

from tsne_ooc.cli import main, probe
from tsne_ooc.pipeline import open_run


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """As in a process that has just begun. That of the tests has threads, and its commands try no files."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.fixture
def file(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["X"] = X
        file["X"].attrs["encoding-type"] = "array"
        for name in ("obs", "var", "obsm"):
            file.create_group(name).attrs["encoding-type"] = "dict"
    return tmp_path / "cells.h5ad"


def zero_texts(path):
    """Put zeros where HDF5 keeps texts of any length; with them it looks for the next one for ever."""
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL")
    data[at + 16 : at + 64] = bytes(48)
    path.write_bytes(data)


@pytest.mark.parametrize("command", ["embed", "look", "place", "export"])
def test_a_file_without_an_end(capsys, file, tmp_path, monkeypatch, command):
    monkeypatch.setattr(probe, "_SECONDS", 1)
    words = ["--out", str(tmp_path / "out"), "--perplexity", "5", "--quiet"]
    whole = tmp_path / "rows.npy"
    np.save(whole, np.random.default_rng(0).normal(size=(60, 4)))
    assert main(["embed", str(whole), *words[:1], str(tmp_path / "map"), *words[2:]]) == 0
    zero_texts(file)
    before = file.read_bytes()
    arguments = {
        "embed": [str(file), *words],
        "look": [str(file)],
        "place": [str(tmp_path / "map"), str(file), "--out", str(tmp_path / "out")],
        "export": [str(tmp_path / "map"), "--to", str(file)],
    }
    assert main([command, *arguments[command]]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"tsne-ooc: error: {file} is damaged: HDF5 does not come to an end with it; copy")
    assert not (tmp_path / "out").exists() and file.read_bytes() == before


def test_a_crash_is_told(file):
    with pytest.raises(OSError, match=r"cells\.h5ad is damaged: HDF5 crashes over it \(SIGSEGV\); copy it again"):
        probe.check_hdf5(str(file), lambda: os.kill(os.getpid(), signal.SIGSEGV))


def test_other_troubles_and_other_files_are_left_alone(capfd, file, tmp_path):
    def trouble():
        print("nobody hears this")
        raise ValueError("nor this")

    probe.check_hdf5(str(file), trouble)
    (tmp_path / "notes.txt").write_text("x")
    np.save(tmp_path / "rows.npy", np.zeros((3, 2)))
    for name in ("notes.txt", "rows.npy", "nowhere.h5"):
        probe.check_hdf5(str(tmp_path / name), lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("threads", [1, 2])
def test_beside_other_threads_nothing_is_tried(file, monkeypatch, threads):
    """A fork waits for ever where one of them multiplies matrices with several threads of OpenBLAS."""
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    forks = []

    def forked():
        forks.append(threads)
        raise BlockingIOError("it is tried")

    monkeypatch.setattr(os, "fork", forked)
    with pytest.raises(BlockingIOError, match="it is tried") if threads == 1 else contextlib.nullcontext():
        probe.check_hdf5(str(file), lambda: None)
    assert len(forks) == (threads == 1)


def test_a_child_that_waits_for_ever_is_left(file, tmp_path, monkeypatch):
    """Without using the processor, as where another thread held a lock when it was forked; the file may be whole."""
    monkeypatch.setattr(probe, "_PATIENCE", 0.2)

    def work():
        (tmp_path / "number").write_text(str(os.getpid()))
        signal.pause()

    open_files = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else None
    probe.check_hdf5(str(file), work)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "number").read_text()), 0)
    assert open_files is None or len(os.listdir("/proc/self/fd")) == len(open_files)


def test_a_fork_that_is_refused_leaves_nothing_open(file, monkeypatch):
    def refused():
        raise BlockingIOError("Resource temporarily unavailable")

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("this system does not tell what is open")
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", refused)
        with pytest.raises(BlockingIOError):
            probe.check_hdf5(str(file), lambda: None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_of_the_parents_is_collected_in_the_child(file, tmp_path):
    """What collects itself may wait for a thread, as a client of Dask does for its loop."""
    probe.check_hdf5(str(file), lambda: (tmp_path / "said").write_text(str(gc.isenabled())))
    assert gc.isenabled() and (tmp_path / "said").read_text() == "False"


def test_the_child_is_silent_and_leaves_no_core(file):
    """What a crash would print or write is of no use to whoever gave the file; a hang ends by the time it takes."""
    resource = pytest.importorskip("resource")
    began = time.process_time()

    def work():
        cores, (soon, late) = resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_CPU)
        # A child has used no time of its own yet, but for a fraction of a second.
        least = time.process_time() + probe._SECONDS
        limited = least - 2 <= soon <= least and late == soon + 5
        silent = os.path.samestat(os.fstat(2), os.stat(os.devnull)) and not faulthandler.is_enabled()
        if cores != (0, 0) or not limited or not silent:
            os.kill(os.getpid(), signal.SIGSEGV)

    probe.check_hdf5(str(file), work)
    assert time.process_time() - began < 10


@pytest.mark.parametrize("asked, looked", [
    ({}, []), ({"labels": "kind"}, ["kind"]), ({"color": "day"}, ["day"]), ({"labels": "a", "color": "b"}, ["a", "b"]),
    ({"labels": None, "color": None}, []),
])  # fmt: skip
def test_the_table_and_all_columns_that_are_asked_for_are_looked_at(file, tmp_path, monkeypatch, asked, looked):
    np.save(tmp_path / "other.npy", np.zeros((3, 2)))
    opened, read = [], []
    monkeypatch.setattr(probe, "check_hdf5", lambda path, work: work())
    monkeypatch.setattr("tsne_ooc.io.hdf5.open_hdf5", lambda *words: opened.append(words) or contextlib.nullcontext())
    monkeypatch.setattr("tsne_ooc.sampling.labels_of", lambda *words: read.append(words))
    options = argparse.Namespace(data=[str(file)], dataset="X", **asked)
    probe.check_readable(options)
    assert opened == [(file, "X")] and read == [(file, name) for name in looked]


def test_a_whole_file_is_embedded(file, tmp_path):
    words = ["embed", str(file), "--out", str(tmp_path / "map"), "--perplexity", "5", "--quiet"]
    assert main(words) == 0 and open_run(tmp_path / "map").embedding.shape == (60, 2)
