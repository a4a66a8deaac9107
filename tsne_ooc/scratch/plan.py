"""The plan of memory: what a refinement keeps in memory and on disk, what each stage takes, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsne_ooc._context import unsaid
from tsne_ooc._memory import available_bytes, used_bytes
from tsne_ooc._options import number
from tsne_ooc._typing import StrPath
from tsne_ooc.affinity import Affinity, Uniform
from tsne_ooc.joint import check_count
from tsne_ooc.neighbors.ivf import lists_of, sampled_of
from tsne_ooc.scratch.files import scratch_folder
from tsne_ooc.scratch.joint import AT_ONCE, EDGES, MOST_PIECES, scratch_bytes
from tsne_ooc.storage.disk import check_room

# Bytes of Python and the libraries that a fit loads.
PROGRAM = 450_000_000
# Entries of P for each neighbour of each row: 1.55 on MNIST, 1.6 among 1.3 million cells, and 2 where no two rows are
# neighbours of each other.
MUTUAL = 2
# Arrays of a place for each row that a descent keeps in files.
MAPPED = 5


@dataclass(frozen=True)
class Stage:
    """What one stage takes.

    Parameters
    ----------
    name : str
    memory, scratch : int
        Bytes of the process during the stage, and of scratch files.
    """

    name: str
    memory: int
    scratch: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """What a refinement of n rows keeps in memory, and what on disk.

    Parameters
    ----------
    limit : int
        Bytes that the process may have.
    on_disk : bool
        Whether neighbours, affinities, and what moves the rows are kept on disk; so are rows that are yet to be read.
    held : int
        Entries of P that are held in memory, even where P is on disk.
    stages : tuple of Stage
        The search, the affinities, and the descent.
    """

    limit: int
    on_disk: bool
    held: int
    stages: tuple[Stage, ...]

    @property
    def memory(self) -> int:
        """The peak of all stages."""
        return max(stage.memory for stage in self.stages)

    @property
    def scratch(self) -> int:
        return max(stage.scratch for stage in self.stages)

    def __str__(self) -> str:
        where = "on disk" if self.on_disk else "in memory"
        rows = [
            f"{stage.name}: {stage.memory / 1e9:.2f} GB of memory"
            + (f", {stage.scratch / 1e9:.2f} GB of scratch" if stage.scratch else "")
            for stage in self.stages
        ]
        return "; ".join([f"neighbours and affinities {where}, {self.limit / 1e9:.2f} GB at most", *rows])


def plan_memory(
    n: int, k: int, d: int = 2, *, columns: int = 0, values: bool = True, memory: float | None = None,
    used: int | None = None, at_once: bool = False,
) -> MemoryPlan:  # fmt: skip
    """What a refinement of n rows with `k` neighbours each takes, stage by stage, within `memory`.

    What lies in files counts as scratch and not as memory; the system keeps pages of it in free memory.

    Parameters
    ----------
    n, k : int
    d : int, default 2
        Axes of the map.
    columns : int, default 0
        The number of columns of rows that are yet to be read and searched.
    values : bool, default True
        Whether affinities differ.
    memory : float, optional
        GB that the process may have; by default what it has already, and half of what the machine has free.
    used : int, optional
        Bytes that it has already, rows that were read among them; by default those of a new process.
    at_once : bool, default False
        Whether the search finds all neighbours at once, and takes the memory of all of them. From 15,000 rows on, a
        search finds them some rows at a time, where the metric is euclidean or cosine.

    Returns
    -------
    MemoryPlan

    Raises
    ------
    MemoryError
        Where `memory` is less than the least that a refinement takes; the message says how much that is.

    Examples
    --------
    >>> print(plan_memory(1_300_000, 90, columns=50, memory=2))
    neighbours and affinities on disk, 2.00 GB at most; search: 0.68 GB of memory, 1.47 GB of scratch; \
