"""`ParametricTSNE`: a map that is a function."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tsne_ooc._elsewhere import answering
from tsne_ooc._options import number, truth, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._random import seed_of
from tsne_ooc._typing import Float32, Json, StrPath, TableLike
from tsne_ooc.batches import check_shuffle
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.saving import fingerprint
from tsne_ooc.fit.watch import callbacks_of
from tsne_ooc.intake import Prepared
from tsne_ooc.parametric.checkpoint import Checkpoint
from tsne_ooc.parametric.decoder import resolve as resolve_decoder
from tsne_ooc.parametric.fitted import EncodingEstimator
from tsne_ooc.parametric.fitted_encoder import FittedEncoder
from tsne_ooc.parametric.lesson import Lesson, lesson_stages, of_decoder
from tsne_ooc.parametric.objectives import resolve
from tsne_ooc.parametric.optimizer import MOST_RATE
from tsne_ooc.parametric.outset import check_landmarks, check_network, check_network_saved, device_of, prepared_rows
from tsne_ooc.parametric.shared import begin_threads, threads_kept
from tsne_ooc.parametric.teaching import given_teacher, is_fitted, unfrozen
from tsne_ooc.parametric.training import Options
from tsne_ooc.preprocess import Preparation
from tsne_ooc.stages import Work, drive
from tsne_ooc.storage.asked import parameters_of

# Batches of the default training, and its learning rate.
STEPS, RATE = 3000, 6e-3

# The fewest rows of which an encoder can be made.
FEWEST = 3


class ParametricTSNE(EncodingEstimator):
    """A neural network that puts rows where t-SNE would: a new row costs one forward pass.

    It learns from a map, its teacher: a `TSNE` fitted on all rows or on a sample of them, with all others placed
    beside it. First it is taught where the rows lie (distillation); where the affinities of all rows are at hand, and
    these are not few, it then follows the gradient of t-SNE's own divergence (field tuning).

    Parameters
    ----------
    teacher : TSNE or None, default None
        It may be fitted or not; a fitted one, also in a FrozenEstimator, stays fitted in copies of the encoder. Its
        options for axes, perplexity, metric, sample and preparation hold here, too. None is a teacher of all rows up to
        100,000 rows, and of a sample of 25,000 beyond.
    objective : str, objective or sequence of Stage, default "auto"
        "auto" (distillation, then field tuning where the teacher has all rows and at least 8,000), "distillation",
        "field", "batch_local", "negative_sampling", "infonc", one of the objects of
        `tsne_ooc.parametric.objectives`, or stages of them.
    network : (int, int) or torch.nn.Module, default (128, 4)
        Width of hidden layers, a multiple of 16, and their number; or any network from (m, p) to (m, d), which is
        copied, and gets standardised rows.
    landmarks : int or "auto", default "auto"
        Rows with which the network compares each row, a multiple of 16: they begin as centres of k-means, and are
        learnt. They give the network the detail that a smooth function misses, for the rows of `fit` and for new ones.
        "auto" is 1,024, fewer for tables of fewer than 16,384 rows or more than 512 columns, and 0 for a network of
        your own, which may have none. There are never more of them than rows.
    decoder : bool or Decoder, default False
        Train a decoder, too, from places back to rows, once the encoder is finished: for `inverse_transform` and
        `reconstruction_error`. The encoder is the same with and without.
    n_iter : int or "auto", default "auto"
        Batches; "auto" is 3,000.
    batch_size : int, default 2048
    learning_rate : float, default 6e-3
        That of AdamW; Muon, which moves the matrices between hidden layers, has ten times as much. Both rates rise over
        the first 3 % of a stage and fall over its last 40 %.
    augmentation : float, default 0.5
        Share of the rows of each batch, less than 1, that are moved by a part of the difference of two of their
        neighbours, where the affinities of all rows are at hand. The encoder then learns the map between its rows, too:
        it places new rows better, and rows that it has seen less well. 0 is for maps of the rows of `fit` alone.
    prepare : Preparation or None, default None
        Steps that rows go through first, here and in `transform`.
    shuffle : str, default "auto"
        Order of the batches, see `tsne_ooc.batches.Batches`: "full", "buffer" or "batch". "auto" is "full" up to
        100,000 rows, and beyond "buffer", which reads each chunk of a file once in an epoch. Where the means of blocks
        show that rows are sorted, "batch" warns and mixes as "buffer" does.
    validation : bool, default True
        Hold out a tenth of the rows, at most 1,000, and look at them every 500 batches; the weights of the last stage
        that did best are kept. Their places count among the neighbours of other rows.
    patience : int or None, default None
        Looks at the held-out rows without a better one before the training ends.
    callbacks : callable or sequence of callable, default None
        Called with (batch, loss, encoder) every `callbacks_every_iters` batches; a true return value ends the training.
    callbacks_every_iters : int, default 50
    device : str, default "auto"
        "auto" is the graphics card where torch has one, else the processor; or what torch calls a device.
    n_jobs : int or None, default None
        Threads of the teacher, the field and `transform`. Torch decides how many threads train.
    random_state : int, generator or None, default None
        The same whole number gives the same weights on the same machine with the same number of torch threads.
    verbose : bool, default False
        Show a bar with the loss, rows per second and the time that is left.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        From prepared rows to the map.
    decoder_ : torch.nn.Module or None
        From the map to prepared rows.
    teacher_ : TSNE
        The map that it learnt from.
    preparation_ : Preparation or None
    history_ : dict
        Columns of numbers: for each batch, each epoch, and each look at held-out rows; under "decoder" the same for its
        training.
    n_iter_ : int
        Number of batches that were learnt from.
    best_iter_ : int
        After how many of them the encoder had its weights: the best of the looks at held-out rows in the last stage.
    seed_ : int
        The seed that makes this encoder again as `random_state`; it is drawn where that is None.
    n_features_in_ : int
    novelty_threshold_ : float
        That of the teacher: rows whose novelty is beyond it are strangers.

    References
    ----------
    van der Maaten, AISTATS 2009 (parametric t-SNE); Damrich et al., ICLR 2023 (contrastive objectives).

    Examples
    --------
    >>> model = ParametricTSNE(random_state=0).fit(h5_file["X"])  # doctest: +SKIP
    >>> Y = model.transform(new_rows)  # doctest: +SKIP
    """

    @answering
    def __init__(
        self,
        teacher: TSNE | None = None,
        *,
        objective: Any = "auto",
        network: Any = (128, 4),
        landmarks: Any = "auto",
        decoder: Any = False,
        n_iter: Any = "auto",
        batch_size: int = 2048,
        learning_rate: float = RATE,
        augmentation: float = 0.5,
        prepare: Preparation | None = None,
        shuffle: str = "auto",
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
        self.landmarks = landmarks
        self.decoder = decoder
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.augmentation = augmentation
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

    def check_options(self) -> None:
        """Raise if an option is wrong that can be judged without the data; `fit` does so first.

        Raises
        ------
        ValueError, TypeError
            Naming the option.
        """
        self._options()
        given_teacher(self.teacher, self.prepare, 0)

    @answering
    def fit(self, X: TableLike, y: object = None, *, checkpoint: StrPath | None = None) -> ParametricTSNE:
        """Learn the map of the rows of X.

        Parameters
        ----------
        X : h5py.Dataset, array-like, DataFrame or other source of shape (n, p)
            It is read in batches, and is in memory as a whole only where the teacher is fitted on all rows.
        y : ignored
        checkpoint : path, optional
            Folder that keeps the state of the training every 500 batches. A training that finds its own there goes on
            from it, and ends with the weights of an unbroken one (to the bit with one thread of torch). A decoder has
            a folder of its own beside it, with ``.decoder`` behind the name.

        Returns
        -------
        ParametricTSNE
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            For unusable options or data, naming the option, or the row and column.
        FloatingPointError
            Where a loss is not finite, naming the rows of its batch.
        """
        with threads_kept():
            begin_threads()
            kept = None if checkpoint is None else Path(checkpoint)
            lesson, ready = self.lesson(X, kept, without=kept)
            work = Work(ready.table, seed=lesson.seed)
            work.put(lesson)
            work.put(ready)
            drive(lesson_stages(decoding=lesson.decoder is not None), work)
        # This is set at once, and last: a fit that fails leaves the one before as it was.
        self._fitted = work.get(FittedEncoder)
        return self

    def lesson(self, X: TableLike, checkpoint: Path | None, *, without: Path | None) -> tuple[Lesson, Prepared]:
        """The options of a training on X, resolved, and the table behind its preparation.

        Parameters
        ----------
        X : h5py.Dataset, array-like, DataFrame or other source
        checkpoint : Path or None
            Folder that keeps the state.
        without : Path or None
            Folder whose files are not part of the table.
        """
        options = self._options()
        seed, decoder = seed_of(self.random_state), resolve_decoder(self.decoder)
        if checkpoint is not None:
            Checkpoint.check(checkpoint)
            check_network_saved(self.network)
            if decoder is not None:
                Checkpoint.check(of_decoder(checkpoint))
            if self.random_state is None:
                seed = Checkpoint.seed_of(checkpoint, seed)
        teacher, fitted, prepare = given_teacher(self.teacher, self.prepare, seed)
        if fitted and teacher is not None:
            X = teacher.features_.lined_up(X, type(teacher).__name__)
        ready = prepared_rows(X, prepare, teacher, fitted, seed=seed, n_jobs=self.n_jobs)
        if (n := ready.table.shape[0]) < FEWEST:
            raise ValueError(f"{ready.table!r} has {n} sample(s) while a minimum of {FEWEST} is required.")
        lesson = Lesson(
            options, resolve(self.objective, tuned=False), float(self.augmentation), self.network, self.landmarks,
            self.batch_size, self.shuffle, bool(self.validation), decoder, device_of(self.device), Threads(self.n_jobs),
            self.n_jobs, seed, teacher, fitted, checkpoint, without,
            {} if checkpoint is None else self._asked(),
        )  # fmt: skip
        return lesson, ready

    @classmethod
    def of_fitted(cls, fitted: FittedEncoder, **parameters: Any) -> Self:
        """An estimator of these parameters whose training made `fitted`."""
        made = cls(**parameters)
        made._fitted = fitted
        return made

    @answering
    def fit_transform(self, X: TableLike, y: object = None) -> Float32:
        """`fit`, then where the encoder puts the rows."""
        return self.fit(X).transform(X)

    def __sklearn_clone__(self) -> ParametricTSNE:
        """A copy that is not fitted. A fitted teacher is shared, because its map is what is learnt from."""
        copy: ParametricTSNE = super().__sklearn_clone__()
        if is_fitted(self.teacher):
            copy.teacher = self.teacher
        return copy

    def _options(self) -> Options:
        """How to train, with all stages that there may be; raises for unusable options."""
        stages = resolve(self.objective, tuned=True)
        steps = (
            STEPS if isinstance(self.n_iter, str) and self.n_iter == "auto" else whole("n_iter", self.n_iter, least=1)
        )
        if not truth("validation", self.validation) and self.patience is not None:
            raise ValueError("patience counts looks at held-out rows; it needs validation=True")
        whole("batch_size", self.batch_size, least=2)
        if number("augmentation", self.augmentation, least=0) >= 1:
            raise ValueError(f"augmentation={self.augmentation!r} must be less than 1: some rows have to stay")
        if self.shuffle is None:
            raise ValueError("shuffle=None reads rows in their order, from which nothing is learnt; use 'batch'")
        if self.shuffle != "auto":
            check_shuffle(self.shuffle)
        check_network(self.network)
        check_landmarks(self.landmarks, self.network)
        resolve_decoder(self.decoder)
        device_of(self.device)
        Threads(self.n_jobs)
        if isinstance(self.learning_rate, str):
            raise TypeError(f"learning_rate={self.learning_rate!r} is not a number; leave it out for {RATE:g}")
        return Options(
            stages, steps, number("learning_rate", self.learning_rate, above=0, most=MOST_RATE), self.LOOK_EVERY,
            None if self.patience is None else whole("patience", self.patience, least=1), callbacks_of(self.callbacks),
            whole("callbacks_every_iters", self.callbacks_every_iters, least=1), bool(self.verbose),
        )  # fmt: skip

    def _asked(self) -> Json:
        """The options by which a training is recognised; its job tells what the others were resolved to."""
        resolved = ("objective", "n_iter", "random_state", "network", "device", "teacher", "prepare", "decoder")
        return {**parameters_of(self, without=resolved), "teacher": _told(self.teacher)}


def _told(teacher: Any) -> Any:
    """What tells a teacher from others."""
    teacher = unfrozen(teacher)
    if teacher is None:
        return None
    if is_fitted(teacher):
        # A teacher that no file can hold has no fingerprint.
        with suppress(ValueError):
            return fingerprint(teacher)
    return parameters_of(teacher)
