"""The first bytes of a client, read before OpenSSL reads them.

Two things have to be known that early. Who speaks HTTP to a port for https is to be told so, in
plain text. And where the names of a listener ask different things of clients, the name decides
which sessions may be resumed: OpenSSL decides that before it calls back about the name, and the
binding has no callback that comes earlier.

What is found here is never the last word: OpenSSL reads the same bytes, and what it finds is
compared. So this reads the one usual form (RFC 8446 section 4.1.2) and gives up on all others.
"""

from __future__ import annotations

HANDSHAKE = 22  # the content type of a TLS record; no method begins with this byte
MAX_HELLO = 64 * 1024  # bytes of a ClientHello that are waited for
MAX_RECORDS = 64  # of one: they are read again with every byte that comes

_METHODS = tuple(
    method + b" "
    for method in (
        b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY PRI "
        b"PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH"
    ).split()
)
_LONGEST = max(map(len, _METHODS))


class Incomplete(Exception):
    """More bytes are needed."""


class Unreadable(Exception):
    """Not a ClientHello in its usual form."""


def speaks_http(data: bytes) -> bool:
    """Whether these are the first bytes of an HTTP request. Raises :class:`Incomplete`."""
    if data.startswith(_METHODS):
        return True
    if len(data) < _LONGEST and any(method.startswith(data) for method in _METHODS):
        raise Incomplete
    return False


def server_name(data: bytes) -> bytes | None:
    """The name that a ClientHello asks for, None without one.

    ``data`` is what a client has sent, from its first byte. Raises :class:`Incomplete`, and
    :class:`Unreadable`.
    """
    hello = _Reader(_hello(data))
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    if not hello.left:
        return None
    extensions = _Reader(hello.vector(2))
    while extensions.left:
        kind = extensions.number(2)
        value = extensions.vector(2)
        if kind == 0:  # RFC 6066 section 3
            names = _Reader(_Reader(value).vector(2))
            if names.number(1) != 0:
                raise Unreadable
            return names.vector(2)
    return None


def _hello(data: bytes) -> bytes:
    """The body of the ClientHello, which may be spread over several records."""
    if len(data) > MAX_HELLO:
        raise Unreadable
    message = b""
    at = 0
    for _ in range(MAX_RECORDS):
        header = data[at : at + 5]
        if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
            raise Unreadable
        if len(header) < 5:
            raise Incomplete
        size = int.from_bytes(header[3:])
        part = data[at + 5 : at + 5 + size]
        message += part
        if message[:1] not in (b"", b"\x01") or not size:
            raise Unreadable
        if len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4])
            if end > MAX_HELLO:
                raise Unreadable
            if len(message) >= end:
                return message[4:end]
        if len(part) < size:
            raise Incomplete
        at += 5 + size
    raise Unreadable


class _Reader:
    """Numbers and vectors of the presentation language (RFC 8446 section 3)."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise Unreadable
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """What follows its length, which has ``size`` bytes."""
        return self.take(self.number(size))