affinities: 0.68 GB of memory, 5.15 GB of scratch; descent: 2.00 GB of memory, 1.92 GB of scratch
    """
    own = PROGRAM if used is None else used
    plan = _planned(n, k, d, columns, values, memory, own, at_once)
    if plan.memory > plan.limit:
        worst = max(plan.stages, key=lambda stage: stage.memory)
        by_neighbors = k > 15 and (at_once or worst.name != "search")
        fewer = ", or ask for fewer neighbours, as by affinity=Uniform(15)" if by_neighbors else ""
        raise MemoryError(
            f"{plan.limit / 1e9:.2f} GB of memory are too little for {n:,} rows with {k} neighbours each: {worst.name} "
            f"takes {worst.memory / 1e9:.2f} GB; allow more by memory={fewer}"
        )
    return plan


def _planned(
    n: int, k: int, d: int, columns: int, values: bool, memory: float | None, own: int, at_once: bool
) -> MemoryPlan:
    """The plan, whether or not it fits."""
    check_count(n)
    limit = limit_of(memory, own)
    graph, entry = 8 * n * k, 8 if values else 4
    joint = MUTUAL * n * k * entry
    # The affinities take the neighbours, these in the order of P, the edges of the blocks that are worked on, and P.
    with_rows = own + rows_bytes(n, columns)
    in_memory = (
        Stage("search", with_rows + graph),
        Stage("affinities", with_rows + graph + graph // 2 + graph // 4 + joint + 16 * n),
        Stage("descent", with_rows + descent_bytes(n, d) + joint),
    )
    if max(stage.memory for stage in in_memory) <= limit:
        return MemoryPlan(limit, False, MUTUAL * n * k, in_memory)
    descent = own + mapped_descent_bytes(n, d)
    held = max(0, min(MUTUAL * n * k, (limit - descent) // entry))
    on_disk = (
        Stage("search", own + search_bytes(n, columns) + graph * at_once, graph + mapped_rows_bytes(n, columns)),
        Stage("affinities", own + symmetrize_bytes(n, k), graph + scratch_bytes(n, k, values)),
        Stage("descent", descent + held * entry, joint + MAPPED * 4 * n * d),
    )
    return MemoryPlan(limit, True, held, on_disk)


def limit_of(memory: float | None, used: int) -> int:
    """Bytes that the process may have."""
    if memory is not None:
        return int(1e9 * number("memory", memory, above=0))
    free = available_bytes()
    return 2**62 if free is None else used + free // 2


def rows_bytes(n: int, columns: int) -> int:
    """Bytes of rows in float32, of the search's own copy of them, and of what it makes on the way."""
    return 12 * n * columns


def mapped_rows_bytes(n: int, columns: int) -> int:
    """Bytes of the files of rows and of the search's own copy of them.

    That has a column more, and the length of each row where rows may lack values.
    """
    return n * (8 * columns + 8) if columns else 0


def search_bytes(n: int, columns: int) -> int:
    """Bytes of a search whose rows are in files, and its work space; the more of what it takes at first and later.

    At first 85 for each row: hashes, twice, and their order; the order of the lists; and distances and novelty of the
    rows. Later the sample of k-means and twice the centres of the lists, and 30 for each row: which are equal, and
    which are in the sample.
    """
    lists = lists_of(n)
    return max(85 * n, 30 * n + 4 * columns * (sampled_of(n, lists) + 2 * lists)) + 100_000_000


def descent_bytes(n: int, d: int) -> int:
    """Bytes of a descent beside P: places, velocity, gains, slopes, their copies, the field, 12 of P's a row.

    Measured with 200,000 rows in two axes it takes 190 bytes a row, of which the grid of a map 500 wide takes 80.
    """
    return n * (12 + 44 * d + 100) + 50_000_000


def mapped_descent_bytes(n: int, d: int) -> int:
    """Bytes of a descent whose places, velocity, gains and slopes are in files.

    For each row these are 12 of P's, its number and its twin's, and 28 for each axis where it starts and ends, in
    double precision. That is more than the pages of all these files and of places in the order of the grid, 24 for each
    axis, which the system may keep in between; and there is room for the grid of a map 800 wide.
    """
    return n * (24 + 28 * d) + 50_000_000


def symmetrize_bytes(n: int, k: int) -> int:
    """Bytes of the pieces that are merged at a time, and 46 for each row."""
    piece = min(2 * n * k, max(EDGES, 2 * n * k // MOST_PIECES))
    return 46 * n + AT_ONCE * (36 * piece + 4 * n)


@dataclass(frozen=True)
class Room:
    """What a refinement may take of memory and disk.

    Parameters
    ----------
    memory : float, optional
        GB that the process may have at most; by default what it has already, and half of what the machine has free.
    scratch : path, optional
        The folder of scratch files; by default that of the system's temporary files.
    """

    memory: float | None = None
    scratch: StrPath | None = None

    def __post_init__(self) -> None:
        if self.memory is not None:
            number("memory", self.memory, above=0)

    def plan(
        self, n: int, affinity: Affinity, d: int, *, columns: int = 0, more: int = 0, at_once: bool = False,
        begun: bool = False,
    ) -> MemoryPlan:  # fmt: skip
        """The plan for n rows on a map of `d` axes, for a process as it is now, which will take `more` bytes.

        Too little memory is refused unless the work has `begun`: then it goes on, with all on the disk.
        """
        with unsaid("perplexity="):
            # The search of the neighbours itself warns of a perplexity that is too large.
            k, values = affinity.k(n) if n > 1 else 0, not isinstance(affinity, Uniform)
        # What it has not loaded yet it will.
        used = max(used_bytes() or 0, PROGRAM) + more
        if begun:
            return _planned(n, k, d, columns, values, self.memory, used, at_once)
        return plan_memory(n, k, d, columns=columns, values=values, memory=self.memory, used=used, at_once=at_once)

    def folder(self) -> Path:
        return scratch_folder(self.scratch)

    def check_scratch(self, plan: MemoryPlan) -> None:
        """Raise OSError where scratch has less room than the plan takes."""
        if plan.on_disk:
            check_room(self.folder() / "scratch", plan.scratch, "the scratch of all rows")
