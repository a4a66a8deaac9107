"""Mini-batches of tables that are larger than memory, for models that are trained step by step."""

from tsne_ooc.batches.batches import Batches

__all__ = ["Batches"]
