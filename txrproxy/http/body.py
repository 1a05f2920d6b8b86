"""Message bodies: how the bytes after a head become content, and back (RFC 9112 sections 6 and 7).

A decoder is fed bytes and returns content::

    content = decoder.feed(data)
    if decoder.complete: decoder.rest holds the bytes that follow the body

Chunked is read strictly: a size is 1 to 16 hexadecimal digits and below 2**63, a line ends in CRLF,
extensions are bounded and dropped, trailers are parsed as fields. Memory is bounded by the piece
that is fed plus one bounded line.
"""

from __future__ import annotations

import re
import sys

from txrproxy.errors import BAD_CHUNK, Reason
from txrproxy.http.fields import EMPTY, BadFields, Fields, parse_fields

MAX_CHUNK_LINE = 1024  # a size with its extensions
MAX_EXTENSIONS = 16 * 1024  # all extensions of one body: they carry nothing for us
MAX_TRAILERS = 16 * 1024
MAX_TRAILER_FIELDS = 64

LAST_CHUNK = b"0\r\n\r\n"

# chunk-size [ chunk-ext ]: BWS is accepted before the extension only, as RFC 9112 section 7.1.1
# asks; an extension must be free of control characters.
_CHUNK_LINE = re.compile(rb"([0-7]?[0-9A-Fa-f]{1,15})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_PARTIAL_LINE = re.compile(rb"[0-7]?[0-9A-Fa-f]{1,15}[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r?")
_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)


class BadBody(Exception):
    """The body breaks its framing; ``reason`` says how it ends the exchange."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class LengthDecoder:
    """A body of a known length, in bytes."""

    __slots__ = ("complete", "remaining", "rest")
    trailers = EMPTY

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data
        self.complete = True
        if size > self.remaining:
            self.rest = data[self.remaining :]
            data = data[: self.remaining]
        self.remaining = 0
        return data


class UntilCloseDecoder:
    """A response body that ends with the connection: complete only when told so."""

    __slots__ = ()
    complete = False
    rest = b""
    trailers = EMPTY

    def feed(self, data: bytes) -> bytes:
        return data


class ChunkedDecoder:
    """The chunked transfer coding (RFC 9112 section 7.1), extensions dropped.

    ``feed`` raises :class:`BadBody` when the coding is broken or a bound is passed.
    """

    __slots__ = ("_extensions", "_line", "_remaining", "_state", "complete", "rest", "trailers")

    def __init__(self) -> None:
        self.complete = False
        self.rest = b""
        self.trailers: Fields = EMPTY
        self._state = _SIZE
        self._remaining = 0
        self._line = b""  # the start of a line, or of a trailer section, still incomplete
        self._extensions = 0

    def feed(self, data: bytes) -> bytes:
        content: list[bytes] = []
        at, end = 0, len(data)
        seen = 0  # bytes at the start of ``data`` that were looked at before
        while True:
            if self._state == _DATA:
                take = min(self._remaining, end - at)
                if take:
                    content.append(data[at : at + take])
                    at += take
                    self._remaining -= take
                if self._remaining:
                    break
                self._state = _DATA_END
            if self._line:
                seen = len(self._line)
                data = self._line + data[at:]
                at, end = 0, len(data)
                self._line = b""
            if self._state == _DATA_END:
                if end - at < 2:
                    if data[at:] not in (b"", b"\r"):
                        raise BadBody(BAD_CHUNK)
                    self._line = data[at:]
                    break
                if data[at : at + 2] != b"\r\n":
                    raise BadBody(BAD_CHUNK)
                at += 2
                self._state = _SIZE
            if self._state == _SIZE:
                at = self._size_line(data, at)
                if at < 0:
                    break
            if self._state == _TRAILERS:
                self._trailer_section(data, at, seen)
                break
        return content[0] if len(content) == 1 else b"".join(content)

    def _size_line(self, data: bytes, at: int) -> int:
        """Read a size line; the position after it, or -1 when it is incomplete."""
        stop = data.find(b"\r\n", at, at + MAX_CHUNK_LINE)
        if stop < 0:
            line = data[at:]
            # What no later byte can make valid is refused now.
            if line and (len(line) >= MAX_CHUNK_LINE or not _PARTIAL_LINE.fullmatch(line)):
                raise BadBody(BAD_CHUNK)
            self._line = line
            return -1
        match = _CHUNK_LINE.fullmatch(data, at, stop)
        if match is None:
            raise BadBody(BAD_CHUNK)
        if match[2]:
            self._extensions += len(match[2])
            if self._extensions > MAX_EXTENSIONS:
                raise BadBody(BAD_CHUNK)
        self._remaining = int(match[1], 16)
        self._state = _DATA if self._remaining else _TRAILERS
        return stop + 2

    def _trailer_section(self, data: bytes, at: int, seen: int) -> None:
        if data.startswith(b"\r\n", at):
            self._finish(data, at + 2)
            return
        stop = data.find(b"\r\n\r\n", at, at + MAX_TRAILERS)
        if stop < 0:
            if len(data) - at >= MAX_TRAILERS or broken_line_end(data, max(at, seen - 1)) >= 0:
                raise BadBody(BAD_CHUNK)
            self._line = data[at:]
            return
        try:
            trailers = parse_fields(data[at:stop])
        except BadFields as error:
            raise BadBody(BAD_CHUNK) from error
        if len(trailers) > MAX_TRAILER_FIELDS:
            raise BadBody(BAD_CHUNK)
        self.trailers = trailers
        self._finish(data, stop + 4)

    def _finish(self, data: bytes, at: int) -> None:
        self.complete = True
        self.rest = data[at:]


_BROKEN_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")


def broken_line_end(data: bytes | bytearray, at: int = 0, end: int = sys.maxsize) -> int:
    """Where a CR or LF stands alone from ``at`` to ``end``, -1 for nowhere.

    No later byte can mend that (RFC 9112 section 2.2). A CR at the very end may get its LF yet.
    """
    match = _BROKEN_LINE_END.search(data, at, end)
    return match.start() if match is not None else -1


def encode_chunk(data: bytes) -> bytes:
    """One chunk; the data must not be empty, for an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: Fields) -> bytes:
    """The last chunk, and the trailer section."""
    return b"0\r\n%b\r\n" % trailers.block if trailers else LAST_CHUNK


Decoder = LengthDecoder | UntilCloseDecoder | ChunkedDecoder
