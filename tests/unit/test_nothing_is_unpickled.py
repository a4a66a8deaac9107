"""No file of a user's makes the package run what is in it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc.io import open_source
from tsne_ooc.sampling import labels_of

PACKAGE = Path(tsne_ooc.__file__).parent


def calls(path):
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def test_each_array_that_is_read_says_so():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        for node in calls(path):
            name = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in ("np.load", "np.save") or name.startswith("np.lib.format."):
                seen += 1
                where = f"{path.relative_to(PACKAGE)}, line {node.lineno}"
                assert given.get("allow_pickle", "False") == "False", where
                assert name != "np.load" or "allow_pickle" in given, where
    assert seen > 10


def test_only_what_is_ours_is_unpickled():
    """The machine code of kernels in the user's own cache, and tables that an executor pickles for its workers."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in calls(path)
        if ast.unparse(node.func) in ("pickle.load", "pickle.loads", "torch.load", "joblib.load", "np.loads")
    }
    assert {path for path in found if not path.startswith("testing/")} == {"_kernels/_kept.py", "workers/by_path.py"}


def test_arrays_of_objects_are_not_read(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return Path.touch, (ran,)

    trap = np.empty((3, 2), object)
    trap[:] = Evil()
    np.save(tmp_path / "x.npy", trap, allow_pickle=True)
    np.save(tmp_path / "y.npy", trap[:, 0], allow_pickle=True)
    with pytest.raises((ValueError, TypeError)):
        open_source(tmp_path / "x.npy")
    with pytest.raises(OSError, match="Object arrays cannot be loaded"):
        labels_of(tmp_path / "y.npy")
    assert not ran.exists()
