"""Build the recipe for conda as far as it goes without conda-forge, and run its tests.

rattler-build makes environments from a channel of packages. Here it is given one of a few: Python is a copy of the one
that runs this script, and every other package leads to what pip installed, under its version. So the recipe is read,
solved, built, installed and tested, and only whether conda-forge has these names and versions is left open:

    pip install py-rattler-build && python tools/build_recipe.py

in an environment that has the package's dependencies. It takes some two minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import distributions
from pathlib import Path

import rattler_build
from rattler_build import ArchiveType

RECIPE = Path(__file__).parents[1] / "recipe" / "recipe.yaml"
VERSION = ".".join(map(str, sys.version_info[:3]))
LIBRARY = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
PLATFORM = "linux-64"


def python(folder: Path) -> Path:
    """A copy of this Python without the packages that it has."""
    base = Path(sys.base_prefix)
    (folder / "bin").mkdir(parents=True)
    name = Path(LIBRARY).name
    shutil.copy2(base / "bin" / name, folder / "bin" / name)
    for short in ("python", "python3"):
        (folder / "bin" / short).symlink_to(name)
    left_out = shutil.ignore_patterns("test", "tests", "site-packages", "__pycache__", "config-*", "idlelib", "tkinter")
    shutil.copytree(base / LIBRARY, folder / LIBRARY, symlinks=True, ignore=left_out)
    for library in (base / "lib").glob("libpython*.so.*"):
        shutil.copy2(library, folder / "lib")
    return folder


def leading_to(packages: str, folder: Path, name: str) -> Path:
    """A package that adds another environment's folder of packages."""
    site = folder / LIBRARY / "site-packages"
    site.mkdir(parents=True)
    (site / f"_{name}.pth").write_text(f"{packages}\n", encoding="utf-8")
    return folder


def versions(packages: str) -> dict[str, str]:
    return {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version for one in distributions(path=[packages])}


def channel(folder: Path, needed: dict[str, str]) -> Path:
    """A channel of Python, and of the packages that are `needed` from the folders that have them."""
    here = folder / "channel"
    found = {}
    for name, packages in {"python": "", **needed}.items():
        version = versions(packages)[name] if packages else VERSION
        files = leading_to(packages, folder / name, name) if packages else python(folder / name)
        build = "0" if packages else "0_cpython"
        facts = {"name": name, "version": version, "depends": ["python"] if packages else []}
        made = rattler_build.assemble_package(
            **facts, target_platform=PLATFORM, build_string=build, output_dir=here / PLATFORM, files_dir=files,
            compression_level=1, archive_type=ArchiveType.Conda, detect_prefix=False,
        )  # fmt: skip
        content = Path(made.path).read_bytes()
        found[Path(made.path).name] = facts | {
            "build": build, "build_number": 0, "subdir": PLATFORM, "size": len(content),
            "md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
    for platform, packages in ((PLATFORM, found), ("noarch", {})):
        (here / platform).mkdir(exist_ok=True)
        told = {"info": {"subdir": platform}, "packages": {}, "packages.conda": packages, "repodata_version": 1}
        (here / platform / "repodata.json").write_text(json.dumps(told), encoding="utf-8")
    return here


def names(requirements: object) -> list[str]:
    """Names of packages but Python, of lines such as ``numpy >=1.26``."""
    assert isinstance(requirements, list)
    return [line.split()[0] for line in requirements if line.split()[0] != "python"]


def main() -> None:
    (rendered,) = rattler_build.Stage0Recipe.from_file(RECIPE).render()
    wanted = rendered.recipe.to_dict()["requirements"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        host, run = names(wanted["host"]), names(wanted["run"])
        subprocess.run([sys.executable, "-m", "venv", folder / "host"], check=True)
        subprocess.run([folder / "host" / "bin" / "pip", "install", "--quiet", *host], check=True)
        there = str(folder / "host" / LIBRARY / "site-packages")
        needed = dict.fromkeys(host, there) | dict.fromkeys(run, sysconfig.get_path("purelib"))
        packages = channel(folder, needed)
        # The cache of packages is that of the user, where one of these names may be from another run.
        os.environ["RATTLER_CACHE_DIR"] = str(folder / "cache")
        tests = rattler_build.ToolConfiguration(test_strategy="native", use_sharded=False)
        print(rendered.run_build(tests, output_dir=folder / "out", channels=[packages.as_uri()]))


if __name__ == "__main__":
    main()
