"""Telling values apart by all that they hold, in this process and in the next.

Neither an object's text nor its class tells what is in it, and its address changes from process to process. So a value
is taken apart as pickle would do it, and hashed: arrays by their numbers, functions by their code and by what they
close over, objects of all other kinds by their class and their state.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._options import scalar

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))
# What Python and its libraries write into a class; it says where the class stands, not what it does.
_OF_CLASSES = frozenset(
    (
        "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__",
        "__firstlineno__", "__static_attributes__", "__orig_bases__", "__parameters__", "__dataclass_fields__",
        "__dataclass_params__", "_abc_impl",
    )
)  # fmt: skip


class Untold(TypeError):
    """Raised for a value that nothing tells from others, such as a lock or an open file; the message names the type."""


def digest(value: Any) -> str:
    """What tells a value from others: 16 hexadecimal digits, the same in each process.

    Lists and tuples of the same items are equal, and so are dicts in any order, arrays and sparse matrices in any
    layout, and functions of the same code, defaults, closures and globals. What comes with Python or with an installed
    package is told by its name; a user's own module that a function uses, by its file.

    Raises
    ------
    Untold
        Where the value, or one that it holds, cannot be taken apart.
    """
    try:
        return _Digest().of(value).hex()[:16]
    except RecursionError:
        raise Untold(f"a {_name(type(value))} that is nested too deeply") from None


class _Digest:
    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}
        self._above: dict[int, int] = {}
        # The `id` of an object means it only as long as it lives.
        self._alive: list[Any] = []

    def of(self, value: Any) -> bytes:
        value = scalar(value)
        if type(value) in _ATOMS:
            return _hash("value", repr(value).encode(), type(value).__name__.encode())
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._above:
            return _hash("above", str(len(self._above) - self._above[key]).encode())
        self._above[key] = len(self._above)
        self._alive.append(value)
        try:
            self._done[key] = found = _hash(*self._parts(value))
        except (Untold, RecursionError):
            raise
        except Exception:
            # Other libraries' objects may raise when they are looked at, such as parameters of torch that have no shape
            # yet.
            raise Untold(f"an object of type {_name(type(value))}") from None
        finally:
            del self._above[key]
        return found

    def _all(self, values: Iterable[Any]) -> Iterator[bytes]:
        return (self.of(value) for value in values)

    def _pairs(self, items: Iterable[tuple[Any, Any]]) -> list[bytes]:
        return sorted(self.of(key) + self.of(value) for key, value in items)

    def _parts(self, value: Any) -> Iterable[str | bytes]:
        kind = type(value)
        if kind in (list, tuple):
            return ("sequence", *self._all(value))
        if kind in (dict, types.MappingProxyType):
            return ("mapping", *self._pairs(value.items()))
        if kind in (set, frozenset):
            return ("set", *sorted(self._all(value)))
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        return self._attributes(value) or self._table(value) or self._object(value)

    def _array(self, array: Any) -> Iterable[str | bytes]:
        if isinstance(array, np.ma.MaskedArray):
            return ("masked", self.of(np.asarray(array.data)), self.of(np.ma.getmaskarray(array)))
        array = np.asarray(array)
        shape = str(array.shape).encode()
        if array.dtype.names:
            return ("records", shape, *(part for name in array.dtype.names for part in self._all((name, array[name]))))
        if array.dtype.hasobject:
            return ("objects", shape, *self._all(array.ravel().tolist()))
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        data = plain.reshape(-1).view(np.uint8).data if plain.size and plain.dtype.itemsize else b""
        return ("array", plain.dtype.str.encode(), shape, hashlib.sha256(data).digest())

    def _class(self, kind: type) -> Iterable[str | bytes]:
        if _library(kind.__module__):
            return ("class", _name(kind).encode())
        own = ((name, value) for name, value in vars(kind).items() if name not in _OF_CLASSES)
        return ("class", kind.__qualname__.encode(), *self._all(kind.__bases__), *self._pairs(own))

    def _module(self, module: types.ModuleType) -> Iterable[str | bytes]:
        name = module.__name__.encode()
        file = getattr(module, "__file__", None)
        if _library(module.__name__) or file is None:
            return ("module", name)
        try:
            return ("module", name, hashlib.sha256(Path(file).read_bytes()).digest())
        except OSError:
            raise Untold(f"the module {module.__name__}, whose file cannot be read") from None

    def _code(self, code: types.CodeType) -> Iterable[str | bytes]:
        numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return ("code", code.co_code, code.co_exceptiontable, *self._all((numbers, names, code.co_consts)))

    def _function(self, function: types.FunctionType) -> Iterable[str | bytes]:
        library = _library(function.__module__)
        if library and _found(function.__module__, function.__qualname__) is function:
            return ("function", f"{function.__module__}.{function.__qualname__}".encode())
        used = {} if library else {
            name: function.__globals__[name] for name in _globals(function.__code__) if name in function.__globals__
        }  # fmt: skip
        parts = (
            function.__code__, function.__defaults__, function.__kwdefaults__, function.__closure__, used,
            function.__dict__,
        )  # fmt: skip
        return ("function", *self._all(parts))

    def _attributes(self, value: Any) -> Iterable[str | bytes] | None:
        """The parts of what pickle does not take, or not alike in each process, but which has them as attributes."""
        if isinstance(value, types.CellType):
            try:
                return ("cell", self.of(value.cell_contents))
            except ValueError:
                return ("empty cell",)
        if isinstance(value, staticmethod | classmethod):
            return ("method", type(value).__name__.encode(), self.of(value.__func__))
        if isinstance(value, property):
            return ("property", *self._all((value.fget, value.fset, value.fdel)))
        if isinstance(value, functools.cached_property):
            return ("property", self.of(value.func))
        if isinstance(value, types.MethodDescriptorType | types.MemberDescriptorType | types.GetSetDescriptorType):
            return ("descriptor", value.__qualname__.encode())
        # Functions that Numba compiled have a number that is drawn anew in each process.
        for name in ("py_func", "__wrapped__"):
            if callable(inner := getattr(value, name, None)):
                return ("around", _name(type(value)).encode(), self.of(inner))
        return None

    def _table(self, value: Any) -> Iterable[str | bytes] | None:
        """The parts of what holds a table of numbers, whatever its layout in memory."""
        if hasattr(value, "tocsr") and hasattr(value, "nnz"):
            rows = value.tocsr() if value.ndim == 2 else value.tocoo()
            if value.ndim == 2 and not rows.has_canonical_format:
                rows = rows.copy()
                rows.sum_duplicates()
            at = (rows.indptr, rows.indices) if value.ndim == 2 else rows.coords
            return ("sparse", *self._all((value.shape, *(np.asarray(part, np.int64) for part in at), rows.data)))
        if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
            found = value.detach().cpu()
            # NumPy has no bfloat16, and float32 holds all of its numbers.
            found = found.float() if found.is_floating_point() and found.element_size() < 4 else found
            return ("tensor", str(value.dtype).encode(), bytes([value.requires_grad]), self.of(found.numpy()))
        index = getattr(value, "index", None)
        index = None if callable(index) else index
        if hasattr(value, "columns") and hasattr(value, "dtypes"):
            columns = value.get_columns() if hasattr(value, "get_columns") else [column for _, column in value.items()]
            return ("frame", *self._all((list(value.columns), columns, index)))
        if hasattr(value, "to_numpy") and hasattr(value, "dtype"):
            own = None if index is value else index
            return ("column", str(value.dtype).encode(), *self._all((value.to_numpy(), own)))
        if hasattr(value, "__array__") and hasattr(value, "shape") and hasattr(value, "dtype"):
            return self._array(np.asarray(value))
        return None

    def _object(self, value: Any) -> Iterable[str | bytes]:
        kind = type(value)
        try:
            reduce = copyreg.dispatch_table.get(kind)
            found: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception:
            raise Untold(f"an object of type {_name(kind)}") from None
        if isinstance(found, str):
            return ("name", f"{getattr(value, '__module__', kind.__module__)}.{found}".encode())
        make, arguments, state, items, pairs = (list(found) + [None] * 3)[:5]
        if isinstance(state, dict) and "_sklearn_version" in state:
            # This says who made the object, not what it is.
            state = {name: part for name, part in state.items() if name != "_sklearn_version"}
        return ("object", *self._all((make, arguments, state, list(items or ()))), *self._pairs(pairs or ()))


def _hash(kind: str | bytes, *parts: str | bytes) -> bytes:
    found = hashlib.sha256()
    for part in (kind, *parts):
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()


def _globals(code: types.CodeType) -> list[str]:
    """Names that a code object takes from its module, and those that the functions within it take."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found.update(_globals(inner))
    return sorted(found)


def _found(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


@functools.cache
def _library(module: str | None) -> bool:
    """Whether a module comes with Python, with this package or with an installed one."""
    root = (module or "").partition(".")[0]
    if root in sys.stdlib_module_names or root == __name__.partition(".")[0]:
        return root != "__main__"
    where = getattr(sys.modules.get(root), "__file__", None)
    return where is not None and not {"site-packages", "dist-packages"}.isdisjoint(Path(where).parts)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
