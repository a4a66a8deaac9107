"""Prepare a table while it is streamed: steps fitted in few passes, and a source of prepared rows."""

from .onehot import OneHot
from .options import preparation_from_options
from .pca import PCA
from .preparation import Preparation
from .rowwise import Log1p, Normalize
from .source import PreparedSource
from .standardize import Standardize
from .transformer import Transformer

__all__ = [
    "PCA",
    "Log1p",
    "Normalize",
    "OneHot",
    "Preparation",
    "PreparedSource",
    "Standardize",
    "Transformer",
    "preparation_from_options",
]
