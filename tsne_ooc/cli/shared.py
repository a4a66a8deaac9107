"""What several commands have in common: options, and the summary of a run."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tsne_ooc._cells import cells_of_lines
from tsne_ooc._options import counted

if TYPE_CHECKING:
    from tsne_ooc._typing import Float32, Json
    from tsne_ooc.pipeline import Run

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Group: TypeAlias = argparse._ActionsContainer


def add_command(
    commands: Commands, name: str, *, help: str, description: str, examples: str, after: str = ""
) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples: each line of `examples` has the words behind the command's name."""
    lines = textwrap.indent(textwrap.dedent(examples).strip(), f"  tsne-ooc {name} ")
    return commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, 78),
        epilog=f"{after}\nexamples:\n{lines}" if after else f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_input(parser: argparse.ArgumentParser, *, several: bool = True, needed: bool = True) -> None:
    """Add the options that say what to read."""
    what = "a file of HDF5 (also .h5ad), .npy, Zarr or Parquet, a folder of the last two, or a URL of one"
    if several:
        parser.add_argument(
            "data", nargs="+" if needed else "*", help=f"{what}; several, with columns of the same names, are one table"
        )
    else:
        parser.add_argument("data", help=what)
    parser.add_argument(
        "--dataset", metavar="NAME", help="table in the file, such as obsm/X_pca (default: the only one)"
    )
    parser.add_argument(
        "--columns",
        type=split_names,
        metavar="A,B,...",
        help="columns by name; * stands for anything, and a name with commas may stand in double quotes",
    )
    parser.add_argument(
        "--allow-missing-chunks",
        action="store_true",
        help="read chunks of Zarr and HDF5 that are missing as their fill value; by default such a table is refused, "
        "for half of a copy looks the same",
    )


def data_of(options: argparse.Namespace) -> str | list[str]:
    """The table that a command reads: one path, or several that are one table."""
    data: list[str] = options.data
    return data[0] if len(data) == 1 else data


def split_names(text: str) -> list[str]:
    """Split a text into names at its commas and ends of lines; a name with commas of its own is in double quotes."""
    return [name for line in cells_of_lines(io.StringIO(text, newline="")) for name in line]


def add_running(parser: Group) -> None:
    """Add the options that say how to run."""
    parser.add_argument("--resume", action="store_true", help="go on with a run that did not end")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    add_talking(parser)


def add_dry_run(parser: Group) -> None:
    """The option that asks what a run would take."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; say what would be read, and how long it would take, after a probe of some seconds",
    )


def check_free(options: argparse.Namespace) -> None:
    """Raise FileExistsError where a dry run would be told another thing than the run."""
    if is_taken(Path(options.out)) and not options.resume:
        raise FileExistsError(f"{options.out} holds files already; name a new folder, or remove it first")


def is_taken(out: Path) -> bool:
    """Whether there is something where a run is to write."""
    return out.is_file() or (out.is_dir() and any(out.iterdir()))


def add_blocks(parser: Group) -> None:
    """Add the option that says how many rows are placed in one piece."""
    parser.add_argument("--block-rows", type=int, metavar="N", help="rows at a time (default: some 32 MB)")


def add_talking(parser: Group) -> None:
    """Add the options that say how much is printed."""
    talking = parser.add_mutually_exclusive_group()
    talking.add_argument("--quiet", action="store_true", help="print only errors")
    talking.add_argument("--verbose", action="store_true", help="tell the choices that are made, and why")


def say(options: argparse.Namespace, text: str) -> None:
    """Print a text, unless the command is quiet."""
    if not options.quiet:
        print(text, flush=True)


def probing(options: argparse.Namespace) -> Callable[[], None]:
    """What says that some rows are tried, since that takes seconds before there is anything else to see."""

    def tell() -> None:
        if not options.quiet:
            print("trying some rows, to say how long it will take", file=sys.stderr, flush=True)

    return tell


def check_plots(otherwise: str = "leave --plot out") -> None:
    """Raise where no picture can be drawn, so that this is said at once, and not after an hour of fitting."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        from tsne_ooc.io.optional import how_to_install

        raise ImportError(f"plots need matplotlib; install it with: {how_to_install('plot')}, or {otherwise}")


