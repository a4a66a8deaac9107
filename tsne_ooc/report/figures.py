"""Drawings of a page, as SVG within it: lines, bars and histograms, with words for those who do not see them."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tsne_ooc._typing import Array

#: The map, principal components, chance: the first colours of pictures, dark enough for lines on white paper.
INK, FAINT, GRID = "#1f2328", "#57606a", "#d8dee4"
MAP, COMPONENTS, CHANCE = "#4477AA", "#B4471D", "#57606a"
_WIDTH, _HEIGHT = 560, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 38
_BINS = 60


class Line(NamedTuple):
    """A line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str = MAP


def lines(
    title: str, words: str, drawn: Sequence[Line], *, x: str, y: str, marks: Sequence[tuple[float, str]] = (),
    logarithmic: bool = False,
) -> str:  # fmt: skip
    """A chart of lines; `marks` are places on its horizontal axis, with a word each."""
    shown = [one for one in drawn if len(one.x)]
    across = [value for one in shown for value in one.x] + [0.0] + [at for at, _ in marks]
    up = [value for one in shown for value in one.y if not logarithmic or value > 0]
    if not shown or not up:
        return ""
    scale = _Scale(min(across), max(across)), _Scale(min(up), max(up), logarithmic=logarithmic)
    parts = _axes(scale, x, y)
    for at, word in marks:
        place = _across(scale[0], at)
        parts.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{FAINT}" '
                     'stroke-dasharray="3 3"/>')  # fmt: skip
        # Steps are longest where a phase begins, and divergences least at their end.
        height = _HEIGHT - _BOTTOM - 6 if logarithmic else _TOP + 9
        parts.append(_text(place + 4, height, word, anchor="start", size=11))
    for one in shown:
        path = " ".join(
            f"{_across(scale[0], a):.1f},{_up(scale[1], b):.1f}"
            for a, b in zip(one.x, one.y, strict=True)
            if not logarithmic or b > 0
        )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{one.color}" stroke-width="2"/>')
        parts += [f'<circle cx="{dot.split(",")[0]}" cy="{dot.split(",")[1]}" r="2.5" fill="{one.color}"/>'
                  for dot in path.split()]  # fmt: skip
    if len(shown) > 1:
        for at, one in enumerate(shown):
            parts.append(_text(_WIDTH - _RIGHT, _TOP + 10 + 15 * at, one.name, anchor="end", fill=one.color))
    return _figure(title, words, parts, _HEIGHT)


def histogram(title: str, words: str, values: Array, *, x: str, marks: Sequence[tuple[float, str]] = ()) -> str:
    """How often which numbers are there; those beyond the axis, a hundredth of them at most, are in the last bar."""
    there = np.asarray(values)[np.isfinite(values)]
    if not len(there):
        return ""
    low = min(0.0, float(there.min()))
    high = max(float(np.quantile(there, 0.995)), max((at for at, _ in marks), default=low) * 1.05)
    if high <= low:
        high = low + 1
    counts, edges = np.histogram(np.clip(there, low, high), bins=_BINS, range=(low, high))
    scale = _Scale(low, high), _Scale(0, float(counts.max()))
    parts = _axes(scale, x, "rows")
    for count, a, b in zip(counts.tolist(), edges, edges[1:], strict=False):
        if count:
            left, right, top = _across(scale[0], a), _across(scale[0], b), _up(scale[1], count)
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(0.8, right - left - 0.6):.1f}" '
                f'height="{_HEIGHT - _BOTTOM - top:.1f}" fill="{MAP}"/>'
            )
    for at, word in marks:
        place = _across(scale[0], at)
        parts.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{INK}" '
                     'stroke-dasharray="3 3"/>')  # fmt: skip
        end = place > 0.7 * _WIDTH
        parts.append(_text(place + (-4 if end else 4), _TOP + 9, word, anchor="end" if end else "start", size=11))
    return _figure(title, words, parts, _HEIGHT)


def bars(title: str, words: str, drawn: Sequence[tuple[str, float, str]]) -> str:
    """Bars that lie, one below the other: a name, a number, and the number in words."""
    most = max((value for _, value, _ in drawn), default=0.0)
    if most <= 0:
        return ""
    height, room = 24, 150
    parts = []
    for at, (name, value, told) in enumerate(drawn):
        top = at * height + 4
        width = value / most * (_WIDTH - room - 130)
        parts.append(_text(room - 8, top + 13, name, anchor="end"))
        parts.append(f'<rect x="{room}" y="{top}" width="{max(1.0, width):.1f}" height="{height - 7}" fill="{MAP}"/>')
        parts.append(_text(room + width + 7, top + 13, told, anchor="start"))
    return _figure(title, words, parts, len(drawn) * height + 8)


def share(value: float, error: float, other: float | None, chance: float, words: str) -> str:
    """A number from 0 to 1 as a small bar, with its error, and ticks for components and chance."""
    width, height = 150, 18
    if not math.isfinite(value):
        return ""

    def place(number: float) -> float:
        return min(max(number, 0.0), 1.0) * (width - 4) + 2

    parts = [
        f'<rect x="2" y="4" width="{width - 4}" height="10" fill="#eef1f4"/>',
        f'<rect x="2" y="4" width="{place(value) - 2:.1f}" height="10" fill="{MAP}"/>',
    ]
    if math.isfinite(error) and error > 0:
        parts.append(f'<line x1="{place(value - 2 * error):.1f}" x2="{place(value + 2 * error):.1f}" y1="9" y2="9" '
                     f'stroke="{INK}" stroke-width="1.5"/>')  # fmt: skip
    for number, color in ((other, COMPONENTS), (chance, CHANCE)):
        if number is not None and math.isfinite(number):
            at = place(number)
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="1" y2="17" stroke="{color}" stroke-width="2.5"/>')
    return (
        f'<svg role="img" aria-label="{html.escape(words)}" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">{"".join(parts)}</svg>'
    )


class _Scale(NamedTuple):
    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        low, high, value = (math.log(one) if self.logarithmic else one for one in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            every = (1, 2, 5) if len(powers) <= 4 else (1,)
            return [at for power in powers for one in every if self.low <= (at := one * 10.0**power) <= self.high]
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        first = math.ceil(self.low / step)
        return [at * step for at in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _across(scale: _Scale, value: float) -> float:
    return _LEFT + scale.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _up(scale: _Scale, value: float) -> float:
    return _HEIGHT - _BOTTOM - scale.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(scale: tuple[_Scale, _Scale], x: str, y: str) -> list[str]:
    parts = []
    for value in scale[1].ticks():
        at = _up(scale[1], value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>')
        parts.append(_text(_LEFT - 6, at + 4, number(value), anchor="end"))
    for value in scale[0].ticks():
        at = _across(scale[0], value)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM + 4}" '
                     f'stroke="{FAINT}"/>')  # fmt: skip
        parts.append(_text(at, _HEIGHT - _BOTTOM + 16, number(value)))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text x="12" y="{middle:.0f}" transform="rotate(-90 12 {middle:.0f})" text-anchor="middle" '
                 f'font-size="12" fill="{FAINT}">{html.escape(y)}</text>')  # fmt: skip
    return parts


def number(value: float) -> str:
    """A number as ticks and tables show it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text(x: float, y: float, words: str, *, anchor: str = "middle", fill: str = FAINT, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">'
        f"{html.escape(words)}</text>"
    )


def _figure(title: str, words: str, parts: list[str], height: int) -> str:
    return (
        f'<figure><svg role="img" aria-label="{html.escape(words)}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="inherit">{"".join(parts)}</svg><figcaption>{html.escape(title)}</figcaption></figure>'
    )
