"""What is refused to one writer is refused to every other, and each answers alike: one line that names what and why,
nothing that looks whole, and everything else as it was.

The writers are those of `test_disk.py`, for rows that come one after the other, folders of arrays, ledgers and exports.
"""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_disk import WRITERS, ledger, over, seal, sink
from test_disk import folder as new

from tsne_ooc import storage
from tsne_ooc.storage.atomic import exchange, whole_file, whole_folder
from tsne_ooc.storage.disk import check_room


def new_folder(folder):
    """A folder where there must not be one."""
    with whole_folder(folder / "a.part.zarr") as temporary:
        (temporary / "zarr.json").write_text("{}")


EVERY = [*WRITERS, new_folder]
#: What each of them writes, and what it calls that on its way where the name is always the same.
NAMES = {
    "sink": ("Y.npy", "Y.npy.part"), "folder": ("x", None), "over": ("there", "there/.manifest.json.part"),
    "seal": ("manifest.json", ".manifest.json.part"), "ledger": ("ledger.json", "ledger.json.part"),
    "exported_file": ("a.csv", None), "exported_folder": ("a.zarr", None), "new_folder": ("a.part.zarr", None),
}  # fmt: skip
every = pytest.mark.parametrize("writer", EVERY, ids=lambda writer: writer.__name__)


def name_of(writer):
    return NAMES[writer.__name__][0]


def contents(folder):
    """All that lies there: bytes of files, names of folders, what links point to."""

    def content(path):
        return os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()

    return {str(path.relative_to(folder)): content(path) for path in folder.rglob("*")}


@pytest.fixture
def home(tmp_path):
    """A folder with a saved one in it, and with the array that `seal` seals."""
    home = tmp_path / "home"
    home.mkdir()
    storage.write_folder(home / "there", "x", {}, {"a": np.zeros(3)})
    np.save(home / "a.npy", np.ones(3))
    return home


def refused(writer, home, says):
    """Run it, and compare what there is with what there was; the error."""
    before = contents(home)
    with pytest.raises(OSError) as caught:
        writer(home)
    said = str(caught.value)
    assert says in said and "\n" not in said
    after = contents(home)
    if writer is sink:
        # Rows that were written stay where a run can go on from them; of that name nothing looks whole.
        after.pop("Y.npy.part", None)
    assert after == before
    return said


def fails(number, wanted=lambda *arguments: True):
    def failing(real):
        def call(*arguments, **options):
            if wanted(*arguments):
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    return failing


@every
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("call", ["fsync", "replace or rename"])
def test_the_disk_refuses(home, monkeypatch, writer, call, number):
    for name in call.split(" or "):
        monkeypatch.setattr(os, name, fails(number)(getattr(os, name)))
    said = refused(writer, home, os.strerror(number))
    if writer.__name__ not in ("seal", "exported_file", "exported_folder", "new_folder"):
        # Others are named by whoever calls them.
        assert name_of(writer) in said


def sealed(folder):
    """What `seal` does, of an array that is there."""
    storage.seal(folder, "x", {}, {"a": "a.npy"})


def long_file(folder):
    with whole_file(folder / "a.csv") as temporary:
        temporary.write_text("1" * 100)


def long_folder(folder):
    with whole_folder(folder / "a.zarr", exchange) as temporary:
        (temporary / "zarr.json").write_text("1" * 100)


@pytest.mark.parametrize(
    "writer", [sink, new, over, sealed, ledger, long_file, long_folder], ids=lambda writer: writer.__name__
)
def test_the_disk_is_full_in_the_midst_of_it(home, writer):
    """A limit on the size of files, which refuses as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        refused(writer, home, os.strerror(errno.EFBIG))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@every
def test_a_folder_of_others_is_in_the_way(home, writer):
    path = home / name_of(writer)
    if writer.__name__ == "exported_folder":
        pytest.skip("it takes the place of what is there; `export` looks first, see test_export.py")
    if writer is over:
        # Among the files of a saved one: what is not ours stays.
        (path / "thesis.txt").write_text("years of work")
        writer(home)
        assert (path / "thesis.txt").read_text() == "years of work"
        return
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    refused(writer, home, "")


@every
@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_link_in_the_place_of_the_name(home, tmp_path, writer, kind):
    """What it points to stays as it is, and what is written is there under the name, or refused."""
    path, precious = home / name_of(writer), tmp_path / "elsewhere"
    if kind == "file":
        precious.write_text("years of work")
    elif kind == "folder":
        precious.mkdir()
        (precious / "thesis.txt").write_text("years of work")
    if path.exists():
        path.rename(home / "set aside")
    path.symlink_to(precious)
    before = None if kind == "nothing" else (contents(precious), precious.is_file() and precious.read_bytes())
    try:
        writer(home)
    except OSError as error:
        assert "\n" not in str(error) and path.is_symlink()
    else:
        assert path.exists() and not path.is_symlink()
    if before is None:
        assert not precious.exists()
    else:
        assert (contents(precious), precious.is_file() and precious.read_bytes()) == before


@pytest.mark.parametrize(
    "writer", [writer for writer in EVERY if NAMES[writer.__name__][1]], ids=lambda writer: writer.__name__
)
def test_a_link_in_the_place_of_what_is_on_its_way(home, tmp_path, writer):
    """It is never written through."""
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    (home / NAMES[writer.__name__][1]).symlink_to(precious)
    try:
        writer(home)
    except OSError as error:
        assert "\n" not in str(error)
    else:
        assert (home / name_of(writer)).exists() and not (home / name_of(writer)).is_symlink()
    assert precious.read_text() == "years of work"


@contextmanager
def nobody():
    """As a user who may not write everywhere; root may."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@every
