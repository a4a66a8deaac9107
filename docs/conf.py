"""How Sphinx builds the documents: ``python -m sphinx -W --keep-going docs docs/_build/html``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import tsne_ooc

project = "tsne_ooc"
author = "The tsne_ooc developers"
copyright = author
release = tsne_ooc.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Pages are Markdown that a repository's browser shows, too: fences of colons are plain text there, and the headings'
# anchors are the same.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# For `sphinx -b linkcheck`, where there is a network: a host that there is not.
linkcheck_ignore = [r"https://example\.org"]

# Tutorials are run whenever their page is built. What they write is in a folder that is gone afterwards.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 240
nb_execution_show_tb = True
nb_merge_streams = True
# A warning on a page for beginners is a fault of the page.
nb_output_stderr = "error"

# A name in single backticks is a link where the reference has it, and code elsewhere.
default_role = "py:obj"
# Types are in the docstrings, in words.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
napoleon_google_docstring = False
napoleon_use_ivar = True
# These two differ in nothing but the size of a letter, and some disks cannot tell them apart.
autosummary_filename_map = {"tsne_ooc.trust.Scores": "tsne_ooc.trust.Scores-of-rows"}
if find_spec("torch") is None:
    # The pages of encoders are then built without running anything of theirs.
    autodoc_mock_imports = ["torch", "safetensors"]

html_theme = "pydata_sphinx_theme"
html_title = "tsne_ooc"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
copybutton_exclude = ".linenos, .gp, .go"


def left_out(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what classes have from elsewhere: scikit-learn's methods, fields of named tuples."""
    made_by = getattr(value, "fget", None) or getattr(value, "func", None) or value
    return None if str(getattr(made_by, "__module__", "")).startswith("tsne_ooc") else True


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", left_out)
