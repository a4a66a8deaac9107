"""Prepare a table while it is streamed: steps that are fitted in few passes, and a source of prepared rows."""

from tsne_ooc.preprocess.missing import Missing
from tsne_ooc.preprocess.onehot import OneHot
from tsne_ooc.preprocess.options import preparation_from_options
from tsne_ooc.preprocess.pca import PCA
from tsne_ooc.preprocess.preparation import Preparation
from tsne_ooc.preprocess.rowwise import Log1p, Normalize
from tsne_ooc.preprocess.source import PreparedSource
from tsne_ooc.preprocess.standardize import Standardize
from tsne_ooc.preprocess.transformer import Transformer

__all__ = [
    "PCA",
    "Log1p",
    "Missing",
    "Normalize",
    "OneHot",
    "Preparation",
    "PreparedSource",
    "Standardize",
    "Transformer",
    "preparation_from_options",
]
