"""The two sides of an HTTP/1.1 connection as byte-driven state machines, without I/O or clock.

A reader is fed what arrived and calls its own ``on_…`` methods, which a subclass in ``transport/``
fills in. Methods instead of event objects, because this is the hot path::

    server side, RequestReader            client side, ResponseReader

    HEAD ──head──▶ BODY ──end──▶ BUSY     IDLE ──expect()──▶ HEAD ──head──▶ BODY
     ▲  └──head without body──────▲│       ▲                  │ 1xx: again     │
     └────────── proceed() ────────┘       └──── end ─────────┴─────── end ────┘

    any ──error, stop()──▶ DISCARD        HEAD ──101──▶ TUNNEL
                                          any ──error, unsolicited bytes, close──▶ BROKEN

While BUSY, pipelined bytes are kept and not looked at: requests are answered one by one, in order
(RFC 9112 section 9.3.2).

How the bytes were split on their way makes no difference: the same requests and responses come out,
and a request head is refused for the same reason, which is that of its first fault.
"""

from __future__ import annotations

import re

from txrproxy.errors import (
    BAD_FIELD,
    BAD_REQUEST_LINE,
    BAD_RESPONSE,
    BAD_RESPONSE_BODY,
    HEAD_TOO_LARGE,
    RESPONSE_HEAD_TOO_LARGE,
    TARGET_TOO_LONG,
    TOO_MANY_FIELDS,
    Reason,
)
from txrproxy.http.body import (
    BadBody,
    ChunkedDecoder,
    Decoder,
    LengthDecoder,
    UntilCloseDecoder,
    broken_line_end,
)
from txrproxy.http.fields import EMPTY, TCHAR, Fields
from txrproxy.http.framing import CHUNKED, UNTIL_CLOSE, BadFraming, response_body
from txrproxy.http.head import (
    MAX_REQUEST_LINE,
    BadHead,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)

HEAD, BODY, BUSY, DISCARD = "head", "body", "busy", "discard"
IDLE, BROKEN, TUNNEL = "idle", "broken", "tunnel"

MAX_A_TURN = 16  # heads read in one go; a connection that pipelines is not alone
MAX_RESPONSE_HEAD = 64 * 1024
MAX_RESPONSE_FIELDS = 256
MAX_INFORMATIONAL = 32  # 1xx responses before the final one

_LEADING_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_TCHAR = frozenset(TCHAR)


