"""Whole runs under a name: options of `embed` that others have found to be good for a kind of data."""

from __future__ import annotations

import logging
import os
from typing import Any

from tsne_ooc._options import number, pick
from tsne_ooc._typing import StrPath, TableLike
from tsne_ooc.estimator import TSNE
from tsne_ooc.io import open_source
from tsne_ooc.neighbors import Graph
from tsne_ooc.pipeline import Run, embed
from tsne_ooc.pipeline.embedding import SAMPLE
from tsne_ooc.pipeline.request import copied
from tsne_ooc.preprocess import PCA, Preparation
from tsne_ooc.refinement import Refinement
from tsne_ooc.sampling import resolve_sample

log = logging.getLogger(__name__)

# In the fit of the sample each row is drawn to its nearest 1/150 of all, equally: of 25,000 to 167. The published
# recipe has a perplexity of 500; six times as many affinities as here, of a perplexity of 333, end no better: "The
# sample of the recipe" in docs/experiments.md.
ROWS_PER_NEIGHBOR = 150
# So many nearest rows, drawn to equally, are like a perplexity of one (Böhm, Berens and Kobak, JMLR 23, 2022).
NEIGHBORS_PER_PERPLEXITY = 1.5
# Tables of more than 100 columns are brought to 50 principal components.
WIDE, COMPONENTS = 100, 50


def large(
    source: TableLike,
    *,
    out: str | os.PathLike[str],
    perplexity: float = 30.0,
    exaggeration: float | None = None,
    sample: Any = SAMPLE,
    sample_perplexity: float | None = None,
    reference: int | None = None,
    memory: float | None = None,
    scratch: StrPath | None = None,
    graph: Graph | None = None,
    prepare: Preparation | str | None = "auto",
    tsne: TSNE | None = None,
    dataset: str | None = None,
    columns: list[str] | None = None,
    allow_missing_chunks: bool = False,
    **options: Any,
) -> Run:
    """Follow the published recipe for large data: fit a sample at a high perplexity, place all others, move all rows.

    It is for tables from a hundred thousand rows up. The sample decides the large picture, and the neighbours of all
    rows the small one (Kobak and Berens, Nature Communications 10, 2019; openTSNE, "Embedding large data sets"). The
    recipe is a name for options of `embed`, which the manifest and the log tell.

    Parameters
    ----------
    source, out, dataset, columns, allow_missing_chunks
        As for `embed`.
    perplexity : float, default 30
        The perplexity of all rows.
    exaggeration : float, optional
        The exaggeration of both maps; the published recipe ends at 4, which keeps the classes of millions of rows
        together. By default it is that of `tsne`, which is 1.
    sample : int or object of `tsne_ooc.sampling`, default 25,000
    sample_perplexity : float, optional
        The perplexity of the sample's fit. By default it has equal affinities to the nearest 1/150 of its rows, or to
        1.5 x `perplexity` of them where that is more (but a third of them at most), unless `tsne` has another affinity.
    reference, memory, scratch
        As for `tsne_ooc.Refinement`.
    graph : tsne_ooc.neighbors.Graph, optional
        The neighbours of all rows, prepared as here; by default they are searched.
    prepare : Preparation, None or "auto", default "auto"
        "auto" brings tables of more than 100 columns to 50 principal components, where the metric is "euclidean".
    tsne : TSNE, optional
        All other options of both maps.
    **options
        Other options of `embed`.

    Returns
    -------
    Run

    Raises
    ------
    OSError, ValueError, TypeError, MemoryError
        As `embed` raises them.

    Examples
    --------
    >>> run = large("cells.h5", dataset="X", out="map", exaggeration=4)  # doctest: +SKIP
    """
    where: dict[str, Any] = {"dataset": dataset, "columns": columns, "allow_missing_chunks": allow_missing_chunks}
    model = TSNE() if tsne is None else copied(tsne, "tsne")
    if exaggeration is not None:
        model.set_params(exaggeration=exaggeration)
    settings = settings_of_large(
        source, model, perplexity=perplexity, sample=sample, sample_perplexity=sample_perplexity, reference=reference,
        memory=memory, scratch=scratch, graph=graph, prepare=prepare, where=where,
    )  # fmt: skip
    return embed(source, out=out, **settings, **where, **options)


def settings_of_large(
    source: TableLike, model: TSNE, *, perplexity: float, sample: Any, sample_perplexity: float | None,
    reference: int | None, memory: float | None, scratch: StrPath | None, graph: Graph | None,
    prepare: Preparation | str | None, where: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The options of `embed` that `large` stands for, for this table; those of `model` are set."""
    perplexity = number("perplexity", perplexity, above=0)
    chosen = resolve_sample(sample)
    known: dict[str, Any] = {} if graph is None else {"neighbors": graph}
    if isinstance(prepare, str) or sample_perplexity is None:
        n, p = _shape(source, **where)
        if isinstance(prepare, str):
            components = Preparation([PCA(COMPONENTS)]) if p > WIDE and model.metric == "euclidean" else None
            prepare = pick("prepare", prepare, {"auto": components})
        if sample_perplexity is None:
            rows = min(n, int(getattr(chosen, "size", SAMPLE)))
            equal = isinstance(model.affinity, str) and model.affinity in ("perplexity", "uniform")
            if equal:
                known["affinity"] = model.affinity
                model.set_params(affinity="uniform")
            sample_perplexity = perplexity_of_sample(rows, perplexity, equal=equal)
    model.set_params(perplexity=number("sample_perplexity", sample_perplexity, above=0))
    log.info(
        "recipe large: %r at perplexity %g (%s), then all rows at %g; prepare=%r",
        chosen,
        model.perplexity,
        model.affinity,
        perplexity,
        prepare,
    )
    refine = Refinement(perplexity=perplexity, reference=reference, memory=memory, scratch=scratch, **known)
    return {"sample": chosen, "tsne": model, "prepare": prepare, "refine": refine}


def perplexity_of_sample(rows: int, perplexity: float, *, equal: bool) -> int:
    """The perplexity of a sample of so many rows, where all rows have this one; of equal affinities, their number."""
    least = min(NEIGHBORS_PER_PERPLEXITY * perplexity, rows / 3) if equal else perplexity
    return max(1, round(max(least, rows / ROWS_PER_NEIGHBOR)))


def _shape(source: TableLike, **where: Any) -> tuple[int, int]:
    """The shape of a table; a file that a path leads to is closed again."""
    table = open_source(source, **where)
    try:
        return table.shape
    finally:
        if isinstance(source, str | os.PathLike) and hasattr(table, "close"):
            table.close()
