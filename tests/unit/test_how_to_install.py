"""Errors name commands that work wherever the package came from, since no index has it yet."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

import tsne_ooc
from tsne_ooc.io.optional import how_to_install, load

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", ["annoy", "plot", "anndata", "zarr", "parquet", "neural"])
def test_the_packages_of_an_extra(extra):
    shown = how_to_install(extra)
    assert shown.startswith("pip install ")
    assert sorted(re.findall(r"([A-Za-z][\w\[\]-]*)", shown.removeprefix("pip install "))) == sorted(
        re.match(r"[\w\[\]-]+", one)[0] for one in EXTRAS[extra]
    )


def test_an_extra_that_is_made_of_others():
    shown = how_to_install("onnx")
    assert all(name in shown for name in ("onnx", "onnxscript", "torch", "safetensors")) and "tsne_ooc" not in shown


def test_without_an_installation(monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", nothing)
    with pytest.raises(
        ModuleNotFoundError, match=r"x needs nowhere_to_be_found.*install the extra 'neural' of tsne_ooc"
    ):
        load("nowhere_to_be_found", "neural", "x")


def test_no_message_and_no_page_names_what_no_index_has():
    pages = [*Path(tsne_ooc.__file__).parent.rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in pages:
        assert not re.search(r"pip install ['\"]?tsne_ooc", path.read_text(encoding="utf-8")), path
