"""What a fitted encoder can be asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from tsne_ooc._elsewhere import answering
from tsne_ooc._typing import Float32, Json, StrPath, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.fitted import FittedEstimator
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.estimator.lazily import NOVELTY, PLACES, is_lazy, lazily
from tsne_ooc.intake.features import Features
from tsne_ooc.parametric import saving
from tsne_ooc.parametric.decoder import DecoderNetwork
from tsne_ooc.parametric.fitted_encoder import FittedEncoder
from tsne_ooc.parametric.network import Encoder
from tsne_ooc.parametric.shared import threads_kept
from tsne_ooc.placement import Placed, Placement


class _WithDecoder:
    """A method that an encoder without a decoder does not have: `hasattr` is False, and the error says what to do.

    `sklearn.utils.metaestimators.available_if` hides that error.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, encoder: Any, kind: type[Any] | None = None) -> Any:
        if encoder is None:
            return self.method
        # Before a fit the option says whether there will be one.
        without = encoder.decoder is False if encoder._fitted is None else encoder.decoder_ is None
        if without:
            raise NotFittedError(f"{self.method.__name__} needs a decoder, and this encoder has none; use decoder=True")
        return MethodType(self.method, encoder)


class EncodingEstimator(FittedEstimator):
    """The half of `ParametricTSNE` that needs a trained network and no training."""

    #: Options that go to the teacher.
    TEACHERS = tuple(TSNE._get_param_names())
    _fitted: FittedEncoder | None = None

    @property
    def fitted_(self) -> FittedEncoder:
        """What the training left behind; AttributeError before it."""
        if self._fitted is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted")
        return self._fitted

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    @property
    def _what_is_fitted(self) -> object:
        return self._fitted

    def _answered(self, rows: Any, novelty: bool) -> Float32:
        return self.fitted_.novelty(rows, self.n_jobs) if novelty else self.encode_prepared(rows)

    @property
    def features_(self) -> Features:
        return self.fitted_.features

    @property
    def encoder_(self) -> Encoder:
        return self.fitted_.encoder

    @property
    def decoder_(self) -> DecoderNetwork | None:
        return self.fitted_.decoder

    @property
    def teacher_(self) -> TSNE:
        return self.fitted_.teacher

    @property
    def map_(self) -> FittedMap:
        """The teacher's map, with as many threads as the encoder has now."""
        map = self.fitted_.map
        map.threads.resize(self.n_jobs)
        return map

    @property
    def history_(self) -> Json:
        return self.fitted_.history

    @property
    def n_iter_(self) -> int:
        return self.fitted_.n_iter

    @property
    def best_iter_(self) -> int:
        return self.fitted_.best_iter

    @property
    def seed_(self) -> int | None:
        return self.fitted_.seed

    @answering
    def transform(self, X: TableLike) -> Float32:
        """Put rows on the map, each by a forward pass.

        Parameters
        ----------
        X : array-like, DataFrame, h5py.Dataset or other source of shape (m, p)
            A table that is not an array in memory is streamed in blocks.

        Returns
        -------
        ndarray of float32, shape (m, d)
            The same to the bit for any chunking and number of threads. Of a Dask array or data frame a Dask array, of
            which nothing is computed yet.

        Raises
        ------
        ValueError, TypeError, sklearn.exceptions.NotFittedError
            For unusable data, naming the row and column; before `fit`.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return lazily(self, X, PLACES)  # type: ignore[no-any-return]
        n, blocks = self.blocks(X)
        out = np.empty((n, self._n_features_out), np.float32)
        with closing(blocks):
            for start, stop, block in blocks:
                out[start:stop] = self.fitted_.encode(block, self.n_jobs)
        return out

    def score_samples(self, X: TableLike) -> Float32:
        """Novelty of rows as the teacher sees it: **the higher, the stranger**; see `TSNE.score_samples`.

        It takes a search among the teacher's rows, which `transform` does not need.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return lazily(self, X, NOVELTY)  # type: ignore[no-any-return]
        n, blocks = self.blocks(X)
        out = np.empty(n, np.float32)
        with closing(blocks):
            for start, stop, block in blocks:
                out[start:stop] = self.fitted_.novelty(block, self.n_jobs)
        return out

    @_WithDecoder
    def inverse_transform(self, Y: TableLike, *, prepared: bool = False) -> Float32:
        """Rows that would lie at these places, as the decoder has learnt; there may never have been such a row.

        Parameters
        ----------
        Y : array-like of shape (m, d)
            Places on the map.
        prepared : bool, default False
            Give rows as they are behind the preparation, instead of in the units that `fit` was given.

        Returns
        -------
        ndarray of float32, shape (m, p)
            The same to the bit for any chunking and number of threads. A preparation is undone as far as it can be:
            components that PCA dropped are lost, and `Normalize` leaves rows with the sum that it gave them.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`, and where there is no decoder.
        ValueError, TypeError
            For places that are not finite, too far outside of the map, or of another number of axes; where a step of
            the preparation cannot be undone.
        """
        check_is_fitted(self)
        decoder = self.decoder_
        assert decoder is not None
        places = as_rows(Y, name="Y")
        if places.shape[1] != decoder.d:
            raise ValueError(f"Y has {places.shape[1]} axes, the map has {decoder.d}")
        undo = self.preparation_ is not None and not prepared
        if undo and self.preparation_ is not None:
            self.preparation_.check_undo()
        rows = self.fitted_.decode(places, self.n_jobs)
        if (lost := ~np.isfinite(rows).all(axis=1)).any():
            row = int(lost.argmax())
            raise ValueError(f"Y[{row}] = {places[row].tolist()} is so far outside of the map that no row is there")
        return self.preparation_.undo(rows) if undo and self.preparation_ is not None else rows

    @_WithDecoder
    def reconstruction_error(self, X: TableLike) -> Float32:
        """How much of each row the map does not tell: **the higher, the stranger**.

        This is the mean square of the residual when a row's place is decoded, over the columns that vary, each in units
        of the average over the rows of the fit: 1 is like these.

        Parameters
        ----------
        X : as for `transform`

        Returns
        -------
        ndarray of float32, shape (m,)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`, and where there is no decoder.
        ValueError, TypeError
            As `transform` does.
        """
        n, blocks = self.blocks(X)
        out = np.empty(n, np.float32)
        with closing(blocks):
            for start, stop, block in blocks:
                out[start:stop] = self.fitted_.lost(block, self.n_jobs)
        return out

    def place_prepared(self, rows: TableLike) -> Placed:
        """Places and novelty of rows that are prepared and checked, float32, as `TSNE.place_prepared` answers."""
        check_is_fitted(self)
        rows = np.ascontiguousarray(rows, np.float32)
        known = self.map_.model.reference is not None
        novelty = self.fitted_.novelty(rows, self.n_jobs) if known else None
        return Placed(self.encode_prepared(rows), np.zeros(len(rows), np.int32), novelty)

    def encode_prepared(self, rows: TableLike) -> Float32:
        """Places of rows that are prepared and checked, float32: `place_prepared` without the search for novelty."""
        check_is_fitted(self)
        return self.fitted_.encode(np.ascontiguousarray(rows, np.float32), self.n_jobs)

    @threads_kept()
    def save(self, path: StrPath, *, overwrite: bool = False) -> None:
        """Write encoder, decoder, teacher and preparation to a folder that `tsne_ooc.parametric.load` reads.

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
        check_is_fitted(self)
        saving.save(self, Path(path), overwrite=overwrite)

    @threads_kept()
    def export_onnx(self, path: StrPath) -> Path:
        """Write the encoder as an ONNX file, for any number of rows; input "rows", output "places", both float32.

        The input are prepared rows: standardisation is part of the file, `preparation_` is not.

        Raises
        ------
        ModuleNotFoundError
            Without the packages onnx and onnxscript.
        OSError
            Where there is no such folder, or the disk is full. A file of this name is replaced once the new one is
            whole.
        """
        from tsne_ooc.parametric.onnx import export_onnx

        check_is_fitted(self)
        return export_onnx(self.encoder_, self.features_.embedded, Path(path))

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
    def _n_features_out(self) -> int:
        return int(self.teacher_.embedding_.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
