"""``tsne-ooc plot``: the picture of a finished run."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from tsne_ooc.cli.shared import Commands, add_command, add_talking, check_plots, say


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "plot",
        help="draw a picture of a map",
        description="Draw the map of a finished run, of any number of rows: as points where they can be told apart, "
        "else as how many there are in each place. Columns are found by name: novelty, sampled and the scores of "
        "tsne-ooc trust (recall, singularity, perturbation) in the run, others in the table that the map was made from "
        "(also obs and genes), or in --data. Rows that tsne-ooc place put on a map are drawn over that map, which is "
        "grey.",
        examples="""
            map --color cell_type
            map --color CD3D --dark --out cd3d.png
            map --color novelty --out novelty.pdf
            map --color perturbation --dark --out doubt.png
            map --color cell_type --by batch --out batches.png
            map --other another-map --color cell_type --out both.png
            map --color labels.csv --highlight 3,17,250
            more --color cell_type --ring novel
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", help="folder of a finished run or of a saved model, or a .npy file of coordinates")
    parser.add_argument(
        "--color", metavar="NAME", help="column to colour by, or a .npy, .csv, .tsv or .txt file of one column"
    )
    parser.add_argument("--data", metavar="FILE", help="file that has the columns (default: the map's own table)")
    parser.add_argument("--by", metavar="NAME", help="one small picture for each group of this column")
    parser.add_argument("--other", metavar="MAP", help="another map of the same rows, drawn beside, and what moved")
    parser.add_argument(
        "--behind",
        metavar="MAP",
        help="map that is drawn in grey behind (default: for rows of tsne-ooc place, the one they were placed on)",
    )
    parser.add_argument(
        "--highlight", metavar="ROWS", help="numbers of rows, such as 3,17,250, or a .npy file of them; others are grey"
    )
    parser.add_argument(
        "--ring", metavar="ROWS", help="rows that get a ring, given so; or novel: those beyond the threshold of novelty"
    )
    parser.add_argument("--axes", metavar="A,B", help="the two axes to draw of a map of three, such as 1,3")
    parser.add_argument(
        "--out", metavar="FILE", help=".png, .svg or .pdf (default: a PNG beside the map, with its name)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    look = parser.add_argument_group("what it looks like")
    look.add_argument("--title", metavar="TEXT", help="title of the picture")
    look.add_argument("--dark", action="store_true", help="a dark background")
    look.add_argument("--colors", metavar="NAME", help="a colour map of matplotlib, such as magma or tab20")
    look.add_argument(
        "--shading",
        choices=("equalized", "log"),
        default="equalized",
        help="how density becomes depth of colour (default: %(default)s)",
    )
    look.add_argument("--no-legend", action="store_true", help="do not draw a legend")
    look.add_argument("--no-text", action="store_true", help="do not write names on the map")
    look.add_argument("--dpi", type=int, default=200, metavar="N", help="dots per inch (default: %(default)s)")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    check_plots("use tsne-ooc view, which needs no matplotlib")
    from tsne_ooc.plot.saving import check_target, save

    out = Path(options.out) if options.out else beside(options.map, ".png")
    check_target(out, overwrite=options.overwrite)
    from tsne_ooc.plot import draw

    figure = draw(
        options.map,
        options.color,
        by=options.by,
        other=options.other,
        behind=options.behind,
        data=options.data,
        axes=None if options.axes is None else numbers("--axes", options.axes),
        highlight=None if options.highlight is None else rows_of("--highlight", options.highlight),
        ring=None if options.ring is None else ring_of(options.ring),
        colors=options.colors,
        title=options.title,
        legend=not options.no_legend,
        text=not options.no_text,
        shading=options.shading,
        dark=options.dark,
        dpi=options.dpi,
        n_jobs=options.jobs,
    )
    with warnings.catch_warnings():
        # A letter that no font has is a box on the picture, which tells enough.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        save(figure, out, overwrite=options.overwrite)
    say(options, f"wrote {out}")
    return 0


def beside(source: str, suffix: str) -> Path:
    """The file beside a map that has its name, and this suffix."""
    path = Path(source).resolve()
    return path.with_suffix(suffix) if path.suffix == ".npy" else path.with_name(path.name + suffix)


def numbers(option: str, text: str) -> list[int]:
    """The whole numbers of a text, which are between commas."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} {text!r} is not a list of whole numbers, such as 1,3") from None


def rows_of(option: str, text: str) -> Any:
    """The numbers of rows, which are between commas or in a .npy file."""
    if Path(text).suffix.lower() != ".npy":
        return numbers(option, text)
    import numpy as np

    from tsne_ooc.plot.npy import reading_npy

    with reading_npy(Path(text)):
        return np.load(text, allow_pickle=False)


def ring_of(text: str) -> Any:
    """The rows that get a ring, or the word for them."""
    return text if text.isalpha() else rows_of("--ring", text)
