"""Structured fields (RFC 9651): dictionaries, strictly.

A field is either whole or nothing: one error anywhere and the caller goes on as if the field were
not there. Parameters are checked and dropped; nobody here gives them a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Token(bytes):
    """A token, told apart from a string by its type."""

    __slots__ = ()


# A bare item; an inner list is the tuple of its items.
Item = bool | int | float | bytes | Token | tuple["Item", ...]

MAX_LENGTH = 8 * 1024  # bytes of a field; a longer one is an error

_key = re.compile(rb"[a-z*][a-z0-9_.*-]*+").match
_number = re.compile(rb"-?(?:([0-9]{1,12}\.[0-9]{1,3})|[0-9]{1,15})(?![0-9.])").match
_string = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*+)"').match
_token = re.compile(rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+").match
_bytes = re.compile(rb":([A-Za-z0-9+/=]*+):").match
_boolean = re.compile(rb"\?([01])").match
_date = re.compile(rb"@(-?[0-9]{1,15})(?![0-9.])").match
_display = re.compile(rb'%"((?:[ !#$&-~]|%[0-9a-f]{2})*+)"').match
_comma = re.compile(rb"[ \t]*+,[ \t]*+").match
_spaces = re.compile(rb" *+").match
_semicolon = re.compile(rb"; *+").match


class _Malformed(Exception):
    pass


def parse_dictionary(values: Iterable[bytes]) -> dict[bytes, Item] | None:
    """The members of a dictionary field, from the values of all its lines.

    None for a field that is malformed or too long. A key that comes twice has its last value.
    """
    text = b", ".join(values).strip(b" ")
    if len(text) > MAX_LENGTH:
        return None
    members: dict[bytes, Item] = {}
    at = 0
    try:
        while at < len(text):
            key, at = _read_key(text, at)
            if text[at : at + 1] == b"=":
                members[key], at = _read_member(text, at + 1)
            else:
                members[key] = True
                at = _skip_parameters(text, at)
            if at == len(text):
                break
            comma = _comma(text, at)
            if comma is None or comma.end() == len(text):
                return None
            at = comma.end()
    except _Malformed:
        return None
    return members


def _read_key(text: bytes, at: int) -> tuple[bytes, int]:
    match = _key(text, at)
    if match is None:
        raise _Malformed
    return match[0], match.end()


def _read_member(text: bytes, at: int) -> tuple[Item, int]:
    if text[at : at + 1] != b"(":
        item, at = _read_item(text, at)
        return item, _skip_parameters(text, at)
    items: list[Item] = []
    at += 1
    while True:
        space = _spaces(text, at)
        assert space is not None
        if text[space.end() : space.end() + 1] == b")":
            return tuple(items), _skip_parameters(text, space.end() + 1)
        if items and not space[0]:
            raise _Malformed
        item, at = _read_item(text, space.end())
        items.append(item)
        at = _skip_parameters(text, at)


def _read_item(text: bytes, at: int) -> tuple[Item, int]:
    item: Item
    if match := _number(text, at):
        item = float(match[0]) if match[1] else int(match[0])
    elif match := _string(text, at):
        item = re.sub(rb"\\(.)", rb"\1", match[1])
    elif match := _token(text, at):
        item = Token(match[0])
    elif match := _boolean(text, at):
        item = match[1] == b"1"
    elif match := _date(text, at):
        item = int(match[1])
    elif match := _bytes(text, at) or _display(text, at):
        item = match[1]
    else:
        raise _Malformed
    return item, match.end()


def _skip_parameters(text: bytes, at: int) -> int:
    while match := _semicolon(text, at):
        _, at = _read_key(text, match.end())
        if text[at : at + 1] == b"=":
            _, at = _read_item(text, at + 1)
    return at
