"""What a training begins with: the table, the problem, a network that knows nothing yet, and the rows held out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch

from tsne_ooc._context import warn
from tsne_ooc._options import counted, unknown, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Bool, Float32, Network, TableLike
from tsne_ooc._validate import as_rows, is_sparse
from tsne_ooc.batches import UNEVEN, Batches
from tsne_ooc.batches.sizes import mixed_rows_for
from tsne_ooc.estimator import TSNE
from tsne_ooc.intake.taking import Prepared, as_table, prepared
from tsne_ooc.io import Source, as_source, names_of
from tsne_ooc.io.reading import streamed
from tsne_ooc.neighbors.base import GAPS
from tsne_ooc.parametric.bounds import REACH, Bounds, bounds_of, together
from tsne_ooc.parametric.checkpoint import check_weights
from tsne_ooc.parametric.landmarks import count_of, first_landmarks
from tsne_ooc.parametric.network import (
    STEP,
    Encoder,
    ResidualNetwork,
    leading_axes,
    own_copy,
    padded,
    standardisation,
)
from tsne_ooc.parametric.problem import Problem
from tsne_ooc.parametric.teaching import Taught
from tsne_ooc.parametric.tiles import encode
from tsne_ooc.parametric.validation import HELD_OUT, REFERENCE, Validation
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import Drawn, draw, take

# Rows from which standardisation and the first axes are taken: their means are off by 0.3 % of a deviation.
LOOKED_AT = 100_000
# Weights of a layer so wide take 17 GB.
MOST_WIDTH, MOST_DEPTH = 1 << 16, 1 << 10
# From wide tables fewer are taken: as many as fit into so much memory.
LOOKED_AT_BYTES = 128 << 20


def prepared_rows(
    X: TableLike, prepare: Preparation | None, teacher: TSNE | None, fitted: bool, *, seed: int, n_jobs: int | None
) -> Prepared:
    """The table of prepared rows, as a source: behind `prepare`, or behind the preparation of a `fitted` teacher."""
    if is_sparse(X):
        as_rows(X)
    check_all_whole(prepare, teacher, fitted)
    if teacher is not None and fitted:
        table = X if streamed(X) else as_table(X)
        found = Prepared.of(table, teacher.preparation_, names_of(X), n_jobs)
    else:
        found = prepared(X, prepare, "euclidean" if teacher is None else teacher.metric, seed=seed, n_jobs=n_jobs)
    # Rows are rounded once, not with every batch.
    table = as_source(as_rows(X) if found.preparation is None and not streamed(X) else found.table)
    if teacher is not None and fitted and table.shape[1] != (p := teacher.features_.embedded):
        raise ValueError(f"{table!r} has {counted(table.shape[1], 'columns')}, and the teacher's rows have {p}")
    return found._replace(table=table)


def check_all_whole(prepare: Preparation | None, teacher: TSNE | None, fitted: bool) -> None:
    """Raise ValueError where some rows would be left out, or lack values: an encoder has a place for every row."""
    remedy = "let values be filled in: use prepare=Preparation([Missing('median')]) (--missing median)"
    if teacher is not None and isinstance(teacher.metric, str) and teacher.metric == GAPS:
        raise ValueError(f"an encoder reads every column of a row, so metric={GAPS!r} is for maps alone; {remedy}")
    if (prepare is not None and prepare.to_drop) or (teacher is not None and fitted and teacher.features_.drops):
        raise ValueError(f"an encoder has a place for every row, so missing='drop' is for maps alone; {remedy}")


def problem_of(taught: Taught, n: int, seed: int, threads: Threads, device: torch.device) -> Problem:
    """What an encoder learns about a table of n rows."""
    model = taught.teacher.map_.model
    width = float(model.embedding.std(axis=0).max())
    if taught.teacher.n_iter_ == 0 or not width > 0:
        # A map that was not optimised has no width; optimised ones have about this one.
        width = 0.2 * float(np.sqrt(n))
    dof, exaggeration = float(model.dof), float(model.exaggeration)
    return Problem(n, width, dof, exaggeration, taught.targets, taught.graph, seed, threads, device)


def rows_looked_at(n: int, p: int) -> int:
    """From how many rows scales are taken: from all, or from as many as are enough."""
    return min(n, LOOKED_AT, max(1000, LOOKED_AT_BYTES // (4 * p)))


def glance(table: Source, seed: int) -> Drawn:
    """Rows from which scales are taken, drawn uniformly."""
    n, p = table.shape
    rows = draw(n, rows_looked_at(n, p), generator(seed, "standardisation"))
    return Drawn(rows, take(table, rows))


def batches_of(table: Source | Float32, size: int, shuffle: str, seed: int, seen: Drawn) -> Batches:
    """Batches of a table; where the rows `seen` show that it is sorted, small blocks are mixed in a buffer."""
    batches = Batches(table, batch_size=size, shuffle=shuffle, seed=seed)
    if (share := batches.uneven(*seen)) <= UNEVEN:
        return batches
    if shuffle == "batch":
        warn(
            f"rows are in an order: {share:.0%} of their variance lies between blocks of {batches.block_rows:,}, and "
            "batches of one block each would teach one part of the map after the other; blocks are mixed in a buffer, "
            "as shuffle='buffer' does",
        )
    return Batches(table, batch_size=size, shuffle="buffer", block_rows=mixed_rows_for(batches.source), seed=seed)


def encoder_of(
    network: Network | tuple[int, int], landmarks: Any, rows: Float32, taught: Taught, problem: Problem
) -> Encoder:
    """The encoder before its training: principal components and landmarks, or a copy of the user's network.

    It is made from these rows, which are standardised in place.
    """
    p = rows.shape[1]
    d = taught.teacher.embedding_.shape[1]
    center, scale = standardisation(rows)
    origin = taught.teacher.embedding_.mean(axis=0)
    if isinstance(network, torch.nn.Module):
        body = own_copy(network)
    else:
        width, depth = network
        count = count_of(landmarks, *rows.shape)
        body = ResidualNetwork(padded(p), d, width, depth, count, REACH)
        # This is done in place: a second copy of the rows would be the peak of the training's memory.
        rows -= center
        rows *= scale
        body.initialise(_filled_up(leading_axes(rows, d)), generator(problem.seed, "network"))
        if body.nearness is not None:
            centres, sharpness = first_landmarks(rows, count, generator(problem.seed, "landmarks"), problem.threads)
            body.nearness.place(_filled_up(centres), sharpness)
    return Encoder(body, center, scale, origin, problem.width, bounded=True)


def bounds_after(encoder: Encoder, taught: Taught, problem: Problem, graph: bool) -> Bounds:
    """The bounds of a trained encoder: around its teacher's map and, where a stage followed the `graph`, its own."""
    if not graph or taught.graph is None:
        return bounds_of(taught.teacher.embedding_)
    own = together(encode(encoder, taught.graph.X, None, problem.threads))
    # A map that was not optimised has no meaningful places.
    maps = [taught.teacher.embedding_] if taught.teacher.n_iter_ else []
    return bounds_of(own, *maps)


