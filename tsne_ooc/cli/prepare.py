"""``tsne-ooc prepare``: files of text become tables that are read by rows."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from tsne_ooc.cli.shared import Commands, add_command, add_talking, say, split_names

_AFTER = """\
what is written to the folder:
  table.h5          float32, the columns of numbers; or a file for each --split-by, --split-rows
  manifest.json     what was read, written, left out and rejected, and why
  rejected.csv      each line that is not a row of the table, with the reason
"""


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "prepare",
        help="write CSV, JSON lines or Parquet as tables that are read by rows",
        description="Read text once and write its numbers as tables of HDF5 or Zarr in float32, with good chunks. Each "
        "row keeps the number of its file and of its line.",
        after=_AFTER,
        examples="""
            flows.csv --labels kind --out flows
            logs/ --onehot protocol,service --coded country --out flows
            'taxi-*.csv.gz' --split-by pickup:month --out months
            tomorrow.csv --like map --out new
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("data", nargs="+", help="files .csv, .tsv (.gz), .jsonl, .parquet, or folders of them")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must not exist")
    parser.add_argument(
        "--columns", type=split_names, metavar="A,B,...", help="columns of numbers; * stands for anything"
    )
    parser.add_argument(
        "--onehot", type=split_names, default=[], metavar="A,B", help="columns of words: a column of 0 and 1 for each"
    )
    parser.add_argument(
        "--coded", type=split_names, default=[], metavar="A,B", help="columns of words: their numbers when sorted"
    )
    parser.add_argument(
        "--labels", type=split_names, default=[], metavar="A,B", help="columns of words that are kept, to colour by"
    )
    parser.add_argument(
        "--standardize",
        action="store_true",
        help="bring columns of numbers to mean 0 and variance 1, for other programs",
    )
    parser.add_argument(
        "--like",
        metavar="FOLDER",
        help="a map, or a table that this command wrote: make the same columns of these files, so that their rows can "
        "be placed on the map",
    )
    parser.add_argument(
        "--unseen",
        choices=("missing", "reject"),
        default="missing",
        help="with --like, rows with a word that its column did not have: missing (zeros alone, or a missing number) "
        "or reject (to rejected.csv) (default: missing)",
    )
    parser.add_argument(
        "--split-by", metavar="COLUMN[:PART]", help="a file for each value, or each year, month, day or hour of it"
    )
    parser.add_argument("--split-rows", type=int, metavar="N", help="the most rows of a file")
    parser.add_argument("--format", choices=("h5", "zarr"), default="h5", help="format of the tables (default: h5)")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    from tsne_ooc.cli.progress import Report
    from tsne_ooc.convert import convert

    with Report(options.quiet) as report:
        found = convert(
            options.data,
            options.out,
            columns=options.columns,
            onehot=options.onehot,
            coded=options.coded,
            labels=options.labels,
            standardize=options.standardize,
            like=options.like,
            unseen=options.unseen,
            split_by=options.split_by,
            split_rows=options.split_rows,
            format=options.format,
            progress=report,
        )
    lost = found["read"] - found["written"]
    say(options, f"read {found['read']:,} rows in {found['seconds']:.1f} s, wrote {found['written']:,}")
    if odd := [one for one in found["inputs"] if "delimiter" in one]:
        decimals = ", and commas before decimals" if odd[0]["decimal"] == "," else ""
        more = f" and {len(odd) - 1:,} more" if len(odd) > 1 else ""
        say(options, f"{Path(odd[0]['path']).name}{more}: cells are between {odd[0]['delimiter']!r}{decimals}")
    if lost:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in found["rejected"].items())
        say(options, f"rejected {lost:,}, see {options.out}/rejected.csv ({reasons})")
    for name, count in found.get("unseen", {}).items():
        became = "rejected" if options.unseen == "reject" else "taken as missing (--unseen reject leaves such rows out)"
        rows = f"{count:,} row has a word" if count == 1 else f"{count:,} rows have words"
        say(options, f"column {name!r}: {rows} that {options.like} does not know, {became}")
    if found["left_out"]:
        more = " (--labels keeps a column to colour by, --onehot maps by it)" if options.like is None else ""
        names = ", ".join(name or "a column without a name" for name in found["left_out"])
        say(options, f"left out: {names}{more}")
    for name, reason in found["left_out"].items():
        if "most cells are numbers" in reason:
            say(options, f"column {name!r} is {reason}; with its name in --columns, rows of other cells are rejected")
    for line in _gaps(found):
        say(options, line)
    outputs = [one["file"] for one in found["outputs"]]
    say(options, f"wrote {', '.join(outputs[:10])} to {options.out}")
    if options.like is None:
        for line in _embedded(options, found, outputs):
            say(options, line)
    else:
        say(options, f"next: {_placed(options, outputs)}")
    return 0


def _gaps(found: dict[str, Any]) -> list[str]:
    """How many cells have no value, by column."""
    from tsne_ooc.io.columns import listed

    if not found["missing"]:
        return []
    cells = found["written"] * len(found["columns"])
    shown = listed([f"{name} ({count:,})" for name, count in found["missing"].items()])
    lines = [f"missing: {sum(found['missing'].values()):,} of {cells:,} cells have no value, in {shown}"]
    if empty := [name for name, count in found["missing"].items() if count == found["written"]]:
        lines.append(f"no value at all: {listed(empty)}; name the others in --columns, here or in embed")
    return lines


def _embedded(options: argparse.Namespace, found: dict[str, Any], outputs: list[str]) -> list[str]:
    """What the table needs, of which a look at it tells, and the command that makes a map of it."""
    from tsne_ooc.io.overview import look

    seen = look(f"{options.out}/{outputs[0]}")
    words = seen.options
    if found["missing"] and "--missing" not in words:
        # The rows that were looked at lack no value; others do.
        words = ["--missing", "neighbors", *words]
    color = ["--color", options.labels[0]] if options.labels else []
    # How many values are missing was said before.
    lines = [line for line in seen.advice if not line.startswith("cells without")]
    return [*lines, f"next: tsne-ooc embed {_table(options, outputs)} {shlex.join([*words, '--out', 'map', *color])}"]


def _placed(options: argparse.Namespace, outputs: list[str]) -> str:
    """The command that places the rows on the map."""
    from tsne_ooc.storage import kind_of

    try:
        kind_of(options.like)
    except (OSError, ValueError):
        # It is a table, and which map is meant is not known.
        return f"tsne-ooc place MAP {_table(options, outputs)} --out placed"
    return f"tsne-ooc place {shlex.quote(options.like)} {_table(options, outputs)} --out placed"


def _table(options: argparse.Namespace, outputs: list[str]) -> str:
    """The path of the table, or a pattern of its files."""
    return shlex.quote(f"{options.out}/{outputs[0]}" if len(outputs) == 1 else f"{options.out}/*.{options.format}")
