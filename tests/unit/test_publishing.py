"""What would be published says what is true: the page on an index, the recipe for conda, the workflow of a release."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def page():
    """The README as an index shows it: by the rules of `pyproject.toml`, which the build applies with `re.sub`."""
    hook = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    (fragment,) = hook["fragments"]
    text = (ROOT / fragment["path"]).read_text(encoding="utf-8")
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def test_no_link_of_the_page_leads_to_a_file_beside_it():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = r"\[([^\]]+)\]\(([^)]+)\)"
    local = [words for words, target in re.findall(links, readme) if "://" not in target]
    assert len(local) > 20 and all("://" in target for _, target in re.findall(links, page()))
    # Their words stay, but for those of the picture.
    assert all(words in page() for words in local if not words.startswith("A map of"))
    assert "docs/images" not in page() and "*MNIST, raw pixels" not in page()
    assert "[openTSNE](https://opentsne.readthedocs.io)" in page()


def requirements(text):
    found = (re.match(r"([\w-]+)\s*>=\s*([\d.]+)$", line) for line in text)
    return dict(match.groups() for match in found if match)


def recipe():
    yaml = pytest.importorskip("yaml", reason="Dask brings it")
    return yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))


def test_the_recipe_asks_for_what_the_package_asks_for():
    told = recipe()
    assert told["context"]["version"] == PROJECT["version"] and told["package"]["name"] == PROJECT["name"]
    assert told["context"]["python_min"] == PROJECT["requires-python"].removeprefix(">=")
    needs = told["requirements"]
    assert "python >=${{ python_min }}" in needs["run"] and "python ${{ python_min }}.*" in needs["host"]
    assert requirements(needs["run"]) == requirements(PROJECT["dependencies"])
    assert len(needs["run"]) == len(PROJECT["dependencies"]) + 1
    assert requirements(needs["host"]) == requirements(PYPROJECT["build-system"]["requires"])
    (command,) = told["build"]["python"]["entry_points"]
    assert command == f"tsne-ooc = {PROJECT['scripts']['tsne-ooc']}"
    assert told["about"]["license"] == PROJECT["license"] and told["about"]["summary"] == PROJECT["description"]


def test_the_recipe_is_one_that_rattler_build_reads():
    """`tools/build_recipe.py` builds it, too."""
    rattler_build = pytest.importorskip("rattler_build", reason="pip install py-rattler-build")
    (rendered,) = rattler_build.Stage0Recipe.from_file(ROOT / "recipe" / "recipe.yaml").render()
    told = rendered.recipe.to_dict()
    assert told["build"]["noarch"] == "python" and f"python {PROJECT['requires-python']}" in told["requirements"]["run"]


def test_the_entry_of_scverse_says_what_the_package_says():
    yaml = pytest.importorskip("yaml", reason="Dask brings it")
    entry = yaml.safe_load((ROOT / "recipe" / "scverse.yaml").read_text(encoding="utf-8"))
    # What the schema of its list requires.
    needed = {"name", "description", "project_home", "documentation_home", "install", "license", "tags", "version"}
    assert needed <= set(entry) and entry["contact"] and entry["category"] == "ecosystem"
    assert {key: entry[key] for key in ("name", "version", "license")} == {
        key: PROJECT[key] for key in ("name", "version", "license")
    }
    assert entry["install"] == {"pypi": PROJECT["name"]}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(words in readme for words in ('pip install -e ".[test]"', "pytest"))
    assert entry["test_command"] == 'pip install -e ".[test]" && pytest'


def test_the_workflow_keeps_no_password():
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "id-token: write" in workflow and "secrets." not in workflow and "password" not in workflow.split("jobs:")[1]


def test_actions_of_the_workflow_are_commits_and_jobs_have_no_other_rights():
    """As zizmor asks it: a tag can be moved to other code, which would then publish in our name."""
    yaml = pytest.importorskip("yaml", reason="Dask brings it")
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert len(used) == 5
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used)
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    rights = {name: job["permissions"] for name, job in workflow["jobs"].items()}
    assert rights == {"build": {"contents": "read"}, "publish": {"id-token": "write"}}
    checkout = workflow["jobs"]["build"]["steps"][0]
    assert checkout["uses"].startswith("actions/checkout@") and checkout["with"] == {"persist-credentials": False}


def test_only_what_is_tested_is_claimed():
    systems = [line for line in PROJECT["classifiers"] if line.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]
