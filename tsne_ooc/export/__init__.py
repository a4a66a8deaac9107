"""Finished maps in the formats of other tools."""

from tsne_ooc.export.target import FORMATS, export

__all__ = ["FORMATS", "export"]
