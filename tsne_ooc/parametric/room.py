"""Room on the disk that a training and its encoder will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tsne_ooc._typing import Network, Tensor
from tsne_ooc.parametric.bounds import REACH
from tsne_ooc.parametric.decoder import DecoderNetwork
from tsne_ooc.parametric.decoder import resolve as resolve_decoder
from tsne_ooc.parametric.estimator import STEPS
from tsne_ooc.parametric.history import STEP
from tsne_ooc.parametric.landmarks import count_of
from tsne_ooc.parametric.network import ResidualNetwork, hidden_matrices, padded
from tsne_ooc.parametric.objectives import FieldTuning, resolve
from tsne_ooc.parametric.outset import rows_looked_at

if TYPE_CHECKING:
    from tsne_ooc.parametric.estimator import ParametricTSNE


def bytes_of_training(model: ParametricTSNE, teacher: int, n: int, p: int, d: int, *, all_mapped: bool) -> int:
    """The most bytes on the disk at one moment, besides the folder of the teacher.

    Parameters
    ----------
    model : ParametricTSNE
    teacher : int
        Bytes of its teacher, which is a part of the encoder's folder.
    n, p, d : int
        Rows and columns of the table, and axes of the map.
    all_mapped : bool
        Whether the teacher's sample is the whole table.
    """
    body = _network(model, n, p, d)
    weights = _bytes_of(body)
    history = _history_of(STEPS if isinstance(model.n_iter, str) else int(model.n_iter))
    tuned = any(isinstance(stage.objective, FieldTuning) for stage in resolve(model.objective, tuned=all_mapped))
    # Field tuning keeps two tables of places.
    state = _state_of(body, weights) + history + 8 * d * n * tuned
    decoder = decoder_state = 0
    if (decoding := resolve_decoder(model.decoder)) is not None:
        with torch.device("meta"):
            way_back = DecoderNetwork(p, d, *decoding.network)
        decoder = _bytes_of(way_back)
        decoder_state = _state_of(way_back.body, decoder) + _history_of(decoding.n_iter)
        decoder += _history_of(decoding.n_iter)
    encoder = teacher + weights + history + decoder
    # A state is written beside the one that it replaces.
    return max(2 * state, state + 2 * decoder_state, state + decoder_state + encoder)


def _network(model: ParametricTSNE, n: int, p: int, d: int) -> Network:
    if isinstance(model.network, torch.nn.Module):
        return model.network
    width, depth = model.network
    # The network is made without memory for its weights.
    with torch.device("meta"):
        return ResidualNetwork(padded(p), d, width, depth, count_of(model.landmarks, rows_looked_at(n, p), p), REACH)


def _history_of(steps: int) -> int:
    return 8 * len(STEP) * steps


def _bytes_of(network: Network) -> int:
    return sum(_size(tensor) for tensor in [*network.parameters(), *network.buffers()])


def _state_of(body: Network, weights: int) -> int:
    """For each weight a state has the weight, the best one so far, and two moments, or one where Muon moves it."""
    return 4 * weights - sum(_size(matrix) for matrix in hidden_matrices(body))


def _size(tensor: Tensor) -> int:
    return int(max(4, tensor.element_size()) * tensor.numel())