def try_network(network: Network | tuple[int, int], p: int, d: int) -> None:
    """Raise ValueError where a user's own network does not turn rows into places, or has nothing to learn."""
    if not isinstance(network, torch.nn.Module):
        return
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(3, p)).astype(np.float32))
    body = deepcopy(network).cpu().eval()
    try:
        found, again = body(rows), body(rows)
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"network fails on rows of shape (3, {p}), float32: {why}") from error
    if not isinstance(found, torch.Tensor) or found.dtype != torch.float32:
        what = found.dtype if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
        raise ValueError(f"network turns rows into {what}, and places are a torch.Tensor of float32")
    if tuple(found.shape) != (3, d):
        raise ValueError(f"network turns rows of shape (3, {p}) into {tuple(found.shape)}, and the map has {d} axes")
    if not found.requires_grad:
        raise ValueError("network has nothing to learn: its places depend on no parameter that takes a gradient")
    if not torch.equal(found, again):
        raise ValueError(
            "network gives the same rows other places each time, in eval mode too; make all that is random depend on "
            "self.training"
        )


def _filled_up(rows: Float32) -> Float32:
    """Rows filled up with zeros to the columns of a network."""
    p = rows.shape[1]
    return np.pad(rows, ((0, 0), (0, padded(p) - p)))


