"""Arguments become a command, and an error becomes one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import re
import select
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from tsne_ooc import __version__
from tsne_ooc.cli import (
    demo,
    embed,
    export,
    info,
    look,
    merge,
    neighbors,
    place,
    plot,
    prepare,
    report,
    strangest,
    train,
    trust,
    view,
)
from tsne_ooc.cli.words import OPTIONS, Parser

_ABOUT = """\
t-SNE maps of data larger than memory: a sample is embedded, and every other row is streamed and placed.

  tsne-ooc demo                                              see it work on data that ships with scikit-learn
  tsne-ooc look cells.h5ad                                   what is in a file, and what would be read
  tsne-ooc prepare flows.csv --out flows                     text as a table that can be read by rows
  tsne-ooc prepare later.csv --like map --out later          later text as rows that a map takes
  tsne-ooc embed cells.h5ad --out map                        map a table in a file
  tsne-ooc embed cells.h5ad --out map --resume               go on after an accident
  tsne-ooc place map new.h5ad --out more                     tomorrow's rows on today's map
  tsne-ooc merge part-* --out whole                          parts that several jobs placed with --rows, as one
  tsne-ooc train cells.h5ad --out encoder                    a network that maps rows without a search
  tsne-ooc place encoder new.h5ad --out more                 new rows by that network
  tsne-ooc neighbors cells.h5ad --out graph                  the neighbours of all rows, for fits of all rows
  tsne-ooc plot map --color cell_type                        a picture of it
  tsne-ooc view map --color cell_type                        a page to hand over, for any browser
  tsne-ooc report map --color cell_type                      how it was made, and how far to trust it
  tsne-ooc export map --to cells.h5ad                        the coordinates where other tools look for them
  tsne-ooc strangest map                                     the rows that are least like the others
  tsne-ooc trust map                                         how far to trust the place of each row
  tsne-ooc info map                                          what a folder is, how it was made, what to do next
"""

# Arguments that are told by their place in the line, and not by a name.
_PLACES = ("model", "data")
# As the system ends a program of whose progress nobody reads any more.
_STOPPED = 141
_EXPECTED = (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, as `tsne_ooc.cli.main` says, and print what goes wrong as one line."""
    try:
        return _run(arguments)
    finally:
        # At its end Python would complain of what it cannot write, and its exit code would be 120.
        for stream in (sys.stdout, sys.stderr):
            _unread(stream)


def _run(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    names = vars(options)
    verbose = getattr(options, "verbose", False)
    code: int | None = None
    try:
        with warnings.catch_warnings(), _explained(verbose):
            warnings.showwarning = lambda message, *where, **more: _tell(f"warning: {_typed(_line(message), names)}")
            code = options.run(options)
            # What is still to be written is written here, where it can be said that it was not.
            if sys.stdout is not None:
                sys.stdout.flush()
        return code
    except KeyboardInterrupt as interrupt:
        _tell(f"interrupted{_notes(interrupt)}")
        from tsne_ooc.io.ahead import hanging

        if hanging():
            # At its end Python would wait for the read that hangs, in order to close its file.
            if sys.stdout is not None and not _unread(sys.stdout):
                sys.stdout.flush()
            os._exit(130)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread(sys.stderr):
            return _STOPPED if code is None else code
        if isinstance(error, BrokenPipeError) and _unread(sys.stdout):
            # Whoever has read enough of the answer is no fault. What a run does is told elsewhere.
            return 0
        if verbose:
            traceback.print_exc()
        text = _line(error)
        if isinstance(error, _EXPECTED):
            text = _typed(text, names) or type(error).__name__
            if text.startswith("X ") and names.get("data"):
                text = f"{_given(names['data'])}: {text}"
        elif isinstance(error, SystemError):
            # Numba and Python raise this where compiled code returns nothing, since it had no memory left to say why.
            text = (
                f"compiled code of a library failed without a reason ({text}), as happens where memory runs out; give "
                "it more memory, or less to do: fewer rows to fit, fewer --jobs"
            )
        else:
            # No reader, writer or check expected this error.
            given = "".join(f" {_given(names[name])}" for name in ("model", "map", "data") if names.get(name))
            text = (
                f"{type(error).__name__}: {text} stopped tsne-ooc {options.command}{given}, which is a fault of the "
                "program; please report this line and what --verbose adds to it to the developers of tsne_ooc"
            )
        _tell(f"error: {text}{_notes(error)}")
        return 2


def _tell(text: str) -> None:
    _unread(sys.stderr)
    print(f"tsne-ooc: {text}", file=sys.stderr)


def _unread(stream: TextIO | None) -> bool:
    """Whether the reader of our output, such as `head`, has ended; the rest then goes nowhere."""
    if stream is None or not hasattr(select, "poll"):
        return False
    try:
        end = stream.fileno()
        looked = select.poll()
        looked.register(end, 0)
        gone = any(event & select.POLLERR for _, event in looked.poll(0))
    except (OSError, ValueError):
        return False
    if gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, end)
        os.close(nowhere)
    return gone


def _line(message: object) -> str:
    return " ".join(str(message).split())


def _given(paths: object) -> str:
    """What was typed as an argument; of several paths the first, and how many more there are."""
    first, more = (paths[0], len(paths) - 1) if isinstance(paths, list) else (paths, 0)
    return _line(first) + (f" and {more} more" if more else "")


def _typed(text: str, options: dict[str, object]) -> str:
    """The message of an error with parameters as they are typed here: ``n_iter=0`` is ``--iterations=0``."""

    # Some messages name an argument of Python, and then in brackets how it is typed here.
    text = re.sub(r"(?:\b\w+=|\b[A-Z])\S* \((--[a-z-]+(?: [a-z]+)?)\)", r"\1", text)

    def option(found: re.Match[str]) -> str:
        name = OPTIONS.get(found[1], found[1])
        known = (name in options or found[1] in options) and name not in _PLACES
        return f"--{name.replace('_', '-')}{found[2] or ''}" if known else found[0]

    # No option takes None, True or False. A name without a value, as in "give like=, the file", loses its "=".
    # Within brackets a name belongs to an object that is shown, and stays as it is.
    return re.sub(r"(?<![\w./(-])([a-z]\w*)(?:=(?=[,\s])|(=)(?!None|True|False))", option, text)


def _notes(error: BaseException) -> str:
    """The notes that were added to an error, such as how to go on after it."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


@contextmanager
def _explained(verbose: bool) -> Iterator[None]:
    """Print the choices that the library makes, which it writes to its logger."""
    if not verbose:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("tsne-ooc: %(message)s"))
    logger = logging.getLogger("tsne_ooc")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = Parser(prog="tsne-ooc", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"tsne-ooc {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in (
        look, prepare, embed, place, merge, train, neighbors, plot, view, report, export, strangest, trust, info, demo
    ):  # fmt: skip
        command.add(commands)
    return top
