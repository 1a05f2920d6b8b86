"""Header fields: strict parsing, and the lists of names that the rules of RFC 9110 need.

The same field lines arrive again and again: a browser repeats its own on every request, an API
client sends whole identical blocks. Parsing is a pure function of bytes, so two bounded memos stand
in front of it: one for whole blocks, one for single lines. A :class:`Fields` is immutable, and so
can be shared between exchanges; what later rooms derive from one is kept in its ``derived`` and
dies with it.

Most lines concern nobody here: they are checked and passed on. The few that frame, route, or speak
of a hop are marked when their line is parsed, so that a block that is new costs little more than
one that is known.

Grammar (RFC 9110 section 5, RFC 9112 section 5), the strict choice wherever there is one::

    field-line  = field-name ":" OWS field-value OWS
    field-name  = 1*tchar
    field-value = *( %x20-7E / %x80-FF / HTAB ), no obs-fold
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from typing import Any

from txrproxy.errors import BAD_FIELD, Reason
from txrproxy.http.memo import Memo

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = bytes(c for c in range(256) if (c < 0x20 and c != 0x09) or c == 0x7F)

_quoted = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL).match
_plain = re.compile(rb'[^",]++').match
_unquoted = re.compile(rb"[^,]++").match
_all_closed = re.compile(rb'(?:[^"]++|"(?:[^"\\]|\\.)*+")*+', re.DOTALL).fullmatch

_FOLDED = bytes(c if not (0x20 < c < 0x7F) or chr(c).isalnum() else ord("-") for c in range(256))

# A line is (lower-case name, value, the line as it is sent on with its CRLF, whether the proxy
# itself has to look at it: see ``is_marked``).
Line = tuple[bytes, bytes, bytes, bool]

_MEMO_BLOCK_SIZE = 4096  # longer ones are parsed each time
_MEMO_LINE_SIZE = 256
_LINE_WEIGHT = 400  # bytes that a parsed line takes beside its text

# Fields that speak of one connection only (RFC 9110 section 7.6.1), beside what Connection lists.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)

# What a trailer section must not carry (RFC 9110 section 6.5.1): framing, routing, modifiers,
# authentication, payload processing.
NOT_IN_TRAILERS = HOP_BY_HOP | {
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"expect",
    b"expires",
    b"forwarded",
    b"host",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authentication-info",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"trailer",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-forwarded",
    b"x-real-ip",
    b"x-request-id",
}


class BadFields(Exception):
    """The block is not a list of valid field lines; ``reason`` says what to answer."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


# RFC 9440; beside them X-Client-Cert-*, a family of our own.
_CLIENT_CERTIFICATE = frozenset({b"client-cert", b"client-cert-chain"})

# The fields of which the proxy itself wants to know.
_MARKED = HOP_BY_HOP | {
    b"content-length",
    b"expect",
    b"forwarded",
    b"host",
    b"max-forwards",
    b"proxy",
    b"referer",
    b"user-agent",
    b"via",
    b"x-forwarded",
    b"x-real-ip",
    b"x-request-id",
}


def is_client_certificate(name: bytes) -> bool:
    """Whether the field with this lower-case name tells of a client's TLS certificate."""
    return name in _CLIENT_CERTIFICATE or name.startswith(b"x-client-cert")


def fold(name: bytes) -> bytes:
    """The lower-case name with every character that is no letter or digit as a hyphen.

    CGI and what came of it fold names so (``x_forwarded_for`` and ``x.forwarded.for`` become one
    variable), and an alias of a field of ours must not get past it.
    """
    return name.translate(_FOLDED)


def is_marked(name: bytes) -> bool:
    """Whether a field with this lower-case name is more to the proxy than a line to pass on.

    One with a character that :func:`fold` changes may be an alias, so those are looked at too.
    """
    return (
        name in _MARKED
        or name.translate(_FOLDED) != name
        or name.startswith(b"x-forwarded-")
        or is_client_certificate(name)
    )


class Fields:
    """The field lines of one message, in order, repetitions included. Immutable.

    ``lines`` is a tuple of :data:`Line`. ``derived`` belongs to the rooms that compute something
    from the fields alone and want to do so once; its keys are theirs.
    """

    __slots__ = ("_index", "_marked", "derived", "lines")

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = lines = tuple(lines)
        self.derived: dict[Any, Any] = {}
        self._marked = _by_name([line for line in lines if line[3]])
        self._index: dict[bytes, tuple[bytes, ...]] | None = None  # of all lines, when asked

    def __repr__(self) -> str:
        return f"<Fields {self.block!r}>"

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: bytes) -> bool:
        return bool(self.all(name))

    @property
    def marked(self) -> Set[bytes]:
        """The names of the marked lines."""
        return self._marked.keys()

    @property
    def block(self) -> bytes:
        """All lines joined, ready to be sent."""
        return b"".join([line[2] for line in self.lines])

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """The values of every line with this lower-case name, in order."""
        if name in _MARKED:
            return self._marked.get(name, ())
        if self._index is None:
            self._index = _by_name(self.lines)
        return self._index.get(name, ())

    def first(self, name: bytes, default: bytes = b"") -> bytes:
        """The value of the first line with this lower-case name."""
        values = self.all(name)
        return values[0] if values else default


