"""t-SNE maps of data larger than memory, on the machine you have.

>>> from tsne_ooc import TSNE
>>> model = TSNE(exaggeration=4, random_state=0).fit(sample)  # doctest: +SKIP
>>> Y = model.transform(h5_file["X"])  # doctest: +SKIP
"""

from __future__ import annotations

# No import here: until the command line listens, Ctrl-C is a page of traceback, and `typing` alone takes 10 ms.
TYPE_CHECKING = False

__version__ = "0.1.0"

# Loaded on first use: `import tsne_ooc` alone takes a tenth of a second, Numba and scikit-learn a second and more.
_HOMES = {
    "TSNE": "estimator",
    "Phase": "schedule",
    "Schedule": "schedule",
    "Placement": "placement",
    "Refinement": "refinement",
    "Perplexity": "affinity",
    "Mixture": "affinity",
    "Multiscale": "affinity",
    "Uniform": "affinity",
    "FixedSigma": "affinity",
    "load": "estimator.loading",
    "embed": "pipeline",
    "look": "io.overview",
    "merge": "pipeline",
    "open_run": "pipeline",
    "place": "pipeline",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from typing import Any

    from tsne_ooc.affinity import FixedSigma as FixedSigma
    from tsne_ooc.affinity import Mixture as Mixture
    from tsne_ooc.affinity import Multiscale as Multiscale
    from tsne_ooc.affinity import Perplexity as Perplexity
    from tsne_ooc.affinity import Uniform as Uniform
    from tsne_ooc.estimator import TSNE as TSNE
    from tsne_ooc.estimator.loading import load as load
    from tsne_ooc.io.overview import look as look
    from tsne_ooc.pipeline import embed as embed
    from tsne_ooc.pipeline import merge as merge
    from tsne_ooc.pipeline import open_run as open_run
    from tsne_ooc.pipeline import place as place
    from tsne_ooc.placement import Placement as Placement
    from tsne_ooc.refinement import Refinement as Refinement
    from tsne_ooc.schedule import Phase as Phase
    from tsne_ooc.schedule import Schedule as Schedule


# Without a line here they were attributes only once something else had loaded them.
_MODULES = {
    "affinity",
    "batches",
    "convert",
    "export",
    "extend",
    "groups",
    "io",
    "metrics",
    "neighbors",
    "novelty",
    "parametric",
    "pipeline",
    "placement",
    "plot",
    "preprocess",
    "recipes",
    "refinement",
    "report",
    "rounds",
    "sampling",
    "schedule",
    "stages",
    "testing",
    "tl",
    "trust",
    "view",
    "workers",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
