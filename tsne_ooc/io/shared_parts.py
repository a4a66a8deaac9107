"""Parts that blocks of a Dask array share, such as a mean of all rows: computed once, where they are small."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._typing import TableLike
from tsne_ooc.io.bands import LARGEST

# A block that takes so many times its share of the work repeats work that others need, too.
_REPEATED = 8
# A part that more blocks take is computed once. Fewer blocks share edges with their neighbours, and there are as many
# edges as blocks: keeping them would keep the table.
_NEIGHBOURS = 4
# So many parts may be as large as a chunk, whatever its size: mean and standard deviation of two sets of columns.
_FEW = 4


class SharedParts:
    """The parts that more than a few blocks of rows share, and their values once they were needed.

    Blocks are computed one after the other, for a table larger than memory. Each would compute a mean of all rows anew:
    of 100 blocks of ``X - X.mean(0)`` each takes 236 steps of the 335 of all.

    Parameters
    ----------
    data : dask.array.Array of shape (n_samples, n_features)

    Warns
    -----
    UserWarning
        Where blocks share parts that are too many to be kept.
    """

    def __init__(self, data: TableLike) -> None:
        self.keys: list[Hashable] = []
        self._values: dict[Hashable, Any] | None = None
        self._lock = threading.Lock()
        blocks = int(data.numblocks[0]) if data.ndim == 2 else 0
        graph = data.__dask_graph__()
        if blocks <= _NEIGHBOURS or not hasattr(graph, "cull"):
            return
        of_one = len(graph.cull(data.__dask_keys__()[blocks // 2]))
        # (Steps weigh unequally: taking rows out of a chunk is soon done.)
        if of_one * blocks <= 1.2 * len(graph):
            return
        keys = _shared(data)
        chunk = int(np.prod([max(sizes, default=0) for sizes in data.chunks])) * data.dtype.itemsize
        if keys and len(keys) * chunk <= max(LARGEST, _FEW * chunk):
            self.keys = keys
        elif blocks >= _REPEATED and of_one * blocks > _REPEATED * len(graph):
            warn(
                f"each of the {blocks:,} blocks of this Dask array takes {of_one:,} of the {len(graph):,} steps of "
                "all, since they share parts that are too many to be kept; compute those first, or write the array to "
                "a file",
            )

    def kept(self, data: TableLike) -> Any:
        """The array with the values of its shared parts in their place; they are computed by the first call."""
        if not self.keys:
            return data
        import dask.array
        import dask.optimization
        import dask.threaded
        from dask.sizeof import sizeof
        from dask.utils import ensure_dict

        # Dask gives these no types.
        cull: Any = dask.optimization.cull
        get: Any = dask.threaded.get
        array: Any = dask.array.Array
        steps: dict[Hashable, Any] = ensure_dict(data.__dask_graph__())
        with self._lock:
            if self._values is None:
                found = get(cull(steps, self.keys)[0], self.keys)
                small = sum(sizeof(value) for value in found) <= LARGEST
                self._values = dict(zip(self.keys, found, strict=True)) if small else {}
        if not self._values:
            return data
        # Values become steps without arguments, because a tuple among values would itself mean a step.
        given = {key: (partial(_same, value),) for key, value in self._values.items()}
        rest = cull({**steps, **given}, [key for row in data.__dask_keys__() for key in row])[0]
        return array(rest, data.name, data.chunks, meta=data._meta)


def _same(value: Any) -> Any:
    return value


_of_arrays: dict[int, tuple[weakref.ref[Any], SharedParts]] = {}
_of_names: weakref.WeakValueDictionary[str, SharedParts] = weakref.WeakValueDictionary()


def shared_parts(data: TableLike) -> SharedParts:
    """The parts of an array, kept as long as it lives, because each look at a table makes a new source."""
    known = _of_arrays.get(id(data))
    if known is not None and known[0]() is data:
        return known[1]
    parts, place = SharedParts(data), id(data)
    try:
        _of_arrays[place] = weakref.ref(data, lambda _: _of_arrays.pop(place, None)), parts
    except TypeError:
        # Arrays of older versions of Dask have no weak references; those of one name share parts while a source lives.
        return _of_names.setdefault(str(data.name), parts)
    return parts


def _shared(data: TableLike) -> list[Hashable]:
    """The steps that more than a few blocks of rows need directly, not through other steps that they share."""
    depends = data.__dask_graph__().get_all_dependencies()
    takers: Counter[Hashable] = Counter(part for parts in depends.values() for part in parts)
    blocks: defaultdict[Hashable, set[int]] = defaultdict(set)
    for number, row in enumerate(data.__dask_keys__()):
        for key in row:
            blocks[key].add(number)
    # Steps that nobody takes come first: all that take a step are looked at before it.
    ready = [key for key in depends if not takers[key]]
    shared = []
    while ready:
        key = ready.pop()
        needed = blocks.pop(key, set())
        if many := len(needed) > _NEIGHBOURS:
            shared.append(key)
        for part in depends[key]:
            if not many and len(blocks[part]) <= _NEIGHBOURS:
                blocks[part] |= needed
            takers[part] -= 1
            if not takers[part]:
                ready.append(part)
    return shared
