"""What a run will take, from a probe of some seconds: the time of each stage, memory, and room on the disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsne_ooc._options import counted
from tsne_ooc.cli import trials

if TYPE_CHECKING:
    from tsne_ooc._typing import Json
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.io import Source
    from tsne_ooc.pipeline.refining import Course
    from tsne_ooc.preprocess import Preparation
    from tsne_ooc.sampling import Sample

#: Runs of fewer rows take hardly longer than the probe.
WORTH = 200_000


@dataclass(frozen=True)
class Forecast:
    """What `forecast` found.

    Parameters
    ----------
    shape : tuple of int
        The shape of the table.
    columns : list of str or None
    read : dict
        What is left out, and remarks, as `tsne_ooc.io.told.account_of` has them.
    would : str
        What would be done with the rows.
    seconds : dict of str to float
        The time of each stage.
    memory, disk : int
        The most bytes that the run takes.
    memory_free, disk_free : int or None
        The bytes that are free.
    """

    shape: tuple[int, int]
    columns: list[str] | None
    read: Json
    would: str
    seconds: dict[str, float]
    memory: int
    memory_free: int | None
    disk: int
    disk_free: int | None

    @property
    def lacking(self) -> list[str]:
        """What the machine has too little of."""
        pairs = (("memory", self.memory, self.memory_free), ("room on the disk", self.disk, self.disk_free))
        return [name for name, needed, free in pairs if free is not None and needed > free]

    def brief(self) -> str:
        """The forecast as one line, for the beginning of a log."""
        stages = ", ".join(f"{name} {in_time(seconds)}" for name, seconds in self.seconds.items())
        return (
            f"estimate: {in_time(sum(self.seconds.values()))} in all ({stages}), {_bytes(self.memory)} of memory, "
            f"{_bytes(self.disk)} on the disk"
        )

    def __str__(self) -> str:
        from tsne_ooc.io.columns import listed
        from tsne_ooc.io.told import in_words

        n, p = self.shape
        lines = [f"would read {counted(n, 'rows')} of {counted(p, 'columns')}"]
        if self.columns is not None:
            lines.append(f"columns: {listed(self.columns)}")
        lines += in_words(self.read)
        lines.append(f"would {self.would}")
        times = {**self.seconds, "in all": sum(self.seconds.values())}
        width = max(map(len, times))
        lines += [f"  {name:<{width}}  {in_time(seconds)}" for name, seconds in times.items()]
        lines.append(f"memory: {_bytes(self.memory)}{_of(self.memory_free)}")
        lines.append(f"disk: {_bytes(self.disk)}{_of(self.disk_free)}")
        lines.append("it fits" if not self.lacking else f"it does not fit: there is too little {self.lacking[0]}")
        return "\n".join(lines)


def silent() -> None:
    """Tell nothing."""


def forecast(
    table: Source, out: Path, *, model: TSNE, sample: Sample, prepare: Preparation | None, rounds: int, seed: int,
    course: Course | None = None, tell: Callable[[], None] = silent,
) -> Forecast:  # fmt: skip
    """Find what `tsne_ooc.embed` would take with these options, which are checked already; nothing is written.

    Of a refinement, `course` says how all rows move together. `tell` is called once rows are read and the trials
    begin, which take some seconds.

    Raises
    ------
    ValueError, TypeError, OSError
        For bad rows among those that are read, and where reading fails.
    """
    import numpy as np
    from sklearn.base import clone

    from tsne_ooc._memory import available_bytes, used_bytes
    from tsne_ooc.intake import with_gaps_kept
    from tsne_ooc.io import names_of
    from tsne_ooc.io.cuts import BLOCK_BYTES
    from tsne_ooc.io.lacking import Lacking
    from tsne_ooc.io.reading import bytes_of_fit
    from tsne_ooc.io.told import account_of
    from tsne_ooc.pipeline.embedding import room_for

    if model.metric == "precomputed":
        raise ValueError(
            "some rows of a table of distances are not such a table, so nothing can be tried; leave --dry-run out"
        )
    prepare = with_gaps_kept(prepare, model.metric)
    n, p = table.shape
    fitted = min(n, int(getattr(sample, "size", n)))
    free = available_bytes()
    before = used_bytes() or 0
    with warnings.catch_warnings():
        # Warnings would be about these few rows, and not about those of the run.
        warnings.simplefilter("ignore")
        # Columns of words are read by name, and do not pass the check for missing values.
        lacking = prepare is not None and prepare.takes_missing and np.dtype(table.dtype) != object
        reading, rows, copies = trials.read_some(Lacking(table) if lacking else table, fitted)
        tell()
        seconds = {}
        if prepare is not None:
            fit, row, passes, rows = trials.seconds_to_prepare(rows, prepare, seed, model.n_jobs)
            seconds["prepare"] = fit(n) + passes * n * reading
            reading += row
        seconds["sample"] = trials.rows_read(table, sample, fitted) * reading
        tried = clone(model)
        fit, place, k = trials.seconds_to_map(tried, rows, fitted, copies, seed)
    seconds["fit"] = fit(fitted)
    if rounds > 1:
        # Each further round is a look at all rows, and another fit.
        seconds["look"] = (rounds - 1) * (n * (reading + place) + seconds["fit"])
    seconds["place"] = n * (reading + place)
    width = rows.shape[1]
    chunk = 0 if table.chunks is None else table.chunks[0] * p * max(4, table.dtype.itemsize)
    placing = fitted * (8 * width + 100) + trials.BLOCKS * 2 * max(BLOCK_BYTES, 4 * width) + 2 * chunk
    # The memory of the process before it reads anything counts, too: for small tables it is the greater part.
    memory = max(bytes_of_fit(fitted, width, k) + 2 * chunk, placing) + before
    disk = room_for(table, model, sample, prepare, rounds)
    would = f"fit {counted(fitted, 'rows')}, and place {counted(n - fitted, 'more rows')}"
    if course is not None:
        from tsne_ooc.cli.forecast_refine import moved

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            more = moved(course, tried, n, table, out)
        seconds |= {"search": n * reading + more.search, "weigh": more.weigh, "refine": more.refine, "keep": more.keep}
        memory, disk = max(memory, more.memory), disk + more.disk
        would += ", and then move all rows together"
    return Forecast(
        (n, p), names_of(table), account_of(table), would, seconds, memory,
        None if free is None else free + before, disk, trials.free_at(out),
    )  # fmt: skip


def in_time(seconds: float) -> str:
    """A time in words, with no more digits than are known."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 95e6 else f"{size / 1e6:.0f} MB"


def _of(free: int | None) -> str:
    return "" if free is None else f" of {_bytes(free)}"
