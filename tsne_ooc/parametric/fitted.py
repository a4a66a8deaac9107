"""What a fitted encoder answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from tsne_ooc._parallel import Threads
from tsne_ooc._validate import as_rows
from tsne_ooc.estimator import TSNE
from tsne_ooc.fitted import BLOCK, Fitted
from tsne_ooc.model import Model
from tsne_ooc.parametric import saving
from tsne_ooc.parametric.decoder import DecoderNetwork, errors
from tsne_ooc.parametric.tiles import encode
from tsne_ooc.placement import Placed, Placement, nearest

Float32 = NDArray[np.float32]


class _WithDecoder:
    """A method that an encoder without a decoder does not have: `hasattr` says no, and the error what to do.

    `sklearn.utils.metaestimators.available_if` keeps the second to itself.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, encoder: Any, kind: type[Any] | None = None) -> Any:
        if encoder is None:
            return self.method
        # Before a fit there will be one if it is asked for.
        if getattr(encoder, "decoder_", None) is None and (hasattr(encoder, "encoder_") or encoder.decoder is False):
            raise NotFittedError(f"{self.method.__name__} needs a decoder, and this encoder has none; use decoder=True")
        return MethodType(self.method, encoder)


class FittedEncoder(Fitted):
    """The half of `ParametricTSNE` that needs a trained network and no training."""

    encoder_: Any
    decoder_: DecoderNetwork | None
    teacher_: TSNE
    _tile: int

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

    @_WithDecoder
    def inverse_transform(self, Y: Any, *, prepared: bool = False) -> Float32:
        """Rows that would lie at these places, as the decoder has learnt; there may never have been such a row.

        Parameters
        ----------
        Y : array-like of shape (m, d)
            Places on the map.
        prepared : bool, default False
            Rows as they are behind the preparation, instead of in the units that `fit` was given.

        Returns
        -------
        ndarray of float32, shape (m, p)
            The same to the bit for any chunking and number of threads. A preparation is undone as far as it can be:
            components that PCA dropped stay away, and `Normalize` leaves rows with the sum that it gave them.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`, and where there is no decoder.
        ValueError, TypeError
            For places that are not finite, too far outside of the map, or of another number of axes; where a step of
            the preparation cannot be undone.
        """
        decoder = self._decoder
        places = as_rows(Y, name="Y")
        if places.shape[1] != decoder.d:
            raise ValueError(f"Y has {places.shape[1]} axes, the map has {decoder.d}")
        undo = self.preparation_ is not None and not prepared
        if undo and self.preparation_ is not None:
            self.preparation_.check_undo()
        rows = self._decode(places)
        if (lost := ~np.isfinite(rows).all(axis=1)).any():
            row = int(lost.argmax())
            raise ValueError(f"Y[{row}] = {places[row].tolist()} is so far outside of the map that it means no row")
        return self.preparation_.undo(rows) if undo and self.preparation_ is not None else rows

    @_WithDecoder
    def reconstruction_error(self, X: Any) -> Float32:
        """How much of each row the map does not tell: **the higher, the stranger**.

        The mean square of what is left when a row's place is decoded, over the columns that vary, each in units of what
        is left on average over the rows of the fit: 1 is like them.

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
        decoder = self._decoder
        n, blocks = self._blocks(X)
        out = np.empty(n, np.float32)
        for start, stop, block in blocks:
            out[start:stop] = errors(decoder, block, self._decode(self._encode(block)))
        return out

    def place_prepared(self, rows: Any) -> Placed:
        """Places and novelty of rows that are prepared and checked, float32, as `TSNE.place_prepared` answers."""
        check_is_fitted(self)
        rows = np.ascontiguousarray(rows, np.float32)
        known = self.teacher_._model.reference is not None
        return Placed(self.encode_prepared(rows), np.zeros(len(rows), np.int32), self._novelty(rows) if known else None)

    def encode_prepared(self, rows: Any) -> Float32:
        """Places of rows that are prepared and checked, float32: `place_prepared` without the search for novelty."""
        check_is_fitted(self)
        return self._encode(np.ascontiguousarray(rows, np.float32))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
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

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write the encoder as an ONNX file, for any number of rows; input "rows", output "places", both float32.

        What goes in are prepared rows: standardisation is part of the file, `preparation_` is not.

        Raises
        ------
        ModuleNotFoundError
            Without the packages onnx and onnxscript.
        OSError
            Where there is no such folder, or the disk is full. A file of this name is replaced once the new one is
            whole.
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
        model = self.teacher_._model
        # Threads are the encoder's, whatever its teacher was fitted with.
        self.teacher_._threads.resize(self.n_jobs)
        return model

    def _encode(self, rows: Float32) -> Float32:
        places = encode(self.encoder_, rows, self._n_features_out, Threads(self.n_jobs), self._tile)
        # Weights of a file may be finite and overflow all the same.
        if not np.isfinite(places).all():
            row = rows[int(np.isfinite(places).all(axis=1).argmin())]
            raise ValueError(f"the network has no place for a row that begins with {row[:5].tolist()}: it overflows")
        return places

    @property
    def _decoder(self) -> DecoderNetwork:
        check_is_fitted(self)
        assert self.decoder_ is not None
        return self.decoder_

    def _decode(self, places: Float32) -> Float32:
        decoder = self._decoder
        return encode(decoder, places, decoder.p, Threads(self.n_jobs))

    def _novelty(self, rows: Float32) -> Float32:
        reference, model = self.teacher_._reference(), self._model
        parts = [reference.score(*nearest(model, rows[a : a + BLOCK], Placement())) for a in range(0, len(rows), BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    @property
    def _n_features_out(self) -> int:
        return int(self.teacher_.embedding_.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")
