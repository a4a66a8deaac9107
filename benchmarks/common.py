"""What the benchmarks share: data, exact neighbours, repeats in turn, peak memory, rows of Markdown."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Joint, Perplexity, symmetrize
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion, repulsion_for
from tsne_ooc.initialization import start as start_of
from tsne_ooc.neighbors import IVF, Exact
from tsne_ooc.neighbors.copies import spread_copies
from tsne_ooc.optimize import LONGEST_STEP, Result, Watch, minimise
from tsne_ooc.schedule import Phase, Schedule, resolve

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

COMPONENTS = 50
PERPLEXITY = 30.0
NEIGHBORS = 90


# ---------------------------------------------------------------------------------------------- options


def options(doc: str | None, *, data: bool = True, repeats: bool = True) -> argparse.ArgumentParser:
    """The options that all scripts have; `doc` is the script's description of what it measures."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument(
            "--data", type=Path, default=Path(os.environ.get("TSNE_OOC_DATA", DATA)),
            help="folder of the .npz files that benchmarks/README.md lists (default: $TSNE_OOC_DATA, else %(default)s)",
        )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, default=None,
        help="folder that keeps components and exact neighbours between runs (default: a temporary one)",
    )  # fmt: skip
    if repeats:
        parser.add_argument("--repeats", type=int, default=3, help="runs of each program, in turn (default 3)")
    parser.add_argument("--jobs", type=int, default=2, help="threads for all programs that take a number (default 2)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the script run? Figures mean nothing")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse; a missing work folder is made, a temporary one is removed at the end of the process."""
    args = parser.parse_args(argv)
    if args.work is None:
        # Kept by the namespace, so that it goes when the script ends.
        args.temporary = tempfile.TemporaryDirectory(prefix="tsne-ooc-benchmark-")
        args.work = Path(args.temporary.name)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.quick and hasattr(args, "repeats"):
        args.repeats = 1
    return args


# ------------------------------------------------------------------------------------------------- data


class Source(NamedTuple):
    """Where a data set's file is within the data folder, and where everybody gets the same data."""

    file: str
    public: str


SOURCES = {
    "mnist": Source("mnist.npz", "OpenML mnist_784 (70,000 x 784), in its original order"),
    "fashion_mnist": Source("fashion_mnist.npz", "github.com/zalandoresearch/fashion-mnist, train then test"),
    "shuttle": Source("shuttle.npz", "UCI Statlog (Shuttle), 58,000 x 9"),
    "kddcup99": Source("kddcup99_10pct.npz", "UCI KDD Cup 1999, kddcup.data_10_percent, its 38 numeric columns"),
    "mouse_brain": Source(
        "tenx_mousebrain_10k_x_1000genes.npz", "10x Genomics, 1.3 million mouse brain cells: 10,000 cells, 1,000 genes"
    ),
    "pbmc3k": Source("pbmc3k_pca.npz", "10x Genomics PBMC 3k as scanpy.datasets.pbmc3k_processed, its X_pca"),
}
MOSES_PUBLIC = "SMILES of molsets 0.3.1 on PyPI, counts of hashed 4-grams; make_moses.py of the data folder writes it"


@dataclass(frozen=True)
class Data:
    """A data set ready for neighbours: at most 50 columns; `y` is None where there are no labels."""

    name: str
    X: np.ndarray
    y: np.ndarray | None = None


def components(X: np.ndarray, d: int = COMPONENTS) -> np.ndarray:
    """The leading `d` principal components in float32; exact, so the same everywhere but for rounding."""
    X = X - X.mean(axis=0, dtype=np.float64).astype(np.float32)
    if X.shape[1] <= d:
        return np.ascontiguousarray(X, np.float32)
    moments = sum(X[i : i + 10_000].astype(np.float64).T @ X[i : i + 10_000] for i in range(0, len(X), 10_000))
    return np.ascontiguousarray(X @ _axes(moments, d))


