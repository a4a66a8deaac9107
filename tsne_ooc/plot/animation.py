"""A fit as a short film, which is a GIF, or an MP4 where ffmpeg is found."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._options import counted, number, whole
from tsne_ooc._typing import Array, Float32, StrPath
from tsne_ooc.plot.colors import matplotlib
from tsne_ooc.plot.saving import check_target
from tsne_ooc.plot.scatter import chosen, scatter
from tsne_ooc.storage.atomic import whole_file

#: Endings of file names, which choose the format.
FILMS = (".gif", ".mp4")
# Rows that a film keeps of each picture unless other rows are named: 160 kB.
_ROWS = 20_000
# Seconds that the last picture stays.
_LAST = 2.0


class Film:
    """Pictures of a fit, kept while it runs.

    A film is a callback of `TSNE`: ``TSNE(callbacks=film, callbacks_every_iters=10)``.

    Parameters
    ----------
    rows : array_like of int, optional
        The rows that are kept; by default 20,000 of all, evenly drawn.

    Attributes
    ----------
    frames : list of float32 (rows, 2)
    captions : list of str
        The iteration and the divergence of each picture.
    rows : int64
        The rows that were kept, by which labels are chosen.

    Examples
    --------
    >>> film = Film()
    >>> model = TSNE(callbacks=film, callbacks_every_iters=10).fit(X)  # doctest: +SKIP
    >>> film.save("fit.gif", labels)  # doctest: +SKIP
    """

    def __init__(self, rows: ArrayLike | None = None) -> None:
        self.frames: list[Float32] = []
        self.captions: list[str] = []
        self._asked = rows
        self.rows: Array | None = None

    def __call__(self, iteration: int, error: float, embedding: Float32) -> None:
        if self.rows is None or len(self.frames) == 0:
            n = len(embedding)
            self._n = n
            if self._asked is not None:
                self.rows = chosen(self._asked, n, "rows")
            else:
                self.rows = np.sort(np.random.default_rng(0).permutation(n)[:_ROWS])
        self.frames.append(np.array(embedding[self.rows], np.float32))
        self.captions.append(f"iteration {iteration:,} · KL {error:.3f}")

    def save(self, out: StrPath, labels: ArrayLike | None = None, **options: Any) -> Path:
        """Write the film.

        Parameters
        ----------
        out : path
            A file that ends in ``.gif`` or ``.mp4``.
        labels : array_like, optional
            Labels of all rows of the fit.
        **options
            Other options of `animate`.
        """
        if self.rows is None:
            raise ValueError("the film has no picture yet; fit a TSNE(callbacks=film) first")
        if labels is not None:
            labels = np.asarray(labels)
            if len(labels) != self._n:
                raise ValueError(f"labels has {counted(len(labels), 'rows')}, and the fit {self._n:,}")
            labels = labels[self.rows]
        return animate(self.frames, out, labels, captions=self.captions, **options)


def animate(
    frames: Iterable[ArrayLike],
    out: StrPath,
    labels: ArrayLike | None = None,
    *,
    captions: Sequence[str] | None = None,
    colors: Sequence[Any] | Mapping[Any, Any] | str | None = None,
    pixels: int = 480,
    fps: float = 12,
    dark: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write maps of the same rows, one after the other, as a film.

    Each picture is scaled to its own map, since a fit begins with all rows in one place.

    Parameters
    ----------
    frames : iterable of array_like of shape (n_samples, 2)
    out : path
        A file that ends in ``.gif``, or in ``.mp4``, which needs the program ffmpeg.
    labels : array_like of shape (n_samples,), optional
    captions : sequence of str, optional
        Small words below each picture.
    colors, dark
        As in `scatter`.
    pixels : int
        Width and height, an even number.
    fps : float
        Pictures in a second; the last one stays for two seconds.
    overwrite : bool
        Replace a film that is there.

    Returns
    -------
    Path
        The path of the film.

    Raises
    ------
    ImportError
        Where matplotlib, or for MP4 ffmpeg, is not installed.
    OSError, ValueError
        For a file that cannot be written, where there are no frames, and as `scatter` raises them.

    Examples
    --------
    >>> animate([start, middle, end], "fit.gif", labels)  # doctest: +SKIP
    """
    matplotlib()
    check_target(out, overwrite=overwrite, formats=FILMS)
    path = Path(out).resolve()
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise ImportError("films of MP4 need the program ffmpeg, which is not found; install it, or name a .gif")
    pixels, fps = whole("pixels", pixels, least=32) // 2 * 2, number("fps", fps, above=0, most=50)
    maps = list(frames)
    if not maps:
        raise ValueError("frames holds no map; a film needs at least one")
    if captions is not None and len(captions) != len(maps):
        raise ValueError(
            f"captions has {counted(len(captions), 'lines')}, and there are {counted(len(maps), 'frames')}"
        )
    pictures = [
        _picture(Y, labels, None if captions is None else captions[at], colors, pixels, dark)
        for at, Y in enumerate(maps)
    ]
    with whole_file(path) as part:
        (_mp4 if path.suffix.lower() == ".mp4" else _gif)(pictures, part, fps)
    return Path(out)


def _picture(Y: ArrayLike, labels: Any, caption: str | None, colors: Any, pixels: int, dark: bool) -> Array:
    """The picture of a map as red, green and blue, shape (pixels, pixels, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = matplotlib()
    figure = known.figure.Figure(figsize=(pixels / 100, pixels / 100), dpi=100)
    ax = figure.add_axes((0.02, 0.06, 0.96, 0.92))
    size = float(np.clip(6_000 / max(1, len(np.asarray(Y))), 0.6, 12))
    scatter(Y, labels, ax, size=size, alpha=0.8, colors=colors, legend=False, dark=dark, caption=caption, density=False)
    figure.set_facecolor(ax.get_facecolor())
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _gif(pictures: list[Array], part: Path, fps: float) -> None:
    from PIL import Image

    # All pictures have the palette of the last one: with one for each, colours would flicker, and the file be larger.
    last = Image.fromarray(pictures[-1]).quantize(255, dither=Image.Dither.NONE)
    images = [Image.fromarray(one).quantize(palette=last, dither=Image.Dither.NONE) for one in pictures]
    pause = round(1000 / fps)
    durations = [pause] * (len(images) - 1) + [round(1000 * _LAST)]
    images[0].save(
        part, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )


def _mp4(pictures: list[Array], part: Path, fps: float) -> None:
    pictures = pictures + [pictures[-1]] * round(_LAST * fps)
    height, width = pictures[0].shape[:2]
    words = [
        "ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
        "-r", f"{fps:g}", "-i", "-", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(part),
    ]  # fmt: skip
    ended = subprocess.run(words, input=b"".join(one.tobytes() for one in pictures), capture_output=True)
    if ended.returncode:
        raise OSError(
            f"ffmpeg could not write the film: {' '.join(ended.stderr.decode(errors='replace').split())[:200]}"
        )
