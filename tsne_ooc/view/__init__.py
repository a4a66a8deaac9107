"""Maps as one file to hand over: a page that any browser opens, without a network and with nothing installed."""

from tsne_ooc.view.page import view

__all__ = ["view"]