class RequestReader:
    """Reads the requests of one connection.

    A subclass has the five ``on_…`` methods. After ``on_request`` nothing but the body of that
    request is read, until ``proceed()``, which may be called in ``on_request`` and ``on_body``
    already. ``max_head`` is in bytes, the empty line that ends a head included.
    """

    __slots__ = ("_buffer", "_decoder", "_looping", "max_fields", "max_head", "state")

    def __init__(self, max_head: int, max_fields: int) -> None:
        self.max_head = max_head
        self.max_fields = max_fields
        self.state = HEAD
        self._buffer: bytearray | None = None  # an incomplete head, or what was pipelined
        self._decoder: Decoder | None = None
        self._looping = False

    # What a subclass does.

    def on_request(self, head: RequestHead) -> None:
        """A head is complete. A body follows exactly when ``head.facts.body`` is not 0."""
        raise NotImplementedError

    def on_incomplete_head(self) -> None:
        """A head has begun to arrive, and is not yet complete."""
        raise NotImplementedError

    def on_body(self, content: bytes, ended: bool) -> None:
        """Content of the body; when it has ``ended``, perhaps none, and ``trailers`` are known."""
        raise NotImplementedError

    def on_pipelined(self) -> None:
        """Bytes of a further request were kept; ``buffered`` says how many there are."""
        raise NotImplementedError

    def on_long_turn(self) -> None:
        """Many requests were read at once; ``proceed()`` goes on with what is left of them."""
        raise NotImplementedError

    def on_bad_request(self, reason: Reason) -> None:
        """What arrives can not be understood from here on; the state is DISCARD."""
        raise NotImplementedError

    # What drives it.

    @property
    def trailers(self) -> Fields:
        """The trailer fields of the body that has ended."""
        return self._decoder.trailers if self._decoder is not None else EMPTY

    @property
    def buffered(self) -> int:
        """How many bytes are kept: an incomplete head, or pipelined requests."""
        return len(self._buffer) if self._buffer is not None else 0

    def receive(self, data: bytes) -> None:
        """Take what arrived, and call the ``on_…`` methods for what it completes."""
        self._looping = True
        heads = 0
        try:
            while data:
                state = self.state
                if state is HEAD:
                    if heads == MAX_A_TURN:
                        # Others wait too: what was pipelined beyond this has its turn later.
                        self.state = BUSY
                        self._buffer = bytearray(data)
                        self.on_long_turn()
                        return
                    heads += 1
                    data = self._read_head(data)
                elif state is BODY:
                    data = self._read_body(data)
                elif state is BUSY:
                    if self._buffer is None:
                        self._buffer = bytearray(data)
                    else:
                        self._buffer += data
                    self.on_pipelined()
                    return
                else:
                    return
        finally:
            self._looping = False

    def proceed(self) -> None:
        """The exchange is over and the connection goes on: read the next request."""
        self.state = HEAD
        self._decoder = None
        if not self._looping and self._buffer is not None:
            data = bytes(self._buffer)
            self._buffer = None
            self.receive(data)

    def stop(self) -> None:
        """Ignore whatever arrives from now on."""
        self.state = DISCARD
        self._buffer = None
        self._decoder = None

    def _read_head(self, data: bytes) -> bytes:
        buffer = self._buffer
        if buffer is not None and buffer[0] != 0x0D:
            searched = max(0, len(buffer) - 3)
            buffer += data
            end = buffer.find(b"\r\n\r\n", searched)
            if end < 0:
                self._check_incomplete(buffer, searched)
                return b""
            data = bytes(buffer)
            self._buffer = None
        else:
            if buffer is not None:  # half of an empty line
                data = bytes(buffer) + data
                self._buffer = None
            if data[0] == 0x0D:
                # Empty lines before a request are no part of it (RFC 9112 section 2.2).
                empty = _LEADING_EMPTY_LINES.match(data)
                if empty:
                    data = data[empty.end() :]
                if not data:
                    return b""
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = bytearray(data)
                self.on_incomplete_head()
                self._check_incomplete(self._buffer, 0)
                return b""
        if end + 4 > self.max_head:
            self._refuse(self._fault(data) or HEAD_TOO_LARGE)
            return b""
        try:
            head = parse_request_head(data[:end])
        except BadHead as error:
            self._refuse(self._fault(data[: end + 2]) or error.reason)
            return b""
        if len(head.fields.lines) > self.max_fields:
            self._refuse(TOO_MANY_FIELDS)
            return b""
        body = head.facts.body
        if body:
            self._decoder = ChunkedDecoder() if body == CHUNKED else LengthDecoder(body)
            self.state = BODY
        else:
            self.state = BUSY
        self.on_request(head)
        end += 4
        return data[end:] if len(data) > end else b""

    def _check_incomplete(self, buffer: bytearray, searched: int) -> None:
        """Refuse now what no later byte can make a valid head."""
        if buffer != b"\r":  # half of an empty line
            reason = self._fault(buffer, searched)
            if reason is not None:
                self._refuse(reason)

    def _fault(self, head: bytes | bytearray, searched: int = 0) -> Reason | None:
        """The first fault of a head that shows before its end; none in what was ``searched``."""
        if head[0] not in _TCHAR:
            return BAD_REQUEST_LINE
        bound, reason = self.max_head, HEAD_TOO_LARGE
        line = head.find(b"\r\n", 0, min(bound, MAX_REQUEST_LINE))
        if line < 0:
            bound, reason = min(bound, MAX_REQUEST_LINE), TARGET_TOO_LONG
        broken = broken_line_end(head, searched, bound)
        if broken >= 0:
            return BAD_FIELD if 0 <= line < broken else BAD_REQUEST_LINE
        return reason if len(head) >= bound else None

    def _read_body(self, data: bytes) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        try:
            content = decoder.feed(data)
        except BadBody as error:
            self._refuse(error.reason)
            return b""
        if decoder.complete:
            self.state = BUSY
            self.on_body(content, True)
            return decoder.rest
        if content:
            self.on_body(content, False)
        return b""

    def _refuse(self, reason: Reason) -> None:
        self.stop()
        self.on_bad_request(reason)


