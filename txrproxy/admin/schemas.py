"""The shapes of bodies and parameters, as JSON Schema, and whether a value has one.

The part of JSON Schema that the admin API uses, and no more: what is checked here is word for word
what the OpenAPI document says. What is said of a wrong value names what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

MAX_TEXT = 2048

_surrogate = re.compile("[\ud800-\udfff]").search  # half a character, which JSON can escape


class Invalid(ValueError):
    """A value that does not have the shape; the text says where, and what is allowed."""


def text(most: int = MAX_TEXT, **more: Any) -> dict[str, Any]:
    return {"type": "string", "maxLength": most, **more}


def one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


def integer(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, **more}


def boolean(**more: Any) -> dict[str, Any]:
    return {"type": "boolean", **more}


def table(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An object of these keys alone."""
    return {
        "type": "object",
        "properties": dict(properties),
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
        **more,
    }


def check(value: Any, schema: Schema, where: str = "the body") -> None:
    """Raises :class:`Invalid`."""
    kind = schema["type"]
    if not _KINDS[kind](value):
        raise Invalid(f"{where}: expected {describe(schema)}")
    if kind == "object":
        _check_object(value, schema, where)
    elif value not in schema.get("enum", (value,)):
        raise Invalid(f"{where}: expected {describe(schema)}")
    elif kind == "string":
        if len(value) > schema.get("maxLength", len(value)) or _surrogate(value):
            raise Invalid(f"{where}: expected {describe(schema)}")
    elif kind == "integer" and not schema["minimum"] <= value <= schema["maximum"]:
        raise Invalid(f"{where}: expected {describe(schema)}")


def _check_object(value: dict[str, Any], schema: Schema, where: str) -> None:
    properties = schema["properties"]
    for name in value:
        if name not in properties:
            allowed = ", ".join(properties) or "none"
            raise Invalid(f"{where}: unknown key {name[:64]!r}; allowed: {allowed}")
    for name in schema.get("required", ()):
        if name not in value:
            raise Invalid(f"{where}: {name} is missing; expected {describe(properties[name])}")
    if len(value) < schema.get("minProperties", 0):
        raise Invalid(f"{where}: expected at least one of {', '.join(properties)}")
    for name, part in value.items():
        check(part, properties[name], name)


def read(words: Mapping[str, str], properties: Schema) -> dict[str, Any]:
    """Parameters of a query, each as its schema has it; defaults for the rest.

    Raises :class:`Invalid`.
    """
    found: dict[str, Any] = {}
    for name, word in words.items():
        if name not in properties:
            allowed = ", ".join(properties) or "none"
            raise Invalid(f"unknown parameter {name[:64]!r}; allowed: {allowed}")
        schema = properties[name]
        value: Any = word
        if schema["type"] == "integer" and word.isascii() and word.isdigit() and len(word) < 10:
            value = int(word)
        check(value, schema, name)
        found[name] = value
    return {**{n: s["default"] for n, s in properties.items() if "default" in s}, **found}


def describe(schema: Schema) -> str:
    """What is allowed, in a few words."""
    kind = schema["type"]
    if kind == "boolean":
        return "true" if "enum" in schema else "true or false"
    if "enum" in schema:
        *words, last = schema["enum"]
        return f"{', '.join(words)} or {last}"
    if kind == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    if kind == "string":
        return f"a string of at most {schema['maxLength']} characters"
    return "an object"


_KINDS = {
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, float) and value.is_integer())  # 1.0 is one, says JSON Schema
    ),
}
