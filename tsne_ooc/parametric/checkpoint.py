"""What a training that was killed goes on from."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tsne_ooc._asked import unequal, untold
from tsne_ooc.store import MANIFEST, check_target, read_folder, write_folder

log = logging.getLogger(__name__)

KIND = "training"

Arrays = dict[str, NDArray[Any]]


# Floating types that a file keeps as they are. Others, of 16 bits and fewer, become float32, which holds each of them.
_KEPT = (torch.float32, torch.float64)


def array_of(tensor: Any) -> NDArray[Any]:
    """A copy of a tensor as an array, row after row whatever its layout in memory is.

    Writers take the bytes as they lie: those of a transposed matrix would be read as those of another one.
    """
    value = torch.as_tensor(tensor).detach().cpu()
    if value.is_floating_point() and value.dtype not in _KEPT:
        value = value.float()
    return np.array(value.numpy(), order="C")


def weights_of(encoder: Any) -> Arrays:
    """Parameters and buffers by name, copied."""
    return {name: array_of(value) for name, value in encoder.state_dict().items()}


def put_weights(encoder: Any, weights: Arrays) -> None:
    """Set them; each keeps its type and its layout."""
    encoder.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})


class Checkpoint:
    """A folder that holds the latest state of one training, whole at any moment.

    Parameters
    ----------
    path : path
    job : dict
        What is trained on what, as plain JSON: another job does not go on from here.
    """

    def __init__(self, path: str | os.PathLike[str], job: dict[str, Any]) -> None:
        # As it will be read again.
        self.path, self.job = Path(path), json.loads(json.dumps(job))
        for line in untold(self.job):
            log.warning("this training cannot go on from %s: %s", self.path, line)

    @staticmethod
    def check(path: str | os.PathLike[str]) -> None:
        """Raise FileNotFoundError or FileExistsError where no state can be kept, before there is any."""
        check_target(path, KIND, overwrite=True)

    @staticmethod
    def seed_of(path: str | os.PathLike[str], seed: int) -> int:
        """That of the training whose state is kept there, else `seed`: whoever asks for none asks for the same."""
        if not (Path(path) / MANIFEST).exists():
            return seed
        found = read_folder(path, KIND, verify=False).content.get("job", {}).get("random_state")
        return found if type(found) is int and found >= 0 else seed

    @property
    def exists(self) -> bool:
        return (self.path / MANIFEST).exists()

    def write(self, content: dict[str, Any], groups: dict[str, Arrays]) -> None:
        """Replace the state by this one, in one step."""
        arrays = {f"{group}.{name}": array for group, part in groups.items() for name, array in part.items()}
        write_folder(self.path, KIND, {"job": self.job, **content}, arrays, overwrite=True)

    def read(self) -> tuple[dict[str, Any], dict[str, Arrays]]:
        """The state.

        Raises
        ------
        ValueError
            Where it is damaged, or that of another job, naming what differs.
        """
        folder = read_folder(self.path, KIND)
        old = folder.content.get("job", {})
        if lines := untold(self.job):
            raise ValueError(f"{self.path} cannot be gone on from: {'; '.join(lines)}; name a new folder")
        if differ := sorted(name for name in {*old, *self.job} if unequal(name, old.get(name), self.job.get(name))):
            raise ValueError(
                f"{self.path} holds a training with another {', '.join(differ)}; ask for the same, or name a new folder"
            )
        groups: dict[str, Arrays] = {}
        for name, array in folder.arrays.items():
            group, rest = name.split(".", 1)
            groups.setdefault(group, {})[rest] = np.array(array)
        return folder.content, groups
