"""Errors name commands that work wherever the package came from, since no index has it yet."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.io.optional import how_to_install, load
from tsne_ooc.sampling import labels_of

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", ["annoy", "plot", "anndata", "zarr", "parquet", "remote", "neural"])
def test_the_packages_of_an_extra(extra):
    shown = how_to_install(extra)
    assert shown.startswith("pip install ")
    assert sorted(re.findall(r"([A-Za-z][\w\[\]-]*)", shown.removeprefix("pip install "))) == sorted(
        re.match(r"[\w\[\]-]+", one)[0] for one in EXTRAS[extra]
    )


def test_an_extra_that_is_made_of_others(monkeypatch):
    shown = how_to_install("onnx")
    assert all(name in shown for name in ("onnx", "onnxscript", "torch", "safetensors")) and "tsne_ooc" not in shown
    needs = ["b>=2; extra == 'both'", "tsne_ooc[one]; extra == 'both'", "a>=1; extra == 'one'", "numpy"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    assert how_to_install("both") == "pip install 'b>=2' 'a>=1'"


def test_what_writes_onnx_is_all_that_encoders_need():
    names = {extra: {re.match(r"[\w-]+", need)[0] for need in EXTRAS[extra]} for extra in ("neural", "onnx")}
    assert names["neural"] < names["onnx"]


def test_without_an_installation(monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", nothing)
    with pytest.raises(
        ModuleNotFoundError, match=r"x needs nowhere_to_be_found.*install the extra 'neural' of tsne_ooc"
    ):
        load("nowhere_to_be_found", "neural", "x")


def test_a_package_that_lacks_another_one_does_not_lack_itself(monkeypatch, tmp_path):
    """What is not there is what that package needs: to install the package again would not help."""
    (tmp_path / "halfway.py").write_text("import nowhere_to_be_found.deep\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'nowhere_to_be_found'$") as caught:
        load("halfway", "zarr", "x.zarr")
    assert caught.value.name == "nowhere_to_be_found"
    with pytest.raises(ModuleNotFoundError, match=r"^x\.zarr needs nowhere_to_be_found, which is not") as caught:
        load("nowhere_to_be_found.deep", "zarr", "x.zarr")
    assert caught.value.name == "nowhere_to_be_found"


def test_labels_without_the_package(monkeypatch, tmp_path):
    """Labels have a reader of their own, and name the package as a table does, with its versions."""
    (tmp_path / "y.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.dataset", raising=False)
    with pytest.raises(ModuleNotFoundError, match="needs pyarrow, which is not installed: ") as caught:
        labels_of(tmp_path / "y.parquet", "kind")
    assert str(caught.value).endswith(how_to_install("parquet"))


def test_no_message_and_no_page_names_what_no_index_has():
    pages = [*Path(tsne_ooc.__file__).parent.rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in pages:
        assert not re.search(r"pip install ['\"]?tsne_ooc", path.read_text(encoding="utf-8")), path


def test_a_search_by_annoy_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "annoy", None)
    X = np.random.default_rng(0).normal(size=(60, 4))
    with pytest.raises(ImportError, match=r"^neighbors='annoy' needs Annoy: pip install annoy$"):
        TSNE(neighbors="annoy", perplexity=5).fit(X)
