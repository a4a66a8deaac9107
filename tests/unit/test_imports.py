"""Imports go one way: a module knows those below it, and the package alone loads nothing heavy.

The order is that of the data: a table is read, sampled, searched, turned into affinities, embedded, placed,
drawn. An import within a function counts like one at the top: it would bring the same cycle, only later.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tsne_ooc

PACKAGE = Path(tsne_ooc.__file__).parent

# From the bottom up. Modules of one line do not know each other.
ORDER = (
    ("_forking", "_kernels", "_typing"),
    ("_blas", "_cells", "_memory", "_elsewhere"),
    ("_options", "_labels", "_context"),
    ("_parallel", "_random", "_validate", "storage"),
    ("io",),
    ("workers",),
    ("streaming",),
    ("stages",),
    ("sampling",),
    ("preprocess",),
    ("convert",),
    ("batches",),
    ("equal_rows",),
    ("neighbors",),
    ("extend",),
    ("intake",),
    ("novelty",),
    ("joint",),
    ("affinity",),
    ("scratch",),
    ("schedule",),
    ("gradients",),
    ("fit",),
    ("placement",),
    ("refinement",),
    ("estimator",),
    ("rounds", "groups", "trust"),
    ("parametric",),
    ("pipeline",),
    ("recipes",),
    ("export",),
    ("metrics",),
    ("plot", "testing", "tl"),
    ("view",),
    ("report",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
HEAVY = ("numba", "scipy", "sklearn", "faiss", "h5py", "pynndescent", "matplotlib", "numpy", "tqdm")
OPTIONAL = (
    "zarr",
    "pyarrow",
    "dask",
    "distributed",
    "anndata",
    "pandas",
    "annoy",
    "torch",
    "safetensors",
    "onnx",
    "fsspec",
    "aiohttp",
)


def modules() -> list[Path]:
    """All modules but the package's own `__init__`, which is the way in to all of them."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything of tsne_ooc that a module in `package` imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "tsne_ooc":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                parents = package.split(".")
                home = ".".join([*parents[: len(parents) - node.level + 1], *([home] if home else [])])
            if home.split(".")[0] == "tsne_ooc":
                for alias in node.names:
                    yield node.lineno, f"{home}.{alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tsne_ooc":
            yield node.lineno, f"tsne_ooc.{node.attr}"


def home_of(name: str) -> str | None:
    """The module or subpackage right below tsne_ooc in which `name` lives; None for the version."""
    if name in ("tsne_ooc", "tsne_ooc.__version__"):
        return None
    first = name.split(".")[1]
    return tsne_ooc._HOMES.get(first, first).split(".")[0]


def wrong_imports(source: str, file: str) -> list[str]:
    """A line for each import in the module `file` (relative to the package) that goes up or sideways."""
    parts = Path(file).with_suffix("").parts
    here = parts[0]
    package = ".".join(["tsne_ooc", *parts[:-1]])
    found = []
    for line, name in imported(ast.parse(source), package):
        there = home_of(name)
        if there is None or there == here:
            continue
        if there not in LEVEL:
            found.append(f"tsne_ooc/{file}:{line} imports {name}, which has no place in ORDER")
        elif LEVEL[there] >= LEVEL[here]:
            found.append(f"tsne_ooc/{file}:{line} imports {name}, but {there} is not below {here}")
    return found


def test_every_module_has_a_place():
    present = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in modules()}
    assert present == set(LEVEL), "new modules get a line in ORDER, removed ones lose it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    wrong = wrong_imports(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source, file, says",
    [
        ("from .base import table_shape", "io/source.py", None),
        ("from ..fit import Model", "io/source.py", "io/source.py:1 imports tsne_ooc.fit.Model"),
        ("def f():\n    from .plot import scatter", "sampling.py", "sampling.py:2"),
        ("def f():\n    import tsne_ooc.cli", "plot.py", "plot.py:2"),
        ("from tsne_ooc import TSNE", "placement.py", "but estimator is not below placement"),
        ("import tsne_ooc\ntsne_ooc.embed", "estimator.py", "estimator.py:2"),
        ("from . import _random", "_options.py", "_random is not below _options"),
        ("from . import nowhere", "cli.py", "no place in ORDER"),
        ("import tsne_ooc\ntsne_ooc.__version__", "pipeline.py", None),
        ("from .._kernels.pairs import PAIRS\nimport numpy.random", "gradients/repulsion.py", None),
    ],
)
def test_the_check_itself(source, file, says):
    wrong = wrong_imports(source, file)
    if says is None:
        assert not wrong
    else:
        assert len(wrong) == 1 and says in wrong[0]


def running(source: str) -> ast.Module:
    """The module without what only type checkers read: a type may name what its own methods take."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, if there is one, and those between two rings."""
    left = {name: below & edges.keys() for name, below in edges.items()}
    while True:
        known = set().union(*left.values())
        kept = {name: below & left.keys() for name, below in left.items() if below & left.keys() and name in known}
        if kept == left:
            return sorted(left)
        left = kept


def test_no_modules_import_each_other():
    # ORDER is of rooms; within one, too, imports go one way.
    files = {".".join(["tsne_ooc", *path.relative_to(PACKAGE).with_suffix("").parts]): path for path in modules()}
    names = {name.removesuffix(".__init__") for name in files}
    edges = {}
    for name, path in files.items():
        there = set()
        for _, found in imported(running(path.read_text(encoding="utf-8")), name.rsplit(".", 1)[0]):
            there.add(found if found in names else found.rsplit(".", 1)[0])
        edges[name.removesuffix(".__init__")] = there & names
    assert edges["tsne_ooc.neighbors.ivf"] >= {"tsne_ooc.neighbors.base", "tsne_ooc.neighbors._blocks"}
    assert circle(edges) == []


def test_the_check_of_circles_itself():
    ring = {"a": {"b"}, "b": {"c"}, "c": {"a"}}
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert circle({**ring, "d": set(), "e": {"d"}}) == ["a", "b", "c"]


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    program = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_package_alone_loads_nothing_heavy():
    assert not loaded("import tsne_ooc; dir(tsne_ooc)") & {*HEAVY, *OPTIONAL}


def test_help_and_errors_of_the_command_line_load_nothing_heavy():
    assert not loaded("import tsne_ooc.cli.command; tsne_ooc.cli.command.parser().format_help()") & {*HEAVY, *OPTIONAL}


def test_optional_packages_wait_for_what_needs_them():
    code = "import numpy, tsne_ooc.io; tsne_ooc.io.open_source(numpy.zeros((3, 2))).read(0, 3)"
    assert not loaded(code) & {*OPTIONAL, "h5py"}
    assert "torch" not in loaded("import tsne_ooc.pipeline; tsne_ooc.pipeline.train")
