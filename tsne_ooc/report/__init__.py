"""How far to trust a map, on one page: how it was made, how faithful it is, and what stays between several."""

from tsne_ooc.report.page import report

__all__ = ["report"]
