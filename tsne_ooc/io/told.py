"""What a source leaves out of its file and how it reads the rest: as values for a manifest, and in words."""

from __future__ import annotations

from tsne_ooc._typing import Json, Named, TableLike
from tsne_ooc.io.prepared import how_prepared

# The most names that are told for one reason; the manifest has all.
_NAMES = 10


def account_of(source: TableLike) -> Json:
    """What is read of a table, and what is not.

    Parameters
    ----------
    source : Source

    Returns
    -------
    dict
        ``left_out``: columns and files that are not read, by name, with the reason; ``remarks``: how the rest is read,
        where there is a choice. Both are empty where there is nothing to say, as for an array. ``prepared``: how
        `tsne-ooc prepare` made the table, where it did.
    """
    prepared = how_prepared(source)
    return {
        "left_out": dict(getattr(source, "unread", None) or {}),
        "remarks": list(getattr(source, "remarks", None) or []),
        **({} if prepared is None else {"prepared": prepared}),
    }


def in_words(account: Named) -> list[str]:
    """An account as sentences: what is left out, names of one reason together, and the remarks."""
    names: dict[str, list[str]] = {}
    for name, reason in account.get("left_out", {}).items():
        names.setdefault(reason, []).append(name)
    told = []
    for reason, those in names.items():
        more = f" and {len(those) - _NAMES:,} more" if len(those) > _NAMES else ""
        told.append(f"{', '.join(those[:_NAMES])}{more} ({reason})")
    return [*([f"left out: {'; '.join(told)}"] if told else []), *account.get("remarks", [])]
