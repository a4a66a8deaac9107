"""`TSNE`, the map that its fit leaves behind, and how both are saved to a folder and loaded again."""

from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.estimator.tsne import TSNE

__all__ = ["TSNE", "FittedMap"]
