"""Read an encoder from the folder that `tsne_ooc.parametric.saving` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tsne_ooc import storage
from tsne_ooc._parallel import Threads, resolve_n_jobs
from tsne_ooc._typing import Json, Network, StrPath
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.fitted_map import seed_in
from tsne_ooc.estimator.saving import restore_estimator
from tsne_ooc.intake.features import Features
from tsne_ooc.parametric.checkpoint import put_weights
from tsne_ooc.parametric.decoder import DecoderNetwork
from tsne_ooc.parametric.estimator import ParametricTSNE
from tsne_ooc.parametric.fitted_encoder import FittedEncoder
from tsne_ooc.parametric.history import LOOK, STEP, History
from tsne_ooc.parametric.network import STEP as UNITS
from tsne_ooc.parametric.network import Encoder, ResidualNetwork, own_copy, padded
from tsne_ooc.parametric.reconstruction import Reconstructed
from tsne_ooc.parametric.saving import DECODER, KIND, KINDS
from tsne_ooc.parametric.shared import threads_kept
from tsne_ooc.parametric.tiles import encode, tile_for
from tsne_ooc.parametric.weights import Weights, WeightsError
from tsne_ooc.storage.codec import decode_all
from tsne_ooc.storage.state import Saved, StateError
from tsne_ooc.workers import SavedModel


@threads_kept()
def load(
    path: StrPath, *, network: Network | None = None, verify: bool = True, n_jobs: Any = "saved"
) -> ParametricTSNE:
    """The encoder that `ParametricTSNE.save` wrote.

    Parameters
    ----------
    path : path
    network : torch.nn.Module, optional
        A network of the same shape, where the encoder was trained with a network of your own; a copy takes the weights.
    verify : bool, default True
        Compare the sums of all files. That of the weights is always compared.
    n_jobs : int, None or "saved"
        Threads of the encoder and of its teacher's search; "saved" is what each was saved with.

    Returns
    -------
    ParametricTSNE
        A fitted encoder; `transform` gives the same bits as before, on the same machine.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or a file of it is missing.
    ValueError
        Where a file is damaged: one line that names it.
    TypeError
        Where `network` is not one.
    """
    if network is not None and not isinstance(network, nn.Module):
        raise TypeError(f"network={network!r} is not a torch.nn.Module")
    resolve_n_jobs(None if n_jobs == "saved" else n_jobs)
    folder = storage.read_folder(path, KIND, verify=verify)
    manifest = Path(path) / storage.MANIFEST
    saved = Saved(folder.content, folder.arrays)
    try:
        found = _restored(saved, Path(path), network, n_jobs)
        if network is None:
            # What needs a network of the user's own cannot be read by the path alone.
            parts = (type(found.map_.model.index),)
            found._loaded = (found._what_is_fitted, found.placement, SavedModel.of(Path(path), opened, parts))
        return found
    except StateError as error:
        raise ValueError(f"{folder.files.get(error.array or '', manifest)}: {error}") from None
    except WeightsError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"{manifest}: {' '.join(str(error).split())[:200]}") from None


def opened(folder: Path, n_jobs: int | None) -> ParametricTSNE:
    """`load`, as `SavedModel` calls it."""
    return load(folder, n_jobs=n_jobs)


def _restored(saved: Saved, path: Path, network: Network | None, n_jobs: Any) -> ParametricTSNE:
    fitted = saved.part("fitted")
    parameters = saved.part("parameters")
    try:
        decoded = decode_all(parameters.content, KINDS)
        resolve_n_jobs(ParametricTSNE(**decoded).n_jobs)
    except (TypeError, ValueError) as error:
        raise parameters.fail(f"cannot be: {' '.join(str(error).split())[:160]}") from None
    if n_jobs != "saved":
        decoded["n_jobs"] = n_jobs
    teacher = restore_estimator(TSNE, saved.part("teacher"), n_jobs)
    features = Features.restore(saved, fitted)
    n_iter = fitted.whole("n_iter", 0)
    best_iter, seed = fitted.whole("best_iter", 0, n_iter), seed_in(fitted)
    history = _history(saved, LOOK)
    columns, d = fitted.whole("columns", 1, 1 << 24), teacher.map_.n_components
    if columns != features.embedded:
        raise fitted.fail(f"says {columns} columns, where rows have {features.embedded}")
    weights = Weights(saved.part("weights"), path)
    # Networks are made without memory first: a few words in the manifest may ask for more than there is.
    with torch.device("meta"):
        wanted = _tensors(*_networks(saved, weights, columns, d, network))
    found = weights.read(wanted)
    encoder, decoder = _networks(saved, weights, columns, d, network)
    put_weights(encoder, {name: value for name, value in found.items() if not name.startswith(DECODER)})
    if decoder is not None:
        history["decoder"] = _history(saved.part("decoder"), ("step", *Reconstructed._fields))
        own = {name.removeprefix(DECODER): value for name, value in found.items() if name.startswith(DECODER)}
        put_weights(decoder, own)
        decoder.eval()
    tile = _tile(encoder.eval(), columns, d)
    return ParametricTSNE.of_fitted(
        FittedEncoder(encoder, decoder, features, teacher, tile, history, n_iter, best_iter, seed), **decoded
    )


def _networks(
    saved: Saved, weights: Weights, columns: int, d: int, network: Network | None
) -> tuple[Encoder, DecoderNetwork | None]:
    """Encoder and decoder as the manifest describes them, with any weights."""
    part = saved.part("network")
    # Folders from before there were bounds do not name them; their encoders answer as they did.
    bounded = "bounded" in part.content and part.flag("bounded")
    body = _body(part, weights, columns, d, network)
    zeros = np.zeros(columns, np.float32)
    encoder = Encoder(body, zeros, zeros, np.zeros(d, np.float32), 1.0, bounded)
    if "decoder" not in saved.content:
        return encoder, None
    part = saved.part("decoder")
    p, axes, width, depth = _shape(part, "shape", 4)
    if p != columns or axes != d:
        raise part.fail("is of another table or map")
    _check_sizes(part, width, depth, weights)
    return encoder, DecoderNetwork(p, axes, width, depth)


def _tensors(encoder: Encoder, decoder: DecoderNetwork | None) -> Json:
    """Parameters and buffers by their names in a file."""
    found = dict(encoder.state_dict())
    if decoder is not None:
        found |= {f"{DECODER}{name}": value for name, value in decoder.state_dict().items()}
    return found


def _tile(encoder: Encoder, columns: int, d: int) -> int:
    """The tile of an encoder, which is tried: a user's own network may be made for other rows or another map."""
    try:
        if not isinstance(encoder.body, ResidualNetwork):
            # Of the network itself: a single axis would be spread over all those of the map.
            axes = encode(encoder.body, np.zeros((1, columns), np.float32), None, Threads(1)).shape[1]
            if axes != d:
                raise ValueError(f"it gives {axes} axes, the map has {d}")
        return tile_for(encoder, columns)
    except (RuntimeError, ValueError, IndexError) as error:
        text = " ".join(str(error).split())[:160]
        raise ValueError(f"the network takes no rows of {columns} columns to this map: {text}") from None


