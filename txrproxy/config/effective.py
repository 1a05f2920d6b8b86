"""The configuration in force, as a tree of what JSON knows: defaults included, secrets masked.

Values are written as in a file: ``"30s"``, ``"64KiB"``. Of a secret it says where it is found by
kind alone. Values of fields that usually carry one (Authorization, cookies, keys) are masked, too.
"""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import attrs

from txrproxy.config.forms import FORMS
from txrproxy.config.schema import Config
from txrproxy.config.values import Secret

MASK = "***"

_SENSITIVE = re.compile(r"auth|cookie|token|secret|key|passw|credential|session", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@]*@")


def effective(config: Config) -> dict[str, Any]:
    """All keys of a configuration, by the names that they have in a file."""
    return _table(config)


def _table(value: Any) -> dict[str, Any]:
    kinds = get_type_hints(type(value))
    found: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        if not field.metadata.get("hidden"):
            found[field.name] = _written(kinds[field.name], getattr(value, field.name))
    return found


def _written(kind: Any, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Secret):
        return f"{value.kind}:{MASK}"
    if attrs.has(type(value)) and hasattr(type(value), "__attrs_attrs__") and _is_table(value):
        return _table(value)
    if isinstance(value, dict):
        part = get_args(_plain(kind))[-1] if get_args(_plain(kind)) else None
        return {
            str(name): MASK if _hides(name, item) else _written(part, item)
            for name, item in value.items()
        }
    form = FORMS.get(kind) or FORMS.get(_plain(kind))
    if form is not None and not isinstance(value, tuple | list):
        return _text(form.write(value)) if form.quoted or isinstance(value, str) else value
    if isinstance(value, tuple | list | frozenset):
        parts = get_args(_plain(kind))
        return [_written(parts[0] if parts else None, item) for item in value]
    if isinstance(value, str):
        return _text(value)
    return value if isinstance(value, int | float) else str(value)


def _plain(kind: Any) -> Any:
    """Without ``None``."""
    if kind in FORMS or type(None) not in get_args(kind):
        return kind
    return next(part for part in get_args(kind) if part is not type(None))


def _is_table(value: Any) -> bool:
    return type(value).__module__ == Config.__module__


def _hides(name: object, value: Any) -> bool:
    return isinstance(value, str) and bool(_SENSITIVE.search(str(name)))


def _text(value: Any) -> str:
    """A URL without its user and password."""
    return _USER.sub(f"{MASK}@", str(value))
