"""The command line: ``tsne-ooc embed``, ``tsne-ooc demo``."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from tsne_ooc import __version__

_ABOUT = """\
t-SNE maps of data larger than memory: a sample is embedded, every other row is streamed from disk and placed.

  tsne-ooc demo                                              see it work on data that ships with scikit-learn
  tsne-ooc embed cells.h5 --dataset X --out map              map a table in an HDF5 file
  tsne-ooc embed vectors.npy --sample 50000 --plot --out map   map a .npy file and draw it
"""

_AFTER_EMBED = """\
what is written to the folder:
  embedding.npy     float32, one row of coordinates for every row of the table
  sample_rows.npy   int64, numbers of the rows that were fitted
  manifest.json     parameters, versions, times and the fit's divergence; written last, so a
                    folder that has one is whole

read it with:
  numpy.load("map/embedding.npy", mmap_mode="r")
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after an error, 130 after an interrupt."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code: int = options.run(options)
        return code
    except KeyboardInterrupt:
        print("tsne-ooc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"tsne-ooc: error: {text}", file=sys.stderr)
        return 2


def _warn(message: Any, *where: Any, **more: Any) -> None:
    print(f"tsne-ooc: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="tsne-ooc", description=_ABOUT, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"tsne-ooc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    embed = commands.add_parser(
        "embed",
        help="map a table in a file",
        description="Fit a uniform sample of the rows with t-SNE, then stream and place all the others.",
        epilog=_AFTER_EMBED,
        formatter_class=raw,
    )
    embed.set_defaults(run=_embed)
    embed.add_argument("data", help="an HDF5 file, or a .npy file")
    embed.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    embed.add_argument("--dataset", metavar="NAME", help="dataset in the HDF5 file (default: the only 2-D one)")
    embed.add_argument("--sample", type=int, default=25_000, metavar="N", help="rows to fit (default: %(default)s)")
    embed.add_argument("--perplexity", type=float, default=30.0, help="neighbourhood size (default: 30)")
    embed.add_argument(
        "--exaggeration",
        type=float,
        metavar="FACTOR",
        help="factor on the attraction; 4 keeps the classes of large data together (default: 1)",
    )
    embed.add_argument("--n-components", type=int, default=2, metavar="D", help="dimensions of the map (default: 2)")
    embed.add_argument("--dof", type=float, default=1.0, help="degrees of freedom of the kernel (default: 1)")
    embed.add_argument("--metric", default="euclidean", help="distance in the data (default: %(default)s)")
    embed.add_argument("--neighbors", default="auto", help="neighbour search (default: %(default)s)")
    embed.add_argument("--schedule", help="optimisation schedule, such as auto or classic (default: auto)")
    embed.add_argument("--seed", type=int, default=0, help="seed of sample and fit (default: 0)")
    embed.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    embed.add_argument("--plot", action="store_true", help="also draw embedding.png (needs matplotlib)")
    embed.add_argument("--quiet", action="store_true", help="say nothing but errors")

    demo = commands.add_parser(
        "demo",
        help="see it work, in less than a minute and offline",
        description=(
            "Write the 1797 handwritten digits that ship with scikit-learn to an HDF5 file, embed 600 of "
            "them, "
            "place the others, and draw the map."
        ),
    )
    demo.set_defaults(run=_demo)
    demo.add_argument("--out", default="tsne-ooc-demo", metavar="FOLDER", help="folder to write (default: %(default)s)")
    demo.add_argument("--no-plot", action="store_true", help="draw no picture")
    demo.add_argument("--seed", type=int, default=0, help="seed of sample and fit (default: 0)")
    demo.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    demo.add_argument("--quiet", action="store_true", help="say nothing but errors")
    return parser


def _embed(options: argparse.Namespace) -> int:
    from tsne_ooc._options import whole

    whole("--seed", options.seed, least=0)
    if options.dataset is not None and options.data.lower().endswith(".npy"):
        raise ValueError("--dataset names a table within an HDF5 file, and a .npy file has only one")
    if options.plot:
        _check_plots()
        if options.n_components > 2:
            raise ValueError("--plot draws maps of one or two dimensions; leave it out with --n-components 3")
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.pipeline import embed

    tsne = TSNE(
        n_components=options.n_components,
        perplexity=options.perplexity,
        exaggeration=options.exaggeration,
        dof=options.dof,
        metric=options.metric,
        neighbors=options.neighbors,
        schedule=options.schedule,
        n_jobs=options.jobs,
        random_state=options.seed,
        verbose=not options.quiet and sys.stderr.isatty(),
    )
    with _Report(options.quiet) as report:
        run = embed(
            options.data,
            dataset=options.dataset,
            out=options.out,
            sample=options.sample,
            tsne=tsne,
            random_state=options.seed,
            progress=report,
        )
    _say(options, _summary(run))
    if options.plot:
        from tsne_ooc.plot import scatter

        picture = run.folder / "embedding.png"
        scatter(run.embedding).figure.savefig(picture)
        _say(options, f"wrote {picture}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from tsne_ooc._options import whole

    whole("--seed", options.seed, least=0)
    folder = Path(options.out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already; name another folder with --out, or remove it first")
    if not options.no_plot:
        _check_plots("leave the picture out with --no-plot")
    import h5py
    import numpy as np
    from sklearn.datasets import load_digits

    from tsne_ooc.estimator import TSNE
    from tsne_ooc.metrics import label_accuracy
    from tsne_ooc.pipeline import embed

    start = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "digits.h5"
    try:
        with h5py.File(data, "w") as file:
            file.create_dataset("X", data=X.astype(np.float32), chunks=(256, X.shape[1]))
            file.create_dataset("y", data=y)
        _say(options, f"wrote {data}: {len(X)} handwritten digits of {X.shape[1]} pixels")
        tsne = TSNE(n_jobs=options.jobs, random_state=options.seed)
        out = folder / "map"
        with _Report(options.quiet) as report:
            run = embed(data, dataset="X", out=out, sample=600, tsne=tsne, random_state=options.seed, progress=report)
    except BaseException:
        # Without its map the file is in the way of the next try.
        data.unlink(missing_ok=True)
        raise
    _say(options, _summary(run))
    placed = np.setdiff1d(np.arange(len(X)), run.sample_rows)
    Y = np.asarray(run.embedding)
    accuracy = label_accuracy(Y[run.sample_rows], y[run.sample_rows], 10, Y[placed], y[placed])
    _say(options, f"{accuracy:.1%} of the placed digits lie among sampled digits of their own kind")
    if not options.no_plot:
        from tsne_ooc.plot import scatter

        picture = folder / "digits.png"
        scatter(Y, y, title="1797 digits: 600 embedded, 1197 placed").figure.savefig(picture)
        _say(options, f"wrote {picture}: look at it")
    _say(options, f"done in {time.perf_counter() - start:.0f} s; next, a table of your own:")
    _say(options, "  tsne-ooc embed data.h5 --dataset X --sample 25000 --out map")
    _say(options, "  tsne-ooc embed --help")
    return 0


def _check_plots(otherwise: str = "leave --plot out") -> None:
    # Said at once, not after an hour of fitting.
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ImportError(f"plots need matplotlib; install it with: pip install 'tsne_ooc[plot]', or {otherwise}")


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        print(text, flush=True)


def _summary(run: Any) -> str:
    manifest = run.manifest
    seconds = manifest["seconds"]
    placed = manifest["n_samples"] if manifest["n_samples"] > manifest["sample"] else 0
    kl = manifest["kl_divergence"]
    lines = [f"fitted {manifest['sample']:,} rows in {seconds['fit']:.1f} s" + (f", KL {kl:.3f}" if kl else "")]
    if placed:
        rate = placed / max(seconds["place"], 1e-3)
        lines.append(f"read and placed {placed:,} rows in {seconds['place']:.1f} s ({rate:,.0f} rows/s)")
    lines.append(
        f"wrote {run.folder / 'embedding.npy'}: {manifest['n_samples']:,} x {manifest['n_components']}, float32"
    )
    return "\n".join(lines)


class _Report:
    """Progress on stderr: a bar on a terminal, elsewhere a line now and then, nothing where quiet."""

    _names = {"sample": "drawing a sample", "fit": "fitting the sample", "place": "placing rows"}  # noqa: RUF012
    # A log needs to show that the work goes on, not how smoothly.
    _every = 15.0

    def __init__(self, quiet: bool, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._last = self._began = time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if done == 0:
            self._last = self._began = now
            if phase == "place" and self._stream.isatty():
                from tqdm import tqdm

                self._bar = tqdm(total=total, desc=self._names[phase], unit=" rows", unit_scale=True, file=self._stream)
            else:
                print(f"{self._names[phase]} ({total:,} rows)", file=self._stream, flush=True)
        elif self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif phase == "place" and now - self._last > self._every:
            self._last = now
            rate = done / (now - self._began)
            print(
                f"{self._names[phase]}: {done:,} of {total:,} ({done / total:.0%}), {rate:,.0f} rows/s",
                file=self._stream,
                flush=True,
            )

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


if __name__ == "__main__":
    sys.exit(main())