class ResponseReader:
    """Reads the responses of one connection to a backend.

    ``expect(method)`` before each request; ``on_response`` comes once for it, with as much of the
    body as has arrived, then ``on_body`` until ``ended``. ``upgrading`` says that 101 may come. A
    subclass has the six ``on_…`` methods.
    """

    __slots__ = ("_buffer", "_decoder", "_informational", "_method", "state", "upgrading")

    def __init__(self) -> None:
        self.state = IDLE
        self.upgrading = False
        self._buffer: bytearray | None = None
        self._decoder: Decoder | None = None
        self._method = b""
        self._informational = 0

    # What a subclass does.

    def on_response(self, head: ResponseHead, length: int, content: bytes, ended: bool) -> None:
        """The final head; ``length`` as in :mod:`txrproxy.http.framing`, with the first content."""
        raise NotImplementedError

    def on_informational(self, head: ResponseHead) -> None:
        """A 1xx response other than 101 (RFC 9110 section 15.2)."""
        raise NotImplementedError

    def on_switch(self, head: ResponseHead, rest: bytes) -> None:
        """101: ``rest`` are the first bytes of the new protocol."""
        raise NotImplementedError

    def on_body(self, content: bytes, ended: bool) -> None:
        """More content; perhaps none when it has ``ended``, and ``trailers`` are then known."""
        raise NotImplementedError

    def on_bad_response(self, reason: Reason) -> None:
        """The backend broke the protocol; the connection is BROKEN."""
        raise NotImplementedError

    def on_unsolicited(self) -> None:
        """Bytes came while nothing was asked; the connection is BROKEN."""
        raise NotImplementedError

    # What drives it.

    @property
    def trailers(self) -> Fields:
        """The trailer fields of the body that has ended."""
        return self._decoder.trailers if self._decoder is not None else EMPTY

    def expect(self, method: bytes) -> None:
        """A request with this method is being sent."""
        self.state = HEAD
        self._method = method
        self._decoder = None
        self._informational = 0

    def receive(self, data: bytes) -> None:
        """Take what arrived, and call the ``on_…`` methods for what it completes."""
        while data:
            state = self.state
            if state is HEAD:
                data = self._read_head(data)
            elif state is BODY:
                decoder = self._decoder
                assert decoder is not None
                try:
                    content = decoder.feed(data)
                except BadBody:
                    self._refuse(BAD_RESPONSE_BODY)
                    return
                if not decoder.complete:
                    if content:
                        self.on_body(content, False)
                    return
                # Bytes past the end of a response answer nothing that was asked.
                self.state = BROKEN if decoder.rest else IDLE
                self.on_body(content, True)
                return
            else:
                if state is IDLE:
                    self.state = BROKEN
                    self.on_unsolicited()
                return

    def end_of_input(self) -> bool:
        """The connection closed; whether that completes the response being read."""
        if self.state is BODY and isinstance(self._decoder, UntilCloseDecoder):
            self.state = BROKEN
            self.on_body(b"", True)
            return True
        return False

    def _read_head(self, data: bytes) -> bytes:
        buffer = self._buffer
        searched = 0
        if buffer is None:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = buffer = bytearray(data)
        else:
            searched = max(0, len(buffer) - 3)
            buffer += data
            end = buffer.find(b"\r\n\r\n", searched)
            if end >= 0:
                data = bytes(buffer)
                self._buffer = None
        if end < 0:
            assert buffer is not None
            if len(buffer) >= MAX_RESPONSE_HEAD:
                self._refuse(RESPONSE_HEAD_TOO_LARGE)
            elif (
                not b"HTTP/1.".startswith(bytes(buffer[:7]))
                or broken_line_end(buffer, searched) >= 0
            ):
                self._refuse(BAD_RESPONSE)
            return b""
        if end + 4 > MAX_RESPONSE_HEAD:
            self._refuse(RESPONSE_HEAD_TOO_LARGE)
            return b""
        try:
            head = parse_response_head(data[:end])
            status = head.status
            if len(head.fields.lines) > MAX_RESPONSE_FIELDS:
                raise BadHead(RESPONSE_HEAD_TOO_LARGE)
            length = response_body(head.fields, status, head.http_11, self._method)
        except (BadHead, BadFraming) as error:
            self._refuse(error.reason)
            return b""
        rest = data[end + 4 :]
        if status < 200:
            return self._interim(head, rest)
        if length == len(rest):
            # The whole response in one piece: the common case, without a decoder.
            self.state = IDLE
            self.on_response(head, length, rest, True)
            return b""
        if length == 0:
            # No body, and yet bytes follow: they answer nothing that was asked.
            self.state = BROKEN
            self.on_response(head, 0, b"", True)
            return b""
        decoder: Decoder
        if length == CHUNKED:
            decoder = ChunkedDecoder()
        elif length == UNTIL_CLOSE:
            decoder = UntilCloseDecoder()
        else:
            decoder = LengthDecoder(length)
        self._decoder = decoder
        try:
            content = decoder.feed(rest)
        except BadBody:
            self._refuse(BAD_RESPONSE)
            return b""
        if decoder.complete:
            self.state = BROKEN if decoder.rest else IDLE
        else:
            self.state = BODY
        self.on_response(head, length, content, decoder.complete)
        return b""

    def _interim(self, head: ResponseHead, rest: bytes) -> bytes:
        if head.status == 101:
            if not self.upgrading:
                self._refuse(BAD_RESPONSE)
                return b""
            self.state = TUNNEL
            self.on_switch(head, rest)
            return b""
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            self._refuse(BAD_RESPONSE)
            return b""
        self.on_informational(head)
        return rest

    def _refuse(self, reason: Reason) -> None:
        self.state = BROKEN
        self._buffer = None
        self.on_bad_response(reason)
