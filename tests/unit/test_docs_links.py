"""Links that lead away: how they are written, and to whom. No test asks other machines whether a page is there.

Where there is a network, ``python -m sphinx -b linkcheck docs docs/_build/links`` does that.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from documents import pages_of_docs

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml")
PAGES = [*(ROOT / name for name in NAMES), *pages_of_docs()]
SOURCES = [path for folder in ("tsne_ooc", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
LINK = re.compile(r"\bhttps?://(?:[^\s<>\"'`\[\]()]|\([^\s()]*\))+")
#: Hosts that pages lead to, and the form of an address there where it has one.
HOSTS = {
    "annbatch.readthedocs.io": "",
    "anndata.readthedocs.io": r"/en/latest/\S+\.html",
    "arxiv.org": r"/abs/\d{4}\.\d{5}",
    "bering-ivis.readthedocs.io": r"/en/latest/\S+\.html",
    "cfconventions.org": "",
    "devguide.python.org": "/versions/",
    "doi.org": r"/10\.\d{4,9}/\S+",
    "filesystem-spec.readthedocs.io": "",
    "github.com": r"/[\w.-]+/[\w.-]+",
    "jmlr.org": r"/papers/v\d+/\S+\.html",
    "jupytext.readthedocs.io": "",
    "keepachangelog.com": "",
    "linnarssonlab.org": r"/loompy/\S*",
    "opentsne.readthedocs.io": r"(/en/stable/\S+\.html)?",
    "pytorch.org": "",
    "scikit-learn.org": "",
    "semver.org": "",
    "umap-learn.readthedocs.io": r"(/en/latest/\S+\.html)?",
    "www.10xgenomics.com": r"/support/\S+",
}
#: What stands for any host.
EXAMPLES = {"example.org", "..."}


def links(text):
    """Addresses in a text, without the full stop of a sentence that ends with one, and without `https://...`."""
    found = (link.rstrip(".,;:") for link in LINK.findall(text))
    return [link for link in found if not link.endswith("//")]


@pytest.mark.parametrize("files", [PAGES, SOURCES], ids=["pages", "sources"])
def test_links_lead_to_those_who_are_known(files):
    for link, name in ((link, path.name) for path in files for link in links(path.read_text(encoding="utf-8"))):
        parts = urlsplit(link)
        if parts.netloc in EXAMPLES:
            continue
        assert parts.scheme == "https", f"{name}: {link}"
        assert parts.netloc in HOSTS, f"{name}: {link} leads to a host that no page led to before"
        assert re.fullmatch(HOSTS[parts.netloc] or "/?", parts.path), f"{name}: {link}"
        # What tells the other side where a reader came from is not a part of an address.
        assert not parts.query and "OWNER" not in link, f"{name}: {link}"


def test_no_host_is_known_that_nothing_leads_to():
    led = {urlsplit(link).netloc for path in [*PAGES, *SOURCES] for link in links(path.read_text(encoding="utf-8"))}
    assert set(HOSTS) | EXAMPLES == led


def test_addresses_are_found_as_they_are_meant():
    text = "[a](https://jmlr.org/papers/v1/a.html), <https://doi.org/10.1000/x_(y)>, https://arxiv.org/abs/1234.56789."
    assert links(text) == [
        "https://jmlr.org/papers/v1/a.html", "https://doi.org/10.1000/x_(y)", "https://arxiv.org/abs/1234.56789",
    ]  # fmt: skip
    assert links("such as https://... and s3://bucket") == []
