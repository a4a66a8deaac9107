"""The palette of ``tsne_ooc.plot``: how its hundred colours were chosen, and how far apart they are.

``python benchmarks/palette.py`` prints them, in a second. Each next colour is the one that is farthest from all before
it, for the eye that sees worst: the usual one, and those without red, green or blue cones (Machado, Oliveira and
Fernandes 2009). Distances are those of OKLab. White and black paper, and the grey of missing labels, count as taken.
"""

from __future__ import annotations

import numpy as np

FIRST = (
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#EE8866", "#44AA99", "#8B5E3C", "#888888",
)  # fmt: skip
TAKEN = ("#FFFFFF", "#CCCCCC", "#16181D")
# What dichromats see, in linear RGB (Machado et al., severity 1).
EYES = {
    "usual": np.eye(3),
    "without red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "without green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "without blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(rgb):
    """Light of screen values from 0 to 1."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(light):
    """Ottosson's OKLab of linear RGB."""
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(np.clip(light, 0, None) @ np.transpose(to_cones)) @ np.transpose(to_lab)


def seen(hexes):
    """Colours as the four kinds of eyes see them, shape (4, n, 3)."""
    rgb = np.array([[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in hexes]) / 255
    return np.stack([oklab(np.clip(linear(rgb) @ np.transpose(eye), 0, 1)) for eye in EYES.values()])


def nearest(hexes):
    """The least distance of two of the colours, for each kind of eyes."""
    found = {}
    for name, lab in zip(EYES, seen(hexes), strict=True):
        apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
        found[name] = float(apart[np.triu_indices(len(hexes), 1)].min())
    return found


def candidates():
    """A grid of colours that are neither too pale for white paper, nor too dark for black, nor shrill."""
    steps = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    hexes = [f"#{r:02X}{g:02X}{b:02X}" for r, g, b in grid]
    light, *hue = seen(hexes)[0].T
    chroma = np.hypot(*hue)
    return [one for one, fit in zip(hexes, (light >= 0.38) & (light <= 0.86) & (chroma <= 0.19), strict=True) if fit]


def chosen(n=100):
    found, hexes = list(FIRST), candidates()
    there = seen(hexes)
    # The usual eye counts somewhat less: it sees most, and would otherwise hardly ever decide.
    weights = np.array([0.8, 1, 1, 1])[:, None]
    least = np.full(len(hexes), np.inf)

    def take(one):
        nonlocal least
        apart = np.linalg.norm(there - seen([one]), axis=-1) * weights
        least = np.minimum(least, apart.min(axis=0))

    for one in (*TAKEN, *found):
        take(one)
    while len(found) < n:
        found.append(hexes[int(least.argmax())])
        take(found[-1])
    return found


if __name__ == "__main__":
    palette = chosen()
    for start in range(0, len(palette), 10):
        print("    " + " ".join(f'"{one}",' for one in palette[start : start + 10]))
    for n in (10, 20, 40, 100):
        print(n, {name: round(apart, 3) for name, apart in nearest(palette[:n]).items()})
