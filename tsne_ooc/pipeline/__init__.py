"""Runs: a table in, a folder with its map or with an encoder out; one that was killed goes on from where it was."""

from tsne_ooc.pipeline.embedding import embed
from tsne_ooc.pipeline.merging import merge
from tsne_ooc.pipeline.neighbors import neighbors
from tsne_ooc.pipeline.placer import Mapped
from tsne_ooc.pipeline.placing import place
from tsne_ooc.pipeline.run import Run, open_run
from tsne_ooc.pipeline.training import train
from tsne_ooc.pipeline.trusting import trust

__all__ = ["Mapped", "Run", "embed", "merge", "neighbors", "open_run", "place", "train", "trust"]
