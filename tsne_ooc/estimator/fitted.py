"""What every fitted estimator does, and what one does that has a fitted map: place rows, score them, save itself."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tsne_ooc import __version__
from tsne_ooc._elsewhere import answering, renamed_method, unknown_option
from tsne_ooc._typing import Array, Float32, Int64, Progress, TableLike
from tsne_ooc._validate import counted_from
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.estimator.lazily import NOVELTY, PLACES, is_lazy, lazily
from tsne_ooc.estimator.saving import KIND, estimator_state, fingerprint
from tsne_ooc.fit.initialization import given
from tsne_ooc.intake.features import Features
from tsne_ooc.io import Source, identity_of
from tsne_ooc.neighbors import Graph
from tsne_ooc.placement import Placed, Placement
from tsne_ooc.preprocess import Preparation
from tsne_ooc.storage import write_folder
from tsne_ooc.storage.lock import Lock
from tsne_ooc.streaming import Stream, begin, check_unchanged, silent, unlike
from tsne_ooc.workers import SavedModel


class FittedEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """How a fitted estimator takes rows: by name, prepared, checked, and streamed where they are not in memory."""

    n_jobs: int | None
    placement: Any
    #: What was loaded, its placement, and the folder that it was loaded from.
    _loaded: tuple[object, Any, SavedModel] | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if told := renamed_method(type(self), name):
                raise AttributeError(told)
            # Without this method Python would do the same: a property that fails says itself what is missing.
            return super().__getattribute__(name)

    @property
    def _by_path(self) -> SavedModel | None:
        """Where workers find what is fitted here; None where no folder holds it as it now is."""
        if self._loaded is None:
            return None
        fitted, placement, where = self._loaded
        return where if fitted is self._what_is_fitted and placement == self.placement else None

    @property
    def _what_is_fitted(self) -> object:
        """What a fit leaves behind; another object here means that another fit was done."""
        raise NotImplementedError

    def _answered(self, rows: Any, novelty: bool) -> Float32:
        """The places, or the novelty, of rows that are prepared and checked."""
        raise NotImplementedError

    def set_params(self, **parameters: Any) -> Self:
        """Set options, as scikit-learn does.

        Raises
        ------
        ValueError
            For a name that is not an option; the message says which one may be meant.
        """
        names = self._get_param_names()
        for name in parameters:
            word = name.partition("__")[0]
            if word not in names:
                raise ValueError(unknown_option(type(self), word))
        super().set_params(**parameters)
        return self

    @property
    def features_(self) -> Features:
        """What is known of the columns of the fit; raises AttributeError before the fit."""
        raise NotImplementedError

    def blocks(self, X: TableLike) -> tuple[int, Generator[tuple[int, int, Any]]]:
        """The number of rows of X, and the rows in blocks, prepared and checked."""
        check_is_fitted(self)
        return self.features_.blocks(X, type(self).__name__, self.n_jobs)

    def table_of(self, X: TableLike) -> Source:
        """The rows of a table as they are embedded: a source of prepared rows, with columns in the order of the fit.

        Raises
        ------
        ValueError
            For columns that are missing or there twice, which the message names, and for another number of columns.
        """
        return self.features_.table_of(X, type(self).__name__, self.n_jobs)

    def check_table(self, X: TableLike) -> None:
        """Raise ValueError for a source whose columns are not those of the fit, before anything is done."""
        self.features_.check(X)

    @property
    def preparation_(self) -> Preparation | None:
        return self.features_.preparation

    @property
    def n_features_in_(self) -> int:
        return self.features_.width

    @property
    def feature_names_in_(self) -> Array:
        names = self.features_.names
        if names is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without feature names")
        out = np.array(names, dtype=object)
        out.setflags(write=False)
        return out


class PlacingEstimator(FittedEstimator):
    """The half of `TSNE` that needs a fitted map and no fit."""

    placement: Placement | None
    _map: FittedMap | None = None

    @property
    def map_(self) -> FittedMap:
        """What the fit left behind; its search has as many threads as `n_jobs` says now."""
        if self._map is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted")
        self._map.threads.resize(self.n_jobs)
        return self._map

    def __sklearn_is_fitted__(self) -> bool:
        return self._map is not None

    @property
    def _what_is_fitted(self) -> object:
        return self._map

    def _answered(self, rows: Any, novelty: bool) -> Float32:
        return self.map_.score(rows, self._placement()) if novelty else self.place_prepared(rows).embedding

    @property
    def features_(self) -> Features:
        return self.map_.features

    @property
    def embedding_(self) -> Float32:
        return self.map_.embedding

    @property
    def kl_divergence_(self) -> float:
        return self.map_.kl_divergence

    @property
    def n_iter_(self) -> int:
        return self.map_.n_iter

    @property
    def n_neighbors_(self) -> int:
        return self.map_.n_neighbors

    @property
    def seed_(self) -> int | None:
        return self.map_.seed

    @property
    def sample_rows_(self) -> Int64 | None:
        return self.map_.sample_rows

    @property
    def placed_(self) -> Placed:
        if self.map_.placed is None:
            raise AttributeError("this map was not refined, so its rows were not placed before")
        return self.map_.placed

    @answering
    def transform(self, X: TableLike) -> Float32:
        """Place rows on the fitted map; the map does not move.

        Each row is placed by itself: the result is the same to the bit for any chunking. A row that is equal to a row
        of the fit takes its seat, so the rows of the fit come back as `embedding_`.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix, h5py.Dataset or other source of shape (m, p)
            What is not an array in memory is streamed in blocks.

        Returns
        -------
        ndarray of float32, shape (m, n_components)
            For a Dask array or data frame it is a Dask array, of which nothing is computed yet.

        Raises
        ------
        ValueError, TypeError
            For unusable data; the message names the row and column. Nothing is returned of a stream that breaks off.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return lazily(self, X, PLACES)  # type: ignore[no-any-return]
        return self.place(X).embedding

    def place(self, X: TableLike, *, start: Any = None) -> Placed:
        """Do as `transform` and `score_samples` do together, with one search of neighbours.

        Parameters
        ----------
        X : as for `transform`
        start : array of shape (m, n_components), optional
            Where each row begins, in place of the middle of its neighbours: what another map or model says of it. The
            row ends in the hollow that it began in. A row that is equal to one of the fit takes that one's seat in any
            case.

        Returns
        -------
        Placed
            ``embedding``, ``iterations`` (the steps that each row took) and ``novelty``, which is None for a model
            that was saved without it.
        """
        n, blocks = self.blocks(X)
        if start is not None:
            start = given(start, n, self.embedding_.shape[1], "start")
        reference = self.map_.model.reference
        out = Placed(
            np.empty((n, self.embedding_.shape[1]), np.float32),
            np.empty(n, np.int32),
            None if reference is None else np.empty(n, np.float32),
        )
        with closing(blocks):
            for first, last, block in blocks:
                with counted_from(first):
                    placed = self.place_prepared(block, None if start is None else start[first:last])
                for whole_column, part in zip(out, placed, strict=True):
                    if whole_column is not None:
                        whole_column[first:last] = part  # type: ignore[assignment]
        return out

    def place_prepared(self, rows: Any, start: Float32 | None = None) -> Placed:
        """Do as `place` does, for rows as the optimiser saw those of the fit: prepared, and checked float32."""
        return self.map_.place(rows, self._placement(), start)

    def score_samples(self, X: TableLike) -> Float32:
        """Novelty of rows: **the higher, the stranger**. (In scikit-learn's detectors the higher is the more normal.)

        A row of novelty 1 is like the fitted rows, one of 3 is three times as far from them as they are from each other
        there, and one of 0 is a copy of one of them. Strangers begin at `novelty_threshold_`. See
        `tsne_ooc.novelty.Reference`.

        Parameters
        ----------
        X : as for `transform`

        Returns
        -------
        ndarray of float32, shape (m,)
            It is the same to the bit for any chunking; for Dask it is what `transform` says.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As `transform` raises them.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return lazily(self, X, NOVELTY)  # type: ignore[no-any-return]
        n, blocks = self.blocks(X)
        placed_on, placement = self.map_, self._placement()
        out = np.empty(n, np.float32)
        with closing(blocks):
            for start, stop, block in blocks:
                with counted_from(start):
                    out[start:stop] = placed_on.score(block, placement)
        return out

    def graph(self, k: int | None = None) -> Graph:
        """The nearest neighbours among the fitted rows, for another fit of the same rows: ``neighbors=graph``.

        Parameters
        ----------
        k : int, optional
            Neighbours of each row; by default as many as the affinities were made from.

        Returns
        -------
        tsne_ooc.neighbors.Graph
            It is searched once more, since a fit does not keep it.
        """
        check_is_fitted(self)
        return Graph.of(self.map_.model.index, self.n_neighbors_ if k is None else k)

    @property
    def recall_(self) -> float:
        check_is_fitted(self)
        return self.map_.recall

    @property
    def novelty_(self) -> Float32:
        check_is_fitted(self)
        return self.map_.reference.novelty

    @property
    def novelty_threshold_(self) -> float:
        check_is_fitted(self)
        return self.map_.reference.threshold

    def transform_to(
        self, X: TableLike, path: str | os.PathLike[str], *, resume: bool = False, progress: Progress | None = None
    ) -> Path:
        """Write what `transform` gives to a ``.npy`` file, block by block; after a kill at any moment it can go on.

        Until all rows are placed, their places are in a file with ``.part`` behind its name, and one with ``.ledger``
        says which are done.

        Parameters
        ----------
        X : h5py.Dataset, ndarray or other source of shape (m, p)
        path : path
            File to write: float32, shape (m, n_components).
        resume : bool, default False
            Go on where an earlier attempt stopped.
        progress : callable, optional
            Called as ``progress("place", rows done, rows)``.

        Returns
        -------
        Path
            The path of the file.

        Raises
        ------
        OSError
            Where reading or writing fails, another process writes the same file, or an earlier attempt is in the way.
        ValueError, TypeError
            For unusable data, and where the earlier attempt had other rows or another model.
        """
        check_is_fitted(self)
        self.check_table(X)
        table = self.table_of(X)
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file")
        source = identity_of(table, without=path)
        job = {"source": source, "model": fingerprint(self), "tsne_ooc": __version__}
        shape = (table.shape[0], self.embedding_.shape[1])
        with Lock(path.with_name(path.name + ".lock"), str(path)):
            kept, part = path.with_name(path.name + ".ledger"), path.with_name(path.name + ".part")
            if os.path.lexists(part) and not kept.exists():
                raise FileExistsError(f"{part} is not from a run that stopped, and would be overwritten; move it away")
            ledger = begin(kept, job, resume=resume, differ=unlike)
            with Stream({"embedding": (path, shape)}, ledger, "place") as work:
                work.run(
                    table,
                    lambda first, rows: {"embedding": self.place_prepared(rows).embedding},
                    progress=progress or silent,
                    phase="place",
                    check=lambda: check_unchanged(table, source, path),
                )
            ledger.path.unlink()
        return path

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted map to a folder that `tsne_ooc.load` reads, on any machine.

        The folder holds the rows of the fit once, their places, the search index and the parameters, and appears whole
        or not at all (docs/saved-models.md).

        Parameters
        ----------
        path : path
            A folder that does not exist, or is empty.
        overwrite : bool, default False
            Replace a saved model that is there.

        Raises
        ------
        OSError
            Where something else is in the way, or the disk is full.
        ValueError
            For a callable metric or a search of the user's own, which no file can hold.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        write_folder(path, KIND, *estimator_state(self), overwrite=overwrite)

    @property
    def _n_features_out(self) -> int:
        return int(self.embedding_.shape[1])

    def _placement(self) -> Placement:
        if self.placement is not None and not isinstance(self.placement, Placement):
            raise TypeError(f"placement={self.placement!r} is not a tsne_ooc.Placement")
        return self.placement or Placement()
