"""How long pictures of maps take, and how much memory: PNG of up to 10^8 rows, pages of a million.

``python benchmarks/pictures.py`` makes maps of a million rows, draws them and writes their page, a minute; with
``--rows 100000000`` the map of 10^8 rows and 20 labels in files (0.9 GB), some minutes; with ``--browser`` also how
soon the page shows something, and how it moves while it is dragged, in Chromium without a graphics card. Each
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
# Seconds that the page is dragged.
DRAGGED = 4


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
    """When the page shows something, and how it moves while it is dragged and when it is drawn anew."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browser import Browser

    with Browser() as page:
        page.open(folder / "page.html")
        shown, drawn, rows = page.run("[tsneMap.firstPicture, tsneMap.drawn, tsneMap.meta.shown]")
        time.sleep(3)
        # A frame counts where the view is another one than that of the frame before.
        page.run("""(() => { window.times = []; let last = ""; const step = (t) => {
            const view = String(tsneMap.plot.get("cameraView")); if (view !== last) window.times.push(t); last = view;
            requestAnimationFrame(step); }; requestAnimationFrame(step); })()""")
        before, start = page.seconds(), time.perf_counter()
        page.mouse("mousePressed", 300, 300, button="left", buttons=1, clickCount=1)
        moves = 0
        while time.perf_counter() - start < DRAGGED:
            moves += 1
            page.mouse("mouseMoved", 300 + 100 * np.sin(moves / 20), 300, button="left", buttons=1)
        page.mouse("mouseReleased", 300, 300, button="left", clickCount=1)
        processor = page.seconds() - before
        times = np.array(page.run("window.times"))
        cost = page.run("""(async () => { const wait = () => new Promise((done) => requestAnimationFrame(done));
            await new Promise((done) => setTimeout(done, 2000)); const start = performance.now();
            for (let k = 0; k < 5; k++) { tsneMap.plot.redraw(); await wait(); await wait(); }
            return (performance.now() - start) / 5; })()""")
        print(json.dumps({
            "what": "browser", "rows": rows, "first picture, seconds": shown / 1000, "drawn, seconds": drawn / 1000,
            "dragged, frames per second": (len(times) - 1) / (times[-1] - times[0]) * 1000,
            "longest of them, seconds": float(np.diff(times).max()) / 1000,
            "processor seconds per frame": processor / len(times), "drawn anew, seconds": cost / 1000,
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
