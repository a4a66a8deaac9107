"""Neighbours by definition, as they are shipped with the contracts."""

from tsne_ooc.testing.brute_force import distances
from tsne_ooc.testing.brute_force import smallest as nearest

__all__ = ["distances", "nearest"]
