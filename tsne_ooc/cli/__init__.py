"""The command line, ``tsne-ooc``, whose commands are ``embed``, ``place``, ``plot`` and others."""

from __future__ import annotations

import sys

__all__ = ["main"]

# Only what Python itself has imported already is imported here: before `main` runs, Ctrl-C gives a page of traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after an error, 130 after an interrupt, 141 where nobody
    reads of its progress any more and the work is not done.
    """
    try:
        from tsne_ooc.cli.command import run

        if hasattr(sys.stdout, "reconfigure"):
            # A letter that the terminal does not know, such as in the name of a folder, must not make a finished run an
            # error. Python does the same for stderr.
            sys.stdout.reconfigure(errors="backslashreplace")
        return run(arguments)
    except KeyboardInterrupt:
        print("tsne-ooc: interrupted", file=sys.stderr)
        return 130