@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights are others there")
def test_a_folder_that_may_only_be_read(writer):
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        home = Path(name) / "home"
        home.mkdir()
        storage.write_folder(home / "there", "x", {}, {"a": np.zeros(3)})
        np.save(home / "a.npy", np.ones(3))
        for path in (home / "there", home):
            path.chmod(0o555)
        for path in home.rglob("*.*"):
            path.chmod(0o444)
        try:
            with nobody():
                said = refused(sealed if writer is seal else writer, home, os.strerror(errno.EACCES))
            assert name_of(writer).partition(".")[0] in said
        finally:
            for path in (home, home / "there"):
                path.chmod(0o755)


@every
def test_no_room_on_the_disk(home, monkeypatch, writer):
    """Whoever knows how much it will be looks first; the rest is refused when it is written."""
    import shutil

    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    if writer.__name__ in ("sink", "folder", "over"):
        assert not refused(writer, home, f"{home} has 0.00 GB left").startswith("[Errno")
        assert not (home / "Y.npy.part").exists()
    else:
        with pytest.raises(OSError, match="GB left"):
            check_room(home / name_of(writer), 11)
        writer(home)


def test_a_file_is_made_beside_its_place(tmp_path):
    """On the same disk, so that it takes its place in one step, and hidden meanwhile."""
    path = tmp_path / "deep" / "x.bin"
    path.parent.mkdir()
    for _ in range(2):
        with whole_file(path) as temporary:
            assert temporary.parent == path.parent and temporary.name.startswith(".x.bin.")
            assert temporary.suffix == ".part"
            temporary.write_bytes(b"all")
        assert [one.name for one in path.parent.iterdir()] == ["x.bin"] and path.read_bytes() == b"all"
    with whole_folder(tmp_path / "deep" / "y") as temporary:
        assert temporary.parent == path.parent and temporary.name.startswith(".y.") and temporary.suffix == ".part"
        (temporary / "within").mkdir()
        (temporary / "within" / "z").write_bytes(b"z")
    assert (tmp_path / "deep" / "y" / "within" / "z").read_bytes() == b"z"
    with pytest.raises(KeyError), whole_folder(tmp_path / "deep" / "z") as temporary:
        (temporary / "file").write_bytes(b"half")
        raise KeyError
    assert sorted(one.name for one in path.parent.iterdir()) == ["x.bin", "y"]


def test_what_is_checked_last_keeps_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o640)

    def refuses():
        assert [one.suffix for one in tmp_path.iterdir() if one != path] == [".part"]
        raise OSError("it was changed meanwhile")

    with pytest.raises(OSError, match="changed meanwhile"), whole_file(path, check=refuses) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old" and [one.name for one in tmp_path.iterdir()] == ["x"]
    with whole_file(path) as temporary:
        temporary.write_bytes(b"new")
    # Its rights are those of the file in whose place it comes.
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted where the system lists them")
def test_files_that_are_written_whole_stay_open_nowhere(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        with whole_file(tmp_path / f"{number}.csv") as temporary:
            temporary.write_text("a,b")
        with pytest.raises(KeyError), whole_file(tmp_path / f"{number}.txt") as temporary:
            raise KeyError
        with whole_folder(tmp_path / str(number)) as folder:
            (folder / "a").write_text("b")
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_went_wrong_is_told_though_what_was_begun_is_gone_already(tmp_path):
    for begin in (whole_file, whole_folder):
        with pytest.raises(KeyError, match="first"), begin(tmp_path / "x") as temporary:
            temporary.unlink() if temporary.is_file() else temporary.rmdir()
            raise KeyError("first")
        assert list(tmp_path.iterdir()) == []