def _axes(moments: np.ndarray, d: int) -> np.ndarray:
    axes = np.linalg.eigh(moments)[1][:, ::-1][:, :d]
    return (axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(d)])).astype(np.float32)


def standardised(X: np.ndarray) -> np.ndarray:
    X = X.astype(np.float64)
    deviation = X.std(axis=0)
    return ((X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def _distinct(X: np.ndarray, rows: int) -> np.ndarray:
    """Numbers of `rows` distinct rows, ascending: copies would make a test of neighbours a game of chance."""
    first = np.unique(X, axis=0, return_index=True)[1]
    return np.sort(np.random.default_rng(0).permutation(first)[:rows])


def _prepare(name: str, z: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if name == "kddcup99":
        X = z["X"]
        rows = _distinct(X, 40_000)
        return standardised(X[rows]), z["y"][rows]
    if name == "shuttle":
        return standardised(z["X"]), z["y"]
    if name == "mouse_brain":
        X = z["X"].astype(np.float32)
        depth = X.sum(axis=1, keepdims=True)
        return np.log1p(X / np.maximum(depth, 1) * np.median(depth)), None
    return z["X"].astype(np.float32), z["y"]


def load(name: str, args: argparse.Namespace, rows: int | None = None) -> Data:
    """A data set by its name in `SOURCES`, as 50 components; `rows` draws that many of its rows.

    The rows are drawn in random order, for files are often sorted by class.
    """
    cache = args.work / f"{name}-{'tiny' if args.quick else 'full'}.npz"
    if not cache.exists():
        file = args.data / SOURCES[name].file
        if not file.exists():
            sys.exit(f"{file} is missing; the public source is: {SOURCES[name].public} (see benchmarks/README.md)")
        with np.load(file) as z:
            X, y = _prepare(name, z)
        if args.quick:
            few = np.sort(np.random.default_rng(1).permutation(len(X))[:2000])
            X, y = X[few], None if y is None else y[few]
        _save(cache, X=components(X), **({} if y is None else {"y": y}))
    with np.load(cache) as z:
        X, y = z["X"], z["y"].astype(np.int64) if "y" in z else None
    if rows is not None and rows < len(X):
        drawn = np.random.default_rng(2).permutation(len(X))[:rows]
        X, y = X[drawn], None if y is None else y[drawn]
    return Data(name, X, y)


def load_moses(path: Path, rows: int, args: argparse.Namespace) -> Data:
    """`rows` rows of the molecules in their order, as 50 components of the whole file; read block by block."""
    import h5py

    cache = args.work / f"moses-{rows}.npz"
    if not cache.exists():
        with h5py.File(path) as f:
            X, props = f["X"], f["props"]
            n, p = X.shape
            drawn = np.sort(np.random.default_rng(0).permutation(n)[:rows])
            kept = np.empty((len(drawn), p), X.dtype)
            total, moments = np.zeros(p), np.zeros((p, p))
            for first in range(0, n, 65_536):
                block = X[first : first + 65_536]
                a, b = np.searchsorted(drawn, [first, first + len(block)])
                kept[a:b] = block[drawn[a:b] - first]
                full = block.astype(np.float32)
                # Counts of up to 255 in blocks of 65,536 rows: float32 keeps what a principal axis needs.
                moments += full.T @ full
                total += full.sum(axis=0, dtype=np.float64)
            rings = props[:, 1][drawn]
        mean = total / n
        axes = _axes(moments / n - np.outer(mean, mean), COMPONENTS)
        shift = mean.astype(np.float32)
        reduced = np.empty((len(drawn), COMPONENTS), np.float32)
        for first in range(0, len(drawn), 65_536):
            reduced[first : first + 65_536] = (kept[first : first + 65_536].astype(np.float32) - shift) @ axes
        _save(cache, X=reduced, y=rings)
    with np.load(cache) as z:
        return Data("moses", z["X"], z["y"].astype(np.int64))


def _save(path: Path, **arrays: np.ndarray) -> None:
    # A run that is broken off must not leave half a file that the next one trusts.
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
        np.savez(file, **arrays)
    os.replace(file.name, path)


def exact_neighbors(data: Data, k: int, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances of the `k` nearest other rows of each row, exact; kept in the work folder."""
    n = len(data.X)
    k = min(k, n - 1)
    cache = args.work / f"{data.name}-{n}-exact{k}.npz"
    if not cache.exists():
        found = Exact().build(data.X, rng=np.random.default_rng(0), threads=Threads(args.jobs)).query_self(k)
        _save(cache, indices=found[0], distances=found[1])
    with np.load(cache) as z:
        return z["indices"], z["distances"]


# --------------------------------------------------------------------------------------------- problems


@dataclass(frozen=True)
class Problem:
    """What an optimiser starts from: affinities, first places, and the rows' numbers in the data."""

    P: Joint
    start: np.ndarray
    order: np.ndarray

    def unordered(self, Y: np.ndarray) -> np.ndarray:
        """A map of the problem's rows in the order of the data."""
        out = np.empty_like(Y)
        out[self.order] = Y
        return out


def problem(data: Data, args: argparse.Namespace, *, reorder: bool = True) -> Problem:
    """Exact neighbours (k = 90), perplexity 30 and the start from principal components.

    Rows stand in the order of neighbour buckets, as `TSNE` puts them, for every program: near rows are then near in
    memory, and none gains by it alone.
    """
    threads, n = Threads(args.jobs), len(data.X)
    indices, distances = exact_neighbors(data, NEIGHBORS, args)
    order = np.arange(n)
    if reorder:
        index = IVF().build(data.X, rng=np.random.default_rng(0), threads=threads)
        order = np.asarray(index.order)
    P = joint(indices, distances, order, threads)
    start = start_of("pca", data.X, P, 2, np.random.default_rng(0), threads)
    return Problem(P, np.ascontiguousarray(start[order]), order)


def joint(indices: np.ndarray, distances: np.ndarray, order: np.ndarray, threads: Threads) -> Joint:
    """Symmetric affinities of rows put in this order, as `TSNE` makes them; changes the neighbours of copies."""
    spread_copies(indices, distances, np.random.default_rng(0))
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    moved = np.empty_like(indices)
    # In blocks: at 1.3 million rows a copy of the neighbours for each step would take gigabytes.
    for first in range(0, len(order), 65_536):
        moved[first : first + 65_536] = place[indices[order[first : first + 65_536]]]
    p = Perplexity(PERPLEXITY).conditional(distances, threads)
    return symmetrize(moved, p[order], threads)


def divergence(P: Joint, Y: np.ndarray, args: argparse.Namespace) -> float:
    """KL(P || Q) of a map, by the same code for every program: Z from all pairs up to 100,000 rows, else the field."""
    threads = Threads(args.jobs)
    Y = np.ascontiguousarray(Y, np.float32)
    repulsion = ExactRepulsion(1.0, threads) if len(Y) <= 100_000 else FieldRepulsion(1.0, threads)
    return Attraction(P, Y.shape[1], 1.0, threads).divergence(Y, repulsion(Y, np.empty_like(Y)))


def quality(data: Data, Y: np.ndarray, args: argparse.Namespace) -> dict[str, float]:
    """Recall of the ten nearest rows among the map's 10 and 50 nearest, label accuracy, and the map's width."""
    from tsne_ooc.metrics import label_accuracy, neighbor_recall

    sample = 500 if args.quick else 5000
    recall = neighbor_recall(data.X, Y, 10, (10, 50), sample=sample, n_jobs=args.jobs)
    accuracy = float("nan")
    if data.y is not None:
        accuracy = label_accuracy(Y, data.y, 10, sample=10 * sample, n_jobs=args.jobs)
    return {"r10": recall[10], "r50": recall[50], "labels": accuracy, "width": float(np.ptp(Y, axis=0).max())}


SCHEDULES: dict[str, Schedule] = {
    "default": resolve("auto"),
    "classic": resolve("classic"),
    "100@12, 200@1 m.9": Schedule([Phase(100, 12.0, 0.8), Phase(200, 1.0, 0.9)]),
    "100@20, 150@1 m.9": Schedule([Phase(100, 20.0, 0.8), Phase(150, 1.0, 0.9)]),
    "150@12, 150@1 m.9": Schedule([Phase(150, 12.0, 0.8), Phase(150, 1.0, 0.9)]),
    "100@12, 300@1 m.9": Schedule([Phase(100, 12.0, 0.8), Phase(300, 1.0, 0.9)]),
    "75@12, 150@1 m.9": Schedule([Phase(75, 12.0, 0.8), Phase(150, 1.0, 0.9)]),
    "100@12, 150@1 m.93": Schedule([Phase(100, 12.0, 0.8), Phase(150, 1.0, 0.93)]),
    "100@12, 150@1 m.9, 50@1 m.8": Schedule([Phase(100, 12.0, 0.8), Phase(150, 1.0, 0.9), Phase(50, 1.0, 0.8)]),
    "60@12 m.9, 200@1 m.9": Schedule([Phase(60, 12.0, 0.9), Phase(200, 1.0, 0.9)]),
    "75@12, 50@4-1 m.8, 150@1 m.9": Schedule([Phase(75, 12.0, 0.8), Phase(50, (4.0, 1.0), 0.8), Phase(150, 1.0, 0.9)]),
    "75@16 m.85, 200@1 m.9": Schedule([Phase(75, 16.0, 0.85), Phase(200, 1.0, 0.9)]),
}


# --------------------------------------------------------------------------------------- running programs


def optimise(task: Problem, schedule: Schedule, args: argparse.Namespace, watch: Watch | None = None) -> Result:
    """Our loop, nothing else."""
    return minimise(task.P, task.start, schedule, threads=Threads(args.jobs), watch=watch)


def peer_matrix(P: Joint) -> Any:
    """P as openTSNE keeps it: float64, int32 columns; a copy, for openTSNE multiplies it in place."""
    from scipy.sparse import csr_matrix

    parts = (P.values.astype(np.float64), P.indices.astype(np.int32), P.indptr.astype(np.int32))
    return csr_matrix(parts, shape=(P.n, P.n))


def peer_embedding(P: Joint, start: np.ndarray, args: argparse.Namespace) -> Any:
    """openTSNE's embedding of the same affinities and start, by FFT whatever the number of rows."""
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities

    affinities = PrecomputedAffinities(peer_matrix(P), normalize=False)
    return TSNEEmbedding(
        start.astype(np.float64), affinities, negative_gradient_method="fft", n_jobs=args.jobs, random_state=0
    )


def peer_optimise(embedding: Any, early: int = 250, late: int = 500) -> Any:
    """openTSNE's own course: 250 iterations at exaggeration 12, 500 without, momentum 0.8 (those of its `fit`)."""
    embedding.optimize(early, exaggeration=12, momentum=0.8, inplace=True)
    embedding.optimize(late, exaggeration=1, momentum=0.8, inplace=True)
    return embedding


class Iterations(NamedTuple):
    """Medians of seconds per iteration: all, the field's share, the share of attraction and step."""

    total: float
    field: float
    step: float


def time_iterations(P: Joint, Y: np.ndarray, iterations: int, args: argparse.Namespace) -> Iterations:
    """Late iterations (exaggeration 1, momentum 0.8) as `minimise` does them, from the map `Y`.

    Written out here, for `minimise` also sets up and looks at the divergence, which are no part of an iteration. The
    first one, which transforms the kernel for a new grid and fills the caches, is not counted.
    """
    threads, (n, d) = Threads(args.jobs), Y.shape
    attraction, repulsion = Attraction(P, d, 1.0, threads), repulsion_for(n, 1.0, threads)
    Y = np.array(Y, np.float32)
    moved, slope, velocity, gains = np.empty_like(Y), np.empty_like(Y), np.zeros_like(Y), np.ones_like(Y)
    shift = np.zeros(d, np.float32)
    seconds = []
    for _ in range(iterations + 1):
        began = time.perf_counter()
        Z = repulsion(Y, slope)
        between = time.perf_counter()
        mean, _ = attraction.step(Y, slope, Z, 1.0, float(n), 0.8, LONGEST_STEP, shift, velocity, gains, moved)
        shift = mean.astype(np.float32)
        Y, moved = moved, Y
        ended = time.perf_counter()
        seconds.append((ended - began, between - began, ended - between))
    return Iterations(*np.median(seconds[1:], axis=0).tolist())


@dataclass
class Program:
    """Something timed: `run` is, `prepare`, whose result it gets, is not."""

    run: Callable[..., Any]
    prepare: Callable[[], Any] | None = None


@dataclass
class Runs:
    """Seconds of all runs of a program, and what its last run returned."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))


def alternate(programs: dict[str, Program | Callable[[], Any]], repeats: int) -> dict[str, Runs]:
    """Run all programs in turn, `repeats` times over: what else the machine does then meets all of them alike."""
    found = {name: Runs() for name in programs}
    for repeat in range(repeats):
        for name, program in programs.items():
            if not isinstance(program, Program):
                program = Program(program)
            given = () if program.prepare is None else (program.prepare(),)
            found[name].result = None
            gc.collect()
            began = time.perf_counter()
            result = program.run(*given)
            found[name].seconds.append(time.perf_counter() - began)
            found[name].result = result
            note(f"{name}, run {repeat + 1} of {repeats}: {found[name].seconds[-1]:.2f} s")
    return found


def limit_numba(jobs: int) -> None:
    """Hold the parallel kernels of UMAP and PaCMAP to `jobs` threads, as all others are."""
    import numba

    numba.set_num_threads(min(jobs, numba.config.NUMBA_NUM_THREADS))


# ---------------------------------------------------------------------------------------- peak memory


def peak_bytes() -> int:
    """Most memory this process has held.

    On Linux not ``ru_maxrss``: a process inherits that of its parent (measured: a new interpreter reports 490 MB where
    the parent holds as much).
    """
    found = _status("VmHWM")
    if found is not None:
        return found
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def start_peak() -> int:
    """Forget the peak so far, where the system allows it (Linux); what the process holds now, in bytes."""
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        note("the peak cannot be reset here: it includes what came before")
    now = _status("VmRSS")
    return peak_bytes() if now is None else now


def _status(name: str) -> int | None:
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines[name].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def in_child(script: str, *arguments: Any, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a script of this folder in a fresh process; the last line it prints is JSON."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if done.returncode:
        sys.exit(f"the child process ended with {done.returncode}: {' '.join(command)}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


# ------------------------------------------------------------------------------------------------ reports

PACKAGES = ("tsne_ooc", "numpy", "scipy", "numba", "openTSNE", "umap-learn", "pacmap", "faiss-cpu", "pynndescent")


def note(text: str) -> None:
    """Progress, on stderr: stdout holds what is pasted."""
    print(f"  {text}", file=sys.stderr, flush=True)


def machine() -> str:
    """Cores, processor, memory and versions on one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"Machine: {cores} cores, {model}{memory}; Python {platform.python_version()}, {', '.join(found)}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if not np.isfinite(value):
            return "-"
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def row(cells: Iterable[Any]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(_cell, cells)) + " |"


def report(title: str, header: Sequence[str], rows: Iterable[Iterable[Any]], args: argparse.Namespace) -> None:
    """Print a table under the machine it was measured on, ready for docs/benchmarks.md."""
    if args.quick:
        title += " (--quick: figures mean nothing)"
    print(f"\n**{title}**\n\n{machine()}\n\n{row(header)}\n|{'---|' * len(header)}")
    for cells in rows:
        print(row(cells))
    print(flush=True)


def judged(value: float, target: float, *, least: bool = True, unit: str = "") -> str:
    """A target and whether it is met: at least so much, or at most."""
    met = value >= target if least else value <= target
    return f"{'≥' if least else '≤'} {target:g}{unit}: {'met' if met else 'missed'}"
