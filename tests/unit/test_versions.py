"""What several files say of versions is one thing: that of the package, of what it needs, and of the tools."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import tsne_ooc

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: What `.ci/run` brings together with the lowest versions.
TESTED = [
    *PROJECT["dependencies"],
    *EXTRAS["test"],
    *(need for extra in ("anndata", "zarr", "parquet", "remote", "cluster") for need in EXTRAS[extra]),
]


def whole(version):
    """A version of three numbers: 1.12 is 1.12.0."""
    return tuple(int(part) for part in [*version.split("."), "0", "0"][:3])


def test_the_package_has_one_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    # The newest is on top, with the day of its release or none yet; older ones have a day.
    newest, *older = re.findall(r"^## (\S+) - (.+)$", text, re.MULTILINE)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert tsne_ooc.__version__ == PROJECT["version"] == newest[0] == cited.group(1)
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", newest[1])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in older)


def test_the_lowest_versions_are_those_that_are_tested():
    lines = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    allowed = dict(re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", need).groups() for need in TESTED if ">=" in need)
    assert {name: whole(version) for name, version in pinned.items()} == {
        name: whole(version) for name, version in allowed.items()
    }


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_what_is_said_of_python(version):
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    assert version in (ROOT / "README.md").read_text(encoding="utf-8")
    assert version in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("tool", ["ruff", "codespell"])
def test_tools_are_the_same_before_a_commit_and_in_ci(tool):
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (wanted,) = [need for need in EXTRAS["lint"] if need.startswith(tool)]
    assert set(re.findall(rf"{tool}==[\d.]+", text)) == {wanted}
    assert f".venv/bin/{tool}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
