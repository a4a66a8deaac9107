"""Finished maps in the formats of other programs."""

from tsne_ooc.export.target import FORMATS, export, export_per_file

__all__ = ["FORMATS", "export", "export_per_file"]
