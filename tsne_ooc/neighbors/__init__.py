"""Nearest neighbours: one contract, `Index`, and several ways to fulfil it.

>>> from tsne_ooc.neighbors import IVF
>>> IVF(probes=16)
IVF(lists=None, probes=16)
"""

from .annoy_index import Annoy
from .base import Index, Neighbors
from .exact import Exact
from .hnsw import HNSW
from .ivf import IVF
from .precomputed import Precomputed, distances_of
from .pynndescent_index import PyNNDescent
from .resolve import resolve
from .saved import named_state, restore_index
from .scaled import build

__all__ = [
    "HNSW",
    "IVF",
    "Annoy",
    "Exact",
    "Index",
    "Neighbors",
    "Precomputed",
    "PyNNDescent",
    "build",
    "distances_of",
    "named_state",
    "resolve",
    "restore_index",
]
