"""Pictures of maps of any size."""

from tsne_ooc.plot.animation import Film, animate
from tsne_ooc.plot.beside import beside
from tsne_ooc.plot.labels import most_frequent
from tsne_ooc.plot.panels import panels
from tsne_ooc.plot.picture import draw
from tsne_ooc.plot.scatter import scatter

__all__ = ["Film", "animate", "beside", "draw", "most_frequent", "panels", "scatter"]
