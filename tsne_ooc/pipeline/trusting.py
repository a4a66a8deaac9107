"""A finished run in, how far to trust the place of each of its rows out: a folder of files beside its map."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc import storage
from tsne_ooc._options import counted, number, whole
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._typing import Float32, Json, Progress
from tsne_ooc.io import Source, identity_of, names_of
from tsne_ooc.io.identity import differences as other_table
from tsne_ooc.io.urls import path_of
from tsne_ooc.pipeline.beginning import begun, check_executor, job_of
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import ENCODER, digest_of, model_under, opened_model
from tsne_ooc.pipeline.placer import Mapped, MapPlacer
from tsne_ooc.pipeline.placing import pieces
from tsne_ooc.pipeline.request import differences
from tsne_ooc.pipeline.run import TRUST, Run, open_run
from tsne_ooc.pipeline.table import opened
from tsne_ooc.pipeline.workers import ReadsAndPlaces, parts_of
from tsne_ooc.stages import Facts, Remote, RowStage, RunStage, Work, drive
from tsne_ooc.storage.manifest import read_manifest
from tsne_ooc.streaming import Compute
from tsne_ooc.trust.judge import Judge
from tsne_ooc.workers import SavedModel, SharedTable

#: What is kept of each row; its novelty is a file of the run itself.
SCORES = ("recall", "singularity", "perturbation")
# A row is doubtful where a small move takes it so far, as a share of the map's width without its hundredth at each end.
# Of digits in a wrong island 65 and 62 % are (scikit-learn's, 6,000 of MNIST), and 6 and 12 % of the others; at a tenth
# of the width 76 and 86 %, and 13 and 28 %.
FAR = 0.25


def trust(
    run: str | os.PathLike[str],
    source: Any = None,
    *,
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    k: int = 10,
    length: float | None = None,
    directions: int = 3,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    block_rows: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Score the place of each row of a finished run, and keep the scores beside its map.

    They are those of `tsne_ooc.trust.scores`, of the places that the rows have in the run: fitted, placed, or moved
    together with all others. Killed at any moment, it goes on with ``resume=True``, and ends with the same bytes.

    Parameters
    ----------
    run : path
        The folder of a finished run of `embed` or `place`.
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.open_source` accepts
        The rows of the run, where its own table is not where it was. By default that is read.
    dataset, columns, allow_missing_chunks
        What to read of the file, as for `tsne_ooc.io.open_source`; by default what the run read.
    k, length, directions
        As for `tsne_ooc.trust.scores`.
    n_jobs : int or None
        Threads; with an executor those of each of its workers, by default one.
    executor : concurrent.futures.Executor, optional
        Scores blocks on its workers, which open model, map and table by their paths; what comes out is the same.
    block_rows : int, optional
        Rows that are read, scored and marked as done in one piece; what comes out does not depend on it.
    resume : bool
        Go on with scores that were not finished.
    progress : callable, optional
        Called as ``progress("trust", rows done, rows)``.

    Returns
    -------
    Run
        Its `trust` has the scores.

    Raises
    ------
    OSError
        Where the run is not finished, is scored already or just now, or reading or writing fails.
    ValueError, TypeError
        For a run without a map to ask, such as that of an encoder, another table, and where scores cannot go on because
        something else is asked for now.

    Examples
    --------
    >>> found = trust("map").trust  # doctest: +SKIP
    >>> found["recall"], found["singularity"], found["perturbation"]  # doctest: +SKIP
    """
    resolve_n_jobs(n_jobs)
    check_executor(executor)
    if block_rows is not None:
        block_rows = whole("block_rows", block_rows, least=1)
    asked: Json = {
        "k": whole("k", k, least=1),
        "length": None if length is None else number("length", length, above=0),
        "directions": whole("directions", directions, least=1),
    }
    found = open_run(run)
    if not resume and found.trusted is not None:
        raise FileExistsError(
            f"the rows of {found.folder} are scored already; remove {found.folder / TRUST} to score them again"
        )
    folder = _model_of(found)
    placer = opened_model(folder, n_jobs)
    assert isinstance(placer, MapPlacer)
    with (
        _table_of(found, source, dataset, columns, allow_missing_chunks) as table,
        Folder(found.folder / TRUST, resume=resume, makes=Score.makes) as home,
    ):
        _check_rows(found, table, given=source is not None)
        placer.check_table(table)
        home.check_room(4 * len(SCORES) * table.shape[0])
        job = job_of("trust", table, home, {"run": digest_of(found.folder), **asked})
        if home.finished:
            _check_finished(home, job)
            return found
        judge = Judge.of(placer.estimator, **asked)
        work = begun(job, table, home, resume=resume, progress=progress, block_rows=block_rows, executor=executor)
        home.keep = True
        work.put(Mapped(placer, None, folder))
        drive([Score(found, judge, asked, n_jobs), Seal(home, job)], work)
    return open_run(found.folder)


