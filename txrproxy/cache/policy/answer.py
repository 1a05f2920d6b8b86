"""What a client gets of a stored response: the whole, a part, or that it has it already.

The client's preconditions are held against the stored response in the order of RFC 9110 section
13.2.2, of which If-Match and If-Unmodified-Since are none of a cache's business
(:func:`~txrproxy.cache.policy.demand.for_request` sends those on).
"""

from __future__ import annotations

from typing import NamedTuple

from txrproxy.cache.policy.demand import Demand
from txrproxy.cache.policy.freshness import first_date
from txrproxy.cache.policy.ranges import Part, content_range, multipart, parse_ranges
from txrproxy.cache.policy.storing import with_lines
from txrproxy.cache.policy.validators import (
    entity_tag,
    is_strong,
    last_modified,
    listed_tags,
    opaque,
)
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import Fields, Line, make_line
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.status import PHRASES

# What a 304 leaves out (RFC 9110 section 15.4.5): it describes content that does not come.
_OF_CONTENT = frozenset(
    {
        b"accept-ranges",
        b"content-digest",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"digest",
        b"repr-digest",
    }
)


class Answer(NamedTuple):
    """A response from the cache: its ``head`` and, for a GET, the ``parts`` of its body in order.

    After the parts comes ``tail``; ``length`` counts all of it.
    """

    head: ResponseHead
    parts: tuple[Part, ...] = ()
    tail: bytes = b""
    length: int = 0


def answer(request: RequestHead, demand: Demand, stored: Stored, boundary: bytes) -> Answer:
    """What to send of a stored response that may be used.

    ``boundary`` is for several ranges: a token that can not be foretold. A plain demand gets the
    whole, always; a caller in a hurry need not ask.
    """
    if stored.head.status == 200 and request.method in (b"GET", b"HEAD"):
        fields = request.fields
        if demand.conditional and not_modified(fields, stored.head, stored.responded):
            return Answer(not_modified_head(stored.head))
        if demand.ranged and request.method == b"GET":
            partial = part_of(fields, stored, boundary)
            if partial is not None:
                return partial
    whole = (Part(b"", 0, stored.length),) if stored.length else ()
    return Answer(stored.head, whole, b"", stored.length)


def not_modified(fields: Fields, head: ResponseHead, responded: float) -> bool:
    """Whether a client that sent these fields has what a 200 has (RFC 9110 section 13.1).

    ``responded`` is when the head came in; it stands in for a Date. Also for a head that is not
    stored: the backend's answer to a validation that said nothing of the client's preconditions.
    """
    asked = fields.all(b"if-none-match")
    if asked:
        listed = listed_tags(asked)
        tag = entity_tag(head.fields)
        return listed == [b"*"] or (bool(tag) and opaque(tag) in map(opaque, listed))
    if len(fields.all(b"if-modified-since")) != 1:
        return False
    since = first_date(fields, b"if-modified-since", responded)
    if since is None:
        return False
    # RFC 9111 section 4.3.2: without Last-Modified, the date of the response.
    modified = last_modified(head.fields, responded)
    if modified is None:
        modified = first_date(head.fields, b"date", responded)
    return (responded if modified is None else modified) <= since


def not_modified_head(head: ResponseHead) -> ResponseHead:
    """The head of a 304 for a stored 200, remembered with it."""
    known: ResponseHead | None = head.fields.derived.get("304")
    if known is None:
        dropped = _OF_CONTENT
        if entity_tag(head.fields):
            dropped |= {b"last-modified"}
        known = _with_status(304, head, [x for x in head.fields.lines if x[0] not in dropped])
        head.fields.derived["304"] = known
    return known


def _with_status(status: int, head: ResponseHead, lines: list[Line]) -> ResponseHead:
    made = with_lines(head, lines)
    return ResponseHead(status, PHRASES[status], True, made.fields, made.size)


def _range_holds(fields: Fields, stored: Stored) -> bool:
    """Whether If-Range lets the Range be heard: only for the very same bytes (section 13.1.5)."""
    values = fields.all(b"if-range")
    if not values:
        return True
    wanted, own = values[0], stored.head.fields
    if len(values) > 1:
        return False
    if b'"' in wanted:
        return is_strong(wanted) and entity_tag(own) == wanted
    # Section 8.8.2.2: a date is strong once the response is younger than what it dates.
    modified = last_modified(own, stored.responded)
    date = first_date(own, b"date", stored.responded)
    return (
        modified is not None
        and own.first(b"last-modified") == wanted
        and date is not None
        and modified < date
    )


def part_of(fields: Fields, stored: Stored, boundary: bytes) -> Answer | None:
    """206 or 416; None for a Range that is not heard, or for what is no less than the whole."""
    if not _range_holds(fields, stored):
        return None
    values, length = fields.all(b"range"), stored.length
    ranges = parse_ranges(values[0], length) if len(values) == 1 else None
    if ranges is None or ranges == [(0, length)] or (not ranges and not length):
        return None
    own = stored.head.fields
    if not ranges:
        placed = make_line(b"Content-Range", b"bytes */%d" % length)
        dropped = _OF_CONTENT | {b"etag", b"last-modified"}
        lines = [line for line in own.lines if line[0] not in dropped]
        lines += [placed, make_line(b"Content-Length", b"0")]
        return Answer(_with_status(416, stored.head, lines))
    parts: tuple[Part, ...]
    if len(ranges) == 1:
        start, end = ranges[0]
        parts, tail, size = (Part(b"", start, end - start),), b"", end - start
        replaced = [make_line(b"Content-Range", content_range(start, end, length))]
    else:
        content_type = own.first(b"content-type")
        parts, tail, size = multipart(ranges, length, content_type, boundary)
        replaced = [make_line(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)]
    replaced.append(make_line(b"Content-Length", b"%d" % size))
    names = {line[0] for line in replaced} | {b"content-range"}
    lines = [line for line in own.lines if line[0] not in names]
    return Answer(_with_status(206, stored.head, lines + replaced), parts, tail, size)
