"""Parts of a response (206): whether one may be kept, what it answers, and what two of them make
(RFC 9111 sections 3.3 and 3.4, RFC 9110 section 15.3.7).

Beside the whole response of a key there can be one part of it, which is one run of its bytes. A
part is kept under a key of its own and says of itself what it is, with its status and its
Content-Range, so that it can not be taken for the whole. It answers ranges that lie within it. One
that arrives and touches it makes it larger, and in the end whole; one that does not replaces it.

Only a strong entity tag says that two parts are of the same bytes: without one nothing is kept.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from txrproxy.cache.policy.answer import Answer, part_of
from txrproxy.cache.policy.demand import Demand
from txrproxy.cache.policy.ranges import content_range
from txrproxy.cache.policy.rules import Rules
from txrproxy.cache.policy.storing import Decision, storable, with_lines
from txrproxy.cache.policy.validators import entity_tag, is_strong
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import make_line
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.status import PHRASES

MAX_TOTAL = 16 * 1024 * 1024
"""Bytes of the largest response that is put together: each part that is added is a copy of all."""

_KEY = b"\npart"

_range = re.compile(rb"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.I).fullmatch


class Span(NamedTuple):
    """The bytes from ``start`` up to ``end`` of ``total``."""

    start: int
    end: int
    total: int

    @property
    def length(self) -> int:
        return self.end - self.start


class Piece(NamedTuple):
    """Bytes of one of two parts, from ``start`` up to ``end`` of its own body."""

    new: bool
    start: int
    end: int


def part_key(key: bytes) -> bytes:
    """Where the part of the response with this key is kept."""
    return key + _KEY


def span_of(head: ResponseHead) -> Span | None:
    """What a 206 has; None for several parts, an unknown length, or what makes no sense."""
    values = head.fields.all(b"content-range")
    match = _range(values[0]) if head.status == 206 and len(values) == 1 else None
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return Span(first, last + 1, total) if first <= last < total else None


def storable_part(
    request: RequestHead,
    demand: Demand,
    response: ResponseHead,
    rules: Rules,
    url: bytes,
    responded: float,
) -> Decision:
    """:func:`storable`, for a 206: what would be said of the whole, if the part can be kept.

    One that has all there is is stored as the whole. What answers a Range and is no 206 is not: who
    asked chose the Range, and what others get must not depend on that.
    """
    span = span_of(response)
    if span is None or span.total > MAX_TOTAL or not is_strong(entity_tag(response.fields)):
        return Decision("partial", response)
    if response.fields.all(b"content-length") != (b"%d" % span.length,):
        return Decision("partial", response)
    decision = storable(request, demand, _whole_head(response, span), rules, url, responded)
    return decision.of(response) if decision and span.length < span.total else decision


def whole(part: Stored) -> Stored | None:
    """What a stored part would be if it had all of the bytes; None for what is no part.

    Freshness and preconditions are judged by this.
    """
    span = span_of(part.head)
    if span is None or span.length != part.length:
        return None
    return _like(part, part.key.removesuffix(_KEY), _whole_head(part.head, span), span.total)


def part_answer(request: RequestHead, part: Stored, boundary: bytes) -> Answer | None:
    """What to send of a part that is fresh; None where it does not have all that is asked for.

    The places of the answer's parts are those in the body of the stored part.
    """
    span, complete = span_of(part.head), whole(part)
    if span is None or complete is None:
        return None
    made = part_of(request.fields, complete, boundary)
    if made is None or made.head.status != 206:
        return None
    if any(p.start < span.start or p.start + p.length > span.end for p in made.parts):
        return None
    parts = tuple(p._replace(start=p.start - span.start) for p in made.parts)
    return made._replace(parts=parts)


def joined(old: Stored, new: Stored) -> tuple[Stored, list[Piece]] | None:
    """What two parts make together, and of which pieces; None if that is not allowed, or no run.

    It is a larger part, or the whole. The fields are those of both, the newer ones first
    (section 3.4).
    """
    had, got = span_of(old.head), span_of(new.head)
    if had is None or got is None or had.total != got.total:
        return None
    if had.length != old.length or got.length != new.length:
        return None
    if (old.key, old.vary, old.variant) != (new.key, new.vary, new.variant) or old.invalidated:
        return None
    tag = entity_tag(new.head.fields)
    if not is_strong(tag) or entity_tag(old.head.fields) != tag:
        return None
    if got.start > had.end or had.start > got.end:
        return None
    if got.start <= had.start and had.end <= got.end:
        return None  # the new one has it all
    pieces = [Piece(True, 0, got.length)]
    if had.start < got.start:
        pieces.insert(0, Piece(False, 0, got.start - had.start))
    if got.end < had.end:
        pieces.append(Piece(False, got.end - had.start, had.length))
    span = Span(min(had.start, got.start), max(had.end, got.end), had.total)
    head = _updated(old.head, new.head, span)
    if span.length < span.total:
        return _like(new, new.key, head, span.length), pieces
    key = new.key.removesuffix(_KEY)
    return _like(new, key, _whole_head(head, span), span.total), pieces


def _updated(old: ResponseHead, new: ResponseHead, span: Span) -> ResponseHead:
    said = {line[0] for line in new.fields.lines} | {b"content-range", b"content-length"}
    lines = [line for line in new.fields.lines if line[0] not in _OF_PART]
    lines += [line for line in old.fields.lines if line[0] not in said]
    lines.append(make_line(b"Content-Range", content_range(*span)))
    lines.append(make_line(b"Content-Length", b"%d" % span.length))
    return with_lines(new, lines)


_OF_PART = frozenset({b"content-range", b"content-length"})


def _whole_head(head: ResponseHead, span: Span) -> ResponseHead:
    lines = [line for line in head.fields.lines if line[0] not in _OF_PART]
    lines.append(make_line(b"Content-Length", b"%d" % span.total))
    made = with_lines(head, lines)
    return ResponseHead(200, PHRASES[200], True, made.fields, made.size)


def _like(stored: Stored, key: bytes, head: ResponseHead, length: int) -> Stored:
    return Stored(
        key,
        stored.url,
        head,
        length,
        stored.requested,
        stored.responded,
        vary=stored.vary,
        variant=stored.variant,
        tags=stored.tags,
        invalidated=stored.invalidated,
    )
