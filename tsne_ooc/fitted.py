"""What a fitted map answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._lock import Lock
from ._parallel import Threads
from ._validate import as_rows
from .io import Source, as_source, identity_of, iterate
from .model import Model
from .novelty import Reference
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
    """How rows come to a fitted estimator: prepared, checked, and streamed where they are in no memory."""

    #: Whether rows may be sparse.
    _sparse = False

    n_jobs: int | None
    preparation_: Preparation | None
    n_features_in_: int

    def _blocks(self, X: Any) -> tuple[int, Iterator[tuple[int, int, Any]]]:
        """The number of rows of X, and prepared and checked blocks of them."""
        check_is_fitted(self)
        if streamed(X):
            table = self._table(X)
            return table.shape[0], iterate(table, columns=self._columns)
        rows = X if self.preparation_ is None else self.preparation_.transform(X, n_jobs=self.n_jobs)
        rows = as_rows(rows, accept_sparse=self._sparse)
        validate_data(self, X if hasattr(X, "shape") else np.asarray(X), reset=False, skip_check_array=True)
        return rows.shape[0], iter([(0, rows.shape[0], rows)])

    def _table(self, X: Any) -> Source:
        """A source of prepared rows."""
        if self.preparation_ is None:
            return as_source(X)
        return PreparedSource(X, self.preparation_, n_jobs=self.n_jobs)

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

    def place(self, X: Any) -> Placed:
        """`transform` and `score_samples` at once, for one search of neighbours.

        Parameters
        ----------
        X : as for `transform`

        Returns
        -------
        Placed
            ``embedding``, ``iterations`` (the steps that each row took) and ``novelty``, which is None for a model
            that was saved without.
        """
        n, blocks = self._blocks(X)
        reference = self._model.reference
        out = Placed(
            np.empty((n, self.embedding_.shape[1]), np.float32),
            np.empty(n, np.int32),
            None if reference is None else np.empty(n, np.float32),
        )
        for start, stop, block in blocks:
            for whole_column, part in zip(out, self.place_prepared(block), strict=True):
                if whole_column is not None:
                    whole_column[start:stop] = part  # type: ignore[assignment]
        return out

    def place_prepared(self, rows: Any) -> Placed:
        """As `place`, for rows as the optimiser saw those of the fit: prepared, and checked float32."""
        placement, threads = self._placement(), Threads(self.n_jobs)
        pieces = [place(self._model, rows[a : a + BLOCK], placement, threads) for a in range(0, rows.shape[0], BLOCK)]
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
        out = np.empty(n, np.float32)
        for start, stop, block in blocks:
            for a in range(0, stop - start, BLOCK):
                rows = block[a : a + BLOCK]
                out[start + a : start + a + rows.shape[0]] = reference.score(*nearest(self._model, rows, placement))
        return out

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
        table = self._table(X)
        if table.shape[1] != self._columns:
            raise ValueError(f"{table!r} has {table.shape[1]} columns, the fit had {self._columns}")
        path = Path(path)
        source = identity_of(table)
        job = {"source": source, "model": fingerprint(self)}
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
