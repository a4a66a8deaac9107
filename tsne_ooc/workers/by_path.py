"""Models and tables that another process finds by their paths, opens once, and compares with what is meant."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsne_ooc import __version__
from tsne_ooc._typing import Json
from tsne_ooc.io import Source, identity_of
from tsne_ooc.io.identity import differences
from tsne_ooc.storage import digest_of

# Most models that a process keeps open. Their arrays are memory-mapped; a search among 25,000 rows takes some 10 MB.
MOST = 4

_lock = threading.Lock()
_models: OrderedDict[Any, Any] = OrderedDict()
_tables = threading.local()


@dataclass(frozen=True)
class SavedModel:
    """A saved model, for processes that see the same folder.

    Parameters
    ----------
    folder : str
        The absolute path of its folder.
    digest : str
        The digest of its manifest, which holds the sums of its files.
    version : str
        The version of this package.
    opens : callable
        A function of a module; ``opens(folder, n_jobs)`` gives the model in the folder.
    parts : tuple of type
        Classes that must be imported before it is read, such as that of a search of one's own: unpickling them does it.
    """

    folder: str
    digest: str
    version: str
    opens: Callable[[Path, int | None], Any]
    parts: tuple[type, ...] = ()

    @classmethod
    def of(cls, folder: Path, opens: Callable[[Path, int | None], Any], parts: tuple[type, ...] = ()) -> SavedModel:
        """The model that is in a folder now."""
        return cls(str(folder.resolve()), digest_of(folder), __version__, opens, parts)

    def opened(self, n_jobs: int | None) -> Any:
        """The model in the folder, which the first call in this process reads and compares with its sums.

        Raises
        ------
        FileNotFoundError
            Where there is no such folder on this machine.
        ValueError
            Where it holds another model, or this process has another version of the package.
        """
        key = (self, n_jobs)
        # One thread reads, and others of the same process wait for what it reads.
        with _lock:
            if key not in _models:
                _models[key] = self._read(n_jobs)
                while len(_models) > MOST:
                    _models.popitem(last=False)
            _models.move_to_end(key)
            return _models[key]

    def _read(self, n_jobs: int | None) -> Any:
        check_version(self.version)
        folder = Path(self.folder)
        try:
            digest = digest_of(folder)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"the worker {here()} finds no model in {folder}; put it where all workers see it, under this name"
            ) from None
        if digest != self.digest:
            raise ValueError(
                f"the model in {folder} on the worker {here()} is not the one that rows are to be placed on"
            )
        return self.opens(folder, n_jobs)


@dataclass(frozen=True)
class SharedTable:
    """A table that other processes open by its path.

    Parameters
    ----------
    pickled : bytes
        The source, pickled; that holds its path, not its rows.
    identity : dict
        What `tsne_ooc.io.identity_of` says of it.
    without : str or None
        As for that function.
    """

    pickled: bytes
    identity: Json
    without: str | None

    @classmethod
    def of(cls, table: Source, identity: Json, without: Path | None) -> SharedTable | None:
        """A table that was opened here by its path; None for one that its owner handed over open, or has in memory.

        A file that its owner opened may be open for writing, and then HDF5 lets nobody else read it.
        """
        if not getattr(table, "opened_here", False):
            return None
        return cls(pickle.dumps(table), identity, None if without is None else str(without))

    def opened(self) -> Source:
        """The table, which the first call in this thread opens and compares; it closes the one that was open before.

        Raises
        ------
        OSError
            Where it cannot be opened here, or is another one.
        """
        # Each thread has a handle of its own, since one handle of a file serves one reader at a time.
        found = getattr(_tables, "found", None)
        if found is None or found[0] != self.pickled or found[2] != os.getpid():
            if found is not None and found[2] == os.getpid():
                _tables.found = None
                found[1].close()
            found = _tables.found = (self.pickled, self._open(), os.getpid())
        table: Source = found[1]
        return table

    def _open(self) -> Any:
        with _on_this_worker():
            table = pickle.loads(self.pickled)
        without = None if self.without is None else Path(self.without)
        if found := differences(self.identity, identity_of(table, without=without)):
            table.close()
            raise FileNotFoundError(f"the worker {here()} finds another table in {table!r}: {'; '.join(found)}")
        return table


def check_version(asked: str) -> None:
    """Raise where the process that asks has another version of the package than this one."""
    if asked != __version__:
        raise ValueError(
            f"the worker {here()} has tsne_ooc {__version__}, and the process that asks it has {asked}; "
            "install the same"
        )


def here() -> str:
    """The name of this machine and the number of this process."""
    return f"{socket.gethostname()}, process {os.getpid()}"


@contextmanager
def _on_this_worker() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise type(error)(f"the worker {here()} cannot open the table: {error}") from error


def _forget() -> None:
    """Make a new lock in the child of a fork, where one that another thread held would stay locked for ever."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
