"""What holds for all kernels, whatever they compute."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

import tsne_ooc._kernels
from tsne_ooc._kernels import _jit


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


def test_a_piece_of_another_file_that_changes_is_compiled_anew(tmp_path):
    package = tmp_path / "changing"
    package.mkdir()
    for name in ("_jit.py", "_kept.py"):
        text = Path(_jit.__file__).with_name(name).read_text(encoding="utf-8")
        (package / name).write_text(text.replace("tsne_ooc._kernels", "changing"), encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "whole.py").write_text(
        "from ._jit import kernel\nfrom .part import part\n\n\n@kernel\ndef whole(x):\n    return part(x)\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    ask = "from changing.whole import whole; print(whole(1), sum(whole.stats.cache_hits.values()))"

    def answer():
        found = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
        return found.stdout.split()

    def put(factor):
        text = f"from ._jit import piece\n\n\n@piece\ndef part(x):\n    return {factor} * x\n"
        (package / "part.py").write_text(text)

    put(2)
    assert answer() == ["2", "0"]
    assert answer() == ["2", "1"]
    put(30)
    assert answer() == ["30", "0"]
