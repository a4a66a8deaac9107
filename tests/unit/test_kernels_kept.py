"""Compiled kernels on disk: no place, no room and damaged entries cost time, never a run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numba
import pytest
from forking import Forking

from tsne_ooc._kernels import _kept

ASK = (
    "import warnings; warnings.simplefilter('always'); from kept.whole import doubled, tripled; "
    "print(doubled(1), tripled(1), sum(doubled.stats.cache_hits.values()) + sum(tripled.stats.cache_hits.values()))"
)


class Package:
    """A package of two kernels in a folder of its own, and the folders where code can be kept."""

    def __init__(self, root, processes):
        self.root, self.code, self.processes = root, root / "kept", processes
        self.code.mkdir()
        for name in ("_jit.py", "_kept.py"):
            shutil.copy(Path(_kept.__file__).with_name(name), self.code / name)
        (self.code / "__init__.py").touch()
        (self.code / "whole.py").write_text(
            "from ._jit import kernel, ordered\n\n\n@kernel\ndef doubled(x):\n    return 2 * x\n"
            "\n\n@ordered\ndef tripled(x):\n    return 3 * x\n"
        )
        self.temporary = root / "tmp"
        self.temporary.mkdir()

    def block_home(self):
        """No right to write beside the package or at home: even the administrator cannot write these."""
        (self.code / "__pycache__").touch()
        return {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}

    def ask(self, before="", **environment):
        clean = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
        own = {"PYTHONPATH": str(self.root), "TMPDIR": str(self.temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        found = self.processes.run(before + ASK, {**clean, **own, **environment})
        found.check_returncode()
        return found.stdout.split(), found.stderr


@pytest.fixture(scope="module")
def processes():
    """Each with Numba at work, which takes more than a second, and none of the kernels: they share the disk alone."""
    found = Forking("import numba; numba.njit(lambda x: 5 * x)(1)")
    yield found
    found.close()


@pytest.fixture
def package(tmp_path, processes):
    return Package(tmp_path, processes)


def test_code_is_kept_in_the_cache_of_the_user_and_not_in_the_package(package):
    home = {"HOME": str(package.root), "XDG_CACHE_HOME": str(package.root / "cache")}
    before = sorted(package.code.rglob("*"))
    assert package.ask(**home) == (["2", "3", "0"], "")
    assert package.ask(**home) == (["2", "3", "2"], "")
    assert sorted(package.code.rglob("*")) == before and not list(package.temporary.iterdir())
    assert len(list(package.root.rglob("*.nbc"))) == 2


def test_two_copies_of_the_package_do_not_take_each_others_code(package, processes, tmp_path_factory):
    """The names of files and kernels are the same, and here the lengths and times, too."""
    other = Package(tmp_path_factory.mktemp("other"), processes)
    path = other.code / "whole.py"
    path.write_text(path.read_text().replace("2 * x", "7 * x"))
    for file in package.code.iterdir():
        status = file.stat()
        os.utime(other.code / file.name, ns=(status.st_atime_ns, status.st_mtime_ns))
    home = {"HOME": str(package.root), "XDG_CACHE_HOME": str(package.root / "cache")}
    for _ in range(2):
        assert package.ask(**home)[0][:2] == ["2", "3"]
        assert other.ask(**home)[0][:2] == ["7", "3"]


def test_without_a_home_code_is_kept_beside_the_package(package):
    assert package.ask(HOME="/proc/none", XDG_CACHE_HOME="/proc/none") == (["2", "3", "0"], "")
    assert len(list(package.code.rglob("*.nbc"))) == 2 and not list(package.temporary.iterdir())


def test_with_no_other_place_code_is_kept_among_temporary_files(package):
    home = package.block_home()
    assert package.ask(**home) == (["2", "3", "0"], "")
    assert package.ask(**home) == (["2", "3", "2"], "")
    (folder,) = package.temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_nothing_can_be_lent_to_a_library_it_is_told(tmp_path, monkeypatch):
    """A folder that others can write is lent to nobody, and the setting is left as it was."""
    own = numba.config.CACHE_DIR
    monkeypatch.setattr(_kept, "_temporary", lambda: tmp_path / "file")
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"can keep compiled code nowhere \(.*\); set NUMBA_CACHE_DIR"), _kept.lent():
        pass
    assert own == numba.config.CACHE_DIR
    monkeypatch.setattr(_kept, "_temporary", lambda: tmp_path / "folder")
    with _kept.lent():
        assert str(tmp_path / "folder") == numba.config.CACHE_DIR
    assert own == numba.config.CACHE_DIR


@pytest.mark.parametrize("taken", ["a file", "open to all"])
def test_without_any_place_it_is_said_once_and_computed(package, taken):
    home = package.block_home()
    theirs = package.temporary / f"tsne_ooc-{os.getuid()}"
    if taken == "a file":
        theirs.touch()
    else:
        theirs.mkdir()
        theirs.chmod(0o777)
    answer, said = package.ask(**home)
    assert answer == ["2", "3", "0"]
    assert said.count("Warning") == 1 and "NUMBA_CACHE_DIR" in said and "Traceback" not in said
    assert taken == "a file" or not list(theirs.iterdir())


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "a bit"])
def test_a_damaged_entry_is_thrown_away(package, kind, damage):
    cache = package.root / "cache"
    environment = {"NUMBA_CACHE_DIR": str(cache)}
    assert package.ask(**environment)[0] == ["2", "3", "0"]
    for file in cache.rglob(f"*.{kind}"):
        data = bytearray(file.read_bytes())
        if damage == "empty":
            data.clear()
        elif damage == "cut":
            del data[len(data) // 2 :]
        elif damage == "zeros":
            data = bytearray(len(data))
        else:
            data[len(data) // 2] ^= 16
        file.write_bytes(data)
    # Neither is taken, whatever it would have come to.
    assert package.ask(**environment) == (["2", "3", "0"], "")
    assert package.ask(**environment) == (["2", "3", "2"], "")


def test_an_entry_of_another_kernel_is_not_taken(package):
    """Two processes that save at once can give one file to two kernels."""
    cache = package.root / "cache"
    environment = {"NUMBA_CACHE_DIR": str(cache)}
    package.ask(**environment)
    one, other = sorted(cache.rglob("*.nbc"))
    shutil.copy(one, other)
    assert package.ask(**environment) == (["2", "3", "1"], "")


def test_a_full_disk_is_named_once(package):
    cache = package.root / "cache"
    # Whatever is longer than this cannot be written; the signal that comes with it is no matter here.
    full = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
    )
    answer, said = package.ask(full, NUMBA_CACHE_DIR=str(cache))
    assert answer == ["2", "3", "0"]
    assert said.count("Warning") == 1 and str(cache) in said and "Traceback" not in said
    assert not [file for file in cache.rglob("*") if file.is_file() and ".tmp." in file.name]
    assert package.ask(NUMBA_CACHE_DIR=str(cache))[1] == ""


def test_a_library_that_keeps_code_too_is_lent_the_place(package):
    home = package.block_home()
    other = package.root / "other.py"
    other.write_text("import numba\n\n\n@numba.njit(cache=True)\ndef halved(x):\n    return x / 2\n")
    (package.root / "__pycache__").touch()
    lend = "from kept._kept import lent\nwith lent():\n    import other\nassert other.halved(3) == 1.5\n"
    assert package.ask(lend, **home) == (["2", "3", "0"], "")
    assert list((package.temporary / f"tsne_ooc-{os.getuid()}").rglob("other.halved-*.nbi"))


def test_code_is_taken_from_a_folder_that_nobody_else_can_write(tmp_path, monkeypatch):
    """It is executed: neither another user's folder will do, nor a link, which its owner can lead elsewhere."""
    folder = tmp_path / "own"
    for _ in range(2):
        _kept._make_own(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o700, 0o755, 0o711, 0o750, 0o744):
        folder.chmod(mode)
        _kept._make_own(folder)
        assert folder.stat().st_mode & 0o777 == mode
    says = r"is not a folder of this user alone$"
    for mode in (0o720, 0o702, 0o722, 0o777, 0o775):
        folder.chmod(mode)
        with pytest.raises(PermissionError, match=says):
            _kept._make_own(folder)
    folder.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(PermissionError, match=says):
        _kept._make_own(tmp_path / "link")
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(PermissionError, match=says):
        _kept._make_own(folder)


def test_what_is_lent_is_given_back_also_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_kept, "_temporary", lambda: tmp_path / "folder")
    own = numba.config.CACHE_DIR
    with pytest.raises(ZeroDivisionError), _kept.lent():
        raise ZeroDivisionError
    assert own == numba.config.CACHE_DIR
