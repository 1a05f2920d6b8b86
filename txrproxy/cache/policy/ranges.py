"""Byte ranges of a complete body (RFC 9110 section 14): which are meant, and what they look like.

A Range is a wish: one that is malformed, in another unit, or made to cost is not heard, and the
whole is sent. Ranges that overlap, or lie so close together that a part's own head would be longer
than what lies between them, become one (section 15.3.7.2), so that a response is never longer than
the whole by more than the heads of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_RANGES = 32
_GAP = 80  # bytes between two ranges that are sent as one
_MAX_DIGITS = 18

_spec = re.compile(rb"([0-9]*)-([0-9]*)").fullmatch


class Part(NamedTuple):
    """A piece of a body: ``head``, then ``length`` bytes of the stored one from ``start``."""

    head: bytes
    start: int
    length: int


def parse_ranges(value: bytes, length: int) -> list[tuple[int, int]] | None:
    """The ranges that a Range field means for a body of ``length`` bytes, as (start, end).

    None if the field is not to be heard, empty if no range can be satisfied. In the order of the
    field, those that came to overlap as one.
    """
    unit, equals, listed = value.partition(b"=")
    specs = [spec.strip(b" \t") for spec in listed.split(b",")]
    if not equals or unit.lower() != b"bytes" or len(specs) > MAX_RANGES:
        return None
    ranges: list[tuple[int, int]] = []
    some = False
    for spec in specs:
        if not spec:
            continue
        match = _spec(spec)
        if match is None or spec == b"-" or len(spec) > 2 * _MAX_DIGITS:
            return None
        some = True
        first, last = match.groups()
        if not first:
            start, end = max(0, length - int(last)), length
        else:
            start, end = int(first), int(last) + 1 if last else length
            if last and end <= start:
                return None
        if start < min(end, length):
            _add(ranges, start, min(end, length))
    return ranges if some else None


def _add(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    """Add a range, which takes the place of the first that it touches."""
    at = None
    for index in range(len(ranges) - 1, -1, -1):
        other_start, other_end = ranges[index]
        if start <= other_end + _GAP and other_start <= end + _GAP:
            start, end = min(start, other_start), max(end, other_end)
            if at is not None:
                del ranges[at]
            at = index
    if at is None:
        ranges.append((start, end))
    else:
        ranges[at] = (start, end)


def content_range(start: int, end: int, length: int) -> bytes:
    """The value of Content-Range for one range."""
    return b"bytes %d-%d/%d" % (start, end - 1, length)


def multipart(
    ranges: Sequence[tuple[int, int]], length: int, content_type: bytes, boundary: bytes
) -> tuple[tuple[Part, ...], bytes, int]:
    """Several ranges as multipart/byteranges: the parts, what ends them, and the length of it all.

    ``content_type`` is that of the whole, empty if unknown. No body may hold the ``boundary``.
    """
    parts = []
    said = b"Content-Type: %b\r\n" % content_type if content_type else b""
    for start, end in ranges:
        placed = content_range(start, end, length)
        head = b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n" % (boundary, said, placed)
        parts.append(Part(head, start, end - start))
    tail = b"\r\n--%b--\r\n" % boundary
    return tuple(parts), tail, sum(len(p.head) + p.length for p in parts) + len(tail)
