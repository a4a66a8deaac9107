"""Figures and axes that a notebook shows as they are, also where pyplot was never imported.

matplotlib tells notebooks how to show a figure only once pyplot is loaded with their backend, and never how to show
axes. This module imports matplotlib, so it is imported where a figure is made.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that does not belong to pyplot; the last value of a cell of a notebook is shown."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, and how large it is on the page: 72 dots for an inch, as notebooks show other figures."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        width, height = (round(72 * float(inches)) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


class Map(Axes):
    """Axes of such a figure, shown with all of it."""

    def _repr_png_(self) -> Any:
        figure: Any = self.figure
        return figure._repr_png_()


def lay_out(figure: Figure) -> None:
    """Let the layout of a figure settle, without its images, which take as long as all else and do not change it."""
    seen = [image for ax in figure.axes for image in ax.images if image.get_visible()]
    for image in seen:
        image.set_visible(False)
    figure.draw_without_rendering()
    for image in seen:
        image.set_visible(True)
