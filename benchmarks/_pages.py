"""Tables in the pages of the documentation: what stands between markers is written by a program.

A marker is ``<!-- table: <name> -->`` on a line of its own, closed by ``<!-- end -->``; nothing else of a page is
touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: What makes the text of a marker, and the program that measures what it tells; by the marker's name.
Makers = Mapping[str, tuple[Callable[[], str], str]]


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; numbers get three digits."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def render(text: str, makers: Makers) -> str:
    """Fill the markers of a page; figures that were not measured are left out, with the command that measures them."""

    def fill(match: re.Match[str]) -> str:
        make, command = makers[match[2]]
        return match[1] + (make() or f"Not measured yet: `python -m benchmarks {command}`.\n") + match[3]

    return MARKED.sub(fill, text)


def fill_page(page: Path, makers: Makers) -> None:
    """Fill the markers of a file."""
    page.write_text(render(page.read_text(encoding="utf-8"), makers), encoding="utf-8")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