class Score(RowStage):
    """Scores all rows of a run.

    Parameters
    ----------
    run : Run
    judge : Judge
    asked : dict
        Options of `Judge.of` that it was made with.
    n_jobs : int or None
        Threads of each worker, where there are any.
    """

    name = "trust"
    makes = tuple(f"{name}.npy" for name in SCORES)

    def __init__(self, run: Run, judge: Judge, asked: Json, n_jobs: int | None) -> None:
        self.scored, self.judge, self.asked, self.n_jobs = run, judge, asked, n_jobs

    def shapes(self, work: Work) -> dict[str, tuple[int, ...]]:
        movable = self.judge.moves is not None
        return {name: (work.table.shape[0],) for name in SCORES if movable or name != "perturbation"}

    def table(self, work: Work) -> Source:
        return work.get(Mapped).placer.table_of(work.table)

    def compute(self, work: Work) -> Compute:
        scores, names = _Scores(self.judge, self.scored.folder), tuple(self.shapes(work))
        return lambda start, block: scores.of(start, block, names)

    def remote(self, work: Work) -> Remote | None:
        placer, _, folder = work.get(Mapped)
        assert folder is not None and work.kept is not None and isinstance(placer, MapPlacer)
        threads = getattr(work.executor, "threads", 1) if self.n_jobs is None else self.n_jobs
        scores = ScoresRows(
            SavedModel.of(folder, opened_model, parts_of(placer)), str(self.scored.folder.resolve()),
            digest_of(self.scored.folder), tuple(self.asked.items()), tuple(self.shapes(work)), threads,
        )  # fmt: skip
        table = SharedTable.of(work.table, work.kept.origin, work.folder.resolve())
        return Remote(scores, None if table is None else ReadsAndPlaces(table, scores))

    def summary(self, work: Work) -> Facts:
        judge = self.judge
        width = np.ptp(np.quantile(judge.model.embedding, [0.01, 0.99], axis=0), axis=0).max()
        far = float(FAR * width)
        counts = np.zeros(judge.k + 2, np.int64)
        for part in pieces(work.folder / "recall.npy"):
            kept = np.where(np.isnan(part), judge.k + 1, np.rint(part * judge.k)).astype(np.int64)
            counts += np.bincount(kept, minlength=len(counts))
        told = {"k": judge.k, "scored": int(counts[:-1].sum()), "kept": counts[:-1].tolist()}
        if judge.moves is None:
            return told
        doubtful = sum(int((part > far).sum()) for part in pieces(work.folder / "perturbation.npy"))
        return {**told, "length": judge.moves.length, "far": far, "doubtful": doubtful}


class Seal(RunStage):
    """Writes the manifest, which makes the folder a whole one."""

    name = "seal"

    def __init__(self, home: Folder, job: Json) -> None:
        self.home, self.job = home, job

    def run(self, work: Work) -> None:
        path = self.home.path
        files = [name for name in Score.makes if (path / name).exists()]
        content = {"facts": work.facts["trust"], "source": repr(work.table), "seconds": work.seconds, "job": self.job}
        try:
            storage.seal(path, TRUST, content, {name.removesuffix(".npy"): name for name in files})
        except OSError as error:
            raise type(error)(f"{path} could not be written: {error.strerror or error}") from error


