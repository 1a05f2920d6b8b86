"""A WebSocket echo for the demo origins: RFC 6455, server side, no extensions.

:func:`upgrade` answers a handshake that arrived as a ``twisted.web`` request and gives the
connection to :class:`Echo`. Frames are echoed as they come, so a message is never held whole.
"""

from __future__ import annotations

import codecs
from base64 import b64decode, b64encode
from hashlib import sha1
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

MAX_PAYLOAD = 1 << 20
"""Bytes of one frame."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Violation(Exception):
    """Ends the connection with the close code (RFC 6455 section 7.4) that it carries."""


def accept_key(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """An unmasked frame (RFC 6455 section 5.2)."""
    first = opcode | (0x80 if fin else 0)
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 1 << 16:
        return bytes((first, 126)) + len(payload).to_bytes(2, "big") + payload
    return bytes((first, 127)) + len(payload).to_bytes(8, "big") + payload


def upgrade(request: Request) -> bytes | int:
    """Answer a handshake, and echo from then on; anything else gets 400 or 426."""
    fields = request.requestHeaders
    key = fields.getRawHeaders(b"sec-websocket-key", [b""])[0].strip()
    connection = b",".join(fields.getRawHeaders(b"connection", [])).lower().split(b",")
    if (
        request.method != b"GET"
        or b"upgrade" not in [token.strip() for token in connection]
        or fields.getRawHeaders(b"upgrade", [b""])[0].lower() != b"websocket"
        or not _is_key(key)
    ):
        request.setResponseCode(400)
        return b"A WebSocket handshake is expected here.\n"
    if fields.getRawHeaders(b"sec-websocket-version", [b""])[0].strip() != b"13":
        request.setResponseCode(426)
        request.setHeader(b"sec-websocket-version", b"13")
        return b"WebSocket version 13 is spoken here.\n"

    # The connection is wrapped (WrappingFactory), and the wrapper's protocol can be exchanged.
    # The HTTP channel hears nothing of it any more, so what it set up on the transport is undone.
    wrapper: Any = request.channel.transport
    wrapper.unregisterProducer()
    wrapper.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key) + b"\r\n\r\n"
    )
    echo = Echo()
    wrapper.wrappedProtocol = echo
    echo.makeConnection(wrapper)
    wrapper.resumeProducing()
    return NOT_DONE_YET


def _is_key(key: bytes) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except ValueError:
        return False


@implementer(IPushProducer)
class Echo(Protocol):
    """Sends every data frame back; answers pings; closes as it is asked to."""

    transport: Any

    def connectionMade(self) -> None:
        self._buffer = bytearray()
        self._message: int | None = None  # opcode of the message whose fragments are arriving
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._closed = False
        self.transport.registerProducer(self, True)  # what is not read is not echoed

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self._closed = True

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        self._buffer += data
        try:
            while not self._closed and (found := self._next_frame()) is not None:
                self._frame(*found)
        except _Violation as violation:
            self._close(violation.args[0].to_bytes(2, "big"))

    def _next_frame(self) -> tuple[int, bool, bytes] | None:
        """Opcode, FIN and unmasked payload of a frame that is there whole, taken off the buffer."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, fin = buffer[0] & 15, bool(buffer[0] & 0x80)
        length = buffer[1] & 0x7F
        if buffer[0] & 0x70 or not buffer[1] & 0x80 or opcode not in _OPCODES:
            raise _Violation(1002)  # reserved bits, no mask, unknown opcode
        if opcode >= CLOSE and (length > 125 or not fin):
            raise _Violation(1002)
        extra = {126: 2, 127: 8}.get(length, 0)
        start = 2 + extra + 4
        if len(buffer) < start:
            return None
        if extra:
            length = int.from_bytes(buffer[2 : 2 + extra], "big")
        if length > MAX_PAYLOAD:
            raise _Violation(1009)
        if len(buffer) < start + length:
            return None
        mask = bytes(buffer[start - 4 : start])
        payload = _unmask(bytes(buffer[start : start + length]), mask)
        del buffer[: start + length]
        return opcode, fin, payload

    def _frame(self, opcode: int, fin: bool, payload: bytes) -> None:
        if opcode == PING:
            self.transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            if len(payload) == 1:
                raise _Violation(1002)
            self._close(payload[:2])
        elif opcode != PONG:
            if (opcode == CONTINUATION) != (self._message is not None):
                raise _Violation(1002)  # a fragment of nothing, or a message inside another
            kind = opcode or self._message
            if kind == TEXT:
                try:
                    self._decoder.decode(payload, fin)
                except UnicodeDecodeError:
                    raise _Violation(1007) from None
            self._message = None if fin else kind
            self.transport.write(frame(opcode, payload, fin))

    def _close(self, code: bytes) -> None:
        self._closed = True
        self._buffer.clear()
        self.transport.write(frame(CLOSE, code))
        self.transport.unregisterProducer()
        self.transport.loseConnection()


def _unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
