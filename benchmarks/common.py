"""What all benchmarks share: options, programs in turn, peak memory, tables of Markdown."""

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
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


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
    parser.add_argument("--record", metavar="NAME", help="keep the table under this name, for docs/benchmarks.md")
    return parser


def add_landmarks(parser: argparse.ArgumentParser) -> None:
    """The option of scripts that train encoders."""
    parser.add_argument(
        "--landmarks", type=lambda text: text if text == "auto" else int(text), default="auto",
        help="rows that the network compares each row with, or auto (default auto)",
    )  # fmt: skip


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


# --------------------------------------------------------------------------------------- running programs


@dataclass
class Program:
    """Something timed: `run` is, `prepare`, whose result it gets, is not."""

    run: Callable[..., Any]
    prepare: Callable[[], Any] | None = None


@dataclass
class Runs:
    """Seconds of all runs of a program, by the clock and of the processor, and what its last run returned."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def processor_median(self) -> float:
        return float(np.median(self.processor))


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
            began, spent = time.perf_counter(), time.process_time()
            result = program.run(*given)
            found[name].seconds.append(time.perf_counter() - began)
            found[name].processor.append(time.process_time() - spent)
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


def cell(value: Any) -> str:
    """A value as a table has it."""
    if isinstance(value, float):
        if not np.isfinite(value):
            return "-"
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def row(cells: Iterable[Any]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(cell, cells)) + " |"


def table(title: str, header: Sequence[str], rows: Iterable[Iterable[Any]], args: argparse.Namespace) -> str:
    """A table under the machine that it was measured on, in Markdown."""
    rows = [list(cells) for cells in rows]
    if odd := [cells for cells in rows if len(cells) != len(header)]:
        raise ValueError(f"{title}: a row has {len(odd[0])} cells under {len(header)} headings: {odd[0]}")
    if args.quick:
        title += " (--quick: figures mean nothing)"
    return "\n".join([f"\n**{title}**\n\n{machine()}\n", row(header), f"|{'---|' * len(header)}", *map(row, rows), ""])


def report(title: str, header: Sequence[str], rows: Iterable[Iterable[Any]], args: argparse.Namespace) -> None:
    """Print a table under the machine it was measured on; with `--record` it is kept for docs/benchmarks.md."""
    rows = [list(cells) for cells in rows]
    print(table(title, header, rows, args), flush=True)
    if getattr(args, "record", None) is not None:
        import records

        # The second table of a script is NAME-2.
        args.recorded = getattr(args, "recorded", 0) + 1
        name = args.record if args.recorded == 1 else f"{args.record}-{args.recorded}"
        records.keep(name, title, header, rows)


def judged(value: float, target: float, *, least: bool = True, unit: str = "") -> str:
    """A target and whether it is met: at least so much, or at most."""
    met = value >= target if least else value <= target
    return f"{'≥' if least else '≤'} {target:g}{unit}: {'met' if met else 'missed'}"
