"""What a report is about: a map, what its folder tells of it, and the rows that it was made from, as far as they are
there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._options import counted
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Int64, Json, Named, StrPath
from tsne_ooc.estimator.loading import load
from tsne_ooc.estimator.saving import KIND as MODEL
from tsne_ooc.io import Source, names_of
from tsne_ooc.io.identity import differences, identity_of
from tsne_ooc.io.lacking import KeptRows
from tsne_ooc.io.told import account_of
from tsne_ooc.metrics._space import Space
from tsne_ooc.neighbors.base import BLOCKED, GAPS
from tsne_ooc.neighbors.pairwise import Pairwise
from tsne_ooc.pipeline import Run
from tsne_ooc.pipeline.models import model_under, opened_model
from tsne_ooc.pipeline.placer import EncoderPlacer, MapPlacer
from tsne_ooc.pipeline.table import opened
from tsne_ooc.plot.coordinates import coordinates_of
from tsne_ooc.storage import MANIFEST, kind_of
from tsne_ooc.storage.manifest import read_manifest

# What reading a table, or a model, may end with: it is told on the page, and the rest of the report is written.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, ImportError, MemoryError)


class Subject(NamedTuple):
    """A map.

    Parameters
    ----------
    name : str
    Y : array of shape (n, d)
    run : Run or None
        None for a saved model, and for coordinates alone.
    content : dict
        What the manifest of the run says; of a saved model what takes its place. Empty for coordinates alone.
    versions : dict of str to str
    placer : MapPlacer, EncoderPlacer or None
        What rows are placed with, where it is there.
    told : list of str
        What is not there, and why.
    """

    name: str
    Y: Array
    run: Run | None
    content: Json
    versions: dict[str, str]
    placer: MapPlacer | EncoderPlacer | None
    told: list[str]

    @property
    def there(self) -> Any:
        """Which rows have a place."""
        return np.isfinite(self.Y).all(axis=1)


class Evidence(NamedTuple):
    """Rows that a map is compared with.

    Parameters
    ----------
    space : Space or None
        None where there are none.
    Y : array
        Their places.
    rows : ndarray of int64 or None
        Their numbers, where they are not all rows of the map.
    told : list of str
        Which rows they are, and what became of the table.
    """

    space: Space | None
    Y: Array
    rows: Int64 | None
    told: list[str]


def subject_of(source: Run | StrPath | Any, n_jobs: int | None) -> Subject:
    """A map by its run, its folder, the folder of a saved model, a file of coordinates, or coordinates.

    Raises
    ------
    OSError, ValueError
        Where there is no such map, or it is damaged or not finished.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if (path / MANIFEST).is_file() and kind_of(path) == MODEL:
            return _of_model(path, n_jobs)
    found, what = coordinates_of(source)
    Y, run, name = found.Y, found.run, found.name
    if Y.ndim != 2 or not 1 <= Y.shape[1] <= 3:
        raise ValueError(f"{what} has shape {Y.shape}; a map has a row for each row and one to three columns")
    if run is None:
        return Subject(name, Y, None, {}, {}, None, [])
    placer, told = _placer_of(run, n_jobs)
    return Subject(name, Y, run, run.manifest, dict(read_manifest(run.folder)["versions"]), placer, told)


def _of_model(path: Path, n_jobs: int | None) -> Subject:
    model = load(path, n_jobs=n_jobs)
    manifest, fitted = read_manifest(path), model.map_
    content = {
        "task": "fit", "n_samples": fitted.model.n, "n_features": fitted.features.width,
        "n_components": fitted.n_components, "kl_divergence": fitted.kl_divergence, "n_iter": fitted.n_iter,
        "random_state": fitted.seed, "parameters": dict(manifest["content"]["parameters"]),
    }  # fmt: skip
    return Subject(path.name, np.asarray(model.embedding_), None, content, manifest["versions"], MapPlacer(model), [])


def _placer_of(run: Run, n_jobs: int | None) -> tuple[MapPlacer | EncoderPlacer | None, list[str]]:
    try:
        return opened_model(model_under(run), n_jobs), []
    except _UNREADABLE as error:
        return None, [f"what rows were placed with cannot be opened: {_line(error)}"]


@contextmanager
def evidence(subject: Subject, table: StrPath | None, threads: Threads) -> Iterator[Evidence]:
    """The rows of a map: its table, or what the model holds of it; with words on what is there and what is not."""
    told: list[str] = []
    with ExitStack() as held:
        found = _table(subject, table, held, told)
        rows = None if found is None else _of_table(subject, found, threads, told)
        yield rows or _of_the_fit(subject, threads, told)


