"""Text, and other tables that cannot be read by rows, are written once as tables that can."""

from tsne_ooc.convert.converting import convert

__all__ = ["convert"]
