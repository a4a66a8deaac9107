"""Work as a list of stages, and the one driver that does them: it resumes, times, and marks what is done."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from numpy.typing import DTypeLike

from tsne_ooc._memory import peak_bytes
from tsne_ooc._typing import Json, Progress, TableLike
from tsne_ooc.io import Source
from tsne_ooc.storage.ledger import Entry, Ledger
from tsne_ooc.streaming import Compute, Finish, Reads, Stream, check_unchanged, silent

Facts = Mapping[str, Any]
T = TypeVar("T")


class Home(Protocol):
    """The folder of a run, as stages and the driver see it."""

    path: Path
    #: Whether what is in it is worth keeping if the run now fails.
    keep: bool
    #: Whether the run could go on if it now failed.
    resumable: bool


@dataclass(frozen=True)
class Kept:
    """Where work is kept on its way, so that another process can go on with it.

    Parameters
    ----------
    home : Home
    ledger : Ledger
    origin : dict
        The identity of the table when the run began, which it must keep.
    """

    home: Home
    ledger: Ledger
    origin: Json


class Work:
    """What the stages of a list share.

    Parameters
    ----------
    table : Source
        The table as it was given.
    progress : callable, optional
        Called as ``progress(phase, done, total)``.
    seed : int
    block_rows : int or None
        Rows that are read, worked on and marked as done in one piece.
    kept : Kept or None
        None where nothing is kept on the way.
    executor : concurrent.futures.Executor or None
        Does what stages have for others to do.

    Attributes
    ----------
    seconds : dict of str to float
        How long each phase took, over all attempts.
    memory : dict of str to float
        The most GB that this process had held when each phase ended, of those that it did itself.
    facts : dict of str to dict
        What each stage that is done says about its work, by its name.
    """

    def __init__(
        self,
        table: Source,
        *,
        progress: Progress | None = None,
        seed: int = 0,
        block_rows: int | None = None,
        kept: Kept | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.table = table
        self.progress = progress or silent
        self.seed = seed
        self.block_rows = block_rows
        self.kept = kept
        self.executor = executor
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.facts: dict[str, Facts] = {}
        self._made: dict[type, Any] = {}

    def put(self, made: object) -> None:
        """Hand something on to later stages; it replaces what there was of its type."""
        self._made[type(made)] = made

    def get(self, kind: type[T]) -> T:
        """What an earlier stage handed on of this type."""
        if (found := self.find(kind)) is None:
            raise LookupError(f"no stage before this one has made a {kind.__name__}")
        return found

    def find(self, kind: type[T]) -> T | None:
        """The same, or None where no stage has made one."""
        found: T | None = self._made.get(kind)
        return found

    def take(self, kind: type[T]) -> T:
        """The same, for the last stage that needs it: its memory is free afterwards."""
        found = self.get(kind)
        del self._made[kind]
        return found

    @property
    def folder(self) -> Path:
        """Where the run's files are."""
        assert self.kept is not None
        return self.kept.home.path

    def check_unchanged(self) -> None:
        """Raise OSError where the table is not what it was when the run began."""
        if self.kept is not None:
            check_unchanged(self.table, self.kept.origin, self.kept.home.path)


class Remote(NamedTuple):
    """What workers do of a stage of rows, as another process can be told: functions of a module, or dataclasses.

    Parameters
    ----------
    compute : callable
        What `RowStage.compute` gives, for rows that are sent; before `finish`.
    reads : callable or None
        ``reads(first_row, row_behind_the_last)`` gives the same for rows that a worker reads by itself.
    finish : callable or None
        ``finish(first_row, results)`` is called here, and gives what is written.
    """

    compute: Compute
    reads: Reads | None = None
    finish: Finish | None = None


class RunStage:
    """A step of a run, to derive from. `name` and `run` are needed, and `reopen` where `run` returns facts.

    Attributes
    ----------
    name : str
        The name under which the ledger knows it; each stage of a list has its own.
    phase : str
        The name that progress is told, and under which its seconds are counted; by default `name`.
    makes : tuple of str
        Names of what it puts into the folder of the run. Arrays (``.npy``) are named in the manifest; what ends in
        ``.part`` is removed at the end of the run, and all of it where the run fails before anything is worth keeping.
    """

    name: str
    makes: tuple[str, ...] = ()

    @property
    def phase(self) -> str:
        return self.name

    def room(self, table: Source) -> int:
        """Bytes on the disk that it takes, as far as they are known before the run."""
        return 0

    def check(self, work: Work) -> None:
        """Raise for what can be known to be wrong before the first stage runs."""

    def run(self, work: Work) -> Facts | None:
        """Do the work.

        Returns
        -------
        mapping or None
            What `reopen` needs to take up what was done, as values that JSON can hold. None where that is in memory
            alone: a run that goes on does it again, unless a later stage is done.
        """
        raise NotImplementedError

    def reopen(self, work: Work, facts: Facts) -> None:
        """Take up what an earlier attempt did, checked against these facts.

        Raises
        ------
        ValueError, OSError
            Where it is not what it was; the message says what to remove.
        """

    def worth_keeping(self, facts: Facts) -> bool:
        """Whether a run can go on from what it did."""
        return True


