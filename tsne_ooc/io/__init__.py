"""Sources of rows and sinks for them."""

from tsne_ooc.io.blocks import iterate
from tsne_ooc.io.hdf5 import Hdf5Source, open_hdf5
from tsne_ooc.io.sink import NpySink
from tsne_ooc.io.source import Source, as_source

__all__ = ["Hdf5Source", "NpySink", "Source", "as_source", "iterate", "open_hdf5"]
