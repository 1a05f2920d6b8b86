"""Validators: entity tags and modification dates (RFC 9110 section 8.8), and how they compare.

Origins send tags without quotes or with a small ``w/``, and browsers echo them. Such a tag is
compared as it stands; it never counts as strong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from txrproxy.cache.policy.freshness import first_date
from txrproxy.http.fields import Fields

_member = re.compile(rb'[^",\s]*+"[^"]*+"|[^",\s]++')
_LARGEST = 64  # members of a list that are looked at


def entity_tag(fields: Fields) -> bytes:
    """The ETag of a response as it came; empty without one that could be sent back."""
    values = fields.all(b"etag")
    if len(values) != 1 or values[0] == b"*" or not _member.fullmatch(values[0]):
        return b""
    return values[0]


def listed_tags(values: Iterable[bytes]) -> list[bytes]:
    """The members of If-None-Match, as they came; ``*`` among them."""
    return _member.findall(b",".join(values))[:_LARGEST]


def opaque(tag: bytes) -> bytes:
    """What two tags are compared by, whether weak or strong."""
    return tag[2:] if tag.startswith(b'W/"') else tag


def is_strong(tag: bytes) -> bool:
    """Whether the tag is one that says of two representations that they are the same in bytes."""
    return tag.startswith(b'"')


def last_modified(fields: Fields, now: float) -> int | None:
    """The time of Last-Modified, None without a single valid one."""
    if len(fields.all(b"last-modified")) != 1:
        return None
    return first_date(fields, b"last-modified", now)


def has_validator(fields: Fields, now: float) -> bool:
    """Whether a response can be asked for again by a validator."""
    return bool(entity_tag(fields)) or last_modified(fields, now) is not None