def _body(saved: Saved, weights: Weights, columns: int, d: int, network: Network | None) -> Any:
    if saved.content.get("residual") is None:
        if network is None:
            raise ValueError(
                f"this encoder was trained with a {saved.text('kind')[:60]}, and no code is kept in a folder; "
                "pass network=, of the same shape"
            )
        return own_copy(network)
    p, axes, width, depth, landmarks = _shape(saved, "residual", 5)
    # The kernels of the forward pass do not check bounds.
    if p != padded(columns) or axes != d:
        raise saved.fail(f"is made for {p} columns and {axes} axes, where {padded(columns)} and {d} are needed")
    _check_sizes(saved, width, depth, weights)
    if landmarks % UNITS:
        raise saved.fail(f"has {landmarks} landmarks, not a multiple of {UNITS}")
    reach = None if saved.content.get("reach") is None else saved.number("reach", 0)
    return ResidualNetwork(p, axes, width, depth, landmarks, reach)


def _check_sizes(saved: Saved, width: int, depth: int, weights: Weights) -> None:
    if width % UNITS or not width:
        raise saved.fail(f"has layers of {width} units, not a multiple of {UNITS}")
    if depth > len(weights.shapes):
        raise saved.fail(f"has {depth} layers, where {weights.file.name} holds {len(weights.shapes)} weights")


def _shape(saved: Saved, name: str, count: int) -> list[int]:
    shape = saved.content.get(name)
    if (
        not isinstance(shape, list)
        or len(shape) != count
        or not all(type(x) is int and 0 <= x < 1 << 20 for x in shape)
    ):
        raise saved.fail("has no shape")
    return shape


def _history(saved: Saved, look: tuple[str, ...]) -> Json:
    steps = saved.array("history.batches", np.float64, (None, len(STEP)), finite=False)
    looks = saved.array("history.validation", np.float64, (None, len(look)), finite=False)
    return History.of(steps, looks, look).columns()
