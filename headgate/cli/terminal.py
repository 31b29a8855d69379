"""Text for people: tables, and colours where somebody will see them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO


def wants_colour(stream: TextIO | None = None) -> bool:
    """Tell whether to write colours: on a terminal, unless NO_COLOR is set (no-color.org) or TERM is dumb."""
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    """Write a heading."""
    return f"\x1b[1m{text}\x1b[0m" if wants_colour() else text


def dim(text: str) -> str:
    """Write something secondary."""
    return f"\x1b[2m{text}\x1b[0m" if wants_colour() else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns as wide as their widest cell; the last column is not padded."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    return "\n".join([bold(lines[0]), *lines[1:]])


def pairs(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Lay out names and values in two columns; a value of several lines goes on under itself."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(
        f"{indent}{name:<{width}}  {value.replace(chr(10), chr(10) + indent + ' ' * (width + 2))}".rstrip()
        for name, value in rows
    )


def plain(words: str) -> str:
    """Take out what a terminal would obey, of words that somebody else chose."""
    return "".join(each if each.isprintable() else "?" for each in words)


def span(seconds: float) -> str:
    """Write a span of time in at most two units."""
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    left = int(seconds)
    parts: list[str] = []
    for name, size in units:
        number, left = divmod(left, size)
        if number or (parts and name != "s"):
            parts.append(f"{number} {name}")
    return " ".join(parts[:2]) or "0 s"
