"""Sources of rows and sinks for them."""

from tsne_ooc.io.blocks import iterate
from tsne_ooc.io.hdf5 import Hdf5Source, Hdf5Table, open_hdf5
from tsne_ooc.io.identity import differences, identity_of
from tsne_ooc.io.lined_up import line_up
from tsne_ooc.io.named import names_of, order_of
from tsne_ooc.io.parquet import ParquetSource, open_parquet
from tsne_ooc.io.source import Source, as_source, open_source
from tsne_ooc.io.zarr import ZarrSource, open_zarr
from tsne_ooc.storage.sink import NpySink

__all__ = [
    "Hdf5Source",
    "Hdf5Table",
    "NpySink",
    "ParquetSource",
    "Source",
    "ZarrSource",
    "as_source",
    "differences",
    "identity_of",
    "iterate",
    "line_up",
    "names_of",
    "open_hdf5",
    "open_parquet",
    "open_source",
    "open_zarr",
    "order_of",
]
