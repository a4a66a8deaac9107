"""Text and other tables that cannot be read by rows, written once as ones that can."""

from tsne_ooc.convert.converting import convert

__all__ = ["convert"]
