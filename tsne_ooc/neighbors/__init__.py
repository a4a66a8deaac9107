"""Nearest neighbours: one contract, `Index`, and several searches that fulfil it.

>>> from tsne_ooc.neighbors import IVF
>>> IVF(probes=16)
IVF(lists=None, probes=16)
"""

from tsne_ooc.neighbors.annoy_index import Annoy
from tsne_ooc.neighbors.base import Index, Neighbors
from tsne_ooc.neighbors.exact import Exact
from tsne_ooc.neighbors.graph import Graph
from tsne_ooc.neighbors.hnsw import HNSW
from tsne_ooc.neighbors.ivf import IVF
from tsne_ooc.neighbors.plausible import tell_unlikely
from tsne_ooc.neighbors.precomputed import Precomputed, distances_of
from tsne_ooc.neighbors.pynndescent_index import PyNNDescent
from tsne_ooc.neighbors.resolve import resolve
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.neighbors.scaled import build

__all__ = [
    "HNSW",
    "IVF",
    "Annoy",
    "Exact",
    "Graph",
    "Index",
    "Neighbors",
    "Precomputed",
    "PyNNDescent",
    "build",
    "distances_of",
    "named_state",
    "resolve",
    "restore_index",
    "tell_unlikely",
]
