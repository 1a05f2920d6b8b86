"""Forms in request bodies: ``multipart/form-data`` (RFC 7578), in one pass over the content.

General MIME parsers nest, decode and try many readings, and take seconds for a megabyte made for
them. A form needs none of that: its parts are flat, each has a name, and their content is bytes.
"""

from __future__ import annotations

import re

MAX_PARTS = 1000
MAX_PART_HEAD = 8 * 1024  # bytes of the fields of one part

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_PARAMETER = re.compile(
    rb"[ \t]*+;[ \t]*+(" + _TOKEN + rb')=(?:"((?:[^"\\]|\\.)*+)"|([^;" \t]*+))', re.DOTALL
)


class BadForm(ValueError):
    """The content is no form, or one with too many parts."""


def parse_multipart(content: bytes, content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents of the parts, in order. Raises :class:`BadForm`.

    ``content_type`` is the field value, which has the boundary. Parts without a name are left out,
    as are file names and the parts' own content types.
    """
    boundary = _parameters(content_type).get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise BadForm("no valid boundary")
    # The delimiter belongs to the line end before it; the first part has none.
    pieces = (b"\r\n" + content).split(b"\r\n--" + boundary, MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise BadForm("too many parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise BadForm("the last boundary is missing")
    parts = []
    for piece in pieces[1:-1]:
        padded = piece.lstrip(b" \t")
        if not padded.startswith(b"\r\n"):
            raise BadForm("a boundary is not alone on its line")
        head_end = padded.find(b"\r\n\r\n", 0, MAX_PART_HEAD)
        if head_end < 0:
            raise BadForm("a part has no content, or too many fields")
        name = _name(padded[2:head_end])
        if name is not None:
            parts.append((name, padded[head_end + 4 :]))
    return parts


def _name(head: bytes) -> bytes | None:
    """The name that Content-Disposition gives a part."""
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.lower() == b"content-disposition":
            return _parameters(value).get(b"name")
    return None


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """Parameters of a field value; what is malformed ends them."""
    _, semicolon, rest = value.partition(b";")
    text = semicolon + rest
    found: dict[bytes, bytes] = {}
    at = 0
    while (match := _PARAMETER.match(text, at)) is not None:
        name, quoted, plain = match.groups()
        # Browsers write %22 for a quote; others escape it. A backslash else is one.
        content = plain if quoted is None else quoted.replace(b'\\"', b'"')
        found.setdefault(name.lower(), content)
        at = match.end()
    return found
