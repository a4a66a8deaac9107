"""`ParametricTSNE`: a map that is a function."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from tsne_ooc._options import number, unknown, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator, seed_of
from tsne_ooc._validate import as_rows
from tsne_ooc.batches import Batches
from tsne_ooc.estimator import TSNE
from tsne_ooc.io import Source, as_source, identity_of, iterate
from tsne_ooc.model import Model
from tsne_ooc.optimize import callbacks_of
from tsne_ooc.parametric.checkpoint import Checkpoint
from tsne_ooc.parametric.network import (
    STEP,
    Encoder,
    ResidualNetwork,
    leading_axes,
    padded,
    standardisation,
)
from tsne_ooc.parametric.objectives import Stage, resolve
from tsne_ooc.parametric.problem import Problem
from tsne_ooc.parametric.teaching import MOST_FITTED, Taught, default_teacher, teach
from tsne_ooc.parametric.tiles import encode, tile_for
from tsne_ooc.parametric.training import Options, train
from tsne_ooc.parametric.validation import HELD_OUT, REFERENCE, Validation
from tsne_ooc.placement import Placed, Placement, nearest
from tsne_ooc.preprocess import Preparation, PreparedSource
from tsne_ooc.reading import streamed
from tsne_ooc.sampling import draw, take

Float32 = NDArray[np.float32]

# Rows that standardisation and the first axes are taken from: their means are off by 0.3 % of a deviation.
LOOKED_AT = 100_000
# Batches of the default training.
STEPS = 4000


class ParametricTSNE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A neural network that puts rows where t-SNE would: a new row costs one forward pass.

    It learns from a map, its teacher: a `TSNE` fitted on all rows or on a sample of them, with all others placed
    beside it. First it is taught where the rows lie (distillation); where the affinities of all rows are at hand, it
    then follows the gradient of t-SNE's own divergence (field tuning).

    Parameters
    ----------
    teacher : TSNE or None, default None
        Fitted or not; what it says of axes, perplexity, metric, sample and preparation holds here too. None is one of
        all rows up to 100,000 rows, and of a sample of 25,000 beyond.
    objective : str, objective or sequence of Stage, default "auto"
        "auto" (distillation, then field tuning where the teacher has all rows), "distillation", "field",
        "batch_local", "negative_sampling", "infonc", one of the objects of `tsne_ooc.parametric.objectives`, or
        stages of them.
    network : (int, int) or torch.nn.Module, default (128, 4)
        Width of hidden layers, a multiple of 16, and their number; or any network from (m, p) to (m, d), which is
        copied, and gets standardised rows.
    n_iter : int or "auto", default "auto"
        Batches; "auto" is 4,000.
    batch_size : int, default 1024
    learning_rate : float, default 2e-3
        Of AdamW; Muon, which moves the matrices between hidden layers, has ten times as much. Both rise over the
        first 3 % of a stage and fall along a cosine.
    prepare : Preparation or None, default None
        What is done to rows first, here and in `transform`.
    shuffle : str, default "full"
        Order of the batches, see `tsne_ooc.batches.Batches`: "full", "buffer", "batch".
    validation : bool, default True
        Hold out a tenth of the rows, at most 1,000, and look at them every 500 batches; of the last stage, the weights
        that did best are kept. Their places count among the neighbours of other rows.
    patience : int or None, default None
        Looks at the held-out rows without a better one before the training ends.
    callbacks : callable or sequence of callable, default None
        Called with (batch, loss, encoder) every `callbacks_every_iters` batches; a true return value ends the training.
    callbacks_every_iters : int, default 50
    device : str, default "auto"
        "auto" is the graphics card where torch has one, else the processor; or what torch calls a device.
    n_jobs : int or None, default None
        Threads of the teacher, the field and `transform`. Those of torch's training are torch's own.
    random_state : int, generator or None, default None
        The same whole number gives the same weights on the same machine with the same number of torch threads.
    verbose : bool, default False
        Show a bar with the loss, rows per second and the time that is left.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        From prepared rows to the map.
    teacher_ : TSNE
        The map it learnt from.
    preparation_ : Preparation or None
    history_ : dict
        Columns of numbers: of each batch, each epoch, and each look at held-out rows.
    n_iter_ : int
        Batches that were learnt from.
    n_features_in_ : int
    novelty_threshold_ : float
        Of the teacher: rows whose novelty is beyond it are strangers.

    References
    ----------
    van der Maaten, AISTATS 2009 (parametric t-SNE); Damrich et al., ICLR 2023 (contrastive objectives).

    Examples
    --------
    >>> model = ParametricTSNE(random_state=0).fit(h5_file["X"])  # doctest: +SKIP
    >>> Y = model.transform(new_rows)  # doctest: +SKIP
    """

    def __init__(
        self,
        teacher: TSNE | None = None,
        *,
        objective: Any = "auto",
        network: Any = (128, 4),
        n_iter: Any = "auto",
        batch_size: int = 1024,
        learning_rate: float = 2e-3,
        prepare: Preparation | None = None,
        shuffle: str = "full",
        validation: bool = True,
        patience: int | None = None,
        callbacks: Any = None,
        callbacks_every_iters: int = 50,
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.teacher = teacher
        self.objective = objective
        self.network = network
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.prepare = prepare
        self.shuffle = shuffle
        self.validation = validation
        self.patience = patience
        self.callbacks = callbacks
        self.callbacks_every_iters = callbacks_every_iters
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    #: Batches between looks at the held-out rows, and between checkpoints.
    LOOK_EVERY = 500

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | os.PathLike[str] | None = None) -> ParametricTSNE:
        """Learn the map of the rows of X.

        Parameters
        ----------
        X : h5py.Dataset, array-like, DataFrame or other source of shape (n, p)
            Read in batches; in memory as a whole only where the teacher is fitted on all rows.
        y : ignored
        checkpoint : path, optional
            Folder that keeps the state of the training every 500 batches. A training that finds its own there goes on
            from it, and ends with the weights of an unbroken one (to the bit with one thread of torch).

        Returns
        -------
        ParametricTSNE
            Itself.

        Raises
        ------
        ValueError, TypeError
            For unusable options or data, naming the option, or the row and column.
        FloatingPointError
            Where a loss is not finite, naming the rows of its batch.
        """
        stages = resolve(self.objective, graph=True)
        steps = (
            STEPS if isinstance(self.n_iter, str) and self.n_iter == "auto" else whole("n_iter", self.n_iter, least=1)
        )
        options = Options(
            stages, steps, number("learning_rate", self.learning_rate, above=0), self.LOOK_EVERY,
            None if self.patience is None else whole("patience", self.patience, least=1), callbacks_of(self.callbacks),
            whole("callbacks_every_iters", self.callbacks_every_iters, least=1), bool(self.verbose),
        )  # fmt: skip
        if self.patience is not None and not self.validation:
            raise ValueError("patience counts looks at held-out rows; it needs validation=True")
        whole("batch_size", self.batch_size, least=2)
        device, threads, seed = _device(self.device), Threads(self.n_jobs), seed_of(self.random_state)
        self._check_network()
        teacher, fitted = self._teacher()

        table, preparation = self._prepare(X, teacher, fitted, seed)
        n, p = table.shape
        if n < 3:
            raise ValueError(f"{table!r} has {n} sample(s) (shape={table.shape}) while a minimum of 3 is required.")
        if teacher is None:
            auto = self.objective == "auto"
            moving = auto or any(stage.objective.needs == "targets" for stage in stages)
            teacher = default_teacher(n, moving, seed, self.n_jobs)
            # Of a sample there is no graph of all rows.
            stages = resolve(self.objective, graph=n <= MOST_FITTED)
        wanted = any(stage.objective.needs == "graph" for stage in stages)
        taught = teach(teacher, table, fitted=fitted, graph=wanted, seed=seed, threads=threads)
        stages = resolve(self.objective, graph=taught.graph is not None)
        problem = self._problem(taught, n, seed, threads, device)
        encoder = self._encoder(table, taught, problem, seed).to(device)
        held, validation = self._held_out(table, taught, problem, seed)
        problem = replace(problem, held=np.flatnonzero(held))
        job = None
        if checkpoint is not None:
            job = Checkpoint(checkpoint, self._job(table, stages, steps, seed, encoder))
        batches = Batches(table, batch_size=min(self.batch_size, n), shuffle=self.shuffle, seed=seed)
        with batches:
            done = train(
                encoder, problem, batches, held, options._replace(stages=stages), validation=validation, checkpoint=job
            )
        if done.stopped == "interrupted":
            warnings.warn(
                f"interrupted after {done.steps} of {steps} batches; the encoder is the best one until then",
                RuntimeWarning,
                stacklevel=2,
            )
        validate_data(self, X if hasattr(X, "shape") else np.asarray(X), reset=True, skip_check_array=True)
        self.encoder_, self.teacher_, self.preparation_ = encoder.cpu(), taught.teacher, preparation
        self.history_, self.n_iter_ = done.history.columns(), done.steps
        self._tile = tile_for(self.encoder_, p)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Float32:
        """`fit`, then where the encoder puts the rows."""
        return self.fit(X).transform(X)

    def transform(self, X: Any) -> Float32:
        """Put rows on the map, each by a forward pass.

        Parameters
        ----------
        X : array-like, DataFrame, h5py.Dataset or other source of shape (m, p)
            What is no array in memory is streamed in blocks.

        Returns
        -------
        ndarray of float32, shape (m, d)
            The same to the bit for any chunking and number of threads.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            For unusable data, naming the row and column; before `fit`.
        """
        n, blocks = self._blocks(X)
        out = np.empty((n, self._n_features_out), np.float32)
        for start, stop, block in blocks:
            out[start:stop] = self._encode(block)
        return out

    def score_samples(self, X: Any) -> Float32:
        """Novelty of rows as the teacher sees it: **the higher, the stranger**; see `TSNE.score_samples`.

        It costs a search among the teacher's rows, which `transform` does without.
        """
        n, blocks = self._blocks(X)
        out = np.empty(n, np.float32)
        for start, stop, block in blocks:
            out[start:stop] = self._novelty(block)
        return out

    def place_prepared(self, rows: Any) -> Placed:
        """Places and novelty of rows that are prepared and checked, float32, as `TSNE.place_prepared` answers."""
        check_is_fitted(self)
        rows = np.ascontiguousarray(rows, np.float32)
        known = self.teacher_._model.reference is not None
        return Placed(self._encode(rows), np.zeros(len(rows), np.int32), self._novelty(rows) if known else None)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the encoder, its teacher and the preparation to a folder that `tsne_ooc.parametric.load` reads.

        Parameters
        ----------
        path : path
            A folder that does not exist, or is empty.
        overwrite : bool, default False
            Replace a saved encoder there.

        Raises
        ------
        OSError
            Where something else is in the way, or the disk is full.
        ValueError
            For a teacher that no file can hold.
        """
        from tsne_ooc.parametric.saving import save

        check_is_fitted(self)
        save(self, Path(path), overwrite=overwrite)

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write the encoder as an ONNX file, for any number of rows; input "rows", output "places", both float32.

        What goes in are prepared rows: standardisation is part of the file, `preparation_` is not.

        Raises
        ------
        ModuleNotFoundError
            Without the packages onnx and onnxscript.
        """
        from tsne_ooc.parametric.onnx import export

        check_is_fitted(self)
        return export(self.encoder_, self._columns, Path(path))

    @property
    def embedding_(self) -> Float32:
        """The teacher's map."""
        return self.teacher_.embedding_

    @property
    def novelty_threshold_(self) -> float:
        return self.teacher_.novelty_threshold_

    @property
    def placement(self) -> Placement | None:
        """How the teacher places rows."""
        return self.teacher_.placement

    @property
    def _model(self) -> Model:
        return self.teacher_._model

    # ------------------------------------------------------------------------------------------------ the pieces

    def _teacher(self) -> tuple[TSNE | None, bool]:
        """A teacher of our own, and whether it is fitted; None for the default one."""
        if self.teacher is None:
            return None, False
        if not isinstance(self.teacher, TSNE):
            raise TypeError(f"teacher={self.teacher!r} is not a TSNE")
        if hasattr(self.teacher, "embedding_"):
            if self.prepare is not None:
                raise ValueError("prepare and a fitted teacher, which has its own: pass one of them")
            return self.teacher, True
        self.teacher.check_options()
        if self.prepare is not None and self.teacher.prepare is not None:
            raise ValueError("prepare is given here and to the teacher; pass one of them")
        return clone(self.teacher).set_params(prepare=None), False

    def _prepare(self, X: Any, teacher: TSNE | None, fitted: bool, seed: int) -> tuple[Source, Preparation | None]:
        """The table of prepared rows, and the fitted preparation."""
        table = as_source(X) if streamed(X) else as_source(as_rows(X))
        if fitted:
            preparation = getattr(teacher, "preparation_", None)
        else:
            wanted = self.prepare if self.prepare is not None else getattr(self.teacher, "prepare", None)
            if wanted is not None and not isinstance(wanted, Preparation):
                raise TypeError(f"prepare={wanted!r} is not a tsne_ooc.preprocess.Preparation")
            preparation = None
            if wanted is not None:
                preparation = Preparation(wanted.steps).fit(table, random_state=seed, n_jobs=self.n_jobs)
        if preparation is not None:
            table = PreparedSource(table, preparation, n_jobs=self.n_jobs)
        if fitted and teacher is not None and table.shape[1] != teacher._columns:
            raise ValueError(f"{table!r} has {table.shape[1]} columns, the teacher's rows have {teacher._columns}")
        return table, preparation

    def _problem(self, taught: Taught, n: int, seed: int, threads: Threads, device: Any) -> Problem:
        model = taught.teacher._model
        width = float(model.embedding.std(axis=0).max())
        if taught.teacher.n_iter_ == 0 or not width > 0:
            # A map that was not optimised has no width; optimised ones have about this one.
            width = 0.2 * float(np.sqrt(n))
        dof, exaggeration = float(model.dof), float(model.exaggeration)
        return Problem(n, width, dof, exaggeration, taught.targets, taught.graph, seed, threads, device)

    def _encoder(self, table: Source, taught: Taught, problem: Problem, seed: int) -> Encoder:
        n, p = table.shape
        d = taught.teacher.embedding_.shape[1]
        rows = take(table, draw(n, min(n, LOOKED_AT), generator(seed, "standardisation")))
        center, scale = standardisation(rows)
        origin = taught.teacher.embedding_.mean(axis=0)
        if isinstance(self.network, torch.nn.Module):
            from copy import deepcopy

            body = deepcopy(self.network)
        else:
            width, depth = self.network
            body = ResidualNetwork(padded(p), d, width, depth)
            axes = np.zeros((d, padded(p)), np.float32)
            axes[:, :p] = leading_axes((rows - center) * scale, d)
            body.initialise(axes, generator(seed, "network"))
        encoder = Encoder(body, center, scale, origin, problem.width)
        found = tuple(body(torch.zeros((2, padded(p) if isinstance(body, ResidualNetwork) else p))).shape)
        if found != (2, d):
            raise ValueError(f"network turns rows of shape (2, {p}) into {found}, and the map has {d} axes")
        return encoder

    def _held_out(
        self, table: Source, taught: Taught, problem: Problem, seed: int
    ) -> tuple[NDArray[np.bool_], Validation | None]:
        n = table.shape[0]
        held = np.zeros(n, np.bool_)
        count = min(HELD_OUT, n // 10)
        if not self.validation or not count:
            return held, None
        rows = draw(n, min(n, count + REFERENCE), generator(seed, "validation"))
        chosen = np.zeros(len(rows), np.bool_)
        chosen[generator(seed, "held out").permutation(len(rows))[:count]] = True
        held[rows[chosen]] = True
        found, teacher = take(table, rows), taught.teacher
        look = Validation(
            found[chosen], found[~chosen], taught.targets[rows[chosen]], problem.width, metric=teacher.metric,
            metric_params=teacher.metric_params, dof=problem.dof, threads=problem.threads,
        )  # fmt: skip
        return held, look

    def _job(self, table: Source, stages: list[Stage], steps: int, seed: int, encoder: Encoder) -> dict[str, Any]:
        return {
            "source": repr(sorted(identity_of(table).items(), key=str)),
            "objective": repr(stages),
            "n_iter": steps,
            "random_state": seed,
            "batch_size": int(self.batch_size),
            "learning_rate": float(self.learning_rate),
            "shuffle": self.shuffle,
            "validation": bool(self.validation),
            "network": repr(encoder),
            "teacher": repr(self.teacher),
        }

    def _check_network(self) -> None:
        if isinstance(self.network, torch.nn.Module):
            return
        if not isinstance(self.network, tuple | list) or len(self.network) != 2:
            raise TypeError(f"network={self.network!r} is neither (width, depth) nor a torch.nn.Module")
        if whole("network width", self.network[0], least=1) % STEP:
            raise ValueError(f"network width {self.network[0]} must be a multiple of {STEP}")
        whole("network depth", self.network[1], least=0)

    def _encode(self, rows: Float32) -> Float32:
        return encode(self.encoder_, rows, self._n_features_out, Threads(self.n_jobs), self._tile)

    def _novelty(self, rows: Float32) -> Float32:
        model, reference = self.teacher_._model, self.teacher_._reference()
        parts = [reference.score(*nearest(model, rows[a : a + BLOCK], Placement())) for a in range(0, len(rows), BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _blocks(self, X: Any) -> tuple[int, Iterator[tuple[int, int, Any]]]:
        """The number of rows of X, and prepared and checked blocks of them."""
        check_is_fitted(self)
        preparation = self.preparation_
        if streamed(X):
            table = as_source(X)
            if preparation is not None:
                table = PreparedSource(table, preparation, n_jobs=self.n_jobs)
            return table.shape[0], iterate(table, columns=self._columns)
        rows = as_rows(X if preparation is None else preparation.transform(X, n_jobs=self.n_jobs))
        validate_data(self, X if hasattr(X, "shape") else np.asarray(X), reset=False, skip_check_array=True)
        return len(rows), iter([(0, len(rows), rows)])

    @property
    def _columns(self) -> int:
        """Columns of prepared rows."""
        return int(self.n_features_in_ if self.preparation_ is None else self.preparation_.n_features_out)

    @property
    def _n_features_out(self) -> int:
        return int(self.teacher_.embedding_.shape[1])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")


# Rows whose neighbours are searched for at once.
BLOCK = 32_768


def _device(word: str) -> Any:
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(word)
    except (RuntimeError, TypeError):
        raise unknown("device", word, ("auto", "cpu", "cuda", "mps")) from None
