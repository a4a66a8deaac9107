"""The documents as a site: each page is in one table of contents, and tutorials are what a build can run.

That they run, and that each page is built without a warning, is for the build of the documents, which `.ci/run` does.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections import Counter
from importlib.util import find_spec

import pytest
from documents import DOCS, FENCE, TUTORIALS, cells, pages_of_docs

NOTEBOOKS = [page for page in sorted(TUTORIALS.glob("*.md")) if page.name != "index.md"]
# What the tests' environment may lack; the build of the documents brings the first, and the last one where it can.
OPTIONAL = {"IPython.display": "IPython", "anndata": "anndata", "tsne_ooc.parametric": "torch"}


def contents(page):
    """The pages that a page's tables of contents name, without those that the reference makes."""
    for block in re.findall(r"^:::\{toctree\}\n(.*?)^:::$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                yield (page.parent / f"{line}.md").resolve()


def test_each_page_is_in_one_table_of_contents():
    named = Counter(target for page in pages_of_docs() for target in contents(page))
    assert set(named.values()) == {1}
    assert set(named) | {DOCS / "index.md"} == set(pages_of_docs())


def test_pages_of_all_kinds_can_be_reached_from_the_first():
    reached, new = set(), {DOCS / "index.md"}
    while new:
        reached |= new
        new = {target for page in new for target in contents(page)} - reached
    assert reached == set(pages_of_docs())


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_an_empty_line_ends_each_table(page):
    """A paragraph or a picture right behind a table is shown as one more row of it."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for line, after in itertools.pairwise(lines):
        assert not line.startswith("|") or not after or after.startswith("|"), after


def test_directives_outside_of_notebooks_are_between_colons():
    """Between backticks other readers of Markdown would show them as code, and tests of blocks would miss their end."""
    for page in pages_of_docs():
        opened = re.findall(r"^`{3,}\{([\w-]+)\}", page.read_text(encoding="utf-8"), re.MULTILINE)
        # Sphinx finds the names that get pages of their own only in its own language.
        taken = {"code-cell"} if page in NOTEBOOKS else {"eval-rst"} if page.name == "api.md" else set()
        assert set(opened) <= taken, page.name


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.name)
def test_a_tutorial_is_a_notebook(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith("---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n\n# ")
    kinds = [kind for kind, _ in FENCE.findall(text)]
    # Nothing is pasted: an output is made by a cell. Pictures say in words what is on them.
    told = re.findall(r'^:mystnb: \{image: \{alt: ".{20,}"\}\}$', text, re.MULTILINE)
    assert text.count("plt.subplots(") == len(told)
    assert "text" not in kinds and "![" not in text and len(cells(page)) >= 4
    assert text.rstrip().split("\n\n")[-1].startswith("Next: ")


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.name)
def test_its_cells_compile_and_the_first_sets_a_seed(page):
    trees = [ast.parse(code, page.name) for code in cells(page)]
    set_here = [
        node.value for node in trees[0].body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "seed"
    ]
    assert len(set_here) == 1 and isinstance(ast.literal_eval(set_here[0]), int)
    # All that is random is told it, or another number.
    for node in (node for tree in trees for node in ast.walk(tree)):
        if not isinstance(node, ast.Call):
            continue
        words = {keyword.arg for keyword in node.keywords}
        name = ast.unparse(node.func)
        if name in ("TSNE", "ParametricTSNE", "embed", "large", "IsolationForest", "tsne_ooc.tl.tsne"):
            assert "random_state" in words, ast.unparse(node)
        if re.fullmatch(r"np\.random\.\w+", name):
            assert name == "np.random.default_rng" and node.args, name


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.name)
def test_what_it_imports_is_there(page):
    for node in (node for code in cells(page) for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in wanted:
            if module in OPTIONAL and find_spec(OPTIONAL[module]) is None:
                continue
            found = importlib.import_module(module)
            assert name is None or hasattr(found, name), f"{module} has no {name}"


def test_the_table_of_contents_is_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# x\n\n:::{toctree}\n:hidden:\n\none\ndeep/two\n:::\n")
    assert list(contents(page)) == [tmp_path / "one.md", tmp_path / "deep" / "two.md"]
