"""The folder of a run while it is written: one process owns it, and clears it where nothing in it is worth keeping."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from tsne_ooc import storage
from tsne_ooc.pipeline.run import LEDGER
from tsne_ooc.storage.disk import check_room
from tsne_ooc.storage.ledger import Ledger, left_over
from tsne_ooc.storage.lock import Lock

_LOCK = ".lock"
#: Folders in which a run keeps what is not finished: a model that is being saved, and a training.
SAVING, TRAINING = "saving.part", "training.part"


class Folder:
    """A folder that belongs to this run from `__enter__` to `__exit__`.

    Parameters
    ----------
    path : Path
        It must not exist, or must be empty, or with `resume` hold what an earlier attempt left.
    resume : bool
    makes : iterable of str
        Names of all that the run makes in the folder on its way; the ledger keeps them. Nothing with another name is
        ever removed, nor with one of these names where no ledger has it.

    Attributes
    ----------
    makes : list of str
    finished : bool
        Whether the folder already holds the result of a finished run.
    keep : bool
        Whether what is in the folder is worth keeping if the run now fails.
    resumable : bool
        Whether this run could go on if it now failed; the error then says how.

    Raises
    ------
    OSError
        On entry, where the folder cannot be made, holds something else, or is taken by another run.
    """

    def __init__(self, path: Path, *, resume: bool, makes: Iterable[str]) -> None:
        self.path = path
        self.makes = list(makes)
        self.resume = resume
        self.finished = self.keep = self.resumable = False
        self._created = False
        self._held = ExitStack()

    def __enter__(self) -> Folder:
        self._created = self._make()
        with ExitStack() as held:
            # A finished run in a folder that cannot be written is only read, and needs no lock.
            if not (self.resume and self._is_finished() and not os.access(self.path, os.W_OK)):
                held.enter_context(Lock(self.path / _LOCK, str(self.path)))
            self.finished = self._is_finished()
            begun = (self.path / LEDGER).exists()
            if self.finished and not self.resume:
                raise FileExistsError(
                    f"{self.path} holds the result of a finished run already; name a new folder, or remove it first"
                )
            # Without a ledger nothing in it is ours, whatever its name: a user's own file may be called "model", too.
            if not self.finished and not begun and not self._is_empty():
                raise FileExistsError(f"{self.path} holds files already; name a new folder, or remove it first")
            self.keep = self.finished or begun
            self._held = held.pop_all()
        return self

    def check_room(self, needed: int) -> None:
        """Raise OSError where the disk lacks room for `needed` bytes in all, less what the folder holds already."""
        if self.finished:
            return
        there = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        check_room(self.path / storage.MANIFEST, max(0, needed - there), str(self.path))

    def _is_finished(self) -> bool:
        return (self.path / storage.MANIFEST).exists()

    def _is_empty(self) -> bool:
        """Whether the folder holds nothing but what a run left that was killed before it had begun."""
        names = {entry.name for entry in self.path.iterdir()} - {_LOCK}
        return not names or (names == {LEDGER + ".part"} and left_over(self.path / (LEDGER + ".part")))

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
        elif kind is None and self._is_finished():
            # An attempt may have been killed after its manifest was written, and before it tidied up.
            self.tidy()
        self._held.close()
        if kind is not None and not self.keep and self._created:
            # By now the folder may hold files of others, or another run.
            with suppress(OSError):
                self.path.rmdir()

    def _clear(self) -> None:
        # The ledger goes last: as long as it is there, the rest is known to be ours.
        self._remove([*self._unfinished(self.makes), *self.makes, LEDGER + ".part", LEDGER])

    def tidy(self) -> None:
        """Once the manifest is there, remove what only an unfinished run needs, and what killed attempts left.

        The ledger says what that is. Where there is no ledger, it has been done already.
        """
        ledger = self.path / LEDGER
        if not ledger.exists() or not os.access(self.path, os.W_OK):
            return
        try:
            made = Ledger.read(ledger).job.get("makes", [])
        except ValueError:
            # The ledger is damaged, so that it cannot say what is ours, and nobody needs it any more.
            made = []
        self._remove([*self._unfinished(made), LEDGER + ".part", LEDGER])

    @staticmethod
    def _unfinished(made: Iterable[str]) -> Iterator[str]:
        for name in made:
            if name.endswith(".part") or name.startswith("round-"):
                yield name
            elif name.endswith(".npy"):
                yield f"{name}.part"
        yield f".{storage.MANIFEST}.part"

    def _remove(self, names: Iterable[str]) -> None:
        for entry in (self.path / name for name in names):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
