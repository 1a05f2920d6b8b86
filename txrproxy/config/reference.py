"""Writes the manual from the schema: ``docs/configuration.md`` and ``etc/txrproxy.toml``.

The schema's classes are walked once into sections (a class, where it stands, its keys); both files
are renderings of those. ``python -m txrproxy.config.reference`` rewrites them, and a test fails
when they are stale.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
from attrs import frozen

from txrproxy.config.available import NOT_YET, default_of
from txrproxy.config.forms import FORMS
from txrproxy.config.problems import ConfigErrors, quote
from txrproxy.config.prose import FAULTY, INTRODUCTION
from txrproxy.config.schema import Config
from txrproxy.config.toml import loads

ROOT = Path(__file__).parents[2]

# The name that stands for NAME in the sample, and a key that the sample needs to be whole.
_NAMES = {"listeners": "http", "pools": "app", "caches": "main", "policies": "public"}
_LIVE = frozenset({"routes.*.pool"})

_WIDTH = 100


@frozen
class Key:
    """One key of a section. ``default`` is ``attrs.NOTHING`` for a required one."""

    name: str
    pattern: str  # "pools.*.balance"
    kind: Any
    default: Any
    doc: str
    example: str | None


@frozen
class Section:
    """One table. ``is_list``: written with two brackets; ``optional``: absent by default."""

    pattern: str
    kind: Any
    is_list: bool
    optional: bool
    keys: tuple[Key, ...]

    def title(self, *names: str) -> str:
        """The header, with ``names`` for the stars that stand for names."""
        words = self.pattern.split(".")
        parts = []
        for word, before in zip(words, ["", *words], strict=False):
            if word != "*":
                parts.append(word)
            elif before in _NAMES:
                parts.append(names[0] if names else "NAME")
        return f"[[{'.'.join(parts)}]]" if self.is_list else f"[{'.'.join(parts)}]"


def sections(
    kind: Any = Config, pattern: str = "", *, is_list: bool = False, optional: bool = False
) -> Iterator[Section]:
    """All tables, each before those inside it. The first is the top of the file."""
    keys, inner = [], []
    for field in attrs.fields(attrs.resolve_types(kind)):
        if "hidden" in field.metadata:
            continue
        path = f"{pattern}.{field.name}" if pattern else field.name
        default = default_of(field)
        below = _class_of(field.type)
        if below is not None:
            one, star = below
            many = get_origin(field.type) is tuple
            absent = default is None or (many and pattern != "")
            inner += sections(one, path + star, is_list=many, optional=absent or optional)
        if below is None or default is attrs.NOTHING or many_tables(field.type):
            if not (below and pattern == ""):
                metadata = field.metadata
                keys.append(
                    Key(field.name, path, field.type, default, metadata["doc"], metadata["example"])
                )
    yield Section(pattern, kind, is_list, optional, tuple(keys))
    yield from inner
