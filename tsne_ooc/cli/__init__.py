"""The command line: ``tsne-ooc embed``, ``place``, ``train``, ``export`` and ``demo``."""

from __future__ import annotations

import sys

__all__ = ["main"]

# No import here but those that Python itself has made already: before `main` runs, Ctrl-C is a page of traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after an error, 130 after an interrupt."""
    try:
        from tsne_ooc.cli.command import run

        if hasattr(sys.stdout, "reconfigure"):
            # As stderr has it from the start: a letter that the terminal does not know, such as in the name of a
            # folder, must not make an error of a finished run.
            sys.stdout.reconfigure(errors="backslashreplace")
        return run(arguments)
    except KeyboardInterrupt:
        print("tsne-ooc: interrupted", file=sys.stderr)
        return 130
