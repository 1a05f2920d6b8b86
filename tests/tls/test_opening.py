from __future__ import annotations

import random

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.handshake import client_context
from txrproxy.tls.opening import (
    MAX_HELLO,
    MAX_RECORDS,
    Incomplete,
    Unreadable,
    server_name,
    speaks_http,
)


def hello(name: bytes | None = b"a.example", version: str | None = None) -> bytes:
    """A ClientHello, in one record, as OpenSSL sends it."""
    client = SSL.Connection(client_context(version))
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    try:
        client.do_handshake()
    except SSL.WantReadError:
        pass
    return client.bio_read(1 << 16)


def in_records(flight: bytes, size: int) -> bytes:
    """The same message in records of ``size`` bytes."""
    message = flight[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in parts)


def with_extensions(extensions: bytes | None) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    if extensions is not None:
        body += len(extensions).to_bytes(2) + extensions
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


class ServerNameTests(SynchronousTestCase):
    def test_name(self) -> None:
        for version in (None, "1.2", "1.3"):
            self.assertEqual(server_name(hello(b"a.example", version)), b"a.example")
            self.assertIsNone(server_name(hello(None, version)))

    def test_in_pieces(self) -> None:
        flight = hello()
        for at in range(len(flight)):
            self.assertRaises(Incomplete, server_name, flight[:at])
        self.assertEqual(server_name(flight + b"more"), b"a.example")

    def test_in_several_records(self) -> None:
        for size in (40, 100, 1000):
            flight = in_records(hello(), size)
            self.assertEqual(server_name(flight), b"a.example")
            for at in range(0, len(flight), 7):
                self.assertRaises(Incomplete, server_name, flight[:at])

    def test_in_records_without_end(self) -> None:
        """Each piece that arrives has all of them read again: few enough, or OpenSSL has it."""
        first = in_records(hello(), 1)
        self.assertRaises(Incomplete, server_name, first[: 6 * MAX_RECORDS - 1])
        for end in (6 * MAX_RECORDS, 6 * MAX_RECORDS + 1, len(first)):
            self.assertRaises(Unreadable, server_name, first[:end])

    def test_without_extensions(self) -> None:
        self.assertIsNone(server_name(with_extensions(None)))
        self.assertIsNone(server_name(with_extensions(b"")))

    def test_no_usual_hello(self) -> None:
        entry = b"\x00\x00\x03abc"
        for data in (
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"\x16\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(100),
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
            b"\x16\x03\x01" + bytes(MAX_HELLO),
            with_extensions(b"\x00"),
            with_extensions(b"\x00\x00\x00\x09\x00\x07\x00"),
            with_extensions(b"\x00\x00\x00\x02\x00\x09"),
            with_extensions(b"\x00\x00\x00\x08\x00\x06\x01" + entry[1:]),
        ):
            self.assertRaises(Unreadable, server_name, data)

    def test_whatever_comes(self) -> None:
        """It never fails in another way, nor finds a name that is not in the bytes."""
        chance = random.Random(6066)
        flight = hello()
        for _ in range(2000):
            data = bytearray(flight)
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(200)] = chance.randrange(256)
            try:
                found = server_name(bytes(data))
            except (Incomplete, Unreadable):
                continue
            self.assertIn(found or b"", data)


class HttpTests(SynchronousTestCase):
    def test_requests(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n", b"OPTIONS * ", b"PRI * HTTP/2.0\r\n", b"PROPFIND /"):
            self.assertTrue(speaks_http(data))

    def test_in_pieces(self) -> None:
        for data in (b"G", b"GET", b"P", b"PRO", b"OPTIONS"):
            self.assertRaises(Incomplete, speaks_http, data)

    def test_others(self) -> None:
        for data in (b"SSH-2.0-OpenSSH_9.6\r\n", b"\x80\x2e\x01", b"\x00", b"get / ", b"GETS"):
            self.assertFalse(speaks_http(data))
