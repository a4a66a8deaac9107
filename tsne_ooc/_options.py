"""Options that are words: looked up in one place, with the nearest valid word in the error."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")


def unknown(what: str, word: object, known: Iterable[str]) -> ValueError:
    """The error for a word that is none of `known`, naming the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(str(word).lower(), names, n=1, cutoff=0.5)
    listed = f"known: {', '.join(names)}"
    if near:
        # A long list would bury the one word that was meant.
        listed = f"did you mean {near[0]!r}?" + (f" {listed}" if len(names) <= 8 else "")
    return ValueError(f"{what}={word!r} is not known; {listed}")


def pick(what: str, word: str, table: Mapping[str, T]) -> T:
    """``table[word]``, or an error that names the nearest key."""
    try:
        return table[word]
    except (KeyError, TypeError):
        raise unknown(what, word, table) from None


def number(what: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """`value` as a finite float greater than `above` and at least `least`, or an error naming `what`."""
    plain = scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise TypeError(f"{what}={value!r} is not a number")
    result = float(plain)
    if not math.isfinite(result) or result <= above or result < least:
        bound = ""
        if above > -math.inf or least > -math.inf:
            bound = f" greater than {above:g}" if above > -math.inf else f" of at least {least:g}"
        raise ValueError(f"{what}={value!r} must be a finite number{bound}")
    return result


def whole(what: str, value: object, *, least: int | None) -> int:
    """`value` as an int of at least `least`, if any, or an error naming `what`."""
    plain = scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, Integral):
        raise TypeError(f"{what}={value!r} is not a whole number")
    if least is not None and plain < least:
        raise ValueError(f"{what}={value!r} must be at least {least}")
    return int(plain)


def truth(what: str, value: object) -> bool:
    """`value` as a bool, or an error naming `what`."""
    plain = scalar(value)
    if not isinstance(plain, bool):
        raise TypeError(f"{what}={value!r} is neither True nor False")
    return plain


def keep(options: object, **values: object) -> None:
    """Set fields of a frozen dataclass to what was made of them: Python's own numbers, equal and saved as such."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def scalar(value: Any) -> Any:
    """Python's own number for one of NumPy's, or for an array of no axes, such as a file or a reduction gives."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
