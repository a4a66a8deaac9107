"""Finished maps in the formats of other tools."""

from .target import FORMATS, export

__all__ = ["FORMATS", "export"]
