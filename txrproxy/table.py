"""Tables for a person at a terminal: aligned, and no wider than it is."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

_NARROWEST = 20  # columns for a last cell, however narrow the terminal


def width() -> int:
    """The columns of the terminal; a pipe or a file has no end (``COLUMNS`` says otherwise)."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return 10_000


def columns(rows: Iterable[Sequence[str]], width: int = 10_000) -> Iterator[str]:
    """Cells, each column as wide as its widest cell; the last one is wrapped where it is too long.

    ``width`` is in characters. A table without rows is no line.
    """
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    before = sum(widths[:-1]) + 2 * len(widths[:-1])
    room = max(_NARROWEST, width - before)
    for row in table:
        start = "".join(cell.ljust(w) + "  " for cell, w in zip(row[:-1], widths, strict=False))
        last = textwrap.wrap(row[-1], room, break_on_hyphens=False, break_long_words=False) or [""]
        yield (start + last[0]).rstrip()
        yield from (" " * before + more for more in last[1:])


def printable(line: str) -> str:
    """A line for a terminal: what came from elsewhere is not to command it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
