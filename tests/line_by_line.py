"""Kernels as Python itself runs them, without a compiler: what their tests line by line share."""

from __future__ import annotations

from importlib import import_module
from types import FunctionType

import numpy as np

from tsne_ooc._kernels import _jit, chains

HERE = "tsne_ooc._kernels."
PLAIN: dict[str, dict] = {}


def plain(name):
    """What a module of kernels holds, with functions that nobody has compiled."""
    if name in PLAIN:
        return PLAIN[name]
    module = import_module(HERE + name)
    space = PLAIN[name] = dict(vars(module))
    for word, value in vars(module).items():
        function = getattr(value, "py_func", value)
        if word in ("kernel", "piece", "choice", "ordered", "divides") and function.__module__ == _jit.__name__:
            space[word] = lambda same: same
        elif word == "four_sums":
            space[word] = chains._in_python
        elif word == "ones":
            space[word] = lambda bits: np.uint64(int(bits).bit_count())
        elif isinstance(function, FunctionType) and function.__module__.startswith(HERE):
            home = function.__module__.removeprefix(HERE)
            globals_ = space if home == name else plain(home)
            space[word] = FunctionType(function.__code__, globals_, word, function.__defaults__, function.__closure__)
    return space


def derivatives(function, place, step=1e-4):
    """Gradient and Hessian by central differences."""
    d = len(place)
    unit = step * np.eye(d)
    gradient = np.array([function(place + unit[a]) - function(place - unit[a]) for a in range(d)]) / (2 * step)
    wide = 10 * unit
    hessian = np.array([
        [sum(s * t * function(place + s * wide[a] + t * wide[b]) for s in (1, -1) for t in (1, -1)) for b in range(d)]
        for a in range(d)
    ])  # fmt: skip
    return gradient, hessian / (4 * (10 * step) ** 2)


PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def summed(Y, dof):
    """The field of rows Y at a place."""
    return lambda place: float(((1 + np.square(place - Y).sum(axis=1) / dof) ** -dof).sum())


def wide(place):
    return [float(x) for x in np.pad(place, (0, 3 - len(place)))]


def smaller(name, **numbers):
    """The kernels of a module with other numbers than its own."""
    space = dict(plain(name))
    space.update(numbers)
    for word, value in plain(name).items():
        if isinstance(value, FunctionType) and value.__globals__ is plain(name):
            space[word] = FunctionType(value.__code__, space, word, value.__defaults__, value.__closure__)
    return space
