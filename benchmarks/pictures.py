"""How long pictures of maps take, and how much memory: PNG of up to 10^8 rows, pages of a million.

``python benchmarks/pictures.py`` makes maps of a million rows, draws them and writes their page, a minute; with
``--rows 100000000`` the map of 10^8 rows and 20 labels in files (0.9 GB), some minutes; with ``--browser`` also how
soon the page shows something, and what a frame costs while it is panned, in Chromium without a graphics card. Each
number is of a process of its own, whose largest resident memory is told.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS = 1 << 21


def make(folder: Path, n: int, labels: int = 20) -> None:
    """A map of round islands of many sizes, and its labels, written block by block."""
    rng = np.random.default_rng(0)
    islands = 200
    middles, widths = rng.normal(scale=40, size=(islands, 2)), rng.gamma(3, 1.2, islands)
    Y = np.lib.format.open_memmap(folder / "Y.npy", "w+", np.float32, (n, 2))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.uint8, (n,))
    for start in range(0, n, ROWS):
        stop = min(n, start + ROWS)
        island = rng.integers(0, islands, stop - start)
        Y[start:stop] = middles[island] + widths[island, None] * rng.normal(size=(stop - start, 2))
        y[start:stop] = island % labels


def one(what: str, folder: Path, n: int) -> None:
    """Do one thing in this process, and print seconds and memory."""
    if what == "make":
        make(folder, n)
        return
    Y, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:n] for name in "Yy")
    start = time.perf_counter()
    if what == "png":
        from tsne_ooc.plot import scatter
        from tsne_ooc.plot.saving import save

        save(scatter(Y, y, text=True).figure, folder / "picture.png", overwrite=True)
        size = (folder / "picture.png").stat().st_size
    else:
        from tsne_ooc.view import view

        size = view(Y, y, out=folder / "page.html", overwrite=True).stat().st_size
    took = time.perf_counter() - start
    processor = time.process_time()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"what": what, "rows": n, "seconds": took, "processor": processor, "GB": most, "MB": size / 1e6}))


def browser(folder: Path) -> None:
    """When the page shows something, and what a frame costs."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browser import Browser

    frames = 30
    pan = f"""new Promise((done) => {{ let k = 0; const t = performance.now(); const step = () => {{
        tsneMap.pan(k % 2 ? 0.02 : -0.02, 0.01); if (++k < {frames}) requestAnimationFrame(step);
        else done(performance.now() - t); }}; step(); }})"""
    with Browser() as page:
        page.open(folder / "page.html")
        shown, drawn, rows = page.run("[tsneMap.firstPicture, tsneMap.drawn, tsneMap.meta.shown]")
        before = page.seconds()
        took = page.run(pan) / 1000
        print(json.dumps({
            "what": "browser", "rows": rows, "first picture, seconds": shown / 1000, "drawn, seconds": drawn / 1000,
            "frames per second": frames / took, "processor seconds per frame": (page.seconds() - before) / frames,
        }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "FOLDER", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], Path(options.one[1]), int(options.one[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a child's largest memory is at least what its parent had when it was made.
        tasks = [("make", options.rows), ("png", options.rows), ("html", min(options.rows, 1_000_000))]
        if options.browser:
            tasks.append(("html", min(options.rows, 200_000)))
        for what, n in tasks:
            subprocess.run([sys.executable, __file__, "--one", what, name, str(n)], check=True)
            if what == "html" and options.browser:
                browser(folder)


if __name__ == "__main__":
    main()
