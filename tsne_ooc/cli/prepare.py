"""``tsne-ooc prepare``: files of text become tables that are read by rows."""

from __future__ import annotations

import argparse

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
            split_by=options.split_by,
            split_rows=options.split_rows,
            format=options.format,
            progress=report,
        )
    lost = found["read"] - found["written"]
    say(options, f"read {found['read']:,} rows in {found['seconds']:.1f} s, wrote {found['written']:,}")
    if lost:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in found["rejected"].items())
        say(options, f"rejected {lost:,}, see {options.out}/rejected.csv ({reasons})")
    if found["left_out"]:
        say(
            options,
            f"left out: {', '.join(found['left_out'])} (--labels keeps a column to colour by, --onehot maps by it)",
        )
    outputs = [one["file"] for one in found["outputs"]]
    say(options, f"wrote {', '.join(outputs[:10])} to {options.out}")
    table = f"{options.out}/{outputs[0]}" if len(outputs) == 1 else f"'{options.out}/*.{options.format}'"
    color = f" --color {options.labels[0]}" if options.labels else ""
    say(options, f"next: tsne-ooc embed {table} --out map{color}")
    return 0
