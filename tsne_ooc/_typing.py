"""Names of types that many modules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import os

    import torch
    from scipy.sparse import csr_array

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
#: An array of any type.
Array = NDArray[Any]
DType = np.dtype[Any]
Arrays = dict[str, Array]
#: Called as ``progress(phase, done, total)``.
Progress = Callable[[str, int, int], None]
#: An object of JSON.
Json = dict[str, Any]
#: Options by name, such as those of a metric.
Named = Mapping[str, Any]
#: A table as people pass it: an array or what NumPy makes one of, a data frame, a sparse matrix, a source, or what can
#: be sliced like a dataset of HDF5. No type tells these from other objects; `tsne_ooc.io.as_source` does, with an
#: error.
TableLike: TypeAlias = Any
StrPath: TypeAlias = "str | os.PathLike[str]"
#: A file, group or array of HDF5 or Zarr, or what behaves like one.
Stored: TypeAlias = Any
#: Rows as they are embedded and searched.
Sparse: TypeAlias = "csr_array"
Matrix: TypeAlias = "Float32 | Sparse"
Tensor: TypeAlias = "torch.Tensor"
#: From rows to places, or back.
Network: TypeAlias = "torch.nn.Module"


class Configurable(Protocol):
    """What has options, as estimators of scikit-learn have."""

    def get_params(self, deep: bool = True) -> Json: ...

    def set_params(self, **options: Any) -> Any: ...
