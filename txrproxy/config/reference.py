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
from txrproxy.config.prose import FAULTY, INTRODUCTION, ROUTING, SAMPLE
from txrproxy.config.schema import Config
from txrproxy.config.structure import is_table
from txrproxy.config.toml import loads

ROOT = Path(__file__).parents[2]

# In the sample: what stands for NAME, and keys that are written with their example.
_NAMES = {"listeners": "http", "pools": "app", "caches": "main", "policies": "public"}
_LIVE = frozenset({"routes.*.pool", "routes.*.use"})
_UNUSED = frozenset({"caches.*"})  # tables that no route of the sample uses
_CONDITIONS = ("routes.*.match.", "routes.*.split")  # absent is not the same as empty
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
    """One table. ``is_list``: written with two brackets. ``optional``: absent by default."""

    pattern: str
    doc: str
    is_list: bool
    optional: bool
    keys: tuple[Key, ...]

    def title(self, *, sample: bool = False) -> str:
        """The header as it is written, with NAME or a sample's names."""
        words = self.pattern.split(".")
        top = words[0]
        parts = [word for word in words if word != "*"]
        if top in _NAMES:
            parts.insert(1, _NAMES[top] if sample else "NAME")
        return f"[[{'.'.join(parts)}]]" if self.is_list else f"[{'.'.join(parts)}]"


def sections(
    kind: Any = Config, pattern: str = "", *, is_list: bool = False, optional: bool = False
) -> Iterator[Section]:
    """All tables, each before those inside it. The first is the top of the file."""
    keys = []
    inner: list[Section] = []
    for field in attrs.fields(attrs.resolve_types(kind)):
        if "hidden" in field.metadata:
            continue
        path = f"{pattern}.{field.name}" if pattern else field.name
        default, metadata = default_of(field), field.metadata
        keys.append(
            Key(field.name, path, field.type, default, metadata["doc"], metadata["example"])
        )
        below = _class_in(field.type)
        if below is not None:
            origin = get_origin(field.type)
            inner += sections(
                below,
                f"{path}.*" if origin in {tuple, dict} else path,
                is_list=origin is tuple,
                # A list inside a table has a shorter spelling, which the table shows.
                optional=optional or default is None or (origin is tuple and pattern != ""),
            )
    doc = " ".join((kind.__doc__ or "").split())
    yield Section(pattern, doc, is_list, optional, tuple(keys))
    yield from inner


def _class_in(kind: Any) -> Any:
    """The class of the schema that a field holds one or many of, or None."""
    inner = _without_none(kind)
    if get_origin(inner) is tuple:
        inner = get_args(inner)[0]
    elif get_origin(inner) is dict:
        inner = get_args(inner)[1]
    return inner if is_table(inner) else None


def _without_none(kind: Any) -> Any:
    if kind in FORMS or types.NoneType not in get_args(kind):
        return kind
    return next(part for part in get_args(kind) if part is not types.NoneType)


# What is written for a type and a value.


def type_text(kind: Any) -> str:
    """What a key takes, in a few words."""
    kind = _without_none(kind)
    origin = get_origin(kind)
    below = _class_in(kind)
    if kind in FORMS:
        return FORMS[kind].kind
    if origin is Literal:
        return ", ".join(_plain(choice) for choice in get_args(kind))
    if origin is tuple:
        return "list of tables" if below else f"list of {type_text(get_args(kind)[0])}"
    if origin is dict:
        name, value = get_args(kind)
        return "tables by name" if below else f"{type_text(name)} = {type_text(value)}"
    return "table"