def _by_name(lines: Iterable[Line]) -> dict[bytes, tuple[bytes, ...]]:
    index: dict[bytes, tuple[bytes, ...]] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for line in lines:
        name = line[0]
        if name in index:
            repeated.setdefault(name, list(index[name])).append(line[1])
        else:
            index[name] = (line[1],)
    for name, values in repeated.items():
        index[name] = tuple(values)
    return index


EMPTY = Fields(())
_blocks: Memo[Fields] = Memo(8 * 1024 * 1024)
_lines: Memo[Line] = Memo(2 * 1024 * 1024)


def is_token(value: bytes) -> bool:
    """Whether the bytes are a token (RFC 9110 section 5.6.2)."""
    return bool(value) and not value.translate(None, TCHAR)


def is_field_value(value: bytes) -> bool:
    """Whether the bytes can stand as a field value: no control characters but HTAB."""
    return len(value.translate(None, _CONTROLS)) == len(value)


def make_line(name: bytes, value: bytes) -> Line:
    """A line of our own making, for a name and value known to be valid."""
    lower = name.lower()
    return lower, value, b"%b: %b\r\n" % (name, value), is_marked(lower)


def parse_line(line: bytes) -> Line:
    """Parse one field line without its CRLF.

    Raises :class:`BadFields` for whatever RFC 9112 section 5 forbids: white space before the
    colon, a folded line, a name that is no token, a control character.
    """
    name, colon, value = line.partition(b":")
    if not colon or not name or name.translate(None, TCHAR):
        raise BadFields(BAD_FIELD)
    value = value.strip(b" \t")
    if len(value.translate(None, _CONTROLS)) != len(value):
        raise BadFields(BAD_FIELD)
    parsed = make_line(name, value)
    if len(line) <= _MEMO_LINE_SIZE:
        _lines.remember(line, parsed, _LINE_WEIGHT + 3 * len(line))
    return parsed


def parse_fields(block: bytes) -> Fields:
    """Parse field lines separated by CRLF, without the one that ends the last.

    Raises :class:`BadFields`.
    """
    known = _blocks.get(block)
    if known is not None:
        return known
    if not block:
        return EMPTY
    known_line = _lines.get
    fields = Fields([known_line(line) or parse_line(line) for line in block.split(b"\r\n")])
    if len(block) <= _MEMO_BLOCK_SIZE:
        # The text is kept as the key, in the lines, joined, and as what rules make of it.
        _blocks.remember(block, fields, _LINE_WEIGHT * (2 + len(fields)) + 4 * len(block))
    return fields


def split_list(values: Iterable[bytes]) -> list[bytes]:
    """The members of a comma-separated list over all its lines, empty ones left out.

    For lists of tokens only: a comma inside a quoted string is taken as a separator
    (RFC 9110 section 5.6.1).
    """
    return [
        member for value in values for part in value.split(b",") if (member := part.strip(b" \t"))
    ]


def split_members(value: bytes) -> list[bytes]:
    """The members of a list, without white space around them; no comma in quotes separates.

    A quote that is never closed is a character like others, and so is every quote after it.
    """
    if b'"' not in value:
        return [member.strip(b" \t") for member in value.split(b",")]
    members, start, at, plain = [], 0, 0, _plain
    while at < len(value):
        match = plain(value, at)
        if match is None and value[at] == 0x22:
            match = _quoted(value, at)
            if match is None:
                plain = _unquoted
                continue
        if match is not None:
            at = match.end()
            continue
        members.append(value[start:at].strip(b" \t"))
        start = at = at + 1
    members.append(value[start:].strip(b" \t"))
    return members


def is_closed(value: bytes) -> bool:
    """Whether every quote in a list is closed, so that what is written behind it is not in one."""
    return b'"' not in value or _all_closed(value) is not None


def connection_options(fields: Fields) -> frozenset[bytes]:
    """The lower-case options of every Connection line (RFC 9110 section 7.6.1)."""
    values = fields.all(b"connection")
    if not values:
        return frozenset()
    return frozenset(option.lower() for option in split_list(values))


def allowed_trailers(fields: Fields) -> Fields:
    """The trailer fields that may be passed on (RFC 9110 section 6.5.1).

    A receiver may merge them with the header fields, so what could not pass there under an alias
    does not pass here either.
    """
    return Fields(line for line in fields.lines if _may_trail(fold(line[0])))


def _may_trail(name: bytes) -> bool:
    return not (
        name in NOT_IN_TRAILERS
        or name.startswith((b"x-forwarded-", b"if-"))
        or is_client_certificate(name)
    )