def _table(subject: Subject, table: StrPath | None, held: ExitStack, told: list[str]) -> Source | None:
    """The table of a map, if it is there and as it was."""
    if subject.run is None:
        return None if table is None else held.enter_context(opened(table, None, None))
    facts = subject.content.get("job", {}).get("source", {})
    files = subject.content.get("files")
    where: Any = table or ([one["path"] for one in files] if files else facts.get("path"))
    if where is None:
        told.append("the map was made from an array in memory; --table names a file that has its rows")
        return None
    try:
        found = held.enter_context(opened(where, _dataset(facts), None))
        if _has_others(found, facts):
            found = held.enter_context(opened(where, _dataset(facts), list(facts["columns"])))
        now = identity_of(found, without=subject.run.folder)
    except _UNREADABLE as error:
        told.append(f"the table of the map cannot be read: {_line(error)}; --table says where it is now")
        return None
    # A copy may be in another kind of file.
    names = ("shape", "probes") if table is not None else tuple(facts)
    if lines := differences({name: facts[name] for name in names if name in facts}, now):
        told.append(f"the table is not what it was when the map was made: {'; '.join(lines)}")
        return None
    if subject.placer is None and subject.content["job"]["request"].get("prepare"):
        told.append("its rows were prepared by what went with the model, so they cannot be compared")
        return None
    return found


def _has_others(found: Source, facts: Named) -> bool:
    """Whether a table has other columns than the map is of, or these in another order, and they can be named."""
    columns, names = facts.get("columns"), names_of(found)
    if not columns or found.shape[1] != facts["shape"][1]:
        return bool(columns)
    # A copy may have names of its own.
    return names not in (None, columns) and {*columns} <= {*names, *account_of(found)["left_out"]}


def _dataset(facts: Named) -> str | None:
    name = facts.get("dataset")
    return None if name is None else str(name).strip("/") or None


def _of_table(subject: Subject, found: Source, threads: Threads, told: list[str]) -> Evidence | None:
    """Rows of the table, prepared as the map had them."""
    table, metric, params = found, "euclidean", None
    if subject.placer is not None:
        try:
            subject.placer.check_table(found)
            table = subject.placer.table_of(found)
        except _UNREADABLE as error:
            told.append(f"the table does not fit the map: {_line(error)}")
            return None
        metric, params = _metric_of(subject.placer)
    if table.shape[0] != len(subject.Y):
        told.append(
            f"the map has {counted(len(subject.Y), 'rows')} and the table {table.shape[0]:,}, so the map is of a part "
            "of it; merge the parts first (tsne-ooc merge)"
        )
        return None
    if metric == "precomputed":
        told.append("the map was made of distances, and not of rows")
        return None
    there = subject.there
    if there.all():
        return Evidence(Space(table, threads, metric, params), subject.Y, None, told)
    rows = np.flatnonzero(there)
    told.append(f"{counted(len(there) - len(rows), 'rows')} without coordinates are left out")
    whole = KeptRows(table, np.flatnonzero(~there), metric == GAPS)
    return Evidence(Space(whole, threads, metric, params), subject.Y[rows], rows, told)


def _of_the_fit(subject: Subject, threads: Threads, told: list[str]) -> Evidence:
    """The fitted rows, which the model of a map keeps."""
    placer = subject.placer
    if not isinstance(placer, MapPlacer) or subject.content.get("task") == "place":
        return Evidence(None, subject.Y, None, told)
    index = placer.estimator.map_.model.index
    metric, params = _metric_of(placer)
    try:
        rows = None if metric == "precomputed" else index.rows
    except NotImplementedError:
        rows = None
    if rows is None:
        told.append("the model holds no rows that could be compared")
        return Evidence(None, subject.Y, None, told)
    if subject.run is not None:
        told.append(
            f"what follows is of the {counted(len(rows), 'rows')} that the model holds, and not of those placed later"
        )
    return Evidence(Space(rows, threads, metric, params), placer.embedding, placer.estimator.sample_rows_, told)


def _metric_of(placer: MapPlacer | EncoderPlacer) -> tuple[Any, Named | None]:
    """The metric of a map, and its parameters, also those that it took from the rows."""
    index = placer.estimator.map_.model.index
    given = getattr(placer.estimator, "metric_params", None)
    metric = index.metric
    if not isinstance(metric, str) or metric == "precomputed" or (metric in BLOCKED and not given):
        return metric, given
    try:
        return metric, Pairwise(metric, given, index.rows).params
    except NotImplementedError:
        return metric, given


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
