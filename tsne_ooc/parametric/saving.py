"""An encoder in a folder: weights as safetensors, and all else as `tsne_ooc.storage` keeps it. Nothing is pickled."""

from __future__ import annotations

from collections import ChainMap
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc import storage
from tsne_ooc._typing import Json, Network
from tsne_ooc.estimator.saving import estimator_state
from tsne_ooc.io import optional
from tsne_ooc.parametric.checkpoint import weights_of
from tsne_ooc.parametric.decoder import Decoder
from tsne_ooc.parametric.network import ResidualNetwork
from tsne_ooc.parametric.objectives import WORDS, Stage
from tsne_ooc.storage import codec
from tsne_ooc.storage.codec import encode_all
from tsne_ooc.storage.state import within

KIND = "encoder"

# Classes of which a file may make objects, besides those of a teacher.
KINDS = ChainMap({kind.__name__: kind for kind in (*WORDS.values(), Stage, Decoder)}, codec.KINDS)

# The names of a decoder's weights begin with this.
DECODER = "decoder."


def save(model: Any, target: Path, *, overwrite: bool) -> None:
    """Write a fitted `ParametricTSNE`; see its `save`."""
    data = optional.load("safetensors.numpy", "neural", "a saved encoder").save(_all_weights(model))
    name, digest = storage.named_by_content("weights.safetensors", data)
    body = model.encoder_.body
    shape = [body.p, body.d, body.width, body.depth, body.landmarks] if isinstance(body, ResidualNetwork) else None
    inner, arrays = within("teacher", estimator_state(model.teacher_))
    parameters, not_saved = encode_all(model.get_params(deep=False), KINDS)
    content: Json = {
        **inner,
        "parameters": parameters,
        "not_saved": not_saved,
        "weights": {"file": name, "sha256": digest},
        "network": {"residual": shape, "kind": type(body).__qualname__, **_bounds(model.encoder_)},
        "fitted": {
            "n_iter": int(model.n_iter_),
            "best_iter": int(model.best_iter_),
            "seed": model.seed_,
            "columns": model.features_.embedded,
            **model.features_.facts(),
        },
    }
    inner, own = model.features_.state()
    content.update(inner)
    arrays.update(own)
    arrays.update(_history_arrays("history", model.history_))
    if model.decoder_ is not None:
        inside = model.decoder_.body
        content["decoder"] = {"shape": [model.decoder_.p, model.decoder_.d, inside.width, inside.depth]}
        arrays.update(_history_arrays("decoder.history", model.history_["decoder"]))
    storage.write_folder(target, KIND, content, arrays, files={name: data}, overwrite=overwrite)


def _bounds(encoder: Network) -> Json:
    reach = encoder.body.reach if isinstance(encoder.body, ResidualNetwork) else None
    return {"bounded": encoder.bounded, "reach": reach}


def _all_weights(model: Any) -> Json:
    weights = weights_of(model.encoder_)
    if model.decoder_ is not None:
        weights |= {f"{DECODER}{name}": value for name, value in weights_of(model.decoder_).items()}
    return weights


def _history_arrays(name: str, history: Json) -> Json:
    return {f"{name}.{table}": np.array(list(history[table].values())).T.copy() for table in ("batches", "validation")}
