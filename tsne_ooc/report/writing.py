"""HTML: words that stay words, tables, pictures, and the file, which is whole or absent."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tsne_ooc.report.estimates import Estimate
from tsne_ooc.storage.atomic import whole_file

# Letters of a word that are shown.
_LETTERS = 400


def text(words: Any) -> str:
    """Words on one line, as HTML that shows them and does nothing else."""
    line = " ".join((words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)).split())
    # Halves of letters beyond 65,535 cannot be written.
    line = line.encode("utf-8", "replace").decode()
    return html.escape(line if len(line) <= _LETTERS else line[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}")


def code(lines: str) -> str:
    """A block of code."""
    return f"<pre>{html.escape(lines.encode('utf-8', 'replace').decode())}</pre>"


def paragraph(words: str) -> str:
    return f"<p>{text(words)}</p>"


def listed(lines: Iterable[str]) -> str:
    """A list, of words that are HTML already."""
    found = "".join(f"<li>{line}</li>" for line in lines)
    return f"<ul>{found}</ul>" if found else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already; the first of a row is its name. `numbers` are columns of numbers."""
    right = ' class="n"'
    top = "".join(f'<th scope="col"{right if at in numbers else ""}>{text(name)}</th>' for at, name in enumerate(head))
    lines = "".join(f"<tr>{_cells(row, numbers)}</tr>" for row in rows)
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{told}<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def pairs(rows: Iterable[Sequence[str]]) -> str:
    """A table of names and what belongs to each, as HTML already; it needs no head."""
    lines = "".join(f"<tr>{_cells(row, ())}</tr>" for row in rows)
    return f'<div class="wide"><table><tbody>{lines}</tbody></table></div>'


def _cells(row: Sequence[str], numbers: Sequence[int]) -> str:
    first, *others = row
    right = ' class="n"'
    cells = [f"<td{right if at in numbers else ''}>{words}</td>" for at, words in enumerate(others, start=1)]
    return "".join([f'<th scope="row">{first}</th>', *cells])


def picture(png: bytes, words: str, caption: str = "") -> str:
    """A picture within the page."""
    told = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    data = base64.b64encode(png).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text(words)}">{told}</figure>'


def rounded(value: float) -> str:
    """A share or a correlation; small ones with as many digits as they need."""
    if not math.isfinite(value):
        return "not defined"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def estimated(one: Estimate | None) -> str:
    """A number and its standard error."""
    if one is None:
        return "\N{EN DASH}"
    error = "" if not one.error or not math.isfinite(one.error) else f" ± {max(one.error, 0.0005):.3f}"
    return rounded(one.value) + error


def write(out: Path, title: str, body: str) -> None:
    """Put the page together, and on the disk in one step."""
    web = resources.files("tsne_ooc.report") / "web"
    fills = {"TITLE": text(title), "STYLE": (web / "page.css").read_text(encoding="utf-8"), "BODY": body}
    first, *others = (web / "page.html").read_text(encoding="utf-8").split("{{")
    with whole_file(out.resolve()) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(first)
        for other in others:
            name, _, rest = other.partition("}}")
            file.write(fills[name] + rest)
