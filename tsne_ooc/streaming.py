"""Rows from a table through a function to files, block by block, going on from where an earlier attempt stopped."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tsne_ooc._options import counted
from tsne_ooc._typing import Progress, TableLike
from tsne_ooc._validate import counted_from
from tsne_ooc.io.blocks import BLOCK_BYTES, Block, block_rows, iterate
from tsne_ooc.io.identity import changes, differences
from tsne_ooc.io.source import Source, as_source
from tsne_ooc.storage.ledger import Entry, Ledger, Rows
from tsne_ooc.storage.ranges import missing
from tsne_ooc.storage.sink import NpySink

log = logging.getLogger(__name__)

Results = Mapping[str, NDArray[Any]]
Compute = Callable[[int, NDArray[np.float32]], Results]

# Rows worked on at once: a table of few columns would otherwise bring millions of rows, whose neighbours (some
# 200 bytes a row) outweigh the rows.
MOST_ROWS = 1 << 17
# At most this often the table is checked for changes, and never for more than 1 % of the time.
CHECK_SECONDS = 10.0


def rows_at_once(table: Source) -> int:
    """Rows of a block that is read, worked on and marked as done in one piece."""
    row_bytes = table.shape[1] * max(4, np.dtype(table.dtype).itemsize)
    return block_rows(table, min(BLOCK_BYTES, MOST_ROWS * max(1, row_bytes)))


class Stream:
    """Files of one row for each row of a table, filled block by block in any order, whatever happens in between.

    Parameters
    ----------
    files : mapping of str to (path, shape)
        What the function computes, by name: the ``.npy`` file and its shape, whose first number is the table's rows.
    ledger : Ledger
        Says which rows are done. With none done the files are begun anew.
    stage : str
        The name under which it says so.
    types : mapping of str to numpy type, optional
        Of files that do not hold float32.

    Raises
    ------
    OSError
        Where a file cannot be written, or there is too little room.
    ValueError
        Where rows that are marked as done are missing or damaged, naming the file.
    """

    def __init__(
        self,
        files: Mapping[str, tuple[Path, tuple[int, ...]]],
        ledger: Ledger,
        stage: str,
        types: Mapping[str, DTypeLike] | None = None,
    ) -> None:
        self.ledger, self.stage = ledger, stage
        self.sinks: dict[str, NpySink] = {}
        rows = ledger.entry(stage).rows
        with ExitStack() as opened:
            for name, (path, shape) in files.items():
                if any(path.name not in part.sums for part in rows):
                    raise ValueError(f"{ledger.path} does not know {path.name}; remove both to begin again")
                done = [(start, stop, sums[path.name]) for start, stop, sums in rows] or None
                sink = self.sinks[name] = NpySink(path, shape, done=done, dtype=(types or {}).get(name, np.float32))
                opened.callback(sink.leave)
            opened.pop_all()

    def run(
        self,
        table: TableLike,
        compute: Compute,
        *,
        rows: int | None = None,
        progress: Progress,
        phase: str,
        check: Callable[[], None] | None = None,
        executor: Executor | None = None,
        in_flight: int = 8,
    ) -> None:
        """Read the rows not yet done, compute, write, and mark each block when it is on the disk.

        Parameters
        ----------
        table : Source or what `as_source` accepts
        compute : callable
            Called as ``compute(first_row, block)``; returns the rows of each file by name.
        rows : int, optional
            Rows of a block.
        progress : callable
            Called as ``progress(phase, rows done, rows)``.
        check : callable, optional
            Raises where the table is not what it was. It is called now and then, and at the end; where it raises, what
            was done since it last passed counts as not done.
        executor : concurrent.futures.Executor, optional
            Calls `compute` for several blocks at once; they are written as they are finished. By default it is called
            here, for one block after the other.
        in_flight : int
            How many blocks an executor has at most.
        """
        table = as_source(table)
        n, rows = table.shape[0], rows or rows_at_once(table)
        log.info("%s: %s rows at a time (%.0f MB), storage in %s", phase, f"{rows:,}", rows * table.shape[1] * 4e-6,
                 f"chunks of {table.chunks}" if table.chunks else "rows")  # fmt: skip
        sure, began = self.ledger.entry(self.stage), time.perf_counter()
        before, due, done = sure.seconds, began + CHECK_SECONDS, sure.n_rows
        progress(phase, done, n)
        blocks = chain.from_iterable(
            iterate(table, rows=rows, start=start, stop=stop)
            for start, stop in missing([(start, stop) for start, stop, _ in sure.rows], n)
        )
        with closing(_computed(blocks, compute, executor, in_flight)) as results:
            for start, size, computed in results:
                if computed.keys() != self.sinks.keys():
                    given, wanted = ", ".join(sorted(computed)), ", ".join(sorted(self.sinks))
                    raise ValueError(f"stage {self.stage!r} computed {given or 'nothing'}, and its files are {wanted}")
                for name, values in computed.items():
                    self.sinks[name].write(values, start)
                for sink in self.sinks.values():
                    sink.sync()
                done += size
                self._mark(before + time.perf_counter() - began)
                progress(phase, done, n)
                if time.perf_counter() > due and done < n:
                    sure, due = self._checked(check, sure)
        self._checked(check, sure)

    def _mark(self, seconds: float) -> None:
        """Mark all that is written, which is the same rows in each file."""
        names = [sink.path.name for sink in self.sinks.values()]
        parts = zip(*(sink.done for sink in self.sinks.values()), strict=True)
        rows = [Rows(of[0].start, of[0].stop, dict(zip(names, (part.crc for part in of), strict=True))) for of in parts]
        self.ledger.mark(self.stage, Entry(None, seconds, tuple(rows)))

    def _checked(self, check: Callable[[], None] | None, sure: Entry) -> tuple[Entry, float]:
        """Check the table; return what is done, and when the next check is due. If it fails, `sure` stays."""
        done = self.ledger.entry(self.stage)
        if check is None:
            return done, float("inf")
        began = time.perf_counter()
        try:
            check()
        except BaseException:
            if sure.rows != done.rows:
                self.ledger.mark(self.stage, sure)
            raise
        now = time.perf_counter()
        return done, now + max(CHECK_SECONDS, 100 * (now - began))

    def close(self) -> None:
        """Put the files in place, once all rows are done."""
        for sink in self.sinks.values():
            sink.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        for sink in self.sinks.values():
            sink.leave()


def _computed(
    blocks: Iterable[Block], compute: Compute, executor: Executor | None, in_flight: int
) -> Generator[tuple[int, int, Results]]:
    """First row, number of rows and results of each block: in their order, or as an executor finishes them."""
    if executor is None:
        for start, stop, block in blocks:
            yield start, stop - start, _call(compute, start, block)
        return
    waiting: dict[Future[Results], tuple[int, int]] = {}

    def finished() -> Iterator[tuple[int, int, Results]]:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            yield *waiting.pop(future), future.result()

    try:
        for start, stop, block in blocks:
            waiting[executor.submit(_call, compute, start, block)] = (start, stop - start)
            if len(waiting) >= in_flight:
                yield from finished()
        while waiting:
            yield from finished()
    finally:
        for future in waiting:
            future.cancel()


def _call(compute: Compute, start: int, block: NDArray[np.float32]) -> Results:
    with counted_from(start):
        return compute(start, block)


def different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two jobs, by the names of their values."""
    return [f"{name} differs" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def begin(
    path: str | os.PathLike[str], job: dict[str, Any], *, resume: bool, differ: Callable[..., list[str]] = different
) -> Ledger:
    """The ledger of a job: that of an earlier attempt at the same job, or a new one.

    Parameters
    ----------
    path : path
        The path of the ledger.
    job : dict
        What is to be done, as values that JSON can hold.
    resume : bool
        Go on with an earlier attempt, if there is one.
    differ : callable
        ``differ(old job, new job)`` lists what differs, in words. By default any difference counts.

    Raises
    ------
    FileExistsError
        Where an earlier attempt lies there, and `resume` is false.
    ValueError
        Where the earlier attempt was at another job, naming what differs; or its ledger is damaged.
    """
    path = Path(path)
    # The job as it will be read again: a tuple comes back as a list, and would look like another value.
    job = json.loads(json.dumps(job))
    if not path.exists():
        ledger = Ledger(path, job)
        ledger.write()
        return ledger
    ledger = Ledger.read(path)
    if not resume:
        n = ledger.n_rows
        done = f" ({counted(n, 'rows')} {'is' if n == 1 else 'are'} done)" if n else ""
        raise FileExistsError(
            f"{path} is of a run that is not finished{done}; "
            "go on with it with resume=True (--resume), or remove what it left to begin again"
        )
    found = differ(ledger.job, job)
    if found:
        raise ValueError(
            f"the run of {path} cannot go on, since something else is asked for now: {'; '.join(found)}; "
            "ask for the same, or remove what it left to begin again"
        )
    return ledger


def check_unchanged(table: Source, before: dict[str, Any], out: Path) -> None:
    """Raise where a table is not what it was when a run into `out` began: the results would be made of two tables.

    Raises
    ------
    OSError
        Naming what changed.
    """
    if found := changes(table, before, without=out):
        raise OSError(
            f"{table!r} changed while it was read: {'; '.join(found)}; what was made of it since is not kept, put it "
            "back as it was or begin again"
        )


def silent(phase: str, done: int, total: int) -> None:
    """Tell nobody of progress."""


def unlike(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two jobs that consist of a source and a model."""
    found = [f"the source: {words}" for words in differences(old.get("source", {}), new["source"])]
    if old.get("model") != new["model"]:
        found.append("it is another model")
    if old.get("tsne_ooc") != new.get("tsne_ooc"):
        found.append(f"tsne_ooc was {old.get('tsne_ooc')}, is {new.get('tsne_ooc')}")
    return found
