"""What can be wrong with a configuration, said so that a person finds and fixes it.

A finding names a place by its key path; a problem names it by file and line as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from attrs import frozen

KeyPath = tuple[str | int, ...]
"""``("pools", "app", "backends", 1, "weight")``: keys of tables, and places in lists from 0."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@frozen
class Finding:
    """Something about the value at ``path``.

    ``first`` is the place that it collides with, which a problem names too. ``also`` are further
    places that it depends on.
    """

    path: KeyPath
    message: str
    first: KeyPath = ()
    also: tuple[KeyPath, ...] = ()


@frozen
class Problem:
    """A finding and where it is. ``line`` is 0 where no line can be named."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigErrors(Exception):
    """All that is wrong with a configuration, as :class:`Problem`, in the order of the file.

    ``warnings`` are what is valid and likely a mistake.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def spell(path: KeyPath) -> str:
    """``pools.app.backends[1].weight``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else quote(part))
    return text


def quote(text: str, limit: int = 80) -> str:
    """Between quotes, as TOML writes it, cut where it is long."""
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    escaped = "".join(
        c if c.isprintable() and c not in '"\\' else _ESCAPES.get(c, f"\\u{ord(c):04x}")
        for c in text
    )
    return f'"{escaped}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?``, or nothing when no known name is near."""
    near = get_close_matches(name.lower(), sorted(known), 1, 0.6)
    return f"; did you mean {quote(near[0])}?" if near else ""