def value_text(kind: Any, value: Any) -> str:
    """A value as TOML."""
    kind = _without_none(kind)
    if kind in FORMS and not isinstance(value, tuple):
        form = FORMS[kind]
        return quote(form.write(value)) if isinstance(value, str) or form.quoted else _plain(value)
    if isinstance(value, dict):
        pairs = ", ".join(f"{name} = {_plain(item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple):
        item = get_args(kind)[0]  # a pair of strings has one kind, too
        return f"[{', '.join(value_text(item, part) for part in value)}]"
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else str(value)


def not_yet(pattern: str) -> str:
    """The mark of a key or table that is not available, or of the uses of it that are not."""
    for row in NOT_YET:
        if row.key in {pattern, f"{pattern}.*"}:
            return f"not available yet: {row.what}" if row.what else "not available yet"
    return ""


# The two files.


def manual() -> str:
    """``docs/configuration.md``."""
    try:
        loads(FAULTY, "etc/edge.toml")
    except ConfigErrors as error:
        problems = str(error)
    parts = [
        INTRODUCTION.format(faulty=FAULTY.strip(), problems=problems),
        ROUTING,
        "## Keys\n\nA key without a default is required. "
        "A dash means that there is nothing unless you write it.\n",
        *map(_section_text, sections()),
    ]
    return "\n".join(parts)


def _section_text(section: Section) -> str:
    title = f"`{section.title()}`" if section.pattern else "Top of the file"
    mark = not_yet(section.pattern)
    lines = [f"### {title}\n"]
    if section.pattern:
        lines.append(section.doc + (f" *{_sentence(mark)}*" if mark else "") + "\n")
    lines += ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    for key in section.keys:
        lines.append(
            f"| `{key.name}` | {_cell(type_text(key.kind))} | {_default_text(key)} "
            f"| {_cell(_meaning(key))} |"
        )
    return "\n".join(lines) + "\n"


def _default_text(key: Key) -> str:
    if key.default is attrs.NOTHING:
        return "required"
    if key.default is None or _class_in(key.kind) or key.pattern.startswith(_CONDITIONS):
        return "-"
    return f"`{_cell(value_text(key.kind, key.default))}`"


def _meaning(key: Key) -> str:
    meaning = _sentence(key.doc)
    if key.example:
        meaning += f" Example: `{key.example}`."
    mark = not_yet(key.pattern)
    return meaning + (f" *{_sentence(mark)}*" if mark else "")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def sample() -> str:
    """``etc/txrproxy.toml``."""
    return "\n".join([SAMPLE, *map(_sample_section, sections())])


def _sample_section(section: Section) -> str:
    words = section.pattern.split(".")
    marks = [not_yet(".".join(words[:length])) for length in range(1, len(words) + 1)]
    live = not section.optional and not any(marks) and section.pattern not in _UNUSED
    lines = []
    if section.pattern:
        lines += _comment(
            _sentence(section.doc) + (f" {_sentence(marks[-1])}" if marks[-1] else "")
        )
        lines.append(("" if live else "#") + section.title(sample=True))
    for key in section.keys:
        written = _sample_key(key)
        if written is None:
            continue
        line = written if live or written.startswith("#") else f"#{written}"
        mark = not_yet(key.pattern)
        note = key.doc + (f" ({mark})" if mark else "")
        if key.example and key.example not in written:
            note += f"; for example {key.example}"
        if len(line) + len(note) + 4 <= _WIDTH:
            lines.append(f"{line}  # {note}")
        else:
            lines += [*_comment(note), line]
    return "\n".join(lines) + "\n"


def _sample_key(key: Key) -> str | None:
    """``key = value``, after a ``#`` where the value is an example; None for what is a section."""
    if _class_in(key.kind) and (key.default is not attrs.NOTHING or key.pattern.startswith("test")):
        return None
    if key.default is attrs.NOTHING or key.pattern in _LIVE:
        return f"{key.name} = {key.example}"
    if key.default is None or key.pattern.startswith(_CONDITIONS):
        return f"#{key.name} = {key.example}"
    return f"{key.name} = {value_text(key.kind, key.default)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False)]


FILES = {"docs/configuration.md": manual, "etc/txrproxy.toml": sample}


def main() -> None:
    for name, text in FILES.items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