class _Scores:
    """Scores of rows that lie where a run has them."""

    def __init__(self, judge: Judge, folder: Path) -> None:
        self.judge, self.path = judge, folder / "embedding.npy"

    def of(self, start: int, rows: Float32, names: tuple[str, ...]) -> dict[str, Float32]:
        # Mapped anew each time: pages that stay mapped count as memory.
        places = np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[start : start + rows.shape[0]])
        found = self.judge.of_rows(rows, places)
        return {name: found[name] for name in names}


@dataclass(frozen=True)
class ScoresRows:
    """What a worker does: scores rows of a run that it finds by its path.

    Parameters
    ----------
    model : SavedModel
    folder, digest : str
        Of the run.
    asked : tuple
        Options of `Judge.of` and their values.
    names : tuple of str
        The scores that are told.
    n_jobs : int
        Threads of this worker.
    """

    model: SavedModel
    folder: str
    digest: str
    asked: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]
    n_jobs: int

    def __call__(self, first: int, rows: Float32) -> dict[str, Float32]:
        return _made(self).of(first, rows, self.names)

    def placer(self) -> Any:
        """The saved model, opened."""
        return self.model.opened(self.n_jobs)


@lru_cache(maxsize=2)
def _made(asked: ScoresRows) -> _Scores:
    """One for all blocks of a run: its tree and its field take longer than a block."""
    if digest_of(Path(asked.folder)) != asked.digest:
        raise ValueError(f"{asked.folder} holds another run than that which is to be scored")
    return _Scores(Judge.of(asked.placer().estimator, **dict(asked.asked)), Path(asked.folder))


def _model_of(run: Run) -> Path:
    """The folder of the map that the rows of a run lie on."""
    if run.manifest["job"]["request"].get("rows") is not None:
        raise ValueError(f"{run.folder} is a part of a table; merge all parts first (tsne-ooc merge)")
    folder = model_under(run)
    if storage.kind_of(folder) == ENCODER:
        raise ValueError(
            f"the rows of {run.folder} are where an encoder puts them, and it has no energy to ask; place them on a "
            "map (tsne-ooc place)"
        )
    return folder


@contextmanager
def _table_of(
    run: Run, source: Any, dataset: str | None, columns: list[str] | None, allow_missing_chunks: bool
) -> Iterator[Source]:
    """The table that is given, or that the run was made from, as it was read."""
    told = run.manifest["job"]["source"]
    if source is None:
        files = [file["path"] for file in run.manifest.get("files", [])]
        path = told.get("path")
        if path is None:
            raise ValueError(f"{run.folder} was not made from a file; name the table that it was made from")
        if not all(path_of(file).exists() for file in files or [path]):
            raise FileNotFoundError(
                f"the table {path}, which the map was made from, is not there any more; name the place where it is now"
            )
        source, dataset = files or path, told.get("dataset") if dataset is None else dataset
        if columns is None and told.get("columns") is not None:
            with opened(source, dataset, None, allow_missing_chunks) as table:
                read = names_of(table)
            columns = None if read is not None and list(read) == told["columns"] else told["columns"]
    with opened(source, dataset, columns, allow_missing_chunks) as table:
        yield table


def _check_rows(run: Run, table: Source, *, given: bool) -> None:
    """Raise ValueError where a table does not have the rows of the run."""
    if table.shape[0] != len(run.embedding):
        rows = counted(table.shape[0], "rows")
        raise ValueError(
            f"{table!r} has {rows}, and the map {len(run.embedding):,}; name the table that it was made from"
        )
    old, new = run.manifest["job"]["source"], json.loads(json.dumps(identity_of(table, without=run.folder)))
    if given:
        # The same rows may be in another kind of file, with columns in another order, of numbers of another type.
        alike = all(old[name] == new[name] for name in ("dtype", "columns", "shape"))
        found = ["contents of the rows looked at are others"] if alike and old["probes"] != new["probes"] else []
    else:
        found = other_table(old, new)
    if found:
        raise ValueError(f"{table!r} is not the table that {run.folder} was made from: {'; '.join(found)}")


def _check_finished(home: Folder, job: Json) -> None:
    """Raise ValueError where the scores that are there were asked for otherwise."""
    there = read_manifest(home.path)["content"].get("job", {})
    if found := differences(there, json.loads(json.dumps(job))):
        raise ValueError(f"{home.path} holds other scores: {'; '.join(found)}; remove it to score the rows again")
