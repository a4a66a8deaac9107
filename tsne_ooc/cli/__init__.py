"""The command line: ``tsne-ooc embed``, ``place``, ``train``, ``export`` and ``demo``."""

from tsne_ooc.cli.command import main

__all__ = ["main"]
