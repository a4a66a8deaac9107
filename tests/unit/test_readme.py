"""What the front door promises: its example runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from documents import pages_of_docs

from tsne_ooc.cli.command import parser

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *pages_of_docs()]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def fenced(page: Path, language: str) -> list[str]:
    """The blocks of code in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """All commands in the page's shell blocks, as words; the parts of a chain one by one."""
    found = []
    for line in "".join(fenced(page, "bash")).splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words:
                found.append(words)
    return found


def links(page: Path) -> list[str]:
    """Targets of links and pictures within the repository, without their anchors."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    return [target for target in targets if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_example_runs(tmp_path, monkeypatch):
    (example,) = fenced(README, "python")
    # Fewer rows than the example means, so that some are placed.
    assert "25_000" in example
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(4, 5)) * 9)[rng.integers(0, 4, 500)] + rng.normal(size=(500, 5))
    with h5py.File(tmp_path / "cells.h5", "w") as file:
        file["X"] = X.astype(np.float32)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example.replace("25_000", "300"), "README.md", "exec"), names)
    Y, model = names["Y"], names["model"]
    assert Y.shape == (500, 2) and np.isfinite(Y).all()
    seats = {tuple(row) for row in Y.tolist()}
    assert len(model.embedding_) == 300 and all(tuple(row) in seats for row in model.embedding_.tolist())
    # It is the one that was loaded by now.
    np.testing.assert_array_equal(model.transform(X), Y)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_options_that_exist(page):
    for words in commands(page):
        program = Path(words[0]).name
        if program == "tsne-ooc":
            assert "--help" in words or parser().parse_args(words[1:]).run
        elif program == "pip":
            wanted = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
            unknown = {extra for extras in wanted for extra in extras.split(",")} - set(EXTRAS)
            assert not unknown, f"{page.name} installs extras that do not exist: {unknown}"


def test_the_check_of_commands_sees_wrong_ones(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["embed", "cells.h5", "--out", "map", "--samples", "25000", "--perplexities", "3"])
    assert "--perplexities" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken, f"{page.name} links to {broken}"


def test_the_test_command_is_what_ci_runs():
    # .ci/run takes the line between the markers with sed; this is the same cut.
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (line,) = [line for line in script.splitlines() if line.startswith('tests="')]
    taken = subprocess.run(
        ["bash", "-c", f'{line}; printf "%s" "$tests"'], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert taken.startswith("python3 -m venv .venv && ") and taken.endswith(" -m pytest")
    assert "\n" not in taken and f"{taken}\n" in fenced(README, "bash")