def summary_of(run: Run) -> str:
    """What a run did and wrote, in a few lines."""
    from tsne_ooc.io.told import in_words

    manifest = run.manifest
    seconds, kl = manifest["seconds"], manifest.get("kl_divergence")
    lines = []
    if "fit" in seconds:
        fitted = f"fitted {counted(manifest['sample'], 'rows')} in {seconds['fit']:.1f} s"
        lines.append(fitted + (f", KL {kl:.3f}" if kl else ""))
    n, took = manifest["n_samples"], max(seconds["place"], 1e-3)
    lines.append(f"read and placed {counted(n, 'rows')} in {took:.1f} s ({n / took:,.0f} rows/s)")
    if manifest.get("dropped"):
        lacking = counted(manifest["dropped"], "rows")
        lines.append(f"{lacking} without a place, since a value is missing: {run.folder / 'dropped_rows.npy'}")
    lines += filled_in(manifest.get("filled"))
    if refined := manifest.get("refined"):
        took = sum(seconds.get(phase, 0.0) for phase in ("search", "weigh", "refine", "keep"))
        iterations, kl = refined["n_iter"], refined["kl_divergence"]
        lines.append(f"moved all rows together in {took:.1f} s ({iterations} iterations), KL {kl:.3f}")
    novelty = manifest.get("novelty")
    if novelty and run.novelty is not None:
        looked = manifest["job"]["request"].get("rounds", 1) > 1
        lines += strange(novelty, run.novelty, str(run.folder), looked=looked)
    lines += in_words(manifest.get("read", {}))
    lines.append(f"wrote {run.folder / 'embedding.npy'}: {n:,} x {manifest['n_components']}, float32")
    if "model" in manifest:
        lines.append(f"over the map they are on: {picture_of(run.folder, manifest['n_components'])}")
    return "\n".join(lines)


def picture_of(folder: Path, axes: int) -> str:
    """The command that draws a run."""
    return f"tsne-ooc plot {shlex.quote(str(folder))}{' --axes 1,2' if axes > 2 else ''}"


def filled_in(filled: Json | None) -> list[str]:
    """Say how many cells were filled in, where any were."""
    if not filled or not filled["cells"]:
        return []
    cells, columns = counted(filled["cells"], "cells"), counted(filled["columns"], "columns")
    return [f"filled in {cells} of {columns} that had no value (--missing {filled['how']})"]


def strange(novelty: Json, scores: Float32, folder: str, *, looked: bool = False) -> list[str]:
    """Say how many rows are unlike most others, how many the sample did not know, and which are the strangest.

    A row that is unlike the sample may be like others that are not in it, unless all rows were `looked` at to find
    such rows.
    """
    from tsne_ooc.novelty import limit_of, strangest

    share, count, threshold = novelty["beyond_share"], novelty["beyond"], novelty["threshold"]
    limit = limit_of(scores)
    whom = "everything" if looked else "all of the sample" if limit < threshold else "the sample"
    text = f"novelty: median {novelty['quantiles']['0.5']:.2f}; "
    if limit < threshold:
        unlike = int((scores > limit).sum())
        are = "is" if unlike == 1 else "are"
        text += (
            f"{counted(unlike, 'rows')} ({unlike / len(scores):.2%}) {are} unlike most (beyond {limit:.2f}), "
            f"{count:,} ({share:.2%}) unlike {whom} (beyond {threshold:.2f})"
        )
    else:
        are = "is" if count == 1 else "are"
        text += f"{counted(count, 'rows')} ({share:.2%}) {are} unlike {whom} (beyond {threshold:.2f})"
    if share > 0.005 and not looked:
        text += ", rows that the sample did not know: try --sample-by coverage, --rounds 2, or a larger --sample"
    first = ", ".join(f"{row} ({scores[row]:.2f})" for row in strangest(scores, 5).tolist())
    return [text, f"strangest rows: {first}; more: tsne-ooc strangest {shlex.quote(folder)}"]
