"""Data that is kept on disk on the way, because memory does not hold it; nothing of it outlasts the process."""

from tsne_ooc.scratch.files import ScratchFile, scratch_folder
from tsne_ooc.scratch.joint import JointOnDisk, symmetrize_on_disk
from tsne_ooc.scratch.neighbors import NeighborBlock, NeighborRows, NeighborsInMemory, NeighborsOnDisk
from tsne_ooc.scratch.plan import MemoryPlan, Room, Stage, plan_memory

__all__ = [
    "JointOnDisk",
    "MemoryPlan",
    "NeighborBlock",
    "NeighborRows",
    "NeighborsInMemory",
    "NeighborsOnDisk",
    "Room",
    "ScratchFile",
    "Stage",
    "plan_memory",
    "scratch_folder",
    "symmetrize_on_disk",
]
