from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.demo_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_PAYLOAD,
    PING,
    PONG,
    TEXT,
    Echo,
    accept_key,
    frame,
)


def masked(
    opcode: int, payload: bytes, fin: bool = True, mask: bytes = b"\x37\xfa\x21\x3d"
) -> bytes:
    head = bytearray(frame(opcode, payload, fin)[: -len(payload) or None])
    head[1] |= 0x80
    body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes(head) + mask + body


class HandshakeTests(SynchronousTestCase):
    def test_key_of_the_rfc(self):
        self.assertEqual(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


class EchoTests(SynchronousTestCase):
    def setUp(self):
        self.transport = StringTransport()
        self.echo = Echo()
        self.echo.makeConnection(self.transport)

    def talk(self, *received: bytes) -> bytes:
        self.transport.clear()
        for data in received:
            self.echo.dataReceived(data)
        return self.transport.value()

    def test_frames_of_the_rfc(self):
        # RFC 6455 section 5.7
        hello = bytes.fromhex("818537fa213d7f9f4d5158")
        self.assertEqual(masked(TEXT, b"Hello"), hello)
        self.assertEqual(self.talk(hello), bytes.fromhex("810548656c6c6f"))
        self.assertEqual(self.talk(masked(PING, b"Hello")), bytes.fromhex("8a0548656c6c6f"))

    def test_byte_by_byte_with_trailing_data(self):
        data = masked(TEXT, b"Hello") + masked(BINARY, b"\xff" * 300) + masked(PONG, b"")
        expected = frame(TEXT, b"Hello") + frame(BINARY, b"\xff" * 300)
        self.assertEqual(self.talk(data), expected)
        self.assertEqual(self.talk(*(data[i : i + 1] for i in range(len(data)))), expected)

    @settings(max_examples=30, deadline=None)
    @given(st.binary(max_size=70), st.binary(min_size=4, max_size=4))
    def test_any_mask(self, payload, mask):
        self.assertEqual(self.talk(masked(BINARY, payload, mask=mask)), frame(BINARY, payload))

    def test_sizes(self):
        for size in (0, 125, 126, 65535, 65536, MAX_PAYLOAD):
            payload = b"x" * size
            self.assertEqual(self.talk(masked(BINARY, payload)), frame(BINARY, payload))

    def test_fragments(self):
        self.assertEqual(
            self.talk(
                masked(TEXT, b"\xc3", fin=False),
                masked(PING, b"p"),
                masked(CONTINUATION, b"\xa9"),
                masked(TEXT, b"x"),
            ),
            frame(TEXT, b"\xc3", fin=False)
            + frame(PONG, b"p")
            + frame(CONTINUATION, b"\xa9")
            + frame(TEXT, b"x"),
        )

    def test_close_is_answered_and_ends_it(self):
        answer = self.talk(masked(CLOSE, b"\x03\xe8bye") + masked(TEXT, b"x"), masked(TEXT, b"y"))
        self.assertEqual(answer, frame(CLOSE, b"\x03\xe8"))
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)

    def test_close_without_a_code(self):
        self.assertEqual(self.talk(masked(CLOSE, b"")), frame(CLOSE, b""))

    def test_backpressure(self):
        self.transport.producer.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")


class ViolationTests(SynchronousTestCase):
    def test_table(self):
        huge = bytes((0x82, 0xFF)) + (MAX_PAYLOAD + 1).to_bytes(8, "big") + b"mask"
        reserved = bytearray(masked(TEXT, b"x"))
        reserved[0] |= 0x40
        cases: tuple[tuple[Any, int], ...] = (
            (frame(TEXT, b"unmasked"), 1002),
            (bytes(reserved), 1002),
            (masked(3, b""), 1002),
            (masked(11, b""), 1002),
            (masked(PING, b"x", fin=False), 1002),
            (masked(PING, b"x" * 126), 1002),
            (masked(CONTINUATION, b"x"), 1002),
            (masked(TEXT, b"x", fin=False) + masked(TEXT, b"y"), 1002),
            (masked(CLOSE, b"x"), 1002),
            (masked(TEXT, b"\xff"), 1007),
            (masked(TEXT, b"\xc3"), 1007),
            (huge, 1009),
        )
        for data, code in cases:
            transport = StringTransport()
            echo = Echo()
            echo.makeConnection(transport)
            echo.dataReceived(data)
            self.assertTrue(transport.value().endswith(frame(CLOSE, code.to_bytes(2, "big"))), data)
            self.assertTrue(transport.disconnecting)

    def test_nothing_is_kept_after_the_peer_went(self):
        echo = Echo()
        echo.makeConnection(StringTransport())
        echo.stopProducing()
        echo.dataReceived(b"x" * 100)
        self.assertEqual(len(echo._buffer), 0)
