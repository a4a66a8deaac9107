"""The folder of a run while it is written: taken by one process, cleared where nothing in it is worth keeping."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from tsne_ooc import store
from tsne_ooc.io.lock import Lock
from tsne_ooc.pipeline.run import LEDGER

_LOCK = ".lock"
# Those of a run that was killed before it had begun.
_EMPTY = {_LOCK, LEDGER + ".part"}
# What a run leaves on its way; nothing else is ever removed.
_OWN = (LEDGER, "model", "embedding.npy", "novelty.npy", "sample_rows.npy", "training", store.MANIFEST)


class Folder:
    """A folder that belongs to this run from `__enter__` to `__exit__`.

    Parameters
    ----------
    path : Path
        Must not exist, be empty, or with `resume` hold what an earlier attempt left.
    resume : bool

    Attributes
    ----------
    finished : bool
        Whether the folder holds the result of a finished run already.
    keep : bool
        Whether what is in it is worth keeping if the run now fails.
    resumable : bool
        Whether this run could go on if it now failed; the error then says how.

    Raises
    ------
    OSError
        On entry, where the folder cannot be made, holds something else, or is taken by another run.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.resume = resume
        self.finished = self.keep = self.resumable = False
        self._created = False
        self._held = ExitStack()

    def __enter__(self) -> Folder:
        self._created = self._make()
        with ExitStack() as held:
            held.enter_context(Lock(self.path / _LOCK, str(self.path)))
            self.finished = (self.path / store.MANIFEST).exists()
            begun = (self.path / LEDGER).exists()
            if self.finished and not self.resume:
                raise FileExistsError(
                    f"{self.path} holds the result of a finished run already; name a new folder, or remove it first"
                )
            # Without a ledger nothing in it is ours, whatever its name: a saved model may be called "model", too.
            if not self.finished and not begun and {entry.name for entry in self.path.iterdir()} - _EMPTY:
                raise FileExistsError(f"{self.path} holds files already; name a new folder, or remove it first")
            self.keep = self.finished or begun
            self._held = held.pop_all()
        return self

    def _make(self) -> bool:
        if self.path.exists():
            if not self.path.is_dir():
                raise FileExistsError(f"{self.path} is a file; name a folder that does not exist yet")
            return False
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            raise type(error)(f"{self.path} cannot be made: {error.strerror or error}") from None
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.resumable:
            error.add_note(f"what is done is kept in {self.path}; go on with resume=True (--resume)")
        if kind is not None and not self.keep:
            self._clear()
        self._held.close()
        if kind is not None and not self.keep and self._created:
            # It may hold another's files, or another run by now.
            with suppress(OSError):
                self.path.rmdir()

    def _clear(self) -> None:
        # The ledger last: as long as it is there, the rest is known to be ours.
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == LEDGER):
            if _ours(entry.name):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def tidy(self) -> None:
        """Remove what only an unfinished run needs, and what killed attempts left; once the manifest is there."""
        for entry in list(self.path.iterdir()):
            if (entry.name.endswith(".part") and _ours(entry.name)) or entry.name.startswith("round-"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (self.path / LEDGER).unlink(missing_ok=True)


def _ours(name: str) -> bool:
    return name.removesuffix(".part") in _OWN or name.startswith((".model.", "round-", ".manifest."))
