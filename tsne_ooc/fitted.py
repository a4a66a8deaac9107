"""What a fitted map answers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from . import __version__
from ._lock import Lock
from ._parallel import Threads
from ._validate import as_rows, check_shape, counted_from, is_sparse
from .initialization import given
from .intake import as_table, check_gaps
from .io import Source, as_source, identity_of, iterate, line_up, names_of, order_of
from .model import Model
from .neighbors import distances_of
from .novelty import NEIGHBORS, Reference
from .placement import Placed, Placement, nearest, place
from .preprocess import Preparation, PreparedSource
from .reading import streamed
from .saving import KIND, estimator_state, fingerprint
from .store import write_folder
from .streaming import Progress, Stream, begin, check_unchanged, silent, unlike

Float32 = NDArray[np.float32]

# Rows placed at a time: enough to keep all threads busy, few enough that their neighbours take no memory to speak of.
BLOCK = 32_768


class Fitted(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """How rows come to a fitted estimator: by name, prepared, checked, and streamed where they are not in memory."""

    #: Whether rows may be sparse.
    _sparse = False
    #: Whether rows are distances to those of the fit.
    _of_distances = False

    n_jobs: int | None
    preparation_: Preparation | None
    n_features_in_: int

    def _blocks(self, X: Any) -> tuple[int, Iterator[tuple[int, int, Any]]]:
        """The number of rows of X, and prepared and checked blocks of them."""
        check_is_fitted(self)
        if self._of_distances and not streamed(X):
            rows = distances_of(self.lined_up(X), self.n_features_in_)
            return rows.shape[0], iter([(0, rows.shape[0], rows)])
        if streamed(X) or (is_sparse(X) and self.preparation_ is not None):
            table = self.table_of(X)
            return table.shape[0], iterate(table, columns=self._columns)
        X = self.lined_up(X)
        if self.preparation_ is None:
            rows = as_rows(X, accept_sparse=self._sparse, columns=self.n_features_in_)
        else:
            X = as_table(X)
            check_shape(X.shape, columns=self.n_features_in_)
            rows = as_rows(self.preparation_.transform(X, n_jobs=self.n_jobs))
        return rows.shape[0], iter([(0, rows.shape[0], rows)])

    def lined_up(self, X: Any) -> Any:
        """A table with its columns in the order of the fit, where both have names for them; else as it is.

        Warns where only one of them has names.

        Raises
        ------
        ValueError
            For columns that are missing or there twice, by name; others are left out with a warning.
        """
        named, own = self._names is not None, names_of(X) is not None
        if named != own:
            # In scikit-learn's words, which people know, and filter.
            what = "does not have valid feature names" if named else "has feature names"
            with_or_not = "with" if named else "without"
            message = f"X {what}, but {type(self).__name__} was fitted {with_or_not} feature names"
            warnings.warn(message, UserWarning, stacklevel=4)
        return line_up(X, self._names)

    def table_of(self, X: Any) -> Source:
        """The rows of a table as they are embedded: a source of prepared rows, columns in the order of the fit.

        Raises
        ------
        ValueError
            As `lined_up`, and for another number of columns.
        """
        table = as_source(as_table(X) if is_sparse(X) else self.lined_up(X))
        if self._of_distances:
            check_gaps(table)
        return table if self.preparation_ is None else PreparedSource(table, self.preparation_, n_jobs=self.n_jobs)

    def check_table(self, X: Any) -> None:
        """Raise ValueError for a source that has other columns than the fit had, before anything is done."""
        own, table = names_of(X), as_source(X)
        if self._of_distances:
            check_gaps(table)
        if own is not None and self._names is not None:
            order_of(own, self._names, repr(table))
        elif table.shape[1] != self.n_features_in_:
            raise ValueError(f"{table!r} has {table.shape[1]} columns, the map was made of {self.n_features_in_}")

    @property
    def _names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    def _remember(self, names: list[str] | None, width: int) -> None:
        """Keep what a table of the fit is known by: its columns and their names."""
        self.n_features_in_ = int(width)
        if names is None:
            self.__dict__.pop("feature_names_in_", None)
            return
        self.feature_names_in_ = np.array(names, dtype=object)
        self.feature_names_in_.setflags(write=False)

    @property
    def _columns(self) -> int:
        """Columns of the rows that were embedded, which a preparation makes others than those of X."""
        return int(self.n_features_in_ if self.preparation_ is None else self.preparation_.n_features_out)


class FittedMap(Fitted):
    """The half of `TSNE` that needs a fitted map and no fit."""

    _sparse = True

    placement: Placement | None
    embedding_: Float32
    _model: Model
    _threads: Threads

    @property
    def _of_distances(self) -> bool:  # type: ignore[override]
        return bool(self._model.index.metric == "precomputed")

    def transform(self, X: Any) -> Float32:
        """Place rows on the fitted map; the map does not move.

        Each row is placed by itself: the result is the same to the bit for any chunking. A row equal to a row of the
        fit takes its seat, so the rows of the fit come back as `embedding_`.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix, h5py.Dataset or other source of shape (m, p)
            What is no array in memory is streamed in blocks.

        Returns
        -------
        ndarray of float32, shape (m, n_components)

        Raises
        ------
        ValueError, TypeError
            For unusable data, naming the row and column; nothing is returned of a broken stream.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        return self.place(X).embedding

    def place(self, X: Any, *, start: Any = None) -> Placed:
        """`transform` and `score_samples` at once, for one search of neighbours.

        Parameters
        ----------
        X : as for `transform`
        start : array of shape (m, n_components), optional
            Where each row begins, in place of the middle of its neighbours: what another map or model says of it. It
            ends in the hollow that it began in. A row equal to one of the fit takes that one's seat in any case.

        Returns
        -------
        Placed
            ``embedding``, ``iterations`` (the steps that each row took) and ``novelty``, which is None for a model
            that was saved without.
        """
        n, blocks = self._blocks(X)
        if start is not None:
            start = given(start, n, self.embedding_.shape[1], "start")
        reference = self._model.reference
        out = Placed(
            np.empty((n, self.embedding_.shape[1]), np.float32),
            np.empty(n, np.int32),
            None if reference is None else np.empty(n, np.float32),
        )
        for first, last, block in blocks:
            with counted_from(first):
                placed = self.place_prepared(block, None if start is None else start[first:last])
            for whole_column, part in zip(out, placed, strict=True):
                if whole_column is not None:
                    whole_column[first:last] = part  # type: ignore[assignment]
        return out

    def place_prepared(self, rows: Any, start: Float32 | None = None) -> Placed:
        """As `place`, for rows as the optimiser saw those of the fit: prepared, and checked float32."""
        # The search has the same threads, and as many of them as are asked for now.
        placement, threads = self._placement(), self._threads.resize(self.n_jobs)
        pieces = []
        for a in range(0, rows.shape[0], BLOCK):
            with counted_from(a):
                begin = None if start is None else start[a : a + BLOCK]
                pieces.append(place(self._model, rows[a : a + BLOCK], placement, threads, begin))
        return Placed.joined(pieces)

    def score_samples(self, X: Any) -> Float32:
        """Novelty of rows: **the higher, the stranger**. (In scikit-learn's detectors the higher is the more normal.)

        1 is like the fitted rows, 3 is three times as far from them as they are from each other there, 0 is a copy of
        them; `novelty_threshold_` is where strangers begin. See `tsne_ooc.novelty.Reference`.

        Parameters
        ----------
        X : as for `transform`

        Returns
        -------
        ndarray of float32, shape (m,)
            The same to the bit for any chunking.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            As `transform` raises them.
        """
        n, blocks = self._blocks(X)
        reference, placement = self._reference(), self._placement()
        self._threads.resize(self.n_jobs)
        out = np.empty(n, np.float32)
        for start, stop, block in blocks:
            for a in range(0, stop - start, BLOCK):
                rows = block[a : a + BLOCK]
                with counted_from(start + a):
                    scores = reference.score(*nearest(self._model, rows, placement))
                out[start + a : start + a + rows.shape[0]] = scores
        return out

    @property
    def recall_(self) -> float:
        check_is_fitted(self)
        k = getattr(self, "n_neighbors_", 0) or NEIGHBORS
        return float(self._model.index.recall(k))

    @property
    def novelty_(self) -> Float32:
        return self._reference().novelty

    @property
    def novelty_threshold_(self) -> float:
        return self._reference().threshold

    def _reference(self) -> Reference:
        check_is_fitted(self)
        if self._model.reference is None:
            raise AttributeError("this model was saved without what novelty needs; fit it again")
        return self._model.reference

    def transform_to(
        self, X: Any, path: str | os.PathLike[str], *, resume: bool = False, progress: Progress | None = None
    ) -> Path:
        """As `transform`, to a ``.npy`` file, block by block; killed at any moment, it can go on.

        Until all rows are placed, they are in a file with ``.part`` behind the name, and what is done is in one with
        ``.ledger``.

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
            Of the file.

        Raises
        ------
        OSError
            Where reading or writing fails, another process writes the same file, or an earlier attempt is in the way.
        ValueError, TypeError
            For unusable data, and where the earlier attempt was with other rows or another model.
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
                raise FileExistsError(f"{part} is not of a run that stopped, and would be written over; move it away")
            ledger = begin(kept, job, resume=resume, differ=unlike)
            with Stream({"embedding": (path, shape)}, ledger) as work:
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

        It holds the rows of the fit once, their places, the search index and the parameters, and appears whole or not
        at all (docs/saved-models.md).

        Parameters
        ----------
        path : path
            A folder that does not exist, or is empty.
        overwrite : bool, default False
            Replace a saved model there.

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
