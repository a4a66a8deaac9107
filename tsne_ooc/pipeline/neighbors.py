"""`neighbors`: a table of any length in, a folder with the nearest neighbours of all its rows out."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc import neighbors as searches
from tsne_ooc import storage
from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Float32, Named, Progress
from tsne_ooc.equal_rows import hashes_of
from tsne_ooc.fit.rows import tell_recall
from tsne_ooc.intake import Prepared, check_no_row_dropped, check_prepare, prepared, with_gaps_kept
from tsne_ooc.io import Source, as_source
from tsne_ooc.io.lacking import Lacking
from tsne_ooc.neighbors import Graph
from tsne_ooc.neighbors.base import GAPS, Index, Metric, check_k
from tsne_ooc.neighbors.folder import KIND, GraphFacts, fingerprint_of
from tsne_ooc.neighbors.scaled import as_searched
from tsne_ooc.pipeline.beginning import begun, job_of, made_by, room_of
from tsne_ooc.pipeline.fitted import check_sum, sum_of, write_array
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.request import differences, plain
from tsne_ooc.pipeline.table import opened
from tsne_ooc.preprocess import Preparation
from tsne_ooc.stages import Facts, RowStage, RunStage, Work, drive
from tsne_ooc.storage.manifest import read_manifest
from tsne_ooc.storage.mapped import on_disk
from tsne_ooc.streaming import Compute

log = logging.getLogger(__name__)

#: The number of neighbours that a perplexity of 30 takes.
NEIGHBORS = 90
#: The folder of the rows as they are searched, and of what the search takes on the disk beside its answer.
SCRATCH = "search.part"
_ORDER = "order.npy"


def neighbors(
    source: Any,
    *,
    out: str | os.PathLike[str],
    k: int = NEIGHBORS,
    metric: Metric = "euclidean",
    metric_params: Named | None = None,
    search: Any = "auto",
    prepare: Preparation | None = None,
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    random_state: int = 0,
    n_jobs: int | None = None,
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Graph:
    """Search the nearest neighbours of all rows of a table among each other, and keep them in a folder.

    They are, to the bit, what a fit of all rows with the same seed searches for itself. Rows, the index and the answer
    are on the disk, so that memory holds a few numbers of each row and the neighbours of one block, and at first the
    rows of which the lists are made, 524,288 at most. A search that was killed goes on with ``resume=True``, and ends
    with the same bytes.

    Parameters
    ----------
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        Table of shape (n_samples, n_features).
    out : path
        Folder to write; it must not exist yet, or must be empty. `tsne_ooc.neighbors.Graph.open` reads it.
    k : int, default 90
        Neighbours of each row, which does not count itself: three times a perplexity.
    metric, metric_params, search
        As ``metric``, ``metric_params`` and ``neighbors`` of `tsne_ooc.TSNE`. Euclidean and cosine neighbours are
        searched in bounded memory from 15,000 rows on; other searches hold the answer in memory.
    prepare : Preparation, optional
        What is done to the rows first, as a fit that takes the graph does it.
    dataset, columns, allow_missing_chunks
        What to read of a file, as for `tsne_ooc.io.open_source`.
    random_state : int, default 0
    n_jobs : int or None
        Threads.
    block_rows : int, optional
        Rows that are read, or searched, and marked as done in one piece; the result does not depend on it.
    resume : bool
        Go on with a search in `out` that did not end.
    progress : callable, optional
        Called as ``progress(phase, done, total)`` in rows, with the phases "prepare", "read" and "search".

    Returns
    -------
    tsne_ooc.neighbors.Graph

    Raises
    ------
    OSError
        Where `out` is in use or holds something else, or reading or writing fails.
    ValueError, TypeError
        For bad tables and options, and where a search cannot go on because something else is asked for now.

    Examples
    --------
    >>> graph = neighbors("cells.h5ad", dataset="obsm/X_pca", out="graph")  # doctest: +SKIP
    >>> model = TSNE(neighbors=graph).fit(rows)  # doctest: +SKIP
    """
    seed = whole("random_state", random_state, least=0, most=math.inf)
    k, threads = whole("k", k, least=1), Threads(n_jobs)
    if isinstance(metric, str) and metric == "precomputed":
        raise ValueError("metric='precomputed' has distances, and neighbours are searched among rows")
    searches.resolve(search, metric=metric, n=2, p=1, metric_params=metric_params)
    check_prepare(prepare)
    with_gaps_kept(prepare, metric)
    if prepare is not None and prepare.to_drop:
        raise ValueError("each row has neighbours, and missing='drop' leaves some out; let Missing fill values in")
    if block_rows is not None:
        block_rows = whole("block_rows", block_rows, least=1)
    asked = Asked(k, metric, metric_params, search, prepare, seed, threads)
    stages: list[RunStage] = [Read(asked), Search(asked)]
    with (
        opened(source, dataset, columns, allow_missing_chunks) as table,
        Folder(Path(out), resume=resume, makes=made_by(stages)) as home,
    ):
        check_k(k, table.shape[0], itself=True)
        home.check_room(room_of(stages, table))
        request = {
            "k": k, "metric": plain(metric), "metric_params": plain(metric_params), "search": plain(search),
            "prepare": None if prepare is None else plain(prepare.steps), "random_state": seed,
        }  # fmt: skip
        job = job_of("neighbors", table, home, request)
        if home.finished:
            return _finished(home, job)
        work = begun(job, table, home, resume=resume, progress=progress, seed=seed, block_rows=block_rows)
        drive([*stages, Seal(home, job)], work)
    return Graph.open(home.path, verify=False)


class Asked(NamedTuple):
    """The options of a search, which its stages share; see `neighbors`."""

    k: int
    metric: Metric
    metric_params: Named | None
    search: Any
    prepare: Preparation | None
    seed: int
    threads: Threads


class Read(RowStage):
    """Prepares and checks all rows, and writes them where the search finds them."""

    name = "read"
    makes = (SCRATCH,)

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._columns = 0

    def room(self, table: Source) -> int:
        # The rows, and once more in the order of the search; the width of prepared ones is known only after a pass.
        return table.shape[0] * (8 * table.shape[1] if self.asked.prepare is None else 0)

    def where(self, work: Work) -> Path:
        return work.folder / SCRATCH

    def shapes(self, work: Work) -> dict[str, tuple[int, ...]]:
        return {"rows": (work.table.shape[0], self._columns)}

    def table(self, work: Work) -> Source:
        return as_source(work.take(Prepared).table)

    def compute(self, work: Work) -> Compute:
        return lambda first, rows: {"rows": rows}

    def run(self, work: Work) -> Facts:
        asked = self.asked
        ready = prepared(
            work.table, asked.prepare, asked.metric, seed=asked.seed, n_jobs=asked.threads.n_jobs,
            progress=work.progress,
        )  # fmt: skip
        check_no_row_dropped(ready, "each row has neighbours")
        self._columns = int(as_source(ready.table).shape[1])
        work.put(ready)
        self.where(work).mkdir(exist_ok=True)
        self.fill(work)
        return {"columns": self._columns}

    def reopen(self, work: Work, facts: Facts) -> None:
        self._columns = int(facts["columns"])
        super().reopen(work, facts)


class Search(RowStage):
    """Searches the neighbours of all rows, some at a time, in the order of the index."""

    name = "search"
    makes = ("indices.npy", "distances.npy", _ORDER)

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._facts: dict[str, Any] = {}

    def room(self, table: Source) -> int:
        return table.shape[0] * (8 * self.asked.k + 4) + (1 << 16)

    def shapes(self, work: Work) -> dict[str, tuple[int, ...]]:
        shape = (work.table.shape[0], self.asked.k)
        return {"indices": shape, "distances": shape}

    def types(self, work: Work) -> dict[str, DTypeLike]:
        return {"indices": np.uint32}

    def table(self, work: Work) -> Source:
        rows = self._rows(work)
        # They were looked at when they were laid down.
        return Lacking(rows) if self.asked.metric == GAPS else as_source(rows)

    def _rows(self, work: Work) -> Float32:
        rows: Float32 = np.load(work.folder / SCRATCH / "rows.npy", mmap_mode="r", allow_pickle=False)
        return rows

    def compute(self, work: Work) -> Compute:
        asked = self.asked
        # A plain array over the mapped file, since Numba does not know other kinds.
        rows = np.asarray(self._rows(work))
        with on_disk(work.folder / SCRATCH):
            index = self._index(rows)
        self._facts = GraphFacts(
            asked.metric if isinstance(asked.metric, str) else None,
            index.unit,
            float(index.recall(asked.k)),
            fingerprint_of(hashes_of(as_searched(rows, index), asked.threads)[:, 0]),
        ).json()
        tell_recall(index, asked.k)
        order = index.order if index.query_part(0, 1, asked.k) is not None else None
        if order is None:
            indices, distances = index.query_self(asked.k)
            return lambda first, some: {
                "indices": indices[first : first + len(some)], "distances": distances[first : first + len(some)],
            }  # fmt: skip
        write_array(work.folder / _ORDER, order)
        place_of = np.empty(len(order), np.uint32)
        place_of[order] = np.arange(len(order), dtype=np.uint32)

        def search(first: int, some: Float32) -> dict[str, Any]:
            found = index.query_part(first, first + len(some), asked.k)
            assert found is not None
            return {"indices": place_of[found[0]], "distances": found[1]}

        return search

    def _index(self, rows: Float32) -> Index:
        asked, (n, p) = self.asked, rows.shape
        search = searches.resolve(asked.search, metric=asked.metric, n=n, p=p, metric_params=asked.metric_params)
        log.info("neighbours of %s rows of %s columns by %r", f"{n:,}", f"{p:,}", search)
        searches.tell_unlikely(rows, asked.metric)
        return searches.build(
            search, rows, metric=asked.metric, metric_params=None if asked.metric_params is None else
            dict(asked.metric_params), rng=generator(asked.seed, "neighbors"), threads=asked.threads,
        )  # fmt: skip

    def summary(self, work: Work) -> Facts:
        order = work.folder / _ORDER
        return {"facts": self._facts, "order": sum_of(order) if order.exists() else None}

    def reopen(self, work: Work, facts: Facts) -> None:
        if facts["order"] is not None:
            check_sum(work.folder / _ORDER, facts["order"], work.folder)
        super().reopen(work, facts)


class Seal(RunStage):
    """Writes the manifest, which makes the folder whole."""

    name = "seal"

    def __init__(self, home: Folder, job: dict[str, Any]) -> None:
        self.home, self.job = home, job

    def run(self, work: Work) -> None:
        path = self.home.path
        facts = {**work.facts["search"]["facts"], "source": self.job["source"]}
        files = [name for name in Search.makes if (path / name).exists()]
        content = {"facts": facts, "source": repr(work.table), "seconds": work.seconds, "job": self.job}
        try:
            storage.seal(path, KIND, content, {name.removesuffix(".npy"): name for name in files})
        except OSError as error:
            raise type(error)(f"{path} could not be written: {error.strerror or error}") from error


def _finished(home: Folder, job: dict[str, Any]) -> Graph:
    """The graph that the folder already holds, if it is the one that is asked for."""
    content = read_manifest(home.path)["content"]
    if found := differences(content.get("job", {}), json.loads(json.dumps(job))):
        raise ValueError(f"{home.path} holds the result of another run: {'; '.join(found)}; name a new folder")
    return Graph.open(home.path)
