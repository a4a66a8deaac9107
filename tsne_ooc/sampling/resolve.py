"""Shorthands of samples: numbers, words and arrays of row numbers."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from tsne_ooc._options import pick, scalar, whole
from tsne_ooc.sampling.base import Sample
from tsne_ooc.sampling.coverage import Coverage
from tsne_ooc.sampling.given import Rows
from tsne_ooc.sampling.uniform import UniformSample

SIZE = 25_000
WORDS: dict[str, Callable[[int], Sample]] = {"uniform": UniformSample, "coverage": Coverage}


def resolve_sample(sample: Any, size: int = SIZE) -> Sample:
    """The sample that a shorthand stands for.

    Parameters
    ----------
    sample : Sample, int, str or array-like
        A whole number is a `UniformSample` of so many rows. "uniform" or "coverage" is one of `size` rows, or of as
        many as a number after a colon says ("coverage:50000"). An array is `Rows`.
    size : int, default 25,000

    Raises
    ------
    ValueError, TypeError
        Naming the shorthand.
    """
    if isinstance(sample, Sample):
        return sample
    size_asked = scalar(sample)
    if isinstance(size_asked, Integral) and not isinstance(size_asked, bool):
        return UniformSample(whole("sample", size_asked, least=1))
    if isinstance(sample, str):
        word, _, number = sample.partition(":")
        if word == "stratified":
            raise ValueError('sample="stratified" needs labels; use tsne_ooc.sampling.Stratified(size, labels)')
        kind = pick("sample", word, WORDS)
        digits = number.replace("_", "").replace(",", "")
        if number and not digits.isdecimal():
            raise ValueError(f"sample={sample!r}: {number!r} is not a number of rows")
        return kind(int(digits) if number else size)
    if hasattr(sample, "__len__") and getattr(sample, "shape", None) != () and not isinstance(sample, bytes):
        return Rows(sample)
    raise TypeError(f"sample={sample!r} is neither a number of rows, a word nor an object of tsne_ooc.sampling")
