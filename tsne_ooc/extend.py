"""What you write a search, an affinity or another part of your own with, besides the class that it derives from.

The estimator gives it its threads, and its saved state when a model is loaded; see the page on parts of your own in the
documentation.
"""

from __future__ import annotations

from tsne_ooc._parallel import Threads as Threads
from tsne_ooc._parallel import ranges as ranges
from tsne_ooc.neighbors.base import check_k as check_k
from tsne_ooc.neighbors.base import check_width as check_width
from tsne_ooc.storage.state import Saved as Saved
from tsne_ooc.storage.state import State
from tsne_ooc.storage.state import StateError as StateError

__all__ = ["Saved", "State", "StateError", "Threads", "check_k", "check_width", "ranges"]
