"""What holds for all kernels, whatever they compute."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from numba.core.dispatcher import Dispatcher

import tsne_ooc._kernels


def all_kernels():
    """Every compiled function of every kernel module, also those kept in tables by number of axes."""
    for found in pkgutil.iter_modules(tsne_ooc._kernels.__path__):
        module = importlib.import_module(f"tsne_ooc._kernels.{found.name}")
        values = list(vars(module).items())
        while values:
            name, value = values.pop()
            if isinstance(value, Dispatcher):
                yield f"{found.name}.{name}", value
            elif isinstance(value, dict) and not name.startswith("__"):
                values += [(f"{name}[{key}]", item) for key, item in value.items()]
            elif isinstance(value, tuple):
                values += [(f"{name}.{number}", item) for number, item in enumerate(value)]


KERNELS = dict(all_kernels())


def test_there_are_kernels():
    assert len(KERNELS) > 30


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernels_are_found_again_on_disk(name):
    """Numba's key holds what a function closes over; compiled functions in it have another name in each process."""
    closure = KERNELS[name].py_func.__closure__ or ()
    assert all(isinstance(cell.cell_contents, int) for cell in closure)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernels_release_the_lock_and_are_serial(name):
    kernel = KERNELS[name]
    assert not kernel.targetoptions.get("parallel")
    if kernel.targetoptions.get("nogil"):
        assert kernel._cache is not None
        assert type(kernel._cache).__name__ != "NullCache"
