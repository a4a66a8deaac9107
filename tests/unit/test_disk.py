"""One answer of all writers to a file system that does not synchronise folders, and to one that is broken."""

import errno
import os
import stat

import numpy as np
import pytest

from tsne_ooc import storage
from tsne_ooc.io import NpySink
from tsne_ooc.storage import atomic
from tsne_ooc.storage.atomic import exchange, whole_file, whole_folder
from tsne_ooc.storage.ledger import Ledger

NOT_HERE = [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS]


def sink(folder):
    with NpySink(folder / "Y.npy", (3, 2)) as rows:
        rows.write(np.ones((3, 2)))


def folder(folder):
    storage.write_folder(folder / "x", "x", {}, {"a": np.ones(3)})


def over(folder):
    storage.write_folder(folder / "there", "x", {}, {"a": np.ones(3)}, overwrite=True)


def seal(folder):
    np.save(folder / "a.npy", np.ones(3))
    storage.seal(folder, "x", {}, {"a": "a.npy"})


def ledger(folder):
    Ledger(folder / "ledger.json", {}).write()


def exported_file(folder):
    with whole_file(folder / "a.csv") as temporary:
        temporary.write_text("1")


def exported_folder(folder):
    with whole_folder(folder / "a.zarr", exchange) as temporary:
        (temporary / "zarr.json").write_text("{}")


WRITERS = [sink, folder, over, seal, ledger, exported_file, exported_folder]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """A function after which folders of `tmp_path`, and they alone, are refused by `fsync` or `open`."""
    storage.write_folder(tmp_path / "there", "x", {}, {"a": np.zeros(3)})

    def refuse(call, number):
        real = getattr(os, call)

        def refusing(what, *arguments, **options):
            if stat.S_ISDIR(os.fstat(what).st_mode) if call == "fsync" else os.path.isdir(what):
                raise OSError(number, os.strerror(number))
            return real(what, *arguments, **options)

        monkeypatch.setattr(os, call, refusing)

    return refuse


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("call, number", [*(("fsync", n) for n in NOT_HERE), ("open", errno.EACCES)])
def test_folders_that_cannot_be_synchronised_stop_nobody(tmp_path, refused, writer, call, number):
    refused(call, number)
    writer(tmp_path)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_is_full_or_broken_stops_everybody(tmp_path, refused, writer, number):
    refused("fsync", number)
    with pytest.raises(OSError, match=os.strerror(number)):
        writer(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="elsewhere it is told by setting another")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_without_a_moment_of_another_mask(tmp_path, monkeypatch, mask):
    """What other threads create in that moment would be anybody's to write."""
    before = os.umask(mask)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the mask is the whole process's"))
        folder(tmp_path)
        exported_file(tmp_path)
        monkeypatch.undo()
        os.mkdir(tmp_path / "plain")
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    finally:
        os.umask(before)


@pytest.mark.parametrize("refusal", [OSError(errno.EACCES, "Permission denied"), KeyboardInterrupt()])
def test_a_folder_that_cannot_take_the_place_of_another_leaves_it_there(tmp_path, monkeypatch, refusal):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old.txt").write_text("old")
    real, asked = os.rename, []

    def rename(source, target):
        asked.append(target)
        # The first sets the old one aside, the second is to put the new one in its place.
        if len(asked) == 2:
            raise refusal
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(type(refusal)), whole_folder(tmp_path / "there", exchange) as temporary:
        (temporary / "new.txt").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["old.txt"]


def test_what_is_not_whole_yet_is_hidden_beside_its_place(tmp_path):
    """By a name that tells whose it is, and that it is a part."""
    with whole_file(tmp_path / "x.npy") as part:
        assert part.parent == tmp_path and part.name.startswith(".x.npy.") and part.name.endswith(".part")
        part.write_bytes(b"1")
    with whole_folder(tmp_path / "f") as part:
        assert part.parent == tmp_path and part.name.startswith(".f.") and part.name.endswith(".part")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "x.npy"]


def test_folders_are_brought_to_the_disk_after_what_is_in_them(tmp_path, monkeypatch):
    """A folder whose entries are on the disk before their contents would promise too much."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").touch()
    (tmp_path / "a" / "y").touch()
    told = []
    monkeypatch.setattr(atomic, "sync_folder", told.append)
    atomic._sync_all(tmp_path)
    assert told == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
