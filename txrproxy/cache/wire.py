"""Values of the cache as JSON knows them, and back: what processes say to each other of it.

Numbers, text, lists and None are themselves; all else is an object of one name, that of its type.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import fields

from txrproxy.cache.entry import Corrupt, decode_record, encode_record
from txrproxy.cache.index import Record
from txrproxy.cache.owner import NoRoom, NotReady
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.stored import Stored

Packed = Any

_CLASSES: dict[str, Any] = {c.__name__: c for c in (Purge, Purged, Record)}
_ERRORS: dict[str, Callable[[str], Exception]] = {
    error.__name__: error for error in (NoRoom, NotReady, Corrupt)
}


def pack(value: Any) -> Packed:
    """A value of these: JSON's own, bytes, tuple, Stored, Purge, Purged, Record."""
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, Stored):
        return {"Stored": encode_record(value, 0).decode("latin-1")}
    if isinstance(value, tuple):
        return {"tuple": [pack(item) for item in value]}
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, dict):
        return {"dict": {key: pack(item) for key, item in value.items()}}
    name = type(value).__name__
    if name in _CLASSES:
        return {name: [pack(getattr(value, field.name)) for field in fields(type(value))]}
    return value


def unpack(value: Packed) -> Any:
    """What was packed. Raises :class:`~txrproxy.cache.entry.Corrupt` for a broken Stored."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name == "bytes":
        return content.encode("latin-1")
    if name == "Stored":
        return decode_record(content.encode("latin-1"))[0]
    if name == "tuple":
        return tuple(unpack(item) for item in content)
    if name == "dict":
        return {key: unpack(item) for key, item in content.items()}
    return _CLASSES[name](*map(unpack, content))


def pack_error(error: BaseException) -> Packed:
    """What the owner raised, as an answer."""
    number = getattr(error, "errno", None)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return {"error": [type(error).__name__, number, text]}


def unpack_error(packed: Packed) -> Exception:
    """The same: NoRoom, NotReady, Corrupt, or OSError for everything else."""
    name, number, text = packed["error"]
    if name in _ERRORS:
        return _ERRORS[name](text)
    return OSError(number, text or os.strerror(number)) if number else OSError(text)
