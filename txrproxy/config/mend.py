"""Goes on after parts of a configuration did not fit, so that one run reports everything.

A part that does not fit is taken out, or replaced by a valid stand-in where its key is required.
What the checks then find in or because of such a part is an echo and is dropped.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args, get_origin

import attrs

from txrproxy.config.problems import Finding, KeyPath
from txrproxy.config.schema import Config
from txrproxy.config.structure import is_table, structure

_ROUNDS = 8  # one is enough unless a stand-in uncovers something below it


def mended(tree: dict[str, Any], unfit: Sequence[Finding]) -> Config | None:
    """A configuration without the unfit parts; None when it can not be made. Changes ``tree``."""
    for _ in range(_ROUNDS):
        for finding in unfit:
            _mend(tree, Config, finding.path)
        config, unfit = structure(tree)
        if config is not None:
            return config
    return None


def without_echoes(findings: Iterable[Finding], unfit: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that have nothing to do with the unfit parts."""
    gone = {finding.path for finding in unfit}
    # A table from which a key was taken is not blamed for what it lacks.
    parents = {path[:-1] for path in gone}
    above = {path[:length] for path in gone for length in range(1, len(path))}
    for finding in findings:
        if finding.path in parents or _within(finding.path, gone):
            continue
        if any(path in above or _within(path, gone) for path in (finding.first, *finding.also)):
            continue
        yield finding


def _within(path: KeyPath, tops: set[KeyPath]) -> bool:
    return any(path[:length] in tops for length in range(1, len(path) + 1))


def _mend(table: dict[str, Any], kind: Any, path: KeyPath) -> None:
    """Makes the key at ``path`` fit; ``table`` is of class ``kind``."""
    name, rest = str(path[0]), path[1:]
    field = attrs.fields_dict(attrs.resolve_types(kind)).get(name)
    if field is None:
        table.pop(name, None)
        return
    value = table.get(name)
    inner = _without_none(field.type)
    if rest and is_table(inner) and isinstance(value, dict):
        _mend(value, inner, rest)
    elif rest and get_origin(inner) is dict and isinstance(value, dict):
        below = value.get(rest[0])
        if rest[1:] and is_table(get_args(inner)[1]) and isinstance(below, dict):
            _mend(below, get_args(inner)[1], rest[1:])
        else:
            value.pop(rest[0], None)
    elif rest and is_table((get_args(inner) or (None,))[0]) and isinstance(value, list):
        item, index = get_args(inner)[0], int(rest[0])
        if rest[1:] and isinstance(value[index], dict):
            _mend(value[index], item, rest[1:])
        else:
            value[index] = _stand_in(item)
    elif field.default is attrs.NOTHING:
        table[name] = _example(field)
    else:
        table.pop(name, None)


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType) or get_origin(kind) is not None:
        others = [part for part in get_args(kind) if part is not types.NoneType]
        if len(others) == 1 and types.NoneType in get_args(kind):
            return others[0]
    return kind


def _stand_in(kind: Any) -> dict[str, Any]:
    fields = attrs.fields(attrs.resolve_types(kind))
    return {field.name: _example(field) for field in fields if field.default is attrs.NOTHING}


def _example(field: attrs.Attribute[Any]) -> Any:
    return tomllib.loads(f"value = {field.metadata['example']}")["value"]
