"""What is kept on disk on the way, because memory does not hold it; nothing of it outlasts the process."""

from tsne_ooc.scratch.files import ScratchFile, scratch_folder
from tsne_ooc.scratch.joint import JointOnDisk, symmetrize_on_disk
from tsne_ooc.scratch.neighbors import NeighborRows, NeighborsInMemory, NeighborsOnDisk

__all__ = [
    "JointOnDisk",
    "NeighborRows",
    "NeighborsInMemory",
    "NeighborsOnDisk",
    "ScratchFile",
    "scratch_folder",
    "symmetrize_on_disk",
]
