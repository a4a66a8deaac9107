"""Pictures of maps of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsne_ooc.plot.animation import Film, animate
from tsne_ooc.plot.beside import beside
from tsne_ooc.plot.labels import most_frequent
from tsne_ooc.plot.panels import panels
from tsne_ooc.plot.scatter import scatter

if TYPE_CHECKING:
    from tsne_ooc.plot.picture import draw as draw

__all__ = ["Film", "animate", "beside", "draw", "most_frequent", "panels", "scatter"]


def __getattr__(name: str) -> Any:
    # It opens runs, with all that makes them: 1.2 s of the 3.5 s that a picture of a million rows took of a processor.
    if name == "draw":
        from tsne_ooc.plot.picture import draw

        return draw
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
