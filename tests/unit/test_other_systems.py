"""Systems that lack a call of Linux: files are written, read, locked and given back there, too."""

from __future__ import annotations

import builtins
import errno
import mmap
import os
import stat
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest

from tsne_ooc.scratch import ScratchFile
from tsne_ooc.scratch.files import scratch_folder
from tsne_ooc.storage import disk
from tsne_ooc.storage.atomic import whole_file, whole_folder
from tsne_ooc.storage.lock import Lock
from tsne_ooc.storage.mapped import empty, forget, on_disk


def test_scratch_without_calls_that_name_a_place(tmp_path, monkeypatch):
    for name in ("pwrite", "preadv", "posix_fadvise"):
        monkeypatch.delattr(os, name, raising=False)
    file = ScratchFile(tmp_path, np.int32, "the graph")
    numbers = np.arange(1000, dtype=np.int32)
    file.write(500, numbers[500:])
    file.write(0, numbers[:500])
    file.soon(0, 1000)
    for start, stop in ((0, 1000), (700, 710), (499, 501), (5, 5)):
        out = np.empty(stop - start, np.int32)
        file.read(start, out)
        np.testing.assert_array_equal(out, numbers[start:stop])
    with pytest.raises(OSError, match=r"^the graph cannot be read from .*shorter than what was written; begin again"):
        file.read(990, np.empty(20, np.int32))
    file.close()


def test_arrays_over_files_that_are_not_given_their_room_at_once(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    with on_disk(tmp_path):
        found = empty((1000, 3), np.float64)
    assert found.shape == (1000, 3) and isinstance(found.base, np.memmap)
    found[:] = np.arange(3000).reshape(1000, 3)
    # Nothing is given back, and nothing is lost.
    forget(found, found[10:20])
    np.testing.assert_array_equal(found, np.arange(3000).reshape(1000, 3))


def test_folders_of_windows_are_not_opened(tmp_path, monkeypatch):
    """It refuses to, and writes their entries through: of its `os` nothing but the name is asked for."""
    monkeypatch.setattr(disk, "os", types.SimpleNamespace(name="nt"))
    disk.sync_folder(tmp_path)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_where_no_system_tells_the_mask(tmp_path, monkeypatch, mask):
    real, before = builtins.open, os.umask(mask)

    def opened(path, *arguments, **more):
        if str(path).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(builtins, "open", opened)
    try:
        with whole_file(tmp_path / "a.csv") as temporary:
            temporary.write_text("1")
        with whole_folder(tmp_path / "a.zarr") as temporary:
            (temporary / "zarr.json").write_text("{}")
        # The mask is that of before.
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "a.zarr").stat().st_mode) == 0o777 & ~mask


class Windows(types.ModuleType):
    """Locks of Windows, which are of bytes at the position of a file."""

    LK_NBLCK = 2

    def __init__(self):
        super().__init__("msvcrt")
        self.asked = []
        self.refuses = False

    def locking(self, number, how, count):
        self.asked.append((how, count, os.lseek(number, 0, os.SEEK_CUR)))
        if self.refuses:
            raise PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def windows(monkeypatch):
    made = Windows()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", made)
    return made


def test_a_lock_of_windows_is_of_a_byte_behind_the_number(tmp_path, windows):
    """Others read the number of the process that holds it; one byte is enough, and nobody waits for it."""
    with Lock(tmp_path / ".lock", "the map"):
        assert windows.asked == [(2, 1, 1 << 20)]
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert not (tmp_path / ".lock").exists()


def test_a_lock_of_windows_that_another_process_holds(tmp_path, windows):
    (tmp_path / ".lock").write_text("1234")
    windows.refuses = True
    with (
        pytest.raises(BlockingIOError, match=r"^the map is being written by another run \(process 1234\); wait for"),
        Lock(tmp_path / ".lock", "the map"),
    ):
        pytest.fail("it is held")
    assert (tmp_path / ".lock").read_text() == "1234"


def test_a_lock_whose_number_cannot_be_read_is_still_one(tmp_path, windows, monkeypatch):
    """Some systems refuse to read what another process has locked: then nobody knows which it is."""

    class Locked:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def read(self, count):
            raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / ".lock").write_text("1234")
    real = Lock._open
    monkeypatch.setattr(Lock, "_open", lambda self: Locked(real(self)))
    windows.refuses = True
    with pytest.raises(BlockingIOError) as caught, Lock(tmp_path / ".lock", "the map"):
        pytest.fail("it is held")
    assert str(caught.value) == "the map is being written by another run; wait for it or stop it"


@pytest.mark.parametrize("error, says", [
    (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
    (OSError("odd"), "odd"),
])  # fmt: skip
def test_a_folder_that_takes_no_scratch_is_told_at_once(tmp_path, monkeypatch, error, says):
    def refuse(*arguments, **more):
        raise error

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(type(error)) as caught:
        scratch_folder(tmp_path)
    assert str(caught.value) == f"scratch={str(tmp_path)!r} cannot be written ({says}); name another folder"


def test_a_system_that_does_not_tell_its_disks_is_believed(tmp_path, monkeypatch):
    """Where nobody says that a folder is kept in memory, it is taken."""
    mounts = f"rootfs / ext4 rw 0 0\nx {tmp_path.resolve()} tmpfs rw 0 0\n"
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self: mounts if str(self) == "/proc/self/mounts" else real(self))
    with pytest.raises(OSError, match=r"is kept in memory \(tmpfs\), and scratch is there to spare it; name a folder"):
        scratch_folder(tmp_path)

    def lacking(self):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "read_text", lacking)
    assert scratch_folder(tmp_path) == tmp_path
