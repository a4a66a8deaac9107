"""``tsne-ooc demo``: a run that shows how it works, offline and in less than a minute."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from tsne_ooc.cli.progress import Report
from tsne_ooc.cli.shared import Commands, add_command, check_plots, say, summary_of


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "demo",
        help="see it work, in less than a minute and offline",
        description="Write the 1797 handwritten digits that ship with scikit-learn to an HDF5 file, embed 600 of "
        "them, place the others, and draw the map.",
        examples="""
            --no-plot
            --out somewhere --seed 1
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", default="tsne-ooc-demo", metavar="FOLDER", help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--no-plot", action="store_true", help="do not draw a picture")
    parser.add_argument("--seed", type=int, default=0, help="seed of sample and fit (default: 0)")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--quiet", action="store_true", help="print only errors")


def run(options: argparse.Namespace) -> int:
    from tsne_ooc._options import whole

    whole("--seed", options.seed, least=0)
    folder = Path(options.out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already; name another folder with --out, or remove it first")
    if not options.no_plot:
        check_plots("leave the picture out with --no-plot")
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
        say(options, f"wrote {data}: {len(X)} handwritten digits of {X.shape[1]} pixels")
        tsne = TSNE(n_jobs=options.jobs, random_state=options.seed)
        out = folder / "map"
        with Report(options.quiet) as report:
            found = embed(data, dataset="X", out=out, sample=600, tsne=tsne, random_state=options.seed, progress=report)
    except BaseException:
        # The files of a demonstration that failed would be in the way of the next one.
        data.unlink(missing_ok=True)
        shutil.rmtree(folder / "map", ignore_errors=True)
        raise
    say(options, summary_of(found))
    sampled = np.asarray(found.sample_rows)
    placed = np.setdiff1d(np.arange(len(X)), sampled)
    Y = np.asarray(found.embedding)
    accuracy = label_accuracy(Y[sampled], y[sampled], 10, Y[placed], y[placed])
    say(options, f"{accuracy:.1%} of the placed digits lie among sampled digits of their own kind")
    if not options.no_plot:
        from tsne_ooc.plot import scatter

        picture = folder / "digits.png"
        scatter(Y, y, title="1797 digits: 600 embedded, 1197 placed").figure.savefig(picture)
        say(options, f"wrote {picture}: look at it")
    say(options, f"done in {time.perf_counter() - start:.0f} s; next, a table of your own:")
    say(options, "  tsne-ooc embed data.h5 --dataset X --sample 25000 --out map")
    say(options, "  tsne-ooc embed --help")
    return 0