def held_out(table: Source, taught: Taught, problem: Problem) -> tuple[Bool, Validation | None]:
    """Which rows are held out, and how they are looked at; of a table of fewer than ten rows none are."""
    n = table.shape[0]
    held = np.zeros(n, np.bool_)
    count = min(HELD_OUT, n // 10)
    if not count:
        return held, None
    rows = draw(n, min(n, count + REFERENCE), generator(problem.seed, "validation"))
    chosen = np.zeros(len(rows), np.bool_)
    chosen[generator(problem.seed, "held out").permutation(len(rows))[:count]] = True
    held[rows[chosen]] = True
    found, teacher = take(table, rows), taught.teacher
    look = Validation(
        found[chosen], found[~chosen], taught.targets[rows[chosen]], problem.width, metric=teacher.metric,
        metric_params=_metric_params(teacher), dof=problem.dof, threads=problem.threads,
    )  # fmt: skip
    return held, look


def _metric_params(teacher: TSNE) -> Any:
    """The metric's parameters as the teacher's search has them: also those that were taken from its rows, and arrays,
    of which a folder has only a few words."""
    pairwise = getattr(teacher.map_.model.index, "pairwise", None)
    if pairwise is not None:
        return pairwise.params
    return None if isinstance(teacher.metric_params, str) else teacher.metric_params


def check_network(network: Network | tuple[int, int]) -> None:
    """Raise ValueError or TypeError for what is neither (width, depth) nor a torch.nn.Module."""
    if isinstance(network, torch.nn.Module):
        return
    if not isinstance(network, tuple | list) or len(network) != 2:
        raise TypeError(f"network={network!r} is neither (width, depth) nor a torch.nn.Module")
    if whole("network width", network[0], least=1, most=MOST_WIDTH) % STEP:
        raise ValueError(f"network width {network[0]} must be a multiple of {STEP}")
    whole("network depth", network[1], least=0, most=MOST_DEPTH)


def check_network_saved(network: Network | tuple[int, int]) -> None:
    """Raise ValueError for a user's own network with weights that no file can hold."""
    if isinstance(network, torch.nn.Module):
        check_weights(network)


def check_landmarks(landmarks: Any, network: Network | tuple[int, int]) -> None:
    """Raise ValueError or TypeError for what is not a number of landmarks of this network."""
    if isinstance(landmarks, str):
        if landmarks != "auto":
            raise unknown("landmarks", landmarks, ("auto",))
        return
    if whole("landmarks", landmarks, least=0) % STEP:
        raise ValueError(f"landmarks={landmarks} must be a multiple of {STEP}")
    if landmarks and isinstance(network, torch.nn.Module):
        raise ValueError(f"landmarks={landmarks} are for (width, depth), not for a network of your own")


def device_of(word: str) -> torch.device:
    """The torch.device that a word names.

    Raises
    ------
    ValueError
        For an unknown word, and for a device that is not there.
    """
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(word)
    except (RuntimeError, TypeError):
        raise unknown("device", word, ("auto", "cpu", "cuda", "mps")) from None
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0][:160]
        raise ValueError(f"device={word!r} is not available here ({why}); use 'cpu', or leave it out") from None
    return device
