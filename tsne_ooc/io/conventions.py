"""What netCDF, and Zarr as xarray writes it, say about numbers: which mark missing cells, and which are packed.

The `conventions of CF <https://cfconventions.org>`_: ``_FillValue`` and ``missing_value`` mark missing cells, and
packed numbers stand for ``number * scale_factor + add_offset``.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, Stored
from tsne_ooc.io.masks import with_mask

# What netCDF writes where nobody has written, by kind and size of the numbers.
_UNWRITTEN = {
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36, "i2": -32767, "u2": 65535, "i4": -2147483647,
    "u4": 4294967295, "i8": -9223372036854775806, "u8": 18446744073709551614,
}  # fmt: skip


class Unpacked:
    """A dataset whose missing cells are masked and whose packed numbers are unpacked; behaves like a dataset.

    Attributes
    ----------
    remarks : list of str
        What is done to the numbers, in words.
    """

    def __init__(self, dataset: Stored, marks: Array, scale: float, offset: float) -> None:
        self._dataset, self._marks, self._scale, self._offset = dataset, marks, scale, offset
        self.shape, self.chunks = dataset.shape, dataset.chunks
        self._packed = (scale, offset) != (1.0, 0.0)
        self.dtype: DType = np.dtype(np.float64) if self._packed else np.dtype(dataset.dtype)
        self.remarks = []
        if len(marks):
            self.remarks.append(f"cells of {' and '.join(str(mark) for mark in marks.tolist())} are missing")
        if self._packed:
            self.remarks.append(f"numbers are unpacked: {scale:g} times what is stored, plus {offset:g}")

    def __getitem__(self, rows: slice) -> Array:
        stored = np.asarray(self._dataset[rows])
        mask = np.isin(stored, self._marks) if len(self._marks) else False
        values = stored * self._scale + self._offset if self._packed else stored
        return with_mask(np.ma.array(values, mask=mask)) if np.any(mask) else values


def decoded(dataset: Stored, *, netcdf: bool, unwritten: Any = None) -> Unpacked | None:
    """The dataset as the conventions mean it; None where its numbers stand for themselves.

    Parameters
    ----------
    dataset : h5py.Dataset, zarr.Array
        A dataset of numbers.
    netcdf : bool
        Whether a program of this convention wrote it: only then are numbers unpacked.
    unwritten : number, optional
        What the file holds where nothing was written. It marks a missing cell where it is netCDF's own choice.
    """
    kind = np.dtype(dataset.dtype)
    said = [dataset.attrs.get(name) for name in ("_FillValue", "missing_value")]
    # Another one, such as 0, may be meant as a number, and so may every value of a byte.
    usual = _UNWRITTEN.get(f"{kind.kind}{kind.itemsize}")
    if netcdf and said[0] is None and usual is not None and unwritten == kind.type(usual):
        said.append(unwritten)
    marks = [number for value in said for number in _numbers(value, kind)]
    # NaN counts as missing everywhere, and nothing equals it.
    marks = [mark for mark in dict.fromkeys(marks) if mark == mark]
    scale, offset = (
        float(found[0]) if netcdf and (found := _numbers(dataset.attrs.get(name), np.dtype(float))) else otherwise
        for name, otherwise in (("scale_factor", 1.0), ("add_offset", 0.0))
    )
    if not marks and (scale, offset) == (1.0, 0.0):
        return None
    return Unpacked(dataset, np.array(marks, kind), scale, offset)


def _numbers(value: Any, kind: DType) -> list[Any]:
    """Numbers of an attribute, in the type of the dataset."""
    if value is None:
        return []
    if isinstance(value, str):
        # Zarr 3 stores the bytes of the number, as text.
        try:
            return [*np.frombuffer(base64.b64decode(value, validate=True), kind.newbyteorder("<"))[:1].tolist()]
        except (ValueError, binascii.Error):
            return []
    try:
        found = np.asarray(value).ravel()
        return [] if found.dtype.kind not in "fiub" else found.astype(kind).tolist()
    except (TypeError, ValueError, OverflowError):
        return []
