"""Seconds before work begins: importing, and a first small fit, in fresh processes.

``import tsne_ooc`` (also with ``TSNE``, which is loaded on first use), ``import umap`` and ``import openTSNE``; then a
first fit of 1,000 rows of 20 columns, import included, with the compiled kernels of an earlier process at hand, and
with none (a fresh cache folder: once for each installation).
"""

from __future__ import annotations

import os
import tempfile

import common

IMPORT, FIRST, COMPILING = 0.3, 2.0, 25.0
# openTSNE's users import TSNE from its top level, as umap's do UMAP.
IMPORTS = {
    "import tsne_ooc": "import tsne_ooc",
    "from tsne_ooc import TSNE": "from tsne_ooc import TSNE",
    "import openTSNE": "import openTSNE",
    "import umap": "import umap",
}
FIT = """
import numpy as np
from tsne_ooc import TSNE
TSNE(random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 20)).astype(np.float32))
"""
TIMED = """
import time
began = time.perf_counter()
{code}
print(time.perf_counter() - began)
"""


def seconds(code: str, cache: str | None = None) -> float:
    """Seconds that a fresh interpreter, once it runs, takes for some code; `cache` is where Numba keeps kernels."""
    # An installed package has its bytecode; where a shell forbids to write it, a checkout is compiled in each process,
    # which takes 0.1 s.
    environment = {"PYTHONDONTWRITEBYTECODE": ""} | ({} if cache is None else {"NUMBA_CACHE_DIR": cache})
    return float(common.in_child("-c", TIMED.format(code=code), environment=environment))


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.set_defaults(repeats=5)
    args = common.parse(parser)
    if args.quick:
        # What compiles, and UMAP, take longer than a smoke test may.
        imports, fits = {name: code for name, code in IMPORTS.items() if "umap" not in name}, {"cached"}
    else:
        imports, fits = IMPORTS, {"cached", "not cached"}
    taken: dict[str, list[float]] = {}
    # Once unseen, for the pages of the libraries to be in memory.
    for code in imports.values():
        seconds(code)
    for _ in range(args.repeats):
        for name, code in imports.items():
            taken.setdefault(name, []).append(seconds(code))
    for repeat in range(args.repeats):
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            cache = None if args.quick else os.path.join(folder, "kernels")
            # The first process compiles, the second finds what the first has left.
            for name in ("not cached", "cached"):
                if name in fits:
                    taken.setdefault(f"first fit, kernels {name}", []).append(seconds(FIT, cache))
        common.note(f"first fits, run {repeat + 1} of {args.repeats}")
    targets = {
        "import tsne_ooc": IMPORT,
        "first fit, kernels cached": FIRST,
        "first fit, kernels not cached": COMPILING,
    }
    rows = []
    for name, found in taken.items():
        median = sorted(found)[len(found) // 2]
        goal = common.judged(median, targets[name], least=False, unit=" s") if name in targets else ""
        rows.append((name, median, min(found), max(found), goal))
    header = ("what", "median s", "least", "most", "target")
    common.report("Seconds before work begins, fresh processes", header, rows, args)


if __name__ == "__main__":
    main()