class RowStage(RunStage):
    """A stage that fills files with a row for each row of the table, by blocks; after a kill the rest follows.

    Derive from it, name the files in `makes`, and write `shapes` and `compute`.
    """

    def shapes(self, work: Work) -> dict[str, tuple[int, ...]]:
        """The shape of each file, by its name without ``.npy``; the first number is that of the rows."""
        raise NotImplementedError

    def types(self, work: Work) -> Mapping[str, DTypeLike]:
        """The type of each file that does not hold float32."""
        return {}

    def compute(self, work: Work) -> Compute:
        """A function of a block's first row number and the block, which returns the rows of each file by name."""
        raise NotImplementedError

    def remote(self, work: Work) -> Remote | None:
        """What workers do instead of `compute`, where there is an executor; by default nothing, and it is done here."""
        return None

    def table(self, work: Work) -> TableLike:
        """The table that is read: a source, or an array of as many rows."""
        return work.table

    def where(self, work: Work) -> Path:
        """The folder of the files."""
        return work.folder

    def first(self, work: Work) -> int:
        """The row of the table that is the first of the files."""
        return 0

    def summary(self, work: Work) -> Facts:
        """Facts about the files when they are whole."""
        return {}

    def run(self, work: Work) -> Facts | None:
        self.fill(work)
        return self.summary(work)

    def fill(self, work: Work) -> None:
        """Read, compute and write all rows that are not done yet, and put the files in place."""
        if self.where(work) == work.folder:
            filled = {f"{name}.npy" for name in self.shapes(work)}
            if lost := sorted(filled - set(self.makes)):
                raise ValueError(f"stage {self.name!r} fills {lost[0]}, which is not among what it `makes`")
        table, executor = self.table(work), work.executor
        remote = None if executor is None else self.remote(work)
        options: dict[str, Any] = {
            "rows": work.block_rows, "progress": work.progress, "phase": self.phase, "check": work.check_unchanged
        }  # fmt: skip
        with self._stream(work) as stream:
            if work.kept is not None:
                work.kept.home.resumable = work.kept.home.keep
            if executor is None or remote is None:
                stream.run(table, self.compute(work), **options)
            elif remote.reads is None:
                stream.run(table, remote.compute, executor=executor, finish=remote.finish, **options)
            else:
                stream.gather(table, remote.reads, executor, finish=remote.finish, **options)

    def reopen(self, work: Work, facts: Facts) -> None:
        with self._stream(work):
            pass

    def _stream(self, work: Work) -> Stream:
        assert work.kept is not None
        home = work.kept.home
        files = {name: (self.where(work) / f"{name}.npy", shape) for name, shape in self.shapes(work).items()}
        try:
            return Stream(files, work.kept.ledger, self.name, self.types(work), first=self.first(work))
        except (ValueError, FileNotFoundError):
            # A run cannot go on from files that are damaged or gone. Other errors are the disk's, which may be mended.
            home.resumable = False
            raise
        except OSError:
            home.resumable = home.keep
            raise


def drive(stages: Sequence[RunStage], work: Work) -> None:
    """Do the stages that are not done yet, one after the other.

    What an earlier attempt did is taken up where its stage left facts. A stage that left none is done again, unless a
    later one is done, which then does not need it any more.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ValueError(f"each stage has a name of its own, and these are {', '.join(names)}")
    for stage in stages:
        stage.check(work)
    last = 0
    for number, stage in enumerate(stages, start=1):
        entry = _entry(work, stage)
        if entry.seconds:
            work.seconds[stage.phase] = round(work.seconds.get(stage.phase, 0.0) + entry.seconds, 3)
        if entry.facts is not None:
            last = number
    for stage in stages[:last]:
        if (done := _entry(work, stage).facts) is not None:
            stage.reopen(work, done)
            work.facts[stage.name] = done
    if work.kept is not None and last:
        work.kept.home.resumable = work.kept.home.keep
    # The loop is in this function itself: a stage's warnings name the line that called `embed` or `fit`, three frames
    # above it.
    for stage in stages[last:]:
        before, began = _entry(work, stage).seconds, time.perf_counter()
        facts = stage.run(work)
        took = time.perf_counter() - began
        if (peak := peak_bytes()) is not None:
            work.memory[stage.phase] = round(peak / 1e9, 3)
        work.seconds[stage.phase] = round(work.seconds.get(stage.phase, 0.0) + took, 3)
        _keep(work, stage, facts, round(before + took, 3))


def _entry(work: Work, stage: RunStage) -> Entry:
    return Entry() if work.kept is None else work.kept.ledger.entry(stage.name)


def _keep(work: Work, stage: RunStage, facts: Facts | None, seconds: float) -> None:
    """Mark what a stage did."""
    # These are the facts as another attempt will read them.
    told: Json | None = None if facts is None else json.loads(json.dumps(facts))
    if told is not None:
        work.facts[stage.name] = told
    if work.kept is None:
        return
    home, ledger = work.kept.home, work.kept.ledger
    entry = replace(ledger.entry(stage.name), facts=told, seconds=seconds)
    if told is None:
        # It is written with the next mark: how long it took is of interest only once something of it is kept.
        ledger.stages[stage.name] = entry
        return
    # What is kept must be made of one table.
    work.check_unchanged()
    ledger.mark(stage.name, entry)
    home.keep = home.resumable = stage.worth_keeping(told)
