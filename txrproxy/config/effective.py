"""A configuration as the server understands it, written back: defaults filled in, secrets masked.

Values have the spelling of the file ("30s", "64KiB"), so that what is printed can be read again,
but for the masks.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import attrs

from txrproxy.config.available import default_of
from txrproxy.config.forms import FORMS
from txrproxy.config.schema import ClientCert, Config, Match, Route
from txrproxy.config.structure import is_table
from txrproxy.config.values import FieldName, Secret

MASK = "***"

# Header fields whose values are likely to be secrets, as far as a name can tell.
_HIDDEN = re.compile(r"auth|cookie|token|secret|key|password|credential|signature", re.I)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def is_hidden(name: str) -> bool:
    """Whether the value of a header field is likely to be a secret."""
    return _HIDDEN.search(name) is not None


def does(route: Route) -> str:
    """What a route does with a request, in a few words."""
    if route.pool is not None:
        return f"pool {route.pool}"
    if route.split:
        total = sum(route.split.values())
        shares = (f"{name} {100 * weight / total:.3g}%" for name, weight in route.split.items())
        return f"split {', '.join(shares)}"
    if route.redirect is not None:
        return f"redirect {route.redirect.status} {route.redirect.to}"
    if route.respond is not None:
        return f"respond {route.respond.status}"
    return f"resource {route.resource}"


def effective(config: Config, *, defaults: bool = True) -> dict[str, Any]:
    """The tables of a configuration, as plain values; without ``defaults`` what differs from them.

    An optional key that is absent is None.
    """
    return _table(config, defaults)


def _table(value: Any, defaults: bool) -> dict[str, Any]:
    found = {}
    for field in attrs.fields(attrs.resolve_types(type(value))):
        item = getattr(value, field.name)
        if "hidden" in field.metadata:
            continue
        # A condition that is absent takes everything, and one that is empty is refused.
        written = defaults and not (type(value) in (Match, ClientCert) or field.name == "split")
        if written or item != default_of(field):
            found[field.name] = _plain(field.type, item, defaults)
    return found


def _plain(kind: Any, value: Any, defaults: bool) -> Any:
    if value is None:
        return None
    if kind not in FORMS and types.NoneType in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    if isinstance(value, Secret):
        return f"{value.kind}:{MASK}"
    if is_table(type(value)) and attrs.has(type(value)) and kind not in FORMS:
        return _table(value, defaults)
    if kind in FORMS and not isinstance(value, tuple):
        form = FORMS[kind]
        return form.write(value) if form.quoted else value
    if isinstance(value, dict):
        name, item = get_args(kind)
        return {
            str(key): MASK if name is FieldName and is_hidden(key) else _plain(item, one, defaults)
            for key, one in value.items()
        }
    if isinstance(value, tuple):
        item = get_args(kind)[0] if get_origin(kind) is tuple else str
        return [_plain(item, one, defaults) for one in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def toml(tables: Mapping[str, Any]) -> str:
    """Plain values as TOML; what is None is left out."""
    return "\n".join(_lines(tables, ())).strip() + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    inner: dict[str, Any] = {}
    for name, value in table.items():
        if value is None:
            continue
        if _is_section(value, path):
            inner[name] = value
        else:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in inner.items():
        where = (*path, name)
        title = ".".join(map(_key, where))
        for item in value if isinstance(value, list) else [value]:
            scalars = any(v is not None and not _is_section(v, where) for v in item.values())
            if isinstance(value, list):
                yield f"\n[[{title}]]"
            elif scalars or not item:
                yield f"\n[{title}]"
            yield from _lines(item, where)


def _is_section(value: Any, path: tuple[str, ...]) -> bool:
    if isinstance(value, list):
        return not path and bool(value) and isinstance(value[0], dict)
    return isinstance(value, dict) and len(path) < 2 and (bool(value) or bool(path))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(n)} = {_value(v)}" for n, v in value.items() if v is not None)
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
