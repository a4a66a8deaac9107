"""Packages that only some sources need."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shlex
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
            f"{what} needs {package}, which is not installed: {how_to_install(extra)}", name=package
        ) from None


def how_to_install(extra: str) -> str:
    """The command that installs an extra, by the names of its packages: pip finds these in any case."""
    try:
        required = importlib.metadata.requires("tsne_ooc") or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    wanted = _packages(extra, required)
    return f"pip install {shlex.join(wanted)}" if wanted else f"install the extra {extra!r} of tsne_ooc"


def _packages(extra: str, required: list[str]) -> list[str]:
    found: list[str] = []
    for line in required:
        name, _, marker = line.partition(";")
        if not re.search(rf"extra == ['\"]{extra}['\"]", marker):
            continue
        # An extra may consist of other extras.
        ours = re.fullmatch(r"tsne[-_.]ooc\[(.+)\]", name.strip())
        more = (
            [name.strip()]
            if ours is None
            else [one for part in ours[1].split(",") for one in _packages(part, required)]
        )
        found += [one for one in more if one not in found]
    return found
