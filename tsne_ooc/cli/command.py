"""From arguments to a command, and from errors to one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from tsne_ooc import __version__
from tsne_ooc.cli import demo, embed, export, place, train

_ABOUT = """\
t-SNE maps of data larger than memory: a sample is embedded, every other row is streamed from disk and placed.

  tsne-ooc demo                                              see it work on data that ships with scikit-learn
  tsne-ooc embed cells.h5ad --out map                        map a table in a file
  tsne-ooc embed cells.h5ad --out map --resume               go on after an accident
  tsne-ooc place map new.h5ad --out more                     tomorrow's rows on today's map
  tsne-ooc train cells.h5ad --out encoder                    a network that maps rows without a search
  tsne-ooc place encoder new.h5ad --out more                 new rows by that network
  tsne-ooc export map --to cells.h5ad                        the coordinates where other tools look for them
"""

# Parameters that have another name here.
_OPTIONS = {"n_iter": "iterations", "random_state": "seed", "n_jobs": "jobs"}


def run(arguments: Sequence[str] | None = None) -> int:
    """What `tsne_ooc.cli.main` runs, and answers for."""
    options = parser().parse_args(arguments)
    if getattr(options, "verbose", False):
        _explain()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code: int = options.run(options)
        return code
    except KeyboardInterrupt as interrupt:
        print(f"tsne-ooc: interrupted{_notes(interrupt)}", file=sys.stderr)
        from tsne_ooc.io.ahead import hanging

        if hanging():
            # At its end Python would wait for that read, to close the file behind it.
            sys.stdout.flush()
            os._exit(130)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        text = _typed(" ".join(str(error).split()), vars(options)) or type(error).__name__
        print(f"tsne-ooc: error: {text}{_notes(error)}", file=sys.stderr)
        return 2


def _typed(text: str, options: dict[str, Any]) -> str:
    """The message of an error with parameters as they are typed here: ``n_iter=0`` is ``--iterations=0``."""

    def option(found: re.Match[str]) -> str:
        name = _OPTIONS.get(found[1], found[1])
        known = name in options or found[1] in options
        return f"--{name.replace('_', '-')}=" if known else found[0]

    # No option takes None, True or False.
    return re.sub(r"(?<![\w./-])([a-z]\w*)=(?!None|True|False)", option, text)


def _notes(error: BaseException) -> str:
    """What was added to an error on its way, such as how to go on after it."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _warn(message: Any, *where: Any, **more: Any) -> None:
    print(f"tsne-ooc: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _explain() -> None:
    """Show the choices that the library makes, which it tells to its logger."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("tsne-ooc: %(message)s"))
    logger = logging.getLogger("tsne_ooc")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line."""
    top = argparse.ArgumentParser(
        prog="tsne-ooc", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"tsne-ooc {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (embed, place, train, export, demo):
        command.add(commands)
    return top
