"""Every name that a page of the documentation uses is there: imports, dotted names, attributes, options of calls."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from documents import FENCE, pages_of_docs, python_of

import tsne_ooc

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *pages_of_docs()]
HOMES = ("tsne_ooc", *(f"tsne_ooc.{name}" for name in sorted(tsne_ooc._MODULES)))


def needs_torch(name):
    return name.startswith("tsne_ooc.parametric")


@cache
def found(name):
    """The thing of this dotted name, module by module and then by attributes; raises where there is none."""
    thing, parts = tsne_ooc, name.split(".")[1:]
    for at, part in enumerate(parts):
        if not hasattr(thing, part):
            thing = importlib.import_module(".".join(["tsne_ooc", *parts[: at + 1]]))
        else:
            thing = getattr(thing, part)
    return thing


@cache
def public():
    """What users can have by name: classes and functions of the package's modules."""
    things = {}
    for home in HOMES:
        try:
            module = importlib.import_module(home)
        except ModuleNotFoundError:
            # Of an extra that is not installed.
            continue
        for name in getattr(module, "__all__", dir(module)):
            thing = getattr(module, name, None)
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("tsne_ooc"):
                things.setdefault(name, thing)
    return things


def in_code(page):
    """Names of tsne_ooc that the page's blocks of Python import or reach."""
    for code in python_of(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tsne_ooc":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "tsne_ooc")
            elif isinstance(node, ast.Attribute) and re.fullmatch(r"tsne_ooc(\.\w+)+", ast.unparse(node)):
                yield ast.unparse(node)


def spans(page):
    """Code within lines of text."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))


def calls(page):
    """Calls of public names, in blocks of code and in text."""
    for code in [*python_of(page), *(span for span in spans(page) if re.search(r"[A-Za-z]\w*\(", span))]:
        try:
            tree = ast.parse(code)
        except SyntaxError:
            # Text may leave things out.
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition("tsne_ooc.")[2].rpartition(".")[2]
                if isinstance(node.func, ast.Name) or ast.unparse(node.func).startswith("tsne_ooc."):
                    yield name, [keyword.arg for keyword in node.keywords if keyword.arg]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_with_a_home_are_there(page):
    named = {*in_code(page), *(span for span in spans(page) if re.fullmatch(r"tsne_ooc(\.\w+)+", span))}
    for name in sorted(named):
        if needs_torch(name):
            pytest.importorskip("torch")
        try:
            found(name)
        except (ImportError, AttributeError) as error:
            pytest.fail(f"{page.name} names {name}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_attributes_of_classes_are_there(page):
    for span in spans(page):
        if not (match := re.match(r"([A-Z]\w+)\.([a-z]\w*)(\(|$)", span)):
            continue
        thing = public().get(match[1])
        if thing is None:
            continue
        # What a fit leaves is in the docstring alone.
        told = re.search(rf"^\s*(\w+, )*{match[2]}(, \w+)* :", inspect.getdoc(thing) or "", re.MULTILINE)
        assert hasattr(thing, match[2]) or told, f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_calls_are_there(page):
    for name, keywords in calls(page):
        thing = public().get(name)
        if thing is None or not keywords:
            continue
        known = inspect.signature(thing).parameters
        if any(one.kind is one.VAR_KEYWORD and one.name != "unknown" for one in known.values()):
            continue
        assert set(keywords) <= set(known), f"{page.name}: {name}({', '.join(keywords)})"


def test_the_checks_see_what_is_not_there(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`tsne_ooc.io.iterat` and `TSNE(samples=3)`\n\n```python\nfrom tsne_ooc import embedding\n```\n")
    with pytest.raises(pytest.fail.Exception, match=r"iterat|embedding"):
        test_names_with_a_home_are_there(page)
    with pytest.raises(AssertionError, match="samples"):
        test_options_of_calls_are_there(page)
    page.write_text("`TSNE.transfrom(X)`")
    with pytest.raises(AssertionError, match="transfrom"):
        test_attributes_of_classes_are_there(page)


def test_much_is_looked_at():
    assert sum(len(list(in_code(page))) for page in PAGES) > 60
    assert sum(bool(keywords) for page in PAGES for _, keywords in calls(page)) > 50
