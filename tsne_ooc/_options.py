"""Options that are words or numbers: checked in one place, with the nearest valid word in the error."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from tsne_ooc._elsewhere import VALUES

T = TypeVar("T")


def unknown(what: str, word: object, known: Iterable[str]) -> ValueError:
    """The error for a word that is not among `known`, naming the nearest one, or what another program means by it."""
    if answer := VALUES.get(what, {}).get(str(word).lower()):
        return ValueError(f"{what}={word!r} is not known; {answer}")
    names = sorted(known)
    lower = {name.lower(): name for name in names}
    # At 0.5 pearson is like haversine, and brute like precomputed.
    near = [lower[one] for one in difflib.get_close_matches(str(word).lower(), lower, n=1, cutoff=0.61)]
    # Of thirty metrics the first say what kind of word is meant; --help and the documents have all.
    more = f" and {len(names) - 12} more" if len(names) > 20 else ""
    listed = f"known: {', '.join(names[:12] if more else names)}{more}"
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


# No count of rows, neighbours or steps comes near this, and compiled code can still hold it.
MOST = 2**62


def number(
    what: str, value: object, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> float:
    """`value` as a finite float greater than `above` and from `least` to `most`, or an error naming `what`."""
    plain = scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise TypeError(f"{what}={shown(value)} is not a number")
    try:
        result = float(plain)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result) or result <= above or not least <= result <= most:
        bound = ""
        if most < math.inf and result > above:
            bound = f" from {least:g} to {most:g}" if least > -math.inf else f" of at most {most:g}"
        elif above > -math.inf or least > -math.inf:
            bound = f" greater than {above:g}" if above > -math.inf else f" of at least {least:g}"
        raise ValueError(f"{what}={shown(value)} must be a finite number{bound}")
    return result


def whole(what: str, value: object, *, least: int | None, most: float = MOST) -> int:
    """`value` as an int from `least`, if any, to `most`, or an error naming `what`."""
    plain = scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, Integral):
        raise TypeError(f"{what}={shown(value)} is not a whole number")
    found = int(plain)
    if least is not None and found < least:
        raise ValueError(f"{what}={shown(value)} must be at least {least}")
    if found > most:
        raise ValueError(f"{what}={shown(value)} must be at most {most}")
    return found


def shown(value: object) -> str:
    """A value as text for a message of one line, however long it is."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        # Python writes no whole number of more than 4,300 digits.
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


# Plurals that do not only lose an s.
_ONE = {"batches": "batch", "copies": "copy"}


def counted(n: int, things: str) -> str:
    """A number of things, given their plural: ``1 row``, ``1,200 rows``."""
    return f"{n:,} {_ONE.get(things, things.removesuffix('s')) if n == 1 else things}"


def truth(what: str, value: object) -> bool:
    """`value` as a bool, or an error naming `what`."""
    plain = scalar(value)
    if not isinstance(plain, bool):
        raise TypeError(f"{what}={value!r} is neither True nor False")
    return plain


def keep(options: object, **values: object) -> None:
    """Set fields of a frozen dataclass to their checked values: Python's own numbers, compared and saved as such."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def scalar(value: Any) -> Any:
    """Python's own number for one of NumPy's, or for an array without axes, such as a file or a reduction gives."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
