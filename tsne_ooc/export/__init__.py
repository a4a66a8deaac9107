"""Finished maps in the formats of other programs."""

from tsne_ooc.export.target import FORMATS, export

__all__ = ["FORMATS", "export"]
