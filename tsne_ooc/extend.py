"""What a search, an affinity or another part of your own is written with, besides the class that it derives from.

Threads come to it from the estimator, and so does a saved state when a model is loaded; see the page on parts of your
own in the documentation.
"""

from __future__ import annotations

from ._parallel import Threads as Threads
from ._parallel import ranges as ranges
from ._state import Saved as Saved
from ._state import State as State
from ._state import StateError as StateError
from .neighbors.base import check_k as check_k
from .neighbors.base import check_width as check_width

__all__ = ["Saved", "State", "StateError", "Threads", "check_k", "check_width", "ranges"]
