"""An encoder in a folder: weights as safetensors, all else as `tsne_ooc.store` has it. Never a pickle."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc import store
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._state import Saved, StateError, within
from tsne_ooc.estimator import TSNE
from tsne_ooc.io import optional
from tsne_ooc.parametric.checkpoint import put_weights, weights_of
from tsne_ooc.parametric.decoder import DecoderNetwork
from tsne_ooc.parametric.estimator import ParametricTSNE
from tsne_ooc.parametric.history import LOOK, History
from tsne_ooc.parametric.network import Encoder, ResidualNetwork
from tsne_ooc.parametric.reconstruction import Reconstructed
from tsne_ooc.parametric.tiles import tile_for
from tsne_ooc.preprocess import Preparation
from tsne_ooc.saving import estimator_state, restore_estimator

KIND = "encoder"

# Before the names of a decoder's weights.
_DECODER = "decoder."


def save(model: Any, target: Path, *, overwrite: bool) -> None:
    """Write a fitted `ParametricTSNE`; see its `save`."""
    data = optional.load("safetensors.numpy", "neural", "a saved encoder").save(_all_weights(model))
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights.{digest[:16]}.safetensors"
    body = model.encoder_.body
    shape = [body.p, body.d, body.width, body.depth, body.landmarks] if isinstance(body, ResidualNetwork) else None
    inner, arrays = within("teacher", estimator_state(model.teacher_))
    names = getattr(model, "feature_names_in_", None)
    content: dict[str, Any] = {
        **inner,
        "weights": {"file": name, "sha256": digest},
        "network": {"residual": shape, "kind": type(body).__qualname__},
        "fitted": {
            "n_iter": int(model.n_iter_),
            "best_iter": int(model.best_iter_),
            "n_features_in": int(model.n_features_in_),
            "columns": int(model._columns),
            "feature_names_in": None if names is None else [str(name) for name in names],
        },
    }
    if model.preparation_ is not None:
        inner, own = within("preparation", model.preparation_.state())
        content.update(inner)
        arrays.update(own)
    arrays.update(_history_arrays("history", model.history_))
    if model.decoder_ is not None:
        inside = model.decoder_.body
        content["decoder"] = {"shape": [model.decoder_.p, model.decoder_.d, inside.width, inside.depth]}
        arrays.update(_history_arrays("decoder.history", model.history_["decoder"]))

    if target.is_dir() and any(target.iterdir()):
        # The manifest is what makes it a folder of these weights; those of the last save go when it is in place.
        store.check_target(target, KIND, overwrite=overwrite)
        _write(target / name, data)
        try:
            store.write_folder(target, KIND, content, arrays, overwrite=overwrite)
        except BaseException:
            with suppress(OSError, ValueError):
                if store.read_folder(target, KIND, verify=False).content["weights"]["file"] != name:
                    (target / name).unlink(missing_ok=True)
            raise
        for old in target.glob("weights.*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)
        return
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} exists and is no folder; name another one")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} in")
    room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        store.write_folder(room / "whole", KIND, content, arrays)
        _write(room / "whole" / name, data)
        os.rename(room / "whole", target)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _all_weights(model: Any) -> dict[str, Any]:
    weights = weights_of(model.encoder_)
    if model.decoder_ is not None:
        weights |= {f"{_DECODER}{name}": value for name, value in weights_of(model.decoder_).items()}
    return weights


def _history_arrays(name: str, history: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}.{table}": np.array(list(history[table].values())).T.copy() for table in ("batches", "validation")}


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(
    path: str | os.PathLike[str], *, network: Any = None, verify: bool = True, n_jobs: Any = "saved"
) -> ParametricTSNE:
    """The encoder that `ParametricTSNE.save` wrote.

    Parameters
    ----------
    path : path
    network : torch.nn.Module, optional
        Where the encoder was trained with a network of the user's own: one of the same shape; a copy takes the weights.
    verify : bool, default True
        Compare the sums of all files. That of the weights is always compared.
    n_jobs : int, None or "saved"
        Threads of the encoder and of its teacher's search; "saved" is None for the one, and what the teacher was saved
        with for the other.

    Returns
    -------
    ParametricTSNE
        Fitted; `transform` gives the bits it gave before, on the same machine.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or a file of it is missing.
    ValueError
        Where a file is damaged: one line that names it.
    """
    resolve_n_jobs(None if n_jobs == "saved" else n_jobs)
    folder = store.read_folder(path, KIND, verify=verify)
    manifest = Path(path) / store.MANIFEST
    saved = Saved(folder.content, folder.arrays)
    try:
        return _restored(saved, Path(path), network, n_jobs)
    except StateError as error:
        raise ValueError(f"{folder.files.get(error.array or '', manifest)}: {error}") from None
    except (TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"{manifest}: {' '.join(str(error).split())[:200]}") from None


def _restored(saved: Saved, path: Path, network: Any, n_jobs: Any) -> ParametricTSNE:
    fitted = saved.part("fitted")
    model = ParametricTSNE(n_jobs=None if n_jobs == "saved" else n_jobs)
    model.teacher_ = restore_estimator(TSNE, saved.part("teacher"), n_jobs)
    model.preparation_ = None
    if "preparation" in saved.content:
        part = saved.part("preparation")
        model.preparation_ = Preparation.from_state(dict(part.content), part.own_arrays())
    model.n_iter_, model.n_features_in_ = fitted.whole("n_iter", 0), fitted.whole("n_features_in", 1)
    model.best_iter_ = fitted.whole("best_iter", 0, model.n_iter_)
    names = fitted.content.get("feature_names_in")
    if names is not None:
        if not isinstance(names, list) or len(names) != model.n_features_in_:
            raise fitted.fail("names other columns than there are")
        model.feature_names_in_ = np.array([str(name) for name in names], dtype=object)
    model.history_ = _history(saved, LOOK)
    columns = fitted.whole("columns", 1, 1 << 24)
    body = _body(saved.part("network"), network)
    zeros = np.zeros(columns, np.float32)
    encoder = Encoder(body, zeros, zeros, np.zeros(model._n_features_out, np.float32), 1.0)
    decoder = None
    if "decoder" in saved.content:
        part = saved.part("decoder")
        decoder = DecoderNetwork(*_shape(part, "shape", 4))
        if decoder.p != columns or decoder.d != model._n_features_out:
            raise part.fail("is of another table or map")
        model.history_["decoder"] = _history(part, ("step", *Reconstructed._fields))
    found = _weights(saved.part("weights"), path, encoder, decoder)
    put_weights(encoder, {name: value for name, value in found.items() if not name.startswith(_DECODER)})
    if decoder is not None:
        own = {name.removeprefix(_DECODER): value for name, value in found.items() if name.startswith(_DECODER)}
        put_weights(decoder, own)
        decoder.eval()
    model.encoder_, model.decoder_ = encoder.eval(), decoder
    model._tile = tile_for(encoder, columns)
    return model


def _body(saved: Saved, network: Any) -> Any:
    if saved.content.get("residual") is None:
        if network is None:
            raise ValueError(
                f"this encoder was trained with a {saved.text('kind')[:60]}, and no code is kept in a folder; "
                "pass network=, of the same shape"
            )
        return deepcopy(network).cpu()
    return ResidualNetwork(*_shape(saved, "residual", 5))


def _shape(saved: Saved, name: str, count: int) -> list[int]:
    shape = saved.content.get(name)
    if (
        not isinstance(shape, list)
        or len(shape) != count
        or not all(type(x) is int and 0 <= x < 1 << 20 for x in shape)
    ):
        raise saved.fail("has no shape")
    return shape


def _history(saved: Saved, look: tuple[str, ...]) -> dict[str, Any]:
    steps = saved.array("history.batches", np.float64, (None, None))
    looks = saved.array("history.validation", np.float64, (None, None))
    return History.of(steps, looks, look).columns()


def _weights(saved: Saved, path: Path, encoder: Any, decoder: Any) -> dict[str, Any]:
    name = saved.text("file")
    file = path / name
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise saved.fail("are in another place than the folder")
    if not file.is_file() or file.is_symlink():
        raise FileNotFoundError(f"{file} is missing; the folder is not whole")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != saved.text("sha256"):
        raise ValueError(f"{file} is damaged: its sum is not the one that the manifest names")
    weights: dict[str, Any] = optional.load("safetensors.numpy", "neural", "a saved encoder").load(data)
    wanted = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    if decoder is not None:
        wanted |= {f"{_DECODER}{key}": tuple(value.shape) for key, value in decoder.state_dict().items()}
    if {key: tuple(value.shape) for key, value in weights.items()} != wanted:
        raise ValueError(f"{file} holds other weights than the network has")
    return weights
