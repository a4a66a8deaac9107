"""The plan of memory: what a refinement keeps in memory and on disk, what each stage takes, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsne_ooc._context import unsaid
from tsne_ooc._memory import available_bytes, used_bytes
from tsne_ooc._options import number
from tsne_ooc._typing import StrPath
from tsne_ooc.affinity import Affinity, Uniform, check_count
from tsne_ooc.scratch.files import scratch_folder
from tsne_ooc.scratch.joint import AT_ONCE, EDGES, MOST_PIECES, scratch_bytes

# Bytes of Python and the libraries that a fit loads.
PROGRAM = 450_000_000
# Entries of P for each neighbour of each row: 1.55 on MNIST, 1.6 among 1.3 million cells, and 2 where no two rows are
# neighbours of each other.
MUTUAL = 2


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
        Whether neighbours and affinities are kept on disk.
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

    Parameters
    ----------
    n, k : int
    d : int, default 2
        Axes of the map.
    columns : int, default 0
        The number of columns of the rows.
    values : bool, default True
        Whether affinities differ.
    memory : float, optional
        GB that the process may have; by default what it has already, and half of what the machine has free.
    used : int, optional
        Bytes that it has already, rows and their search among them; by default those of a new process that has read
        the rows.
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
    neighbours and affinities on disk, 2.00 GB at most; search: 1.23 GB of memory, 0.94 GB of scratch; \
affinities: 1.46 GB of memory, 5.15 GB of scratch; descent: 2.00 GB of memory, 1.87 GB of scratch
    """
    check_count(n)
    own = PROGRAM + rows_bytes(n, columns) if used is None else used
    limit = limit_of(memory, own)
    graph, entry = 8 * n * k, 8 if values else 4
    joint = MUTUAL * n * k * entry
    descent = own + descent_bytes(n, d)
    # The affinities take the neighbours, these in the order of P, the edges of the blocks that are worked on, and P.
    in_memory = (
        Stage("search", own + graph),
        Stage("affinities", own + graph + graph // 2 + graph // 4 + joint + 16 * n),
        Stage("descent", descent + joint),
    )
    if max(stage.memory for stage in in_memory) <= limit:
        return MemoryPlan(limit, False, MUTUAL * n * k, in_memory)
    held = max(0, min(MUTUAL * n * k, (limit - descent) // entry))
    on_disk = (
        Stage("search", own + graph * at_once, graph),
        Stage("affinities", own + symmetrize_bytes(n, k), graph + scratch_bytes(n, k, values)),
        Stage("descent", descent + held * entry, joint),
    )
    plan = MemoryPlan(limit, True, held, on_disk)
    if plan.memory > limit:
        worst = max(on_disk, key=lambda stage: stage.memory)
        raise MemoryError(
            f"{limit / 1e9:.2f} GB of memory are too little for {n:,} rows with {k} neighbours each: {worst.name} "
            f"takes {worst.memory / 1e9:.2f} GB; allow more by memory=, or ask for fewer neighbours, as by "
            "affinity=Uniform(15)"
        )
    return plan


def limit_of(memory: float | None, used: int) -> int:
    """Bytes that the process may have."""
    if memory is not None:
        return int(1e9 * number("memory", memory, above=0))
    free = available_bytes()
    return 2**62 if free is None else used + free // 2


def rows_bytes(n: int, columns: int) -> int:
    """Bytes of rows in float32, of the search's own copy of them, and of what it makes on the way."""
    return 12 * n * columns


def descent_bytes(n: int, d: int) -> int:
    """Bytes of a descent beside P: places, velocity, gains, slopes, their copies, the field, 12 of P's a row.

    Measured with 200,000 rows in two axes it takes 190 bytes a row, of which the grid of a map 500 wide takes 80.
    """
    return n * (12 + 44 * d + 100) + 50_000_000


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

    def plan(self, n: int, affinity: Affinity, d: int, *, columns: int = 0, at_once: bool = False) -> MemoryPlan:
        """The plan for n rows on a map of `d` axes, for a process as it is now; rows yet to be read have `columns`."""
        with unsaid("perplexity="):
            # The search of the neighbours itself warns of a perplexity that is too large.
            k, values = affinity.k(n) if n > 1 else 0, not isinstance(affinity, Uniform)
        used = (used_bytes() or PROGRAM) + rows_bytes(n, columns)
        return plan_memory(n, k, d, values=values, memory=self.memory, used=used, at_once=at_once)

    def folder(self) -> Path:
        return scratch_folder(self.scratch)
