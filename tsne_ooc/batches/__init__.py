"""Mini-batches of tables that are larger than memory, for models that are trained step by step."""

from tsne_ooc.batches.batches import Batches, check_shuffle
from tsne_ooc.batches.evenness import UNEVEN

__all__ = ["UNEVEN", "Batches", "check_shuffle"]
