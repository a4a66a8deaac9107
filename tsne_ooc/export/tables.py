"""Maps as tables of their own: HDF5, Zarr, Parquet, CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tsne_ooc.export.content import ROWS, Content
from tsne_ooc.io.optional import load
from tsne_ooc.storage.atomic import exchange, whole_file, whole_folder


def to_hdf5(content: Content, path: Path) -> None:
    """Datasets ``embedding``, ``sampled`` and those of the numbers; the manifest is an attribute of the file."""
    import h5py

    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        for name, (shape, kind) in content.shapes().items():
            file.create_dataset(name, shape, kind)
        for start, stop, block in content.blocks():
            for name, values in block.items():
                file[name][start:stop] = values
        file.attrs.update(content.attributes())


def to_zarr(content: Content, path: Path) -> None:
    """Arrays of the same names in a group."""
    zarr = load("zarr", "zarr", path.name)
    with whole_folder(path, exchange) as temporary:
        group = zarr.open_group(store=str(temporary), mode="w")
        for name, (shape, kind) in content.shapes().items():
            chunks = (max(1, min(ROWS, content.n)), *shape[1:])
            group.create_array(name, shape=shape, dtype=np.dtype(kind), chunks=chunks)
        for start, stop, block in content.blocks():
            for name, values in block.items():
                group[name][start:stop] = values
        group.attrs.update(content.attributes())


def to_parquet(content: Content, path: Path) -> None:
    """Columns tsne1, tsne2, ..., the numbers and sampled; the manifest is in the metadata of the schema."""
    arrow = load("pyarrow", "parquet", path.name)
    parquet = load("pyarrow.parquet", "parquet", path.name)
    kinds = {"sampled": arrow.bool_()}
    schema = arrow.schema([(name, kinds.get(name, arrow.float32())) for name in content.names], content.attributes())
    # Places hardly repeat. A million rows took 18.0 bytes each with dictionaries, more than room was asked for, and 0.6
    # seconds; without, they take 12.1 bytes and 0.05 seconds.
    with whole_file(path) as temporary, parquet.ParquetWriter(temporary, schema, use_dictionary=False) as writer:
        for _, _, block in content.blocks():
            writer.write_table(arrow.table(content.columns(block), schema=schema))


def to_csv(content: Content, path: Path) -> None:
    """A line of names, then a line for each row; nine digits, which give every float32 back."""
    with whole_file(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(",".join(content.names) + "\n")
        for _, _, block in content.blocks():
            np.savetxt(file, np.stack(list(content.columns(block).values()), axis=1), "%.9g", ",")
