"""An encoder out of the folder that `tsne_ooc.parametric.saving` writes."""

from __future__ import annotations

import hashlib
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tsne_ooc import store
from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._parameters import decode_all
from tsne_ooc._state import Saved, StateError
from tsne_ooc.estimator import TSNE
from tsne_ooc.io import optional
from tsne_ooc.parametric.checkpoint import put_weights
from tsne_ooc.parametric.decoder import DecoderNetwork
from tsne_ooc.parametric.estimator import ParametricTSNE
from tsne_ooc.parametric.history import LOOK, History
from tsne_ooc.parametric.network import Encoder, ResidualNetwork
from tsne_ooc.parametric.reconstruction import Reconstructed
from tsne_ooc.parametric.saving import DECODER, KIND, KINDS
from tsne_ooc.parametric.tiles import tile_for
from tsne_ooc.preprocess import Preparation
from tsne_ooc.saving import restore_estimator, seed_in


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
        Threads of the encoder and of its teacher's search; "saved" is what each was saved with.

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
    TypeError
        Where `network` is none.
    """
    if network is not None and not isinstance(network, nn.Module):
        raise TypeError(f"network={network!r} is not a torch.nn.Module")
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
    parameters = saved.part("parameters")
    try:
        model = ParametricTSNE(**decode_all(parameters.content, KINDS))
        resolve_n_jobs(model.n_jobs)
    except (TypeError, ValueError) as error:
        raise parameters.fail(f"cannot be: {' '.join(str(error).split())[:160]}") from None
    if n_jobs != "saved":
        model.set_params(n_jobs=n_jobs)
    model.teacher_ = restore_estimator(TSNE, saved.part("teacher"), n_jobs)
    model.preparation_ = None
    if "preparation" in saved.content:
        part = saved.part("preparation")
        model.preparation_ = Preparation.from_state(dict(part.content), part.own_arrays())
    model.n_iter_, model.n_features_in_ = fitted.whole("n_iter", 0), fitted.whole("n_features_in", 1)
    model.seed_ = seed_in(fitted)
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
    put_weights(encoder, {name: value for name, value in found.items() if not name.startswith(DECODER)})
    if decoder is not None:
        own = {name.removeprefix(DECODER): value for name, value in found.items() if name.startswith(DECODER)}
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
        wanted |= {f"{DECODER}{key}": tuple(value.shape) for key, value in decoder.state_dict().items()}
    if {key: tuple(value.shape) for key, value in weights.items()} != wanted:
        raise ValueError(f"{file} holds other weights than the network has")
    return weights
