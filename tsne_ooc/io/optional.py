"""Packages that only some sources need."""

from __future__ import annotations

import importlib
from typing import Any


def load(module: str, extra: str, what: str) -> Any:
    """Import `module`, or raise one line that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"{what} needs {package}, which is not installed: pip install 'tsne_ooc[{extra}]'", name=package
        ) from None
