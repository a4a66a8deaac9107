"""Compiled kernels on disk: where they are kept, and what happens to damaged entries.

Numba's own cache ends the program where it can write nowhere, where an entry was cut short (a loss of power, a full
disk), and where two processes that save at once give one file to two kernels. None of these is a reason not to compute:
here a kernel whose entry is damaged is compiled anew, and the entry is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

# Name, time and length of every file of this folder: Numba looks at the kernel's own file only, and would go on with
# stale pieces of the other files.
SOURCES = tuple(
    (file.name, (status := file.stat()).st_mtime_ns, status.st_size)
    for file in sorted(Path(__file__).parent.glob("*.py"))
)

_SUM = hashlib.sha256().digest_size


def keep(compiled: Any, function: Callable[..., Any]) -> None:
    """Let a compiled function load its machine code from disk and save it there; do nothing where it cannot be kept."""
    # `_cache` is not a public name. A Numba that has it elsewhere compiles anew in each process, which is only slow.
    with contextlib.suppress(AttributeError):
        try:
            compiled._cache = _Cache(function)
        except RuntimeError:
            _say_once(
                "compiled code cannot be kept on disk: neither the user's cache nor the package's folder nor "
                f"{tempfile.gettempdir()} can be written. Each start compiles anew, for a minute or two; "
                "set NUMBA_CACHE_DIR to a folder that can be written"
            )


_NUMBAS = CompileResultCacheImpl._locator_classes
# Its name has an underscore in some releases.
_UserWide = next(locator for locator in _NUMBAS if locator.__name__.lstrip("_") == "UserWideCacheLocator")


class _Temporary(_UserWide):  # type: ignore[misc,valid-type]
    """The last resort: a folder of the user's own among temporary files."""

    def __init__(self, function: Any, file: str) -> None:
        super().__init__(function, file)
        self._home = _temporary()
        self._cache_path = str(self._home / self.get_suitable_cache_subpath(file))

    def ensure_cache_path(self) -> None:
        _make_own(self._home)
        super().ensure_cache_path()


def _beside(locator: Any) -> bool:
    return str(locator.__name__.lstrip("_")).startswith("InTree")


class _Places(CompileResultCacheImpl):
    # Beside the package only where there is no other place: pip does not know of what lies there, and leaves a folder
    # behind that can be imported and holds nothing.
    _locator_classes = [  # noqa: RUF012 - Numba's own declaration
        *(locator for locator in _NUMBAS if not _beside(locator)),
        *filter(_beside, _NUMBAS),
        *([_Temporary] if hasattr(os, "getuid") else []),
    ]


class _File(IndexDataCacheFile):
    """Entries with their sum, and with the kernel and key that they were saved under."""

    def save(self, key: Any, data: Any) -> None:
        super().save(key, (self._index_name, key, data))

    def load(self, key: Any) -> Any:
        found = super().load(key)
        return found[2] if found is not None and found[:2] == (self._index_name, key) else None

    def _load_index(self) -> Any:
        # A pickle that was cut short may raise nearly anything.
        try:
            return super()._load_index()
        except Exception:
            return {}

    def _save_data(self, name: str, data: Any) -> None:
        data = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(data).digest() + data)

    def _load_data(self, name: str) -> Any:
        data = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(data[_SUM:]).digest() != data[:_SUM]:
            return None
        return pickle.loads(data[_SUM:])


def _temporary() -> Path:
    return Path(tempfile.gettempdir(), f"tsne_ooc-{os.getuid()}")


def _make_own(folder: Path) -> None:
    """Make a folder that no other user can write; entries are executed, so no other folder will do."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone")


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """While a library loads that keeps code by Numba's own means, let it keep the code in the folder of last resort.

    Raises
    ------
    RuntimeError
        Where that folder cannot be made.
    """
    config: Any = numba.config
    own = config.CACHE_DIR
    try:
        _make_own(_temporary())
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"Numba can keep compiled code nowhere ({error}); set NUMBA_CACHE_DIR") from None
    config.CACHE_DIR = str(_temporary())
    try:
        yield
    finally:
        config.CACHE_DIR = own


class _Cache(FunctionCache):
    _impl_class = _Places

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _File(self._cache_path, self._impl.filename_base, SOURCES)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # The entry is whole but useless: another version of a library wrote it.
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_once(
                f"compiled code cannot be kept in {self._cache_path}: {error.strerror or error}. Each start compiles "
                "it anew; make room there, or set NUMBA_CACHE_DIR to another folder"
            )


_said = False


def _say_once(message: str) -> None:
    """Warn, the first time in a process: dozens of kernels meet the same disk."""
    global _said
    if not _said:
        _said = True
        warnings.warn(message, RuntimeWarning, stacklevel=2)
