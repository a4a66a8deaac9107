"""Samples of tables that are larger than memory."""

from tsne_ooc.sampling.base import Drawn, Sample
from tsne_ooc.sampling.coverage import Coverage
from tsne_ooc.sampling.given import Rows
from tsne_ooc.sampling.labels import labels_of
from tsne_ooc.sampling.resolve import resolve_sample
from tsne_ooc.sampling.stratified import Stratified
from tsne_ooc.sampling.take import take
from tsne_ooc.sampling.uniform import UniformSample, draw, uniform

__all__ = [
    "Coverage",
    "Drawn",
    "Rows",
    "Sample",
    "Stratified",
    "UniformSample",
    "draw",
    "labels_of",
    "resolve_sample",
    "take",
    "uniform",
]
