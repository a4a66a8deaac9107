"""A lock keeps others out while its process lives, and not a moment longer."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tsne_ooc.storage.lock import Lock

HOLD = """
import sys, time
from tsne_ooc.storage.lock import Lock
with Lock(sys.argv[1], "the map"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_held_and_let_go(path):
    with Lock(path, "the map") as lock:
        assert lock is not None and path.read_text() == str(os.getpid())
    assert not path.exists()
    with Lock(path, "the map"):
        pass


def test_another_process_is_named(path, holder):
    with (
        pytest.raises(
            BlockingIOError,
            match=rf"^the map is being written by another run \(process {holder.pid}\); wait for it or stop it$",
        ),
        Lock(path, "the map"),
    ):
        pytest.fail("two hold it")
    assert path.read_text() == str(holder.pid)


def test_the_same_process_is_kept_out_too(path):
    with Lock(path, "the map"), pytest.raises(BlockingIOError, match="being written"), Lock(path, "the map"):
        pytest.fail("it is held twice")


def test_a_killed_process_locks_nobody_out(path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with Lock(path, "the map"):
        assert path.read_text() == str(os.getpid())


def test_an_error_lets_go(path):
    with pytest.raises(KeyError), Lock(path, "the map"):
        raise KeyError
    assert not path.exists()


def test_the_lock_of_another_is_not_removed(path):
    """Somebody removed the file by hand, and a second run made its own."""
    with Lock(path, "the map"):
        path.unlink()
        second = Lock(path, "the map").__enter__()
    assert path.exists()
    with pytest.raises(BlockingIOError), Lock(path, "the map"):
        pytest.fail("a third holds it")
    second.__exit__(None, None, None)
    assert not path.exists()


def test_a_file_that_goes_between_opening_and_holding(path, monkeypatch):
    """The one that held it before removes it; what was opened is then the lock of nothing."""
    from tsne_ooc.storage import lock

    real, times = lock._hold, []

    def hold(file):
        if not times:
            path.unlink()
        times.append(1)
        real(file)

    monkeypatch.setattr(lock, "_hold", hold)
    with Lock(path, "the map"):
        assert len(times) == 2 and path.read_text() == str(os.getpid())


def test_a_file_system_without_locks(path, monkeypatch):
    def refuse(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("tsne_ooc.storage.lock._hold", refuse)
    with (
        pytest.raises(OSError, match=r"^the map cannot be locked, No locks available; write to another disk$"),
        Lock(path, "the map"),
    ):
        pytest.fail("it is held")


def test_the_number_of_a_process_that_is_gone_is_written_over(path):
    """Whatever its length."""
    path.write_text("98765432109876")
    with Lock(path, "the map"):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()
