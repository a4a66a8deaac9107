"""The state from which a training that was killed goes on."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import torch

from tsne_ooc._typing import Array, Arrays, Json, Network, StrPath, Tensor
from tsne_ooc.storage import MANIFEST, check_target, read_folder, write_folder
from tsne_ooc.storage.asked import unequal, untold

log = logging.getLogger(__name__)

KIND = "training"


# Floating types that a file keeps as they are. Others, of 16 bits and fewer, become float32, which holds all their
# values.
_KEPT = (torch.float32, torch.float64)
_DENSE = torch.strided


def array_of(tensor: Tensor) -> Array:
    """A copy of a tensor as an array in row order, whatever its layout in memory.

    Writers take the bytes as they lie: a transposed matrix would be read as another one.
    """
    value = torch.as_tensor(tensor).detach().cpu()
    if value.is_floating_point() and value.dtype not in _KEPT:
        value = value.float()
    return np.array(value.numpy(), order="C")


def weights_of(encoder: Network) -> Arrays:
    """Copies of parameters and buffers, by name."""
    return {name: array_of(value) for name, value in encoder.state_dict().items()}


def check_weights(network: Network) -> None:
    """Raise ValueError where a network has weights that no file can hold, before they are learnt."""
    for name, value in network.state_dict().items():
        if isinstance(value, torch.nn.parameter.UninitializedTensorMixin):
            raise ValueError(f"network has no shape yet in {name}; call it once with rows, before it is trained")
        what = value.dtype if isinstance(value, torch.Tensor) else f"an object of type {type(value).__name__}"
        if not isinstance(value, torch.Tensor) or value.is_complex() or value.is_quantized or value.layout != _DENSE:
            raise ValueError(f"network has {what} in {name}, and a saved encoder holds arrays of real numbers")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"network has NaN or infinity in {name}, which no saved encoder holds; use persistent=False for a "
                "buffer that it makes itself"
            )


def put_weights(encoder: Network, weights: Arrays) -> None:
    """Set parameters and buffers; each keeps its type and its layout."""
    encoder.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})


class Checkpoint:
    """A folder that holds the latest state of one training, whole at any moment.

    Parameters
    ----------
    path : path
    job : dict
        What is trained on which data, as plain JSON: another job does not go on from here.
    """

    def __init__(self, path: StrPath, job: Json) -> None:
        # The job as it will be read again.
        self.path, self.job = Path(path), json.loads(json.dumps(job))
        for line in untold(self.job):
            log.warning("this training cannot go on from %s: %s", self.path, line)

    @staticmethod
    def check(path: StrPath) -> None:
        """Raise FileNotFoundError or FileExistsError where no state can be kept, before there is any."""
        check_target(path, KIND, overwrite=True)

    @staticmethod
    def seed_of(path: StrPath, seed: int) -> int:
        """The seed of the training whose state is kept there, else `seed`: without a wish it is the same again."""
        if not (Path(path) / MANIFEST).exists():
            return seed
        found = read_folder(path, KIND, verify=False).content.get("job", {}).get("random_state")
        return found if type(found) is int and found >= 0 else seed

    @property
    def exists(self) -> bool:
        return (self.path / MANIFEST).exists()

    def remove(self) -> None:
        """Remove the state, if there is one."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, content: Json, groups: dict[str, Arrays]) -> None:
        """Replace the state by this one, in one step."""
        arrays = {f"{group}.{name}": array for group, part in groups.items() for name, array in part.items()}
        write_folder(self.path, KIND, {"job": self.job, **content}, arrays, overwrite=True)

    def read(self) -> tuple[Json, dict[str, Arrays]]:
        """The state.

        Raises
        ------
        ValueError
            Where it is damaged, or that of another job, naming what differs.
        """
        folder = read_folder(self.path, KIND)
        old = folder.content.get("job", {})
        if lines := untold(self.job):
            raise ValueError(f"{self.path} does not allow to go on: {'; '.join(lines)}; name a new folder")
        if differ := sorted(name for name in {*old, *self.job} if unequal(name, old.get(name), self.job.get(name))):
            raise ValueError(
                f"{self.path} holds a training with another {', '.join(differ)}; ask for the same, or name a new folder"
            )
        groups: dict[str, Arrays] = {}
        for name, array in folder.arrays.items():
            group, rest = name.split(".", 1)
            groups.setdefault(group, {})[rest] = np.array(array)
        return folder.content, groups
